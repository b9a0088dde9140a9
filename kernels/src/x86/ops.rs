//! Elementwise int8 ops and moves of bytes with AVX2. Each equals the scalar version of its op bit for bit.

pub(crate) use super::add_u8::{add_to_u8, add_u8};

use std::arch::x86_64::*;
use std::ops::Range;

use super::epilogue::load_f32;
use crate::conv::InputRows;
use crate::lut::{BLOCK, CONCAT_BLOCK};
use crate::quant::Rounding;
use crate::{Lut, MulU8, Pool2d, QParams};

/// Bytes of an AVX2 register.
pub(super) const LANES: usize = 32;

/// Runs plain Rust, compiled for AVX2 and FMA as far as it is inlined here. Rust never fuses a product and a sum by
/// itself, so results do not change.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(crate) fn compiled(f: impl FnOnce()) {
    f();
}

/// Eight bytes as i32.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load8(x: &[u8]) -> __m256i {
    let x = &x[..8];
    // SAFETY: the slice has 8 readable bytes; the load needs no alignment.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(x.as_ptr().cast()) })
}

/// 32 bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn load32(x: &[u8]) -> __m256i {
    let x = &x[..LANES];
    // SAFETY: the slice has 32 readable bytes; the load needs no alignment.
    unsafe { _mm256_loadu_si256(x.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn store32(x: __m256i, out: &mut [u8]) {
    let out = &mut out[..LANES];
    // SAFETY: the slice has 32 writable bytes; the store needs no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), x) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn load16(x: &[u8]) -> __m128i {
    let x = &x[..16];
    // SAFETY: the slice has 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(x.as_ptr().cast()) }
}

#[target_feature(enable = "avx2")]
#[inline]
fn store16(x: __m128i, out: &mut [u8]) {
    let out = &mut out[..16];
    // SAFETY: the slice has 16 writable bytes; the store needs no alignment.
    unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), x) }
}

/// [`Rounding`] in vectors.
#[derive(Clone, Copy)]
struct Round {
    low: __m256,
    high: __m256,
    zero_point: __m256i,
}

impl Round {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(rounding: Rounding) -> Self {
        let (low, high) = (_mm256_set1_ps(rounding.low), _mm256_set1_ps(rounding.high));
        Self { low, high, zero_point: _mm256_set1_epi16(rounding.zero_point as i16) }
    }

    /// Clamped and rounded half to even (Rust never changes MXCSR). `max` and `min` return the second operand where one
    /// is NaN, which makes NaN `low`, as in `round_clamped`.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn integers(self, x: __m256) -> __m256i {
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_max_ps(x, self.low), self.high))
    }

    /// 32 bytes of four times eight values.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn bytes(self, x: [__m256; 4]) -> __m256i {
        let x = [self.integers(x[0]), self.integers(x[1]), self.integers(x[2]), self.integers(x[3])];
        bytes_of(x, self.zero_point)
    }

    /// Eight bytes of eight values, in the low half.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn bytes8(self, x: __m256) -> __m128i {
        let words = _mm256_packs_epi32(self.integers(x), _mm256_setzero_si256());
        let words = _mm256_permute4x64_epi64::<0b1000>(_mm256_add_epi16(words, self.zero_point));
        _mm_packus_epi16(_mm256_castsi256_si128(words), _mm_setzero_si128())
    }
}

/// Four times eight integers plus the zero point, clamped to bytes: all steps saturate.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn bytes_of([a, b, c, d]: [__m256i; 4], zero_point: __m256i) -> __m256i {
    let ab = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero_point);
    let cd = _mm256_adds_epi16(_mm256_packs_epi32(c, d), zero_point);
    // Packing works on 128-bit halves: groups of four lie as a0 b0 c0 d0 a1 b1 c1 d1.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), order)
}

