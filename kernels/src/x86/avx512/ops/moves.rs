//! Moves of channels.

use std::arch::x86_64::*;

/// Bytes of a vector here: rows are short.
const LANES: usize = 32;

/// Channels `first .. first + len` of pixels of `in_c`; the lengths are checked.
#[target_feature(enable = "avx512f")]
pub(crate) fn slice_rows(x: &[u8], in_c: usize, first: usize, len: usize, out: &mut [u8]) {
    match len.div_ceil(LANES) {
        1 => slice_vectors::<1>(x, in_c, first, len, out),
        2 => slice_vectors::<2>(x, in_c, first, len, out),
        3 => slice_vectors::<3>(x, in_c, first, len, out),
        4 => slice_vectors::<4>(x, in_c, first, len, out),
        _ => slice_vectors::<0>(x, in_c, first, len, out),
    }
}

/// Pixels of `N` vectors; of the last pixels, whose vectors end beyond a slice, only what there is.
#[target_feature(enable = "avx512f")]
#[inline]
fn slice_vectors<const N: usize>(x: &[u8], in_c: usize, first: usize, len: usize, out: &mut [u8]) {
    let (mut from, mut to) = (first, 0);
    while N > 0 && from + N * LANES <= x.len() && to + N * LANES <= out.len() {
        for at in (0..N * LANES).step_by(LANES) {
            // SAFETY: both slices have 32 bytes here, by the loop's condition; neither access needs alignment.
            unsafe {
                let bytes = _mm256_loadu_si256(x.as_ptr().add(from + at).cast());
                _mm256_storeu_si256(out.as_mut_ptr().add(to + at).cast(), bytes);
            }
        }
        (from, to) = (from + in_c, to + len);
    }
    while to < out.len() {
        out[to..to + len].copy_from_slice(&x[from..from + len]);
        (from, to) = (from + in_c, to + len);
    }
}
