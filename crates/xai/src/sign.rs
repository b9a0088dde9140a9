//! Which way up a map is: the sign of a singular vector is arbitrary, and each policy is one way to choose it.

use std::fmt;
use std::str::FromStr;

use crate::random::SplitMix64;
use crate::{EigenCam, Error};

/// How the sign of EigenCAM's projection is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SignPolicy {
    /// The top-left position projects negative: what NumPy's SVD (LAPACK's gesdd) returns for a matrix with at least
    /// 1.7 channels a position, so what pytorch-grad-cam shows. Not a theorem: of 1,954 maps of a real MobileNetV2 pair
    /// three had the other sign, each with a second eigenvalue above 93 % of the first ([`EigenCam::gap`] below 0.07).
    Lapack,
    /// The projection correlates positively with the mean activation.
    Mean,
    /// The value of largest magnitude is positive (pytorch-grad-cam's newer correction).
    Peak,
    /// A fair coin for each image, drawn from this seed and the image's id: to test a hypothesis.
    Random(u64),
}

impl SignPolicy {
    /// The projection `p` with this policy's sign.
    ///
    /// `mean_activation` has one value a position like `p`; `channels` are the layer's. `image_id` is drawn from by
    /// [`SignPolicy::Random`] alone; give the maps of a pair different ids where their coins shall be independent.
    /// Where a policy says nothing (a zero correlation, a top-left value of 0), `p` keeps its sign.
    ///
    /// # Errors
    /// [`Error::LapackSign`] for `lapack` with fewer than 1.7 channels a position, [`Error::Length`] where
    /// `mean_activation` and `p` differ in length.
    pub fn apply(self, p: &[f32], mean_activation: &[f32], channels: usize, image_id: &str) -> Result<Vec<f32>, Error> {
        if p.len() != mean_activation.len() {
            let (expected, found) = (p.len(), mean_activation.len());
            return Err(Error::Length { what: "mean activation", expected, found });
        }
        let flip = match self {
            Self::Lapack if channels * 10 < p.len() * 17 => {
                return Err(Error::LapackSign { channels, positions: p.len() });
            }
            Self::Lapack => p.first().is_some_and(|&x| x > 0.0),
            Self::Mean => covariance(p, mean_activation) < 0.0,
            Self::Peak => {
                let (low, high) = p.iter().fold((0f32, 0f32), |(low, high), &x| (low.min(x), high.max(x)));
                -low > high
            }
            Self::Random(seed) => coin(seed, image_id),
        };
        // 0 - x rather than -x: no negative zeros.
        Ok(p.iter().map(|&x| if flip { 0.0 - x } else { x }).collect())
    }
}

impl EigenCam {
    /// The projection with the policy's sign: see [`SignPolicy::apply`].
    ///
    /// # Errors
    /// [`Error::LapackSign`] for `lapack` with fewer than 1.7 channels a position.
    pub fn signed(&self, policy: SignPolicy, image_id: &str) -> Result<Vec<f32>, Error> {
        policy.apply(&self.p, &self.mean_activation, self.channels, image_id)
    }
}

/// Sum of products of deviations from the means; its sign is the correlation's.
pub fn covariance(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
    let (mean_a, mean_b) = (mean(a), mean(b));
    a.iter().zip(b).map(|(&x, &y)| (f64::from(x) - mean_a) * (f64::from(y) - mean_b)).sum()
}

/// The last bit that SplitMix64 draws for the id: the same on every machine.
fn coin(seed: u64, id: &str) -> bool {
    SplitMix64::named(seed, id).next() & 1 == 1
}

impl fmt::Display for SignPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lapack => f.write_str("lapack"),
            Self::Mean => f.write_str("mean"),
            Self::Peak => f.write_str("peak"),
            Self::Random(seed) => write!(f, "random:{seed}"),
        }
    }
}

impl FromStr for SignPolicy {
    type Err = Error;

    /// `lapack`, `mean`, `peak`, `random:SEED` (or `random`, which is seed 0).
    fn from_str(s: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownPolicy(s.to_string());
        match s {
            "lapack" => Ok(Self::Lapack),
            "mean" => Ok(Self::Mean),
            "peak" => Ok(Self::Peak),
            "random" => Ok(Self::Random(0)),
            _ => {
                let seed = s.strip_prefix("random:").or_else(|| s.strip_prefix("random(")?.strip_suffix(')'));
                Ok(Self::Random(seed.ok_or_else(unknown)?.parse().map_err(|_| unknown())?))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_does_what_it_says() {
        let (p, mean) = ([1.0f32, -5.0, 2.0, 2.0], [0.0f32, 3.0, 1.0, 1.0]);
        let flipped = [-1.0f32, 5.0, -2.0, -2.0];
        let at = |policy: SignPolicy, c| policy.apply(&p, &mean, c, "a");
        assert_eq!(at(SignPolicy::Lapack, 7).unwrap(), flipped);
        assert_eq!(SignPolicy::Lapack.apply(&flipped, &mean, 7, "a").unwrap(), flipped);
        assert_eq!(at(SignPolicy::Lapack, 6), Err(Error::LapackSign { channels: 6, positions: 4 }));
        assert!(at(SignPolicy::Lapack, 6).unwrap_err().to_string().contains("1.7 channels a position"));
        assert_eq!(at(SignPolicy::Mean, 1).unwrap(), flipped);
        assert_eq!(SignPolicy::Mean.apply(&flipped, &mean, 1, "a").unwrap(), flipped);
        assert_eq!(at(SignPolicy::Peak, 1).unwrap(), flipped);
        assert!(SignPolicy::Peak.apply(&p, &mean[1..], 1, "a").is_err());
    }

    #[test]
    fn zeros_do_not_become_negative() {
        let p = SignPolicy::Peak.apply(&[0.0, -1.0], &[0.0; 2], 1, "").unwrap();
        assert!(p[0].is_sign_positive());
    }

    #[test]
    fn coins_are_fair_repeatable_and_seeded() {
        let heads = |seed| (0..1000).filter(|i| coin(seed, &format!("image{i}"))).count();
        for seed in 0..4 {
            // Four standard deviations of a fair coin over 1000 throws.
            assert!(heads(seed).abs_diff(500) < 64, "{}", heads(seed));
        }
        assert_eq!(coin(1, "a"), coin(1, "a"));
        assert!((0..64).any(|seed| coin(seed, "a") != coin(0, "a")));
    }

    #[test]
    fn names_come_back() {
        for policy in [SignPolicy::Lapack, SignPolicy::Mean, SignPolicy::Peak, SignPolicy::Random(7)] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        assert_eq!("random(9)".parse(), Ok(SignPolicy::Random(9)));
        for bad in ["", "Lapack", "random:", "random:x", "random(1"] {
            assert_eq!(bad.parse::<SignPolicy>(), Err(Error::UnknownPolicy(bad.into())));
        }
    }
}
