//! How sure a pair's numbers are: bootstrap intervals for each network and for the difference, tests of the difference,
//! effect sizes.

use serde::Serialize;

use super::collect::{Brief, Collected};
use super::image::Image;
use super::{Areas, STATISTIC_KEYS, SummaryOptions};
use crate::statistics::{Bootstrap, Column, Interval, Selection, cohens_dz, holm, mcnemar, sign_flip};

/// Which images a number is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// All images with a result of both networks.
    All,
    /// The subset.
    Subset,
}

/// A mean with its intervals.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Estimate {
    /// The mean; none where no image has a value.
    pub value: Option<f64>,
    /// Its bootstrap interval over images; on the subset, with the subset chosen again in each resample.
    pub interval: Option<Interval>,
    /// On the subset: the interval with the subset as it is.
    pub fixed: Option<Interval>,
}

/// A measure that both networks of a pair have.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// `top1`, `top5`, `confidence`, `iou`, `gt_known`, `iou_otsu`, `gt_known_otsu`, `iou_swept`, `max_box_acc`,
    /// `max_box_acc_v2`, `deletion`, `insertion` (all in percent), or a statistic's field name.
    pub key: &'static str,
    /// Which images.
    pub scope: Scope,
    /// The float network.
    pub f32: Estimate,
    /// The quantized one.
    pub int8: Estimate,
    /// int8 minus f32, image by image.
    pub difference: Estimate,
    /// Whether the difference could be chance.
    pub test: Option<Test>,
    /// How large it is.
    pub effect: Option<Effect>,
}

/// A test of one difference, on the images of its scope as they are.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Test {
    /// `mcnemar` or `sign-flip`.
    pub name: &'static str,
    /// Two-sided p value.
    pub p: f64,
    /// The same after Holm's correction over all tests of the study.
    pub p_holm: f64,
}

/// The size of an effect.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Effect {
    /// `odds-ratio` (images right in int8 alone over right in f32 alone) or `d_z` (Cohen's, of int8 minus f32).
    pub name: &'static str,
    /// Its value.
    pub value: f64,
}

/// A measure that a pair has as such.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Single {
    /// `rmse`, `aligned`, `flipped`, `agree` (the last two in percent).
    pub key: &'static str,
    /// Which images.
    pub scope: Scope,
    /// The number.
    pub estimate: Estimate,
}

/// The RMSE of the images of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Group {
    /// What the images have in common.
    pub label: String,
    /// How many they are.
    pub images: usize,
    /// Their mean RMSE; the interval is over images of this kind.
    pub rmse: Estimate,
}

/// Everything inferred about a pair.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Inference {
    /// Measures of both networks.
    pub comparisons: Vec<Comparison>,
    /// Measures of the pair.
    pub singles: Vec<Single>,
    /// RMSE by the float network's confidence, in tenths.
    pub by_confidence: Vec<Group>,
    /// RMSE by which network is right; empty without labels.
    pub by_correctness: Vec<Group>,
}

