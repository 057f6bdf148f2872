//! Loss and metrics of a model on a split of the data.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::base::philox::RandomState;
use crate::data::feed::{Batch, BatchBuilder, DataLoader, EpochPlan};
use crate::data::prepare::Prepare;
use crate::data::{Split, Targets, batches};
use crate::elab::config::Metrics;
use crate::elab::{CORRECT, IN_TOP, SHARE, TOTAL, WEIGHT};
use crate::graph::{Role, Sink};
use crate::runtime::{Instance, Mismatch, Store};

use super::confusion::Confusion;
use super::error::TrainError;
use super::programs::{Key, Purpose};
use super::records::{FinalRecord, nan_for_null, some_nan_for_null, top_figures};

/// Means over a split, or over the part of it that is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    images: u64,
    /// What the mean loss divides.
    #[serde(deserialize_with = "nan_for_null")]
    loss: f64,
    /// And by what, where the loss says so; none where it is the number of images.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_nan_for_null")]
    weight: Option<f64>,
    #[serde(deserialize_with = "nan_for_null")]
    correct: f64,
    #[serde(default, deserialize_with = "nan_for_null")]
    in_top: f64,
}

/// What a program says of one batch; a count is NaN where the program has no such metric.
#[derive(Clone, Copy, Debug)]
pub struct BatchFigures {
    /// The mean.
    pub loss: f32,
    /// What the loss divides, and by what, where it says so.
    pub parts: Option<[f32; 2]>,
    /// The number of right predictions.
    pub correct: f32,
    /// The number of labels among the best scores.
    pub in_top: f32,
}

impl BatchFigures {
    /// Those of a program's last run.
    pub fn of(program: &Instance, store: &Store) -> BatchFigures {
        let scalar = |sink: &Sink| program.scalar(sink, store).map(|number| number as f32);
        let metric = |name: &str| scalar(&Sink::Metric(name.into()));
        BatchFigures {
            loss: scalar(&Sink::Loss).unwrap_or(f32::NAN),
            parts: metric(TOTAL).zip(metric(WEIGHT)).map(<[f32; 2]>::from),
            correct: metric(CORRECT).unwrap_or(f32::NAN),
            in_top: metric(IN_TOP).unwrap_or(f32::NAN),
        }
    }
}

impl Figures {
    /// Adds a batch of so many images.
    pub fn add(&mut self, images: u64, batch: &BatchFigures) {
        match batch.parts {
            Some([total, weight]) => {
                // A part that an older version has averaged by images has no weight to go on with.
                let before = self.weight.unwrap_or(if self.images == 0 { 0.0 } else { f64::NAN });
                let weight = if planted!("train.evaluate.parts") { images as f64 } else { f64::from(weight) };
                self.weight = Some(before + weight);
                self.loss += f64::from(total);
            }
            None if planted!("train.evaluate.weights") => self.loss += f64::from(batch.loss),
            None => self.loss += f64::from(batch.loss) * images as f64,
        }
        self.images += images;
        self.correct += f64::from(batch.correct);
        self.in_top += f64::from(batch.in_top);
    }

    /// Adds those of another part of the images.
    pub fn merge(&mut self, other: &Figures) {
        let is_first = self.images == 0;
        self.weight = match (self.weight, other.weight) {
            (None, weight) if is_first => weight,
            (Some(own), Some(other)) => Some(own + other),
            (own, None) if other.images == 0 => own,
            (None, None) => None,
            _ => Some(f64::NAN),
        };
        self.images += other.images;
        self.loss += other.loss;
        self.correct += other.correct;
        self.in_top += other.in_top;
    }

    /// The number of images.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// The mean loss; NaN without images, or where all have the weight 0.
    pub fn loss(&self) -> f64 {
        self.loss / self.weight.unwrap_or(self.images as f64)
    }

    /// The share of right predictions, 0 to 1; NaN where they are not counted.
    pub fn accuracy(&self) -> f64 {
        self.correct / self.images as f64
    }

    /// The share of labels among the best scores, 0 to 1; NaN where they are not counted.
    pub fn top_accuracy(&self) -> f64 {
        if planted!("train.evaluate.top") { self.accuracy() } else { self.in_top / self.images as f64 }
    }

    /// The record of the test split.
    pub fn of_test(&self, metrics: &Metrics, confusion: Option<Confusion>) -> FinalRecord {
        FinalRecord {
            test_loss: self.loss(),
            test_accuracy: self.accuracy(),
            top: top_figures(metrics, &[("test", self)]),
            confusion,
        }
    }
}

/// Gives a program a batch.
pub fn set_batch(program: &mut Instance, batch: &Batch) {
    program.set_data(&batch.pixels);
    set_targets(program, &Role::Target, &batch.targets);
    if let Some(partners) = &batch.partners {
        set_targets(program, &Role::Partner, &partners.targets);
        program.set_scalar(SHARE, partners.share);
    }
}

fn set_targets(program: &mut Instance, role: &Role, targets: &Targets) {
    match targets {
        Targets::Classes(labels) | Targets::Labels { labels, .. } => program.set_labels(role, labels),
        Targets::Numbers { numbers, .. } => program.set_targets(role, numbers),
    }
}

/// The norms of the gradients in the last run, by the paths of the parameters; none where the program does not give
/// them.
pub fn gradient_norms(program: &Instance, store: &Store) -> IndexMap<String, Option<f32>> {
    let norms = program.gradient_norms(store).into_iter();
    norms.map(|(path, norm)| (path, Some(norm).filter(|norm| norm.is_finite()))).collect()
}

