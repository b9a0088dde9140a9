//! Products of tiles and panels of filters at all points.

use std::mem::MaybeUninit;

use super::filter::{SIDE, filter_of, filters, side};
use super::tiles::{CHUNK, Chunk};
use super::{BLOCK, WinogradF32, WinogradF32Kernel};
use crate::conv::vector::{LanesF32, Outputs};

/// Floats of a panel's weights between those in use and those that are asked for: time for memory to answer.
const AHEAD: usize = 1024;

/// Floats that are asked for ahead at most: what a second-level cache has room for beside inputs and products.
const MOST_AHEAD: usize = 32 * 1024;

/// How far a panel's weights were asked for. Several products with one filter ask for what comes after it, and what comes after
/// that: filters with few products find their weights there.
struct Stream {
    /// Floats from the panel's start.
    asked: usize,
}

impl Stream {
    /// How far ahead a product with the filter of `len` floats from `start` on asks: not at all where that is too far.
    fn ahead(&mut self, start: usize, len: usize) -> usize {
        let ahead = self.asked.max(start + AHEAD) - start;
        if ahead > MOST_AHEAD {
            return 0;
        }
        self.asked = start + len + ahead;
        ahead
    }
}

/// A point of whole tiles.
pub(super) struct Point {
    /// By rows.
    index: usize,
    /// Its filter, by rows.
    filter: usize,
    /// Whether it lies beyond the points of tiles that are short along an axis.
    lacking: [bool; 2],
}

/// The points of tiles of `m` outputs, of which those short along an axis have `short` outputs: in the order of filters.
pub(super) fn points(stride: usize, m: [usize; 2], short: [usize; 2]) -> Vec<Point> {
    let ([height, width], short) = (m.map(|m| side(stride, m)), short.map(|m| side(stride, m)));
    let point = |index: usize| {
        let at = [index / width, index % width];
        let filter = filter_of(stride, at[0]) * filters(m[1]) + filter_of(stride, at[1]);
        Point { index, filter, lacking: [at[0] >= short[0], at[1] >= short[1]] }
    };
    let mut points: Vec<Point> = (0..height * width).map(point).collect();
    points.sort_by_key(|point| point.filter);
    points
}

/// Products of one panel: `[tile][point][16]`.
#[repr(align(64))]
struct Products<const LEN: usize>([MaybeUninit<f32>; LEN]);

/// Sizes of [`Products`]: a call touches all pages of its function's stack, and small products should not pay for large ones (1 %
/// of 512 channels at 7x7).
const SMALL: usize = 8 * 1024;
const MIDDLE: usize = 16 * 1024;
const LARGE: usize = CHUNK * SIDE * SIDE * BLOCK;

/// Calls `$product`, a function with a number of tiles as its parameter, for any of those listed. In an unsafe function,
/// whose promise must be that of `$product`.
macro_rules! product_by_tiles {
    ($product:ident, $tiles:expr, $argument:expr, [$($count:literal)*]) => {
        match $tiles {
            // SAFETY: the caller's promise.
            $($count => unsafe { $product::<$count>($argument) },)*
            tiles => unreachable!("a product of {tiles} tiles"),
        }
    };
}
pub(crate) use product_by_tiles;

/// The products of some tiles and a panel at one point.
pub(crate) struct Product<'a> {
    /// `[in_c][16]`.
    weights: &'a [f32],
    /// Floats from a weight in use to the one to ask for.
    ahead: usize,
    /// `[in_c / 16][tile][16]`, blocks `stride` apart.
    inputs: &'a [f32],
    stride: usize,
    /// Sums of 16 channels, tiles `out_stride` apart.
    out: &'a mut [MaybeUninit<f32>],
    out_stride: usize,
}