/// [`MulU8::run`]; the lengths are checked. Factors of 32 channels stay in registers over all pixels.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn mul_u8(mul: &MulU8, a: &[u8], b: &[u8], out: &mut [u8], channels: usize) {
    let round = Round::new(mul.rounding);
    let (za, zb) = (_mm256_set1_epi32(mul.a), _mm256_set1_epi32(mul.b));
    let factor = _mm256_set1_ps(mul.multiplier);
    let vectors = channels / LANES * LANES;
    for at in (0..vectors).step_by(LANES) {
        let mut factors = [_mm256_setzero_ps(); 4];
        for (index, factor) in factors.iter_mut().enumerate() {
            *factor = _mm256_cvtepi32_ps(_mm256_sub_epi32(load8(&b[at + 8 * index..]), zb));
        }
        for (out, a) in out.chunks_exact_mut(channels).zip(a.chunks_exact(channels)) {
            let a = &a[at..at + LANES];
            let mut products = [_mm256_setzero_ps(); 4];
            for (index, product) in products.iter_mut().enumerate() {
                // Products of integers up to 255 are exact in f32.
                let a = _mm256_cvtepi32_ps(_mm256_sub_epi32(load8(&a[8 * index..]), za));
                *product = _mm256_mul_ps(_mm256_mul_ps(a, factors[index]), factor);
            }
            store32(round.bytes(products), &mut out[at..]);
        }
    }
    if vectors < channels {
        for (out, a) in out.chunks_exact_mut(channels).zip(a.chunks_exact(channels)) {
            mul_few(mul, &a[vectors..], &b[vectors..], &mut out[vectors..]);
        }
    }
}

/// [`MulU8::run`] of a few channels of a pixel.
#[target_feature(enable = "avx2,fma")]
#[inline]
pub(super) fn mul_few(mul: &MulU8, a: &[u8], b: &[u8], out: &mut [u8]) {
    let round = Round::new(mul.rounding);
    let (za, zb) = (_mm256_set1_epi32(mul.a), _mm256_set1_epi32(mul.b));
    let factor = _mm256_set1_ps(mul.multiplier);
    let vectors = out.len() / 8 * 8;
    for at in (0..vectors).step_by(8) {
        let a = _mm256_cvtepi32_ps(_mm256_sub_epi32(load8(&a[at..]), za));
        let b = _mm256_cvtepi32_ps(_mm256_sub_epi32(load8(&b[at..]), zb));
        let bytes = round.bytes8(_mm256_mul_ps(_mm256_mul_ps(a, b), factor));
        let out = &mut out[at..at + 8];
        // SAFETY: the slice has 8 writable bytes; the store needs no alignment.
        unsafe { _mm_storel_epi64(out.as_mut_ptr().cast(), bytes) }
    }
    for (out, (&a, &b)) in out[vectors..].iter_mut().zip(a[vectors..].iter().zip(&b[vectors..])) {
        let product = (i32::from(a) - mul.a) * (i32::from(b) - mul.b);
        *out = mul.rounding.round(product as f32 * mul.multiplier);
    }
}

/// A table of 256 bytes as 16 rows of 16, for `vpshufb`. Rows but the first of each half hold what changes from the row
/// before it, so that the exclusive or of all rows up to the one that an index is in gives the entry.
struct Rows([__m128i; 16]);

impl Rows {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(table: &[u8; 256]) -> Self {
        let mut rows = [_mm_setzero_si128(); 16];
        for (index, row) in rows.iter_mut().enumerate() {
            let entries = load16(&table[16 * index..]);
            *row = if index % 8 == 0 { entries } else { _mm_xor_si128(entries, load16(&table[16 * (index - 1)..])) };
        }
        Self(rows)
    }

    /// The entries of 32 bytes. `vpshufb` gives 0 for an index with its high bit set: the bytes less 16 for each row,
    /// saturating, are negative for rows after theirs, and all bytes from 128 on are so in the first half's rows. In
    /// rows before theirs the low four bits choose the entry, which is the same in all rows.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn map(&self, x: __m256i) -> __m256i {
        let step = _mm256_set1_epi8(16);
        let mut low = x;
        let mut high = _mm256_xor_si256(x, _mm256_set1_epi8(-128));
        let mut out = _mm256_setzero_si256();
        for (a, b) in self.0[..8].iter().zip(&self.0[8..]) {
            let a = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(*a), low);
            let b = _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(*b), high);
            out = _mm256_xor_si256(out, _mm256_xor_si256(a, b));
            (low, high) = (_mm256_subs_epi8(low, step), _mm256_subs_epi8(high, step));
        }
        out
    }
}

/// [`crate::apply_lut`].
#[target_feature(enable = "avx2")]
pub(crate) fn apply_lut(lut: &Lut, x: &[u8], out: &mut [u8]) {
    let blocks = x.len() / BLOCK * BLOCK;
    if blocks > 0 {
        let rows = Rows::new(&lut.blocks);
        for start in (0..blocks).step_by(LANES) {
            store32(rows.map(load32(&x[start..])), &mut out[start..]);
        }
    }
    out[blocks..].iter_mut().zip(&x[blocks..]).for_each(|(out, &x)| *out = lut.rest[usize::from(x)]);
}

