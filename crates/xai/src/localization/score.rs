//! How well predicted boxes meet true ones: IoU, its mean, localization accuracies, MaxBoxAcc and MaxBoxAccV2.

use super::{PixelBox, threshold_level};
use crate::Error;

/// Intersection over union of two boxes x0, y0, x1, y1 whose last pixels belong to them (sizes are x1 - x0 + 1):
/// wsolevaluation's `calculate_multiple_iou`. 0 to 1; a box the wrong way round gives 0.
///
/// wsolevaluation drops the fractions of true boxes after scaling them to the picture; pass them so for its numbers.
pub fn iou(a: [f64; 4], b: [f64; 4]) -> f64 {
    let area = |[x0, y0, x1, y1]: [f64; 4]| (x1 - x0 + 1.0).max(0.0) * (y1 - y0 + 1.0).max(0.0);
    let common = area([a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])]);
    let union = area(a) + area(b) - common;
    if union > 0.0 { common / union } else { 0.0 }
}

/// IoU with the best-matching true box; none where there are no true boxes.
pub fn best_iou(found: PixelBox, truths: &[[f64; 4]]) -> Option<f64> {
    truths.iter().map(|&truth| iou(found.corners(), truth)).reduce(f64::max)
}

/// IoU of a map's box at every threshold, 8 bytes for each grey level up to the map's largest (2 KB as a rule): all
/// that sweeps need of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct IouCurve {
    /// IoU of the box of the pixels above grey level i, i from 0 to the map's largest grey (where it is 0).
    pub by_level: Vec<f64>,
}

impl IouCurve {
    /// IoU at threshold `t`, 0 to 1: [`threshold_level`] says which level that is.
    pub fn at(&self, t: f64) -> f64 {
        let max = self.by_level.len().saturating_sub(1).min(255) as u8;
        self.by_level.get(usize::from(threshold_level(t, max))).copied().unwrap_or(0.0)
    }
}

/// Share of images whose box reaches an IoU, for each threshold of a sweep (Choe et al. 2020). Shards merge.
#[derive(Debug, Clone, PartialEq)]
pub struct BoxAccuracy {
    thresholds: Vec<f64>,
    /// For each of [`BoxAccuracy::IOUS`], images that reach it, by threshold.
    correct: [Vec<u64>; 3],
    /// Sum of IoUs by threshold.
    sums: Vec<f64>,
    images: u64,
}

/// A best value of a sweep and where it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SweepBest {
    /// The largest value, 0 to 1.
    pub value: f64,
    /// The lowest threshold that gives it.
    pub threshold: f64,
}

impl BoxAccuracy {
    /// IoUs that MaxBoxAccV2 averages over.
    pub const IOUS: [f64; 3] = [0.3, 0.5, 0.7];

    /// Over these thresholds, each 0 to 1.
    pub fn new(thresholds: &[f64]) -> Self {
        let n = thresholds.len();
        let correct = [(); 3].map(|()| vec![0; n]);
        Self { thresholds: thresholds.to_vec(), correct, sums: vec![0.0; n], images: 0 }
    }

    /// Counts one image.
    pub fn add(&mut self, curve: &IouCurve) {
        self.images += 1;
        for (i, &t) in self.thresholds.iter().enumerate() {
            let iou = curve.at(t);
            self.sums[i] += iou;
            for (counts, level) in self.correct.iter_mut().zip(Self::IOUS) {
                counts[i] += u64::from(iou >= level);
            }
        }
    }

    /// Adds the images of another part of the data set.
    ///
    /// # Errors
    /// [`Error::Length`] where the other's thresholds are not the same.
    pub fn merge(&mut self, other: &Self) -> Result<(), Error> {
        if self.thresholds != other.thresholds {
            let (expected, found) = (self.thresholds.len(), other.thresholds.len());
            return Err(Error::Length { what: "thresholds of two sweeps, which must be the same", expected, found });
        }
        self.images += other.images;
        self.sums.iter_mut().zip(&other.sums).for_each(|(a, b)| *a += b);
        for (own, others) in self.correct.iter_mut().zip(&other.correct) {
            own.iter_mut().zip(others).for_each(|(a, b)| *a += b);
        }
        Ok(())
    }

    /// Images counted.
    pub fn images(&self) -> u64 {
        self.images
    }

    /// The thresholds of the sweep.
    pub fn thresholds(&self) -> &[f64] {
        &self.thresholds
    }

    /// Share of images with an IoU of 0.5 or more, by threshold: GT-known localization accuracy.
    pub fn gt_known(&self) -> Vec<f64> {
        self.correct[1].iter().map(|&n| n as f64 / self.images.max(1) as f64).collect()
    }

    /// Mean IoU by threshold.
    pub fn mean_iou(&self) -> Vec<f64> {
        self.sums.iter().map(|s| s / self.images.max(1) as f64).collect()
    }

    /// The best threshold by mean IoU; none without images or thresholds.
    pub fn best_mean_iou(&self) -> Option<SweepBest> {
        self.best(&self.mean_iou())
    }

    /// MaxBoxAcc: [`BoxAccuracy::gt_known`] at its best threshold; none without images or thresholds.
    pub fn max_box_acc(&self) -> Option<SweepBest> {
        self.best(&self.gt_known())
    }

    /// MaxBoxAccV2: the mean over IoUs of 0.3, 0.5 and 0.7 of the accuracy at the best threshold of each. The published
    /// number takes curves of [`BoxRule::BestContour`](super::BoxRule).
    pub fn max_box_acc_v2(&self) -> Option<f64> {
        let most = |counts: &Vec<u64>| counts.iter().copied().max();
        let sum: u64 = self.correct.iter().map(most).sum::<Option<u64>>()?;
        (self.images > 0).then(|| sum as f64 / Self::IOUS.len() as f64 / self.images as f64)
    }

