//! Runs torchvision's CNNs in f32 and int8 and shows where quantization changes what they look at.
//!
//! ```no_run
//! use quantlens::{DecodeOptions, Model, decode_file};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let model = Model::load("mobilenet_v2-int8.safetensors")?;
//! let image = decode_file("cat.jpg", &DecodeOptions::default())?;
//! for guess in model.classify(&image, 5)? {
//!     println!("{} {:?} {:.3}", guess.index, guess.class, guess.probability);
//! }
//! let cam = model.cam(&image)?; // where it looks: a map of the input's size, 0 to 1
//! println!("{} by {}", cam.size[0], cam.size[1]);
//! # Ok(())
//! # }
//! ```
//!
//! This crate is a small front. Its parts are re-exported: [`nets`] (model files), [`engine`] (graph, plan, session),
//! [`data`] (images and data sets), [`xai`] (maps, their comparison, statistics), [`tensor`], [`kernels`].

#![forbid(unsafe_code)]

mod error;
mod model;

pub use error::Error;
pub use model::{Cam, Model, Options, Prediction};

pub use quantlens_data as data;
pub use quantlens_engine as engine;
pub use quantlens_kernels as kernels;
pub use quantlens_nets as nets;
pub use quantlens_tensor as tensor;
pub use quantlens_xai as xai;

pub use data::{DecodeOptions, Decoder, Geometry, RgbImage, decode_file};
pub use engine::{Graph, Plan, Profile, Session};
pub use kernels::{Isa, Numerics};
pub use nets::{ModelFile, Precision};
pub use tensor::{DType, Data, Layout, Quant, Shape, Tensor};
pub use xai::{EigenCam, PairDifference, SignPolicy};
