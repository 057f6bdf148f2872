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
//! 7. A parallel loop is the whole body of the function, and no iteration touches an element that another writes
//!    (`races`).

use std::collections::HashSet;
use std::ops::Deref;

use cranelift_entity::EntitySet;

use super::bounds::{Facts, MODERATE, is_moderate};
use super::printer::IndexText;
use super::races::{self, Touch};
use super::types::stores;
use super::{Access, Axis, Buffer, Expr, ForKind, Function, Index, Local, Stmt, Type};

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
    let mut verifier = Verifier {
        function,
        errors: Vec::new(),
        bound: EntitySet::new(),
        known: EntitySet::new(),
        declared: Vec::new(),
        facts: Facts::default(),
        touched: HashSet::new(),
    };
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
    bound: EntitySet<Axis>,
    /// Registers that are set on every path to here.
    known: EntitySet<Local>,
    /// Those in the order of their declaration.
    declared: Vec<Local>,
    facts: Facts,
    /// All accesses, for the check of parallel loops.
    touched: HashSet<Touch>,
}

impl Verifier<'_> {
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
        match self.function.body.as_slice() {
            [Stmt::For { axis, kind: ForKind::Parallel, body }] => {
                self.bind(*axis, body);
                if self.errors.is_empty() {
                    self.errors = races::find(self.function, *axis, &self.touched);
                }
            }
            body => self.block(body),
        }
    }

    fn block(&mut self, body: &[Stmt]) {
        for stmt in body {
            self.statement(stmt);
        }
    }

    /// A body whose declarations end with it.
    fn scope(&mut self, body: &[Stmt]) {
        let outer = self.declared.len();
        self.block(body);
        for local in self.declared.split_off(outer) {
            self.known.remove(local);
        }
    }

    fn bind(&mut self, axis: Axis, body: &[Stmt]) {
        if self.function.axes.get(axis).is_none() {
            return self.error(format!("there is no axis {axis}"));
        }
        if !self.bound.insert(axis) {
            return self.error(format!("axis `{}` is bound twice", self.function.axes[axis].name));
        }
        // What never runs cannot go wrong.
        if self.function.axes[axis].extent > 0 {
            self.scope(body);
        }
        self.bound.remove(axis);
    }

    fn statement(&mut self, stmt: &Stmt) {
        match stmt {
            Stmt::For { axis, kind, body } => {
                if *kind == ForKind::Parallel {
                    self.error("a parallel loop must be the whole function".into());
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

    fn set(&mut self, local: Local, value: &Expr) {
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

    fn store(&mut self, buffer: Buffer, index: &Index, stride: i64, ty: Type) {
        let Some(data) = self.function.buffers.get(buffer) else {
            return self.error(format!("there is no buffer {buffer}"));
        };
        if data.access == Access::Read {
            self.error(format!("a store to `{}`, which is only read", data.name));
        }
        if !stores(data.dtype, ty.scalar) {
            self.error(format!("`{}` holds {}, not {ty}", data.name, data.dtype));
        }
        if ty.lanes > 1 && stride == 0 {
            self.error(format!("a store of {} lanes to one element of `{}`", ty.lanes, data.name));
        }
        self.access(buffer, index, stride, ty.lanes, true);
    }

    /// The type of an expression, if all is well with it.
    fn value(&mut self, expr: &Expr) -> Option<Type> {
        let before = self.errors.len();
        self.leaves(expr);
        if self.errors.len() > before {
            return None;
        }
        self.function.type_of(expr).map_err(|error| self.error(error)).ok()
    }

    /// Checks what an expression reads.
    fn leaves(&mut self, expr: &Expr) {
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
                    if data.access == Access::Write {
                        self.error(format!("a load from `{}`, which is only written", data.name));
                    }
                    self.access(*buffer, index, *stride, *lanes, false);
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
            self.error(format!("the index `{}` is too large", IndexText(self.function, index)));
        }
        is_moderate
    }

    fn access(&mut self, buffer: Buffer, index: &Index, stride: i64, lanes: u32, store: bool) {
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
        let (low, high) = self.facts.range(index, &self.function.axes);
        let (low, high) = (low + spread.min(0), high + spread.max(0));
        let data = &self.function.buffers[buffer];
        // Where the facts contradict each other, the place is never reached.
        if low <= high && (low < 0 || high >= data.len as i64) {
            let text = IndexText(self.function, index);
            let lanes = if lanes > 1 { format!(" and {lanes} lanes by {stride}") } else { String::new() };
            self.error(format!(
                "`{}[{text}]`{lanes} reaches {low}..={high}, and the buffer has {} elements",
                data.name, data.len
            ));
        }
        self.touched.insert(Touch { buffer, index: index.clone(), stride, lanes, store });
    }
}

#[cfg(test)]
mod tests {
    use super::super::parser::parse;
    use super::*;

    /// Verifies the text of a function; `expect` is a part of its only error, or empty.
    #[track_caller]
    fn check(text: &str, expect: &str) {
        let function = parse(text).expect("parses");
        match (verify(&function), expect) {
            (Ok(()), "") => {}
            (Ok(()), expect) => panic!("no error, but `{expect}` was expected"),
            (Err(errors), "") => panic!("{errors:?}"),
            (Err(errors), expect) => {
                assert!(errors.len() == 1 && errors[0].contains(expect), "{errors:?}, not `{expect}`");
            }
        }
    }

    /// A function of one statement list over a few buffers.
    fn with_buffers(body: &str) -> String {
        format!("fn f(x: read f32[64], k: read i32[8], y: write f32[64], z: readwrite f32[64]) {{ {body} }}")
    }

    #[test]
    fn types() {
        check(&with_buffers("y[0] = 1.0"), "");
        check(&with_buffers("y[0] = 1"), "`y` holds f32, not i32");
        check(&with_buffers("y[0] = x[0] + 1"), "the operands of `+` differ: f32 and i32");
        check(&with_buffers("y[0] = splat(1.0, 3)"), "3 lanes");
        check(&with_buffers("if 1 { y[0] = 1.0 }"), "a condition is a scalar truth value, not i32");
        check(&with_buffers("a: f32x4 = x[0]"), "register `a` is f32x4, its value f32");
        check(&with_buffers("y[0] = fold_sum(x[0])"), "fold of a scalar");
    }

    #[test]
    fn scopes() {
        check(&with_buffers("for i in 0..2 { a: f32 = 1.0 y[i] = a }"), "");
        check(&with_buffers("for i in 0..2 { a: f32 = 1.0 } y[0] = a"), "is read before it is set");
        check(&with_buffers("a: f32 = 1.0 for i in 0..2 { a = a + a } y[0] = a"), "");
        check(&with_buffers("if true { a: f32 = 1.0 } else { a = 2.0 } y[0] = a"), "before it is set");
        check(&with_buffers("for i in 0..2 { for i in 0..2 { y[i] = 1.0 } }"), "is bound twice");
        check(&with_buffers("for i in 0..2 { y[i] = 1.0 } y[i] = 1.0"), "used outside its loop");
    }

    #[test]
    fn bounds() {
        check(&with_buffers("for i in 0..16 { y[4*i] = x[4*i; 4] }"), "");
        check(&with_buffers("for i in 0..16 { y[4*i + 1] = x[4*i; 4] }"), "reaches 1..=64");
        check(&with_buffers("for i in 0..22 { y[0] = x[3*i] }"), "");
        check(&with_buffers("for i in 0..22 { y[0] = x[63 - 3*i] }"), "");
        check(&with_buffers("for i in 0..23 { y[0] = x[63 - 3*i] }"), "reaches -3..=63");
        check(&with_buffers("y[0] = fold_sum(x[3; 8 by 8])"), "");
        check(&with_buffers("y[0] = fold_sum(x[8; 8 by 8])"), "reaches 8..=64");
    }

    #[test]
    fn guards() {
        let loops = |guard: &str| {
            format!("for i in 0..8 {{ for u in 0..3 {{ if {guard} {{ y[i] = x[8*i + 8*u - 8] }} }} }}")
        };
        check(&with_buffers(&loops("int(i + u - 1) >= 0 & int(i + u) <= 8")), "");
        check(&with_buffers(&loops("0 <= int(i + u - 1) & int(i + u - 1) < 8")), "");
        check(&with_buffers(&loops("int(i + u - 1) >= 0")), "reaches 0..=64");
        check(&with_buffers(&loops("int(i + u - 1) >= 0 | int(i + u - 1) < 8")), "reaches -8..=64");
        let negated = "if int(i) == 0 | int(i) > 6 { y[i] = 0.0 } else { y[i] = x[11*i - 11] }";
        check(&with_buffers(&format!("for i in 0..8 {{ {negated} }}")), "");
        check(
            &with_buffers("for i in 0..80 { if int(i) < 64 { y[i] = select(int(i) < 9, x[i], 0.0) } }"),
            "",
        );
        check(&with_buffers("for i in 0..80 { y[0] = select(int(i) < 64, x[i], 0.0) }"), "reaches 0..=79");
    }

    #[test]
    fn two_guards_bound_one_index() {
        let guard = "int(h + u - 1) >= 0 & int(h + u - 1) < 8 & int(w + v) > 0 & int(w + v) < 9";
        let body = format!("if {guard} {{ y[8*h + w] = x[8*h + 8*u + w + v - 9] }}");
        let loops =
            format!("for h in 0..8 {{ for w in 0..8 {{ for u in 0..3 {{ for v in 0..3 {{ {body} }} }} }} }}");
        check(&with_buffers(&loops), "");
    }

    #[test]
    fn accesses() {
        check(&with_buffers("x[0] = 1.0"), "a store to `x`, which is only read");
        check(&with_buffers("y[0] = y[1]"), "a load from `y`, which is only written");
        check(&with_buffers("z[0] = z[1]"), "");
        check(&with_buffers("y[0; by 0] = x[0; 4]"), "a store of 4 lanes to one element of `y`");
        check(&with_buffers("y[0] = splat(x[0], 1)"), "splat to one lane");
    }

    #[test]
    fn sizes_are_moderate() {
        const HUGE: i64 = 1 << 62;
        const ODD: i64 = HUGE - 1;
        let too_large = "is too large";
        for (index, expect) in [
            (format!("{HUGE}*i"), too_large),
            (format!("{HUGE}*i - {HUGE}"), too_large),
            (format!("{HUGE}"), too_large),
            (format!("{HUGE}*one"), too_large),
            (format!("(({ODD}*i) % 4)"), too_large),
            (format!("(({ODD}*i) / {HUGE})"), too_large),
            (format!("min({HUGE}*i, 1)"), too_large),
            (format!("{}*i + {}*one", HUGE / 2, HUGE / 2), too_large),
            // What is simplified is small.
            (format!("(({HUGE}*i) % 4)"), ""),
            (format!("(({HUGE}*i) / {HUGE})"), ""),
            (format!("((i) / {HUGE})"), ""),
        ] {
            let text = format!("for i in 0..3 {{ for one in 0..1 {{ y[0] = x[{index}] }} }}");
            check(&with_buffers(&text), expect);
        }
        // A quotient is smaller than what is divided.
        let rows = "for i in 0..268435456 { y[0] = x[1073741840*((i) / 134217728) + 8*((i) % 134217728)] }";
        check(&with_buffers(rows), "reaches 0..=2147483656");
        check(&with_buffers(&format!("y[0; by {HUGE}] = x[0; 4]")), "elements apart");
        check(&with_buffers(&format!("y[0] = fold_sum(x[0; 8 by -{HUGE}])")), "elements apart");
        check(&with_buffers(&format!("k: i32x4 = int(0; 4 by {HUGE})")), "apart");
        check(&format!("fn f(y: write f32[{HUGE}]) {{ y[0] = 1.0 }}"), "has 4611686018427387904 elements");
        check(&with_buffers(&format!("for i in 0..{HUGE} {{ y[0] = 1.0 }}")), "has the extent");
        // Near the bound, bytes and lanes included, all is well.
        let large = 1_i64 << 54;
        let far = format!(
            "fn f(y: write f32[{large}]) {{ for i in 0..2 {{ y[{}*i + 4] = splat(1.0, 4) }} }}",
            large - 8
        );
        check(&far, "");
    }

    /// However far a fact lies from all values, it narrows no range wrongly.
    #[test]
    fn facts_that_never_hold_prove_nothing() {
        let loops = |body: &str| with_buffers(&format!("for i in 0..8 {{ {body} }}"));
        let factor = 1_i64 << 52;
        check(
            &loops(&format!("if int(i) > 2000000000 {{ y[0] = 1.0 }} y[0] = x[{factor}*i]")),
            "reaches 0..=",
        );
        check(
            &loops(&format!("if int(i) > 2000000000 {{ y[0] = 1.0 }} else {{ y[0] = x[{factor}*i] }}")),
            "reaches 0..=",
        );
    }

    /// More iterations than are counted out.
    #[test]
    fn long_parallel_loops() {
        let parallel = |index: &str| {
            let access = format!("parallel for n in 0..90000000 {{ for i in 0..2 {{ y[{index}] = 1.0 }} }}");
            format!("fn f(y: write f32[2000000000]) {{ {access} }}")
        };
        check(&parallel("2*n + i"), "");
        check(&parallel("n + 90000000*i"), "");
        check(&parallel("8*((n) / 3) + 2*((n) % 3) + i"), "");
        check(&parallel("36*((n) / 12) + 8*(((n / 3)) % 4) + 2*((n) % 3) + i"), "");
        check(&parallel("8*((n) / 3) + i"), "of `y`");
        check(&parallel("8*((n) / 4) + 2*((n) % 3) + i"), "of `y`");
        check(&parallel("n + i"), "of `y`");
    }

    #[test]
    fn parallel_loops() {
        let parallel = |body: &str| with_buffers(&format!("parallel for n in 0..8 {{ {body} }}"));
        check(&parallel("y[8*n] = x[8*n; 8]"), "");
        check(&parallel("for i in 0..8 { y[8*n + i] = x[i] }"), "");
        check(&parallel("for i in 0..8 { y[n + 8*i] = x[i] }"), "");
        check(
            &parallel("for i in 0..9 { y[7*n + i] = x[i] }"),
            "iterations of `n` may touch the same element of `y`",
        );
        check(&parallel("y[0] = x[n]"), "of `y`");
        check(&parallel("z[n] = z[n] + x[n]"), "");
        check(&parallel("if int(n) < 7 { z[n] = z[n + 1] }"), "of `z`");
        check(&parallel("for i in 0..4 { y[4*n + i] = x[0] y[4*n + i + 32] = x[1] }"), "");
        check(&parallel("for i in 0..4 { y[4*n + i] = x[0] y[4*n + i + 30] = x[1] }"), "of `y`");
        check(
            &parallel("for i in 0..4 { for j in 0..2 { y[16*((n) / 2) + 8*j + 4*((n) % 2) + i] = x[0] } }"),
            "",
        );
        check(&parallel("y[((n) / 2)] = x[0]"), "of `y`");
        check(
            &with_buffers("y[0] = 1.0 parallel for n in 0..8 { y[n] = x[n] }"),
            "must be the whole function",
        );
    }
}
