//! int8 depthwise convolution by an instruction that sums four products of bytes: AVX-VNNI's `vpdpbusd`, NEON's `sdot`.
//!
//! It should sum four products of one channel, which NHWC keeps far apart. So four rows of the padded input are interleaved, a block
//! of channels at a time, and a column of a 3x3 window is one group of four of which three have a weight. With a stride of 1 two
//! output rows share the four rows, their weights shifted against each other; with a stride of 2 there is one output row. The last row
//! of a 5x5 window, or the last two of two windows, take a second group, two rows further down.
//!
//! Channels are taken in units of 8. Where 8 does not divide them the last unit is the last channels, some of which are then
//! computed twice, as are the last pixels of a row where tiles do not divide it.

use super::{ByRows, EpilogueU8, LINE, WholeRows, is_small_depthwise, task_rows};
use crate::conv::{Conv2d, InputRows, PackedU8};
use crate::{AlignedBuf, Element, Requantize};

/// Products that an instruction sums.
pub(crate) const KR: usize = 4;

/// Channels of a unit, and bytes of its groups.
pub(crate) const UNIT: usize = 8;
const UNIT_BYTES: usize = UNIT * KR;

/// Pixels of a tile.
pub(crate) const MR: usize = 4;

/// What an instruction set adds to [`DepthwiseDot`].
pub(crate) trait DepthwiseDotKernel: Send + Sync + Sized + 'static {
    /// Most units of a block: what a register of input bytes holds.
    const UNITS: usize;
    /// What is taken off an activation before it is multiplied; the weights' sums bring it back.
    const OFFSET: u8;
    /// How sums become outputs, found out once.
    type Scaling: Send + Sync;

    /// That of sums of `terms` products.
    fn scaling(requantize: &Requantize, terms: usize) -> Self::Scaling;

    /// Interleaves `units` units of `pixels` pixels: of each unit 8 times four bytes, less the offset, one of each row from `FIRST` to
    /// `END`, and anything for other rows.
    ///
    /// # Safety
    /// The CPU has the instruction set. Of each row, `pixels` pixels can be read, `8 * units` bytes each and the row's step
    /// apart; `out` has `32 * units` writable bytes for each, `cell` apart.
    unsafe fn interleave<const FIRST: usize, const END: usize>(
        rows: [Row; KR],
        pixels: usize,
        units: usize,
        out: *mut u8,
        cell: usize,
    );

    /// [`strip_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`strip_body`]; `scaling` is that of the strip's constants.
    unsafe fn strip<const K: usize, const S: usize, const OR: usize>(scaling: &Self::Scaling, strip: &Strip<OR>);
}

/// Sums of a unit's 8 channels, as vectors of an instruction set. A method becomes one instruction or a few inside a function that
/// has the set.
///
/// # Safety
/// All methods: the CPU has the instruction set. Pointers: those of a unit's 8 numbers or 32 bytes, at any address.
pub(crate) trait DotLanes {
    /// 8 sums.
    type Sums: Copy;
    /// 8 groups of four bytes.
    type Groups: Copy;

    unsafe fn start(bias: *const i32) -> Self::Sums;
    unsafe fn load(pointer: *const u8) -> Self::Groups;
    /// Adds the products of each group to its sum.
    unsafe fn dot(sums: Self::Sums, x: Self::Groups, w: Self::Groups) -> Self::Sums;
    /// The outputs of `T` pixels, 1 or 4, whose constants start at `constants`; to 8 bytes each, `step` apart.
    unsafe fn store<const T: usize>(
        epilogue: &EpilogueU8,
        constants: usize,
        sums: [Self::Sums; T],
        out: *mut u8,
        step: usize,
    );
}

/// An input row from a block's first channel on, or a pixel of padding for all of a row's.
#[derive(Clone, Copy)]
pub(crate) struct Row {
    pub(crate) pixel: *const u8,
    /// Bytes from a pixel to the next.
    pub(crate) step: usize,
}

