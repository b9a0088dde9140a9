//! Kernels for x86-64: AVX2 with FMA here, AVX-VNNI in `avxvnni`, AVX-512 in `avx512`. What is the same on several sets is
//! written once, as a macro or over vectors.
//!
//! int8 products are exact. On AVX2 both factors are widened to i16 and summed in pairs by `vpmaddwd`, whose i32 results cannot
//! overflow. (`vpmaddubsw`, which takes bytes, saturates its sums of pairs in i16.)

mod avx512;
mod avxvnni;
mod depthwise_f32;
mod depthwise_u8;
mod epilogue;
mod expand_f32;
mod gemm_f32;
mod gemm_u8;
mod lanes;
pub(crate) mod ops;
mod peak;
mod tiles;
mod winograd_f32;

pub(crate) use avx512::{
    DEPTHWISE_F32 as DEPTHWISE_F32_AVX512, DEPTHWISE_U8_VNNI as DEPTHWISE_U8_AVX512_VNNI, GEMM_F32 as GEMM_F32_AVX512,
    GEMM_U8 as GEMM_U8_AVX512, GEMM_U8_VNNI as GEMM_U8_AVX512_VNNI,
};
pub(crate) use avxvnni::GEMM_U8_AVX_VNNI;
pub(crate) use depthwise_f32::DEPTHWISE_F32;
pub(crate) use depthwise_u8::DEPTHWISE_U8;
pub(crate) use expand_f32::{EXPAND_F32, EXPAND_F32_AVX512};
pub(crate) use gemm_f32::GEMM_F32;
pub(crate) use gemm_u8::GEMM_U8;
pub(crate) use peak::peak_loops;
pub(crate) use winograd_f32::{WINOGRAD2_F32, WINOGRAD2_F32_AVX512, WINOGRAD4_F32, WINOGRAD4_F32_AVX512};
