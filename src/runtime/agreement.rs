//! Agreement: one graph, run in every way there is, and compared.
//!
//! - The *oracle* runs the graph node by node in `f64` ([`oracle`]). Beside every value it tracks its magnitude, and
//!   native code must agree within [`BOUND`] of that, so cancellation cannot hide an error and rounding cannot fake
//!   one.
//! - The *loop interpreter* runs the scheduled loops ([`interpreted`]), every tensor in memory of its own that begins
//!   as NaN. Native code, which shares memory by the plan, must agree bit for bit.
//! - *Threads*: one and two must agree bit for bit, also where so little is to be done that a run would not share it.
//!
//! In: a graph and values for its inputs. Out: values of its outputs, or the first difference in words.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use crate::base::philox::{RandomState, uniform};
use crate::graph::{self, Graph, Role, Sink};
use crate::kernels::Layout;
use crate::loops::interpreter::{self as loops, BufferMemory};
use crate::loops::{DType, verifier};
use crate::lower::{CompileOptions, Lowered, lower};
use crate::te::Tensor;
use crate::te::interpreter::Number;

use super::device::Device;
use super::devices;
use super::executable::Executable;
use super::instance::Instance;
use super::store::Store;
use super::values::Values;

/// The largest difference between native code and the oracle, in units of the magnitude.
pub const BOUND: f64 = 1e-5;

/// A difference that is none: what underflows in single precision.
const LEAST: f64 = 1e-30;

/// The values of all inputs of a graph in its order, each row-major. Those of other types than `f32` are whole numbers.
pub type Tensors = Vec<Vec<f32>>;

/// The values of all outputs of a graph in its order, each row-major.
pub type Outputs = Vec<Values>;

/// Values on a coarse grid from -1 to 1, exact in `f32`, so that comparisons decide the same in both precisions.
pub fn grid(state: RandomState, stream: u32, len: usize) -> Vec<f32> {
    (0..len).map(|at| (uniform(state, stream, at as u32) * 65.0).floor() / 32.0 - 1.0).collect()
}

/// Values for the inputs of a graph, all exact in `f32`: data and targets from the grid, weights smaller the more
/// products are summed, states (variances among them) positive, scalars such as the learning rate small.
pub fn inputs(graph: &Graph, state: RandomState) -> Tensors {
    let values = graph.inputs.iter().enumerate().map(|(at, (value, role))| {
        let data = &graph.values[*value];
        let values = grid(state, at as u32, data.shape.iter().product::<i64>() as usize);
        match role {
            Role::Target | Role::Partner if data.dtype != DType::F32 => labels(&values, classes(graph)),
            Role::Data | Role::Target | Role::Partner => values,
            Role::Param { .. } => scaled(values, weight_scale(&data.shape)),
            Role::State { .. } => values.iter().map(|value| (value.abs() + 0.125) / 2.0).collect(),
            Role::Scalar(name) if name == "first" => vec![f32::from(u8::from(state.step == 0))],
            Role::Scalar(_) => values.iter().map(|value| (value.abs() + 0.125) / 16.0).collect(),
        }
    });
    values.collect()
}

fn scaled(values: Vec<f32>, scale: f32) -> Vec<f32> {
    values.into_iter().map(|value| value * scale).collect()
}

/// 2 over the smallest power of two that is at least the root of the summed products of a weight.
fn weight_scale(shape: &[i64]) -> f32 {
    let fan_in: i64 = shape.iter().skip(1).product();
    let mut root = 1;
    while root * root < fan_in {
        root *= 2;
    }
    2.0 / root as f32
}

/// The classes that labels may name: the second extent of the prediction.
fn classes(graph: &Graph) -> usize {
    let prediction = graph.outputs.iter().find(|(_, sink)| *sink == Sink::Prediction);
    let shape = prediction.map(|(value, _)| &graph.values[*value].shape);
    shape.and_then(|shape| shape.get(1)).map_or(1, |classes| *classes as usize)
}

