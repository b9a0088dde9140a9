//! int8 convolution as a matrix product, AVX2: 5 output pixels by 16 channels in 10 registers of i32 sums.
//!
//! A task widens the padded input rows of its band to i16 once; every tap of every window is then a pair of values in a
//! row of that copy, which one instruction broadcasts. Weights stay bytes in memory and are widened when loaded.

use std::arch::x86_64::*;

use super::epilogue::{EpilogueU8, store_u8};
use crate::conv::{Bands, Conv2d, KernelInfo, KernelOp, PackedU8, Panel, Panels, Tile, U8Kernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Isa, Requantize, Team};

/// Pixels, channels of a tile, and products an instruction sums. A sixth pixel would need all 16 registers, and the
/// compiler then keeps some sums in memory: 1.6 times slower.
const MR: usize = 5;
const NR: usize = 16;
const KR: usize = 2;

/// Bytes of widened input that a task should stay near: a part of a 256 KB or larger second-level cache.
const BAND_BYTES: usize = 96 << 10;

pub(crate) static GEMM_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-5x16-avx2",
        op: KernelOp::ConvU8,
        isa: Isa::Avx2,
        mr: MR,
        nr: NR,
        kr: KR,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::new(conv, weights, &requantize)),
};

struct GemmU8 {
    bands: Bands,
    panels: Panels,
    weights: AlignedBuf<i8>,
    epilogue: EpilogueU8,
    padding: i16,
    /// Ranges of panels that tasks of one band share out.
    splits: usize,
    /// Elements of a task's widened rows; a multiple of a cache line.
    rows_len: usize,
}

