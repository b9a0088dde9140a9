//! f32 depthwise convolution, reading the input in place: tasks, packed weights and tiles, over the vectors of an instruction set.
//!
//! Taps in the padding are left out, pixel by pixel at the borders; each output is one chain of fused multiply-adds over
//! its taps, whatever the tile.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Bands, DepthwiseStrip, LanesF32, layout};
use crate::conv::{Activation, Conv2d, InputRows, PackedF32, RowKernel};
use crate::{AlignedBuf, Team};

/// What an instruction set adds to [`DepthwiseF32`]: functions that have its instructions.
pub(crate) trait DepthwiseF32Kernel: Send + Sync + Sized + 'static {
    /// Its vectors.
    type Lanes: LanesF32;

    /// [`DepthwiseF32::rows_body`].
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn rows(this: &DepthwiseF32<Self>, first: usize, input: InputRows<f32>, out: &mut [f32]);

    /// [`DepthwiseStrip::run`], in a function of its own: inlined side by side, tiles of all sizes would leave no registers to
    /// each other.
    ///
    /// # Safety
    /// Those of [`DepthwiseStrip::run`].
    unsafe fn strip<const P: usize, const SIZE: usize, const STRIDE: usize, const LAYOUT: u8>(
        strip: &mut DepthwiseStrip,
    );
}

/// The descriptor `$static` of a depthwise kernel `$name` on these vectors.
macro_rules! depthwise_kernel {
    ($static:ident, $kernel:ident, $isa:ident, $name:literal, $features:literal, $lanes:ident) => {
        pub(crate) static $static: F32Kernel = F32Kernel {
            info: KernelInfo {
                name: $name,
                op: KernelOp::ConvF32,
                isa: Isa::$isa,
                mr: DepthwiseF32::<$kernel>::MR,
                nr: DepthwiseF32::<$kernel>::NR,
                kr: 1,
                residual: false,
                serves: "depthwise convolutions with any kernel, stride and padding",
                accepts: Conv2d::is_depthwise,
            },
            pack: |conv, weights, bias, activation| {
                Box::new(DepthwiseF32::<$kernel>::new(conv, weights, bias, activation))
            },
        };

        struct $kernel;

        impl DepthwiseF32Kernel for $kernel {
            type Lanes = $lanes;

            #[target_feature(enable = $features)]
            unsafe fn rows(this: &DepthwiseF32<Self>, first: usize, input: InputRows<f32>, out: &mut [f32]) {
                // SAFETY: the caller's promise.
                unsafe { this.rows_body(first, input, out) }
            }

            #[target_feature(enable = $features)]
            #[inline(never)]
            unsafe fn strip<const P: usize, const SIZE: usize, const STRIDE: usize, const LAYOUT: u8>(
                strip: &mut DepthwiseStrip,
            ) {
                // SAFETY: the caller's promise.
                unsafe { strip.run::<$lanes, P, SIZE, STRIDE, LAYOUT>() }
            }
        }
    };
}
pub(crate) use depthwise_kernel;

/// A depthwise convolution packed for the kernel `K`.
pub(crate) struct DepthwiseF32<K: DepthwiseF32Kernel> {
    conv: Conv2d,
    /// `[vector of channels][tap][channel]`, zeros where there is no weight.
    weights: AlignedBuf<f32>,
    bias: AlignedBuf<f32>,
    activation: Activation,
    /// Output columns whose windows lie inside the input.
    inner: Range<usize>,
    /// Output rows of a task.
    task_rows: usize,
    kernel: PhantomData<fn() -> K>,
}

/// A vector of channels of a row of outputs.
struct Row<'a> {
    input: &'a [f32],
    /// Where the window's first row lies among those of the input; negative above it.
    top: isize,
    /// First and past the last kernel row inside the input.
    kernel_rows: (usize, usize),
    /// First channel, and the number of channels.
    channel: usize,
    channels: usize,
}

