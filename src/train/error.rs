//! Why a training stops.

use crate::base::diagnostic::Diagnostic;
use crate::codegen;
use crate::data::DataError;

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
    #[error("threads cannot be started: {0}")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    #[error(
        "the loss is {loss} in step {step} (epoch {epoch}); the weights before it are kept. \
         A smaller learning rate often helps"
    )]
    NotFinite { loss: f32, epoch: u64, step: u64 },
    #[error("interrupted in epoch {epoch}, after step {step}")]
    Interrupted { epoch: u64, step: u64 },
    #[error("{0}")]
    Other(String),
}

impl From<Vec<Diagnostic>> for TrainError {
    fn from(errors: Vec<Diagnostic>) -> TrainError {
        TrainError::Source(errors)
    }
}