/// [`crate::scalar::channels::concat_lut`]: whole pixels are mapped into a buffer, a few at a time, and copied.
#[target_feature(enable = "avx2")]
pub(crate) fn concat_lut(lut: &Lut, x: &[u8], channels: usize, out: &mut [u8], total: usize, column: usize) {
    const BUFFER: usize = 2048;
    if !channels.is_multiple_of(CONCAT_BLOCK) || channels > BUFFER {
        return crate::scalar::channels::concat_lut(lut, x, channels, out, total, column);
    }
    let rows = Rows::new(&lut.blocks);
    let mut buffer = [0_u8; BUFFER + LANES];
    let pixels = BUFFER / channels;
    for (out, x) in out.chunks_mut(pixels * total).zip(x.chunks(pixels * channels)) {
        let whole = x.len() / LANES * LANES;
        for start in (0..whole).step_by(LANES) {
            store32(rows.map(load32(&x[start..])), &mut buffer[start..]);
        }
        let mut last = [0_u8; LANES];
        last[..x.len() - whole].copy_from_slice(&x[whole..]);
        store32(rows.map(load32(&last)), &mut buffer[whole..]);
        for (out, mapped) in out.chunks_exact_mut(total).zip(buffer.chunks_exact(channels)) {
            copy_row(mapped, &mut out[column..column + channels]);
        }
    }
}

/// Elements of two slices in turns, each mapped by the first column of its table, if it has one.
#[target_feature(enable = "avx2")]
pub(crate) fn interleave_mapped(inputs: [&[u8]; 2], luts: [Option<&Lut>; 2], out: &mut [u8]) {
    let [a, b] = luts.map(|lut| lut.map(|lut| Rows::new(&lut.blocks)));
    let two = |x: __m256i, y: __m256i| {
        let (x, y) = (a.as_ref().map_or(x, |rows| rows.map(x)), b.as_ref().map_or(y, |rows| rows.map(y)));
        // Unpacking works on 128-bit halves.
        let (low, high) = (_mm256_unpacklo_epi8(x, y), _mm256_unpackhi_epi8(x, y));
        [_mm256_permute2x128_si256::<0x20>(low, high), _mm256_permute2x128_si256::<0x31>(low, high)]
    };
    let whole = inputs[0].len() / LANES * LANES;
    for at in (0..whole).step_by(LANES) {
        let [first, second] = two(load32(&inputs[0][at..]), load32(&inputs[1][at..]));
        store32(first, &mut out[2 * at..]);
        store32(second, &mut out[2 * at + LANES..]);
    }
    let (mut last, mut both) = ([[0_u8; LANES]; 2], [0_u8; 2 * LANES]);
    for (last, x) in last.iter_mut().zip(inputs) {
        last[..x.len() - whole].copy_from_slice(&x[whole..]);
    }
    let [first, second] = two(load32(&last[0]), load32(&last[1]));
    store32(first, &mut both);
    store32(second, &mut both[LANES..]);
    let out = &mut out[2 * whole..];
    out.copy_from_slice(&both[..out.len()]);
}

/// Copies a short row; the last step may write some bytes again.
#[target_feature(enable = "avx2")]
#[inline]
fn copy_row(x: &[u8], out: &mut [u8]) {
    if !(16..=512).contains(&x.len()) {
        return out.copy_from_slice(x);
    }
    for at in (0..x.len() - 15).step_by(16) {
        store16(load16(&x[at..]), &mut out[at..]);
    }
    let last = x.len() - 16;
    store16(load16(&x[last..]), &mut out[last..]);
}

/// Bytes of maxima over rows that lie on the stack at once.
const POOL_BYTES: usize = 8192;

