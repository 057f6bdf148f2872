//! Memory that compiled kernels work on.

use std::alloc::{self, Layout};
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

    /// `count` elements from a byte offset on.
    pub fn slice<T: Element>(&self, offset: usize, count: usize) -> &[T] {
        self.check::<T>(offset, count);
        // SAFETY: in the block and aligned by the check above, and any bits are an element.
        unsafe { std::slice::from_raw_parts(self.at(offset).cast(), count) }
    }

    /// `count` elements from a byte offset on, to write.
    pub fn slice_mut<T: Element>(&mut self, offset: usize, count: usize) -> &mut [T] {
        self.check::<T>(offset, count);
        // SAFETY: as in `slice`, and `self` is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset).cast(), count) }
    }

    fn check<T>(&self, offset: usize, count: usize) {
        let (size, what) = (size_of::<T>(), std::any::type_name::<T>());
        let end = size.checked_mul(count).and_then(|bytes| bytes.checked_add(offset));
        let fits = offset.is_multiple_of(align_of::<T>()) && end.is_some_and(|end| end <= self.bytes);
        assert!(fits, "{count} elements {what} at {offset} in a block of {} bytes", self.bytes);
    }

    /// `count` numbers from a byte offset on.
    pub fn floats(&self, offset: usize, count: usize) -> &[f32] {
        self.slice(offset, count)
    }

    /// `count` numbers from a byte offset on, to write.
    pub fn floats_mut(&mut self, offset: usize, count: usize) -> &mut [f32] {
        self.slice_mut(offset, count)
    }

    /// `count` bytes from an offset on, to write.
    pub fn bytes_mut(&mut self, offset: usize, count: usize) -> &mut [u8] {
        self.slice_mut(offset, count)
    }
}

fn shortage(bytes: usize) -> Shortage {
    Shortage { what: "a block".into(), needed: bytes as u64, room: Room::now() }
}

/// What a block may hold: any bits are one of them.
pub trait Element: sealed::Sealed + Copy {}

impl Element for f32 {}
impl Element for i32 {}
impl Element for u8 {}

/// Keeps other crates from naming types that not all bits are one of.
mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for i32 {}
    impl Sealed for u8 {}
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.pages.is_none() {
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { alloc::dealloc(self.start.as_ptr(), Memory::layout(self.bytes)) }
        }
    }
}
