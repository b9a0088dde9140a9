//! Sums and products of two tensors.

use std::arch::x86_64::*;

use super::{LANES, Round, UNCLAMPED, floats, load, load_first, store, store_first};
use crate::elementwise::{Add, Fixed};
use crate::quant::Rounding;
use crate::x86::ops as narrow;
use crate::{AddU8, MulU8, QParams};

/// [`AddU8::run`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn add_u8(add: &AddU8, a: &[u8], b: &[u8], out: &mut [u8]) {
    let whole = match &add.0 {
        Add::Fixed(fixed) => add_fixed(fixed, a, b, out),
        Add::Float { a: x, b: y, inverse, rounding, .. } => add_float([*x, *y], *inverse, *rounding, [a, b], out),
    };
    narrow::add_u8(add, &a[whole..], &b[whole..], &mut out[whole..]);
}

/// fbgemm's sum. Returns how many elements, in whole vectors, it did.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add_float(q: [QParams; 2], inverse: f32, rounding: Rounding, [a, b]: [&[u8]; 2], out: &mut [u8]) -> usize {
    let most = 255.0 * (f64::from(q[0].scale) + f64::from(q[1].scale)) * f64::from(inverse);
    if most > UNCLAMPED {
        return 0;
    }
    let round = Round::new(rounding);
    let scales = q.map(|q| _mm512_set1_ps(q.scale));
    let zeros = q.map(|q| _mm512_set1_ps(-(q.scale * f32::from(q.zero_point))));
    let factor = _mm512_set1_ps(inverse);
    for ((out, a), b) in out.chunks_exact_mut(LANES).zip(a.chunks_exact(LANES)).zip(b.chunks_exact(LANES)) {
        let (a, b) = (floats(load(a)), floats(load(b)));
        let sum = |at: usize| {
            let a = _mm512_fmadd_ps(scales[0], a[at], zeros[0]);
            let b = _mm512_fmadd_ps(scales[1], b[at], zeros[1]);
            _mm512_mul_ps(_mm512_add_ps(a, b), factor)
        };
        store(round.bytes([sum(0), sum(1), sum(2), sum(3)]), out);
    }
    out.len() / LANES * LANES
}

/// [`Fixed::run`], from the sum's complement, which spares a step: with `t = -sum - 2^(shift - 1)` it is
/// `zero_point - 1 - ((t + (t >> 31)) >> shift)`. Returns how many elements, in whole vectors, it did.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn add_fixed(fixed: &Fixed, a: &[u8], b: &[u8], out: &mut [u8]) -> usize {
    // Sums are at most 2^31 - 2^23 (both factors at most 2^22), so that half of 2^shift more fits i32.
    if fixed.shift > 23 {
        return 0;
    }
    let [high, low] = split_factors([fixed.a, fixed.b]);
    let start = _mm512_set1_epi32(-fixed.bias - (1 << (fixed.shift - 1)));
    let (shift, zero) = (_mm_cvtsi32_si128(fixed.shift as i32), _mm512_setzero_si512());
    let (zero_point, least) = (_mm512_set1_epi16(fixed.zero_point as i16 - 1), _mm512_set1_epi8(fixed.low as u8 as i8));
    let shifted = |pairs: __m512i| {
        let large = _mm512_madd_epi16(_mm512_slli_epi16::<7>(pairs), high);
        let t = _mm512_add_epi32(_mm512_add_epi32(_mm512_madd_epi16(pairs, low), start), large);
        _mm512_sra_epi32(_mm512_add_epi32(t, _mm512_srai_epi32::<31>(t)), shift)
    };
    let words = |pairs: __m512i| {
        let (first, second) = (_mm512_unpacklo_epi8(pairs, zero), _mm512_unpackhi_epi8(pairs, zero));
        _mm512_subs_epi16(zero_point, _mm512_packs_epi32(shifted(first), shifted(second)))
    };
    for ((out, a), b) in out.chunks_exact_mut(LANES).zip(a.chunks_exact(LANES)).zip(b.chunks_exact(LANES)) {
        // Pairs of the inputs' elements as i16. Unpacking and packing both work on 128-bit parts, so that order comes back.
        let (a, b) = (load(a), load(b));
        let (first, second) = (words(_mm512_unpacklo_epi8(a, b)), words(_mm512_unpackhi_epi8(a, b)));
        store(_mm512_max_epu8(_mm512_packus_epi16(first, second), least), out);
    }
    out.len() / LANES * LANES
}

/// For each of two factors f of at most 2^22: i16s with `-f = 128 * high + low`.
#[target_feature(enable = "avx512f")]
#[inline]
fn split_factors(factors: [i32; 2]) -> [__m512i; 2] {
    let high = factors.map(|f| -(f >> 7).min(32_767));
    let low = [0, 1].map(|i| -factors[i] - 128 * high[i]);
    [high, low].map(|[a, b]| _mm512_set1_epi32(b << 16 | a & 0xffff))
}

/// [`MulU8::run`]; the lengths are checked. Factors of 64 channels stay in registers over all pixels. Columns of channels are
/// done from the last one on: what one writes beyond its channels the next one, or the next pixel, writes over.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn mul_u8(mul: &MulU8, a: &[u8], b: &[u8], out: &mut [u8], channels: usize) {
    if 65_025.0 * f64::from(mul.multiplier) > UNCLAMPED {
        return narrow::mul_u8(mul, a, b, out, channels);
    }
    for column in (0..channels).step_by(LANES).rev() {
        if channels - column <= 16 {
            for (out, a) in out.chunks_exact_mut(channels).zip(a.chunks_exact(channels)) {
                narrow::mul_few(mul, &a[column..], &b[column..], &mut out[column..]);
            }
        } else {
            mul_column(mul, a, &b[column..], out, [column, channels]);
        }
    }
}

/// 64 channels from `column` on, or what there are. All products are integers of at most 255^2, exact in f32, and so is
/// `(qa - za) * fb` as `qa * fb - za * fb`.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn mul_column(mul: &MulU8, a: &[u8], b: &[u8], out: &mut [u8], [column, channels]: [usize; 2]) {
    let round = Round::new(mul.rounding);
    let (za, zb) = (_mm512_set1_ps(-mul.a as f32), _mm512_set1_ps(mul.b as f32));
    let multiplier = _mm512_set1_ps(mul.multiplier);
    let factors = floats(load_first(b)).map(|b| _mm512_sub_ps(b, zb));
    let zeros = factors.map(|factor| _mm512_mul_ps(factor, za));
    let bytes = |a: __m512i| {
        let a = floats(a);
        let scaled = |i: usize| _mm512_mul_ps(_mm512_fmadd_ps(a[i], factors[i], zeros[i]), multiplier);
        round.bytes([scaled(0), scaled(1), scaled(2), scaled(3)])
    };
    let len = a.len().min(out.len());
    let mut start = column;
    while start + LANES <= len {
        store(bytes(load(&a[start..])), &mut out[start..]);
        start += channels;
    }
    while start < len {
        store_first(bytes(load_first(&a[start..])), &mut out[start..]);
        start += channels;
    }
}
