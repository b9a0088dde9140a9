//! What the records say: accuracies, map differences, the subset of images whose maps differ most, and the
//! activation statistics over it. Computed from records alone, in a fixed order, for any sign policy.

use std::collections::BTreeMap;

use quantlens_xai::{PairDifference, SignPolicy, dice_counts};
use rayon::prelude::*;
use serde::Serialize;

use crate::manifest::{DataSettings, PairSettings};
use crate::parts::{Part, Records};
use crate::record::{Precision, Record};
use crate::timing::Timings;
use crate::{Error, Manifest};

/// Share of the images, in percent, that make up the subset: those with the largest RMSE.
pub const SUBSET_PERCENT: usize = 5;

/// Relative gap of the first two eigenvalues below which a map counts as not well determined.
pub const SMALL_GAP: f32 = 0.05;

/// Top-1 accuracy in percent below which, with [`HINT_IMAGES`] labelled images, the labels are suspect: with the right
/// ones, a network that is right on one image of five misses all of 20 once in 90 times.
const HINT_TOP1: f64 = 1.0;
const HINT_IMAGES: usize = 20;

/// The size of the subset of `images`: 5 %, rounded up, so at least one of any.
pub fn subset_size(images: usize) -> usize {
    (images * SUBSET_PERCENT).div_ceil(100)
}

/// A study's results.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The sign policy of the maps.
    pub signs: String,
    /// The images and how they became inputs.
    pub data: DataSettings,
    /// Images whose records are not there: the study was cut short, or other shards are missing.
    pub missing_images: u64,
    /// How many images were scanned on which instruction set. Records of several are not comparable bit for bit.
    pub instruction_sets: BTreeMap<String, u64>,
    /// The pairs.
    pub pairs: Vec<PairSummary>,
    /// The timing stage's results, where it ran.
    pub timings: Option<Timings>,
    /// What looks wrong.
    pub hints: Vec<String>,
}

/// One value for each network of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Both<T> {
    /// Of the float network.
    pub f32: T,
    /// Of the quantized one.
    pub int8: T,
}

/// Results of a pair.
#[derive(Debug, Clone, Serialize)]
pub struct PairSummary {
    /// What was compared.
    pub settings: PairSettings,
    /// Images that both networks have a result for: all means are over these, or over the subset of them.
    pub images: usize,
    /// Images without a result of both.
    pub failed: usize,
    /// Images in the subset.
    pub subset: usize,
    /// Places in the data set of the subset's images, ascending.
    pub subset_indexes: Vec<u64>,
    /// Accuracy on all images.
    pub accuracy: Both<Accuracy>,
    /// Accuracy on the subset.
    pub subset_accuracy: Both<Accuracy>,
    /// Differences of the maps.
    pub rmse: Rmse,
    /// Activation statistics over all images.
    pub statistics: Both<Statistics>,
    /// Activation statistics over the subset.
    pub subset_statistics: Both<Statistics>,
    /// Sorensen-Dice of the two networks' mean activation histograms summed over the subset, 0 to 1.
    pub dice: f64,
    /// Images where the relative gap of either network's first two eigenvalues is below [`SMALL_GAP`].
    pub small_gaps: usize,
}

/// Shares of right classifications, in percent; none where no image has a label.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Accuracy {
    /// Images with a label.
    pub labelled: usize,
    /// True class first, percent.
    pub top1: Option<f64>,
    /// True class among the first five, percent.
    pub top5: Option<f64>,
}

/// RMSE of the pairs of maps, 0 to 255.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Rmse {
    /// Mean over all images.
    pub mean: f64,
    /// Mean over the subset.
    pub subset_mean: f64,
    /// Mean over all images after turning one map where the two correlate negatively.
    pub aligned_mean: f64,
    /// Mean of the 5 % largest aligned values: images of their own, not the subset.
    pub aligned_top_mean: f64,
    /// Share of images whose maps correlate negatively, percent.
    pub flipped: f64,
    /// The same share of the subset, percent.
    pub subset_flipped: f64,
}

