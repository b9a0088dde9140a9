//! Convolution as a matrix product, AVX-512: up to 6 blocks of 16 channels by up to 10 output pixels.
//!
//! Three kernels share one loop: int8 by `vpdpbusd`, int8 by `vpmaddwd` on i16, and f32. One instruction broadcasts a
//! pixel's next activations (four, two, one) to all lanes; it meets a vector of weights of each block.

use std::arch::x86_64::*;

use super::super::tiles::{by_shape, gemm_sums};
use super::epilogue::{LANES, activate, load_f32, store_f32};
use crate::Isa;
use crate::conv::vector::{GemmF32, GemmF32Kernel, GemmU8, GemmU8Kernel, Panel, Tile, TileShape};
use crate::conv::{F32Kernel, KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;

/// Channels of a block.
const NR: usize = LANES;

/// Most pixels of a tile of any shape.
const MR: usize = 10;

/// Shapes whose sums, weights of one step and broadcast activations fit 32 registers, and whose pointers to pixels fit the
/// general ones. In prototypes on a Zen 5, those from 3x8 to 6x4 were alike, and better than narrow ones; 4x7 spilled. Where
/// two suit a layer equally, the first is taken.
const SHAPES: &[TileShape] = &[
    TileShape { blocks: 4, pixels: 6 },
    TileShape { blocks: 5, pixels: 5 },
    TileShape { blocks: 6, pixels: 4 },
    TileShape { blocks: 3, pixels: 8 },
    TileShape { blocks: 2, pixels: 10 },
    TileShape { blocks: 1, pixels: 10 },
];

/// Calls `outputs` for a tile and panel of any of [`SHAPES`]. In an unsafe function, whose promise must be that of `outputs`.
macro_rules! outputs_by_shape {
    ($gemm:expr, $rows:expr, $tile:expr, $panel:expr, $out:expr) => {
        by_shape!(outputs($gemm, $rows, $tile, $panel, $out), [
            1: 1 2 3 4 5 6 7 8 9 10, 2: 1 2 3 4 5 6 7 8 9 10, 3: 1 2 3 4 5 6 7 8,
            4: 1 2 3 4 5 6, 5: 1 2 3 4 5, 6: 1 2 3 4
        ])
    };
}

/// Defines an int8 kernel by the arguments of `gemm_sums`.
macro_rules! gemm_u8 {
    ($kernel:ident, $features:literal, $x:ty, $kr:expr, $($step:tt)*) => {
        impl GemmU8Kernel for $kernel {
            type X = $x;
            const MR: usize = MR;
            const NR: usize = NR;
            const KR: usize = $kr;
            const SHAPES: &'static [TileShape] = SHAPES;
            /// A part of a second-level cache of 1 MB or more.
            const BAND_BYTES: usize = 192 << 10;

            #[target_feature(enable = $features)]
            unsafe fn task(gemm: &GemmU8<Self>, task: usize, input: &[u8], rows: &SharedMut<$x>, out: &SharedMut<u8>) {
                // SAFETY: the caller's promise.
                unsafe { gemm.task_body(task, input, rows, out) }
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn tile(gemm: &GemmU8<Self>, rows: &[$x], tile: &Tile, panel: &Panel, out: &SharedMut<u8>) {
                outputs_by_shape!(gemm, rows, tile, panel, out)
            }
        }

        /// Not inlined: the many shapes would make one function of `tile`.
        ///
        /// # Safety
        /// As [`GemmU8Kernel::tile`]; the tile has `MR` pixels and the panel `NB` blocks.
        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn outputs<const MR: usize, const NB: usize>(
            gemm: &GemmU8<$kernel>,
            rows: &[$x],
            tile: &Tile,
            panel: &Panel,
            out: &SharedMut<u8>,
        ) {
            // SAFETY: the caller's promise.
            let sums = unsafe { sums::<MR, NB>(gemm, rows, tile, panel) };
            for (pixel, sums) in sums.into_iter().enumerate() {
                // SAFETY: the caller's promise; each pixel's part is used once.
                gemm.epilogue.store_blocks(panel.constants, sums, unsafe { gemm.out_part(out, tile, pixel, panel) });
            }
        }

        gemm_sums!($features, GemmU8<$kernel>, $x, __m512i, $kr, |gemm, index| gemm.epilogue.start16(index), $($step)*);
    };
}

pub(crate) static GEMM_U8_VNNI: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-6x64-avx512vnni",
        op: KernelOp::ConvU8,
        isa: Isa::Avx512Vnni,
        mr: 6,
        nr: 4 * NR,
        kr: 4,
        serves: "dense, pointwise and grouped convolutions, linear layers; other tiles from 10x16 to 4x96 where they fit better",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<vnni::Avx512Vnni>::new(conv, weights, requantize)),
};

