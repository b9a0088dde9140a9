//! What can be wrong with what a kernel is asked to do.

use std::fmt;

/// Why a kernel could not be made.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An instruction set that does not exist, or that this CPU or this build lacks.
    Isa {
        /// What was asked for.
        requested: String,
        /// Names of those that would work here.
        available: Vec<&'static str>,
    },
    /// A convolution or pooling whose numbers do not fit together.
    Geometry(String),
    /// Scales or zero points that no arithmetic is defined for.
    Quant(String),
    /// A slice of weights or biases that is too short or too long.
    Length {
        /// Which slice.
        what: &'static str,
        /// Elements it should have.
        expected: usize,
        /// Elements it has.
        found: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Isa { requested, available } => write!(
                f,
                "instruction set {requested:?} is unknown or not supported by this CPU and build; choose one of {}",
                available.join(", ")
            ),
            Self::Geometry(message) | Self::Quant(message) => f.write_str(message),
            Self::Length { what, expected, found } => write!(f, "{what}: expected {expected} elements, found {found}"),
        }
    }
}

impl std::error::Error for Error {}

/// Errs unless `found` is `expected`.
pub(crate) fn check_len(what: &'static str, expected: usize, found: usize) -> Result<(), Error> {
    if expected == found { Ok(()) } else { Err(Error::Length { what, expected, found }) }
}
