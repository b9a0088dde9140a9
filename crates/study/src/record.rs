//! One row of a study: what a network in one precision made of one image. Everything that the tables, maps and
//! figures need; settled as schema version 1 (the columns are listed in `parquet_file`).

use std::fmt;

use quantlens_nets::{ranked, softmax};
use quantlens_tensor::Tensor;
use quantlens_xai::{ActivationStats, BINS, EigenCam};

/// Version of the records' columns and of the manifest.
pub const SCHEMA_VERSION: u32 = 1;

/// Number of classes a row keeps.
const TOP: usize = 5;

/// Float or quantized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Precision {
    /// f32 weights and activations.
    F32,
    /// int8 weights, u8 activations.
    Int8,
}

impl Precision {
    /// Both, in the order of a pair's rows.
    pub const ALL: [Self; 2] = [Self::F32, Self::Int8];

    /// `f32` or `int8`, as the records spell it.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One row an image, network and precision. With an `error` all results are empty or zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The image's path relative to its data set.
    pub image_id: String,
    /// The image's place in the data set.
    pub data_index: u64,
    /// Name of the pair of networks.
    pub network: String,
    /// Which of the two.
    pub precision: Precision,
    /// The image's class in the network's own order; none without a label that the network knows.
    pub true_class: Option<u32>,
    /// The classes of the five largest logits, largest first; of equal logits the smaller class first.
    pub top5_class: Vec<u32>,
    /// Their softmax probabilities.
    pub top5_prob: Vec<f32>,
    /// Softmax probability of the true class.
    pub true_prob: Option<f32>,
    /// Rank of the true class, 1 for the largest logit.
    pub true_rank: Option<u32>,
    /// Height, width and channels of the layer.
    pub map: [u32; 3],
    /// EigenCAM's projection, unsigned: see [`EigenCam::p`].
    pub p: Vec<f32>,
    /// Mean over channels at each position.
    pub mean_activation: Vec<f32>,
    /// See [`EigenCam::eigenvalues`].
    pub eigenvalues: [f32; 2],
    /// Population standard deviation of raw and of real values.
    pub sigma: Reading<f64>,
    /// Share of zeros, raw and real.
    pub sparsity: Reading<f64>,
    /// Entropy of the softmax over channels, raw and real, in bits. (f32, unlike sigma and sparsity: exp and log2 may
    /// differ in the last bit of f64 between systems.)
    pub entropy_softmax: Reading<f32>,
    /// Entropy of the 256-bin histogram, raw and real, in bits.
    pub entropy_hist: Reading<f32>,
    /// Histogram of the normalized mean activation, 256 counts.
    pub histogram: Vec<u32>,
    /// The image's true boxes in pixels of the network's input, x0, y0, x1, y1 of each; those that were cropped away
    /// are left out.
    pub true_boxes: Vec<f64>,
    /// Why there is no result.
    pub error: Option<String>,
}

/// A statistic of the raw integers and of the real (dequantized) values; equal for float activations.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading<T> {
    /// Of the integers.
    pub raw: T,
    /// Of the real values.
    pub real: T,
}

impl Record {
    /// A row without results yet.
    pub fn empty(image_id: &str, data_index: u64, network: &str, precision: Precision) -> Self {
        Self {
            image_id: image_id.into(),
            data_index,
            network: network.into(),
            precision,
            true_class: None,
            top5_class: Vec::new(),
            top5_prob: Vec::new(),
            true_prob: None,
            true_rank: None,
            map: [0; 3],
            p: Vec::new(),
            mean_activation: Vec::new(),
            eigenvalues: [0.0; 2],
            sigma: Reading::default(),
            sparsity: Reading::default(),
            entropy_softmax: Reading::default(),
            entropy_hist: Reading::default(),
            histogram: Vec::new(),
            true_boxes: Vec::new(),
            error: None,
        }
    }

    /// Fills in what follows from the logits and the true class, if that is one of them.
    pub(crate) fn set_logits(&mut self, logits: &[f32], true_class: Option<u32>) {
        let order = ranked(logits);
        let probabilities = softmax(logits);
        self.top5_class = order.iter().take(TOP).map(|&c| c as u32).collect();
        self.top5_prob = order.iter().take(TOP).map(|&c| probabilities[c]).collect();
        self.true_class = true_class.filter(|&c| (c as usize) < logits.len());
        self.true_prob = self.true_class.map(|c| probabilities[c as usize]);
        let rank = |c: u32| order.iter().position(|&o| o == c as usize);
        self.true_rank = self.true_class.and_then(rank).map(|r| r as u32 + 1);
    }

