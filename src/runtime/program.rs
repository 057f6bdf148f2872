//! A compiled graph: native kernels, a memory plan, and the arena they run in.

use std::collections::HashMap;

use crate::base::philox::RandomState;
use crate::codegen::{Error, Module};
use crate::graph::{self, Graph, Role, Sink, Value};
use crate::kernels::layout::Across;
use crate::kernels::{self, Kernels, Layouts, fuse, layout};
use crate::loops::{DType, Stmt};
use crate::passes;
use crate::plan::{self, Kept, Place, Plan};
use crate::sched::{self, Launch, Machine, Over};
use crate::te::{self, Tensor};

use super::memory::Memory;
use super::pool::Pool;
use super::store::Store;

/// A graph lowered as far as loops: everything but native code. What `emit` prints.
#[derive(Clone)]
pub struct Lowered {
    pub kernels: Kernels,
    pub layouts: Layouts,
    pub launches: Vec<Launch>,
    pub plan: Plan,
    /// What the lanes are, and why.
    pub reason: String,
    kept: Vec<Kept>,
}

/// The pool counts the work of a launch in instructions of 128 bits, whatever the machine has.
const POOL_LANES: u32 = 4;

/// What a stage of lowering hands to the next one. Tests look at it, or spoil it to see that they notice.
pub enum Stage<'a> {
    /// To fusion.
    Equations(&'a mut te::Program),
    /// To the choice of layouts.
    Kernels(&'a mut Kernels),
    /// To the scheduler.
    Layouts(&'a mut Layouts),
}

impl Lowered {
    /// How many functions are left when those that are equal up to names count once.
    pub fn unique_functions(&self) -> usize {
        unique_functions(&self.launches).0.len()
    }
}

/// Lowers a graph for a machine. `after` sees the equations after each pass.
pub fn lower(
    graph: &Graph,
    machine: &Machine,
    after: &mut dyn FnMut(&passes::Pass, &te::Program),
) -> Lowered {
    lower_through(graph, machine, after, &mut |_| {})
}

/// Lowers a graph; `between` sees what each stage hands on, when it has been verified.
pub fn lower_through(
    graph: &Graph,
    machine: &Machine,
    after: &mut dyn FnMut(&passes::Pass, &te::Program),
    between: &mut dyn FnMut(Stage<'_>),
) -> Lowered {
    verified("the graph", || graph::verifier::verify(graph));
    let mut step = passes::lower::run(graph);
    passes::verify_after("lower", &step);
    passes::simplify(&mut step, after);
    let candidates = match machine.over {
        Over::Best => candidates(graph, &step, machine),
        over => vec![over],
    };
    let lowered = candidates.iter().map(|over| lower_over(graph, step.clone(), machine, *over, between));
    let mut lowered: Vec<Lowered> = lowered.collect();
    let efforts: Vec<u64> = lowered.iter().map(|lowered| effort(lowered, machine)).collect();
    let best = (0..lowered.len()).min_by_key(|at| efforts[*at]).expect("a candidate");
    let mut chosen = lowered.swap_remove(best);
    chosen.reason = format!("lanes over {}", candidates[best]);
    for (over, effort) in candidates.iter().zip(&efforts).filter(|_| candidates.len() > 1) {
        chosen.reason += &format!(", {effort} instructions over {over}");
    }
    chosen
}

/// What the lanes may be. Channels where a batch would leave most lanes empty, and where the weights stay as they are,
/// so that their other layout is made once.
fn candidates(graph: &Graph, step: &te::Program, machine: &Machine) -> Vec<Over> {
    let updates = graph.outputs.iter().any(|(_, sink)| matches!(sink, Sink::Update(_)));
    let batch = batched_inputs(graph, step).first().map(|tensor| step.tensors[*tensor].shape[0]);
    match !updates && batch.is_some_and(|batch| batch < machine.lanes) {
        true => vec![Over::Channels, Over::Batch],
        false => vec![Over::Batch],
    }
}

/// Lowers equations with lanes over the batch or over channels.
fn lower_over(
    graph: &Graph,
    mut step: te::Program,
    machine: &Machine,
    over: Over,
    between: &mut dyn FnMut(Stage<'_>),
) -> Lowered {
    let kept = kept_tensors(graph, &step);
    let across = match over {
        Over::Channels => {
            let parameters: Vec<Tensor> = kept.iter().map(|kept| kept.present).collect();
            passes::channels::run(&mut step, &parameters)
        }
        Over::Batch | Over::Best => {
            passes::split::run(&mut step, machine.lanes);
            batched_inputs(graph, &step)
        }
    };
    let across: Across = across.into_iter().map(|tensor| (tensor, 0)).collect();
    passes::canonical::run(&mut step);
    passes::verify_after("lanes", &step);
    between(Stage::Equations(&mut step));
    let mut kernels = fuse::run(step, &across, machine.lanes);
    between(Stage::Kernels(&mut kernels));
    let mut layouts = layout::choose(&kernels, &across, machine.lanes);
    for tensor in kept.iter().flat_map(|kept| [Some(kept.present), kept.next]).flatten() {
        let shape = kernels.program.tensors[tensor].shape.clone();
        layouts.insert(tensor, layout::Layout::new(&shape, None, 1));
    }
    verified("fuse", || kernels::verifier::verify(&kernels, Some(&layouts)));
    between(Stage::Layouts(&mut layouts));
    let launches = sched::schedule(&mut kernels, &layouts, machine);
    let plan = plan::plan(&kernels, &layouts, &launches, &kept);
    Lowered { kernels, layouts, launches, plan, kept, reason: String::new() }
}

/// Machine instructions of a run, but for those whose results stay: a measure of its time.
fn effort(lowered: &Lowered, machine: &Machine) -> u64 {
    let runs = lowered.launches.iter().zip(&lowered.plan.fixed).filter(|(_, fixed)| !**fixed);
    runs.map(|(launch, _)| work(&launch.function.body, &launch.function, machine.target.lanes as u32)).sum()
}

/// Runs a verifier where debug assertions are on.
///
/// # Panics
///
/// Where an invariant does not hold: that is a bug.
fn verified(pass: &str, verify: impl FnOnce() -> Result<(), Vec<String>>) {
    if cfg!(debug_assertions)
        && let Err(findings) = verify()
    {
        panic!("after {pass}:\n{}", findings.join("\n"));
    }
}

fn batched_inputs(graph: &Graph, step: &te::Program) -> Vec<Tensor> {
    let inputs = graph.inputs.iter().zip(&step.inputs);
    let batched = inputs.filter(|((_, role), tensor)| {
        matches!(role, Role::Data | Role::Target | Role::Partner) && !step.tensors[**tensor].shape.is_empty()
    });
    batched.map(|(_, tensor)| *tensor).collect()
}

fn kept_tensors(graph: &Graph, step: &te::Program) -> Vec<Kept> {
    let next_of = |value: Value| {
        let found = graph.outputs.iter().position(|(_, sink)| *sink == Sink::Update(value));
        found.map(|at| step.outputs[at])
    };
    let inputs = graph.inputs.iter().zip(&step.inputs);
    inputs
        .filter(|((_, role), _)| matches!(role, Role::Param { .. } | Role::State { .. }))
        .map(|((value, _), tensor)| Kept { present: *tensor, next: next_of(*value) })
        .collect()
}

/// A compiled program and its memory.
pub struct Program {
    module: Module,
    /// For each launch: its function in the module, its buffers' places, and its amount of work.
    launches: Vec<(usize, Vec<Place>, u64)>,
    layouts: Layouts,
    plan: Plan,
    arena: Memory,
    inputs: Vec<(Role, Tensor)>,
    outputs: Vec<(Sink, Tensor)>,
    dtypes: HashMap<Tensor, DType>,
    /// The place in the store of each kept tensor, and whether the program updates it.
    kept: Vec<(String, bool)>,
    /// The parameters' paths and the outputs that are the norms of their gradients.
    norms: Vec<(String, Sink)>,
    /// The version of the store that the fixed launches have run for.
    prepared: Option<u64>,
}

impl Program {
    /// Compiles a lowered graph.
    ///
    /// # Errors
    ///
    /// Where Cranelift cannot compile a function for the target.
    pub fn compile(graph: &Graph, lowered: Lowered, machine: &Machine) -> Result<Program, Error> {
        let (unique, of_launch) = unique_functions(&lowered.launches);
        let module = Module::compile(&unique, machine.target)?;
        let places =
            |launch: &Launch| launch.buffers.iter().map(|tensor| lowered.plan.places[tensor]).collect();
        let launches = lowered.launches.iter().zip(of_launch);
        let launches = launches.map(|(launch, at)| {
            (at, places(launch), work(&launch.function.body, &launch.function, POOL_LANES))
        });
        let program = &lowered.kernels.program;
        let path_of = |role: &Role| match role {
            Role::Param { path, .. } | Role::State { path, .. } => Some(path.clone()),
            Role::Data | Role::Target | Role::Partner | Role::Scalar(_) => None,
        };
        let paths = graph.inputs.iter().filter_map(|(_, role)| path_of(role));
        let norms = graph.outputs.iter().filter_map(|(_, sink)| match sink {
            Sink::GradientNorm(param) => {
                let (_, role) = graph.inputs.iter().find(|(value, _)| value == param)?;
                Some((path_of(role)?, sink.clone()))
            }
            _ => None,
        });
        let mut compiled = Program {
            module,
            launches: launches.collect(),
            arena: Memory::zeroed(lowered.plan.arena_bytes),
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
            kept: paths.zip(&lowered.kept).map(|(path, kept)| (path, kept.next.is_some())).collect(),
            layouts: lowered.layouts,
            plan: lowered.plan,
            norms: norms.collect(),
            prepared: None,
        };
        compiled.fill_halos();
        Ok(compiled)
    }

    /// Bytes of the arena.
    pub fn arena_bytes(&self) -> usize {
        self.plan.arena_bytes
    }

    /// The number of launches of a run.
    pub fn launches(&self) -> usize {
        self.launches.len()
    }

    fn fill_halos(&mut self) {
        for (tensor, layout) in &self.layouts {
            let (Some(fill), Some(Place::Arena(offset))) = (layout.fill, self.plan.places.get(tensor)) else {
                continue;
            };
            let bits = match self.dtypes[tensor] {
                DType::F32 => (fill.get() as f32).to_ne_bytes().to_vec(),
                DType::I32 => (fill.get() as i32).to_ne_bytes().to_vec(),
                DType::U8 | DType::Bool => vec![fill.get() as u8],
            };
            let memory = self.arena.bytes_mut(*offset, layout.len() * bits.len());
            if bits.iter().all(|byte| *byte == 0) {
                continue; // New memory is zero.
            }
            memory.chunks_exact_mut(bits.len()).for_each(|element| element.copy_from_slice(&bits));
        }
    }

    fn input(&self, wanted: &Role) -> Option<(Tensor, usize)> {
        let (_, tensor) = self.inputs.iter().find(|(role, _)| role == wanted)?;
        match self.plan.places[tensor] {
            Place::Arena(offset) => Some((*tensor, offset)),
            Place::Present(_) | Place::Next(_) => None,
        }
    }

    /// Gives the batch of pictures, row-major. Padding lanes repeat the last picture.
    pub fn set_data(&mut self, pixels: &[f32]) {
        if let Some((tensor, offset)) = self.input(&Role::Data) {
            self.pack(tensor, offset, pixels);
        }
    }

    /// Gives targets of the prediction's shape, row-major, those of the batch or of what is mixed in.
    pub fn set_targets(&mut self, role: &Role, targets: &[f32]) {
        if let Some((tensor, offset)) = self.input(role) {
            self.pack(tensor, offset, targets);
        }
    }

    /// Gives the labels, those of the batch or of what is mixed in.
    pub fn set_labels(&mut self, role: &Role, labels: &[i32]) {
        let Some((tensor, offset)) = self.input(role) else { return };
        let len = self.layouts[&tensor].len();
        let memory = self.arena.bytes_mut(offset, 4 * len);
        for (lane, bytes) in memory.chunks_exact_mut(4).enumerate() {
            let label = labels.get(lane).or(labels.last()).copied().unwrap_or(0);
            bytes.copy_from_slice(&label.to_ne_bytes());
        }
    }

    /// Gives a number of the host by name; names the program does not read are ignored.
    pub fn set_scalar(&mut self, name: &str, value: f32) {
        if let Some((_, offset)) = self.input(&Role::Scalar(name.into())) {
            self.arena.floats_mut(offset, 1)[0] = value;
        }
    }

    fn pack(&mut self, tensor: Tensor, offset: usize, values: &[f32]) {
        let layout = &self.layouts[&tensor];
        let memory = self.arena.floats_mut(offset, layout.len());
        for_each_row(layout, |row, address, step, width| {
            for column in 0..width {
                memory[address + column * step] = values[row + column];
            }
        });
        pad_lanes(layout, memory);
    }

    /// Runs all launches. Parameters and states are read from the store's present values; updates go to its next
    /// ones.
    pub fn run(&mut self, store: &Store, pool: &Pool, random: RandomState) {
        let kept = self.places_in(store);
        pool.install(|| {
            for launch in self.plan.segments.iter().flat_map(|segment| segment.launches.clone()) {
                if self.waits(launch, store) {
                    self.launch(launch, store, &kept, pool, random);
                }
            }
        });
        self.prepared = Some(store.version());
    }

    /// Whether a launch has to run: its results may be there since the store last changed.
    fn waits(&self, launch: usize, store: &Store) -> bool {
        !self.plan.fixed[launch] || self.prepared != Some(store.version())
    }

    /// Runs like [`run`](Program::run) and gives the seconds of each launch: 0 where it does not have to run.
    pub fn run_timed(&mut self, store: &Store, pool: &Pool, random: RandomState) -> Vec<f64> {
        let kept = self.places_in(store);
        let timed = |launch| {
            if !self.waits(launch, store) {
                return 0.0;
            }
            let start = std::time::Instant::now();
            self.launch(launch, store, &kept, pool, random);
            start.elapsed().as_secs_f64()
        };
        let times = pool.install(|| (0..self.launches.len()).map(timed).collect());
        self.prepared = Some(store.version());
        times
    }

    /// The place in the store of each kept tensor.
    fn places_in(&self, store: &Store) -> Vec<usize> {
        self.kept.iter().map(|(path, _)| store.position(path).expect("a kept tensor")).collect()
    }

    fn launch(&self, launch: usize, store: &Store, kept: &[usize], pool: &Pool, random: RandomState) {
        let (function, places, work) = &self.launches[launch];
        let address = |place: &Place| match place {
            Place::Arena(offset) => self.arena.at(*offset),
            Place::Present(at) => store.present(kept[*at]),
            Place::Next(at) => store.next(kept[*at]),
        };
        let buffers: Vec<*mut u8> = places.iter().map(address).collect();
        // SAFETY: the plan gives tensors that are live at once disjoint memory of their layout's size, and the
        // verifier has proved that the function stays inside.
        unsafe { pool.run(self.module.kernel(*function), &buffers, &random, *work) };
    }

    /// Makes the updates of the last run the present values.
    pub fn commit(&self, store: &mut Store) {
        let updated = self.kept.iter().filter(|(_, updated)| *updated);
        let updated: Vec<usize> = updated.filter_map(|(path, _)| store.position(path)).collect();
        store.commit(&updated);
    }

    /// The norms of the gradients in the last run, by the parameters' paths in the order of the model.
    pub fn gradient_norms(&self, store: &Store) -> Vec<(String, f32)> {
        let norm = |(path, sink): &(String, Sink)| Some((path.clone(), *self.output(sink, store)?.first()?));
        self.norms.iter().filter_map(norm).collect()
    }

    /// An output of the last run, row-major; none where the program has no such output.
    pub fn output(&self, wanted: &Sink, store: &Store) -> Option<Vec<f32>> {
        let (_, tensor) = self.outputs.iter().find(|(sink, _)| sink == wanted)?;
        let layout = &self.layouts[tensor];
        let memory = match self.plan.places[tensor] {
            Place::Arena(offset) => self.arena.floats(offset, layout.len()),
            Place::Present(at) | Place::Next(at) => {
                store.entries()[store.position(&self.kept[at].0)?].values()
            }
        };
        let mut values = vec![0.0; layout.shape.iter().product::<i64>() as usize];
        for_each_row(layout, |row, address, step, width| {
            for column in 0..width {
                values[row + column] = memory[address + column * step];
            }
        });
        Some(values)
    }
}

/// Calls `visit` with every run of the last dimension: its row-major place, its address, the step between its
/// elements in memory, and its length.
fn for_each_row(layout: &layout::Layout, mut visit: impl FnMut(usize, usize, usize, usize)) {
    let Some((width, outer)) = layout.shape.split_last() else { return visit(0, 0, 1, 1) };
    let rows: i64 = outer.iter().product();
    for row in 0..rows {
        let mut index = vec![0; layout.shape.len()];
        let mut rest = row;
        for (at, extent) in outer.iter().enumerate().rev() {
            index[at] = rest % extent;
            rest /= extent;
        }
        let last = layout.shape.len() - 1;
        if layout.across == Some(last) {
            for column in 0..*width {
                index[last] = column;
                visit((row * width + column) as usize, layout.offset(&index), 1, 1);
            }
            continue;
        }
        let step = layout.lanes as usize;
        visit((row * width) as usize, layout.offset(&index), step, *width as usize);
    }
}

/// Repeats the last picture in the lanes beyond it.
fn pad_lanes(layout: &layout::Layout, memory: &mut [f32]) {
    let Some(batch) = layout.across else { return };
    let (lanes, count) = (layout.lanes as usize, layout.shape[batch] as usize);
    let used = count % lanes;
    if used == 0 {
        return;
    }
    let block = memory.len() / count.div_ceil(lanes);
    let last = memory.len() - block;
    for vector in memory[last..].chunks_exact_mut(lanes) {
        let (pictures, padding) = vector.split_at_mut(used);
        padding.fill(pictures[used - 1]);
    }
}

/// The functions that differ in more than names, and which of them each launch runs.
fn unique_functions(launches: &[Launch]) -> (Vec<crate::loops::Function>, Vec<usize>) {
    let mut known: HashMap<String, usize> = HashMap::new();
    let mut unique = Vec::new();
    let mut of_launch = Vec::new();
    for launch in launches {
        let mut function = launch.function.clone();
        function.forget_names();
        let at = *known.entry(function.to_string()).or_insert_with(|| {
            unique.push(launch.function.clone());
            unique.len() - 1
        });
        of_launch.push(at);
    }
    (unique, of_launch)
}

/// Statements that a function runs on registers of so many lanes: a measure of its time.
fn work(statements: &[Stmt], function: &crate::loops::Function, lanes: u32) -> u64 {
    let cost = |statement: &Stmt| match statement {
        Stmt::For { axis, body, .. } => function.axes[*axis].extent as u64 * work(body, function, lanes),
        Stmt::Set { local, .. } => u64::from(function.locals[*local].ty.lanes.div_ceil(lanes)),
        Stmt::Store { .. } => 2,
        Stmt::If { then, otherwise, .. } => {
            1 + work(then, function, lanes) + work(otherwise, function, lanes)
        }
    };
    statements.iter().map(cost).sum()
}
