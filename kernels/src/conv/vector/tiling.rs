//! How a convolution is cut up: bands of output rows, one or more tasks each, with the padded input rows that a band
//! reads; and tiles of a few output pixels within a band. The cut follows from the geometry alone, never from the number
//! of threads.

use std::ops::Range;

use crate::conv::Conv2d;

/// Most output pixels of a tile of any kernel.
pub(crate) const MAX_TILE: usize = 12;

/// Tasks to aim for, so that a few threads find work of even size.
const TASKS: usize = 8;

/// Multiply-adds below which a task is not worth a thread's time.
const MIN_TASK_MACS: u64 = 100_000;

/// A tile: so many output pixels by so many blocks of output channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TileShape {
    pub(crate) blocks: usize,
    pub(crate) pixels: usize,
}

impl TileShape {
    /// The shape with the fewest instructions beside the multiply-adds, whose number is the same for all: one load a block and one a
    /// pixel of each tile, and about three for the loop.
    pub(crate) fn choose(shapes: &[Self], conv: &Conv2d, nr: usize) -> Self {
        let (pixels, blocks) = (conv.out_h() * conv.out_w(), conv.group_out().div_ceil(nr));
        let cost = |shape: &&Self| {
            let (columns, rows) = (pixels.div_ceil(shape.pixels), blocks.div_ceil(shape.blocks));
            3 * columns * rows + blocks * columns + pixels * rows
        };
        shapes.iter().min_by_key(cost).copied().unwrap_or(Self { blocks: 1, pixels: 1 })
    }
}

/// Lengths and numbers, which may be 0, of the tiles of at most `most` pixels that `pixels` are cut into, as evenly as can be: those
/// with a pixel more, and the others.
#[inline(always)]
pub(crate) fn even_tiles(pixels: usize, most: usize) -> [(usize, usize); 2] {
    let tiles = pixels.div_ceil(most).max(1);
    let (len, larger) = (pixels / tiles, pixels % tiles);
    [(len + 1, larger), (len, if len == 0 { 0 } else { tiles - larger })]
}

/// Tasks that a convolution is cut into, at least where it can be.
pub(crate) fn tasks(conv: &Conv2d) -> usize {
    (conv.macs() / MIN_TASK_MACS).clamp(1, TASKS as u64) as usize
}

/// Output rows of a task of a kernel that makes `step` of them at once.
pub(crate) fn task_rows(conv: &Conv2d, step: usize) -> usize {
    conv.out_h().div_ceil(tasks(conv)).next_multiple_of(step)
}

/// A band: so many output rows of a convolution, and which rows the slices of input and output that a kernel gets begin with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Band {
    first: usize,
    end: usize,
    in_first: usize,
    out_first: usize,
}

/// Work of one task: a band, and which panels of channels of it.
#[derive(Debug, Clone)]
pub(crate) struct Part {
    pub(crate) band: Band,
    pub(crate) panels: Range<usize>,
}

/// A convolution cut into bands.
#[derive(Debug, Clone)]
pub(crate) struct Bands {
    /// The geometry; a 1x1 convolution with stride 1 is seen as a column of pixels.
    pub(crate) conv: Conv2d,
    /// Bands of the whole map, as even as rows allow.
    count: usize,
    /// Rows that bands are cut at multiples of: the pixels of a tile, where a row is one pixel.
    unit: usize,
    /// Elements from one pixel of the padded rows to the next.
    pixel_stride: usize,
    /// Rows of `conv` that a row of the map is: its pixels, where it is seen as a column of them.
    map_row: usize,
}

impl Bands {
    /// Bands whose padded input, of `element` bytes an element and `pixel_stride` elements a pixel, stays near
    /// `bytes`; no fewer than there should be tasks, where each would still have enough to do.
    pub(crate) fn new(conv: &Conv2d, pixel_stride: usize, element: usize, bytes: usize) -> Self {
        let pointwise = conv.kernel == [1, 1] && conv.stride == [1, 1] && conv.padding == [0, 0];
        let map_row = if pointwise { conv.in_w } else { 1 };
        let conv = if pointwise { Conv2d { in_h: conv.in_h * conv.in_w, in_w: 1, ..*conv } } else { *conv };
        let row_bytes = (conv.in_w + 2 * conv.padding[1]) * pixel_stride * element;
        let overlap = conv.kernel[0].saturating_sub(conv.stride[0]);
        let fitting = (bytes / row_bytes).saturating_sub(overlap) / conv.stride[0];
        let rows = fitting.min(conv.out_h().div_ceil(tasks(&conv))).max(1);
        Self { conv, count: conv.out_h().div_ceil(rows), unit: 1, pixel_stride, map_row }
    }

