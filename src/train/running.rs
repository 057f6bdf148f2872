//! A phase that is running: its epochs, what is kept of them, and how it stops.

use std::time::Instant;

use crate::base::philox::RandomState;
use crate::data::feed::{Batch, BatchBuilder, DataLoader, EpochPlan};
use crate::data::{DataError, Split, batches};
use crate::elab::config::{Early, Every, Moment, Watch};
use crate::runtime::{Instance, Mismatch, Store, Suspect};

use super::broken::{self, Broken};
use super::checkpoint::{self, Checkpoint, Saved};
use super::confusion::Confusion;
use super::error::{NotFinite, TrainError};
use super::evaluate::{BatchFigures, Evaluation, Figures, gradient_norms, set_batch};
use super::programs::{Programs, Purpose, StageTimes};
use super::records::{EpochRecord, FinalRecord, GradientRecord, Lengths, Records, StepRecord, top_figures};
use super::restore;
use super::trainer::{Observer, PhaseRun, Position, Session};

/// What a phase works with while it runs.
pub(super) struct Running<'a, 'scope, 'env> {
    pub run: &'a PhaseRun<'a>,
    pub programs: Programs<'scope, 'env>,
    pub store: &'a mut Store,
    pub position: &'a mut Position,
    pub best: &'a mut Option<Saved>,
    pub records: &'a mut Records,
    pub observer: &'a mut dyn Observer,
    /// Until when the seconds of the position are counted.
    pub since: Instant,
    /// When the last checkpoint was written.
    pub saved: Instant,
    /// Taken when the first step of the run is done.
    pub phases: Option<&'a mut StageTimes>,
}

