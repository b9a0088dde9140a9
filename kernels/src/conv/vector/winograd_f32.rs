//! f32 3x3 convolution of stride 1 by Winograd's minimal filtering F(m x m, 3 x 3) (Lavin and Gray, 2015): tasks,
//! packed weights and transforms; the vectors are an instruction set's.
//!
//! A tile of m x m outputs reads (m + 2) x (m + 2) inputs. Both are transformed so that the sums over taps become one
//! product at each of the (m + 2)^2 points, and the sums over channels a matrix product of all tiles at each point. That
//! is (m + 2)^2 products for m^2 * 9: 2.25 times fewer for m = 2, 4 times fewer for m = 4.
//!
//! Tiles go in chunks, each in two jobs for the team: transformed inputs of all channels into the scratch, by tiles and
//! blocks of channels; then, by panels of output channels, products at all points and transformed outputs. Each output is
//! one sum in one order, whatever the chunks and threads.

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;

use super::LanesF32;
use crate::conv::{Activation, Conv2d, PackedF32};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Team};

/// Most points along a side of a transformed tile, and in it.
const SIDE: usize = 6;
const POINTS: usize = SIDE * SIDE;

/// Most tiles of a chunk: enough for a panel's weights to be worth reading, few enough for their products to stay in a
/// second-level cache.
const CHUNK: usize = 32;

/// Input channels that are transformed at once, and most output channels of a panel.
const BLOCK: usize = 16;
const MAX_NR: usize = 32;

/// Most tiles that a matrix product keeps in registers.
const MR: usize = 6;

/// Tasks that a chunk's inputs are transformed in.
const INPUT_TASKS: usize = 8;

/// What an instruction set adds to [`WinogradF32`]: entries that have its instructions.
pub(crate) trait WinogradF32Kernel: Send + Sync + Sized + 'static {
    /// Its vectors; their length divides 16.
    type Lanes: LanesF32;
    /// Output channels of a panel: a few vectors, up to 32 channels.
    const NR: usize;
    /// Outputs along a side of a tile: 2 or 4.
    const M: usize;

    /// [`WinogradF32::transform_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`WinogradF32::transform_body`].
    unsafe fn transform(
        this: &WinogradF32<Self>,
        items: Range<usize>,
        chunk: Chunk,
        input: &[f32],
        out: &SharedMut<f32>,
    );

    /// [`WinogradF32::multiply_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`WinogradF32::multiply_body`].
    unsafe fn multiply(this: &WinogradF32<Self>, panel: usize, chunk: Chunk, inputs: &[f32], out: &SharedMut<f32>);
}

/// A vector of a kernel's instruction set.
type V<K> = <<K as WinogradF32Kernel>::Lanes as LanesF32>::V;

/// Some tiles in a row (which may wrap to the next).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    first: usize,
    len: usize,
}

/// A convolution packed for the kernel `K`.
pub(crate) struct WinogradF32<K: WinogradF32Kernel> {
    conv: Conv2d,
    /// Transformed, `[panel][point][in_c][NR]`: one stream a panel.
    weights: AlignedBuf<f32>,
    bias: AlignedBuf<f32>,
    activation: Activation,
    /// Tiles of the map in a row, and in all.
    columns: usize,
    tiles: usize,
    /// Elements from a transformed tile to the next at the same point, and from a point to the next. Both are odd
    /// numbers of cache lines, so that neither meets itself in a cache's sets.
    tile_stride: usize,
    point_stride: usize,
    kernel: PhantomData<fn() -> K>,
}

/// Products of one panel: `[tile][point][NR]`.
#[repr(align(64))]
struct Products([MaybeUninit<f32>; CHUNK * POINTS * MAX_NR]);

/// Whether Winograd kernels with panels of `nr` channels can serve a shape.
pub(crate) fn is_winograd(conv: &Conv2d, nr: usize) -> bool {
    let whole = conv.in_c.is_multiple_of(BLOCK) && conv.out_c.is_multiple_of(nr);
    conv.kernel == [3, 3] && conv.stride == [1, 1] && conv.groups == 1 && whole
}

