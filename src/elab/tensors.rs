//! What the language itself does with tensors in blocks: element-wise arithmetic and reshapes.

use super::Outcome;
use super::elaborator::Elaborator;
use super::evaluate::{Argument, at, check_single};
use super::op::{self, Kind, Term};
use super::types;
use super::value::{TensorValue, Value, show_type};
use crate::base::span::Span;
use crate::graph;
use crate::syntax::ast::{BinaryOp, Label, Name, TypeExpr, TypeKind, UnaryOp};
use crate::te::{Axis, DType, Index, Program};

pub(super) use super::op::is_elementwise;

/// The common shape of tensors, aligned at their last axes; an axis of extent 1 fits any. None where they do not fit.
pub fn broadcast(shapes: &[&[i64]]) -> Option<Vec<i64>> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        let skipped = rank - shape.len();
        for (common, extent) in result[skipped..].iter_mut().zip(*shape) {
            match (*common, *extent) {
                (a, b) if a == b => {}
                (_, 1) => {}
                (1, extent) => *common = extent,
                _ => return None,
            }
        }
    }
    types::elements(&result).map(|_| result)
}

/// The element of a tensor that an element of the common shape reads.
pub fn broadcast_index(shape: &[i64], axes: &[Axis]) -> Vec<Index> {
    let skipped = axes.len() - shape.len();
    let place =
        |(extent, axis): (&i64, &Axis)| if *extent == 1 { Index::from(0) } else { Index::from(*axis) };
    shape.iter().zip(&axes[skipped..]).map(place).collect()
}

/// `x op y` with at least one tensor.
pub(super) fn binary(
    elaborator: &mut Elaborator<'_>,
    op: BinaryOp,
    x: Value,
    y: Value,
    span: Span,
) -> Outcome<Value> {
    let compute = |program: &mut Program, terms: &[Term]| op::binary(program, op, &terms[0], &terms[1]);
    let call = Elementwise { name: operator_name(op), shown: op.sign(), label: None, span };
    elementwise(elaborator, &call, &[x, y], &compute)
}

/// `-x`, `!x` of a tensor.
pub(super) fn unary(
    elaborator: &mut Elaborator<'_>,
    op: UnaryOp,
    x: TensorValue,
    span: Span,
) -> Outcome<Value> {
    let name = match op {
        UnaryOp::Neg => "neg",
        UnaryOp::Not => "not",
    };
    let compute = |program: &mut Program, terms: &[Term]| op::unary(program, op, &terms[0]);
    let call = Elementwise { name, shown: op.sign(), label: None, span };
    elementwise(elaborator, &call, &[Value::Tensor(x)], &compute)
}

/// `exp(x)`, `max(x, y)`, ... of tensors.
pub(super) fn function(
    elaborator: &mut Elaborator<'_>,
    callee: &Name,
    arguments: &[Argument],
    label: Option<&Label>,
) -> Outcome<Value> {
    let Some(function) = op::elementwise_function(&callee.text) else {
        return Err(at(format!("`{}` is not a function of tensors", callee.text), callee.span));
    };
    let places = super::arguments::match_all(callee, function.parameters(), arguments)?;
    for argument in arguments {
        check_single(&argument.value, argument.span.unwrap_or(callee.span))?;
    }
    let values: Vec<Value> = places.into_iter().map(|place| arguments[place].value.clone()).collect();
    if let (op::Function::Real, [Value::Tensor(x)], None) = (function, values.as_slice(), label)
        && x.dtype == DType::F32
    {
        return Ok(values[0].clone()); // It is real already.
    }
    let compute = |program: &mut Program, terms: &[Term]| op::function(program, function, terms);
    let call = Elementwise { name: &callee.text, shown: &callee.text, label, span: callee.span };
    elementwise(elaborator, &call, &values, &compute)
}

fn operator_name(op: BinaryOp) -> &'static str {
    match op {
        BinaryOp::Add => "add",
        BinaryOp::Sub => "sub",
        BinaryOp::Mul => "mul",
        BinaryOp::Div => "div",
        BinaryOp::Rem => "rem",
        BinaryOp::Eq => "eq",
        BinaryOp::Ne => "ne",
        BinaryOp::Lt => "lt",
        BinaryOp::Le => "le",
        BinaryOp::Gt => "gt",
        BinaryOp::Ge => "ge",
        BinaryOp::And => "and",
        BinaryOp::Or => "or",
    }
}

/// An element-wise call: the op's name, its name in messages, and its place.
struct Elementwise<'a> {
    name: &'a str,
    shown: &'a str,
    label: Option<&'a Label>,
    span: Span,
}

type Compute<'a> = &'a dyn Fn(&mut Program, &[Term]) -> Result<Term, String>;

fn elementwise(
    elaborator: &mut Elaborator<'_>,
    call: &Elementwise<'_>,
    values: &[Value],
    compute: Compute<'_>,
) -> Outcome<Value> {
    let tensors: Vec<&TensorValue> = values.iter().filter_map(as_tensor).collect();
    let shapes: Vec<&[i64]> = tensors.iter().map(|tensor| tensor.shape.as_slice()).collect();
    let shape = broadcast(&shapes).ok_or_else(|| {
        let shown: Vec<String> = tensors.iter().map(|tensor| tensor.to_string()).collect();
        at(format!("`{}` of tensors whose shapes do not fit: {}", call.shown, shown.join(" and ")), call.span)
            .note("shapes are equal, or an axis has extent 1")
    })?;
    let key = elementwise_key(call.name, values);
    let id = match elaborator.ops.get(&key) {
        Some(id) => *id,
        None => {
            let program = elementwise_program(values, shape, compute)
                .map_err(|message| at(format!("`{}`: {message}", call.shown), call.span))?;
            elaborator.op_of(key, || graph::Op { name: call.name.to_owned(), program })
        }
    };
    let inputs = tensors.iter().map(|tensor| tensor.id).collect();
    let name = Name { text: call.name.to_owned(), span: call.span };
    let path = elaborator.op_path(call.name, call.label, &name, false)?;
    let mut results = elaborator.add_call(id, inputs, path, call.span)?;
    Ok(Value::Tensor(results.remove(0)))
}

