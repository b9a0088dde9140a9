//! Effect sizes of paired differences: how large a difference is, whatever its p value.

/// The mean; NaN of nothing.
pub fn mean(values: &[f32]) -> f64 {
    values.iter().map(|&x| f64::from(x)).sum::<f64>() / values.len() as f64
}

/// Cohen's d_z: the mean of the differences in units of their standard deviation (n - 1 in the denominator; Lakens:
/// Calculating and reporting effect sizes, Frontiers in Psychology 2013, eq. 6). None where the differences are fewer
/// than two or all the same.
pub fn cohens_dz(differences: &[f32]) -> Option<f64> {
    let centre = mean(differences);
    let squares: f64 = differences.iter().map(|&d| (f64::from(d) - centre).powi(2)).sum();
    let deviation = (squares / differences.len().checked_sub(1).filter(|&n| n > 0)? as f64).sqrt();
    (deviation > 0.0).then(|| centre / deviation)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Mean 2, deviations -1, 0, 1: standard deviation 1.
        assert_eq!(cohens_dz(&[1.0, 2.0, 3.0]), Some(2.0));
        assert_eq!(cohens_dz(&[-3.0, -1.0]), Some(-2.0 / 2f64.sqrt()));
        assert_eq!((cohens_dz(&[]), cohens_dz(&[1.0]), cohens_dz(&[1.0, 1.0])), (None, None, None));
    }
}
