//! The scalar functions and operators of equations, and how terms combine under them.

use super::index;
use super::term::{Kind, Term};
use crate::elab::arithmetic;
use crate::elab::value::Value;
use crate::syntax::ast::BinaryOp;
use crate::te::{Binary, Expr, ExprId, Index, Program, Unary};

/// A scalar function of one number or two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    One(Unary),
    Two(Binary),
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
        Term::Index(index) => Ok((program.exprs.add(Expr::Number(index.clone())), Kind::Int)),
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
    let exprs = &mut program.exprs;
    let quotient = exprs.binary(Binary::Div, a, b);
    let whole = exprs.unary(Unary::Floor, quotient);
    let multiple = exprs.binary(Binary::Mul, whole, b);
    Term::Scalar(exprs.binary(Binary::Sub, a, multiple), Kind::Int)
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
        (Function::One(_), _) => Err("this takes one number".into()),
        (Function::Two(_), _) => Err("this takes two numbers".into()),
    }
}

fn extreme_or_power(program: &mut Program, op: Binary, x: &Term, y: &Term) -> Result<Term, String> {
    if let (Some(a), Some(b)) = (as_index(x), as_index(y)) {
        match op {
            Binary::Min => return Ok(Term::Index(a?.min_with(&b?, &program.axes))),
            Binary::Max => return Ok(Term::Index(a?.max_with(&b?, &program.axes))),
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
