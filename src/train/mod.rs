//! Training: initial weights, metrics, the files of weights and of a run.

pub mod initialise;
pub mod metrics;
pub mod records;
pub mod weights;
