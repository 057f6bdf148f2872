//! Data sets: readers, batches and what prepares a picture for a model.
//!
//! A reader gives a [`Dataset`] of `u8` pictures and labels, memory-mapped where the file allows it. An epoch is an
//! order of its training images ([`batches`]), cut into batches, each written as `f32` by [`prepare`] into a buffer
//! that the compiled step reads. Nothing here touches the network or runs code of a file.

pub mod batches;
pub mod bytes;
mod cache;
pub mod dataset;
pub mod digits;
mod error;
pub mod idx;
pub mod npy;
pub mod prepare;

pub use dataset::{Dataset, Split};
pub use error::DataError;
pub use prepare::{Normalize, Prepare, fill_batch, fill_batch_lanes, fill_labels};
