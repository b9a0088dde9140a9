//! Convolutions and poolings that follow each other, a few rows at a time.
//!
//! A tensor that leaves the second-level cache is written to memory and read from it again. A chain makes a few rows of its last
//! map and, before them, those rows of each map before it that they depend on; the tensors between are never whole. Each kernel
//! is the one that would make its whole map, so results are equal bit for bit.

use std::ops::Range;

use self::sealed::ChainConv;
use crate::conv::{InputRows, RowKernel};
use crate::shared::SharedMut;
use crate::{Conv2d, ConvF32, ConvU8, Ops, Pool2d, Team};

/// Most links of a chain.
pub const MAX_LINKS: usize = 8;

/// Elements that buffers of rows are multiples of: a cache line or more.
const LINE: usize = 64;

/// Bytes that the rows between the kernels should stay within: part of a second-level cache, beside inputs, outputs and weights.
const ROWS_BYTES: usize = 320 << 10;

mod sealed {
    use crate::conv::{InputRows, RowKernel};
    use crate::{Conv2d, Element, Ops, Pool2d};

    /// Convolutions of f32 or int8 maps, and what else a chain does with such maps.
    pub trait ChainConv: Sync {
        type Sample: Element;

        fn geometry(&self) -> &Conv2d;

        fn row_kernel(&self) -> Option<&dyn RowKernel<Self::Sample>>;

        fn has_residual(&self) -> bool;

        fn max_pool_rows(ops: Ops, pool: &Pool2d, x: InputRows<Self::Sample>, row: usize, out: &mut [Self::Sample]);
    }
}

impl ChainConv for ConvF32 {
    type Sample = f32;

    fn geometry(&self) -> &Conv2d {
        self.geometry()
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<f32>> {
        self.row_kernel()
    }

    fn has_residual(&self) -> bool {
        self.has_residual()
    }

    fn max_pool_rows(ops: Ops, pool: &Pool2d, x: InputRows<f32>, row: usize, out: &mut [f32]) {
        ops.max_pool_rows_f32(pool, x, row, out);
    }
}

impl ChainConv for ConvU8 {
    type Sample = u8;

    fn geometry(&self) -> &Conv2d {
        self.geometry()
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        self.row_kernel()
    }

    fn has_residual(&self) -> bool {
        self.has_residual()
    }

    fn max_pool_rows(ops: Ops, pool: &Pool2d, x: InputRows<u8>, row: usize, out: &mut [u8]) {
        ops.max_pool_rows_u8(pool, x, row, out);
    }
}

/// How the rows of a map follow from those of the one before it.
#[derive(Debug, Clone, Copy)]
pub struct MapRows {
    /// Rows of the input, and elements of all of it.
    in_h: usize,
    in_len: usize,
    /// Rows of the output, and elements of one.
    out_h: usize,
    row_len: usize,
    /// Rows of a window, from one to the next, and of padding above the first.
    kernel: usize,
    stride: usize,
    padding: usize,
}

impl MapRows {
    /// Those of a convolution's output.
    pub fn of_conv(conv: &Conv2d) -> Self {
        Self {
            in_h: conv.in_h,
            in_len: conv.in_len(),
            out_h: conv.out_h(),
            row_len: conv.out_w() * conv.out_c,
            kernel: conv.kernel[0],
            stride: conv.stride[0],
            padding: conv.padding[0],
        }
    }

    /// Those of a pooling's output.
    pub fn of_pool(pool: &Pool2d) -> Self {
        Self {
            in_h: pool.in_h,
            in_len: pool.in_len(),
            out_h: pool.out_h(),
            row_len: pool.out_w() * pool.channels,
            kernel: pool.kernel[0],
            stride: pool.stride[0],
            padding: pool.padding[0],
        }
    }

    /// The input rows that some output rows, at least one, depend on.
    pub fn inputs(&self, rows: &Range<usize>) -> Range<usize> {
        let row = |padded: usize| padded.saturating_sub(self.padding).min(self.in_h);
        row(rows.start * self.stride)..row((rows.end - 1) * self.stride + self.kernel)
    }
}

/// A kernel of a [`Chain`]: a convolution, [`ConvF32`] or [`ConvU8`], or maxima of windows of such maps.
#[derive(Debug)]
pub struct Link<C> {
    kind: Kind<C>,
    map: MapRows,
}

#[derive(Debug)]
enum Kind<C> {
    Conv(C),
    MaxPool(Pool2d, Ops),
}

impl<C: ChainConv> Link<C> {
    /// A convolution.
    ///
    /// # Errors
    /// The convolution, where its kernel cannot make rows by themselves.
    pub fn conv(conv: C) -> Result<Self, C> {
        if conv.row_kernel().is_none() {
            return Err(conv);
        }
        Ok(Self { map: MapRows::of_conv(conv.geometry()), kind: Kind::Conv(conv) })
    }

