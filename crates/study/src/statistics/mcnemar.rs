//! McNemar's exact test: whether two classifiers that saw the same images differ in accuracy (McNemar, Psychometrika
//! 1947; the exact form is a two-sided binomial test of the discordant images against one half).

use serde::Serialize;

/// The test's result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct McNemar {
    /// Images that only the first classifier got right.
    pub first_only: u64,
    /// Images that only the second got right.
    pub second_only: u64,
    /// Exact two-sided p value.
    pub p: f64,
    /// `first_only / second_only`, the odds ratio of matched pairs (its conditional maximum likelihood estimate:
    /// Breslow and Day, Statistical Methods in Cancer Research I, 1980, section 5.2); none where that is no number.
    pub odds_ratio: Option<f64>,
}

/// Tests the counts of images that only one of two classifiers got right.
pub fn mcnemar(first_only: u64, second_only: u64) -> McNemar {
    let odds_ratio = (second_only > 0).then(|| first_only as f64 / second_only as f64);
    McNemar { first_only, second_only, p: two_sided(first_only.min(second_only), first_only + second_only), odds_ratio }
}

/// min(1, 2 P(X <= k)) for X binomial of n and one half.
///
/// Terms relative to the largest one, from the middle outwards by t(i - 1) = t(i) * i / (n - i + 1): no factorial
/// overflows, and only IEEE operations that give the same bits everywhere.
fn two_sided(k: u64, n: u64) -> f64 {
    let middle = n / 2;
    let (mut term, mut half, mut tail) = (1.0, 0.0, 0.0);
    for i in (0..=middle).rev() {
        half += term;
        if i <= k {
            tail += term;
        }
        term *= i as f64 / (n - i + 1) as f64;
    }
    // The other half mirrors this one; for even n the middle term belongs to neither twice.
    let total = if n.is_multiple_of(2) { 2.0 * half - 1.0 } else { 2.0 * half };
    (2.0 * tail / total).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.binomtest(k, n).pvalue` of SciPy 1.17.1, which statsmodels 0.15.0's `mcnemar(exact=True)` equals.
    #[test]
    fn p_values_are_scipys() {
        for (a, b, expected) in GOLDEN {
            let p = mcnemar(a, b).p;
            // Up to 2e4 terms of one rounding each; SciPy's own error is of that order too.
            assert!((p - expected).abs() <= 1e-10 * expected, "{a} {b}: {p} and {expected}");
            assert_eq!(mcnemar(b, a).p, p);
        }
    }

    const GOLDEN: [(u64, u64, f64); 9] = [
        (1, 0, 1.0),
        (3, 3, 1.0),
        (5, 12, 0.143463134765625),
        (0, 20, 1.9073486328125e-06),
        (30, 51, 0.02565435797169624),
        (250, 300, 0.036578745549102676),
        (1012, 1340, 1.4449657625587944e-11),
        (9000, 9400, 0.0032655409890300887),
        (60, 900, 3.4707003768962834e-193),
    ];

    #[test]
    fn nothing_discordant_says_nothing() {
        assert_eq!(mcnemar(0, 0), McNemar { first_only: 0, second_only: 0, p: 1.0, odds_ratio: None });
        assert_eq!(mcnemar(7, 0).odds_ratio, None);
        assert_eq!(mcnemar(6, 3).odds_ratio, Some(2.0));
    }
}
