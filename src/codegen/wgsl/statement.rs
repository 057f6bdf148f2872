//! Statements as WGSL, and the functions that they are in.

use std::collections::{HashMap, HashSet};

use super::folds::next_run;
use super::prelude::{Prelude, place};
use super::shape::Shape;
use super::{Error, Part, index};
use crate::loops::{Axis, Expr, Local, Scalar, Stmt};

/// Writes the function of a part.
pub(super) struct Writer<'p, 'f> {
    pub part: &'p Part<'f>,
    pub shape: &'p Shape<'f>,
    pub prelude: &'p mut Prelude,
    /// The number of the first of its buffers in the table of places.
    first_place: usize,
    out: String,
    pub indent: usize,
    /// Registers that have been declared.
    declared: HashSet<Local>,
    /// How often each register is set in the text.
    sets: HashMap<Local, usize>,
    /// What the folds of the statements at hand have given.
    pub folded: HashMap<*const Expr, String>,
    pub next_fold: usize,
}

impl<'p, 'f> Writer<'p, 'f> {
    pub fn new(
        part: &'p Part<'f>,
        shape: &'p Shape<'f>,
        first_place: usize,
        prelude: &'p mut Prelude,
    ) -> Writer<'p, 'f> {
        let mut sets = HashMap::new();
        count_sets(shape.body, &mut sets);
        Writer {
            part,
            shape,
            prelude,
            first_place,
            out: String::new(),
            indent: 0,
            declared: HashSet::new(),
            sets,
            folded: HashMap::new(),
            next_fold: 0,
        }
    }

    pub fn line(&mut self, line: &str) {
        self.out.extend(std::iter::repeat_n("  ", self.indent));
        self.out += line;
        self.out.push('\n');
    }

    /// The function of the part, by its number.
    pub fn part(mut self, number: usize) -> Result<String, Error> {
        self.line("");
        self.line(&format!("// {}", self.shape.function.name));
        for note in &self.part.notes {
            self.line(&format!("// {note}"));
        }
        self.line(&format!("fn part{number}(group: u32, invocation: u32) {{"));
        self.indent += 1;
        self.point();
        for (buffer, _) in &self.shape.function.buffers {
            let place = place(self.first_place + buffer.as_u32() as usize);
            self.line(&format!("let {} = {place};", self.start(buffer)));
        }
        let shape = self.shape;
        self.block(shape.body)?;
        self.indent -= 1;
        self.line("}");
        Ok(self.out)
    }

    /// Which point of the grid an invocation computes, and in which lane.
    fn point(&mut self) {
        let Shape { lanes, rows, meets, .. } = *self.shape;
        let points = self.shape.points();
        self.line(&format!("let lane = i32(invocation % {lanes}u);"));
        if meets {
            self.line(&format!("let row = invocation / {lanes}u;"));
        }
        match (meets, rows) {
            // All rows compute one point, as they meet; what comes of the first one counts.
            (true, 1) => {
                self.line("let point = group;");
                self.line("let counts = row == 0u;");
            }
            // Rows beyond the last point compute it once more.
            (true, _) => {
                self.line(&format!("let number = group * {rows}u + row;"));
                self.line(&format!("let counts = number < {points}u;"));
                self.line(&format!("let point = min(number, {}u);", points.max(1) - 1));
            }
            (false, _) => {
                self.line(&format!("let point = group * {rows}u + invocation / {lanes}u;"));
                self.line(&format!("if point >= {points}u {{ return; }}"));
            }
        }
        let mut rest = points.max(1);
        for axis in &self.shape.grid {
            let extent = self.shape.function.axes[*axis].extent.max(1) as u64;
            rest /= extent;
            let name = self.axis(*axis);
            self.line(&format!("let {name} = i32(point / {rest}u % {extent}u);"));
        }
    }

    fn axis(&self, axis: Axis) -> String {
        index::axis_name(&self.shape.function.axes, axis)
    }

    /// The name of a register.
    pub fn local(&self, local: Local) -> String {
        let name = index::identifier(&self.shape.function.locals[local].name);
        format!("{name}_r{}", local.as_u32())
    }

    fn block(&mut self, mut body: &'f [Stmt]) -> Result<(), Error> {
        while !body.is_empty() {
            let count = match next_run(body, self.shape.lanes) {
                Some(run) => {
                    self.fold_all(&run)?;
                    run.statements
                }
                None => 1,
            };
            let (statements, rest) = body.split_at(count);
            statements.iter().try_for_each(|stmt| self.statement(stmt))?;
            self.folded.clear();
            body = rest;
        }
        Ok(())
    }

    /// A body whose declarations end with it.
    fn scope(&mut self, body: &'f [Stmt]) -> Result<(), Error> {
        let outer = self.declared.clone();
        self.indent += 1;
        self.block(body)?;
        self.indent -= 1;
        self.declared = outer;
        Ok(())
    }

    fn statement(&mut self, stmt: &'f Stmt) -> Result<(), Error> {
        match stmt {
            Stmt::For { axis, body, .. } => {
                let (name, extent) = (self.axis(*axis), self.shape.function.axes[*axis].extent);
                self.line(&format!("for (var {name} = 0i; {name} < {extent}i; {name}++) {{"));
                self.scope(body)?;
                self.line("}");
            }
            Stmt::Set { local, value } => {
                let (name, value) = (self.local(*local), self.value(value)?);
                match (self.declared.insert(*local), self.sets.get(local)) {
                    (false, _) => self.line(&format!("{name} = {value};")),
                    (true, Some(1)) => self.line(&format!("let {name} = {value};")),
                    (true, _) => {
                        let ty = type_name(self.shape.function.locals[*local].ty.scalar);
                        self.line(&format!("var {name}: {ty} = {value};"));
                    }
                }
            }
            Stmt::Store { buffer, index, stride, value } => self.store(*buffer, index, *stride, value)?,
            Stmt::If { condition, then, otherwise } => {
                let condition = self.value(condition)?;
                self.line(&format!("if {condition} {{"));
                self.scope(then)?;
                if !otherwise.is_empty() {
                    self.line("} else {");
                    self.scope(otherwise)?;
                }
                self.line("}");
            }
        }
        Ok(())
    }
}

fn type_name(scalar: Scalar) -> &'static str {
    match scalar {
        Scalar::F32 => "f32",
        Scalar::I32 => "i32",
        Scalar::Bool => "bool",
    }
}

fn count_sets(body: &[Stmt], sets: &mut HashMap<Local, usize>) {
    for stmt in body {
        match stmt {
            Stmt::For { body, .. } => count_sets(body, sets),
            Stmt::Set { local, .. } => *sets.entry(*local).or_default() += 1,
            Stmt::Store { .. } => {}
            Stmt::If { then, otherwise, .. } => {
                count_sets(then, sets);
                count_sets(otherwise, sets);
            }
        }
    }
}