impl<K: DepthwiseF32Kernel> DepthwiseF32<K> {
    /// Most pixels of a tile, and channels of a vector.
    pub(crate) const MR: usize = 8;
    pub(crate) const NR: usize = K::Lanes::LANES;

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
        let whole = |x: &usize| inside(conv, 1, *x) == (0, conv.kernel[1]);
        let first = (0..conv.out_w()).find(whole).unwrap_or(0);
        let end = (first..conv.out_w()).find(|x| !whole(x)).unwrap_or(conv.out_w());
        Self {
            conv: *conv,
            weights: packed,
            bias: padded,
            activation,
            inner: first..end,
            task_rows: Bands::new(conv, conv.in_c, size_of::<f32>(), usize::MAX).rows(),
            kernel: PhantomData,
        }
    }

    /// What [`DepthwiseF32Kernel::rows`] does: the output rows from `first` on.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    #[inline(always)]
    pub(crate) unsafe fn rows_body(&self, first: usize, input: InputRows<f32>, out: &mut [f32]) {
        let conv = &self.conv;
        for (index, out) in out.chunks_exact_mut(conv.out_w() * conv.out_c).enumerate() {
            let kernel_rows = inside(conv, 0, first + index);
            let top = ((first + index) * conv.stride[0]) as isize - (conv.padding[0] + input.first) as isize;
            for channel in (0..conv.in_c).step_by(Self::NR) {
                let channels = (conv.in_c - channel).min(Self::NR);
                let row = Row { input: input.values, top, kernel_rows, channel, channels };
                // SAFETY: the caller's promise.
                unsafe { self.row(&row, out) }
            }
        }
    }

    /// # Safety
    /// The CPU has the instruction set.
    #[inline(always)]
    unsafe fn row(&self, row: &Row, out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe {
            let inner = self.inner.start..self.inner.start + self.strips(row, out);
            for x in (0..inner.start).chain(inner.end..self.conv.out_w()) {
                self.pixel(row, x, out);
            }
        }
    }

    /// The outputs of windows whose columns lie inside the input, in tiles: how many there are, 0 where tiles do not fit.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    #[inline(always)]
    unsafe fn strips(&self, row: &Row, out: &mut [f32]) -> usize {
        let conv = &self.conv;
        // Tiles that compute few pixels twice, or larger ones.
        let fitting = [8, 7, 4].into_iter().filter(|&pixels| pixels <= self.inner.len());
        let pixels = fitting.min_by_key(|&pixels| self.inner.len().next_multiple_of(pixels) + 8 - pixels);
        // SAFETY: the caller's promise.
        unsafe {
            match (pixels, conv.kernel, conv.stride) {
                (Some(pixels), [3, 3], [1, 1]) => self.tiles::<3, 1>(row, pixels, out),
                (Some(pixels), [3, 3], [2, 2]) => self.tiles::<3, 2>(row, pixels, out),
                (Some(pixels), [5, 5], [1, 1]) => self.tiles::<5, 1>(row, pixels, out),
                (Some(pixels), [5, 5], [2, 2]) => self.tiles::<5, 2>(row, pixels, out),
                _ => return 0,
            }
        }
        self.inner.len()
    }

    /// [`DepthwiseF32::strips`] for a window of `SIZE` and a stride, in tiles of so many pixels. The last tile is as large as the
    /// others and computes some pixels twice.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn tiles<const SIZE: usize, const STRIDE: usize>(&self, row: &Row, pixels: usize, out: &mut [f32]) {
        let (conv, (ky, ky_end), len) = (&self.conv, row.kernel_rows, self.inner.len());
        let (left, mut rows) = (self.inner.start * STRIDE - conv.padding[1], [0; SIZE]);
        for (offset, ky) in rows.iter_mut().zip(ky..ky_end) {
            // Not negative, as these kernel rows are inside the input.
            *offset = ((row.top + ky as isize) as usize * conv.in_w + left) * conv.in_c + row.channel;
        }
        let reach = ((len - 1) * STRIDE + SIZE - 1) * conv.in_c + row.channels;
        // The last row is the furthest: what tiles read unchecked, and write.
        assert!(ky == ky_end || rows[ky_end - ky - 1] + reach <= row.input.len());
        let out = &mut out[self.inner.start * conv.out_c + row.channel..][..(len - 1) * conv.out_c + row.channels];
        let taps = &self.weights[row.channel * SIZE * SIZE..][ky * SIZE * Self::NR..ky_end * SIZE * Self::NR];
        let (values, out) = (row.input.as_ptr(), out.as_mut_ptr());
        // Whole tiles from the first pixel on, and one that ends with the last.
        for (first, tiles) in [(0, len / pixels), (len - pixels, usize::from(!len.is_multiple_of(pixels)))] {
            let mut strip = DepthwiseStrip {
                tiles,
                values: values.wrapping_add(first * STRIDE * conv.in_c),
                rows: &rows[..ky_end - ky],
                pixel_len: conv.in_c,
                taps: taps.as_ptr(),
                taps_step: Self::NR,
                bias: self.bias[row.channel..][..Self::NR].as_ptr(),
                activation: self.activation,
                out: out.wrapping_add(first * conv.out_c),
                channels: row.channels,
                out_c: conv.out_c,
            };
            // SAFETY: the caller's promise; the tiles' windows and outputs are within what was checked above, and a vector with
            // fewer channels is said to be a part.
            unsafe {
                match (pixels, row.channels == Self::NR) {
                    (8, true) => K::strip::<8, SIZE, STRIDE, { layout::WHOLE }>(&mut strip),
                    (7, true) => K::strip::<7, SIZE, STRIDE, { layout::WHOLE }>(&mut strip),
                    (_, true) => K::strip::<4, SIZE, STRIDE, { layout::WHOLE }>(&mut strip),
                    (8, false) => K::strip::<8, SIZE, STRIDE, { layout::PART }>(&mut strip),
                    (7, false) => K::strip::<7, SIZE, STRIDE, { layout::PART }>(&mut strip),
                    (_, false) => K::strip::<4, SIZE, STRIDE, { layout::PART }>(&mut strip),
                }
            }
        }
    }

    /// The output in column `x`, of any window, be it cut by the borders or not.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    #[inline(always)]
    unsafe fn pixel(&self, row: &Row, x: usize, out: &mut [f32]) {
        let (conv, columns) = (&self.conv, inside(&self.conv, 1, x));
        let taps = &self.weights[row.channel * conv.kernel[0] * conv.kernel[1]..];
        // SAFETY: the caller's promise; slices are as long as what is read.
        unsafe {
            let mut sum = K::Lanes::load(self.bias[row.channel..][..Self::NR].as_ptr());
            for ky in row.kernel_rows.0..row.kernel_rows.1 {
                for kx in columns.0..columns.1 {
                    // Neither is negative, as these taps are inside the input.
                    let pixel =
                        (row.top + ky as isize) as usize * conv.in_w + x * conv.stride[1] + kx - conv.padding[1];
                    let value = &row.input[pixel * conv.in_c + row.channel..][..row.channels];
                    let tap = &taps[(ky * conv.kernel[1] + kx) * Self::NR..][..Self::NR];
                    let value = if row.channels == Self::NR {
                        K::Lanes::load(value.as_ptr())
                    } else {
                        K::Lanes::load_first(value.as_ptr(), row.channels)
                    };
                    sum = K::Lanes::fma(value, K::Lanes::load(tap.as_ptr()), sum);
                }
            }
            let out = &mut out[x * conv.out_c + row.channel..][..row.channels];
            K::Lanes::store_first(out, K::Lanes::activate(self.activation, sum));
        }
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

    fn run(&self, input: &[f32], _: Option<&[f32]>, output: &mut [f32], _: &mut [f32], team: &Team) {
        let task_len = self.task_rows * self.conv.out_w() * self.conv.out_c;
        team.run_chunks(output, task_len, |task, out| {
            // SAFETY: `ConvF32::new` checked that the CPU has the instruction set.
            unsafe { K::rows(self, task * self.task_rows, InputRows { first: 0, values: input }, out) }
        });
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<f32>> {
        Some(self)
    }
}

impl<K: DepthwiseF32Kernel> RowKernel<f32> for DepthwiseF32<K> {
    fn scratch_len(&self) -> usize {
        0
    }

    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, f32>,
        _: Option<&[f32]>,
        output: &mut [f32],
        _: &mut [f32],
    ) {
        // SAFETY: `ConvF32::new` checked that the CPU has the instruction set.
        unsafe { K::rows(self, rows.start, input, output) }
    }
}
