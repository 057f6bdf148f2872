//! Building expressions that are simple from the start, and rewriting them.
//!
//! The constructors fold constants and drop neutral elements. They treat `0 * x` as 0, so only code that derives
//! expressions uses them, where a zero means "no contribution"; what the user wrote is kept as written.

use crate::base::hash::{HashMap, HashSet};
use std::collections::BTreeSet;

use super::expr::{Binary, Expr, ExprId, Exprs, Reduction, Unary};
use super::index::{Axis, Index};
use super::program::{Program, Tensor};

/// A product is not opened further than this: one of shared parts can have more factors than there is memory.
const MOST_FACTORS: usize = 64;

impl Exprs {
    /// The value of a constant.
    pub fn as_constant(&self, id: ExprId) -> Option<f64> {
        match &self[id] {
            Expr::Const(value) => Some(value.get()),
            _ => None,
        }
    }

    /// `x + y`, simplified.
    pub fn sum(&mut self, x: ExprId, y: ExprId) -> ExprId {
        match (self.as_constant(x), self.as_constant(y)) {
            (Some(a), Some(b)) => self.constant(a + b),
            (Some(0.0), _) => y,
            (_, Some(0.0)) => x,
            _ if x == y => {
                let two = self.constant(2.0);
                self.exact_product(two, x)
            }
            _ => self.binary(Binary::Add, x, y),
        }
    }

    /// `x * y`, simplified.
    pub fn product(&mut self, x: ExprId, y: ExprId) -> ExprId {
        match (self.as_constant(x), self.as_constant(y)) {
            (Some(a), Some(b)) => self.constant(a * b),
            (Some(0.0), _) | (_, Some(0.0)) => self.constant(0.0),
            (Some(1.0), _) => y,
            (_, Some(1.0)) => x,
            (Some(-1.0), _) => self.negation(y),
            (_, Some(-1.0)) => self.negation(x),
            _ => self.product_of_terms(x, y),
        }
    }

    /// `x * y`, without what cannot change a value: factors 1 and signs. What the user wrote stays, a choice of 0 among it:
    /// it makes a NaN of an infinity.
    pub fn exact_product(&mut self, x: ExprId, y: ExprId) -> ExprId {
        match (self.as_constant(x), self.as_constant(y)) {
            (Some(a), Some(b)) => self.constant(a * b),
            (Some(1.0), _) => y,
            (_, Some(1.0)) => x,
            (Some(-1.0), _) => self.negation(y),
            (_, Some(-1.0)) => self.negation(x),
            _ => match (&self[x], &self[y]) {
                (&Expr::Unary(Unary::Neg, x), _) => {
                    let product = self.exact_product(x, y);
                    self.negation(product)
                }
                (_, &Expr::Unary(Unary::Neg, y)) => {
                    let product = self.exact_product(x, y);
                    self.negation(product)
                }
                _ => self.binary(Binary::Mul, x, y),
            },
        }
    }

    /// A product where neither side is a constant with a rule of its own: choices and signs move outwards.
    fn product_of_terms(&mut self, x: ExprId, y: ExprId) -> ExprId {
        match (self[x].clone(), self[y].clone()) {
            (Expr::Unary(Unary::Neg, x), _) => {
                let product = self.product(x, y);
                self.negation(product)
            }
            (_, Expr::Unary(Unary::Neg, y)) => {
                let product = self.product(x, y);
                self.negation(product)
            }
            (_, Expr::Select(..)) if self.has_zero_branch(y) => self.product_with_choice(y, x, false),
            (Expr::Select(..), _) if self.has_zero_branch(x) => self.product_with_choice(x, y, true),
            _ => self.binary(Binary::Mul, x, y),
        }
    }

    fn has_zero_branch(&self, choice: ExprId) -> bool {
        match self[choice] {
            Expr::Select(_, a, b) => self.as_constant(a) == Some(0.0) || self.as_constant(b) == Some(0.0),
            _ => false,
        }
    }

    /// The product of a choice, of which a branch is 0, and another factor: a choice between products.
    fn product_with_choice(&mut self, choice: ExprId, factor: ExprId, choice_first: bool) -> ExprId {
        let Expr::Select(condition, a, b) = self[choice] else { unreachable!("a choice") };
        let [a, b] = [a, b].map(|branch| match choice_first {
            true => self.product(branch, factor),
            false => self.product(factor, branch),
        });
        self.choice(condition, a, b)
    }

    /// `-x`, simplified.
    pub fn negation(&mut self, x: ExprId) -> ExprId {
        match &self[x] {
            Expr::Const(value) => self.constant(-value.get()),
            Expr::Unary(Unary::Neg, inner) => *inner,
            _ => self.unary(Unary::Neg, x),
        }
    }