/// A pixel of each row from `FIRST`, 0 or 2, to `END`, 3 or 4; the third, which is always there, for others.
#[inline(always)]
pub(crate) fn loaded<const FIRST: usize, const END: usize, V: Copy>(
    rows: [Row; KR],
    load: impl Fn(Row) -> V,
) -> [V; KR] {
    let third = load(rows[2]);
    std::array::from_fn(|r| if r != 2 && (FIRST..END).contains(&r) { load(rows[r]) } else { third })
}

/// A unit of `OR` output rows.
pub(crate) struct Strip<'a, const OR: usize> {
    /// Interleaved rows from the unit's first byte on: bytes from one pixel to the next, and from one group of rows to the next.
    cells: *const u8,
    cell: usize,
    group: usize,
    /// `[group of rows][kernel column][output row, also where it is not made]` of 32 bytes.
    weights: &'a [i8],
    epilogue: &'a EpilogueU8,
    constants: usize,
    /// The unit's first byte in each output row.
    out: [*mut u8; OR],
    out_w: usize,
    /// Bytes from an output pixel to the next.
    step: usize,
}

/// The outputs of a strip, of all its output rows or of the first, of a `K`x`K` window of stride `S`.
///
/// # Safety
/// The CPU has the instruction set of `L`. Each group has the cells of all columns that the windows of `out_w` pixels reach, and each output row
/// `out_w` pixels with 8 writable bytes.
#[inline(always)]
pub(crate) unsafe fn strip_body<L: DotLanes, const K: usize, const S: usize, const OR: usize>(strip: &Strip<OR>) {
    let shape = Shape { kernel: K, stride: S };
    assert!(strip.weights.len() == shape.unit_len() && strip.constants + UNIT <= strip.epilogue.bias_i32.len());
    let mut pixel = 0;
    // SAFETY: the caller's promise; tiles end with the row.
    unsafe {
        while pixel + MR < strip.out_w {
            tile::<L, K, S, OR, MR>(strip, pixel);
            pixel += MR;
        }
        if strip.out_w >= MR {
            return tile::<L, K, S, OR, MR>(strip, strip.out_w - MR);
        }
        (0..strip.out_w).for_each(|pixel| tile::<L, K, S, OR, 1>(strip, pixel));
    }
}

/// The outputs of `T` pixels.
///
/// # Safety
/// Those of [`strip_body`]; `pixel + T` is at most `out_w`, and the lengths of weights and constants have been checked.
#[inline(always)]
unsafe fn tile<L: DotLanes, const K: usize, const S: usize, const OR: usize, const T: usize>(
    strip: &Strip<OR>,
    pixel: usize,
) {
    const { assert!(T == 1 || T == MR) };
    // SAFETY: there are 8 of them, as `strip_body` checks.
    let mut sums = [[unsafe { L::start(strip.epilogue.bias_i32.as_ptr().add(strip.constants)) }; T]; OR];
    let shape = Shape { kernel: K, stride: S };
    for g in 0..shape.groups() {
        for kx in 0..K {
            // SAFETY: columns `(pixel + t) * S + kx` are in the windows; weights are as many as `strip_body` checks.
            unsafe {
                let first = strip.cells.add(g * strip.group + (pixel * S + kx) * strip.cell);
                let x: [L::Groups; T] = std::array::from_fn(|t| L::load(first.add(t * S * strip.cell)));
                for (o, sums) in sums.iter_mut().enumerate() {
                    let w = L::load(
                        strip.weights.as_ptr().cast::<u8>().add(((g * K + kx) * shape.out_rows() + o) * UNIT_BYTES),
                    );
                    for t in 0..T {
                        sums[t] = L::dot(sums[t], x[t], w);
                    }
                }
            }
        }
    }
    for (sums, out) in sums.into_iter().zip(strip.out) {
        // SAFETY: the caller's promise.
        unsafe { L::store(strip.epilogue, strip.constants, sums, out.add(pixel * strip.step), strip.step) }
    }
}