    /// Where a row is one pixel, makes bands of whole tiles of `tile` pixels, but for what the last tile lacks.
    pub(crate) fn align_to(mut self, tile: usize) -> Self {
        if self.conv.out_w() == 1 {
            self.unit = tile;
            self.count = self.count.min(self.units());
        }
        self
    }

    /// Units of the whole map.
    fn units(&self) -> usize {
        self.conv.out_h().div_ceil(self.unit)
    }

    /// Where there are more weights than inputs and a band's input costs nothing to read again: bands as large as
    /// `bytes` allow, so that tasks share out channels instead and few read the same weights.
    pub(crate) fn fewer_for_weights(mut self, bytes: usize) -> Self {
        if self.conv.weight_len() > self.conv.in_len() {
            self.count = self.count.min(self.conv.in_len().div_ceil(bytes));
        }
        self
    }

    /// Bands of one row.
    pub(crate) fn of_rows(conv: &Conv2d) -> Self {
        Self { conv: *conv, count: conv.out_h(), unit: 1, pixel_stride: conv.in_c, map_row: 1 }
    }

    /// Output pixels of the largest band; of all bands, where a row is one pixel, since their size then follows the tile's.
    pub(crate) fn pixels(&self) -> usize {
        if self.conv.out_w() == 1 { self.conv.out_h() } else { self.rows() * self.conv.out_w() }
    }

    /// Number of bands.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Into how many ranges the `blocks` of output channels of each band should be cut so that there are enough tasks.
    pub(crate) fn splits(&self, blocks: usize) -> usize {
        tasks(&self.conv).div_ceil(self.count()).min(blocks)
    }

    /// Most output rows of a band.
    pub(crate) fn rows(&self) -> usize {
        (self.units().div_ceil(self.count) * self.unit).min(self.conv.out_h())
    }

    /// A band of the whole map, by its number.
    pub(crate) fn band(&self, index: usize) -> Band {
        let [first, end] = self.cuts(self.conv.out_h(), self.count, index);
        Band { first, end, in_first: 0, out_first: 0 }
    }

    /// Where band `index` begins and ends, of `count` bands of so many rows.
    fn cuts(&self, rows: usize, count: usize, index: usize) -> [usize; 2] {
        let units = rows.div_ceil(self.unit);
        [index, index + 1].map(|index| (index * units / count * self.unit).min(rows))
    }

    /// The bands of some output rows of the map, for an input slice that begins with the map's input row `in_first` and an output
    /// slice of just these rows.
    pub(crate) fn within(&self, rows: Range<usize>, in_first: usize) -> impl Iterator<Item = Band> {
        let (start, rows, in_first) = (rows.start * self.map_row, rows.len() * self.map_row, in_first * self.map_row);
        // None larger than the largest of the whole map's.
        let count = rows.div_ceil(self.unit).div_ceil(self.rows().div_ceil(self.unit));
        (0..count).map(move |index| {
            let [first, end] = self.cuts(rows, count, index).map(|row| start + row);
            Band { first, end, in_first, out_first: start }
        })
    }

    /// Where a band's first row starts in an input without padding.
    pub(crate) fn in_start(&self, band: Band) -> usize {
        (band.first * self.conv.stride[0] - band.in_first) * self.conv.in_w * self.conv.in_c
    }

    /// Where a band's first output lies among the output's pixels, and how many it has.
    pub(crate) fn out_pixels(&self, band: Band) -> (usize, usize) {
        let w = self.conv.out_w();
        ((band.first - band.out_first) * w, (band.end - band.first) * w)
    }

    /// Columns of the padded input.
    pub(crate) fn padded_w(&self) -> usize {
        self.conv.in_w + 2 * self.conv.padding[1]
    }

