//! int8 sums with AVX2: of two tensors, and of a convolution's outputs with a residual.

use std::arch::x86_64::*;

use super::epilogue::store_u8 as store_first;
use super::ops::{LANES, bytes_of, load8, store32};
use crate::AddU8;
use crate::elementwise::{Add, Fixed};
use crate::lut::BLOCK;
use crate::quant::Rounding;

/// [`AddU8`] of elements in whole blocks.
#[derive(Clone, Copy)]
struct Sum {
    kind: Kind,
    zero_point: __m256i,
    /// Smallest output.
    low: __m256i,
}

#[derive(Clone, Copy)]
enum Kind {
    Float { scales: [__m256; 2], zeros: [__m256; 2], factor: __m256, high: __m256 },
    Fixed { factors: [__m256i; 2], bias: __m256i, shift: __m128i, mask: __m256i, half: __m256i },
}

impl Sum {
    #[target_feature(enable = "avx2")]
    #[inline]
    fn new(add: &AddU8) -> Self {
        let (kind, zero_point, low) = match &add.0 {
            Add::Float { a, b, inverse, rounding: Rounding { low, high, zero_point }, .. } => {
                let scales = [a, b].map(|x| _mm256_set1_ps(x.scale));
                let zeros = [a, b].map(|x| _mm256_set1_ps(-(x.scale * f32::from(x.zero_point))));
                let (factor, high) = (_mm256_set1_ps(*inverse), _mm256_set1_ps(*high));
                (Kind::Float { scales, zeros, factor, high }, *zero_point, *low as i32 + zero_point)
            }
            &Add::Fixed(Fixed { a, b, bias, shift, zero_point, low }) => {
                let mask = ((1_u32 << shift) - 1) as i32;
                let [mask, half, bias] = [mask, mask >> 1, bias].map(|x| _mm256_set1_epi32(x));
                let factors = [a, b].map(|factor| _mm256_set1_epi32(factor));
                let kind = Kind::Fixed { factors, bias, shift: _mm_cvtsi32_si128(shift as i32), mask, half };
                (kind, zero_point, low)
            }
        };
        Self { kind, zero_point: _mm256_set1_epi16(zero_point as i16), low: _mm256_set1_epi8(low as u8 as i8) }
    }

    /// Eight sums less the zero point, not yet clamped at the low end. Conversion rounds half to even (Rust never changes MXCSR) and
    /// turns what is far below into `i32::MIN`, which later saturates as it should.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn eight(&self, [a, b]: [__m256i; 2]) -> __m256i {
        match self.kind {
            Kind::Float { scales, zeros, factor, high } => {
                let a = _mm256_fmadd_ps(scales[0], _mm256_cvtepi32_ps(a), zeros[0]);
                let b = _mm256_fmadd_ps(scales[1], _mm256_cvtepi32_ps(b), zeros[1]);
                _mm256_cvtps_epi32(_mm256_min_ps(_mm256_mul_ps(_mm256_add_ps(a, b), factor), high))
            }
            Kind::Fixed { factors, bias, shift, mask, half } => {
                let (a, b) = (_mm256_mullo_epi32(a, factors[0]), _mm256_mullo_epi32(b, factors[1]));
                let sum = _mm256_add_epi32(_mm256_add_epi32(a, bias), b);
                let dropped = _mm256_add_epi32(_mm256_and_si256(sum, mask), _mm256_srai_epi32::<31>(sum));
                // A comparison that holds is -1.
                _mm256_sub_epi32(_mm256_sra_epi32(sum, shift), _mm256_cmpgt_epi32(dropped, half))
            }
        }
    }

    /// Sixteen sums.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn sixteen(&self, a: __m128i, b: __m128i) -> __m128i {
        let low = self.eight([_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(b)]);
        let (a, b) = (_mm_srli_si128::<8>(a), _mm_srli_si128::<8>(b));
        let high = self.eight([_mm256_cvtepu8_epi32(a), _mm256_cvtepu8_epi32(b)]);
        // Packing works on 128-bit halves: each has four of the low sums and four of the high ones.
        let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_packs_epi32(low, high));
        let words = _mm256_adds_epi16(words, self.zero_point);
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_max_epu8(bytes, _mm256_castsi256_si128(self.low))
    }
}

/// Adds a residual to as many outputs, as to elements of whole blocks.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn add_to_u8(add: &AddU8, residual: &[u8], out: &mut [u8]) {
    let sum = Sum::new(add);
    for (out, residual) in out.chunks_mut(16).zip(residual.chunks(16)) {
        store_first(sum.sixteen(load_first(out), load_first(residual)), out);
    }
}

/// Up to 16 bytes, the first of the result.
#[target_feature(enable = "avx2")]
#[inline]
fn load_first(x: &[u8]) -> __m128i {
    let mut all = [0_u8; 16];
    let x = match x.first_chunk::<16>() {
        Some(x) => x,
        None => {
            all[..x.len()].copy_from_slice(x);
            &all
        }
    };
    // SAFETY: the array has 16 readable bytes; the load needs no alignment.
    unsafe { _mm_loadu_si128(x.as_ptr().cast()) }
}

/// [`AddU8::run`].
#[target_feature(enable = "avx2,fma")]
pub(crate) fn add_u8(add: &AddU8, a: &[u8], b: &[u8], out: &mut [u8]) {
    let blocks = out.len() / BLOCK * BLOCK;
    let sum = Sum::new(add);
    for start in (0..blocks).step_by(LANES) {
        let eight = |at: usize| sum.eight([load8(&a[start + at..]), load8(&b[start + at..])]);
        let bytes = bytes_of([eight(0), eight(8), eight(16), eight(24)], sum.zero_point);
        store32(_mm256_max_epu8(bytes, sum.low), &mut out[start..]);
    }
    add.run(&a[blocks..], &b[blocks..], &mut out[blocks..]);
}
