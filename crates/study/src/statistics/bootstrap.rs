//! The percentile bootstrap over images (Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13):
//! images are drawn with replacement as often as there are images, and every statistic is computed of the drawn ones.
//! A resample is a count for each image, not a copy.

use rayon::prelude::*;
use serde::Serialize;

use super::philox::Philox;

/// A mean over images: values in the order of the resampled images, NaN where an image has none (no label, no box).
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    values: Vec<f32>,
    /// 1 where there is a value and 0 where there is none; absent where all are there.
    present: Option<Vec<f32>>,
}

impl Column {
    /// A column of these values.
    pub fn new(mut values: Vec<f32>) -> Self {
        let present = values.iter().any(|x| x.is_nan()).then(|| {
            let flags = values.iter().map(|x| f32::from(u8::from(!x.is_nan()))).collect();
            values.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
            flags
        });
        Self { values, present }
    }
}

/// The columns of a resampled set.
#[derive(Debug, Clone, Copy)]
pub struct Selection<'a> {
    /// Number of images drawn from, and drawn.
    pub images: usize,
    /// Means over all drawn images; each column has `images` values.
    pub all: &'a [Column],
    /// Means over the first `top_count` drawn images in the columns' order, which therefore is the ranking's: the
    /// subset is chosen again in each resample. Values beyond the last one that can be reached may be left out.
    pub top: &'a [Column],
    /// Drawn images in the subset.
    pub top_count: usize,
}

/// How intervals are made.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Bootstrap {
    /// Seed of the draws.
    pub seed: u64,
    /// Number of resamples.
    pub resamples: u32,
    /// Share of the resamples inside the interval.
    pub level: f64,
}

impl Default for Bootstrap {
    /// 10,000 resamples, 95 %, seed 0.
    fn default() -> Self {
        Self { seed: 0, resamples: 10_000, level: 0.95 }
    }
}

/// The ends of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Bootstrap {
    /// The interval of each column, those of `all` first. `number` names the set: sets of one number draw the same
    /// images. None where the set is empty or no resample had a value. `progress` is told of the draws that are done;
    /// there are `images * resamples`.
    pub fn intervals(&self, number: u64, set: Selection<'_>, progress: &(dyn Fn(u64) + Sync)) -> Vec<Option<Interval>> {
        let columns = set.all.len() + set.top.len();
        let images = u32::try_from(set.images).unwrap_or(0);
        if images == 0 || columns == 0 {
            return vec![None; columns];
        }
        let together = |memory: &mut Memory, first: usize| {
            let several = (first..(first + TOGETHER).min(self.resamples as usize)).map(|r| r as u64);
            for (weights, resample) in memory.weights.iter_mut().zip(several.clone()) {
                weights.resize(set.images, 0);
                Philox::new(self.seed, PURPOSE, number << 32 | resample).resample(weights);
            }
            let found = memory.means(several.count(), set);
            progress(found.len() as u64 * set.images as u64);
            found
        };
        let firsts: Vec<usize> = (0..self.resamples as usize).step_by(TOGETHER).collect();
        let all: Vec<Vec<f64>> = firsts.into_par_iter().map_init(Memory::default, together).flatten_iter().collect();
        (0..columns).map(|column| self.interval(all.iter().map(|means| means[column]))).collect()
    }

    /// The middle of the values that are numbers; quantiles interpolate linearly (NumPy's default).
    fn interval(&self, values: impl Iterator<Item = f64>) -> Option<Interval> {
        let mut values: Vec<f64> = values.filter(|x| !x.is_nan()).collect();
        values.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let place = q * values.len().checked_sub(1)? as f64;
            let below = values[place.floor() as usize];
            Some(below + (values[place.ceil() as usize] - below) * place.fract())
        };
        let outside = (1.0 - self.level) / 2.0;
        Some(Interval { low: quantile(outside)?, high: quantile(1.0 - outside)? })
    }
}

/// What this statistic's streams are drawn for.
const PURPOSE: u64 = 0x626f_6f74;

/// Resamples that a pass over the columns serves: as many weights of 50,000 images as a second-level cache holds.
const TOGETHER: usize = 4;

/// Images whose weights are turned into floating-point numbers at a time.
const BLOCK: usize = 1024;

/// Partial sums, so that the processor can add several at once in a fixed order.
const LANES: usize = 8;

/// What a thread needs to make resamples.
#[derive(Default)]
struct Memory {
    /// How often each image was drawn, by resample.
    weights: [Vec<u16>; TOGETHER],
}

