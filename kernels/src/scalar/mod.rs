//! Every op in plain Rust: the specification of the kernels for other instruction sets.

pub mod blend;
pub mod channels;
pub(crate) mod conv;
pub mod float;
pub mod gram;
pub mod picture;
pub mod pool;
pub mod resize;
