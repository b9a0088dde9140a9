//! Kernels for x86-64. The AVX2 ones need AVX2 and FMA.
//!
//! int8 products are exact: both factors are widened to i16 and summed in pairs by `vpmaddwd`, whose i32 results cannot
//! overflow. (`vpmaddubsw`, which takes bytes, saturates its sums of pairs in i16.)

mod depthwise_f32;
mod depthwise_u8;
mod epilogue;
mod expand_f32;
mod gemm_f32;
mod gemm_u8;
mod lanes;
pub(crate) mod ops;
mod peak;
mod winograd_f32;

pub(crate) use depthwise_f32::DEPTHWISE_F32;
pub(crate) use depthwise_u8::DEPTHWISE_U8;
pub(crate) use expand_f32::EXPAND_F32;
pub(crate) use gemm_f32::GEMM_F32;
pub(crate) use gemm_u8::GEMM_U8;
pub(crate) use peak::peak_loops;
pub(crate) use winograd_f32::{WINOGRAD2_F32, WINOGRAD4_F32};
