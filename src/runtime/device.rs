//! What runs programs: a device has memory, makes code of verified functions, and runs it.
//!
//! In: the [`Parts`] of an executable. Out: its [`Code`], [`DeviceBuffer`]s of memory, and a [`Runner`] for each
//! instance, which runs units of a plan from one point to the next. No device knows tensors, paths or layouts, and
//! nothing here knows a device: [`devices`](super::devices) has them. Code and memory of devices of one
//! [`kind`](Device::kind) go together.

use std::any::Any;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use crate::base::memory::Shortage;
use crate::base::philox::RandomState;
use crate::loops::verifier::Verified;
use crate::plan::{MemoryPlan, Placement};
use crate::sched::Machine;

pub use crate::codegen::Error;

/// What went wrong while a device ran.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

/// A machine with memory of its own.
pub trait Device: Send + Sync {
    /// What goes together: code and memory of one kind.
    fn kind(&self) -> &'static str;

    /// What it is, for people: part of a line.
    fn described(&self) -> String;

    /// What its results depend on to the bit, beside the program: the vector level, or what it is called with its driver.
    fn identity(&self) -> String;

    /// What graphs are lowered for.
    fn machine(&self) -> Machine;

    /// The threads of the host that it computes with.
    fn threads(&self) -> usize;

    /// Makes code.
    ///
    /// # Errors
    ///
    /// Where there is none for a function, or no memory for it.
    fn compile(&self, parts: Parts) -> Result<Code, Error>;

    /// What runs the code for one instance.
    ///
    /// # Panics
    ///
    /// Where the code is of another kind of device.
    fn runner(&self, code: &Code) -> Box<dyn Runner>;

    /// Zeroed memory for a tensor that outlives runs.
    ///
    /// # Errors
    ///
    /// Where there is not so much.
    fn allocate(&self, bytes: usize) -> Result<Box<dyn DeviceBuffer>, Shortage>;

    /// Memory for the runs of a plan, for a time.
    ///
    /// # Errors
    ///
    /// Where there is not so much.
    fn lease(&self, plan: &MemoryPlan) -> Result<Leased, Shortage>;

    /// Gives some bytes of leased memory to be written, by several threads where the device has them and that
    /// takes less time. They are cut into parts at multiples of `unit`. What is not written stays.
    ///
    /// # Panics
    ///
    /// Where the memory is of another kind of device.
    fn write_parts(&self, block: &mut dyn DeviceBuffer, range: Range<usize>, unit: usize, fill: FillPart<'_>);

    /// Takes leased memory back. It may be leased again.
    fn give_back(&self, block: Box<dyn DeviceBuffer>);

    /// Lets go of memory that nobody leases at present.
    fn trim(&self);

    /// Whether all that was read so far is what the device had.
    ///
    /// # Errors
    ///
    /// What went wrong.
    fn check(&self) -> Result<(), Fault> {
        Ok(())
    }

    /// The most multiply-adds that code for a machine reaches, in GFLOP/s.
    ///
    /// # Errors
    ///
    /// Where nothing is known of it.
    fn peak_gflops(&self, machine: &Machine) -> Result<f64, Error>;

    /// The most bytes that it reads from memory, in billions a second.
    ///
    /// # Errors
    ///
    /// Where nothing is known of it.
    fn bandwidth(&self) -> Result<f64, Error>;
}

/// Writes a part of some bytes, which begins at one of them.
pub type FillPart<'a> = &'a (dyn Fn(usize, &mut [u8]) + Sync);

/// What a device has made of functions.
pub type Code = Arc<dyn Any + Send + Sync>;

/// What code is made of, and what runs of it consist of.
pub struct Parts {
    pub machine: Machine,
    pub functions: Vec<Verified>,
    /// In order.
    pub calls: Vec<Call>,
    pub plan: Arc<MemoryPlan>,
    pub guard: Option<UpdateGuard>,
    /// The bytes of the arena that are read after each run.
    pub results: Vec<Range<usize>>,
}

/// A call of a function.
pub struct Call {
    /// Among the functions.
    pub function: usize,
    /// Those of its buffers.
    pub places: Vec<Placement>,
    /// About how many vector operations it does, of 128 bits each, whatever the machine has.
    pub work: u64,
}

/// What says whether the updates of a step take place.
#[derive(Clone, Copy, Debug)]
pub struct UpdateGuard {
    /// The byte of the arena where the verdict lies, an `f32`.
    pub offset: usize,
    /// Whether it is the loss, which must be finite, and not the acceptance of the step.
    pub is_loss: bool,
    /// The first unit that does not run where they do not take place.
    pub unit: Option<usize>,
}

impl UpdateGuard {
    /// Whether a verdict lets the updates take place.
    pub fn accepts(&self, verdict: f32) -> bool {
        if self.is_loss { verdict.is_finite() } else { verdict != 0.0 }
    }

