//! What a driver says nothing of: whether its fused multiply-add rounds once, and whether it tells zeros by their signs.

use super::alone::Alone;
use super::context::Context;
use crate::codegen::wgsl::{RUN_WORDS, Shader};
use crate::runtime::device::Fault;

/// Computes `(1 + e) * (1 + e) - (1 + 2 e)` with `e = 2^-12`, which is `e * e` where nothing is rounded in between, and 0
/// where the product is; and `-1 * 0` and `-0 + 0`, of which the signs tell whether zeros are left out.
const TEXT: &str = "
@group(0) @binding(0) var<storage, read_write> m0: array<u32>;
@group(0) @binding(1) var<uniform> places: array<vec4<u32>, 1>;
@group(0) @binding(2) var<uniform> run: vec4<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) invocation: u32) {
  let x = bitcast<f32>(run.x);
  let z = bitcast<f32>(run.y + places[0].x);
  if invocation == 0u {
    m0[0] = bitcast<u32>(fma(x, x, z));
    m0[1] = bitcast<u32>(bitcast<f32>(run.z) * 0.0f);
    m0[2] = bitcast<u32>(bitcast<f32>(run.w) + 0.0f);
  }
}
";

/// Finds out how a driver computes.
///
/// # Errors
///
/// Where the device fails at this already.
pub(super) fn run(context: &mut Context) -> Result<(), Fault> {
    let shader = Shader { text: TEXT.into(), groups: 1, written: vec![true], places: 1 };
    let Some(memory) = context.memory(16) else {
        return Err(Fault(format!("{} has no memory", context.adapter.name)));
    };
    let e = 1.0_f32 / 4096.0;
    let mut run = [0; RUN_WORDS];
    let numbers = [1.0 + e, -1.0 - 2.0 * e, -1.0, -0.0];
    run.iter_mut().zip(numbers).for_each(|(word, number): (_, f32)| *word = number.to_bits());
    Alone::new(context, shader, &[&memory], &run)?.run()?;
    let words: Vec<u32> = bytemuck::pod_collect_to_vec(&context.read(&memory, 0, 12));
    context.arithmetic.fuses = words[0] != 0;
    context.arithmetic.tells_zeros = words[1..] == [(-0.0_f32).to_bits(), 0];
    Ok(())
}
