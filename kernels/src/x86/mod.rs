//! Kernels for x86-64: AVX2 with FMA here, AVX-VNNI in `avxvnni`, AVX-512 in `avx512`. What is the same on several sets is
//! written once, as a macro or over vectors.
//!
//! int8 products are exact. On AVX2 `vpmaddubsw`, which multiplies bytes and saturates its sums of pairs in i16, is used where the
//! weights prove that nothing can saturate; elsewhere both factors are widened to i16 for `vpmaddwd`, whose i32 results
//! cannot overflow.

mod add_u8;
pub(crate) mod avx512;
mod avxvnni;
pub(crate) mod blend;
mod depthwise_dot;
mod depthwise_f32;
mod depthwise_u8;
mod epilogue;
mod expand_f32;
mod gemm_f32;
mod gemm_u8;
pub(crate) mod gram;
mod lanes;
pub(crate) mod ops;
pub(crate) mod ops_f32;
mod peak;
pub(crate) mod picture;
pub(crate) mod resize;
mod tiles;
mod winograd_f32;

pub(crate) use avx512::{
    DEPTHWISE_U8 as DEPTHWISE_U8_AVX512, DEPTHWISE_U8_VNNI as DEPTHWISE_U8_AVX512_VNNI, GEMM_F32 as GEMM_F32_AVX512,
    GEMM_U8 as GEMM_U8_AVX512, GEMM_U8_VNNI as GEMM_U8_AVX512_VNNI,
};
pub(crate) use avxvnni::GEMM_U8_AVX_VNNI;
pub(crate) use depthwise_dot::DEPTHWISE_U8_AVX_VNNI;
pub(crate) use depthwise_f32::{DEPTHWISE_F32, DEPTHWISE_F32_AVX512};
pub(crate) use depthwise_u8::DEPTHWISE_U8;
pub(crate) use expand_f32::{EXPAND_F32, EXPAND_F32_AVX512};
pub(crate) use gemm_f32::GEMM_F32;
pub(crate) use gemm_u8::{GEMM_U8, WIDENED_U8};
pub(crate) use peak::peak_loops;
pub(crate) use winograd_f32::{
    WINOGRAD_S2_2_F32, WINOGRAD_S2_2_F32_AVX512, WINOGRAD_S2_4_F32, WINOGRAD_S2_4_F32_AVX512, WINOGRAD2_F32,
    WINOGRAD2_F32_AVX512, WINOGRAD4_F32, WINOGRAD4_F32_AVX512,
};

use std::arch::x86_64::*;

/// Whether a value is above 127.
#[target_feature(enable = "avx2")]
#[inline]
fn exceeds_127(x: &[u8]) -> bool {
    let vectors = x.chunks_exact(32);
    let rest = vectors.remainder().iter().fold(0, |any, &x| any | x);
    let any = vectors.fold(_mm256_setzero_si256(), |any, x| {
        // SAFETY: the chunk has 32 readable bytes; the load needs no alignment.
        _mm256_or_si256(any, unsafe { _mm256_loadu_si256(x.as_ptr().cast()) })
    });
    _mm256_movemask_epi8(any) != 0 || rest > 127
}

/// Runs work compiled for AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn run<W: crate::vectorize::Vectorize>(work: W) -> W::Output {
    work.run()
}
