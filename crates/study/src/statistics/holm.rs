//! Holm's correction for a family of tests (A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian
//! Journal of Statistics, 1979): valid whatever the tests' dependence.

/// Adjusted p values in the order of `p`: reject where one is at most the level, and the chance of any false
/// rejection in the family is at most the level.
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut largest = 0f64;
    for (rank, &i) in order.iter().enumerate() {
        largest = largest.max(p[i] * (p.len() - rank) as f64).min(1.0);
        adjusted[i] = largest;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `statsmodels.stats.multitest.multipletests(p, method="holm")` of statsmodels 0.15.0.
    #[test]
    fn adjusted_values_are_statsmodels() {
        let p = [0.01, 0.04, 0.03, 0.005, 0.5, 0.03, 1.0, 0.0001];
        for (ours, expected) in holm(&p).into_iter().zip(GOLDEN) {
            assert!((ours - expected).abs() < 1e-15, "{ours} {expected}");
        }
        assert!(holm(&[]).is_empty());
        assert_eq!(holm(&[0.3]), [0.3]);
    }

    const GOLDEN: [f64; 8] = [0.06, 0.15, 0.15, 0.035, 1.0, 0.15, 1.0, 0.0008];
}
