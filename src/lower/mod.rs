//! Lowering: the one way from a graph to scheduled loop functions with places in memory.
//!
//! In: a graph and a [`CompileOptions`]. Out: [`Lowered`], which is everything but native code. In between are the
//! [`stages`], one flat list that training, prediction, `emit`, `bench` and `profile` share. Each works on the
//! [`State`]; whoever wants to see what a stage does observes it. What the lanes of vectors are is decided here, where
//! nobody asks for one way: a few pictures are lowered with lanes over channels and over the batch, and the shorter
//! program is taken.

pub mod stages;
mod state;
mod updates;
mod work;

use cranelift_entity::PrimaryMap;

use crate::base::hash::{HashMap, IndexSet};
use crate::base::parallel;
use crate::base::span::Span;
use crate::base::target::Target;
use crate::graph::{self, Graph, Sink};
use crate::kernels::{Kernels, Layouts};
use crate::loops::Function;
use crate::plan::{self, MemoryPlan, Persistent, Placement};
use crate::sched::{LaneAxis, Launch, Machine};
use crate::te::{self, Origin, Tensor};

pub use crate::sched::TunedTiles;
pub use stages::Stage;
pub use state::State;
pub use updates::batched_inputs;
pub use work::work;

/// What is asked for of a compilation: the machine, and how far the result may go to be fast on it.
#[derive(Clone, Copy, Debug)]
pub struct CompileOptions {
    pub machine: Machine,
    /// What the lanes of vectors shall be; none for what is expected to be faster.
    pub over: Option<LaneAxis>,
    /// Whether sums may be computed in ways that round otherwise than their equations.
    pub fast_math: bool,
}

impl CompileOptions {
    /// The fastest program for a target.
    pub fn of(target: Target) -> CompileOptions {
        CompileOptions { machine: Machine::of(target), over: None, fast_math: true }
    }
}

/// A graph lowered as far as loops: everything but native code.
#[derive(Clone)]
pub struct Lowered {
    pub kernels: Kernels,
    pub layouts: Layouts,
    pub launches: Vec<Launch>,
    pub plan: MemoryPlan,
    /// What it was lowered for.
    pub machine: Machine,
    /// What the lanes are.
    pub over: LaneAxis,
    /// The same and why, in words.
    pub reason: String,
    /// The tensors that live longer than a run, in the order of the graph's parameters and states.
    pub persistent: Vec<Persistent>,
    /// What says whether the updates take place: the acceptance of the step, or else its loss.
    pub verdict: Option<Tensor>,
    /// Whether that is the acceptance of the step.
    pub accepts: bool,
    /// The results of the equations in their order, which is that of the step; kernels have one of their own.
    pub order: Vec<Tensor>,
    /// What tensors and launches come from.
    pub origins: PrimaryMap<Origin, Source>,
}

/// A call of an op, or of the gradient of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    pub op: String,
    /// The path of the layer that it belongs to.
    pub path: String,
    /// The user's line.
    pub span: Option<Span>,
}

/// A stage that has been gone through.
pub struct Observed<'a, 'g> {
    pub stage: &'static Stage,
    /// Why it had nothing to do, where that was so.
    pub skipped: Option<&'static str>,
    /// What it left. Tests spoil it, to see that they notice.
    pub state: &'a mut State<'g>,
}

/// Sees the stages one after the other.
pub type Observer<'a> = &'a mut dyn FnMut(Observed<'_, '_>);

/// Lowers a graph.
pub fn lower(graph: &Graph, options: &CompileOptions) -> Lowered {
    lower_tuned(graph, options, &TunedTiles::default())
}

/// Lowers a graph with the register tiles that were chosen, which change no bit of its results.
pub fn lower_tuned(graph: &Graph, options: &CompileOptions, tuned: &TunedTiles) -> Lowered {
    let mut state = State::new(graph);
    let variants = begin(&mut state, options, &mut |_| {});
    if tuned.is_empty() && variants.len() > 1 {
        return shortest(&variants, &state, options);
    }
    let (over, reason) = decide(&variants, &state, options);
    finish(state, &Context { options, over, tuned }, reason, &mut |_| {})
}

