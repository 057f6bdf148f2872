//! A compiled graph: native kernels, a memory plan, and the arena they run in.

use std::collections::HashMap;
use std::ops::Range;

use crate::base::memory::{self, Shortage};
use crate::base::parallel;
use crate::base::philox::RandomState;
use crate::codegen::{Error, Module};
use crate::graph::{Graph, Role, Sink, Value};
use crate::kernels::{Layout, Layouts};
use crate::loops::DType;
use crate::loops::verifier::Verified;
use crate::lower::{Lowered, unique_functions};
use crate::passes::accept;
use crate::plan::slices::Unit;
use crate::plan::{self, Kept, Place, Plan};
use crate::te::Tensor;

use super::broken::Origins;
use super::memory::{Element, Memory};
use super::need::Need;
use super::pool::{Addresses, Pool, Progress, Scratch};
use super::rows;
use super::store::{Mismatch, Store};
use super::units::{Compiled, Units};
use super::values::Values;

/// What a program does to a kept tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    /// It stores the next value beside the present one.
    Next,
    /// It stores the next value over the present one.
    InPlace,
}

/// A kept tensor of a program.
struct KeptTensor {
    path: String,
    shape: Vec<i64>,
    change: Change,
}

/// Where it stands whether the updates take place.
#[derive(Clone, Copy)]
struct Verdict {
    /// In the arena.
    offset: usize,
    /// Whether it is the loss, which must be finite, and not the acceptance of the step.
    of_loss: bool,
}

/// The functions to compile, and which of them each launch runs. Nothing else of what native code is made of stays: these
/// are most of the memory that compilation takes.
fn verified_functions(lowered: &Lowered) -> Result<(Vec<Verified>, Vec<usize>), Error> {
    let native = lowered.native_launches();
    plan::verifier::verify(&lowered.kernels, &lowered.layouts, &native, &lowered.kept, &lowered.plan)?;
    let (unique, of_launch) = unique_functions(native);
    let unique = parallel::map(&unique, |function| Verified::new(function.clone()));
    Ok((unique.into_iter().collect::<Result<_, _>>()?, of_launch))
}

fn is_accepting(graph: &Graph) -> bool {
    graph.outputs.iter().any(|(_, sink)| *sink == Sink::Accepted)
}

/// A compiled program and its memory.
pub struct Program {
    module: Module,
    launches: Vec<Compiled>,
    /// The addresses of all launches' buffers in the run at hand.
    addresses: Addresses,
    /// The place in the store of each kept tensor in the run at hand.
    kept_at: Vec<usize>,
    progress: Vec<Progress>,
    layouts: Layouts,
    plan: Plan,
    arena: Memory,
    scratch: Scratch,
    inputs: Vec<(Role, Tensor)>,
    outputs: Vec<(Sink, Tensor)>,
    dtypes: HashMap<Tensor, DType>,
    pub(super) origins: Origins,
    kept: Vec<KeptTensor>,
    /// The byte of the arena that says whether the updates take place, if something does.
    verdict: Option<Verdict>,
    /// The parameters' paths and the outputs that are the norms of their gradients.
    norms: Vec<(String, Sink)>,
    /// The paths of the parameters whose health is an output, in its order.
    judged: Vec<String>,
    /// The version of the store that the fixed launches have run for.
    prepared: Option<u64>,
}

impl Program {
    /// Compiles a lowered graph, and takes the memory for it.
    ///
    /// # Errors
    ///
    /// Where a run needs more memory than there is, a function is not valid, or Cranelift cannot compile it for the
    /// machine that the graph was lowered for.
    pub fn compile(graph: &Graph, lowered: Lowered) -> Result<Program, Error> {
        Need::of(graph, &lowered).check_run()?;
        let mut program = Program::without_memory(graph, lowered)?;
        program.arena = Memory::zeroed(program.plan.arena_bytes)?;
        program.fill_halos(true);
        Ok(program)
    }

