//! The sum of an int8 convolution's outputs and a residual: in place, part by part, while the outputs are near.
//!
//! Inside a tile, where it waits for the tile's sums, a sum was slower than in a loop of its own (docs/performance.md).

use super::{Band, Bands};
use crate::lut::BLOCK;
use crate::shared::SharedMut;
use crate::{AddU8, Requantize, Team};

/// Adds a residual to as many outputs, as to elements of whole blocks.
///
/// # Safety
/// The CPU has the instruction set of the kernel that names it.
pub(crate) type AddTo = unsafe fn(&AddU8, residual: &[u8], out: &mut [u8]);

/// What a kernel adds to its outputs.
pub(crate) struct ResidualU8 {
    add: AddU8,
    add_to: AddTo,
}

impl ResidualU8 {
    /// That of an epilogue, if it has one.
    pub(crate) fn new(requantize: &Requantize, add_to: AddTo) -> Option<Self> {
        requantize.residual.clone().map(|add| Self { add, add_to })
    }

    /// Adds to outputs from `start` on.
    ///
    /// # Safety
    /// The CPU has the kernel's instruction set. No other task has these outputs, all of which have been made.
    unsafe fn add(&self, start: usize, len: usize, residual: &[u8], out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { (self.add_to)(&self.add, &residual[start..start + len], out.part(start, len)) }
    }

    /// Adds to all outputs of a band.
    ///
    /// # Safety
    /// As [`ResidualU8::add`].
    pub(crate) unsafe fn add_band(&self, bands: &Bands, band: Band, residual: &[u8], out: &SharedMut<u8>) {
        let ((first, pixels), out_c) = (bands.out_pixels(band), bands.conv.out_c);
        // SAFETY: the caller's promise.
        unsafe { self.add(first * out_c, pixels * out_c, residual, out) }
    }

    /// Adds to all outputs, on all threads: where tasks have some channels of each pixel, which are too few to begin with anew at each.
    ///
    /// # Safety
    /// As [`ResidualU8::add`].
    pub(crate) unsafe fn add_all(&self, residual: &[u8], out: &SharedMut<u8>, team: &Team) {
        let (blocks, threads) = (residual.len().div_ceil(BLOCK), team.threads());
        team.run(threads, |task| {
            let start = task * blocks / threads * BLOCK;
            let end = ((task + 1) * blocks / threads * BLOCK).min(residual.len());
            // SAFETY: the caller's promise; tasks have ranges of their own.
            unsafe { self.add(start, end - start, residual, out) }
        });
    }
}