/// Units from `channel` on that are interleaved together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    channel: usize,
    units: usize,
    /// Units of the blocks before it.
    before: usize,
}

impl Block {
    /// The blocks of so many channels, 8 or more, of `most` units or fewer.
    fn all(channels: usize, most: usize) -> Vec<Self> {
        let (mut all, mut end, mut before) = (Vec::new(), 0, 0);
        while end < channels {
            let units = (channels - end).div_ceil(UNIT).min(most).min(channels / UNIT);
            let channel = end.min(channels - units * UNIT);
            all.push(Self { channel, units, before });
            (end, before) = (channel + units * UNIT, before + units);
        }
        all
    }
}

/// A depthwise convolution packed for the kernel `K`.
pub(crate) struct DepthwiseDot<K: DepthwiseDotKernel> {
    conv: Conv2d,
    shape: Shape,
    blocks: Vec<Block>,
    /// The first channel of each unit.
    units: Vec<usize>,
    /// Bytes of a pixel's interleaved rows, also where a block has fewer units.
    cell: usize,
    /// `[unit][group of rows][kernel column][output row][channel][KR]`, zeros where there is no weight.
    weights: AlignedBuf<i8>,
    /// 8 constants a unit.
    epilogue: EpilogueU8,
    scaling: K::Scaling,
    /// A pixel of zero points.
    padding: AlignedBuf<u8>,
    /// Output rows of a task.
    task_rows: usize,
}

/// What a window's size and stride decide.
#[derive(Debug, Clone, Copy)]
struct Shape {
    kernel: usize,
    stride: usize,
}

impl Shape {
    /// Output rows of a strip.
    #[inline(always)]
    fn out_rows(self) -> usize {
        3 - self.stride
    }

    /// Groups of four rows that it reads, each two rows below the one before.
    #[inline(always)]
    fn groups(self) -> usize {
        self.kernel / 2
    }

    /// Bytes of a unit's weights.
    #[inline(always)]
    fn unit_len(self) -> usize {
        self.groups() * self.kernel * self.out_rows() * UNIT_BYTES
    }

    /// The tap of a unit's weight and its channel in the unit, where it is one.
    fn tap(self, index: usize) -> Option<[usize; 3]> {
        let (row, channel, vector) = (index % KR, index / KR % UNIT, index / UNIT_BYTES);
        let (o, vector) = (vector % self.out_rows(), vector / self.out_rows());
        let (kx, group) = (vector % self.kernel, vector / self.kernel);
        // The first two rows of a second group are the last two of the first.
        let twice = group > 0 && row < 2;
        let ky = (2 * group + row).checked_sub(o).filter(|&ky| ky < self.kernel && !twice)?;
        Some([channel, ky, kx])
    }
}

impl<K: DepthwiseDotKernel> DepthwiseDot<K> {
    /// What is served.
    pub(crate) fn accepts(conv: &Conv2d) -> bool {
        is_small_depthwise(conv, UNIT)
    }

    /// Packs weights.
    pub(crate) fn pack(conv: &Conv2d, weights: &[i8], requantize: Requantize) -> Box<dyn PackedU8> {
        Box::new(ByRows(Self::new(conv, weights, &requantize)))
    }

    fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let shape = Shape { kernel: conv.kernel[0], stride: conv.stride[0] };
        let blocks = Block::all(conv.in_c, K::UNITS);
        let units: Vec<_> =
            blocks.iter().flat_map(|block| (0..block.units).map(|unit| block.channel + unit * UNIT)).collect();
        let mut packed = AlignedBuf::new(units.len() * shape.unit_len());
        for (index, out) in packed.iter_mut().enumerate() {
            if let Some([channel, ky, kx]) = shape.tap(index % shape.unit_len()) {
                let channel = units[index / shape.unit_len()] + channel;
                *out = weights[(channel * shape.kernel + ky) * shape.kernel + kx];
            }
        }
        let mut epilogue = EpilogueU8::new(requantize, |v| spread(&units, v), |v| spread(&units, v));
        let sums = spread(&units, &conv.weight_sums(weights));
        for (bias, sum) in epilogue.bias_i32.iter_mut().zip(sums.iter()) {
            *bias = bias.wrapping_add(i32::from(K::OFFSET) * sum);
        }
        let mut padding = AlignedBuf::new(K::UNITS * UNIT);
        padding.fill(requantize.x_zero_point);
        Self {
            conv: *conv,
            shape,
            cell: blocks.iter().map(|block| block.units).max().unwrap_or(0) * UNIT_BYTES,
            blocks,
            units,
            weights: packed,
            epilogue,
            scaling: K::scaling(requantize, conv.terms()),
            padding,
            task_rows: task_rows(conv, shape.out_rows()),
        }
    }

    /// Bytes of a group of interleaved rows, with the padding's columns.
    fn group_len(&self) -> usize {
        (self.conv.in_w + 2 * self.conv.padding[1]) * self.cell
    }

    /// # Safety
    /// As [`WholeRows::rows`]; the parameters are those of the shape.
    ///
    /// # Panics
    /// If `out` is not of whole rows.
    unsafe fn strips<const KERNEL: usize, const S: usize, const OR: usize>(
        &self,
        first: usize,
        input: InputRows<u8>,
        cells: &mut [u8],
        out: &mut [u8],
    ) {
        let (row_len, group_len) = (self.conv.out_w() * self.conv.out_c, self.group_len());
        assert!(out.len().is_multiple_of(row_len), "{} bytes in rows of {row_len}", out.len());
        let cells = &mut cells[..self.shape.groups() * group_len];
        // Nothing else is written where the padding's columns are.
        cells.fill(self.padding[0] ^ K::OFFSET);
        for (index, out) in out.chunks_mut(OR * row_len).enumerate() {
            for block in &self.blocks {
                let y = (first + index * OR) * S;
                // SAFETY: the caller's promise; strips have as many output rows as there are, whole ones.
                unsafe {
                    match (KERNEL, S) {
                        (3, 2) => self.interleave::<0, 3>(y, input, block, cells),
                        _ => self.interleave::<0, 4>(y, input, block, cells),
                    }
                    match (KERNEL, S) {
                        (3, _) => {}
                        (_, 1) => self.interleave::<2, 4>(y + 2, input, block, &mut cells[group_len..]),
                        _ => self.interleave::<2, 3>(y + 2, input, block, &mut cells[group_len..]),
                    }
                    for unit in 0..block.units {
                        if out.len() == OR * row_len {
                            K::strip::<KERNEL, S, OR>(&self.scaling, &self.strip(block, unit, cells, out));
                        } else {
                            K::strip::<KERNEL, S, 1>(&self.scaling, &self.strip(block, unit, cells, out));
                        }
                    }
                }
            }
        }
    }

    /// A unit of a block, with the block's cells and `OR` output rows.
    fn strip<'a, const OR: usize>(&'a self, block: &Block, unit: usize, cells: &[u8], out: &mut [u8]) -> Strip<'a, OR> {
        let (index, len, row_len) = (block.before + unit, self.shape.unit_len(), out.len() / OR);
        let out = out[self.units[index]..].as_mut_ptr();
        Strip {
            cells: cells[unit * UNIT_BYTES..].as_ptr(),
            cell: self.cell,
            group: self.group_len(),
            weights: &self.weights[index * len..][..len],
            epilogue: &self.epilogue,
            constants: index * UNIT,
            out: std::array::from_fn(|o| out.wrapping_add(o * row_len)),
            out_w: self.conv.out_w(),
            step: self.conv.out_c,
        }
    }

    /// Interleaves the rows `FIRST` to `END` of four of the padded input from `y` on, a block of their channels.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn interleave<const FIRST: usize, const END: usize>(
        &self,
        y: usize,
        input: InputRows<u8>,
        block: &Block,
        cells: &mut [u8],
    ) {
        let Conv2d { in_w, in_h, in_c, padding, .. } = self.conv;
        let (row_len, cell) = (in_w * in_c, self.cell);
        // Rows beyond those given are of outputs that are not wanted.
        let end = in_h.min(input.first + input.values.len() / row_len);
        let rows = std::array::from_fn(|r| {
            let inside = (y + r).checked_sub(padding[0]).filter(|&y| y < end && (FIRST..END).contains(&r));
            match inside {
                Some(y) => {
                    let row = &input.values[(y - input.first) * row_len..][..row_len];
                    Row { pixel: row[block.channel..].as_ptr(), step: in_c }
                }
                None => Row { pixel: self.padding.as_ptr(), step: 0 },
            }
        });
        let inside = &mut cells[padding[1] * cell..][..in_w * cell];
        // SAFETY: the caller's promise. Rows have `in_w` pixels in which the block lies, or are one pixel of padding for all.
        unsafe { K::interleave::<FIRST, END>(rows, in_w, block.units, inside.as_mut_ptr(), cell) };
    }
}

