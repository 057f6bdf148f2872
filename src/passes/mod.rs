//! Passes: graph to graph, graph to equations, and equations to equations. Each is a function; which of them run, and in
//! which order, is said by `lower::stages`.

pub mod accept;
pub mod ascend;
pub mod autodiff;
pub mod canonical;
pub mod channels;
pub mod digits;
pub mod equations;
pub mod hoist;
pub mod linear;
pub mod prune;
pub mod share;
pub mod split;
pub mod views;
pub mod winograd;

#[cfg(test)]
mod tests;
