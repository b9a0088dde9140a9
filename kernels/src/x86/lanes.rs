//! Vectors of floats: eight with AVX2 and FMA, sixteen with AVX-512.

use std::arch::x86_64::*;

use super::avx512::epilogue as wide;
use super::epilogue as narrow;
use crate::conv::Activation;
use crate::conv::vector::LanesF32;

macro_rules! lanes {
    (
        $(#[$doc:meta])* $name:ident, $features:literal, $vector:ty, $lanes:literal, $module:ident,
        $splat:ident $load:ident $load_masked:expr, $store:ident $add:ident $sub:ident $max:ident $fma:ident
    ) => {
        $(#[$doc])*
        pub(super) struct $name;

        impl LanesF32 for $name {
            type V = $vector;
            const LANES: usize = $lanes;

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn splat(x: f32) -> $vector {
                $splat(x)
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn load(pointer: *const f32) -> $vector {
                // SAFETY: the caller's promise.
                unsafe { $load(pointer) }
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn load_first(pointer: *const f32, count: usize) -> $vector {
                // SAFETY: the caller's promise; the mask selects these lanes, and the others are not accessed.
                unsafe { $load_masked(pointer, $module::mask(count)) }
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn store(pointer: *mut f32, x: $vector) {
                // SAFETY: the caller's promise.
                unsafe { $store(pointer, x) }
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn store_first(out: &mut [f32], x: $vector) {
                $module::store_f32(x, out);
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn add(a: $vector, b: $vector) -> $vector {
                $add(a, b)
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn sub(a: $vector, b: $vector) -> $vector {
                $sub(a, b)
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn max(a: $vector, b: $vector) -> $vector {
                $max(a, b)
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn fma(a: $vector, b: $vector, c: $vector) -> $vector {
                $fma(a, b, c)
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn activate(activation: Activation, x: $vector) -> $vector {
                $module::activate(activation, x)
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn prefetch(pointer: *const f32) {
                _mm_prefetch::<_MM_HINT_T1>(pointer.cast());
            }
        }
    };
}

lanes!(
    /// AVX2 and FMA.
    Avx2Lanes, "avx2,fma", __m256, 8, narrow,
    _mm256_set1_ps _mm256_loadu_ps |at, mask| _mm256_maskload_ps(at, mask), _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_max_ps _mm256_fmadd_ps
);

lanes!(
    /// AVX-512.
    Avx512Lanes, "avx512f,avx512bw,avx512vl,avx512dq", __m512, 16, wide,
    _mm512_set1_ps _mm512_loadu_ps |at, mask| _mm512_maskz_loadu_ps(mask, at), _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_max_ps _mm512_fmadd_ps
);
