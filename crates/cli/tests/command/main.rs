//! The command end to end: what it prints, what it writes, how it fails.

mod bad_input;
mod bench;
mod commands;
mod common;
mod render;
mod study;
mod usage;