impl Running<'_, '_, '_> {
    /// The rest of an epoch: its steps, the validation, its records. One that `most_steps` cuts short is reported like a
    /// whole one, but stays begun: a run that goes on knows nothing of the report.
    pub fn epoch(&mut self) -> Result<(), TrainError> {
        self.since = Instant::now();
        let whole = self.steps()?;
        self.count_seconds();
        if !whole && !planted!("train.trainer.cut") {
            self.checkpoint()?;
        }
        let split = self.run.session.evaluated();
        let validation = self.validate(split.name())?;
        let unit = if planted!("train.trainer.seconds") { 1e3 } else { 1.0 };
        let (trained, seconds) = (self.position.begun, self.position.seconds * unit);
        let record = EpochRecord {
            epoch: self.position.epochs + 1,
            train_loss: trained.loss(),
            train_accuracy: trained.accuracy(),
            split,
            loss: Some(validation.loss()),
            accuracy: Some(validation.accuracy()),
            seconds,
            images_per_second: trained.images() as f64 / seconds,
            learning_rate: self.learning_rate(),
            phase: self.run.phase.name.clone(),
            top: top_figures(
                &self.run.session.spec.metrics,
                &[("train", &trained), (split.name(), &validation)],
            ),
        };
        self.records.epoch(&record)?;
        let stopped = whole && self.end_epoch(&record)?;
        self.observer.epoch(&record);
        if let (true, Some(rule)) = (stopped, self.run.phase.stop) {
            self.observer.stopped_early(rule, record.epoch);
        }
        Ok(())
    }

    /// What a whole epoch leaves: its weights if they are the best, and a checkpoint. Whether the phase ends before its last
    /// epoch.
    fn end_epoch(&mut self, record: &EpochRecord) -> Result<bool, TrainError> {
        self.position.epochs += 1;
        (self.position.begun, self.position.seconds) = (Figures::default(), 0.0);
        let is_best = self.keep_best(record)?;
        let stops = self.run.phase.stop.is_some_and(|rule| stops(rule, record, &mut self.position.stopping));
        let is_early = stops && self.position.epochs < self.run.last_epoch;
        if stops {
            self.position.epochs = self.run.last_epoch;
        }
        self.checkpoint()?;
        if is_best {
            restore::save_best(self.records.folder(), self.store, self.run.session.provenance)?;
        }
        Ok(is_early)
    }

    /// Writes all that the run needs to go on from here.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        self.checkpoint_at(self.records.lengths())
    }

    /// The same for records of which only the first part counts.
    fn checkpoint_at(&mut self, records: Lengths) -> Result<(), TrainError> {
        if !planted!("train.checkpoint.records") {
            self.records.sync()?;
        }
        Checkpoint::save(self.records.folder(), self.store, *self.position, self.best.as_ref(), records)?;
        self.saved = Instant::now();
        Ok(())
    }

    /// Counts what has passed to the seconds of the epoch.
    fn count_seconds(&mut self) {
        let now = Instant::now();
        self.position.seconds += (now - std::mem::replace(&mut self.since, now)).as_secs_f64();
    }

    /// The learning rate of the last step.
    fn learning_rate(&self) -> f64 {
        let moment = self.run.moment(self.position);
        let before = u64::from(!planted!("train.trainer.last_rate"));
        self.run.phase.learning_rate(Moment { step: moment.step.saturating_sub(before), ..moment })
    }

    /// Keeps the weights if they are the best so far by the run's rule.
    fn keep_best(&mut self, record: &EpochRecord) -> Result<bool, TrainError> {
        let Some(watch) = self.run.session.spec.save else { return Ok(false) };
        let best = self.position.best.filter(|_| !planted!("train.trainer.best"));
        let figure = watched(watch, record).filter(|figure| is_better(watch, *figure, best, 0.0));
        if figure.is_none() {
            return Ok(false);
        }
        (self.position.best, self.position.best_epoch) = (figure, Some(record.epoch));
        let weights = restore::weights(self.store).map_err(Mismatch::from)?;
        *self.best = Some(checkpoint::save_best(self.records.folder(), self.position.steps, &weights)?);
        Ok(true)
    }

    /// Takes the weights of the best epoch, where the run keeps them.
    pub fn take_best(&mut self) -> Result<(), TrainError> {
        let Some(watch) = self.run.session.spec.save else { return Ok(()) };
        if let Some(best) = &*self.best {
            self.observer.kept(watch, self.position.best_epoch, self.position.best);
            restore::take_best(self.records.folder(), best, self.store)?;
            restore::save_best(self.records.folder(), self.store, self.run.session.provenance)?;
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
                Err(error) => return Err(self.stopped_by_data(error, None)?),
            };
            let figures = self.step(epoch, batch)?;
            let images = batch.targets.len() as u64;
            self.position.begun.add(images, &figures);
            self.observer.step(images, &self.position.begun);
            self.check_interrupt()?;
            if self.is_checkpoint_due() {
                self.count_seconds();
                self.checkpoint()?;
            }
        }
    }

    fn is_checkpoint_due(&self) -> bool {
        match self.run.session.spec.checkpoint {
            None => false,
            Some(Every::Steps(steps)) => self.position.steps.is_multiple_of(steps),
            Some(Every::Minutes(minutes)) => self.saved.elapsed().as_secs_f64() >= 60.0 * minutes,
        }
    }

    /// The batches of an epoch that are not done yet.
    fn feed(&self, epoch: u64) -> Result<DataLoader, TrainError> {
        let Session { data, spec, prepare, augment, shuffle, drop_last, threads, .. } = *self.run.session;
        let mut order = batches::order(data.train.len(), spec.seed, epoch, shuffle);
        order.drain(..(self.position.begun.images() as usize).min(order.len()));
        let maker = BatchBuilder {
            split: data.train.clone(),
            prepare: prepare.clone(),
            augment: augment.map(|augment| (augment.clone(), epoch)),
        };
        Ok(DataLoader::new(maker, EpochPlan { order, batch: self.run.batch(), drop_last }, threads)?)
    }

    /// Keeps what was learnt until an image could not be read; of the records, only those before `since` count.
    fn stopped_by_data(
        &mut self,
        error: DataError,
        since: Option<Lengths>,
    ) -> Result<TrainError, TrainError> {
        self.stop(since)?;
        Ok(error.into())
    }

    /// Ends an interrupted run with a checkpoint.
    fn check_interrupt(&mut self) -> Result<(), TrainError> {
        if !self.run.session.is_interrupted() {
            return Ok(());
        }
        self.stop(None)?;
        Err(self.interruption())
    }

    fn interruption(&self) -> TrainError {
        TrainError::Interrupted { epoch: self.position.seen_epochs(), step: self.position.steps }
    }

    fn stop(&mut self, since: Option<Lengths>) -> Result<(), TrainError> {
        self.count_seconds();
        self.checkpoint_at(since.unwrap_or_else(|| self.records.lengths()))
    }

    fn step(&mut self, epoch: u64, batch: &Batch) -> Result<BatchFigures, TrainError> {
        let Session { spec, .. } = *self.run.session;
        let step = self.position.steps;
        let seed = if planted!("train.trainer.seed") { 0 } else { spec.seed };
        let drawn = if planted!("train.trainer.draws") { epoch } else { step };
        let program = self.programs.get((Purpose::Step, batch.targets.len() as i64), self.store)?;
        set_batch(program, batch);
        for (name, value) in self.run.phase.scalars(self.run.moment(self.position)) {
            program.set_scalar(&name, value as f32);
        }
        let mut run = |program: &mut Instance| program.run(self.store, RandomState { seed, step: drawn });
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
            let random = RandomState { seed: spec.seed, step };
            let suspect = program.first_not_finite(self.store, random);
            // What was learnt before is kept first, whatever becomes of the search.
            self.stop(None)?;
            let first = suspect?.map(|suspect| self.examine(batch, &suspect, random));
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

    /// Which of the calls under suspicion gave the first result that is not finite in a step, and of what; where there is
    /// no memory to find out, what is known without.
    fn examine(&mut self, batch: &Batch, suspect: &Suspect, random: RandomState) -> Broken {
        let scalars = self.run.phase.scalars(self.run.moment(self.position));
        self.programs.release();
        let count = batch.targets.len() as i64;
        let subject = self.programs.subject();
        let examined = broken::examine(subject, count, suspect, self.store, &mut |program, store| {
            set_batch(program, batch);
            scalars.iter().for_each(|(name, value)| program.set_scalar(name, *value as f32));
            Ok(program.run(store, random)?)
        });
        examined.unwrap_or_else(|_| Broken::of(suspect))
    }

    /// The figures on the test split. The last checkpoint stands: nothing is learnt here, and the weights may be those of
    /// an earlier epoch.
    pub fn test(&mut self) -> Result<FinalRecord, TrainError> {
        let Session { spec, data, .. } = *self.run.session;
        let mut confusion = spec.metrics.confusion.map(|_| Confusion::default());
        let figures = self.evaluate(&data.test, "test", confusion.as_mut())?;
        Ok(figures.of_test(&spec.metrics, confusion))
    }

    /// The figures of the epoch on the validation images. A run that ends here goes on with all of them.
    fn validate(&mut self, name: &'static str) -> Result<Figures, TrainError> {
        let before = self.records.lengths();
        let result = self.evaluate(self.run.session.data.validation(), name, None);
        // The seconds of an epoch are those of its steps.
        self.since = Instant::now();
        match result {
            Err(TrainError::Interrupted { .. }) => {
                self.stop(Some(before).filter(|_| !planted!("train.trainer.validated")))?;
                Err(self.interruption())
            }
            Err(TrainError::Data(error)) => Err(self.stopped_by_data(error, Some(before))?),
            result => result,
        }
    }

    fn evaluate(
        &mut self,
        split: &Split,
        name: &'static str,
        confusion: Option<&mut Confusion>,
    ) -> Result<Figures, TrainError> {
        let Session { prepare, threads, .. } = *self.run.session;
        let (programs, records) = (&mut self.programs, &mut self.records);
        let (epoch, step) = (self.position.seen_epochs(), self.position.steps);
        let (store, batch) = (&mut *self.store, self.run.batch());
        Evaluation { split, prepare, batch, store, threads, confusion }.run(
            &mut |key, store, run| run(programs.get(key, store)?, store),
            &mut |loss| match self.run.session.is_interrupted() {
                true => Err(TrainError::Interrupted { epoch, step }),
                false => Ok(records.step(&StepRecord { split: name, epoch, step, loss })?),
            },
        )
    }
}

/// A figure of an epoch.
fn watched(watch: Watch, record: &EpochRecord) -> Option<f64> {
    match (watch.validation, watch.accuracy) {
        (true, true) => record.accuracy,
        (true, false) => record.loss,
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
