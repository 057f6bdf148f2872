//! Unrolled loops: iterations written one after the other. No order of operations changes.
//!
//! ```text
//! for i < 7: a = x[i]; y[i] = a          by 2
//!
//! for iu < 3: { a = x[2*iu]; y[2*iu] = a }; { a' = x[2*iu + 1]; y[2*iu + 1] = a' }
//! { a'' = x[6]; y[6] = a'' }
//! ```
//!
//! Each copy is a block of its own, the body of a loop with one iteration, and has registers of its own for those that
//! the body declares. So what one copy has loaded fills no register until the next one would load it.

use cranelift_entity::{EntitySet, SecondaryMap};

use super::{Axis, AxisData, Expr, ForKind, Function, Index, Local, Stmt};

/// How a serial loop is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unroll {
    /// As its iterations, without a loop.
    Full,
    /// So many iterations a round, and the rest one by one.
    By(i64),
}

/// A function with its serial loops unrolled as `choose` says of each, given its extent and its body. Those that have
/// no iterations are left out. Of the parallel loops, those inside the first count as serial ones.
pub fn unroll(function: &Function, choose: &dyn Fn(i64, &[Stmt]) -> Unroll) -> Function {
    let result = Function { body: Vec::new(), ..function.clone() };
    let (axes, used) = (SecondaryMap::new(), EntitySet::new());
    let locals = SecondaryMap::new();
    let mut copier = Copier { choose, result, axes, locals, declared: Vec::new(), used };
    let body = match function.body.as_slice() {
        [Stmt::For { axis, kind: ForKind::Parallel, body }] => {
            vec![Stmt::For { axis: *axis, kind: ForKind::Parallel, body: copier.scope(body) }]
        }
        body => copier.scope(body),
    };
    Function { body, ..copier.result }
}

struct Copier<'c> {
    choose: &'c dyn Fn(i64, &[Stmt]) -> Unroll,
    /// What is being written: it gets axes and registers.
    result: Function,
    /// What the axes of unrolled loops are at the place at hand.
    axes: SecondaryMap<Axis, Option<Index>>,
    /// The registers in scope, and what they are in the copy.
    locals: SecondaryMap<Local, Option<Local>>,
    /// Those in the order of their declaration.
    declared: Vec<Local>,
    /// Registers of the copy that are set already.
    used: EntitySet<Local>,
}

impl Copier<'_> {
    /// A body whose declarations end with it.
    fn scope(&mut self, body: &[Stmt]) -> Vec<Stmt> {
        let outer = self.declared.len();
        let copy = body.iter().flat_map(|stmt| self.statement(stmt)).collect();
        self.declared.split_off(outer).into_iter().for_each(|local| self.locals[local] = None);
        copy
    }

    fn statement(&mut self, stmt: &Stmt) -> Vec<Stmt> {
        match stmt {
            Stmt::For { axis, kind: _, body } => self.serial(*axis, body),
            Stmt::Set { local, value } => {
                let value = self.expr(value);
                vec![Stmt::Set { local: self.set_local(*local), value }]
            }
            Stmt::Store { buffer, index, stride, value } => {
                let (index, value) = (self.index(index), self.expr(value));
                vec![Stmt::Store { buffer: *buffer, index, stride: *stride, value }]
            }
            Stmt::If { condition, then, otherwise } => {
                let condition = self.expr(condition);
                vec![Stmt::If { condition, then: self.scope(then), otherwise: self.scope(otherwise) }]
            }
        }
    }

    fn serial(&mut self, axis: Axis, body: &[Stmt]) -> Vec<Stmt> {
        let extent = self.result.axes[axis].extent;
        if extent <= 0 {
            return Vec::new();
        }
        let factor = match (self.choose)(extent, body) {
            Unroll::By(1) => return vec![Stmt::For { axis, kind: ForKind::Serial, body: self.scope(body) }],
            Unroll::Full => extent,
            Unroll::By(factor) => factor,
        };
        let rounds = if extent / factor > 1 { extent / factor } else { 0 };
        let mut copies = Vec::new();
        if rounds > 0 {
            let mut data = self.result.axes[axis].clone();
            (data.name, data.extent) = (format!("{}u", data.name), rounds);
            let round = self.result.axes.push(data);
            let first = Index::from(round).scale(factor);
            let body = (0..factor).map(|at| self.iteration(axis, first.clone().offset(at), body));
            copies.push(Stmt::For { axis: round, kind: ForKind::Serial, body: body.collect() });
        }
        let end = if planted!("loops.unroll.rest") && rounds > 0 { rounds * factor } else { extent };
        for at in rounds * factor..end {
            copies.push(self.iteration(axis, Index::from(at), body));
        }
        self.axes[axis] = None;
        copies
    }

    fn iteration(&mut self, axis: Axis, value: Index, body: &[Stmt]) -> Stmt {
        self.axes[axis] = Some(value);
        let name = self.result.axes[axis].name.clone();
        let once = self.result.axes.push(AxisData { name, extent: 1 });
        Stmt::For { axis: once, kind: ForKind::Serial, body: self.scope(body) }
    }

    /// The register that a statement sets: one of its own where this declares it and another copy has it.
    fn set_local(&mut self, local: Local) -> Local {
        if let Some(known) = self.locals[local] {
            return known;
        }
        let own = match self.used.contains(local) {
            true => self.result.locals.push(self.result.locals[local].clone()),
            false => local,
        };
        self.used.insert(own);
        self.locals[local] = Some(own);
        self.declared.push(local);
        own
    }

    fn index(&self, index: &Index) -> Index {
        if planted!("loops.unroll.index") && !index.is_affine() {
            return index.clone();
        }
        index.substitute(&|axis| self.axes[axis].clone(), &self.result.axes)
    }

    fn expr(&self, expr: &Expr) -> Expr {
        let mut copy = expr.clone();
        self.rewrite(&mut copy);
        copy
    }

    fn rewrite(&self, expr: &mut Expr) {
        match expr {
            Expr::Local(local) => *local = self.locals[*local].unwrap_or(*local),
            Expr::Number { index, .. } | Expr::Load { index, .. } => *index = self.index(index),
            _ => expr.for_each_operand_mut(&mut |operand| self.rewrite(operand)),
        }
    }
}

#[cfg(test)]
#[path = "unroll_tests.rs"]
mod tests;