impl GemmU8 {
    fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let bands = Bands::new(conv, conv.in_c, size_of::<i16>(), BAND_BYTES).align_to(MR);
        let panels = Panels::new(conv, bands.padded_w(), NR, KR);
        Self {
            weights: panels.pack(conv, weights),
            epilogue: EpilogueU8::new(requantize, |v| panels.constants(v), |v| panels.constants(v)),
            padding: i16::from(requantize.x_zero_point),
            splits: bands.splits(panels.count()),
            // A window's last run may be filled up to a pair.
            rows_len: (bands.padded_len() + KR).next_multiple_of(32),
            bands,
            panels,
        }
    }

    fn tasks(&self) -> usize {
        self.bands.count() * self.splits
    }

    /// # Safety
    /// The CPU has AVX2 and FMA. No two tasks of one run with the same number.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn task(&self, task: usize, input: &[u8], rows: &SharedMut<i16>, out: &SharedMut<u8>) {
        let (band, split) = (task / self.splits, task % self.splits);
        // SAFETY: each task has a part of its own, by its number.
        let rows = unsafe { rows.part(task * self.rows_len, self.rows_len) };
        self.bands.copy_padded(band, input, rows, self.padding, i16::from);
        let count = self.panels.count();
        for index in split * count / self.splits..(split + 1) * count / self.splits {
            let panel = self.panels.panel(index);
            for tile in self.bands.tiles(band, MR) {
                // SAFETY: `rows` are those of this band, and tasks differ in their band or their panels.
                unsafe { self.tile(rows, &tile, &panel, out) };
            }
        }
    }

    /// # Safety
    /// The CPU has AVX2 and FMA; `rows` are those of the tile's band; no other task has the tile and panel.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile(&self, rows: &[i16], tile: &Tile, panel: &Panel, out: &SharedMut<u8>) {
        macro_rules! run {
            ($($mr:literal)*) => {
                match (tile.len, panel.len > 8) {
                    // SAFETY: the caller's promise.
                    $(($mr, true) => unsafe { self.tile_of::<$mr, 2>(rows, tile, panel, out) },
                    // SAFETY: the caller's promise.
                    ($mr, false) => unsafe { self.tile_of::<$mr, 1>(rows, tile, panel, out) },)*
                    _ => unreachable!("tiles have 1 to {MR} pixels"),
                }
            };
        }
        run!(1 2 3 4 5);
    }

    /// # Safety
    /// As [`GemmU8::tile`]; the tile has `MR` pixels.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile_of<const MR: usize, const NV: usize>(
        &self,
        rows: &[i16],
        tile: &Tile,
        panel: &Panel,
        out: &SharedMut<u8>,
    ) {
        // SAFETY: the caller's promise.
        let sums = unsafe { self.sums::<MR, NV>(rows, tile, panel) };
        let (channels, conv) = (panel.len, &self.bands.conv);
        for (pixel, sums) in sums.iter().enumerate() {
            let indexes = [panel.constants, panel.constants + (NV - 1) * 8];
            let groups = self.epilogue.outputs(indexes, [sums[0], sums[NV - 1]]);
            let bytes = _mm_shuffle_epi32::<0b11_01_10_00>(groups);
            // SAFETY: these channels of this pixel belong to this tile and panel, which no other task has.
            let out = unsafe { out.part((tile.first + pixel) * conv.out_c + panel.channel, channels) };
            store_u8(bytes, out);
        }
    }

    /// Sums of products and the bias, before the rest of the epilogue.
    ///
    /// # Safety
    /// As [`GemmU8::tile_of`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn sums<const MR: usize, const NV: usize>(
        &self,
        rows: &[i16],
        tile: &Tile,
        panel: &Panel,
    ) -> [[__m256i; NV]; MR] {
        let run_len = self.panels.run_len;
        debug_assert!(tile.offsets[..MR].iter().all(|o| o + panel.input + self.panels.reach() <= rows.len()));
        let weights = &self.weights[panel.weights..][..self.panels.weights_len()];
        let mut weight = weights.as_ptr();
        let start: [__m256i; NV] = std::array::from_fn(|v| self.epilogue.start(panel.constants + v * 8));
        let mut sums = [start; MR];
        // Bounds of all pointers of this function: `weight` walks over `weights`, which has `NR * KR` bytes for each
        // of the `run_len / KR` pairs of each run. A window starts at `offset` and its runs end inside the band's padded
        // rows, but for the fill of up to `KR - 1` elements, for which `rows_len` has room; so every pair that is read
        // lies in `rows`.
        let pixels: [*const i16; MR] = std::array::from_fn(|pixel| {
            // SAFETY: see above.
            unsafe { rows.as_ptr().add(tile.offsets[pixel] + panel.input) }
        });
        for &run in &self.panels.runs {
            for k in (run..run + run_len).step_by(KR) {
                // SAFETY: see above.
                let w: [__m256i; NV] =
                    std::array::from_fn(|v| unsafe { _mm256_cvtepi8_epi16(_mm_load_si128(weight.add(v * 16).cast())) });
                // SAFETY: see above; one past the end after the last pair.
                weight = unsafe { weight.add(NR * KR) };
                for pixel in 0..MR {
                    // SAFETY: see above; the read needs no alignment.
                    let x = _mm256_set1_epi32(unsafe { pixels[pixel].add(k).cast::<i32>().read_unaligned() });
                    for v in 0..NV {
                        sums[pixel][v] = _mm256_add_epi32(sums[pixel][v], _mm256_madd_epi16(x, w[v]));
                    }
                }
            }
        }
        sums
    }
}

impl PackedU8 for GemmU8 {
    fn scratch_bytes(&self) -> usize {
        self.tasks() * self.rows_len * size_of::<i16>() + align_of::<i16>()
    }

    fn weight_bytes(&self) -> usize {
        self.weights.len() + self.epilogue.bytes()
    }

    fn run(&self, input: &[u8], output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let rows = SharedMut::new(as_i16(scratch));
        let out = SharedMut::new(output);
        // SAFETY: `ConvU8::new` checked that the CPU has AVX2 and FMA; every task runs once.
        team.run(self.tasks(), |task| unsafe { self.task(task, input, &rows, &out) });
    }
}

/// The i16 elements of a scratch, which may start at an odd address.
pub(super) fn as_i16(scratch: &mut [u8]) -> &mut [i16] {
    // SAFETY: all bytes are initialized, and any two of them are an i16.
    unsafe { scratch.align_to_mut::<i16>().1 }
}
