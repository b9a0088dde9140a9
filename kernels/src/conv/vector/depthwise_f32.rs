//! f32 depthwise convolution, reading the input in place: tasks and packed weights; the tiles are an instruction set's.
//!
//! Taps in the padding are left out, pixel by pixel at the borders; each output is one chain of fused multiply-adds over
//! its taps, whatever the tile.

use std::marker::PhantomData;

use super::Bands;
use crate::conv::{Activation, Conv2d, PackedF32};
use crate::{AlignedBuf, Team};

/// What an instruction set adds to [`DepthwiseF32`].
pub(crate) trait DepthwiseF32Kernel: Send + Sync + Sized + 'static {
    /// Channels of a vector; a block has two vectors.
    const LANES: usize;

    /// [`DepthwiseF32::rows_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn rows(this: &DepthwiseF32<Self>, first: usize, input: &[f32], out: &mut [f32]);

    /// `MR` outputs from column `x` on, over these kernel columns (first and past the last); `NV` vectors of channels, all
    /// of them `FULL` or not.
    ///
    /// # Safety
    /// The CPU has the instruction set; `NV` vectors hold the row's channels, and where `FULL` no more.
    unsafe fn tile<const MR: usize, const NV: usize, const FULL: bool>(
        this: &DepthwiseF32<Self>,
        row: Row,
        x: usize,
        columns: (usize, usize),
        out: &mut [f32],
    );
}

/// A depthwise convolution packed for the kernel `K`.
pub(crate) struct DepthwiseF32<K: DepthwiseF32Kernel> {
    pub(crate) conv: Conv2d,
    /// `[block of channels][tap][channel]`, zeros where there is no weight.
    weights: AlignedBuf<f32>,
    pub(crate) bias: AlignedBuf<f32>,
    pub(crate) activation: Activation,
    /// Output rows of a task.
    task_rows: usize,
    kernel: PhantomData<fn() -> K>,
}

/// A block of channels of a row of outputs.
#[derive(Clone, Copy)]
pub(crate) struct Row<'a> {
    input: &'a [f32],
    /// First input row of the window; negative in the padding.
    top: isize,
    /// First and past the last kernel row inside the input.
    pub(crate) kernel_rows: (usize, usize),
    /// First channel of the block, and the number of its channels, up to `NR`.
    pub(crate) channel: usize,
    pub(crate) channels: usize,
}

impl<K: DepthwiseF32Kernel> DepthwiseF32<K> {
    /// Pixels of a tile, and channels of a block.
    pub(crate) const MR: usize = 4;
    pub(crate) const NR: usize = 2 * K::LANES;

    pub(crate) fn new(conv: &Conv2d, weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        let taps = conv.kernel[0] * conv.kernel[1];
        let channels = conv.in_c.next_multiple_of(Self::NR);
        let mut packed = AlignedBuf::new(channels * taps);
        for (index, out) in packed.iter_mut().enumerate() {
            let (channel, tap) = (index / (Self::NR * taps) * Self::NR + index % Self::NR, index / Self::NR % taps);
            *out = weights.get(channel * taps + tap).copied().unwrap_or(0.0);
        }
        let mut padded = AlignedBuf::new(channels);
        padded[..bias.len()].copy_from_slice(bias);
        let task_rows = Bands::new(conv, conv.in_c, size_of::<f32>(), usize::MAX).out_rows(0).len();
        Self { conv: *conv, weights: packed, bias: padded, activation, task_rows, kernel: PhantomData }
    }

