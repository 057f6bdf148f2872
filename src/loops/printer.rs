//! The text form of loop IR, which [`super::parser`] reads back.
//!
//! ```text
//! fn scale(x: read f32[64], y: write f32[64]) {
//!   parallel for n in 0..4 {
//!     r: f32x16 = x[16*n; 16]
//!     y[16*n] = r * splat(2.0, 16)
//!   }
//! }
//! ```
//!
//! `x[i; 16 by 3]` loads 16 lanes 3 elements apart, `y[i; by 3] = v` stores so, `int(i; 16 by 1)` is an index as a
//! number. A register's type is written where it is first set. Names are those of the function, made identifiers and
//! told apart by a number where they clash.

use std::collections::HashMap;
use std::fmt::{Display, Formatter, Result, Write};

use cranelift_entity::SecondaryMap;

use super::{
    AccessMode, Atom, Axis, Binary, Buffer, Expr, Fold, ForKind, Function, Index, Local, Stmt, Unary,
};

/// The name of a function of one value.
pub fn unary_name(op: Unary) -> &'static str {
    match op {
        Unary::Neg => "neg",
        Unary::Abs => "abs",
        Unary::Sqrt => "sqrt",
        Unary::Floor => "floor",
        Unary::Not => "not",
        Unary::ToFloat => "to_float",
        Unary::ToInt => "to_int",
        Unary::ToBits => "to_bits",
        Unary::FromBits => "from_bits",
        Unary::Fence => "fence",
    }
}

/// The symbol or name of a function of two values.
pub fn binary_name(op: Binary) -> &'static str {
    match op {
        Binary::Add => "+",
        Binary::Sub => "-",
        Binary::Mul => "*",
        Binary::Div => "/",
        Binary::Min => "min",
        Binary::Max => "max",
        Binary::Eq => "==",
        Binary::Ne => "!=",
        Binary::Lt => "<",
        Binary::Le => "<=",
        Binary::Gt => ">",
        Binary::Ge => ">=",
        Binary::And => "&",
        Binary::Or => "|",
        Binary::Shl => "<<",
        Binary::Shr => ">>",
    }
}

/// The name of a way to join lanes.
pub fn fold_name(op: Fold) -> &'static str {
    match op {
        Fold::Sum => "fold_sum",
        Fold::Prod => "fold_prod",
        Fold::Max => "fold_max",
        Fold::Min => "fold_min",
    }
}

/// The word for an access.
pub fn access_name(access: AccessMode) -> &'static str {
    match access {
        AccessMode::Read => "read",
        AccessMode::Write => "write",
        AccessMode::ReadWrite => "readwrite",
    }
}

/// Words that are no names.
const RESERVED: [&str; 14] =
    ["fn", "parallel", "for", "in", "if", "else", "by", "int", "min", "max", "true", "false", "inf", "nan"];

impl Display for Function {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let mut printer =
            Printer { function: self, names: Names::of(self), typed: SecondaryMap::new(), out: f };
        printer.function()
    }
}

/// An index of a function, as text.
pub struct DisplayIndex<'a>(pub &'a Function, pub &'a Index);

impl Display for DisplayIndex<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let names = Names::of(self.0);
        Printer { function: self.0, names, typed: SecondaryMap::new(), out: f }.index(self.1)
    }
}

/// What everything is called.
struct Names {
    axes: SecondaryMap<Axis, String>,
    buffers: SecondaryMap<Buffer, String>,
    locals: SecondaryMap<Local, String>,
}

impl Names {
    fn of(function: &Function) -> Names {
        let mut taken: HashMap<String, usize> = RESERVED.iter().map(|word| (word.to_string(), 1)).collect();
        let mut names =
            Names { axes: SecondaryMap::new(), buffers: SecondaryMap::new(), locals: SecondaryMap::new() };
        for (buffer, data) in &function.buffers {
            names.buffers[buffer] = distinct(&data.name, "b", &mut taken);
        }
        for (axis, data) in function.axes.iter() {
            names.axes[axis] = distinct(&data.name, "i", &mut taken);
        }
        for (local, data) in &function.locals {
            names.locals[local] = distinct(&data.name, "r", &mut taken);
        }
        names
    }
}

/// The name as an identifier that is not taken yet; `default` if it is empty. `taken` has for each identifier the number
/// that the next one of its name tries first: a kernel has hundreds of registers of one name.
fn distinct(name: &str, default: &str, taken: &mut HashMap<String, usize>) -> String {
    let base = identifier(name, default);
    let mut candidate = base.clone();
    if let Some(mut number) = taken.get(&base).copied() {
        while taken.contains_key(&candidate) {
            candidate = format!("{base}_{number}");
            number += 1;
        }
        taken.insert(base, number);
    }
    taken.insert(candidate.clone(), 1);
    candidate
}

