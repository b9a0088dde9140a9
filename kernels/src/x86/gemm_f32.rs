//! f32 convolution as a matrix product, AVX2 and FMA: 6 output pixels by 16 channels in 12 registers.
//!
//! Each output is one chain of fused multiply-adds over the taps, whatever the tile, so results depend neither on tiles
//! nor on threads. Without padding the kernel reads the input in place, else a padded copy of its band.

use std::arch::x86_64::*;

use super::epilogue::{activate, load_f32, store_f32};
use crate::conv::{Activation, Bands, Conv2d, F32Kernel, KernelInfo, KernelOp, PackedF32, Panel, Panels, Tile};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Isa, Team};

/// Pixels and channels of a tile.
const MR: usize = 6;
const NR: usize = 16;

/// Bytes of input that a task should stay near: a part of a 256 KB or larger second-level cache.
const BAND_BYTES: usize = 192 << 10;

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
    pack: |conv, weights, bias, activation| Box::new(GemmF32::new(conv, weights, bias, activation)),
};

struct GemmF32 {
    bands: Bands,
    panels: Panels,
    weights: AlignedBuf<f32>,
    bias: AlignedBuf<f32>,
    activation: Activation,
    /// Ranges of panels that tasks of one band share out.
    splits: usize,
    /// Elements of a task's padded rows; 0 where the input is read in place.
    rows_len: usize,
}

impl GemmF32 {
    fn new(conv: &Conv2d, weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        let bands = Bands::new(conv, conv.in_c, size_of::<f32>(), BAND_BYTES).align_to(MR);
        let panels = Panels::new(conv, bands.padded_w(), NR, 1);
        Self {
            weights: panels.pack(conv, weights),
            bias: panels.constants(bias),
            activation,
            splits: bands.splits(panels.count()),
            rows_len: if conv.padding == [0, 0] { 0 } else { bands.padded_len().next_multiple_of(16) },
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
    unsafe fn task(&self, task: usize, input: &[f32], rows: &SharedMut<f32>, out: &SharedMut<f32>) {
        let (band, split) = (task / self.splits, task % self.splits);
        let rows = if self.rows_len == 0 {
            let conv = &self.bands.conv;
            &input[self.bands.out_rows(band).start * conv.stride[0] * conv.in_w * conv.in_c..]
        } else {
            // SAFETY: each task has a part of its own, by its number.
            let rows = unsafe { rows.part(task * self.rows_len, self.rows_len) };
            self.bands.copy_padded(band, input, rows, 0.0, |x| x);
            &*rows
        };
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
    unsafe fn tile(&self, rows: &[f32], tile: &Tile, panel: &Panel, out: &SharedMut<f32>) {
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
        run!(1 2 3 4 5 6);
    }

    /// # Safety
    /// As [`GemmF32::tile`]; the tile has `MR` pixels.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile_of<const MR: usize, const NV: usize>(
        &self,
        rows: &[f32],
        tile: &Tile,
        panel: &Panel,
        out: &SharedMut<f32>,
    ) {
        // SAFETY: the caller's promise.
        let sums = unsafe { self.sums::<MR, NV>(rows, tile, panel) };
        for (pixel, sums) in sums.iter().enumerate() {
            let start = (tile.first + pixel) * self.bands.conv.out_c + panel.channel;
            // SAFETY: these channels of this pixel belong to this tile and panel, which no other task has.
            let out = unsafe { out.part(start, panel.len) };
            for (sums, out) in sums.iter().zip(out.chunks_mut(8)) {
                store_f32(activate(self.activation, *sums), out);
            }
        }
    }

    /// Bias and sums of products, before the activation.
    ///
    /// # Safety
    /// As [`GemmF32::tile_of`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn sums<const MR: usize, const NV: usize>(
        &self,
        rows: &[f32],
        tile: &Tile,
        panel: &Panel,
    ) -> [[__m256; NV]; MR] {
        let run_len = self.panels.run_len;
        debug_assert!(tile.offsets[..MR].iter().all(|o| o + panel.input + self.panels.reach() <= rows.len()));
        let weights = &self.weights[panel.weights..][..self.panels.weights_len()];
        let mut weight = weights.as_ptr();
        let bias: [__m256; NV] = std::array::from_fn(|v| load_f32(&self.bias, panel.constants + v * 8));
        let mut sums = [bias; MR];
        // Bounds of all pointers of this function: `weight` walks over `weights`, which has `NR` values for each of the
        // `run_len` elements of each run. A window starts at `offset` and its runs, which are not filled up, end inside
        // the band's rows: the padded copy, or the input where there is no padding.
        let pixels: [*const f32; MR] = std::array::from_fn(|pixel| {
            // SAFETY: see above.
            unsafe { rows.as_ptr().add(tile.offsets[pixel] + panel.input) }
        });
        for &run in &self.panels.runs {
            for k in run..run + run_len {
                // SAFETY: see above.
                let w: [__m256; NV] = std::array::from_fn(|v| unsafe { _mm256_load_ps(weight.add(v * 8)) });
                // SAFETY: see above; one past the end after the last element.
                weight = unsafe { weight.add(NR) };
                for pixel in 0..MR {
                    // SAFETY: see above.
                    let x = _mm256_set1_ps(unsafe { *pixels[pixel].add(k) });
                    for v in 0..NV {
                        sums[pixel][v] = _mm256_fmadd_ps(x, w[v], sums[pixel][v]);
                    }
                }
            }
        }
        sums
    }
}

impl PackedF32 for GemmF32 {
    fn scratch_len(&self) -> usize {
        self.tasks() * self.rows_len
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    fn run(&self, input: &[f32], output: &mut [f32], scratch: &mut [f32], team: &Team) {
        let (rows, out) = (SharedMut::new(scratch), SharedMut::new(output));
        // SAFETY: `ConvF32::new` checked that the CPU has AVX2 and FMA; every task runs once.
        team.run(self.tasks(), |task| unsafe { self.task(task, input, &rows, &out) });
    }
}
