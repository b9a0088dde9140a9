//! f32 ops whose plain loops compilers do not turn into good vectors, AVX2. Equal to the scalar versions bit for bit.

use std::arch::x86_64::*;

use crate::Pool2d;

/// [`crate::max_pool_f32`] of output row `row`.
#[target_feature(enable = "avx2")]
pub(crate) fn max_pool_row_f32(pool: &Pool2d, x: &[f32], row: usize, out: &mut [f32]) {
    let (rows, c, row_len) = (pool.window(0, row), pool.channels, pool.in_w * pool.channels);
    let x = &x[rows.start * row_len..rows.end * row_len];
    for (column, out) in out.chunks_exact_mut(c).enumerate() {
        let columns = pool.window(1, column);
        let (x, width) = (&x[columns.start * c..], columns.len());
        // SAFETY: windows are not empty, and the last row's part of this one ends inside the input's rows.
        unsafe {
            match width {
                3 => max_pool_pixel::<3>(x, [row_len, rows.len(), width], out),
                2 => max_pool_pixel::<2>(x, [row_len, rows.len(), width], out),
                _ => max_pool_pixel::<0>(x, [row_len, rows.len(), width], out),
            }
        }
    }
}

/// Maxima of a window of `WIDTH` columns, or of any number where that is 0; `x` starts at the window's first pixel. The
/// vector maximum is its second operand where neither is larger, as in the scalar version.
///
/// # Safety
/// `x` has, for each of the window's rows, `row_len` apart, `width` pixels of as many channels as there are outputs.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn max_pool_pixel<const WIDTH: usize>(x: &[f32], [row_len, rows, width]: [usize; 3], out: &mut [f32]) {
    let (c, width) = (out.len(), if WIDTH == 0 { width } else { WIDTH });
    debug_assert!((rows - 1) * row_len + width * c <= x.len());
    let vectors = c / 8;
    for channel in (0..vectors * 8).step_by(8) {
        let mut most = _mm256_set1_ps(f32::NEG_INFINITY);
        for row in 0..rows {
            for pixel in 0..width {
                // SAFETY: 8 of the pixel's channels, by the caller's promise.
                let values = unsafe { _mm256_loadu_ps(x.as_ptr().add(row * row_len + pixel * c + channel)) };
                most = _mm256_max_ps(values, most);
            }
        }
        // SAFETY: the output has as many channels as a pixel.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr().add(channel), most) };
    }
    for (channel, out) in out.iter_mut().enumerate().skip(vectors * 8) {
        let values = (0..rows).flat_map(|row| (0..width).map(move |pixel| row * row_len + pixel * c));
        *out = values.fold(f32::NEG_INFINITY, |most, at| if x[at + channel] > most { x[at + channel] } else { most });
    }
}