/// Tiles of `m` x `m` outputs of a map.
pub(crate) fn tiles(conv: &Conv2d, m: usize) -> usize {
    conv.out_h().div_ceil(m) * conv.out_w().div_ceil(m)
}

/// A multiple of 16 floats whose number of cache lines is odd.
fn odd_lines(len: usize) -> usize {
    (len.div_ceil(16) | 1) * 16
}

impl<K: WinogradF32Kernel> WinogradF32<K> {
    /// Points along a side of a tile, and in it.
    const SIDE: usize = K::M + 2;
    const POINTS: usize = Self::SIDE * Self::SIDE;

    /// For a shape that [`is_winograd`] accepts.
    pub(crate) fn new(conv: &Conv2d, weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        let mut padded = AlignedBuf::new(conv.out_c);
        padded.copy_from_slice(bias);
        let tiles = tiles(conv, K::M);
        let chunk = tiles.div_ceil(tiles.div_ceil(CHUNK));
        let tile_stride = odd_lines(conv.in_c);
        Self {
            conv: *conv,
            weights: pack::<K>(conv, weights),
            bias: padded,
            activation,
            columns: conv.out_w().div_ceil(K::M),
            tiles,
            tile_stride,
            point_stride: odd_lines(chunk * tile_stride),
            kernel: PhantomData,
        }
    }

    /// The tiles in chunks of even size.
    fn chunks(&self) -> impl Iterator<Item = Chunk> {
        let count = self.tiles.div_ceil(CHUNK);
        (0..count).map(move |i| {
            let first = i * self.tiles / count;
            Chunk { first, len: (i + 1) * self.tiles / count - first }
        })
    }

    /// Blocks of input channels; an item of the first job is one of them of one tile.
    fn blocks(&self) -> usize {
        self.conv.in_c / BLOCK
    }

    /// What [`WinogradF32Kernel::transform`] does: transforms items (tiles times blocks) of a chunk.
    ///
    /// # Safety
    /// The CPU has the instruction set, and no other task has these items.
    #[inline(always)]
    pub(crate) unsafe fn transform_body(&self, items: Range<usize>, chunk: Chunk, input: &[f32], out: &SharedMut<f32>) {
        let conv = &self.conv;
        for item in items {
            let (index, channel) = (item / self.blocks(), item % self.blocks() * BLOCK);
            let tile = chunk.first + index;
            // Of the tile's inputs, counted from -padding.
            let (y, x) = (tile / self.columns * K::M, tile % self.columns * K::M);
            let within = |at: usize, pad: usize, size: usize| at >= pad && at + Self::SIDE <= size + pad;
            let inner = within(y, conv.padding[0], conv.in_h) && within(x, conv.padding[1], conv.in_w);
            for c in (channel..channel + BLOCK).step_by(K::Lanes::LANES) {
                let to = index * self.tile_stride + c;
                // SAFETY: the caller's promise; a tile is inside the input where said so.
                unsafe {
                    if inner {
                        self.transform_tile::<true>(y, x, &input[c..], out, to);
                    } else {
                        self.transform_tile::<false>(y, x, &input[c..], out, to);
                    }
                }
            }
        }
    }

    /// Transforms `LANES` channels of a tile whose inputs start at padded row `y` and column `x`.
    ///
    /// # Safety
    /// As [`WinogradF32::transform_body`]; where `INNER`, no input of the tile is in the padding.
    #[inline(always)]
    unsafe fn transform_tile<const INNER: bool>(
        &self,
        y: usize,
        x: usize,
        input: &[f32],
        out: &SharedMut<f32>,
        to: usize,
    ) {
        let conv = &self.conv;
        // SAFETY: the caller's promise. Loads: a pixel inside the input has `LANES` channels from the slice's start on, as
        // the slice begins at a channel with as many after it.
        unsafe {
            let zero = K::Lanes::splat(0.0);
            let mut columns = [[zero; SIDE]; SIDE];
            for (j, slot) in columns.iter_mut().enumerate().take(Self::SIDE) {
                let mut column = [zero; SIDE];
                for (i, value) in column.iter_mut().enumerate().take(Self::SIDE) {
                    let (y, x) = ((y + i).wrapping_sub(conv.padding[0]), (x + j).wrapping_sub(conv.padding[1]));
                    if INNER || y < conv.in_h && x < conv.in_w {
                        let at = (y * conv.in_w + x) * conv.in_c;
                        debug_assert!(at + K::Lanes::LANES <= input.len());
                        *value = K::Lanes::load(input.as_ptr().add(at));
                    }
                }
                *slot = transform_input::<K>(column);
            }
            for i in 0..Self::SIDE {
                let row = transform_input::<K>(across::<K>(&columns, i));
                for (j, &value) in row.iter().enumerate().take(Self::SIDE) {
                    let at = (i * Self::SIDE + j) * self.point_stride + to;
                    K::Lanes::store(out.part(at, K::Lanes::LANES).as_mut_ptr(), value);
                }
            }
        }
    }

