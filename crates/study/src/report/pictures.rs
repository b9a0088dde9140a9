//! Pictures for the report: the networks' input crops, maps over them, boxes, and their JPEG and PNG bytes.

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder};
use quantlens_data::{Preprocess, RgbImage};

use crate::Error;
use crate::run::{StudyConfig, input_preprocess};

/// A colour map as evenly spaced colours, between which is interpolated.
pub(super) type Colours = [[u8; 3]; 9];

/// matplotlib's viridis: even steps for the eye, and for every kind of colour vision.
pub(super) const VIRIDIS: Colours = [
    [68, 1, 84],
    [71, 45, 123],
    [59, 82, 139],
    [44, 114, 142],
    [33, 145, 140],
    [40, 174, 128],
    [94, 201, 98],
    [173, 220, 48],
    [253, 231, 37],
];

/// matplotlib's inferno.
pub(super) const INFERNO: Colours = [
    [0, 0, 4],
    [33, 12, 74],
    [87, 16, 110],
    [138, 34, 106],
    [188, 55, 84],
    [228, 90, 49],
    [249, 142, 9],
    [249, 203, 53],
    [252, 255, 164],
];

/// Grey.
pub(super) const GREY: Colours = [
    [0, 0, 0],
    [32, 32, 32],
    [64, 64, 64],
    [96, 96, 96],
    [128, 128, 128],
    [159, 159, 159],
    [191, 191, 191],
    [223, 223, 223],
    [255, 255, 255],
];

/// The colour of a value from 0 to 1.
pub(super) fn colour(map: &Colours, x: f32) -> [u8; 3] {
    let place = x.clamp(0.0, 1.0) * (map.len() - 1) as f32;
    let below = (place as usize).min(map.len() - 2);
    let t = place - below as f32;
    let mix = |c: usize| f32::from(map[below][c]) * (1.0 - t) + f32::from(map[below + 1][c]) * t;
    [0, 1, 2].map(|c| mix(c).round() as u8)
}

/// The picture half covered by a map's colours.
pub(super) fn covered(picture: &RgbImage, map: &[f32]) -> RgbImage {
    let mut out = picture.clone();
    for (pixel, &x) in out.pixels_mut().zip(map) {
        let over = colour(&VIRIDIS, x);
        pixel.0 = [0, 1, 2].map(|c| u16::midpoint(u16::from(pixel.0[c]), u16::from(over[c])) as u8);
    }
    out
}

/// A line of a box: colour, and whether it is broken.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub colour: [u8; 3],
    pub dashed: bool,
}

/// Okabe and Ito's blue, vermilion and grey: told apart by every kind of colour vision, and by dashes.
pub(super) const RIGHT: Line = Line { colour: [86, 180, 233], dashed: false };
pub(super) const WRONG: Line = Line { colour: [240, 130, 30], dashed: true };
pub(super) const UNKNOWN: Line = Line { colour: [255, 255, 255], dashed: false };
pub(super) const TRUTH: Line = Line { colour: [255, 255, 255], dashed: false };

impl Line {
    /// The line of a prediction.
    pub fn of(right: Option<bool>) -> Self {
        right.map_or(UNKNOWN, |right| if right { RIGHT } else { WRONG })
    }
}

/// Draws a box's outline, two pixels of colour between one of black on each side. What lies outside is left out.
pub(super) fn outline(picture: &mut RgbImage, [x0, y0, x1, y1]: [f64; 4], line: Line) {
    let (w, h) = (i64::from(picture.width()), i64::from(picture.height()));
    let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(|v| v.round() as i64);
    for y in (y0 - 1).max(0)..=(y1 + 1).min(h - 1) {
        for x in (x0 - 1).max(0)..=(x1 + 1).min(w - 1) {
            let depth = (x - x0).min(x1 - x).min(y - y0).min(y1 - y);
            let along = if (x - x0).min(x1 - x) < (y - y0).min(y1 - y) { y } else { x };
            let gap = line.dashed && along.rem_euclid(9) >= 6;
            match depth {
                0 | 1 if !gap => picture.put_pixel(x as u32, y as u32, image::Rgb(line.colour)),
                -1..=2 => picture.put_pixel(x as u32, y as u32, image::Rgb([0; 3])),
                _ => {}
            }
        }
    }
}

/// Rows of pictures of one size on white, a gap between.
pub(super) fn sheet(rows: &[[RgbImage; 3]]) -> Option<RgbImage> {
    const GAP: u32 = 6;
    let (w, h) = rows.first()?[0].dimensions();
    let width = 3 * w + 2 * GAP;
    let height = rows.len() as u32 * (h + GAP) - GAP;
    let mut out = RgbImage::from_pixel(width, height, image::Rgb([255; 3]));
    for (row, pictures) in rows.iter().enumerate() {
        for (column, picture) in pictures.iter().enumerate() {
            let (x, y) = (column as u32 * (w + GAP), row as u32 * (h + GAP));
            image::imageops::replace(&mut out, picture, x.into(), y.into());
        }
    }
    Some(out)
}

