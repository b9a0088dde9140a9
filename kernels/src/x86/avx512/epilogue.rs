//! What sums in 512-bit registers start with, and how they become outputs in f32.

use std::arch::x86_64::*;

use crate::conv::Activation;
use crate::conv::vector::EpilogueU8;
use crate::scalar::float::SIXTH;

/// Lanes of i32 and f32: channels of a block.
pub(super) const LANES: usize = 16;

impl EpilogueU8 {
    /// What the 16 sums with constants from `index` on start with.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn start16(&self, index: usize) -> __m512i {
        let values = &self.bias_i32[index..index + LANES];
        // SAFETY: the slice has 16 elements; the load needs no alignment.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
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
