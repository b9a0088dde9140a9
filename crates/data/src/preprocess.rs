//! From a decoded picture to the network's input: torchvision's ImageNet transform, bit for bit.

use std::ops::Range;

use image::RgbImage;
use quantlens_tensor::{Layout, Tensor};

use crate::resize::{self, Interpolation};
use crate::{BBox, Error};

/// How a picture becomes one of the network's input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Geometry {
    /// The shorter side is resized, keeping the shape, then the centre is cut out: torchvision's.
    #[default]
    ResizeCrop,
    /// Both sides are resized to the input size, so that everything is seen, distorted: wsolevaluation's.
    Stretch,
}

/// Preprocessing of one network.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Length of the shorter side after resizing, in pixels; none: no resize. Unused by [`Geometry::Stretch`].
    pub resize: Option<u32>,
    /// Height and width of the network's input, in pixels.
    pub crop: [usize; 2],
    /// How pixels are resized.
    pub interpolation: Interpolation,
    /// Subtracted from R, G and B after these have been divided by 255.
    pub mean: [f32; 3],
    /// Divisors after that.
    pub std: [f32; 3],
    /// How the picture becomes one of the input size.
    pub geometry: Geometry,
}

impl Default for Preprocess {
    fn default() -> Self {
        Self::imagenet()
    }
}

/// Where the pixels of the result come from, along one side of the picture.
struct Side {
    /// Length of the picture's side after resizing.
    resized: u32,
    /// The part of that which is kept.
    kept: Range<u32>,
    /// Where that part begins in the result; more than 0 where the picture is smaller than the crop.
    start: u32,
}

impl Preprocess {
    /// torchvision's transform for ImageNet: shorter side to 256, centre 224x224, bilinear.
    pub fn imagenet() -> Self {
        Self {
            resize: Some(256),
            crop: [224, 224],
            interpolation: Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
            geometry: Geometry::ResizeCrop,
        }
    }

    /// Checks that this can be done.
    ///
    /// # Errors
    /// [`Error::Preprocess`] for sizes of 0 or above 16384, a mean that is not finite, a std that is not finite and positive.
    pub fn check(&self) -> Result<(), Error> {
        let size_ok = |n: usize| (1..=16384).contains(&n);
        if !self.crop.into_iter().all(size_ok) || !self.resize.is_none_or(|r| size_ok(r as usize)) {
            let [h, w] = self.crop;
            let resize = self.resize.map_or("none".into(), |r| r.to_string());
            return Err(Error::Preprocess(format!("resize {resize} and crop {h}x{w} must be from 1 to 16384")));
        }
        if !self.mean.iter().all(|m| m.is_finite()) || !self.std.iter().all(|&s| s.is_finite() && s > 0.0) {
            let (mean, std) = (self.mean, self.std);
            return Err(Error::Preprocess(format!("mean {mean:?} must be finite, std {std:?} finite and positive")));
        }
        Ok(())
    }

    /// The picture resized and cropped to the input size (`crop`), as torchvision's `Resize` and `CenterCrop` do it on a
    /// Pillow image. A picture smaller than the crop is surrounded with black.
    pub fn rgb(&self, image: &RgbImage) -> RgbImage {
        let [x, y] = self.sides(image.width(), image.height());
        let kept = resize::resize_region(image, [x.resized, y.resized], x.kept, y.kept, self.interpolation);
        let size = self.size();
        if kept.dimensions() == (size[0], size[1]) {
            return kept;
        }
        let mut padded = RgbImage::new(size[0], size[1]);
        image::imageops::replace(&mut padded, &kept, x.start.into(), y.start.into());
        padded
    }

    /// A picture of the input size (what [`Self::rgb`] gives) as an f32 tensor, shape `[1, 3, h, w]`: x / 255, less the mean,
    /// divided by std, each step rounded to f32 as torchvision's `ToTensor` and `Normalize` do.
    pub fn tensor(&self, rgb: &RgbImage) -> Tensor {
        let (width, height) = (rgb.width() as usize, rgb.height() as usize);
        let mut values = vec![0f32; 3 * width * height];
        for (c, plane) in values.chunks_exact_mut((width * height).max(1)).enumerate() {
            let table: [f32; 256] = std::array::from_fn(|v| (v as f32 / 255.0 - self.mean[c]) / self.std[c]);
            for (value, pixel) in plane.iter_mut().zip(rgb.as_raw().as_chunks::<3>().0) {
                *value = table[usize::from(pixel[c])];
            }
        }
        Tensor::new(values, [1, 3, height, width], Layout::Nchw).expect("the shape is that of the values")
    }

    /// A box in the picture's pixels, moved and scaled as the pixels are: in pixels of the result, clipped to it. `None`
    /// where nothing of it is left.
    pub fn map_box(&self, bbox: BBox, width: u32, height: u32) -> Option<BBox> {
        if width == 0 || height == 0 {
            return None;
        }
        let [x, y] = self.sides(width, height);
        let map = |v: f64, side: &Side, length: u32| {
            let resized = v * f64::from(side.resized) / f64::from(length);
            resized - f64::from(side.kept.start) + f64::from(side.start)
        };
        let limit = |side: &Side| f64::from(side.start) + f64::from(side.kept.end - side.kept.start);
        let clip = |v: f64, side: &Side| v.clamp(f64::from(side.start), limit(side));
        let mapped = BBox {
            x0: clip(map(bbox.x0, &x, width), &x),
            y0: clip(map(bbox.y0, &y, height), &y),
            x1: clip(map(bbox.x1, &x, width), &x),
            y1: clip(map(bbox.y1, &y, height), &y),
        };
        (mapped.x0 < mapped.x1 && mapped.y0 < mapped.y1).then_some(mapped)
    }

    /// Width and height of the result; a side of 0, which [`Self::check`] refuses, is taken as 1.
    fn size(&self) -> [u32; 2] {
        [self.crop[1], self.crop[0]].map(|n| n.clamp(1, u32::MAX as usize) as u32)
    }

    /// What happens to each side (x, then y) of a picture of this size.
    fn sides(&self, width: u32, height: u32) -> [Side; 2] {
        let crop = self.size();
        if self.geometry == Geometry::Stretch {
            return crop.map(|n| Side { resized: n, kept: 0..n, start: 0 });
        }
        let resized = match self.resize {
            None => [width, height],
            Some(short) => {
                let short = short.max(1);
                // torchvision: int(size * long / short), in double precision.
                let long = |long: u32, side: u32| (u64::from(short) * u64::from(long)) as f64 / f64::from(side.max(1));
                if width <= height { [short, long(height, width) as u32] } else { [long(width, height) as u32, short] }
            }
        };
        [centre(resized[0], crop[0]), centre(resized[1], crop[1])]
    }
}

/// torchvision's `center_crop` along one side: pad to the crop's length where shorter (the odd pixel goes to the end), else cut
/// at half the difference, halves rounded to even.
fn centre(resized: u32, crop: u32) -> Side {
    if resized < crop {
        return Side { resized, kept: 0..resized, start: (crop - resized) / 2 };
    }
    let first = (f64::from(resized - crop) / 2.0).round_ties_even() as u32;
    Side { resized, kept: first..first + crop, start: 0 }
}
