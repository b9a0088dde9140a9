//! How a study tells how far it is.

use crate::Error;

/// Receives the progress of a study; called from several threads.
pub trait Progress: Sync {
    /// A stage begins; it has `total` steps, `done` of which were done in an earlier run.
    fn start(&self, stage: &str, total: u64, done: u64) {
        let _ = (stage, total, done);
    }

    /// `steps` more are done.
    fn advance(&self, steps: u64) {
        let _ = steps;
    }

    /// The stage is over.
    fn finish(&self) {}

    /// Whether the user wants to stop. Asked often; a stage then ends without losing what it has written.
    fn stopped(&self) -> bool {
        false
    }

    /// [`Progress::stopped`] as an error.
    ///
    /// # Errors
    /// [`Error::Stopped`].
    fn check(&self) -> Result<(), Error> {
        if self.stopped() { Err(Error::Stopped { done: None }) } else { Ok(()) }
    }

    /// Something worth saying that stops nothing: an unreadable image, for example.
    fn note(&self, text: &str) {
        let _ = text;
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}
