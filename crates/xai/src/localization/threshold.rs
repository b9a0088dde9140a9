//! Which grey values of a map are foreground.

use std::fmt;
use std::str::FromStr;

use crate::Error;

/// How a map's foreground is chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Threshold {
    /// Grey above floor(t * largest grey), t from 0 to 1: wsolevaluation's.
    Fixed(f64),
    /// Grey above Otsu's threshold (Otsu 1979): `cv2.THRESH_OTSU`.
    Otsu,
}

impl Threshold {
    /// The grey level above which a pixel of this map is foreground.
    pub fn level(self, grey: &[u8]) -> u8 {
        match self {
            Self::Fixed(t) => threshold_level(t, grey.iter().copied().max().unwrap_or(0)),
            Self::Otsu => otsu(grey),
        }
    }
}

impl Default for Threshold {
    /// t = 0.2.
    fn default() -> Self {
        Self::Fixed(0.2)
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(t) => write!(f, "{t}"),
            Self::Otsu => f.write_str("otsu"),
        }
    }
}

impl FromStr for Threshold {
    type Err = Error;

    /// `otsu`, or a number from 0 to 1.
    fn from_str(s: &str) -> Result<Self, Error> {
        match s.parse::<f64>() {
            Ok(t) if (0.0..=1.0).contains(&t) => Ok(Self::Fixed(t)),
            _ if s == "otsu" => Ok(Self::Otsu),
            _ => Err(Error::UnknownThreshold(s.to_string())),
        }
    }
}

/// floor(t * max): pixels above it are foreground. `t` outside 0 to 1 gives 0 or 255.
pub fn threshold_level(t: f64, max: u8) -> u8 {
    // `as` drops the fraction and saturates.
    (t * f64::from(max)) as u8
}

/// The thresholds 0, step, 2 step, ... below 1, as `numpy.arange(0, 1, step)`; wsolevaluation sweeps 0.001.
///
/// # Errors
/// [`Error::SweepStep`] for a step below 0.00001 or above 1.
pub fn threshold_sweep(step: f64) -> Result<Vec<f64>, Error> {
    if !(1e-5..=1.0).contains(&step) {
        return Err(Error::SweepStep(step));
    }
    let count = (1.0 / step).ceil() as usize;
    Ok((0..count).map(|i| i as f64 * step).collect())
}

/// Otsu's threshold of 8-bit values: the level that maximizes the variance between those at most it and those above,
/// the lowest of equals; 0 where all values are equal. In the order of operations of `cv2.threshold`, so that equal
/// variances fall the same way.
pub fn otsu(grey: &[u8]) -> u8 {
    let counts = counts(grey);
    let scale = 1.0 / grey.len().max(1) as f64;
    let mean = counts.iter().enumerate().map(|(g, &n)| g as f64 * n as f64).sum::<f64>() * scale;
    let (mut share_below, mut mean_below) = (0.0f64, 0.0f64);
    let (mut best, mut largest) = (0, 0.0);
    for (level, &count) in (0..=255u8).zip(&counts) {
        let share = count as f64 * scale;
        let moment = mean_below * share_below;
        share_below += share;
        let share_above = 1.0 - share_below;
        let least = f64::from(f32::EPSILON);
        if share_below.min(share_above) < least || share_below.max(share_above) > 1.0 - least {
            mean_below = moment;
            continue;
        }
        mean_below = (moment + f64::from(level) * share) / share_below;
        let mean_above = (mean - share_below * mean_below) / share_above;
        let variance = share_below * share_above * (mean_below - mean_above) * (mean_below - mean_above);
        if variance > largest {
            (best, largest) = (level, variance);
        }
    }
    best
}

/// How often each grey occurs.
pub(super) fn counts(grey: &[u8]) -> [u64; 256] {
    // Four tables: neighbours are often equal, and adding to one number again waits for the last time.
    let mut tables = [[0u64; 256]; 4];
    let (quads, rest) = grey.as_chunks::<4>();
    for quad in quads {
        tables.iter_mut().zip(quad).for_each(|(table, &g)| table[usize::from(g)] += 1);
    }
    rest.iter().for_each(|&g| tables[0][usize::from(g)] += 1);
    std::array::from_fn(|g| tables.iter().map(|table| table[g]).sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        assert_eq!(threshold_level(0.2, 255), 51);
        assert_eq!(threshold_level(0.2, 254), 50);
        assert_eq!(threshold_level(1.0, 255), 255);
        assert_eq!((threshold_level(-1.0, 9), threshold_level(f64::NAN, 9)), (0, 0));
        assert_eq!(Threshold::Fixed(0.5).level(&[3, 9]), 4);
        assert_eq!(Threshold::default().level(&[]), 0);
    }

    #[test]
    fn sweeps() {
        assert_eq!(threshold_sweep(0.25).unwrap(), [0.0, 0.25, 0.5, 0.75]);
        let fine = threshold_sweep(0.001).unwrap();
        assert_eq!((fine.len(), fine[999]), (1000, 0.999));
        assert_eq!(threshold_sweep(0.3).unwrap().len(), 4);
        for step in [0.0, -1.0, 1.5, f64::NAN] {
            assert!(threshold_sweep(step).is_err());
        }
    }

    #[test]
    fn names() {
        assert_eq!("otsu".parse(), Ok(Threshold::Otsu));
        assert_eq!("0.35".parse(), Ok(Threshold::Fixed(0.35)));
        for bad in ["", "Otsu", "1.1", "-0.1", "NaN"] {
            assert_eq!(bad.parse::<Threshold>(), Err(Error::UnknownThreshold(bad.into())));
        }
        assert_eq!(Threshold::Fixed(0.2).to_string().parse(), Ok(Threshold::default()));
    }
}
