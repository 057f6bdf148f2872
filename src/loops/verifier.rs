//! The verifier of loop IR. It holds:
//!
//! 1. Every expression is well typed ([`Function::type_of`]); lanes are 1 or a power of two from 4 to 64; a register
//!    is set to its own type, a buffer to what it can hold, and a condition is a scalar truth value.
//! 2. A register is set before it is read, on every path; one that is first set in a loop or branch is not known
//!    after it.
//! 3. Every axis of an index is bound by exactly one surrounding loop.
//! 4. Sizes are moderate: indices, also within each other, strides and buffers are far from the ends of 64 bits
//!    (`bounds::MODERATE`), so that back ends may add up terms and bytes in any order.
//! 5. Every load and store lies in its buffer, by the ranges of the axes, narrowed by the conditions of the branches
//!    around it (`bounds`). `Select` guards nothing, since both sides are evaluated.
//! 6. A buffer that is only read is not stored to; one that is only written is not loaded from. The lanes of a store
//!    go to different elements.
//! 7. A parallel loop is the whole body of the function, or of another parallel loop, and no point of these loops
//!    touches an element that another one writes (`races`).

use std::collections::HashSet;
use std::ops::Deref;

use cranelift_entity::EntitySet;

use super::bounds::{Facts, MODERATE, is_moderate};
use super::printer::DisplayIndex;
use super::races;
use super::types::stores;
use super::unroll::{Unroll, unroll};
use super::visit::Access;
use super::{AccessMode, Axis, Buffer, Expr, ForKind, Function, Index, Local, Stmt, Type};

/// A function of which the verifier has proved all of the above: what back ends take, and what makes their code safe to
/// run on buffers of the declared lengths.
#[derive(Clone, Debug)]
pub struct Verified(Function);

impl Verified {
    /// Proves it.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with the function.
    pub fn new(function: Function) -> Result<Verified, Invalid> {
        match verify(&function) {
            Ok(()) => Ok(Verified(function)),
            Err(findings) => Err(Invalid { name: format!("the function `{}`", function.name), findings }),
        }
    }

    /// The function with its serial loops unrolled as `choose` says. Each of its iterations is one of this function, so
    /// where its accesses lie, and that no two meet, has been proved: with other numbers in its place an index may say
    /// that in a form which can no longer be seen through. All else is looked at again.
    ///
    /// # Errors
    ///
    /// Where the copy is not well formed, which would be a mistake of the unroller.
    pub fn unrolled(&self, choose: &dyn Fn(i64, &[Stmt]) -> Unroll) -> Result<Verified, Invalid> {
        let function = unroll(self, choose);
        let mut verifier = Verifier { runs: false, ..Verifier::of(&function) };
        verifier.declarations();
        verifier.body();
        match verifier.errors {
            errors if errors.is_empty() => Ok(Verified(function)),
            findings => Err(Invalid { name: format!("the unrolled function `{}`", function.name), findings }),
        }
    }
}

impl Deref for Verified {
    type Target = Function;

    fn deref(&self) -> &Function {
        &self.0
    }
}

/// What is wrong with what was to run.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{name} is not valid, which is a mistake of the compiler: {}", findings.join("; "))]
pub struct Invalid {
    pub name: String,
    pub findings: Vec<String>,
}

/// Everything that is wrong with a function.
pub fn verify(function: &Function) -> Result<(), Vec<String>> {
    let mut verifier = Verifier::of(function);
    verifier.declarations();
    verifier.body();
    match verifier.errors.is_empty() {
        true => Ok(()),
        false => Err(verifier.errors),
    }
}

struct Verifier<'a> {
    function: &'a Function,
    errors: Vec<String>,
    /// The axes of the parallel loops.
    grid: Vec<Axis>,
    bound: EntitySet<Axis>,
    /// Registers that are set on every path to here.
    known: EntitySet<Local>,
    /// Those in the order of their declaration.
    declared: Vec<Local>,
    facts: Facts,
    /// Whether it is asked where accesses lie. In a loop that has no iterations, ranges are empty, and nothing is
    /// touched.
    runs: bool,
    /// All accesses, for the check of parallel loops.
    accesses: HashSet<Access<'a>>,
}

