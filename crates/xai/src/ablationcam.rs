//! AblationCAM (Desai and Ramaswamy 2020) as pytorch-grad-cam computes it: a channel weighs as much as the class loses
//! without it.

use quantlens_tensor::{Data, Layout, Quant, Tensor};

use crate::Error;
use crate::channelcam::{ChannelCam, Rows, check_scores};
use crate::spread::spread;

/// AblationCAM of one image: its runs, and what follows from their scores.
///
/// Run 0 is the layer's activation as it is; each further run has one channel set to (real) zero, and the network goes on
/// from there. A channel's weight is (y - y_c) / y, of the class's logit y and that without the channel. Channels that
/// are zero already need no run.
///
/// pytorch-grad-cam sets channels to zero where the layer's smallest activation is zero, as after ReLU; elsewhere
/// (Hardswish) to ten millions below the smallest, which is no activation a network knows. Here it is zero always, as in
/// the paper.
///
/// An int8 network's logits are whole steps of its last scale: what a channel takes away below half a step is seen as
/// nothing or as a whole one, so that weights are coarser than the float network's.
///
/// ```
/// use quantlens_tensor::{Layout, Tensor};
/// use quantlens_xai::AblationCam;
///
/// let activation = Tensor::new(vec![0f32, 3.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0], [1, 2, 2, 2], Layout::Nhwc)?;
/// let cam = AblationCam::new(&activation)?;
/// // The rest of a network stands here; its output for the class is the sum of the activation.
/// let logit = |t: &Tensor| Ok::<f32, quantlens_xai::Error>(t.as_f32()?.iter().sum());
/// let scores = cam.scores(&activation, &mut [logit, logit])?; // two "networks", a thread each
/// assert_eq!(cam.finish(&scores)?.weights, [0.5, 0.5]);
/// # Ok::<(), quantlens_xai::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct AblationCam {
    rows: Rows,
    /// Channels with a value other than zero: run i + 1 is without the i-th of them.
    live: Vec<usize>,
    /// The byte that stands for zero in a u8 activation.
    zero: u8,
}

impl AblationCam {
    /// From the layer's activation: one image, any layout and element type.
    ///
    /// # Errors
    /// [`Error::Shape`] for more than one image, an empty tensor or one quantized per channel, [`Error::NotFinite`] for
    /// infinities.
    pub fn new(activation: &Tensor) -> Result<Self, Error> {
        let rows = Rows::new(activation)?;
        let live = (0..rows.channels).filter(|&c| rows.channel(c).any(|x| x != 0.0)).collect();
        let zero = match activation.quant() {
            None => 0,
            Some(Quant::PerTensor { zero_point, .. }) => *zero_point as u8,
            Some(_) => return Err(Error::Shape { found: format!("{}, quantized per channel", activation.shape()) }),
        };
        Ok(Self { rows, live, zero })
    }

    /// Forward passes from the layer on that the map takes.
    pub fn runs(&self) -> usize {
        self.live.len() + 1
    }

    /// Makes the runs' activations from the one this was made of, one at a time and in place.
    ///
    /// # Errors
    /// [`Error::Shape`] for an activation of another shape, [`Error::Tensor`] for one that is neither f32 nor u8.
    pub fn ablated<'a>(&'a self, activation: &'a Tensor) -> Result<AblatedActivation<'a>, Error> {
        if activation.chw()? != [self.rows.channels, self.rows.h, self.rows.w] || activation.shape().dims()[0] != 1 {
            return Err(Error::Shape { found: activation.shape().to_string() });
        }
        if !matches!(activation.data(), Data::U8(_)) {
            activation.as_f32()?;
        }
        Ok(AblatedActivation { cam: self, activation, current: activation.clone(), gone: None })
    }

    /// The class's logit in each run. Each scorer is the rest of a network (and has a thread of its own): it is given an
    /// activation of the layer and returns the logit.
    ///
    /// # Errors
    /// What a scorer returns, as [`AblationCam::ablated`], and [`Error::Length`] without scorers.
    pub fn scores<S, E>(&self, activation: &Tensor, scorers: &mut [S]) -> Result<Vec<f32>, E>
    where
        S: FnMut(&Tensor) -> Result<f32, E> + Send,
        E: Send + From<Error>,
    {
        spread(
            self.runs(),
            scorers,
            || self.ablated(activation),
            |ablated, scorer, run| scorer(ablated.activation(run)),
        )
    }

