//! A JPEG decoder whose pixels equal Pillow's (libjpeg-turbo's default path) bit for bit.
//!
//! # Why there is a decoder here
//! Quantized networks amplify tiny differences of their input: two int8 logits are often equal, or one step apart, so
//! any decoder that rounds otherwise than PyTorch's users' decoder (Pillow) changes top-1 classes. Measured on 977
//! ImageNet validation images (957 of them 4:2:0) with torchvision's quantized MobileNetV2 on qnnpack, against
//! Pillow 13.0.0 with libjpeg-turbo 3.2.0 (`tools/decoder_report.py` repeats it):
//!
//! | decoder | bytes that differ | largest difference | top-1 classes changed |
//! |-|-|-|-|
//! | this module | 0 | 0 | 0 of 977 |
//! | `turbojpeg` 1.5.1 (the feature of that name) | 0 | 0 | 0 of 977 |
//! | `libjpeg-turbo-rs` 0.8.0 | 0 | 0 | 0 of 977 |
//! | `jpeg-decoder` 0.3.2 | 7.7 % | 4 | 33 (3.4 %) |
//! | `zune-jpeg` 0.5.15 | 15.0 % (16.7 % at 4:2:0, 1.0 % at 4:4:4) | 6 | 32 (3.3 %) |
//!
//! No option of `zune-jpeg` helps: its inverse DCT and its colour conversion round differently too, and its interface
//! gives samples only after both. `libjpeg-turbo-rs` is exact where it works, but panics on valid subsampled CMYK
//! files, and is large and full of `unsafe`. What is needed is small (Huffman decoding, one inverse DCT, four ways to
//! upsample, one colour matrix), so it is written here: in safe Rust, equal on every processor, and checked against
//! Pillow's pixels in `tests/`.
//!
//! # What is read
//! Baseline, extended and progressive Huffman-coded files with 8 bits a sample; 1, 3 or 4 components; any integral
//! sampling ratio; interleaved or not; restart intervals. Not read, and an error: arithmetic coding, lossless and
//! hierarchical files, 12 bits, fractional sampling ratios, heights given only by a DNL marker.
//!
//! libjpeg shows a grey rest, or noise, for some damaged files and only warns; here they are errors. A progressive file
//! whose last scans are missing is an error as well (libjpeg would smooth its blocks).

mod bits;
mod frame;
mod idct;
mod scan;
mod upsample;

use crate::Cause;
use frame::{Frame, Plane, Tables};

/// More scans than any encoder writes; a file of many empty scans would take forever.
const MAX_SCANS: usize = 100;

/// Colours of a decoded file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// One byte a pixel.
    Grey,
    /// Three bytes a pixel.
    Rgb,
    /// Four bytes a pixel, as the file has them (Adobe's files are inverted: 255 is no ink).
    Cmyk,
}

/// A decoded file.
pub struct Decoded {
    pub width: usize,
    pub height: usize,
    pub colour: Colour,
    /// Row by row, channels interleaved.
    pub pixels: Vec<u8>,
}

/// Decodes a JPEG file of at most `max_pixels` pixels.
///
/// # Errors
/// [`Cause::Truncated`], [`Cause::Corrupt`], [`Cause::Unsupported`], [`Cause::TooLarge`].
pub fn decode(data: &[u8], max_pixels: usize) -> Result<Decoded, Cause> {
    let file = File::read(data, max_pixels)?;
    let frame = file.frame.ok_or_else(|| Cause::corrupt("there is no frame header"))?;
    let mut planes = file.planes;
    finish_planes(&frame, &mut planes)?;
    Ok(assemble(&frame, &planes, file.model))
}

/// Contents of the first Exif segment (a TIFF header and what follows), if there is one before the picture's data.
pub fn exif(data: &[u8]) -> Option<&[u8]> {
    let mut pos = 2;
    loop {
        let (marker, segment, next) = next_segment(data, pos).ok()?;
        match marker {
            0xD9 | 0xDA => return None,
            0xE1 if segment.starts_with(b"Exif\0\0") => return segment.get(6..),
            _ => pos = next,
        }
    }
}

/// How the components are to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    Grey,
    Rgb,
    Ycc,
    Cmyk,
    Ycck,
}

struct File {
    frame: Option<Frame>,
    planes: Vec<Plane>,
    model: Model,
}

impl File {
    /// Reads all markers and scans.
    fn read(data: &[u8], max_pixels: usize) -> Result<Self, Cause> {
        let mut tables = Tables::default();
        let (mut jfif, mut adobe) = (false, None);
        let mut file = Self { frame: None, planes: Vec::new(), model: Model::Grey };
        let (mut pos, mut scans) = (2, 0);
        loop {
            let (marker, segment, next) = next_segment(data, pos)?;
            pos = next;
            match marker {
                0xC0..=0xC2 if file.frame.is_some() => return Err(Cause::corrupt("there are two frame headers")),
                0xC0..=0xC2 => {
                    let frame = Frame::parse(segment, marker == 0xC2, max_pixels)?;
                    file.planes = frame.planes();
                    file.frame = Some(frame);
                }
                0xC4 => tables.huffman(segment)?,
                0xDB => tables.quantization(segment)?,
                0xDD => {
                    let interval = segment.first_chunk().ok_or_else(|| Cause::corrupt("a DRI segment is too short"))?;
                    tables.restart_interval = u16::from_be_bytes(*interval).into();
                }
                0xE0 => jfif |= segment.starts_with(b"JFIF\0"),
                0xEE if segment.starts_with(b"Adobe") => adobe = segment.get(11).copied(),
                0xDA => {
                    scans += 1;
                    if scans > MAX_SCANS {
                        return Err(Cause::corrupt(format!("there are more than {MAX_SCANS} scans")));
                    }
                    let frame = file.frame.as_ref().ok_or_else(|| Cause::corrupt("a scan before the frame header"))?;
                    file.model = colour_model(frame, jfif, adobe);
                    pos = scan::decode_scan(data, pos, segment, frame, &mut file.planes, &tables)?;
                }
                0xD9 => return Ok(file),
                0xC9 | 0xCA => return Err(Cause::Unsupported("a JPEG with arithmetic coding is not supported".into())),
                0xC3 | 0xC5..=0xC7 | 0xCB | 0xCD..=0xCF => {
                    return Err(Cause::Unsupported("a lossless or hierarchical JPEG is not supported".into()));
                }
                0xDC => return Err(Cause::Unsupported("a JPEG with a DNL marker is not supported".into())),
                _ => {}
            }
        }
    }
}