impl<'a> Verifier<'a> {
    fn of(function: &'a Function) -> Verifier<'a> {
        Verifier {
            function,
            errors: Vec::new(),
            grid: function.grid(),
            bound: EntitySet::new(),
            known: EntitySet::new(),
            declared: Vec::new(),
            facts: Facts::default(),
            runs: true,
            accesses: HashSet::new(),
        }
    }

    fn error(&mut self, message: String) {
        self.errors.push(message);
    }

    fn declarations(&mut self) {
        for (local, data) in &self.function.locals {
            if !data.ty.has_valid_lanes() {
                self.error(format!(
                    "{local} `{}`: a value has 1, 4, 8, 16, 32 or 64 lanes, not {}",
                    data.name, data.ty.lanes
                ));
            }
        }
        for data in self.function.axes.values() {
            if !(0..=MODERATE).contains(&data.extent) {
                self.error(format!("axis `{}` has the extent {}", data.name, data.extent));
            }
        }
        for data in self.function.buffers.values() {
            if data.len.checked_mul(data.dtype.size()).is_none_or(|bytes| bytes as u64 > MODERATE as u64) {
                self.error(format!("`{}` has {} elements", data.name, data.len));
            }
        }
    }

    fn body(&mut self) {
        self.block(&self.function.body);
        if self.errors.is_empty() {
            self.errors = races::find(self.function, &self.grid, &self.accesses);
        }
    }

    fn block(&mut self, body: &'a [Stmt]) {
        for stmt in body {
            self.statement(stmt);
        }
    }

    /// A body whose declarations end with it.
    fn scope(&mut self, body: &'a [Stmt]) {
        let outer = self.declared.len();
        self.block(body);
        for local in self.declared.split_off(outer) {
            self.known.remove(local);
        }
    }

    fn bind(&mut self, axis: Axis, body: &'a [Stmt]) {
        if self.function.axes.get(axis).is_none() {
            return self.error(format!("there is no axis {axis}"));
        }
        if !self.bound.insert(axis) {
            return self.error(format!("axis `{}` is bound twice", self.function.axes[axis].name));
        }
        // Machine code is made of what never runs, too: only the ranges and races of that are left out.
        let runs = self.runs && self.function.axes[axis].extent > 0;
        let outer = std::mem::replace(&mut self.runs, runs);
        self.scope(body);
        self.runs = outer;
        self.bound.remove(axis);
    }

    fn statement(&mut self, stmt: &'a Stmt) {
        match stmt {
            Stmt::For { axis, kind, body } => {
                // A loop within the grid that has one of its axes binds that a second time, which is another error.
                if *kind == ForKind::Parallel && !self.grid.contains(axis) {
                    self.error(
                        "a parallel loop must be the whole function, or the whole of one that is".into(),
                    );
                }
                self.bind(*axis, body);
            }
            Stmt::Set { local, value } => self.set(*local, value),
            Stmt::Store { buffer, index, stride, value } => {
                if let Some(ty) = self.value(value) {
                    self.store(*buffer, index, *stride, ty);
                }
            }
            Stmt::If { condition, then, otherwise } => {
                match self.value(condition) {
                    Some(Type::BOOL) | None => {}
                    Some(ty) => self.error(format!("a condition is a scalar truth value, not {ty}")),
                }
                for (branch, truth) in [(then, true), (otherwise, false)] {
                    let outer = self.facts.len();
                    self.facts.assume(condition, truth, &self.function.axes);
                    self.scope(branch);
                    self.facts.truncate(outer);
                }
            }
        }
    }

    fn set(&mut self, local: Local, value: &'a Expr) {
        let ty = self.value(value);
        let Some(data) = self.function.locals.get(local) else {
            return self.error(format!("there is no register {local}"));
        };
        if ty.is_some_and(|ty| ty != data.ty) {
            let ty = ty.unwrap_or(data.ty);
            self.error(format!("register `{}` is {}, its value {ty}", data.name, data.ty));
        }
        if self.known.insert(local) {
            self.declared.push(local);
        }
    }

    fn store(&mut self, buffer: Buffer, index: &'a Index, stride: i64, ty: Type) {
        let Some(data) = self.function.buffers.get(buffer) else {
            return self.error(format!("there is no buffer {buffer}"));
        };
        if data.access == AccessMode::Read {
            self.error(format!("a store to `{}`, which is only read", data.name));
        }
        if !stores(data.dtype, ty.scalar) {
            self.error(format!("`{}` holds {}, not {ty}", data.name, data.dtype));
        }
        if ty.lanes > 1 && stride == 0 {
            self.error(format!("a store of {} lanes to one element of `{}`", ty.lanes, data.name));
        }
        self.access(Access { buffer, index, stride, lanes: ty.lanes, is_store: true });
    }

    /// The type of an expression, if all is well with it.
    fn value(&mut self, expr: &'a Expr) -> Option<Type> {
        let before = self.errors.len();
        self.leaves(expr);
        if self.errors.len() > before {
            return None;
        }
        self.function.type_of(expr).map_err(|error| self.error(error)).ok()
    }

    /// Checks what an expression reads.
    fn leaves(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Float(_) | Expr::Int(_) | Expr::Bool(_) => {}
            Expr::Local(local) if !self.known.contains(*local) => {
                let name = self.function.locals.get(*local).map_or("", |data| &data.name);
                self.error(format!("{local} `{name}` is read before it is set"));
            }
            Expr::Local(_) => {}
            Expr::Number { index, stride, .. } => {
                if self.is_sound(index) && !(-MODERATE..=MODERATE).contains(stride) {
                    self.error(format!("lanes of a number are {stride} apart"));
                }
            }
            Expr::Load { buffer, index, stride, lanes } => match self.function.buffers.get(*buffer) {
                None => self.error(format!("there is no buffer {buffer}")),
                Some(data) => {
                    if data.access == AccessMode::Write {
                        self.error(format!("a load from `{}`, which is only written", data.name));
                    }
                    let (buffer, stride, lanes) = (*buffer, *stride, *lanes);
                    self.access(Access { buffer, index, stride, lanes, is_store: false });
                }
            },
            Expr::Splat(x, _) | Expr::Unary(_, x) | Expr::Fold(_, x) => self.leaves(x),
            Expr::Uniform { element, .. } => self.leaves(element),
            Expr::Binary(_, x, y) => [x, y].into_iter().for_each(|x| self.leaves(x)),
            Expr::Fma(x, y, z) | Expr::Select(x, y, z) => {
                [x, y, z].into_iter().for_each(|x| self.leaves(x));
            }
        }
    }