fn as_tensor(value: &Value) -> Option<&TensorValue> {
    match value {
        Value::Tensor(tensor) => Some(tensor),
        _ => None,
    }
}

fn elementwise_key(name: &str, values: &[Value]) -> String {
    let parts: Vec<String> = values
        .iter()
        .map(|value| match value {
            Value::Tensor(tensor) => tensor.to_string(),
            value => format!("{value:?}"),
        })
        .collect();
    format!("{name}({})", parts.join(", "))
}

fn elementwise_program(values: &[Value], shape: Vec<i64>, compute: Compute<'_>) -> Result<Program, String> {
    let mut program = Program::default();
    let axes = shape_axes(&mut program, &shape);
    let mut terms = Vec::new();
    for value in values {
        terms.push(match value {
            Value::Tensor(tensor) => {
                let name = ["a", "b", "c"].get(terms.len()).copied().unwrap_or("x");
                let input = program.input(name, tensor.dtype, tensor.shape.clone());
                let id = program.exprs.read(input, broadcast_index(&tensor.shape, &axes));
                Term::Scalar(id, Kind::of(tensor.dtype))
            }
            value => Term::Const(value.clone()),
        });
    }
    let term = compute(&mut program, &terms)?;
    let (body, kind) = op::expression(&mut program, &term)?;
    let result = program.tensor("y", kind.dtype(), shape);
    program.define(result, axes, body);
    program.outputs.push(result);
    Ok(program)
}

/// One axis for each dimension.
pub fn shape_axes(program: &mut Program, shape: &[i64]) -> Vec<Axis> {
    let name = |at: usize| match (shape.len(), at) {
        (..=4, at) => ["n", "c", "h", "w"][at].to_owned(),
        _ => format!("i{at}"),
    };
    (0..shape.len()).map(|at| program.axis(name(at), shape[at])).collect()
}

/// `x as f32[N, C*H*W]`: the same elements in row-major order.
pub(super) fn reshape(elaborator: &mut Elaborator<'_>, value: Value, ty: &TypeExpr) -> Outcome<Value> {
    let Value::Tensor(tensor) = value else {
        return Err(at(format!("only tensors have a shape, not {}", value.kind()), ty.span));
    };
    let TypeKind::Tensor { dtype, dims: Some(dims) } = &ty.kind else {
        return Err(at("a reshape names all axes: `as f32[N, C]`", ty.span));
    };
    let shape = types::evaluate_shape(elaborator, "the reshape", dims)?;
    // The blocks of the library that reshape take elements of any type, and no type says so.
    let dtype = if elaborator.in_library() { &tensor.dtype } else { dtype };
    if *dtype != tensor.dtype || types::elements(&shape) != types::elements(&tensor.shape) {
        let wanted = show_type(*dtype, &shape);
        return Err(at(format!("{tensor} does not reshape to {wanted}"), ty.span).note(format!(
            "{} elements become {}",
            count(&tensor.shape),
            count(&shape)
        )));
    }
    if shape == tensor.shape {
        return Ok(Value::Tensor(tensor));
    }
    let key = format!("reshape({tensor} {shape:?})");
    let id = elaborator
        .op_of(key, || graph::Op { name: "reshape".into(), program: reshape_program(&tensor, shape) });
    let result = one_result(elaborator, id, vec![tensor.id], "reshape", None, ty.span)?;
    if let Value::Tensor(reshaped) = &result
        && elaborator.labels.contains(&tensor.id)
    {
        elaborator.labels.push(reshaped.id);
    }
    Ok(result)
}

fn count(shape: &[i64]) -> i64 {
    shape.iter().product()
}

fn reshape_program(tensor: &TensorValue, shape: Vec<i64>) -> Program {
    let mut program = Program::default();
    let input = program.input("x", tensor.dtype, tensor.shape.clone());
    let axes = shape_axes(&mut program, &shape);
    let mut flat = Index::from(0);
    for (axis, extent) in axes.iter().zip(&shape) {
        flat = flat.scale(*extent).add(&Index::from(*axis), &program.axes);
    }
    let mut stride = 1;
    let mut index = Vec::new();
    for (at, extent) in tensor.shape.iter().enumerate().rev() {
        let position = flat.div(stride, &program.axes);
        index.push(if at == 0 { position } else { position.rem(*extent, &program.axes) });
        stride *= extent;
    }
    index.reverse();
    let body = program.exprs.read(input, index);
    let result = program.tensor("y", tensor.dtype, shape);
    program.define(result, axes, body);
    program.outputs.push(result);
    program
}

/// Adds a call of an op with one result.
pub(super) fn one_result(
    elaborator: &mut Elaborator<'_>,
    op: graph::OpId,
    inputs: Vec<graph::Value>,
    name: &str,
    label: Option<&Label>,
    span: Span,
) -> Outcome<Value> {
    let callee = Name { text: name.to_owned(), span };
    let path = elaborator.op_path(name, label, &callee, false)?;
    let mut results = elaborator.add_call(op, inputs, path, span)?;
    Ok(Value::Tensor(results.remove(0)))
}
