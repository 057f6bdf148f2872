//! What a person sees: live progress, tables, curves.

mod bound;
mod chart;
pub mod confusion;
pub mod curves;
pub mod gradients;
pub mod layers;
pub mod matrix;
pub mod output;
pub mod progress;
mod reach;
pub mod table;
