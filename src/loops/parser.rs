//! Reads the text form of loop IR back, by the grammar of `grammar/loops.lalrpop`, and resolves its names.
//!
//! A parsed function is well formed as a data structure, but not verified.

use std::collections::HashMap;

use lalrpop_util::lalrpop_mod;
use logos::Logos;

use super::printer::{access_name, fold_name, unary_name};
use super::text::{Atom, BufferText, FunctionText, IndexText, Lanes, Node, Term, Token};
use super::{
    AccessMode, Axis, AxisData, Buffer, BufferData, DType, Expr, Fold, ForKind, Function, Index, Local,
    LocalData, Scalar, Stmt, Type, Unary,
};

lalrpop_mod!(
    #[allow(clippy::all, clippy::pedantic, unused)]
    grammar,
    "/loops.rs"
);

/// Why a text is not a loop function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    #[error("line {line}: {message}")]
    Syntax { line: usize, message: String },
    #[error("{0}")]
    Meaning(String),
}

/// Reads one function.
pub fn parse(text: &str) -> Result<Function, ParseError> {
    let lexer = Token::lexer(text).spanned().map(|(token, span)| match token {
        Ok(token) => Ok((span.start, token, span.end)),
        Err(()) => Err((span.start, format!("`{}` is no token", &text[span.clone()]))),
    });
    let tokens: Vec<_> =
        lexer.collect::<Result<_, _>>().map_err(|(at, message)| syntax(text, at, message))?;
    let function = grammar::FunctionParser::new()
        .parse(tokens.into_iter().map(Ok::<_, String>))
        .map_err(|error| describe(text, error))?;
    Resolver::default().function(function).map_err(ParseError::Meaning)
}

fn syntax(text: &str, at: usize, message: String) -> ParseError {
    let line = 1 + text[..at].matches('\n').count();
    ParseError::Syntax { line, message }
}

fn describe(text: &str, error: lalrpop_util::ParseError<usize, Token, String>) -> ParseError {
    use lalrpop_util::ParseError as Lalr;
    match error {
        Lalr::InvalidToken { location } => syntax(text, location, "no token".into()),
        Lalr::UnrecognizedEof { .. } => syntax(text, text.len(), "the text ends early".into()),
        Lalr::UnrecognizedToken { token: (start, _, end), expected } => {
            let message = format!("`{}`, where {} may stand", &text[start..end], expected.join(" "));
            syntax(text, start, message)
        }
        Lalr::ExtraToken { token: (start, _, end) } => {
            syntax(text, start, format!("`{}` after the function", &text[start..end]))
        }
        Lalr::User { error } => syntax(text, 0, error),
    }
}

#[derive(Default)]
struct Resolver {
    function: Function,
    axes: HashMap<String, Axis>,
    buffers: HashMap<String, Buffer>,
    locals: HashMap<String, Local>,
}

type Resolved<T> = Result<T, String>;

impl Resolver {
    fn function(mut self, text: FunctionText) -> Resolved<Function> {
        self.function.name = text.name;
        for buffer in text.buffers {
            self.buffer(buffer)?;
        }
        self.function.body = self.block(text.body)?;
        Ok(self.function)
    }

    fn buffer(&mut self, text: BufferText) -> Resolved<()> {
        let accesses = [AccessMode::Read, AccessMode::Write, AccessMode::ReadWrite];
        let dtypes = [DType::F32, DType::I32, DType::U8, DType::Bool];
        let data = BufferData {
            access: find(accesses, &text.access, "an access", |access| access_name(*access).into())?,
            dtype: find(dtypes, &text.dtype, "an element type", DType::to_string)?,
            len: text.len as usize,
            name: text.name.clone(),
        };
        let buffer = self.function.buffers.push(data);
        match self.buffers.insert(text.name.clone(), buffer) {
            None => Ok(()),
            Some(_) => Err(format!("two buffers are called `{}`", text.name)),
        }
    }

    fn block(&mut self, body: Vec<Node>) -> Resolved<Vec<Stmt>> {
        body.into_iter().map(|node| self.statement(node)).collect()
    }

    fn statement(&mut self, node: Node) -> Resolved<Stmt> {
        match node {
            Node::For { low, .. } if low != 0 => Err(format!("a loop starts at 0, not {low}")),
            Node::For { parallel, axis, low: _, extent, body } => {
                let kind = if parallel { ForKind::Parallel } else { ForKind::Serial };
                let axis = self.declare_axis(axis, extent)?;
                Ok(Stmt::For { axis, kind, body: self.block(body)? })
            }
            Node::Set { local, ty, value } => {
                let value = self.expr(value)?;
                Ok(Stmt::Set { local: self.set_local(local, ty)?, value })
            }
            Node::Store { buffer, index, stride, value } => {
                let (buffer, index) = (self.find_buffer(&buffer)?, self.index(index)?);
                Ok(Stmt::Store { buffer, index, stride, value: self.expr(value)? })
            }
            Node::If { condition, then, otherwise } => Ok(Stmt::If {
                condition: self.expr(condition)?,
                then: self.block(then)?,
                otherwise: self.block(otherwise)?,
            }),
        }
    }

