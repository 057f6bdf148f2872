//! The compiled programs of a training: one for each purpose and batch size.
//!
//! The first training step waits for its own program only. Those for the smaller last batch and for evaluation are
//! compiled on another thread meanwhile.

use std::collections::HashMap;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::base::memory::{self, Shortage};
use crate::codegen;
use crate::elab::config::Phase;
use crate::graph::{Graph, Role};
use crate::lower::{Goal, lower_chosen};
use crate::runtime::need::{self, Need};
use crate::runtime::{Program, Store};
use crate::sched::Choices;

use super::error::TrainError;
use super::initialise;
use super::recipe::Recipe;

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// A step of training.
    Step,
    /// Loss and metrics of a batch.
    Evaluation,
}

/// A purpose and a batch size.
pub type Key = (Purpose, i64);

type Compiled = Result<Vec<(Key, Program)>, TrainError>;

/// How long each stage of making a program took.
#[derive(Clone, Debug, Default)]
pub struct Phases(pub Vec<(&'static str, Duration)>);

impl Phases {
    /// Runs a stage and notes its time.
    pub fn time<T>(&mut self, name: &'static str, run: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = run();
        self.0.push((name, start.elapsed()));
        result
    }
}

/// Compiles a graph.
///
/// # Errors
///
/// Where the code generator fails, and where a run needs more memory than there is.
pub fn compile(graph: &Graph, goal: &Goal, phases: &mut Phases) -> Result<Program, TrainError> {
    compile_chosen(graph, goal, &Choices::default(), phases)
}

/// Compiles a graph with the register tiles that were chosen.
///
/// # Errors
///
/// Where the code generator fails, and where a run needs more memory than there is.
pub fn compile_chosen(
    graph: &Graph,
    goal: &Goal,
    choices: &Choices,
    phases: &mut Phases,
) -> Result<Program, TrainError> {
    let lowered = phases.time("lower, fuse, schedule", || lower_chosen(graph, goal, choices));
    Ok(phases.time("native code", || Program::compile(graph, lowered))?)
}

/// Says of an error which batch would fit, if it is that a run with this batch needs more memory than there is. `graph`
/// is the same for another batch.
pub fn advised(
    error: TrainError,
    batch: i64,
    goal: &Goal,
    graph: &mut dyn FnMut(i64) -> Option<Graph>,
) -> TrainError {
    let shortage = match error {
        TrainError::Shortage(shortage) | TrainError::Codegen(codegen::Error::Shortage(shortage)) => shortage,
        other => return other,
    };
    let Some(room) = shortage.room.filter(|_| batch > 1) else { return shortage.into() };
    let mut needed = |batch: i64| {
        let graph = graph(batch)?;
        Some(Need::of(&graph, &lower_chosen(&graph, goal, &Choices::default())).run)
    };
    let batch = need::largest_batch(room, (batch, shortage.needed), &mut needed);
    TrainError::TooLarge { shortage, batch }
}

/// Adds the parameters and states of a graph that a store lacks, with their initial values.
///
/// # Errors
///
/// Where they need more memory than there is; then none is added.
pub fn initialise(graph: &Graph, seed: u64, store: &mut Store) -> Result<(), Shortage> {
    if store.entries().is_empty() {
        memory::check("holding the weights and states, at any batch,", need::kept(graph))?;
    }
    for (value, role) in &graph.inputs {
        let (path, init) = match role {
            Role::Param { path, init } | Role::State { path, init } => (path, init),
            Role::Data | Role::Target | Role::Partner | Role::Scalar(_) => continue,
        };
        if store.position(path).is_none() {
            let entry = store.add(path, &graph.values[*value].shape)?;
            initialise::fill(init, path, seed, entry.values_mut());
        }
    }
    Ok(())
}

/// The programs of a phase of training.
pub struct Programs<'scope, 'env> {
    ready: HashMap<Key, Program>,
    /// The program that has the memory: one runs at a time, so one arena serves all.
    current: Key,
    others: Vec<Key>,
    coming: Option<ScopedJoinHandle<'scope, Compiled>>,
    scope: &'scope Scope<'scope, 'env>,
    recipe: &'env Recipe<'env>,
    phase: &'env Phase,
    goal: &'env Goal,
}

impl<'scope, 'env> Programs<'scope, 'env> {
    /// Programs of which one is ready and the others are yet to be compiled, on a thread of the scope.
    pub fn new(
        first: (Key, Program),
        others: Vec<Key>,
        scope: &'scope Scope<'scope, 'env>,
        recipe: &'env Recipe<'env>,
        phase: &'env Phase,
        goal: &'env Goal,
    ) -> Programs<'scope, 'env> {
        Programs {
            current: first.0,
            ready: HashMap::from([first]),
            others,
            coming: None,
            scope,
            recipe,
            phase,
            goal,
        }
    }

    /// Begins to compile the others, unless that has been done.
    pub fn prepare(&mut self) {
        if self.coming.is_some() || self.others.is_empty() {
            return;
        }
        let (recipe, phase, goal) = (self.recipe, self.phase, self.goal);
        let others = self.others.clone();
        let compile_others = move || {
            let compiled = others.into_iter().map(|key| Ok((key, compile_key(key, recipe, phase, goal)?)));
            compiled.collect()
        };
        // Where no thread can be started, they are compiled when they are needed.
        let thread = std::thread::Builder::new().spawn_scoped(self.scope, compile_others);
        self.coming = thread.ok();
    }

    /// A program; those that were announced at the start are there, or soon will be. What the one before it computed is lost.
    ///
    /// # Errors
    ///
    /// What went wrong in compiling it.
    pub fn get(&mut self, key: Key) -> Result<&mut Program, TrainError> {
        if !self.ready.contains_key(&key) {
            self.prepare();
            if let Some(coming) = self.coming.take() {
                self.ready.extend(coming.join().expect("compiling does not panic")?);
                self.others.clear();
            }
        }
        let mut program = match self.ready.remove(&key) {
            Some(program) => program,
            None => compile_key(key, self.recipe, self.phase, self.goal)?,
        };
        if let Some(current) = self.ready.get_mut(&self.current) {
            program.take_memory(current)?;
        }
        self.current = key;
        Ok(self.ready.entry(key).or_insert(program))
    }
}

/// The program of a key.
fn compile_key(
    (purpose, batch): Key,
    recipe: &Recipe<'_>,
    phase: &Phase,
    goal: &Goal,
) -> Result<Program, TrainError> {
    let graph = match purpose {
        Purpose::Step => recipe.step(batch, phase)?,
        Purpose::Evaluation if planted!("train.programs.training") => recipe.forward(batch, None)?,
        Purpose::Evaluation => recipe.evaluation(batch)?,
    };
    let lowered = lower_chosen(&graph, goal, &Choices::default());
    Ok(Program::without_memory(&graph, lowered)?)
}
