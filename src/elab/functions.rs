//! The functions of compile-time values, in one table: calls, suggestions for unknown names and documentation read it.

use super::arithmetic::{self, Checked};
use super::scheme::Scheme;
use super::value::Value;
use crate::syntax::ast::BinaryOp;

/// A parameter of a function and its value where none is given.
pub struct Parameter {
    pub name: &'static str,
    pub default: Option<f64>,
}

/// A function of compile-time values.
pub struct Function {
    pub name: &'static str,
    pub parameters: &'static [Parameter],
    /// What it gives, in one line.
    pub doc: &'static str,
    /// Called with one value a parameter.
    pub run: fn(&[Value]) -> Checked,
}

/// The function of a name.
pub fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

const fn given(name: &'static str) -> Parameter {
    Parameter { name, default: None }
}

const fn optional(name: &'static str, default: f64) -> Parameter {
    Parameter { name, default: Some(default) }
}

const X: &[Parameter] = &[given("x")];
const PAIR: &[Parameter] = &[given("a"), given("b")];

/// All functions.
pub const FUNCTIONS: &[Function] = &[
    Function { name: "rank", parameters: X, doc: "the number of axes of a tensor", run: rank },
    Function {
        name: "size",
        parameters: &[given("x"), given("axis")],
        doc: "the extent of an axis of a tensor; -1 is the last axis",
        run: size,
    },
    Function { name: "count", parameters: X, doc: "the number of elements of a tensor", run: count },
    Function { name: "len", parameters: X, doc: "the number of elements of a list", run: len },
    Function { name: "pair", parameters: X, doc: "[x, x] of an integer; a pair stays as it is", run: pair },
    Function {
        name: "sides",
        parameters: X,
        doc: "[[top, bottom], [left, right]] of a number, a pair, or itself",
        run: sides,
    },
    Function { name: "cdiv", parameters: PAIR, doc: "a / b, rounded up", run: cdiv },
    Function { name: "min", parameters: PAIR, doc: "the smaller one", run: smaller },
    Function { name: "max", parameters: PAIR, doc: "the larger one", run: larger },
    Function { name: "real", parameters: X, doc: "the integer as a number, so that `/` divides", run: real },
    Function { name: "sqrt", parameters: X, doc: "the square root", run: |x| number(x, f64::sqrt) },
    Function { name: "exp", parameters: X, doc: "the exponential", run: |x| growing(x, f64::exp) },
    Function {
        name: "expm1",
        parameters: X,
        doc: "exp(x) - 1 of a small x",
        run: |x| growing(x, f64::exp_m1),
    },
    Function { name: "log", parameters: X, doc: "the natural logarithm", run: |x| number(x, f64::ln) },
    Function { name: "log1p", parameters: X, doc: "log(1 + x) of a small x", run: |x| number(x, f64::ln_1p) },
    Function { name: "sin", parameters: X, doc: "the sine of radians", run: |x| number(x, f64::sin) },
    Function { name: "cos", parameters: X, doc: "the cosine of radians", run: |x| number(x, f64::cos) },
    Function { name: "abs", parameters: X, doc: "the absolute value", run: absolute },
    Function { name: "floor", parameters: X, doc: "the largest integer not above x", run: floor },
    Function { name: "pow", parameters: PAIR, doc: "a to the power of b", run: pow },
    Function {
        name: "zeros",
        parameters: &[],
        doc: "fills with 0",
        run: |_| Ok(Value::Scheme(Scheme::Constant(0.0))),
    },
    Function {
        name: "ones",
        parameters: &[],
        doc: "fills with 1",
        run: |_| Ok(Value::Scheme(Scheme::Constant(1.0))),
    },
    Function {
        name: "constant",
        parameters: &[given("value")],
        doc: "fills with a value",
        run: |x| Ok(Value::Scheme(Scheme::Constant(real_of(&x[0])?))),
    },
    Function {
        name: "uniform",
        parameters: &[optional("low", 0.0), optional("high", 1.0)],
        doc: "draws from low..high",
        run: |x| Ok(Value::Scheme(Scheme::Uniform { low: real_of(&x[0])?, high: real_of(&x[1])? })),
    },
    Function {
        name: "normal",
        parameters: &[optional("mean", 0.0), optional("std", 1.0)],
        doc: "draws from the normal distribution",
        run: |x| Ok(Value::Scheme(Scheme::Normal { mean: real_of(&x[0])?, std: real_of(&x[1])? })),
    },
    Function {
        name: "xavier_uniform",
        parameters: &[optional("gain", 1.0)],
        doc: "draws uniformly by fan-in and fan-out (Glorot)",
        run: |x| Ok(Value::Scheme(Scheme::Xavier { normal: false, gain: real_of(&x[0])? })),
    },
    Function {
        name: "xavier_normal",
        parameters: &[optional("gain", 1.0)],
        doc: "draws normally by fan-in and fan-out (Glorot)",
        run: |x| Ok(Value::Scheme(Scheme::Xavier { normal: true, gain: real_of(&x[0])? })),
    },
    Function {
        name: "kaiming_uniform",
        parameters: &[optional("a", 0.0)],
        doc: "draws uniformly by fan-in (He); a is the slope of the leaky ReLU",
        run: |x| Ok(Value::Scheme(Scheme::Kaiming { normal: false, slope: real_of(&x[0])? })),
    },
    Function {
        name: "kaiming_normal",
        parameters: &[optional("a", 0.0)],
        doc: "draws normally by fan-in (He); a is the slope of the leaky ReLU",
        run: |x| Ok(Value::Scheme(Scheme::Kaiming { normal: true, slope: real_of(&x[0])? })),
    },
];