impl Inference {
    /// Of images ranked by RMSE, the first `subset` of which are the subset. `number` is the pair's.
    pub(super) fn of(
        images: &Collected,
        subset: usize,
        number: usize,
        areas: &Areas,
        options: &SummaryOptions,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Self {
        let (briefs, pool) = (&images.briefs[..], &images.pool[..]);
        let mut all = Measures::new(Scope::All);
        brief_measures(&mut all, briefs, options.whole);
        let mut top = Measures::new(Scope::Subset);
        brief_measures(&mut top, &briefs[..pool.len().min(briefs.len())], true);
        statistic_measures(&mut top, pool);
        if areas.any(number) {
            area_measures(&mut top, &briefs[..pool.len().min(briefs.len())], areas, number);
            if areas.whole {
                area_measures(&mut all, briefs, areas, number);
            }
        }
        let draws = Draws { bootstrap: options.bootstrap, number: number as u64 * NUMBERS, progress };
        let mut found = draws.estimate(&all, &top, briefs.len(), subset);
        if !areas.whole {
            found.forget_reselected(&AREAS);
        }
        found.by_confidence = draws.groups(2, by_confidence(briefs));
        found.by_correctness = draws.groups(3, by_correctness(briefs));
        found
    }

    /// Takes back the intervals of measures that only the subset has: what a resample's subset would have is not known.
    fn forget_reselected(&mut self, keys: &[&str]) {
        let found = self.comparisons.iter_mut().filter(|c| c.scope == Scope::Subset && keys.contains(&c.key));
        found.flat_map(|c| [&mut c.f32, &mut c.int8, &mut c.difference]).for_each(|e| e.interval = None);
    }

    /// A comparison by key and scope.
    pub fn comparison(&self, scope: Scope, key: &str) -> Option<&Comparison> {
        self.comparisons.iter().find(|c| c.scope == scope && c.key == key)
    }

    /// A pair's own measure by key and scope.
    pub fn single(&self, scope: Scope, key: &str) -> Option<&Single> {
        self.singles.iter().find(|c| c.scope == scope && c.key == key)
    }
}

/// Corrects the p values of all tests of a study as one family; returns how many there are.
pub(super) fn correct(pairs: &mut [super::PairSummary]) -> usize {
    let mut tests: Vec<&mut Test> =
        pairs.iter_mut().flat_map(|p| &mut p.inference.comparisons).filter_map(|c| c.test.as_mut()).collect();
    let adjusted = holm(&tests.iter().map(|t| t.p).collect::<Vec<_>>());
    tests.iter_mut().zip(adjusted).for_each(|(test, p)| test.p_holm = p);
    tests.len()
}

/// Random streams set aside for each pair.
const NUMBERS: u64 = 64;

/// Values of one scope's images, in the order of the ranking.
struct Measures {
    scope: Scope,
    /// Key, float and int8.
    paired: Vec<(&'static str, [Vec<f64>; 2])>,
    single: Vec<(&'static str, Vec<f64>)>,
}

impl Measures {
    fn new(scope: Scope) -> Self {
        Self { scope, paired: Vec::new(), single: Vec::new() }
    }

    /// The columns of all means: float, int8 and difference of each pair of values, then the single ones.
    fn columns(&self, count: usize) -> Vec<Column> {
        let column = |values: &[f64]| Column::new(values.iter().take(count).map(|&x| x as f32).collect());
        let paired = self.paired.iter().flat_map(|(_, [a, b])| [column(a), column(b), column(&differences(a, b))]);
        paired.chain(self.single.iter().map(|(_, values)| column(values))).collect()
    }

    /// The means of the first `count` images, in the order of [`Measures::columns`].
    fn means(&self, count: usize) -> Vec<Option<f64>> {
        let of = |values: &[f64]| mean(&values[..count.min(values.len())]);
        let paired = self.paired.iter().flat_map(|(_, [a, b])| [of(a), of(b), of(&differences(a, b))]);
        paired.chain(self.single.iter().map(|(_, values)| of(values))).collect()
    }
}

fn differences(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| b - a).collect()
}

/// Mean of the values that are numbers.
fn mean(values: &[f64]) -> Option<f64> {
    let (sum, count) = values.iter().filter(|x| !x.is_nan()).fold((0.0, 0usize), |(sum, n), x| (sum + x, n + 1));
    (count > 0).then(|| sum / count as f64)
}

fn percent(fact: Option<bool>) -> f64 {
    fact.map_or(f64::NAN, |yes| if yes { 100.0 } else { 0.0 })
}

/// `swept`: with localization at swept thresholds.
fn brief_measures(m: &mut Measures, briefs: &[Brief], swept: bool) {
    let each = |of: &dyn Fn(&Brief) -> f64| briefs.iter().map(of).collect::<Vec<f64>>();
    let both = |of: &dyn Fn(&Brief, usize) -> f64| [0, 1].map(|which| each(&|b| of(b, which)));
    m.paired.push(("top1", both(&|b, which| percent(b.flags.right(which, 1)))));
    m.paired.push(("top5", both(&|b, which| percent(b.flags.right(which, 5)))));
    m.paired.push(("confidence", both(&|b, which| 100.0 * f64::from(b.confidence[which]))));
    if briefs.iter().any(|b| b.iou.iter().all(|iou| !iou.is_nan())) {
        // An image whose boxes only one network's input holds counts for neither.
        let of = |iou: [f32; 2], which: usize| f64::from(iou[which] + 0.0 * iou[1 - which]);
        let known = |iou: f64| percent((!iou.is_nan()).then_some(iou >= 0.5));
        m.paired.push(("iou", both(&|b, which| 100.0 * of(b.iou, which))));
        m.paired.push(("gt_known", both(&|b, which| known(of(b.iou, which)))));
        m.paired.push(("iou_otsu", both(&|b, which| 100.0 * of(b.iou_otsu, which))));
        m.paired.push(("gt_known_otsu", both(&|b, which| known(of(b.iou_otsu, which)))));
    }
    if swept && briefs.iter().any(|b| !b.swept[0][0].is_nan()) {
        for (place, key) in SWEPT.into_iter().enumerate() {
            m.paired.push((key, both(&|b, which| f64::from(b.swept[which][place]))));
        }
    }
    m.single.push(("rmse", each(&|b| b.rmse)));
    m.single.push(("aligned", each(&|b| f64::from(b.aligned))));
    m.single.push(("flipped", each(&|b| percent(Some(b.flags.flipped)))));
    m.single.push(("agree", each(&|b| percent(Some(b.flags.agree)))));
}

/// Keys of localization at swept thresholds, in the order of [`Brief::swept`].
const SWEPT: [&str; 3] = ["iou_swept", "max_box_acc", "max_box_acc_v2"];

/// Keys of the areas.
const AREAS: [&str; 2] = ["deletion", "insertion"];

fn area_measures(m: &mut Measures, briefs: &[Brief], areas: &Areas, pair: usize) {
    for (kind, key) in AREAS.into_iter().enumerate() {
        let of = |which| briefs.iter().map(|b| areas.percent(pair, b.index.into(), which, kind)).collect();
        m.paired.push((key, [0, 1].map(of)));
    }
}

fn statistic_measures(m: &mut Measures, pool: &[Image]) {
    for (i, key) in STATISTIC_KEYS.into_iter().enumerate() {
        let values = [0, 1].map(|which| pool.iter().map(|image| image.networks[which].statistics[i]).collect());
        m.paired.push((key, values));
    }
}

/// A pair's random draws.
struct Draws<'a> {
    bootstrap: Bootstrap,
    number: u64,
    /// Told of the images drawn.
    progress: &'a (dyn Fn(u64) + Sync),
}

impl Draws<'_> {
    fn estimate(&self, all: &Measures, top: &Measures, images: usize, subset: usize) -> Inference {
        let (all_columns, top_columns) = (all.columns(images), top.columns(usize::MAX));
        let set = Selection { images, all: &all_columns, top: &top_columns, top_count: subset };
        let mut intervals = self.bootstrap.intervals(self.number, set, self.progress);
        let top_intervals = intervals.split_off(all_columns.len());
        let columns = top.columns(subset);
        let set = Selection { images: subset, all: &columns, top: &[], top_count: 0 };
        let fixed = self.bootstrap.intervals(self.number + 1, set, self.progress);
        let estimates = |means: Vec<Option<f64>>, intervals: Vec<Option<Interval>>, fixed: Vec<Option<Interval>>| {
            let each = means.into_iter().zip(intervals).zip(fixed);
            each.map(|((value, interval), fixed)| Estimate { value, interval, fixed }).collect::<Vec<_>>()
        };
        let none = vec![None; all_columns.len()];
        let mut found = Inference::default();
        self.sort(all, estimates(all.means(images), intervals, none), images, &mut found);
        self.sort(top, estimates(top.means(subset), top_intervals, fixed), subset, &mut found);
        found
    }

