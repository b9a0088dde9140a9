//! int8 convolution as a matrix product, NEON: 5 output pixels by 16 channels in 20 registers of i32 sums.
//!
//! A pair of activations is broadcast and multiplied with the pairs of weights of 8 channels to i16, whose pairs are added to
//! the sums of 4 channels. (`smlal` of i16 would need twice the multiplications.)

use std::arch::aarch64::*;

use super::add_u8::add_to_u8;
use super::stack;
use crate::Isa;
use crate::conv::vector::{AddTo, Band, GemmU8, GemmU8Kernel, Panel, Part, StackedRow, Tile, by_pixels};
use crate::conv::{Conv2d, KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;

/// Pixels and channels of a tile, and products an instruction pair sums.
const MR: usize = 5;
const NR: usize = 16;
const KR: usize = 2;

pub(crate) static GEMM_U8_NEON: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-5x16-neon",
        op: KernelOp::ConvU8,
        isa: Isa::Neon,
        mr: MR,
        nr: NR,
        kr: KR,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<Neon>::new(conv, weights, requantize)),
};

struct Neon;

impl GemmU8Kernel for Neon {
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

    #[target_feature(enable = "neon")]
    unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [i8], out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn panel(gemm: &GemmU8<Self>, rows: &[i8], band: Band, panel: &Panel, out: &SharedMut<u8>) {
        for tile in gemm.tiles(band) {
            by_pixels!(outputs(gemm, rows, &tile, panel, out), [1 2 3 4 5], 4 or 2)
        }
    }
}

/// # Safety
/// As [`GemmU8Kernel::panel`]; the tile is one of the band and has `MR` pixels.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn outputs<const MR: usize, const NV: usize>(
    gemm: &GemmU8<Neon>,
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
#[target_feature(enable = "neon")]
#[inline]
unsafe fn sums<const MR: usize, const NV: usize>(
    gemm: &GemmU8<Neon>,
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
        for k in (run..run + run_len).step_by(KR) {
            // SAFETY: the panel's weights have `NR * KR` bytes, two vectors, for each of the `run_len / KR` pairs of
            // each run; `NV / 2` is at most 2.
            let w: [int8x16_t; NV] = std::array::from_fn(|v| unsafe { vld1q_s8(weight.add(v / 2 * 16)) });
            // SAFETY: as above; one past the end after the last pair.
            weight = unsafe { weight.add(NR * KR) };
            for pixel in 0..MR {
                // SAFETY: a pair of a run of this window, which `windows` says is in `rows`; it needs no alignment.
                let x = unsafe { pixels[pixel].add(k).cast::<i16>().read_unaligned() };
                let x = vreinterpretq_s8_s16(vdupq_n_s16(x));
                for v in (0..NV).step_by(2) {
                    let low = vmull_s8(vget_low_s8(w[v]), vget_low_s8(x));
                    sums[pixel][v] = vpadalq_s16(sums[pixel][v], low);
                    sums[pixel][v + 1] = vpadalq_s16(sums[pixel][v + 1], vmull_high_s8(w[v], x));
                }
            }
        }
    }
    sums
}
