//! Data and train sections as typed settings.
//!
//! The keys of a section are a closed set. Everything is evaluated once, here; what the language knows but this
//! version does not is one clear error, never ignored.

mod call;
mod data;
mod described;
mod metrics;
mod overrides;
mod phase;
mod pictures;
mod schedule;
mod settings;
mod train;

pub use data::{Amount, DataSpec, Source};
pub use described::Described;
pub use metrics::{Metrics, Top};
pub use overrides::{Overrides, SETTING};
pub use phase::{Clip, Early, Group, Phase, Watch};
pub use pictures::{Augment, Prepare};
pub use schedule::{Moment, Schedule};
pub(super) use settings::{accept_constant, as_call, call_values, check_range, constant};
pub use train::{Every, Pretrained, TrainSpec};