    /// The maximum of each window, on these ops' instruction set.
    pub fn max_pool(pool: Pool2d, ops: Ops) -> Self {
        Self { map: MapRows::of_pool(&pool), kind: Kind::MaxPool(pool, ops) }
    }

    fn scratch_len(&self) -> usize {
        match &self.kind {
            Kind::Conv(conv) => conv.row_kernel().map_or(0, RowKernel::scratch_len),
            Kind::MaxPool(..) => 0,
        }
    }

    /// Whether it adds a residual to its outputs.
    fn has_residual(&self) -> bool {
        matches!(&self.kind, Kind::Conv(conv) if conv.has_residual())
    }

    /// As [`RowKernel::make`].
    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<C::Sample>,
        residual: Option<&[C::Sample]>,
        out: &mut [C::Sample],
        scratch: &mut [C::Sample],
    ) {
        match &self.kind {
            Kind::Conv(conv) => match conv.row_kernel() {
                Some(kernel) => kernel.make(rows, input, residual, out, scratch),
                None => unreachable!("`Link::conv` refuses such a convolution"),
            },
            Kind::MaxPool(pool, ops) => C::max_pool_rows(*ops, pool, input, rows.start, out),
        }
    }
}

/// Kernels that follow each other, a few rows at a time.
#[derive(Debug)]
pub struct Chain<C> {
    links: Vec<Link<C>>,
    /// Ranges of rows of the last map that threads share out.
    parts: usize,
    /// Most rows of the last map that are made at once.
    step: usize,
    /// Elements that hold the rows of each map but the last.
    lens: [usize; MAX_LINKS],
    /// Elements of a part's scratch: these rows, and what the kernels use in turn.
    part_len: usize,
}

impl<C: ChainConv> Chain<C> {
    /// Two to [`MAX_LINKS`] links, each of whose input is the output of the one before it, for a team of so many threads. The last
    /// one may add a residual.
    ///
    /// # Panics
    /// If they are not.
    pub fn new(links: Vec<Link<C>>, threads: usize) -> Self {
        assert!((2..=MAX_LINKS).contains(&links.len()), "a chain of {} links", links.len());
        let follows = |pair: &[Link<C>]| {
            let (before, after) = (&pair[0].map, &pair[1].map);
            before.out_h == after.in_h && before.out_h * before.row_len == after.in_len
        };
        assert!(links.windows(2).all(follows), "the links of a chain do not follow each other");
        let last = links.len() - 1;
        assert!(!links[..last].iter().any(Link::has_residual), "only the last link of a chain may add a residual");
        let out_h = links[last].map.out_h;
        let parts = threads.clamp(1, out_h);
        let mut chain = Self { links, parts, step: 1, lens: [0; MAX_LINKS], part_len: 0 };
        let fitting = (1..=out_h.div_ceil(parts)).rev().find(|&step| {
            chain.step = step;
            chain.lens().iter().sum::<usize>() * size_of::<C::Sample>() <= ROWS_BYTES
        });
        // As many steps as that takes, all but the last of one size.
        let rows = out_h.div_ceil(parts);
        chain.step = rows.div_ceil(rows.div_ceil(fitting.unwrap_or(1)));
        chain.lens = chain.lens();
        let scratch = chain.links.iter().map(Link::scratch_len).max().unwrap_or(0);
        chain.part_len = (chain.lens.iter().sum::<usize>() + scratch).next_multiple_of(LINE);
        chain
    }

    /// Elements of scratch that a run needs.
    pub fn scratch_len(&self) -> usize {
        self.parts * self.part_len
    }

    /// Whether the last link adds a residual to its outputs.
    pub fn has_residual(&self) -> bool {
        self.links.last().is_some_and(Link::has_residual)
    }

