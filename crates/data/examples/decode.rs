//! Writes the pixels of images as raw RGB, for `tools/decoder_report.py`.
//!
//! `decode DECODER OUT_FOLDER < list`: DECODER is `pure`, `turbojpeg` (feature of that name) or `zune` (for
//! comparison); `list` has a path a line. File number N (from 0) becomes `OUT_FOLDER/N.rgb`: width and height as
//! little-endian u32, then the pixels. A file that fails becomes `OUT_FOLDER/N.error` with the message.

use std::error::Error;
use std::io::stdin;
use std::path::Path;

use quantlens_data::{DecodeOptions, Decoder, decode_file};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::{colorspace::ColorSpace, options::DecoderOptions};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [decoder, folder] = arguments.as_slice() else {
        return Err("usage: decode pure|turbojpeg|zune OUT_FOLDER < list of paths".into());
    };
    let folder = Path::new(folder);
    std::fs::create_dir_all(folder)?;
    for (n, path) in stdin().lines().enumerate() {
        match decode(decoder, Path::new(&path?)) {
            Ok((width, height, pixels)) => {
                let size = [width, height].map(u32::to_le_bytes).concat();
                std::fs::write(folder.join(format!("{n}.rgb")), [size, pixels].concat())?;
            }
            Err(error) => std::fs::write(folder.join(format!("{n}.error")), error.to_string())?,
        }
    }
    Ok(())
}

/// Width, height and RGB pixels of a file.
fn decode(decoder: &str, path: &Path) -> Result<(u32, u32, Vec<u8>), Box<dyn Error>> {
    let decoder = match decoder {
        "pure" => Decoder::Pure,
        "turbojpeg" => Decoder::TurboJpeg,
        "zune" => {
            let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
            let bytes = std::fs::read(path)?;
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(&bytes), options);
            let pixels = decoder.decode()?;
            let info = decoder.info().ok_or("no header")?;
            return Ok((info.width.into(), info.height.into(), pixels));
        }
        other => return Err(format!("unknown decoder {other}").into()),
    };
    let image = decode_file(path, &DecodeOptions { decoder, ..DecodeOptions::default() })?;
    Ok((image.width(), image.height(), image.into_raw()))
}
