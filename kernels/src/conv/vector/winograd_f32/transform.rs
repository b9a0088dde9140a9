//! Transforms of a chunk's inputs to points, and of products at points to outputs.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::filter::{SIDE, side, transform_input, transform_output};
use super::tiles::{Chunk, Tile};
use super::{BLOCK, WinogradF32, WinogradF32Kernel};
use crate::conv::vector::{LanesF32, Outputs, Span};
use crate::shared::SharedMut;

/// `$body` with a number of outputs as a constant: loops and arrays become straight code in registers.
macro_rules! by_outputs {
    ($outputs:expr, $m:ident => $body:expr) => {
        by_outputs!($outputs, $m => $body, 1 2 3 4)
    };
    ($outputs:expr, $m:ident => $body:expr, $($number:literal)*) => {
        match $outputs {
            $($number => {
                const $m: usize = $number;
                $body
            })*
            outputs => unreachable!("a tile of {outputs} outputs"),
        }
    };
}

/// `$body` with the number of each point up to the constant `$end` as a constant: a loop around so much code would stay one, and
/// what it indexes would be memory.
macro_rules! for_each_point {
    ($point:ident < $end:expr => $body:block) => {
        for_each_point!($point < $end => $body, 0 1 2 3 4 5 6 7 8)
    };
    ($point:ident < $end:expr => $body:block, $($number:literal)*) => {
        $(if const { $number < $end } {
            let $point = $number;
            $body
        })*
    };
}

/// Inputs of a tile that reaches into the padding.
#[repr(align(64))]
struct Patch([MaybeUninit<f32>; SIDE * SIDE * BLOCK]);

impl<K: WinogradF32Kernel> WinogradF32<K> {
    /// What [`WinogradF32Kernel::transform`] does: transforms items (blocks of channels times tiles) of a chunk.
    ///
    /// # Safety
    /// The CPU has the instruction set, and no other task has these items.
    #[inline(always)]
    pub(crate) unsafe fn transform_body(
        &self,
        items: Range<usize>,
        chunk: &Chunk,
        input: &[f32],
        out: &SharedMut<f32>,
    ) {
        let conv = &self.conv;
        for item in items {
            let (block, tile) = (item / chunk.tiles.len(), chunk.tiles[item % chunk.tiles.len()]);
            let within = |at: usize, axis: usize, size: usize| {
                let first = at * conv.stride[axis];
                first >= conv.padding[axis] && first + self.side(tile.outputs[axis]) <= size + conv.padding[axis]
            };
            let inner = within(tile.y, 0, conv.in_h) && within(tile.x, 1, conv.in_w);
            for lane in (0..BLOCK).step_by(K::Lanes::LANES) {
                let channel = block * BLOCK + lane;
                let to = out.span(item * BLOCK + lane, (self.points() - 1) * self.point_stride + K::Lanes::LANES);
                // SAFETY: the caller's promise. A tile without padding is a part of the input, whose pixels have the channels
                // of all blocks; the patch has those of any tile. `to` begins at the first point, and the span ends with the last.
                unsafe {
                    let mut patch = Patch([MaybeUninit::uninit(); SIDE * SIDE * BLOCK]);
                    let (from, strides) = if inner {
                        let pixel = (tile.y * conv.stride[0] - conv.padding[0]) * conv.in_w + tile.x * conv.stride[1]
                            - conv.padding[1];
                        (&raw const input[pixel * conv.in_c + channel], [conv.in_w * conv.in_c, conv.in_c])
                    } else {
                        self.copy_padded(tile, &input[channel..], &mut patch);
                        (patch.0.as_ptr().cast(), [SIDE * K::Lanes::LANES, K::Lanes::LANES])
                    };
                    self.transform_tile(tile.outputs, from, strides, to);
                }
            }
        }
    }

