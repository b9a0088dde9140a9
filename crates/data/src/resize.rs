//! Pillow's resize, bit for bit.
//!
//! Separable: a horizontal and a vertical pass, each rounded to bytes; [`vertical_first`] says in which order. The filter is widened by the reduction ratio
//! (antialias). Weights are computed in double precision, normalized, and used with 22 fraction bits, as in Pillow's
//! `Resample.c` for 8-bit images. Only the wanted region of the result is computed, so that a crop of an
//! extremely long picture needs no more memory than the crop.

use std::ops::Range;

use image::RgbImage;
use quantlens_kernels::{PictureResize, PictureTaps};

/// How a new pixel is made from old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Interpolation {
    /// The pixel that the new pixel's centre lies in.
    Nearest,
    /// Triangle filter of radius 1: torchvision's default.
    #[default]
    Bilinear,
    /// Keys' cubic filter with a = -0.5, radius 2.
    Bicubic,
}

impl Interpolation {
    fn radius(self) -> f64 {
        if self == Self::Bicubic { 2.0 } else { 1.0 }
    }

    fn weight(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Bilinear if x < 1.0 => 1.0 - x,
            _ => 0.0,
        }
    }
}

/// Resizes to `width` by `height` pixels as Pillow's `Image.resize((width, height), BILINEAR)`.
///
/// A side of 0 is taken as 1.
pub fn resize_bilinear(image: &RgbImage, width: u32, height: u32) -> RgbImage {
    resize(image, width, height, Interpolation::Bilinear)
}

/// Resizes to `width` by `height` pixels as Pillow's `Image.resize` with that filter.
///
/// A side of 0 is taken as 1.
pub fn resize(image: &RgbImage, width: u32, height: u32, interpolation: Interpolation) -> RgbImage {
    let (width, height) = (width.max(1), height.max(1));
    resize_region(image, [width, height], 0..width, 0..height, interpolation)
}

/// The columns `xs` and rows `ys` of the picture resized to `size` (width, height).
pub(crate) fn resize_region(
    image: &RgbImage,
    size: [u32; 2],
    xs: Range<u32>,
    ys: Range<u32>,
    interpolation: Interpolation,
) -> RgbImage {
    let (width, height) = image.dimensions();
    if width == 0 || height == 0 {
        return RgbImage::new(xs.end - xs.start, ys.end - ys.start);
    }
    if interpolation == Interpolation::Nearest {
        return nearest(image, size, xs, ys);
    }
    let columns = (size[0] != width).then(|| taps(width, size[0], xs.clone(), interpolation));
    let rows = (size[1] != height).then(|| taps(height, size[1], ys.clone(), interpolation));
    // The part of the source that is read.
    let reach = |taps: &PictureTaps| taps.reach().start as u32..taps.reach().end as u32;
    let source_xs = columns.as_ref().map_or(xs, reach);
    let source_ys = rows.as_ref().map_or(ys, reach);
    let columns = columns.map(|taps| taps.from(source_xs.start as usize));
    let rows = rows.map(|taps| taps.from(source_ys.start as usize));
    let source = crop(image, source_xs, source_ys);
    let horizontally = |image| match &columns {
        None => image,
        Some(columns) => horizontal(&image, columns),
    };
    let vertically = |image| match &rows {
        None => image,
        Some(rows) => vertical(&image, rows),
    };
    if vertical_first([width, height], size) {
        horizontally(vertically(source))
    } else {
        vertically(horizontally(source))
    }
}

/// Which pass Pillow starts with, which shows in the last bit: the vertical one where the height loses more than twice the
/// pixels that the width loses. So it is since Pillow 13.0; before, the horizontal pass always came first. (Found by
/// comparing with Pillow 13.0.0 at a thousand random sizes.)
fn vertical_first(old: [u32; 2], new: [u32; 2]) -> bool {
    let lost = |i: usize| i64::from(old[i]) - i64::from(new[i]);
    lost(1) > 0 && lost(1) > 2 * lost(0)
}

/// A copy of a region.
pub(crate) fn crop(image: &RgbImage, xs: Range<u32>, ys: Range<u32>) -> RgbImage {
    let (xs, stride) = (3 * xs.start as usize..3 * xs.end as usize, 3 * image.width() as usize);
    let mut out = RgbImage::new((xs.len() / 3) as u32, ys.end - ys.start);
    let rows = image.as_raw().chunks_exact(stride.max(1)).skip(ys.start as usize);
    out.chunks_exact_mut(xs.len().max(1)).zip(rows).for_each(|(out, row)| out.copy_from_slice(&row[xs.clone()]));
    out
}

/// The taps of the new pixels `wanted` when `old` pixels become `new`.
fn taps(old: u32, new: u32, wanted: Range<u32>, interpolation: Interpolation) -> PictureTaps {
    let scale = f64::from(old) / f64::from(new);
    let widening = scale.max(1.0);
    let support = interpolation.radius() * widening;
    let inverse = 1.0 / widening;
    let mut taps = PictureTaps::new();
    for i in wanted {
        let centre = (f64::from(i) + 0.5) * scale;
        // `as` drops the fraction, and takes a negative number to 0.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(old as usize);
        let weights: Vec<f64> =
            (first..end).map(|x| interpolation.weight((x as f64 - centre + 0.5) * inverse)).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: f64| {
            let w = if sum == 0.0 { w } else { w / sum } * f64::from(1u32 << PictureTaps::FRACTION_BITS);
            (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
        };
        taps.push(first, weights.into_iter().map(fixed));
    }
    taps
}

/// The horizontal pass.
fn horizontal(image: &RgbImage, columns: &PictureTaps) -> RgbImage {
    let mut out = RgbImage::new(columns.len() as u32, image.height());
    PictureResize::default().columns(image.as_raw(), image.width() as usize, columns, &mut out);
    out
}

/// The vertical pass.
fn vertical(image: &RgbImage, rows: &PictureTaps) -> RgbImage {
    let mut out = RgbImage::new(image.width(), rows.len() as u32);
    PictureResize::default().rows(image.as_raw(), image.width() as usize * 3, rows, &mut out);
    out
}

/// Nearest neighbour: the old pixel under the new one's centre, found by repeated addition as Pillow does.
fn nearest(image: &RgbImage, size: [u32; 2], xs: Range<u32>, ys: Range<u32>) -> RgbImage {
    let positions = |old: u32, new: u32, wanted: Range<u32>| -> Vec<u32> {
        let scale = f64::from(old) / f64::from(new);
        let mut at = scale * 0.5;
        let mut all = Vec::new();
        for i in 0..wanted.end {
            if i >= wanted.start {
                all.push((at as u32).min(old - 1));
            }
            at += scale;
        }
        all
    };
    let columns = positions(image.width(), size[0], xs);
    let rows = positions(image.height(), size[1], ys);
    RgbImage::from_fn(columns.len() as u32, rows.len() as u32, |x, y| {
        *image.get_pixel(columns[x as usize], rows[y as usize])
    })
}
