//! A score along a walk: its area, and the mean of many with a band around it.

/// The score of a class at each step of a walk.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// One score a step, the first and the last image included: [`STEPS`](super::STEPS) + 1 values from 0 to 1.
    pub scores: Vec<f32>,
}

impl Curve {
    /// Area under the curve by the trapezoid rule over the share of pixels changed, 0 to 1: the sum of the means of
    /// neighbours, divided by the number of steps (RISE's `auc`; the paper's eq. 3 with n intervals).
    pub fn area(&self) -> f64 {
        let pairs = self.scores.windows(2).map(|s| (f64::from(s[0]) + f64::from(s[1])) / 2.0);
        pairs.sum::<f64>() / self.scores.len().saturating_sub(1).max(1) as f64
    }
}

/// Many curves, step by step.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveBand {
    /// Mean score at each step.
    pub mean: Vec<f64>,
    /// Standard error of that mean: the sample's standard deviation (n - 1) over the root of n; 0 for one curve. The mean
    /// plus and minus 1.96 of it is a 95 % interval for many curves.
    pub standard_error: Vec<f64>,
    /// The lower quantile at each step.
    pub low: Vec<f64>,
    /// The upper quantile at each step.
    pub high: Vec<f64>,
}

impl CurveBand {
    /// Of curves with equally many steps, with the quantiles `low` and `high` (0 to 1; 0.25 and 0.75 for the middle
    /// half), interpolated between neighbours as `numpy.quantile` does. None without curves or where their steps differ.
    pub fn of(curves: &[Curve], [low, high]: [f64; 2]) -> Option<Self> {
        let steps = curves.first()?.scores.len();
        if curves.iter().any(|c| c.scores.len() != steps) {
            return None;
        }
        let mut band = Self { mean: vec![], standard_error: vec![], low: vec![], high: vec![] };
        let mut scores = vec![0f32; curves.len()];
        for step in 0..steps {
            scores.iter_mut().zip(curves).for_each(|(score, curve)| *score = curve.scores[step]);
            scores.sort_unstable_by(f32::total_cmp);
            let n = scores.len() as f64;
            let mean = scores.iter().map(|&s| f64::from(s)).sum::<f64>() / n;
            let squares: f64 = scores.iter().map(|&s| (f64::from(s) - mean).powi(2)).sum();
            band.mean.push(mean);
            band.standard_error.push((squares / (n - 1.0).max(1.0) / n).sqrt());
            band.low.push(quantile(&scores, low));
            band.high.push(quantile(&scores, high));
        }
        Some(band)
    }
}

/// The quantile of sorted values, which are at least one.
fn quantile(sorted: &[f32], q: f64) -> f64 {
    let at = q.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (below, share) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    f64::from(sorted[below]) * (1.0 - share) + f64::from(sorted[above]) * share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_by_hand() {
        let area = |scores: &[f32]| Curve { scores: scores.to_vec() }.area();
        assert_eq!(area(&[1.0, 1.0, 1.0]), 1.0);
        assert_eq!(area(&[1.0, 0.0]), 0.5);
        assert_eq!(area(&[0.0, 1.0, 0.0]), 0.5);
        assert_eq!((area(&[]), area(&[0.5])), (0.0, 0.0));
    }

    #[test]
    fn bands_by_hand() {
        let curve = |scores: &[f32]| Curve { scores: scores.to_vec() };
        let curves = [curve(&[0.0, 1.0]), curve(&[0.5, 1.0]), curve(&[1.0, 1.0])];
        let band = CurveBand::of(&curves, [0.25, 0.9]).unwrap();
        assert_eq!((band.mean.as_slice(), band.low.as_slice()), ([0.5, 1.0].as_slice(), [0.25, 1.0].as_slice()));
        assert!((band.high[0] - 0.9).abs() < 1e-12);
        // Deviations of 1/2, 0, 1/2: variance 1/4, over 3.
        assert!((band.standard_error[0] - (0.25f64 / 3.0).sqrt()).abs() < 1e-12 && band.standard_error[1] == 0.0);
        assert_eq!(CurveBand::of(&curves[..1], [0.0, 1.0]).unwrap().standard_error, [0.0, 0.0]);
        assert_eq!(CurveBand::of(&[], [0.0, 1.0]), None);
        assert_eq!(CurveBand::of(&[curve(&[0.0]), curve(&[])], [0.0, 1.0]), None);
    }
}
