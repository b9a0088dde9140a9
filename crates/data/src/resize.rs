//! Pillow's resize, bit for bit.
//!
//! Separable: a horizontal and a vertical pass, each rounded to bytes; [`vertical_first`] says in which order. The filter is widened by the reduction ratio
//! (antialias). Weights are computed in double precision, normalized, and used with 22 fraction bits, as in Pillow's
//! `Resample.c` for 8-bit images. Only the wanted region of the result is computed, so that a crop of an
//! extremely long picture needs no more memory than the crop.

use std::ops::Range;

use image::RgbImage;

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
    let source_xs = columns.as_deref().map_or(xs, reach);
    let source_ys = rows.as_deref().map_or(ys, reach);
    let source = crop(image, source_xs.clone(), source_ys.clone());
    let horizontally = |image| match &columns {
        None => image,
        Some(columns) => horizontal(&image, columns, source_xs.start as usize),
    };
    let vertically = |image| match &rows {
        None => image,
        Some(rows) => vertical(&image, rows, source_ys.start as usize),
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

/// The old pixels that these taps read.
fn reach(taps: &[Taps]) -> Range<u32> {
    let first = taps.iter().map(|t| t.first).min().unwrap_or(0);
    let end = taps.iter().map(|t| t.first + t.weights.len()).max().unwrap_or(0);
    first as u32..end as u32
}

/// A copy of a region.
pub(crate) fn crop(image: &RgbImage, xs: Range<u32>, ys: Range<u32>) -> RgbImage {
    image::imageops::crop_imm(image, xs.start, ys.start, xs.end - xs.start, ys.end - ys.start).to_image()
}

/// The old pixels that one new pixel is made from.
struct Taps {
    first: usize,
    /// With 22 fraction bits.
    weights: Vec<i32>,
}

/// Fraction bits of the weights: 32 less 8 for the byte and 2 for the sum's overshoot.
const PRECISION: u32 = 32 - 8 - 2;

/// The taps of the new pixels `wanted` when `old` pixels become `new`.
fn taps(old: u32, new: u32, wanted: Range<u32>, interpolation: Interpolation) -> Vec<Taps> {
    let scale = f64::from(old) / f64::from(new);
    let widening = scale.max(1.0);
    let support = interpolation.radius() * widening;
    let inverse = 1.0 / widening;
    let one = |i: u32| {
        let centre = (f64::from(i) + 0.5) * scale;
        // `as` drops the fraction, and takes a negative number to 0.
        let first = (centre - support + 0.5) as usize;
        let end = ((centre + support + 0.5) as usize).min(old as usize);
        let weights: Vec<f64> =
            (first..end).map(|x| interpolation.weight((x as f64 - centre + 0.5) * inverse)).collect();
        let sum: f64 = weights.iter().sum();
        let fixed = |w: f64| {
            let w = if sum == 0.0 { w } else { w / sum } * f64::from(1u32 << PRECISION);
            (if w < 0.0 { w - 0.5 } else { w + 0.5 }) as i32
        };
        Taps { first, weights: weights.into_iter().map(fixed).collect() }
    };
    wanted.map(one).collect()
}

/// A sum of weighted bytes, rounded and clamped.
#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> PRECISION).clamp(0, 255) as u8
}

const HALF: i32 = 1 << (PRECISION - 1);

/// The horizontal pass; `image` starts at column `left` of the picture.
fn horizontal(image: &RgbImage, columns: &[Taps], left: usize) -> RgbImage {
    let stride = image.width() as usize * 3;
    let mut out = RgbImage::new(columns.len() as u32, image.height());
    for (row, out) in image.as_raw().chunks_exact(stride).zip(out.chunks_exact_mut(columns.len() * 3)) {
        for (taps, pixel) in columns.iter().zip(out.as_chunks_mut::<3>().0) {
            let mut sums = [HALF; 3];
            for (old, &weight) in row[(taps.first - left) * 3..].as_chunks::<3>().0.iter().zip(&taps.weights) {
                for (sum, &value) in sums.iter_mut().zip(old) {
                    *sum = sum.wrapping_add(i32::from(value).wrapping_mul(weight));
                }
            }
            *pixel = sums.map(to_byte);
        }
    }
    out
}

/// The vertical pass; `image` starts at row `top` of the picture.
fn vertical(image: &RgbImage, rows: &[Taps], top: usize) -> RgbImage {
    let stride = image.width() as usize * 3;
    let mut out = RgbImage::new(image.width(), rows.len() as u32);
    let mut sums = vec![0i32; stride];
    for (taps, out) in rows.iter().zip(out.chunks_exact_mut(stride)) {
        sums.fill(HALF);
        let old = image.as_raw().chunks_exact(stride).skip(taps.first - top);
        for (row, &weight) in old.zip(&taps.weights) {
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum = sum.wrapping_add(i32::from(value).wrapping_mul(weight));
            }
        }
        out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = to_byte(sum));
    }
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
