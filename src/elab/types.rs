//! Declared types against values: what a parameter accepts, and the names that shapes bind.

use super::Outcome;
use super::evaluate::{Context, at, evaluate};
use super::foreign;
use super::show::{show_declared, show_expr, show_values};
use super::value::{TensorValue, Value, show_type};
use crate::base::diagnostic::Diagnostic;
use crate::base::span::Span;
use crate::syntax::ast::{Expr, ExprKind, Param, TypeExpr, TypeKind};
use crate::te::DType;
use crate::te::size::MOST_ELEMENTS;

/// No tensor has more axes.
const MOST_AXES: usize = 32;

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

/// The value as its parameter takes it; an integer becomes a number where one is declared. `callee` is what has the
/// parameter.
pub fn accept(
    context: &mut dyn Context,
    callee: &str,
    param: &Param,
    value: Value,
    span: Span,
) -> Outcome<Value> {
    let refuse = |wanted: &str, value: &Value| {
        let name = &param.name.text;
        at(format!("`{callee}` takes `{name}` as {wanted}, not {}", value.kind()), span)
    };
    match (&param.ty.kind, value) {
        (TypeKind::Tensor { dtype, dims: Some(dims) }, Value::Tensor(tensor)) => {
            accept_tensor(context, callee, param, (*dtype, dims), &tensor, span)?;
            Ok(Value::Tensor(tensor))
        }
        (TypeKind::Tensor { dims: Some(_), .. }, value) => {
            Err(refuse(&format!("a tensor {}", show_declared(&param.ty)), &value))
        }
        (TypeKind::Tensor { dtype: DType::Bool, dims: None }, value @ Value::Bool(_)) => Ok(value),
        (TypeKind::Tensor { dtype: DType::Bool, dims: None }, value) => Err(refuse("a truth value", &value)),
        (TypeKind::Tensor { dtype, dims: None }, value) => {
            accept_element(*dtype, value).map_err(|value| refuse(&dtype.to_string(), &value))
        }
        (TypeKind::Named(name), value) => match accept_named(name, value) {
            Ok(value) => Ok(value),
            Err(Some((wanted, value))) => Err(refuse(wanted, &value)),
            Err(None) => Err(unknown_type(name, param.ty.span)),
        },
    }
}

fn accept_element(dtype: DType, value: Value) -> Result<Value, Value> {
    match value {
        Value::Int(value) if dtype == DType::F32 => Ok(Value::Real(value as f64)),
        Value::Real(_) if dtype == DType::F32 => Ok(value),
        Value::Int(_) => Ok(value),
        Value::Tensor(tensor) if tensor.dtype == dtype => Ok(Value::Tensor(tensor)),
        value => Err(value),
    }
}

/// The value, or what was wanted in its place; nothing where the type is not known.
fn accept_named(name: &str, value: Value) -> Result<Value, Option<(&'static str, Value)>> {
    match (name, value) {
        ("any", value)
        | ("int", value @ Value::Int(_))
        | ("string", value @ Value::String(_))
        | ("list", value @ Value::List(_))
        | ("bool", value @ Value::Bool(_)) => Ok(value),
        ("float", value) => match value.as_real() {
            Some(real) => Ok(Value::Real(real)),
            None => Err(Some(("a number", value))),
        },
        ("int", value) => Err(Some(("an integer", value))),
        ("string", value) => Err(Some(("a string", value))),
        ("list", value) => Err(Some(("a list", value))),
        ("bool", value) => Err(Some(("a truth value", value))),
        _ => Err(None),
    }
}

/// Whether a type of this name is one.
pub fn is_named(name: &str) -> bool {
    NAMED.contains(&name)
}

/// The error of a type that is not one.
pub fn unknown_type(name: &str, span: Span) -> Diagnostic {
    let error = at(format!("unknown type `{name}`"), span)
        .note(format!("types are tensors such as f32[N, C], and {}", NAMED.join(", ")));
    foreign::suggest(error, foreign::TYPES, name, NAMED)
}

fn accept_tensor(
    context: &mut dyn Context,
    callee: &str,
    param: &Param,
    (dtype, dims): (DType, &[Expr]),
    tensor: &TensorValue,
    span: Span,
) -> Outcome<()> {
    let wrong = |note: Option<String>| {
        let (name, wanted) = (&param.name.text, show_declared(&param.ty));
        let error = at(format!("`{callee}` takes `{name}` as {wanted}, this is {tensor}"), span);
        note.into_iter().fold(error, Diagnostic::note)
    };
    if tensor.shape.len() != dims.len() {
        let (has, needs) = (tensor.shape.len(), dims.len());
        let error = wrong(Some(format!("it has {has} {}, and {needs} are needed", axes_word(has))));
        return Err(reshaped(error, needs, &tensor.shape));
    }
    if tensor.dtype != dtype {
        return Err(wrong(None));
    }
    for (axis, (dim, extent)) in dims.iter().zip(&tensor.shape).enumerate() {
        unify(context, dim, *extent).map_err(|error| match error {
            Mismatch::Error(error) => error,
            Mismatch::Expected(expected) => {
                wrong(Some(format!("axis {axis} is {extent}, and `{}` is {expected}", show_expr(dim))))
            }
        })?;
    }
    Ok(())
}

/// The error of a tensor with other axes than so many, with how layers of pictures and of features go together.
pub fn reshaped(error: Diagnostic, needs: usize, shape: &[i64]) -> Diagnostic {
    match (shape, needs) {
        ([batch, _, _, ..], 2) => {
            let features = elements(&shape[1..]).unwrap_or_default();
            error.help(format!("`|> flatten` makes {} of it", show_type(DType::F32, &[*batch, features])))
        }
        ([_, _], 4) => error.help("layers for pictures stand before `flatten`"),
        _ => error,
    }
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

/// The shape that the type of `name` says, all names in it known; every extent is at least 1.
pub fn evaluate_shape(context: &mut dyn Context, name: &str, dims: &[Expr]) -> Outcome<Vec<i64>> {
    let mut shape = Vec::new();
    for (axis, dim) in dims.iter().enumerate() {
        let extent = evaluate_extent(context, dim)?;
        if extent < 1 {
            let error = at(format!("axis {axis} of `{name}` would have {extent} elements"), dim.span);
            let (names, numbers) = (show_expr(dim), show_values(dim, &|name| context.lookup(name)));
            return Err(match names == numbers {
                true => error,
                false => error.note(format!("{names} is {numbers} = {extent}")),
            });
        }
        shape.push(extent);
    }
    match (elements(&shape), dims.first(), dims.last()) {
        (Some(_), _, _) | (_, None, _) | (_, _, None) => Ok(shape),
        (None, Some(first), Some(last)) => Err(too_large(&shape, first.span.to(last.span))),
    }
}

/// The number of elements, where neither they nor the axes are too many.
pub fn elements(shape: &[i64]) -> Option<i64> {
    if shape.len() > MOST_AXES {
        return None;
    }
    shape
        .iter()
        .try_fold(1_i64, |product, extent| product.checked_mul(*extent))
        .filter(|product| *product <= MOST_ELEMENTS)
}

/// The error of a tensor with too many elements.
pub fn too_large(shape: &[i64], span: Span) -> Diagnostic {
    if shape.len() > MOST_AXES {
        return at(format!("a tensor with {} axes", shape.len()), span)
            .note(format!("a tensor has at most {MOST_AXES} axes"));
    }
    let shown = show_type(DType::F32, shape);
    at(format!("a tensor {shown} is too large"), span).note("a tensor has at most 2^31 elements")
}
