//! f32 convolution as a matrix product, NEON: 8 output pixels by 8 channels in 16 registers.

use std::arch::aarch64::*;

use super::epilogue::{activate, load_f32, load_first_f32, store_f32};
use crate::Isa;
use crate::conv::vector::{Band, GemmF32, GemmF32Kernel, Outputs, Panel, Part, Tile, by_pixels};
use crate::conv::{F32Kernel, KernelInfo, KernelOp};

/// Pixels and channels of a tile.
const MR: usize = 8;
const NR: usize = 8;

pub(crate) static GEMM_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-gemm-8x8-neon",
        op: KernelOp::ConvF32,
        isa: Isa::Neon,
        mr: MR,
        nr: NR,
        kr: 1,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, bias, activation| Box::new(GemmF32::<Neon>::new(conv, weights, bias, activation)),
};

struct Neon;

impl GemmF32Kernel for Neon {
    const MR: usize = MR;
    const NR: usize = NR;

    #[target_feature(enable = "neon")]
    unsafe fn part(gemm: &GemmF32<Self>, part: &Part, input: &[f32], rows: &mut [f32], out: &Outputs<f32>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn panel(gemm: &GemmF32<Self>, rows: &[f32], band: Band, panel: &Panel, out: &Outputs<f32>) {
        for tile in gemm.tiles(band) {
            by_pixels!(outputs(gemm, rows, &tile, panel, out), [1 2 3 4 5 6 7 8], 2 or 1)
        }
    }
}

/// # Safety
/// As [`GemmF32Kernel::panel`]; the tile is one of the band and has `MR` pixels.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn outputs<const MR: usize, const NV: usize>(
    gemm: &GemmF32<Neon>,
    rows: &[f32],
    tile: &Tile,
    panel: &Panel,
    out: &Outputs<f32>,
) {
    // SAFETY: the caller's promise.
    let sums = unsafe { sums::<MR, NV>(gemm, rows, tile, panel) };
    for (pixel, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise; each pixel's part is used once.
        let (out, residual) = unsafe { gemm.out_part(out, tile, pixel, panel) };
        let mut residual = residual.map(|residual| residual.chunks(4));
        for (&sums, out) in sums.iter().zip(out.chunks_mut(4)) {
            let residual = residual.as_mut().and_then(Iterator::next);
            let sums = residual.map_or(sums, |residual| vaddq_f32(sums, load_first_f32(residual)));
            store_f32(activate(gemm.activation, sums), out);
        }
    }
}

/// Bias and sums of products, before the activation.
///
/// # Safety
/// As [`outputs`].
#[target_feature(enable = "neon")]
#[inline]
unsafe fn sums<const MR: usize, const NV: usize>(
    gemm: &GemmF32<Neon>,
    rows: &[f32],
    tile: &Tile,
    panel: &Panel,
) -> [[float32x4_t; NV]; MR] {
    let run_len = gemm.panels.run_len;
    // SAFETY: the caller's promise.
    let pixels = unsafe { gemm.windows::<MR>(rows, tile, panel) };
    let mut weight = gemm.weights(panel).as_ptr();
    let bias: [float32x4_t; NV] = std::array::from_fn(|v| load_f32(&gemm.bias, panel.constants + v * 4));
    let mut sums = [bias; MR];
    for &run in &gemm.panels.runs {
        let (mut k, end) = (run, run + run_len);
        while k + 4 <= end {
            // SAFETY: 4 elements of a run of this window, which `windows` says is in `rows`.
            let x: [float32x4_t; MR] = std::array::from_fn(|pixel| unsafe { vld1q_f32(pixels[pixel].add(k)) });
            // SAFETY: four of the `run_len` elements of this run, in turn.
            unsafe {
                step::<0, MR, NV>(&mut sums, x, &mut weight);
                step::<1, MR, NV>(&mut sums, x, &mut weight);
                step::<2, MR, NV>(&mut sums, x, &mut weight);
                step::<3, MR, NV>(&mut sums, x, &mut weight);
            }
            k += 4;
        }
        for k in k..end {
            // SAFETY: an element of a run of this window, which `windows` says is in `rows`.
            let x: [float32x4_t; MR] = std::array::from_fn(|pixel| unsafe { vld1q_dup_f32(pixels[pixel].add(k)) });
            // SAFETY: the next of the `run_len` elements of this run.
            unsafe { step::<0, MR, NV>(&mut sums, x, &mut weight) };
        }
    }
    sums
}

/// Adds the products of one element a pixel, that in lane `LANE`, and moves on to the next element's weights.
///
/// # Safety
/// `weight` points to `NR` weights, and `NV` is at most 2.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn step<const LANE: i32, const MR: usize, const NV: usize>(
    sums: &mut [[float32x4_t; NV]; MR],
    x: [float32x4_t; MR],
    weight: &mut *const f32,
) {
    // SAFETY: the two vectors of the element's weights.
    let w: [float32x4_t; NV] = std::array::from_fn(|v| unsafe { vld1q_f32(weight.add(v * 4)) });
    // SAFETY: at most one past the end of the weights.
    *weight = unsafe { weight.add(NR) };
    for pixel in 0..MR {
        for v in 0..NV {
            sums[pixel][v] = vfmaq_laneq_f32::<LANE>(sums[pixel][v], w[v], x[pixel]);
        }
    }
}