    /// Copies `LANES` channels of a tile's inputs, zeros for those in the padding: `[SIDE][SIDE][LANES]`.
    ///
    /// # Safety
    /// The CPU has the instruction set; the input begins at a channel that has as many after it.
    #[inline(always)]
    unsafe fn copy_padded(&self, tile: Tile, input: &[f32], patch: &mut Patch) {
        let conv = &self.conv;
        for i in 0..self.side(tile.outputs[0]) {
            let y = (tile.y * conv.stride[0] + i).wrapping_sub(conv.padding[0]);
            for j in 0..self.side(tile.outputs[1]) {
                let x = (tile.x * conv.stride[1] + j).wrapping_sub(conv.padding[1]);
                // SAFETY: the caller's promise: a pixel inside the input has `LANES` channels from the slice's start on. Tiles
                // have up to `SIDE` inputs along each axis.
                unsafe {
                    let value = if y < conv.in_h && x < conv.in_w {
                        let at = (y * conv.in_w + x) * conv.in_c;
                        debug_assert!(at + K::Lanes::LANES <= input.len());
                        K::Lanes::load(input.as_ptr().add(at))
                    } else {
                        K::Lanes::splat(0.0)
                    };
                    K::Lanes::store(patch.0.as_mut_ptr().add((i * SIDE + j) * K::Lanes::LANES).cast(), value);
                }
            }
        }
    }

    /// Transforms `LANES` channels of a tile. Rows are taken in groups that share sums and fit 32 registers.
    ///
    /// # Safety
    /// Those of [`Self::transform_rows`].
    #[inline(always)]
    unsafe fn transform_tile(&self, outputs: [usize; 2], from: *const f32, strides: [usize; 2], to: *mut f32) {
        macro_rules! groups {
            ($stride:literal $height:literal, $($rows:expr),*) => {
                by_outputs!(outputs[1], W => {
                    // SAFETY: the caller's promise; the points of so many outputs have these rows.
                    $(unsafe { self.transform_rows::<$stride, $height, W, _>($rows, from, strides, to) };)*
                })
            };
        }
        match (self.conv.stride[0], outputs[0]) {
            (1, 1) => groups!(1 1, [0, 1, 2]),
            (1, 2) => groups!(1 2, [0, 1, 2, 3]),
            (1, 3) => groups!(1 3, [0, 1, 2, 3, 4]),
            (1, _) => groups!(1 4, [0, 2, 3], [1, 4, 5]),
            (_, 1) => groups!(2 1, [0, 1, 2]),
            (_, 2) => groups!(2 2, [0, 1, 3], [2, 4]),
            (_, 3) => groups!(2 3, [0, 1], [3, 5], [2, 4], [6]),
            (_, _) => groups!(2 4, [0, 1, 7], [3, 5], [2], [4], [6], [8]),
        }
    }