/// Labels from grid values.
fn labels(values: &[f32], classes: usize) -> Vec<f32> {
    values.iter().map(|value| (((value + 1.0) * 32.0) as usize % classes) as f32).collect()
}

/// Runs a graph on the oracle.
pub fn oracle(graph: &Graph, inputs: &[Vec<f64>], state: RandomState) -> Vec<Vec<Number>> {
    let mut values = graph::interpreter::Values::new();
    for ((value, _), given) in graph.inputs.iter().zip(inputs) {
        values[*value] = given.iter().copied().map(Number::from).collect();
    }
    graph::interpreter::run(graph, &mut values, state);
    graph.outputs.iter().map(|(value, _)| values[*value].clone()).collect()
}

/// The same values in double precision.
pub fn doubles(values: &Tensors) -> Vec<Vec<f64>> {
    values.iter().map(|values| values.iter().copied().map(f64::from).collect()).collect()
}

/// The values of outputs as numbers, every one exact.
pub fn numbers(outputs: &Outputs) -> Vec<Vec<f64>> {
    outputs.iter().map(Values::numbers).collect()
}

/// A graph compiled for a device, with a store of its own.
pub struct Native {
    roles: Vec<Role>,
    sinks: Vec<Sink>,
    integer_targets: bool,
    executable: Arc<Executable>,
    store: Store,
    /// What ran last, and where.
    bound: Option<(Arc<dyn Device>, Instance)>,
}

/// The processor with one thread, which compiles for all levels.
fn one_thread() -> &'static Arc<dyn Device> {
    static DEVICE: LazyLock<Arc<dyn Device>> = LazyLock::new(|| devices::host(1).expect("a thread"));
    &DEVICE
}

impl Native {
    /// Compiles a lowered graph to native code.
    ///
    /// # Errors
    ///
    /// Where the code generator refuses a function.
    pub fn compile(graph: &Graph, lowered: Lowered) -> Result<Native, String> {
        Native::on(one_thread(), graph, lowered)
    }

    /// Compiles a lowered graph for the kind of a device.
    ///
    /// # Errors
    ///
    /// Where it has no code for a function.
    pub fn on(device: &Arc<dyn Device>, graph: &Graph, lowered: Lowered) -> Result<Native, String> {
        let executable = Executable::compile(graph, lowered, &**device).map_err(|error| error.to_string())?;
        let mut store = Store::on(device);
        for (value, role) in &graph.inputs {
            let (Role::Param { path, .. } | Role::State { path, .. }) = role else { continue };
            let added = store.add(path, &graph.values[*value].shape);
            added.map(drop).map_err(|error| error.to_string())?;
        }
        let integer =
            |(value, role): &(_, Role)| *role == Role::Target && graph.values[*value].dtype != DType::F32;
        Ok(Native {
            roles: graph.inputs.iter().map(|(_, role)| role.clone()).collect(),
            sinks: graph.outputs.iter().map(|(_, sink)| sink.clone()).collect(),
            integer_targets: graph.inputs.iter().any(integer),
            executable: Arc::new(executable),
            store,
            bound: None,
        })
    }

    /// Runs the program once and gives all outputs.
    ///
    /// # Panics
    ///
    /// Where there is no memory for it.
    pub fn run(&mut self, inputs: &Tensors, device: &Arc<dyn Device>, state: RandomState) -> Outputs {
        let store = &mut self.store;
        let same = self.bound.take().filter(|(known, _)| Arc::ptr_eq(known, device));
        let (_, program) = self.bound.insert(same.unwrap_or_else(|| {
            let bound = Instance::bind(self.executable.clone(), device, store);
            (device.clone(), bound.expect("its own store, and memory"))
        }));
        for (role, values) in self.roles.iter().zip(inputs) {
            match role {
                Role::Data => program.set_data(values),
                Role::Target | Role::Partner if self.integer_targets => {
                    let labels: Vec<i32> = values.iter().map(|label| *label as i32).collect();
                    program.set_labels(role, &labels);
                }
                Role::Target | Role::Partner => program.set_targets(role, values),
                Role::Scalar(name) => program.set_scalar(name, values[0]),
                Role::Param { path, .. } | Role::State { path, .. } => {
                    let at = store.position(path).expect("added when it was compiled");
                    store.entries_mut()[at].set(values);
                }
            }
        }
        program.run(store, state).expect("its own store and memory");
        program.commit(store);
        let output = |sink| program.output(sink, store).expect("the graph's own output");
        self.sinks.iter().map(output).collect()
    }
}

