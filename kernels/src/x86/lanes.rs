//! Vectors of eight floats, AVX2 and FMA.

use std::arch::x86_64::*;

use super::epilogue::{activate, store_f32};
use crate::conv::Activation;
use crate::conv::vector::LanesF32;

/// AVX2 and FMA.
pub(super) struct Avx2Lanes;

impl LanesF32 for Avx2Lanes {
    type V = __m256;
    const LANES: usize = 8;

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn splat(x: f32) -> __m256 {
        _mm256_set1_ps(x)
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn load(pointer: *const f32) -> __m256 {
        // SAFETY: the caller's promise.
        unsafe { _mm256_loadu_ps(pointer) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn store(pointer: *mut f32, x: __m256) {
        // SAFETY: the caller's promise.
        unsafe { _mm256_storeu_ps(pointer, x) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn store_first(out: &mut [f32], x: __m256) {
        store_f32(x, out);
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn activate(activation: Activation, x: __m256) -> __m256 {
        activate(activation, x)
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn prefetch(pointer: *const f32) {
        _mm_prefetch::<_MM_HINT_T1>(pointer.cast());
    }
}
