//! torchvision's networks built from safetensors, for quantlens: MobileNetV2, MobileNetV3 (large and small), ResNet
//! with basic blocks and ShuffleNetV2, each in f32 and in the int8 form PyTorch exports.
//!
//! [`ModelFile`] reads a file (`weights/README.md` documents the format; a plain float state_dict is one), [`load`]
//! turns it into a [`Model`]: a graph and what goes with it. Widths, depths and classes come from the shapes. Nothing
//! in a file can cause a panic or an allocation beyond a small multiple of the file's size.

#![forbid(unsafe_code)]

mod arguments;
mod builder;
mod error;
mod file;
mod fold;
mod header;
mod metadata;
mod mobilenet_v2;
mod mobilenet_v3;
mod model;
mod ranking;
mod recognize;
mod resnet;
mod shufflenet_v2;
mod weights;

pub use error::Error;
pub use file::ModelFile;
pub use metadata::{Interpolation, Metadata, Preprocess};
pub use model::{Model, Precision, load};
pub use ranking::{ranked, softmax};
pub use recognize::NETWORKS;
