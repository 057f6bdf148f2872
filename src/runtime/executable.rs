//! A compiled graph: code, and what is known of the memory that it runs in. It knows no memory and never changes.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use crate::base::parallel;
use crate::graph::{Graph, Role, Sink, Value};
use crate::kernels::Layouts;
use crate::loops::verifier::Verified;
use crate::loops::{AccessMode, DType};
use crate::lower::{Lowered, unique_functions, work};
use crate::plan::slices::Unit;
use crate::plan::{self, MemoryPlan, Persistent, Placement};
use crate::sched::Launch;
use crate::te::{self, Origin, Tensor, TensorData};

use super::device::{Call, Code, Device, Error, Parts, UpdateGuard};

/// The work of a call is counted in instructions of 128 bits, whatever the machine has.
const WORK_LANES: u32 = 4;

/// What a program does to a persistent tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    None,
    /// It stores the next value beside the present one.
    Next,
    /// It stores the next value over the present one.
    InPlace,
}

/// A persistent tensor of a program.
pub(super) struct PersistentTensor {
    pub path: String,
    pub shape: Vec<i64>,
    pub change: Change,
}

/// The result of an equation.
#[derive(Clone, Debug)]
pub(super) struct Computed {
    /// Among all, in the order of the step.
    pub place: usize,
    pub name: String,
    pub origin: Option<Origin>,
}

/// A compiled program. Any number of [`Instance`](super::Instance)s may run it, also at the same time.
pub struct Executable {
    /// The kind of device that has the code.
    pub(super) kind: &'static str,
    pub(super) code: Code,
    pub(super) plan: Arc<MemoryPlan>,
    pub(super) layouts: Layouts,
    pub(super) dtypes: HashMap<Tensor, DType>,
    pub(super) inputs: Vec<(Role, Tensor)>,
    outputs: Vec<(Sink, Tensor)>,
    pub(super) persistent: Vec<PersistentTensor>,
    pub(super) guard: Option<UpdateGuard>,
    /// The tensors that each launch stores.
    stored: Vec<Vec<Tensor>>,
    /// The results of all equations.
    pub(super) results: HashMap<Tensor, Computed>,
    /// What the statements of each launch come from.
    origins: Vec<Vec<Origin>>,
    /// The parameters' paths and the outputs that are the norms of their gradients.
    pub(super) norms: Vec<(String, Sink)>,
    /// The paths of the parameters whose health is an output, in its order.
    pub(super) judged: Vec<String>,
}

impl Executable {
    /// Compiles a lowered graph for a kind of device.
    ///
    /// # Errors
    ///
    /// Where the plan or a function is not valid, or the device has no code for it.
    pub fn compile(graph: &Graph, lowered: Lowered, device: &dyn Device) -> Result<Executable, Error> {
        let (functions, of_launch) = verified_functions(&lowered)?;
        let guard = guard(&lowered);
        let stored = lowered.launches.iter().map(stored).collect();
        let origins = lowered.launches.iter().map(|launch| launch.origins.clone()).collect();
        let calls = lowered.launches.iter().zip(of_launch);
        let calls: Vec<Call> =
            calls.map(|(launch, function)| call(launch, function, &lowered.plan)).collect();
        let Lowered { kernels, layouts, launches, plan, machine, persistent, order, .. } = lowered;
        drop(launches); // With the functions they are most of the memory that compilation takes.
        let (plan, program) = (Arc::new(plan), &kernels.program);
        let results = results(graph, program, &layouts, &plan);
        let code = device.compile(Parts { machine, functions, calls, plan: plan.clone(), guard, results })?;
        let roles = graph.inputs.iter().map(|(_, role)| role.clone());
        let sinks = graph.outputs.iter().map(|(_, sink)| sink.clone());
        let paths = graph.inputs.iter().filter_map(|(_, role)| path_of(role));
        let persistent_tensor = |(path, persistent): (String, &Persistent)| PersistentTensor {
            path,
            shape: program.tensors[persistent.present].shape.clone(),
            change: change(persistent, &plan),
        };
        Ok(Executable {
            kind: device.kind(),
            code,
            inputs: roles.zip(program.inputs.iter().copied()).collect(),
            outputs: sinks.zip(program.outputs.iter().copied()).collect(),
            dtypes: program.tensors.iter().map(|(tensor, data)| (tensor, data.dtype)).collect(),
            results: computed(&order, program),
            origins,
            persistent: paths.zip(&persistent).map(persistent_tensor).collect(),
            guard,
            stored,
            layouts,
            norms: norms(graph),
            judged: judged(graph),
            plan,
        })
    }

    /// Bytes of what lies in memory only while it runs.
    pub fn arena_bytes(&self) -> usize {
        self.plan.arena_bytes
    }

    /// What a run consists of, in order.
    pub fn units(&self) -> &[Unit] {
        &self.plan.units
    }

    /// Those that keep the store as it is.
    pub(super) fn units_before_updates(&self) -> Range<usize> {
        0..self.plan.guarded.unwrap_or(self.plan.units.len())
    }