    /// Compiles a lowered graph that will have [the memory of another one](Program::take_memory).
    ///
    /// # Errors
    ///
    /// Where a function is not valid, or Cranelift cannot compile it for the target.
    pub fn without_memory(graph: &Graph, lowered: Lowered) -> Result<Program, Error> {
        let (unique, of_launch) = verified_functions(&lowered)?;
        let module = Module::compile(&unique, lowered.machine.target)?;
        drop(unique);
        let mut buffers = 0;
        let launches = lowered.launches.iter().zip(of_launch).map(|(launch, function)| {
            let start = buffers;
            buffers += launch.buffers.len();
            Compiled::new(launch, function, start, &lowered.plan)
        });
        let launches: Vec<Compiled> = launches.collect();
        let program = &lowered.kernels.program;
        let paths = graph.inputs.iter().filter_map(|(_, role)| path_of(role));
        let kept = |(path, kept): (String, &Kept)| KeptTensor {
            path,
            shape: program.tensors[kept.present].shape.clone(),
            change: match kept.next {
                None => Change::None,
                Some(next) if lowered.plan.replaced.contains_key(&next) => Change::InPlace,
                Some(_) => Change::Next,
            },
        };
        Ok(Program {
            module,
            progress: lowered.plan.units.iter().map(|_| Progress::default()).collect(),
            launches,
            addresses: Addresses::default(),
            kept_at: Vec::new(),
            arena: Memory::none(),
            scratch: Scratch::new(lowered.plan.scratch_bytes),
            inputs: graph
                .inputs
                .iter()
                .map(|(_, role)| role.clone())
                .zip(program.inputs.iter().copied())
                .collect(),
            outputs: graph
                .outputs
                .iter()
                .map(|(_, sink)| sink.clone())
                .zip(program.outputs.iter().copied())
                .collect(),
            dtypes: program.tensors.iter().map(|(tensor, data)| (tensor, data.dtype)).collect(),
            origins: Origins::of(&lowered.order, program),
            kept: paths.zip(&lowered.kept).map(kept).collect(),
            verdict: lowered.verdict_place().map(|offset| Verdict { offset, of_loss: !is_accepting(graph) }),
            layouts: lowered.layouts,
            plan: lowered.plan,
            norms: norms(graph),
            judged: judged(graph),
            prepared: None,
        })
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.plan.arena_bytes
    }

    /// What a run consists of, in order.
    pub fn units(&self) -> &[Unit] {
        &self.plan.units
    }

    /// Takes over the memory of a program that is not to run before it gets memory again. The results of both are lost.
    ///
    /// # Errors
    ///
    /// Where it needs more, and there is not so much.
    pub fn take_memory(&mut self, from: &mut Program) -> Result<(), Shortage> {
        self.scratch.take(&mut from.scratch);
        self.arena = std::mem::replace(&mut from.arena, Memory::none());
        let is_new = self.arena.bytes() < self.plan.arena_bytes;
        if is_new {
            self.arena = Memory::none(); // Or both would be there at once.
            memory::check("the next run", self.plan.arena_bytes as u64)?;
            self.arena = Memory::zeroed(self.plan.arena_bytes)?;
        }
        if !planted!("runtime.program.prepared") {
            self.prepared = None;
        }
        self.fill_halos(is_new);
        Ok(())
    }

    /// Fills all halos; new memory is zero.
    fn fill_halos(&mut self, is_new: bool) {
        for (tensor, layout) in &self.layouts {
            let (Some(fill), Some(Place::Arena(offset))) = (layout.fill, self.plan.places.get(tensor)) else {
                continue;
            };
            let bits = match self.dtypes[tensor] {
                DType::F32 => (fill.get() as f32).to_ne_bytes().to_vec(),
                DType::I32 => (fill.get() as i32).to_ne_bytes().to_vec(),
                DType::U8 | DType::Bool => vec![fill.get() as u8],
            };
            if (is_new || planted!("runtime.program.halo")) && bits.iter().all(|byte| *byte == 0) {
                continue;
            }
            let memory = self.arena.bytes_mut(*offset, layout.len() * bits.len());
            memory.chunks_exact_mut(bits.len()).for_each(|element| element.copy_from_slice(&bits));
        }
    }

    fn input(&self, wanted: &Role) -> Option<(Tensor, usize)> {
        let (_, tensor) = self.inputs.iter().find(|(role, _)| role == wanted)?;
        match self.plan.places[tensor] {
            Place::Arena(offset) => Some((*tensor, offset)),
            Place::Present(_) | Place::Next(_) | Place::Scratch { .. } => None,
        }
    }

    /// Gives the batch of pictures, row-major. Padding lanes repeat the last picture.
    pub fn set_data(&mut self, pixels: &[f32]) {
        if let Some((tensor, offset)) = self.input(&Role::Data) {
            self.pack(tensor, offset, pixels);
        }
    }

    /// Gives targets of the prediction's shape, row-major, those of the batch or of what is mixed in.
    ///
    /// # Panics
    ///
    /// Where the program takes labels.
    pub fn set_targets(&mut self, role: &Role, targets: &[f32]) {
        if let Some((tensor, offset)) = self.input(role) {
            self.pack(tensor, offset, targets);
        }
    }