/// Lowers a graph; `observe` sees what each stage leaves, when it has been verified. Of several ways for the lanes it
/// sees the one that is taken.
pub fn lower_observed(
    graph: &Graph,
    options: &CompileOptions,
    tuned: &TunedTiles,
    observe: Observer<'_>,
) -> Lowered {
    let mut state = State::new(graph);
    let variants = begin(&mut state, options, observe);
    let (over, reason) = decide(&variants, &state, options);
    finish(state, &Context { options, over, tuned }, reason, observe)
}

/// Goes through the stages that need not know what the lanes are; gives what they may be.
fn begin(state: &mut State<'_>, options: &CompileOptions, observe: Observer<'_>) -> Vec<LaneAxis> {
    verified("the graph", || graph::verifier::verify(state.graph));
    let context = Context { options, over: LaneAxis::Batch, tuned: &TunedTiles::default() };
    run(&stages::PIPELINE[..stages::common()], state, &context, observe);
    options.over.map_or_else(|| candidates(state, &options.machine), |over| vec![over])
}

/// Goes through the others.
fn finish(mut state: State<'_>, context: &Context<'_>, reason: String, observe: Observer<'_>) -> Lowered {
    run(&stages::PIPELINE[stages::common()..], &mut state, context, observe);
    state.lowered(&context.options.machine, context.over, reason)
}

/// What the lanes are, and why. That changes sums, so it follows from the model, never from what was measured.
fn decide(variants: &[LaneAxis], state: &State<'_>, options: &CompileOptions) -> (LaneAxis, String) {
    match variants {
        [over] => (*over, format!("lanes over {over}")),
        _ => {
            let Lowered { over, reason, .. } = shortest(variants, state, options);
            (over, reason)
        }
    }
}

/// The shortest of the programs with lanes in these ways; the first of equal ones.
fn shortest(variants: &[LaneAxis], state: &State<'_>, options: &CompileOptions) -> Lowered {
    let variant = |over: &LaneAxis| {
        let context = Context { options, over: *over, tuned: &TunedTiles::default() };
        finish(state.clone(), &context, format!("lanes over {over}"), &mut |_| {})
    };
    let mut lowered: Vec<Lowered> = variants.iter().map(variant).collect();
    let efforts: Vec<u64> = lowered.iter().map(|lowered| effort(lowered, &options.machine)).collect();
    let best = (0..lowered.len()).min_by_key(|at| efforts[*at]).expect("a way");
    let listed = variants.iter().zip(&efforts);
    let listed: String =
        listed.map(|(over, effort)| format!(", {effort} instructions over {over}")).collect();
    let mut best = lowered.swap_remove(best);
    best.reason += &listed;
    best
}

/// What the stages are told.
pub struct Context<'a> {
    pub options: &'a CompileOptions,
    /// What the lanes are.
    pub over: LaneAxis,
    pub tuned: &'a TunedTiles,
}

fn run<'g>(stages: &'static [Stage], state: &mut State<'g>, context: &Context<'_>, observe: Observer<'_>) {
    for stage in stages {
        let skipped = stage.skipped(context);
        if skipped.is_none() {
            stage.run(state, context);
        }
        verified(stage.name, || stage.verify(state));
        observe(Observed { stage, skipped, state });
    }
}

/// What the lanes may be. Channels where a batch would leave most lanes empty, and where the weights stay as they are,
/// so that their other layout is made once.
fn candidates(state: &State<'_>, machine: &Machine) -> Vec<LaneAxis> {
    let updates = state.graph.outputs.iter().any(|(_, sink)| matches!(sink, Sink::Update(_)));
    let inputs = batched_inputs(state.graph, &state.program);
    let batch = inputs.first().map(|tensor| state.program.tensors[*tensor].shape[0]);
    match !updates && batch.is_some_and(|batch| batch < machine.lanes) {
        true => vec![LaneAxis::Channels, LaneAxis::Batch],
        false => vec![LaneAxis::Batch],
    }
}