    /// Transforms `LANES` channels of a tile of `H` x `W` outputs for the points of these rows.
    ///
    /// # Safety
    /// The CPU has the instruction set. From `from` on lie the tile's inputs, rows and pixels as far apart as `strides` say, and
    /// from `to` on are all points, [`WinogradF32::point_stride`] apart, that no other task writes to. A tile has `rows`.
    #[inline(always)]
    unsafe fn transform_rows<const STRIDE: usize, const H: usize, const W: usize, const ROWS: usize>(
        &self,
        rows: [usize; ROWS],
        from: *const f32,
        strides: [usize; 2],
        to: *mut f32,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            let zero = K::Lanes::splat(0.0);
            let mut lines = [[zero; SIDE]; ROWS];
            for_each_point!(j < side(STRIDE, W) => {
                let mut column = [zero; SIDE];
                for (i, value) in column.iter_mut().enumerate().take(side(STRIDE, H)) {
                    *value = K::Lanes::load(from.add(i * strides[0] + j * strides[1]));
                }
                let column = transform_input::<K::Lanes, STRIDE, H>(column);
                for (line, &row) in lines.iter_mut().zip(&rows) {
                    line[j] = column[row];
                }
            });
            for (&line, &row) in lines.iter().zip(&rows) {
                let to = to.add(row * self.sides[1] * self.point_stride);
                let line = transform_input::<K::Lanes, STRIDE, W>(line);
                for (j, &value) in line.iter().enumerate().take(side(STRIDE, W)) {
                    K::Lanes::store(to.add(j * self.point_stride), value);
                }
            }
        }
    }

    /// What [`WinogradF32Kernel::store`] does: transforms a chunk's products with a panel, `[tile][point][16]`, and stores the outputs.
    ///
    /// # Safety
    /// The CPU has the instruction set; `products` hold values at all points that each tile has; no other task has the chunk and
    /// panel.
    #[inline(always)]
    pub(crate) unsafe fn store_body(
        &self,
        panel: usize,
        chunk: &Chunk,
        products: &[MaybeUninit<f32>],
        out: &Outputs<f32>,
    ) {
        for (&tile, products) in chunk.tiles.iter().zip(products.chunks_exact(self.points() * BLOCK)) {
            for lane in (0..BLOCK).step_by(K::Lanes::LANES) {
                let (products, channel) = (&products[lane..], panel * BLOCK + lane);
                // SAFETY: the caller's promise.
                unsafe {
                    by_outputs!(tile.outputs[0], H => by_outputs!(tile.outputs[1], W => {
                        match self.conv.stride[0] {
                            1 => self.store_tile::<1, H, W>(tile, products, channel, out),
                            _ => self.store_tile::<2, H, W>(tile, products, channel, out),
                        }
                    }))
                }
            }
        }
    }

    /// Transforms the products of a tile and `LANES` channels from `channel` on, and stores its `H` x `W` outputs.
    ///
    /// # Safety
    /// The CPU has the instruction set; `products` hold `LANES` values at every point of the tile, 16 apart; no other task
    /// has these outputs.
    #[inline(always)]
    unsafe fn store_tile<const STRIDE: usize, const H: usize, const W: usize>(
        &self,
        tile: Tile,
        products: &[MaybeUninit<f32>],
        channel: usize,
        out: &Outputs<f32>,
    ) {
        let [height, width] = [side(STRIDE, H), side(STRIDE, W)];
        assert!(height <= self.sides[0] && width <= self.sides[1]);
        assert!((self.points() - 1) * BLOCK + K::Lanes::LANES <= products.len());
        assert!(channel + K::Lanes::LANES <= self.bias.len());
        // SAFETY: the caller's promise, with the bounds asserted above.
        unsafe {
            let zero = K::Lanes::splat(0.0);
            let mut columns = [[zero; SIDE]; SIDE];
            for_each_point!(j < side(STRIDE, W) => {
                let mut column = [zero; SIDE];
                for (i, value) in column.iter_mut().enumerate().take(height) {
                    *value = K::Lanes::load(products.as_ptr().add((i * self.sides[1] + j) * BLOCK).cast());
                }
                columns[j] = transform_output::<K::Lanes, STRIDE, H>(column);
            });
            let bias = K::Lanes::load(self.bias.as_ptr().add(channel));
            let (pixel, row_stride) = (self.conv.out_c, self.conv.out_w() * self.conv.out_c);
            let len = (H - 1) * row_stride + (W - 1) * pixel + K::Lanes::LANES;
            let Span { out: to, residual } = out.span(tile.y * row_stride + tile.x * pixel + channel, len);
            for_each_point!(i < H => {
                let row = transform_output::<K::Lanes, STRIDE, W>(across(&columns, i));
                for (j, &value) in row.iter().enumerate().take(W) {
                    let (mut value, at) = (K::Lanes::add(value, bias), i * row_stride + j * pixel);
                    if let Some(residual) = residual {
                        value = K::Lanes::add(value, K::Lanes::load(residual.add(at)));
                    }
                    K::Lanes::store(to.add(at), K::Lanes::activate(self.activation, value));
                }
            });
        }
    }
}

/// Row `i` of a matrix of columns.
#[inline(always)]
fn across<V: Copy>(columns: &[[V; SIDE]; SIDE], i: usize) -> [V; SIDE] {
    let mut row = columns[0];
    for (value, column) in row.iter_mut().zip(columns) {
        *value = column[i];
    }
    row
}
