//! How far the maps of two networks on one image are apart.

use crate::map::{cam_map, grey, rmse};
use crate::sign::covariance;

/// Difference of a pair's maps at input size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairDifference {
    /// RMSE of the two 8-bit maps with the signs that were given, 0 to 255.
    pub rmse: f64,
    /// The same after the second projection was flipped where the two correlate negatively.
    pub rmse_aligned: f64,
    /// Whether they correlate negatively.
    pub flipped: bool,
}

impl PairDifference {
    /// Compares two signed projections of a layer of `h` by `w` as maps of `out` = [height, width] pixels.
    ///
    /// # Panics
    /// If `a` or `b` has other than `h * w` values or a size is zero.
    pub fn compute(a: &[f32], b: &[f32], h: usize, w: usize, out: [usize; 2]) -> Self {
        let picture = |p: &[f32]| grey(&cam_map(p, h, w, out[0], out[1]));
        let (first, second) = (picture(a), picture(b));
        let raw = rmse(&first, &second);
        let flipped = covariance(a, b) < 0.0;
        let rmse_aligned = if flipped {
            let turned: Vec<f32> = b.iter().map(|x| 0.0 - x).collect();
            rmse(&first, &picture(&turned))
        } else {
            raw
        };
        Self { rmse: raw, rmse_aligned, flipped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_copy_is_found_and_aligned() {
        let p = [-3.0f32, 1.0, 2.0, 5.0, -1.0, -4.0];
        let negative = p.map(|x| -x);
        let same = PairDifference::compute(&p, &p, 2, 3, [20, 20]);
        assert_eq!(same, PairDifference { rmse: 0.0, rmse_aligned: 0.0, flipped: false });
        let turned = PairDifference::compute(&p, &negative, 2, 3, [20, 20]);
        assert!(turned.flipped && turned.rmse > 50.0 && turned.rmse_aligned == 0.0, "{turned:?}");
    }

    #[test]
    fn blank_maps_compare() {
        let d = PairDifference::compute(&[0.0; 4], &[0.0; 4], 2, 2, [8, 8]);
        assert_eq!((d.rmse, d.flipped), (0.0, false));
    }
}
