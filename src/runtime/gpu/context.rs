//! An adapter that has been opened: its queue, its limits, what went wrong with it, and copies to the host.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use pollster::block_on;
use wgpu::util::DeviceExt;

use super::CardOptions;
use super::adapters::Adapter;
use crate::codegen::wgsl::{Driver, Rounding};
use crate::runtime::device::Fault;

/// So long a step may take before it counts as one that never ends: drivers of software compile on first use.
const PATIENCE: Duration = Duration::from_secs(600);

/// An opened adapter.
pub(super) struct Context {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub adapter: Adapter,
    pub options: CardOptions,
    /// How the driver computes.
    pub arithmetic: Driver,
    /// Nanoseconds a tick of its clock, where it can be asked when something ran.
    pub tick: Option<f32>,
    /// What went wrong first.
    fault: Arc<Mutex<Option<String>>>,
    next_buffer: AtomicU64,
    runs: AtomicU64,
}

/// A block of the device's memory that shaders bind as a whole.
#[derive(Clone, Debug)]
pub(super) struct Buffer {
    pub buffer: wgpu::Buffer,
    /// No other has had this number.
    pub number: u64,
}

impl Context {
    /// Opens an adapter.
    ///
    /// # Errors
    ///
    /// Where the driver refuses.
    pub fn open(adapter: Adapter, options: CardOptions) -> Result<Context, Fault> {
        let has = adapter.handle.features();
        let kept =
            has.contains(wgpu::Features::PASSTHROUGH_SHADERS) && adapter.is_vulkan() && !options.fenced;
        let clock = has.contains(wgpu::Features::TIMESTAMP_QUERY);
        let mut features = wgpu::Features::empty();
        features.set(wgpu::Features::PASSTHROUGH_SHADERS, kept);
        features.set(wgpu::Features::TIMESTAMP_QUERY, clock);
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("cnnc"),
            required_features: features,
            required_limits: adapter.limits.clone(),
            // SAFETY: the experimental feature that is used hands shaders to the driver as they are. They are made of
            // verified functions, whose accesses lie in their buffers.
            experimental_features: unsafe { wgpu::ExperimentalFeatures::enabled() },
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let opened = block_on(adapter.handle.request_device(&descriptor));
        let (device, queue) =
            opened.map_err(|error| Fault(format!("{} cannot be opened: {error}", adapter.name)))?;
        let fault = Arc::new(Mutex::new(None));
        let first = |fault: &Arc<Mutex<Option<String>>>, message: String| {
            fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message);
        };
        let (of_errors, of_loss) = (fault.clone(), fault.clone());
        device.on_uncaptured_error(Arc::new(move |error| first(&of_errors, error.to_string())));
        device.set_device_lost_callback(move |reason, message| {
            first(&of_loss, format!("the device is lost ({reason:?}): {message}"));
        });
        let tick = clock.then(|| queue.get_timestamp_period());
        let rounding = if kept { Rounding::Kept } else { Rounding::Fenced };
        let arithmetic = Driver { rounding, fuses: true, tells_zeros: true };
        let next_buffer = AtomicU64::new(0);
        let runs = AtomicU64::new(0);
        Ok(Context { device, queue, adapter, options, arithmetic, tick, fault, next_buffer, runs })
    }

    /// Room for commands.
    pub fn encoder(&self) -> wgpu::CommandEncoder {
        self.device.create_command_encoder(&wgpu::CommandEncoderDescriptor::default())
    }

    /// The most bytes that a shader reaches in one block of memory.
    pub fn block_bytes(&self) -> u64 {
        self.options.block_bytes.map_or(self.adapter.block_bytes(), |bytes| bytes as u64)
    }

    /// A run begins.
    ///
    /// # Errors
    ///
    /// What went wrong before.
    pub fn begin(&self) -> Result<(), Fault> {
        let before = self.runs.fetch_add(1, Ordering::Relaxed);
        if self.options.lost_after.is_some_and(|most| before >= most) {
            self.device.destroy();
        }
        self.check()
    }

    /// What went wrong, if anything did.
    ///
    /// # Errors
    ///
    /// That.
    pub fn check(&self) -> Result<(), Fault> {
        let fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        match &*fault {
            None => Ok(()),
            Some(message) => Err(Fault(format!("{}: {}", self.adapter.name, one_line(message)))),
        }
    }

    fn fail(&self, message: &str) {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(message.into());
    }

    /// Zeroed memory; none where there is not so much.
    pub fn memory(&self, bytes: u64) -> Option<Buffer> {
        let usage = wgpu::BufferUsages::STORAGE | wgpu::BufferUsages::COPY_SRC | wgpu::BufferUsages::COPY_DST;
        self.buffer(bytes, usage)
    }

    /// A buffer for a use; none where there is no memory.
    pub fn buffer(&self, bytes: u64, usage: wgpu::BufferUsages) -> Option<Buffer> {
        let size = bytes.next_multiple_of(wgpu::COPY_BUFFER_ALIGNMENT).max(16);
        if size > self.adapter.limits.max_buffer_size {
            return None;
        }
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let descriptor = wgpu::BufferDescriptor { label: None, size, usage, mapped_at_creation: false };
        let buffer = self.device.create_buffer(&descriptor);
        if block_on(scope.pop()).is_some() {
            return None;
        }
        Some(Buffer { buffer, number: self.next_buffer.fetch_add(1, Ordering::Relaxed) })
    }

    /// A table that shaders read.
    pub fn table(&self, words: &[u32]) -> wgpu::Buffer {
        let usage = wgpu::BufferUsages::UNIFORM | wgpu::BufferUsages::COPY_DST;
        let contents = bytemuck::cast_slice(words);
        self.device.create_buffer_init(&wgpu::util::BufferInitDescriptor { label: None, contents, usage })
    }

    /// Writes bytes. What is not a whole word at an end is taken from what is there.
    pub fn write(&self, buffer: &Buffer, start: u64, bytes: &[u8]) {
        let word = wgpu::COPY_BUFFER_ALIGNMENT;
        let end = start + bytes.len() as u64;
        if start.is_multiple_of(word) && end.is_multiple_of(word) {
            self.queue.write_buffer(&buffer.buffer, start, bytes);
            return;
        }
        let (first, last) = (start / word * word, end.next_multiple_of(word));
        let mut whole = self.read(buffer, first, last - first);
        whole[(start - first) as usize..][..bytes.len()].copy_from_slice(bytes);
        self.queue.write_buffer(&buffer.buffer, first, &whole);
    }

    /// Reads bytes, when all that was given to the device before is done. Zeros where that fails, of which [`check`](Context::check)
    /// tells.
    pub fn read(&self, buffer: &Buffer, start: u64, bytes: u64) -> Vec<u8> {
        let read = || {
            let Some(copies) = self.copies(&[(buffer, start, bytes)]) else {
                return Err(Fault("there is no memory to read results".into()));
            };
            let mut encoder = self.encoder();
            copies.encode(&mut encoder);
            copies.submit(self, encoder)
        };
        match read() {
            Ok(mut read) if read.len() == 1 => read.remove(0),
            Ok(_) => vec![0; bytes as usize],
            Err(fault) => {
                self.fail(&fault.0);
                vec![0; bytes as usize]
            }
        }
    }

    /// Copies of some ranges to the host; none where there is no memory for that.
    pub fn copies(&self, ranges: &[(&Buffer, u64, u64)]) -> Option<Copies> {
        let word = wgpu::COPY_BUFFER_ALIGNMENT;
        let mut ranged = Vec::new();
        let mut total = 0;
        for (buffer, start, bytes) in ranges {
            let first = start / word * word;
            let length = (start + bytes).next_multiple_of(word) - first;
            ranged.push(Copy {
                buffer: (*buffer).clone(),
                first,
                length,
                at: total,
                inside: (start - first) as usize,
                bytes: *bytes as usize,
            });
            total += length.next_multiple_of(wgpu::MAP_ALIGNMENT);
        }
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        Some(Copies { staging: self.buffer(total, usage)?, ranges: ranged })
    }

    /// Submits commands and waits until they are done.
    ///
    /// # Errors
    ///
    /// Where the device is lost, or they are not done in a long time.
    pub fn wait(&self, submission: wgpu::SubmissionIndex) -> Result<(), Fault> {
        let wait = wgpu::PollType::Wait { submission_index: Some(submission), timeout: Some(PATIENCE) };
        if self.device.poll(wait).is_err() {
            self.fail(&format!("a run was not done after {} s", PATIENCE.as_secs()));
        }
        self.check()
    }
}