/// Runs the loops of a lowered graph with their interpreter. No tensor shares memory with another, and what nothing
/// has written is NaN, so a fault of the memory plan shows as a difference from native code.
///
/// # Errors
///
/// Where a function is not a verified one, or does what the interpreter forbids.
pub fn interpreted(lowered: &Lowered, inputs: &Tensors, state: RandomState) -> Result<Outputs, String> {
    let program = &lowered.kernels.program;
    let mut memory: HashMap<Tensor, BufferMemory> = HashMap::new();
    for (tensor, layout) in &lowered.layouts {
        memory.insert(*tensor, fresh(program.tensors[*tensor].dtype, layout));
    }
    for (tensor, values) in program.inputs.iter().zip(inputs) {
        if let (Some(layout), Some(memory)) = (lowered.layouts.get(tensor), memory.get_mut(tensor)) {
            pack(layout, values, memory);
        }
    }
    for launch in &lowered.launches {
        let name = &launch.function.name;
        if let Err(errors) = verifier::verify(&launch.function) {
            return Err(format!("{name} is not valid: {}", errors.join("; ")));
        }
        let mut buffers: Vec<BufferMemory> =
            launch.buffers.iter().map(|tensor| memory.remove(tensor).expect("a stored tensor")).collect();
        let fma = lowered.machine.fma();
        loops::run_with(&launch.function, &mut buffers, state, fma)
            .map_err(|error| format!("{name}: {error}"))?;
        memory.extend(launch.buffers.iter().copied().zip(buffers));
    }
    let outputs = program.outputs.iter();
    let outputs = outputs
        .map(|tensor| unpack(program.tensors[*tensor].dtype, &lowered.layouts[tensor], &memory[tensor]));
    Ok(outputs.collect())
}

/// Memory that holds the fill of its halo everywhere, or nothing.
fn fresh(dtype: DType, layout: &Layout) -> BufferMemory {
    let fill = layout.fill.map(|fill| fill.get());
    match dtype {
        DType::F32 => vec![fill.unwrap_or(f64::NAN) as f32; layout.len()].into(),
        DType::I32 => vec![fill.map_or(i32::MIN, |fill| fill as i32); layout.len()].into(),
        DType::U8 | DType::Bool => vec![fill.map_or(u8::MAX, |fill| fill as u8); layout.len()].into(),
    }
}

/// Stores row-major values by a layout; lanes beyond the last picture repeat it.
fn pack(layout: &Layout, values: &[f32], memory: &mut BufferMemory) {
    let mut padded = layout.shape.clone();
    if let Some(lane_dim) = layout.lane_dim {
        padded[lane_dim] = (padded[lane_dim] as u64).next_multiple_of(layout.lanes as u64) as i64;
    }
    for_each_index(&padded, &mut |index| {
        let inside = index.iter().zip(&layout.shape).map(|(at, extent)| (*at).min(extent - 1));
        let value =
            values[inside.zip(&layout.shape).fold(0, |flat, (at, extent)| flat * extent + at) as usize];
        match memory {
            BufferMemory::F32(data) => data[layout.offset(index)] = value,
            BufferMemory::I32(data) => data[layout.offset(index)] = value as i32,
            BufferMemory::U8(data) => data[layout.offset(index)] = value as u8,
        }
    });
}

