//! The paired sign-flip permutation test: whether paired differences are symmetric about zero (Fisher's
//! randomization; Good, Permutation, Parametric and Bootstrap Tests of Hypotheses, 2005).

use rayon::prelude::*;
use serde::Serialize;

use super::philox::Philox;

/// Up to so many differences that are not zero, all 2^n sign vectors are counted.
const EXACT: usize = 20;

/// Sums that differ by less than this share of the observed one are ties: another order of adding moves them so far.
const TIE: f64 = 1e-12;

/// The test's result.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct SignFlip {
    /// Mean difference.
    pub mean: f64,
    /// Two-sided p value. Of drawn sign vectors: (1 + as extreme) / (1 + drawn), never 0 (Phipson and Smyth, 2010).
    pub p: f64,
    /// Whether all sign vectors were counted rather than drawn.
    pub exact: bool,
}

/// Tests paired differences by their mean: `flips` sign vectors drawn from `seed`, or all where few differences are
/// not zero. `number` names the test, so that the tests of a study draw independently.
pub fn sign_flip(differences: &[f32], flips: u32, seed: u64, number: u64) -> SignFlip {
    let nonzero: Vec<f64> = differences.iter().filter(|&&d| d != 0.0).map(|&d| f64::from(d)).collect();
    let observed: f64 = nonzero.iter().sum();
    let limit = observed.abs() * (1.0 - TIE);
    let mean = if differences.is_empty() { 0.0 } else { observed / differences.len() as f64 };
    if nonzero.len() <= EXACT {
        let all = 1u64 << nonzero.len();
        let extreme = (0..all).filter(|&bits| flipped_sum(&nonzero, std::iter::once(bits)).abs() >= limit).count();
        return SignFlip { mean, p: extreme as f64 / all as f64, exact: true };
    }
    let is_extreme = |&flip: &u32| {
        let mut random = Philox::new(seed, PURPOSE, number << 32 | u64::from(flip));
        flipped_sum(&nonzero, std::iter::repeat_with(|| random.bits64())).abs() >= limit
    };
    let extreme = (0..flips).into_par_iter().filter(is_extreme).count();
    SignFlip { mean, p: (1 + extreme) as f64 / (1.0 + f64::from(flips)), exact: false }
}

/// What this test's streams are drawn for: no other statistic draws from them.
const PURPOSE: u64 = 0x7369_676e;

/// The sum of the values, each negated where its bit is set.
fn flipped_sum(values: &[f64], bits: impl Iterator<Item = u64>) -> f64 {
    // Four partial sums: an addition need not wait for the one before it.
    let mut sums = [0.0; 4];
    let flipped = |value: f64, bits: u64, i: usize| f64::from_bits(value.to_bits() ^ (bits >> i << 63));
    for (chunk, bits) in values.chunks(64).zip(bits) {
        let (quads, rest) = chunk.as_chunks::<4>();
        for (quad, values) in quads.iter().enumerate() {
            (0..4).for_each(|lane| sums[lane] += flipped(values[lane], bits, 4 * quad + lane));
        }
        rest.iter().enumerate().for_each(|(i, &value)| sums[i] += flipped(value, bits, 4 * quads.len() + i));
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.permutation_test((d,), mean, permutation_type="samples", n_resamples=inf)` of SciPy 1.17.1.
    #[test]
    fn exact_values_are_scipys() {
        for (differences, expected) in GOLDEN {
            let test = sign_flip(differences, 10, 0, 0);
            assert!(test.exact && (test.p - expected).abs() < 1e-12, "{differences:?}: {test:?}");
        }
    }

    const GOLDEN: &[(&[f32], f64)] = &[
        (&[0.5, 1.0, -0.25, 2.0], 0.25),
        (&[1.0, -1.0, 1.0, 1.0, 0.0], 0.625),
        (&[0.1, 0.2, 0.3, 0.4, -0.5, 0.6, 0.7, 0.8, -0.9, 1.0], 0.162109375),
        (&[3.0, -1.5, 0.25, 0.75, -2.0, 4.0, 1.25, -0.5, 0.0, 2.5, 1.0, -3.0], 0.4560546875),
    ];

    #[test]
    fn drawn_values_come_near_the_exact_one() {
        // 22 ones, 16 of them positive: the sum is 10, and 2 P(X >= 16) of a binomial with 22 throws is 0.052479.
        let differences: Vec<f32> = (0..22).map(|i| if i < 16 { 1.0 } else { -1.0 }).collect();
        let test = sign_flip(&differences, 20_000, 3, 0);
        // Four standard deviations of a share of 20,000: 0.0063.
        assert!(!test.exact && (test.p - 0.052_479).abs() < 0.0063, "{test:?}");
        assert_eq!(sign_flip(&differences, 20_000, 3, 0), test);
        assert_ne!(sign_flip(&differences, 20_000, 3, 1).p, test.p);
    }

    #[test]
    fn the_smallest_p_value_counts_the_data_themselves() {
        let test = sign_flip(&[1.0; 64], 999, 0, 0);
        assert_eq!((test.p, test.mean), (0.001, 1.0));
        assert_eq!(sign_flip(&[], 10, 0, 0).p, 1.0);
        assert_eq!(sign_flip(&[0.0; 40], 10, 0, 0), SignFlip { mean: 0.0, p: 1.0, exact: true });
    }
}