    /// Elements of the padded input rows of the largest band.
    pub(crate) fn padded_len(&self) -> usize {
        self.padded_rows(self.rows()) * self.padded_w() * self.pixel_stride
    }

    /// Elements of the padded input rows of a band.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn rows_len(&self, band: Band) -> usize {
        self.padded_rows(band.end - band.first) * self.padded_w() * self.pixel_stride
    }

    /// Where the windows of the largest band's pixels start in its padded rows.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn windows(&self) -> Vec<u32> {
        let (rows, w) = (self.rows(), self.conv.out_w());
        let (down, right) =
            (self.conv.stride[0] * self.padded_w() * self.pixel_stride, self.conv.stride[1] * self.pixel_stride);
        (0..rows * w).map(|pixel| (pixel / w * down + pixel % w * right) as u32).collect()
    }

    /// Padded input rows that so many output rows read.
    fn padded_rows(&self, out_rows: usize) -> usize {
        (out_rows - 1) * self.conv.stride[0] + self.conv.kernel[0]
    }

    /// A band's rows, each as a band.
    pub(crate) fn single_rows(&self, band: Band) -> impl Iterator<Item = Band> {
        (band.first..band.end).map(move |first| Band { first, end: first + 1, ..band })
    }

    /// Where the padded rows of a band start in the input slice, where none of them is padding.
    pub(crate) fn inner_start(&self, band: Band) -> Option<usize> {
        let last = self.padded_rows(band.end - band.first) - 1;
        let first = self.in_row(band, 0).filter(|_| self.in_row(band, last).is_some())?;
        Some(first * self.conv.in_w * self.conv.in_c)
    }

    /// The row of the input slice that a band's padded row `index` is; none in the padding.
    pub(crate) fn in_row(&self, band: Band, index: usize) -> Option<usize> {
        let row = (band.first * self.conv.stride[0] + index).checked_sub(self.conv.padding[0])?;
        (row < self.conv.in_h).then(|| row - band.in_first)
    }

    /// Copies the input rows of a band, with padding around them, and converts their elements. Elements of a pixel
    /// beyond its channels, where the pixel stride is larger, keep their old values.
    #[inline(always)]
    pub(crate) fn copy_padded<S: Copy, D: Copy>(
        &self,
        band: Band,
        input: &[S],
        out: &mut [D],
        padding: D,
        convert: impl Fn(S) -> D + Copy,
    ) {
        let (conv, c, stride) = (&self.conv, self.conv.in_c, self.pixel_stride);
        let rows = self.padded_rows(band.end - band.first);
        let row_len = self.padded_w() * stride;
        if conv.padding == [0, 0] && stride == c {
            let input = &input[self.in_start(band)..][..rows * row_len];
            out.iter_mut().zip(input).for_each(|(out, &x)| *out = convert(x));
            return;
        }
        for (index, out) in out.chunks_exact_mut(row_len).take(rows).enumerate() {
            let Some(row) = self.in_row(band, index) else {
                out.fill(padding);
                continue;
            };
            let (left, rest) = out.split_at_mut(conv.padding[1] * stride);
            let (middle, right) = rest.split_at_mut(conv.in_w * stride);
            left.fill(padding);
            right.fill(padding);
            let input = &input[row * conv.in_w * c..][..conv.in_w * c];
            if stride == c {
                middle.iter_mut().zip(input).for_each(|(out, &x)| *out = convert(x));
            } else {
                for (out, x) in middle.chunks_exact_mut(stride).zip(input.chunks_exact(c)) {
                    out.iter_mut().zip(x).for_each(|(out, &x)| *out = convert(x));
                }
            }
        }
    }

    /// The output pixels of a band in tiles of at most `tile` (up to [`MAX_TILE`]) pixels, of even size. Offsets count
    /// from the band's first padded row.
    pub(crate) fn tiles(&self, band: Band, tile: usize) -> Tiles {
        let (w, (first, pixels)) = (self.conv.out_w(), self.out_pixels(band));
        Tiles {
            next: first,
            end: first + pixels,
            left: pixels.div_ceil(tile),
            column: 0,
            columns: w,
            offset: 0,
            step: self.conv.stride[1] * self.pixel_stride,
            wrap: (self.conv.stride[0] * self.padded_w() - (w - 1) * self.conv.stride[1]) * self.pixel_stride,
        }
    }
}