/// Means of activation statistics; `raw` as plain integers, the others as real values.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Statistics {
    /// Entropy of the softmax over channels, bits.
    pub entropy_raw: f64,
    /// Entropy of the softmax over channels, bits.
    pub entropy: f64,
    /// Entropy of the 256-bin histogram, bits.
    pub entropy_hist_raw: f64,
    /// Entropy of the 256-bin histogram, bits.
    pub entropy_hist: f64,
    /// Standard deviation.
    pub sigma_raw: f64,
    /// Standard deviation.
    pub sigma: f64,
    /// Zeros, percent.
    pub sparsity_raw: f64,
    /// Zeros, percent.
    pub sparsity: f64,
}

/// What is kept of an image and pair once its maps are compared.
struct Image {
    index: u64,
    difference: PairDifference,
    networks: [Row; 2],
}

/// What is kept of a row.
struct Row {
    true_rank: Option<u32>,
    gap: f32,
    /// In the order of [`Statistics`]' fields.
    statistics: [f64; 8],
    /// Filled bins and their counts: a 7x7 map fills at most 49 of 256.
    histogram: Vec<(u8, u32)>,
}

impl Summary {
    /// Summarizes a folder of records.
    ///
    /// # Errors
    /// Unreadable parts; no image with a result of both networks of a pair; layers of a pair whose maps differ in
    /// size; a sign policy that does not apply ([`quantlens_xai::Error::LapackSign`]).
    pub fn compute(records: &Records, signs: SignPolicy, timings: Option<Timings>) -> Result<Self, Error> {
        let Manifest { settings, .. } = records.manifest();
        let mut images: Vec<Vec<Image>> = settings.pairs.iter().map(|_| Vec::new()).collect();
        let mut failed: Vec<Failed> = settings.pairs.iter().map(|_| Failed::default()).collect();
        let mut instruction_sets = BTreeMap::new();
        for part in records.parts() {
            let part = part?;
            let rows = 2 * settings.pairs.len();
            *instruction_sets.entry(part.isa.clone()).or_insert(0) += (part.records.len() / rows.max(1)) as u64;
            for (pair, found) in
                reduce(&part, settings.pairs.len(), signs, settings.data.input_size)?.into_iter().enumerate()
            {
                for image in found {
                    match image {
                        Ok(image) => images[pair].push(image),
                        Err(why) => failed[pair].add(why),
                    }
                }
            }
        }
        let pairs = settings.pairs.iter().zip(images).zip(failed);
        let pairs: Vec<PairSummary> = pairs
            .map(|((settings, images), failed)| PairSummary::of(settings, images, failed))
            .collect::<Result<_, _>>()?;
        let hints = pairs.iter().flat_map(PairSummary::hints).collect();
        Ok(Self {
            signs: signs.to_string(),
            data: settings.data.clone(),
            missing_images: records.missing_images(),
            instruction_sets,
            pairs,
            timings,
            hints,
        })
    }
}

/// Images of a pair without a result.
#[derive(Default)]
struct Failed {
    images: usize,
    first: Option<String>,
}

impl Failed {
    fn add(&mut self, why: String) {
        self.images += 1;
        self.first.get_or_insert(why);
    }
}

/// The images of a part for each pair; those without a result as text.
type Reduced = Vec<Vec<Result<Image, String>>>;

fn reduce(part: &Part, pairs: usize, signs: SignPolicy, out: [usize; 2]) -> Result<Reduced, Error> {
    let of_pair = |pair: usize| {
        let image = |rows: &[Record]| compare(&rows[2 * pair], &rows[2 * pair + 1], signs, out);
        part.records.par_chunks_exact(2 * pairs).map(image).collect::<Result<Vec<_>, _>>()
    };
    (0..pairs).map(of_pair).collect()
}

/// Compares the two rows of an image and pair.
fn compare(float: &Record, int8: &Record, signs: SignPolicy, out: [usize; 2]) -> Result<Result<Image, String>, Error> {
    if let Some((row, why)) = [float, int8].iter().find_map(|r| Some((r, r.error.as_ref()?))) {
        return Ok(Err(format!("{}: {why}", row.image_id)));
    }
    let [h, w, _] = float.map.map(|n| n as usize);
    if float.map[..2] != int8.map[..2] {
        let [h8, w8, _] = int8.map;
        return Err(Error::Settings(format!(
            "{}: the layers of the two networks have maps of {h}x{w} and {h8}x{w8}: choose layers of one size",
            float.network
        )));
    }
    let signed = |r: &Record| {
        // The coins of a pair are independent: the id says which network.
        let id = format!("{}/{}/{}", r.network, r.precision, r.image_id);
        signs.apply(&r.p, &r.mean_activation, r.map[2] as usize, &id)
    };
    let difference = PairDifference::compute(&signed(float)?, &signed(int8)?, h, w, out);
    Ok(Ok(Image { index: float.data_index, difference, networks: [float, int8].map(Row::of) }))
}

