//! The training loop.
//!
//! Everything of a step (forward, backward, update) is one compiled program; this loop feeds it batches, watches the
//! loss, evaluates after each epoch and writes the run's files.

use std::time::Instant;

use crate::base::philox::RandomState;
use crate::data::batches;
use crate::data::prepare::Prepare;
use crate::data::{Dataset, Split};
use crate::elab::config::{Phase, TrainSpec};
use crate::runtime::{Pool, Program, Store};
use crate::sched::Machine;

use super::checkpoint::Checkpoint;
use super::error::TrainError;
use super::evaluate::{BatchBuffer, Figures, evaluate, keys, loss_and_correct};
use super::programs::{Key, Phases, Programs, Purpose, compile, initialise};
use super::recipe::Recipe;
use super::records::{EpochRecord, FinalRecord, Records, StepRecord};

/// What a training works with.
pub struct Session<'a> {
    pub recipe: &'a Recipe<'a>,
    pub spec: &'a TrainSpec,
    pub data: &'a Dataset,
    pub prepare: &'a Prepare,
    pub shuffle: bool,
    pub drop_last: bool,
    pub machine: &'a Machine,
    pub pool: &'a Pool,
    /// Stop after so many steps in all.
    pub most_steps: Option<u64>,
}

/// Who watches a training.
pub trait Observer {
    /// The first step is done; `phases` says what the time until then went into.
    fn first_step(&mut self, phases: &Phases);
    /// An epoch, counted from 1, begins.
    fn epoch_begins(&mut self, epoch: u64);
    /// A step on so many images is done; the figures are those of the epoch so far.
    fn step(&mut self, images: u64, figures: &Figures);
    /// An epoch is done.
    fn epoch(&mut self, record: &EpochRecord);
}

/// Where a training stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Epochs that are done.
    pub epochs: u64,
    /// Steps that are done.
    pub steps: u64,
}

/// Trains from `position` on and gives the figures on the test split.
///
/// # Errors
///
/// What is wrong with the model or the data, a loss that is not finite, files that cannot be written.
pub fn train(
    session: &Session<'_>,
    store: &mut Store,
    mut position: Position,
    records: &mut Records,
    observer: &mut dyn Observer,
    mut phases: Phases,
) -> Result<FinalRecord, TrainError> {
    let mut first_epoch = 0;
    let mut result = None;
    for (number, phase) in session.spec.phases.iter().enumerate() {
        let last_epoch = first_epoch + u64::from(phase.epochs);
        let is_last = number + 1 == session.spec.phases.len();
        if position.epochs < last_epoch || is_last {
            if position.epochs == first_epoch {
                store.clear_states("optim.");
            }
            let run = PhaseRun { session, phase, first_epoch, last_epoch };
            result = Some(run.run(store, &mut position, records, observer, &mut phases)?);
        }
        first_epoch = last_epoch;
    }
    let figures = result.ok_or_else(|| TrainError::Other("there is no epoch to train".into()))?;
    let record = FinalRecord { test_loss: figures.loss(), test_accuracy: figures.accuracy() };
    records.finish(&record)?;
    Ok(record)
}

struct PhaseRun<'a> {
    session: &'a Session<'a>,
    phase: &'a Phase,
    first_epoch: u64,
    last_epoch: u64,
}

impl PhaseRun<'_> {
    fn batch(&self) -> usize {
        (self.phase.batch as usize).min(self.session.data.train.len())
    }

    /// Runs the phase's epochs, then the test split.
    fn run(
        &self,
        store: &mut Store,
        position: &mut Position,
        records: &mut Records,
        observer: &mut dyn Observer,
        phases: &mut Phases,
    ) -> Result<Figures, TrainError> {
        let Session { recipe, machine, spec, .. } = *self.session;
        let key = (Purpose::Step, self.batch() as i64);
        let graph = phases.time("elaborate, differentiate", || recipe.step(key.1, &self.phase.optim))?;
        initialise(&graph, spec.seed, store);
        let first = compile(&graph, machine, phases)?;
        std::thread::scope(|scope| {
            let mut running = Running {
                run: self,
                programs: Programs::new(
                    (key, first),
                    self.other_keys(),
                    scope,
                    recipe,
                    &self.phase.optim,
                    machine,
                ),
                buffer: BatchBuffer::default(),
                store,
                position,
                records,
                observer,
                phases: Some(phases),
            };
            while running.position.epochs < self.last_epoch && !running.is_over() {
                running.epoch()?;
            }
            running.evaluate(&self.session.data.test, "test")
        })
    }

    /// The programs beside that of a whole batch.
    fn other_keys(&self) -> Vec<Key> {
        let Session { data, drop_last, .. } = *self.session;
        let rest = (data.train.len() % self.batch()) as i64;
        let mut others: Vec<Key> =
            (rest > 0 && !drop_last).then_some((Purpose::Step, rest)).into_iter().collect();
        for split in [data.validation(), &data.test] {
            others.extend(keys(split.len(), self.batch()));
        }
        others.sort_by_key(|(purpose, batch)| (*purpose != Purpose::Step, *batch));
        others.dedup();
        others
    }
}

