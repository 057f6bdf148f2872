//! Code generation: loop IR to what a machine runs. Imports `base` and `loops` only.

pub mod cranelift;
