//! `cnnc devices`: lists what programs can run on.

use crate::base::target::Target;
use crate::runtime::devices;

use super::{Outcome, print};

/// Prints the processor and all graphics adapters.
pub fn run() -> Outcome {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut text = format!("cpu: {cores} cores, vectors of {}\n", Target::host().level);
    match devices::adapters() {
        Ok(lines) if lines.is_empty() => text += "gpu: no adapter was found\n",
        Ok(lines) => lines.iter().for_each(|line| {
            let start = if line.starts_with(' ') { "" } else { "gpu:" };
            text += &format!("{start}{line}\n");
        }),
        Err(fault) => text += &format!("gpu: {fault}\n"),
    }
    print(&text)
}
