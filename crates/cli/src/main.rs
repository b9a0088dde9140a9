//! The quantlens command.

fn main() {}
