//! Acceptance: a step that goes wrong leaves no trace.
//!
//! In: the graph of a training step with its updates. Out: the same, where every persistent tensor takes its next value
//! only if the step is accepted, and its present one otherwise. A step is accepted if the loss, all gradients with
//! their squares, and what they were scaled by are finite. As this is part of the equations, it holds on every device,
//! and updates may run in place: an element that is not to change is stored over itself.
//!
//! What an optimiser makes of finite gradients can still be infinite, by a learning rate of 1e38 or a formula of the
//! user's. An element of which any next value, its own or one of the optimiser's states, is not finite keeps all of
//! them. States that a model keeps itself may hold what they like.
//!
//! The *health* of a parameter follows from its gradient's largest element: [`SICK`] where that is not finite,
//! [`LARGE`] where its square is not, which is what an optimiser's second moment takes, else [`SOUND`].

use crate::base::hash::HashMap;

use indexmap::IndexSet;

use crate::graph::{Graph, Node, Op, Sink, Value};
use crate::te::{Axis, Binary, DType, Equation, ExprId, Index, Piece, Program, Reduction, Tensor, Unary};

/// The health of a parameter with a gradient that is not finite.
pub const SICK: f32 = 0.0;
/// The health of one whose gradient is finite and has no finite square.
pub const LARGE: f32 = 1.0;
/// The health of any other.
pub const SOUND: f32 = 2.0;

/// The lanes of the widest vectors, and as many rows of parts as a large gradient should have at least.
const PARTS: i64 = 16;

/// A gradient with more elements is searched in parts, which vectors and threads can share.
const FEW: i64 = 256;

/// Makes all updates depend on the acceptance of the step. `trained` are the parameters with their gradients as they
/// are derived; `scales` are numbers that must be finite as well.
pub fn run(graph: &mut Graph, trained: &[(Value, Value)], scales: &[Value]) {
    let health = (!trained.is_empty()).then(|| health(graph, trained));
    let losses = graph.outputs.iter().filter(|(_, sink)| *sink == Sink::Loss).map(|(value, _)| *value);
    let finite: Vec<Value> = losses.chain(scales.iter().copied()).collect();
    let accepted = accepted(graph, &finite, health);
    guard_optimisers(graph, trained, accepted);
    let makers = makers(graph);
    for at in 0..graph.outputs.len() {
        if let (next, Sink::Update(kept)) = graph.outputs[at].clone() {
            let maker = makers.get(&next).map(|node| &graph.nodes[*node]);
            if !maker.is_some_and(|node| node.inputs.contains(&accepted)) {
                let path = maker.map_or(String::new(), |node| node.path.clone());
                graph.outputs[at].0 = kept_or(graph, next, kept, path, accepted);
            }
        }
    }
    let params = trained.iter().map(|(param, _)| *param).collect();
    graph.outputs.extend(health.map(|health| (health, Sink::Health(params))));
    graph.outputs.push((accepted, Sink::Accepted));
}

/// The places of the nodes that compute values.
fn makers(graph: &Graph) -> HashMap<Value, usize> {
    let nodes = graph.nodes.iter().enumerate();
    nodes.flat_map(|(at, node)| node.results.iter().map(move |value| (*value, at))).collect()
}

/// Lets what the optimiser computes for parameters depend on the verdict. The nodes go behind all others, as they read
/// it.
fn guard_optimisers(graph: &mut Graph, trained: &[(Value, Value)], accepted: Value) {
    let makers = makers(graph);
    let (mut nexts, mut kept_by) = (HashMap::default(), HashMap::default());
    for (next, sink) in &graph.outputs {
        if let Sink::Update(kept) = sink {
            nexts.entry(*kept).or_insert(*next);
            kept_by.entry(*next).or_insert(*kept);
        }
    }
    let nodes = trained.iter().filter_map(|(param, _)| makers.get(nexts.get(param)?).copied());
    let nodes: IndexSet<usize> = nodes.collect();
    let mut all: Vec<Option<Node>> = std::mem::take(&mut graph.nodes).into_iter().map(Some).collect();
    let guarded: Vec<Node> = nodes.iter().filter_map(|at| all[*at].take()).collect();
    graph.nodes = all.into_iter().flatten().collect();
    for node in guarded {
        guard_optimiser(graph, node, &kept_by, accepted);
    }
}

