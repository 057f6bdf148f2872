//! Running compiled programs: devices, their memory, and what goes in and comes out.
//!
//! An [`Executable`] is compiled for one batch size and a kind of [`Device`]. An [`Instance`] of it runs with the
//! tensors of a [`Store`]; several (training, the smaller last batch, evaluation) share one, and lease the rest of
//! their memory by turns. Which devices there are knows [`devices`] alone.

pub mod agreement;
pub mod allocator;
mod broken;
mod chains;
mod cpu;
mod device;
pub mod devices;
mod executable;
#[cfg(feature = "gpu")]
mod gpu;
mod instance;
mod interpreter;
mod layout_io;
pub mod need;
pub mod store;
mod turns;
pub mod values;

pub use broken::Suspect;
pub use device::{Device, Error, Fault};
pub use executable::Executable;
pub use instance::Instance;
pub use store::{Mismatch, Store};
pub use turns::Turns;
pub use values::Values;
