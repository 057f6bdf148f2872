//! Checked arithmetic of compile-time values. Nothing here panics: overflow and division by zero are errors.

use super::value::Value;
use crate::syntax::ast::{BinaryOp, UnaryOp};

/// An error's message; the caller knows the place.
pub type Checked = Result<Value, String>;

/// `-x`, `!x`.
pub fn unary(op: UnaryOp, x: &Value) -> Checked {
    match (op, x) {
        (UnaryOp::Neg, Value::Int(x)) => x.checked_neg().map(Value::Int).ok_or_else(overflow),
        (UnaryOp::Neg, Value::Real(x)) => Ok(Value::Real(-x)),
        (UnaryOp::Not, Value::Bool(x)) => Ok(Value::Bool(!x)),
        (UnaryOp::Neg | UnaryOp::Not, _) => Err(format!("`{}` does not take {}", op.sign(), x.kind())),
    }
}

/// `x op y`. Integers stay integers, `/` rounds down; an integer beside a number becomes one.
pub fn binary(op: BinaryOp, x: &Value, y: &Value) -> Checked {
    match (op, x, y) {
        (BinaryOp::Eq, _, _) => Ok(Value::Bool(equal(x, y))),
        (BinaryOp::Ne, _, _) => Ok(Value::Bool(!equal(x, y))),
        (BinaryOp::And, Value::Bool(x), Value::Bool(y)) => Ok(Value::Bool(*x && *y)),
        (BinaryOp::Or, Value::Bool(x), Value::Bool(y)) => Ok(Value::Bool(*x || *y)),
        (_, Value::Int(x), Value::Int(y)) => integers(op, *x, *y),
        _ => match (x.as_real(), y.as_real()) {
            (Some(x), Some(y)) => reals(op, x, y),
            _ => Err(format!("`{}` does not take {} and {}", op.sign(), x.kind(), y.kind())),
        },
    }
}

/// Whether two values are the same; an integer equals the number of its value.
fn equal(x: &Value, y: &Value) -> bool {
    match (x.as_real(), y.as_real()) {
        (Some(a), Some(b)) => a == b,
        _ => x == y,
    }
}

fn integers(op: BinaryOp, x: i64, y: i64) -> Checked {
    let value = match op {
        BinaryOp::Add => x.checked_add(y),
        BinaryOp::Sub => x.checked_sub(y),
        BinaryOp::Mul => x.checked_mul(y),
        BinaryOp::Div => return floor_div(x, y).map(Value::Int),
        BinaryOp::Rem => return floor_rem(x, y).map(Value::Int),
        BinaryOp::Lt => return Ok(Value::Bool(x < y)),
        BinaryOp::Le => return Ok(Value::Bool(x <= y)),
        BinaryOp::Gt => return Ok(Value::Bool(x > y)),
        BinaryOp::Ge => return Ok(Value::Bool(x >= y)),
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::And | BinaryOp::Or => return Err(no_connective(op)),
    };
    value.map(Value::Int).ok_or_else(overflow)
}

fn reals(op: BinaryOp, x: f64, y: f64) -> Checked {
    let value = match op {
        BinaryOp::Add => x + y,
        BinaryOp::Sub => x - y,
        BinaryOp::Mul => x * y,
        BinaryOp::Div if y == 0.0 => return Err("division by zero".into()),
        BinaryOp::Div => x / y,
        BinaryOp::Rem => return Err("`%` takes integers".into()),
        BinaryOp::Lt => return Ok(Value::Bool(x < y)),
        BinaryOp::Le => return Ok(Value::Bool(x <= y)),
        BinaryOp::Gt => return Ok(Value::Bool(x > y)),
        BinaryOp::Ge => return Ok(Value::Bool(x >= y)),
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::And | BinaryOp::Or => return Err(no_connective(op)),
    };
    checked(
        value,
        x.is_finite() && y.is_finite(),
        matches!(op, BinaryOp::Mul | BinaryOp::Div) && x != 0.0 && y != 0.0,
    )
}

/// A number that was computed, where it is not too large or too small to be told from infinity and 0. `finite` says
/// that the exact number is finite, `not_zero` that it is not 0.
pub fn checked(value: f64, finite: bool, not_zero: bool) -> Checked {
    match value {
        value if finite && value.is_infinite() => Err("this number is too large".into()),
        value if finite && not_zero && value == 0.0 => Err("this number is too small".into()),
        value => Ok(Value::Real(value)),
    }
}

