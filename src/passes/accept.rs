//! Acceptance: a step that goes wrong leaves no trace.
//!
//! In: the graph of a training step with its updates. Out: the same, where every kept tensor takes its next value only if
//! the step is accepted, and its present one otherwise. A step is accepted if the loss, all gradients with their squares,
//! and what they were scaled by are finite. As this is part of the equations, it holds on every device, and updates may
//! run in place: an element that is not to change is stored over itself.
//!
//! What an optimiser makes of finite gradients can still be infinite, by a learning rate of 1e38 or a formula of the
//! user's. An element of which any next value, its own or one of the optimiser's states, is not finite keeps all of them.
//! States that a model keeps itself may hold what they like.
//!
//! The *health* of a parameter is the smallest of its gradient's elements': [`SICK`] where one is not finite, [`LARGE`]
//! where its square is not, which is what an optimiser's second moment takes, else [`SOUND`].

use crate::graph::{Graph, Op, Sink, Value};
use crate::te::{Axis, Binary, DType, ExprId, Index, Piece, Program, Reduction, Tensor, Unary};

/// The health of a parameter with a gradient that is not finite.
pub const SICK: f32 = 0.0;
/// The health of one whose gradient is finite and has no finite square.
pub const LARGE: f32 = 1.0;
/// The health of any other.
pub const SOUND: f32 = 2.0;

/// The lanes of the widest vectors.
const PARTS: i64 = 16;

/// Makes all updates depend on the acceptance of the step. `trained` are the parameters with their gradients as they are
/// derived; `scales` are numbers that must be finite as well.
pub fn run(graph: &mut Graph, trained: &[(Value, Value)], scales: &[Value]) {
    let health: Vec<(Value, Value)> =
        trained.iter().map(|(param, gradient)| (*param, health(graph, *param, *gradient))).collect();
    let losses = graph.outputs.iter().filter(|(_, sink)| *sink == Sink::Loss).map(|(value, _)| *value);
    let finite: Vec<Value> = losses.chain(scales.iter().copied()).collect();
    let sound: Vec<Value> = health.iter().map(|(_, health)| *health).collect();
    let accepted = accepted(graph, &finite, &sound);
    for (param, _) in trained {
        let node = update(graph, *param).and_then(|next| maker(graph, next));
        if let Some(node) = node {
            guard_optimiser(graph, node, accepted);
        }
    }
    for at in 0..graph.outputs.len() {
        if let (next, Sink::Update(kept)) = graph.outputs[at].clone()
            && !maker(graph, next).is_some_and(|node| graph.nodes[node].inputs.contains(&accepted))
        {
            graph.outputs[at].0 = kept_or(graph, next, kept, accepted);
        }
    }
    graph.outputs.extend(health.into_iter().map(|(param, health)| (health, Sink::Health(param))));
    graph.outputs.push((accepted, Sink::Accepted));
}

/// The next value of a kept tensor.
fn update(graph: &Graph, kept: Value) -> Option<Value> {
    graph.outputs.iter().find(|(_, sink)| *sink == Sink::Update(kept)).map(|(value, _)| *value)
}

/// The place of the node that computes a value.
fn maker(graph: &Graph, value: Value) -> Option<usize> {
    graph.nodes.iter().position(|node| node.results.contains(&value))
}

/// Adds the health of a parameter.
fn health(graph: &mut Graph, param: Value, gradient: Value) -> Value {
    let mut program = Program::default();
    let shape = graph.values[gradient].shape.clone();
    let of_gradient = program.input("gradient", DType::F32, shape.clone());
    let Walk { free, reduced, index } = walk(&mut program, &shape);
    let element = program.exprs.read(of_gradient, index);
    let square = program.exprs.binary(Binary::Mul, element, element);
    let [sick, large, sound] = [SICK, LARGE, SOUND].map(|health| program.exprs.constant(f64::from(health)));
    let is_number = is_finite(&mut program, element);
    let otherwise = program.exprs.select(is_number, large, sick);
    let is_small = is_finite(&mut program, if planted!("passes.accept.large") { element } else { square });
    let body = program.exprs.select(is_small, sound, otherwise);
    let result = smallest(&mut program, free, &reduced, body);
    program.outputs.push(result);
    let op = graph.ops.push(Op { name: "health".into(), program });
    let path = format!("health.{}", graph.values[param].name);
    graph.call(op, vec![gradient], path, None)[0]
}

/// How a search for the smallest element goes through a tensor.
struct Walk {
    /// For each point of these axes there is a smallest element of its own.
    free: Vec<Axis>,
    reduced: Vec<Axis>,
    index: Vec<Index>,
}

/// A walk that vectors and threads can share: row by row with a part for each lane, where lanes divide the rows, for a
/// large matrix should be read as it lies; else down the columns.
fn walk(program: &mut Program, shape: &[i64]) -> Walk {
    let mut axes: Vec<Axis> = shape.iter().map(|extent| program.axis("i", *extent)).collect();
    let mut index: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
    let [_, .., last] = *shape else { return Walk { free: Vec::new(), reduced: axes, index } };
    let rows = axes.remove(0);
    if last % PARTS != 0 {
        return Walk { free: axes, reduced: vec![rows], index };
    }
    let (vector, part) = (program.axis("k", last / PARTS), program.axis("l", PARTS));
    index[shape.len() - 1] = Index::from(vector).scale(PARTS).add(&Index::from(part), &program.axes);
    axes[shape.len() - 2] = vector;
    Walk { free: vec![rows, part], reduced: axes, index }
}

