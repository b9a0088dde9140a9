//! What the records say: accuracies, map differences, the subset of images whose maps differ most, and the
//! activation statistics over it, and how sure all of this is. Computed from records alone, in a fixed order, for any
//! sign policy. Parts stream by: what is kept of an image is a few numbers (`collect`).

mod areas;
mod collect;
mod image;
mod inference;
#[cfg(all(test, target_os = "linux"))]
mod memory;
mod sweep;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use quantlens_xai::{BoxOptions, BoxRule, Localizer, SignPolicy, Threshold, dice, dice_counts};
use rayon::prelude::*;
use serde::Serialize;

use self::areas::Areas;
pub use self::areas::{Band, Bands};
use self::collect::{Brief, Collected};
use self::image::{Compared, Image, STATISTICS, Scratch};
pub use self::inference::{Comparison, Effect, Estimate, Group, Inference, Scope, Single, Test};
pub(crate) use self::sweep::STEP as SWEEP_STEP;
pub use self::sweep::{Best, Sweep, Thresholds};
use crate::curves::{CurveSettings, forwards, read_all};
use crate::manifest::{DataSettings, PairSettings, Settings};
use crate::methods::Methods;
use crate::parts::{Part, Records};
use crate::progress::Progress;
use crate::record::{Precision, Record};
use crate::statistics::Bootstrap;
use crate::tensors::{MeanActivations, PairActivations};
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

/// What a summary is made with, besides the records.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SummaryOptions {
    /// The sign policy of the maps.
    pub signs: SignPolicy,
    /// Which part of a map is foreground when a box is looked for.
    pub threshold: Threshold,
    /// How the box is made of it.
    pub boxes: BoxOptions,
    /// Whether localization at swept thresholds is of all images rather than of the subset alone.
    pub whole: bool,
    /// How intervals are drawn; the same seed and number of draws serve the sign-flip tests.
    pub bootstrap: Bootstrap,
}

impl SummaryOptions {
    /// Boxes around the largest contour above 0.2 of a map's maximum; 10,000 resamples, 95 % intervals, seed 0.
    pub fn new(signs: SignPolicy) -> Self {
        let (threshold, boxes) = (Threshold::default(), BoxOptions::default());
        Self { signs, threshold, boxes, whole: false, bootstrap: Bootstrap::default() }
    }

    /// The chosen policy, then the others that the summary compares it with.
    fn policies(&self) -> Vec<SignPolicy> {
        let mut all = vec![self.signs];
        let random = matches!(self.signs, SignPolicy::Random(_));
        let others = [SignPolicy::Lapack, SignPolicy::Mean, SignPolicy::Peak, SignPolicy::Random(0)];
        all.extend(others.into_iter().filter(|p| *p != self.signs && !(random && *p == SignPolicy::Random(0))));
        all
    }
}

/// A study's results.
#[derive(Debug, Clone, Serialize)]
pub struct Summary {
    /// The sign policy of the maps.
    pub signs: String,
    /// Threshold of the boxes: a share of the map's maximum, or `otsu`.
    pub threshold: String,
    /// What the boxes are drawn around.
    pub box_rule: &'static str,
    /// How the intervals were made.
    pub bootstrap: Bootstrap,
    /// What deletion and insertion were measured with; none where that stage has not run for these signs.
    pub curves: Option<CurveSettings>,
    /// Forward passes of deletion and insertion, and the seconds they took; none where that is not known.
    pub curve_forwards: Option<[f64; 2]>,
    /// Tests in the family that Holm's correction is over: all of the study.
    pub tests: usize,
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
    /// What maps cost by other methods; none where that stage has not run.
    pub methods: Option<Methods>,
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
    /// Places in the data set of all images, by falling RMSE.
    #[serde(skip)]
    pub ranked: Vec<u64>,
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
    /// Overlap of the two networks' activation histograms on the subset.
    pub dice: Dice,
    /// Images where the relative gap of either network's first two eigenvalues is below [`SMALL_GAP`].
    pub small_gaps: usize,
    /// Differences of the maps under each sign policy that applies to the layer, the chosen one first.
    pub policies: Vec<PolicyRmse>,
    /// Images that have a true box in both networks' inputs: localization is over these.
    pub boxed: usize,
    /// Localization at swept thresholds; none without true boxes.
    pub sweep: Option<Sweep>,
    /// Mean deletion and insertion curves; none where that stage has not run.
    pub curves: Option<Both<Bands>>,
    /// Intervals, tests and effect sizes.
    pub inference: Inference,
}

/// Sorensen-Dice coefficients of the histograms of the mean activation (figure 2), 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Dice {
    /// Counts summed over the subset and divided by their total.
    pub counts: f64,
    /// Each image's counts divided by their own total, then averaged: the same where all maps have one size.
    pub images: f64,
    /// The mean of each image's own coefficient.
    pub each: f64,
    /// Of the mean activation over the subset, all H*W*C values of it; none where that stage has not run.
    pub tensor: Option<f64>,
}