/// A few output pixels in a row (which may wrap to the next).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tile {
    /// The first pixel's number in the output slice.
    pub(crate) first: usize,
    /// Number of pixels.
    pub(crate) len: usize,
    /// Where in the padded rows the window of each pixel starts; valid up to `len`.
    pub(crate) offsets: [usize; MAX_TILE],
}

/// Iterator over the tiles of a band.
#[derive(Debug, Clone)]
pub(crate) struct Tiles {
    next: usize,
    end: usize,
    left: usize,
    column: usize,
    columns: usize,
    offset: usize,
    /// From a pixel's window to that of the next one in its row.
    step: usize,
    /// From the window of the last pixel of a row to that of the next row's first; the strides make it positive.
    wrap: usize,
}

impl Iterator for Tiles {
    type Item = Tile;

    #[inline(always)]
    fn next(&mut self) -> Option<Tile> {
        if self.left == 0 {
            return None;
        }
        let mut tile =
            Tile { first: self.next, len: (self.end - self.next).div_ceil(self.left), offsets: [0; MAX_TILE] };
        for offset in &mut tile.offsets[..tile.len] {
            *offset = self.offset;
            self.column += 1;
            if self.column == self.columns {
                self.column = 0;
                self.offset += self.wrap;
            } else {
                self.offset += self.step;
            }
        }
        self.next += tile.len;
        self.left -= 1;
        Some(tile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_all_pixels_once() {
        let conv =
            Conv2d { in_h: 9, in_w: 8, in_c: 3, out_c: 4, kernel: [3, 2], stride: [2, 1], padding: [1, 1], groups: 1 };
        let bands = Bands::new(&conv, 4, 2, 2 * 4 * 10 * 5);
        let mut expected = 0;
        for band in 0..bands.count() {
            let first_row = bands.out_pixels(bands.band(band)).0 / conv.out_w();
            for tile in bands.tiles(bands.band(band), 6) {
                assert!(tile.first == expected && (1..=6).contains(&tile.len));
                for (index, offset) in tile.offsets[..tile.len].iter().enumerate() {
                    let (y, x) = ((expected + index) / conv.out_w() - first_row, (expected + index) % conv.out_w());
                    assert_eq!(*offset, (y * 2 * 10 + x) * 4);
                    assert!(offset + (2 * 10 + 2) * 4 <= bands.padded_len());
                }
                expected += tile.len;
            }
        }
        assert!(bands.count() > 1);
        assert_eq!(expected, conv.out_h() * conv.out_w());
    }

    #[test]
    fn bands_are_cut_between_tiles() {
        let conv = Conv2d { in_h: 14, in_w: 14, ..Conv2d::linear(384, 64) };
        let bands = Bands::new(&conv, 384, 4, 1 << 20).align_to(6);
        let lens = |bands: &mut dyn Iterator<Item = (usize, usize)>| -> Vec<usize> {
            let mut next = 0;
            bands.map(|(first, len)| (assert_eq!(first, next), next += len, len).2).collect()
        };
        let whole = lens(&mut (0..bands.count()).map(|index| bands.out_pixels(bands.band(index))));
        assert_eq!(whole, [24, 24, 24, 24, 24, 24, 24, 28]);
        // Five rows of 14 pixels, none in a larger band than the map's largest.
        assert_eq!(lens(&mut bands.within(3..8, 3).map(|band| bands.out_pixels(band))), [24, 24, 22]);
        assert!(bands.rows() >= 28);
    }

    #[test]
    fn padded_rows_hold_the_input_in_padding() {
        let conv =
            Conv2d { in_h: 2, in_w: 2, in_c: 1, out_c: 1, kernel: [3, 3], stride: [1, 1], padding: [1, 1], groups: 1 };
        let bands = Bands::new(&conv, 1, 1, 1 << 20);
        let mut out = [0_i16; 16];
        bands.copy_padded(bands.band(0), &[1_u8, 2, 3, 4], &mut out, 9, i16::from);
        assert_eq!(out, [9, 9, 9, 9, 9, 1, 2, 9, 9, 3, 4, 9, 9, 9, 9, 9]);
    }
}
