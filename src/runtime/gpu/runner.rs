//! Runs of a program: what is bound once, and recorded for each step.

use std::ops::Range;
use std::sync::Arc;

use super::context::{Buffer, Copies};
use super::memory::{Arena, Block};
use super::program::{Pipeline, Program};
use crate::base::philox::RandomState;
use crate::codegen::wgsl::RUN_WORDS;
use crate::plan::Placement;
use crate::runtime::device::{Fault, RunMemory, RunRequest, Runner, own, own_mut};

/// Two values of what is stored beside take turns; more bindings than this are not kept.
const MOST_BINDINGS: usize = 4;

/// Runs the dispatches of one instance.
pub(super) struct GpuRunner {
    program: Arc<Program>,
    /// Seed, step and a 0.
    run: wgpu::Buffer,
    /// Those that were used last come last.
    bound: Vec<Bound>,
}

/// A program bound to blocks of memory.
struct Bound {
    memory: Vec<(u64, u64)>,
    dispatches: Vec<BoundDispatch>,
    results: Option<Copies>,
}

struct BoundDispatch {
    pipeline: Arc<Pipeline>,
    group: wgpu::BindGroup,
}

impl BoundDispatch {
    fn record(&self, pass: &mut wgpu::ComputePass<'_>) {
        self.pipeline.record(&self.group, pass);
    }
}

/// Where the memory of a run is.
struct Homes<'a> {
    arena: &'a Arena,
    present: Vec<&'a Block>,
    next: Vec<Option<&'a Block>>,
}

impl Homes<'_> {
    fn of<'a>(memory: &'a RunMemory<'_>) -> Homes<'a> {
        let persistent = memory.persistent.iter();
        Homes {
            arena: own(memory.lease),
            present: persistent.clone().map(|blocks| own(blocks.present)).collect(),
            next: persistent.map(|blocks| blocks.next.as_deref().map(own)).collect(),
        }
    }

    /// The block of a place, and the byte at which it begins there.
    fn find(&self, place: Placement) -> (&Buffer, u64) {
        let block = match place {
            Placement::Arena(offset) => return self.arena.place(offset),
            Placement::Present(at) => self.present[at],
            Placement::Next(at) => self.next[at].expect("room for a next value"),
            Placement::Scratch { .. } => unreachable!("nothing runs slice by slice on a grid"),
        };
        (&block.buffer, block.start)
    }

    /// What tells bindings apart.
    fn key(&self) -> Vec<(u64, u64)> {
        let arena = self.arena.blocks.iter().map(|buffer| (buffer.number, 0));
        let place = |block: &&Block| (block.buffer.number, block.start);
        let next = self.next.iter().map(|block| block.as_ref().map_or((u64::MAX, 0), place));
        arena.chain(self.present.iter().map(place)).chain(next).collect()
    }
}

impl GpuRunner {
    pub fn new(program: Arc<Program>) -> GpuRunner {
        let run = program.context.table(&[0; RUN_WORDS]);
        GpuRunner { program, run, bound: Vec::new() }
    }

    /// Binds the memory of a run, unless that was done before; it is the last one then.
    fn bind(&mut self, homes: &Homes<'_>) -> Result<(), Fault> {
        let key = homes.key();
        if let Some(at) = self.bound.iter().position(|bound| bound.memory == key) {
            let bound = self.bound.remove(at);
            self.bound.push(bound);
            return Ok(());
        }
        if self.bound.len() >= MOST_BINDINGS {
            self.bound.remove(0);
        }
        let units = &self.program.plan().units;
        let dispatches = units.iter().map(|unit| self.bind_dispatch(unit.launches.clone(), homes));
        let dispatches = dispatches.collect::<Result<_, _>>()?;
        let ranges: Vec<(&Buffer, u64, u64)> = self
            .program
            .parts
            .results
            .iter()
            .map(|range| {
                let (buffer, start) = homes.arena.place(range.start);
                (buffer, start, range.len() as u64)
            })
            .collect();
        let results = self.program.context.copies(&ranges);
        self.bound.push(Bound { memory: key, dispatches, results });
        Ok(())
    }

    fn bind_dispatch(&self, launches: Range<usize>, homes: &Homes<'_>) -> Result<BoundDispatch, Fault> {
        let program = &self.program;
        let block_of = |place, _| homes.find(place).0.number;
        let placed = program.placed(launches.clone(), &block_of);
        let pipeline = program.pipeline(&placed)?;
        let mut places: Vec<Placement> = program.places(launches.clone()).map(|(place, _)| place).collect();
        places.extend(program.verdict(&launches).map(|guard| Placement::Arena(guard.offset)));
        let mut words: Vec<u32> = places.iter().map(|place| (homes.find(*place).1 / 4) as u32).collect();
        words.resize(pipeline.shader.places.next_multiple_of(4), 0);
        let table = program.context.table(&words);
        let blocks = placed.firsts.iter().map(|first| &homes.find(places[*first]).0.buffer);
        let group = pipeline.bind(&program.context, blocks.chain([&table, &self.run]));
        Ok(BoundDispatch { pipeline, group })
    }