fn refuse(wanted: &str, found: &Value) -> String {
    format!("this takes {wanted}, not {}", found.kind())
}

fn real_of(x: &Value) -> Result<f64, String> {
    x.as_real().ok_or_else(|| refuse("a number", x))
}

fn int_of(x: &Value) -> Result<i64, String> {
    x.as_int().ok_or_else(|| refuse("an integer", x))
}

fn shape_of(x: &Value) -> Result<&[i64], String> {
    match x {
        Value::Tensor(tensor) => Ok(&tensor.shape),
        _ => Err(refuse("a tensor", x)),
    }
}

/// A function that is finite wherever its argument is.
fn growing(x: &[Value], function: fn(f64) -> f64) -> Checked {
    let x = real_of(&x[0])?;
    arithmetic::checked(function(x), x.is_finite(), false)
}

fn number(x: &[Value], function: fn(f64) -> f64) -> Checked {
    Ok(Value::Real(function(real_of(&x[0])?)))
}

fn rank(x: &[Value]) -> Checked {
    Ok(Value::Int(shape_of(&x[0])?.len() as i64))
}

fn size(x: &[Value]) -> Checked {
    let (shape, axis) = (shape_of(&x[0])?, int_of(&x[1])?);
    position(axis, shape.len())
        .map(|axis| Value::Int(shape[axis]))
        .ok_or_else(|| format!("axis {axis} of a tensor with {} axes", shape.len()))
}

/// A position counted from the front, or from the end by a negative number.
pub fn position(at: i64, len: usize) -> Option<usize> {
    let at = if at < 0 { at.checked_add(len as i64)? } else { at };
    usize::try_from(at).ok().filter(|at| *at < len)
}

fn count(x: &[Value]) -> Checked {
    Ok(Value::Int(shape_of(&x[0])?.iter().product()))
}

fn len(x: &[Value]) -> Checked {
    match &x[0] {
        Value::List(values) => Ok(Value::Int(values.len() as i64)),
        other => Err(refuse("a list", other)),
    }
}

fn pair(x: &[Value]) -> Checked {
    match &x[0] {
        Value::Int(value) => Ok(Value::list(vec![Value::Int(*value); 2])),
        Value::List(values) if is_pair(values) => Ok(x[0].clone()),
        other => Err(format!("expected an integer or a pair of integers, not {}", described(other))),
    }
}

fn is_pair(values: &[Value]) -> bool {
    matches!(values, [Value::Int(_), Value::Int(_)])
}

fn described(value: &Value) -> String {
    match value {
        Value::List(_) => format!("the list {value}"),
        Value::Real(_) | Value::String(_) | Value::Bool(_) => format!("{} ({value})", value.kind()),
        _ => value.kind(),
    }
}

fn sides(x: &[Value]) -> Checked {
    let twice = |value: &Value| Value::list(vec![value.clone(), value.clone()]);
    match &x[0] {
        Value::Int(_) => Ok(twice(&twice(&x[0]))),
        Value::List(values) if is_pair(values) => Ok(Value::list(values.iter().map(twice).collect())),
        Value::List(values) => match &values[..] {
            [Value::List(rows), Value::List(columns)] if is_pair(rows) && is_pair(columns) => {
                Ok(x[0].clone())
            }
            _ => Err(no_sides(&x[0])),
        },
        other => Err(no_sides(other)),
    }
}

fn no_sides(value: &Value) -> String {
    format!(
        "expected an integer, a pair or [[top, bottom], [left, right]] of integers, not {}",
        described(value)
    )
}

fn cdiv(x: &[Value]) -> Checked {
    let (a, b) = (int_of(&x[0])?, int_of(&x[1])?);
    let negative = arithmetic::floor_div(a.checked_neg().ok_or("this integer is too large")?, b)?;
    negative.checked_neg().map(Value::Int).ok_or_else(|| "this integer is too large".into())
}

fn smaller(x: &[Value]) -> Checked {
    choose(x, BinaryOp::Le)
}

fn larger(x: &[Value]) -> Checked {
    choose(x, BinaryOp::Ge)
}

fn choose(x: &[Value], order: BinaryOp) -> Checked {
    let first = arithmetic::binary(order, &x[0], &x[1])? == Value::Bool(true);
    Ok(x[usize::from(!first)].clone())
}

fn real(x: &[Value]) -> Checked {
    number(x, |value| value)
}

fn absolute(x: &[Value]) -> Checked {
    match &x[0] {
        Value::Int(value) => {
            value.checked_abs().map(Value::Int).ok_or_else(|| "this integer is too large".into())
        }
        _ => number(x, f64::abs),
    }
}

fn floor(x: &[Value]) -> Checked {
    let value = real_of(&x[0])?.floor();
    if value.abs() > 9e15 {
        return Err("this number is too large for an integer".into());
    }
    Ok(Value::Int(value as i64))
}

fn pow(x: &[Value]) -> Checked {
    if let (Value::Int(base), Value::Int(exponent @ 0..)) = (&x[0], &x[1]) {
        let power = u32::try_from(*exponent).ok().and_then(|exponent| base.checked_pow(exponent));
        return power.map(Value::Int).ok_or_else(|| "this integer is too large".into());
    }
    let (base, exponent) = (real_of(&x[0])?, real_of(&x[1])?);
    let exact = base.is_finite() && exponent.is_finite() && base != 0.0;
    arithmetic::checked(base.powf(exponent), exact, exact)
}
