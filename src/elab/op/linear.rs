//! Indices that are sums of multiples of axes, read from the tree before the axes have extents.

use super::{Equations, Symbol};
use crate::elab::Outcome;
use crate::elab::evaluate::{at, evaluate};
use crate::elab::value::Value;
use crate::syntax::ast::{BinaryOp, Expr, ExprKind, UnaryOp};

/// `sum of coefficient * axis + constant`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Linear<A> {
    pub terms: Vec<(A, i64)>,
    pub constant: i64,
}

impl<A: PartialEq + Clone> Linear<A> {
    fn constant(constant: i64) -> Linear<A> {
        Linear { terms: Vec::new(), constant }
    }

    fn add_scaled(mut self, other: &Linear<A>, k: i64) -> Option<Linear<A>> {
        self.constant = self.constant.checked_add(other.constant.checked_mul(k)?)?;
        for (axis, coefficient) in &other.terms {
            let scaled = coefficient.checked_mul(k)?;
            match self.terms.iter_mut().find(|(known, _)| known == axis) {
                Some((_, sum)) => *sum = sum.checked_add(scaled)?,
                None => self.terms.push((axis.clone(), scaled)),
            }
        }
        self.terms.retain(|(_, coefficient)| *coefficient != 0);
        Some(self)
    }
}

impl Equations<'_> {
    /// The index of a left side over new axes. A plain name is always an axis; in a sum, a name that is known is its
    /// value.
    pub(super) fn linear_left(&mut self, expr: &Expr) -> Outcome<Linear<String>> {
        if let ExprKind::Name(name) = &expr.kind {
            return Ok(Linear { terms: vec![(name.clone(), 1)], constant: 0 });
        }
        let known: Vec<String> = self
            .names
            .iter()
            .filter(|(_, symbol)| matches!(symbol, Symbol::Const(_)))
            .map(|(name, _)| name.clone())
            .collect();
        let mut axis = |name: &str| (!known.iter().any(|other| other == name)).then(|| name.to_owned());
        linear(self, expr, &mut axis)
            .ok_or_else(|| at("the left side has an index that is no sum of multiples of axes", expr.span))
    }
}

/// The linear form of an index; `axis` says which names are axes. None where it is not linear, or a constant is not
/// known.
pub(super) fn linear<A: PartialEq + Clone>(
    equations: &mut Equations<'_>,
    expr: &Expr,
    axis: &mut dyn FnMut(&str) -> Option<A>,
) -> Option<Linear<A>> {
    match &expr.kind {
        ExprKind::Name(name) => match axis(name) {
            Some(axis) => Some(Linear { terms: vec![(axis, 1)], constant: 0 }),
            None => known_integer(equations, expr),
        },
        ExprKind::Unary { op: UnaryOp::Neg, operand } => {
            Linear::constant(0).add_scaled(&linear(equations, operand, axis)?, -1)
        }
        ExprKind::Binary { op: op @ (BinaryOp::Add | BinaryOp::Sub), left, right } => {
            let (x, y) = (linear(equations, left, axis)?, linear(equations, right, axis)?);
            x.add_scaled(&y, if *op == BinaryOp::Add { 1 } else { -1 })
        }
        ExprKind::Binary { op: BinaryOp::Mul, left, right } => {
            let (x, y) = (linear(equations, left, axis)?, linear(equations, right, axis)?);
            match (x.terms.as_slice(), y.terms.as_slice()) {
                ([], _) => Linear::constant(0).add_scaled(&y, x.constant),
                (_, []) => Linear::constant(0).add_scaled(&x, y.constant),
                _ => None,
            }
        }
        _ => known_integer(equations, expr),
    }
}

fn known_integer<A: PartialEq + Clone>(equations: &mut Equations<'_>, expr: &Expr) -> Option<Linear<A>> {
    match evaluate(equations, expr) {
        Ok(Value::Int(value)) => Some(Linear::constant(value)),
        Ok(_) | Err(_) => None,
    }
}
