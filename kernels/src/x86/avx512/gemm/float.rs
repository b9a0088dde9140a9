//! f32: one product a lane and step.

use std::arch::x86_64::*;

use super::super::super::epilogue::activate as activate_half;
use super::super::epilogue::{LANES, activate, mask};
use super::strip::{Layer, MAX_PIXELS, Strip, choose};
use super::{broadcast, by_shape, each, gemm_sums};
use crate::Isa;
use crate::conv::vector::{Band, GemmF32, GemmF32Kernel, Outputs, Panel, Part, Span, TileShape};
use crate::conv::{Activation, Conv2d, F32Kernel, KernelInfo, KernelOp};

pub(crate) static GEMM_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-gemm-6x64-avx512",
        op: KernelOp::ConvF32,
        isa: Isa::Avx512,
        mr: 6,
        nr: 4 * LANES,
        kr: 1,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers; other tiles from 12x16 to 4x96 where they fit better",
        accepts: |_| true,
    },
    pack: |conv, weights, bias, activation| Box::new(GemmF32::<Avx512>::new(conv, weights, bias, activation)),
};

struct Avx512;

impl GemmF32Kernel for Avx512 {
    const MR: usize = MAX_PIXELS;
    const NR: usize = LANES;

    fn shape(conv: &Conv2d, band: usize) -> TileShape {
        choose(conv, band, conv.terms())
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn part(gemm: &GemmF32<Self>, part: &Part, input: &[f32], rows: &mut [f32], out: &Outputs<f32>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    unsafe fn panel(gemm: &GemmF32<Self>, rows: &[f32], band: Band, panel: &Panel, out: &Outputs<f32>) {
        let layer = Layer { bands: &gemm.bands, panels: &gemm.panels, windows: &gemm.windows };
        let strip = Strip::new(&layer, (band, rows), (panel, gemm.weights(panel)), |start, len| out.span(start, len));
        let bias = gemm.bias[panel.constants..][..panel.blocks * LANES].as_ptr();
        // SAFETY: a strip of this shape, whose outputs no other task has; constants of as many blocks.
        by_shape!(strip, |MR, NB, H| unsafe { outputs::<MR, NB, H>(&strip, bias, gemm.activation) })
    }
}

/// The outputs of a strip. Not inlined: the many shapes would make one function of `panel`.
///
/// # Safety
/// The strip's tiles have `MR` pixels, `NB` blocks and `H` half blocks; `bias` has as many blocks; no other task has the strip's outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
#[inline(never)]
unsafe fn outputs<const MR: usize, const NB: usize, const H: usize>(
    strip: &Strip<f32, f32, Span<f32>>,
    bias: *const f32,
    activation: Activation,
) {
    for first in strip.tiles::<MR>() {
        // Read again for each tile: in registers all along they would leave too few to the sums.
        // SAFETY: as many blocks; the loads need no alignment.
        let start: [__m512; NB] = std::array::from_fn(|b| unsafe { _mm512_loadu_ps(bias.add(b * LANES)) });
        // SAFETY: as above.
        let half_start: [__m256; H] = std::array::from_fn(|_| unsafe { _mm256_loadu_ps(bias.add(NB * LANES)) });
        // SAFETY: a tile's pixels.
        let pixels = unsafe { strip.windows::<MR>(first) };
        // Weights are worth asking for early here: measured to help in the last layers of MobileNets by 3 to 5 %, and in int8 nowhere.
        // SAFETY: the caller's promise.
        let (mut sums, mut half_sums) =
            unsafe { sums::<MR, NB, H, true, Span<f32>>(strip, pixels, start, half_start, strip.ahead::<MR>(first)) };
        let Span { out, residual } = strip.out.from(first * strip.out_c);
        if let Some(residual) = residual {
            // SAFETY: what is added to the outputs of this tile.
            (sums, half_sums) = unsafe { add(strip, residual, sums, half_sums) };
        }
        // The activation is chosen outside of the loops: inside, the sums would be kept in memory.
        macro_rules! store {
            ($activation:expr) => {
                // SAFETY: the outputs of this tile.
                unsafe { store(strip, $activation, out, sums, half_sums) }
            };
        }
        match activation {
            Activation::None => store!(Activation::None),
            Activation::Relu => store!(Activation::Relu),
            Activation::Relu6 => store!(Activation::Relu6),
            Activation::Hardswish => store!(Activation::Hardswish),
        }
    }
}

/// The sums of a tile with what is added to them, from `residual` on.
///
/// # Safety
/// As [`outputs`]; `residual` is what is added to the tile's first output.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
#[inline]
unsafe fn add<const MR: usize, const NB: usize, const H: usize>(
    strip: &Strip<f32, f32, Span<f32>>,
    residual: *const f32,
    mut sums: [[__m512; NB]; MR],
    mut half_sums: [[__m256; H]; MR],
) -> ([[__m512; NB]; MR], [[__m256; H]; MR]) {
    // Of a panel's last block.
    let lanes = mask(strip.channels - (NB + H - 1) * LANES);
    each!(MR, |pixel| {
        let from = residual.wrapping_add(pixel * strip.out_c);
        // SAFETY: there is as much to add as there are outputs; a mask selects that of the last block.
        unsafe {
            each!(NB, |b| {
                let lanes = if b + 1 < NB + H { !0 } else { lanes };
                let x = _mm512_maskz_loadu_ps(lanes, from.add(b * LANES));
                sums[pixel][b] = _mm512_add_ps(sums[pixel][b], x);
            });
            if H > 0 {
                let x = _mm256_maskz_loadu_ps(lanes as __mmask8, from.add(NB * LANES));
                half_sums[pixel][0] = _mm256_add_ps(half_sums[pixel][0], x);
            }
        }
    });
    (sums, half_sums)
}

/// Stores a tile's outputs from `out` on.
///
/// # Safety
/// As [`outputs`]; `out` is the first of the tile's outputs.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
#[inline]
unsafe fn store<const MR: usize, const NB: usize, const H: usize>(
    strip: &Strip<f32, f32, Span<f32>>,
    activation: Activation,
    out: *mut f32,
    sums: [[__m512; NB]; MR],
    half_sums: [[__m256; H]; MR],
) {
    let whole = strip.whole();
    // Of a panel's last block.
    let lanes = mask(strip.channels - (NB + H - 1) * LANES);
    each!(MR, |pixel| {
        let out = out.wrapping_add(pixel * strip.out_c);
        // SAFETY: the channels of this pixel, of which there are so many; a mask selects those of the last block.
        unsafe {
            each!(NB, |b| {
                let value = activate(activation, sums[pixel][b]);
                if whole || b + 1 < NB + H {
                    _mm512_storeu_ps(out.add(b * LANES), value);
                } else {
                    _mm512_mask_storeu_ps(out.add(b * LANES), lanes, value);
                }
            });
            if H > 0 {
                let value = activate_half(activation, half_sums[pixel][0]);
                if whole {
                    _mm256_storeu_ps(out.add(NB * LANES), value);
                } else {
                    _mm256_mask_storeu_ps(out.add(NB * LANES), lanes as __mmask8, value);
                }
            }
        }
    });
}

gemm_sums!(
    "avx512f,avx512bw,avx512vl,avx512dq",
    f32,
    f32,
    __m512,
    __m256,
    1,
    // SAFETY: 16 weights, as `gemm_sums` says; the load needs no alignment.
    |weight| unsafe { _mm512_loadu_ps(weight) },
    // SAFETY: as above.
    |weight| unsafe { _mm256_loadu_ps(weight) },
    // SAFETY: an element of a window, as `gemm_sums` says.
    |at| _mm512_set1_ps(unsafe { *at }),
    |x| _mm512_castsi512_ps(x),
    |x| _mm512_castps512_ps256(x),
    |sum, x, w| _mm512_fmadd_ps(x, w, sum),
    |sum, x, w| _mm256_fmadd_ps(x, w, sum)
);