    /// Gives the labels, those of the batch or of what is mixed in.
    ///
    /// # Panics
    ///
    /// Where the program takes other targets.
    pub fn set_labels(&mut self, role: &Role, labels: &[i32]) {
        let Some((tensor, offset)) = self.input(role) else { return };
        assert_eq!(self.dtypes[&tensor], DType::I32, "labels are i32");
        let layout = &self.layouts[&tensor];
        let memory = self.arena.bytes_mut(offset, 4 * layout.len());
        rows::pack(layout, labels, bytemuck::cast_slice_mut(memory));
    }

    /// Gives a number of the host by name; names the program does not read are ignored.
    pub fn set_scalar(&mut self, name: &str, value: f32) {
        if let Some((_, offset)) = self.input(&Role::Scalar(name.into())) {
            self.arena.floats_mut(offset, 1)[0] = value;
        }
    }

    fn pack(&mut self, tensor: Tensor, offset: usize, values: &[f32]) {
        assert_eq!(self.dtypes[&tensor], DType::F32, "pictures and targets are f32");
        let layout = &self.layouts[&tensor];
        rows::pack(layout, values, self.arena.floats_mut(offset, layout.len()));
    }

    /// Runs all units. Parameters and states are read from the store's present values. Updates go to its next ones,
    /// or, once the step is known to be accepted, over the present ones; [`commit`](Program::commit) makes them those that
    /// count. Where it is not accepted, the store stays as it was.
    ///
    /// # Errors
    ///
    /// Where the store does not hold the tensors that the program was compiled for, another program has its memory, or
    /// there is none for the next values of a tensor or the scratch of a thread. Nothing has run then.
    pub fn run(&mut self, store: &mut Store, pool: &Pool, random: RandomState) -> Result<(), Mismatch> {
        self.find_addresses(store, pool)?;
        let end = self.plan.units.len();
        let guarded = self.plan.guarded.unwrap_or(end);
        self.run_range(0..guarded, store, pool, random);
        if guarded < end && !self.is_accepted() {
            return Ok(());
        }
        self.run_range(guarded..end, store, pool, random);
        self.prepared = Some(store.version());
        Ok(())
    }

    /// Runs like [`run`](Program::run) and gives the seconds of each unit: 0 where it does not run,
    /// and everywhere if the step is not accepted.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Program::run).
    pub fn run_timed(
        &mut self,
        store: &mut Store,
        pool: &Pool,
        random: RandomState,
    ) -> Result<Vec<f64>, Mismatch> {
        self.find_addresses(store, pool)?;
        let mut seconds = Vec::new();
        for unit in 0..self.plan.units.len() {
            if self.plan.guarded == Some(unit) && !self.is_accepted() {
                return Ok(vec![0.0; self.plan.units.len()]);
            }
            let start = std::time::Instant::now();
            let has_run = self.run_range(unit..unit + 1, store, pool, random);
            seconds.push(if has_run { start.elapsed().as_secs_f64() } else { 0.0 });
        }
        self.prepared = Some(store.version());
        Ok(seconds)
    }

    /// Whether the updates of the last run take place: always, if nothing in the program says otherwise.
    pub fn is_accepted(&self) -> bool {
        self.verdict.is_none_or(|Verdict { offset, of_loss }| {
            let value = self.arena.floats(offset, 1)[0];
            if of_loss { value.is_finite() } else { value != 0.0 }
        })
    }

    /// Those that keep the store as it is.
    pub(super) fn units_before_updates(&self) -> Range<usize> {
        0..self.plan.guarded.unwrap_or(self.plan.units.len())
    }