    /// Whether a unit has to run.
    fn has_to_run(&self, unit: usize, request: &RunRequest) -> bool {
        let plan = self.program.plan();
        request.with_run_once || !plan.run_once[plan.units[unit].launches.start]
    }

    fn set_run(&self, random: RandomState) {
        let RandomState { seed, step } = random;
        let words = [seed as u32, (seed >> 32) as u32, step as u32, (step >> 32) as u32, 0, 0, 0, 0];
        self.program.context.queue.write_buffer(&self.run, 0, bytemuck::cast_slice(&words));
    }
}

impl Runner for GpuRunner {
    fn unbind(&mut self) {
        self.bound.clear();
    }

    fn run(&mut self, memory: RunMemory<'_>, request: &RunRequest) -> Result<(), Fault> {
        self.program.context.begin()?;
        self.bind(&Homes::of(&memory))?;
        self.set_run(request.random);
        let context = &self.program.context;
        let bound = self.bound.last().expect("it has been bound");
        let mut encoder = context.encoder();
        let mut pass = encoder.begin_compute_pass(&wgpu::ComputePassDescriptor::default());
        for unit in request.units.clone().filter(|unit| self.has_to_run(*unit, request)) {
            bound.dispatches[unit].record(&mut pass);
        }
        drop(pass);
        let Some(results) = &bound.results else {
            return Err(Fault("there is no memory for the results of a run".into()));
        };
        results.encode(&mut encoder);
        let read = results.submit(context, encoder)?;
        let arena: &mut Arena = own_mut(memory.lease);
        arena.results = self.program.parts.results.iter().cloned().zip(read).collect();
        Ok(())
    }

    fn run_timed(&mut self, memory: RunMemory<'_>, request: &RunRequest) -> Result<Vec<f64>, Fault> {
        let Some(tick) = self.program.context.tick else {
            let name = &self.program.context.adapter.name;
            return Err(Fault(format!("{name} does not say how long kernels take")));
        };
        self.program.context.begin()?;
        self.bind(&Homes::of(&memory))?;
        self.set_run(request.random);
        let mut seconds = Vec::new();
        let units: Vec<usize> = request.units.clone().collect();
        for units in units.chunks(wgpu::QUERY_SET_MAX_QUERIES as usize / 2) {
            seconds.extend(self.time(units, request, tick)?);
        }
        let context = &self.program.context;
        let results = self.bound.last().and_then(|bound| bound.results.as_ref());
        if let Some(results) = results {
            let mut encoder = context.encoder();
            results.encode(&mut encoder);
            let read = results.submit(context, encoder)?;
            let arena: &mut Arena = own_mut(memory.lease);
            arena.results = self.program.parts.results.iter().cloned().zip(read).collect();
        }
        Ok(seconds)
    }
}

impl GpuRunner {
    /// Runs some units, each in a pass of its own, and gives the seconds of each.
    fn time(&self, units: &[usize], request: &RunRequest, tick: f32) -> Result<Vec<f64>, Fault> {
        let context = &self.program.context;
        let bound = self.bound.last().expect("it has been bound");
        let count = 2 * units.len() as u32;
        let descriptor = wgpu::QuerySetDescriptor { label: None, ty: wgpu::QueryType::Timestamp, count };
        let queries = context.device.create_query_set(&descriptor);
        let bytes = u64::from(count) * wgpu::QUERY_SIZE as u64;
        let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
        let resolved = context.buffer(bytes, usage);
        let copies = resolved.as_ref().and_then(|resolved| context.copies(&[(resolved, 0, bytes)]));
        let (Some(resolved), Some(copies)) = (&resolved, copies) else {
            return Err(Fault("there is no memory for the times of kernels".into()));
        };
        let mut encoder = context.encoder();
        for (at, unit) in units.iter().enumerate() {
            let timestamp_writes = Some(wgpu::ComputePassTimestampWrites {
                query_set: &queries,
                beginning_of_pass_write_index: Some(2 * at as u32),
                end_of_pass_write_index: Some(2 * at as u32 + 1),
            });
            let mut pass =
                encoder.begin_compute_pass(&wgpu::ComputePassDescriptor { label: None, timestamp_writes });
            if self.has_to_run(*unit, request) {
                bound.dispatches[*unit].record(&mut pass);
            }
        }
        encoder.resolve_query_set(&queries, 0..count, &resolved.buffer, 0);
        copies.encode(&mut encoder);
        let read = copies.submit(context, encoder)?;
        let ticks: Vec<u64> = bytemuck::pod_collect_to_vec(&read[0]);
        let seconds = units.iter().zip(ticks.chunks_exact(2)).map(|(unit, ticks)| {
            let seconds = ticks[1].saturating_sub(ticks[0]) as f64 * f64::from(tick) * 1e-9;
            if self.has_to_run(*unit, request) { seconds } else { 0.0 }
        });
        Ok(seconds.collect())
    }
}
