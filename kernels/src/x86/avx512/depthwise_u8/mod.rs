//! int8 depthwise convolution, AVX-512: by `vpdpbusd` with VNNI, otherwise by `vpmaddwd` on widened bytes.
//!
//! An instruction should sum four (or two) products of one channel, which NHWC keeps far apart: it sums a column of four rows, which
//! are interleaved in registers (`tile`). A 3x3 window of stride 1 takes four rows for two output rows, whose weights are shifted
//! against each other; with stride 2 it takes three. Of a 5x5 window, four rows are columns, and the fifth is taken along
//! the row. The padding is columns and rows of zero points; the input itself is not copied.
//!
//! Channels are taken in blocks of 64 and what is left as 32 or 16, of several output rows at once. Where they do not
//! divide, the last block is the last channels, some of which are then computed twice.

mod epilogue;
mod tile;

use std::arch::x86_64::__m512i;

use self::epilogue::Epilogue;
use self::tile::{Strip, Tile, VECTOR};
use super::epilogue::{GENERAL, POSITIVE, SCALED};
use crate::conv::vector::{ByRows, WholeRows, is_small_depthwise, task_rows};
use crate::conv::{Conv2d, InputRows, KernelInfo, KernelOp, U8Kernel};
use crate::{AlignedBuf, Element, Isa, Requantize};

/// Rows that an instruction sums; without VNNI, two do.
const KR: usize = 4;

/// Fewest channels of a block.
const LANE: usize = 16;

pub(crate) static DEPTHWISE_U8_VNNI: U8Kernel = U8Kernel {
    info: info("u8s8-depthwise-2x64-avx512vnni", Isa::Avx512Vnni, KR),
    pack: |conv, weights, requantize| Box::new(ByRows(Depthwise::<true>::new(conv, weights, &requantize))),
};

pub(crate) static DEPTHWISE_U8: U8Kernel = U8Kernel {
    info: info("u8s8-depthwise-2x64-avx512", Isa::Avx512, KR / 2),
    pack: |conv, weights, requantize| Box::new(ByRows(Depthwise::<false>::new(conv, weights, &requantize))),
};

/// The description of a kernel of which an instruction sums `kr` products.
const fn info(name: &'static str, isa: Isa, kr: usize) -> KernelInfo {
    KernelInfo {
        name,
        op: KernelOp::ConvU8,
        isa,
        mr: 2,
        nr: VECTOR,
        kr,
        residual: false,
        serves: "depthwise convolutions of 3x3 and 5x5 with strides 1 and 2, 16 channels or more",
        accepts: |conv| is_small_depthwise(conv, LANE),
    }
}

/// A depthwise convolution with packed weights, for a CPU with VNNI or any with AVX-512.
struct Depthwise<const VNNI: bool> {
    conv: Conv2d,
    shape: Shape,
    blocks: Vec<Block>,
    /// `[block][pass]` as a [`Tile`] reads them; vectors of `[channel][KR rows]`, zeros where there is no weight.
    weights: AlignedBuf<i8>,
    /// 64 constants a block.
    epilogue: Epilogue,
    /// A row of zero points.
    padding: AlignedBuf<u8>,
    /// Output rows of a task.
    task_rows: usize,
}

/// Channels from `channel` on, `64 / lanes` of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    channel: usize,
    lanes: usize,
}

impl Block {
    /// The blocks of so many channels, 16 or more.
    fn all(channels: usize) -> Vec<Self> {
        let (mut all, mut end) = (Vec::new(), 0);
        while end < channels {
            let left = channels - end;
            let lanes = match left {
                33.. if channels >= VECTOR => 1,
                17.. if channels >= VECTOR / 2 => 2,
                _ => 4,
            };
            let channel = end.min(channels - VECTOR / lanes);
            all.push(Self { channel, lanes });
            end = channel + VECTOR / lanes;
        }
        all
    }

    /// The channel of an element of quarter `quarter`.
    fn channel(self, quarter: usize, element: usize) -> usize {
        let (lane, channel) = (element / 4 % (4 / self.lanes), element % 4);
        self.channel + lane * LANE + quarter * 4 + channel
    }
}

