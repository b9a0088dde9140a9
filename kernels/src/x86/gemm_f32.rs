//! f32 convolution as a matrix product, AVX2 and FMA: 6 output pixels by 16 channels in 12 registers.

use std::arch::x86_64::*;

use super::epilogue::{activate, load_f32, load_first_f32, mask, store_f32};
use crate::Isa;
use crate::conv::vector::{Band, GemmF32, GemmF32Kernel, Outputs, Panel, Part, Span, Tile, TileShape, even_tiles};
use crate::conv::{Activation, F32Kernel, KernelInfo, KernelOp};

/// Most pixels of a tile, and channels of a panel.
const MR: usize = 6;
const NR: usize = 16;

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
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, bias, activation| Box::new(GemmF32::<Avx2>::new(conv, weights, bias, activation)),
};

struct Avx2;

impl GemmF32Kernel for Avx2 {
    const MR: usize = MR;
    const NR: usize = NR;
    /// One pixel, of a linear layer, has too few sums in a block to hide the latency of an addition.
    const SHAPES: &'static [TileShape] =
        &[TileShape { blocks: 1, pixels: MR }, TileShape { blocks: LINEAR_BLOCKS, pixels: 1 }];

    #[target_feature(enable = "avx2,fma")]
    unsafe fn part(gemm: &GemmF32<Self>, part: &Part, input: &[f32], rows: &mut [f32], out: &Outputs<f32>) {
        // SAFETY: the caller's promise.
        unsafe { gemm.part_body(part, input, rows, out) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn panel(gemm: &GemmF32<Self>, rows: &[f32], band: Band, panel: &Panel, out: &Outputs<f32>) {
        if panel.blocks > 1 {
            for tile in gemm.tiles(band) {
                // SAFETY: the caller's promise; only shapes of one pixel have several blocks.
                unsafe { one_pixel(gemm, rows, &tile, panel, out) };
            }
            return;
        }
        for strip in strips(gemm, rows, band, panel, out) {
            // SAFETY: strips of a band with its rows, tiles of so many pixels; runs are of that length where said so.
            unsafe {
                match (strip.pixels, panel.len > NR / 2, strip.run_len) {
                    (6, true, COLOUR_RUN) => outputs::<6, 2, COLOUR_RUN>(&strip),
                    (6, true, _) => outputs::<6, 2, 0>(&strip),
                    (5, true, _) => outputs::<5, 2, 0>(&strip),
                    (4, true, _) => outputs::<4, 2, 0>(&strip),
                    (3, true, _) => outputs::<3, 2, 0>(&strip),
                    (2, true, _) => outputs::<2, 2, 0>(&strip),
                    (_, true, _) => outputs::<1, 2, 0>(&strip),
                    (6, false, COLOUR_RUN) => outputs::<6, 1, COLOUR_RUN>(&strip),
                    (6, false, _) => outputs::<6, 1, 0>(&strip),
                    (5, false, _) => outputs::<5, 1, 0>(&strip),
                    (4, false, _) => outputs::<4, 1, 0>(&strip),
                    (3, false, _) => outputs::<3, 1, 0>(&strip),
                    (2, false, _) => outputs::<2, 1, 0>(&strip),
                    (_, false, _) => outputs::<1, 1, 0>(&strip),
                }
            }
        }
    }
}

/// Tiles of the same size side by side, for a panel. What is the same for all of them is set up once; with few input
/// channels a tile takes hardly longer than that.
struct Strip<'a> {
    /// The band's rows from the panel's first input channel on, and where the window of each pixel starts in them.
    rows: *const f32,
    windows: *const u32,
    /// Number of tiles, and pixels of a tile.
    tiles: usize,
    pixels: usize,
    /// Where runs start in a window, and their length.
    runs: &'a [usize],
    run_len: usize,
    /// The panel's weights, one a channel for each element of each run, and bias.
    weights: *const f32,
    bias: *const f32,
    activation: Activation,
    /// The first pixel's outputs and what is added to them, how many of the panel's channels there are, and elements from one pixel to the next.
    out: Span<f32>,
    channels: usize,
    out_c: usize,
}

/// A band's tiles of a panel of one block, evenly large: those with a pixel more come first.
#[inline(always)]
fn strips<'a>(
    gemm: &'a GemmF32<Avx2>,
    rows: &'a [f32],
    band: Band,
    panel: &'a Panel,
    out: &Outputs<f32>,
) -> impl Iterator<Item = Strip<'a>> {
    let ((first, pixels), out_c) = (gemm.bands.out_pixels(band), gemm.out_c());
    let windows = &gemm.windows[..pixels];
    // The last window is the furthest: what tiles read unchecked.
    assert!(windows.last().is_none_or(|&last| last as usize + panel.input + gemm.panels.reach() <= rows.len()));
    let out = out.span(first * out_c + panel.channel, (windows.len() - 1) * out_c + panel.len);
    let (rows, mut done) = (rows[panel.input..].as_ptr(), 0);
    even_tiles(windows.len(), gemm.pixels).into_iter().filter(|&(_, tiles)| tiles > 0).map(move |(pixels, tiles)| {
        let first = done;
        done += tiles * pixels;
        Strip {
            rows,
            windows: windows[first..].as_ptr(),
            tiles,
            pixels,
            runs: &gemm.panels.runs,
            run_len: gemm.panels.run_len,
            weights: gemm.weights(panel).as_ptr(),
            bias: gemm.bias[panel.constants..][..NR].as_ptr(),
            activation: gemm.activation,
            out: out.from(first * out_c),
            channels: panel.len,
            out_c,
        }
    })
}

