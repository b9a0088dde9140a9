//! f32 3x3 convolution of stride 1 by Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray, 2015): tasks,
//! packed weights and transforms; the vectors are an instruction set's.
//!
//! A tile of m x m outputs reads (m + 2) x (m + 2) inputs. Both are transformed so that the sums over taps become one
//! product at each of the (m + 2)^2 points, and the sums over channels a matrix product of all tiles at each point. That
//! is (m + 2)^2 products for m^2 * 9: 2.25 times fewer for m = 2, 4 times fewer for m = 4.
//!
//! Where a map is no multiple of m, its last tiles have fewer outputs, down to one, along an axis. They need fewer
//! points, a subset of those of m: the same weights, but 484 instead of 576 products for 14x14 outputs in tiles of
//! 4x4, and 225 instead of 256 for 7x7 in tiles of 2x2.
//!
//! Tiles go in chunks, each in two jobs: transformed inputs of all channels into the scratch, by blocks of channels and
//! tiles; then, by panels of output channels, products at all points and transformed outputs. Threads take chunks of their
//! own where there are enough, or share the jobs of each. An output is one sum in one order, whatever the chunks and threads.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::LanesF32;
use crate::conv::{Activation, Conv2d, PackedF32};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Team};

/// Most points along a side of a transformed tile, and in it.
const SIDE: usize = 6;
const POINTS: usize = SIDE * SIDE;

/// Most tiles of a chunk: enough for a panel's weights to be worth reading, few enough for their products to stay in a
/// second-level cache.
const CHUNK: usize = 28;

/// Input channels that are transformed at once, and output channels of a panel.
const BLOCK: usize = 16;

/// Tasks that a chunk's inputs are transformed in.
const INPUT_TASKS: usize = 8;

/// Most threads that have chunks, and transformed inputs, of their own.
const LANES: usize = 4;

/// Floats of a panel's weights between those in use and those that are asked for: time for memory to answer.
const AHEAD: usize = 1024;

/// What an instruction set adds to [`WinogradF32`]: entries that have its instructions.
pub(crate) trait WinogradF32Kernel: Send + Sync + Sized + 'static {
    /// Its vectors; their length divides 16.
    type Lanes: LanesF32;
    /// Most tiles of a product: their sums, 16 channels each, stay in registers.
    const MR: usize;

    /// [`WinogradF32::transform_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`WinogradF32::transform_body`].
    unsafe fn transform(
        this: &WinogradF32<Self>,
        items: Range<usize>,
        chunk: &Chunk,
        input: &[f32],
        out: &SharedMut<f32>,
    );

    /// [`WinogradF32::multiply_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`WinogradF32::multiply_body`].
    unsafe fn multiply(this: &WinogradF32<Self>, panel: usize, chunk: &Chunk, inputs: &[f32], out: &SharedMut<f32>);

    /// [`Product::run`] for a number of tiles up to [`Self::MR`], each in a function of its own that has the instruction set:
    /// side by side in one they leave each other no registers.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn product(tiles: usize, product: Product);
}

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

/// A tile: where its outputs begin, which is where its inputs do counted from -padding, and how many there are along each axis.
#[derive(Debug, Clone, Copy)]
struct Tile {
    y: usize,
    x: usize,
    outputs: [usize; 2],
}

/// Tiles that are transformed and multiplied together. Those without a point lie at an end, so that those with it are a range:
/// first come tiles short across only, then whole ones, those short down only, and those short along both axes.
pub(crate) struct Chunk {
    tiles: Vec<Tile>,
    /// Whole along y: these from the first on. Whole along x: a range.
    whole_y: usize,
    whole_x: Range<usize>,
}

impl Chunk {
    /// For tiles of up to `most` outputs.
    fn new(mut tiles: Vec<Tile>, most: [usize; 2]) -> Self {
        let whole = |tile: &Tile| [tile.outputs[0] == most[0], tile.outputs[1] == most[1]];
        tiles.sort_by_key(|tile| match whole(tile) {
            [true, false] => 0,
            [true, true] => 1,
            [false, true] => 2,
            [false, false] => 3,
        });
        let count = |wanted: &dyn Fn([bool; 2]) -> bool| tiles.iter().filter(|tile| wanted(whole(tile))).count();
        let (whole_y, first) = (count(&|whole| whole[0]), count(&|whole| whole == [true, false]));
        let whole_x = first..first + count(&|whole| whole[1]);
        Self { tiles, whole_y, whole_x }
    }

