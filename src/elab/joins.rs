//! `concat` and `stack`: tensors side by side. Each is an op whose result has a piece for every tensor.

use super::Outcome;
use super::elaborator::Elaborator;
use super::evaluate::{Argument, Context, at};
use super::tensors::{one_result, shape_axes};
use super::types;
use super::value::{TensorValue, Value};
use crate::base::span::Span;
use crate::graph;
use crate::syntax::ast::{Label, Name};
use crate::te::{Axis, Equation, Index, Piece, Program};

/// A function that joins tensors; it takes any number of them, which no declaration in the language could say.
pub struct Join {
    pub name: &'static str,
    pub signature: &'static str,
    /// What it gives, in one line.
    pub doc: &'static str,
    run: fn(&mut Elaborator<'_>, &Name, &[Argument], Option<&Label>) -> Outcome<Value>,
}

/// All of them.
pub const JOINS: [Join; 2] = [
    Join {
        name: "concat",
        signature: "concat(a, b, ..., axis=1)",
        doc: "tensors side by side along an axis; their other axes are equal",
        run: concat,
    },
    Join {
        name: "stack",
        signature: "stack(a, b, ..., axis=0)",
        doc: "tensors of one shape side by side along a new axis",
        run: stack,
    },
];

/// So many tensors are joined at once at most.
const MOST_TENSORS: usize = 1024;

/// What a tensor of a join costs in steps.
const COST_OF_TENSOR: usize = 8;

/// Calls the join of a name, if there is one.
pub(super) fn call(
    elaborator: &mut Elaborator<'_>,
    callee: &Name,
    arguments: &[Argument],
    label: Option<&Label>,
) -> Option<Outcome<Value>> {
    let join = JOINS.iter().find(|join| join.name == callee.text)?;
    Some((join.run)(elaborator, callee, arguments, label))
}

/// The tensors and the axis of a call of `concat` or `stack`.
struct Joined {
    tensors: Vec<TensorValue>,
    axis: usize,
}

/// `concat(a, b, ..., axis=1)`: tensors side by side along an axis.
fn concat(
    elaborator: &mut Elaborator<'_>,
    callee: &Name,
    arguments: &[Argument],
    label: Option<&Label>,
) -> Outcome<Value> {
    let Joined { tensors, axis } = joined(callee, arguments, 1, 0)?;
    for other in &tensors[1..] {
        let (mut a, mut b) = (tensors[0].clone(), other.clone());
        (a.shape[axis], b.shape[axis]) = (0, 0);
        if (a.dtype, a.shape) != (b.dtype, b.shape) {
            let message = format!("`concat` along axis {axis} of {} and {other}", tensors[0]);
            return Err(at(message, callee.span).note("all other axes must be equal"));
        }
    }
    let parts: Vec<i64> = tensors.iter().map(|tensor| tensor.shape[axis]).collect();
    let mut shape = tensors[0].shape.clone();
    shape[axis] = parts.iter().sum();
    join(elaborator, callee, &tensors, &shape, label, &|program, place| {
        let mut extents = shape.clone();
        extents[axis] = parts[place];
        let axes = shape_axes(program, &extents);
        let read: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
        let mut store = read.clone();
        store[axis] = store[axis].offset(parts[..place].iter().sum());
        (axes, read, store)
    })
}

/// `stack(a, b, axis=0)`: tensors of one shape side by side along a new axis.
fn stack(
    elaborator: &mut Elaborator<'_>,
    callee: &Name,
    arguments: &[Argument],
    label: Option<&Label>,
) -> Outcome<Value> {
    let Joined { tensors, axis } = joined(callee, arguments, 0, 1)?;
    if let Some(other) =
        tensors.iter().find(|other| (other.dtype, &other.shape) != (tensors[0].dtype, &tensors[0].shape))
    {
        return Err(at(format!("`stack` of {} and {other}", tensors[0]), callee.span)
            .note("all shapes must be equal"));
    }
    let mut shape = tensors[0].shape.clone();
    shape.insert(axis, tensors.len() as i64);
    let inner = tensors[0].shape.clone();
    join(elaborator, callee, &tensors, &shape, label, &|program, place| {
        let axes = shape_axes(program, &inner);
        let read: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
        let mut store = read.clone();
        store.insert(axis, Index::from(place as i64));
        (axes, read, store)
    })
}

/// The arguments of a call that joins tensors; the axis is one of `rank + more`.
fn joined(callee: &Name, arguments: &[Argument], default: i64, more: usize) -> Outcome<Joined> {
    let (mut tensors, mut axis, mut axis_span) = (Vec::new(), default, callee.span);
    for argument in arguments {
        let span = argument.span.unwrap_or(callee.span);
        match (&argument.name, &argument.value) {
            (Some(name), Value::Int(value)) if name.text == "axis" => {
                if axis_span != callee.span {
                    return Err(at(format!("`{}` gets `axis` twice", callee.text), span));
                }
                (axis, axis_span) = (*value, span);
            }
            (Some(name), _) => {
                let message = format!("`{}` takes tensors and the argument `axis`", callee.text);
                return Err(at(message, name.span));
            }
            (None, value) => collect_tensors(callee, value, span, &mut tensors)?,
        }
    }
    if tensors.len() > MOST_TENSORS {
        let message = format!("`{}` of {} tensors", callee.text, tensors.len());
        return Err(at(message, callee.span).note(format!("it joins at most {MOST_TENSORS}")));
    }
    let Some(first) = tensors.first() else {
        return Err(at(format!("`{}` needs tensors", callee.text), callee.span));
    };
    let rank = first.shape.len();
    let axis = super::functions::position(axis, rank + more)
        .ok_or_else(|| at(format!("axis {axis} of tensors with {rank} axes"), axis_span))?;
    Ok(Joined { tensors, axis })
}

fn collect_tensors(callee: &Name, value: &Value, span: Span, found: &mut Vec<TensorValue>) -> Outcome<()> {
    match value {
        Value::Tensor(tensor) => found.push(tensor.clone()),
        Value::List(values) => {
            for value in values.iter() {
                collect_tensors(callee, value, span, found)?;
            }
        }
        value => {
            return Err(at(format!("`{}` takes tensors, not {}", callee.text, value.kind()), span));
        }
    }
    Ok(())
}

/// The axes of a piece, what it reads of its tensor and where it stores it.
type Place<'a> = &'a dyn Fn(&mut Program, usize) -> (Vec<Axis>, Vec<Index>, Vec<Index>);

fn join(
    elaborator: &mut Elaborator<'_>,
    callee: &Name,
    tensors: &[TensorValue],
    shape: &[i64],
    label: Option<&Label>,
    place: Place<'_>,
) -> Outcome<Value> {
    if types::elements(shape).is_none() {
        return Err(types::too_large(shape, callee.span));
    }
    elaborator.tick(tensors.len() * COST_OF_TENSOR, callee.span)?;
    let shown: Vec<String> = tensors.iter().map(TensorValue::to_string).collect();
    let key = format!("{}({}) {shape:?}", callee.text, shown.join(", "));
    let id = elaborator
        .op_of(key, || graph::Op { name: callee.text.clone(), program: join_program(tensors, shape, place) });
    let inputs = tensors.iter().map(|tensor| tensor.id).collect();
    one_result(elaborator, id, inputs, &callee.text, label, callee.span)
}

fn join_program(tensors: &[TensorValue], shape: &[i64], place: Place<'_>) -> Program {
    let mut program = Program::default();
    let inputs: Vec<_> = tensors
        .iter()
        .enumerate()
        .map(|(at, tensor)| program.input(format!("x{at}"), tensor.dtype, tensor.shape.clone()))
        .collect();
    let mut pieces = Vec::new();
    for (at, input) in inputs.iter().enumerate() {
        let (axes, read, store) = place(&mut program, at);
        let body = program.exprs.read(*input, read);
        pieces.push(Piece { axes, at: store, body });
    }
    let result = program.tensor("y", tensors[0].dtype, shape.to_vec());
    program.equations.push(Equation { result, pieces });
    program.outputs.push(result);
    program
}