/// The programs that an [`Evaluation`] needs for so many images.
pub fn keys(images: usize, batch: usize) -> Vec<Key> {
    let rest = images % batch;
    let whole = (images >= batch).then_some(batch);
    whole.into_iter().chain((rest > 0).then_some(rest)).map(|n| (Purpose::Evaluation, n as i64)).collect()
}

/// What is done with a program and the store that it is bound to.
pub type Use<'a> = &'a mut dyn FnMut(&mut Instance, &mut Store) -> Result<(), TrainError>;

/// Does something with the program of a key.
pub type WithProgram<'a> = &'a mut dyn FnMut(Key, &mut Store, Use<'_>) -> Result<(), TrainError>;

/// A split that goes through a model in order.
pub struct Evaluation<'a> {
    pub split: &'a Split,
    pub prepare: &'a Prepare,
    /// Images a run.
    pub batch: usize,
    pub store: &'a mut Store,
    /// Threads that make batches.
    pub threads: usize,
    /// Where predictions are counted, if they are.
    pub confusion: Option<&'a mut Confusion>,
}

impl Evaluation<'_> {
    /// Runs the split; `each` sees the mean loss of every batch.
    ///
    /// # Errors
    ///
    /// Where `program` fails, or an image cannot be read.
    pub fn run(
        self,
        program: WithProgram<'_>,
        each: &mut dyn FnMut(f32) -> Result<(), TrainError>,
    ) -> Result<Figures, TrainError> {
        let Evaluation { split, prepare, batch, store, threads, mut confusion } = self;
        let mut figures = Figures::default();
        let maker = BatchBuilder { split: split.clone(), prepare: prepare.clone(), augment: None };
        let order = batches::order(split.len(), 0, 0, false);
        let drop_last = planted!("train.evaluate.rest");
        let mut feed = DataLoader::new(maker, EpochPlan { order, batch, drop_last }, threads)?;
        while let Some(batch) = feed.next_batch()? {
            let images = batch.targets.len() as u64;
            let mut loss = f32::NAN;
            program((Purpose::Evaluation, images as i64), store, &mut |program, store| {
                set_batch(program, batch);
                program.run(store, RandomState::default())?;
                let found = BatchFigures::of(program, store);
                figures.add(images, &found);
                loss = found.loss;
                if let Some(confusion) = &mut confusion
                    && let Some(scores) = program.output(&Sink::Prediction, store)
                    && let (Some(scores), Targets::Classes(labels)) = (scores.floats(), &batch.targets)
                {
                    confusion.add(scores, labels);
                }
                store.device().check().map_err(Mismatch::from)?;
                Ok(())
            })?;
            each(loss)?;
        }
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(loss: f32, parts: Option<[f32; 2]>) -> BatchFigures {
        BatchFigures { loss, parts, correct: 1.0, in_top: f32::NAN }
    }

    /// What goes into a checkpoint and comes out again.
    fn kept(figures: &Figures) -> Figures {
        serde_json::from_str(&serde_json::to_string(figures).unwrap()).unwrap()
    }

    #[test]
    fn a_loss_that_says_nothing_is_averaged_by_images() {
        let mut figures = Figures::default();
        figures.add(3, &batch(1.0, None));
        let mut figures = kept(&figures);
        figures.add(1, &batch(5.0, None));
        assert_eq!((figures.images(), figures.loss(), figures.accuracy()), (4, 2.0, 0.5));
    }

    #[test]
    fn totals_are_divided_by_weights() {
        let mut figures = Figures::default();
        figures.add(3, &batch(2.0, Some([1.0, 0.5])));
        figures.add(3, &batch(f32::NAN, Some([0.0, 0.0])));
        let mut figures = kept(&figures);
        assert_eq!(figures.loss(), 2.0);
        figures.add(1, &batch(10.0, Some([5.0, 0.5])));
        assert_eq!((figures.images(), figures.loss()), (7, 6.0));
        let mut none = Figures::default();
        none.add(2, &batch(f32::NAN, Some([0.0, 0.0])));
        assert!(none.loss().is_nan());
    }

    #[test]
    fn parts_are_added_up() {
        for parts in [None, Some([1.0, 0.5])] {
            let (mut whole, mut merged) = (Figures::default(), Figures::default());
            for (images, loss) in [(3, 2.0), (1, 6.0)] {
                let batch = batch(loss, parts);
                whole.add(images, &batch);
                let mut part = Figures::default();
                part.add(images, &batch);
                merged.merge(&part);
            }
            merged.merge(&Figures::default());
            assert_eq!((merged.images(), merged.loss()), (whole.images(), whole.loss()));
            assert_eq!(merged.accuracy(), whole.accuracy());
        }
    }

    /// An older version has averaged by images what has weights: that stays unknown, also in the next checkpoint.
    #[test]
    fn an_older_checkpoint_has_no_weight() {
        let mut old: Figures = serde_json::from_str("{\"images\":4,\"loss\":8.0,\"correct\":2.0}").unwrap();
        assert_eq!(old.loss(), 2.0);
        old.add(4, &batch(1.0, Some([2.0, 2.0])));
        assert!(old.loss().is_nan() && kept(&old).loss().is_nan());
        let mut fresh: Figures = serde_json::from_str("{\"images\":0,\"loss\":0.0,\"correct\":0.0}").unwrap();
        fresh.add(4, &batch(1.0, Some([2.0, 2.0])));
        assert_eq!(fresh.loss(), 1.0);
    }
}
