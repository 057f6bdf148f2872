//! Data sets: readers, batches, and what prepares and changes pictures for a model.
//!
//! A reader gives a [`Dataset`] of pictures and labels, in memory, or decoded when they are needed where they are files of
//! their own ([`images`]). An epoch is an order of its training images ([`batches`]), cut into
//! batches, which a [`feed`] makes ahead of the steps: pixels through [`geometry`] and, for training, [`augment`], then
//! as `f32` through [`prepare`]. Nothing here touches the network or runs code of a file.

pub mod apart;
pub mod augment;
pub mod batches;
pub mod bytes;
mod cache;
pub mod cifar;
pub mod dataset;
pub mod digits;
mod draws;
mod error;
pub mod feed;
pub mod fingerprint;
pub mod folder;
mod formats;
pub mod geometry;
pub mod idx;
pub mod images;
pub mod inspect;
mod jitter;
mod jpeg;
pub mod mix;
pub mod npy;
pub mod npz;
pub mod picture;
pub mod pixels;
pub mod prepare;
mod resize;
pub mod synthetic;
pub mod targets;
mod tiff;
mod warp;

pub use dataset::{Dataset, Split};
pub use error::DataError;
pub use prepare::Prepare;
pub use targets::Targets;
