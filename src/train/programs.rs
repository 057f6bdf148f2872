//! The compiled programs of a training: one for each purpose and batch size.
//!
//! The first training step waits for its own program only. Those for the smaller last batch and for evaluation are
//! compiled on another thread meanwhile.

use std::collections::HashMap;
use std::sync::Arc;
use std::thread::{Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

use crate::base::memory::{self, MemoryLimit, Shortage};
use crate::elab::config::Phase;
use crate::graph::{Graph, Role};
use crate::lower::{CompileOptions, Lowered, TunedTiles, lower_tuned};
use crate::runtime::need::{self, Need};
use crate::runtime::{Device, Error, Executable, Instance, Mismatch, Store, Turns};

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

type Compiled = Result<Vec<(Key, Executable)>, TrainError>;

/// How long each stage of making a program took.
#[derive(Clone, Debug, Default)]
pub struct StageTimes(pub Vec<(&'static str, Duration)>);

impl StageTimes {
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
pub fn compile(
    graph: &Graph,
    options: &CompileOptions,
    device: &dyn Device,
    times: &mut StageTimes,
) -> Result<Arc<Executable>, TrainError> {
    compile_tuned(graph, options, &TunedTiles::default(), device, times)
}

/// Compiles a graph with the register tiles that were chosen.
///
/// # Errors
///
/// Where the code generator fails, and where a run needs more memory than there is.
pub fn compile_tuned(
    graph: &Graph,
    options: &CompileOptions,
    tuned: &TunedTiles,
    device: &dyn Device,
    times: &mut StageTimes,
) -> Result<Arc<Executable>, TrainError> {
    let lowered = times.time("lowering", || lower_tuned(graph, options, tuned));
    times.time("native code", || compile_lowered(graph, lowered, device))
}

/// Compiles a lowered graph that is to run.
///
/// # Errors
///
/// Where the code generator fails, and where a run needs more memory than there is.
pub fn compile_lowered(
    graph: &Graph,
    lowered: Lowered,
    device: &dyn Device,
) -> Result<Arc<Executable>, TrainError> {
    let need = Need::of(graph, &lowered);
    trimmed(device, || need.check_run())?;
    Ok(Arc::new(Executable::compile(graph, lowered, device)?))
}

/// Checks for memory, once more without what a device has and nobody uses.
fn trimmed(device: &dyn Device, check: impl Fn() -> Result<(), Shortage>) -> Result<(), Shortage> {
    check().or_else(|_| {
        device.trim();
        check()
    })
}

/// Says of an error which batch would fit, if it is that a run with this batch needs more memory than there is. `graph`
/// is the same for another batch.
pub fn advised(
    error: TrainError,
    batch: i64,
    options: &CompileOptions,
    graph: &mut dyn FnMut(i64) -> Option<Graph>,
) -> TrainError {
    let shortage = match error {
        TrainError::Shortage(shortage)
        | TrainError::Code(Error::Shortage(shortage))
        | TrainError::Mismatch(Mismatch::Shortage(shortage)) => shortage,
        other => return other,
    };
    let Some(room) = shortage.room.filter(|_| batch > 1) else { return shortage.into() };
    let mut needed = |batch: i64| {
        let graph = graph(batch)?;
        let lowered = lower_tuned(&graph, options, &TunedTiles::default());
        Some(match room.bound {
            MemoryLimit::Block => need::largest(&lowered),
            _ => Need::of(&graph, &lowered).run,
        })
    };
    let all = needed(batch).unwrap_or(shortage.needed);
    let batch = need::largest_batch(room, (batch, all), &mut needed);
    TrainError::TooLarge { shortage, batch }
}

/// Adds the parameters and states of a graph that a store lacks, with their initial values.
///
/// # Errors
///
/// Where they need more memory than there is; then none is added.
pub fn initialise(graph: &Graph, seed: u64, store: &mut Store) -> Result<(), Shortage> {
    if store.entries().is_empty() {
        let persistent = need::persistent(graph);
        let check = || memory::check("holding the weights and states, at any batch,", persistent);
        trimmed(&**store.device(), check)?;
    }
    for (value, role) in &graph.inputs {
        let (path, init) = match role {
            Role::Param { path, init } | Role::State { path, init } => (path, init),
            Role::Data | Role::Target | Role::Partner | Role::Scalar(_) => continue,
        };
        if store.position(path).is_none() {
            let entry = store.add(path, &graph.values[*value].shape)?;
            entry.write(|values| initialise::fill(init, path, seed, values));
        }
    }
    Ok(())
}

/// The programs of a phase of training.
pub struct Programs<'scope, 'env> {
    /// Those that have run: one at a time, so one arena serves all.
    bound: Turns<Key>,
    /// Those that have not run yet.
    ready: HashMap<Key, Executable>,
    others: Vec<Key>,
    coming: Option<ScopedJoinHandle<'scope, Compiled>>,
    scope: &'scope Scope<'scope, 'env>,
    subject: ProgramSource<'env>,
}

/// What programs are compiled of, and for.
#[derive(Clone, Copy)]
pub struct ProgramSource<'a> {
    pub recipe: &'a Recipe<'a>,
    pub phase: &'a Phase,
    pub options: &'a CompileOptions,
    pub device: &'a Arc<dyn Device>,
}

impl<'scope, 'env> Programs<'scope, 'env> {
    /// Programs of which one is ready and the others are yet to be compiled, on a thread of the scope.
    pub fn new(
        (key, first): (Key, Instance),
        others: Vec<Key>,
        scope: &'scope Scope<'scope, 'env>,
        subject: ProgramSource<'env>,
    ) -> Programs<'scope, 'env> {
        let bound = Turns::new().with(key, first);
        Programs { bound, ready: HashMap::new(), others, coming: None, scope, subject }
    }

    /// Begins to compile the others, unless that has been done.
    pub fn prepare(&mut self) {
        if self.coming.is_some() || self.others.is_empty() {
            return;
        }
        let (subject, others) = (self.subject, self.others.clone());
        let compile_others = move || {
            let compiled = others.into_iter().map(|key| Ok((key, subject.compile(key)?)));
            compiled.collect()
        };
        // Where no thread can be started, they are compiled when they are needed.
        let thread = std::thread::Builder::new().spawn_scoped(self.scope, compile_others);
        self.coming = thread.ok();
    }

    /// What the programs are compiled of.
    pub fn subject(&self) -> ProgramSource<'env> {
        self.subject
    }

    /// Gives back the memory of the program that has it, for one that is none of these.
    pub fn release(&mut self) {
        self.bound.release();
    }

    /// A program; those that were announced at the start are there, or soon will be. What the one before it computed is
    /// lost.
    ///
    /// # Errors
    ///
    /// What went wrong in compiling it.
    pub fn get(&mut self, key: Key, store: &mut Store) -> Result<&mut Instance, TrainError> {
        if !self.bound.has(key) && !self.ready.contains_key(&key) {
            self.prepare();
            if let Some(coming) = self.coming.take() {
                self.ready.extend(coming.join().expect("compiling does not panic")?);
                self.others.clear();
            }
        }
        let Programs { bound, ready, subject, .. } = self;
        bound.get(key, || {
            let executable = match ready.remove(&key) {
                Some(executable) => executable,
                None => subject.compile(key)?,
            };
            Ok(Instance::bind(executable.into(), subject.device, store)?)
        })
    }
}

impl ProgramSource<'_> {
    /// The graph of a key.
    ///
    /// # Errors
    ///
    /// What is wrong with the model.
    pub fn graph(&self, (purpose, batch): Key) -> Result<Graph, TrainError> {
        Ok(match purpose {
            Purpose::Step => self.recipe.step(batch, self.phase)?,
            Purpose::Evaluation if planted!("train.programs.training") => self.recipe.forward(batch, None)?,
            Purpose::Evaluation => self.recipe.evaluation(batch)?,
        })
    }

    /// The program of a key.
    fn compile(&self, key: Key) -> Result<Executable, TrainError> {
        let graph = self.graph(key)?;
        let lowered = lower_tuned(&graph, self.options, &TunedTiles::default());
        Ok(Executable::compile(&graph, lowered, &**self.device)?)
    }
}
