//! The scalar functions and operators of equations, and how terms combine under them.

use super::term::{Kind, Term};
use super::{index, integers};
use crate::base::philox::RandomState;
use crate::elab::arithmetic;
use crate::elab::value::Value;
use crate::syntax::ast::BinaryOp;
use crate::te::{Binary, DType, Expr, ExprId, Index, Program, Unary, interpreter};

/// How many numbers a `u8` may be.
const BYTES: f64 = 256.0;

/// A scalar function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    One(Unary),
    Two(Binary),
    /// An integer or a truth value as a number.
    Real,
    /// The value, through which no gradient passes.
    Detach,
}

impl Function {
    /// The names of its parameters.
    pub fn parameters(self) -> &'static [&'static str] {
        match self {
            Function::One(_) | Function::Real | Function::Detach => &["x"],
            Function::Two(_) => &["a", "b"],
        }
    }
}

/// The scalar functions, in blocks element by element.
pub const FUNCTIONS: &[(&str, Function)] = &[
    ("exp", Function::One(Unary::Exp)),
    ("expm1", Function::One(Unary::Expm1)),
    ("log", Function::One(Unary::Log)),
    ("log1p", Function::One(Unary::Log1p)),
    ("sqrt", Function::One(Unary::Sqrt)),
    ("rsqrt", Function::One(Unary::Rsqrt)),
    ("tanh", Function::One(Unary::Tanh)),
    ("sigmoid", Function::One(Unary::Sigmoid)),
    ("erf", Function::One(Unary::Erf)),
    ("sin", Function::One(Unary::Sin)),
    ("cos", Function::One(Unary::Cos)),
    ("abs", Function::One(Unary::Abs)),
    ("floor", Function::One(Unary::Floor)),
    ("pow", Function::Two(Binary::Pow)),
    ("min", Function::Two(Binary::Min)),
    ("max", Function::Two(Binary::Max)),
    ("real", Function::Real),
    ("detach", Function::Detach),
];

/// The scalar function of a name.
pub fn elementwise_function(name: &str) -> Option<Function> {
    FUNCTIONS.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}

/// Whether the name is a scalar function.
pub fn is_elementwise(name: &str) -> bool {
    elementwise_function(name).is_some()
}

/// A term as an expression of the program.
pub fn expression(program: &mut Program, term: &Term) -> Result<(ExprId, Kind), String> {
    match term {
        Term::Const(Value::Int(value)) => Ok((program.exprs.constant(*value as f64), Kind::Int)),
        Term::Const(Value::Real(value)) => Ok((program.exprs.constant(*value), Kind::Float)),
        Term::Const(Value::Bool(value)) => Ok((program.exprs.constant(f64::from(*value)), Kind::Bool)),
        Term::Const(value) => Err(format!("{} is not a number", value.kind())),
        Term::Index(index) => Ok((integers::number(program, index)?, Kind::Int)),
        Term::Scalar(id, kind) => Ok((*id, *kind)),
    }
}

/// An integer that is known or depends on axes alone, as an index.
pub fn as_index(term: &Term) -> Option<Result<Index, String>> {
    match term {
        Term::Const(Value::Int(value)) => Some(index::constant(*value)),
        Term::Index(index) => Some(Ok(index.clone())),
        Term::Const(_) | Term::Scalar(..) => None,
    }
}

/// `x op y`: folded where both are known, an index where both are, else an expression.
pub fn binary(program: &mut Program, op: BinaryOp, x: &Term, y: &Term) -> Result<Term, String> {
    if let (Term::Const(x), Term::Const(y)) = (x, y) {
        return arithmetic::binary(op, x, y).map(Term::Const);
    }
    if let (Some(a), Some(b)) = (as_index(x), as_index(y))
        && let Some(term) = indices(program, op, &a?, &b?)?
    {
        return Ok(term);
    }
    scalars(program, op, x, y)
}

/// Arithmetic that stays an index, or a comparison that the ranges decide.
fn indices(program: &Program, op: BinaryOp, x: &Index, y: &Index) -> Result<Option<Term>, String> {
    let axes = &program.axes;
    let result = match (op, x.as_constant(), y.as_constant()) {
        (BinaryOp::Add, _, _) => index::add_scaled(x, y, 1, axes)?,
        (BinaryOp::Sub, _, _) => index::add_scaled(x, y, -1, axes)?,
        (BinaryOp::Mul, Some(k), _) => index::scale(y, k, axes)?,
        (BinaryOp::Mul, _, Some(k)) => index::scale(x, k, axes)?,
        (BinaryOp::Div, _, Some(k)) => index::div(x, k, axes)?,
        (BinaryOp::Rem, _, Some(k)) => index::rem(x, k, axes)?,
        (BinaryOp::Mul | BinaryOp::Div | BinaryOp::Rem | BinaryOp::And | BinaryOp::Or, _, _) => {
            return Ok(None);
        }
        (BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge, _, _) => {
            let (low, high) = index::add_scaled(x, y, -1, axes)?.range(axes);
            return Ok(decide(op, low, high).map(|truth| Term::Const(Value::Bool(truth))));
        }
    };
    Ok(Some(Term::Index(result)))
}