/// One value a channel as 8 a unit.
fn spread<T: Element>(units: &[usize], values: &[T]) -> AlignedBuf<T> {
    let mut spread = AlignedBuf::new(units.len() * UNIT);
    for (index, out) in spread.iter_mut().enumerate() {
        *out = values[units[index / UNIT] + index % UNIT];
    }
    spread
}

impl<K: DepthwiseDotKernel> WholeRows for DepthwiseDot<K> {
    fn conv(&self) -> &Conv2d {
        &self.conv
    }

    fn task_rows(&self) -> usize {
        self.task_rows
    }

    fn task_scratch(&self) -> usize {
        (self.shape.groups() * self.group_len()).next_multiple_of(LINE)
    }

    fn weight_bytes(&self) -> usize {
        self.weights.len() + self.epilogue.bytes()
    }

    unsafe fn rows(&self, first: usize, input: InputRows<u8>, cells: &mut [u8], out: &mut [u8]) {
        // SAFETY: the caller's promise.
        unsafe {
            match (self.shape.kernel, self.shape.stride) {
                (3, 1) => self.strips::<3, 1, 2>(first, input, cells, out),
                (3, _) => self.strips::<3, 2, 1>(first, input, cells, out),
                (_, 1) => self.strips::<5, 1, 2>(first, input, cells, out),
                _ => self.strips::<5, 2, 1>(first, input, cells, out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_all_channels_and_end_inside() {
        let blocks = |channels| Block::all(channels, 4).into_iter().map(|b| (b.channel, b.units)).collect::<Vec<_>>();
        assert_eq!(blocks(8), [(0, 1)]);
        assert_eq!(blocks(20), [(0, 2), (12, 1)]);
        assert_eq!(blocks(24), [(0, 3)]);
        assert_eq!(blocks(72), [(0, 4), (32, 4), (64, 1)]);
        assert_eq!(blocks(33), [(0, 4), (25, 1)]);
    }

    #[test]
    fn each_tap_has_one_weight_in_each_output_row() {
        for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            let shape = Shape { kernel, stride };
            let mut taps: Vec<_> = (0..shape.unit_len()).filter_map(|index| shape.tap(index)).collect();
            taps.sort();
            let expected = (0..UNIT * kernel * kernel * shape.out_rows()).map(|i| i / shape.out_rows());
            let expected: Vec<_> = expected.map(|i| [i / (kernel * kernel), i / kernel % kernel, i % kernel]).collect();
            assert_eq!(taps, expected);
        }
    }
}