/// int8 by `vpdpbusd`, on the activations as they are.
mod vnni {
    use super::*;

    pub(super) struct Avx512Vnni;

    gemm_u8!(
        Avx512Vnni,
        "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni",
        u8,
        4,
        // SAFETY: 64 bytes of weights, as `gemm_sums` says; the load needs no alignment.
        |weight| unsafe { _mm512_loadu_si512(weight.cast()) },
        // SAFETY: four bytes of a window, as `gemm_sums` says; the read needs no alignment.
        |at| _mm512_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() }),
        |sum, x, w| _mm512_dpbusd_epi32(sum, x, w)
    );
}

pub(crate) static GEMM_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-6x64-avx512",
        op: KernelOp::ConvU8,
        isa: Isa::Avx512,
        mr: 6,
        nr: 4 * NR,
        kr: 2,
        serves: "dense, pointwise and grouped convolutions, linear layers; other tiles from 10x16 to 4x96 where they fit better",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<widening::Avx512>::new(conv, weights, requantize)),
};

/// int8 by `vpmaddwd`, on activations and weights widened to i16.
mod widening {
    use super::*;

    pub(super) struct Avx512;

    gemm_u8!(
        Avx512,
        "avx512f,avx512bw,avx512vl,avx512dq",
        i16,
        2,
        // SAFETY: 32 bytes of weights, as `gemm_sums` says; the load needs no alignment.
        |weight| _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(weight.cast()) }),
        // SAFETY: two activations of a window, as `gemm_sums` says; the read needs no alignment.
        |at| _mm512_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() }),
        |sum, x, w| _mm512_add_epi32(sum, _mm512_madd_epi16(x, w))
    );
}

pub(crate) static GEMM_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-gemm-6x64-avx512",
        op: KernelOp::ConvF32,
        isa: Isa::Avx512,
        mr: 6,
        nr: 4 * NR,
        kr: 1,
        serves: "dense, pointwise and grouped convolutions, linear layers; other tiles from 10x16 to 4x96 where they fit better",
        accepts: |_| true,
    },
    pack: |conv, weights, bias, activation| Box::new(GemmF32::<float::Avx512>::new(conv, weights, bias, activation)),
};

mod float {
    use super::*;

    pub(super) struct Avx512;

    impl GemmF32Kernel for Avx512 {
        const MR: usize = MR;
        const NR: usize = NR;
        const SHAPES: &'static [TileShape] = SHAPES;

        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        unsafe fn task(gemm: &GemmF32<Self>, task: usize, input: &[f32], rows: &SharedMut<f32>, out: &SharedMut<f32>) {
            // SAFETY: the caller's promise.
            unsafe { gemm.task_body(task, input, rows, out) }
        }

        #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
        #[inline]
        unsafe fn panel(gemm: &GemmF32<Self>, rows: &[f32], band: usize, panel: &Panel, out: &SharedMut<f32>) {
            for tile in gemm.tiles(band) {
                outputs_by_shape!(gemm, rows, &tile, panel, out)
            }
        }
    }

    /// Not inlined: the many shapes would make one function of `panel`.
    ///
    /// # Safety
    /// As [`GemmF32Kernel::panel`]; the tile is one of the band and has `MR` pixels, the panel `NB` blocks.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline(never)]
    unsafe fn outputs<const MR: usize, const NB: usize>(
        gemm: &GemmF32<Avx512>,
        rows: &[f32],
        tile: &Tile,
        panel: &Panel,
        out: &SharedMut<f32>,
    ) {
        // SAFETY: the caller's promise.
        let sums = unsafe { sums::<MR, NB>(gemm, rows, tile, panel) };
        for (pixel, sums) in sums.iter().enumerate() {
            // SAFETY: the caller's promise; each pixel's part is used once.
            let out = unsafe { gemm.out_part(out, tile, pixel, panel) };
            for (sums, out) in sums.iter().zip(out.chunks_mut(LANES)) {
                store_f32(activate(gemm.activation, *sums), out);
            }
        }
    }

    gemm_sums!(
        "avx512f,avx512bw,avx512vl,avx512dq",
        GemmF32<Avx512>,
        f32,
        __m512,
        1,
        |gemm, index| load_f32(&gemm.bias, index),
        // SAFETY: 16 weights, as `gemm_sums` says; the load needs no alignment.
        |weight| unsafe { _mm512_loadu_ps(weight) },
        // SAFETY: an element of a window, as `gemm_sums` says.
        |at| _mm512_set1_ps(unsafe { *at }),
        |sum, x, w| _mm512_fmadd_ps(x, w, sum)
    );
}
