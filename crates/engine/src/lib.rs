//! The inference engine of quantlens: a [`Graph`] says what to compute, a plan how, a session runs it.

#![forbid(unsafe_code)]

mod graph;

pub use graph::{Conv, ConvWeights, Graph, GraphBuilder, Linear, Node, Op, Pool, TensorId, TensorInfo};
pub use quantlens_kernels::{Numerics, QParams};