/// What a window's size and stride decide.
#[derive(Debug, Clone, Copy)]
struct Shape {
    /// Kernel rows and columns, and stride.
    kernel: usize,
    stride: usize,
    /// Output rows of a strip.
    out_rows: usize,
    /// Quarters of a pass.
    quarters: usize,
}

impl Shape {
    fn new(conv: &Conv2d) -> Self {
        let (kernel, stride) = (conv.kernel[0], conv.stride[0]);
        let (out_rows, quarters) = match (kernel, stride) {
            (3, 1) => (2, 2),
            (3, _) => (1, 4),
            _ => (1, 2),
        };
        Self { kernel, stride, out_rows, quarters }
    }

    /// Vectors of weights of a pass.
    fn pass_len(self) -> usize {
        (self.kernel * self.out_rows + if self.kernel > KR { 2 } else { 0 }) * self.quarters
    }

    /// Vectors of weights of a block.
    fn block_len(self) -> usize {
        self.pass_len() * (KR / self.quarters)
    }

    /// Quarter of a block's vector of weights, and the tap of its `row`-th bytes, if any.
    fn tap(self, vector: usize, row: usize) -> (usize, Option<[usize; 2]>) {
        let (pass, vector) = (vector / self.pass_len(), vector % self.pass_len());
        let (quarter, vector) = (pass * self.quarters + vector % self.quarters, vector / self.quarters);
        let (column, shift) = (vector / self.out_rows, vector % self.out_rows * self.stride);
        let tap = match vector.checked_sub(self.kernel * self.out_rows) {
            None => row.checked_sub(shift).filter(|&ky| ky < self.kernel).map(|ky| [ky, column]),
            // The last four of the fifth row, and its first, which the four before them hold.
            Some(0) => Some([KR, row + 1]),
            Some(_) => (row == self.stride - 1).then_some([KR, 0]),
        };
        (quarter, tap)
    }
}

