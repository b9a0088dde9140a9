//! Tensors of quantlens: shape, element type, layout and quantization parameters.
//!
//! This crate indexes and converts; arithmetic on activations lives in `quantlens-kernels`.
//! Activations are 4-d (`[n, c, h, w]` or `[n, h, w, c]`, told apart by [`Layout`]); weights are row-major OIHW or OI.

#![forbid(unsafe_code)]

mod data;
mod error;
mod quant;
mod shape;
mod tensor;
mod view;

pub use data::{DType, Data};
pub use error::Error;
pub use quant::Quant;
pub use shape::{Layout, Shape};
pub use tensor::Tensor;
pub use view::{Values, View};

/// 16-bit IEEE float, the storage type of [`DType::F16`] tensors.
pub use half::f16;
