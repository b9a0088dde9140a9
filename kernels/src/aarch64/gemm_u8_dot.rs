//! int8 convolution as a matrix product, NEON with dot products: 5 output pixels by 16 channels in 20 registers of i32 sums.
//!
//! `sdot` multiplies four activations of a pixel, a lane of a register, with those of four channels.

use std::arch::aarch64::*;
use std::arch::asm;

use super::add_u8::add_to_u8;
use super::stack;
use crate::Isa;
use crate::conv::vector::{AddTo, Band, GemmU8, GemmU8Kernel, Panel, Part, StackedRow, Tile, by_pixels};
use crate::conv::{Conv2d, KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;

/// Pixels and channels of a tile, and products an instruction sums.
const MR: usize = 5;
const NR: usize = 16;
const KR: usize = 4;

pub(crate) static GEMM_U8_DOT: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-5x16-neon-dot",
        op: KernelOp::ConvU8,
        isa: Isa::NeonDot,
        mr: MR,
        nr: NR,
        kr: KR,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<NeonDot>::new(conv, weights, requantize)),
};

struct NeonDot;

impl GemmU8Kernel for NeonDot {
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

    #[target_feature(enable = "neon,dotprod")]
    unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [i8], out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline]
    unsafe fn panel(gemm: &GemmU8<Self>, rows: &[i8], band: Band, panel: &Panel, out: &SharedMut<u8>) {
        for tile in gemm.tiles(band) {
            by_pixels!(outputs(gemm, rows, &tile, panel, out), [1 2 3 4 5], 4 or 2)
        }
    }
}

/// # Safety
/// As [`GemmU8Kernel::panel`]; the tile is one of the band and has `MR` pixels.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn outputs<const MR: usize, const NV: usize>(
    gemm: &GemmU8<NeonDot>,
    rows: &[i8],
    tile: &Tile,
    panel: &Panel,
    out: &SharedMut<u8>,
) {
    // SAFETY: the caller's promise.
    let sums = unsafe { sums::<MR, NV>(gemm, rows, tile, panel) };
    for (pixel, sums) in sums.into_iter().enumerate() {
        // SAFETY: the caller's promise; each pixel's part is used once.
        gemm.epilogue.store(panel.constants, sums, unsafe { gemm.out_part(out, tile, pixel, panel) });
    }
}

/// Sums of products and the bias, before the rest of the epilogue.
///
/// # Safety
/// As [`outputs`].
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn sums<const MR: usize, const NV: usize>(
    gemm: &GemmU8<NeonDot>,
    rows: &[i8],
    tile: &Tile,
    panel: &Panel,
) -> [[int32x4_t; NV]; MR] {
    let run_len = gemm.panels.run_len;
    // SAFETY: the caller's promise.
    let pixels = unsafe { gemm.windows::<MR>(rows, tile, panel) };
    let mut weight = gemm.weights(panel).as_ptr();
    let mut sums = [gemm.epilogue.start::<NV>(panel.constants); MR];
    for &run in &gemm.panels.runs {
        let (mut k, end) = (run, run + run_len);
        while k + 4 * KR <= end {
            // SAFETY: 16 elements of a run of this window, which `windows` says is in `rows`.
            let x: [int8x16_t; MR] = std::array::from_fn(|pixel| unsafe { vld1q_s8(pixels[pixel].add(k)) });
            // SAFETY: four of the `run_len / KR` groups of this run, in turn.
            unsafe {
                group::<0, MR, NV>(&mut sums, x, &mut weight);
                group::<1, MR, NV>(&mut sums, x, &mut weight);
                group::<2, MR, NV>(&mut sums, x, &mut weight);
                group::<3, MR, NV>(&mut sums, x, &mut weight);
            }
            k += 4 * KR;
        }
        while k < end {
            let x: [int8x16_t; MR] = std::array::from_fn(|pixel| {
                // SAFETY: 4 elements of a run, of which `run_len` is a multiple; the read needs no alignment.
                vreinterpretq_s8_s32(vdupq_n_s32(unsafe { pixels[pixel].add(k).cast::<i32>().read_unaligned() }))
            });
            // SAFETY: the next of the `run_len / KR` groups of this run.
            unsafe { group::<0, MR, NV>(&mut sums, x, &mut weight) };
            k += KR;
        }
    }
    sums
}

/// Adds the products of four activations a pixel, those in lane `LANE`, and moves on to the next group of weights.
///
/// # Safety
/// The CPU has the dot product instructions; `weight` points to a group of `NR * KR` weights, and `NV` is at most 4.
#[target_feature(enable = "neon,dotprod")]
#[inline]
unsafe fn group<const LANE: usize, const MR: usize, const NV: usize>(
    sums: &mut [[int32x4_t; NV]; MR],
    x: [int8x16_t; MR],
    weight: &mut *const i8,
) {
    // SAFETY: vectors of the group, which has four.
    let w: [int8x16_t; NV] = std::array::from_fn(|v| unsafe { vld1q_s8(weight.add(v * 16)) });
    for pixel in 0..MR {
        for v in 0..NV {
            sums[pixel][v] = sdot::<LANE>(sums[pixel][v], w[v], x[pixel]);
        }
    }
    // SAFETY: at most one past the end of the weights.
    *weight = unsafe { weight.add(NR * KR) };
}

/// Adds to each sum the products of four bytes of `w` with the four in lane `LANE` of `x`.
#[target_feature(enable = "neon,dotprod")]
#[inline]
pub(super) fn sdot<const LANE: usize>(mut sums: int32x4_t, w: int8x16_t, x: int8x16_t) -> int32x4_t {
    // SAFETY: an instruction on registers alone, which the function's features include.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.4b[{3}]", inout(vreg) sums, in(vreg) w, in(vreg) x, const LANE,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}
