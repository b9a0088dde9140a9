//! JPEG files through libjpeg-turbo (feature `turbojpeg`).

use turbojpeg::{Colorspace, Decompressor, Image, PixelFormat};

use crate::Cause;
use crate::jpeg::{Colour, Decoded};

/// Decodes a JPEG file of at most `max_pixels` pixels.
///
/// # Errors
/// What libjpeg-turbo refuses, and its warnings too (a grey rest, lost restart markers), but for bytes between segments.
pub fn decode(data: &[u8], max_pixels: usize) -> Result<Decoded, Cause> {
    let mut decompressor = Decompressor::new().map_err(cause)?;
    let header = decompressor.read_header(data).map_err(cause)?;
    let (width, height) = (header.width, header.height);
    if width.saturating_mul(height) > max_pixels {
        return Err(Cause::TooLarge { width, height, limit: max_pixels });
    }
    let (colour, format) = match header.colorspace {
        Colorspace::Gray => (Colour::Grey, PixelFormat::GRAY),
        Colorspace::CMYK | Colorspace::YCCK => (Colour::Cmyk, PixelFormat::CMYK),
        _ => (Colour::Rgb, PixelFormat::RGB),
    };
    let pitch = width * format.size();
    let mut pixels = vec![0; pitch * height];
    let image = Image { pixels: &mut pixels[..], width, pitch, height, format };
    match decompressor.decompress(data, image) {
        Err(error) if !error.to_string().contains("extraneous bytes before marker") => Err(cause(error)),
        _ => Ok(Decoded { width, height, colour, pixels }),
    }
}

fn cause(error: turbojpeg::Error) -> Cause {
    let message = error.to_string();
    if message.contains("Premature end") { Cause::Truncated(message) } else { Cause::Corrupt(message) }
}