/// Refuses a number that `f32`, of which all tensors of numbers are, would take for infinity or for 0.
///
/// # Errors
///
/// Where the number is finite and `f32` has only infinity for it, or not 0 and `f32` has only 0.
pub fn check_single(value: f64) -> Result<(), String> {
    let single = value as f32;
    if value.is_finite() && single.is_infinite() {
        return Err(format!("{value:e} is too large for f32, whose numbers end at {:.1e}", f32::MAX));
    }
    if value != 0.0 && single == 0.0 {
        return Err(format!("{value:e} is too small for f32, where it would be 0"));
    }
    Ok(())
}

fn no_connective(op: BinaryOp) -> String {
    format!("`{}` does not take numbers", op.sign())
}

fn overflow() -> String {
    "this integer is too large".into()
}

/// `x / y`, rounded down.
///
/// # Errors
///
/// Where `y` is 0, or the quotient is no `i64`.
pub fn floor_div(x: i64, y: i64) -> Result<i64, String> {
    if y == 0 {
        return Err("division by zero".into());
    }
    let quotient = x.checked_div(y).ok_or_else(overflow)?;
    Ok(if x % y != 0 && (x < 0) != (y < 0) { quotient - 1 } else { quotient })
}

/// The remainder of [`floor_div`]; it has the sign of `y`.
fn floor_rem(x: i64, y: i64) -> Result<i64, String> {
    if y == 0 {
        return Err("division by zero".into());
    }
    let rest = x.checked_rem(y).ok_or_else(overflow)?;
    Ok(if rest != 0 && (rest < 0) != (y < 0) { rest + y } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn division_rounds_down() {
        for (x, y, quotient, rest) in [(7, 2, 3, 1), (-7, 2, -4, 1), (7, -2, -4, -1), (-7, -2, 3, -1)] {
            assert_eq!((floor_div(x, y), floor_rem(x, y)), (Ok(quotient), Ok(rest)));
        }
        for (x, y, rest) in [(i64::MIN, 10, 2), (i64::MAX, -10, -3), (i64::MIN, i64::MAX, i64::MAX - 1)] {
            assert_eq!(floor_rem(x, y), Ok(rest), "{x} % {y}");
        }
        assert!(floor_rem(1, 0).is_err());
        assert!(floor_div(1, 0).is_err());
        assert!(floor_div(i64::MIN, -1).is_err());
        assert!(floor_rem(i64::MIN, -1).is_err());
    }

    #[test]
    fn numbers_of_f32() {
        let (least, most) = (f64::from(f32::from_bits(1)), f64::from(f32::MAX));
        for value in [0.0, -0.0, least, -least, most, -most, f64::INFINITY, f64::NAN, 0.75 * least] {
            assert_eq!(check_single(value), Ok(()), "{value:e}");
        }
        for value in [3.5e38, -3.5e38, 1e300, 1e-300, -1e-300, 0.25 * least] {
            assert!(check_single(value).is_err(), "{value:e}");
        }
    }

    #[test]
    fn numbers_neither_overflow_nor_vanish() {
        let real = |op, x, y| binary(op, &Value::Real(x), &Value::Real(y));
        for (op, x, y) in [
            (BinaryOp::Mul, 1e200, 1e200),
            (BinaryOp::Mul, 1e-200, 1e-200),
            (BinaryOp::Div, 1e200, 1e-200),
            (BinaryOp::Div, 1e-200, 1e200),
            (BinaryOp::Add, f64::MAX, f64::MAX),
            (BinaryOp::Sub, f64::MIN, f64::MAX),
        ] {
            assert!(real(op, x, y).is_err(), "{x:e} {} {y:e}", op.sign());
        }
        assert_eq!(real(BinaryOp::Mul, f64::INFINITY, 2.0), Ok(Value::Real(f64::INFINITY)));
        assert_eq!(real(BinaryOp::Div, 1.0, f64::INFINITY), Ok(Value::Real(0.0)));
        assert_eq!(real(BinaryOp::Sub, 1e-300, 1e-300), Ok(Value::Real(0.0)));
    }

    #[test]
    fn overflow_is_an_error() {
        let most = Value::Int(i64::MAX);
        for op in [BinaryOp::Add, BinaryOp::Mul] {
            assert!(binary(op, &most, &Value::Int(2)).is_err());
        }
        assert!(unary(UnaryOp::Neg, &Value::Int(i64::MIN)).is_err());
    }
}
