//! The facade's error: which step failed, with the step's own error as the source.

use std::fmt;

/// Why a model could not be loaded or run. [`std::error::Error::source`] has the details.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The model file could not be read or is refused.
    Network(quantlens_nets::Error),
    /// The network cannot be planned or run as asked: an unknown layer, an unusable input.
    Engine(quantlens_engine::Error),
    /// An image could not be read, or the preprocessing is not one that can be done.
    Data(quantlens_data::Error),
    /// The map could not be computed from the layer's activations.
    Explanation(quantlens_xai::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(e) => e.fmt(f),
            Self::Engine(e) => e.fmt(f),
            Self::Data(e) => e.fmt(f),
            Self::Explanation(e) => e.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Network(e) => e.source(),
            Self::Engine(e) => e.source(),
            Self::Data(e) => e.source(),
            Self::Explanation(e) => e.source(),
        }
    }
}

macro_rules! from {
    ($($source:ty => $variant:ident),*) => {$(
        impl From<$source> for Error {
            fn from(e: $source) -> Self {
                Self::$variant(e)
            }
        }
    )*};
}
from!(
    quantlens_nets::Error => Network,
    quantlens_engine::Error => Engine,
    quantlens_data::Error => Data,
    quantlens_xai::Error => Explanation
);