/// Differences of the maps under a sign policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyRmse {
    /// The policy.
    pub signs: String,
    /// Mean RMSE over all images.
    pub mean: f64,
    /// Mean of the 5 % largest.
    pub top_mean: f64,
    /// Mean over all images after turning one map where the two correlate negatively.
    pub aligned_mean: f64,
    /// Share of images whose maps correlate negatively, percent.
    pub flipped: f64,
    /// Mean areas of deletion and insertion on the policy's own subset (or on all images), percent; none where that stage
    /// has not run for the policy.
    pub areas: Option<Both<[f64; 2]>>,
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

/// The field names of [`Statistics`], in order.
const STATISTIC_KEYS: [&str; STATISTICS] =
    ["entropy_raw", "entropy", "entropy_hist_raw", "entropy_hist", "sigma_raw", "sigma", "sparsity_raw", "sparsity"];

impl Summary {
    /// Summarizes a folder of records.
    ///
    /// # Errors
    /// Unreadable parts; no image with a result of both networks of a pair; layers of a pair whose maps differ in
    /// size; a sign policy that does not apply ([`quantlens_xai::Error::LapackSign`]); [`Error::Stopped`].
    pub fn compute(
        records: &Records,
        options: &SummaryOptions,
        timings: Option<Timings>,
        progress: &dyn Progress,
    ) -> Result<Self, Error> {
        let Manifest { settings, .. } = records.manifest();
        let policies = options.policies();
        let (mut collected, instruction_sets) = collect(records, &policies, Some(options), progress)?;
        collected.iter_mut().for_each(Collected::rank);
        let sweeps = sweep::sweep(records, options.signs, options.boxes, options.whole, &mut collected, progress)?;
        let mut areas = Areas::new(settings.pairs.iter().map(|p| p.name.clone()).collect());
        let curves = read_all(records.folder(), options.signs, records.manifest(), |row| areas.add(&row))?;
        let tensors = MeanActivations::read(records.folder(), options.signs, records.manifest())?;
        areas.whole = curves.as_ref().is_some_and(|c| c.images == "all");
        let policy_areas = policy_areas(records, &policies)?;
        progress.start("statistics", draws(&collected, options) / DRAWS, 0);
        let drawn = AtomicU64::new(0);
        let told = |draws: u64| {
            let before = drawn.fetch_add(draws, Ordering::Relaxed);
            progress.advance((before + draws) / DRAWS - before / DRAWS);
        };
        let pairs = settings.pairs.iter().zip(collected.into_iter().zip(sweeps)).enumerate();
        let summarize = |(number, (settings, (images, sweep)))| {
            let mut summary = PairSummary::of(settings, images, number, &areas, &policies, options, &told)?;
            for found in &mut summary.policies {
                let areas = policy_areas.iter().find(|(policy, _)| policy.to_string() == found.signs);
                found.areas = areas.and_then(|(_, areas)| areas.means(number));
            }
            summary.sweep = sweep;
            let tensors = tensors.iter().flat_map(|t| &t.pairs).find(|p| p.name == settings.name);
            summary.dice.tensor = tensors.filter(|t| t.images == summary.subset as u64).map(tensor_dice);
            progress.check()?;
            Ok(summary)
        };
        let mut pairs = pairs.map(summarize).collect::<Result<Vec<PairSummary>, Error>>()?;
        progress.finish();
        let tests = inference::correct(&mut pairs);
        let hints = pairs.iter().flat_map(PairSummary::hints).collect();
        Ok(Self {
            signs: options.signs.to_string(),
            threshold: options.threshold.to_string(),
            box_rule: match options.boxes.rule {
                BoxRule::MostPixels => "component with the most pixels",
                BoxRule::BestContour => "best-matching contour",
                _ => "largest contour",
            },
            bootstrap: options.bootstrap,
            curves,
            curve_forwards: forwards(records.folder(), options.signs),
            tests,
            data: settings.data.clone(),
            missing_images: records.missing_images(),
            instruction_sets,
            pairs,
            timings,
            methods: None,
            hints,
        })
    }
}

/// Draws that make one step of the statistics' progress.
const DRAWS: u64 = 1_000_000;

/// Images that the bootstrap draws: for all means, for two partitions of the images, and for the subset as it is.
fn draws(pairs: &[Collected], options: &SummaryOptions) -> u64 {
    let of = |images: usize| 3 * images + subset_size(images);
    let images: usize = pairs.iter().map(|pair| of(pair.briefs.len())).sum();
    images as u64 * u64::from(options.bootstrap.resamples)
}