/// The row-major values of a tensor. A buffer of bytes holds integers or truth values.
fn unpack(dtype: DType, layout: &Layout, memory: &BufferMemory) -> Values {
    let mut places = Vec::new();
    for_each_index(&layout.shape, &mut |index| places.push(layout.offset(index)));
    let places = places.into_iter();
    match memory {
        BufferMemory::F32(data) => Values::F32(places.map(|at| data[at]).collect()),
        BufferMemory::I32(data) => Values::I32(places.map(|at| data[at]).collect()),
        BufferMemory::U8(data) if dtype == DType::Bool => {
            Values::Bool(places.map(|at| data[at] != 0).collect())
        }
        BufferMemory::U8(data) => Values::U8(places.map(|at| data[at]).collect()),
    }
}

/// Visits all elements of a shape in row-major order.
fn for_each_index(shape: &[i64], visit: &mut dyn FnMut(&[i64])) {
    let mut index = vec![0; shape.len()];
    for _ in 0..shape.iter().product::<i64>() {
        visit(&index);
        for (at, extent) in index.iter_mut().zip(shape).rev() {
            *at += 1;
            if *at < *extent {
                break;
            }
            *at = 0;
        }
    }
}

/// Compares values with the oracle's, element by element: NaN and infinities stand at the same places. Gives the number
/// of elements that nothing is known of, because they or what they come from leave the range of single precision.
///
/// # Errors
///
/// The first element that differs by more than [`BOUND`] of its magnitude, or, of a type that holds whole numbers, at
/// all; in words.
pub fn within_bound(graph: &Graph, found: &[Values], oracle: &[Vec<Number>]) -> Result<usize, String> {
    let mut unknown = 0;
    for (((_, sink), found), oracle) in graph.outputs.iter().zip(found).zip(oracle) {
        if found.len() != oracle.len() {
            return Err(format!("{}: {} elements of {}", name(graph, sink), found.len(), oracle.len()));
        }
        let bound = if found.dtype() == DType::F32 { BOUND } else { 0.0 };
        for (at, (found, number)) in found.numbers().into_iter().zip(oracle).enumerate() {
            match number.agrees(found, bound, LEAST) {
                Some(true) => {}
                None => unknown += 1,
                Some(false) => {
                    let (name, Number { value, magnitude }) = (name(graph, sink), number);
                    return Err(format!(
                        "{name}[{at}]: native {found}, oracle {value} (magnitude {magnitude})"
                    ));
                }
            }
        }
    }
    Ok(unknown)
}

/// Compares two runs bit for bit; all NaNs are equal.
///
/// # Errors
///
/// The first element that differs, in words.
pub fn same_bits(graph: &Graph, one: &[Values], other: &[Values]) -> Result<(), String> {
    for (((_, sink), one), other) in graph.outputs.iter().zip(one).zip(other) {
        if let Some(at) = one.first_difference(other) {
            let show = |values: &Values| {
                let value = values.numbers().get(at).copied();
                value.map_or_else(|| "nothing".into(), |value| format!("{value} ({})", values.dtype()))
            };
            return Err(format!("{}[{at}]: {} and {}", name(graph, sink), show(one), show(other)));
        }
    }
    Ok(())
}

fn name(graph: &Graph, sink: &Sink) -> String {
    match sink {
        Sink::Update(value) | Sink::Gradient(value) | Sink::GradientNorm(value) => {
            format!("{sink:?} {}", graph.values[*value].name)
        }
        Sink::Health(_) => "the parameters' health".into(),
        Sink::Loss | Sink::Prediction | Sink::Metric(_) | Sink::Accepted | Sink::Probe(_) => {
            format!("{sink:?}")
        }
    }
}

/// Compares a native run on the graph's [`inputs`] with the oracle.
///
/// # Errors
///
/// The first element that differs by more than the bound, in words, or elements out of the range of single precision.
pub fn check(graph: &Graph, options: &CompileOptions) -> Result<(), String> {
    let state = RandomState { seed: 7, step: 1 };
    let inputs = inputs(graph, state);
    let lowered = lower(graph, options);
    let native = Native::compile(graph, lowered)?.run(&inputs, one_thread(), state);
    match within_bound(graph, &native, &oracle(graph, &doubles(&inputs), state))? {
        0 => Ok(()),
        unknown => Err(format!("{unknown} elements leave the range of single precision")),
    }
}

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod tests;
