//! `param` and `state`: inputs of the graph with paths and initialisers.

use super::Outcome;
use super::arithmetic::check_single;
use super::elaborator::Elaborator;
use super::evaluate::{at, evaluate};
use super::scheme::Scheme;
use super::show::show_declared;
use super::types;
use super::value::Value;
use crate::base::span::Span;
use crate::graph::{Init, Role};
use crate::syntax::ast::{DeclareKind, Expr, Name, TypeExpr, TypeKind};
use crate::te::DType;

/// Declares a tensor in the present instance.
pub(super) fn declare(
    elaborator: &mut Elaborator<'_>,
    kind: DeclareKind,
    name: &Name,
    ty: &TypeExpr,
    init: &Expr,
) -> Outcome<Value> {
    let shape = declared_shape(elaborator, name, ty)?;
    let written = scheme(elaborator, init)?;
    let path = claim_path(elaborator, name)?;
    let chosen = match kind {
        DeclareKind::Param => chosen_scheme(elaborator, name, &shape)?.unwrap_or((written, init.span)),
        DeclareKind::State => (written, init.span),
    };
    let numbers = chosen.0.numbers();
    numbers.into_iter().try_for_each(check_single).map_err(|message| at(message, chosen.1))?;
    let init = chosen.0.init(&shape).map_err(|message| at(message, chosen.1))?;
    check_finite(init, chosen.1)?;
    let frozen = elaborator.freeze.is_some_and(|freeze| freeze.holds(&path));
    let role = match kind {
        DeclareKind::Param if !frozen => Role::Param { path: path.clone(), init },
        // A frozen parameter is a tensor that is kept and not trained: no gradient is derived for it.
        DeclareKind::Param | DeclareKind::State => Role::State { path: path.clone(), init },
    };
    elaborator.check_room(&path, name.span)?;
    let id = elaborator.graph.input(path, DType::F32, shape, role);
    Ok(Value::Tensor(elaborator.tensor(id)))
}

fn declared_shape(elaborator: &mut Elaborator<'_>, name: &Name, ty: &TypeExpr) -> Outcome<Vec<i64>> {
    match &ty.kind {
        TypeKind::Tensor { dtype: DType::F32, dims } => {
            types::evaluate_shape(elaborator, &name.text, dims.as_deref().unwrap_or(&[]))
        }
        TypeKind::Tensor { .. } | TypeKind::Named(_) => {
            Err(at(format!("parameters and states are tensors of f32, not {}", show_declared(ty)), ty.span))
        }
    }
}

fn scheme(elaborator: &mut Elaborator<'_>, init: &Expr) -> Outcome<Scheme> {
    match evaluate(elaborator, init)? {
        Value::Scheme(scheme) => Ok(scheme),
        value => match value.as_real() {
            Some(value) => Ok(Scheme::Constant(value)),
            None => Err(at(format!("an initialiser is needed, not {}", value.kind()), init.span)),
        },
    }
}

fn check_finite(init: Init, span: Span) -> Outcome<()> {
    let (a, b) = match init {
        Init::Constant(value) => (value, value),
        Init::Uniform { low, high } => (low, high),
        Init::Normal { mean, std } => (mean, std),
    };
    if !a.is_finite() || !b.is_finite() {
        return Err(at(format!("the initialiser's numbers are not finite: {a}, {b}"), span));
    }
    check_single(a).and_then(|()| check_single(b)).map_err(|message| at(message, span))
}

fn claim_path(elaborator: &mut Elaborator<'_>, name: &Name) -> Outcome<String> {
    let instance = elaborator.instance();
    let path = format!("{}{}", elaborator.instances[instance].prefix, name.text);
    let place = elaborator.site.filter(|_| elaborator.in_library()).unwrap_or(name.span);
    match elaborator.paths.insert(path.clone(), place) {
        Some(first) => Err(at(format!("two tensors have the path `{path}`"), name.span)
            .secondary(first, "the first one")
            .help("declare it once, or in a block of its own")),
        None => Ok(path),
    }
}

/// The scheme of the train section's `init` for this parameter: the rule of its own name before that of the block
/// that declares it, which is for tensors with two axes and more, not for biases and scales.
fn chosen_scheme(
    elaborator: &mut Elaborator<'_>,
    name: &Name,
    shape: &[i64],
) -> Outcome<Option<(Scheme, Span)>> {
    let block = elaborator.frames.last().map_or("", |frame| frame.item.name.text.as_str());
    let find = |target: &str| elaborator.rules.iter().position(|rule| rule.target == target);
    let by_block = if shape.len() >= 2 || planted!("elab.declare.biases") { find(block) } else { None };
    let Some(rule) = find(&name.text).or(by_block) else { return Ok(None) };
    elaborator.used_rules[rule] = true;
    let rule = &elaborator.rules[rule];
    Ok(Some((rule.scheme, rule.span)))
}

/// Checks the value of a block against its declared type; names that it binds are not kept.
pub(super) fn check_result(
    elaborator: &mut Elaborator<'_>,
    ty: &TypeExpr,
    value: &Value,
    span: Span,
) -> Outcome<()> {
    let (TypeKind::Tensor { dtype, dims: Some(dims) }, Value::Tensor(tensor)) = (&ty.kind, value) else {
        return check_plain_result(ty, value, span);
    };
    let declared = show_declared(ty);
    let wrong = |text: String| {
        at(format!("the result is {tensor}, but {declared} is declared"), span).secondary(ty.span, text)
    };
    if tensor.dtype != *dtype || tensor.shape.len() != dims.len() {
        let error = wrong(format!("{} axes of {dtype}", dims.len()));
        return Err(types::reshaped(error, dims.len(), &tensor.shape));
    }
    for (axis, (dim, extent)) in dims.iter().zip(&tensor.shape).enumerate() {
        types::unify(elaborator, dim, *extent).map_err(|error| match error {
            types::Mismatch::Error(error) => error,
            types::Mismatch::Expected(expected) => wrong(format!("axis {axis} is {expected}")),
        })?;
    }
    Ok(())
}

fn check_plain_result(ty: &TypeExpr, value: &Value, span: Span) -> Outcome<()> {
    let fits = match (&ty.kind, value) {
        (TypeKind::Named(name), value) => match name.as_str() {
            "int" => matches!(value, Value::Int(_)),
            "float" => value.as_real().is_some(),
            "string" => matches!(value, Value::String(_)),
            "list" => matches!(value, Value::List(_)),
            "bool" => matches!(value, Value::Bool(_)),
            "any" => true,
            _ => return Err(types::unknown_type(name, ty.span)),
        },
        (TypeKind::Tensor { dtype: DType::Bool, dims: None }, Value::Bool(_)) => true,
        (TypeKind::Tensor { dtype, dims: None }, Value::Tensor(tensor)) => {
            tensor.dtype == *dtype && tensor.shape.is_empty()
        }
        _ => false,
    };
    if fits {
        return Ok(());
    }
    let message = format!("the result is {}, but {} is declared", value.kind(), show_declared(ty));
    Err(at(message, span).secondary(ty.span, ""))
}
