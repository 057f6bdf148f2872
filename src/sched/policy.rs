//! Policies: which steps a nest takes, and why. One for each kind of machine.

pub mod cpu;
