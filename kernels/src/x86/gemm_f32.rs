//! f32 convolution as a matrix product, AVX2 and FMA: 6 output pixels by 16 channels in 12 registers, or 4 by 24.

use std::arch::x86_64::*;

use super::epilogue::{activate, load_f32, mask, store_f32};
use crate::Isa;
use crate::conv::vector::{GemmF32, GemmF32Kernel, Panel, Tile, TileShape};
use crate::conv::{Activation, F32Kernel, KernelInfo, KernelOp};
use crate::shared::SharedMut;

/// Most pixels of a tile, and channels of a panel.
const MR: usize = 6;
const NR: usize = 16;

/// The same of the tile that leaves no channel over where there are 24 of them. It pays where the loop over a run is
/// unrolled; else compilers run out of registers by one.
const MR_24: usize = 4;
const NR_24: usize = 24;

/// Blocks of channels of a tile of one pixel.
const LINEAR_BLOCKS: usize = 4;

/// Elements of a run of a 3x3 window over 3 channels: known beforehand, the loop over them is unrolled.
const COLOUR_RUN: usize = 9;

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

pub(crate) static GEMM_24_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-gemm-4x24-avx2",
        op: KernelOp::ConvF32,
        isa: Isa::Avx2,
        mr: MR_24,
        nr: NR_24,
        kr: 1,
        serves: "dense convolutions of 3 wide windows over 3 channels, output channels in multiples of 24 but not of 16",
        accepts: |conv| {
            let whole = conv.out_c.is_multiple_of(NR_24) && !conv.out_c.is_multiple_of(NR);
            whole && conv.groups == 1 && conv.in_c * conv.kernel[1] == COLOUR_RUN
        },
    },
    pack: |conv, weights, bias, activation| Box::new(GemmF32::<Avx2x24>::new(conv, weights, bias, activation)),
};

struct Avx2;

struct Avx2x24;

impl GemmF32Kernel for Avx2x24 {
    const MR: usize = MR_24;
    const NR: usize = NR_24;

    #[target_feature(enable = "avx2,fma")]
    unsafe fn task(gemm: &GemmF32<Self>, task: usize, input: &[f32], rows: &SharedMut<f32>, out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.task_body(task, input, rows, out) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile(gemm: &GemmF32<Self>, rows: &[f32], tile: &Tile, panel: &Panel, out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        let this = unsafe { GemmTile::new(gemm, rows, tile, panel, out) };
        // SAFETY: a tile of so many pixels, as made above; all runs are of that length.
        unsafe {
            match tile.len {
                4 => outputs::<4, 3, COLOUR_RUN, NR_24>(&this),
                3 => outputs::<3, 3, COLOUR_RUN, NR_24>(&this),
                2 => outputs::<2, 3, COLOUR_RUN, NR_24>(&this),
                _ => outputs::<1, 3, COLOUR_RUN, NR_24>(&this),
            }
        }
    }
}

impl GemmF32Kernel for Avx2 {
    const MR: usize = MR;
    const NR: usize = NR;
    /// One pixel, of a linear layer, has too few sums in a block to hide the latency of an addition.
    const SHAPES: &'static [TileShape] =
        &[TileShape { blocks: 1, pixels: MR }, TileShape { blocks: LINEAR_BLOCKS, pixels: 1 }];

