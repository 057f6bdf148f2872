//! What a driver says nothing of: whether its fused multiply-add rounds once.

use super::alone::Alone;
use super::context::Context;
use crate::codegen::wgsl::{RUN_WORDS, Shader};
use crate::runtime::device::Fault;

/// Computes `(1 + e) * (1 + e) - (1 + 2 e)` with `e = 2^-12`, which is `e * e` where nothing is rounded in between, and 0
/// where the product is.
const TEXT: &str = "
@group(0) @binding(0) var<storage, read_write> m0: array<u32>;
@group(0) @binding(1) var<uniform> places: array<vec4<u32>, 1>;
@group(0) @binding(2) var<uniform> run: vec4<u32>;
@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) invocation: u32) {
  let x = bitcast<f32>(run.x);
  let z = bitcast<f32>(run.y + places[0].x);
  if invocation == 0u { m0[0] = bitcast<u32>(fma(x, x, z)); }
}
";

/// Whether `fma` rounds once.
///
/// # Errors
///
/// Where the device fails at this already.
pub(super) fn fuses(context: &Context) -> Result<bool, Fault> {
    let shader = Shader { text: TEXT.into(), groups: 1, written: vec![true], places: 1 };
    let Some(memory) = context.memory(16) else {
        return Err(Fault(format!("{} has no memory", context.adapter.name)));
    };
    let e = 1.0_f32 / 4096.0;
    let mut run = [0; RUN_WORDS];
    (run[0], run[1]) = ((1.0 + e).to_bits(), (-1.0 - 2.0 * e).to_bits());
    Alone::new(context, shader, &[&memory], &run)?.run()?;
    let bytes = context.read(&memory, 0, 4);
    Ok(bytemuck::pod_read_unaligned::<f32>(&bytes) != 0.0)
}
