//! From the sums of a depthwise convolution to its outputs.
//!
//! Depthwise sums are few, so a large part of the work is here: it is done in the cheapest [`way`].

use std::arch::x86_64::*;

use super::super::epilogue::{POSITIVE, SCALED, load_f32, way};
use crate::conv::Conv2d;
use crate::conv::vector::EpilogueU8;
use crate::{AlignedBuf, Requantize};

/// The constants in the order of the sums, and the way that they allow.
pub(super) struct Epilogue {
    pub(super) constants: EpilogueU8,
    pub(super) way: u8,
}

impl Epilogue {
    /// `spread_i32` and `spread_f32` bring one value a channel into the order of the sums.
    pub(super) fn new(
        conv: &Conv2d,
        weights: &[i8],
        requantize: &Requantize,
        spread_i32: impl Fn(&[i32]) -> AlignedBuf<i32>,
        spread_f32: impl Fn(&[f32]) -> AlignedBuf<f32>,
    ) -> Self {
        let mut constants = EpilogueU8::new(requantize, spread_i32, spread_f32);
        let way = way(conv, weights, requantize);
        if way == POSITIVE {
            constants.make_positive();
        }
        Self { constants, way }
    }
}

/// The constants of `Q` quarters of a block, in registers.
pub(super) struct Constants<const Q: usize> {
    pub(super) start: [__m512i; Q],
    bias: [__m512; Q],
    multiplier: [__m512; Q],
    bias_scale: __m512,
    high: __m512,
    zero_point: __m512i,
    low: __m512i,
}

impl<const Q: usize> Constants<Q> {
    /// Of quarters from `index` on. Always inlined: the compiler may keep in registers what it sees the making of.
    ///
    /// # Safety
    /// The CPU has AVX-512 F and BW.
    #[inline(always)]
    pub(super) unsafe fn new(epilogue: &Epilogue, index: usize) -> Self {
        let all = &epilogue.constants;
        // SAFETY: the caller's promise.
        unsafe {
            Self {
                start: std::array::from_fn(|q| all.start16(index + q * 16)),
                bias: std::array::from_fn(|q| load_f32(&all.bias_f32, index + q * 16)),
                multiplier: std::array::from_fn(|q| load_f32(&all.multiplier, index + q * 16)),
                bias_scale: _mm512_set1_ps(all.bias_scale),
                high: _mm512_set1_ps(255.0 - f32::from(all.zero_point)),
                zero_point: _mm512_set1_epi16(i16::from(all.zero_point)),
                low: _mm512_set1_epi8(all.low as i8),
            }
        }
    }

    /// 16 outputs less the zero point, clamped at neither end.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn scaled<const WAY: u8>(&self, q: usize, sums: __m512i) -> __m512i {
        let (bias, multiplier) = (self.bias[q], self.multiplier[q]);
        _mm512_cvtps_epi32(match WAY {
            POSITIVE => _mm512_fmadd_ps(_mm512_castsi512_ps(sums), multiplier, bias),
            SCALED => _mm512_mul_ps(_mm512_cvtepi32_ps(sums), multiplier),
            _ => {
                let biased = _mm512_fmadd_ps(bias, self.bias_scale, _mm512_cvtepi32_ps(sums));
                _mm512_min_ps(_mm512_mul_ps(biased, multiplier), self.high)
            }
        })
    }

    /// The words of quarters `q` and `q + 1`: 8 channels of each lane. Below the lowest output and, with no zero point to add, above
    /// the highest, saturation keeps what is there. The sum cannot wrap at the high end, nor need it saturate.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn words<const WAY: u8>(&self, q: usize, sums: [__m512i; 2]) -> __m512i {
        let words = _mm512_packs_epi32(self.scaled::<WAY>(q, sums[0]), self.scaled::<WAY>(q + 1, sums[1]));
        if WAY == POSITIVE { words } else { _mm512_add_epi16(words, self.zero_point) }
    }

    /// Outputs from the words of both halves: 16 channels of each lane.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn bytes<const WAY: u8>(&self, words: [__m512i; 2]) -> __m512i {
        let bytes = _mm512_packus_epi16(words[0], words[1]);
        if WAY == POSITIVE { bytes } else { _mm512_max_epu8(bytes, self.low) }
    }
}
