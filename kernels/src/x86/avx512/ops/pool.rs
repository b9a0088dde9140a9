//! Maxima of windows, averages and means.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{LANES, Round, floats, load, load_first, store, store_first};
use crate::conv::InputRows;
use crate::mean::{GROUP, average_multiplier, cascade};
use crate::quant::Rounding;
use crate::x86::ops as narrow;
use crate::{Numerics, Pool2d, QParams};

/// Bytes of maxima over rows that lie on the stack at once.
const POOL_BYTES: usize = 8192;

/// [`crate::max_pool_u8`] of the output's rows from `row` on: maxima over the rows of the windows, whole rows at a time, then
/// over columns.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn max_pool_rows(pool: &Pool2d, x: InputRows<u8>, row: usize, out: &mut [u8]) {
    let (channels, row_len) = (pool.channels, pool.in_w * pool.channels);
    // Pixels of the input that fit the buffer, and so many windows reach over them.
    let Some(fitting) = (POOL_BYTES / channels).checked_sub(pool.kernel[1]) else {
        return narrow::max_pool_rows(pool, x, row, out);
    };
    let windows = fitting / pool.stride[1] + 1;
    let mut buffer = [0_u8; POOL_BYTES + LANES];
    for (index, out) in out.chunks_exact_mut(pool.out_w() * channels).enumerate() {
        let rows = x.window(pool, row + index);
        for (index, out) in out.chunks_mut(windows * channels).enumerate() {
            let (first, end) = (index * windows, index * windows + out.len() / channels);
            let pixels = pool.window(1, first).start..pool.window(1, end - 1).end;
            let from = |row: usize| &x.values[row * row_len..][pixels.start * channels..pixels.end * channels];
            max_of_rows(rows.clone().map(from), &mut buffer);
            max_of_columns(pool, first..end, pixels.start, &buffer, out);
        }
    }
}

/// The largest of each byte of rows, three at a time.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn max_of_rows<'a>(mut rows: impl Iterator<Item = &'a [u8]>, most: &mut [u8]) {
    let Some(first) = rows.next() else { return };
    let second = rows.next().unwrap_or(first);
    let third = rows.next().unwrap_or(second);
    let whole = first.len() / LANES * LANES;
    let inputs = first.chunks_exact(LANES).zip(second.chunks_exact(LANES)).zip(third.chunks_exact(LANES));
    for (most, ((a, b), c)) in most.chunks_exact_mut(LANES).zip(inputs) {
        store(_mm512_max_epu8(_mm512_max_epu8(load(a), load(b)), load(c)), most);
    }
    let [a, b, c] = [first, second, third].map(|row| load_first(&row[whole..]));
    store(_mm512_max_epu8(_mm512_max_epu8(a, b), c), &mut most[whole..]);
    for row in rows {
        for (most, x) in most.chunks_mut(LANES).zip(row.chunks(LANES)) {
            store_first(_mm512_max_epu8(load_first(most), load_first(x)), most);
        }
    }
}

/// The largest of each channel of the windows at output columns `columns`; `most` has a row's pixels from `start` on, and 64
/// bytes more.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn max_of_columns(pool: &Pool2d, columns: Range<usize>, start: usize, most: &[u8], out: &mut [u8]) {
    let (channels, mut column) = (pool.channels, columns.start);
    while column < columns.end {
        let window = pool.window(1, column);
        let pixels = &most[(window.start - start) * channels..];
        let from = (column - columns.start) * channels;
        let step = pool.stride[1] * channels;
        let count = if window.len() == pool.kernel[1] {
            // None is cut by an edge up to the first that the right one cuts.
            columns.end.min((pool.in_w + pool.padding[1] - pool.kernel[1]) / pool.stride[1] + 1) - column
        } else {
            1
        };
        let out = &mut out[from..];
        match (window.len(), channels.div_ceil(HALF)) {
            (3, 1) => max_of_pixels::<3, 1>(pixels, step, channels, count, out),
            (3, 2) => max_of_pixels::<3, 2>(pixels, step, channels, count, out),
            (3, 4) => max_of_pixels::<3, 4>(pixels, step, channels, count, out),
            (width, _) => max_of_any_pixels(width, pixels, step, channels, count, out),
        }
        column += count;
    }
}

/// Channels of the vectors in which maxima over columns are taken.
const HALF: usize = 32;

/// The largest of each channel of `count` windows of `WIDTH` pixels, `step` bytes apart, with channels in `N` vectors.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn max_of_pixels<const WIDTH: usize, const N: usize>(
    pixels: &[u8],
    step: usize,
    channels: usize,
    count: usize,
    out: &mut [u8],
) {
    let mut done = 0;
    while done < count && (done * channels + N * HALF) <= out.len() {
        let window = &pixels[done * step..][..(WIDTH - 1) * channels + N * HALF];
        for vector in 0..N {
            let mut most = _mm256_setzero_si256();
            for pixel in 0..WIDTH {
                // SAFETY: the window ends 32 bytes after the last vector's start in its last pixel.
                let x = unsafe { _mm256_loadu_si256(window.as_ptr().add(pixel * channels + vector * HALF).cast()) };
                most = _mm256_max_epu8(most, x);
            }
            // SAFETY: the loop's condition leaves `N` vectors in the output; the store needs no alignment.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add(done * channels + vector * HALF).cast(), most) };
        }
        done += 1;
    }
    if done == count {
        // With strides above the window's width, the next one may start beyond what there is.
        return;
    }
    max_of_any_pixels(WIDTH, &pixels[done * step..], step, channels, count - done, &mut out[done * channels..]);
}

