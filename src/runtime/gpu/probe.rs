//! What a driver says nothing of: whether its fused multiply-add rounds once.

use super::context::Context;
use super::program::build;
use crate::codegen::wgsl::Shader;
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
    let pipeline = build(context, shader, "probe")?;
    let Some(memory) = context.memory(16) else {
        return Err(Fault(format!("{} has no memory", context.adapter.name)));
    };
    let e = 1.0_f32 / 4096.0;
    let (places, run) = (context.table(&[0; 4]), [(1.0 + e).to_bits(), (-1.0 - 2.0 * e).to_bits(), 0, 0]);
    let run = context.table(&run);
    let buffers = [&memory.buffer, &places, &run].into_iter().enumerate();
    let entries: Vec<wgpu::BindGroupEntry<'_>> = buffers
        .map(|(binding, buffer)| wgpu::BindGroupEntry {
            binding: binding as u32,
            resource: buffer.as_entire_binding(),
        })
        .collect();
    let group = context.device.create_bind_group(&wgpu::BindGroupDescriptor {
        label: None,
        layout: &pipeline.layout,
        entries: &entries,
    });
    let mut encoder = context.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default());
    let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
    pass.set_pipeline(&pipeline.pipeline);
    pass.set_bind_group(0, &group, &[]);
    pass.dispatch_workgroups(1, 1, 1);
    drop(pass);
    context.wait(context.queue.submit([encoder.finish()]))?;
    let bytes = context.read(&memory, 0, 4);
    Ok(bytemuck::pod_read_unaligned::<f32>(&bytes) != 0.0)
}
