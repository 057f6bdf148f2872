//! Lowering: a graph as loop functions with places in memory. Everything but native code.

use std::collections::{HashMap, HashSet};

use crate::base::parallel;
use crate::graph::{self, Graph, Role, Sink, Value};
use crate::kernels::layout::Across;
use crate::kernels::{self, Kernels, Layouts, fuse, layout, replace, slices};
use crate::loops::{Function, Stmt};
use crate::passes;
use crate::plan::{self, Kept, Place, Plan};
use crate::sched::{self, Choices, Launch, Machine, Over};
use crate::te::{self, Axis, Index, Tensor, TensorData};

use super::store;

/// A graph lowered as far as loops: everything but native code. What `emit` prints.
#[derive(Clone)]
pub struct Lowered {
    pub kernels: Kernels,
    pub layouts: Layouts,
    pub launches: Vec<Launch>,
    pub plan: Plan,
    /// What the lanes are, and why.
    pub reason: String,
    pub(super) kept: Vec<Kept>,
    /// What says whether the updates take place: the acceptance of the step, or else its loss.
    pub(super) verdict: Option<Tensor>,
    /// The results of the equations in their order, which is that of the step; kernels have one of their own.
    pub(super) order: Vec<Tensor>,
}

/// What a stage of lowering hands to the next one. Tests look at it, or spoil it to see that they notice.
pub enum Stage<'a> {
    /// To fusion.
    Equations(&'a mut te::Program),
    /// Kernels in the order in which they will run.
    Kernels(&'a mut Kernels),
    /// To the scheduler.
    Layouts(&'a mut Layouts),
}

impl Lowered {
    /// The byte of the arena where the verdict lies.
    pub(super) fn verdict_place(&self) -> Option<usize> {
        match self.plan.places[&self.verdict?] {
            Place::Arena(offset) => Some(offset),
            Place::Present(_) | Place::Next(_) | Place::Scratch { .. } => None,
        }
    }

    /// Bytes of the next values of kept tensors that have no place but their own.
    pub(super) fn next_bytes(&self) -> u64 {
        let nexts = self.kept.iter().filter_map(|kept| kept.next);
        let own = nexts.filter(|next| matches!(self.plan.places.get(next), Some(Place::Next(_))));
        own.map(|next| store::bytes_of(&self.kernels.program.tensors[next].shape) as u64).sum()
    }

    /// The launches as they run: what the plan lets replace something else is stored there.
    pub fn native_launches(&self) -> Vec<Launch> {
        self.launches.iter().map(|launch| plan::in_place::applied(launch, &self.plan.replaced)).collect()
    }

    /// How many functions are left when those that are equal up to names count once.
    pub fn unique_functions(&self) -> usize {
        unique_functions(self.native_launches()).0.len()
    }
}

/// Lowers a graph for a machine. `after` sees the equations after each pass.
pub fn lower(
    graph: &Graph,
    machine: &Machine,
    after: &mut dyn FnMut(&passes::Pass, &te::Program),
) -> Lowered {
    lower_chosen(graph, machine, &Choices::default(), after)
}

/// Lowers a graph with the register tiles that were chosen, which change no bit of its results.
pub fn lower_chosen(
    graph: &Graph,
    machine: &Machine,
    choices: &Choices,
    after: &mut dyn FnMut(&passes::Pass, &te::Program),
) -> Lowered {
    lower_stages(graph, machine, choices, after, &mut |_| {})
}

/// Lowers a graph; `between` sees what each stage hands on, when it has been verified.
pub fn lower_through(
    graph: &Graph,
    machine: &Machine,
    after: &mut dyn FnMut(&passes::Pass, &te::Program),
    between: &mut dyn FnMut(Stage<'_>),
) -> Lowered {
    lower_stages(graph, machine, &Choices::default(), after, between)
}

fn lower_stages(
    graph: &Graph,
    machine: &Machine,
    choices: &Choices,
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
    // What the lanes are changes sums, so it follows from the model, never from what was measured.
    let none = Choices::default();
    let first = if candidates.len() == 1 { choices } else { &none };
    let lowered =
        candidates.iter().map(|over| lower_over(graph, step.clone(), machine, *over, first, between));
    let mut lowered: Vec<Lowered> = lowered.collect();
    let efforts: Vec<u64> = lowered.iter().map(|lowered| effort(lowered, machine)).collect();
    let best = (0..lowered.len()).min_by_key(|at| efforts[*at]).expect("a candidate");
    let mut chosen = lowered.swap_remove(best);
    if candidates.len() > 1 && !choices.is_empty() {
        chosen = lower_over(graph, step, machine, candidates[best], choices, between);
    }
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
    choices: &Choices,
    between: &mut dyn FnMut(Stage<'_>),
) -> Lowered {
    separate_updates(graph, &mut step);
    let kept = kept_tensors(graph, &step);
    let across = match over {
        Over::Channels => {
            let parameters: Vec<Tensor> = kept.iter().map(|kept| kept.present).collect();
            passes::channels::run(&mut step, &parameters)
        }
        Over::Batch | Over::Best => {
            if machine.fast_math {
                passes::winograd::run(&mut step, machine.lanes);
            }
            passes::split::run(&mut step, machine.lanes);
            batched_inputs(graph, &step)
        }
    };
    let across: Across = across.into_iter().map(|tensor| (tensor, 0)).collect();
    passes::canonical::run(&mut step);
    passes::verify_after("lanes", &step);
    between(Stage::Equations(&mut step));
    let order = step.equations.iter().map(|equation| equation.result).collect();
    let mut kernels = fuse::run(step, &across, machine.lanes);
    let pairs: Vec<(Tensor, Tensor)> =
        kept.iter().filter_map(|kept| Some((kept.present, kept.next?))).collect();
    let mut layouts = layout::choose(&kernels, &across, machine.lanes);
    let mut groups = slices::find(&mut kernels, &mut layouts);
    let replaceable = replace::order(&mut kernels, &pairs, &mut groups);
    between(Stage::Kernels(&mut kernels));
    replace::share_halos(&mut layouts, &replaceable);
    for tensor in kept.iter().flat_map(|kept| [Some(kept.present), kept.next]).flatten() {
        let shape = kernels.program.tensors[tensor].shape.clone();
        layouts.insert(tensor, layout::Layout::new(&shape, None, 1));
    }
    verified("fuse", || kernels::verifier::verify(&kernels, Some(&layouts)));
    between(Stage::Layouts(&mut layouts));
    let machine = Machine { over, ..*machine };
    kernels.program.share();
    let subject = sched::Subject { kernels: &kernels, layouts: &layouts, machine: &machine };
    let launches = sched::schedule(subject, &groups, choices);
    let output = |wanted: Sink| graph.outputs.iter().position(|(_, sink)| *sink == wanted);
    let verdict = output(Sink::Accepted).or_else(|| output(Sink::Loss));
    let verdict = verdict.map(|at| kernels.program.outputs[at]);
    let plan = plan::plan(&kernels, &layouts, &launches, &kept, verdict);
    Lowered { kernels, layouts, launches, plan, kept, verdict, order, reason: String::new() }
}

/// Machine instructions of a run, but for those whose results stay: a measure of its time.
fn effort(lowered: &Lowered, machine: &Machine) -> u64 {
    let runs = lowered.launches.iter().zip(&lowered.plan.fixed).filter(|(_, fixed)| !**fixed);
    let work = |launch: &Launch| work(&launch.function.body, &launch.function, machine.target.lanes as u32);
    runs.map(|(launch, _)| work(launch)).fold(0, u64::saturating_add)
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

/// Gives every update a tensor of its own: one that is an input, or another output as well, is copied.
fn separate_updates(graph: &Graph, step: &mut te::Program) {
    let others = graph.outputs.iter().zip(&step.outputs);
    let others = others.filter(|((_, sink), _)| !matches!(sink, Sink::Update(_))).map(|(_, tensor)| tensor);
    let mut taken: HashSet<Tensor> = step.inputs.iter().chain(others).copied().collect();
    for (at, (_, sink)) in graph.outputs.iter().enumerate() {
        let tensor = step.outputs[at];
        if matches!(sink, Sink::Update(_)) && !taken.insert(tensor) && !planted!("runtime.lower.own") {
            let TensorData { name, dtype, shape } = step.tensors[tensor].clone();
            let axes: Vec<Axis> = shape.iter().map(|extent| step.axis("i", *extent)).collect();
            let body = step.exprs.read(tensor, axes.iter().map(|axis| Index::from(*axis)).collect());
            let own = step.tensor(format!("{name}.copy"), dtype, shape);
            step.define(own, axes, body);
            step.outputs[at] = own;
        }
    }
}

fn kept_tensors(graph: &Graph, step: &te::Program) -> Vec<Kept> {
    let mut nexts: HashMap<Value, Tensor> = HashMap::new();
    for ((_, sink), tensor) in graph.outputs.iter().zip(&step.outputs) {
        if let Sink::Update(kept) = sink {
            nexts.entry(*kept).or_insert(*tensor);
        }
    }
    let inputs = graph.inputs.iter().zip(&step.inputs);
    inputs
        .filter(|((_, role), _)| matches!(role, Role::Param { .. } | Role::State { .. }))
        .map(|((value, _), tensor)| Kept { present: *tensor, next: nexts.get(value).copied() })
        .collect()
}

/// The functions that differ in more than names, and which of them each launch runs.
pub(super) fn unique_functions(launches: Vec<Launch>) -> (Vec<Function>, Vec<usize>) {
    let nameless = |launch: &Launch| {
        let mut function = launch.function.clone();
        function.forget_names();
        function.to_string()
    };
    let texts = parallel::map(&launches, nameless);
    let mut known: HashMap<&str, usize> = HashMap::new();
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

/// Statements that a function runs on registers of so many lanes: a measure of its time.
pub(super) fn work(statements: &[Stmt], function: &Function, lanes: u32) -> u64 {
    let cost = |statement: &Stmt| match statement {
        Stmt::For { axis, body, .. } => {
            work(body, function, lanes).saturating_mul(function.axes[*axis].extent as u64)
        }
        Stmt::Set { local, .. } => u64::from(function.locals[*local].ty.lanes.div_ceil(lanes)),
        Stmt::Store { .. } => 2,
        Stmt::If { then, otherwise, .. } => {
            let branches = work(then, function, lanes).saturating_add(work(otherwise, function, lanes));
            branches.saturating_add(1)
        }
    };
    statements.iter().map(cost).fold(0, u64::saturating_add)
}
