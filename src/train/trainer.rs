//! The training loop.
//!
//! Everything of a step (forward, backward, update) is one compiled program; this loop feeds it batches, watches the
//! loss, evaluates after each epoch and writes the run's files. A run that was stopped between any two steps goes on
//! as if it had not been.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::data::augment::Augment;
use crate::data::prepare::Prepare;
use crate::data::{Dataset, batches};
use crate::elab::config::{Early, Moment, Phase, TrainSpec, Watch};
use crate::lower::{CompileOptions, TunedTiles};
use crate::runtime::{Device, Instance, Store};

use super::checkpoint::Saved;
use super::error::TrainError;
use super::evaluate::{Figures, keys};
use super::programs::{
    Key, ProgramSource, Programs, Purpose, StageTimes, advised, compile_tuned, initialise,
};
use super::recipe::Recipe;
use super::records::{EpochRecord, Evaluated, FinalRecord, Lengths, Records, RecordsError};
use super::restore::OPTIMISER;
use super::running::Running;
use super::tuned::Tuned;
use super::weights::Provenance;

/// What a training works with.
pub struct Session<'a> {
    pub recipe: &'a Recipe<'a>,
    pub spec: &'a TrainSpec,
    pub data: &'a Dataset,
    /// What files of its weights say of them.
    pub provenance: &'a Provenance,
    pub prepare: &'a Prepare,
    /// What changes training images at random.
    pub augment: Option<&'a Arc<Augment>>,
    pub shuffle: bool,
    pub drop_last: bool,
    pub options: &'a CompileOptions,
    /// Register tiles for the steps of one batch size.
    pub tuned: Option<&'a Tuned>,
    pub device: &'a Arc<dyn Device>,
    /// Threads that make batches.
    pub threads: usize,
    /// Stop after so many steps in all.
    pub most_steps: Option<u64>,
    /// Becomes true when the person at the terminal wants the run to end.
    pub interrupted: &'a AtomicBool,
}

/// Who watches a training.
pub trait Observer {
    /// The first step is done; `phases` says what the time until then went into.
    fn first_step(&mut self, phases: &StageTimes);
    /// An epoch, counted from 1, begins.
    fn epoch_begins(&mut self, epoch: u64);
    /// A step on so many images is done; the figures are those of the epoch so far.
    fn step(&mut self, images: u64, figures: &Figures);
    /// An epoch is done, or as much of it as the run is to do.
    fn epoch(&mut self, record: &EpochRecord);
    /// A phase begins, or the rest of it.
    fn phase_begins(&mut self, phase: &Phase, size: PhaseSize);
    /// A phase ends before its last epoch, as its rule says.
    fn stopped_early(&mut self, rule: Early, epoch: u64);
    /// The weights are those of this epoch now, the best one.
    fn kept(&mut self, watch: Watch, epoch: Option<u64>, figure: Option<f64>);
}

/// What a phase is made of.
#[derive(Clone, Copy, Debug)]
pub struct PhaseSize {
    /// Samples of a step.
    pub batch: usize,
    /// Steps of an epoch.
    pub steps: u64,
    /// Bytes of what is kept and of what a step needs.
    pub bytes: u64,
}

/// Where a training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Epochs that are done.
    pub epochs: u64,
    /// Steps that are done.
    pub steps: u64,
    /// Steps of them that belong to the present phase: its optimiser counts them.
    pub phase_steps: u64,
    /// What is done of the epoch after `epochs`.
    pub begun: Figures,
    /// Seconds that its steps took.
    #[serde(default)]
    pub seconds: f64,
    /// The best figure so far of the run's rule for saving.
    #[serde(default)]
    pub best: Option<f64>,
    /// The epoch that has it, counted from 1.
    #[serde(default)]
    pub best_epoch: Option<u64>,
    /// The best figure so far of the phase's rule for stopping, and the epochs since.
    #[serde(default)]
    pub stopping: (Option<f64>, u64),
}

/// A training at its beginning, or at a checkpoint.
#[derive(Clone, Debug, Default)]
pub struct Begun {
    pub position: Position,
    /// The weights of the best epoch so far, where the run keeps them.
    pub best: Option<Saved>,
    /// How long its records were; none at the beginning and in folders of earlier versions.
    pub records: Option<Lengths>,
}

