//! The interpreter of loops as a device: slow and plain, and the same on every machine.
//!
//! It is there to be compared with: what runs here with the lanes of another device gives the same bits as there. Its
//! memory is of its own, as that of a device that is no processor of this machine: bytes are copied out of it and into
//! it, a launch's buffers before and after it. What another device has in scratch, it has as a whole.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::base::memory::{self as room, Shortage};
use crate::base::philox::RandomState;
use crate::base::target::{Level, Target};
use crate::loops::interpreter::{self as loops, BufferMemory, Fma};
use crate::loops::verifier::Verified;
use crate::loops::visit::for_each_access;
use crate::loops::{Buffer, BufferData, DType, Function};
use crate::plan::{MemoryPlan, Placement};
use crate::sched::Machine;

use super::device::{
    Code, Device, DeviceBuffer, Error, Fault, FillPart, Leased, Parts, RunMemory, RunRequest, Runner,
    UpdateGuard, elements, own, own_mut,
};

/// The kind of this device.
const KIND: &str = "interpreter";

/// The lanes of its vectors, as many as most graphics processors have.
const LANES: usize = 32;

/// An interpreter.
pub struct Interpreter {
    machine: Machine,
}

impl Interpreter {
    /// One with vectors of 32 lanes.
    pub fn new() -> Interpreter {
        Interpreter::like(Machine::of(Target { level: Level::Fma, lanes: LANES, registers: LANES }))
    }

    /// One that runs what is lowered for another machine.
    pub fn like(machine: Machine) -> Interpreter {
        Interpreter { machine }
    }
}

impl Default for Interpreter {
    fn default() -> Interpreter {
        Interpreter::new()
    }
}

impl Device for Interpreter {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn described(&self) -> String {
        format!("the interpreter, {} lanes", self.machine.lanes)
    }

    fn identity(&self) -> String {
        self.machine.target.level.to_string()
    }

    fn machine(&self) -> Machine {
        self.machine
    }

    fn threads(&self) -> usize {
        1
    }

    fn compile(&self, parts: Parts) -> Result<Code, Error> {
        let stored = parts.functions.iter().map(|function| stored(function));
        let fma = self.machine.fma();
        Ok(Arc::new(Interpreted { stored: stored.collect(), parts, fma }))
    }

    fn runner(&self, code: &Code) -> Box<dyn Runner> {
        let code: Arc<Interpreted> = code.clone().downcast().expect("loops to interpret");
        Box::new(LoopRunner { code })
    }

    fn allocate(&self, bytes: usize) -> Result<Box<dyn DeviceBuffer>, Shortage> {
        room::check("a block", bytes as u64)?;
        Ok(Box::new(Words::zeroed(bytes)))
    }

    fn lease(&self, plan: &MemoryPlan) -> Result<Leased, Shortage> {
        room::check("the next run", plan.arena_bytes as u64)?;
        Ok(Leased { block: self.allocate(plan.arena_bytes)?, is_zero: true })
    }

    fn write_parts(&self, block: &mut dyn DeviceBuffer, range: Range<usize>, _: usize, fill: FillPart<'_>) {
        own_mut::<Words>(block).write(range, &mut |bytes| fill(0, bytes));
    }

    fn give_back(&self, _: Box<dyn DeviceBuffer>) {}

    fn trim(&self) {}

    fn peak_gflops(&self, _: &Machine) -> Result<f64, Error> {
        Err(Error::Unsupported("an interpreter has no peak to compare with".into()))
    }

    fn bandwidth(&self) -> Result<f64, Error> {
        Err(Error::Unsupported("an interpreter has no bandwidth to compare with".into()))
    }
}

/// Bytes in words, so that all elements are aligned.
struct Words {
    words: Vec<u64>,
    bytes: usize,
}

impl Words {
    fn zeroed(bytes: usize) -> Words {
        Words { words: vec![0; bytes.div_ceil(size_of::<u64>())], bytes }
    }

    fn all(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.bytes]
    }

    fn all_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.words)[..self.bytes]
    }
}

impl DeviceBuffer for Words {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        self.all()[range].to_vec().into()
    }

    fn write(&mut self, range: Range<usize>, fill: &mut dyn FnMut(&mut [u8])) {
        let mut given = Words::zeroed(range.len());
        given.all_mut().copy_from_slice(&self.all()[range.clone()]);
        fill(given.all_mut());
        self.all_mut()[range].copy_from_slice(given.all());
    }
}

/// Loops, and which of its buffers each function stores: one that lies where another one does may be without use.
struct Interpreted {
    parts: Parts,
    stored: Vec<HashSet<Buffer>>,
    /// How the machine rounds that the loops are for.
    fma: Fma,
}

