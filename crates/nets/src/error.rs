//! The crate's error: which file, which tensor or key, what was expected, what was found, what to do.

use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why a model file could not be read or a network not built from it.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The file could not be read.
    Io {
        /// Path that was tried.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The bytes are not a sound safetensors file.
    Format {
        /// Path or label of the file.
        file: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// The file's format version is not one this build reads.
    Version {
        /// Path or label of the file.
        file: String,
        /// The version it states.
        found: String,
    },
    /// A metadata value is not usable.
    Metadata {
        /// Path or label of the file.
        file: String,
        /// Key in `__metadata__`.
        key: String,
        /// What the key may hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// A tensor that the network needs is not in the file.
    Missing {
        /// Path or label of the file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// What it is for, and what to do.
        hint: String,
    },
    /// A tensor's element type is not the one needed.
    DType {
        /// Path or label of the file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Types that would do, in safetensors' names.
        expected: String,
        /// Type in the file, in safetensors' names.
        found: String,
    },
    /// A tensor's shape is not the one needed.
    Shape {
        /// Path or label of the file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Shape needed; letters where any size would do.
        expected: String,
        /// Shape in the file.
        found: String,
    },
    /// An element of a tensor is out of its range.
    Value {
        /// Path or label of the file.
        file: String,
        /// Name of the tensor.
        tensor: String,
        /// Position of the first such element.
        index: usize,
        /// The range.
        expected: String,
        /// The element.
        found: String,
    },
    /// The file holds tensors that no layer of the network uses.
    Unused {
        /// Path or label of the file.
        file: String,
        /// Network that was built.
        network: String,
        /// Names of the tensors, sorted.
        tensors: Vec<String>,
    },
    /// The network could not be told from the tensors, or is not the one that was named.
    Network {
        /// Path or label of the file.
        file: String,
        /// What is wrong, and what to do.
        why: String,
        /// Names that may be meant; empty where nothing fits.
        candidates: Vec<String>,
    },
}

/// How many names a message lists before it counts the rest.
const LISTED: usize = 6;

/// A string of a file as a message shows it: in quotes, escaped, cut at 80 characters.
pub(crate) fn quoted(text: &str) -> String {
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{:?}...", &text[..end]),
        None => format!("{text:?}"),
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: cannot be read: {source}", path.display()),
            Self::Format { file, why } => write!(f, "{file}: not a usable safetensors file: {why}"),
            Self::Version { file, found } => write!(
                f,
                "{file}: format_version is {found:?}, this build reads version 1: use a newer quantlens, or export the \
                 model again with this one's tools/export.py"
            ),
            Self::Metadata { file, key, expected, found } => {
                write!(f, "{file}: metadata key {key:?}: expected {expected}, found {found}")
            }
            Self::Missing { file, tensor, hint } => write!(f, "{file}: tensor {tensor:?} is missing: {hint}"),
            Self::DType { file, tensor, expected, found } => {
                write!(f, "{file}: tensor {tensor:?}: expected element type {expected}, found {found}")
            }
            Self::Shape { file, tensor, expected, found } => {
                write!(f, "{file}: tensor {tensor:?}: expected shape {expected}, found {found}")
            }
            Self::Value { file, tensor, index, expected, found } => {
                write!(f, "{file}: tensor {tensor:?}, element {index}: expected {expected}, found {found}")
            }
            Self::Unused { file, network, tensors } => {
                let shown = tensors.iter().take(LISTED).map(|t| quoted(t)).collect::<Vec<_>>().join(", ");
                let rest = tensors.len().saturating_sub(LISTED);
                let more = if rest > 0 { format!(" and {rest} more") } else { String::new() };
                write!(
                    f,
                    "{file}: {} of its tensors are no part of {network}: {shown}{more}: the file holds another network or was \
                     exported in another form; running it without them would give wrong results",
                    tensors.len()
                )
            }
            Self::Network { file, why, candidates } if candidates.is_empty() => write!(f, "{file}: {why}"),
            Self::Network { file, why, candidates } => write!(f, "{file}: {why} ({})", candidates.join(", ")),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