fn identifier(name: &str, default: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = name.split('.').map(|word| word.replace(|c| !allowed(c), "_"));
    let text = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".");
    match text.chars().next() {
        None => default.into(),
        Some(first) if first.is_ascii_digit() => format!("{default}{text}"),
        Some(_) => text,
    }
}

struct Printer<'a, 'b, 'f> {
    function: &'a Function,
    names: Names,
    /// The registers whose type is written already.
    typed: SecondaryMap<Local, bool>,
    out: &'b mut Formatter<'f>,
}

impl Printer<'_, '_, '_> {
    fn function(&mut self) -> Result {
        write!(self.out, "fn {}(", identifier(&self.function.name, "f"))?;
        for (buffer, data) in &self.function.buffers {
            let comma = if buffer.as_u32() == 0 { "" } else { ", " };
            let (name, access) = (&self.names.buffers[buffer], access_name(data.access));
            write!(self.out, "{comma}{name}: {access} {}[{}]", data.dtype, data.len)?;
        }
        self.out.write_str(") {\n")?;
        self.block(&self.function.body, 1)?;
        self.out.write_str("}\n")
    }

    fn block(&mut self, body: &[Stmt], depth: usize) -> Result {
        for stmt in body {
            write!(self.out, "{:1$}", "", 2 * depth)?;
            self.statement(stmt, depth)?;
        }
        Ok(())
    }

    fn statement(&mut self, stmt: &Stmt, depth: usize) -> Result {
        match stmt {
            Stmt::For { axis, kind, body } => {
                let kind = if *kind == ForKind::Parallel { "parallel " } else { "" };
                let (name, extent) = (&self.names.axes[*axis], self.function.axes[*axis].extent);
                writeln!(self.out, "{kind}for {name} in 0..{extent} {{")?;
                self.block(body, depth + 1)?;
                writeln!(self.out, "{:1$}}}", "", 2 * depth)
            }
            Stmt::Set { local, value } => {
                self.out.write_str(&self.names.locals[*local])?;
                if !std::mem::replace(&mut self.typed[*local], true) {
                    write!(self.out, ": {}", self.function.locals[*local].ty)?;
                }
                self.out.write_str(" = ")?;
                self.expr(value, 0)?;
                self.out.write_char('\n')
            }
            Stmt::Store { buffer, index, stride, value } => {
                write!(self.out, "{}[", self.names.buffers[*buffer])?;
                self.index(index)?;
                if *stride != 1 {
                    write!(self.out, "; by {stride}")?;
                }
                self.out.write_str("] = ")?;
                self.expr(value, 0)?;
                self.out.write_char('\n')
            }
            Stmt::If { condition, then, otherwise } => self.branch(condition, then, otherwise, depth),
        }
    }

    fn branch(&mut self, condition: &Expr, then: &[Stmt], otherwise: &[Stmt], depth: usize) -> Result {
        self.out.write_str("if ")?;
        self.expr(condition, 0)?;
        self.out.write_str(" {\n")?;
        self.block(then, depth + 1)?;
        if !otherwise.is_empty() {
            writeln!(self.out, "{:1$}}} else {{", "", 2 * depth)?;
            self.block(otherwise, depth + 1)?;
        }
        writeln!(self.out, "{:1$}}}", "", 2 * depth)
    }

    /// An expression, in parentheses if it binds less tightly than `binding`.
    fn expr(&mut self, expr: &Expr, binding: u8) -> Result {
        match expr {
            Expr::Float(x) => self.out.write_str(&float(*x)),
            Expr::Int(x) => write!(self.out, "{x}"),
            Expr::Bool(x) => write!(self.out, "{x}"),
            Expr::Local(local) => self.out.write_str(&self.names.locals[*local]),
            Expr::Number { index, stride, lanes } => {
                self.out.write_str("int(")?;
                self.index(index)?;
                self.lanes(*lanes, *stride, 0)?;
                self.out.write_char(')')
            }
            Expr::Load { buffer, index, stride, lanes } => {
                write!(self.out, "{}[", self.names.buffers[*buffer])?;
                self.index(index)?;
                self.lanes(*lanes, *stride, 1)?;
                self.out.write_char(']')
            }
            Expr::Splat(value, lanes) => {
                self.out.write_str("splat(")?;
                self.expr(value, 0)?;
                write!(self.out, ", {lanes})")
            }
            Expr::Unary(op, x) => self.call(unary_name(*op), &[x]),
            Expr::Binary(op @ (Binary::Min | Binary::Max), x, y) => self.call(binary_name(*op), &[x, y]),
            Expr::Binary(op, x, y) => self.infix(*op, x, y, binding),
            Expr::Fma(x, y, z) => self.call("fma", &[x, y, z]),
            Expr::Select(c, x, y) => self.call("select", &[c, x, y]),
            Expr::Fold(op, x) => self.call(fold_name(*op), &[x]),
            Expr::Uniform { stream, element } => {
                write!(self.out, "uniform({stream}, ")?;
                self.expr(element, 0)?;
                self.out.write_char(')')
            }
        }
    }

    fn lanes(&mut self, lanes: u32, stride: i64, default: i64) -> Result {
        match (lanes, stride) {
            (1, _) => Ok(()),
            (_, stride) if stride == default => write!(self.out, "; {lanes}"),
            _ => write!(self.out, "; {lanes} by {stride}"),
        }
    }

    fn call(&mut self, name: &str, arguments: &[&Expr]) -> Result {
        write!(self.out, "{name}(")?;
        for (at, argument) in arguments.iter().enumerate() {
            self.out.write_str(if at == 0 { "" } else { ", " })?;
            self.expr(argument, 0)?;
        }
        self.out.write_char(')')
    }

    fn infix(&mut self, op: Binary, x: &Expr, y: &Expr, binding: u8) -> Result {
        let level = level(op);
        let (open, close) = if level < binding { ("(", ")") } else { ("", "") };
        self.out.write_str(open)?;
        // Comparisons do not chain.
        self.expr(x, if op.is_comparison() { level + 1 } else { level })?;
        write!(self.out, " {} ", binary_name(op))?;
        self.expr(y, level + 1)?;
        self.out.write_str(close)
    }

    fn index(&mut self, index: &Index) -> Result {
        for (at, (atom, coefficient)) in index.terms().iter().enumerate() {
            let sign = match (at, *coefficient < 0) {
                (0, false) => "",
                (0, true) => "-",
                (_, false) => " + ",
                (_, true) => " - ",
            };
            self.out.write_str(sign)?;
            if coefficient.abs() != 1 {
                write!(self.out, "{}*", coefficient.abs())?;
            }
            self.atom(atom)?;
        }
        match (index.terms(), index.constant()) {
            ([], constant) => write!(self.out, "{constant}"),
            (_, 0) => Ok(()),
            (_, constant) => {
                write!(self.out, " {} {}", if constant < 0 { '-' } else { '+' }, constant.abs())
            }
        }
    }

    fn atom(&mut self, atom: &Atom) -> Result {
        let (open, x, separator, y) = match atom {
            Atom::Axis(axis) => return self.out.write_str(&self.names.axes[*axis]),
            Atom::Div(x, k) => return self.quotient(x, "/", *k),
            Atom::Rem(x, k) => return self.quotient(x, "%", *k),
            Atom::Min(x, y) => ("min(", x, ", ", y),
            Atom::Max(x, y) => ("max(", x, ", ", y),
        };
        self.out.write_str(open)?;
        self.index(x)?;
        self.out.write_str(separator)?;
        self.index(y)?;
        self.out.write_char(')')
    }

    fn quotient(&mut self, x: &Index, op: &str, k: i64) -> Result {
        let single = x.constant() == 0 && matches!(x.terms(), [(Atom::Axis(_), 1)]);
        let (open, close) = if single { ("", "") } else { ("(", ")") };
        write!(self.out, "({open}")?;
        self.index(x)?;
        write!(self.out, "{close} {op} {k})")
    }
}

/// How tightly an infix operator binds.
fn level(op: Binary) -> u8 {
    match op {
        Binary::Or => 1,
        Binary::And => 2,
        Binary::Eq | Binary::Ne | Binary::Lt | Binary::Le | Binary::Gt | Binary::Ge => 3,
        Binary::Shl | Binary::Shr => 4,
        Binary::Add | Binary::Sub => 5,
        Binary::Mul | Binary::Div => 6,
        Binary::Min | Binary::Max => 7,
    }
}

/// A number that reads back as the same `f32`; every NaN is `nan`.
fn float(x: f32) -> String {
    match x.is_nan() {
        true => "nan".into(),
        false => format!("{x:?}"),
    }
}