struct Running<'a, 'scope, 'env> {
    run: &'a PhaseRun<'a>,
    programs: Programs<'scope, 'env>,
    buffer: BatchBuffer,
    store: &'a mut Store,
    position: &'a mut Position,
    records: &'a mut Records,
    observer: &'a mut dyn Observer,
    /// Taken when the first step is done.
    phases: Option<&'a mut Phases>,
}

impl Running<'_, '_, '_> {
    fn is_over(&self) -> bool {
        self.run.session.most_steps.is_some_and(|most| self.position.steps >= most)
    }

    fn epoch(&mut self) -> Result<(), TrainError> {
        let Session { data, spec, shuffle, drop_last, .. } = *self.run.session;
        let start = Instant::now();
        let epoch = self.position.epochs + 1;
        self.observer.epoch_begins(epoch);
        let order = batches::order(data.train.len(), spec.seed, epoch, shuffle);
        let (mut figures, mut images) = (Figures::default(), 0);
        for indices in batches::batches(&order, self.run.batch(), drop_last) {
            if self.is_over() {
                break;
            }
            let (loss, correct) = self.step(epoch, indices)?;
            images += indices.len() as u64;
            figures.add(indices.len() as u64, f64::from(loss), correct);
            self.observer.step(indices.len() as u64, &figures);
        }
        let seconds = start.elapsed().as_secs_f64();
        let validation = self.evaluate(data.validation(), "val")?;
        self.position.epochs = epoch;
        let record = EpochRecord {
            epoch,
            train_loss: figures.loss(),
            train_accuracy: figures.accuracy(),
            val_loss: Some(validation.loss()),
            val_accuracy: Some(validation.accuracy()),
            seconds,
            images_per_second: images as f64 / seconds,
            learning_rate: self.run.phase.optim.learning_rate,
        };
        self.records.epoch(&record)?;
        Checkpoint::save(self.records.folder(), self.store, *self.position)?;
        self.observer.epoch(&record);
        Ok(())
    }

    fn step(&mut self, epoch: u64, indices: &[u32]) -> Result<(f32, f64), TrainError> {
        let Session { data, prepare, spec, pool, .. } = *self.run.session;
        let PhaseRun { phase, first_epoch, .. } = *self.run;
        let step = self.position.steps;
        let program = self.programs.get((Purpose::Step, indices.len() as i64))?;
        self.buffer.feed(program, &data.train, indices, prepare);
        let before = first_epoch
            * batches::count(data.train.len(), self.run.batch(), self.run.session.drop_last) as u64;
        for (name, value) in phase.optim.scalars(step - before.min(step)) {
            program.set_scalar(&name, value as f32);
        }
        let run =
            |program: &mut Program| program.run(self.store, pool, RandomState { seed: spec.seed, step });
        match self.phases.take() {
            Some(phases) => {
                phases.time("first step", || run(program));
                self.observer.first_step(phases);
            }
            None => run(program),
        }
        let (loss, correct) = loss_and_correct(program, self.store);
        if !loss.is_finite() {
            return Err(TrainError::NotFinite { loss, epoch, step: step + 1 });
        }
        program.commit(self.store);
        self.programs.prepare();
        self.position.steps += 1;
        self.records.step(&StepRecord { split: "train", epoch, step: self.position.steps, loss })?;
        Ok((loss, correct))
    }

    fn evaluate(&mut self, split: &Split, name: &'static str) -> Result<Figures, TrainError> {
        let Session { prepare, pool, .. } = *self.run.session;
        let (programs, records) = (&mut self.programs, &mut self.records);
        let (epoch, step) = (self.position.epochs + u64::from(name == "val"), self.position.steps);
        evaluate(
            split,
            prepare,
            self.run.batch(),
            self.store,
            pool,
            &mut |key, run| {
                run(programs.get(key)?);
                Ok(())
            },
            &mut |loss| Ok(records.step(&StepRecord { split: name, epoch, step, loss })?),
        )
    }
}