    /// The axis of a loop; loops with the same name have the same one.
    fn declare_axis(&mut self, name: String, extent: i64) -> Resolved<Axis> {
        if let Some(axis) = self.axes.get(&name) {
            let known = self.function.axes[*axis].extent;
            return match known == extent {
                true => Ok(*axis),
                false => Err(format!("axis `{name}` has the extents {known} and {extent}")),
            };
        }
        let axis = self.function.axes.push(AxisData { name: name.clone(), extent });
        self.axes.insert(name, axis);
        Ok(axis)
    }

    fn set_local(&mut self, name: String, ty: Option<String>) -> Resolved<Local> {
        let ty = match ty {
            None => None,
            Some(text) => Some(parse_type(&text).ok_or_else(|| format!("`{text}` is no type"))?),
        };
        match (self.locals.get(&name), ty) {
            (Some(local), None) => Ok(*local),
            (Some(local), Some(ty)) if self.function.locals[*local].ty == ty => Ok(*local),
            (Some(_), Some(_)) => Err(format!("register `{name}` has two types")),
            (None, None) => Err(format!("register `{name}` is first set without a type")),
            (None, Some(ty)) => {
                let local = self.function.locals.push(LocalData { name: name.clone(), ty });
                self.locals.insert(name, local);
                Ok(local)
            }
        }
    }

    fn find_buffer(&self, name: &str) -> Resolved<Buffer> {
        self.buffers.get(name).copied().ok_or_else(|| format!("there is no buffer `{name}`"))
    }

    fn expr(&self, term: Term) -> Resolved<Expr> {
        match term {
            Term::Float(x) => Ok(Expr::Float(x)),
            Term::Int(x) => Ok(Expr::Int(i32::try_from(x).map_err(|_| format!("{x} does not fit i32"))?)),
            Term::Bool(x) => Ok(Expr::Bool(x)),
            Term::Local(name) => {
                let local = self.locals.get(&name).ok_or_else(|| format!("there is no register `{name}`"))?;
                Ok(Expr::Local(*local))
            }
            Term::Load { buffer, index, lanes } => {
                let (lanes, stride) = lanes_and_stride(lanes, 1)?;
                Ok(Expr::Load {
                    buffer: self.find_buffer(&buffer)?,
                    index: self.index(index)?,
                    stride,
                    lanes,
                })
            }
            Term::Number { index, lanes } => {
                let (lanes, stride) = lanes_and_stride(lanes, 0)?;
                Ok(Expr::Number { index: self.index(index)?, stride, lanes })
            }
            Term::Binary(op, x, y) => {
                Ok(Expr::Binary(op, Box::new(self.expr(*x)?), Box::new(self.expr(*y)?)))
            }
            Term::Call { function, arguments } => self.call(&function, arguments),
        }
    }

    fn call(&self, function: &str, mut arguments: Vec<Term>) -> Resolved<Expr> {
        if function == "splat" {
            let lanes = integer(function, arguments.pop())?;
            return Ok(Expr::Splat(self.only_argument(function, arguments)?, lanes));
        }
        if function == "uniform" && !arguments.is_empty() {
            let stream = integer(function, Some(arguments.remove(0)))?;
            return Ok(Expr::Uniform { stream, element: self.only_argument(function, arguments)? });
        }
        if function == "fma" {
            let [x, y, z] = self.three_arguments(function, arguments)?;
            return Ok(Expr::Fma(x, y, z));
        }
        if function == "select" {
            let [condition, x, y] = self.three_arguments(function, arguments)?;
            return Ok(Expr::Select(condition, x, y));
        }
        if let Some(op) = FOLDS.into_iter().find(|op| fold_name(*op) == function) {
            return Ok(Expr::Fold(op, self.only_argument(function, arguments)?));
        }
        let op = find(UNARIES, function, "a function", |op| unary_name(*op).into())?;
        Ok(Expr::Unary(op, self.only_argument(function, arguments)?))
    }

    fn only_argument(&self, function: &str, arguments: Vec<Term>) -> Resolved<Box<Expr>> {
        let count = arguments.len();
        match arguments.into_iter().next() {
            Some(argument) if count == 1 => Ok(Box::new(self.expr(argument)?)),
            _ => Err(format!("`{function}` has another number of arguments")),
        }
    }

    fn three_arguments(&self, function: &str, arguments: Vec<Term>) -> Resolved<[Box<Expr>; 3]> {
        let arguments: Vec<Box<Expr>> =
            arguments.into_iter().map(|term| self.expr(term).map(Box::new)).collect::<Result<_, _>>()?;
        arguments.try_into().map_err(|_| format!("`{function}` takes three arguments"))
    }

    fn index(&self, text: IndexText) -> Resolved<Index> {
        let axes = &self.function.axes;
        text.0.into_iter().try_fold(Index::from(0), |sum, (k, atom)| match atom {
            None => Ok(sum.offset(k)),
            Some(atom) => Ok(sum.add_scaled(&self.atom(atom)?, k, axes)),
        })
    }