    /// What [`DepthwiseF32Kernel::rows`] does: the output rows from `first` on.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn rows_body(&self, first: usize, input: &[f32], out: &mut [f32]) {
        let conv = &self.conv;
        for (index, out) in out.chunks_exact_mut(conv.out_w() * conv.out_c).enumerate() {
            let kernel_rows = inside(conv, 0, first + index);
            let top = ((first + index) * conv.stride[0]) as isize - conv.padding[0] as isize;
            for channel in (0..conv.in_c).step_by(Self::NR) {
                let channels = (conv.in_c - channel).min(Self::NR);
                let row = Row { input, top, kernel_rows, channel, channels };
                // SAFETY: one vector holds up to `LANES` channels, two hold `NR`; both are full where said so.
                unsafe {
                    if channels == Self::NR {
                        self.row::<2, true>(row, out);
                    } else if channels > K::LANES {
                        self.row::<2, false>(row, out);
                    } else if channels == K::LANES {
                        self.row::<1, true>(row, out);
                    } else {
                        self.row::<1, false>(row, out);
                    }
                }
            }
        }
    }

    /// # Safety
    /// As [`DepthwiseF32Kernel::tile`].
    #[inline(always)]
    unsafe fn row<const NV: usize, const FULL: bool>(&self, row: Row, out: &mut [f32]) {
        let whole = (0, self.conv.kernel[1]);
        let mut x = 0;
        while x < self.conv.out_w() {
            let columns = inside(&self.conv, 1, x);
            let last = x + Self::MR - 1;
            // SAFETY: the caller's promise.
            unsafe {
                if columns == whole && last < self.conv.out_w() && inside(&self.conv, 1, last) == whole {
                    K::tile::<4, NV, FULL>(self, row, x, columns, out);
                    x += Self::MR;
                } else {
                    K::tile::<1, NV, FULL>(self, row, x, columns, out);
                    x += 1;
                }
            }
        }
    }

    /// The values that kernel row `ky` reads over these kernel columns, for `pixels` outputs from column `x` on: from
    /// `tap * in_c + pixel * stride * in_c` on there are `row.channels` for every tap and pixel, as the length is that of
    /// the last ones.
    #[inline(always)]
    pub(crate) fn values<'a>(
        &self,
        row: &Row<'a>,
        ky: usize,
        x: usize,
        pixels: usize,
        columns: (usize, usize),
    ) -> &'a [f32] {
        let conv = &self.conv;
        // Neither is negative, as these kernel rows and columns are inside the input.
        let y = (row.top + ky as isize) as usize;
        let left = x * conv.stride[1] + columns.0 - conv.padding[1];
        let steps = (columns.1 - columns.0).max(1) - 1 + (pixels - 1) * conv.stride[1];
        &row.input[(y * conv.in_w + left) * conv.in_c + row.channel..][..steps * conv.in_c + row.channels]
    }

    /// The weights of kernel row `ky` over these kernel columns, `NR` a tap.
    #[inline(always)]
    pub(crate) fn weights(&self, row: &Row, ky: usize, columns: (usize, usize)) -> &[f32] {
        let taps = self.conv.kernel[0] * self.conv.kernel[1];
        let first = row.channel * taps + (ky * self.conv.kernel[1] + columns.0) * Self::NR;
        &self.weights[first..][..(columns.1 - columns.0) * Self::NR]
    }
}

/// First and past the last kernel row (`axis` 0) or column (1) inside the input, at output position `at`.
#[inline(always)]
fn inside(conv: &Conv2d, axis: usize, at: usize) -> (usize, usize) {
    let size = [conv.in_h, conv.in_w][axis] + conv.padding[axis];
    let start = at * conv.stride[axis];
    let first = conv.padding[axis].saturating_sub(start).min(conv.kernel[axis]);
    (first, conv.kernel[axis].min(size.saturating_sub(start)).max(first))
}

impl<K: DepthwiseF32Kernel> PackedF32 for DepthwiseF32<K> {
    fn scratch_len(&self) -> usize {
        0
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    fn run(&self, input: &[f32], output: &mut [f32], _: &mut [f32], team: &Team) {
        let task_len = self.task_rows * self.conv.out_w() * self.conv.out_c;
        team.run_chunks(output, task_len, |task, out| {
            // SAFETY: `ConvF32::new` checked that the CPU has the instruction set.
            unsafe { K::rows(self, task * self.task_rows, input, out) }
        });
    }
}
