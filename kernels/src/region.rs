//! Memory that buffers lie in side by side, in huge pages where the system has them.
//!
//! A network's weights are dozens of buffers of a few hundred kilobytes that every run reads from one end to the other. In pages of 4 KB a core of
//! a virtual machine, where a missing translation costs most, reads them at 17 GB/s, in huge pages at 30 (a Zen 4).

use std::alloc::{self, Layout};
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Alignment of every buffer, in bytes.
const ALIGN: usize = 64;

/// A huge page of x86-64, and of aarch64 with pages of 4 KB.
const HUGE: usize = 2 << 20;

/// Bytes of a region, unless one buffer needs more. Pages that no buffer uses stay untouched, which costs no memory.
const REGION: usize = 8 << 20;

/// Regions that may get further buffers; the oldest is closed first.
const OPEN: usize = 4;

/// Memory of which buffers have parts. Freed with the last of them.
#[derive(Debug)]
pub(crate) struct Region {
    ptr: NonNull<u8>,
    layout: Layout,
    /// Bytes that buffers have.
    used: AtomicUsize,
}

/// Regions with room. Weak: a region without buffers is gone.
static ROOMY: Mutex<Vec<Weak<Region>>> = Mutex::new(Vec::new());

/// `bytes`, more than 0, zeroed and aligned to a cache line, that nobody else has while the region lives. None if that is more than `isize::MAX`.
pub(crate) fn place(bytes: usize) -> Option<(Arc<Region>, NonNull<u8>)> {
    let bytes = bytes.checked_next_multiple_of(ALIGN)?;
    // Nothing panics while it is locked that could leave the list other than it should be.
    let mut roomy = ROOMY.lock().unwrap_or_else(PoisonError::into_inner);
    roomy.retain(|region| region.strong_count() > 0);
    let found = roomy.iter().filter_map(Weak::upgrade).find_map(|region| region.take(bytes).map(|at| (region, at)));
    let (region, at) = match found {
        Some(found) => found,
        None => {
            let region = Arc::new(Region::new(bytes)?);
            if roomy.len() == OPEN {
                roomy.remove(0);
            }
            roomy.push(Arc::downgrade(&region));
            let at = region.take(bytes)?;
            (region, at)
        }
    };
    drop(roomy);
    // SAFETY: `take` gave these bytes to this call alone.
    unsafe { at.write_bytes(0, bytes) };
    Some((region, at))
}

impl Region {
    /// Room for at least `bytes`.
    fn new(bytes: usize) -> Option<Self> {
        let layout = Layout::from_size_align(bytes.max(REGION).checked_next_multiple_of(HUGE)?, HUGE).ok()?;
        // SAFETY: the layout's size is not 0.
        let ptr = unsafe { alloc::alloc(layout) };
        let Some(ptr) = NonNull::new(ptr) else { alloc::handle_alloc_error(layout) };
        // Before the first write, which is what makes pages.
        advise_huge(ptr, layout.size());
        Some(Self { ptr, layout, used: AtomicUsize::new(0) })
    }

    /// The next `bytes`, if there are as many. Called with the list locked.
    fn take(&self, bytes: usize) -> Option<NonNull<u8>> {
        let used = self.used.load(Ordering::Relaxed);
        if bytes > self.layout.size() - used {
            return None;
        }
        self.used.store(used + bytes, Ordering::Relaxed);
        // SAFETY: `used` and the bytes after it lie in the allocation, as just compared.
        Some(unsafe { self.ptr.add(used) })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: `new` allocated `ptr` with this layout; buffers, which keep the region, are gone.
        unsafe { alloc::dealloc(self.ptr.as_ptr(), self.layout) }
    }
}

// SAFETY: the region itself reads and writes nothing of its memory; buffers have parts that do not overlap.
unsafe impl Send for Region {}
// SAFETY: as above; `used` is atomic.
unsafe impl Sync for Region {}

/// Asks the system for huge pages, for whole ones from `ptr`, which is aligned to them, on; without them, all is as before.
fn advise_huge(ptr: NonNull<u8>, bytes: usize) {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    {
        /// `MADV_HUGEPAGE`.
        const ADVICE: c_int = 14;

        unsafe extern "C" {
            fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
        }

        // SAFETY: the signature is that of Linux; the range is an allocation of whole huge pages. The advice does not change what memory
        // holds, and its result can be ignored.
        unsafe { madvise(ptr.as_ptr().cast(), bytes, ADVICE) };
    }
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    let _ = (ptr, bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_overlap_and_are_zeroed_again() {
        for _ in 0..3 {
            let parts: Vec<_> = [1, 64, 100, REGION - 64, REGION + 1, 3 << 20, 3 << 20, 3 << 20, 5]
                .map(|bytes| (bytes, place(bytes).unwrap()))
                .into_iter()
                .collect();
            let mut spans: Vec<_> = parts.iter().map(|(bytes, (_, at))| (at.as_ptr() as usize, *bytes)).collect();
            spans.sort_unstable();
            assert!(spans.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0));
            for (bytes, (_, at)) in &parts {
                // SAFETY: a part of so many bytes, whose region is alive.
                let part = unsafe { std::slice::from_raw_parts_mut(at.as_ptr(), *bytes) };
                assert!(part.iter().all(|&x| x == 0) && at.as_ptr().addr().is_multiple_of(ALIGN));
                part.fill(9);
            }
        }
    }

    #[test]
    fn sizes_beyond_the_address_space_are_none() {
        assert!(place(usize::MAX).is_none() && place(isize::MAX as usize).is_none());
    }
}