/// Adds the health of all parameters, an element each.
fn health(graph: &mut Graph, trained: &[(Value, Value)]) -> Value {
    let mut program = Program::default();
    let count = trained.len() as i64;
    let [sizes, health] = ["size", "health"].map(|name| program.tensor(name, DType::F32, vec![count]));
    let (mut pieces, mut searched) = (Vec::new(), Vec::new());
    for (at, (param, gradient)) in trained.iter().enumerate() {
        let is_small = graph.values[*gradient].shape.iter().product::<i64>() <= FEW;
        let value = if is_small { *gradient } else { parts(graph, *param, *gradient) };
        let shape = graph.values[value].shape.clone();
        let axes: Vec<Axis> = shape.iter().map(|extent| program.axis("i", *extent)).collect();
        let input = program.input("of", DType::F32, shape);
        let index = axes.iter().map(|axis| Index::from(*axis)).collect();
        let body = size(&mut program, &axes, input, index);
        pieces.push(Piece { axes: Vec::new(), at: vec![Index::from(at as i64)], body });
        searched.push(value);
    }
    program.equations.push(Equation { result: sizes, pieces });
    let axis = program.axis("i", count);
    let read = program.exprs.read(sizes, vec![Index::from(axis)]);
    let body = of_size(&mut program, read);
    program.define(health, vec![axis], body);
    program.outputs.push(health);
    let op = graph.ops.push(Op { name: "health".into(), program });
    graph.call(op, searched, "step", None)[0]
}

/// Adds the sizes of the parts of a gradient.
fn parts(graph: &mut Graph, param: Value, gradient: Value) -> Value {
    let mut program = Program::default();
    let shape = graph.values[gradient].shape.clone();
    let input = program.input("gradient", DType::F32, shape.clone());
    let Walk { free, reduced, index } = walk(&mut program, &shape);
    let body = size(&mut program, &reduced, input, index);
    let shape = free.iter().map(|axis| program.axes[*axis].extent).collect();
    let parts = program.tensor("parts", DType::F32, shape);
    program.define(parts, free, body);
    program.outputs.push(parts);
    let op = graph.ops.push(Op { name: "size".into(), program });
    let path = format!("size.{}", graph.values[param].name);
    graph.call(op, vec![gradient], path, None)[0]
}

/// Minus the largest absolute value over some axes, NaN where there is one: a minimum takes fewer instructions to keep
/// NaN than a maximum.
fn size(program: &mut Program, over: &[Axis], of: Tensor, index: Vec<Index>) -> ExprId {
    let element = program.exprs.read(of, index);
    let size = program.exprs.unary(Unary::Abs, element);
    let size = program.exprs.unary(Unary::Neg, size);
    if over.is_empty() { size } else { program.exprs.reduce(Reduction::Min, over.to_vec(), size) }
}

/// The health of a gradient by its size. Rounding is monotone, so all squares are finite if the largest one is.
fn of_size(program: &mut Program, size: ExprId) -> ExprId {
    let square = program.exprs.binary(Binary::Mul, size, size);
    let [sick, large, sound] = [SICK, LARGE, SOUND].map(|health| program.exprs.constant(f64::from(health)));
    let is_number = is_finite(program, size);
    let otherwise = program.exprs.select(is_number, large, sick);
    let is_small = is_finite(program, if planted!("passes.accept.large") { size } else { square });
    program.exprs.select(is_small, sound, otherwise)
}

/// How a search for the largest element goes through a tensor.
struct Walk {
    /// For each point of these axes there is a largest element of its own.
    free: Vec<Axis>,
    reduced: Vec<Axis>,
    index: Vec<Index>,
}

/// A walk in parts: each some rows, or all, in a part for each lane, where lanes divide the rows, for a large matrix
/// should be read as it lies; else the columns.
fn walk(program: &mut Program, shape: &[i64]) -> Walk {
    let mut axes: Vec<Axis> = shape.iter().map(|extent| program.axis("i", *extent)).collect();
    let mut index: Vec<Index> = axes.iter().map(|axis| Index::from(*axis)).collect();
    let Some((last, before)) = shape.split_last().filter(|(last, _)| *last % PARTS == 0) else {
        let reduced = axes.drain(..axes.len().min(1)).collect();
        return Walk { free: axes, reduced, index };
    };
    let mut free = Vec::new();
    if let Some(rows) = before.first() {
        let shared = gcd(*rows, PARTS);
        let parts = if 4 * shared < PARTS { *rows } else { shared };
        let part = program.axis("r", parts);
        (axes[0], index[0]) = halves(program, part, rows / parts);
        free.push(part);
    }
    let vector = program.axis("k", last / PARTS);
    axes[before.len()] = vector;
    let (lane, place) = halves(program, vector, PARTS);
    index[before.len()] = place;
    free.push(lane);
    Walk { free, reduced: axes, index }
}

