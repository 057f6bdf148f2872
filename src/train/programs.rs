//! The compiled programs of a training: one for each purpose and batch size.
//!
//! The first training step waits for its own program only. Those for the smaller last batch and for evaluation are
//! compiled on another thread meanwhile.

use std::collections::HashMap;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::elab::config::Phase;
use crate::graph::{Graph, Role};
use crate::runtime::lower::lower_chosen;
use crate::runtime::{Program, Store};
use crate::sched::{Choices, Machine};

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
/// Where the code generator fails.
pub fn compile(graph: &Graph, machine: &Machine, phases: &mut Phases) -> Result<Program, TrainError> {
    compile_chosen(graph, machine, &Choices::default(), phases)
}

/// Compiles a graph with the register tiles that were chosen.
///
/// # Errors
///
/// Where the code generator fails.
pub fn compile_chosen(
    graph: &Graph,
    machine: &Machine,
    choices: &Choices,
    phases: &mut Phases,
) -> Result<Program, TrainError> {
    let lowered =
        phases.time("lower, fuse, schedule", || lower_chosen(graph, machine, choices, &mut |_, _| {}));
    Ok(phases.time("native code", || Program::compile(graph, lowered, machine))?)
}

/// Adds the parameters and states of a graph that a store lacks, with their initial values.
pub fn initialise(graph: &Graph, seed: u64, store: &mut Store) {
    for (value, role) in &graph.inputs {
        let (path, init, trained) = match role {
            Role::Param { path, init } => (path, init, true),
            Role::State { path, init } => (path, init, false),
            Role::Data | Role::Target | Role::Partner | Role::Scalar(_) => continue,
        };
        if store.position(path).is_none() {
            let entry = store.add(path, &graph.values[*value].shape, trained);
            initialise::fill(init, path, seed, entry.values_mut());
        }
    }
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
    machine: &'env Machine,
}

impl<'scope, 'env> Programs<'scope, 'env> {
    /// Programs of which one is ready and the others are yet to be compiled, on a thread of the scope.
    pub fn new(
        first: (Key, Program),
        others: Vec<Key>,
        scope: &'scope Scope<'scope, 'env>,
        recipe: &'env Recipe<'env>,
        phase: &'env Phase,
        machine: &'env Machine,
    ) -> Programs<'scope, 'env> {
        Programs {
            current: first.0,
            ready: HashMap::from([first]),
            others,
            coming: None,
            scope,
            recipe,
            phase,
            machine,
        }
    }

    /// Begins to compile the others, unless that has been done.
    pub fn prepare(&mut self) {
        let (recipe, phase, machine) = (self.recipe, self.phase, self.machine);
        let others = std::mem::take(&mut self.others);
        if others.is_empty() {
            return;
        }
        let compile_others = move || {
            let compiled = others.into_iter().map(|key| Ok((key, compile_key(key, recipe, phase, machine)?)));
            compiled.collect()
        };
        self.coming = Some(self.scope.spawn(compile_others));
    }

    /// A program that was announced at the start. What the one before it computed is lost.
    ///
    /// # Errors
    ///
    /// What went wrong in compiling it.
    pub fn get(&mut self, key: Key) -> Result<&mut Program, TrainError> {
        if !self.ready.contains_key(&key) {
            self.prepare();
            if let Some(coming) = self.coming.take() {
                self.ready.extend(coming.join().expect("compiling does not panic")?);
            }
        }
        let mut program = self.ready.remove(&key).expect("announced at the start");
        if let Some(current) = self.ready.get_mut(&self.current) {
            program.take_memory(current);
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
    machine: &Machine,
) -> Result<Program, TrainError> {
    let graph = match purpose {
        Purpose::Step => recipe.step(batch, phase)?,
        Purpose::Evaluation => recipe.evaluation(batch)?,
    };
    compile(&graph, machine, &mut Phases::default())
}