/// A picture as PNG.
pub(super) fn png(picture: &RgbImage) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    let (w, h) = picture.dimensions();
    PngEncoder::new(&mut bytes)
        .write_image(picture, w, h, ExtendedColorType::Rgb8)
        .map_err(|e| Error::Settings(format!("a picture of {w}x{h} cannot be written as PNG: {e}")))?;
    Ok(bytes)
}

/// A picture as JPEG of this quality, in base 64.
pub(super) fn jpeg(picture: &RgbImage, quality: u8) -> Result<String, Error> {
    let mut bytes = Vec::new();
    let (w, h) = picture.dimensions();
    JpegEncoder::new_with_quality(&mut bytes, quality)
        .write_image(picture, w, h, ExtendedColorType::Rgb8)
        .map_err(|e| Error::Settings(format!("a picture of {w}x{h} cannot be written as JPEG: {e}")))?;
    Ok(base64(&bytes))
}

/// Base 64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, &b| word << 8 | u32::from(b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

/// The networks' input crops.
pub(super) struct Crops<'a> {
    config: &'a StudyConfig,
    /// By pair: how its float network's input is made.
    preprocess: Vec<Preprocess>,
}

impl<'a> Crops<'a> {
    /// # Errors
    /// Models that want inputs of different sizes.
    pub fn new(config: &'a StudyConfig) -> Result<Self, Error> {
        Ok(Self { config, preprocess: input_preprocess(config)? })
    }

    /// The first pair whose crops are those of this pair: they need be stored once.
    pub fn like(&self, pair: usize) -> usize {
        let same = |p: &Preprocess| {
            let own = &self.preprocess[pair];
            (p.resize, p.crop, p.interpolation, p.geometry) == (own.resize, own.crop, own.interpolation, own.geometry)
        };
        self.preprocess.iter().position(same).unwrap_or(pair)
    }

    /// An image's crop; none where it cannot be read (any more).
    pub fn read(&self, pair: usize, place: u64) -> Option<RgbImage> {
        let sample = self.config.dataset.samples.get(usize::try_from(place).ok()?)?;
        let picture = sample.read(&self.config.decode).ok()?;
        Some(self.preprocess[pair].rgb(&picture))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_rfc_4648() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        cases.iter().for_each(|(text, expected)| assert_eq!(base64(text.as_bytes()), *expected));
        assert_eq!(base64(&[255, 254, 253]), "//79");
    }

    #[test]
    fn colours_meet_their_ends() {
        assert_eq!((colour(&VIRIDIS, 0.0), colour(&VIRIDIS, 1.0)), ([68, 1, 84], [253, 231, 37]));
        assert_eq!((colour(&VIRIDIS, 0.5), colour(&GREY, 0.5)), ([33, 145, 140], [128; 3]));
        assert_eq!(colour(&INFERNO, 1.0 / 16.0), [17, 6, 39]);
        assert_eq!(colour(&GREY, f32::NAN), [0; 3]);
    }

    #[test]
    fn outlines_stay_inside() {
        let mut picture = RgbImage::from_pixel(12, 10, image::Rgb([9; 3]));
        outline(&mut picture, [2.0, 2.0, 30.0, 8.0], RIGHT);
        let at = |x, y| picture.get_pixel(x, y).0;
        assert_eq!(
            (at(2, 5), at(3, 3), at(1, 5), at(4, 5), at(6, 1)),
            (RIGHT.colour, RIGHT.colour, [0; 3], [0; 3], [0; 3])
        );
        assert_eq!((at(0, 0), at(0, 9), at(11, 5)), ([9; 3], [9; 3], [9; 3]));
        outline(&mut picture, [-50.0, -50.0, 1e9, f64::NAN], WRONG);
    }

    #[test]
    fn sheets_have_gaps() {
        let picture = |v| RgbImage::from_pixel(2, 3, image::Rgb([v; 3]));
        let rows = [[picture(1), picture(2), picture(3)], [picture(4), picture(5), picture(6)]];
        let out = sheet(&rows).unwrap();
        assert_eq!(out.dimensions(), (18, 12));
        assert_eq!((out.get_pixel(17, 11).0, out.get_pixel(2, 0).0, out.get_pixel(8, 2).0), ([6; 3], [255; 3], [2; 3]));
        assert!(sheet(&[]).is_none());
    }
}
