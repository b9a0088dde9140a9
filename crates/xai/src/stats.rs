//! Statistics of one activation: sigma, sparsity and two entropies, of the raw integers and of the real values.

use quantlens_tensor::{Data, Quant, Tensor};

use crate::Error;
use crate::eigencam::positions_by_channels;
use crate::histogram::{BINS, bins, entropy_of_counts, mean_activation_histogram};

/// Added inside every logarithm (the paper's eq. 5).
const EPSILON: f64 = 1e-10;

/// Statistics of one activation. `raw` reads quantized values as plain integers, the others as real values; for float
/// activations the two are equal. The paper's int8 columns are raw.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivationStats {
    /// Population standard deviation of the integers.
    pub sigma_raw: f64,
    /// Population standard deviation of the real values.
    pub sigma: f64,
    /// Share of values whose integer is 0, in 0..=1.
    pub sparsity_raw: f64,
    /// Share of values whose real value is 0 (integer equal to the zero point), in 0..=1.
    pub sparsity: f64,
    /// Entropy in bits of the softmax over channels of the integers, averaged over positions.
    pub entropy_softmax_raw: f64,
    /// Entropy in bits of the softmax over channels of the real values, averaged over positions; at most log2(channels).
    pub entropy_softmax: f64,
    /// Entropy in bits of the histogram of all integers, one bin a value.
    pub entropy_hist_raw: f64,
    /// Entropy in bits of the histogram of all real values, 256 bins from smallest to largest; at most 8. For u8 with
    /// one scale equal to the raw one: 256 bins keep all integers apart.
    pub entropy_hist: f64,
    /// Histogram of the mean over channels: see [`mean_activation_histogram`].
    pub histogram: [u32; BINS],
}

/// The four statistics of one reading.
struct Reading {
    sigma: f64,
    sparsity: f64,
    entropy_softmax: f64,
    entropy_hist: f64,
}

impl ActivationStats {
    /// Statistics of one image's activation: `[1, h, w, c]` NHWC or `[1, c, h, w]` NCHW, of any element type.
    ///
    /// NaN counts as 0. Sums are f64 in a fixed order; those of u8 are exact integers.
    ///
    /// # Errors
    /// [`Error::Shape`] for more than one image, an empty tensor or a row-major one, [`Error::NotFinite`] for infinities.
    pub fn compute(activation: &Tensor) -> Result<Self, Error> {
        let (values, [channels, ..]) = positions_by_channels(&activation.dequantize())?;
        if values.iter().any(|x| !x.is_finite()) {
            return Err(Error::NotFinite);
        }
        let means: Vec<f32> = values
            .chunks_exact(channels)
            .map(|row| (row.iter().map(|&x| f64::from(x)).sum::<f64>() / channels as f64) as f32)
            .collect();
        let histogram = mean_activation_histogram(&means);
        let (raw, real) = match (activation.data(), activation.quant()) {
            (Data::U8(_), Some(Quant::PerTensor { scale, zero_point })) => {
                let integers = integers_by_position(activation)?;
                let raw = read_u8(&integers, channels, 1.0, 0);
                (raw, read_u8(&integers, channels, f64::from(*scale), *zero_point))
            }
            (Data::U8(_), None) => {
                let integers = integers_by_position(activation)?;
                (read_u8(&integers, channels, 1.0, 0), read_u8(&integers, channels, 1.0, 0))
            }
            (_, None) => (read_f32(&values, channels), read_f32(&values, channels)),
            (_, Some(_)) => {
                let plain = Tensor::new(activation.to_f32(), activation.shape().clone(), activation.layout())?;
                (read_f32(&positions_by_channels(&plain)?.0, channels), read_f32(&values, channels))
            }
        };
        Ok(Self {
            sigma_raw: raw.sigma,
            sigma: real.sigma,
            sparsity_raw: raw.sparsity,
            sparsity: real.sparsity,
            entropy_softmax_raw: raw.entropy_softmax,
            entropy_softmax: real.entropy_softmax,
            entropy_hist_raw: raw.entropy_hist,
            entropy_hist: real.entropy_hist,
            histogram,
        })
    }
}