/// The smallest element: that of each point of some axes first.
fn smallest(program: &mut Program, free: Vec<Axis>, reduced: &[Axis], body: ExprId) -> Tensor {
    let health = program.tensor("health", DType::F32, Vec::new());
    if free.is_empty() {
        let body = minimum(program, reduced, body);
        program.define(health, Vec::new(), body);
        return health;
    }
    let shape = free.iter().map(|axis| program.axes[*axis].extent).collect();
    let parts = program.tensor("health.parts", DType::F32, shape);
    let own: Vec<Axis> = free.iter().map(|axis| program.copy_axis(*axis)).collect();
    let body = minimum(program, reduced, body);
    program.define(parts, free, body);
    let read = program.exprs.read(parts, own.iter().map(|axis| Index::from(*axis)).collect());
    let all = minimum(program, &own, read);
    program.define(health, Vec::new(), all);
    health
}

fn minimum(program: &mut Program, axes: &[Axis], body: ExprId) -> ExprId {
    if axes.is_empty() { body } else { program.exprs.reduce(Reduction::Min, axes.to_vec(), body) }
}

fn is_finite(program: &mut Program, x: ExprId) -> ExprId {
    let size = program.exprs.unary(Unary::Abs, x);
    let infinity = program.exprs.constant(f64::INFINITY);
    program.exprs.binary(Binary::Lt, size, infinity)
}

/// Adds a number that is 1 if the step is accepted, else 0.
fn accepted(graph: &mut Graph, finite: &[Value], sound: &[Value]) -> Value {
    let mut program = Program::default();
    let read = |program: &mut Program, name: &str| {
        let input = program.input(name, DType::F32, Vec::new());
        program.exprs.read(input, Vec::new())
    };
    let mut all = program.exprs.constant(1.0);
    for _ in finite {
        let number = read(&mut program, "finite");
        let finite = is_finite(&mut program, number);
        all = program.both(all, finite);
    }
    for _ in sound {
        let health = read(&mut program, "health");
        let wanted = program.exprs.constant(f64::from(SOUND));
        let is_sound = program.exprs.binary(Binary::Eq, health, wanted);
        all = program.both(all, is_sound);
    }
    let (one, zero) = (program.exprs.constant(1.0), program.exprs.constant(0.0));
    let body = program.exprs.choice(all, one, zero);
    let result = program.tensor("accepted", DType::F32, Vec::new());
    program.define(result, Vec::new(), body);
    program.outputs.push(result);
    let op = graph.ops.push(Op { name: "accepted".into(), program });
    graph.call(op, [finite, sound].concat(), "step", None)[0]
}

/// Makes the results of an optimiser's node depend on the verdict: all of them are taken at an element, where all are
/// finite there, or none. In one op, as what is computed before the verdict would need memory until then.
fn guard_optimiser(graph: &mut Graph, node: usize, accepted: Value) {
    let mut node = graph.nodes.remove(node);
    let Op { name, mut program } = graph.ops[node.op].clone();
    let verdict = verdict(&mut program);
    let bodies: Vec<ExprId> = program.equations.iter().map(|equation| equation.pieces[0].body).collect();
    let judged = if planted!("passes.accept.states") { 1 } else { bodies.len() };
    let condition = bodies.iter().take(judged).fold(verdict, |all, body| {
        let finite = is_finite(&mut program, *body);
        program.both(all, finite)
    });
    for (result, output) in node.results.iter().zip(program.outputs.clone()) {
        let kept = graph.outputs.iter().find_map(|(value, sink)| match sink {
            Sink::Update(kept) if value == result => Some(*kept),
            _ => None,
        });
        let old = kept.and_then(|kept| node.inputs.iter().position(|input| *input == kept));
        let equation = program.equations.iter().position(|equation| equation.result == output);
        let (Some(old), Some(equation)) = (old, equation) else { continue };
        let Piece { at, body, .. } = program.equations[equation].pieces[0].clone();
        let old = program.exprs.read(program.inputs[old], at);
        program.equations[equation].pieces[0].body = program.exprs.select(condition, body, old);
    }
    node.op = graph.ops.push(Op { name, program });
    node.inputs.push(accepted);
    graph.nodes.push(node);
}

/// Adds the verdict to the inputs of an op, as a truth value.
fn verdict(program: &mut Program) -> ExprId {
    let verdict = program.input("accepted", DType::F32, Vec::new());
    let (verdict, zero) = (program.exprs.read(verdict, Vec::new()), program.exprs.constant(0.0));
    program.exprs.binary(Binary::Ne, verdict, zero)
}

/// Adds the next value of a kept tensor: the one that was computed if the step is accepted, else that which it has.
fn kept_or(graph: &mut Graph, next: Value, kept: Value, accepted: Value) -> Value {
    let data = graph.values[kept].clone();
    let name = graph.values[next].name.clone();
    let path = maker(graph, next).map_or(String::new(), |node| graph.nodes[node].path.clone());
    let mut program = Program::default();
    let axes: Vec<Axis> = data.shape.iter().map(|extent| program.axis("i", *extent)).collect();
    let [new, old] = ["new", "old"].map(|name| {
        let input = program.input(name, data.dtype, data.shape.clone());
        program.exprs.read(input, axes.iter().map(|axis| Index::from(*axis)).collect())
    });
    let condition = verdict(&mut program);
    let body = program.exprs.select(condition, new, old);
    let result = program.tensor(name, data.dtype, data.shape);
    program.define(result, axes, body);
    program.outputs.push(result);
    let op = graph.ops.push(Op { name: "accept".into(), program });
    graph.call(op, vec![next, kept, accepted], path, None)[0]
}