impl<const VNNI: bool> Depthwise<VNNI> {
    fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let (shape, blocks) = (Shape::new(conv), Block::all(conv.in_c));
        let mut packed = AlignedBuf::new(blocks.len() * shape.block_len() * VECTOR);
        for (index, out) in packed.iter_mut().enumerate() {
            let (row, element, vector) = (index % KR, index / KR % LANE, index / VECTOR);
            let (quarter, tap) = shape.tap(vector % shape.block_len(), row);
            if let Some([ky, kx]) = tap {
                let channel = blocks[vector / shape.block_len()].channel(quarter, element);
                *out = weights[(channel * shape.kernel + ky) * shape.kernel + kx];
            }
        }
        let mut padding = AlignedBuf::new(conv.in_w * conv.in_c);
        padding.fill(requantize.x_zero_point);
        let lanes = blocks.iter().map(|block| block.lanes).max().unwrap_or(1);
        Self {
            conv: *conv,
            shape,
            weights: packed,
            epilogue: Epilogue::new(conv, weights, requantize, |v| spread(&blocks, v), |v| spread(&blocks, v)),
            blocks,
            padding,
            task_rows: task_rows(conv, lanes * shape.out_rows),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn rows_by<const WAY: u8>(&self, first: usize, input: InputRows<u8>, words: &mut [u8], out: &mut [u8]) {
        match (self.shape.kernel, self.shape.stride) {
            (3, 1) => self.strips::<3, 1, 4, 2, 3, 2, WAY>(first, input, words, out),
            (3, _) => self.strips::<3, 2, 3, 1, 2, 4, WAY>(first, input, words, out),
            (_, 1) => self.strips::<5, 1, 5, 1, 5, 2, WAY>(first, input, words, out),
            _ => self.strips::<5, 2, 5, 1, 3, 2, WAY>(first, input, words, out),
        }
    }

    /// Output rows from `first` on, in groups of as many as blocks of 16 channels take at once: so all blocks read a row while it
    /// is near.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    fn strips<
        const K: usize,
        const S: usize,
        const R: usize,
        const OR: usize,
        const N: usize,
        const Q: usize,
        const WAY: u8,
    >(
        &self,
        first: usize,
        input: InputRows<u8>,
        words: &mut [u8],
        out: &mut [u8],
    ) {
        let rows = out.len() / (self.conv.out_w() * self.conv.out_c);
        for group in (0..rows).step_by(4 * OR) {
            let end = rows.min(group + 4 * OR);
            for row in (group..end).step_by(OR) {
                self.blocks::<K, S, R, OR, N, Q, 1, WAY>([first, row], input, words, out);
            }
            for row in (group..end).step_by(2 * OR) {
                self.blocks::<K, S, R, OR, N, Q, 2, WAY>([first, row], input, words, out);
            }
            self.blocks::<K, S, R, OR, N, Q, 4, WAY>([first, group], input, words, out);
        }
    }

    /// The strips of all blocks of `L` lanes from the `row`-th output row of `out` on, whose first is output row `first`. Where
    /// fewer rows are left, the last ones are computed again, or one twice.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    fn blocks<
        const K: usize,
        const S: usize,
        const R: usize,
        const OR: usize,
        const N: usize,
        const Q: usize,
        const L: usize,
        const WAY: u8,
    >(
        &self,
        [first, row]: [usize; 2],
        input: InputRows<u8>,
        words: &mut [u8],
        out: &mut [u8],
    ) {
        let blocks = || self.blocks.iter().enumerate().filter(|(_, block)| block.lanes == L);
        if blocks().next().is_none() {
            return;
        }
        let conv = &self.conv;
        let [in_len, out_len] = [conv.in_w * conv.in_c, conv.out_w() * conv.out_c];
        let rows = out.len() / out_len;
        // Rows beyond those given are of outputs that are not wanted.
        let in_end = conv.in_h.min(input.first + input.values.len() / in_len);
        let mut strip =
            Strip::<R, OR, L> { rows: [[[self.padding.as_ptr(); L]; R]; 2], out: [[std::ptr::null_mut(); L]; OR] };
        for lane in 0..L {
            let row = (row + lane * OR).min(rows.saturating_sub(OR));
            for r in 0..R {
                let y = ((first + row) * S + r).wrapping_sub(conv.padding[0]);
                if y < in_end {
                    strip.rows[1][r][lane] = input.values[(y - input.first) * in_len..][..in_len].as_ptr();
                }
            }
            for o in 0..OR {
                strip.out[o][lane] = out[(row + o).min(rows - 1) * out_len..][..out_len].as_mut_ptr();
            }
        }
        let words = &mut words[..self.task_scratch()];
        for (index, block) in blocks() {
            let block_len = self.shape.block_len() * VECTOR;
            let tile = Tile {
                in_w: conv.in_w,
                out_w: conv.out_w(),
                channels: conv.in_c,
                padding: conv.padding[1],
                channel: block.channel,
                weights: &self.weights[index * block_len..][..block_len],
                epilogue: &self.epilogue,
                constants: index * VECTOR,
            };
            // SAFETY: rows have that many pixels, as does the padding, and blocks lie inside a pixel; of words there are enough.
            unsafe {
                tile::strip::<K, S, R, OR, N, Q, L, WAY, VNNI>(&tile, &strip, words.as_mut_ptr().cast::<__m512i>())
            }
        }
    }
}

/// One value a channel as 64 a block, in the order of its sums: quarter by quarter.
fn spread<T: Element>(blocks: &[Block], values: &[T]) -> AlignedBuf<T> {
    let mut spread = AlignedBuf::new(blocks.len() * VECTOR);
    for (index, out) in spread.iter_mut().enumerate() {
        *out = values[blocks[index / VECTOR].channel(index / LANE % KR, index % LANE)];
    }
    spread
}

impl<const VNNI: bool> WholeRows for Depthwise<VNNI> {
    fn conv(&self) -> &Conv2d {
        &self.conv
    }

    fn task_rows(&self) -> usize {
        self.task_rows
    }

    /// What strips keep between their two passes.
    fn task_scratch(&self) -> usize {
        self.conv.out_w() * self.shape.out_rows * VECTOR
    }

    fn weight_bytes(&self) -> usize {
        self.weights.len() + self.epilogue.constants.bytes()
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn rows(&self, first: usize, input: InputRows<u8>, words: &mut [u8], out: &mut [u8]) {
        match self.epilogue.way {
            POSITIVE => self.rows_by::<POSITIVE>(first, input, words, out),
            SCALED => self.rows_by::<SCALED>(first, input, words, out),
            _ => self.rows_by::<GENERAL>(first, input, words, out),
        }
    }
}