impl Product<'_> {
    /// Multiplies the first `TILES` tiles.
    ///
    /// # Safety
    /// The CPU has the instruction set of `L`.
    #[inline(always)]
    pub(crate) unsafe fn run<L: LanesF32, const TILES: usize>(self) {
        let vectors = BLOCK / L::LANES;
        let blocks = self.weights.len() / (BLOCK * BLOCK);
        assert!(vectors <= 4 && (blocks - 1) * self.stride + TILES * BLOCK <= self.inputs.len());
        assert!((TILES - 1) * self.out_stride + BLOCK <= self.out.len());
        // SAFETY: the caller's promise. Weights: as many blocks as they have. Inputs and sums: asserted above.
        unsafe {
            let mut sums = [[L::splat(0.0); 4]; TILES];
            let mut weight = self.weights.as_ptr();
            for block in 0..blocks {
                let inputs = self.inputs.as_ptr().add(block * self.stride);
                for c in 0..BLOCK {
                    let mut w = [L::splat(0.0); 4];
                    for (v, w) in w.iter_mut().enumerate().take(vectors) {
                        *w = L::load(weight.add(v * L::LANES));
                    }
                    L::prefetch(weight.wrapping_add(self.ahead));
                    weight = weight.add(BLOCK);
                    for (tile, sums) in sums.iter_mut().enumerate() {
                        let x = L::splat(*inputs.add(tile * BLOCK + c));
                        for v in 0..vectors {
                            sums[v] = L::fma(x, w[v], sums[v]);
                        }
                    }
                }
            }
            for (tile, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate().take(vectors) {
                    L::store(self.out.as_mut_ptr().add(tile * self.out_stride + v * L::LANES).cast(), sum);
                }
            }
        }
    }
}

impl<K: WinogradF32Kernel> WinogradF32<K> {
    /// The outputs of a chunk and panel.
    ///
    /// # Safety
    /// The CPU has the instruction set; `inputs` are the chunk's, transformed; no other task has the chunk and panel.
    pub(super) unsafe fn multiply(&self, panel: usize, chunk: &Chunk, inputs: &[f32], out: &Outputs<f32>) {
        // SAFETY: the caller's promise.
        unsafe {
            match chunk.tiles.len() * self.points() * BLOCK {
                len if len <= SMALL => self.multiply_in::<SMALL>(panel, chunk, inputs, out),
                len if len <= MIDDLE => self.multiply_in::<MIDDLE>(panel, chunk, inputs, out),
                _ => self.multiply_in::<LARGE>(panel, chunk, inputs, out),
            }
        }
    }

    /// [`Self::multiply`] with products of up to so many floats.
    ///
    /// # Safety
    /// Those of [`Self::multiply`].
    #[inline(never)]
    unsafe fn multiply_in<const LEN: usize>(&self, panel: usize, chunk: &Chunk, inputs: &[f32], out: &Outputs<f32>) {
        let mut products = Products([MaybeUninit::uninit(); LEN]);
        let (points, len) = (self.points(), self.conv.in_c * BLOCK);
        let weights = &self.weights[panel * self.filters * len..][..self.filters * len];
        let mut stream = Stream { asked: 0 };
        for point in &self.order {
            let weights = &weights[point.filter * len..][..len];
            let tiles = chunk.with_point(point.lacking);
            let groups = tiles.len().div_ceil(K::MR);
            for group in 0..groups {
                let first = tiles.start + group * tiles.len() / groups;
                let product = Product {
                    weights,
                    ahead: stream.ahead(point.filter * len, len),
                    inputs: &inputs[point.index * self.point_stride + first * BLOCK..],
                    stride: chunk.tiles.len() * BLOCK,
                    out: &mut products.0[(first * points + point.index) * BLOCK..],
                    out_stride: points * BLOCK,
                };
                // SAFETY: the CPU has the instruction set.
                unsafe { K::product(tiles.start + (group + 1) * tiles.len() / groups - first, product) };
            }
        }
        // SAFETY: the caller's promise; all points that a tile has were computed above.
        unsafe { K::store(self, panel, chunk, &products.0, out) };
    }
}
