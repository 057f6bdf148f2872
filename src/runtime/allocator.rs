//! The end of a process that runs out of memory: one line and exit code 1, whoever asked for how much.
//!
//! What needs much compares it with what there is before ([`memory`](crate::base::memory)). This is for the rest: the
//! last small block, or a machine whose memory others have taken meanwhile. The standard library would abort.

use std::alloc::{GlobalAlloc, Layout, System};

/// The system's allocator, but for that end. A program takes it as its global one.
pub struct Allocator;

// SAFETY: all is the system allocator's; a block that it does not give is never returned.
unsafe impl GlobalAlloc for Allocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps what `GlobalAlloc` asks for, here and below.
        given(unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.alloc_zeroed(layout) })
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above.
        given(unsafe { System.realloc(block, layout, size) })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// The block, if there is one; ends the process if not.
fn given(block: *mut u8) -> *mut u8 {
    if block.is_null() {
        end();
    }
    block
}

/// Says so and ends, without allocating anything: the streams of the standard library and handlers at exit might.
#[cold]
fn end() -> ! {
    const MESSAGE: &[u8] = b"error: there is no memory left\n";
    // SAFETY: the message is as long as it says, and the process ends whatever comes of writing it.
    unsafe {
        libc::write(2, MESSAGE.as_ptr().cast(), MESSAGE.len() as _);
        libc::_exit(1)
    }
}