/// The truth of `d op 0`, where it is the same for every `d` in `low..=high`.
fn decide(op: BinaryOp, low: i64, high: i64) -> Option<bool> {
    let known = |yes: bool, no: bool| if yes { Some(true) } else { no.then_some(false) };
    match op {
        BinaryOp::Lt => known(high < 0, low >= 0),
        BinaryOp::Le => known(high <= 0, low > 0),
        BinaryOp::Gt => known(low > 0, high <= 0),
        BinaryOp::Ge => known(low >= 0, high < 0),
        BinaryOp::Eq => known(low == 0 && high == 0, low > 0 || high < 0),
        BinaryOp::Ne => known(low > 0 || high < 0, low == 0 && high == 0),
        BinaryOp::Add
        | BinaryOp::Sub
        | BinaryOp::Mul
        | BinaryOp::Div
        | BinaryOp::Rem
        | BinaryOp::And
        | BinaryOp::Or => None,
    }
}

fn scalars(program: &mut Program, op: BinaryOp, x: &Term, y: &Term) -> Result<Term, String> {
    let ((a, kind_a), (b, kind_b)) = (expression(program, x)?, expression(program, y)?);
    let connective = matches!(op, BinaryOp::And | BinaryOp::Or);
    let equality = matches!(op, BinaryOp::Eq | BinaryOp::Ne);
    for kind in [kind_a, kind_b] {
        if (kind == Kind::Bool) != connective && !(equality && kind_a == kind_b) {
            return Err(format!("`{}` does not take {}", op.sign(), kind.describe()));
        }
    }
    let whole = kind_a == Kind::Int && kind_b == Kind::Int;
    let (result, kind) = match (op, whole) {
        (BinaryOp::Add, _) => (Binary::Add, if whole { Kind::Int } else { Kind::Float }),
        (BinaryOp::Sub, _) => (Binary::Sub, if whole { Kind::Int } else { Kind::Float }),
        (BinaryOp::Mul, _) => (Binary::Mul, if whole { Kind::Int } else { Kind::Float }),
        (BinaryOp::Div, true) => return Ok(floor_quotient(program, a, b)),
        (BinaryOp::Div, false) => (Binary::Div, Kind::Float),
        (BinaryOp::Rem, true) => return Ok(remainder(program, a, b)),
        (BinaryOp::Rem, false) => return Err("`%` takes integers".into()),
        (BinaryOp::Eq, _) => (Binary::Eq, Kind::Bool),
        (BinaryOp::Ne, _) => (Binary::Ne, Kind::Bool),
        (BinaryOp::Lt, _) => (Binary::Lt, Kind::Bool),
        (BinaryOp::Le, _) => (Binary::Le, Kind::Bool),
        (BinaryOp::Gt, _) => (Binary::Gt, Kind::Bool),
        (BinaryOp::Ge, _) => (Binary::Ge, Kind::Bool),
        (BinaryOp::And, _) => (Binary::And, Kind::Bool),
        (BinaryOp::Or, _) => (Binary::Or, Kind::Bool),
    };
    Ok(Term::Scalar(program.exprs.binary(result, a, b), kind))
}

/// `a / b` of integers, rounded down.
fn floor_quotient(program: &mut Program, a: ExprId, b: ExprId) -> Term {
    let quotient = program.exprs.binary(Binary::Div, a, b);
    Term::Scalar(program.exprs.unary(Unary::Floor, quotient), Kind::Int)
}

/// `a - a / b * b` of integers.
fn remainder(program: &mut Program, a: ExprId, b: ExprId) -> Term {
    Term::Scalar(whole_remainder(program, a, b), Kind::Int)
}

fn whole_remainder(program: &mut Program, a: ExprId, b: ExprId) -> ExprId {
    let exprs = &mut program.exprs;
    let quotient = exprs.binary(Binary::Div, a, b);
    let whole = exprs.unary(Unary::Floor, quotient);
    let multiple = exprs.binary(Binary::Mul, whole, b);
    exprs.binary(Binary::Sub, a, multiple)
}

/// A whole number as `u8` keeps it: its lowest eight bits.
pub fn byte(program: &mut Program, id: ExprId) -> ExprId {
    if is_byte(program, id) {
        return id;
    }
    match program.exprs[id] {
        Expr::Const(value) => program.exprs.constant(value.get().rem_euclid(BYTES)),
        Expr::Select(_, x, y) if is_byte(program, x) && is_byte(program, y) => id,
        _ => {
            let count = program.exprs.constant(BYTES);
            whole_remainder(program, id, count)
        }
    }
}

/// Whether a constant, an index or an element is never anything but a `u8`.
fn is_byte(program: &Program, id: ExprId) -> bool {
    let fits = |(low, high): (i64, i64)| low >= 0 && high <= i64::from(u8::MAX);
    match &program.exprs[id] {
        Expr::Const(value) => (0.0..BYTES).contains(&value.get()),
        Expr::Number(index) => fits(index.range(&program.axes)),
        Expr::Read { tensor, fill, .. } => {
            program.tensors[*tensor].dtype == DType::U8
                && fill.is_none_or(|fill| (0.0..BYTES).contains(&fill.get()))
        }
        _ => false,
    }
}

