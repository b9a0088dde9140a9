//! Tests of quantlens-nets: networks built from made-up and from exported files, and files that must be refused.

#![allow(clippy::unwrap_used)] // the lint knows #[test] functions, not the helpers beside them

mod architectures;
mod golden_files;
mod hostile;
mod synthetic;