/// The tiles of a strip, of `MR` pixels, for `NV` vectors of the panel; runs of `RUN` elements, where that is not 0. A function
/// of its own for each size, never inlined: side by side they would leave no registers to each other.
///
/// # Safety
/// The strip's pointers are what its fields say; its tiles have `MR` pixels.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn outputs<const MR: usize, const NV: usize, const RUN: usize>(strip: &Strip) {
    // SAFETY: the panel's bias has as many values as the panel channels.
    let bias: [__m256; NV] = std::array::from_fn(|v| unsafe { _mm256_loadu_ps(strip.bias.add(v * 8)) });
    for tile in 0..strip.tiles {
        // SAFETY: windows, with all their runs, lie in the band's rows.
        let pixels =
            std::array::from_fn(|pixel| unsafe { strip.rows.add(*strip.windows.add(tile * MR + pixel) as usize) });
        // SAFETY: the caller's promise; the outputs of this tile.
        unsafe {
            let mut sums = sums::<MR, NV, RUN>(strip, pixels, bias);
            let Span { out, residual } = strip.out.from(tile * MR * strip.out_c);
            if let Some(residual) = residual {
                sums = add(strip, residual, sums);
            }
            store(strip, out, activated(strip.activation, sums));
        }
    }
}

/// Bias and sums of products, before the activation, of a tile.
///
/// # Safety
/// As [`outputs`]; `pixels` are the windows of the tile's pixels.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn sums<const MR: usize, const NV: usize, const RUN: usize>(
    strip: &Strip,
    pixels: [*const f32; MR],
    bias: [__m256; NV],
) -> [[__m256; NV]; MR] {
    let mut weight = strip.weights;
    let mut sums = [bias; MR];
    let run_len = if RUN == 0 { strip.run_len } else { RUN };
    for &run in strip.runs {
        // SAFETY: a run starts inside its window.
        let pixels: [*const f32; MR] = std::array::from_fn(|pixel| unsafe { pixels[pixel].add(run) });
        for k in 0..run_len {
            // SAFETY: the panel's weights have a value a channel for each of the `run_len` elements of each run.
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
    sums
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

/// The sums of a tile with what is added to them, from `residual` on.
///
/// # Safety
/// As [`outputs`]; `residual` is what is added to the tile's first output.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn add<const MR: usize, const NV: usize>(
    strip: &Strip,
    residual: *const f32,
    mut sums: [[__m256; NV]; MR],
) -> [[__m256; NV]; MR] {
    let last = mask(strip.channels - (NV - 1) * 8);
    for (pixel, sums) in sums.iter_mut().enumerate() {
        for (v, sum) in sums.iter_mut().enumerate() {
            // SAFETY: there is as much to add as there are outputs; only the last vector of a pixel may have fewer than 8, which
            // the mask selects.
            let x = unsafe {
                let from = residual.add(pixel * strip.out_c + v * 8);
                if v + 1 < NV { _mm256_loadu_ps(from) } else { _mm256_maskload_ps(from, last) }
            };
            *sum = _mm256_add_ps(*sum, x);
        }
    }
    sums
}

/// Stores a tile's outputs, from `out` on.
///
/// # Safety
/// As [`outputs`]; `out` is the first of the tile's outputs.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn store<const MR: usize, const NV: usize>(strip: &Strip, out: *mut f32, values: [[__m256; NV]; MR]) {
    let whole = strip.channels == NV * 8;
    let last = mask(strip.channels - (NV - 1) * 8);
    for (pixel, values) in values.iter().enumerate() {
        for (v, &value) in values.iter().enumerate() {
            // SAFETY: the tile's outputs, of which no slice of another task covers any; only the last vector of a pixel
            // may have fewer than 8, which the mask selects.
            unsafe {
                let out = out.add(pixel * strip.out_c + v * 8);
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
/// As [`GemmF32Kernel::panel`]; the tile is one of the band and has one pixel and the panel up to `LINEAR_BLOCKS` blocks.
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn one_pixel(gemm: &GemmF32<Avx2>, rows: &[f32], tile: &Tile, panel: &Panel, out: &Outputs<f32>) {
    let run_len = gemm.panels.run_len;
    // SAFETY: the caller's promise.
    let [pixel] = unsafe { gemm.windows::<1>(rows, tile, panel) };
    let weights = gemm.weights(panel).as_ptr();
    let mut sums = [[_mm256_setzero_ps(); 2]; LINEAR_BLOCKS];
    // Blocks that the panel lacks repeat its last one.
    let blocks: [usize; LINEAR_BLOCKS] = std::array::from_fn(|block| block.min(panel.blocks - 1));
    for (sums, block) in sums.iter_mut().zip(blocks) {
        *sums = std::array::from_fn(|v| load_f32(&gemm.bias, panel.constants + block * NR + v * 8));
    }
    // SAFETY: blocks of the panel, whose weights stand side by side for each element.
    let starts = blocks.map(|block| unsafe { weights.add(block * NR) });
    let mut index = 0;
    for &run in &gemm.panels.runs {
        for k in run..run + run_len {
            // SAFETY: an element of a run of this window, which `windows` says is in `rows`.
            let x = _mm256_set1_ps(unsafe { *pixel.add(k) });
            for (sums, start) in sums.iter_mut().zip(starts) {
                for (v, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: each block has `NR` weights for each of the `run_len` elements of each run.
                    let w = unsafe { _mm256_load_ps(start.add(index + v * 8)) };
                    *sum = _mm256_fmadd_ps(x, w, *sum);
                }
            }
            index += panel.blocks * NR;
        }
    }
    // SAFETY: the caller's promise; the pixel's part is used once.
    let (out, residual) = unsafe { gemm.out_part(out, tile, 0, panel) };
    let mut residual = residual.map(|residual| residual.chunks(8));
    for (sum, out) in sums.iter().flatten().zip(out.chunks_mut(8)) {
        let mut sum = *sum;
        if let Some(residual) = residual.as_mut().and_then(Iterator::next) {
            sum = _mm256_add_ps(sum, load_first_f32(residual));
        }
        store_f32(activate(gemm.activation, sum), out);
    }
}
