//! The inference engine of quantlens: a [`Graph`] says what to compute, a [`Plan`] how, a [`Session`] runs it.
//!
//! A graph has no shapes; a plan is made for one input size and for what is to be seen and set from outside:
//! - a *tap* is a tensor whose value can be read after a run ([`Session::tap`]);
//! - an *entry* is a tensor whose value can be set, to run the rest of the network from there ([`Session::run_from`]).
//!
//! Both are declared when planning, because fusion and memory sharing would otherwise take such tensors away.
//!
//! ```
//! use std::sync::Arc;
//! use quantlens_engine::{Conv, ConvWeights, GraphBuilder, Linear, Op, Plan};
//! use quantlens_tensor::{Layout, Tensor};
//!
//! // A network of one 1x1 convolution (the sum of the three colours), ReLU, a global average and one linear layer.
//! let mut builder = GraphBuilder::new("tiny", None);
//! let weights = |weight: &[f32]| ConvWeights::F32 { weight: weight.into(), bias: Arc::new([0.0]) };
//! let conv = Conv {
//!     in_channels: 3,
//!     out_channels: 1,
//!     kernel: [1, 1],
//!     stride: [1, 1],
//!     padding: [0, 0],
//!     groups: 1,
//!     relu: false,
//!     weights: weights(&[1.0, 1.0, 1.0]),
//! };
//! let x = builder.push(Op::Conv(conv), &[builder.input()], "conv", None);
//! let x = builder.push(Op::Relu, &[x], "relu", None);
//! let x = builder.push(Op::AdaptiveAvgPool, &[x], "avgpool", None);
//! let linear = Linear { in_features: 1, out_features: 1, weights: weights(&[2.0]) };
//! let x = builder.push(Op::Linear(linear), &[x], "fc", None);
//! let graph = builder.finish(x);
//!
//! let plan = Plan::builder(&graph).input_size(1, 2).tap("relu").build()?;
//! let mut session = plan.session();
//! let image = Tensor::new(vec![1.0, -1.0, 2.0, -2.0, 3.0, -3.0], [1, 3, 1, 2], Layout::Nchw)?;
//! session.run(&image)?;
//! assert_eq!(session.logits(), [6.0]);
//! assert_eq!(session.tap("relu")?.as_f32()?, [6.0, 0.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

mod buffers;
mod error;
mod graph;
mod plan;
mod profile;
mod session;
mod step;

pub use error::Error;
pub use graph::{Conv, ConvWeights, Graph, GraphBuilder, Linear, Node, Op, Pool, TensorId, TensorInfo};
pub use plan::{Plan, PlanBuilder, StepInfo};
pub use profile::{Profile, StepTime};
pub use quantlens_kernels::{Isa, Numerics, QParams, softmax_f32};
pub use session::Session;
