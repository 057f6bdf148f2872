//! Memory that compiled kernels work on.

use std::alloc::{self, Layout};
use std::ptr::NonNull;

const ALIGNMENT: usize = 64;

/// A block of zeroed memory, aligned to a cache line.
pub struct Memory {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a `Memory` owns its block; kernels that share it between threads are kept apart by the verifier.
unsafe impl Send for Memory {}
// SAFETY: as above; `&Memory` gives out the address only.
unsafe impl Sync for Memory {}

impl Memory {
    /// A new block of so many bytes.
    pub fn zeroed(bytes: usize) -> Memory {
        let layout = Memory::layout(bytes);
        // SAFETY: the layout's size is at least one cache line, never 0.
        let start = unsafe { alloc::alloc_zeroed(layout) };
        let Some(start) = NonNull::new(start) else { alloc::handle_alloc_error(layout) };
        Memory { start, bytes }
    }

    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes.max(ALIGNMENT), ALIGNMENT)
            .expect("a block smaller than the address space")
    }

    /// The address of a byte.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(offset <= self.bytes, "offset {offset} in a block of {} bytes", self.bytes);
        // SAFETY: the offset lies in the block or one past its end.
        unsafe { self.start.as_ptr().add(offset) }
    }

    /// `count` numbers from a byte offset on.
    pub fn floats(&self, offset: usize, count: usize) -> &[f32] {
        assert!(offset.is_multiple_of(4) && offset + 4 * count <= self.bytes);
        // SAFETY: in the block by the check above, aligned, and any bits are an f32.
        unsafe { std::slice::from_raw_parts(self.at(offset).cast(), count) }
    }

    /// `count` numbers from a byte offset on, to write.
    pub fn floats_mut(&mut self, offset: usize, count: usize) -> &mut [f32] {
        assert!(offset.is_multiple_of(4) && offset + 4 * count <= self.bytes);
        // SAFETY: as in `floats`, and `self` is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset).cast(), count) }
    }

    /// `count` bytes from an offset on, to write.
    pub fn bytes_mut(&mut self, offset: usize, count: usize) -> &mut [u8] {
        assert!(offset + count <= self.bytes);
        // SAFETY: in the block by the check above, and `self` is borrowed for as long.
        unsafe { std::slice::from_raw_parts_mut(self.at(offset), count) }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated in `zeroed` with the same layout.
        unsafe { alloc::dealloc(self.start.as_ptr(), Memory::layout(self.bytes)) }
    }
}