impl Begun {
    /// The same without figures that epochs to come would be compared with.
    pub fn without_figures(mut self) -> Begun {
        let position = &mut self.position;
        (position.best, position.best_epoch, position.stopping) = (None, None, (None, 0));
        self.best = None;
        self
    }
}

impl Position {
    /// Whether all its numbers are such as a training reaches, far from where counting ends.
    pub fn is_countable(&self) -> bool {
        const MOST: u64 = 1 << 53;
        let counts = [self.epochs, self.steps, self.phase_steps, self.begun.images(), self.stopping.1];
        counts.iter().all(|count| *count < MOST)
    }

    /// The epochs that are done or begun.
    pub fn seen_epochs(&self) -> u64 {
        self.epochs + u64::from(self.begun.images() > 0 && !planted!("train.trainer.seen"))
    }
}

impl Session<'_> {
    /// The phase that a position belongs to, and the number of epochs before it. A training that is done belongs to
    /// its last phase.
    pub fn phase_at(&self, position: &Position) -> (&Phase, u64) {
        let (last, others) = self.spec.phases.split_last().expect("a training has a phase");
        let mut first_epoch = 0;
        for phase in others {
            let next = first_epoch + u64::from(phase.epochs);
            if position.epochs < next {
                return (phase, first_epoch);
            }
            first_epoch = next;
        }
        (last, first_epoch)
    }

    /// What its epochs are evaluated on.
    pub fn evaluated(&self) -> Evaluated {
        if self.data.holdout.is_some() { Evaluated::Validation } else { Evaluated::Test }
    }

    pub fn is_over(&self, position: &Position) -> bool {
        self.most_steps
            .is_some_and(|most| position.steps >= most + u64::from(planted!("train.trainer.steps")))
    }

    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Those of all phases.
    pub fn epochs(&self) -> u64 {
        self.spec.phases.iter().map(|phase| u64::from(phase.epochs)).sum()
    }
}

/// Trains from where it has begun and gives the figures on the test split. `open` gives the run's files; it is called
/// when the first step is compiled, so a model file with errors leaves nothing behind.
///
/// # Errors
///
/// What is wrong with the model or the data, files that cannot be written, a loss that is not finite, and
/// [`TrainError::Interrupted`]. After the last two the store holds the values of the last good step.
pub fn train(
    session: &Session<'_>,
    store: &mut Store,
    mut begun: Begun,
    open: &mut dyn FnMut() -> Result<Records, RecordsError>,
    observer: &mut dyn Observer,
    mut phases: StageTimes,
) -> Result<FinalRecord, TrainError> {
    check_later_phases(session)?;
    check_rates(session)?;
    let (mut records, mut announce) = (None, true);
    loop {
        let position = &mut begun.position;
        let (phase, first_epoch) = session.phase_at(position);
        if position.epochs == first_epoch && position.begun.images() == 0 {
            store.drop_all(if planted!("train.trainer.fresh") { "none." } else { OPTIMISER });
            position.phase_steps =
                if planted!("train.trainer.phase_steps") { position.phase_steps } else { 0 };
            position.stopping =
                if planted!("train.trainer.stopping") { position.stopping } else { (None, 0) };
        }
        let run = PhaseRun { session, phase, last_epoch: first_epoch + u64::from(phase.epochs) };
        let first = run.compile(store, &mut phases)?;
        let records = match &mut records {
            Some(records) => records,
            none => none.insert(open()?),
        };
        let timed = std::mem::take(&mut announce).then_some(&mut phases);
        if let Some(record) = run.run(first, store, &mut begun, records, observer, timed)? {
            records.finish(&record)?;
            return Ok(record);
        }
    }
}

/// Finds the errors of all phases but the first before anything runs; the first is compiled at once anyway.
fn check_later_phases(session: &Session<'_>) -> Result<(), TrainError> {
    for phase in session.spec.phases.iter().skip(1) {
        session.recipe.step(phase.batch, phase)?;
    }
    Ok(())
}

/// Finds rates that no step could use before any step runs.
fn check_rates(session: &Session<'_>) -> Result<(), TrainError> {
    for phase in &session.spec.phases {
        let Moment { steps, epoch_steps, .. } =
            PhaseRun { session, phase, last_epoch: 0 }.moment(&Position::default());
        phase.check_scalars(steps, epoch_steps).map_err(|error| vec![error])?;
    }
    Ok(())
}

/// A phase of a session.
pub(super) struct PhaseRun<'a> {
    pub session: &'a Session<'a>,
    pub phase: &'a Phase,
    pub last_epoch: u64,
}