impl Row {
    fn of(r: &Record) -> Self {
        let [first, second] = r.eigenvalues;
        let filled = r.histogram.iter().enumerate().filter(|(_, count)| **count > 0);
        Self {
            true_rank: r.true_rank,
            gap: if first > 0.0 { (first - second) / first } else { 0.0 },
            statistics: [
                f64::from(r.entropy_softmax.raw),
                f64::from(r.entropy_softmax.real),
                f64::from(r.entropy_hist.raw),
                f64::from(r.entropy_hist.real),
                r.sigma.raw,
                r.sigma.real,
                100.0 * r.sparsity.raw,
                100.0 * r.sparsity.real,
            ],
            histogram: filled.map(|(bin, &count)| (bin as u8, count)).collect(),
        }
    }
}

/// The `count` images with the largest value, in order of the data set; of equal values the earlier image.
fn largest(images: &[Image], count: usize, value: impl Fn(&Image) -> f64) -> Vec<&Image> {
    let mut order: Vec<&Image> = images.iter().collect();
    order.sort_by(|a, b| value(b).total_cmp(&value(a)).then(a.index.cmp(&b.index)));
    order.truncate(count);
    order.sort_by_key(|image| image.index);
    order
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), x| (sum + x, count + 1));
    if count > 0 { sum / count as f64 } else { f64::NAN }
}

/// Accuracy of network `which` (0 float, 1 int8).
fn accuracy(images: &[&Image], which: usize) -> Accuracy {
    let ranks: Vec<u32> = images.iter().filter_map(|image| image.networks[which].true_rank).collect();
    let within = |k: u32| {
        let right = ranks.iter().filter(|&&rank| rank <= k).count();
        (!ranks.is_empty()).then(|| 100.0 * right as f64 / ranks.len() as f64)
    };
    Accuracy { labelled: ranks.len(), top1: within(1), top5: within(5) }
}

fn statistics(images: &[&Image], which: usize) -> Statistics {
    let column = |i: usize| mean(images.iter().map(|image| image.networks[which].statistics[i]));
    Statistics {
        entropy_raw: column(0),
        entropy: column(1),
        entropy_hist_raw: column(2),
        entropy_hist: column(3),
        sigma_raw: column(4),
        sigma: column(5),
        sparsity_raw: column(6),
        sparsity: column(7),
    }
}

fn histogram(images: &[&Image], which: usize) -> Vec<u64> {
    let mut counts = vec![0; quantlens_xai::BINS];
    for (bin, count) in images.iter().flat_map(|image| &image.networks[which].histogram) {
        counts[usize::from(*bin)] += u64::from(*count);
    }
    counts
}

fn both<T>(of: impl Fn(usize) -> T) -> Both<T> {
    Both { f32: of(0), int8: of(1) }
}

fn rmse(all: &[&Image], images: &[Image], subset: &[&Image]) -> Rmse {
    let flipped = |images: &[&Image]| 100.0 * mean(images.iter().map(|i| f64::from(u8::from(i.difference.flipped))));
    let aligned = largest(images, subset.len(), |i| i.difference.rmse_aligned);
    Rmse {
        mean: mean(all.iter().map(|i| i.difference.rmse)),
        subset_mean: mean(subset.iter().map(|i| i.difference.rmse)),
        aligned_mean: mean(all.iter().map(|i| i.difference.rmse_aligned)),
        aligned_top_mean: mean(aligned.iter().map(|i| i.difference.rmse_aligned)),
        flipped: flipped(all),
        subset_flipped: flipped(subset),
    }
}

