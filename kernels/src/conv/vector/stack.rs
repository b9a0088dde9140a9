//! Windows over few channels as one run instead of one a row: the rows of a window are stacked in each column of a copy of the input.
//!
//! An instruction sums `KR` products of neighbours, and what a run lacks to a multiple of that is filled up. A 3x3 window over three colours
//! has three runs of 9, filled up to 12 each; stacked it has one of 27, filled up to 28. The convolution is then another one, over a map of
//! as many rows as the output has, whose pixels have the channels of all rows of a window.

use std::ops::Range;

use super::{Activation8, Band, Bands, GemmU8Kernel};
use crate::conv::Conv2d;

/// Elements that a kernel may read or write beyond the rows.
const SLACK: usize = 64;

/// How a band's rows are stacked.
pub(crate) struct Stack {
    /// The convolution as it is, row by row.
    source: Bands,
    /// Elements of a band's stacked rows, and of the padded rows that one at the map's edge is made of.
    len: usize,
    padded_len: usize,
}

/// A row of stacked columns: which rows it is made of, and how.
pub(crate) struct StackedRow<'a, T> {
    /// From the first of the rows on, which follow each other; and [`SLACK`] more.
    pub(crate) rows: &'a [T],
    /// Elements of a row, and of a pixel of it.
    pub(crate) row_len: usize,
    pub(crate) channels: usize,
    /// Rows of a window.
    pub(crate) height: usize,
}

/// Bytes of a pixel of three colours.
pub(crate) const COLOURS: usize = 3;

/// Columns of so many rows of colours that 64 bytes hold, of `loaded` bytes of each row.
pub(crate) const fn columns(rows: usize, loaded: usize) -> usize {
    let (loaded, stored) = (loaded / COLOURS, 64 / (rows * COLOURS));
    if loaded < stored { loaded } else { stored }
}

/// Which byte of the `loaded` bytes of each row, one row after another, each byte of these columns is.
pub(crate) const fn order(rows: usize, loaded: usize) -> [u8; 64] {
    let mut order = [0; 64];
    let mut at = 0;
    while at < columns(rows, loaded) * rows * COLOURS {
        let (column, rest) = (at / (rows * COLOURS), at % (rows * COLOURS));
        order[at] = (rest / COLOURS * loaded + column * COLOURS + rest % COLOURS) as u8;
        at += 1;
    }
    order
}

/// Whether stacking spares steps of `kr` products.
pub(crate) fn spares_steps(conv: &Conv2d, kr: usize) -> bool {
    let [height, width] = conv.kernel;
    let fewer = conv.terms().div_ceil(kr) < height * (width * conv.in_c).div_ceil(kr);
    fewer && conv.groups == 1 && height > 1 && width > 1
}

/// The convolution over stacked rows.
pub(crate) fn stacked(conv: &Conv2d) -> Conv2d {
    Conv2d {
        in_h: conv.out_h(),
        in_w: conv.in_w + 2 * conv.padding[1],
        in_c: conv.in_c * conv.kernel[0],
        kernel: [1, conv.kernel[1]],
        stride: [1, conv.stride[1]],
        padding: [0, 0],
        ..*conv
    }
}

/// The weights (OIHW) of the convolution over stacked rows.
pub(crate) fn stacked_weights(conv: &Conv2d, oihw: &[i8]) -> Vec<i8> {
    let ([height, width], channels) = (conv.kernel, conv.in_c);
    let weight = |o: usize, row: usize, i: usize, x: usize| oihw[((o * channels + i) * height + row) * width + x];
    let taps = height * channels * width;
    let source = |index: usize| {
        let (o, tap) = (index / taps, index % taps);
        weight(o, tap / width / channels, tap / width % channels, tap % width)
    };
    (0..conv.out_c * taps).map(source).collect()
}

impl Stack {
    /// For the bands of [`stacked`].
    pub(crate) fn new(conv: &Conv2d, bands: &Bands) -> Self {
        let source = Bands::of_rows(conv);
        let (len, padded_len) = (bands.padded_len() + SLACK, source.padded_len() + SLACK);
        Self { source, len, padded_len }
    }

    /// Elements of a task's scratch.
    pub(crate) fn scratch_len(&self) -> usize {
        (self.len + self.padded_len).next_multiple_of(64)
    }

