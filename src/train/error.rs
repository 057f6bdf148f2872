//! Why a training stops.

use crate::base::diagnostic::Diagnostic;
use crate::base::memory::Shortage;
use crate::codegen;
use crate::data::DataError;
use crate::passes::accept;
use crate::runtime::Mismatch;

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
    Codegen(#[from] codegen::Error),
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
    pub first: Option<String>,
}

impl std::fmt::Display for NotFinite {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let NotFinite { loss, epoch, step, parameter, first } = self;
        let at = format!("in step {step} (epoch {epoch})");
        match parameter {
            _ if !loss.is_finite() => write!(f, "the loss is {loss} {at}")?,
            Some((path, health)) => {
                let layer =
                    path.rsplit_once('.').map_or(String::new(), |(layer, _)| format!(" of layer `{layer}`"));
                let what = if *health == accept::LARGE { "so large that its square is not" } else { "not" };
                write!(f, "the gradient of `{path}`{layer} is {what} finite {at}")?;
            }
            None => write!(f, "the norm of all gradients is not finite {at}")?,
        }
        if let Some(first) = first {
            write!(f, "; the first such result is `{first}`")?;
        }
        f.write_str(". A smaller learning rate often helps. The weights before this step are kept")
    }
}

impl std::error::Error for NotFinite {}

impl From<Vec<Diagnostic>> for TrainError {
    fn from(errors: Vec<Diagnostic>) -> TrainError {
        TrainError::Source(errors)
    }
}
