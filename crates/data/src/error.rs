//! The crate's errors: what was being read, what was found, what to do.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why bytes could not be turned into a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// There are no bytes at all.
    Empty,
    /// The first bytes are not those of a JPEG or PNG file; says what they look like.
    NotAnImage(String),
    /// The file ends before the picture does.
    Truncated(String),
    /// The file breaks its format's rules.
    Corrupt(String),
    /// The file is valid, but uses something that is not implemented.
    Unsupported(String),
    /// The picture is larger than [`crate::DecodeOptions::max_pixels`].
    TooLarge {
        /// Width that the file's header states, in pixels.
        width: usize,
        /// Height that the file's header states, in pixels.
        height: usize,
        /// The limit, in pixels.
        limit: usize,
    },
}

impl Cause {
    pub(crate) fn corrupt(why: impl Into<String>) -> Self {
        Self::Corrupt(why.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("the file is empty (0 bytes)"),
            Self::NotAnImage(found) => write!(f, "not a JPEG or PNG image: {found}"),
            Self::Truncated(what) => write!(f, "truncated image: {what}"),
            Self::Corrupt(what) => write!(f, "corrupt image: {what}"),
            Self::Unsupported(what) => write!(f, "{what}; save it as an 8-bit baseline or progressive JPEG, or as PNG"),
            Self::TooLarge { width, height, limit } => {
                write!(f, "{width}x{height} pixels are more than the limit of {limit} (against decompression bombs)")
            }
        }
    }
}

/// What can go wrong while reading images and data sets.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that are no usable picture.
    Image {
        /// The file, or the label of bytes that came from elsewhere.
        file: String,
        /// What is wrong with it.
        cause: Cause,
    },
    /// Preprocessing that cannot be done, such as a crop of no pixels.
    Preprocess(String),
    /// A line of a text file that cannot be used.
    Line {
        /// The file.
        path: PathBuf,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with the line.
        message: String,
    },
    /// A data set that cannot be opened as asked.
    Dataset {
        /// Its folder or manifest.
        path: PathBuf,
        /// What is wrong, and what to do.
        message: String,
    },
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn dataset(path: &Path, message: impl Into<String>) -> Self {
        Self::Dataset { path: path.to_path_buf(), message: message.into() }
    }

    pub(crate) fn line(path: &Path, line: usize, message: impl Into<String>) -> Self {
        Self::Line { path: path.to_path_buf(), line, message: message.into() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Image { file, cause } => write!(f, "{file}: {cause}"),
            Self::Preprocess(message) => write!(f, "preprocessing: {message}"),
            Self::Line { path, line, message } => write!(f, "{}, line {line}: {message}", path.display()),
            Self::Dataset { path, message } => write!(f, "{}: {message}", path.display()),
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
