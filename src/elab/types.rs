//! Declared types against values: what a parameter accepts, and the names that shapes bind.

use super::Outcome;
use super::evaluate::{Context, at, evaluate};
use super::show::show_declared;
use super::value::{TensorValue, Value, show_type};
use crate::base::diagnostic::Diagnostic;
use crate::base::nearest::nearest;
use crate::base::span::Span;
use crate::syntax::ast::{Expr, ExprKind, Param, TypeExpr, TypeKind};
use crate::te::DType;

/// No tensor and no axis of a reduction is larger.
pub const MOST_ELEMENTS: i64 = 1 << 31;

/// The names of types that are no tensors.
const NAMED: [&str; 6] = ["int", "float", "bool", "string", "list", "any"];

/// Whether a parameter of this type is a tensor with axes.
pub fn has_axes(ty: &TypeExpr) -> bool {
    matches!(ty.kind, TypeKind::Tensor { dims: Some(_), .. })
}

/// The element type, where the type is that of one element: `f32`, `i32`, `u8`, but not `bool`.
pub fn element_type(ty: &TypeExpr) -> Option<DType> {
    match ty.kind {
        TypeKind::Tensor { dtype: DType::Bool, dims: None } => None,
        TypeKind::Tensor { dtype, dims: None } => Some(dtype),
        TypeKind::Tensor { .. } | TypeKind::Named(_) => None,
    }
}

/// The value as its parameter takes it; an integer becomes a number where one is declared.
pub fn accept(context: &mut dyn Context, param: &Param, value: Value, span: Span) -> Outcome<Value> {
    let refuse = |wanted: &str, value: &Value| {
        at(format!("`{}` is {wanted}, not {}", param.name.text, value.kind()), span)
    };
    match (&param.ty.kind, value) {
        (TypeKind::Tensor { dtype, dims: Some(dims) }, Value::Tensor(tensor)) => {
            accept_tensor(context, param, (*dtype, dims), &tensor, span)?;
            Ok(Value::Tensor(tensor))
        }
        (TypeKind::Tensor { dims: Some(_), .. }, value) => {
            Err(refuse(&format!("a tensor {}", show_declared(&param.ty)), &value))
        }
        (TypeKind::Tensor { dtype: DType::Bool, dims: None }, value) => match value {
            Value::Bool(_) => Ok(value),
            _ => Err(refuse("a truth value", &value)),
        },
        (TypeKind::Tensor { dtype, dims: None }, value) => accept_element(param, *dtype, value, span),
        (TypeKind::Named(name), value) => {
            accept_named(name, param, value).unwrap_or_else(|(wanted, value)| Err(refuse(wanted, &value)))
        }
    }
}

fn accept_element(param: &Param, dtype: DType, value: Value, span: Span) -> Outcome<Value> {
    match value {
        Value::Int(_) | Value::Real(_) if dtype == DType::F32 => {
            Ok(Value::Real(value.as_real().unwrap_or(0.0)))
        }
        Value::Int(_) => Ok(value),
        Value::Tensor(tensor) if tensor.dtype == dtype => Ok(Value::Tensor(tensor)),
        value => Err(at(format!("`{}` is {dtype}, not {}", param.name.text, value.kind()), span)),
    }
}

