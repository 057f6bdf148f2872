//! The training loop.
//!
//! Everything of a step (forward, backward, update) is one compiled program; this loop feeds it batches, watches the
//! loss, evaluates after each epoch and writes the run's files. A run that was stopped between any two steps goes on
//! as if it had not been.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::base::philox::RandomState;
use crate::data::augment::Augment;
use crate::data::feed::{Batch, Feed, Maker, Plan};
use crate::data::prepare::Prepare;
use crate::data::{DataError, Dataset, Split, batches};
use crate::elab::config::{Early, Moment, Phase, TrainSpec, Watch};
use crate::runtime::{Pool, Program, Store};
use crate::sched::{Choices, Machine};

use super::checkpoint::Checkpoint;
use super::confusion::Confusion;
use super::error::{NotFinite, TrainError};
use super::evaluate::{BatchFigures, Evaluation, Figures, gradient_norms, keys, set_batch};
use super::programs::{Key, Phases, Programs, Purpose, advised, compile_chosen, initialise};
use super::recipe::Recipe;
use super::records::{
    EpochRecord, FinalRecord, GradientRecord, Records, RecordsError, StepRecord, top_figures,
};
use super::restore::{self, OPTIMISER};
use super::tuned::Tuned;

/// What a training works with.
pub struct Session<'a> {
    pub recipe: &'a Recipe<'a>,
    pub spec: &'a TrainSpec,
    pub data: &'a Dataset,
    pub prepare: &'a Prepare,
    /// What changes training images at random.
    pub augment: Option<&'a Arc<Augment>>,
    pub shuffle: bool,
    pub drop_last: bool,
    pub machine: &'a Machine,
    /// Register tiles for the steps of one batch size.
    pub tuned: Option<&'a Tuned>,
    pub pool: &'a Pool,
    /// Stop after so many steps in all.
    pub most_steps: Option<u64>,
    /// Becomes true when the person at the terminal wants the run to end.
    pub interrupted: &'a AtomicBool,
}

/// Who watches a training.
pub trait Observer {
    /// The first step is done; `phases` says what the time until then went into.
    fn first_step(&mut self, phases: &Phases);
    /// An epoch, counted from 1, begins.
    fn epoch_begins(&mut self, epoch: u64);
    /// A step on so many images is done; the figures are those of the epoch so far.
    fn step(&mut self, images: u64, figures: &Figures);
    /// An epoch is done, or as much of it as the run is to do.
    fn epoch(&mut self, record: &EpochRecord);
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
    /// The best figure so far of the run's rule for saving.
    #[serde(default)]
    pub best: Option<f64>,
    /// The best figure so far of the phase's rule for stopping, and the epochs since.
    #[serde(default)]
    pub stopping: (Option<f64>, u64),
}

impl Position {
    /// Whether all its numbers are such as a training reaches, far from where counting ends.
    pub fn is_countable(&self) -> bool {
        const MOST: u64 = 1 << 53;
        let counts = [self.epochs, self.steps, self.phase_steps, self.begun.images(), self.stopping.1];
        counts.iter().all(|count| *count < MOST)
    }