    #[target_feature(enable = "avx2,fma")]
    unsafe fn task(gemm: &GemmF32<Self>, task: usize, input: &[f32], rows: &SharedMut<f32>, out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.task_body(task, input, rows, out) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile(gemm: &GemmF32<Self>, rows: &[f32], tile: &Tile, panel: &Panel, out: &SharedMut<f32>) {
        if panel.blocks > 1 {
            // SAFETY: the caller's promise; only shapes of one pixel have several blocks.
            return unsafe { one_pixel(gemm, rows, tile, panel, out) };
        }
        // SAFETY: the caller's promise.
        let this = unsafe { GemmTile::new(gemm, rows, tile, panel, out) };
        // SAFETY: a tile of so many pixels, as made above; runs are of that length where said so.
        unsafe {
            match (tile.len, panel.len > NR / 2, gemm.panels.run_len) {
                (6, true, COLOUR_RUN) => outputs::<6, 2, COLOUR_RUN, NR>(&this),
                (6, true, _) => outputs::<6, 2, 0, NR>(&this),
                (5, true, _) => outputs::<5, 2, 0, NR>(&this),
                (4, true, _) => outputs::<4, 2, 0, NR>(&this),
                (3, true, _) => outputs::<3, 2, 0, NR>(&this),
                (2, true, _) => outputs::<2, 2, 0, NR>(&this),
                (_, true, _) => outputs::<1, 2, 0, NR>(&this),
                (6, false, COLOUR_RUN) => outputs::<6, 1, COLOUR_RUN, NR>(&this),
                (6, false, _) => outputs::<6, 1, 0, NR>(&this),
                (5, false, _) => outputs::<5, 1, 0, NR>(&this),
                (4, false, _) => outputs::<4, 1, 0, NR>(&this),
                (3, false, _) => outputs::<3, 1, 0, NR>(&this),
                (2, false, _) => outputs::<2, 1, 0, NR>(&this),
                (_, false, _) => outputs::<1, 1, 0, NR>(&this),
            }
        }
    }
}

/// Where a tile's operands lie.
struct GemmTile<'a> {
    /// The window of each pixel.
    pixels: [*const f32; MR],
    /// Where runs start in a window, and their length.
    runs: &'a [usize],
    run_len: usize,
    /// The panel's weights, one a channel for each element of each run, and bias.
    weights: *const f32,
    bias: *const f32,
    activation: Activation,
    /// The first pixel's outputs, how many of the panel's channels there are, and elements from one pixel to the next.
    out: *mut f32,
    channels: usize,
    out_c: usize,
}

impl<'a> GemmTile<'a> {
    /// # Safety
    /// As [`GemmF32Kernel::tile`], for a panel of one block.
    #[inline(always)]
    unsafe fn new<K: GemmF32Kernel>(
        gemm: &'a GemmF32<K>,
        rows: &[f32],
        tile: &Tile,
        panel: &Panel,
        out: &SharedMut<f32>,
    ) -> Self {
        let mut pixels = [rows.as_ptr(); MR];
        for (pixel, offset) in pixels.iter_mut().zip(&tile.offsets[..tile.len]) {
            // SAFETY: `GemmF32::windows` says that windows, with all their runs, lie in `rows`.
            *pixel = unsafe { rows.as_ptr().add(offset + panel.input) };
        }
        let out_c = gemm.out_c();
        Self {
            pixels,
            runs: &gemm.panels.runs,
            run_len: gemm.panels.run_len,
            weights: gemm.weights(panel).as_ptr(),
            bias: gemm.bias[panel.constants..][..K::NR].as_ptr(),
            activation: gemm.activation,
            out: out.span(tile.first * out_c + panel.channel, (tile.len - 1) * out_c + panel.len),
            channels: panel.len,
            out_c,
        }
    }
}

/// `MR` pixels and `NV` vectors of the `NR` channels of a panel; runs of `RUN` elements, where that is not 0. A function of
/// its own for each size, never inlined: side by side they would leave no registers to each other.
///
/// # Safety
/// The tile's pointers are what its fields say, for `MR` pixels.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn outputs<const MR: usize, const NV: usize, const RUN: usize, const NR: usize>(tile: &GemmTile) {
    let mut weight = tile.weights;
    // SAFETY: the panel's bias has `NR` values.
    let bias: [__m256; NV] = std::array::from_fn(|v| unsafe { _mm256_loadu_ps(tile.bias.add(v * 8)) });
    let mut sums = [bias; MR];
    let run_len = if RUN == 0 { tile.run_len } else { RUN };
    for &run in tile.runs {
        // SAFETY: a run starts inside its window.
        let pixels: [*const f32; MR] = std::array::from_fn(|pixel| unsafe { tile.pixels[pixel].add(run) });
        for k in 0..run_len {
            // SAFETY: the panel's weights have `NR` values for each of the `run_len` elements of each run.
            let w: [__m256; NV] = std::array::from_fn(|v| unsafe { _mm256_load_ps(weight.add(v * 8)) });
            // SAFETY: as above; one past the end after the last element.
            weight = unsafe { weight.add(NR) };
            for pixel in 0..MR {
                // SAFETY: an element of a run of this window.
                let x = _mm256_set1_ps(unsafe { *pixels[pixel].add(k) });
                for v in 0..NV {
                    sums[pixel][v] = _mm256_fmadd_ps(x, w[v], sums[pixel][v]);
                }
            }
        }
    }
    // SAFETY: the caller's promise.
    unsafe { store(tile, activated(tile.activation, sums)) }
}

