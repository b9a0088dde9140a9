//! Outputs that several tasks write to at once.

use std::marker::PhantomData;

/// A mutable slice that tasks share, each for elements of its own.
pub(crate) struct SharedMut<'a, T> {
    ptr: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// `len` elements from `start` on.
    ///
    /// # Panics
    /// If they lie outside the slice.
    ///
    /// # Safety
    /// While the result lives, no other task may access any of these elements.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "the caller promises that parts are disjoint")]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start <= self.len && len <= self.len - start, "part {start} + {len} of {}", self.len);
        // SAFETY: the range lies inside the slice, as asserted; the caller promises that nobody else accesses it.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(start), len) }
    }

    /// Where the elements from `start` on lie, of which there are at least `len`: for outputs of a task that lie between
    /// those of other tasks, which no slice may cover.
    ///
    /// # Panics
    /// If they lie outside the slice.
    #[inline(always)]
    pub(crate) fn span(&self, start: usize, len: usize) -> *mut T {
        assert!(start <= self.len && len <= self.len - start, "span {start} + {len} of {}", self.len);
        // SAFETY: the start lies inside the slice, as asserted.
        unsafe { self.ptr.add(start) }
    }
}

// SAFETY: it is a `&mut [T]` whose parts are handed to threads; that they are disjoint is what `part` demands.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_slice() {
        let mut data = [0; 6];
        let shared = SharedMut::new(&mut data);
        // SAFETY: the parts do not overlap.
        let (a, b) = unsafe { (shared.part(0, 2), shared.part(4, 2)) };
        a.fill(1);
        b.fill(2);
        assert_eq!(data, [1, 1, 0, 0, 2, 2]);
    }
}