    /// What [`WinogradF32Kernel::multiply`] does: the outputs of a chunk and panel.
    ///
    /// # Safety
    /// The CPU has the instruction set; `inputs` are the chunk's, transformed; no other task has the chunk and panel.
    #[inline(always)]
    pub(crate) unsafe fn multiply_body(&self, panel: usize, chunk: Chunk, inputs: &[f32], out: &SharedMut<f32>) {
        let in_c = self.conv.in_c;
        let mut products = Products([MaybeUninit::uninit(); CHUNK * POINTS * MAX_NR]);
        let weights = &self.weights[panel * Self::POINTS * in_c * K::NR..][..Self::POINTS * in_c * K::NR];
        let groups = chunk.len.div_ceil(MR);
        for point in 0..Self::POINTS {
            let weights = &weights[point * in_c * K::NR..][..in_c * K::NR];
            for group in 0..groups {
                let first = group * chunk.len / groups;
                let len = (group + 1) * chunk.len / groups - first;
                let inputs = &inputs[point * self.point_stride + first * self.tile_stride..];
                let to = &mut products.0[(first * Self::POINTS + point) * K::NR..];
                // The first group asks for the next point's weights.
                let ahead = if group == 0 { in_c * K::NR } else { 0 };
                // SAFETY: the CPU has the instruction set; the group has so many tiles.
                unsafe {
                    match len {
                        1 => self.products::<1>(weights, ahead, inputs, to),
                        2 => self.products::<2>(weights, ahead, inputs, to),
                        3 => self.products::<3>(weights, ahead, inputs, to),
                        4 => self.products::<4>(weights, ahead, inputs, to),
                        5 => self.products::<5>(weights, ahead, inputs, to),
                        _ => self.products::<6>(weights, ahead, inputs, to),
                    }
                }
            }
        }
        for index in 0..chunk.len {
            let products = &products.0[index * Self::POINTS * K::NR..][..Self::POINTS * K::NR];
            for lane in (0..K::NR).step_by(K::Lanes::LANES) {
                // SAFETY: the caller's promise; all points of the tile were computed above.
                unsafe { self.output(chunk.first + index, panel * K::NR + lane, &products[lane..], out) };
            }
        }
    }

    /// The products of `TILES` tiles with a panel's weights at one point.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    #[inline(always)]
    unsafe fn products<const TILES: usize>(
        &self,
        weights: &[f32],
        ahead: usize,
        inputs: &[f32],
        out: &mut [MaybeUninit<f32>],
    ) {
        let vectors = K::NR / K::Lanes::LANES;
        assert!(vectors <= 4 && weights.len() == self.conv.in_c * K::NR);
        assert!((TILES - 1) * self.tile_stride + self.conv.in_c <= inputs.len());
        assert!((TILES - 1) * Self::POINTS * K::NR + K::NR <= out.len());
        // SAFETY: the caller's promise; the bounds are those asserted above.
        unsafe {
            let mut sums = [[K::Lanes::splat(0.0); 4]; TILES];
            let mut weight = weights.as_ptr();
            for c in 0..self.conv.in_c {
                let mut w = [K::Lanes::splat(0.0); 4];
                for (v, w) in w.iter_mut().enumerate().take(vectors) {
                    *w = K::Lanes::load(weight.add(v * K::Lanes::LANES));
                }
                for line in (0..K::NR).step_by(BLOCK) {
                    K::Lanes::prefetch(weight.wrapping_add(ahead + line));
                }
                weight = weight.add(K::NR);
                for (tile, sums) in sums.iter_mut().enumerate() {
                    let x = K::Lanes::splat(*inputs.as_ptr().add(tile * self.tile_stride + c));
                    for v in 0..vectors {
                        sums[v] = K::Lanes::fma(x, w[v], sums[v]);
                    }
                }
            }
            for (tile, sums) in sums.iter().enumerate() {
                for (v, &sum) in sums.iter().enumerate().take(vectors) {
                    K::Lanes::store(
                        out.as_mut_ptr().add(tile * Self::POINTS * K::NR + v * K::Lanes::LANES).cast(),
                        sum,
                    );
                }
            }
        }
    }

