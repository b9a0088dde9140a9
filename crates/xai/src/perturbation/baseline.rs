//! What pixels are replaced by.

use std::fmt;
use std::str::FromStr;

use quantlens_tensor::{Layout, Tensor};

use crate::Error;
use crate::random::SplitMix64;

/// Side and standard deviation of the blur, in pixels: RISE's.
const BLUR: (usize, f64) = (11, 5.0);

/// How a picture's bytes become the network's input: (x / 255 - mean) / std, a channel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Normalization {
    /// Mean of R, G and B, of values from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation of each.
    pub std: [f32; 3],
}

/// The image that pixels are deleted to or inserted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Baseline {
    /// 0 in normalized space, which is the mean colour of the data that the normalization was made for.
    DatasetMean,
    /// Black pixels.
    Black,
    /// The image's own mean colour.
    ImageMean,
    /// The image blurred with an 11x11 Gaussian of standard deviation 5, edges mirrored: see [`gaussian_blur`].
    Blur,
    /// Bytes drawn by SplitMix64, each of 256 equally likely, from this seed and the image's id.
    Noise(u64),
}

impl Baseline {
    /// Whether it is the same for every image of one size, so that its score needs one forward pass a network.
    pub fn is_constant(self) -> bool {
        matches!(self, Self::DatasetMean | Self::Black)
    }

    /// The baseline of a normalized input, f32 `[1, 3, h, w]` NCHW or `[1, h, w, 3]` NHWC, in the same layout.
    /// `image_id` is what [`Baseline::Noise`] draws from.
    ///
    /// # Errors
    /// [`Error::Shape`] for other than one image of three channels, [`Error::Tensor`] for another type.
    pub fn image(self, input: &Tensor, normalization: &Normalization, image_id: &str) -> Result<Tensor, Error> {
        let [channels, h, w] = input.chw()?;
        input.as_f32()?;
        if channels != 3 || input.shape().dims()[0] != 1 || h * w == 0 {
            return Err(Error::Shape { found: input.shape().to_string() });
        }
        let planes = match self {
            Self::Blur => return gaussian_blur(input, BLUR.0, BLUR.1),
            Self::DatasetMean => constant([0.0; 3], h * w),
            Self::Black => constant([0, 1, 2].map(|c| byte(0, c, normalization)), h * w),
            Self::ImageMean => {
                let nchw = input.to_layout(Layout::Nchw)?;
                let planes = nchw.as_f32()?.chunks_exact(h * w);
                let means = planes.map(|p| p.iter().map(|&x| f64::from(x)).sum::<f64>() / (h * w) as f64);
                means.flat_map(|mean| vec![mean as f32; h * w]).collect()
            }
            Self::Noise(seed) => noise(SplitMix64::named(seed, image_id), h * w, normalization),
        };
        Ok(Tensor::new(planes, [1, 3, h, w], Layout::Nchw)?.to_layout(input.layout())?)
    }
}

/// A byte of a channel as the preprocessing normalizes it, each step rounded to f32.
fn byte(value: u8, channel: usize, n: &Normalization) -> f32 {
    (f32::from(value) / 255.0 - n.mean[channel]) / n.std[channel]
}

fn constant(values: [f32; 3], positions: usize) -> Vec<f32> {
    values.into_iter().flat_map(|value| vec![value; positions]).collect()
}

/// Planes of random bytes, drawn by pixel: R, G, B of the first, then of the next, the upper byte of a number each.
fn noise(mut numbers: SplitMix64, positions: usize, n: &Normalization) -> Vec<f32> {
    let mut planes = vec![0.0; 3 * positions];
    for pixel in 0..positions {
        for channel in 0..3 {
            planes[channel * positions + pixel] = byte((numbers.next() >> 56) as u8, channel, n);
        }
    }
    planes
}

/// An f32 activation `[1, c, h, w]` (or NHWC) convolved with a Gaussian of `size` by `size` pixels (odd) and standard
/// deviation `sigma`, edges mirrored without repeating the last pixel: torchvision's `gaussian_blur` and, within
/// rounding, `cv2.GaussianBlur`. (RISE's own blur has zeros outside the image instead, which darkens its edges.)
///
/// # Errors
/// [`Error::Shape`] for an empty tensor, [`Error::Tensor`] for another type or layout, [`Error::Length`] for an even size.
pub fn gaussian_blur(input: &Tensor, size: usize, sigma: f64) -> Result<Tensor, Error> {
    let [_, h, w] = input.chw()?;
    if size.is_multiple_of(2) {
        return Err(Error::Length { what: "side of a blur, which is odd", expected: size + 1, found: size });
    }
    if input.shape().elements() == 0 {
        return Err(Error::Shape { found: input.shape().to_string() });
    }
    let nchw = input.to_layout(Layout::Nchw)?;
    let kernel = gaussian(size, sigma);
    let (columns, rows) = (mirrored(w, size / 2), mirrored(h, size / 2));
    let mut out = Vec::with_capacity(input.shape().elements());
    let mut wide = vec![0f32; h * w];
    for plane in nchw.as_f32()?.chunks_exact(h * w) {
        for (row, wide) in plane.chunks_exact(w).zip(wide.chunks_exact_mut(w)) {
            for (x, wide) in wide.iter_mut().enumerate() {
                *wide = columns[x..x + size].iter().zip(&kernel).map(|(&i, k)| row[i] * k).sum();
            }
        }
        for y in 0..h {
            let start = out.len();
            out.resize(start + w, 0f32);
            for (&row, k) in rows[y..y + size].iter().zip(&kernel) {
                out[start..].iter_mut().zip(&wide[row * w..]).for_each(|(out, x)| *out += x * k);
            }
        }
    }
    let blurred = Tensor::new(out, nchw.shape().clone(), Layout::Nchw)?;
    Ok(blurred.to_layout(input.layout())?)
}