/// The areas under each policy that deletion and insertion have run for.
fn policy_areas(records: &Records, policies: &[SignPolicy]) -> Result<Vec<(SignPolicy, Areas)>, Error> {
    let manifest = records.manifest();
    let mut found = Vec::new();
    for &policy in policies {
        let mut areas = Areas::new(manifest.settings.pairs.iter().map(|p| p.name.clone()).collect());
        if read_all(records.folder(), policy, manifest, |row| areas.add(&row))?.is_some() {
            found.push((policy, areas));
        }
    }
    Ok(found)
}

/// Reduces all parts, one after another; returns what each pair comes to, and the images of each instruction set.
fn collect(
    records: &Records,
    policies: &[SignPolicy],
    boxes: Option<&SummaryOptions>,
    progress: &dyn Progress,
) -> Result<(Vec<Collected>, BTreeMap<String, u64>), Error> {
    let Manifest { settings, .. } = records.manifest();
    let mut pairs: Vec<Collected> =
        settings.pairs.iter().map(|_| Collected::new(settings.data.images, policies.len())).collect();
    let mut instruction_sets = BTreeMap::new();
    progress.start("records", settings.data.images - records.missing_images(), 0);
    for part in records.parts() {
        let part = part?;
        let images = (part.records.len() / (2 * settings.pairs.len()).max(1)) as u64;
        *instruction_sets.entry(part.isa.clone()).or_insert(0) += images;
        for (pair, found) in pairs.iter_mut().zip(reduce(&part, policies, boxes, settings)?) {
            found.into_iter().for_each(|image| match image {
                Ok(image) => pair.add(image),
                Err(why) => pair.fail(why),
            });
        }
        progress.advance(images);
        progress.check()?;
    }
    progress.finish();
    Ok((pairs, instruction_sets))
}

/// The images of a part for each pair; with boxes where these are asked for.
fn reduce(
    part: &Part,
    policies: &[SignPolicy],
    boxes: Option<&SummaryOptions>,
    settings: &Settings,
) -> Result<Vec<Vec<Compared>>, Error> {
    let (pairs, out) = (settings.pairs.len(), settings.data.input_size);
    let localizer =
        boxes.map(|o| Ok::<_, Error>((Localizer::new(out[0], out[1], o.boxes)?, o.threshold))).transpose()?;
    let of_pair = |pair: usize| {
        let image = |scratch: &mut Scratch, rows: &[Record]| {
            Image::compare([&rows[2 * pair], &rows[2 * pair + 1]], policies, out, scratch)
        };
        let images = part.records.par_chunks_exact(2 * pairs).map_init(|| Scratch::new(localizer.clone()), image);
        images.collect::<Result<Vec<_>, _>>()
    };
    (0..pairs).map(of_pair).collect()
}

/// For each pair the places of its subset's images under a sign policy, or of all that have a result; ascending.
pub(crate) fn chosen_images(
    records: &Records,
    signs: SignPolicy,
    whole: bool,
    progress: &dyn Progress,
) -> Result<Vec<Vec<u64>>, Error> {
    let (mut collected, _) = collect(records, &[signs], None, progress)?;
    let chosen = collected.iter_mut().map(|images| {
        images.rank();
        let count = if whole { images.briefs.len() } else { subset_size(images.briefs.len()) };
        let mut places: Vec<u64> = images.briefs[..count].iter().map(|b| b.index.into()).collect();
        places.sort_unstable();
        places
    });
    Ok(chosen.collect())
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0usize), |(sum, count), x| (sum + x, count + 1));
    if count > 0 { sum / count as f64 } else { f64::NAN }
}

/// Accuracy of network `which` (0 float, 1 int8).
fn accuracy(images: &[Brief], which: usize) -> Accuracy {
    let labelled = images.iter().filter(|b| b.flags.right(which, 1).is_some()).count();
    let within = |k: u8| {
        let right = images.iter().filter(|b| b.flags.right(which, k) == Some(true)).count();
        (labelled > 0).then(|| 100.0 * right as f64 / labelled as f64)
    };
    Accuracy { labelled, top1: within(1), top5: within(5) }
}

/// Statistics from their means in the order of [`STATISTIC_KEYS`].
fn statistics(means: [f64; STATISTICS]) -> Statistics {
    let [entropy_raw, entropy, entropy_hist_raw, entropy_hist, sigma_raw, sigma, sparsity_raw, sparsity] = means;
    Statistics { entropy_raw, entropy, entropy_hist_raw, entropy_hist, sigma_raw, sigma, sparsity_raw, sparsity }
}

fn subset_statistics(images: &[&Image], which: usize) -> Statistics {
    statistics(std::array::from_fn(|i| mean(images.iter().map(|image| image.networks[which].statistics[i]))))
}