    /// What a unit stores.
    pub(super) fn results_of(&self, unit: usize) -> impl Iterator<Item = Tensor> + '_ {
        let launches = &self.launches[self.plan.units[unit].launches.clone()];
        launches.iter().flat_map(|launch| launch.results.iter().copied())
    }

    /// Makes ready for [`run_range`](Program::run_range) of all units.
    pub(super) fn begin_again(&mut self, store: &mut Store, pool: &Pool) -> Result<(), Mismatch> {
        self.prepared = None;
        self.find_addresses(store, pool)
    }

    /// Looks up where the buffers of all launches lie now, and makes those that are not there yet.
    fn find_addresses(&mut self, store: &mut Store, pool: &Pool) -> Result<(), Mismatch> {
        if self.arena.bytes() < self.plan.arena_bytes || self.scratch.bytes() < self.plan.scratch_bytes {
            return Err(Mismatch::NoMemory);
        }
        self.kept_at.clear();
        for KeptTensor { path, shape, .. } in &self.kept {
            self.kept_at.push(store.find(path, shape)?);
        }
        let stored = self.kept.iter().zip(&self.kept_at).filter(|(kept, _)| kept.change == Change::Next);
        store.prepare(stored.map(|(_, at)| *at))?;
        self.scratch.prepare(pool.threads())?;
        let address = |place: &Place| match place {
            Place::Arena(offset) => self.arena.at(*offset),
            Place::Present(at) => store.present(self.kept_at[*at]),
            Place::Next(at) => store.next(self.kept_at[*at]),
            Place::Scratch { .. } => std::ptr::null_mut(), // Each thread has its own.
        };
        self.addresses.set(self.launches.iter().flat_map(|launch| &launch.places).map(address));
        Ok(())
    }

    /// Runs the units of a range that have to run: the results of others are there since the store last changed.
    /// Says whether any had to.
    pub(super) fn run_range(
        &mut self,
        range: Range<usize>,
        store: &Store,
        pool: &Pool,
        random: RandomState,
    ) -> bool {
        let is_prepared = self.prepared == Some(store.version());
        let tasks = Units {
            module: &self.module,
            launches: &self.launches,
            addresses: &self.addresses,
            plan: &self.plan,
            is_prepared,
        };
        // SAFETY: each function is a verified one, which stays inside its buffers; these lie inside the memory that was
        // looked up when the run began (`plan::verifier`, `find_addresses`). The plan says which units have none in
        // common, and which launches may run slice by slice.
        unsafe { pool.run(range.clone(), &tasks, &random, &mut self.progress, &mut self.scratch) };
        range.into_iter().any(|unit| tasks.has_to_run(unit))
    }

    /// Makes the updates of the last run the present values; not where it is not accepted.
    pub fn commit(&self, store: &mut Store) {
        if !planted!("runtime.program.commit") && !self.is_accepted() {
            return;
        }
        let next = self.kept.iter().filter(|kept| kept.change == Change::Next);
        let next: Vec<usize> = next.filter_map(|kept| store.position(&kept.path)).collect();
        store.commit(&next, self.kept.iter().any(|kept| kept.change == Change::InPlace));
    }

    /// The norms of the gradients in the last run, by the parameters' paths in the order of the model.
    pub fn gradient_norms(&self, store: &Store) -> Vec<(String, f32)> {
        let norm = |(path, sink): &(String, Sink)| Some((path.clone(), self.scalar(sink, store)? as f32));
        self.norms.iter().filter_map(norm).collect()
    }

    /// An output of the last run, row-major and in its own type; none where the program has no such output.
    pub fn output(&self, wanted: &Sink, store: &Store) -> Option<Values> {
        let (_, tensor) = self.outputs.iter().find(|(sink, _)| sink == wanted)?;
        self.values(*tensor, store)
    }

    /// The parameters of which the last run says that they are not sound, with their health, in the order of the model.
    pub fn unsound(&self, store: &Store) -> Vec<(String, f32)> {
        let health = self.outputs.iter().find(|(sink, _)| matches!(sink, Sink::Health(_)));
        let Some(Values::F32(health)) = health.and_then(|(_, tensor)| self.values(*tensor, store)) else {
            return Vec::new();
        };
        let of_paths = self.judged.iter().cloned().zip(health);
        of_paths.filter(|(_, health)| *health != accept::SOUND).collect()
    }

    pub(super) fn values(&self, tensor: Tensor, store: &Store) -> Option<Values> {
        let (memory, offset) = match self.plan.places[&tensor] {
            Place::Arena(offset) => (&self.arena, offset),
            Place::Present(at) | Place::Next(at) => (store.memory(store.position(&self.kept[at].path)?), 0),
            Place::Scratch { .. } => return None,
        };
        let layout = &self.layouts[&tensor];
        Some(match self.dtypes[&tensor] {
            DType::F32 => Values::F32(elements(layout, memory, offset)),
            DType::I32 => Values::I32(elements(layout, memory, offset)),
            DType::U8 => Values::U8(elements(layout, memory, offset)),
            DType::Bool => {
                Values::Bool(elements::<u8>(layout, memory, offset).into_iter().map(|bit| bit != 0).collect())
            }
        })
    }

    /// An output of the last run that is one number, whatever its type.
    pub fn scalar(&self, wanted: &Sink, store: &Store) -> Option<f64> {
        self.output(wanted, store)?.first()
    }
}

/// The elements of a tensor that lies at a byte of a block of memory.
fn elements<T: Element + Default>(layout: &Layout, memory: &Memory, offset: usize) -> Vec<T> {
    rows::unpack(layout, memory.slice(offset, layout.len()))
}

/// The path of a kept tensor.
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
