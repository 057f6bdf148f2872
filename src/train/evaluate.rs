//! Loss and accuracy of a model on a split of the data.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::base::philox::RandomState;
use crate::data::feed::{Batch, Feed, Maker, Plan};
use crate::data::prepare::Prepare;
use crate::data::{Split, batches};
use crate::elab::SHARE;
use crate::graph::{Role, Sink};
use crate::runtime::{Pool, Program, Store};

use super::error::TrainError;
use super::programs::{Key, Purpose};
use super::records::nan_for_null;

/// Means over images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    images: u64,
    #[serde(deserialize_with = "nan_for_null")]
    loss: f64,
    #[serde(deserialize_with = "nan_for_null")]
    correct: f64,
}

impl Figures {
    /// Adds a batch of so many images with this mean loss and so many right predictions.
    pub fn add(&mut self, images: u64, mean_loss: f64, correct: f64) {
        self.images += images;
        self.loss += mean_loss * images as f64;
        self.correct += correct;
    }

    /// The number of images.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// The mean loss; NaN without images.
    pub fn loss(&self) -> f64 {
        self.loss / self.images as f64
    }

    /// The share of right predictions, 0 to 1.
    pub fn accuracy(&self) -> f64 {
        self.correct / self.images as f64
    }
}

/// Gives a program a batch.
pub fn set_batch(program: &mut Program, batch: &Batch) {
    program.set_data(&batch.pixels);
    program.set_labels(&Role::Target, &batch.labels);
    if let Some(partners) = &batch.partners {
        program.set_labels(&Role::Partner, &partners.labels);
        program.set_scalar(SHARE, partners.share);
    }
}

/// The loss of the last run and its number of right predictions.
pub fn loss_and_correct(program: &Program, store: &Store) -> (f32, f64) {
    let scalar = |sink: &Sink| program.output(sink, store).and_then(|values| values.first().copied());
    let loss = scalar(&Sink::Loss).unwrap_or(f32::NAN);
    (loss, scalar(&Sink::Metric("correct".into())).map_or(f64::NAN, f64::from))
}

/// The norms of the gradients in the last run, by the paths of the parameters; none where the program does not give
/// them.
pub fn gradient_norms(program: &Program, store: &Store) -> IndexMap<String, Option<f32>> {
    let norms = program.gradient_norms(store).into_iter();
    norms.map(|(path, norm)| (path, Some(norm).filter(|norm| norm.is_finite()))).collect()
}

/// The programs that [`evaluate`] needs for so many images.
pub fn keys(images: usize, batch: usize) -> Vec<Key> {
    let rest = images % batch;
    let whole = (images >= batch).then_some(batch);
    whole.into_iter().chain((rest > 0).then_some(rest)).map(|n| (Purpose::Evaluation, n as i64)).collect()
}

/// Calls something with the program of a key.
pub type WithProgram<'a> = &'a mut dyn FnMut(Key, &mut dyn FnMut(&mut Program)) -> Result<(), TrainError>;

/// Runs a split through a model in order; `each` sees the mean loss of every batch.
///
/// # Errors
///
/// Where `program` fails, or an image cannot be read.
pub fn evaluate(
    split: &Split,
    prepare: &Prepare,
    batch: usize,
    store: &Store,
    pool: &Pool,
    program: WithProgram<'_>,
    each: &mut dyn FnMut(f32) -> Result<(), TrainError>,
) -> Result<Figures, TrainError> {
    let mut figures = Figures::default();
    let maker = Maker { split: split.clone(), prepare: prepare.clone(), augment: None };
    let order = batches::order(split.len(), 0, 0, false);
    let mut feed = Feed::new(maker, Plan { order, batch, drop_last: false }, pool.threads())?;
    while let Some(batch) = feed.next_batch()? {
        let images = batch.labels.len();
        let mut result = (f32::NAN, f64::NAN);
        program((Purpose::Evaluation, images as i64), &mut |program| {
            set_batch(program, batch);
            program.run(store, pool, RandomState::default());
            result = loss_and_correct(program, store);
        })?;
        figures.add(images as u64, f64::from(result.0), result.1);
        each(result.0)?;
    }
    Ok(figures)
}