    /// `x / y`, simplified.
    pub fn quotient(&mut self, x: ExprId, y: ExprId) -> ExprId {
        match (self.as_constant(x), self.as_constant(y)) {
            (Some(0.0), _) => x,
            (_, Some(1.0)) => x,
            (_, Some(-1.0)) if planted!("te.simplify.minus_one") => x,
            (Some(a), Some(b)) => self.constant(a / b),
            _ => self.binary(Binary::Div, x, y),
        }
    }

    /// `if condition { x } else { y }`, simplified.
    pub fn choice(&mut self, condition: ExprId, x: ExprId, y: ExprId) -> ExprId {
        match self.as_constant(condition) {
            Some(0.0) => y,
            Some(_) => x,
            None if x == y => x,
            None => self.select(condition, x, y),
        }
    }

    /// The factors of a product.
    pub fn factors(&self, id: ExprId) -> Vec<ExprId> {
        let mut found = Vec::new();
        self.collect_factors(id, &mut found);
        found
    }

    fn collect_factors(&self, id: ExprId, found: &mut Vec<ExprId>) {
        match &self[id] {
            Expr::Binary(Binary::Mul, x, y) if found.len() < MOST_FACTORS => {
                self.collect_factors(*x, found);
                self.collect_factors(*y, found);
            }
            _ => found.push(id),
        }
    }

    /// The factors of a product, a sign being the factor -1.
    pub fn signed_factors(&mut self, id: ExprId) -> Vec<ExprId> {
        let mut found = Vec::new();
        self.collect_signed_factors(id, &mut found);
        found
    }

    fn collect_signed_factors(&mut self, id: ExprId, found: &mut Vec<ExprId>) {
        match self[id].clone() {
            Expr::Binary(Binary::Mul, x, y) if found.len() < MOST_FACTORS => {
                self.collect_signed_factors(x, found);
                self.collect_signed_factors(y, found);
            }
            Expr::Unary(Unary::Neg, x) => {
                found.push(self.constant(-1.0));
                self.collect_signed_factors(x, found);
            }
            _ => found.push(id),
        }
    }
}

impl Program {
    /// The axes that an expression needs from outside.
    pub fn free_axes(&self, id: ExprId) -> BTreeSet<Axis> {
        let mut found = BTreeSet::new();
        self.collect_free_axes(id, &mut BTreeSet::new(), &mut found);
        found
    }

    fn collect_free_axes(&self, id: ExprId, seen: &mut BTreeSet<ExprId>, found: &mut BTreeSet<Axis>) {
        if !seen.insert(id) {
            return;
        }
        let mut add = |axis: Axis| {
            found.insert(axis);
        };
        match &self.exprs[id] {
            Expr::Number(index) | Expr::Uniform { element: index, .. } => index.for_each_axis(&mut add),
            Expr::Read { index, .. } => index.iter().for_each(|index| index.for_each_axis(&mut add)),
            Expr::Reduce { axes, body, .. } => {
                let inner = self.free_axes(*body);
                found.extend(inner.into_iter().filter(|axis| !axes.contains(axis)));
            }
            expr => expr.for_each_operand(&mut |operand| self.collect_free_axes(operand, seen, found)),
        }
    }

    /// Calls `visit` once for every distinct sub-expression, operands first.
    pub fn for_each_expr(&self, root: ExprId, visit: &mut dyn FnMut(ExprId)) {
        let mut seen = HashSet::default();
        self.visit_expr(root, &mut seen, visit);
    }

    fn visit_expr(&self, id: ExprId, seen: &mut HashSet<ExprId>, visit: &mut dyn FnMut(ExprId)) {
        if seen.insert(id) {
            self.exprs[id].for_each_operand(&mut |operand| self.visit_expr(operand, seen, visit));
            visit(id);
        }
    }

    /// The tensors that an expression reads.
    pub fn reads(&self, root: ExprId) -> BTreeSet<Tensor> {
        let mut found = BTreeSet::new();
        self.for_each_expr(root, &mut |id| {
            if let Expr::Read { tensor, .. } = &self.exprs[id] {
                found.insert(*tensor);
            }
        });
        found
    }

    /// Rebuilds an expression bottom up. `rewrite` sees every node with its operands already rewritten, and gives the
    /// node that stands in its place.
    pub fn rewrite(&mut self, root: ExprId, rewrite: &mut dyn FnMut(&mut Program, Expr) -> ExprId) -> ExprId {
        self.rewrite_memoised(root, &mut HashMap::default(), rewrite)
    }

    fn rewrite_memoised(
        &mut self,
        id: ExprId,
        done: &mut HashMap<ExprId, ExprId>,
        rewrite: &mut dyn FnMut(&mut Program, Expr) -> ExprId,
    ) -> ExprId {
        if let Some(result) = done.get(&id) {
            return *result;
        }
        let expr = self.exprs[id].clone();
        let rebuilt = expr.map_operands(&mut |operand| self.rewrite_memoised(operand, done, rewrite));
        let result = rewrite(self, rebuilt);
        done.insert(id, result);
        result
    }

