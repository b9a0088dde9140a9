//! Kernels of quantlens, scalar and SIMD: convolution, linear, pooling and elementwise ops in f32 and int8.
//!
//! The only crate with `unsafe`. Everything here works on slices (NHWC activations, one image); shapes, names and
//! quantization metadata live in the crates above.

mod quant;

pub use quant::{Numerics, QParams};
