//! f32 depthwise convolution, AVX2 and FMA: 4 output pixels by 16 channels, reading the input in place.
//!
//! Taps in the padding are left out, pixel by pixel at the borders; each output is one chain of fused multiply-adds over
//! its taps, whatever the tile.

use std::arch::x86_64::*;

use super::epilogue::{activate, load_f32, mask, store_f32};
use crate::conv::{Activation, Bands, Conv2d, F32Kernel, KernelInfo, KernelOp, PackedF32};
use crate::{AlignedBuf, Isa, Team};

/// Pixels and channels of a tile.
const MR: usize = 4;
const NR: usize = 16;

pub(crate) static DEPTHWISE_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-depthwise-4x16-avx2",
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

/// A block of channels of a row of outputs.
#[derive(Clone, Copy)]
struct Row<'a> {
    input: &'a [f32],
    /// First input row of the window; negative in the padding.
    top: isize,
    /// First and past the last kernel row inside the input.
    kernel_rows: (usize, usize),
    /// First channel of the block, and the number of its channels, up to `NR`.
    channel: usize,
    channels: usize,
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
                let channels = (conv.in_c - channel).min(NR);
                let row = Row { input, top, kernel_rows: (start, end), channel, channels };
                match channels {
                    NR => self.row::<2, true>(row, out),
                    8 => self.row::<1, true>(row, out),
                    9.. => self.row::<2, false>(row, out),
                    _ => self.row::<1, false>(row, out),
                }
            }
        }
    }

    /// A row of `NV` vectors of channels, all of them `FULL` or not.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn row<const NV: usize, const FULL: bool>(&self, row: Row, out: &mut [f32]) {
        let whole = (0, self.conv.kernel[1]);
        let mut x = 0;
        while x < self.conv.out_w() {
            let columns = inside(&self.conv, 1, x);
            let last = x + MR - 1;
            if columns == whole && last < self.conv.out_w() && inside(&self.conv, 1, last) == whole {
                self.tile::<MR, NV, FULL>(row, x, columns, out);
                x += MR;
            } else {
                self.tile::<1, NV, FULL>(row, x, columns, out);
                x += 1;
            }
        }
    }

    /// `MR` outputs from column `x` on, over these kernel columns (first and past the last).
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn tile<const MR: usize, const NV: usize, const FULL: bool>(
        &self,
        row: Row,
        x: usize,
        columns: (usize, usize),
        out: &mut [f32],
    ) {
        let conv = &self.conv;
        let taps = conv.kernel[0] * conv.kernel[1];
        let weights = &self.weights[row.channel * taps..][..NR * taps];
        let lanes: [__m256i; NV] = std::array::from_fn(|v| mask(row.channels.saturating_sub(v * 8)));
        let bias: [__m256; NV] = std::array::from_fn(|v| load_f32(&self.bias, row.channel + v * 8));
        let mut sums = [bias; MR];
        let step = conv.stride[1] * conv.in_c;
        for ky in row.kernel_rows.0..row.kernel_rows.1 {
            // Neither is negative, as these kernel rows and columns are inside the input.
            let y = (row.top + ky as isize) as usize;
            let left = x * conv.stride[1] + columns.0 - conv.padding[1];
            // The values of these kernel columns, of all pixels.
            let len = ((columns.1 - columns.0).max(1) - 1) * conv.in_c + (MR - 1) * step + row.channels;
            let values = &row.input[(y * conv.in_w + left) * conv.in_c + row.channel..][..len];
            let weights = &weights[(ky * conv.kernel[1] + columns.0) * NR..][..(columns.1 - columns.0) * NR];
            for (tap, weights) in weights.chunks_exact(NR).enumerate() {
                let w: [__m256; NV] = std::array::from_fn(|v| load_f32(weights, v * 8));
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    for v in 0..NV {
                        // SAFETY: `values` has `row.channels` elements from `tap * in_c + pixel * step` on, as its length
                        // is that of the last tap and pixel; a full block has all of `NV * 8`, else the mask
                        // selects those that there are, and masked lanes are not accessed.
                        let x = unsafe {
                            let pointer = values.as_ptr().add(tap * conv.in_c + pixel * step + v * 8);
                            if FULL { _mm256_loadu_ps(pointer) } else { _mm256_maskload_ps(pointer, lanes[v]) }
                        };
                        sums[v] = _mm256_fmadd_ps(x, w[v], sums[v]);
                    }
                }
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            let out = &mut out[(x + pixel) * conv.out_c + row.channel..][..row.channels];
            for (sums, out) in sums.iter().zip(out.chunks_mut(8)) {
                store_f32(activate(self.activation, *sums), out);
            }
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