/// Overlap of the histograms of the subset's images, in all readings that records allow.
fn dice_readings(images: &[&Image]) -> Dice {
    let bins = || vec![0f64; quantlens_xai::BINS];
    let mut counts = [0, 1].map(|_| vec![0u64; quantlens_xai::BINS]);
    let (mut shares, mut each) = ([bins(), bins()], 0.0);
    for image in images {
        let mut own = [bins(), bins()];
        for (which, row) in image.networks.iter().enumerate() {
            let total = row.histogram.iter().map(|(_, count)| f64::from(*count)).sum::<f64>().max(1.0);
            for &(bin, count) in &row.histogram {
                counts[which][usize::from(bin)] += u64::from(count);
                own[which][usize::from(bin)] = f64::from(count) / total;
                shares[which][usize::from(bin)] += f64::from(count) / total;
            }
        }
        each += dice(&own[0], &own[1]);
    }
    let [a, b] = &counts;
    Dice {
        counts: dice_counts(a, b),
        images: dice(&shares[0], &shares[1]),
        each: each / images.len() as f64,
        tensor: None,
    }
}

fn tensor_dice(t: &PairActivations) -> f64 {
    let [a, b] = [&t.f32, &t.int8].map(|counts| counts.iter().map(|&n| u64::from(n)).collect::<Vec<u64>>());
    dice_counts(&a, &b)
}

fn both<T>(of: impl Fn(usize) -> T) -> Both<T> {
    Both { f32: of(0), int8: of(1) }
}

/// Of images ranked by RMSE; the first `subset` are the subset.
fn rmse(images: &[Brief], subset: usize) -> Rmse {
    let flipped = |images: &[Brief]| 100.0 * mean(images.iter().map(|b| f64::from(u8::from(b.flags.flipped))));
    let mut aligned: Vec<f64> = images.iter().map(|b| f64::from(b.aligned)).collect();
    let aligned_mean = mean(aligned.iter().copied());
    aligned.sort_by(|a, b| b.total_cmp(a));
    Rmse {
        mean: mean(images.iter().map(|b| b.rmse)),
        subset_mean: mean(images[..subset].iter().map(|b| b.rmse)),
        aligned_mean,
        aligned_top_mean: mean(aligned[..subset].iter().copied()),
        flipped: flipped(images),
        subset_flipped: flipped(&images[..subset]),
    }
}

/// Differences under each policy that applied to every image.
fn policy_rmse(images: &mut Collected, policies: &[SignPolicy], subset: usize) -> Vec<PolicyRmse> {
    let count = images.briefs.len();
    let totals = images.policies.iter_mut().zip(policies).filter(|(t, _)| t.images == count);
    let of = |(t, policy): (&mut collect::PolicyTotals, &SignPolicy)| PolicyRmse {
        signs: policy.to_string(),
        mean: t.rmse / count as f64,
        top_mean: t.top_mean(subset),
        aligned_mean: t.aligned / count as f64,
        flipped: 100.0 * t.flipped as f64 / count as f64,
        areas: None,
    };
    totals.map(of).collect()
}

impl PairSummary {
    /// Of ranked images.
    fn of(
        settings: &PairSettings,
        mut images: Collected,
        number: usize,
        areas: &Areas,
        policies: &[SignPolicy],
        options: &SummaryOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, Error> {
        if images.briefs.is_empty() {
            let first = images.first_failure.unwrap_or_else(|| "no records".into());
            return Err(Error::NoUsableImages { tried: images.failed, first });
        }
        let count = images.briefs.len();
        let size = subset_size(count);
        let mut subset: Vec<&Image> = images.pool[..size].iter().collect();
        subset.sort_by_key(|image| image.index);
        let whole = |sums: [f64; STATISTICS]| statistics(sums.map(|sum| sum / count as f64));
        Ok(Self {
            settings: settings.clone(),
            images: count,
            failed: images.failed,
            subset: size,
            subset_indexes: subset.iter().map(|i| i.index).collect(),
            ranked: images.briefs.iter().map(|b| b.index.into()).collect(),
            accuracy: both(|which| accuracy(&images.briefs, which)),
            subset_accuracy: both(|which| accuracy(&images.briefs[..size], which)),
            rmse: rmse(&images.briefs, size),
            statistics: Both { f32: whole(images.sums.f32), int8: whole(images.sums.int8) },
            subset_statistics: both(|which| subset_statistics(&subset, which)),
            dice: dice_readings(&subset),
            small_gaps: images.small_gaps,
            boxed: images.briefs.iter().filter(|b| b.iou.iter().all(|iou| !iou.is_nan())).count(),
            sweep: None,
            curves: areas.bands(number),
            inference: Inference::of(&images, size, number, areas, options, progress),
            policies: policy_rmse(&mut images, policies, size),
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