/// exp(-x^2 / (2 sigma^2)) at whole numbers around 0, divided by the sum.
fn gaussian(size: usize, sigma: f64) -> Vec<f32> {
    let half = (size / 2) as f64;
    let values: Vec<f64> = (0..size).map(|i| (-0.5 * ((i as f64 - half) / sigma).powi(2)).exp()).collect();
    let sum: f64 = values.iter().sum();
    values.into_iter().map(|v| (v / sum) as f32).collect()
}

/// The indices -margin to n + margin - 1, mirrored at 0 and n - 1 until they lie inside.
fn mirrored(n: usize, margin: usize) -> Vec<usize> {
    let period = (2 * (n - 1)).max(1) as isize;
    let fold = |i: isize| {
        let i = i.rem_euclid(period) as usize;
        if n == 1 { 0 } else { i.min(period as usize - i) }
    };
    (-(margin as isize)..(n + margin) as isize).map(fold).collect()
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatasetMean => f.write_str("dataset-mean"),
            Self::Black => f.write_str("black"),
            Self::ImageMean => f.write_str("image-mean"),
            Self::Blur => f.write_str("blur"),
            Self::Noise(seed) => write!(f, "noise:{seed}"),
        }
    }
}

impl FromStr for Baseline {
    type Err = Error;

    /// `dataset-mean`, `black`, `image-mean`, `blur`, `noise:SEED` (or `noise`, which is seed 0).
    fn from_str(s: &str) -> Result<Self, Error> {
        match s {
            "dataset-mean" => Ok(Self::DatasetMean),
            "black" => Ok(Self::Black),
            "image-mean" => Ok(Self::ImageMean),
            "blur" => Ok(Self::Blur),
            "noise" => Ok(Self::Noise(0)),
            _ => {
                let seed = s.strip_prefix("noise:").and_then(|n| n.parse().ok());
                seed.map(Self::Noise).ok_or_else(|| Error::UnknownBaseline(s.to_string()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGENET: Normalization = Normalization { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };

    #[test]
    fn edges_mirror() {
        assert_eq!(mirrored(4, 2), [2, 1, 0, 1, 2, 3, 2, 1]);
        assert_eq!(mirrored(2, 3), [1, 0, 1, 0, 1, 0, 1, 0]);
        assert_eq!(mirrored(1, 2), [0; 5]);
    }

    #[test]
    fn colours_keep_the_layout() {
        let values: Vec<f32> = (0..24).map(|i| i as f32).collect();
        let nchw = Tensor::new(values, [1, 3, 2, 4], Layout::Nchw).unwrap();
        let nhwc = nchw.to_layout(Layout::Nhwc).unwrap();
        let all = [Baseline::DatasetMean, Baseline::Black, Baseline::ImageMean, Baseline::Blur, Baseline::Noise(3)];
        for baseline in all {
            let of = |t: &Tensor| baseline.image(t, &IMAGENET, "a.jpg").unwrap();
            assert_eq!(of(&nchw).to_layout(Layout::Nhwc).unwrap(), of(&nhwc), "{baseline}");
            assert_eq!(baseline.to_string().parse(), Ok(baseline));
        }
        let mean = Baseline::ImageMean.image(&nhwc, &IMAGENET, "").unwrap();
        assert_eq!(mean.as_f32().unwrap()[..4], [3.5, 11.5, 19.5, 3.5]);
        let black = Baseline::Black.image(&nhwc, &IMAGENET, "").unwrap();
        assert_eq!(black.as_f32().unwrap()[2], -0.406f32 / 0.225);
        assert!(Baseline::Blur.image(&nhwc.to_f16(), &IMAGENET, "").is_err());
        assert_eq!("grey".parse::<Baseline>(), Err(Error::UnknownBaseline("grey".into())));
    }

    #[test]
    fn noise_depends_on_seed_and_image_alone() {
        let blank = Tensor::new(vec![0f32; 3 * 1000], [1, 3, 25, 40], Layout::Nchw).unwrap();
        let noise = |seed, id: &str| Baseline::Noise(seed).image(&blank, &IMAGENET, id).unwrap();
        assert_eq!(noise(1, "a"), noise(1, "a"));
        assert!(noise(1, "a") != noise(2, "a") && noise(1, "a") != noise(1, "b"));
        let bytes = |t: &Tensor| -> f32 { t.as_f32().unwrap()[..1000].iter().sum::<f32>() / 1000.0 * 0.229 + 0.485 };
        // Uniform bytes have mean 1/2 and deviation 0.29: of 1000 within 0.037 at four standard deviations.
        assert!((bytes(&noise(1, "a")) - 0.5).abs() < 0.037);
    }
}
