//! What a person sees: live progress, tables, numbers, curves.

pub mod curves;
pub mod numbers;
pub mod output;
pub mod progress;
pub mod table;
