//! The study pipeline of quantlens: records, stages and tables.