    /// Gives the estimates, which are in the order of the columns, their names, and tests the differences.
    fn sort(&self, m: &Measures, estimates: Vec<Estimate>, count: usize, out: &mut Inference) {
        let (paired, single) = estimates.split_at(3 * m.paired.len());
        for ((key, [a, b]), e) in m.paired.iter().zip(paired.chunks_exact(3)) {
            let number = self.number << 8 | out.comparisons.len() as u64;
            let (test, effect) = self.test(key, &a[..count.min(a.len())], &b[..count.min(b.len())], number);
            let (f32, int8, difference) = (e[0], e[1], e[2]);
            out.comparisons.push(Comparison { key, scope: m.scope, f32, int8, difference, test, effect });
        }
        let named = m.single.iter().zip(single);
        out.singles.extend(named.map(|((key, _), e)| Single { key, scope: m.scope, estimate: *e }));
    }

    /// The test and effect size of a measure. Raw statistics have none: integers and reals differ by their unit.
    fn test(&self, key: &str, a: &[f64], b: &[f64], number: u64) -> (Option<Test>, Option<Effect>) {
        if key.ends_with("_raw") || a.iter().zip(b).all(|(a, b)| (b - a).is_nan()) {
            return (None, None);
        }
        if key.starts_with("top") || key.starts_with("gt_known") || key == "max_box_acc" {
            let only = |x: &[f64], y: &[f64]| x.iter().zip(y).filter(|(x, y)| **x > 50.0 && **y < 50.0).count() as u64;
            let test = mcnemar(only(b, a), only(a, b));
            let effect = test.odds_ratio.map(|value| Effect { name: "odds-ratio", value });
            return (Some(Test { name: "mcnemar", p: test.p, p_holm: test.p }), effect);
        }
        let differences: Vec<f32> = differences(a, b).iter().filter(|d| !d.is_nan()).map(|&d| d as f32).collect();
        let test = sign_flip(&differences, self.bootstrap.resamples, self.bootstrap.seed, number);
        let effect = cohens_dz(&differences).map(|value| Effect { name: "d_z", value });
        (Some(Test { name: "sign-flip", p: test.p, p_holm: test.p }), effect)
    }

