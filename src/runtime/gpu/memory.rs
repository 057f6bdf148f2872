//! Memory of the device: small tensors together in slabs, large ones alone, and the arena of a run in blocks.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::context::{Buffer, Context};
use crate::plan::blocks::{OWN_BYTES, SHARED_BYTES};
use crate::runtime::device::DeviceBuffer;

/// Every tensor begins at a multiple of this many bytes.
const ALIGNMENT: u64 = 256;

/// The memory that tensors which outlive runs are cut from.
#[derive(Default)]
pub(super) struct Slabs {
    slabs: Mutex<Vec<Slab>>,
}

struct Slab {
    buffer: Buffer,
    /// Parts that are free, by their first bytes, with their ends.
    free: BTreeMap<u64, u64>,
}

/// A tensor that outlives runs.
pub(super) struct Block {
    context: Arc<Context>,
    slabs: Arc<Slabs>,
    pub buffer: Buffer,
    /// The byte of the buffer at which it begins.
    pub start: u64,
    bytes: usize,
}

impl Slabs {
    /// Zeroed memory; none where there is not so much.
    pub fn allocate(self: &Arc<Slabs>, context: &Arc<Context>, bytes: usize) -> Option<Block> {
        let size = (bytes as u64).next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        let (buffer, start) = match size >= OWN_BYTES {
            true => (context.memory(size)?, 0),
            false => self.part(context, size)?,
        };
        let (context, slabs) = (context.clone(), self.clone());
        Some(Block { context, slabs, buffer, start, bytes })
    }

    /// A part of a slab that is zero.
    fn part(&self, context: &Context, size: u64) -> Option<(Buffer, u64)> {
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        for slab in slabs.iter_mut() {
            if let Some(start) = slab.take(size) {
                clear(context, &slab.buffer, start, size);
                return Some((slab.buffer.clone(), start));
            }
        }
        let buffer = context.memory(SHARED_BYTES)?;
        let mut slab = Slab { buffer: buffer.clone(), free: BTreeMap::from([(0, SHARED_BYTES)]) };
        let start = slab.take(size)?;
        slabs.push(slab);
        Some((buffer, start))
    }

    fn give_back(&self, buffer: u64, start: u64, size: u64) {
        let mut slabs = self.slabs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slab) = slabs.iter_mut().find(|slab| slab.buffer.number == buffer) {
            slab.put_back(start, size);
        }
    }
}

impl Slab {
    /// The first free part that is large enough.
    fn take(&mut self, size: u64) -> Option<u64> {
        let (start, end) =
            self.free.iter().find(|(start, end)| *end - *start >= size).map(|(s, e)| (*s, *e))?;
        self.free.remove(&start);
        if start + size < end {
            self.free.insert(start + size, end);
        }
        Some(start)
    }

    fn put_back(&mut self, mut start: u64, size: u64) {
        let mut end = start + size;
        if let Some(next) = self.free.remove(&end) {
            end = next;
        }
        if let Some((before, _)) = self.free.range(..start).next_back().filter(|(_, e)| **e == start) {
            start = *before;
        }
        self.free.insert(start, end);
    }
}

fn clear(context: &Context, buffer: &Buffer, start: u64, size: u64) {
    let mut encoder = context.encoder();
    encoder.clear_buffer(&buffer.buffer, start, Some(size));
    context.queue.submit([encoder.finish()]);
}

impl DeviceBuffer for Block {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        self.context.read(&self.buffer, self.start + range.start as u64, range.len() as u64).into()
    }

    fn write(&mut self, range: Range<usize>, fill: &mut dyn FnMut(&mut [u8])) {
        let start = self.start + range.start as u64;
        let mut bytes = self.context.read(&self.buffer, start, range.len() as u64);
        fill(&mut bytes);
        self.context.write(&self.buffer, start, &bytes);
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        let size = (self.bytes as u64).next_multiple_of(ALIGNMENT).max(ALIGNMENT);
        if size < OWN_BYTES {
            self.slabs.give_back(self.buffer.number, self.start, size);
        }
    }
}

/// The memory of runs: blocks of equal size, the last one perhaps smaller. No tensor lies in two of them.
pub(super) struct Arena {
    context: Arc<Context>,
    pub blocks: Vec<Buffer>,
    block_bytes: u64,
    bytes: usize,
    /// What the last run has left in the ranges that are read after each.
    pub results: Vec<(Range<usize>, Vec<u8>)>,
    /// The host's copies of inputs: what lies around their elements stays.
    inputs: BTreeMap<usize, Vec<u8>>,
}

impl Arena {
    /// Zeroed memory; none where there is not so much.
    pub fn new(context: &Arc<Context>, bytes: usize, block_bytes: u64) -> Option<Arena> {
        let mut blocks = Vec::new();
        for number in 0..(bytes as u64).div_ceil(block_bytes) {
            blocks.push(context.memory(block_bytes.min(bytes as u64 - number * block_bytes))?);
        }
        let (results, inputs) = (Vec::new(), BTreeMap::new());
        Some(Arena { context: context.clone(), blocks, block_bytes, bytes, results, inputs })
    }

    /// The block of a byte, and where it lies there.
    pub fn place(&self, byte: usize) -> (&Buffer, u64) {
        (&self.blocks[(byte as u64 / self.block_bytes) as usize], byte as u64 % self.block_bytes)
    }

    /// The arena, in whose place there is none.
    pub fn take(&mut self) -> Arena {
        let none = Arena {
            context: self.context.clone(),
            blocks: Vec::new(),
            block_bytes: self.block_bytes,
            bytes: 0,
            results: Vec::new(),
            inputs: BTreeMap::new(),
        };
        std::mem::replace(self, none)
    }

    /// Forgets what belongs to the program that ran here before.
    pub fn forget(&mut self) {
        self.results.clear();
        self.inputs.clear();
    }

    /// Writes an input of which only some bytes are given.
    pub fn write_input(&mut self, range: Range<usize>, fill: &dyn Fn(usize, &mut [u8])) {
        let (buffer, start) = self.place(range.start);
        let buffer = buffer.clone();
        let context = self.context.clone();
        let read = || context.read(&buffer, start, range.len() as u64);
        let bytes = self.inputs.entry(range.start).or_insert_with(read);
        if bytes.len() != range.len() {
            *bytes = read();
        }
        fill(0, bytes);
        context.write(&buffer, start, bytes);
    }
}

impl DeviceBuffer for Arena {
    fn bytes(&self) -> usize {
        self.bytes
    }

    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]> {
        let known = |(of, _): &&(Range<usize>, Vec<u8>)| of.start <= range.start && range.end <= of.end;
        if let Some((of, bytes)) = self.results.iter().find(known) {
            return bytes[range.start - of.start..range.end - of.start].into();
        }
        if range.is_empty() {
            return Vec::new().into();
        }
        let (buffer, start) = self.place(range.start);
        self.context.read(buffer, start, range.len() as u64).into()
    }

    fn write(&mut self, range: Range<usize>, fill: &mut dyn FnMut(&mut [u8])) {
        if range.is_empty() {
            return;
        }
        let (buffer, start) = self.place(range.start);
        let mut bytes = self.context.read(buffer, start, range.len() as u64);
        fill(&mut bytes);
        self.context.write(buffer, start, &bytes);
        self.forget();
    }
}
