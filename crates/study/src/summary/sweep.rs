//! Localization at swept thresholds (Choe et al. 2020): the best threshold on one part of the images, the result on
//! another; and MaxBoxAcc as published, whose threshold is the best one of the very images that it is reported on.
//!
//! A few images of the data set choose. A second pass over the records takes the boxes of every other image that is
//! reported: the subset's (and those that a resampled subset can reach), or all.

use std::collections::HashMap;

use quantlens_xai::{BoxAccuracy, BoxOptions, IouCurve, Localizer, SignPolicy, threshold_sweep};
use rayon::prelude::*;
use serde::Serialize;

use super::Both;
use super::collect::{Brief, Collected};
use super::image::{Scratch, grey_maps};
use crate::Error;
use crate::parts::Records;
use crate::progress::Progress;
use crate::record::Record;

/// Step of the sweep. wsolevaluation's is 0.001, which 8-bit maps cannot tell from 0.004.
pub(crate) const STEP: f64 = 0.005;

/// At most so many images choose the thresholds, and at most every [`LEAST_STRIDE`]th.
const MOST_CHOOSERS: u64 = 500;
const LEAST_STRIDE: u64 = 4;

/// Every how many images of so many chooses thresholds, from the first on.
pub(super) fn stride(images: u64) -> u64 {
    images.div_ceil(MOST_CHOOSERS).max(LEAST_STRIDE)
}

/// Thresholds of one network, shares of a map's maximum.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Thresholds {
    /// The largest mean IoU of the largest contour's box.
    pub iou: f64,
    /// Most boxes of the largest contour with an IoU of 0.5 or more: MaxBoxAcc's.
    pub max_box_acc: f64,
    /// Most images of which any contour's box has an IoU of 0.3, 0.5 and 0.7 or more: MaxBoxAccV2's.
    pub max_box_acc_v2: [f64; 3],
}

/// The best that a network reaches on some images at the best threshold of these images themselves, percent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Best {
    /// Mean IoU.
    pub iou: f64,
    /// MaxBoxAcc.
    pub max_box_acc: f64,
    /// MaxBoxAccV2.
    pub max_box_acc_v2: f64,
}

/// What sweeps of the threshold found for a pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sweep {
    /// Every how many images of the data set chose, from the first on; they are reported nowhere else.
    pub stride: u64,
    /// How many of them have a true box.
    pub choosers: u64,
    /// What they chose.
    pub thresholds: Both<Thresholds>,
    /// The best on the subset's other images; none where none of those has a true box.
    pub subset: Option<Both<Best>>,
    /// The best on all other images; none unless asked for.
    pub all: Option<Both<Best>>,
}

/// A network's boxes of one image at all thresholds: those of the largest contour, and the best of any.
pub(super) type Curves = [IouCurve; 2];

/// Counts of a network over images: largest contours, and any.
type Tally = [BoxAccuracy; 2];

fn tallies(thresholds: &[f64]) -> Both<Tally> {
    let tally = || [BoxAccuracy::new(thresholds), BoxAccuracy::new(thresholds)];
    Both { f32: tally(), int8: tally() }
}

fn add(tallies: &mut Both<Tally>, curves: &[Curves; 2]) {
    for (tally, curves) in [&mut tallies.f32, &mut tallies.int8].into_iter().zip(curves) {
        tally.iter_mut().zip(curves).for_each(|(tally, curve)| tally.add(curve));
    }
}

fn thresholds([single, any]: &Tally) -> Option<Thresholds> {
    Some(Thresholds {
        iou: single.best_mean_iou()?.threshold,
        max_box_acc: single.max_box_acc()?.threshold,
        max_box_acc_v2: any.best_by_iou()?.map(|best| best.threshold),
    })
}

fn best([single, any]: &Tally) -> Option<Best> {
    Some(Best {
        iou: 100.0 * single.best_mean_iou()?.value,
        max_box_acc: 100.0 * single.max_box_acc()?.value,
        max_box_acc_v2: 100.0 * any.max_box_acc_v2()?,
    })
}

/// IoU, MaxBoxAcc and MaxBoxAccV2 of one image in percent, at thresholds that others chose.
fn at(t: Thresholds, [single, any]: &Curves) -> [f32; 3] {
    let reached = |iou: f64, least: f64| if iou >= least { 100.0 } else { 0.0 };
    let v2 = t.max_box_acc_v2.iter().zip(BoxAccuracy::IOUS).map(|(&t, least)| reached(any.at(t), least));
    [100.0 * single.at(t.iou) as f32, reached(single.at(t.max_box_acc), 0.5) as f32, v2.sum::<f64>() as f32 / 3.0]
}

/// Which images of a pair a sweep is over, and where a ranked pair has them.
struct Reported {
    places: HashMap<u32, usize>,
    subset: usize,
    whole: bool,
}

