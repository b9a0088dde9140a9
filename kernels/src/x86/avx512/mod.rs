//! Kernels for AVX-512 (F, BW, VL, DQ), with and without VNNI.
//!
//! With VNNI, `vpdpbusd` sums four products of u8 and s8 in i32, exactly. Without it, both factors are widened to i16 and
//! summed in pairs by `vpmaddwd`, as on AVX2. 32 registers hold a tile of about 24 sums: several blocks of 16 channels by
//! a few pixels, in the shape that suits the layer (`TileShape`).

mod depthwise_u8;
pub(super) mod epilogue;
mod gemm;
pub(crate) mod ops;

pub(crate) use depthwise_u8::{DEPTHWISE_U8, DEPTHWISE_U8_VNNI};
pub(crate) use gemm::{GEMM_F32, GEMM_U8, GEMM_U8_VNNI};