    /// Fills in what follows from the layer's activation and its EigenCAM.
    pub(crate) fn set_activation(&mut self, activation: &Tensor, cam: EigenCam) -> Result<(), quantlens_xai::Error> {
        let stats = ActivationStats::compute(activation)?;
        self.map = [cam.h, cam.w, cam.channels].map(|n| n as u32);
        self.p = cam.p;
        self.mean_activation = cam.mean_activation;
        self.eigenvalues = cam.eigenvalues;
        self.sigma = Reading { raw: stats.sigma_raw, real: stats.sigma };
        self.sparsity = Reading { raw: stats.sparsity_raw, real: stats.sparsity };
        self.entropy_softmax = Reading { raw: stats.entropy_softmax_raw as f32, real: stats.entropy_softmax as f32 };
        self.entropy_hist = Reading { raw: stats.entropy_hist_raw as f32, real: stats.entropy_hist as f32 };
        self.histogram = stats.histogram.to_vec();
        Ok(())
    }

    /// Whether a row without error holds what the tables need, in the right lengths.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.error.is_some() {
            return Ok(());
        }
        let [h, w, channels] = self.map.map(|n| n as usize);
        let positions = h.checked_mul(w).filter(|&n| n > 0 && channels > 0);
        let positions = positions.ok_or_else(|| format!("a map of {h}x{w}x{channels}"))?;
        if !self.true_boxes.len().is_multiple_of(4) {
            return Err(format!("true_boxes has {} values, expected four a box", self.true_boxes.len()));
        }
        let lengths = [
            ("p", self.p.len(), positions),
            ("mean_activation", self.mean_activation.len(), positions),
            ("histogram", self.histogram.len(), BINS),
            ("top5_prob", self.top5_prob.len(), self.top5_class.len()),
        ];
        match lengths.iter().find(|(_, found, expected)| found != expected) {
            Some((what, found, expected)) => Err(format!("{what} has {found} values, expected {expected}")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use quantlens_tensor::Layout;

    use super::*;

    /// A complete row of a 2x3 map whose values depend on `seed`.
    pub(crate) fn sample(data_index: u64, network: &str, precision: Precision, seed: u32) -> Record {
        let values: Vec<f32> =
            (0..6 * 12u32).map(|i| ((i + seed).wrapping_mul(2_654_435_761) >> 28) as f32 * 0.25).collect();
        let activation = Tensor::new(values, [1, 2, 3, 12], Layout::Nhwc).unwrap();
        let mut r = Record::empty(&format!("a/{data_index}.jpg"), data_index, network, precision);
        let logits: Vec<f32> = (0..7u32).map(|i| ((i + seed) * 5 % 7) as f32).collect();
        r.set_logits(&logits, Some((data_index % 7) as u32));
        r.set_activation(&activation, EigenCam::compute(&activation).unwrap()).unwrap();
        r
    }

    #[test]
    fn logits_become_ranks_and_probabilities() {
        let mut r = Record::empty("a", 0, "n", Precision::F32);
        r.set_logits(&[1.0, 3.0, 3.0, 0.0, 2.0, -1.0], Some(2));
        assert_eq!((r.top5_class.as_slice(), r.true_rank), ([1, 2, 4, 0, 3].as_slice(), Some(2)));
        // e^3 / (e^1 + 2 e^3 + e^0 + e^2 + e^-1)
        assert!((r.top5_prob[0] - 0.388_906).abs() < 1e-5 && r.true_prob == Some(r.top5_prob[0]), "{r:?}");
        r.set_logits(&[0.0, 1.0], Some(2));
        assert_eq!((r.true_class, r.true_rank, r.true_prob, r.top5_class.len()), (None, None, None, 2));
    }

    #[test]
    fn rows_are_checked() {
        let good = sample(1, "n", Precision::F32, 3);
        assert_eq!(good.check(), Ok(()));
        let short = Record { p: vec![0.0; 5], ..good.clone() };
        assert_eq!(short.check(), Err("p has 5 values, expected 6".into()));
        assert!(Record { map: [0, 3, 12], ..good }.check().is_err());
        let failed = Record { error: Some("x".into()), ..Record::empty("a", 0, "n", Precision::Int8) };
        assert_eq!(failed.check(), Ok(()));
    }
}