/// [`max_of_pixels`] of any width and channels.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline(never)]
fn max_of_any_pixels(width: usize, pixels: &[u8], step: usize, channels: usize, count: usize, out: &mut [u8]) {
    for index in 0..count {
        for channel in (0..channels).step_by(HALF) {
            let first = index * step + channel;
            let mut most = load32(&pixels[first..]);
            for pixel in 1..width {
                most = _mm256_max_epu8(most, load32(&pixels[first + pixel * channels..]));
            }
            store32_first(most, &mut out[index * channels + channel..]);
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn load32(x: &[u8]) -> __m256i {
    let x = &x[..32];
    // SAFETY: the slice has 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

/// Stores as many of 32 bytes as the slice has room for.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store32_first(x: __m256i, out: &mut [u8]) {
    if out.len() >= 32 {
        // SAFETY: the slice has 32 writable bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), x) }
    } else {
        store_first(_mm512_castsi256_si512(x), out);
    }
}

/// Averages of channels `start ..`, as [`crate::global_avg_pool_u8`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn average_u8(numerics: Numerics, q: QParams, x: &[u8], pixels: usize, start: usize, out: &mut [u8]) {
    let multiplier = _mm512_set1_ps(average_multiplier(numerics, q.scale, pixels));
    let round = Round::new(Rounding::new(q.zero_point, false));
    let zeros = _mm512_set1_epi32((pixels * usize::from(q.zero_point)) as i32);
    let channels = x.len() / pixels;
    for (block, out) in out.chunks_mut(LANES).enumerate() {
        // What a multiplier of about 1 / n leaves is no more than a few hundred.
        let averages = sums(x, channels, start + block * LANES)
            .map(|sum| _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_sub_epi32(sum, zeros)), multiplier)));
        store_first(round.packed(averages), out);
    }
}

/// Sums of 64 channels from `column` on, or of what there are, over all pixels, in the order that packing wants.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn sums(x: &[u8], channels: usize, column: usize) -> [__m512i; 4] {
    /// Pixels whose sum u16 holds.
    const CHUNK: usize = 256;
    let zero = _mm512_setzero_si512();
    let mut sums = [zero; 4];
    for x in x.chunks(CHUNK * channels) {
        // Pairs of bytes as they are, modulo 2^16, and their upper bytes: the lower ones' sums are what is left.
        let (mut pairs, mut odd) = (zero, zero);
        let mut add = |bytes: __m512i| {
            pairs = _mm512_add_epi16(pairs, bytes);
            odd = _mm512_add_epi16(odd, _mm512_srli_epi16::<8>(bytes));
        };
        // What lies beyond the last channel is summed too, for nothing.
        let mut start = column;
        while start + LANES <= x.len() {
            add(load(&x[start..]));
            start += channels;
        }
        while start < x.len() {
            add(load_first(&x[start..]));
            start += channels;
        }
        let even = _mm512_sub_epi16(pairs, _mm512_slli_epi16::<8>(odd));
        let words = [_mm512_unpacklo_epi16(even, odd), _mm512_unpackhi_epi16(even, odd)];
        for (sums, words) in sums.chunks_exact_mut(2).zip(words) {
            sums[0] = _mm512_add_epi32(sums[0], _mm512_unpacklo_epi16(words, zero));
            sums[1] = _mm512_add_epi32(sums[1], _mm512_unpackhi_epi16(words, zero));
        }
    }
    sums
}

/// [`crate::mean::mean_fbgemm`], 64 channels at a time where all are in groups of 32.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn mean_fbgemm(q: QParams, x: &[u8], n: usize, start: usize, out: &mut [u8]) {
    let channels = x.len() / n;
    let end = (channels / GROUP * GROUP).min(start + out.len());
    let blocks = end.saturating_sub(start) / LANES;
    let round = Round::new(Rounding::new(q.zero_point, false));
    let (zero_point, scale) = (_mm512_set1_ps(f32::from(q.zero_point)), _mm512_set1_ps(q.scale));
    let (count, inverse) = (_mm512_set1_ps(n as f32), _mm512_set1_ps(1.0 / q.scale));
    for block in 0..blocks {
        let value = |pixel: usize| {
            let x = load(&x[pixel * channels + start + block * LANES..]);
            floats(x).map(|x| _mm512_mul_ps(_mm512_sub_ps(x, zero_point), scale))
        };
        let add = |a: [__m512; 4], b: [__m512; 4]| [0, 1, 2, 3].map(|i| _mm512_add_ps(a[i], b[i]));
        let sums = cascade(n, [_mm512_setzero_ps(); 4], add, value);
        // A mean is no more than 255 steps, but for rounding.
        let means = sums.map(|sum| _mm512_mul_ps(_mm512_div_ps(sum, count), inverse));
        store(round.bytes(means), &mut out[block * LANES..]);
    }
    crate::mean::mean_fbgemm(q, x, n, start + blocks * LANES, &mut out[blocks * LANES..]);
}