/// The axis that counts on from each point of another one, and where both are.
fn halves(program: &mut Program, high: Axis, extent: i64) -> (Axis, Index) {
    let low = program.axis("l", extent);
    (low, Index::from(high).scale(extent).add(&Index::from(low), &program.axes))
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn is_finite(program: &mut Program, x: ExprId) -> ExprId {
    let size = program.exprs.unary(Unary::Abs, x);
    let infinity = program.exprs.constant(f64::INFINITY);
    program.exprs.binary(Binary::Lt, size, infinity)
}

/// Adds a number that is 1 if the step is accepted, else 0.
fn accepted(graph: &mut Graph, finite: &[Value], health: Option<Value>) -> Value {
    let mut program = Program::default();
    let mut all = program.exprs.constant(1.0);
    for _ in finite {
        let input = program.input("finite", DType::F32, Vec::new());
        let number = program.exprs.read(input, Vec::new());
        let finite = is_finite(&mut program, number);
        all = program.both(all, finite);
    }
    if let Some(health) = health {
        let count = graph.values[health].shape[0];
        let input = program.input("health", DType::F32, vec![count]);
        let axis = program.axis("i", count);
        let element = program.exprs.read(input, vec![Index::from(axis)]);
        let least = program.exprs.reduce(Reduction::Min, vec![axis], element);
        let sound = program.exprs.constant(f64::from(SOUND));
        let is_sound = program.exprs.binary(Binary::Eq, least, sound);
        all = program.both(all, is_sound);
    }
    let (one, zero) = (program.exprs.constant(1.0), program.exprs.constant(0.0));
    let body = program.exprs.choice(all, one, zero);
    let result = program.tensor("accepted", DType::F32, Vec::new());
    program.define(result, Vec::new(), body);
    program.outputs.push(result);
    let op = graph.ops.push(Op { name: "accepted".into(), program });
    graph.call(op, finite.iter().copied().chain(health).collect(), "step", None)[0]
}

/// Makes the results of an optimiser's node depend on the verdict: all of them are taken at an element, where all are
/// finite there, or none. In one op, as what is computed before the verdict would need memory until then. The op
/// computes an element from numbers at the same place, so an equation has one piece.
fn guard_optimiser(graph: &mut Graph, mut node: Node, kept: &HashMap<Value, Value>, accepted: Value) {
    let Op { name, mut program } = graph.ops[node.op].clone();
    let bodies: Vec<ExprId> = program.equations.iter().map(|equation| equation.pieces[0].body).collect();
    let judged = if planted!("passes.accept.states") { 1 } else { bodies.len() };
    let condition = all_finite_if_accepted(&mut program, &bodies[..judged]);
    for (result, output) in node.results.iter().zip(program.outputs.clone()) {
        let old = kept.get(result).and_then(|kept| node.inputs.iter().position(|input| input == kept));
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

/// Adds the verdict to the inputs of an op. Whether it is 1 and all numbers are finite, by one comparison: 0 times such
/// a number is 0, and NaN otherwise.
fn all_finite_if_accepted(program: &mut Program, numbers: &[ExprId]) -> ExprId {
    let verdict = program.input("accepted", DType::F32, Vec::new());
    let verdict = program.exprs.read(verdict, Vec::new());
    let (one, zero) = (program.exprs.constant(1.0), program.exprs.constant(0.0));
    let one_if_finite = numbers.iter().fold(one, |sum, number| {
        let nothing = program.exprs.binary(Binary::Mul, *number, zero);
        program.exprs.binary(Binary::Add, sum, nothing)
    });
    program.exprs.binary(Binary::Eq, one_if_finite, verdict)
}

/// Adds the verdict to the inputs of an op, as a truth value.
fn verdict(program: &mut Program) -> ExprId {
    let verdict = program.input("accepted", DType::F32, Vec::new());
    let (verdict, zero) = (program.exprs.read(verdict, Vec::new()), program.exprs.constant(0.0));
    program.exprs.binary(Binary::Ne, verdict, zero)
}

/// Adds the next value of a persistent tensor: the one that was computed if the step is accepted, else that which it
/// has.
fn kept_or(graph: &mut Graph, next: Value, kept: Value, path: String, accepted: Value) -> Value {
    let data = graph.values[kept].clone();
    let name = graph.values[next].name.clone();
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
