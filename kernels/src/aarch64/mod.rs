//! Kernels for aarch64.
//!
//! int8 products are exact. The matrix products take activations less 128, which are signed bytes; the correction is in the
//! bias. `smull` makes i16 products of bytes (at most 2^14) that `sadalp` adds to i32 sums; `sdot` and `smmla` sum into
//! i32 themselves. Their intrinsics are not stable in Rust yet, so each is one line of assembler.

mod add_u8;
pub(crate) mod blend;
mod depthwise_dot;
mod depthwise_f32;
mod depthwise_u8;
mod epilogue;
mod expand_f32;
mod gemm_f32;
mod gemm_u8;
mod gemm_u8_dot;
mod gemm_u8_i8mm;
mod lanes;
mod peak;
mod stack;
mod winograd_f32;

pub(crate) use add_u8::add_u8;
pub(crate) use depthwise_dot::DEPTHWISE_U8_DOT;
pub(crate) use depthwise_f32::DEPTHWISE_F32;
pub(crate) use depthwise_u8::DEPTHWISE_U8;
pub(crate) use expand_f32::EXPAND_F32;
pub(crate) use gemm_f32::GEMM_F32;
pub(crate) use gemm_u8::GEMM_U8_NEON;
pub(crate) use gemm_u8_dot::GEMM_U8_DOT;
pub(crate) use gemm_u8_i8mm::GEMM_U8_I8MM;
pub(crate) use peak::peak_loops;
pub(crate) use winograd_f32::{WINOGRAD_S2_2_F32, WINOGRAD_S2_4_F32, WINOGRAD2_F32, WINOGRAD4_F32};
