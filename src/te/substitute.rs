//! Substitution: an expression with its axes replaced by indices.

use crate::base::hash::HashMap;

use super::expr::{Expr, ExprId, Reduction};
use super::index::{Axis, Index};
use super::program::Program;

impl Program {
    /// The expression with axes replaced by indices. Reductions inside get fresh axes, so nothing is captured.
    pub fn substitute(&mut self, root: ExprId, replace: &HashMap<Axis, Index>) -> ExprId {
        Substitution { program: self, replace, decides: false, done: HashMap::default() }.expr(root)
    }

    /// The same where choices that the indices decide are made: what is not chosen is not looked at. A transform's
    /// matrix is a choice for each of its elements, and one point of it needs one of them.
    pub fn substitute_and_decide(&mut self, root: ExprId, replace: &HashMap<Axis, Index>) -> ExprId {
        Substitution { program: self, replace, decides: true, done: HashMap::default() }.expr(root)
    }
}

struct Substitution<'a> {
    program: &'a mut Program,
    replace: &'a HashMap<Axis, Index>,
    decides: bool,
    done: HashMap<ExprId, ExprId>,
}

impl Substitution<'_> {
    fn expr(&mut self, id: ExprId) -> ExprId {
        if let Some(result) = self.done.get(&id) {
            return *result;
        }
        let result = match self.program.exprs[id] {
            Expr::Select(condition, x, y) if self.decides => match self.decided(condition) {
                Some(known) => self.expr(if known { x } else { y }),
                None => self.rebuilt(id),
            },
            _ => self.rebuilt(id),
        };
        self.done.insert(id, result);
        result
    }

    fn rebuilt(&mut self, id: ExprId) -> ExprId {
        let expr = match &self.program.exprs[id] {
            Expr::Number(index) => Expr::Number(self.index(index)),
            Expr::Read { tensor, index, fill } => {
                let index = index.iter().map(|index| self.index(index)).collect();
                Expr::Read { tensor: *tensor, index, fill: *fill }
            }
            Expr::Uniform { stream, element } => {
                Expr::Uniform { stream: *stream, element: self.index(element) }
            }
            Expr::Reduce { op, axes, body } => {
                let (op, axes, body) = (*op, axes.clone(), *body);
                self.reduction(op, &axes, body)
            }
            expr => expr.clone().map_operands(&mut |operand| self.expr(operand)),
        };
        self.program.exprs.add(expr)
    }

    fn reduction(&mut self, op: Reduction, axes: &[Axis], body: ExprId) -> Expr {
        let mut inner = self.replace.clone();
        let fresh: Vec<Axis> = axes.iter().map(|axis| self.program.copy_axis(*axis)).collect();
        inner.extend(axes.iter().zip(&fresh).map(|(old, new)| (*old, Index::from(*new))));
        let (program, decides) = (&mut *self.program, self.decides);
        let body = Substitution { program, replace: &inner, decides, done: HashMap::default() }.expr(body);
        Expr::Reduce { op, axes: fresh, body }
    }

    fn index(&self, index: &Index) -> Index {
        index.substitute(&|axis| self.replace.get(&axis).cloned(), &self.program.axes)
    }

    /// Whether an index has some value at the point, where the condition asks for that and the index is known there.
    fn decided(&self, condition: ExprId) -> Option<bool> {
        let (index, value) = self.program.as_choice(condition)?;
        Some(self.index(index).as_constant()? as f64 == value)
    }
}
