//! Files to 8-bit RGB pictures, as Pillow's `Image.open(file).convert("RGB")` gives them.
//!
//! The format is recognised from the bytes, never from the name: ImageNet itself has a PNG named `.JPEG`.
//!
//! - JPEG: grey, YCbCr, RGB, CMYK and YCCK. Four-component files are taken as inverted (Adobe's convention), as Pillow does.
//! - PNG: any bit depth and colour type, interlaced or not. Alpha and transparent colours are dropped, the pixels' own
//!   colours are kept. 16-bit colour keeps the high byte. 16-bit grey is **clipped** at 255, not scaled: that is what Pillow's
//!   `convert("RGB")` does, and what a network trained with torchvision has seen.

mod cmyk;
mod png;
#[cfg(feature = "turbojpeg")]
mod turbo;

use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use crate::{Cause, Error, jpeg};

/// What decodes JPEG files. The two give equal pixels; PNG files do not depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Decoder {
    /// This crate's own, in safe Rust.
    #[default]
    Pure,
    /// libjpeg-turbo, the library that Pillow uses; needs the feature `turbojpeg`.
    TurboJpeg,
}

impl Decoder {
    /// Short name, as written into records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pure => "pure",
            Self::TurboJpeg => "turbojpeg",
        }
    }

    /// Whether this build has it.
    pub fn available(self) -> bool {
        match self {
            Self::Pure => true,
            Self::TurboJpeg => cfg!(feature = "turbojpeg"),
        }
    }
}

/// How to decode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecodeOptions {
    /// What decodes JPEG files.
    pub decoder: Decoder,
    /// Turn the picture as its EXIF orientation says. torchvision's loader does not, so the default is false.
    pub orient: bool,
    /// Larger pictures are an error. The default, 178,956,970, is where Pillow stops too.
    pub max_pixels: usize,
}

impl Default for DecodeOptions {
    fn default() -> Self {
        Self { decoder: Decoder::default(), orient: false, max_pixels: 178_956_970 }
    }
}

/// Reads and decodes a JPEG or PNG file.
///
/// # Errors
/// [`Error::Io`] where the file cannot be read, else as [`decode_bytes`].
pub fn decode_file(path: impl AsRef<Path>, options: &DecodeOptions) -> Result<RgbImage, Error> {
    let path = path.as_ref();
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    decode_bytes(&path.display().to_string(), &bytes, options)
}

/// Decodes the bytes of a JPEG or PNG file; `label` names them in errors.
///
/// # Errors
/// [`Error::Image`] with the [`Cause`]: empty, another format, truncated, corrupt, unsupported, too large.
pub fn decode_bytes(label: &str, bytes: &[u8], options: &DecodeOptions) -> Result<RgbImage, Error> {
    let decoded = match sniff(bytes) {
        Ok(Kind::Jpeg) => decode_jpeg(bytes, options),
        Ok(Kind::Png) => png::decode(bytes, options.max_pixels),
        Err(cause) => Err(cause),
    };
    decoded.map_err(|cause| Error::Image { file: label.to_string(), cause }).map(|(image, orientation)| {
        match orientation.filter(|&o| options.orient && o != Orientation::NoTransforms) {
            None => image,
            Some(orientation) => {
                let mut image = DynamicImage::ImageRgb8(image);
                image.apply_orientation(orientation);
                image.into_rgb8()
            }
        }
    })
}

/// Formats that are read.
enum Kind {
    Jpeg,
    Png,
}

/// Recognises a format by its first bytes.
fn sniff(bytes: &[u8]) -> Result<Kind, Cause> {
    const OTHERS: [(&[u8], &str); 8] = [
        (b"GIF8", "a GIF file"),
        (b"BM", "a BMP file"),
        (b"II*\0", "a TIFF file"),
        (b"MM\0*", "a TIFF file"),
        (b"%PDF", "a PDF file"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x1f\x8b", "a gzip file"),
        (b"\0\0\0\x0cjP  ", "a JPEG 2000 file"),
    ];
    if bytes.is_empty() {
        return Err(Cause::Empty);
    }
    if bytes.starts_with(&[0xFF, 0xD8, 0xFF]) {
        return Ok(Kind::Jpeg);
    }
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(Kind::Png);
    }
    if let Some((_, name)) = OTHERS.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Err(Cause::NotAnImage(format!("it is {name}")));
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Err(Cause::NotAnImage("it is a WebP file".into()));
    }
    if b"\x89PNG\r\n\x1a\n".starts_with(bytes) || [0xFF, 0xD8, 0xFF].starts_with(bytes) {
        return Err(Cause::Truncated(format!("there are only {} bytes", bytes.len())));
    }
    let head = &bytes[..bytes.len().min(256)];
    let text = head.iter().all(|&b| b >= 0x20 || matches!(b, b'\t' | b'\n' | b'\r'));
    let found = if text {
        "it looks like a text file".into()
    } else {
        format!("it starts with {:02x?}", &head[..head.len().min(4)])
    };
    Err(Cause::NotAnImage(found))
}

fn decode_jpeg(bytes: &[u8], options: &DecodeOptions) -> Result<(RgbImage, Option<Orientation>), Cause> {
    let decoded = match options.decoder {
        Decoder::Pure => jpeg::decode(bytes, options.max_pixels)?,
        #[cfg(feature = "turbojpeg")]
        Decoder::TurboJpeg => turbo::decode(bytes, options.max_pixels)?,
        #[cfg(not(feature = "turbojpeg"))]
        Decoder::TurboJpeg => {
            return Err(Cause::Unsupported("this build has no decoder `turbojpeg` (cargo feature `turbojpeg`)".into()));
        }
    };
    let pixels = match decoded.colour {
        jpeg::Colour::Rgb => decoded.pixels,
        jpeg::Colour::Grey => decoded.pixels.iter().flat_map(|&v| [v; 3]).collect(),
        jpeg::Colour::Cmyk => cmyk::inverted_to_rgb(&decoded.pixels),
    };
    let orientation = jpeg::exif(bytes).and_then(Orientation::from_exif_chunk);
    Ok((rgb_image(decoded.width, decoded.height, pixels)?, orientation))
}

/// An image of these pixels.
fn rgb_image(width: usize, height: usize, pixels: Vec<u8>) -> Result<RgbImage, Cause> {
    u32::try_from(width)
        .ok()
        .zip(u32::try_from(height).ok())
        .and_then(|(w, h)| RgbImage::from_raw(w, h, pixels))
        .ok_or_else(|| Cause::corrupt("the number of pixels does not fit the size"))
}