/// Machine instructions of a run, but for those whose results stay: a measure of its time.
fn effort(lowered: &Lowered, machine: &Machine) -> u64 {
    let runs = lowered.launches.iter().zip(&lowered.plan.run_once).filter(|(_, run_once)| !**run_once);
    let work = |launch: &Launch| work(&launch.function.body, &launch.function, machine.target.lanes as u32);
    runs.map(|(launch, _)| work(launch)).fold(0, u64::saturating_add)
}

/// Runs a verifier where debug assertions are on.
///
/// # Panics
///
/// Where an invariant does not hold: that is a bug.
fn verified(stage: &str, verify: impl FnOnce() -> Result<(), Vec<String>>) {
    if cfg!(debug_assertions)
        && let Err(findings) = verify()
    {
        panic!("after {stage}:\n{}", findings.join("\n"));
    }
}

impl Lowered {
    /// The byte of the arena where the verdict lies.
    pub fn verdict_place(&self) -> Option<usize> {
        match self.plan.places[&self.verdict?] {
            Placement::Arena(offset) => Some(offset),
            Placement::Present(_) | Placement::Next(_) | Placement::Scratch { .. } => None,
        }
    }

    /// Bytes of the next values of persistent tensors that have no place but their own.
    pub fn next_bytes(&self) -> u64 {
        let nexts = self.persistent.iter().filter_map(|persistent| persistent.next);
        let own = nexts.filter(|next| matches!(self.plan.places.get(next), Some(Placement::Next(_))));
        own.map(|next| bytes_of(&self.kernels.program.tensors[next].shape)).sum()
    }

    /// The launches as they run: what the plan lets replace something else is stored there.
    pub fn native_launches(&self) -> Vec<Launch> {
        self.launches.iter().map(|launch| plan::in_place::applied(launch, &self.plan.aliases)).collect()
    }

    /// The calls that some launches come from, each once, in their order.
    pub fn sources(&self, launches: &[Launch]) -> Vec<&Source> {
        let origins: IndexSet<Origin> = launches.iter().flat_map(|launch| &launch.origins).copied().collect();
        origins.into_iter().map(|origin| &self.origins[origin]).collect()
    }

    /// How many functions are left when those that are equal up to names count once.
    pub fn unique_functions(&self) -> usize {
        unique_functions(self.native_launches()).0.len()
    }
}

/// Bytes of a persistent tensor, which has elements of `f32`.
fn bytes_of(shape: &[i64]) -> u64 {
    4 * shape.iter().product::<i64>() as u64
}

/// The functions that differ in more than names, and which of them each launch runs.
pub fn unique_functions(launches: Vec<Launch>) -> (Vec<Function>, Vec<usize>) {
    let nameless = |launch: &Launch| {
        let mut function = launch.function.clone();
        function.forget_names();
        function.to_string()
    };
    let texts = parallel::map(&launches, nameless);
    let mut known: HashMap<&str, usize> = HashMap::default();
    let mut unique = Vec::new();
    let mut of_launch = Vec::new();
    for (launch, text) in launches.into_iter().zip(&texts) {
        let at = *known.entry(text).or_insert_with(|| {
            unique.push(launch.function);
            unique.len() - 1
        });
        of_launch.push(at);
    }
    (unique, of_launch)
}

/// Runs the stages that work on equations alone, for whoever has some without a graph: tests and fuzz targets.
pub fn simplify(program: &mut te::Program) {
    for stage in &stages::PIPELINE[..stages::common()] {
        stage.rewrite(program);
        verified(stage.name, || stages::verify_equations(program));
    }
}