    /// What a unit stores.
    pub(super) fn results_of(&self, unit: usize) -> impl Iterator<Item = Tensor> + '_ {
        self.stored[self.plan.units[unit].launches.clone()].iter().flatten().copied()
    }

    /// What a unit computes comes from.
    pub(super) fn origins_of(&self, unit: usize) -> impl Iterator<Item = Origin> + '_ {
        self.origins[self.plan.units[unit].launches.clone()].iter().flatten().copied()
    }

    /// An input that is there in every run, and the byte of the arena where it lies.
    pub(super) fn input(&self, wanted: &Role) -> Option<(Tensor, usize)> {
        let (_, tensor) = self.inputs.iter().find(|(role, _)| role == wanted)?;
        match self.plan.places[tensor] {
            Placement::Arena(offset) => Some((*tensor, offset)),
            Placement::Present(_) | Placement::Next(_) | Placement::Scratch { .. } => None,
        }
    }

    /// The first output that is wanted.
    pub(super) fn output(&self, is_wanted: impl Fn(&Sink) -> bool) -> Option<Tensor> {
        self.outputs.iter().find(|(sink, _)| is_wanted(sink)).map(|(_, tensor)| *tensor)
    }
}

/// The functions to compile, and which of them each launch runs.
fn verified_functions(lowered: &Lowered) -> Result<(Vec<Verified>, Vec<usize>), Error> {
    let native = lowered.native_launches();
    plan::verifier::verify(&lowered.kernels, &lowered.layouts, &native, &lowered.persistent, &lowered.plan)?;
    let (unique, of_launch) = unique_functions(native);
    let unique = parallel::map(&unique, |function| Verified::new(function.clone()));
    Ok((unique.into_iter().collect::<Result<_, _>>()?, of_launch))
}

fn call(launch: &Launch, function: usize, plan: &MemoryPlan) -> Call {
    Call {
        function,
        places: launch.buffers.iter().map(|tensor| plan.places[tensor]).collect(),
        work: work(&launch.function.body, &launch.function, WORK_LANES),
    }
}

/// The results of equations in their order.
fn computed(order: &[Tensor], program: &te::Program) -> HashMap<Tensor, Computed> {
    let computed = |(place, tensor): (usize, &Tensor)| {
        let TensorData { name, origin, .. } = &program.tensors[*tensor];
        (*tensor, Computed { place, name: name.clone(), origin: *origin })
    };
    order.iter().enumerate().map(computed).collect()
}

/// The tensors that a launch stores.
fn stored(launch: &Launch) -> Vec<Tensor> {
    let buffers = launch.buffers.iter().zip(launch.function.buffers.values());
    buffers.filter(|(_, data)| data.access != AccessMode::Read).map(|(tensor, _)| *tensor).collect()
}

/// An output of more bytes than this is read when it is asked for.
const SMALL: usize = 1 << 12;

/// The bytes of small outputs in the arena, and of the verdict.
fn results(graph: &Graph, program: &te::Program, layouts: &Layouts, plan: &MemoryPlan) -> Vec<Range<usize>> {
    let outputs = graph.outputs.iter().zip(&program.outputs);
    let range = |((_, sink), tensor): (&(Value, Sink), &Tensor)| match plan.places.get(tensor) {
        Some(Placement::Arena(offset)) if !matches!(sink, Sink::Update(_)) => {
            let bytes = layouts[tensor].len() * program.tensors[*tensor].dtype.size();
            (bytes <= SMALL).then_some(*offset..*offset + bytes)
        }
        _ => None,
    };
    outputs.filter_map(range).collect()
}

fn guard(lowered: &Lowered) -> Option<UpdateGuard> {
    let offset = lowered.verdict_place()?;
    Some(UpdateGuard { offset, is_loss: !lowered.accepts, unit: lowered.plan.guarded })
}

fn change(persistent: &Persistent, plan: &MemoryPlan) -> Change {
    match persistent.next {
        None => Change::None,
        Some(next) if plan.aliases.contains_key(&next) => Change::InPlace,
        Some(_) => Change::Next,
    }
}

/// The path of a persistent tensor.
fn path_of(role: &Role) -> Option<String> {
    if let Role::Param { path, .. } | Role::State { path, .. } = role { Some(path.clone()) } else { None }
}

/// The paths of the parameters of which the norms of the gradients are outputs, with these.
fn norms(graph: &Graph) -> Vec<(String, Sink)> {
    let norm = |(_, sink): &(_, Sink)| match sink {
        Sink::GradientNorm(param) => Some((path_of_input(graph, *param)?, sink.clone())),
        _ => None,
    };
    graph.outputs.iter().filter_map(norm).collect()
}

/// The paths of the parameters whose health is an output.
fn judged(graph: &Graph) -> Vec<String> {
    let params = |(_, sink): &(_, Sink)| match sink {
        Sink::Health(params) => params.clone(),
        _ => Vec::new(),
    };
    graph.outputs.iter().flat_map(params).filter_map(|param| path_of_input(graph, param)).collect()
}

fn path_of_input(graph: &Graph, wanted: Value) -> Option<String> {
    graph.inputs.iter().find(|(value, _)| *value == wanted).and_then(|(_, role)| path_of(role))
}
