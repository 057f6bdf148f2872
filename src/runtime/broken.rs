//! What went wrong in a step: the first of its results that is not finite.
//!
//! Launches run in the order of a schedule, which may put a part of the backward pass before the loss. What comes first
//! is said by the equations, whose order is that of the step: forward, then backward, then the updates.

use std::collections::{BTreeSet, HashMap};

use crate::base::philox::RandomState;
use crate::te::{Origin, Tensor};

use super::executable::Computed;
use super::instance::Instance;
use super::store::{Mismatch, Store};
use super::values::Values;

/// What is known of the first result that is not finite without running anything else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    /// The tensor that was stored.
    pub name: String,
    pub origin: Option<Origin>,
    /// All that was computed with it, of which only parts are ever stored.
    pub calls: BTreeSet<Origin>,
}

impl Instance {
    /// Runs a step that was not accepted once more, and looks at the results of each unit, as later ones may take their
    /// memory. Gives the first one that is not finite, in the order of the equations; none where all are finite. The store
    /// stays as it is, as it did before.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Instance::run).
    pub fn first_not_finite(
        &mut self,
        store: &mut Store,
        random: RandomState,
    ) -> Result<Option<Suspect>, Mismatch> {
        let units = self.executable().units_before_updates();
        let mut last_unit: HashMap<Tensor, usize> = HashMap::new();
        for unit in units.clone() {
            last_unit.extend(self.executable().results_of(unit).map(|tensor| (tensor, unit)));
        }
        // By the place of the equation, with its result and the unit that stored it.
        let mut first: Option<(usize, Tensor, usize)> = None;
        for unit in units {
            self.run_unit(unit, store, random)?;
            // A part of a result says nothing: what others have left is in the rest of its memory.
            let whole = self.executable().results_of(unit).filter(|tensor| last_unit[tensor] == unit);
            let broken = whole.filter(|tensor| self.is_broken(*tensor, store));
            let results = &self.executable().results;
            let placed = broken.filter_map(|tensor| Some((results.get(&tensor)?.place, tensor, unit)));
            first = placed.chain(first).min();
        }
        Ok(first.map(|(_, tensor, unit)| {
            let Computed { name, origin, .. } = self.executable().results[&tensor].clone();
            Suspect { name, origin, calls: self.executable().origins_of(unit).collect() }
        }))
    }

    /// Whether a tensor has an element that is not finite, when the last launch that stores it has run.
    fn is_broken(&self, tensor: Tensor, store: &Store) -> bool {
        match self.values(tensor, store) {
            Some(Values::F32(values)) => values.iter().any(|value| !value.is_finite()),
            Some(Values::I32(_) | Values::U8(_) | Values::Bool(_)) | None => false,
        }
    }
}
