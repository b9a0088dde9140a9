//! Pillow's resize of 8-bit pictures: a horizontal and a vertical pass over weighted bytes, in integers.

use crate::scalar::picture::{HALF, add, to_byte};
use crate::vectorize::{Vectorize, vectorized};
use crate::{Error, Isa};

/// Bytes of a row whose sums are held in registers at once.
const BLOCK: usize = 32;

/// The old pixels along one side of a picture that each new one is made from.
#[derive(Debug, Clone, Default)]
pub struct PictureTaps {
    firsts: Vec<usize>,
    /// Where each new pixel's weights end.
    ends: Vec<usize>,
    weights: Vec<i32>,
}

impl PictureTaps {
    /// Fraction bits of the weights: 32 less 8 for the byte and 2 for the sum's overshoot.
    pub const FRACTION_BITS: u32 = 32 - 8 - 2;

    /// No taps yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// One more new pixel: from the old pixel `first` on, weights with [`Self::FRACTION_BITS`]. They should add up to 1, so that a
    /// sum stays within i32; other sums wrap.
    pub fn push(&mut self, first: usize, weights: impl IntoIterator<Item = i32>) {
        self.firsts.push(first);
        self.weights.extend(weights);
        self.ends.push(self.weights.len());
    }

    /// New pixels.
    pub fn len(&self) -> usize {
        self.firsts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.firsts.is_empty()
    }

    /// The old pixels that are read: the first, and one past the last.
    pub fn reach(&self) -> std::ops::Range<usize> {
        let first = self.firsts.iter().copied().min().unwrap_or(0);
        first..(0..self.len()).map(|i| self.of(i).0 + self.of(i).1.len()).max().unwrap_or(first)
    }

    /// The same taps in a picture that begins at the old pixel `start`.
    ///
    /// # Panics
    /// If a tap lies before it.
    #[must_use]
    pub fn from(mut self, start: usize) -> Self {
        assert!(
            self.is_empty() || start <= self.reach().start,
            "taps from {} begin before {start}",
            self.reach().start
        );
        self.firsts.iter_mut().for_each(|first| *first -= start);
        self
    }

    /// First old pixel and weights of a new one.
    #[inline(always)]
    pub(crate) fn of(&self, i: usize) -> (usize, &[i32]) {
        let start = if i == 0 { 0 } else { self.ends[i - 1] };
        (self.firsts[i], &self.weights[start..self.ends[i]])
    }

    /// [`Self::check`] of the horizontal pass, whose rows are as many before and after. Whether there is anything to do.
    pub(crate) fn check_columns(&self, rows: &[u8], width: usize, out: &[u8]) -> bool {
        self.check(width, rows.len(), 3 * width, out.len(), 3 * self.len());
        if self.is_empty() || width == 0 {
            return false;
        }
        let [old, new] = [rows.len() / (3 * width), out.len() / (3 * self.len())];
        assert_eq!(old, new, "rows of the picture and of the result");
        true
    }

    /// Panics with what does not fit: `old` pixels, `rows` bytes in rows of `stride`, and the same of `out`.
    pub(crate) fn check(&self, old: usize, rows: usize, stride: usize, out: usize, out_stride: usize) {
        let end = self.reach().end;
        assert!(end <= old, "taps reach pixel {end} of {old}");
        let whole = |bytes: usize, stride: usize| bytes.is_multiple_of(stride.max(1)) && (stride > 0 || bytes == 0);
        assert!(whole(rows, stride), "{rows} bytes in rows of {stride}");
        assert!(whole(out, out_stride), "{out} bytes in rows of {out_stride}");
    }
}

/// Resizes pictures on one instruction set. Results are the same bytes on every one.
#[derive(Debug, Clone, Copy)]
pub struct PictureResize {
    isa: Isa,
}

impl Default for PictureResize {
    /// The most capable instruction set here.
    fn default() -> Self {
        Self { isa: Isa::best() }
    }
}

impl PictureResize {
    /// For this instruction set.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available.
    pub fn new(isa: Isa) -> Result<Self, Error> {
        isa.check()?;
        Ok(Self { isa })
    }

    /// [`crate::scalar::picture::resize_columns`], and equal to it.
    ///
    /// # Panics
    /// See there.
    pub fn columns(self, rows: &[u8], width: usize, taps: &PictureTaps, out: &mut [u8]) {
        if !taps.check_columns(rows, width, out) {
            return;
        }
        #[cfg(target_arch = "x86_64")]
        if self.isa.includes(Isa::Avx2) && columns_avx2(rows, width, taps, out) {
            return;
        }
        vectorized(self.isa, Columns { rows, width, taps, out });
    }