/// [`crate::max_pool_u8`] of the output's rows from `row` on: maxima over the rows of the windows, whole rows at a time, then
/// over columns.
#[target_feature(enable = "avx2")]
pub(crate) fn max_pool_rows(pool: &Pool2d, x: InputRows<u8>, row: usize, out: &mut [u8]) {
    let mut buffer = [0_u8; POOL_BYTES];
    for (index, out) in out.chunks_exact_mut(pool.out_w() * pool.channels).enumerate() {
        max_pool_row(pool, x, row + index, &mut buffer, out);
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn max_pool_row(pool: &Pool2d, x: InputRows<u8>, row: usize, buffer: &mut [u8; POOL_BYTES], out: &mut [u8]) {
    let (channels, row_len) = (pool.channels, pool.in_w * pool.channels);
    let rows = x.window(pool, row);
    // Pixels of the input that fit the buffer, and so many windows reach over them.
    let fitting = (POOL_BYTES / channels).checked_sub(pool.kernel[1]);
    let Some(windows) = fitting.map(|pixels| pixels / pool.stride[1] + 1) else {
        for (column, out) in out.chunks_exact_mut(channels).enumerate() {
            max_pool_pixel(pool, x, row, column, out);
        }
        return;
    };
    for (index, out) in out.chunks_mut(windows * channels).enumerate() {
        let (first, end) = (index * windows, index * windows + out.len() / channels);
        let pixels = pool.window(1, first).start..pool.window(1, end - 1).end;
        let most = &mut buffer[..pixels.len() * channels];
        let from = |row: usize| &x.values[row * row_len..][pixels.start * channels..pixels.end * channels];
        most.copy_from_slice(from(rows.start));
        for row in rows.start + 1..rows.end {
            max_into(most, from(row));
        }
        for (column, out) in (first..end).zip(out.chunks_exact_mut(channels)) {
            let window = pool.window(1, column);
            let window = &most[(window.start - pixels.start) * channels..][..window.len() * channels];
            max_of_pixels(window, out);
        }
    }
}

/// The larger of each two bytes, in the first slice; the lengths are the same.
#[target_feature(enable = "avx2")]
#[inline]
fn max_into(most: &mut [u8], x: &[u8]) {
    // The last vector may take some bytes again, which changes nothing.
    match most.len() {
        0..16 => most.iter_mut().zip(x).for_each(|(most, &x)| *most = x.max(*most)),
        len @ 16..32 => {
            for at in [0, len - 16] {
                let most = &mut most[at..];
                store16(_mm_max_epu8(load16(most), load16(&x[at..])), most);
            }
        }
        len => {
            let mut at = 0;
            while at < len {
                let start = at.min(len - LANES);
                let most = &mut most[start..];
                store32(_mm256_max_epu8(load32(most), load32(&x[start..])), most);
                at += LANES;
            }
        }
    }
}

/// The largest of each channel of some pixels.
#[target_feature(enable = "avx2")]
#[inline]
fn max_of_pixels(pixels: &[u8], out: &mut [u8]) {
    // The last vector may take some channels again.
    match out.len() {
        channels @ 0..16 => {
            for (at, out) in out.iter_mut().enumerate() {
                *out = pixels[at..].iter().step_by(channels).fold(0, |most, &x| x.max(most));
            }
        }
        channels @ 16..32 => {
            for at in [0, channels - 16] {
                let mut most = _mm_setzero_si128();
                for pixel in pixels.chunks_exact(channels) {
                    most = _mm_max_epu8(most, load16(&pixel[at..]));
                }
                store16(most, &mut out[at..]);
            }
        }
        channels => {
            let mut at = 0;
            while at < channels {
                let start = at.min(channels - LANES);
                let mut most = _mm256_setzero_si256();
                for pixel in pixels.chunks_exact(channels) {
                    most = _mm256_max_epu8(most, load32(&pixel[start..]));
                }
                store32(most, &mut out[start..]);
                at += LANES;
            }
        }
    }
}

/// [`crate::max_pool_u8`] of one output pixel.
#[target_feature(enable = "avx2")]
#[inline]
fn max_pool_pixel(pool: &Pool2d, x: InputRows<u8>, row: usize, column: usize, out: &mut [u8]) {
    let window = [x.window(pool, row), pool.window(1, column)];
    for (at, out) in out.iter_mut().enumerate() {
        *out = fold_window(pool, &window, at, 0, |most, at| x.values[at].max(most));
    }
}

/// Folds where channel `at` lies in each pixel of a window.
#[inline(always)]
fn fold_window<A>(pool: &Pool2d, window: &[Range<usize>; 2], at: usize, start: A, fold: impl Fn(A, usize) -> A) -> A {
    let mut result = start;
    for row in window[0].start..window[0].end {
        let mut at = (row * pool.in_w + window[1].start) * pool.channels + at;
        for _ in window[1].start..window[1].end {
            result = fold(result, at);
            at += pool.channels;
        }
    }
    result
}

/// 32 quantized values of 32 floats.
#[target_feature(enable = "avx2")]
#[inline]
fn quantize32(x: &[f32], inverse: __m256, round: Round) -> __m256i {
    let mut scaled = [_mm256_setzero_ps(); 4];
    for (index, scaled) in scaled.iter_mut().enumerate() {
        *scaled = _mm256_mul_ps(load_f32(x, 8 * index), inverse);
    }
    round.bytes(scaled)
}

/// [`crate::quantize_u8`].
#[target_feature(enable = "avx2")]
pub(crate) fn quantize_u8(x: &[f32], q: QParams, out: &mut [u8]) {
    let (inverse, round) = (_mm256_set1_ps(1.0 / q.scale), Round::new(Rounding::new(q.zero_point, false)));
    let vectors = x.len() / LANES * LANES;
    for start in (0..vectors).step_by(LANES) {
        store32(quantize32(&x[start..], inverse, round), &mut out[start..]);
    }
    crate::quantize_u8(&x[vectors..], q, &mut out[vectors..]);
}

/// [`crate::quant::quantize_planes_u8`], with a loop of its own for colours.
#[target_feature(enable = "avx2")]
pub(crate) fn quantize_planes_u8(
    x: &[f32],
    pixels: usize,
    range: Range<usize>,
    channels: usize,
    q: QParams,
    out: &mut [u8],
) {
    let vectors = if channels == 3 { range.len() / LANES * LANES } else { 0 };
    let (inverse, round) = (_mm256_set1_ps(1.0 / q.scale), Round::new(Rounding::new(q.zero_point, false)));
    for start in (0..vectors).step_by(LANES) {
        let mut planes = [_mm256_setzero_si256(); 3];
        for (c, plane) in planes.iter_mut().enumerate() {
            *plane = quantize32(&x[c * pixels + range.start + start..], inverse, round);
        }
        let [r, g, b] = planes;
        let halves = [r, g, b].map(|x| _mm256_castsi256_si128(x));
        interleave16(halves, &mut out[3 * start..]);
        let halves = [r, g, b].map(|x| _mm256_extracti128_si256::<1>(x));
        interleave16(halves, &mut out[3 * (start + 16)..]);
    }
    let rest = range.start + vectors..range.end;
    crate::quant::quantize_planes_u8(x, pixels, rest, channels, q, &mut out[vectors * channels..]);
}

/// 16 pixels of three planes.
#[target_feature(enable = "avx2")]
#[inline]
fn interleave16(planes: [__m128i; 3], out: &mut [u8]) {
    /// For each 16 output bytes and plane: which of the plane's bytes go where; -1 for none.
    const ORDER: [[[i8; 16]; 3]; 3] = orders();
    for (part, orders) in ORDER.iter().enumerate() {
        let mut bytes = _mm_setzero_si128();
        for (plane, order) in planes.iter().zip(orders) {
            // SAFETY: the array has 16 readable bytes; the load needs no alignment.
            let order = unsafe { _mm_loadu_si128(order.as_ptr().cast()) };
            bytes = _mm_or_si128(bytes, _mm_shuffle_epi8(*plane, order));
        }
        store16(bytes, &mut out[16 * part..]);
    }
}

const fn orders() -> [[[i8; 16]; 3]; 3] {
    let mut orders = [[[-1; 16]; 3]; 3];
    let mut at = 0;
    while at < 48 {
        orders[at / 16][at % 3][at % 16] = (at / 3) as i8;
        at += 1;
    }
    orders
}

/// [`crate::channel_shuffle`] of two groups.
#[target_feature(enable = "avx2")]
pub(crate) fn shuffle_two(x: &[u8], c: usize, out: &mut [u8]) {
    let each = c / 2;
    let vectors = each / 8 * 8;
    for (out, x) in out.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        let (first, second) = x.split_at(each);
        for at in (0..vectors).step_by(8) {
            let (a, b) = (&first[at..at + 8], &second[at..at + 8]);
            // SAFETY: both slices have 8 readable bytes; the loads need no alignment.
            let (a, b) = unsafe { (_mm_loadl_epi64(a.as_ptr().cast()), _mm_loadl_epi64(b.as_ptr().cast())) };
            store16(_mm_unpacklo_epi8(a, b), &mut out[2 * at..]);
        }
        for at in vectors..each {
            out[2 * at] = first[at];
            out[2 * at + 1] = second[at];
        }
    }
}
