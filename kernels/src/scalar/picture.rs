//! The two passes of Pillow's resize in plain Rust: the specification.

use crate::picture::PictureTaps;

/// One half: what a sum starts with, so that it is rounded.
pub(crate) const HALF: i32 = 1 << (PictureTaps::FRACTION_BITS - 1);

/// A sum of weighted bytes, rounded and held at the ends.
#[inline(always)]
pub(crate) fn to_byte(sum: i32) -> u8 {
    (sum >> PictureTaps::FRACTION_BITS).clamp(0, 255) as u8
}

/// `sum` and one more weighted byte. Sums of weights that add up to 1 cannot leave i32; others wrap.
#[inline(always)]
pub(crate) fn add(sum: i32, byte: u8, weight: i32) -> i32 {
    sum.wrapping_add(i32::from(byte).wrapping_mul(weight))
}

/// The horizontal pass: of rows of `width` RGB pixels, rows of a pixel a tap.
///
/// # Panics
/// If the taps reach beyond a row, or `rows` or `out` is no whole number of rows, the same of both.
pub fn resize_columns(rows: &[u8], width: usize, taps: &PictureTaps, out: &mut [u8]) {
    if !taps.check_columns(rows, width, out) {
        return;
    }
    for (row, out) in rows.chunks_exact(3 * width).zip(out.chunks_exact_mut(3 * taps.len())) {
        for (i, out) in out.iter_mut().enumerate() {
            let (first, weights) = taps.of(i / 3);
            let old = row[3 * first + i % 3..].iter().step_by(3);
            *out = to_byte(old.zip(weights).fold(HALF, |sum, (&byte, &weight)| add(sum, byte, weight)));
        }
    }
}

/// The vertical pass: of rows of `stride` bytes, a row a tap.
///
/// # Panics
/// If the taps reach beyond the last row, or `rows` or `out` is no whole number of rows.
pub fn resize_rows(rows: &[u8], stride: usize, taps: &PictureTaps, out: &mut [u8]) {
    taps.check(rows.len() / stride.max(1), rows.len(), stride, out.len(), stride);
    for (i, out) in out.chunks_exact_mut(stride.max(1)).enumerate() {
        let (first, weights) = taps.of(i);
        for (x, out) in out.iter_mut().enumerate() {
            let old = rows[first * stride + x..].iter().step_by(stride);
            *out = to_byte(old.zip(weights).fold(HALF, |sum, (&byte, &weight)| add(sum, byte, weight)));
        }
    }
}