/// The buffers that a function stores.
fn stored(function: &Function) -> HashSet<Buffer> {
    let mut found = HashSet::new();
    for_each_access(function, &mut |access, _| {
        if access.is_store {
            found.insert(access.buffer);
        }
    });
    found
}

/// Interprets the launches of a plan one after the other.
struct LoopRunner {
    code: Arc<Interpreted>,
}

/// What lies in scratch, whole, by the place of its slices there.
type InScratch = HashMap<usize, BufferMemory>;

impl LoopRunner {
    fn run_unit(&self, unit: usize, memory: &mut RunMemory<'_>, request: &RunRequest) -> bool {
        let plan = &self.code.parts.plan;
        let launches = plan.units[unit].launches.clone();
        let has_to_run = request.with_run_once || !plan.run_once[launches.start];
        let mut scratch = InScratch::new();
        for launch in launches.filter(|_| has_to_run) {
            self.run_launch(launch, memory, &mut scratch, request.random);
        }
        has_to_run
    }

    fn run_launch(
        &self,
        launch: usize,
        memory: &mut RunMemory<'_>,
        scratch: &mut InScratch,
        random: RandomState,
    ) {
        let Interpreted { parts, stored, fma } = &*self.code;
        let call = &parts.calls[launch];
        let function: &Verified = &parts.functions[call.function];
        let buffers = call.places.iter().zip(function.buffers.values());
        let mut held: Vec<BufferMemory> =
            buffers.map(|(place, data)| taken(*place, data, memory, scratch)).collect();
        loops::run_with(function, &mut held, random, *fma)
            .expect("a verified function on buffers of its own");
        for ((place, buffer), held) in call.places.iter().zip(function.buffers.keys()).zip(held) {
            if stored[call.function].contains(&buffer) {
                put_back(*place, held, memory, scratch);
            } else if let Placement::Scratch { offset, .. } = place {
                scratch.entry(*offset).or_insert(held);
            }
        }
    }

    fn is_stopped(&self, unit: usize, memory: &RunMemory<'_>) -> bool {
        let holds = |guard: UpdateGuard| guard.unit != Some(unit) || guard.holds(&*memory.lease);
        !self.code.parts.guard.is_none_or(holds)
    }
}

impl Runner for LoopRunner {
    fn run(&mut self, memory: RunMemory<'_>, request: &RunRequest) -> Result<(), Fault> {
        self.run_timed(memory, request).map(|_| ())
    }

    fn run_timed(&mut self, mut memory: RunMemory<'_>, request: &RunRequest) -> Result<Vec<f64>, Fault> {
        let mut seconds = Vec::new();
        for unit in request.units.clone() {
            if self.is_stopped(unit, &memory) {
                break;
            }
            let start = Instant::now();
            let has_run = self.run_unit(unit, &mut memory, request);
            seconds.push(if has_run { start.elapsed().as_secs_f64() } else { 0.0 });
        }
        seconds.resize(request.units.len(), 0.0);
        Ok(seconds)
    }
}

/// The elements of a launch's buffer.
fn taken(
    place: Placement,
    data: &BufferData,
    memory: &RunMemory<'_>,
    scratch: &mut InScratch,
) -> BufferMemory {
    let (block, offset): (&dyn DeviceBuffer, usize) = match place {
        Placement::Arena(offset) => (memory.lease, offset),
        Placement::Present(at) => (memory.persistent[at].present, 0),
        Placement::Next(at) => (memory.persistent[at].next.as_deref().expect("room for a next value"), 0),
        Placement::Scratch { offset, .. } => {
            let held = scratch.remove(&offset);
            return held.unwrap_or_else(|| BufferMemory::zeros(data.dtype, data.len));
        }
    };
    let bytes = Cow::Borrowed(&own::<Words>(block).all()[offset..offset + data.len * data.dtype.size()]);
    match data.dtype {
        DType::F32 => elements::<f32>(bytes).into_owned().into(),
        DType::I32 => elements::<i32>(bytes).into_owned().into(),
        DType::U8 | DType::Bool => bytes.into_owned().into(),
    }
}

fn put_back(place: Placement, held: BufferMemory, memory: &mut RunMemory<'_>, scratch: &mut InScratch) {
    let (words, offset): (&mut Words, usize) = match place {
        Placement::Arena(offset) => (own_mut(memory.lease), offset),
        Placement::Present(at) => (own_mut(memory.persistent[at].present), 0),
        Placement::Next(at) => {
            (own_mut(memory.persistent[at].next.as_deref_mut().expect("room for a next value")), 0)
        }
        Placement::Scratch { offset, .. } => {
            scratch.insert(offset, held);
            return;
        }
    };
    let bytes: &[u8] = match &held {
        BufferMemory::F32(data) => bytemuck::cast_slice(data),
        BufferMemory::I32(data) => bytemuck::cast_slice(data),
        BufferMemory::U8(data) => data,
    };
    words.all_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
}
