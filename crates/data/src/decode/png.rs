//! PNG files, with Pillow's conversions to 8-bit RGB.

use std::io::{Cursor, ErrorKind};

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, Limits, RgbImage};

use super::rgb_image;
use crate::Cause;

/// Decodes a PNG file of at most `max_pixels` pixels, and reads its orientation.
///
/// # Errors
/// [`Cause::Truncated`], [`Cause::Corrupt`], [`Cause::TooLarge`].
pub fn decode(bytes: &[u8], max_pixels: usize) -> Result<(RgbImage, Option<Orientation>), Cause> {
    let mut limits = Limits::no_limits();
    // Eight bytes a pixel at most (16-bit RGBA), and as much again for the decoder's own rows and text chunks.
    limits.max_alloc = Some(max_pixels as u64 * 16);
    check_size(bytes, max_pixels)?;
    let mut decoder = PngDecoder::with_limits(Cursor::new(bytes), limits).map_err(cause)?;
    let (width, height) = decoder.dimensions();
    let orientation = decoder.exif_metadata().ok().flatten().and_then(|e| Orientation::from_exif_chunk(&e));
    let colour = decoder.color_type();
    let mut data = vec![0; usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX)];
    decoder.read_image(&mut data).map_err(cause)?;
    let pixels = to_rgb(colour, &data)?;
    Ok((rgb_image(width as usize, height as usize, pixels)?, orientation))
}

/// Checks the size in the first chunk before anything is allocated for it.
fn check_size(bytes: &[u8], limit: usize) -> Result<(), Cause> {
    let number = |at: usize| bytes.get(at..).and_then(|b| b.first_chunk()).map(|b| u32::from_be_bytes(*b) as usize);
    let short = || Cause::Truncated("the file ends inside its headers".into());
    let (width, height) = number(16).zip(number(20)).ok_or_else(short)?;
    if width.saturating_mul(height) > limit { Err(Cause::TooLarge { width, height, limit }) } else { Ok(()) }
}

/// 8-bit RGB of what the decoder gives (palettes are looked up, grey of 1, 2 and 4 bits is scaled; 16-bit samples come in
/// native order).
fn to_rgb(colour: ColorType, data: &[u8]) -> Result<Vec<u8>, Cause> {
    let wide = || data.as_chunks::<2>().0.iter().map(|&b| u16::from_ne_bytes(b));
    let grey = |samples: &mut dyn Iterator<Item = u8>| samples.flat_map(|v| [v; 3]).collect();
    Ok(match colour {
        ColorType::Rgb8 => data.to_vec(),
        ColorType::Rgba8 => data.as_chunks::<4>().0.iter().flat_map(|&[r, g, b, _]| [r, g, b]).collect(),
        ColorType::L8 => grey(&mut data.iter().copied()),
        ColorType::La8 => grey(&mut data.iter().copied().step_by(2)),
        ColorType::L16 => grey(&mut wide().map(|v| v.min(255) as u8)),
        ColorType::La16 => grey(&mut wide().step_by(2).map(|v| (v >> 8) as u8)),
        ColorType::Rgb16 => wide().map(|v| (v >> 8) as u8).collect(),
        ColorType::Rgba16 => wide().enumerate().filter(|(i, _)| i % 4 != 3).map(|(_, v)| (v >> 8) as u8).collect(),
        other => return Err(Cause::Unsupported(format!("a PNG with colour type {other:?} is not supported"))),
    })
}

/// The cause of a failure of the PNG decoder.
fn cause(error: ImageError) -> Cause {
    match error {
        ImageError::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => {
            Cause::Truncated("the file ends inside the picture's data".into())
        }
        ImageError::IoError(e) => Cause::corrupt(e.to_string()),
        ImageError::Limits(e) => Cause::corrupt(format!("it needs too much memory ({e})")),
        other => Cause::corrupt(other.to_string()),
    }
}
