//! The inner loops of f32 depthwise convolutions with square windows of 3 or 5 and strides of 1 or 2, the same for all instruction sets.

use super::LanesF32;
use crate::conv::Activation;

/// Tiles of outputs, one after another in a row, for a vector of channels. All columns of their windows are there: of the input, or of
/// padded rows.
pub(crate) struct DepthwiseStrip<'a> {
    pub(crate) tiles: usize,
    /// The vector's channels at the first pixel of the next output's window, and where the rows of the window start after it.
    pub(crate) values: *const f32,
    pub(crate) rows: &'a [usize],
    /// Elements from one pixel to the next.
    pub(crate) pixel_len: usize,
    /// The vector's weights for the first of these rows, so many elements from one tap to the next; and bias.
    pub(crate) taps: *const f32,
    pub(crate) taps_step: usize,
    pub(crate) bias: *const f32,
    pub(crate) activation: Activation,
    /// The next output, its channels (up to a vector), and elements from one output to the next.
    pub(crate) out: *mut f32,
    pub(crate) channels: usize,
    pub(crate) out_c: usize,
}

/// Where a strip's values lie.
pub(crate) mod layout {
    /// In rows whose pixels all have whole vectors, or in a map where this vector is whole.
    pub(crate) const WHOLE: u8 = 0;
    /// In a map whose pixels end within this vector.
    pub(crate) const PART: u8 = 1;
}

impl DepthwiseStrip<'_> {
    /// The next tiles, of `P` outputs, of a window of `SIZE` and a stride.
    ///
    /// # Safety
    /// The CPU has the instruction set, and the pointers what the fields say, for so many tiles of `P` outputs: at each pixel
    /// the vector's channels, and where the layout is whole, all of a vector.
    #[inline(always)]
    pub(crate) unsafe fn run<L: LanesF32, const P: usize, const SIZE: usize, const STRIDE: usize, const LAYOUT: u8>(
        &mut self,
    ) {
        let (mut values, mut out) = (self.values, self.out);
        for _ in 0..self.tiles {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = self.sums::<L, P, SIZE, STRIDE, LAYOUT>(values);
                if self.channels < L::LANES {
                    for (pixel, &sum) in sums.iter().enumerate() {
                        let out = std::slice::from_raw_parts_mut(out.add(pixel * self.out_c), self.channels);
                        L::store_first(out, L::activate(self.activation, sum));
                    }
                } else {
                    self.activation.with(
                        #[inline(always)]
                        |activation| {
                            for (pixel, &sum) in sums.iter().enumerate() {
                                L::store(out.add(pixel * self.out_c), L::activate(activation, sum));
                            }
                        },
                    );
                }
            }
            values = values.wrapping_add(P * STRIDE * self.pixel_len);
            out = out.wrapping_add(P * self.out_c);
        }
        (self.values, self.out) = (values, out);
    }

    /// Bias and sums of products of a tile, from `values` on. As many rows as the window has are in `rows`, in a slice so that the
    /// loop over them stays one. With a stride of 1, columns come before taps, so that each is loaded once.
    ///
    /// # Safety
    /// As [`DepthwiseStrip::run`].
    #[inline(always)]
    unsafe fn sums<L: LanesF32, const P: usize, const SIZE: usize, const STRIDE: usize, const LAYOUT: u8>(
        &self,
        values: *const f32,
    ) -> [L::V; P] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [L::load(self.bias); P];
            let mut taps = self.taps;
            for &row in self.rows {
                let mut value = values.add(row);
                let mut w = [sums[0]; SIZE];
                for w in &mut w {
                    *w = L::load(taps);
                    taps = taps.add(self.taps_step);
                }
                if STRIDE == 1 {
                    for column in 0..P + SIZE - 1 {
                        let x = self.value::<L, LAYOUT>(value);
                        value = value.wrapping_add(self.pixel_len);
                        for (kx, &w) in w.iter().enumerate() {
                            if column >= kx && column - kx < P {
                                sums[column - kx] = L::fma(x, w, sums[column - kx]);
                            }
                        }
                    }
                } else {
                    for (pixel, sum) in sums.iter_mut().enumerate() {
                        for (kx, &w) in w.iter().enumerate() {
                            let at = value.wrapping_add((pixel * STRIDE + kx) * self.pixel_len);
                            let x = self.value::<L, LAYOUT>(at);
                            *sum = L::fma(x, w, *sum);
                        }
                    }
                }
            }
            sums
        }
    }

    /// The vector's channels of a pixel.
    ///
    /// # Safety
    /// As [`DepthwiseStrip::run`].
    #[inline(always)]
    unsafe fn value<L: LanesF32, const LAYOUT: u8>(&self, at: *const f32) -> L::V {
        // SAFETY: the caller's promise.
        unsafe { if LAYOUT == layout::PART { L::load_first(at, self.channels) } else { L::load(at) } }
    }
}