    /// The verdict in leased memory.
    pub fn holds(&self, lease: &dyn DeviceBuffer) -> bool {
        let verdict = lease.read(self.offset..self.offset + size_of::<f32>());
        self.accepts(bytemuck::pod_read_unaligned(&verdict))
    }
}

/// A block of a device's memory. It begins at a multiple of whatever its elements need.
pub trait DeviceBuffer: Any + Send + Sync {
    /// The size.
    fn bytes(&self) -> usize;

    /// Some of its bytes.
    fn read(&self, range: Range<usize>) -> Cow<'_, [u8]>;

    /// Gives some of its bytes to be written. What is not written stays.
    fn write(&mut self, range: Range<usize>, fill: &mut dyn FnMut(&mut [u8]));
}

/// Memory for the runs of a plan.
pub struct Leased {
    pub block: Box<dyn DeviceBuffer>,
    /// Whether it holds zeros, and not what others have left there.
    pub is_zero: bool,
}

/// Where the memory of a run is.
pub struct RunMemory<'a> {
    pub lease: &'a mut dyn DeviceBuffer,
    pub persistent: Vec<PersistentBlocks<'a>>,
}

/// The memory of a persistent tensor.
pub struct PersistentBlocks<'a> {
    pub present: &'a mut dyn DeviceBuffer,
    /// Where runs store its next value, if they do that beside the present one.
    pub next: Option<&'a mut dyn DeviceBuffer>,
}

/// What is to be run.
#[derive(Clone, Debug)]
pub struct RunRequest {
    pub units: Range<usize>,
    /// Whether also those whose results follow from persistent tensors alone.
    pub with_run_once: bool,
    pub random: RandomState,
}

/// Runs the code of one executable; has what such runs need beside memory.
pub trait Runner: Send {
    /// The memory of the last run is given back: nothing may hold on to it.
    fn unbind(&mut self) {}

    /// Runs units in order, and none from the guarded one on where the verdict is against it. The memory is that of
    /// the plan and of the persistent tensors.
    ///
    /// # Errors
    ///
    /// Where the device fails; what it has stored by then is not defined.
    fn run(&mut self, memory: RunMemory<'_>, request: &RunRequest) -> Result<(), Fault>;

    /// The same, and the seconds of each unit: 0 where it does not run.
    ///
    /// # Errors
    ///
    /// Those of [`run`](Runner::run), and where the device has no clock.
    fn run_timed(&mut self, memory: RunMemory<'_>, request: &RunRequest) -> Result<Vec<f64>, Fault>;
}

/// Memory of the kind that a device makes.
///
/// # Panics
///
/// Where it is of another kind of device.
pub(super) fn own<T: Any>(block: &dyn DeviceBuffer) -> &T {
    let block: &dyn Any = block;
    block.downcast_ref().expect("memory of this kind of device")
}

/// The same, to write.
///
/// # Panics
///
/// Where it is of another kind of device.
pub(super) fn own_mut<T: Any>(block: &mut dyn DeviceBuffer) -> &mut T {
    let block: &mut dyn Any = block;
    block.downcast_mut().expect("memory of this kind of device")
}

/// The elements of bytes that a device gives.
pub(super) fn elements<T: bytemuck::AnyBitPattern + bytemuck::NoUninit>(
    bytes: Cow<'_, [u8]>,
) -> Cow<'_, [T]> {
    match bytes {
        Cow::Borrowed(bytes) => match bytemuck::try_cast_slice(bytes) {
            Ok(elements) => Cow::Borrowed(elements),
            Err(_) => Cow::Owned(bytemuck::pod_collect_to_vec(bytes)),
        },
        Cow::Owned(bytes) => Cow::Owned(bytemuck::pod_collect_to_vec(&bytes)),
    }
}