    /// The best accuracy and its threshold for each of [`BoxAccuracy::IOUS`]; none without images or thresholds.
    pub fn best_by_iou(&self) -> Option<[SweepBest; 3]> {
        let best = |counts: &Vec<u64>| {
            let shares: Vec<f64> = counts.iter().map(|&n| n as f64 / self.images.max(1) as f64).collect();
            self.best(&shares)
        };
        let [a, b, c] = &self.correct;
        Some([best(a)?, best(b)?, best(c)?])
    }

    fn best(&self, values: &[f64]) -> Option<SweepBest> {
        let all = values.iter().zip(&self.thresholds).map(|(&value, &threshold)| SweepBest { value, threshold });
        all.reduce(|best, next| if next.value > best.value { next } else { best }).filter(|_| self.images > 0)
    }
}

/// Localization at one threshold, over images.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct LocalizationTally {
    /// Images with a true box.
    pub images: u64,
    /// Images without one, which count nowhere else.
    pub excluded: u64,
    /// Sum of IoUs.
    pub iou_sum: f64,
    /// Images with an IoU of 0.5 or more.
    pub localized: u64,
    /// Images with an IoU, of which it is known whether the class was right.
    pub classified: u64,
    /// Those of them with an IoU of 0.5 or more and the right class.
    pub localized_and_right: u64,
}

impl LocalizationTally {
    /// Counts one image: its IoU (none without a true box) and whether its most probable class is the true one (none
    /// where the class is not known).
    pub fn add(&mut self, iou: Option<f64>, right: Option<bool>) {
        let Some(iou) = iou else {
            self.excluded += 1;
            return;
        };
        let localized = iou >= 0.5;
        self.images += 1;
        self.iou_sum += iou;
        self.localized += u64::from(localized);
        if let Some(right) = right {
            self.classified += 1;
            self.localized_and_right += u64::from(localized && right);
        }
    }

    /// Mean IoU, 0 to 1 (the paper's WSOL score); none without images.
    pub fn mean_iou(&self) -> Option<f64> {
        (self.images > 0).then(|| self.iou_sum / self.images as f64)
    }

    /// GT-known localization accuracy: share of images with an IoU of 0.5 or more.
    pub fn gt_known(&self) -> Option<f64> {
        (self.images > 0).then(|| self.localized as f64 / self.images as f64)
    }

    /// Top-1 localization accuracy: share with an IoU of 0.5 or more and the right class, of those whose class is known.
    pub fn top1(&self) -> Option<f64> {
        (self.classified > 0).then(|| self.localized_and_right as f64 / self.classified as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iou_counts_last_pixels() {
        assert_eq!(iou([0.0; 4], [0.0; 4]), 1.0);
        assert_eq!(iou([0.0, 0.0, 1.0, 1.0], [1.0, 1.0, 2.0, 2.0]), 1.0 / 7.0);
        assert_eq!(iou([0.0, 0.0, 1.0, 1.0], [2.0, 0.0, 3.0, 1.0]), 0.0);
        assert_eq!(iou([5.0, 0.0, 1.0, 1.0], [5.0, 0.0, 1.0, 1.0]), 0.0);
        let truths = [[0.0, 0.0, 9.0, 9.0], [0.0, 0.0, 1.0, 1.0]];
        assert_eq!(best_iou(PixelBox::from([0, 0, 1, 1]), &truths), Some(1.0));
        assert_eq!(best_iou(PixelBox::from([0, 0, 1, 1]), &[]), None);
    }

    #[test]
    fn sweeps_take_the_best_threshold_of_each_iou() {
        // Levels of t = 0, 0.5 with a largest grey of 3: 0 and 1.
        let (a, b) = (IouCurve { by_level: vec![0.3, 0.9, 0.0, 0.0] }, IouCurve { by_level: vec![0.5, 0.1, 0.0, 0.0] });
        let mut all = BoxAccuracy::new(&[0.0, 0.5, 1.0]);
        assert_eq!((all.max_box_acc(), all.max_box_acc_v2()), (None, None));
        all.add(&a);
        let mut other = BoxAccuracy::new(&[0.0, 0.5, 1.0]);
        other.add(&b);
        all.merge(&other).unwrap();
        assert_eq!(all.gt_known(), [0.5, 0.5, 0.0]);
        assert_eq!(all.max_box_acc(), Some(SweepBest { value: 0.5, threshold: 0.0 }));
        assert_eq!(all.best_mean_iou(), Some(SweepBest { value: 0.5, threshold: 0.5 }));
        // 0.3: both at t = 0; 0.5: one; 0.7: one at t = 0.5.
        assert_eq!(all.max_box_acc_v2(), Some(4.0 / 6.0));
        let best = all.best_by_iou().unwrap().map(|b| (b.value, b.threshold));
        assert_eq!(best, [(1.0, 0.0), (0.5, 0.0), (0.5, 0.5)]);
        assert!(all.merge(&BoxAccuracy::new(&[0.1])).is_err());
    }

    #[test]
    fn tallies() {
        let mut tally = LocalizationTally::default();
        assert_eq!((tally.mean_iou(), tally.gt_known(), tally.top1()), (None, None, None));
        for (iou, right) in [(Some(0.5), Some(true)), (Some(0.75), Some(false)), (Some(0.25), None), (None, Some(true))]
        {
            tally.add(iou, right);
        }
        assert_eq!((tally.mean_iou(), tally.gt_known(), tally.top1()), (Some(0.5), Some(2.0 / 3.0), Some(0.5)));
        assert_eq!((tally.images, tally.excluded), (3, 1));
    }
}