/// A message without its line breaks.
fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Ranges of the device's memory that are copied to the host again and again.
pub(super) struct Copies {
    staging: Buffer,
    ranges: Vec<Copy>,
}

struct Copy {
    buffer: Buffer,
    first: u64,
    length: u64,
    /// Where it begins in the staging buffer.
    at: u64,
    inside: usize,
    bytes: usize,
}

impl Copies {
    /// Copies behind what an encoder has.
    pub fn encode(&self, encoder: &mut wgpu::CommandEncoder) {
        for Copy { buffer, first, length, at, .. } in &self.ranges {
            encoder.copy_buffer_to_buffer(&buffer.buffer, *first, &self.staging.buffer, *at, *length);
        }
    }

    /// Submits an encoder that has the copies, and gives the bytes of each range.
    ///
    /// # Errors
    ///
    /// Where the device fails.
    pub fn submit(&self, context: &Context, encoder: wgpu::CommandEncoder) -> Result<Vec<Vec<u8>>, Fault> {
        let submission = context.queue.submit([encoder.finish()]);
        if self.ranges.is_empty() {
            context.wait(submission)?;
            return Ok(Vec::new());
        }
        let (done, is_done) = mpsc::channel();
        self.staging.buffer.slice(..).map_async(wgpu::MapMode::Read, move |mapped| {
            done.send(mapped.is_ok()).ok();
        });
        context.wait(submission)?;
        if is_done.recv() != Ok(true) {
            context.fail("results cannot be read");
            context.check()?;
        }
        let view = self.staging.buffer.slice(..).get_mapped_range();
        let view = view.map_err(|error| Fault(format!("{}: {error}", context.adapter.name)))?;
        let bytes = self
            .ranges
            .iter()
            .map(|Copy { at, inside, bytes, .. }| view[*at as usize + inside..][..*bytes].to_vec());
        let bytes = bytes.collect();
        drop(view);
        self.staging.buffer.unmap();
        Ok(bytes)
    }
}
