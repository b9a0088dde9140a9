//! The crate's error.

use std::fmt;
use std::path::{Path, PathBuf};

/// What can go wrong in a study.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: std::io::Error,
    },
    /// A file of records or a manifest is not what it should be.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The folder holds records of other settings.
    SettingsChanged {
        /// The folder.
        folder: PathBuf,
        /// One line a difference: which setting, its value in the folder, the value asked for.
        differences: Vec<String>,
    },
    /// Not one image gave a result.
    NoUsableImages {
        /// Images that were tried.
        tried: usize,
        /// What was wrong with the first.
        first: String,
    },
    /// The user stopped it. What is written stays, and a rerun goes on from there.
    Stopped {
        /// Images of the scan that are written, and how many there are; none in another stage.
        done: Option<[u64; 2]>,
    },
    /// A setting that cannot work.
    Settings(String),
    /// A network could not be planned or run.
    Network {
        /// The pair's name and the precision.
        network: String,
        /// What the engine says.
        why: String,
    },
    /// The projection's sign or map could not be computed.
    Xai(quantlens_xai::Error),
}

impl Error {
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { path: path.into(), action, source }
    }

    pub(crate) fn file(path: &Path, why: impl fmt::Display) -> Self {
        Self::File { path: path.into(), why: why.to_string() }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, action, source } => write!(f, "{}: cannot {action}: {source}", path.display()),
            Self::File { path, why } => write!(f, "{}: {why}", path.display()),
            Self::SettingsChanged { folder, differences } => {
                write!(
                    f,
                    "{}: holds records of other settings; use another folder, or the same settings.",
                    folder.display()
                )?;
                differences.iter().try_for_each(|d| write!(f, "\n  {d}"))
            }
            Self::NoUsableImages { tried, first } => {
                write!(f, "none of {tried} images gave a result; the first: {first}")
            }
            Self::Stopped { done } => {
                f.write_str("stopped")?;
                if let Some([done, all]) = done {
                    write!(f, " with {done} of {all} images scanned")?;
                }
                f.write_str("; the same command goes on from there")
            }
            Self::Settings(why) => f.write_str(why),
            Self::Network { network, why } => write!(f, "{network}: {why}"),
            Self::Xai(e) => write!(f, "{e}"),
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

impl From<quantlens_xai::Error> for Error {
    fn from(e: quantlens_xai::Error) -> Self {
        Self::Xai(e)
    }
}