    /// A new axis like another one.
    pub fn copy_axis(&mut self, axis: Axis) -> Axis {
        let data = self.axes[axis].clone();
        self.axes.push(data)
    }

    /// Whether two indices name one element at every point: they are equal, but for dimensions in which both are 0.
    pub fn is_same_element(&self, one: &[Index], other: &[Index]) -> bool {
        let zero = |index: &Index| index.range(&self.axes) == (0, 0);
        one.len() == other.len() && one.iter().zip(other).all(|(a, b)| a == b || (zero(a) && zero(b)))
    }

    /// Whether a read can never leave its tensor.
    pub fn in_bounds(&self, tensor: Tensor, index: &[Index]) -> bool {
        self.tensors[tensor].shape.iter().zip(index).all(|(extent, index)| {
            let (low, high) = index.range(&self.axes);
            low >= 0 && high < *extent
        })
    }

    /// `low <= index < high` as a truth value; a constant where the ranges of the axes decide it.
    pub fn within(&mut self, index: &Index, low: i64, high: i64) -> ExprId {
        let (least, most) = index.range(&self.axes);
        let near = least >= i64::from(i32::MIN) && most <= i64::from(i32::MAX);
        // A number has 32 bits. What lies further outside is outside just as well.
        let index = &if near {
            index.clone()
        } else {
            index.max_with(&Index::from(low - 1), &self.axes).min_with(&Index::from(high), &self.axes)
        };
        let mut condition = self.exprs.constant(1.0);
        let mut require = |program: &mut Program, op, bound: i64, known: bool| {
            if !known {
                let (x, y) =
                    (program.exprs.add(Expr::Number(index.clone())), program.exprs.constant(bound as f64));
                let test = program.exprs.binary(op, x, y);
                condition = program.both(condition, test);
            }
        };
        require(self, Binary::Ge, low, least >= low);
        require(self, Binary::Lt, high, most < high + i64::from(planted!("te.simplify.within")));
        condition
    }

    /// Whether an index has some value, where the index is known: what such a comparison of the two gives.
    pub fn decided(&self, condition: ExprId) -> Option<bool> {
        let (index, value) = self.as_choice(condition)?;
        Some(index.as_constant()? as f64 == value)
    }

    /// The index and the number of a condition `index == number`.
    pub fn as_choice(&self, condition: ExprId) -> Option<(&Index, f64)> {
        let Expr::Binary(Binary::Eq, x, y) = &self.exprs[condition] else { return None };
        match &self.exprs[*x] {
            Expr::Number(index) => Some((index, self.exprs.as_constant(*y)?)),
            _ => None,
        }
    }

    /// `x && y`, simplified.
    pub fn both(&mut self, x: ExprId, y: ExprId) -> ExprId {
        match (self.exprs.as_constant(x), self.exprs.as_constant(y)) {
            (Some(a), _) => {
                if a != 0.0 {
                    y
                } else {
                    x
                }
            }
            (_, Some(b)) => {
                if b != 0.0 {
                    x
                } else {
                    y
                }
            }
            _ => self.exprs.binary(Binary::And, x, y),
        }
    }

    /// The sum of a product over axes: factors free of an axis move out, and an axis that nothing mentions becomes
    /// its extent.
    pub fn sum_over(&mut self, axes: &[Axis], body: ExprId) -> ExprId {
        let free = self.free_axes(body);
        let (summed, constant): (Vec<Axis>, Vec<Axis>) = axes.iter().partition(|axis| free.contains(axis));
        let times: i64 = constant.iter().map(|axis| self.axes[*axis].extent).product();
        let (mut inner, mut outer) = (self.exprs.constant(1.0), self.exprs.constant(times as f64));
        for factor in self.exprs.signed_factors(body) {
            let varies = self.free_axes(factor).iter().any(|axis| summed.contains(axis));
            let place = if varies { &mut inner } else { &mut outer };
            *place = self.exprs.product(*place, factor);
        }
        if !summed.is_empty() {
            inner = self.exprs.reduce(Reduction::Sum, summed, inner);
        }
        self.exprs.product(inner, outer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::te::DType;

    /// A square of a square of a square: a tree of more nodes than there is time, but few distinct ones.
    #[test]
    fn shared_parts_are_visited_once() {
        let mut program = Program::default();
        let x = program.input("x", DType::F32, vec![4]);
        let (i, j) = (program.axis("i", 4), program.axis("j", 4));
        let mut power = program.exprs.read(x, vec![i.into()]);
        for _ in 0..64 {
            power = program.exprs.binary(Binary::Mul, power, power);
        }
        assert!(program.exprs.factors(power).len() < 2 * MOST_FACTORS);
        assert_eq!(program.free_axes(power), BTreeSet::from([i]));
        let moved = program.substitute(power, &HashMap::from_iter([(i, Index::from(j))]));
        assert_eq!(program.free_axes(moved), BTreeSet::from([j]));
    }
}