    /// Transforms the products of a tile and `LANES` channels from `channel` on, and stores the outputs that exist.
    ///
    /// # Safety
    /// The CPU has the instruction set; `products` hold `LANES` values at every point, `K::NR` apart; no other task has
    /// these outputs.
    #[inline(always)]
    unsafe fn output(&self, tile: usize, channel: usize, products: &[MaybeUninit<f32>], out: &SharedMut<f32>) {
        let (out_h, out_w) = (self.conv.out_h(), self.conv.out_w());
        let (y, x) = (tile / self.columns * K::M, tile % self.columns * K::M);
        assert!(
            (Self::POINTS - 1) * K::NR + K::Lanes::LANES <= products.len()
                && channel + K::Lanes::LANES <= self.bias.len()
        );
        // SAFETY: the caller's promise, with the bounds asserted above.
        unsafe {
            let zero = K::Lanes::splat(0.0);
            let mut columns = [[zero; SIDE]; SIDE];
            for (j, slot) in columns.iter_mut().enumerate().take(Self::SIDE) {
                let mut column = [zero; SIDE];
                for (i, value) in column.iter_mut().enumerate().take(Self::SIDE) {
                    *value = K::Lanes::load(products.as_ptr().add((i * Self::SIDE + j) * K::NR).cast());
                }
                *slot = transform_output::<K>(column);
            }
            let bias = K::Lanes::load(self.bias.as_ptr().add(channel));
            for i in 0..K::M.min(out_h - y) {
                let row = transform_output::<K>(across::<K>(&columns, i));
                for (j, &value) in row.iter().enumerate().take(K::M.min(out_w - x)) {
                    let at = ((y + i) * out_w + x + j) * self.conv.out_c + channel;
                    let value = K::Lanes::activate(self.activation, K::Lanes::add(value, bias));
                    K::Lanes::store(out.part(at, K::Lanes::LANES).as_mut_ptr(), value);
                }
            }
        }
    }
}

/// Row `i` of a matrix of columns.
#[inline(always)]
fn across<K: WinogradF32Kernel>(columns: &[[V<K>; SIDE]; SIDE], i: usize) -> [V<K>; SIDE] {
    let mut row = columns[0];
    for (value, column) in row.iter_mut().zip(columns) {
        *value = column[i];
    }
    row
}

/// B^T d along one axis; of `d`, the first `M + 2`.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_input<K: WinogradF32Kernel>(d: [V<K>; SIDE]) -> [V<K>; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        if K::M == 2 {
            return [
                K::Lanes::sub(d[0], d[2]),
                K::Lanes::add(d[1], d[2]),
                K::Lanes::sub(d[2], d[1]),
                K::Lanes::sub(d[1], d[3]),
                d[4],
                d[5],
            ];
        }
        let (two, four, minus_four) = (K::Lanes::splat(2.0), K::Lanes::splat(4.0), K::Lanes::splat(-4.0));
        let minus_five = K::Lanes::splat(-5.0);
        let (even, odd) = (K::Lanes::fma(minus_four, d[2], d[4]), K::Lanes::fma(minus_four, d[1], d[3]));
        let (even2, odd2) = (K::Lanes::sub(d[4], d[2]), K::Lanes::sub(d[3], d[1]));
        [
            K::Lanes::fma(four, d[0], K::Lanes::fma(minus_five, d[2], d[4])),
            K::Lanes::add(even, odd),
            K::Lanes::sub(even, odd),
            K::Lanes::fma(two, odd2, even2),
            K::Lanes::fma(K::Lanes::splat(-2.0), odd2, even2),
            K::Lanes::fma(four, d[1], K::Lanes::fma(minus_five, d[3], d[5])),
        ]
    }
}

