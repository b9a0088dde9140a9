//! int8 convolution as a matrix product, NEON with matrix instructions: 6 output pixels by 16 channels in 24 registers of i32
//! sums.
//!
//! `smmla` multiplies eight activations of two pixels with those of two channels, to a 2x2 matrix of sums.

use std::arch::aarch64::*;
use std::arch::asm;

use super::add_u8::add_to_u8;
use super::stack;
use crate::Isa;
use crate::conv::vector::{AddTo, Band, GemmU8, GemmU8Kernel, Panel, Part, StackedRow, Tile, by_pixels};
use crate::conv::{Conv2d, KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;

/// Pixels and channels of a tile, and products an instruction sums.
const MR: usize = 6;
const NR: usize = 16;
const KR: usize = 8;

pub(crate) static GEMM_U8_I8MM: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-6x16-neon-i8mm",
        op: KernelOp::ConvU8,
        isa: Isa::NeonI8mm,
        mr: MR,
        nr: NR,
        kr: KR,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<NeonI8mm>::new(conv, weights, requantize)),
};

struct NeonI8mm;

impl GemmU8Kernel for NeonI8mm {
    type X = i8;
    const MR: usize = MR;
    const NR: usize = NR;
    const ADD_TO: AddTo = add_to_u8;
    const KR: usize = KR;
    /// A part of a 256 KB second-level cache.
    const BAND_BYTES: usize = 64 << 10;

    fn stacks(conv: &Conv2d) -> bool {
        stack::stacks(conv, KR)
    }

    unsafe fn stack(row: &StackedRow<i8>, out: &mut [i8]) {
        // SAFETY: the caller's promise.
        unsafe { stack::stack(row, out) }
    }

    #[target_feature(enable = "neon,dotprod,i8mm")]
    unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [i8], out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "neon,dotprod,i8mm")]
    #[inline]
    unsafe fn panel(gemm: &GemmU8<Self>, rows: &[i8], band: Band, panel: &Panel, out: &SharedMut<u8>) {
        for tile in gemm.tiles(band) {
            by_pixels!(outputs(gemm, rows, &tile, panel, out), [1 2 3 4 5 6], 4 or 2)
        }
    }
}

/// # Safety
/// As [`GemmU8Kernel::panel`]; the tile is one of the band and has `MR` pixels.
#[target_feature(enable = "neon,dotprod,i8mm")]
#[inline]
unsafe fn outputs<const MR: usize, const NV: usize>(
    gemm: &GemmU8<NeonI8mm>,
    rows: &[i8],
    tile: &Tile,
    panel: &Panel,
    out: &SharedMut<u8>,
) {
    // SAFETY: the caller's promise.
    let pixels = unsafe { gemm.windows::<MR>(rows, tile, panel) };
    let start = gemm.epilogue.start::<NV>(panel.constants);
    // SAFETY: the windows are these pixels', and an odd last one stands in for its missing neighbour.
    unsafe {
        let pair = |index: usize| [pixels[index * 2], pixels[(index * 2 + 1).min(MR - 1)]];
        match MR.div_ceil(2) {
            1 => finish(gemm, tile, panel, out, sums(gemm, panel, start, [pair(0)])),
            2 => finish(gemm, tile, panel, out, sums(gemm, panel, start, [pair(0), pair(1)])),
            _ => finish(gemm, tile, panel, out, sums(gemm, panel, start, [pair(0), pair(1), pair(2)])),
        }
    }
}

/// The rest of the epilogue, for a tile's pixels in pairs.
///
/// # Safety
/// No other task has the tile and panel.
#[target_feature(enable = "neon,dotprod,i8mm")]
#[inline]
unsafe fn finish<const PAIRS: usize, const NV: usize>(
    gemm: &GemmU8<NeonI8mm>,
    tile: &Tile,
    panel: &Panel,
    out: &SharedMut<u8>,
    sums: [[Square; NV]; PAIRS],
) {
    for (pair, squares) in sums.iter().enumerate() {
        for row in 0..2 {
            let pixel = pair * 2 + row;
            if pixel < tile.len {
                let sums = std::array::from_fn(|v| squares[v].row(row));
                // SAFETY: the caller's promise; each pixel's part is used once.
                gemm.epilogue.store::<NV>(panel.constants, sums, unsafe { gemm.out_part(out, tile, pixel, panel) });
            }
        }
    }
}

/// Sums of two pixels and four channels: two 2x2 matrices, each the first pixel's two sums and then the second's.
#[derive(Clone, Copy)]
struct Square([int32x4_t; 2]);

impl Square {
    /// Both pixels start with the same sums.
    #[target_feature(enable = "neon")]
    #[inline]
    fn new(start: int32x4_t) -> Self {
        let start = vreinterpretq_s64_s32(start);
        Self([vreinterpretq_s32_s64(vzip1q_s64(start, start)), vreinterpretq_s32_s64(vzip2q_s64(start, start))])
    }

    /// The four sums of the first (0) or second pixel.
    #[target_feature(enable = "neon")]
    #[inline]
    fn row(&self, row: usize) -> int32x4_t {
        let [a, b] = self.0.map(|half| vreinterpretq_s64_s32(half));
        vreinterpretq_s32_s64(if row == 0 { vzip1q_s64(a, b) } else { vzip2q_s64(a, b) })
    }
}

/// Sums of products and the bias, before the rest of the epilogue, of pairs of windows.
///
/// # Safety
/// The CPU has the matrix instructions; the windows are such as [`GemmU8::windows`] returns for this panel.
#[target_feature(enable = "neon,dotprod,i8mm")]
#[inline]
unsafe fn sums<const PAIRS: usize, const NV: usize>(
    gemm: &GemmU8<NeonI8mm>,
    panel: &Panel,
    start: [int32x4_t; NV],
    pairs: [[*const i8; 2]; PAIRS],
) -> [[Square; NV]; PAIRS] {
    let run_len = gemm.panels.run_len;
    let mut weight = gemm.weights(panel).as_ptr();
    let mut sums = [std::array::from_fn(|v| Square::new(start[v])); PAIRS];
    for &run in &gemm.panels.runs {
        for k in (run..run + run_len).step_by(KR) {
            // SAFETY: 8 elements of a run of each window, which `windows` says is in `rows`.
            let x: [int8x16_t; PAIRS] = std::array::from_fn(|p| unsafe {
                vcombine_s8(vld1_s8(pairs[p][0].add(k)), vld1_s8(pairs[p][1].add(k)))
            });
            for v in 0..NV {
                for half in 0..2 {
                    // SAFETY: the panel's weights have `NR * KR` bytes, 8 vectors, for each of the `run_len / KR` groups
                    // of each run; `NV` is at most 4.
                    let w = unsafe { vld1q_s8(weight.add((v * 2 + half) * 16)) };
                    for (sums, &x) in sums.iter_mut().zip(&x) {
                        sums[v].0[half] = smmla(sums[v].0[half], x, w);
                    }
                }
            }
            // SAFETY: as above; one past the end after the last group.
            weight = unsafe { weight.add(NR * KR) };
        }
    }
    sums
}

/// Adds to the 2x2 matrix of sums the product of `x` (two rows of eight) and `w` (two columns of eight).
#[target_feature(enable = "neon,i8mm")]
#[inline]
pub(super) fn smmla(mut sums: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: an instruction on registers alone, which the function's features include.
    unsafe {
        asm!("smmla {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sums, in(vreg) x, in(vreg) w,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}