impl PairSummary {
    fn of(settings: &PairSettings, images: Vec<Image>, failed: Failed) -> Result<Self, Error> {
        if images.is_empty() {
            let first = failed.first.unwrap_or_else(|| "no records".into());
            return Err(Error::NoUsableImages { tried: failed.images, first });
        }
        let all: Vec<&Image> = images.iter().collect();
        let subset = largest(&images, subset_size(images.len()), |i| i.difference.rmse);
        Ok(Self {
            settings: settings.clone(),
            images: images.len(),
            failed: failed.images,
            subset: subset.len(),
            subset_indexes: subset.iter().map(|i| i.index).collect(),
            accuracy: both(|which| accuracy(&all, which)),
            subset_accuracy: both(|which| accuracy(&subset, which)),
            rmse: rmse(&all, &images, &subset),
            statistics: both(|which| statistics(&all, which)),
            subset_statistics: both(|which| statistics(&subset, which)),
            dice: dice_counts(&histogram(&subset, 0), &histogram(&subset, 1)),
            small_gaps: images.iter().filter(|i| i.networks.iter().any(|n| n.gap < SMALL_GAP)).count(),
        })
    }

    fn hints(&self) -> Vec<String> {
        let networks = [(Precision::F32, self.accuracy.f32), (Precision::Int8, self.accuracy.int8)];
        let suspect =
            |(_, a): &(Precision, Accuracy)| a.labelled >= HINT_IMAGES && a.top1.is_some_and(|t| t < HINT_TOP1);
        let text = |(precision, a): (Precision, Accuracy)| {
            format!(
                "{} {precision}: top-1 is {:.2} % on {} images. Are the labels in the order the network was trained with \
                 (--labels)? The devkit's ids 1..1000 are in an order of their own.",
                self.settings.name,
                a.top1.unwrap_or(0.0),
                a.labelled
            )
        };
        networks.into_iter().filter(suspect).map(text).collect()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::tests::settings;
    use crate::parts;
    use crate::record::Reading;

    /// A row of a 1x2 map whose projection is (-a, a), shifted in the mean so that nothing else depends on it.
    fn row(index: u64, pair: &str, precision: Precision, p: [f32; 2], rank: Option<u32>) -> Record {
        let mut histogram = vec![0; 256];
        histogram[0] = 1;
        histogram[if precision == Precision::Int8 && index == 0 { 7 } else { 255 }] = 1;
        let unit = index as f64 + if precision == Precision::Int8 { 10.0 } else { 0.0 };
        Record {
            true_class: rank.map(|_| 3),
            true_rank: rank,
            map: [1, 2, 4],
            p: p.to_vec(),
            mean_activation: vec![0.0, 1.0],
            eigenvalues: [1.0, if index == 1 { 0.96 } else { 0.5 }],
            sigma: Reading { raw: unit, real: unit / 2.0 },
            sparsity: Reading { raw: 0.5, real: 0.25 },
            entropy_softmax: Reading { raw: unit as f32, real: 1.0 },
            histogram,
            ..Record::empty(&format!("{index}.jpg"), index, pair, precision)
        }
    }

    /// Three images and two pairs in a folder; image 2 of pair "two" failed, and image 1's maps of pair "one" are
    /// opposite to each other.
    pub(crate) fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let mut s = settings(3, 2);
        s.data.input_size = [1, 2];
        let manifest = Manifest::new(s, "scalar");
        manifest.settle(folder.path()).unwrap();
        let image = |index: u64| {
            let turned = if index == 1 { [1.0, -1.0] } else { [-1.0, 1.0] };
            let mut rows = vec![
                row(index, "one", Precision::F32, [-1.0, 1.0], Some(1)),
                row(index, "one", Precision::Int8, turned, Some(if index == 0 { 1 } else { 6 })),
                row(index, "two", Precision::F32, [-1.0, 1.0], None),
                row(index, "two", Precision::Int8, [-1.0, 1.0], None),
            ];
            if index == 2 {
                rows[3] = Record { error: Some("odd".into()), ..Record::empty("2.jpg", 2, "two", Precision::Int8) };
            }
            rows
        };
        parts::write(folder.path(), &(0..2), &manifest, "scalar", &[image(0), image(1)].concat()).unwrap();
        parts::write(folder.path(), &(2..3), &manifest, "avx2", &image(2)).unwrap();
        folder
    }

    #[test]
    fn five_percent_rounds_up() {
        let sizes = [(1, 1), (20, 1), (21, 2), (40, 2), (977, 49), (1932, 97), (50_000, 2500), (0, 0)];
        sizes.iter().for_each(|&(images, expected)| assert_eq!(subset_size(images), expected, "{images}"));
    }

