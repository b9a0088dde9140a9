//! Images and data sets for quantlens: decoding, preprocessing and readers.
//!
//! Pixels and tensors equal Pillow's and torchvision's bit for bit, because a quantized network's top-1 class changes with less
//! (`src/jpeg/mod.rs` has the figures):
//!
//! - [`decode_file`]: JPEG and PNG, told apart by content, to RGB as Pillow's `convert("RGB")` gives it.
//! - [`resize_bilinear`], [`Preprocess`]: Pillow's resize, torchvision's crop and normalization; boxes go the same way.
//! - [`Dataset`]: a folder, an ImageFolder tree, ILSVRC's validation set, wsolevaluation's lists, or a CSV manifest.
//! - [`scenes`]: a rendered data set, drawn on the fly.
//! - [`imagenet`]: the 1000 classes and the devkit's ids.
//! - [`demo_image`]: a generated picture.
//!
//! ```
//! use quantlens_data::{Preprocess, demo_image};
//!
//! let preprocess = Preprocess::imagenet();
//! let input = preprocess.tensor(&preprocess.rgb(&demo_image()));
//! assert_eq!(input.shape().dims(), [1, 3, 224, 224]);
//! ```
//!
//! # Features
//! `turbojpeg`: decode JPEG with libjpeg-turbo instead of this crate's decoder. The pixels are the same; it is there to check
//! against, and for arithmetic-coded files. Building it needs cmake and a C compiler (Debian: `cmake gcc`);
//! with `nasm` installed it is faster.

#![forbid(unsafe_code)]

mod bbox;
mod dataset;
mod decode;
mod demo;
mod error;
pub mod imagenet;
mod jpeg;
mod preprocess;
mod resize;
pub mod scenes;

pub use bbox::BBox;
pub use dataset::{Class, Dataset, Format, Labels, OpenOptions, Sample};
pub use decode::{DecodeOptions, Decoder, decode_bytes, decode_file};
pub use demo::demo_image;
pub use error::{Cause, Error};
pub use image::RgbImage;
pub use preprocess::{Geometry, Preprocess};
pub use resize::{Interpolation, resize, resize_bilinear};