/// Sweeps the thresholds of all pairs, whose images are ranked: fills in each reported image's results and returns what
/// was chosen; none for a pair without true boxes.
///
/// # Errors
/// Unreadable parts, [`Error::Stopped`].
pub(super) fn sweep(
    records: &Records,
    signs: SignPolicy,
    boxes: BoxOptions,
    whole: bool,
    pairs: &mut [Collected],
    progress: &dyn Progress,
) -> Result<Vec<Option<Sweep>>, Error> {
    if pairs.iter().all(|p| p.briefs.iter().all(|b| b.iou.iter().any(|iou| iou.is_nan()))) {
        return Ok(vec![None; pairs.len()]);
    }
    let images = records.manifest().settings.data.images;
    let all = threshold_sweep(STEP)?;
    let walk = Walk { records, signs, boxes, progress };
    let mut chosen: Vec<Both<Tally>> = pairs.iter().map(|_| tallies(&all)).collect();
    let stride = stride(images);
    walk.run("thresholds", |_, place| place.is_multiple_of(stride), |pair, _, curves| add(&mut chosen[pair], curves))?;
    let found: Vec<Option<Both<Thresholds>>> =
        chosen.iter().map(|t| Some(Both { f32: thresholds(&t.f32)?, int8: thresholds(&t.int8)? })).collect();
    let reported: Vec<Reported> = pairs.iter().map(|p| reported(p, whole)).collect();
    let mut best_of: Vec<[Both<Tally>; 2]> = pairs.iter().map(|_| [tallies(&all), tallies(&all)]).collect();
    let wanted = |pair: usize, place: u64| {
        !place.is_multiple_of(stride)
            && u32::try_from(place).is_ok_and(|place| reported[pair].places.contains_key(&place))
    };
    walk.run("localization", wanted, |pair, place, curves| {
        let (Some(t), Some(&rank)) = (found[pair], reported[pair].places.get(&(place as u32))) else { return };
        pairs[pair].briefs[rank].swept = [at(t.f32, &curves[0]), at(t.int8, &curves[1])];
        if rank < reported[pair].subset {
            add(&mut best_of[pair][0], curves);
        }
        if reported[pair].whole {
            add(&mut best_of[pair][1], curves);
        }
    })?;
    let summary = |pair: usize| {
        let best = |t: &Both<Tally>| Some(Both { f32: best(&t.f32)?, int8: best(&t.int8)? });
        let ([subset, all], choosers) = (&best_of[pair], chosen[pair].f32[0].images());
        Some(Sweep { stride, choosers, thresholds: found[pair]?, subset: best(subset), all: best(all) })
    };
    Ok((0..found.len()).map(summary).collect())
}

fn reported(pair: &Collected, whole: bool) -> Reported {
    let subset = super::subset_size(pair.briefs.len());
    let count = if whole { pair.briefs.len() } else { pair.pool.len().min(pair.briefs.len()) };
    let places = pair.briefs[..count].iter().map(|b: &Brief| b.index).zip(0..).collect();
    Reported { places, subset, whole }
}

/// A pass over the records.
struct Walk<'a> {
    records: &'a Records,
    signs: SignPolicy,
    boxes: BoxOptions,
    progress: &'a dyn Progress,
}

impl Walk<'_> {
    /// Hands the curves of the wanted images (by pair and place) that have a true box to `each`, in order.
    fn run(
        &self,
        stage: &str,
        wanted: impl Fn(usize, u64) -> bool + Sync,
        mut each: impl FnMut(usize, u64, &[Curves; 2]),
    ) -> Result<(), Error> {
        let settings = &self.records.manifest().settings;
        let (pairs, out) = (settings.pairs.len(), settings.data.input_size);
        let localizer = Localizer::new(out[0], out[1], self.boxes)?;
        self.progress.start(stage, settings.data.images - self.records.missing_images(), 0);
        for part in self.records.parts() {
            let part = part?;
            let images = part.records.chunks_exact(2 * pairs);
            self.progress.advance(images.len() as u64);
            // By pair, then image: the order in which a pair's curves are added up.
            let of_pair = |pair: usize| {
                let rows = images.clone().map(move |rows| [&rows[2 * pair], &rows[2 * pair + 1]]);
                rows.filter(|[row, _]| wanted(pair, row.data_index)).map(move |rows| (pair, rows)).collect::<Vec<_>>()
            };
            let rows: Vec<(usize, [&Record; 2])> = (0..pairs).flat_map(of_pair).collect();
            let memory = || (Scratch::default(), localizer.clone());
            let found = rows
                .par_iter()
                .map_init(memory, |(scratch, localizer), (_, rows)| curves(*rows, self.signs, out, scratch, localizer));
            for ((pair, rows), curves) in rows.iter().zip(found.collect::<Result<Vec<_>, Error>>()?) {
                curves.iter().for_each(|curves| each(*pair, rows[0].data_index, curves));
            }
            self.progress.check()?;
        }
        self.progress.finish();
        Ok(())
    }
}

/// Both networks' boxes of an image at all thresholds; none without a result or a true box of both.
fn curves(
    rows: [&Record; 2],
    signs: SignPolicy,
    out: [usize; 2],
    scratch: &mut Scratch,
    localizer: &mut Localizer,
) -> Result<Option<[Curves; 2]>, Error> {
    if rows.iter().any(|r| r.error.is_some() || r.true_boxes.is_empty()) {
        return Ok(None);
    }
    let greys = grey_maps(rows, signs, out, scratch)?;
    let curves = [0, 1].map(|which| localizer.iou_curves(&greys[which], rows[which].true_boxes.as_chunks::<4>().0));
    let [Some(float), Some(int8)] = curves else { return Ok(None) };
    Ok(Some([float, int8]))
}