/// A^T m along one axis: of `m`, the first `M + 2`; of the result, the first `M`.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_output<K: WinogradF32Kernel>(m: [V<K>; SIDE]) -> [V<K>; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let (sum, difference) = (K::Lanes::add(m[1], m[2]), K::Lanes::sub(m[1], m[2]));
        if K::M == 2 {
            return [K::Lanes::add(m[0], sum), K::Lanes::sub(difference, m[3]), m[2], m[3], m[4], m[5]];
        }
        let (sum2, difference2) = (K::Lanes::add(m[3], m[4]), K::Lanes::sub(m[3], m[4]));
        [
            K::Lanes::add(K::Lanes::add(m[0], sum), sum2),
            K::Lanes::fma(K::Lanes::splat(2.0), difference2, difference),
            K::Lanes::fma(K::Lanes::splat(4.0), sum2, sum),
            K::Lanes::add(K::Lanes::fma(K::Lanes::splat(8.0), difference2, difference), m[5]),
            m[4],
            m[5],
        ]
    }
}

/// G, by rows.
fn filter_matrix(m: usize) -> &'static [[f64; 3]] {
    if m == 2 {
        &[[1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]]
    } else {
        &[
            [1.0 / 4.0, 0.0, 0.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
            [0.0, 0.0, 1.0],
        ]
    }
}

/// G g G^T of every filter g of OIHW weights, rounded once, as `[panel][point][in_c][NR]`.
fn pack<K: WinogradF32Kernel>(conv: &Conv2d, oihw: &[f32]) -> AlignedBuf<f32> {
    let (matrix, in_c) = (filter_matrix(K::M), conv.in_c);
    let points = matrix.len() * matrix.len();
    let mut packed = AlignedBuf::new(points * in_c * conv.out_c);
    for (index, filter) in oihw.chunks_exact(9).enumerate() {
        let (o, i) = (index / in_c, index % in_c);
        let first = (o / K::NR * points * in_c + i) * K::NR + o % K::NR;
        let mut half = [[0.0; 3]; SIDE];
        for (half, row) in half.iter_mut().zip(matrix) {
            *half = std::array::from_fn(|x| (0..3).map(|y| row[y] * f64::from(filter[y * 3 + x])).sum());
        }
        for (y, half) in half.iter().enumerate().take(matrix.len()) {
            for (x, row) in matrix.iter().enumerate() {
                let value: f64 = half.iter().zip(row).map(|(a, b)| a * b).sum();
                packed[first + (y * matrix.len() + x) * in_c * K::NR] = value as f32;
            }
        }
    }
    packed
}

impl<K: WinogradF32Kernel> PackedF32 for WinogradF32<K> {
    fn scratch_len(&self) -> usize {
        Self::POINTS * self.point_stride + 16
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    fn run(&self, input: &[f32], output: &mut [f32], scratch: &mut [f32], team: &Team) {
        let scratch = &mut scratch[..self.scratch_len()];
        let out = SharedMut::new(output);
        for chunk in self.chunks() {
            let items = chunk.len * self.blocks();
            let tasks = items.min(INPUT_TASKS);
            let transformed = SharedMut::new(scratch);
            team.run(tasks, |task| {
                let items = task * items / tasks..(task + 1) * items / tasks;
                // SAFETY: `ConvF32::new` checked that the CPU has the instruction set; each item is one task's.
                unsafe { K::transform(self, items, chunk, input, &transformed) }
            });
            let transformed = &*scratch;
            team.run(self.conv.out_c / K::NR, |panel| {
                // SAFETY: as above; all items of the chunk are done; each panel is one task's.
                unsafe { K::multiply(self, panel, chunk, transformed, &out) }
            });
        }
    }
}
