//! Training: the loop around compiled steps, initial weights, metrics, the files of weights and of a run.

pub mod broken;
pub mod checkpoint;
pub mod claim;
pub mod confusion;
pub mod error;
pub mod evaluate;
pub mod folder;
pub mod initialise;
pub mod manifest;
pub mod programs;
pub mod recipe;
pub mod records;
pub mod restore;
mod running;
pub mod sealed;
pub mod trainer;
pub mod tuned;
pub mod weights;

pub use error::TrainError;