    /// [`crate::scalar::picture::resize_rows`], and equal to it.
    ///
    /// # Panics
    /// See there.
    pub fn rows(self, rows: &[u8], stride: usize, taps: &PictureTaps, out: &mut [u8]) {
        taps.check(rows.len() / stride.max(1), rows.len(), stride, out.len(), stride);
        vectorized(self.isa, Rows { rows, stride, taps, out });
    }
}

/// Rows by twos with AVX2, which the caller has found here. Whether it could: weights of 28 bits and more do not fit.
#[cfg(target_arch = "x86_64")]
fn columns_avx2(rows: &[u8], width: usize, taps: &PictureTaps, out: &mut [u8]) -> bool {
    let (mut pairs, mut ends) = (Vec::new(), Vec::new());
    for i in 0..taps.len() {
        let Some(of) = crate::x86::picture::pairs(taps.of(i).1) else { return false };
        pairs.extend(of);
        ends.push(pairs.len());
    }
    let (stride, out_stride) = (3 * width, 3 * taps.len());
    // The last pair of a row may begin at its last pixel.
    let mut padded = [vec![0u8; stride + 8], vec![0u8; stride + 8]];
    let mut spare = vec![0; out_stride];
    for (rows, out) in rows.chunks(2 * stride).zip(out.chunks_mut(2 * out_stride)) {
        padded.iter_mut().zip(rows.chunks_exact(stride)).for_each(|(to, row)| to[..stride].copy_from_slice(row));
        let (upper, lower) = out.split_at_mut(out_stride);
        let lower = if lower.is_empty() { &mut spare[..] } else { lower };
        // SAFETY: the caller has checked that this CPU has the set, which includes AVX2.
        unsafe { crate::x86::picture::columns([&padded[0], &padded[1]], taps, &pairs, &ends, [upper, lower]) };
    }
    true
}

struct Columns<'a> {
    rows: &'a [u8],
    width: usize,
    taps: &'a PictureTaps,
    out: &'a mut [u8],
}

impl Vectorize for Columns<'_> {
    type Output = ();

    /// A pixel and the byte after it are a vector of four; so the last pixel of a row needs a byte after it.
    #[inline(always)]
    fn run(self) {
        let Self { rows, width, taps, out } = self;
        let mut padded = vec![0u8; 3 * width + 1];
        for (row, out) in rows.chunks_exact(3 * width).zip(out.chunks_exact_mut(3 * taps.len())) {
            padded[..3 * width].copy_from_slice(row);
            for (i, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
                let (first, weights) = taps.of(i);
                let old = &padded[3 * first..3 * (first + weights.len()) + 1];
                let mut sums = [HALF; 4];
                for (k, &weight) in weights.iter().enumerate() {
                    let pixel = &old[3 * k..3 * k + 4];
                    for lane in 0..4 {
                        sums[lane] = add(sums[lane], pixel[lane], weight);
                    }
                }
                let [r, g, b, _] = sums.map(to_byte);
                *out = [r, g, b];
            }
        }
    }
}

struct Rows<'a> {
    rows: &'a [u8],
    stride: usize,
    taps: &'a PictureTaps,
    out: &'a mut [u8],
}

impl Vectorize for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Self { rows, stride, taps, out } = self;
        for (i, out) in out.chunks_exact_mut(stride.max(1)).enumerate() {
            let (first, weights) = taps.of(i);
            let old = &rows[first * stride..(first + weights.len()) * stride];
            let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
            let whole = BLOCK * blocks.len();
            for (block, out) in blocks.iter_mut().enumerate() {
                let mut sums = [HALF; BLOCK];
                for (row, &weight) in old.chunks_exact(stride).zip(weights) {
                    let bytes = &row[BLOCK * block..BLOCK * (block + 1)];
                    for lane in 0..BLOCK {
                        sums[lane] = add(sums[lane], bytes[lane], weight);
                    }
                }
                for lane in 0..BLOCK {
                    out[lane] = to_byte(sums[lane]);
                }
            }
            let sums = &mut [HALF; BLOCK][..rest.len()];
            for (row, &weight) in old.chunks_exact(stride).zip(weights) {
                sums.iter_mut().zip(&row[whole..]).for_each(|(sum, &byte)| *sum = add(*sum, byte, weight));
            }
            rest.iter_mut().zip(sums).for_each(|(out, &mut sum)| *out = to_byte(sum));
        }
    }
}