    #[test]
    fn numbers_by_hand() {
        let folder = folder();
        let records = Records::open(folder.path()).unwrap();
        let s = Summary::compute(&records, SignPolicy::Peak, None).unwrap();
        assert_eq!(s.instruction_sets, BTreeMap::from([("avx2".into(), 1), ("scalar".into(), 2)]));
        let one = &s.pairs[0];
        assert_eq!((one.images, one.failed, one.subset, one.subset_indexes.as_slice()), (3, 0, 1, [1].as_slice()));
        let a = one.accuracy;
        assert_eq!((a.f32.labelled, a.f32.top1, a.f32.top5), (3, Some(100.0), Some(100.0)));
        assert_eq!((a.int8.top1, a.int8.top5), (Some(100.0 / 3.0), Some(100.0 / 3.0)));
        assert_eq!((one.subset_accuracy.f32.top1, one.subset_accuracy.int8.top1), (Some(100.0), Some(0.0)));
        // Maps (0, 254) and (254, 0): 254, since 1 / (1 + 1e-7) is just below 1. RMSE 254 on image 1, 0 elsewhere.
        assert_eq!(one.rmse.subset_mean, 254.0);
        assert!((one.rmse.mean - 254.0 / 3.0).abs() < 1e-12);
        assert_eq!((one.rmse.aligned_mean, one.rmse.aligned_top_mean), (0.0, 0.0));
        assert!((one.rmse.flipped - 100.0 / 3.0).abs() < 1e-12 && one.rmse.subset_flipped == 100.0);
        // Image 1 alone: float 1, int8 11; half of each as real values.
        assert_eq!((one.subset_statistics.f32.sigma_raw, one.subset_statistics.int8.sigma), (1.0, 5.5));
        assert_eq!((one.statistics.int8.entropy_raw, one.subset_statistics.f32.sparsity), (11.0, 25.0));
        assert_eq!((one.dice, one.small_gaps), (1.0, 1));
        let two = &s.pairs[1];
        // All RMSE are 0: the subset is the first image, whose int8 histogram has one of two values elsewhere.
        assert_eq!((two.images, two.failed, two.subset_indexes.as_slice()), (2, 1, [0].as_slice()));
        assert_eq!((two.accuracy.f32.labelled, two.accuracy.f32.top1, two.dice), (0, None, 0.5));
        assert!(s.hints.is_empty());
    }

    #[test]
    fn signs_are_chosen_after_the_scan() {
        let folder = folder();
        let records = Records::open(folder.path()).unwrap();
        // Mean activation (0, 1): the opposite map of image 1 is turned.
        let s = Summary::compute(&records, SignPolicy::Mean, None).unwrap();
        assert_eq!((s.pairs[0].rmse.mean, s.pairs[0].rmse.flipped, s.signs.as_str()), (0.0, 0.0, "mean"));
        let s = Summary::compute(&records, SignPolicy::Lapack, None).unwrap();
        assert_eq!(s.pairs[0].rmse.mean, 0.0);
        let coins = |seed| Summary::compute(&records, SignPolicy::Random(seed), None).unwrap().pairs[1].rmse.mean;
        assert!((0..20).any(|seed| coins(seed) > 0.0) && (0..20).any(|seed| coins(seed) == 0.0));
    }

    #[test]
    fn wrong_labels_are_suspected() {
        let folder = tempfile::tempdir().unwrap();
        let mut s = settings(100, 256);
        s.pairs.truncate(1);
        s.data.input_size = [1, 2];
        let manifest = Manifest::new(s, "scalar");
        manifest.settle(folder.path()).unwrap();
        let rank = |p| Some(if p == Precision::F32 { 1 } else { 700 });
        let rows: Vec<Record> =
            (0..100).flat_map(|i| Precision::ALL.map(|p| row(i, "one", p, [-1.0, 1.0], rank(p)))).collect();
        parts::write(folder.path(), &(0..100), &manifest, "scalar", &rows).unwrap();
        let s = Summary::compute(&Records::open(folder.path()).unwrap(), SignPolicy::Lapack, None).unwrap();
        assert_eq!(s.hints.len(), 1);
        assert!(s.hints[0].starts_with("one int8: top-1 is 0.00 % on 100 images."), "{}", s.hints[0]);
    }
}
