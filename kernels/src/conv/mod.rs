//! Convolutions and linear layers: geometry, the descriptors of their kernels, and the choice among them.
//!
//! A kernel is a static descriptor with a `pack` function, which turns weights into an object of the kernel's own
//! type: packed weights therefore always meet the kernel they were packed for. [`ConvU8::new`] and
//! [`ConvF32::new`] take, among the kernels of sets that the wanted [`Isa`](crate::Isa) includes, the last in order that serves
//! the shape.

mod expand;
mod f32;
mod geometry;
mod registry;
mod rows;
mod u8;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) mod vector;

pub(crate) use self::expand::ExpandKernel;
pub use self::expand::{ChannelView, ConvF32Parts, ExpandDepthwiseF32};
pub use self::f32::{ConvF32, LinearF32};
pub(crate) use self::f32::{F32Kernel, PackedF32};
pub use self::geometry::Conv2d;
pub(crate) use self::geometry::{MAX_ELEMENTS, MAX_NUMBER};
pub use self::registry::{KernelInfo, KernelOp, kernels};
pub(crate) use self::rows::{InputRows, RowKernel};
pub use self::u8::{ConvU8, LinearU8};
pub(crate) use self::u8::{PackedU8, U8Kernel};

/// What an f32 convolution does to its sums before it stores them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// Nothing.
    None,
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x * relu6(x + 3) / 6.
    Hardswish,
}

impl Activation {
    /// Calls `f` with this activation as a constant of the compiler's, once for each kind: what `f` does for many values is
    /// then compiled for one activation, where it is inlined.
    #[inline(always)]
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    pub(crate) fn with<R>(self, f: impl Fn(Self) -> R) -> R {
        match self {
            Self::None => f(Self::None),
            Self::Relu => f(Self::Relu),
            Self::Relu6 => f(Self::Relu6),
            Self::Hardswish => f(Self::Hardswish),
        }
    }

    /// The activation of one value.
    #[inline(always)]
    pub fn apply(self, x: f32) -> f32 {
        match self {
            Self::None => x,
            Self::Relu => crate::scalar::float::relu(x),
            Self::Relu6 => crate::scalar::float::relu6(x),
            Self::Hardswish => crate::scalar::float::hardswish(x),
        }
    }
}
