//! Runs torchvision's CNNs in f32 and int8 and shows where quantization changes what they look at.

#![forbid(unsafe_code)]

pub use quantlens_data as data;
pub use quantlens_engine as engine;
pub use quantlens_kernels as kernels;
pub use quantlens_nets as nets;
pub use quantlens_tensor as tensor;
pub use quantlens_xai as xai;

pub use engine::{Graph, Plan, Profile, Session};
pub use kernels::{Isa, Numerics};
pub use nets::{ModelFile, Precision};
pub use tensor::{DType, Data, Layout, Quant, Shape, Tensor};
pub use xai::{EigenCam, PairDifference, SignPolicy};
