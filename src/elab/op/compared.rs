//! Which labels are classes: a fact of equations that compare an element with the positions of an axis.
//!
//! `c == label[n]` finds a class by its position, so the labels are to be positions of the axis `c`. An equation that
//! compares labels with each other, or computes with them, says nothing of the kind.

use std::collections::HashMap;

use super::term::Term;
use super::{Compared, Equations};
use crate::syntax::ast::{BinaryOp, Expr as Syntax, ExprKind};
use crate::te::{Expr, Tensor};

impl Equations<'_> {
    /// Takes note of `axis == element` and `element != axis`.
    pub(super) fn note_comparison(&mut self, op: BinaryOp, left: (&Syntax, &Term), right: (&Syntax, &Term)) {
        if !matches!(op, BinaryOp::Eq | BinaryOp::Ne) {
            return;
        }
        for (axis, element) in [(left, right), (right, left)] {
            if let (Some(extent), Some(tensor)) = (self.positions(axis), self.element_of(element.1)) {
                self.compared.push((tensor, extent));
            }
        }
    }

    /// The extent of an axis that stands alone. One of a single position is the constant 0.
    fn positions(&self, (written, term): (&Syntax, &Term)) -> Option<i64> {
        let index = match term {
            Term::Index(index) => index,
            Term::Scalar(id, _) => match &self.program.exprs[*id] {
                Expr::Number(index) => index,
                _ => return None,
            },
            Term::Const(_) => {
                let ExprKind::Name(name) = &written.kind else { return None };
                return self.axes.iter().any(|(axis, _)| axis == name).then_some(1);
            }
        };
        index.as_axis().map(|axis| self.program.axes[axis].extent)
    }

    /// The tensor that a term is an element of.
    fn element_of(&self, term: &Term) -> Option<Tensor> {
        let Term::Scalar(id, _) = term else { return None };
        match &self.program.exprs[*id] {
            Expr::Read { tensor, .. } => Some(*tensor),
            _ => None,
        }
    }

    /// What is compared, by the inputs; an intermediate that repeats an input's elements is that input.
    pub(super) fn compared_inputs(&self) -> Vec<Compared> {
        let mut copies: HashMap<Tensor, Tensor> = HashMap::new();
        for equation in &self.program.equations {
            if let [piece] = equation.pieces.as_slice()
                && let Expr::Read { tensor, .. } = &self.program.exprs[piece.body]
            {
                copies.insert(equation.result, copies.get(tensor).copied().unwrap_or(*tensor));
            }
        }
        let origin = |tensor: &Tensor| copies.get(tensor).copied().unwrap_or(*tensor);
        let input = |tensor: &Tensor| self.program.inputs.iter().position(|input| *input == origin(tensor));
        let compared = self.compared.iter();
        compared.filter_map(|(tensor, extent)| Some((input(tensor)?, *extent))).collect()
    }
}