/// The activations of all sums. Loops over all of them inside one choice, with constant bounds: a choice for each, or an
/// index that is not known when compiling, would have the compiler keep the sums in memory, even where they are added up.
#[target_feature(enable = "avx2,fma")]
#[inline]
fn activated<const MR: usize, const NV: usize>(
    activation: Activation,
    mut sums: [[__m256; NV]; MR],
) -> [[__m256; NV]; MR] {
    macro_rules! each {
        ($activation:expr) => {
            for sum in sums.as_flattened_mut() {
                *sum = activate($activation, *sum);
            }
        };
    }
    match activation {
        Activation::None => {}
        Activation::Relu => each!(Activation::Relu),
        Activation::Relu6 => each!(Activation::Relu6),
        Activation::Hardswish => each!(Activation::Hardswish),
    }
    sums
}

/// Stores a tile's outputs.
///
/// # Safety
/// As [`outputs`].
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn store<const MR: usize, const NV: usize>(tile: &GemmTile, values: [[__m256; NV]; MR]) {
    let whole = tile.channels == NV * 8;
    let last = mask(tile.channels - (NV - 1) * 8);
    for (pixel, values) in values.iter().enumerate() {
        for (v, &value) in values.iter().enumerate() {
            // SAFETY: the tile's outputs, of which no slice of another task covers any; only the last vector of a pixel
            // may have fewer than 8, which the mask selects.
            unsafe {
                let out = tile.out.add(pixel * tile.out_c + v * 8);
                if v + 1 < NV || whole {
                    _mm256_storeu_ps(out, value);
                } else {
                    _mm256_maskstore_ps(out, last, value);
                }
            }
        }
    }
}

/// The outputs of one pixel and the blocks of a panel.
///
/// # Safety
/// As [`GemmF32Kernel::tile`]; the tile has one pixel and the panel up to `LINEAR_BLOCKS` blocks.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn one_pixel(gemm: &GemmF32<Avx2>, rows: &[f32], tile: &Tile, panel: &Panel, out: &SharedMut<f32>) {
    let run_len = gemm.panels.run_len;
    // SAFETY: the caller's promise.
    let [pixel] = unsafe { gemm.windows::<1>(rows, tile, panel) };
    let (weights, block_len) = (gemm.weights(panel), gemm.panels.block_len());
    let mut sums = [[_mm256_setzero_ps(); 2]; LINEAR_BLOCKS];
    // Blocks that the panel lacks repeat its last one.
    let blocks: [usize; LINEAR_BLOCKS] = std::array::from_fn(|block| block.min(panel.blocks - 1));
    for (sums, block) in sums.iter_mut().zip(blocks) {
        *sums = std::array::from_fn(|v| load_f32(&gemm.bias, panel.constants + block * NR + v * 8));
    }
    let starts = blocks.map(|block| weights[block * block_len..][..block_len].as_ptr());
    let mut index = 0;
    for &run in &gemm.panels.runs {
        for k in run..run + run_len {
            // SAFETY: an element of a run of this window, which `windows` says is in `rows`.
            let x = _mm256_set1_ps(unsafe { *pixel.add(k) });
            for (sums, start) in sums.iter_mut().zip(starts) {
                for (v, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: a block's weights have `NR` values for each of the `run_len` elements of each run.
                    let w = unsafe { _mm256_load_ps(start.add(index + v * 8)) };
                    *sum = _mm256_fmadd_ps(x, w, *sum);
                }
            }
            index += NR;
        }
    }
    // SAFETY: the caller's promise; the pixel's part is used once.
    let out = unsafe { gemm.out_part(out, tile, 0, panel) };
    for (sum, out) in sums.iter().flatten().zip(out.chunks_mut(8)) {
        store_f32(activate(gemm.activation, *sum), out);
    }
}
