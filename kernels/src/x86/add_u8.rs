//! int8 sums with AVX2: of two tensors, and of a convolution's outputs with a residual.

use std::arch::x86_64::*;

use super::ops::{LANES, bytes_of, load8, store32};
use crate::elementwise::{Add, Fixed};
use crate::lut::BLOCK;
use crate::quant::Rounding;
use crate::{AddU8, QParams};

/// [`AddU8`] of elements in whole blocks.
#[derive(Clone, Copy)]
struct Sum<K> {
    kind: K,
    zero_point: __m256i,
    /// Smallest output.
    low: __m256i,
}

/// One engine's sum. Both may be large below the range of bytes: what the conversion of floats turns into `i32::MIN` saturates later as
/// it should.
trait Kind: Copy {
    /// Eight sums of integers, rounded, less the output's zero point.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA.
    unsafe fn eight(&self, a: __m256i, b: __m256i) -> __m256i;
}

/// fbgemm's.
#[derive(Clone, Copy)]
struct Float {
    scales: [__m256; 2],
    zeros: [__m256; 2],
    factor: __m256,
    high: __m256,
}

impl Kind for Float {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn eight(&self, a: __m256i, b: __m256i) -> __m256i {
        let a = _mm256_fmadd_ps(self.scales[0], _mm256_cvtepi32_ps(a), self.zeros[0]);
        let b = _mm256_fmadd_ps(self.scales[1], _mm256_cvtepi32_ps(b), self.zeros[1]);
        // The conversion rounds half to even: Rust never changes MXCSR.
        _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(_mm256_add_ps(a, b), self.factor), self.high))
    }
}

/// qnnpack's.
#[derive(Clone, Copy)]
struct FixedPoint {
    factors: [__m256i; 2],
    bias: __m256i,
    shift: __m128i,
    mask: __m256i,
    half: __m256i,
}

impl Kind for FixedPoint {
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn eight(&self, a: __m256i, b: __m256i) -> __m256i {
        let (a, b) = (_mm256_mullo_epi32(a, self.factors[0]), _mm256_mullo_epi32(b, self.factors[1]));
        let sum = _mm256_add_epi32(_mm256_add_epi32(a, self.bias), b);
        let dropped = _mm256_add_epi32(_mm256_and_si256(sum, self.mask), _mm256_srai_epi32::<31>(sum));
        // A comparison that holds is -1.
        _mm256_sub_epi32(_mm256_sra_epi32(sum, self.shift), _mm256_cmpgt_epi32(dropped, self.half))
    }
}

impl Sum<Float> {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn float(q: [QParams; 2], inverse: f32, Rounding { low, high, zero_point }: Rounding) -> Self {
        let kind = Float {
            scales: q.map(|q| _mm256_set1_ps(q.scale)),
            zeros: q.map(|q| _mm256_set1_ps(-(q.scale * f32::from(q.zero_point)))),
            factor: _mm256_set1_ps(inverse),
            high: _mm256_set1_ps(high),
        };
        Self::new(kind, zero_point, low as i32 + zero_point)
    }
}

impl Sum<FixedPoint> {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn fixed(&Fixed { a, b, bias, shift, zero_point, low }: &Fixed) -> Self {
        let mask = ((1_u32 << shift) - 1) as i32;
        let kind = FixedPoint {
            factors: [a, b].map(|factor| _mm256_set1_epi32(factor)),
            bias: _mm256_set1_epi32(bias),
            shift: _mm_cvtsi32_si128(shift as i32),
            mask: _mm256_set1_epi32(mask),
            half: _mm256_set1_epi32(mask >> 1),
        };
        Self::new(kind, zero_point, low)
    }
}

impl<K: Kind> Sum<K> {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(kind: K, zero_point: i32, low: i32) -> Self {
        Self { kind, zero_point: _mm256_set1_epi16(zero_point as i16), low: _mm256_set1_epi8(low as u8 as i8) }
    }

    /// 32 sums.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn bytes(&self, a: &[u8], b: &[u8]) -> __m256i {
        // SAFETY: this function has the instruction set.
        let eight = |at: usize| unsafe { self.kind.eight(load8(&a[at..]), load8(&b[at..])) };
        let bytes = bytes_of([eight(0), eight(8), eight(16), eight(24)], self.zero_point);
        _mm256_max_epu8(bytes, self.low)
    }

    /// Adds `b` to as many outputs.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn add_to(&self, b: &[u8], out: &mut [u8]) {
        let whole = out.len() / LANES * LANES;
        let (out, rest) = out.split_at_mut(whole);
        for (out, b) in out.chunks_exact_mut(LANES).zip(b.chunks_exact(LANES)) {
            store32(self.bytes(out, b), out);
        }
        if !rest.is_empty() {
            let (mut last, mut last_b) = ([0; LANES], [0; LANES]);
            last[..rest.len()].copy_from_slice(rest);
            last_b[..rest.len()].copy_from_slice(&b[whole..]);
            let bytes = self.bytes(&last, &last_b);
            store32(bytes, &mut last);
            rest.copy_from_slice(&last[..rest.len()]);
        }
    }

    /// Adds two tensors of whole blocks.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn add(&self, a: &[u8], b: &[u8], out: &mut [u8]) {
        let inputs = a.chunks_exact(LANES).zip(b.chunks_exact(LANES));
        out.chunks_exact_mut(LANES).zip(inputs).for_each(|(out, (a, b))| store32(self.bytes(a, b), out));
    }
}

/// Adds a residual to as many outputs, as to elements of whole blocks.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn add_to_u8(add: &AddU8, residual: &[u8], out: &mut [u8]) {
    match &add.0 {
        Add::Float { a, b, inverse, rounding, .. } => {
            Sum::float([*a, *b], *inverse, *rounding).add_to(residual, out);
        }
        Add::Fixed(fixed) => Sum::fixed(fixed).add_to(residual, out),
    }
}

/// [`AddU8::run`].
#[target_feature(enable = "avx2,fma")]
pub(crate) fn add_u8(add: &AddU8, a: &[u8], b: &[u8], out: &mut [u8]) {
    let blocks = out.len() / BLOCK * BLOCK;
    let (whole, rest) = out.split_at_mut(blocks);
    match &add.0 {
        Add::Float { a: x, b: y, inverse, rounding, .. } => {
            Sum::float([*x, *y], *inverse, *rounding).add(&a[..blocks], &b[..blocks], whole);
        }
        Add::Fixed(fixed) => Sum::fixed(fixed).add(&a[..blocks], &b[..blocks], whole),
    }
    add.run(&a[blocks..], &b[blocks..], rest);
}
