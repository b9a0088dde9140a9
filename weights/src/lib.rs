//! The default networks of quantlens.
