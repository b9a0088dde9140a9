//! Counts allocations, for tests that running a network makes none. Feature `testing`; not part of the API.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    static COUNT: Cell<u64> = const { Cell::new(0) };
}

static ALL: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, counting what each thread asks of it. For `#[global_allocator]` in a test.
#[derive(Debug, Default, Clone, Copy)]
pub struct CountingAllocator;

impl CountingAllocator {
    /// Allocations (and growths) by the calling thread so far.
    pub fn allocations() -> u64 {
        COUNT.with(Cell::get)
    }

    /// Allocations (and growths) by all threads so far.
    pub fn allocations_of_all() -> u64 {
        ALL.load(Ordering::Relaxed)
    }
}

fn count() {
    // Fails only while a thread ends, when nobody reads its count any more.
    let _ = COUNT.try_with(|count| count.set(count.get() + 1));
    ALL.fetch_add(1, Ordering::Relaxed);
}

// SAFETY: every call goes to `System` with the caller's arguments, so its guarantees are those of `System`; counting
// touches a thread-local cell without a destructor or lazy initialization, which allocates nothing.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `GlobalAlloc::alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: `ptr` came from `System` with this layout, as all methods pass through; the rest is the caller's.
        unsafe { System.realloc(ptr, layout, new_size) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: as in `realloc`.
        unsafe { System.dealloc(ptr, layout) }
    }
}
