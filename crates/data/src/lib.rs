//! Images and data sets for quantlens.

#![forbid(unsafe_code)]

mod decode;
mod error;
mod jpeg;

pub use decode::{DecodeOptions, Decoder, decode_bytes, decode_file};
pub use error::{Cause, Error};
pub use image::RgbImage;
