//! What ScoreCAM and AblationCAM share: a map as a weighted sum of channels.

use quantlens_tensor::Tensor;

use crate::Error;
use crate::eigencam::positions_by_channels;

/// A layer's activation weighted by channel: the result of [`ScoreCam`](crate::ScoreCam) and
/// [`AblationCam`](crate::AblationCam). [`cam_map`](crate::cam_map) makes the map of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChannelCam {
    /// Sum over channels of weight times real activation, row-major over positions (`h * w`). Unlike EigenCAM's its sign
    /// means something: positive speaks for the class.
    pub p: Vec<f32>,
    /// Height of the layer's map.
    pub h: usize,
    /// Width of the layer's map.
    pub w: usize,
    /// One weight a channel.
    pub weights: Vec<f32>,
}

/// A layer's real activation, one row of channels a position.
#[derive(Debug, Clone)]
pub(crate) struct Rows {
    values: Vec<f32>,
    pub channels: usize,
    pub h: usize,
    pub w: usize,
}

impl Rows {
    /// Of one image's activation, any layout and element type; NaN counts as 0.
    pub fn new(activation: &Tensor) -> Result<Self, Error> {
        let (values, [channels, h, w]) = positions_by_channels(&activation.dequantize())?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite);
        }
        Ok(Self { values, channels, h, w })
    }

    /// A channel's values, row-major over positions.
    pub fn channel(&self, c: usize) -> impl Iterator<Item = f32> + '_ {
        self.values.iter().skip(c).step_by(self.channels).copied()
    }

    /// The sum of the channels with these weights, which are one a channel.
    pub fn weighted(&self, weights: Vec<f32>) -> Result<ChannelCam, Error> {
        let sum =
            |row: &[f32]| row.iter().zip(&weights).map(|(&x, &w)| f64::from(x) * f64::from(w)).sum::<f64>() as f32;
        let p: Vec<f32> = self.values.chunks_exact(self.channels).map(sum).collect();
        if p.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite);
        }
        Ok(ChannelCam { p, h: self.h, w: self.w, weights })
    }
}

/// That there is one finite score a run.
pub(crate) fn check_scores(scores: &[f32], runs: usize) -> Result<(), Error> {
    if scores.len() != runs {
        return Err(Error::Length { what: "scores, one a run", expected: runs, found: scores.len() });
    }
    if scores.iter().all(|s| s.is_finite()) { Ok(()) } else { Err(Error::NotFinite) }
}