impl Memory {
    /// The columns' means of the first `count` resamples. The weights are used up.
    fn means(&mut self, count: usize, set: Selection<'_>) -> Vec<Vec<f64>> {
        let weights = &mut self.weights[..count];
        let mut means = means_of_all(weights, set);
        for (means, weights) in means.iter_mut().zip(weights) {
            means_of_top(weights, set, means);
        }
        means
    }
}

/// Each resample's means over all drawn images.
fn means_of_all(weights: &[Vec<u16>], set: Selection<'_>) -> Vec<Vec<f64>> {
    // The sum of each column, then that of its flags; flags of several columns are often the same ones.
    let mut masks: Vec<&[f32]> = Vec::new();
    for flags in set.all.iter().filter_map(|c| c.present.as_ref()) {
        if !masks.contains(&flags.as_slice()) {
            masks.push(flags);
        }
    }
    let place = |flags: &Vec<f32>| masks.iter().position(|m| *m == flags.as_slice());
    let places: Vec<Option<usize>> = set.all.iter().map(|c| c.present.as_ref().and_then(place)).collect();
    let lists: Vec<&[f32]> = set.all.iter().map(|c| c.values.as_slice()).chain(masks.iter().copied()).collect();
    let sums = weighted_sums(weights, &lists);
    let means = |sums: &Vec<f64>| {
        let total = |place: Option<usize>| place.map_or(set.images as f64, |place| sums[set.all.len() + place]);
        places.iter().zip(sums).map(|(place, sum)| sum / total(*place)).collect()
    };
    sums.iter().map(means).collect()
}

/// Adds a resample's means over its subset.
fn means_of_top(weights: &mut [u16], set: Selection<'_>, means: &mut Vec<f64>) {
    let Some(first) = set.top.first() else { return };
    let mut left = set.top_count;
    let mut reached = 0;
    for weight in weights.iter_mut().take(first.values.len()) {
        *weight = (*weight).min(u16::try_from(left).unwrap_or(u16::MAX));
        left -= usize::from(*weight);
        reached += 1;
        if left == 0 {
            break;
        }
    }
    let taken = (set.top_count - left) as f64;
    let weights: Vec<f64> = weights[..reached].iter().map(|&w| f64::from(w)).collect();
    means.extend(set.top.iter().map(|column| {
        let sum = |values: &[f32]| {
            let mut lanes = [0.0; LANES];
            add_weighted(&mut lanes, &weights, values) + lanes.iter().sum::<f64>()
        };
        sum(&column.values) / column.present.as_ref().map_or(taken, |flags| sum(flags))
    }));
}

/// By resample, the sum of weight times value of each list.
fn weighted_sums(weights: &[Vec<u16>], lists: &[&[f32]]) -> Vec<Vec<f64>> {
    let images = weights.first().map_or(0, Vec::len);
    let mut lanes = vec![vec![[0.0; LANES]; lists.len()]; weights.len()];
    let mut rest = vec![vec![0.0; lists.len()]; weights.len()];
    let mut block = vec![[0f64; BLOCK]; weights.len()];
    for start in (0..images).step_by(BLOCK) {
        let len = BLOCK.min(images - start);
        for (block, weights) in block.iter_mut().zip(weights) {
            block.iter_mut().zip(&weights[start..start + len]).for_each(|(wide, &w)| *wide = f64::from(w));
        }
        for (list, values) in lists.iter().enumerate() {
            let values = &values[start..start + len];
            for (resample, block) in block.iter().enumerate() {
                rest[resample][list] += add_weighted(&mut lanes[resample][list], &block[..len], values);
            }
        }
    }
    let sums = |(lanes, rest): (Vec<[f64; LANES]>, Vec<f64>)| {
        lanes.iter().zip(rest).map(|(lanes, rest)| lanes.iter().sum::<f64>() + rest).collect()
    };
    lanes.into_iter().zip(rest).map(sums).collect()
}

