//! How a study tells how far it is.

/// Receives the progress of a study; called from several threads.
pub trait Progress: Sync {
    /// A stage begins; it has `total` steps.
    fn start(&self, stage: &str, total: u64) {
        let _ = (stage, total);
    }

    /// `steps` more are done.
    fn advance(&self, steps: u64) {
        let _ = steps;
    }

    /// The stage is over.
    fn finish(&self) {}

    /// Something worth saying that stops nothing: an unreadable image, for example.
    fn note(&self, text: &str) {
        let _ = text;
    }
}

/// Says nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Quiet;

impl Progress for Quiet {}