    /// The epochs that are done or begun.
    fn seen_epochs(&self) -> u64 {
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

    fn is_over(&self, position: &Position) -> bool {
        self.most_steps
            .is_some_and(|most| position.steps >= most + u64::from(planted!("train.trainer.steps")))
    }

    fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    fn epochs(&self) -> u64 {
        self.spec.phases.iter().map(|phase| u64::from(phase.epochs)).sum()
    }
}

/// Trains from `position` on and gives the figures on the test split. `open` gives the run's files; it is called when
/// the first step is compiled, so a model file with errors leaves nothing behind.
///
/// # Errors
///
/// What is wrong with the model or the data, files that cannot be written, a loss that is not finite, and
/// [`TrainError::Interrupted`]. After the last two the store holds the values of the last good step.
pub fn train(
    session: &Session<'_>,
    store: &mut Store,
    mut position: Position,
    open: &mut dyn FnMut() -> Result<Records, RecordsError>,
    observer: &mut dyn Observer,
    mut phases: Phases,
) -> Result<FinalRecord, TrainError> {
    check_later_phases(session)?;
    check_rates(session)?;
    let (mut records, mut announce) = (None, true);
    loop {
        let (phase, first_epoch) = session.phase_at(&position);
        if position.epochs == first_epoch && position.begun.images() == 0 {
            store.clear_states(if planted!("train.trainer.fresh") { "none." } else { OPTIMISER });
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
        if let Some(record) = run.run(first, store, &mut position, records, observer, timed)? {
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

struct PhaseRun<'a> {
    session: &'a Session<'a>,
    phase: &'a Phase,
    last_epoch: u64,
}

impl PhaseRun<'_> {
    fn batch(&self) -> usize {
        (self.phase.batch as usize).min(self.session.data.train.len())
    }

    /// The program of a whole batch, with the values that it needs. Errors of a smaller last batch are found here
    /// too, so that they do not end a run after its first epoch.
    fn compile(&self, store: &mut Store, phases: &mut Phases) -> Result<(Key, Program), TrainError> {
        let Session { recipe, machine, spec, data, .. } = *self.session;
        let batch = self.batch() as i64;
        let graph = phases.time("elaborate, differentiate", || -> Result<_, TrainError> {
            let freeze = self.phase.freeze.as_ref();
            let forward = recipe.forward(batch, freeze)?;
            recipe.check_data(&forward, data)?;
            if let Some(rest) = self.rest() {
                recipe.forward(rest, freeze)?;
            }
            Ok(recipe.step_of(forward, self.phase)?)
        })?;
        initialise(&graph, spec.seed, store)?;
        let tuned = self.session.tuned.filter(|tuned| tuned.subject.batch == batch);
        let choices = tuned.map_or_else(Choices::default, |tuned| tuned.choices.clone());
        let program = compile_chosen(&graph, machine, &choices, phases);
        let step_of = &mut |batch| recipe.step(batch, self.phase).ok();
        let program = program.map_err(|error| advised(error, batch, machine, step_of))?;
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
        first: (Key, Program),
        store: &mut Store,
        position: &mut Position,
        records: &mut Records,
        observer: &mut dyn Observer,
        phases: Option<&mut Phases>,
    ) -> Result<Option<FinalRecord>, TrainError> {
        let Session { recipe, machine, .. } = *self.session;
        std::thread::scope(|scope| {
            let others = self.other_keys();
            let programs = Programs::new(first, others, scope, recipe, self.phase, machine);
            let mut running = Running { run: self, programs, store, position, records, observer, phases };
            while running.position.epochs < self.last_epoch && !self.session.is_over(running.position) {
                running.epoch()?;
            }
            let is_last = running.position.epochs >= self.session.epochs();
            let ends = is_last || self.session.is_over(running.position);
            if !ends {
                return Ok(None);
            }
            if self.session.spec.save.is_some() && running.position.best.is_some() {
                restore::best(running.records.folder(), running.store)?;
            }
            running.test().map(Some)
        })
    }

    /// Where the phase stands before a step.
    fn moment(&self, position: &Position) -> Moment {
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

struct Running<'a, 'scope, 'env> {
    run: &'a PhaseRun<'a>,
    programs: Programs<'scope, 'env>,
    store: &'a mut Store,
    position: &'a mut Position,
    records: &'a mut Records,
    observer: &'a mut dyn Observer,
    /// Taken when the first step of the run is done.
    phases: Option<&'a mut Phases>,
}

impl Running<'_, '_, '_> {
    /// The rest of an epoch: its steps, the validation, its records. One that `most_steps` cuts short is reported
    /// like a whole one, but stays begun.
    fn epoch(&mut self) -> Result<(), TrainError> {
        let start = Instant::now();
        let images_before = self.position.begun.images();
        let whole = self.steps()?;
        let unit = if planted!("train.trainer.seconds") { 1e3 } else { 1.0 };
        let seconds = start.elapsed().as_secs_f64() * unit;
        let validation = self.evaluate(self.run.session.data.validation(), "val", None)?;
        let trained = self.position.begun;
        let record = EpochRecord {
            epoch: self.position.epochs + 1,
            train_loss: trained.loss(),
            train_accuracy: trained.accuracy(),
            val_loss: Some(validation.loss()),
            val_accuracy: Some(validation.accuracy()),
            seconds,
            images_per_second: (trained.images() - images_before) as f64 / seconds,
            learning_rate: self.learning_rate(),
            top: top_figures(&self.run.session.spec.metrics, &[("train", &trained), ("val", &validation)]),
        };
        if whole {
            self.position.epochs += 1;
            self.position.begun = Figures::default();
        }
        self.records.epoch(&record)?;
        self.keep_best(&record)?;
        if whole && self.run.phase.stop.is_some_and(|rule| stops(rule, &record, &mut self.position.stopping))
        {
            self.position.epochs = self.run.last_epoch;
        }
        Checkpoint::save(self.records.folder(), self.store, *self.position)?;
        self.observer.epoch(&record);
        Ok(())
    }

    /// The learning rate of the last step.
    fn learning_rate(&self) -> f64 {
        let moment = self.run.moment(self.position);
        let before = u64::from(!planted!("train.trainer.last_rate"));
        self.run.phase.learning_rate(Moment { step: moment.step.saturating_sub(before), ..moment })
    }

    /// Writes the weights if they are the best so far by the run's rule.
    fn keep_best(&mut self, record: &EpochRecord) -> Result<(), TrainError> {
        let Some(watch) = self.run.session.spec.save else { return Ok(()) };
        let figure = watched(watch, record);
        let best = self.position.best.filter(|_| !planted!("train.trainer.best"));
        if figure.is_some_and(|figure| is_better(watch, figure, best, 0.0)) {
            self.position.best = figure;
            restore::save_best(self.records.folder(), self.store)?;
        }
        Ok(())
    }

    /// The steps of an epoch that are not done yet. Says whether all are done now.
    fn steps(&mut self) -> Result<bool, TrainError> {
        let epoch = self.position.epochs + 1;
        self.observer.epoch_begins(epoch);
        let mut feed = self.feed(epoch)?;
        loop {
            if self.run.session.is_over(self.position) {
                return Ok(feed.next_batch()?.is_none());
            }
            let batch = match feed.next_batch() {
                Ok(Some(batch)) => batch,
                Ok(None) => return Ok(true),
                Err(error) => return Err(self.stopped_by_data(error)?),
            };
            let figures = self.step(epoch, batch)?;
            let images = batch.labels.len() as u64;
            self.position.begun.add(images, &figures);
            self.observer.step(images, &self.position.begun);
            self.check_interrupt()?;
        }
    }

    /// The batches of an epoch that are not done yet.
    fn feed(&self, epoch: u64) -> Result<Feed, TrainError> {
        let Session { data, spec, prepare, augment, shuffle, drop_last, pool, .. } = *self.run.session;
        let mut order = batches::order(data.train.len(), spec.seed, epoch, shuffle);
        order.drain(..(self.position.begun.images() as usize).min(order.len()));
        let maker = Maker {
            split: data.train.clone(),
            prepare: prepare.clone(),
            augment: augment.map(|augment| (augment.clone(), epoch)),
        };
        Ok(Feed::new(maker, Plan { order, batch: self.run.batch(), drop_last }, pool.threads())?)
    }

    /// Keeps what was learnt until an image could not be read.
    fn stopped_by_data(&self, error: DataError) -> Result<TrainError, TrainError> {
        Checkpoint::save(self.records.folder(), self.store, *self.position)?;
        Ok(error.into())
    }

    /// Ends an interrupted run with a checkpoint.
    fn check_interrupt(&mut self) -> Result<(), TrainError> {
        if !self.run.session.is_interrupted() {
            return Ok(());
        }
        Checkpoint::save(self.records.folder(), self.store, *self.position)?;
        Err(TrainError::Interrupted { epoch: self.position.seen_epochs(), step: self.position.steps })
    }

    fn step(&mut self, epoch: u64, batch: &Batch) -> Result<BatchFigures, TrainError> {
        let Session { spec, pool, .. } = *self.run.session;
        let step = self.position.steps;
        let seed = if planted!("train.trainer.seed") { 0 } else { spec.seed };
        let drawn = if planted!("train.trainer.draws") { epoch } else { step };
        let program = self.programs.get((Purpose::Step, batch.labels.len() as i64))?;
        set_batch(program, batch);
        for (name, value) in self.run.phase.scalars(self.run.moment(self.position)) {
            program.set_scalar(&name, value as f32);
        }
        let mut run =
            |program: &mut Program| program.run(self.store, pool, RandomState { seed, step: drawn });
        match self.phases.take() {
            Some(phases) => {
                phases.time("first step", || run(program))?;
                self.observer.first_step(phases);
            }
            None => run(program)?,
        }
        let figures = BatchFigures::of(program, self.store);
        let loss = figures.loss;
        let norms = gradient_norms(program, self.store);
        if !program.is_accepted() {
            let parameter = program.unsound(self.store).into_iter().next();
            let first = program.first_not_finite(self.store, pool, RandomState { seed: spec.seed, step })?;
            Checkpoint::save(self.records.folder(), self.store, *self.position)?;
            return Err(NotFinite { loss, epoch, step: step + 1, parameter, first }.into());
        }
        program.commit(self.store);
        self.programs.prepare();
        self.position.steps += 1;
        self.position.phase_steps += 1;
        self.records.step(&StepRecord { split: "train", epoch, step: self.position.steps, loss })?;
        if !norms.is_empty() {
            self.records.gradients(&GradientRecord { epoch, step: self.position.steps, norms })?;
        }
        Ok(figures)
    }

    fn test(&mut self) -> Result<FinalRecord, TrainError> {
        let Session { spec, data, .. } = *self.run.session;
        let mut confusion = spec.metrics.confusion.map(|_| Confusion::default());
        let figures = self.evaluate(&data.test, "test", confusion.as_mut())?;
        Ok(figures.of_test(&spec.metrics, confusion))
    }

    fn evaluate(
        &mut self,
        split: &Split,
        name: &'static str,
        confusion: Option<&mut Confusion>,
    ) -> Result<Figures, TrainError> {
        let Session { prepare, pool, .. } = *self.run.session;
        let (programs, records) = (&mut self.programs, &mut self.records);
        let (epoch, step) = (self.position.seen_epochs(), self.position.steps);
        let (store, batch) = (&mut *self.store, self.run.batch());
        let result = Evaluation { split, prepare, batch, store, pool, confusion }.run(
            &mut |key, run| run(programs.get(key)?),
            &mut |loss| match self.run.session.is_interrupted() {
                true => Err(TrainError::Interrupted { epoch, step }),
                false => Ok(records.step(&StepRecord { split: name, epoch, step, loss })?),
            },
        );
        self.check_interrupt()?;
        match result {
            Err(TrainError::Data(error)) => Err(self.stopped_by_data(error)?),
            result => result,
        }
    }
}

/// A figure of an epoch.
fn watched(watch: Watch, record: &EpochRecord) -> Option<f64> {
    match (watch.validation, watch.accuracy) {
        (true, true) => record.val_accuracy,
        (true, false) => record.val_loss,
        (false, true) => Some(record.train_accuracy),
        (false, false) => Some(record.train_loss),
    }
}

fn is_better(watch: Watch, figure: f64, best: Option<f64>, min_delta: f64) -> bool {
    match best {
        None => !figure.is_nan(),
        Some(best) if watch.accuracy => figure > best + min_delta,
        Some(best) => figure < best - min_delta,
    }
}

/// Whether a phase ends after this epoch; keeps the best figure and the epochs since.
fn stops(rule: Early, record: &EpochRecord, (best, since): &mut (Option<f64>, u64)) -> bool {
    match watched(rule.watch, record) {
        Some(figure) if is_better(rule.watch, figure, *best, rule.min_delta) => {
            (*best, *since) = (Some(figure), 0);
            false
        }
        _ => {
            *since += 1;
            *since >= rule.patience + u64::from(planted!("train.trainer.patience"))
        }
    }
}
