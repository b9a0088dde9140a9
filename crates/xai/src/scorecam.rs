//! ScoreCAM (Wang et al. 2020) as pytorch-grad-cam computes it: a channel weighs as much as the class gains when the
//! input shows only what the channel sees.

use quantlens_tensor::{Layout, Tensor};

use crate::Error;
use crate::channelcam::{ChannelCam, Rows, check_scores};
use crate::spread::spread;

/// ScoreCAM of one image: its runs, and what follows from their scores.
///
/// Each channel, resized to the input's size and brought to 0..1, is multiplied with the input; the network's outputs for
/// the class (logits) become weights by a softmax over channels. Channels that are constant all give the same blank
/// input, which is run once.
///
/// The runs can be made in any order: [`ScoreCam::scores`] spreads them over networks, [`ScoreCam::masked`] gives them one
/// by one.
///
/// ```
/// use quantlens_tensor::{Layout, Tensor};
/// use quantlens_xai::ScoreCam;
///
/// let input = Tensor::new(vec![1f32; 3 * 16], [1, 3, 4, 4], Layout::Nchw)?;
/// let activation = Tensor::new(vec![0f32, 3.0, 0.0, 0.0, 1.0, 0.0, 2.0, 0.0], [1, 2, 2, 2], Layout::Nhwc)?;
/// let cam = ScoreCam::new(&activation, &input)?;
/// // A network stands here; its output for the class is the sum of the input.
/// let logit = |t: &Tensor| Ok::<f32, quantlens_xai::Error>(t.as_f32()?.iter().sum());
/// let scores = cam.scores(&input, &mut [logit, logit])?; // two "networks", a thread each
/// assert_eq!(cam.finish(&scores)?.weights.len(), 2);
/// # Ok::<(), quantlens_xai::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ScoreCam {
    rows: Rows,
    /// Channel that is shown in a run.
    shown: Vec<usize>,
    /// Run of each channel.
    run_of: Vec<usize>,
    /// Where each input row and column lies in the layer's map.
    from_rows: Vec<Tap>,
    from_columns: Vec<Tap>,
}

/// Two neighbours in the layer's map and the second one's weight.
type Tap = (usize, usize, f32);

/// Taps of a resize whose corner pixels meet: torch's `UpsamplingBilinear2d`, `align_corners=True`.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let step = if to > 1 { (from - 1) as f32 / (to - 1) as f32 } else { 0.0 };
    let tap = |i: usize| {
        let at = step * i as f32;
        let left = (at as usize).min(from - 1);
        (left, (left + 1).min(from - 1), at - left as f32)
    };
    (0..to).map(tap).collect()
}

impl ScoreCam {
    /// From the layer's activation (one image, any layout and element type) for the input that gave it.
    ///
    /// # Errors
    /// [`Error::Shape`] for more than one image or an empty tensor, [`Error::NotFinite`] for infinities, [`Error::Tensor`]
    /// for an input that is not f32.
    pub fn new(activation: &Tensor, input: &Tensor) -> Result<Self, Error> {
        let rows = Rows::new(activation)?;
        let [h, w] = input_size(input)?;
        let (mut shown, mut run_of) = (Vec::new(), Vec::with_capacity(rows.channels));
        let mut blank = None;
        for c in 0..rows.channels {
            let first = rows.channel(c).next();
            let constant = rows.channel(c).all(|x| Some(x) == first);
            let run = if constant { blank } else { None }.unwrap_or(shown.len());
            if run == shown.len() {
                shown.push(c);
            }
            if constant {
                blank = Some(run);
            }
            run_of.push(run);
        }
        let (from_rows, from_columns) = (taps(rows.h, h), taps(rows.w, w));
        Ok(Self { rows, shown, run_of, from_rows, from_columns })
    }

    /// Forward passes that the map takes, beside the one that made the activation.
    pub fn runs(&self) -> usize {
        self.shown.len()
    }

