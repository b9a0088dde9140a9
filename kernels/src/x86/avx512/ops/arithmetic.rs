//! Sums and products of two tensors.

use std::arch::x86_64::*;

use super::{LANES, Round, floats, load, load_first, store, store_first};
use crate::elementwise::{Add, Fixed, UNCLAMPED};
use crate::quant::Rounding;
use crate::x86::ops as narrow;
use crate::{AddU8, MulU8, QParams};

/// [`AddU8`] of elements in whole blocks, where it is unclamped.
#[derive(Clone, Copy)]
enum Sum {
    Float(FloatSum),
    Fixed(FixedSum),
}

/// fbgemm's sum.
#[derive(Clone, Copy)]
struct FloatSum {
    scales: [__m512; 2],
    zeros: [__m512; 2],
    factor: __m512,
    round: Round,
}

/// qnnpack's sum, from its complement, which spares a step: with `t = -sum - 2^(shift - 1)` it is
/// `zero_point - 1 - ((t + (t >> 31)) >> shift)`.
#[derive(Clone, Copy)]
struct FixedSum {
    high: __m512i,
    low: __m512i,
    start: __m512i,
    shift: __m128i,
    zero_point: __m512i,
    least: __m512i,
}

impl Sum {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(add: &AddU8) -> Self {
        match &add.0 {
            Add::Float { a, b, inverse, rounding, .. } => Self::Float(FloatSum::new([*a, *b], *inverse, *rounding)),
            Add::Fixed(fixed) => Self::Fixed(FixedSum::new(fixed)),
        }
    }
}

impl FloatSum {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(q: [QParams; 2], inverse: f32, rounding: Rounding) -> Self {
        Self {
            scales: q.map(|q| _mm512_set1_ps(q.scale)),
            zeros: q.map(|q| _mm512_set1_ps(-(q.scale * f32::from(q.zero_point)))),
            factor: _mm512_set1_ps(inverse),
            round: Round::new(rounding),
        }
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn bytes(&self, a: __m512i, b: __m512i) -> __m512i {
        let (a, b) = (floats(a), floats(b));
        let sum = |at: usize| {
            let a = _mm512_fmadd_ps(self.scales[0], a[at], self.zeros[0]);
            let b = _mm512_fmadd_ps(self.scales[1], b[at], self.zeros[1]);
            _mm512_mul_ps(_mm512_add_ps(a, b), self.factor)
        };
        self.round.bytes([sum(0), sum(1), sum(2), sum(3)])
    }
}

/// 64 sums of a [`FixedSum`], by the method of this name.
macro_rules! fixed_bytes {
    ($sum:ident, $a:ident, $b:ident, $shifted:ident) => {{
        let zero = _mm512_setzero_si512();
        let words = |pairs: __m512i| {
            let (first, second) = (_mm512_unpacklo_epi8(pairs, zero), _mm512_unpackhi_epi8(pairs, zero));
            _mm512_subs_epi16($sum.zero_point, _mm512_packs_epi32($sum.$shifted(first), $sum.$shifted(second)))
        };
        // Pairs of the inputs' elements as i16. Unpacking and packing both work on 128-bit parts, so that order comes back.
        let (first, second) = (words(_mm512_unpacklo_epi8($a, $b)), words(_mm512_unpackhi_epi8($a, $b)));
        _mm512_max_epu8(_mm512_packus_epi16(first, second), $sum.least)
    }};
}

impl FixedSum {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(fixed: &Fixed) -> Self {
        let [high, low] = split_factors([fixed.a, fixed.b]);
        Self {
            high,
            low,
            start: _mm512_set1_epi32(-fixed.bias - (1 << (fixed.shift - 1))),
            shift: _mm_cvtsi32_si128(fixed.shift as i32),
            zero_point: _mm512_set1_epi16(fixed.zero_point as i16 - 1),
            least: _mm512_set1_epi8(fixed.low as u8 as i8),
        }
    }

    /// Sums of pairs of i16, shifted.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn shifted(&self, pairs: __m512i) -> __m512i {
        let large = _mm512_madd_epi16(_mm512_slli_epi16::<7>(pairs), self.high);
        let t = _mm512_add_epi32(_mm512_add_epi32(_mm512_madd_epi16(pairs, self.low), self.start), large);
        _mm512_sra_epi32(_mm512_add_epi32(t, _mm512_srai_epi32::<31>(t)), self.shift)
    }

    /// [`FixedSum::shifted`] with instructions that multiply and add.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn shifted_vnni(&self, pairs: __m512i) -> __m512i {
        let t = _mm512_dpwssd_epi32(self.start, pairs, self.low);
        let t = _mm512_dpwssd_epi32(t, _mm512_slli_epi16::<7>(pairs), self.high);
        _mm512_sra_epi32(_mm512_add_epi32(t, _mm512_srai_epi32::<31>(t)), self.shift)
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn bytes(&self, a: __m512i, b: __m512i) -> __m512i {
        fixed_bytes!(self, a, b, shifted)
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    #[inline]
    fn bytes_vnni(&self, a: __m512i, b: __m512i) -> __m512i {
        fixed_bytes!(self, a, b, shifted_vnni)
    }
}

/// Adds a residual to as many outputs, as to elements of whole blocks; the sum is unclamped.
#[target_feature(enable = "avx512f,avx512bw")]
pub(in crate::x86::avx512) fn add_to_u8(add: &AddU8, residual: &[u8], out: &mut [u8]) {
    let whole = out.len() / LANES * LANES;
    let (out, rest) = out.split_at_mut(whole);
    let vectors = out.chunks_exact_mut(LANES).zip(residual.chunks_exact(LANES));
    match Sum::new(add) {
        Sum::Float(sum) => vectors.for_each(|(out, b)| store(sum.bytes(load(out), load(b)), out)),
        Sum::Fixed(sum) => vectors.for_each(|(out, b)| store(sum.bytes(load(out), load(b)), out)),
    }
    if !rest.is_empty() {
        narrow::add_to_u8(add, &residual[whole..], rest);
    }
}

/// As [`add_to_u8`].
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(in crate::x86::avx512) fn add_to_u8_vnni(add: &AddU8, residual: &[u8], out: &mut [u8]) {
    let Sum::Fixed(sum) = Sum::new(add) else { return add_to_u8(add, residual, out) };
    let whole = out.len() / LANES * LANES;
    let (out, rest) = out.split_at_mut(whole);
    for (out, b) in out.chunks_exact_mut(LANES).zip(residual.chunks_exact(LANES)) {
        store(sum.bytes_vnni(load(out), load(b)), out);
    }
    if !rest.is_empty() {
        narrow::add_to_u8(add, &residual[whole..], rest);
    }
}

/// [`AddU8::run`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn add_u8(add: &AddU8, a: &[u8], b: &[u8], out: &mut [u8]) {
    let mut whole = 0;
    if add.is_unclamped() {
        whole = out.len() / LANES * LANES;
        let vectors = out.chunks_exact_mut(LANES).zip(a.chunks_exact(LANES)).zip(b.chunks_exact(LANES));
        match Sum::new(add) {
            Sum::Float(sum) => vectors.for_each(|((out, a), b)| store(sum.bytes(load(a), load(b)), out)),
            Sum::Fixed(sum) => vectors.for_each(|((out, a), b)| store(sum.bytes(load(a), load(b)), out)),
        }
    }
    narrow::add_u8(add, &a[whole..], &b[whole..], &mut out[whole..]);
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
