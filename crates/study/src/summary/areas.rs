//! Deletion and insertion of a study's images: the areas of each, and the mean curves with their standard errors.

use std::collections::HashMap;

use quantlens_xai::{Curve, STEPS};
use serde::Serialize;

use super::Both;
use crate::curves::CurveRow;
use crate::record::Precision;

/// A mean curve.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Band {
    /// Mean probability at each of the 101 steps.
    pub mean: Vec<f64>,
    /// Its standard error: mean plus and minus 1.96 of it is a 95 % interval.
    pub standard_error: Vec<f64>,
}

/// The mean curves of a network.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Bands {
    /// Images.
    pub images: u64,
    /// While pixels are deleted.
    pub deletion: Band,
    /// While pixels are inserted.
    pub insertion: Band,
}

/// Sums of one network's curves.
#[derive(Debug, Clone)]
struct Sums {
    images: u64,
    /// Deletion and insertion: sum and sum of squares at each step.
    steps: [[[f64; 2]; STEPS + 1]; 2],
}

impl Sums {
    fn add(&mut self, curves: [&[f32]; 2]) {
        self.images += 1;
        for (sums, curve) in self.steps.iter_mut().zip(curves) {
            for ([sum, squares], &x) in sums.iter_mut().zip(curve) {
                *sum += f64::from(x);
                *squares += f64::from(x).powi(2);
            }
        }
    }

    fn bands(&self) -> Bands {
        let n = self.images as f64;
        let band = |sums: &[[f64; 2]; STEPS + 1]| Band {
            mean: sums.iter().map(|[sum, _]| sum / n).collect(),
            standard_error: sums
                .iter()
                .map(|[sum, squares]| {
                    let variance = (squares - sum * sum / n).max(0.0) / (n - 1.0).max(1.0);
                    (variance / n).sqrt()
                })
                .collect(),
        };
        Bands { images: self.images, deletion: band(&self.steps[0]), insertion: band(&self.steps[1]) }
    }
}

/// What is kept of a study's curves.
pub(super) struct Areas {
    names: Vec<String>,
    /// For each pair, by place in the data set: deletion and insertion of the float network, then of the other.
    areas: Vec<HashMap<u64, [[f32; 2]; 2]>>,
    sums: Vec<[Sums; 2]>,
    /// Whether all images have curves rather than the subset.
    pub whole: bool,
}

impl Areas {
    /// None yet, for pairs of these names.
    pub(super) fn new(names: Vec<String>) -> Self {
        let empty = || Sums { images: 0, steps: [[[0.0; 2]; STEPS + 1]; 2] };
        let (areas, sums) = names.iter().map(|_| (HashMap::new(), [empty(), empty()])).unzip();
        Self { names, areas, sums, whole: false }
    }

    pub(super) fn add(&mut self, row: &CurveRow) {
        let pair = self.names.iter().position(|name| *name == row.network);
        let (Some(pair), None) = (pair, &row.error) else { return };
        let which = usize::from(row.precision == Precision::Int8);
        self.sums[pair][which].add([&row.deletion, &row.insertion]);
        let area = |scores: &[f32]| Curve { scores: scores.to_vec() }.area() as f32;
        let areas = self.areas[pair].entry(row.data_index).or_insert([[f32::NAN; 2]; 2]);
        areas[which] = [area(&row.deletion), area(&row.insertion)];
    }

    /// The mean curves of a pair; none without curves of both networks.
    pub(super) fn bands(&self, pair: usize) -> Option<Both<Bands>> {
        let [float, int8] = &self.sums[pair];
        (float.images > 0 && int8.images > 0).then(|| Both { f32: float.bands(), int8: int8.bands() })
    }

    /// Mean areas of a pair over its images with curves of both networks, percent; deletion and insertion of each.
    pub(super) fn means(&self, pair: usize) -> Option<Both<[f64; 2]>> {
        let mut places: Vec<_> =
            self.areas[pair].iter().filter(|(_, a)| !a[0][0].is_nan() && !a[1][0].is_nan()).collect();
        // A sum in the order of the data set is the same every time.
        places.sort_by_key(|(place, _)| **place);
        let mean = |which: usize, kind: usize| {
            100.0 * places.iter().map(|(_, a)| f64::from(a[which][kind])).sum::<f64>() / places.len() as f64
        };
        let of = |which| [mean(which, 0), mean(which, 1)];
        (!places.is_empty()).then(|| Both { f32: of(0), int8: of(1) })
    }

    /// Whether a pair has any curves.
    pub(super) fn any(&self, pair: usize) -> bool {
        !self.areas[pair].is_empty()
    }

    /// Area of an image in percent, NaN where there is none: `kind` 0 deletion, 1 insertion; `which` 0 float, 1 int8.
    pub(super) fn percent(&self, pair: usize, place: u64, which: usize, kind: usize) -> f64 {
        self.areas[pair].get(&place).map_or(f64::NAN, |areas| 100.0 * f64::from(areas[which][kind]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn areas_and_bands_by_hand() {
        let mut all = Areas::new(vec!["a".into()]);
        let row = |place, precision, low: f32| CurveRow {
            image_id: "x".into(),
            data_index: place,
            network: "a".into(),
            precision,
            class: Some(1),
            deletion: (0..=STEPS).map(|i| if i < 50 { 1.0 } else { low }).collect(),
            insertion: vec![low; STEPS + 1],
            error: None,
        };
        all.add(&row(3, Precision::F32, 0.5));
        assert_eq!(all.bands(0), None);
        all.add(&row(4, Precision::F32, 0.0));
        all.add(&row(3, Precision::Int8, 0.25));
        // 49 steps at 1, one at 0.75, 50 at 0.5.
        assert_eq!(all.percent(0, 3, 0, 0), 100.0 * f64::from(0.7475f32));
        assert_eq!((all.percent(0, 3, 1, 1), all.percent(0, 4, 0, 1)), (25.0, 0.0));
        assert!(all.percent(0, 5, 0, 0).is_nan() && all.percent(0, 4, 1, 0).is_nan() && all.any(0));
        // Place 4 lacks int8.
        let means = all.means(0).unwrap();
        assert_eq!((means.f32, means.int8[1]), ([100.0 * f64::from(0.7475f32), 50.0], 25.0));
        let bands = all.bands(0).unwrap();
        assert_eq!((bands.f32.images, bands.int8.images), (2, 1));
        // 0.5 and 0: mean 0.25, sample standard deviation 0.3536, over the root of 2.
        assert_eq!((bands.f32.insertion.mean[7], bands.f32.deletion.mean[0]), (0.25, 1.0));
        assert!((bands.f32.insertion.standard_error[7] - 0.25).abs() < 1e-12);
        assert_eq!(bands.int8.deletion.standard_error[60], 0.0);
    }
}