    /// Whether the axes of an index are bound, and its values moderate.
    fn is_sound(&mut self, index: &Index) -> bool {
        let mut free = Vec::new();
        index.for_each_axis(&mut |axis| {
            if !self.bound.contains(axis) {
                free.push(axis);
            }
        });
        for axis in &free {
            self.error(format!("{axis} is used outside its loop"));
        }
        let is_moderate = free.is_empty() && is_moderate(index, &self.function.axes);
        if free.is_empty() && !is_moderate {
            self.error(format!("the index `{}` is too large", DisplayIndex(self.function, index)));
        }
        is_moderate
    }

    fn access(&mut self, access: Access<'a>) {
        let Access { buffer, index, stride, lanes, .. } = access;
        if !self.is_sound(index) {
            return;
        }
        let spread = stride.checked_mul(i64::from(lanes) - 1);
        let Some(spread) = spread.filter(|spread| (-MODERATE..=MODERATE).contains(spread)) else {
            return self.error(format!(
                "lanes of `{}` are {stride} elements apart",
                self.function.buffers[buffer].name
            ));
        };
        if !self.runs {
            return;
        }
        let (low, high) = self.facts.range(index, &self.function.axes);
        let (low, high) = (low + spread.min(0), high + spread.max(0));
        let data = &self.function.buffers[buffer];
        // Where the facts contradict each other, the place is never reached.
        if low <= high && (low < 0 || high >= data.len as i64) {
            let text = DisplayIndex(self.function, index);
            let lanes = if lanes > 1 { format!(" and {lanes} lanes by {stride}") } else { String::new() };
            self.error(format!(
                "`{}[{text}]`{lanes} reaches {low}..={high}, and the buffer has {} elements",
                data.name, data.len
            ));
        }
        self.accesses.insert(access);
    }
}

#[cfg(test)]
#[path = "verifier_tests.rs"]
mod tests;