    /// Makes the runs' inputs from the input that gave the activation, one at a time and in place.
    ///
    /// # Errors
    /// [`Error::Shape`] for an input of another size, [`Error::Tensor`] for one that is not f32.
    pub fn masked<'a>(&'a self, input: &'a Tensor) -> Result<MaskedInput<'a>, Error> {
        let [h, w] = input_size(input)?;
        if [h, w] != [self.from_rows.len(), self.from_columns.len()] {
            return Err(Error::Shape { found: input.shape().to_string() });
        }
        Ok(MaskedInput { cam: self, input, current: input.clone(), mask: vec![0.0; h * w] })
    }

    /// The class's logit in each run. Each scorer is a network (and has a thread of its own): it is given an input and
    /// returns the logit.
    ///
    /// # Errors
    /// What a scorer returns, as [`ScoreCam::masked`], and [`Error::Length`] without scorers.
    pub fn scores<S, E>(&self, input: &Tensor, scorers: &mut [S]) -> Result<Vec<f32>, E>
    where
        S: FnMut(&Tensor) -> Result<f32, E> + Send,
        E: Send + From<Error>,
    {
        spread(self.runs(), scorers, || self.masked(input), |masked, scorer, run| scorer(masked.input(run)))
    }

    /// The result, from the class's logit in each run.
    ///
    /// # Errors
    /// [`Error::Length`] for other than [`ScoreCam::runs`] scores, [`Error::NotFinite`] for infinite ones.
    pub fn finish(&self, scores: &[f32]) -> Result<ChannelCam, Error> {
        check_scores(scores, self.runs())?;
        let largest = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f64> = scores.iter().map(|&s| (f64::from(s) - f64::from(largest)).exp()).collect();
        let sum: f64 = self.run_of.iter().map(|&run| exp[run]).sum();
        self.rows.weighted(self.run_of.iter().map(|&run| (exp[run] / sum) as f32).collect())
    }

    /// Fills in the mask of a channel, 0 to 1 at the input's size: (x - min) / (max - min + 1e-8).
    fn mask(&self, channel: usize, mask: &mut [f32]) {
        let values: Vec<f32> = self.rows.channel(channel).collect();
        let (low, high) = bounds(&values);
        if low == high {
            mask.fill(0.0);
            return;
        }
        let row = |y: usize| &values[y * self.rows.w..(y + 1) * self.rows.w];
        for (out, &(top, bottom, v)) in mask.chunks_exact_mut(self.from_columns.len()).zip(&self.from_rows) {
            let (top, bottom) = (row(top), row(bottom));
            for (out, &(a, b, u)) in out.iter_mut().zip(&self.from_columns) {
                let along = |row: &[f32]| (1.0 - u) * row[a] + u * row[b];
                *out = (1.0 - v) * along(top) + v * along(bottom);
            }
        }
        // The corners meet, so that these are near the channel's own; not always equal, where the input is the smaller.
        let (low, high) = bounds(mask);
        mask.iter_mut().for_each(|x| *x = (*x - low) / (high - low + 1e-8));
    }
}

fn bounds(values: &[f32]) -> (f32, f32) {
    values.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)))
}

/// Height and width of an f32 input of one image.
fn input_size(input: &Tensor) -> Result<[usize; 2], Error> {
    let [_, h, w] = input.chw()?;
    input.as_f32()?;
    if input.shape().dims()[0] != 1 || input.shape().elements() == 0 {
        return Err(Error::Shape { found: input.shape().to_string() });
    }
    Ok([h, w])
}

/// The inputs of [`ScoreCam`]'s runs, one at a time.
#[derive(Debug, Clone)]
pub struct MaskedInput<'a> {
    cam: &'a ScoreCam,
    input: &'a Tensor,
    current: Tensor,
    mask: Vec<f32>,
}