/// A scalar function of terms.
pub fn function(program: &mut Program, function: Function, terms: &[Term]) -> Result<Term, String> {
    match (function, terms) {
        (Function::One(op), [x]) => {
            let (x, kind) = number(program, x)?;
            let kind = if matches!(op, Unary::Abs | Unary::Floor) { kind } else { Kind::Float };
            Ok(Term::Scalar(program.exprs.unary(op, x), kind))
        }
        (Function::Two(op), [x, y]) => extreme_or_power(program, op, x, y),
        (Function::Real, [x]) => expression(program, x).map(|(x, _)| Term::Scalar(x, Kind::Float)),
        (Function::Detach, [Term::Const(value @ (Value::Int(_) | Value::Real(_) | Value::Bool(_)))]) => {
            Ok(Term::Const(value.clone()))
        }
        (Function::Detach, [x]) => {
            let (x, kind) = expression(program, x)?;
            Ok(Term::Scalar(program.exprs.add(Expr::Detach(x)), kind))
        }
        (Function::One(_) | Function::Real | Function::Detach, _) => Err("this takes one number".into()),
        (Function::Two(_), _) => Err("this takes two numbers".into()),
    }
}

/// A scalar function of numbers that are known at compile time.
pub fn constant(of: Function, values: &[Value]) -> Result<Value, String> {
    let terms: Vec<Term> = values.iter().cloned().map(Term::Const).collect();
    let mut program = Program::default();
    let term = function(&mut program, of, &terms)?;
    let (body, kind) = match term {
        Term::Const(value) => return Ok(value),
        term => expression(&mut program, &term)?,
    };
    let result = program.tensor("y", kind.dtype(), Vec::new());
    program.define(result, Vec::new(), body);
    let mut found = interpreter::Values::new();
    interpreter::run(&program, &mut found, RandomState::default());
    let value = found[result][0].value;
    Ok(match kind {
        Kind::Float => Value::Real(value),
        Kind::Int => Value::Int(value as i64),
        Kind::Bool => Value::Bool(value != 0.0),
    })
}

fn extreme_or_power(program: &mut Program, op: Binary, x: &Term, y: &Term) -> Result<Term, String> {
    if let (Some(a), Some(b)) = (as_index(x), as_index(y)) {
        match op {
            Binary::Min => return index::min(&a?, &b?, &program.axes).map(Term::Index),
            Binary::Max => return index::max(&a?, &b?, &program.axes).map(Term::Index),
            _ => {}
        }
    }
    let ((a, kind_a), (b, kind_b)) = (number(program, x)?, number(program, y)?);
    let kind =
        if kind_a == Kind::Int && kind_b == Kind::Int && op != Binary::Pow { Kind::Int } else { Kind::Float };
    Ok(Term::Scalar(program.exprs.binary(op, a, b), kind))
}

fn number(program: &mut Program, term: &Term) -> Result<(ExprId, Kind), String> {
    match expression(program, term)? {
        (_, Kind::Bool) => Err("this takes a number, not a truth value".into()),
        number => Ok(number),
    }
}

/// `-x`, `!x`.
pub fn unary(program: &mut Program, op: crate::syntax::ast::UnaryOp, x: &Term) -> Result<Term, String> {
    use crate::syntax::ast::UnaryOp;
    match (op, x) {
        (_, Term::Const(x)) => arithmetic::unary(op, x).map(Term::Const),
        (UnaryOp::Neg, Term::Index(x)) => index::scale(x, -1, &program.axes).map(Term::Index),
        (UnaryOp::Neg, Term::Scalar(x, kind @ (Kind::Float | Kind::Int))) => {
            Ok(Term::Scalar(program.exprs.unary(Unary::Neg, *x), *kind))
        }
        (UnaryOp::Not, Term::Scalar(x, Kind::Bool)) => {
            Ok(Term::Scalar(program.exprs.unary(Unary::Not, *x), Kind::Bool))
        }
        (UnaryOp::Neg, Term::Scalar(_, Kind::Bool)) => Err("`-` does not take a truth value".into()),
        (UnaryOp::Not, Term::Index(_) | Term::Scalar(..)) => Err("`!` does not take a number".into()),
    }
}

/// `if condition { x } else { y }` for a condition that differs from element to element.
pub fn select(program: &mut Program, condition: ExprId, x: &Term, y: &Term) -> Result<Term, String> {
    let ((a, kind_a), (b, kind_b)) = (expression(program, x)?, expression(program, y)?);
    let kind = match (kind_a, kind_b) {
        (Kind::Bool, Kind::Bool) => Kind::Bool,
        (Kind::Int, Kind::Int) => Kind::Int,
        (Kind::Bool, _) | (_, Kind::Bool) => {
            return Err("one branch is a truth value, the other a number".into());
        }
        (Kind::Float | Kind::Int, Kind::Float | Kind::Int) => Kind::Float,
    };
    Ok(Term::Scalar(program.exprs.select(condition, a, b), kind))
}
