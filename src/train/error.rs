//! Why a training stops.

use crate::base::diagnostic::Diagnostic;
use crate::base::memory::Shortage;
use crate::base::span::Span;
use crate::data::DataError;
use crate::passes::accept;
use crate::runtime::{self, Mismatch};

use super::broken::Broken;
use super::records::RecordsError;
use super::weights::WeightsError;

/// Why a training, an evaluation or a prediction stops.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Errors in the model file.
    #[error("the model file has errors")]
    Source(Vec<Diagnostic>),
    #[error("{0}")]
    Data(#[from] DataError),
    #[error("{0}")]
    Records(#[from] RecordsError),
    #[error("{0}")]
    Weights(#[from] WeightsError),
    #[error("{0}")]
    Code(#[from] runtime::Error),
    #[error("{0}")]
    Mismatch(#[from] Mismatch),
    #[error("{0}")]
    Shortage(#[from] Shortage),
    /// A run that needs more memory than there is, and a batch that would fit, if any does.
    #[error("{shortage}; {}", advice(*.batch))]
    TooLarge { shortage: Shortage, batch: Option<i64> },
    #[error("threads cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error("{0}")]
    NotFinite(#[from] NotFinite),
    #[error("interrupted in epoch {epoch}, after step {step}")]
    Interrupted { epoch: u64, step: u64 },
    #[error("{0}")]
    Other(String),
}

fn advice(batch: Option<i64>) -> String {
    batch.map_or("no smaller batch is known to fit".into(), |batch| format!("batch {batch} would fit"))
}

/// A step that was not accepted, and what was found when it ran once more.
#[derive(Debug)]
pub struct NotFinite {
    pub loss: f32,
    pub epoch: u64,
    pub step: u64,
    /// The first parameter that is not sound, with its health.
    pub parameter: Option<(String, f32)>,
    /// The first result in the order of the step that is not finite.
    pub first: Option<Broken>,
}

impl NotFinite {
    /// The message, in which `place` says where a line of the user's is.
    pub fn text(&self, place: &dyn Fn(Span) -> String) -> String {
        let mut text = self.what();
        if let Some(Broken { name, span, inputs }) = &self.first {
            text += &format!("; the first such result is `{name}`");
            text += &span.map_or(String::new(), |span| format!(" at {}", place(span)));
            let inputs: Vec<String> = inputs.iter().map(ToString::to_string).collect();
            if !inputs.is_empty() {
                text += &format!(", computed from {}", inputs.join(" and "));
            }
        }
        text + ". A smaller learning rate often helps. The weights before this step are kept"
    }

    fn what(&self) -> String {
        let NotFinite { loss, epoch, step, parameter, .. } = self;
        let at = format!("in step {step} (epoch {epoch})");
        match parameter {
            _ if !loss.is_finite() => format!("the loss is {loss} {at}"),
            Some((path, health)) => {
                let layer =
                    path.rsplit_once('.').map_or(String::new(), |(layer, _)| format!(" of layer `{layer}`"));
                let what = if *health == accept::LARGE { "so large that its square is not" } else { "not" };
                format!("the gradient of `{path}`{layer} is {what} finite {at}")
            }
            None => format!("the norm of all gradients is not finite {at}"),
        }
    }
}

impl std::fmt::Display for NotFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text(&|_| "a line of the model".into()))
    }
}

impl std::error::Error for NotFinite {}

impl From<Vec<Diagnostic>> for TrainError {
    fn from(errors: Vec<Diagnostic>) -> TrainError {
        TrainError::Source(errors)
    }
}
