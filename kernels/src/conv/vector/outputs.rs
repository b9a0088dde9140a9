//! Where the outputs of a convolution go, and the residual that is added to them on the way.

use crate::shared::SharedMut;

/// A map that tasks share, each for outputs of its own; and as many elements to add to them.
pub(crate) struct Outputs<'a, T> {
    map: SharedMut<'a, T>,
    residual: Option<&'a [T]>,
}

/// The outputs of a task, from the first one on, and what is added to it.
pub(crate) struct Span<T> {
    pub(crate) out: *mut T,
    pub(crate) residual: Option<*const T>,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<T> {}

impl<T> Span<T> {
    /// From the output `count` elements further on.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn from(self, count: usize) -> Self {
        Self { out: self.out.wrapping_add(count), residual: self.residual.map(|at| at.wrapping_add(count)) }
    }
}

impl<'a, T> Outputs<'a, T> {
    /// # Panics
    /// If the residual has another length than the map.
    pub(crate) fn new(map: &'a mut [T], residual: Option<&'a [T]>) -> Self {
        assert!(residual.is_none_or(|residual| residual.len() == map.len()), "a residual of another length");
        Self { map: SharedMut::new(map), residual }
    }

    /// `len` outputs from `start` on, and what is added to them.
    ///
    /// # Panics
    /// If they lie outside the map.
    ///
    /// # Safety
    /// While the result lives, no other task may access any of these outputs.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as `SharedMut::part`")]
    pub(crate) unsafe fn part(&self, start: usize, len: usize) -> (&mut [T], Option<&[T]>) {
        // SAFETY: the caller's promise.
        (unsafe { self.map.part(start, len) }, self.residual.map(|residual| &residual[start..start + len]))
    }

    /// Where the outputs from `start` on lie, of which there are at least `len`, and as much to add. As [`SharedMut::span`].
    ///
    /// # Panics
    /// If they lie outside the map.
    #[inline(always)]
    pub(crate) fn span(&self, start: usize, len: usize) -> Span<T> {
        let residual = self.residual.map(|residual| residual[start..start + len].as_ptr());
        Span { out: self.map.span(start, len), residual }
    }
}
