//! Affine quantization parameters: real = (q - zero_point) * scale.

use crate::{DType, Error, Shape};

/// Scale and zero point of a quantized tensor.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Quant {
    /// One scale and zero point for all elements.
    PerTensor {
        /// Real value of one step; finite and positive.
        scale: f32,
        /// The integer that stands for 0.0; within the element type.
        zero_point: i32,
    },
    /// A scale and zero point for each slice along `axis`.
    PerChannel {
        /// Dimension that the scales run along.
        axis: usize,
        /// One scale a slice; finite and positive.
        scales: Vec<f32>,
        /// One zero point a slice.
        zero_points: Vec<i32>,
    },
}

impl Quant {
    /// Scale and zero point of slice `channel` (ignored where there is one pair for all).
    pub fn of(&self, channel: usize) -> (f32, i32) {
        match self {
            Self::PerTensor { scale, zero_point } => (*scale, *zero_point),
            Self::PerChannel { scales, zero_points, .. } => (scales[channel], zero_points[channel]),
        }
    }

    /// Checks that the parameters are usable for a tensor of this type and shape.
    ///
    /// # Errors
    /// [`Error::Quant`] for scales that are not finite and positive, zero points outside the type, a float type, or
    /// a count that differs from the channels.
    pub fn check(&self, dtype: DType, shape: &Shape) -> Result<(), Error> {
        let (low, high) = match dtype {
            DType::U8 => (0, 255),
            DType::I8 => (-128, 127),
            DType::I32 => (i32::MIN, i32::MAX),
            other => return Err(Error::Quant(format!("a {other} tensor cannot be quantized"))),
        };
        let pair = |scale: f32, zero_point: i32| {
            if !(scale.is_finite() && scale > 0.0) {
                Err(Error::Quant(format!("scale {scale} is not finite and positive")))
            } else if zero_point < low || zero_point > high {
                Err(Error::Quant(format!("zero point {zero_point} is outside {dtype} ({low} to {high})")))
            } else {
                Ok(())
            }
        };
        match self {
            Self::PerTensor { scale, zero_point } => pair(*scale, *zero_point),
            Self::PerChannel { axis, scales, zero_points } => {
                let channels = shape.dims().get(*axis).copied();
                if channels != Some(scales.len()) || scales.len() != zero_points.len() {
                    return Err(Error::Quant(format!(
                        "{} scales and {} zero points for axis {axis} of shape {shape}",
                        scales.len(),
                        zero_points.len()
                    )));
                }
                scales.iter().zip(zero_points).try_for_each(|(&s, &z)| pair(s, z))
            }
        }
    }
}