    /// The tiles that have a point of which short ones lack these coordinates or do not.
    fn with_point(&self, lacking: [bool; 2]) -> Range<usize> {
        let across = if lacking[1] { self.whole_x.clone() } else { 0..self.tiles.len() };
        if lacking[0] { across.start..across.end.min(self.whole_y) } else { across }
    }
}

/// A convolution packed for the kernel `K`.
pub(crate) struct WinogradF32<K: WinogradF32Kernel> {
    conv: Conv2d,
    /// Points of whole tiles along each axis, and of those that are short along it.
    sides: [usize; 2],
    short: [usize; 2],
    /// Transformed, `[panel][point][in_c][16]`: one stream a panel.
    weights: AlignedBuf<f32>,
    bias: AlignedBuf<f32>,
    activation: Activation,
    chunks: Vec<Chunk>,
    /// Elements from a point's transformed inputs, `[block][tile][16]`, to the next one's: an odd number of cache lines, so
    /// that a tile does not meet itself in a cache's sets.
    point_stride: usize,
    kernel: PhantomData<fn() -> K>,
}

/// Products of one panel: `[tile][point][16]`.
#[repr(align(64))]
struct Products([MaybeUninit<f32>; CHUNK * POINTS * BLOCK]);

/// Inputs of a tile that reaches into the padding.
#[repr(align(64))]
struct Patch([MaybeUninit<f32>; POINTS * BLOCK]);

/// Whether Winograd kernels can serve a shape.
pub(crate) fn is_winograd(conv: &Conv2d) -> bool {
    let whole = conv.in_c.is_multiple_of(BLOCK) && conv.out_c.is_multiple_of(BLOCK);
    conv.kernel == [3, 3] && conv.stride == [1, 1] && conv.groups == 1 && whole
}

/// Tiles of `m` x `m` outputs of a map.
pub(crate) fn tiles(conv: &Conv2d, m: usize) -> usize {
    conv.out_h().div_ceil(m) * conv.out_w().div_ceil(m)
}