/// The u8 values, one row a position.
fn integers_by_position(t: &Tensor) -> Result<Vec<u8>, Error> {
    match t.to_layout(quantlens_tensor::Layout::Nhwc)?.into_data() {
        Data::U8(v) => Ok(v),
        other => {
            Err(quantlens_tensor::Error::DType { expected: quantlens_tensor::DType::U8, found: other.dtype() }.into())
        }
    }
}

/// Statistics of (q - zero_point) * scale from counts of each integer: exact sums, and a softmax of 256 exponentials.
fn read_u8(integers: &[u8], channels: usize, scale: f64, zero_point: i32) -> Reading {
    let weights: Vec<f64> = (0..BINS).map(|d| (-(d as f64) * scale).exp()).collect();
    let mut counts = [0u64; BINS];
    let mut entropy = 0.0;
    for row in integers.chunks_exact(channels) {
        let mut here = [0u64; BINS];
        row.iter().for_each(|&q| here[usize::from(q)] += 1);
        entropy += softmax_entropy_of_counts(&here, &weights);
        counts.iter_mut().zip(here).for_each(|(all, c)| *all += c);
    }
    let n = integers.len() as u128;
    let moment = |power: u32| -> u128 { (0u128..).zip(&counts).map(|(q, &c)| q.pow(power) * u128::from(c)).sum() };
    let variance = (n * moment(2) - moment(1) * moment(1)) as f64 / (n * n) as f64;
    let zeros = usize::try_from(zero_point).ok().and_then(|z| counts.get(z)).copied().unwrap_or(0);
    Reading {
        sigma: variance.sqrt() * scale,
        sparsity: zeros as f64 / integers.len() as f64,
        entropy_softmax: entropy / (integers.len() / channels) as f64,
        entropy_hist: entropy_of_counts(&counts),
    }
}

/// Entropy of the softmax of one position's values, given how often each integer occurs and exp(-d * scale) for
/// each distance d from the largest.
fn softmax_entropy_of_counts(counts: &[u64; BINS], weights: &[f64]) -> f64 {
    let largest = counts.iter().rposition(|&c| c > 0).unwrap_or(0);
    let present = || (0..=largest).filter(|&q| counts[q] > 0).map(|q| (counts[q] as f64, weights[largest - q]));
    let sum: f64 = present().map(|(count, weight)| count * weight).sum();
    let term = |(count, weight): (f64, f64)| {
        let share = weight / sum;
        count * share * (share + EPSILON).log2()
    };
    -present().map(term).sum::<f64>()
}

/// Statistics of float values, one row a position.
fn read_f32(values: &[f32], channels: usize) -> Reading {
    let n = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    let variance = values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n;
    let zeros = values.iter().filter(|&&x| x == 0.0).count();
    let mut exponentials = vec![0.0; channels];
    let entropies = values.chunks_exact(channels).map(|row| softmax_entropy(row, &mut exponentials));
    let entropy_softmax = entropies.sum::<f64>() / (values.len() / channels) as f64;
    let mut counts = [0u64; BINS];
    bins(values, |bin| counts[bin] += 1);
    Reading {
        sigma: variance.sqrt(),
        sparsity: zeros as f64 / n,
        entropy_softmax,
        entropy_hist: entropy_of_counts(&counts),
    }
}

/// Entropy of the softmax of one position's values; `exponentials` is room for one a channel.
fn softmax_entropy(row: &[f32], exponentials: &mut [f64]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    for (e, &x) in exponentials.iter_mut().zip(row) {
        *e = (f64::from(x) - largest).exp();
    }
    let sum: f64 = exponentials.iter().sum();
    -exponentials.iter().map(|e| e / sum * (e / sum + EPSILON).log2()).sum::<f64>()
}

