//! Kernels of quantlens, scalar and SIMD: convolution, linear, pooling and elementwise ops in f32 and int8.
//!
//! The only crate with `unsafe`. Everything here works on slices (NHWC activations, one image); shapes, names and
//! quantization metadata live in the crates above.
//!
//! # How it is laid out
//! - [`scalar`](mod@scalar): every op in its plainest form. These are the specification: integers on every other
//!   instruction set equal theirs bit for bit.
//! - `x86/`, `aarch64/`: the tiles of the vector kernels of each architecture's instruction sets.
//! - [`conv`](mod@conv): geometry, the kernel descriptors, and which one serves a shape on an [`Isa`].
//! - [`Requantize`], [`Lut`], [`AddU8`], [`MulU8`] hold the constants of PyTorch's int8 arithmetic, computed once, in
//!   the order of operations that PyTorch uses ([`Numerics`]).
//!
//! # Panics
//! `run` methods and plain functions assert the lengths of the slices they get: those follow from a plan, never from
//! a user. Everything that comes from a file (scales, zero points, geometry) is checked by a constructor that
//! returns an [`Error`].

#[cfg(target_arch = "aarch64")]
mod aarch64;
mod blend;
mod buffer;
mod chain;
pub mod conv;
mod eigen;
mod elementwise;
mod error;
mod gram;
mod isa;
mod lut;
mod mean;
mod ops;
mod peak;
mod picture;
mod pool;
mod quant;
mod region;
mod requantize;
mod resize;
pub mod scalar;
mod shared;
mod team;
#[cfg(feature = "testing")]
pub mod testing;
mod vectorize;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use blend::Blend;
pub use buffer::{AlignedBuf, Element};
pub use chain::{Chain, Link, MAX_LINKS, MapRows};
pub use conv::{
    Activation, ChannelView, Conv2d, ConvF32, ConvF32Parts, ConvU8, ExpandDepthwiseF32, KernelInfo, KernelOp,
    LinearF32, LinearU8, kernels,
};
pub use eigen::TopEigen;
pub use elementwise::{AddU8, MulU8};
pub use error::Error;
pub use gram::Gram;
pub use isa::Isa;
pub use lut::{Lut, apply_lut, lut_hardsigmoid, lut_hardswish, lut_relu, lut_requantize};
pub use mean::{global_avg_pool_u8, mean_u8};
pub use ops::{Frame, Ops};
pub use peak::Peak;
pub use picture::{PictureResize, PictureTaps};
pub use pool::Pool2d;
pub use quant::{Numerics, QParams, dequantize_f32, quantize_u8};
pub use requantize::Requantize;
pub use resize::MapResize;
pub use scalar::channels::{channel_shuffle, concat_channels, concat_shuffle, slice_channels};
pub use scalar::float::{
    add_f32, global_avg_pool_f32, hardsigmoid_f32, hardswish_f32, mean_f32, mul_f32, relu_f32, relu6_f32, softmax_f32,
};
pub use scalar::pool::{avg_pool_f32, avg_pool_u8, max_pool_f32, max_pool_u8};
pub use team::{Region, Team};