    /// The stacked rows of a band, in the scratch.
    ///
    /// # Safety
    /// The CPU has the instruction set of `K`.
    #[inline(always)]
    pub(crate) unsafe fn fill<'s, K: GemmU8Kernel>(
        &self,
        band: Band,
        input: &[u8],
        scratch: &'s mut [K::X],
        padding: K::X,
    ) -> &'s [K::X] {
        let (rows, padded) = scratch.split_at_mut(self.len);
        let len = self.source.padded_w() * self.source.conv.in_c * self.source.conv.kernel[0];
        for (index, row) in self.source.single_rows(band).enumerate() {
            // SAFETY: the caller's promise; rows are made from first to last.
            unsafe { self.fill_row::<K>(row, input, &mut rows[index * len..], padded, padding) };
        }
        rows
    }

    /// A stacked row, at the beginning of `out`: of the input as it is, or at the map's top and bottom of a padded copy.
    ///
    /// # Safety
    /// As [`Stack::fill`].
    #[inline(always)]
    unsafe fn fill_row<K: GemmU8Kernel>(
        &self,
        row: Band,
        input: &[u8],
        out: &mut [K::X],
        padded: &mut [K::X],
        padding: K::X,
    ) {
        let (conv, height) = (&self.source.conv, self.source.conv.kernel[0]);
        let [whole, inner] = [self.source.padded_w(), conv.in_w].map(|width| width * conv.in_c);
        let rows = |start: usize| K::X::unconverted(&input[start..]).filter(|x| x.len() >= height * inner + SLACK);
        let (rows, row_len, side) = match self.source.inner_start(row).and_then(rows) {
            Some(rows) => (rows, inner, (whole - inner) / 2 * height),
            None => {
                self.source.copy_padded(row, input, padded, padding, K::X::from_u8);
                (&*padded, whole, 0)
            }
        };
        out[..side].fill(padding);
        // SAFETY: the caller's promise.
        unsafe { K::stack(&StackedRow { rows, row_len, channels: conv.in_c, height }, &mut out[side..]) };
        // Last, as more may have been written than the row.
        out[side + row_len * height..][..side].fill(padding);
    }
}

impl<T: Copy> StackedRow<'_, T> {
    /// Pixel `x` of each of the rows.
    fn column(&self, x: usize) -> impl Iterator<Item = Range<usize>> {
        let (first, row_len, channels) = (x * self.channels, self.row_len, self.channels);
        (0..self.height).map(move |row| row * row_len + first..row * row_len + first + channels)
    }

    /// Stacks the rows to the beginning of `out`.
    pub(crate) fn copy_to(&self, out: &mut [T]) {
        let columns = out.chunks_exact_mut(self.height * self.channels).take(self.row_len / self.channels);
        for (x, out) in columns.enumerate() {
            for (out, from) in out.chunks_exact_mut(self.channels).zip(self.column(x)) {
                out.copy_from_slice(&self.rows[from]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONV: Conv2d =
        Conv2d { in_h: 5, in_w: 4, in_c: 3, out_c: 2, kernel: [3, 3], stride: [2, 1], padding: [1, 1], groups: 1 };

    #[test]
    fn a_window_of_colours_is_worth_it() {
        assert!(spares_steps(&CONV, 4) && !spares_steps(&CONV, 1));
        assert!(!spares_steps(&Conv2d { in_c: 4, ..CONV }, 4));
        assert!(!spares_steps(&Conv2d { kernel: [3, 1], ..CONV }, 4));
        assert!(spares_steps(&Conv2d { kernel: [7, 7], ..CONV }, 4));
    }

    #[test]
    fn the_other_convolution_has_the_same_outputs() {
        let other = stacked(&CONV);
        assert_eq!((other.out_h(), other.out_w(), other.terms()), (CONV.out_h(), CONV.out_w(), CONV.terms()));
        let weights: Vec<i8> = (0..CONV.weight_len()).map(|i| i as i8).collect();
        // The first output channel's: three columns of kernel of row 0's red, of its green, its blue, then row 1's red.
        assert_eq!(stacked_weights(&CONV, &weights)[..12], [0, 1, 2, 9, 10, 11, 18, 19, 20, 3, 4, 5]);
    }

    #[test]
    fn rows_are_stacked_by_column() {
        let padded: Vec<u8> = (0..18).collect();
        let row = StackedRow { rows: &padded, row_len: 6, channels: 3, height: 2 };
        let mut out = [99; 14];
        row.copy_to(&mut out);
        assert_eq!(out, [0, 1, 2, 6, 7, 8, 3, 4, 5, 9, 10, 11, 99, 99]);
    }
}
