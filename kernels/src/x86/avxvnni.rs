//! int8 convolution as a matrix product, AVX-VNNI: 6 output pixels by 16 channels in 12 registers of i32 sums.
//!
//! As the AVX-512 kernel, on 256 bits: `vpdpbusd` multiplies activations as they are, four at a time.

use std::arch::x86_64::*;

use super::add_u8::add_to_u8;
use super::epilogue::store_u8;
use super::tiles::{by_shape, gemm_sums};
use crate::Isa;
use crate::conv::vector::{AddTo, Band, GemmU8, GemmU8Kernel, Panel, Part, Tile, TileShape};
use crate::conv::{KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;

/// Pixels of a tile of two blocks, channels of a block, and products an instruction sums.
const MR: usize = 6;
const NR: usize = 8;
const KR: usize = 4;

pub(crate) static GEMM_U8_AVX_VNNI: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-6x16-avxvnni",
        op: KernelOp::ConvU8,
        isa: Isa::AvxVnni,
        mr: MR,
        nr: 2 * NR,
        kr: KR,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers; 10x8 where there are few channels",
        accepts: |conv| !conv.is_depthwise(),
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<AvxVnni>::new(conv, weights, requantize)),
};

struct AvxVnni;

impl GemmU8Kernel for AvxVnni {
    type X = u8;
    const MR: usize = MR;
    const NR: usize = NR;
    const ADD_TO: AddTo = add_to_u8;
    const KR: usize = KR;
    const SHAPES: &'static [TileShape] = &[TileShape { blocks: 2, pixels: MR }, TileShape { blocks: 1, pixels: 10 }];
    /// A part of a second-level cache of 1 MB or more.
    const BAND_BYTES: usize = 192 << 10;

    #[target_feature(enable = "avx2,fma,avxvnni")]
    unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [u8], out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "avx2,fma,avxvnni")]
    #[inline]
    unsafe fn panel(gemm: &GemmU8<Self>, rows: &[u8], band: Band, panel: &Panel, out: &SharedMut<u8>) {
        for tile in gemm.tiles(band) {
            by_shape!(outputs(gemm, rows, &tile, panel, out), [1: 1 2 3 4 5 6 7 8 9 10, 2: 1 2 3 4 5 6])
        }
    }
}

/// Not inlined: the many shapes would make one function of `panel`.
///
/// # Safety
/// As [`GemmU8Kernel::panel`]; the tile is one of the band and has `MR` pixels and the panel `NB` blocks.
#[target_feature(enable = "avx2,fma,avxvnni")]
#[inline(never)]
unsafe fn outputs<const MR: usize, const NB: usize>(
    gemm: &GemmU8<AvxVnni>,
    rows: &[u8],
    tile: &Tile,
    panel: &Panel,
    out: &SharedMut<u8>,
) {
    // SAFETY: the caller's promise.
    let sums = unsafe { sums::<MR, NB>(gemm, rows, tile, panel) };
    for (pixel, sums) in sums.iter().enumerate() {
        let indexes = [panel.constants, panel.constants + (NB - 1) * NR];
        let groups = gemm.epilogue.outputs(indexes, [sums[0], sums[NB - 1]]);
        let bytes = _mm_shuffle_epi32::<0b11_01_10_00>(groups);
        // SAFETY: the caller's promise; each pixel's part is used once.
        store_u8(bytes, unsafe { gemm.out_part(out, tile, pixel, panel) });
    }
}

gemm_sums!(
    "avx2,fma,avxvnni",
    GemmU8<AvxVnni>,
    u8,
    __m256i,
    KR,
    |gemm, index| gemm.epilogue.start(index),
    // SAFETY: 32 bytes of weights, as `gemm_sums` says; the load needs no alignment.
    |weight| unsafe { _mm256_loadu_si256(weight.cast()) },
    // SAFETY: four bytes of a window, as `gemm_sums` says; the read needs no alignment.
    |at| _mm256_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() }),
    |sum, x, w| _mm256_dpbusd_avx_epi32(sum, x, w)
);
