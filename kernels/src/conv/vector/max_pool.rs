//! Maxima of windows of f32 maps, over the vectors of an instruction set.
//!
//! The maximum of a column of a window is taken once where the next window has that column too. Equal to the scalar version: whatever
//! the order, the largest of the values that are numbers, or minus infinity.

use super::LanesF32;
use crate::Pool2d;
use crate::conv::InputRows;

/// Most vectors of channels that are taken at once.
const MAX_VECTORS: usize = 4;

/// [`crate::max_pool_f32`] of output row `row`.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
pub(crate) unsafe fn max_pool_row<L: LanesF32>(pool: &Pool2d, x: InputRows<f32>, row: usize, out: &mut [f32]) {
    let (rows, row_len) = (x.window(pool, row), pool.in_w * pool.channels);
    let x = &x.values[rows.start * row_len..rows.end * row_len];
    let mut channel = 0;
    while channel < pool.channels {
        // SAFETY: the caller's promise; these channels are a pixel's, and the slice is of whole rows of them.
        unsafe {
            match (rows.len(), (pool.channels - channel).div_ceil(L::LANES)) {
                (3, 1) => columns::<L, 3, 1>(pool, x, channel, out),
                (3, 2) => columns::<L, 3, 2>(pool, x, channel, out),
                (3, 3) => columns::<L, 3, 3>(pool, x, channel, out),
                (3, _) => columns::<L, 3, MAX_VECTORS>(pool, x, channel, out),
                (_, 1) => columns::<L, 0, 1>(pool, x, channel, out),
                (_, 2) => columns::<L, 0, 2>(pool, x, channel, out),
                (_, 3) => columns::<L, 0, 3>(pool, x, channel, out),
                (_, _) => columns::<L, 0, MAX_VECTORS>(pool, x, channel, out),
            }
        }
        channel += MAX_VECTORS * L::LANES;
    }
}

/// `NV` vectors of channels, of which the last may have fewer, of all columns; windows of `ROWS` rows, or of all that `x` has where
/// that is 0.
///
/// # Safety
/// As [`max_pool_row`]; of the channels from `channel` on there are more than `NV - 1` vectors.
#[inline(always)]
unsafe fn columns<L: LanesF32, const ROWS: usize, const NV: usize>(
    pool: &Pool2d,
    x: &[f32],
    channel: usize,
    out: &mut [f32],
) {
    let (channels, row_len) = (pool.channels, pool.in_w * pool.channels);
    let rows = if ROWS == 0 { x.len() / row_len } else { ROWS };
    let last = (channels - channel - (NV - 1) * L::LANES).min(L::LANES);
    assert!(rows * row_len <= x.len() && out.len() == pool.out_w() * channels);
    // SAFETY: the caller's promise; columns are those of the map, and so many lanes of the last vector a pixel's.
    unsafe {
        let least = [L::splat(f32::NEG_INFINITY); NV];
        let (mut before, mut before_most) = (usize::MAX, least);
        for index in 0..pool.out_w() {
            let window = pool.window(1, index);
            let shared = window.start == before;
            let mut most = if shared { before_most } else { least };
            for column in window.start + usize::from(shared)..window.end {
                let mut column_most = least;
                for row in 0..rows {
                    let at = x.as_ptr().add(row * row_len + column * channels + channel);
                    for (v, most) in column_most.iter_mut().enumerate() {
                        let at = at.add(v * L::LANES);
                        let value = if v + 1 < NV || last == L::LANES { L::load(at) } else { L::load_first(at, last) };
                        *most = L::max(value, *most);
                    }
                }
                for (most, &column_most) in most.iter_mut().zip(&column_most) {
                    *most = L::max(column_most, *most);
                }
                (before, before_most) = (column, column_most);
            }
            let out = &mut out[index * channels + channel..][..(NV - 1) * L::LANES + last];
            for (most, out) in most.into_iter().zip(out.chunks_mut(L::LANES)) {
                L::store_first(out, most);
            }
        }
    }
}
