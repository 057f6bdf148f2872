//! What went wrong in a step: the first of its results that is not finite.
//!
//! Launches run in the order of a schedule, which may put a part of the backward pass before the loss. What comes first
//! is said by the equations, whose order is that of the step: forward, then backward, then the updates.

use std::collections::HashMap;

use crate::base::philox::RandomState;
use crate::te::{self, Tensor};

use super::pool::Pool;
use super::program::Program;
use super::store::{Mismatch, Store};
use super::values::Values;

/// Where the results of a program come from.
pub(super) struct Origins(HashMap<Tensor, Origin>);

struct Origin {
    /// The place of its equation among all.
    position: usize,
    name: String,
}

impl Origins {
    /// `order` are the results of the equations, in their order.
    pub fn of(order: &[Tensor], program: &te::Program) -> Origins {
        let origin = |(position, tensor): (usize, &Tensor)| {
            (*tensor, Origin { position, name: program.tensors[*tensor].name.clone() })
        };
        Origins(order.iter().enumerate().map(origin).collect())
    }
}

impl Program {
    /// Runs a step that was not accepted once more, and looks at the results of each launch, as later ones may take their
    /// memory. Gives the name of the first one in the order of the equations that is not finite. The store stays as it is,
    /// as it did before.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Program::run).
    pub fn first_not_finite(
        &mut self,
        store: &mut Store,
        pool: &Pool,
        random: RandomState,
    ) -> Result<Option<String>, Mismatch> {
        let units = self.units_before_updates();
        let mut last_unit: HashMap<Tensor, usize> = HashMap::new();
        for unit in units.clone() {
            last_unit.extend(self.results_of(unit).map(|tensor| (tensor, unit)));
        }
        self.begin_again(store, pool)?;
        let mut broken: Vec<Tensor> = Vec::new();
        for unit in units {
            self.run_range(unit..unit + 1, store, pool, random);
            // A part of a result says nothing: what others have left is in the rest of its memory.
            let whole = self.results_of(unit).filter(|tensor| last_unit[tensor] == unit);
            broken.extend(whole.filter(|tensor| self.is_broken(*tensor, store)));
        }
        let origins = broken.iter().filter_map(|tensor| self.origins.0.get(tensor));
        Ok(origins.min_by_key(|origin| origin.position).map(|origin| origin.name.clone()))
    }

    /// Whether a tensor has an element that is not finite, when the last launch that stores it has run.
    fn is_broken(&self, tensor: Tensor, store: &Store) -> bool {
        match self.values(tensor, store) {
            Some(Values::F32(values)) => values.iter().any(|value| !value.is_finite()),
            Some(Values::I32(_) | Values::U8(_) | Values::Bool(_)) | None => false,
        }
    }
}
