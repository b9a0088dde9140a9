//! Histograms of activations, their entropy and their overlap.

/// Bins of every histogram.
pub const BINS: usize = 256;

/// Histogram of the mean over channels (one value a position), min-max normalized to 0..=1: bin floor(256 x), 1 in the
/// last bin. A constant mean lies in bin 0, as do NaN values.
pub fn mean_activation_histogram(mean_activation: &[f32]) -> [u32; BINS] {
    let mut counts = [0; BINS];
    bins(mean_activation, |bin| counts[bin] += 1);
    counts
}

/// Calls `count` with the bin of each value between the smallest (bin 0) and the largest (bin 255).
pub(crate) fn bins(values: &[f32], mut count: impl FnMut(usize)) {
    let low = f64::from(values.iter().copied().fold(f32::INFINITY, f32::min));
    let high = f64::from(values.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let range = if high > low { high - low } else { 1.0 };
    for &x in values {
        let bin = (f64::from(x) - low) / range * BINS as f64;
        // `as` maps NaN to 0.
        count((bin as usize).min(BINS - 1));
    }
}

/// Entropy in bits of the shares that counts make of their sum, -sum(s * log2(s + 1e-10)) (the paper's eq. 5): at most
/// 8 for 256 bins. 0 where all counts are 0.
pub fn entropy_of_counts(counts: &[u64]) -> f64 {
    let total: u64 = counts.iter().sum();
    if total == 0 {
        return 0.0;
    }
    let shares = counts.iter().filter(|&&c| c > 0).map(|&c| c as f64 / total as f64);
    -shares.map(|s| s * (s + 1e-10).log2()).sum::<f64>()
}

/// Sorensen-Dice of two histograms, 2 sum(min(a, b)) / (sum a + sum b), 0 to 1; 1 where both are empty. Give both in
/// one unit: shares, or counts of equally many values.
///
/// # Panics
/// If they differ in length.
pub fn dice(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "Dice of histograms with different bins");
    let total = a.iter().sum::<f64>() + b.iter().sum::<f64>();
    let common: f64 = a.iter().zip(b).map(|(x, y)| x.min(*y)).sum();
    if total > 0.0 { 2.0 * common / total } else { 1.0 }
}

/// [`dice`] of counts, each divided by its own total first.
///
/// # Panics
/// If they differ in length.
pub fn dice_counts(a: &[u64], b: &[u64]) -> f64 {
    let shares = |counts: &[u64]| -> Vec<f64> {
        let total = counts.iter().sum::<u64>().max(1) as f64;
        counts.iter().map(|&c| c as f64 / total).collect()
    };
    dice(&shares(a), &shares(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_lie_in_the_first_and_last_bin() {
        let h = mean_activation_histogram(&[2.0, 3.0, 2.5, 2.0, 2.999]);
        assert_eq!((h[0], h[128], h[255], h.iter().sum::<u32>()), (2, 1, 2, 5));
        assert_eq!(mean_activation_histogram(&[4.0; 49])[0], 49);
        assert_eq!(mean_activation_histogram(&[]).iter().sum::<u32>(), 0);
    }

    #[test]
    fn entropy_of_known_distributions() {
        // 1e-10 inside the logarithm moves these by less than 1e-7.
        assert!((entropy_of_counts(&[3; 256]) - 8.0).abs() < 1e-6);
        assert!((entropy_of_counts(&[5, 0, 5]) - 1.0).abs() < 1e-6);
        assert!(entropy_of_counts(&[9, 0]).abs() < 1e-6);
        assert_eq!(entropy_of_counts(&[0, 0]), 0.0);
    }

    #[test]
    fn dice_by_hand() {
        assert_eq!(dice(&[1.0, 2.0, 0.0], &[1.0, 0.0, 2.0]), 2.0 / 6.0);
        assert_eq!(dice_counts(&[1, 1], &[5, 5]), 1.0);
        assert_eq!(dice_counts(&[3, 1], &[1, 3]), 0.5);
        assert_eq!(dice(&[0.0], &[0.0]), 1.0);
    }
}