type Refused = (&'static str, Value);

fn accept_named(name: &str, param: &Param, value: Value) -> Result<Outcome<Value>, Refused> {
    match (name, value) {
        ("any", value) => Ok(Ok(value)),
        ("int", value @ Value::Int(_))
        | ("string", value @ Value::String(_))
        | ("list", value @ Value::List(_))
        | ("bool", value @ Value::Bool(_)) => Ok(Ok(value)),
        ("float", value) => match value.as_real() {
            Some(real) => Ok(Ok(Value::Real(real))),
            None => Err(("a number", value)),
        },
        ("int", value) => Err(("an integer", value)),
        ("string", value) => Err(("a string", value)),
        ("list", value) => Err(("a list", value)),
        ("bool", value) => Err(("a truth value", value)),
        _ => Ok(Err(at(format!("unknown type `{name}`"), param.ty.span)
            .did_you_mean(nearest(name, NAMED))
            .note(format!("types are tensors such as f32[N, C], and {}", NAMED.join(", "))))),
    }
}

fn accept_tensor(
    context: &mut dyn Context,
    param: &Param,
    (dtype, dims): (DType, &[Expr]),
    tensor: &TensorValue,
    span: Span,
) -> Outcome<()> {
    let name = &param.name.text;
    if tensor.dtype != dtype || tensor.shape.len() != dims.len() {
        let wanted = show_declared(&param.ty);
        let mut error = at(format!("`{name}` is a tensor {wanted}, not {tensor}"), span);
        if tensor.shape.len() != dims.len() {
            let (has, needs) = (tensor.shape.len(), dims.len());
            error = error.note(format!("it has {has} {}, and {needs} are needed", axes_word(has)));
        }
        return Err(error);
    }
    for (axis, (dim, extent)) in dims.iter().zip(&tensor.shape).enumerate() {
        unify(context, dim, *extent).map_err(|error| match error {
            Mismatch::Error(error) => error,
            Mismatch::Expected(expected) => {
                let declared = show_declared(&param.ty);
                at(format!("`{name}` is {tensor}, but its axis {axis} should be {expected}"), span)
                    .note(format!("`{name}` is declared as {declared}"))
            }
        })?;
    }
    Ok(())
}

fn axes_word(count: usize) -> &'static str {
    if count == 1 { "axis" } else { "axes" }
}

/// Why an extent does not fit.
pub enum Mismatch {
    Error(Diagnostic),
    /// The extent that the type says.
    Expected(i64),
}

/// Binds a new name to an extent, or checks that the expression has this value.
pub fn unify(context: &mut dyn Context, dim: &Expr, extent: i64) -> Result<(), Mismatch> {
    if let ExprKind::Name(name) = &dim.kind
        && context.lookup(name).is_none()
    {
        context.bind(name, Value::Int(extent));
        return Ok(());
    }
    match evaluate_extent(context, dim).map_err(Mismatch::Error)? {
        expected if expected == extent => Ok(()),
        expected => Err(Mismatch::Expected(expected)),
    }
}

/// An expression that is an integer.
pub fn evaluate_extent(context: &mut dyn Context, dim: &Expr) -> Outcome<i64> {
    match evaluate(context, dim)? {
        Value::Int(extent) => Ok(extent),
        value => Err(at(format!("an extent is an integer, not {}", value.kind()), dim.span)),
    }
}

/// The shape that a type says, all of its names known; every extent is at least 1.
pub fn evaluate_shape(context: &mut dyn Context, dims: &[Expr]) -> Outcome<Vec<i64>> {
    let mut shape = Vec::new();
    for (axis, dim) in dims.iter().enumerate() {
        let extent = evaluate_extent(context, dim)?;
        if extent < 1 {
            return Err(at(format!("axis {axis} would have {extent} elements"), dim.span));
        }
        shape.push(extent);
    }
    match (elements(&shape), dims.first(), dims.last()) {
        (Some(_), _, _) | (_, None, _) | (_, _, None) => Ok(shape),
        (None, Some(first), Some(last)) => Err(too_large(&shape, first.span.to(last.span))),
    }
}

/// The number of elements, where it is not too large.
pub fn elements(shape: &[i64]) -> Option<i64> {
    shape
        .iter()
        .try_fold(1_i64, |product, extent| product.checked_mul(*extent))
        .filter(|product| *product <= MOST_ELEMENTS)
}

/// The error of a tensor with too many elements.
pub fn too_large(shape: &[i64], span: Span) -> Diagnostic {
    let shown = show_type(DType::F32, shape);
    at(format!("a tensor {shown} is too large"), span).note("a tensor has at most 2^31 elements")
}