/// A map's tiles of up to `m` outputs along each axis, in chunks of even size.
fn chunks(conv: &Conv2d, m: [usize; 2]) -> Vec<Chunk> {
    let (out_h, out_w) = (conv.out_h(), conv.out_w());
    let row =
        |y| (0..out_w).step_by(m[1]).map(move |x| Tile { y, x, outputs: [m[0].min(out_h - y), m[1].min(out_w - x)] });
    let tiles: Vec<Tile> = (0..out_h).step_by(m[0]).flat_map(row).collect();
    // As many for each of two threads.
    let count = if tiles.len() > CHUNK { tiles.len().div_ceil(2 * CHUNK) * 2 } else { 1 };
    let part = |i| tiles[i * tiles.len() / count..(i + 1) * tiles.len() / count].to_vec();
    (0..count).map(|i| Chunk::new(part(i), m)).collect()
}

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
    /// In tiles of up to `m` outputs along each axis, 4 at most, for a shape that [`is_winograd`] accepts.
    pub(crate) fn new(conv: &Conv2d, m: [usize; 2], weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        let mut padded = AlignedBuf::new(conv.out_c);
        padded.copy_from_slice(bias);
        let chunks = chunks(conv, m);
        let chunk = chunks.iter().map(|chunk| chunk.tiles.len()).max().unwrap_or(0);
        let short = |outputs: usize, m: usize| if outputs.is_multiple_of(m) { m + 2 } else { outputs % m + 2 };
        Self {
            conv: *conv,
            sides: m.map(|m| m + 2),
            short: [short(conv.out_h(), m[0]), short(conv.out_w(), m[1])],
            weights: pack(conv, m, weights),
            bias: padded,
            activation,
            chunks,
            // An odd number of lines, of 16 floats each.
            point_stride: ((conv.in_c / BLOCK * chunk) | 1) * BLOCK,
            kernel: PhantomData,
        }
    }

    /// Points of a whole tile.
    fn points(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

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
                at >= conv.padding[axis] && at + tile.outputs[axis] + 2 <= size + conv.padding[axis]
            };
            let inner = within(tile.y, 0, conv.in_h) && within(tile.x, 1, conv.in_w);
            for lane in (0..BLOCK).step_by(K::Lanes::LANES) {
                let channel = block * BLOCK + lane;
                let to = out.span(item * BLOCK + lane, (self.points() - 1) * self.point_stride + K::Lanes::LANES);
                // SAFETY: the caller's promise. A tile without padding is a part of the input, whose pixels have the channels
                // of all blocks; the patch has those of any tile. `to` begins at the first point, and the span ends with the last.
                unsafe {
                    let mut patch = Patch([MaybeUninit::uninit(); POINTS * BLOCK]);
                    let (from, strides) = if inner {
                        let pixel = (tile.y - conv.padding[0]) * conv.in_w + tile.x - conv.padding[1];
                        (&raw const input[pixel * conv.in_c + channel], [conv.in_w * conv.in_c, conv.in_c])
                    } else {
                        self.copy_padded(tile, &input[channel..], &mut patch);
                        (patch.0.as_ptr().cast(), [SIDE * K::Lanes::LANES, K::Lanes::LANES])
                    };
                    match tile.outputs {
                        // Half of the rows at a time, those that share sums: all six would not fit 32 registers.
                        [4, 4] => {
                            self.transform_rows([4, 4], [0, 2, 3], from, strides, to);
                            self.transform_rows([4, 4], [1, 4, 5], from, strides, to);
                        }
                        [2, 2] => self.transform_rows([2, 2], [0, 1, 2, 3], from, strides, to),
                        [1, width] => self.transform_rows([1, width], [0, 1, 2], from, strides, to),
                        [2, width] => self.transform_rows([2, width], [0, 1, 2, 3], from, strides, to),
                        [3, width] => self.transform_rows([3, width], [0, 1, 2, 3, 4], from, strides, to),
                        [_, width] => self.transform_rows([4, width], [0, 1, 2, 3, 4, 5], from, strides, to),
                    }
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
        for i in 0..tile.outputs[0] + 2 {
            let y = (tile.y + i).wrapping_sub(conv.padding[0]);
            for j in 0..tile.outputs[1] + 2 {
                let x = (tile.x + j).wrapping_sub(conv.padding[1]);
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

    /// Transforms `LANES` channels of a tile of `m` outputs along each axis for the points of these rows. Constants make a function
    /// without loops of it.
    ///
    /// # Safety
    /// The CPU has the instruction set. From `from` on lie the tile's inputs, rows and pixels as far apart as `strides` say, and
    /// from `to` on are all points, [`WinogradF32::point_stride`] apart, that no other task writes to. A tile has `rows`.
    #[inline(always)]
    unsafe fn transform_rows<const ROWS: usize>(
        &self,
        m: [usize; 2],
        rows: [usize; ROWS],
        from: *const f32,
        strides: [usize; 2],
        to: *mut f32,
    ) {
        let [height, width] = m.map(|m| m + 2);
        // SAFETY: the caller's promise.
        unsafe {
            let zero = K::Lanes::splat(0.0);
            let mut lines = [[zero; SIDE]; ROWS];
            for j in 0..width {
                let mut column = [zero; SIDE];
                for (i, value) in column.iter_mut().enumerate().take(height) {
                    *value = K::Lanes::load(from.add(i * strides[0] + j * strides[1]));
                }
                let column = transform_input::<K::Lanes>(m[0], column);
                for (line, &row) in lines.iter_mut().zip(&rows) {
                    line[j] = column[row];
                }
            }
            for (&line, &row) in lines.iter().zip(&rows) {
                let to = to.add(row * self.sides[1] * self.point_stride);
                let line = transform_input::<K::Lanes>(m[1], line);
                for (j, &value) in line.iter().enumerate().take(width) {
                    K::Lanes::store(to.add(j * self.point_stride), value);
                }
            }
        }
    }

    /// What [`WinogradF32Kernel::multiply`] does: the outputs of a chunk and panel.
    ///
    /// # Safety
    /// The CPU has the instruction set; `inputs` are the chunk's, transformed; no other task has the chunk and panel.
    #[inline(always)]
    pub(crate) unsafe fn multiply_body(&self, panel: usize, chunk: &Chunk, inputs: &[f32], out: &SharedMut<f32>) {
        let mut products = Products([MaybeUninit::uninit(); CHUNK * POINTS * BLOCK]);
        let points = self.points();
        let weights = &self.weights[panel * points * self.conv.in_c * BLOCK..][..points * self.conv.in_c * BLOCK];
        for (point, weights) in weights.chunks_exact(self.conv.in_c * BLOCK).enumerate() {
            let lacking = [point / self.sides[1] >= self.short[0], point % self.sides[1] >= self.short[1]];
            let tiles = chunk.with_point(lacking);
            let groups = tiles.len().div_ceil(K::MR);
            for group in 0..groups {
                let first = tiles.start + group * tiles.len() / groups;
                let len = tiles.start + (group + 1) * tiles.len() / groups - first;
                let product = Product {
                    weights,
                    // Of several groups, the first asks for the next point's weights, as the others find these.
                    ahead: match group {
                        0 if groups == 1 => AHEAD,
                        0 => weights.len(),
                        _ => 0,
                    },
                    inputs: &inputs[point * self.point_stride + first * BLOCK..],
                    stride: chunk.tiles.len() * BLOCK,
                    out: &mut products.0[(first * points + point) * BLOCK..],
                    out_stride: points * BLOCK,
                };
                // SAFETY: the CPU has the instruction set.
                unsafe { K::product(len, product) };
            }
        }
        for (&tile, products) in chunk.tiles.iter().zip(products.0.chunks_exact(points * BLOCK)) {
            for lane in (0..BLOCK).step_by(K::Lanes::LANES) {
                let (products, channel) = (&products[lane..], panel * BLOCK + lane);
                // SAFETY: the caller's promise; all points that the tile has were computed above.
                unsafe {
                    match tile.outputs {
                        [4, 4] => self.output(tile, [4, 4], products, channel, out),
                        outputs => self.output(tile, outputs, products, channel, out),
                    }
                }
            }
        }
    }

    /// Transforms the products of a tile and `LANES` channels from `channel` on, and stores the outputs. `m` as in
    /// [`WinogradF32::transform_tile`].
    ///
    /// # Safety
    /// The CPU has the instruction set; `products` hold `LANES` values at every point of the tile, 16 apart; no other task
    /// has these outputs.
    #[inline(always)]
    unsafe fn output(
        &self,
        tile: Tile,
        m: [usize; 2],
        products: &[MaybeUninit<f32>],
        channel: usize,
        out: &SharedMut<f32>,
    ) {
        let [height, width] = m.map(|m| m + 2);
        assert!(height <= self.sides[0] && width <= self.sides[1]);
        assert!((self.points() - 1) * BLOCK + K::Lanes::LANES <= products.len());
        assert!(channel + K::Lanes::LANES <= self.bias.len());
        // SAFETY: the caller's promise, with the bounds asserted above.
        unsafe {
            let zero = K::Lanes::splat(0.0);
            let mut columns = [[zero; SIDE]; SIDE];
            for (j, slot) in columns.iter_mut().enumerate().take(width) {
                let mut column = [zero; SIDE];
                for (i, value) in column.iter_mut().enumerate().take(height) {
                    *value = K::Lanes::load(products.as_ptr().add((i * self.sides[1] + j) * BLOCK).cast());
                }
                *slot = transform_output::<K::Lanes>(m[0], column);
            }
            let bias = K::Lanes::load(self.bias.as_ptr().add(channel));
            let (pixel, row_stride) = (self.conv.out_c, self.conv.out_w() * self.conv.out_c);
            let len = (m[0] - 1) * row_stride + (m[1] - 1) * pixel + K::Lanes::LANES;
            let to = out.span(tile.y * row_stride + tile.x * pixel + channel, len);
            for i in 0..m[0] {
                let row = transform_output::<K::Lanes>(m[1], across(&columns, i));
                for (j, &value) in row.iter().enumerate().take(m[1]) {
                    let value = K::Lanes::activate(self.activation, K::Lanes::add(value, bias));
                    K::Lanes::store(to.add(i * row_stride + j * pixel), value);
                }
            }
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

/// B^T d along one axis for `m` outputs: of `d` and the result, the first `m + 2`. Points are in the order 0, infinity, 1, -1,
/// 2, -2, of which `m` outputs need the first `m + 2`. The scale of each is that of [`FILTER_MATRIX`], whatever `m`.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_input<L: LanesF32>(m: usize, d: [L::V; SIDE]) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |factor, x| L::fma(L::splat(factor), x, L::splat(0.0));
        let plus = |factor, x, sum| L::fma(L::splat(factor), x, sum);
        let mut points = d;
        match m {
            1 => {
                points[0] = times(4.0, L::sub(d[0], d[1]));
                points[1] = L::sub(d[2], d[1]);
                points[2] = times(-6.0, d[1]);
            }
            2 => {
                points[0] = times(4.0, L::sub(d[0], d[2]));
                points[1] = L::sub(d[3], d[1]);
                points[2] = times(-3.0, L::add(d[1], d[2]));
                points[3] = times(3.0, L::sub(d[1], d[2]));
            }
            3 => {
                let odd = L::sub(d[3], d[1]);
                points[0] = plus(4.0, L::sub(d[0], d[2]), L::add(odd, odd));
                points[1] = plus(-2.0, odd, L::sub(d[4], d[2]));
                points[2] = times(3.0, plus(-2.0, d[1], L::sub(d[3], d[2])));
                points[3] = plus(2.0, d[1], plus(-3.0, d[2], d[3]));
                points[4] = times(4.0, odd);
            }
            _ => {
                let (even, odd) = (plus(-4.0, d[2], d[4]), plus(-4.0, d[1], d[3]));
                let (even2, odd2) = (L::sub(d[4], d[2]), L::sub(d[3], d[1]));
                points[0] = plus(4.0, L::sub(d[0], d[2]), even2);
                points[1] = plus(-4.0, odd2, L::sub(d[5], d[3]));
                points[2] = L::add(even, odd);
                points[3] = L::sub(even, odd);
                points[4] = plus(2.0, odd2, even2);
                points[5] = plus(-2.0, odd2, even2);
            }
        }
        points
    }
}

/// A^T p along one axis for `m` outputs: of `p`, the first `m + 2`; of the result, the first `m`.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_output<L: LanesF32>(m: usize, p: [L::V; SIDE]) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let plus = |factor, x, sum| L::fma(L::splat(factor), x, sum);
        let mut outputs = p;
        if m == 1 {
            outputs[0] = L::add(L::add(p[0], p[2]), p[1]);
            return outputs;
        }
        let (sum, difference) = (L::add(p[2], p[3]), L::sub(p[2], p[3]));
        match m {
            2 => {
                outputs[0] = L::add(p[0], sum);
                outputs[1] = L::add(difference, p[1]);
            }
            3 => {
                outputs[0] = L::add(L::add(p[0], sum), p[4]);
                outputs[1] = plus(2.0, p[4], difference);
                outputs[2] = L::add(plus(4.0, p[4], sum), p[1]);
            }
            _ => {
                let (sum2, difference2) = (L::add(p[4], p[5]), L::sub(p[4], p[5]));
                outputs[0] = L::add(L::add(p[0], sum), sum2);
                outputs[1] = plus(2.0, difference2, difference);
                outputs[2] = plus(4.0, sum2, sum);
                outputs[3] = L::add(plus(8.0, difference2, difference), p[1]);
            }
        }
        outputs
    }
}

/// G, by rows, for four outputs; for fewer, its first rows. Scales are those that make most factors of
/// [`transform_input`] whole numbers.
const FILTER_MATRIX: [[f64; 3]; SIDE] = [
    [1.0 / 4.0, 0.0, 0.0],
    [0.0, 0.0, 1.0],
    [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
    [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
    [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
    [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
];

/// G g G^T of every filter g of OIHW weights, rounded once, as `[panel][point][in_c][16]`.
fn pack(conv: &Conv2d, m: [usize; 2], oihw: &[f32]) -> AlignedBuf<f32> {
    let ([rows, columns], in_c) = (m.map(|m| &FILTER_MATRIX[..m + 2]), conv.in_c);
    let points = rows.len() * columns.len();
    let mut packed = AlignedBuf::new(points * in_c * conv.out_c);
    for (index, filter) in oihw.chunks_exact(9).enumerate() {
        let (o, i) = (index / in_c, index % in_c);
        let first = (o / BLOCK * points * in_c + i) * BLOCK + o % BLOCK;
        for (y, row) in rows.iter().enumerate() {
            let half: [f64; 3] = std::array::from_fn(|x| (0..3).map(|y| row[y] * f64::from(filter[y * 3 + x])).sum());
            for (x, column) in columns.iter().enumerate() {
                let value: f64 = half.iter().zip(column).map(|(a, b)| a * b).sum();
                packed[first + (y * columns.len() + x) * in_c * BLOCK] = value as f32;
            }
        }
    }
    packed
}

impl<K: WinogradF32Kernel> WinogradF32<K> {
    /// Elements of scratch for a chunk's transformed inputs.
    fn transformed_len(&self) -> usize {
        self.points() * self.point_stride
    }

    /// Threads that may have chunks of their own.
    fn lanes(&self) -> usize {
        self.chunks.len().min(LANES)
    }

    /// A chunk's items of the first job, and tasks (panels) of the second.
    fn jobs(&self, chunk: &Chunk) -> [usize; 2] {
        [self.conv.in_c / BLOCK * chunk.tiles.len(), self.conv.out_c / BLOCK]
    }

    /// Each thread takes the next chunk and does all of it: what it transforms never leaves its caches.
    fn run_chunks(&self, input: &[f32], out: &SharedMut<f32>, scratch: &mut [f32], team: &Team) {
        let next = AtomicUsize::new(0);
        team.run_chunks(scratch, self.transformed_len(), |_, scratch| {
            while let Some(chunk) = self.chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let [items, panels] = self.jobs(chunk);
                // SAFETY: `ConvF32::new` checked that the CPU has the instruction set; scratch and chunk are this task's.
                unsafe { K::transform(self, 0..items, chunk, input, &SharedMut::new(scratch)) };
                for panel in 0..panels {
                    // SAFETY: as above; all items of the chunk are done.
                    unsafe { K::multiply(self, panel, chunk, scratch, out) };
                }
            }
        });
    }

    /// All threads share each chunk.
    fn run_shared(&self, input: &[f32], out: &SharedMut<f32>, scratch: &mut [f32], team: &Team) {
        for chunk in &self.chunks {
            let [items, panels] = self.jobs(chunk);
            let tasks = items.min(INPUT_TASKS);
            let transformed = SharedMut::new(scratch);
            team.run(tasks, |task| {
                let items = task * items / tasks..(task + 1) * items / tasks;
                // SAFETY: `ConvF32::new` checked that the CPU has the instruction set; each item is one task's.
                unsafe { K::transform(self, items, chunk, input, &transformed) }
            });
            let transformed = &*scratch;
            team.run(panels, |panel| {
                // SAFETY: as above; all items of the chunk are done; each panel is one task's.
                unsafe { K::multiply(self, panel, chunk, transformed, out) }
            });
        }
    }
}

impl<K: WinogradF32Kernel> PackedF32 for WinogradF32<K> {
    fn scratch_len(&self) -> usize {
        self.lanes() * self.transformed_len()
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    fn run(&self, input: &[f32], output: &mut [f32], scratch: &mut [f32], team: &Team) {
        let scratch = &mut scratch[..self.scratch_len()];
        let out = SharedMut::new(output);
        // Where chunks give threads about the same to do.
        let (chunks, threads) = (self.chunks.len(), team.threads());
        if threads <= self.lanes() && (chunks.is_multiple_of(threads) || chunks > 2 * threads) {
            self.run_chunks(input, &out, scratch, team);
        } else {
            self.run_shared(input, &out, &mut scratch[..self.transformed_len()], team);
        }
    }
}