impl MaskedInput<'_> {
    /// The input of a run, valid until the next call: f32, in the layout of the input that was given.
    ///
    /// # Panics
    /// If `run` is not below [`ScoreCam::runs`].
    pub fn input(&mut self, run: usize) -> &Tensor {
        self.cam.mask(self.cam.shown[run], &mut self.mask);
        let channels = self.input.shape().elements() / self.mask.len();
        if let (Ok(from), Ok(to)) = (self.input.as_f32(), self.current.as_f32_mut()) {
            if self.input.layout() == Layout::Nhwc {
                let pixels = from.chunks_exact(channels).zip(to.chunks_exact_mut(channels));
                for ((from, to), m) in pixels.zip(&self.mask) {
                    to.iter_mut().zip(from).for_each(|(to, x)| *to = x * m);
                }
            } else {
                let planes = from.chunks_exact(self.mask.len()).zip(to.chunks_exact_mut(self.mask.len()));
                for (from, to) in planes {
                    to.iter_mut().zip(from).zip(&self.mask).for_each(|((to, x), m)| *to = x * m);
                }
            }
        }
        &self.current
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corners_meet() {
        assert_eq!(taps(3, 5), [(0, 1, 0.0), (0, 1, 0.5), (1, 2, 0.0), (1, 2, 0.5), (2, 2, 0.0)]);
        assert_eq!(taps(1, 2), [(0, 0, 0.0); 2]);
        assert_eq!(taps(4, 1), [(0, 1, 0.0)]);
    }

    #[test]
    fn constant_channels_share_a_blank_run() {
        // Channels: a slope, zeros, constant 2, another slope.
        let values = vec![0f32, 0.0, 2.0, 4.0, 1.0, 0.0, 2.0, 0.0];
        let activation = Tensor::new(values, [1, 1, 2, 4], Layout::Nhwc).unwrap();
        let input = Tensor::new(vec![1f32; 12], [1, 3, 1, 4], Layout::Nchw).unwrap();
        let cam = ScoreCam::new(&activation, &input).unwrap();
        assert_eq!(cam.runs(), 3);
        let mut masked = cam.masked(&input).unwrap();
        let mut shown = |run| masked.input(run).as_f32().unwrap()[..4].to_vec();
        let near = |a: Vec<f32>, b: [f32; 4]| a.iter().zip(b).all(|(x, y)| (x - y).abs() < 1e-6);
        assert!(near(shown(0), [0.0, 1.0 / 3.0, 2.0 / 3.0, 1.0]));
        assert_eq!(shown(1), [0.0; 4]);
        assert!(near(shown(2), [1.0, 2.0 / 3.0, 1.0 / 3.0, 0.0]));
        // Softmax of 0, ln 2, ln 2, ln 4 over channels: the blank run counts twice.
        let (two, four) = (2f32.ln(), 4f32.ln());
        let found = cam.finish(&[0.0, two, four]).unwrap();
        assert!(near(found.weights.clone(), [1.0 / 9.0, 2.0 / 9.0, 2.0 / 9.0, 4.0 / 9.0]), "{found:?}");
        assert!((found.p[0] - (4.0 + 16.0) / 9.0).abs() < 1e-6 && (found.p[1] - 5.0 / 9.0).abs() < 1e-6, "{found:?}");
        assert!(cam.finish(&[0.0; 4]).is_err() && cam.finish(&[f32::NAN; 3]) == Err(Error::NotFinite));
    }

    #[test]
    fn layouts_agree_and_odd_inputs_are_refused() {
        let activation = Tensor::new(vec![0f32, 1.0, 2.0, 5.0], [1, 1, 2, 2], Layout::Nchw).unwrap();
        let nchw = Tensor::new((0..30).map(|i| i as f32).collect::<Vec<_>>(), [1, 3, 2, 5], Layout::Nchw).unwrap();
        let nhwc = nchw.to_layout(Layout::Nhwc).unwrap();
        let cam = ScoreCam::new(&activation, &nchw).unwrap();
        let a = cam.masked(&nchw).unwrap().input(0).to_layout(Layout::Nhwc).unwrap();
        assert_eq!(&a, cam.masked(&nhwc).unwrap().input(0));
        let other = Tensor::new(vec![0f32; 12], [1, 3, 2, 2], Layout::Nchw).unwrap();
        assert!(matches!(cam.masked(&other), Err(Error::Shape { .. })));
        assert!(matches!(ScoreCam::new(&activation, &nchw.to_f16()), Err(Error::Tensor(_))));
    }
}
