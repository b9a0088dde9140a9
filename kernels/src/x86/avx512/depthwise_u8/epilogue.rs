//! From the sums of a depthwise convolution to its outputs.
//!
//! Depthwise sums are few, so a large part of the work is here. What is provable from the weights and the constants is
//! found out when they are packed, and what it makes needless is left out: the bias in f32, the bound that keeps a value
//! in i32, the conversion to f32.

use std::arch::x86_64::*;

use super::super::epilogue::load_f32;
use crate::conv::Conv2d;
use crate::conv::vector::EpilogueU8;
use crate::{AlignedBuf, Requantize};

/// How sums become integers, from the most general way on.
pub(super) const GENERAL: u8 = 0;
/// No bias in f32, and no sum times its multiplier comes near the ends of i16.
pub(super) const SCALED: u8 = 1;
/// No bias in f32, no sum times its multiplier leaves i32, the zero point is 0, and sums are below 2^23. A sum plus the bits of the float 2^23 is then, taken for a float, 2^23
/// plus the sum if that is not negative; a fused multiply-add takes 2^23 out again in the product, exactly, and rounds once, to the
/// same float as the product of the converted sum. Negative sums give other negative products, whose output is 0 all the same.
pub(super) const POSITIVE: u8 = 2;

/// The bits of 2^23 as a float, and the float.
const MAGIC_BITS: i32 = 0x4b00_0000;
const MAGIC: f32 = 8_388_608.0;

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
            constants.bias_i32.iter_mut().for_each(|bias| *bias += MAGIC_BITS);
            let multipliers = constants.multiplier.iter();
            constants.bias_f32.iter_mut().zip(multipliers).for_each(|(bias, multiplier)| *bias = -MAGIC * multiplier);
        }
        Self { constants, way }
    }
}

/// The cheapest way that gives each possible sum its output.
fn way(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> u8 {
    if requantize.bias_f32.iter().any(|&bias| bias != 0.0) {
        return GENERAL;
    }
    let (mut largest, mut scaled) = (0, 0.0_f64);
    for (channel, weights) in weights.chunks_exact(conv.terms()).enumerate() {
        let bias = i64::from(requantize.bias_i32[channel]);
        let of_sign =
            |sign: i64| bias + weights.iter().map(|&w| (i64::from(w) * sign).max(0) * sign * 255).sum::<i64>();
        let bound = of_sign(1).abs().max(of_sign(-1).abs());
        largest = largest.max(bound);
        scaled = scaled.max(bound as f64 * f64::from(requantize.multiplier[channel]));
    }
    let finite = requantize.multiplier.iter().all(|multiplier| (multiplier * MAGIC).is_finite());
    // 2e9 is below 2^31, and 32e3 below 2^15, by more than roundings and a zero point add.
    match (scaled < 2e9, scaled < 32e3) {
        (true, _) if largest < 1 << 23 && finite && requantize.zero_point == 0 => POSITIVE,
        (_, true) => SCALED,
        _ => GENERAL,
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