    /// The mean RMSE of each group with its interval.
    fn groups(&self, number: u64, groups: Vec<(String, Vec<f64>)>) -> Vec<Group> {
        let group = |(place, (label, values)): (usize, (String, Vec<f64>))| {
            let columns = [Column::new(values.iter().map(|&x| x as f32).collect())];
            let set = Selection { images: values.len(), all: &columns, top: &[], top_count: 0 };
            let number = self.number + number + 2 * place as u64;
            let interval = self.bootstrap.intervals(number, set, self.progress).first().copied().flatten();
            Group { label, images: values.len(), rmse: Estimate { value: mean(&values), interval, fixed: None } }
        };
        groups.into_iter().enumerate().map(group).collect()
    }
}

/// RMSE of the images by tenths of the float network's confidence.
fn by_confidence(briefs: &[Brief]) -> Vec<(String, Vec<f64>)> {
    let label = |tenth: usize| {
        let end = if tenth == 9 { "1]".to_string() } else { format!("0.{})", tenth + 1) };
        format!("f32 confidence in [0.{tenth}, {end}")
    };
    let mut groups: Vec<(String, Vec<f64>)> = (0..10).map(|tenth| (label(tenth), Vec::new())).collect();
    for b in briefs {
        // A confidence that is no number counts as 0.
        groups[((b.confidence[0] * 10.0) as usize).min(9)].1.push(b.rmse);
    }
    groups
}

/// RMSE of the labelled images by which network is right.
fn by_correctness(briefs: &[Brief]) -> Vec<(String, Vec<f64>)> {
    let labels = ["both right", "only f32 right", "only int8 right", "both wrong"];
    let mut groups: Vec<(String, Vec<f64>)> = labels.map(|l| (l.to_string(), Vec::new())).into();
    for b in briefs {
        if let (Some(float), Some(int8)) = (b.flags.right(0, 1), b.flags.right(1, 1)) {
            groups[2 * usize::from(!float) + usize::from(!int8)].1.push(b.rmse);
        }
    }
    if groups.iter().all(|(_, values)| values.is_empty()) { Vec::new() } else { groups }
}
