//! The products of bytes that most weights of a convolution are too large for, with both factors widened to i16: 5 output pixels by 16
//! channels in 10 registers of i32 sums.
//!
//! Activations are widened by the task; one instruction broadcasts a pair of them. Weights are widened when loaded.

use std::arch::x86_64::*;

use super::super::add_u8::add_to_u8;
use super::super::epilogue::store_u8;
use crate::conv::vector::{AddTo, Band, GemmU8, GemmU8Kernel, Panel, Part, Tile, by_pixels};
use crate::conv::{KernelInfo, KernelOp, PackedU8, RowKernel, U8Kernel};
use crate::shared::SharedMut;
use crate::{Isa, Team};

/// Pixels, channels of a tile, and products an instruction sums. A sixth pixel would need all 16 registers, and the
/// compiler then keeps some sums in memory: 1.6 times slower.
const MR: usize = 5;
const NR: usize = 16;
const KR: usize = 2;

pub(crate) static WIDENED_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-5x16-avx2",
        op: KernelOp::ConvU8,
        isa: Isa::Avx2,
        mr: MR,
        nr: NR,
        kr: KR,
        residual: true,
        serves: "the same, where most weights are large",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(Widened(GemmU8::<Avx2>::new(conv, weights, requantize))),
};

struct Avx2;

/// Tells its own name where [`GEMM_U8`](super::GEMM_U8) was asked for.
struct Widened(GemmU8<Avx2>);

impl PackedU8 for Widened {
    fn info(&self) -> Option<&'static KernelInfo> {
        Some(&WIDENED_U8.info)
    }

    fn scratch_bytes(&self) -> usize {
        self.0.scratch_bytes()
    }

    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }

    fn run(&self, input: &[u8], residual: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team) {
        self.0.run(input, residual, output, scratch, team);
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        self.0.row_kernel()
    }
}

impl GemmU8Kernel for Avx2 {
    type X = i16;
    const MR: usize = MR;
    const NR: usize = NR;
    const ADD_TO: AddTo = add_to_u8;
    const KR: usize = KR;
    /// A part of a 256 KB or larger second-level cache.
    const BAND_BYTES: usize = 96 << 10;

    #[target_feature(enable = "avx2,fma")]
    unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [i16], out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn panel(gemm: &GemmU8<Self>, rows: &[i16], band: Band, panel: &Panel, out: &SharedMut<u8>) {
        for tile in gemm.tiles(band) {
            by_pixels!(outputs(gemm, rows, &tile, panel, out), [1 2 3 4 5], 2 or 1)
        }
    }
}

/// # Safety
/// As [`GemmU8Kernel::panel`]; the tile is one of the band and has `MR` pixels.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn outputs<const MR: usize, const NV: usize>(
    gemm: &GemmU8<Avx2>,
    rows: &[i16],
    tile: &Tile,
    panel: &Panel,
    out: &SharedMut<u8>,
) {
    // SAFETY: the caller's promise.
    let sums = unsafe { sums::<MR, NV>(gemm, rows, tile, panel) };
    for (pixel, sums) in sums.iter().enumerate() {
        let indexes = [panel.constants, panel.constants + (NV - 1) * 8];
        let groups = gemm.epilogue.outputs(indexes, [sums[0], sums[NV - 1]]);
        let bytes = _mm_shuffle_epi32::<0b11_01_10_00>(groups);
        // SAFETY: the caller's promise; each pixel's part is used once.
        store_u8(bytes, unsafe { gemm.out_part(out, tile, pixel, panel) });
    }
}

/// Sums of products and the bias, before the rest of the epilogue.
///
/// # Safety
/// As [`outputs`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn sums<const MR: usize, const NV: usize>(
    gemm: &GemmU8<Avx2>,
    rows: &[i16],
    tile: &Tile,
    panel: &Panel,
) -> [[__m256i; NV]; MR] {
    let run_len = gemm.panels.run_len;
    // SAFETY: the caller's promise.
    let pixels = unsafe { gemm.windows::<MR>(rows, tile, panel) };
    let mut weight = gemm.weights(panel).as_ptr();
    let start: [__m256i; NV] = std::array::from_fn(|v| gemm.epilogue.start(panel.constants + v * 8));
    let mut sums = [start; MR];
    for &run in &gemm.panels.runs {
        for k in (run..run + run_len).step_by(KR) {
            // SAFETY: the panel's weights have `NR * KR` bytes for each of the `run_len / KR` pairs of each run.
            let w: [__m256i; NV] =
                std::array::from_fn(|v| unsafe { _mm256_cvtepi8_epi16(_mm_load_si128(weight.add(v * 16).cast())) });
            // SAFETY: as above; one past the end after the last pair.
            weight = unsafe { weight.add(NR * KR) };
            for pixel in 0..MR {
                // SAFETY: a pair of a run of this window, which `windows` says is in `rows`; the read needs no alignment.
                let x = _mm256_set1_epi32(unsafe { pixels[pixel].add(k).cast::<i32>().read_unaligned() });
                for v in 0..NV {
                    sums[pixel][v] = _mm256_add_epi32(sums[pixel][v], _mm256_madd_epi16(x, w[v]));
                }
            }
        }
    }
    sums
}