    /// The result, from the class's logit in each run.
    ///
    /// # Errors
    /// [`Error::Length`] for other than [`AblationCam::runs`] scores, [`Error::NotFinite`] for infinite ones,
    /// [`Error::ZeroScore`] where the first is 0: shares of it do not exist.
    pub fn finish(&self, scores: &[f32]) -> Result<ChannelCam, Error> {
        check_scores(scores, self.runs())?;
        let whole = scores[0];
        if whole == 0.0 {
            return Err(Error::ZeroScore);
        }
        let mut weights = vec![0.0; self.rows.channels];
        for (&channel, score) in self.live.iter().zip(&scores[1..]) {
            weights[channel] = (whole - score) / whole;
        }
        self.rows.weighted(weights)
    }
}

/// The activations of [`AblationCam`]'s runs, one at a time.
#[derive(Debug, Clone)]
pub struct AblatedActivation<'a> {
    cam: &'a AblationCam,
    activation: &'a Tensor,
    current: Tensor,
    /// Channel that is zero at present.
    gone: Option<usize>,
}

impl AblatedActivation<'_> {
    /// The activation of a run, valid until the next call: as the one that was given, without the run's channel.
    ///
    /// # Panics
    /// If `run` is not below [`AblationCam::runs`].
    pub fn activation(&mut self, run: usize) -> &Tensor {
        let next = run.checked_sub(1).map(|i| self.cam.live[i]);
        if let Some(channel) = self.gone {
            self.set(channel, false);
        }
        if let Some(channel) = next {
            self.set(channel, true);
        }
        self.gone = next;
        &self.current
    }

    /// Sets a channel to zero, or back to what it was.
    fn set(&mut self, channel: usize, zero: bool) {
        let rows = &self.cam.rows;
        let (positions, channels) = (rows.h * rows.w, rows.channels);
        let (first, step) =
            if self.activation.layout() == Layout::Nhwc { (channel, channels) } else { (channel * positions, 1) };
        let places = (first..).step_by(step).take(positions);
        if let (Ok(from), Ok(to)) = (self.activation.as_u8(), self.current.as_u8_mut()) {
            places.for_each(|i| to[i] = if zero { self.cam.zero } else { from[i] });
        } else if let (Ok(from), Ok(to)) = (self.activation.as_f32(), self.current.as_f32_mut()) {
            places.for_each(|i| to[i] = if zero { 0.0 } else { from[i] });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_channel_at_a_time_is_zero() {
        let values = vec![1u8, 7, 3, 4, 7, 6];
        let quant = Quant::PerTensor { scale: 0.5, zero_point: 7 };
        let nhwc = Tensor::new(values, [1, 1, 2, 3], Layout::Nhwc).unwrap().with_quant(quant).unwrap();
        for activation in [nhwc.clone(), nhwc.to_layout(Layout::Nchw).unwrap()] {
            let cam = AblationCam::new(&activation).unwrap();
            // The second channel is at its zero point already.
            assert_eq!(cam.runs(), 3);
            let mut ablated = cam.ablated(&activation).unwrap();
            let mut bytes = |run| ablated.activation(run).to_layout(Layout::Nhwc).unwrap().as_u8().unwrap().to_vec();
            assert_eq!(bytes(2), [1, 7, 7, 4, 7, 7]);
            assert_eq!(bytes(1), [7, 7, 3, 7, 7, 6]);
            assert_eq!(bytes(0), [1, 7, 3, 4, 7, 6]);
        }
    }

    #[test]
    fn weights_are_the_share_that_is_lost() {
        let activation = Tensor::new(vec![1f32, 0.0, -2.0, 3.0, 0.0, 1.0], [1, 1, 2, 3], Layout::Nhwc).unwrap();
        let cam = AblationCam::new(&activation).unwrap();
        let found = cam.finish(&[4.0, 1.0, 5.0]).unwrap();
        assert_eq!(found.weights, [0.75, 0.0, -0.25]);
        assert_eq!(found.p, [0.75 + 0.5, 2.25 - 0.25]);
        assert_eq!(cam.finish(&[0.0; 3]), Err(Error::ZeroScore));
        assert!(matches!(cam.finish(&[1.0; 4]), Err(Error::Length { .. })));
        assert_eq!(cam.finish(&[1.0, f32::INFINITY, 1.0]), Err(Error::NotFinite));
        let other = Tensor::new(vec![0f32; 6], [1, 2, 1, 3], Layout::Nhwc).unwrap();
        assert!(matches!(cam.ablated(&other), Err(Error::Shape { .. })));
    }
}
