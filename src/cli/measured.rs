//! What `bench`, `tune` and `profile` share: programs that run only to be measured, and the names of kernels in tables.

use crate::base::philox::{RandomState, uniform};
use crate::graph::{Graph, Role, Sink};
use crate::runtime::{Instance, Store};
use crate::te::DType;

use super::Failure;

/// Gives a program that is only measured pictures of noise, and rates so small that the weights hardly move. (Blank
/// pictures have no variance, so the gradients of a deep net with batch normalisation overflow.) All else is 0, also
/// where another program has used the memory before.
pub fn set_inputs(program: &mut Instance, graph: &Graph) {
    const RATES: [(&str, f32); 3] = [("lr", 1e-6), ("step_size", 1e-6), ("bias_correction2_sqrt", 1.0)];
    for (value, role) in &graph.inputs {
        let count = graph.values[*value].shape.iter().product::<i64>() as usize;
        match role {
            Role::Data => {
                let state = RandomState { seed: 0, step: 0 };
                let pixels: Vec<f32> = (0..count as u32).map(|at| uniform(state, 0, at)).collect();
                program.set_data(&pixels);
            }
            Role::Target | Role::Partner if graph.values[*value].dtype == DType::I32 => {
                program.set_labels(role, &vec![0; count]);
            }
            Role::Target | Role::Partner => program.set_targets(role, &vec![0.0; count]),
            Role::Scalar(name) => {
                let rate = RATES.iter().find(|(known, _)| known == name);
                program.set_scalar(name, rate.map_or(0.0, |(_, rate)| *rate));
            }
            Role::Param { .. } | Role::State { .. } => {}
        }
    }
}

/// Refuses the times of a step that ended before its updates, because its loss was not finite.
pub fn check_whole(program: &Instance, store: &Store) -> Result<(), Failure> {
    match program.scalar(&Sink::Loss, store) {
        Some(loss) if !loss.is_finite() => Err(Failure::Run(format!(
            "the loss of noise is {loss}, so no step is whole: there is nothing to measure"
        ))),
        _ => Ok(()),
    }
}

/// The first and the last of the equations that a kernel computes.
pub fn short(kernel: &str) -> String {
    let equations: Vec<&str> = kernel.split('+').collect();
    match equations.as_slice() {
        [first, .., last] if equations.len() > 2 => format!("{first} … {last}"),
        _ => kernel.to_owned(),
    }
}
