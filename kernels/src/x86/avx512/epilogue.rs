//! What sums in 512-bit registers start with, and how they become outputs.
//!
//! Of int8 sums, what is provable from the weights and the constants is found out when they are packed, and what it makes needless is
//! left out: the bias in f32, the bound that keeps a value in i32, the conversion to f32 (`way`).

use std::arch::x86_64::*;

use crate::Requantize;
use crate::conv::vector::EpilogueU8;
use crate::conv::{Activation, Conv2d};
use crate::scalar::float::SIXTH;

/// Lanes of i32 and f32: channels of a block.
pub(super) const LANES: usize = 16;

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

/// The cheapest way that gives each possible sum its output.
pub(super) fn way(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> u8 {
    if requantize.bias_f32.iter().any(|&bias| bias != 0.0) {
        return GENERAL;
    }
    let (mut largest, mut scaled) = (0, 0.0_f64);
    for (channel, weights) in weights.chunks_exact(conv.terms()).enumerate() {
        let bias = i64::from(requantize.bias_i32[channel]);
        // One pass in i32, of which the compiler makes vectors: it is over all weights of a network, while that is loaded.
        let [above, below] = weights.iter().fold([0_i32; 2], |[above, below], &w| {
            let w = i32::from(w);
            [above + w.max(0), below + w.min(0)]
        });
        let bound = [above, below].map(|sum| (bias + 255 * i64::from(sum)).abs()).into_iter().fold(0, i64::max);
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

impl EpilogueU8 {
    /// What the 16 sums with constants from `index` on start with.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn start16(&self, index: usize) -> __m512i {
        let values = &self.bias_i32[index..index + LANES];
        // SAFETY: the slice has 16 elements; the load needs no alignment.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    /// Constants for the way [`POSITIVE`]: the f32 bias, of which there is none, takes out of a product what the i32 bias puts into a sum.
    pub(super) fn make_positive(&mut self) {
        self.bias_i32.iter_mut().for_each(|bias| *bias += MAGIC_BITS);
        self.bias_f32.iter_mut().zip(self.multiplier.iter()).for_each(|(bias, multiplier)| *bias = -MAGIC * multiplier);
    }
}

/// 16 f32 from `index` on.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load_f32(values: &[f32], index: usize) -> __m512 {
    let values = &values[index..index + LANES];
    // SAFETY: the slice has 16 elements; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// The activation of 16 values, equal to [`Activation::apply`] bit for bit (NaN included, but for `None`).
#[target_feature(enable = "avx512f")]
#[inline]
pub(in crate::x86) fn activate(activation: Activation, x: __m512) -> __m512 {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Hardswish => {
            let gate = relu6(_mm512_add_ps(x, _mm512_set1_ps(3.0)));
            _mm512_mul_ps(_mm512_mul_ps(x, gate), _mm512_set1_ps(SIXTH))
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn relu(x: __m512) -> __m512 {
    _mm512_max_ps(x, _mm512_setzero_ps())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn relu6(x: __m512) -> __m512 {
    _mm512_min_ps(relu(x), _mm512_set1_ps(6.0))
}

/// Lanes below `count` set, for masked loads and stores.
#[inline(always)]
pub(in crate::x86) fn mask(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// Stores the first `out.len()` of 16 values.
#[target_feature(enable = "avx512f")]
#[inline]
pub(in crate::x86) fn store_f32(values: __m512, out: &mut [f32]) {
    if out.len() >= LANES {
        // SAFETY: the slice has 16 writable elements; the store needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) }
    } else {
        // SAFETY: the mask selects the slice's elements alone; masked lanes are not accessed.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask(out.len()), values) }
    }
}
