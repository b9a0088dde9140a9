//! f32 depthwise convolution, AVX2 and FMA: 4 output pixels by 8 channels, reading the input in place.
//!
//! Taps in the padding are left out, pixel by pixel at the borders; each output is one chain of fused multiply-adds over
//! its taps, whatever the tile.

use std::arch::x86_64::*;
use std::ops::Range;

use super::epilogue::{activate, load_f32, mask, store_f32};
use crate::conv::{Activation, Bands, Conv2d, F32Kernel, KernelInfo, KernelOp, PackedF32};
use crate::{AlignedBuf, Isa, Team};

/// Pixels and channels of a tile.
const MR: usize = 4;
const NR: usize = 8;

pub(crate) static DEPTHWISE_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-depthwise-4x8-avx2",
        op: KernelOp::ConvF32,
        isa: Isa::Avx2,
        mr: MR,
        nr: NR,
        kr: 1,
        serves: "depthwise convolutions with any kernel, stride and padding",
        accepts: Conv2d::is_depthwise,
    },
    pack: |conv, weights, bias, activation| Box::new(DepthwiseF32::new(conv, weights, bias, activation)),
};

struct DepthwiseF32 {
    conv: Conv2d,
    /// `[block of NR channels][tap][NR]`, zeros where there is no weight.
    weights: AlignedBuf<f32>,
    bias: AlignedBuf<f32>,
    activation: Activation,
    /// Output rows of a task.
    task_rows: usize,
}

/// The taps of a row of outputs that lie inside the input, and where that row is.
#[derive(Clone, Copy)]
struct Row<'a> {
    input: &'a [f32],
    /// First input row of the window; negative in the padding.
    top: isize,
    /// First and past the last kernel row inside the input.
    kernel_rows: (usize, usize),
    /// First channel of the block.
    channel: usize,
}

impl DepthwiseF32 {
    fn new(conv: &Conv2d, weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        let taps = conv.kernel[0] * conv.kernel[1];
        let channels = conv.in_c.next_multiple_of(NR);
        let mut packed = AlignedBuf::new(channels * taps);
        for (index, out) in packed.iter_mut().enumerate() {
            let (channel, tap) = (index / (NR * taps) * NR + index % NR, index / NR % taps);
            *out = weights.get(channel * taps + tap).copied().unwrap_or(0.0);
        }
        let mut padded = AlignedBuf::new(channels);
        padded[..bias.len()].copy_from_slice(bias);
        let task_rows = Bands::new(conv, conv.in_c, size_of::<f32>(), usize::MAX).out_rows(0).len();
        Self { conv: *conv, weights: packed, bias: padded, activation, task_rows }
    }

    /// # Safety
    /// The CPU has AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn rows(&self, first: usize, input: &[f32], out: &mut [f32]) {
        let conv = &self.conv;
        for (index, out) in out.chunks_exact_mut(conv.out_w() * conv.out_c).enumerate() {
            let (start, end) = inside(conv, 0, first + index);
            let top = ((first + index) * conv.stride[0]) as isize - conv.padding[0] as isize;
            for channel in (0..conv.in_c).step_by(NR) {
                let row = Row { input, top, kernel_rows: (start, end), channel };
                self.row(row, out);
            }
        }
    }

    /// One block of channels of a row of outputs.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn row(&self, row: Row, out: &mut [f32]) {
        let whole = 0..self.conv.kernel[1];
        let mut x = 0;
        while x < self.conv.out_w() {
            let (start, end) = inside(&self.conv, 1, x);
            let four = x + MR <= self.conv.out_w() && (start..end) == whole;
            if four && inside(&self.conv, 1, x + MR - 1) == (whole.start, whole.end) {
                self.tile::<MR>(row, x, whole.clone(), out);
                x += MR;
            } else {
                self.tile::<1>(row, x, start..end, out);
                x += 1;
            }
        }
    }

    /// `MR` outputs from column `x` on, over these kernel columns.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn tile<const MR: usize>(&self, row: Row, x: usize, columns: Range<usize>, out: &mut [f32]) {
        let conv = &self.conv;
        let taps = conv.kernel[0] * conv.kernel[1];
        let weights = &self.weights[row.channel * taps..][..NR * taps];
        let channels = (conv.in_c - row.channel).min(NR);
        let lanes = mask(channels);
        let mut sums = [load_f32(&self.bias, row.channel); MR];
        for ky in row.kernel_rows.0..row.kernel_rows.1 {
            // Not negative, as these kernel rows and columns are inside the input.
            let y = (row.top + ky as isize) as usize;
            for kx in columns.clone() {
                let w = load_f32(weights, (ky * conv.kernel[1] + kx) * NR);
                for (pixel, sum) in sums.iter_mut().enumerate() {
                    let column = (x + pixel) * conv.stride[1] + kx - conv.padding[1];
                    let values = &row.input[(y * conv.in_w + column) * conv.in_c + row.channel..][..channels];
                    let values = if channels == NR {
                        load_f32(values, 0)
                    } else {
                        // SAFETY: the mask selects the slice's elements alone; masked lanes are not accessed.
                        unsafe { _mm256_maskload_ps(values.as_ptr(), lanes) }
                    };
                    *sum = _mm256_fmadd_ps(values, w, *sum);
                }
            }
        }
        for (pixel, sum) in sums.iter().enumerate() {
            let out = &mut out[(x + pixel) * conv.out_c + row.channel..][..channels];
            store_f32(activate(self.activation, *sum), out);
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

impl PackedF32 for DepthwiseF32 {
    fn scratch_len(&self) -> usize {
        0
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    fn run(&self, input: &[f32], output: &mut [f32], _: &mut [f32], team: &Team) {
        let task_len = self.task_rows * self.conv.out_w() * self.conv.out_c;
        team.run_chunks(output, task_len, |task, out| {
            // SAFETY: `ConvF32::new` checked that the CPU has AVX2 and FMA.
            unsafe { self.rows(task * self.task_rows, input, out) }
        });
    }
}