#[cfg(test)]
mod tests {
    use quantlens_tensor::Layout;

    use super::*;

    fn quantized(values: Vec<u8>, shape: [usize; 4], scale: f32, zero_point: i32) -> Tensor {
        let t = Tensor::new(values, shape, Layout::Nhwc).unwrap();
        t.with_quant(Quant::PerTensor { scale, zero_point }).unwrap()
    }

    #[test]
    fn raw_and_real_by_hand() {
        // Two positions of four channels; zero point 2, scale 0.5.
        let s = ActivationStats::compute(&quantized(vec![0, 0, 2, 4, 2, 2, 2, 4], [1, 1, 2, 4], 0.5, 2)).unwrap();
        // Sum 16, squares 48 over 8: variance 48/8 - 4 = 2.
        assert_eq!((s.sigma_raw, s.sigma), (2f64.sqrt(), 2f64.sqrt() / 2.0));
        assert_eq!((s.sparsity_raw, s.sparsity), (0.25, 0.5));
        // Shares 2/8, 4/8, 2/8: 1.5 bits; epsilon moves it by 3e-10.
        assert!((s.entropy_hist_raw - 1.5).abs() < 1e-8 && s.entropy_hist == s.entropy_hist_raw);
        // Means -0.25 and 0.25 real: the ends of the histogram.
        assert_eq!((s.histogram[0], s.histogram[255]), (1, 1));
    }

    #[test]
    fn both_paths_agree() {
        let q: Vec<u8> = (0..12 * 50u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 26) as u8).collect();
        let t = quantized(q, [1, 3, 4, 50], 0.0605, 9);
        let (fast, slow) = (ActivationStats::compute(&t).unwrap(), ActivationStats::compute(&t.dequantize()).unwrap());
        // The slow path rounds each real value to f32: 6e-8 of it.
        for (a, b) in [
            (fast.sigma, slow.sigma),
            (fast.entropy_softmax, slow.entropy_softmax),
            (fast.entropy_hist, slow.entropy_hist),
        ] {
            assert!((a - b).abs() < 1e-6 * a, "{a} {b}");
        }
        assert_eq!((fast.sparsity, fast.histogram), (slow.sparsity, slow.histogram));
        let plain = Tensor::new(t.to_f32(), [1, 3, 4, 50], Layout::Nhwc).unwrap();
        let raw = ActivationStats::compute(&plain).unwrap();
        assert!((fast.entropy_softmax_raw - raw.entropy_softmax).abs() < 1e-9);
        assert!((fast.sigma_raw - raw.sigma_raw).abs() < 1e-9);
        assert_eq!(fast.sparsity_raw, raw.sparsity_raw);
        let nchw = t.to_layout(Layout::Nchw).unwrap();
        assert_eq!(ActivationStats::compute(&nchw).unwrap(), fast);
    }

    #[test]
    fn bounds_and_constants() {
        let flat = Tensor::new(vec![3f32; 2 * 1024], [1, 1, 2, 1024], Layout::Nhwc).unwrap();
        let s = ActivationStats::compute(&flat).unwrap();
        // log2 1024; epsilon moves it by 1024 * 1e-10 / ln 2.
        assert!((s.entropy_softmax - 10.0).abs() < 1e-6 && s.sigma == 0.0 && s.sparsity == 0.0);
        assert!(s.entropy_hist.abs() < 1e-9 && s.histogram[0] == 2);
        let nan = Tensor::new(vec![f32::NAN, 1.0], [1, 1, 1, 2], Layout::Nhwc).unwrap();
        assert_eq!(ActivationStats::compute(&nan).unwrap().sparsity, 0.5);
        let infinite = Tensor::new(vec![f32::INFINITY, 1.0], [1, 1, 1, 2], Layout::Nhwc).unwrap();
        assert_eq!(ActivationStats::compute(&infinite), Err(Error::NotFinite));
    }
}
