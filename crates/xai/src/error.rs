//! The crate's error.

use std::fmt;

/// What can be wrong with activations or with what is asked of them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Error {
    /// The tensor is not one activation of one image with at least one element.
    Shape {
        /// The tensor's shape, as text.
        found: String,
    },
    /// The tensor has the wrong layout or type.
    Tensor(quantlens_tensor::Error),
    /// An instruction set that this machine lacks.
    Kernels(quantlens_kernels::Error),
    /// An activation is infinite, or so large that its square is.
    NotFinite,
    /// The policy `lapack` was asked for a matrix whose LAPACK sign is not known.
    LapackSign {
        /// Channels of the activation.
        channels: usize,
        /// Positions, height times width.
        positions: usize,
    },
    /// Unknown name of a sign policy.
    UnknownPolicy(String),
    /// A threshold that is neither `otsu` nor a number from 0 to 1.
    UnknownThreshold(String),
    /// A sweep's step that is not from 0.00001 to 1.
    SweepStep(f64),
    /// Unknown name of a baseline.
    UnknownBaseline(String),
    /// Two images of a walk differ in type, shape, layout or quantization.
    Pair {
        /// Make of the first.
        expected: String,
        /// Make of the second.
        found: String,
    },
    /// An order of pixels names one twice, or one that the image has not.
    Order {
        /// The pixel's index.
        pixel: u32,
        /// Pixels of the image.
        pixels: usize,
    },
    /// The network's output for the class is 0, so that AblationCAM's shares of it do not exist.
    ZeroScore,
    /// Two slices that belong together differ in length, or a size is zero.
    Length {
        /// What the length is of.
        what: &'static str,
        /// Length that was needed.
        expected: usize,
        /// Length that was given.
        found: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shape { found } => {
                write!(f, "expected the activation of one image, [1, c, h, w] or [1, h, w, c], found shape {found}")
            }
            Self::Tensor(e) => write!(f, "activation: {e}"),
            Self::Kernels(e) => e.fmt(f),
            Self::NotFinite => {
                f.write_str("activation or score has infinite or overflowing values: its map is not defined")
            }
            Self::LapackSign { channels, positions } => write!(
                f,
                "sign policy lapack needs at least 1.7 channels a position (LAPACK's sign depends on the data otherwise): \
                 found {channels} channels for {positions} positions; choose mean or peak, or a layer with a smaller map"
            ),
            Self::UnknownPolicy(name) => {
                write!(f, "unknown sign policy {name:?}: choose lapack, mean, peak, or random:SEED")
            }
            Self::SweepStep(step) => write!(f, "a sweep's step must be from 0.00001 to 1, found {step}"),
            Self::UnknownThreshold(text) => {
                write!(f, "unknown threshold {text:?}: choose otsu, or a number from 0 to 1")
            }
            Self::UnknownBaseline(name) => {
                write!(f, "unknown baseline {name:?}: choose dataset-mean, black, image-mean, blur, or noise:SEED")
            }
            Self::Pair { expected, found } => {
                write!(
                    f,
                    "the second image must be like the first in type, shape, layout and scale: expected {expected}, found {found}"
                )
            }
            Self::Order { pixel, pixels } => {
                write!(
                    f,
                    "an order of {pixels} pixels must have each once: pixel {pixel} is there twice or not in the image"
                )
            }
            Self::ZeroScore => f.write_str("the network's output for the class is 0: AblationCAM is not defined"),
            Self::Length { what, expected, found } => write!(f, "{what}: expected {expected} values, found {found}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<quantlens_tensor::Error> for Error {
    fn from(e: quantlens_tensor::Error) -> Self {
        Self::Tensor(e)
    }
}

impl From<quantlens_kernels::Error> for Error {
    fn from(e: quantlens_kernels::Error) -> Self {
        Self::Kernels(e)
    }
}