impl PhaseRun<'_> {
    pub fn batch(&self) -> usize {
        (self.phase.batch as usize).min(self.session.data.train.len())
    }

    /// The program of a whole batch, with the values that it needs. Errors of a smaller last batch are found here
    /// too, so that they do not end a run after its first epoch.
    fn compile(&self, store: &mut Store, phases: &mut StageTimes) -> Result<(Key, Instance), TrainError> {
        let Session { recipe, options, device, spec, data, .. } = *self.session;
        let batch = self.batch() as i64;
        let graph = phases.time("elaborate, differentiate", || -> Result<_, TrainError> {
            let freeze = self.phase.freeze.as_ref();
            let forward = recipe.forward(batch, freeze)?;
            recipe.check_data(&forward, data)?;
            if self.rest().is_some() {
                recipe.last_batch(data.train.len(), self.phase)?;
            }
            Ok(recipe.step_of(forward, self.phase)?)
        })?;
        initialise(&graph, spec.seed, store)?;
        let tuned = self.session.tuned.filter(|tuned| tuned.subject.batch == batch);
        let tuned = tuned.map_or_else(TunedTiles::default, |tuned| tuned.tiles.clone());
        let executable = compile_tuned(&graph, options, &tuned, &**device, phases);
        let bound = executable.and_then(|executable| Ok(Instance::bind(executable, device, store)?));
        let step_of = &mut |batch| recipe.step(batch, self.phase).ok();
        let program = bound.map_err(|error| advised(error, batch, options, step_of))?;
        // Before the run leaves anything behind.
        data.ready()?;
        Ok(((Purpose::Step, batch), program))
    }

    /// The size of the smaller last batch of an epoch, where there is one.
    fn rest(&self) -> Option<i64> {
        let rest = self.session.data.train.len() % self.batch();
        (rest > 0 && !self.session.drop_last).then_some(rest as i64)
    }

    /// Runs the phase's epochs and, if they are the last, the test split.
    fn run(
        &self,
        first: (Key, Instance),
        store: &mut Store,
        begun: &mut Begun,
        records: &mut Records,
        observer: &mut dyn Observer,
        phases: Option<&mut StageTimes>,
    ) -> Result<Option<FinalRecord>, TrainError> {
        let Session { recipe, options, device, .. } = *self.session;
        let subject = ProgramSource { recipe, phase: self.phase, options, device };
        std::thread::scope(|scope| {
            observer.phase_begins(self.phase, self.size(&first.1, store));
            let others = self.other_keys();
            let programs = Programs::new(first, others, scope, subject);
            let Begun { position, best, .. } = begun;
            let since = Instant::now();
            let mut running = Running {
                run: self,
                programs,
                store,
                position,
                best,
                records,
                observer,
                phases,
                since,
                saved: since,
            };
            while running.position.epochs < self.last_epoch && !self.session.is_over(running.position) {
                running.epoch()?;
            }
            let is_last = running.position.epochs >= self.session.epochs();
            let ends = is_last || self.session.is_over(running.position);
            if !ends {
                return Ok(None);
            }
            running.take_best()?;
            running.test().map(Some)
        })
    }

    fn size(&self, program: &Instance, store: &Store) -> PhaseSize {
        let kept: u64 = store.entries().iter().map(|entry| entry.len() as u64).sum();
        PhaseSize {
            batch: self.batch(),
            steps: self.moment(&Position::default()).epoch_steps,
            bytes: program.executable().arena_bytes() as u64 + kept * size_of::<f32>() as u64,
        }
    }

    /// Where the phase stands before a step.
    pub fn moment(&self, position: &Position) -> Moment {
        let Session { data, drop_last, .. } = *self.session;
        let epoch_steps = batches::count(data.train.len(), self.batch(), drop_last) as u64;
        Moment { step: position.phase_steps, steps: epoch_steps * u64::from(self.phase.epochs), epoch_steps }
    }

    /// The programs beside that of a whole batch.
    fn other_keys(&self) -> Vec<Key> {
        let mut others: Vec<Key> = self.rest().map(|rest| (Purpose::Step, rest)).into_iter().collect();
        for split in [self.session.data.validation(), &self.session.data.test] {
            others.extend(keys(split.len(), self.batch()));
        }
        others.sort_by_key(|(purpose, batch)| (*purpose != Purpose::Step, *batch));
        others.dedup();
        others
    }
}