    fn atom(&self, atom: Atom) -> Resolved<Index> {
        let axes = &self.function.axes;
        match atom {
            Atom::Axis(name) => {
                let axis = self.axes.get(&name).ok_or_else(|| format!("there is no axis `{name}`"))?;
                Ok(Index::from(*axis))
            }
            Atom::Div(_, k) | Atom::Rem(_, k) if k < 1 => Err(format!("division of an index by {k}")),
            Atom::Div(x, k) => Ok(self.index(x)?.div(k, axes)),
            Atom::Rem(x, k) => Ok(self.index(x)?.rem(k, axes)),
            Atom::Min(x, y) => Ok(self.index(x)?.min_with(&self.index(y)?, axes)),
            Atom::Max(x, y) => Ok(self.index(x)?.max_with(&self.index(y)?, axes)),
        }
    }
}

const FOLDS: [Fold; 4] = [Fold::Sum, Fold::Prod, Fold::Max, Fold::Min];

const UNARIES: [Unary; 10] = [
    Unary::Neg,
    Unary::Abs,
    Unary::Sqrt,
    Unary::Floor,
    Unary::Not,
    Unary::ToFloat,
    Unary::ToInt,
    Unary::ToBits,
    Unary::FromBits,
    Unary::Fence,
];

/// The candidate with a name.
fn find<T>(
    candidates: impl IntoIterator<Item = T>,
    name: &str,
    what: &str,
    name_of: impl Fn(&T) -> String,
) -> Resolved<T> {
    let found = candidates.into_iter().find(|candidate| name_of(candidate) == name);
    found.ok_or_else(|| format!("`{name}` is not {what}"))
}

fn integer<T: TryFrom<i64>>(function: &str, argument: Option<Term>) -> Resolved<T> {
    let value = match argument {
        Some(Term::Int(value)) => T::try_from(value).ok(),
        _ => None,
    };
    value.ok_or_else(|| format!("`{function}` wants a constant number"))
}

fn lanes_and_stride(text: Option<Lanes>, default: i64) -> Resolved<(u32, i64)> {
    match text {
        None => Ok((1, default)),
        Some(Lanes { lanes, stride }) => {
            let lanes = u32::try_from(lanes).map_err(|_| format!("{lanes} lanes"))?;
            Ok((lanes, stride.unwrap_or(default)))
        }
    }
}

/// The element type and lane count that a type's text names.
fn parse_type(text: &str) -> Option<Type> {
    let (scalar, lanes) = match text.split_once('x') {
        Some((scalar, lanes)) => (scalar, lanes.parse().ok()?),
        None => (text, 1),
    };
    let scalars = [Scalar::F32, Scalar::I32, Scalar::Bool];
    let scalar = scalars.into_iter().find(|candidate| candidate.to_string() == scalar)?;
    Some(Type { scalar, lanes })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A printed text reads back and prints the same.
    #[track_caller]
    fn check(text: &str) {
        let printed = parse(text).expect("parses").to_string();
        assert_eq!(printed, text);
        assert_eq!(parse(&printed).expect("parses again").to_string(), printed);
    }

    #[test]
    fn texts_read_back() {
        check(
            "fn all.kinds(x: read f32[64], y: readwrite f32[64], k: write u8[9], m: read bool[4]) {
  parallel for n in 0..4 {
    a: f32x16 = splat(-1.5, 16)
    for i in 0..3 {
      a = fma(splat(x[16*n + i], 16), x[n - i + 4; 16], a)
      b: i32x16 = int(3*((n + 1) / 2) - ((2*n + 1) % 3) + min(n, i) - max(n, 2*i - 1); 16 by 2) << splat(3, 16)
    }
    if int(n) >= 2 & not(m[n] == 1) | false {
      y[4*n; by -4] = select(a < splat(inf, 16), a, splat(uniform(77, int(n)), 16))
    } else {
      y[n] = fold_max(max(a, splat(nan, 16))) - (1.0 - x[0] * (2.0 + 1e-12)) - -3.0
      k[0] = to_int(fence(x[0])) & 3 | -4
    }
  }
}
",
        );
    }

    #[test]
    fn clashing_and_odd_names_are_told_apart() {
        let mut function = Function { name: "1 x".into(), ..Function::default() };
        let ty = Type::F32;
        let locals = ["a", "a", "", "for", "p.q", "2"]
            .map(|name| function.locals.push(LocalData { name: name.into(), ty }));
        function.body = locals.map(|local| Stmt::Set { local, value: Expr::Float(0.0) }).into();
        let text = function.to_string();
        let names: Vec<&str> =
            text.lines().skip(1).filter_map(|line| line.trim().split(':').next()).collect();
        assert_eq!(names, ["a", "a_1", "r", "for_1", "p.q", "r2", "}"]);
        check(&text);
    }

    #[test]
    fn errors_name_the_line() {
        let error = parse("fn f() {\n  a: f32 = ]\n}").expect_err("no expression");
        assert!(error.to_string().starts_with("line 2: `]`"), "{error}");
        let error = parse("fn f() { a = 1.0 }").expect_err("no type");
        assert_eq!(error.to_string(), "register `a` is first set without a type");
    }
}
