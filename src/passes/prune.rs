//! Dead code: equations and tensors that no output needs are dropped.

use crate::te::Program;

/// Keeps what the outputs need, and every input, so that positions stay.
pub fn run(program: &mut Program) {
    *program = program.pruned(false).0;
}
