//! The crate's error.

use std::fmt;

use crate::{DType, Layout, Shape};

/// What can be wrong with a tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The number of elements does not match the shape.
    Length {
        /// Shape that was asked for.
        shape: Shape,
        /// Elements that were given.
        found: usize,
    },
    /// The element type is not the one needed.
    DType {
        /// Type that was needed.
        expected: DType,
        /// Type of the tensor.
        found: DType,
    },
    /// The layout does not fit the rank (NCHW and NHWC are 4-d), or cannot be converted.
    Layout {
        /// Layout that was asked for.
        layout: Layout,
        /// Shape of the tensor.
        shape: Shape,
    },
    /// The quantization parameters are not usable with this tensor.
    Quant(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { shape, found } => {
                write!(f, "shape {shape} needs {} elements, found {found}", shape.elements())
            }
            Self::DType { expected, found } => write!(f, "expected element type {expected}, found {found}"),
            Self::Layout { layout, shape } => write!(f, "layout {layout} does not fit shape {shape}"),
            Self::Quant(why) => write!(f, "quantization parameters: {why}"),
        }
    }
}

impl std::error::Error for Error {}
