//! Memory that compiled kernels work on.

use std::alloc::{self, Layout};
use std::ops::Range;
use std::ptr::NonNull;

use memmap2::MmapMut;

use crate::base::memory::{Room, Shortage};

const ALIGNMENT: usize = 64;
/// The bytes of a large page. A kernel walks through many channels at once, more places than the machine keeps
/// addresses of small pages for.
const LARGE_PAGE: usize = 1 << 21;

/// A block of zeroed memory, aligned to a cache line.
pub struct Memory {
    start: NonNull<u8>,
    bytes: usize,
    /// What holds a large block; small ones are on the heap.
    pages: Option<MmapMut>,
}

// SAFETY: a `Memory` owns its block; kernels that share it between threads are kept apart by the verifier.
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` gives out the address only.
unsafe impl Sync for Memory {}

impl Memory {
    /// A new block of so many bytes. The system gives out its pages when they are touched.
    ///
    /// # Errors
    ///
    /// Where the system has no room for it.
    pub fn zeroed(bytes: usize) -> Result<Memory, Shortage> {
        if bytes >= 2 * LARGE_PAGE {
            return Memory::large(bytes).ok_or_else(|| shortage(bytes));
        }
        let layout = Memory::layout(bytes);
        // SAFETY: the layout's size is at least one cache line, never 0.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let start = NonNull::new(start).ok_or_else(|| shortage(bytes))?;
        Ok(Memory { start, bytes, pages: None })
    }

    /// A block without room for anything.
    pub fn none() -> Memory {
        Memory::zeroed(0).expect("a cache line")
    }

    /// A block in large pages, as far as the system gives them; none where it gives no pages.
    fn large(bytes: usize) -> Option<Memory> {
        let mut pages = MmapMut::map_anon(bytes.checked_add(LARGE_PAGE)?).ok()?;
        // Only a hint: a system without large pages, or without any left, takes small ones.
        #[cfg(target_os = "linux")]
        let _ = pages.advise(memmap2::Advice::HugePage);
        let first = pages.as_mut_ptr();
        let skipped = first.align_offset(LARGE_PAGE).min(LARGE_PAGE);
        // SAFETY: the map has a large page more than the block.
        let start = NonNull::new(unsafe { first.add(skipped) })?;
        Some(Memory { start, bytes, pages: Some(pages) })
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes.max(ALIGNMENT), ALIGNMENT)
            .expect("a block smaller than the address space")
    }

    /// The size.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The address of a byte.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.bytes, "offset {offset} in a block of {} bytes", self.bytes);
        // SAFETY: the offset lies in the block or one past its end.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// Some of its bytes.
    pub fn slice(&self, range: Range<usize>) -> &[u8] {
        assert!(range.start <= range.end && range.end <= self.bytes, "{range:?} of {} bytes", self.bytes);
        // SAFETY: in the block, all of whose bytes are there from the beginning.
        unsafe { std::slice::from_raw_parts(self.at(range.start), range.len()) }
    }

    /// Some of its bytes, to write.
    pub fn slice_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        assert!(range.start <= range.end && range.end <= self.bytes, "{range:?} of {} bytes", self.bytes);
        // SAFETY: as in `slice`, and `self` is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.at(range.start), range.len()) }
    }
}

fn shortage(bytes: usize) -> Shortage {
    Shortage { what: "a block".into(), needed: bytes as u64, room: Room::now() }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.pages.is_none() {
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { alloc::dealloc(self.start.as_ptr(), Memory::layout(self.bytes)) }
        }
    }
}