    /// Makes the last map of `input` (NHWC, one image), with a residual of as many elements where the last link adds one. The scratch may
    /// hold anything and is left as garbage.
    ///
    /// # Panics
    /// If a slice does not have its map's length, there is a residual and no link for it or a link and no residual, or the scratch is
    /// shorter than [`Chain::scratch_len`].
    pub fn run(
        &self,
        input: &[C::Sample],
        residual: Option<&[C::Sample]>,
        output: &mut [C::Sample],
        scratch: &mut [C::Sample],
        team: &Team,
    ) {
        let last = self.last();
        assert_eq!(input.len(), self.links[0].map.in_len, "chain: input");
        assert_eq!(output.len(), last.out_h * last.row_len, "chain: output");
        assert_eq!(residual.is_some(), self.has_residual(), "chain: whether there is a residual");
        assert!(residual.is_none_or(|residual| residual.len() == output.len()), "chain: residual");
        assert!(scratch.len() >= self.scratch_len(), "chain: scratch");
        let (out, scratch) = (SharedMut::new(output), SharedMut::new(scratch));
        team.run(self.parts, |part| {
            let rows = self.part(part);
            let residual = residual.map(|all| &all[rows.start * last.row_len..rows.end * last.row_len]);
            // SAFETY: parts have rows and scratch of their own.
            let (out, scratch) = unsafe {
                let out = out.part(rows.start * last.row_len, rows.len() * last.row_len);
                (out, scratch.part(part * self.part_len, self.part_len))
            };
            self.make(rows, input, residual, out, scratch);
        });
    }

    fn last(&self) -> &MapRows {
        &self.links[self.links.len() - 1].map
    }

    /// The rows of the last map that are a part's.
    fn part(&self, index: usize) -> Range<usize> {
        let out_h = self.last().out_h;
        index * out_h / self.parts..(index + 1) * out_h / self.parts
    }

    /// The rows of each map that some rows of the last one depend on.
    fn needed(&self, rows: Range<usize>) -> [Range<usize>; MAX_LINKS] {
        let mut needed = [const { 0..0 }; MAX_LINKS];
        let last = self.links.len() - 1;
        needed[last] = rows;
        for index in (1..=last).rev() {
            needed[index - 1] = self.links[index].map.inputs(&needed[index]);
        }
        needed
    }

    /// The steps of a part.
    fn steps(&self, rows: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (step, end) = (self.step, rows.end);
        rows.step_by(step).map(move |row| row..end.min(row + step))
    }

    /// Elements of the rows of each map but the last that a step needs at most, a multiple of a cache line.
    fn lens(&self) -> [usize; MAX_LINKS] {
        let mut lens = [0; MAX_LINKS];
        for rows in (0..self.parts).flat_map(|part| self.steps(self.part(part))) {
            let between = self.links.len() - 1;
            for (index, rows) in self.needed(rows).into_iter().enumerate().take(between) {
                lens[index] = lens[index].max((rows.len() * self.links[index].map.row_len).next_multiple_of(LINE));
            }
        }
        lens
    }

    /// Makes rows of the last map, all that `out` and `residual`, if any, have.
    fn make(
        &self,
        rows: Range<usize>,
        input: &[C::Sample],
        residual: Option<&[C::Sample]>,
        out: &mut [C::Sample],
        scratch: &mut [C::Sample],
    ) {
        let (first, mut rest) = (rows.start, scratch);
        let mut maps = self.lens.map(|len| {
            let (rows, others) = std::mem::take(&mut rest).split_at_mut(len);
            rest = others;
            Rows { range: 0..0, values: rows }
        });
        let last = self.links.len() - 1;
        for step in self.steps(rows) {
            let needed = self.needed(step.clone());
            for (index, link) in self.links.iter().enumerate() {
                let (before, after) = maps.split_at_mut(index);
                let input = match before.last() {
                    Some(map) => InputRows {
                        first: map.range.start,
                        values: &map.values[..map.range.len() * self.links[index - 1].map.row_len],
                    },
                    None => InputRows { first: 0, values: input },
                };
                let (rows, row_len) = (needed[index].clone(), link.map.row_len);
                if index == last {
                    let range = (rows.start - first) * row_len..(rows.end - first) * row_len;
                    let residual = residual.map(|residual| &residual[range.clone()]);
                    link.make(rows, input, residual, &mut out[range], rest);
                } else {
                    let (rows, out) = after[0].advance(rows, row_len);
                    if !rows.is_empty() {
                        link.make(rows, input, None, out, rest);
                    }
                }
            }
        }
    }
}

/// The rows of a map that are there, from the start of `values` on.
struct Rows<'a, T> {
    range: Range<usize>,
    values: &'a mut [T],
}

impl<T: Copy> Rows<'_, T> {
    /// Forgets rows before `needed` and takes in those up to its end: which of them must be made, and where they lie.
    fn advance(&mut self, needed: Range<usize>, row_len: usize) -> (Range<usize>, &mut [T]) {
        let made = self.range.end.max(needed.start)..needed.end.max(self.range.end);
        let kept = needed.start.min(self.range.end)..self.range.end;
        let from = (kept.start.max(self.range.start) - self.range.start) * row_len;
        self.values.copy_within(from..from + kept.len() * row_len, 0);
        self.range = made.start - kept.len()..made.end;
        (made.clone(), &mut self.values[kept.len() * row_len..][..made.len() * row_len])
    }
}