/// The next marker from `pos` on, its contents, and where those end. Bytes between segments are skipped, as libjpeg does.
fn next_segment(data: &[u8], mut pos: usize) -> Result<(u8, &[u8], usize), Cause> {
    let ended = |what: &str| Cause::Truncated(format!("the file ends {what}"));
    let marker = loop {
        match data.get(pos..).and_then(|d| d.first_chunk::<2>()) {
            Some([0xFF, 1..=0xFE]) => break data[pos + 1],
            Some(_) => pos += 1,
            None => return Err(ended("without an end-of-image marker")),
        }
    };
    pos += 2;
    if matches!(marker, 0x01 | 0xD0..=0xD9) {
        return Ok((marker, &[], pos));
    }
    let inside = || ended("inside its headers");
    let length = data.get(pos..).and_then(|d| d.first_chunk()).ok_or_else(inside)?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length < 2 {
        return Err(Cause::corrupt(format!("segment 0xFF{marker:02X} has a length of {length}")));
    }
    let segment = data.get(pos + 2..pos + length).ok_or_else(inside)?;
    Ok((marker, segment, pos + length))
}

/// How libjpeg reads components: from JFIF's and Adobe's segments, else from the components' identifiers.
fn colour_model(frame: &Frame, jfif: bool, adobe: Option<u8>) -> Model {
    let ids: Vec<u8> = frame.components.iter().map(|c| c.id).collect();
    match (ids.as_slice(), adobe) {
        ([_], _) => Model::Grey,
        ([_, _, _], _) if jfif => Model::Ycc,
        ([_, _, _], Some(0)) | ([b'R', b'G', b'B'], None) => Model::Rgb,
        ([_, _, _], _) => Model::Ycc,
        (_, None | Some(0)) => Model::Cmyk,
        _ => Model::Ycck,
    }
}

/// Checks that every component has come, and runs the inverse DCT of progressive files.
fn finish_planes(frame: &Frame, planes: &mut [Plane]) -> Result<(), Cause> {
    for plane in planes {
        let Some(quant) = plane.quant else {
            return Err(Cause::corrupt("a component of the picture is missing"));
        };
        if !frame.progressive {
            continue;
        }
        // The coefficients from which libjpeg decides whether to smooth blocks.
        if plane.missing_bits[0] < 0 || plane.missing_bits[1..10].iter().any(|&b| b != 0) {
            return Err(Cause::Truncated("the last scans of this progressive JPEG are missing".into()));
        }
        for (i, block) in plane.coefficients.as_chunks::<64>().0.iter().enumerate() {
            let first = i / plane.blocks_x * 8 * plane.stride + i % plane.blocks_x * 8;
            idct::idct_block(block, &quant, &mut plane.samples[first..], plane.stride);
        }
        debug_assert_eq!(plane.coefficients.len(), plane.blocks_x * plane.blocks_y * 64);
        plane.coefficients = Vec::new();
    }
    Ok(())
}

/// Upsamples and converts colours, row by row.
fn assemble(frame: &Frame, planes: &[Plane], model: Model) -> Decoded {
    let (width, height) = (frame.width, frame.height);
    let channels = planes.len();
    let colour = match channels {
        1 => Colour::Grey,
        3 => Colour::Rgb,
        _ => Colour::Cmyk,
    };
    let mut pixels = vec![0; width * height * channels];
    let mut rows = vec![vec![0; width]; channels];
    for (y, out) in pixels.chunks_exact_mut(width * channels).enumerate() {
        for ((row, component), plane) in rows.iter_mut().zip(&frame.components).zip(planes) {
            upsample::upsample_row(frame, component, plane, y, row);
        }
        match (&rows[..], model) {
            ([grey], _) => out.copy_from_slice(grey),
            ([luma, cb, cr], Model::Ycc) => {
                let (out, _) = out.as_chunks_mut::<3>();
                for (((out, &y), &cb), &cr) in out.iter_mut().zip(luma).zip(cb).zip(cr) {
                    *out = upsample::ycc_to_rgb(y, cb, cr);
                }
            }
            ([luma, cb, cr, k], Model::Ycck) => {
                let (out, _) = out.as_chunks_mut::<4>();
                for ((((out, &y), &cb), &cr), &k) in out.iter_mut().zip(luma).zip(cb).zip(cr).zip(k) {
                    let [r, g, b] = upsample::ycc_to_rgb(y, cb, cr);
                    *out = [255 - r, 255 - g, 255 - b, k];
                }
            }
            (rows, _) => {
                for (c, row) in rows.iter().enumerate() {
                    out.iter_mut().skip(c).step_by(channels).zip(row).for_each(|(out, &v)| *out = v);
                }
            }
        }
    }
    Decoded { width, height, colour, pixels }
}
