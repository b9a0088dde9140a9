//! f32 convolution as a matrix product, AVX2 and FMA: 6 output pixels by 16 channels in 12 registers.

use std::arch::x86_64::*;

use super::epilogue::{activate, load_f32, store_f32};
use crate::Isa;
use crate::conv::vector::{GemmF32, GemmF32Kernel, Panel, Tile, by_pixels};
use crate::conv::{F32Kernel, KernelInfo, KernelOp};
use crate::shared::SharedMut;

/// Pixels and channels of a tile.
const MR: usize = 6;
const NR: usize = 16;

pub(crate) static GEMM_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-gemm-6x16-avx2",
        op: KernelOp::ConvF32,
        isa: Isa::Avx2,
        mr: MR,
        nr: NR,
        kr: 1,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, bias, activation| Box::new(GemmF32::<Avx2>::new(conv, weights, bias, activation)),
};

struct Avx2;

impl GemmF32Kernel for Avx2 {
    const MR: usize = MR;
    const NR: usize = NR;

    #[target_feature(enable = "avx2,fma")]
    unsafe fn task(gemm: &GemmF32<Self>, task: usize, input: &[f32], rows: &SharedMut<f32>, out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.task_body(task, input, rows, out) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile(gemm: &GemmF32<Self>, rows: &[f32], tile: &Tile, panel: &Panel, out: &SharedMut<f32>) {
        by_pixels!(outputs(gemm, rows, tile, panel, out), [1 2 3 4 5 6], 2 or 1)
    }
}

/// # Safety
/// As [`GemmF32Kernel::tile`]; the tile has `MR` pixels.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn outputs<const MR: usize, const NV: usize>(
    gemm: &GemmF32<Avx2>,
    rows: &[f32],
    tile: &Tile,
    panel: &Panel,
    out: &SharedMut<f32>,
) {
    // SAFETY: the caller's promise.
    let sums = unsafe { sums::<MR, NV>(gemm, rows, tile, panel) };
    for (pixel, sums) in sums.iter().enumerate() {
        // SAFETY: the caller's promise; each pixel's part is used once.
        let out = unsafe { gemm.out_part(out, tile, pixel, panel) };
        for (sums, out) in sums.iter().zip(out.chunks_mut(8)) {
            store_f32(activate(gemm.activation, *sums), out);
        }
    }
}

/// Bias and sums of products, before the activation.
///
/// # Safety
/// As [`outputs`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn sums<const MR: usize, const NV: usize>(
    gemm: &GemmF32<Avx2>,
    rows: &[f32],
    tile: &Tile,
    panel: &Panel,
) -> [[__m256; NV]; MR] {
    let run_len = gemm.panels.run_len;
    // SAFETY: the caller's promise.
    let pixels = unsafe { gemm.windows::<MR>(rows, tile, panel) };
    let mut weight = gemm.weights(panel).as_ptr();
    let bias: [__m256; NV] = std::array::from_fn(|v| load_f32(&gemm.bias, panel.constants + v * 8));
    let mut sums = [bias; MR];
    for &run in &gemm.panels.runs {
        for k in run..run + run_len {
            // SAFETY: the panel's weights have `NR` values for each of the `run_len` elements of each run.
            let w: [__m256; NV] = std::array::from_fn(|v| unsafe { _mm256_load_ps(weight.add(v * 8)) });
            // SAFETY: as above; one past the end after the last element.
            weight = unsafe { weight.add(NR) };
            for pixel in 0..MR {
                // SAFETY: an element of a run of this window, which `windows` says is in `rows`.
                let x = _mm256_set1_ps(unsafe { *pixels[pixel].add(k) });
                for v in 0..NV {
                    sums[pixel][v] = _mm256_fmadd_ps(x, w[v], sums[pixel][v]);
                }
            }
        }
    }
    sums
}
