//! A shader that runs by itself: to probe a driver, and to measure what a card can do.

use std::time::Instant;

use super::context::{Buffer, Context};
use super::program::{Pipeline, build};
use crate::codegen::wgsl::{RUN_WORDS, Shader};
use crate::runtime::device::Fault;

/// A shader with its memory.
pub(super) struct Alone<'a> {
    context: &'a Context,
    pipeline: Pipeline,
    group: wgpu::BindGroup,
}

impl<'a> Alone<'a> {
    /// Compiles a shader and binds blocks of memory, in each of which one buffer begins at 0. `run` are the words of what
    /// differs from run to run.
    ///
    /// # Errors
    ///
    /// Where the driver refuses it.
    pub fn new(
        context: &'a Context,
        shader: Shader,
        blocks: &[&Buffer],
        run: &[u32; RUN_WORDS],
    ) -> Result<Alone<'a>, Fault> {
        let pipeline = build(context, shader, "alone")?;
        let places = context.table(&vec![0; pipeline.shader.places.next_multiple_of(4)]);
        let run = context.table(run);
        let buffers = blocks.iter().map(|block| &block.buffer).chain([&places, &run]);
        let group = pipeline.bind(context, buffers);
        Ok(Alone { context, pipeline, group })
    }

    /// Runs it; gives the seconds from before it was given to the device until it is known to be done.
    ///
    /// # Errors
    ///
    /// Where the device fails.
    pub fn run(&self) -> Result<f64, Fault> {
        let mut encoder = self.context.encoder();
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        self.pipeline.record(&self.group, &mut pass);
        drop(pass);
        let start = Instant::now();
        self.context.wait(self.context.queue.submit([encoder.finish()]))?;
        Ok(start.elapsed().as_secs_f64())
    }
}