/// Adds weight times value to partial sums; returns the sum of what is left at the end, fewer than [`LANES`].
fn add_weighted(sums: &mut [f64; LANES], weights: &[f64], values: &[f32]) -> f64 {
    let ((w, w_rest), (v, v_rest)) = (weights.as_chunks::<LANES>(), values[..weights.len()].as_chunks::<LANES>());
    for (w, v) in w.iter().zip(v) {
        for lane in 0..LANES {
            sums[lane] += w[lane] * f64::from(v[lane]);
        }
    }
    w_rest.iter().zip(v_rest).map(|(&w, &v)| w * f64::from(v)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_of(columns: &[Column], images: usize) -> Selection<'_> {
        Selection { images, all: columns, top: &[], top_count: 0 }
    }

    /// `numpy.quantile([3, 1, 2, 10, 7], [0.025, 0.975])`.
    #[test]
    fn quantiles_are_numpys() {
        let i = Bootstrap::default().interval([3.0, 1.0, f64::NAN, 2.0, 10.0, 7.0].into_iter()).unwrap();
        assert!((i.low - 1.1).abs() < 1e-12 && (i.high - 9.7).abs() < 1e-12, "{i:?}");
        assert_eq!(Bootstrap::default().interval([f64::NAN].into_iter()), None);
    }

    /// Known case: the mean of a sample of 400 with standard deviation s has the interval mean +- 1.96 s / 20.
    #[test]
    fn a_means_interval_is_the_normal_one() {
        let mut random = Philox::new(5, 1, 0);
        let values: Vec<f32> = (0..400).map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32).collect();
        let n = values.len() as f64;
        let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
        let deviation = (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt();
        let columns = [Column::new(values)];
        let i = Bootstrap::default().intervals(0, all_of(&columns, 400), &|_| ())[0].unwrap();
        let half = 1.96 * deviation / 20.0;
        // 10,000 resamples leave a quantile uncertain by about 1.5 % of the half width; 6 % are four times that.
        assert!((i.low - (mean - half)).abs() < 0.06 * half, "{i:?} {mean} {half}");
        assert!((i.high - (mean + half)).abs() < 0.06 * half, "{i:?} {mean} {half}");
    }

    /// Of 300 samples of 60 from a uniform distribution, 95 % of the intervals hold the true mean.
    #[test]
    fn intervals_cover_the_true_value() {
        let bootstrap = Bootstrap { seed: 9, resamples: 400, level: 0.95 };
        let mut covered = 0;
        for sample in 0..300 {
            let mut random = Philox::new(11, 2, sample);
            let values = (0..60).map(|_| random.below(1 << 20) as f32 / (1 << 20) as f32).collect();
            let i = bootstrap.intervals(sample, all_of(&[Column::new(values)], 60), &|_| ())[0].unwrap();
            covered += u32::from(i.low <= 0.5 && 0.5 <= i.high);
        }
        // 285 expected; four standard deviations are 15, and the percentile bootstrap covers 1 % less at this size.
        assert!((265..=300).contains(&covered), "{covered} of 300");
    }

    /// A subset chosen once more in each resample: the mean of the largest tenth against a plain resampling by copies.
    #[test]
    fn the_subset_is_chosen_again_in_each_resample() {
        let (images, top_count) = (200, 20);
        let mut random = Philox::new(3, 4, 5);
        let mut values: Vec<f32> = (0..images).map(|_| random.below(1000) as f32).collect();
        values.sort_by(|a, b| b.total_cmp(a));
        let columns = [Column::new(values.clone())];
        let bootstrap = Bootstrap { seed: 1, resamples: 500, level: 0.9 };
        let set = Selection { images, all: &[], top: &columns, top_count };
        let ours = bootstrap.intervals(8, set, &|_| ())[0].unwrap();
        let plain = (0..500u64).map(|resample| {
            let mut random = Philox::new(1, PURPOSE, 8 << 32 | resample);
            let mut drawn: Vec<f32> = (0..images).map(|_| values[random.below(images as u32) as usize]).collect();
            drawn.sort_by(|a, b| b.total_cmp(a));
            drawn[..top_count].iter().map(|&x| f64::from(x)).sum::<f64>() / top_count as f64
        });
        // Whole numbers: the sums are exact in any order.
        assert_eq!(Some(ours), bootstrap.interval(plain));
        // The values beyond what any resample reaches may be left out.
        let cut = [Column::new(values[..80].to_vec())];
        let set = Selection { images, all: &[], top: &cut, top_count };
        assert_eq!(bootstrap.intervals(8, set, &|_| ())[0], Some(ours));
    }

    #[test]
    fn images_without_a_value_do_not_count() {
        let with = Column::new(vec![1.0, f32::NAN, 1.0, f32::NAN]);
        let columns = [with, Column::new(vec![f32::NAN; 4])];
        let found = Bootstrap::default().intervals(0, all_of(&columns, 4), &|_| ());
        assert_eq!(found, [Some(Interval { low: 1.0, high: 1.0 }), None]);
        assert_eq!(Bootstrap::default().intervals(0, all_of(&columns, 0), &|_| ()), [None, None]);
    }

    #[test]
    fn threads_leave_no_trace() {
        let columns = [Column::new((0..999).map(|i| (i * 37 % 101) as f32 / 7.0).collect())];
        let on = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                Bootstrap { resamples: 100, ..Bootstrap::default() }.intervals(4, all_of(&columns, 999), &|_| ())
            })
        };
        assert_eq!(on(1), on(3));
    }
}
