//! What the report takes from the records besides the summary: the subset's histograms, the images whose maps differ
//! most, and one image of each kind for figure 3. One pass over the parts that hold any of them.

use std::collections::{BTreeSet, HashMap};

use quantlens_xai::{BINS, Localizer, PairDifference, PixelBox, SignPolicy, cam_map, grey};

use crate::Error;
use crate::parts::Records;
use crate::progress::Progress;
use crate::record::Record;
use crate::summary::{PairSummary, Summary, SummaryOptions};

/// Which of the two networks has the right class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Outcome {
    BothRight,
    FloatAlone,
    Int8Alone,
    BothWrong,
    Unlabelled,
}

impl Outcome {
    pub const ALL: [Self; 5] = [Self::BothRight, Self::FloatAlone, Self::Int8Alone, Self::BothWrong, Self::Unlabelled];

    pub fn text(self) -> &'static str {
        match self {
            Self::BothRight => "both right",
            Self::FloatAlone => "f32 alone right",
            Self::Int8Alone => "int8 alone right",
            Self::BothWrong => "both wrong",
            Self::Unlabelled => "without a label",
        }
    }

    fn of(rows: &[Record]) -> Self {
        match [0, 1].map(|i| rows[i].true_rank.map(|rank| rank == 1)) {
            [Some(true), Some(true)] => Self::BothRight,
            [Some(true), Some(false)] => Self::FloatAlone,
            [Some(false), Some(true)] => Self::Int8Alone,
            [Some(false), Some(false)] => Self::BothWrong,
            _ => Self::Unlabelled,
        }
    }
}

/// Whether a policy turns a projection; none where it does not apply to the layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub(super) struct Turned {
    pub study: Option<bool>,
    pub lapack: Option<bool>,
    pub mean: Option<bool>,
    pub peak: Option<bool>,
}

/// What one network made of an image.
#[derive(Debug, Clone)]
pub(super) struct Side {
    pub predicted: Option<u32>,
    pub probability: f32,
    /// Whether the prediction is the true class; none without a label.
    pub right: Option<bool>,
    /// Height and width of the layer's map.
    pub map: [usize; 2],
    /// The projection as recorded, before any sign policy.
    pub p: Vec<f32>,
    pub turned: Turned,
    /// The box under the study's settings, and its IoU with the best true one.
    pub found: Option<PixelBox>,
    pub iou: Option<f64>,
}

impl Side {
    /// The projection with the study's sign.
    pub fn signed(&self) -> Vec<f32> {
        let turn = self.turned.study == Some(true);
        // 0 - x rather than -x: no negative zeros.
        self.p.iter().map(|&x| if turn { 0.0 - x } else { x }).collect()
    }
}

/// An image and pair.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    /// Place in the data set.
    pub place: u64,
    pub id: String,
    /// Place in the order of RMSE, largest first, from 0.
    pub rank: usize,
    pub true_class: Option<u32>,
    pub boxes: Vec<[f64; 4]>,
    pub outcome: Outcome,
    pub difference: PairDifference,
    /// Float, int8.
    pub sides: [Side; 2],
}

/// What the report shows of a pair.
#[derive(Debug, Clone)]
pub(super) struct PairData {
    /// Counts of the normalized mean activation, summed over the subset: float, int8.
    pub histograms: [Vec<u64>; 2],
    /// The images whose maps differ most, by falling RMSE.
    pub gallery: Vec<Entry>,
    /// Figure 3: of each outcome that the subset has the image that differs most, with a true box if any has one.
    pub panels: Vec<Entry>,
}

/// A pair's candidates for figure 3, by outcome: whether the image lacks a true box, its rank, the image.
type Candidates = HashMap<Outcome, ((bool, usize), Entry)>;

/// Reads what the report shows, with galleries of `count` images.
pub(super) fn gather(
    records: &Records,
    summary: &Summary,
    options: &SummaryOptions,
    count: usize,
    progress: &dyn Progress,
) -> Result<Vec<PairData>, Error> {
    let ranks: Vec<HashMap<u64, usize>> = summary.pairs.iter().map(|p| ranks(p, count)).collect();
    let wanted: BTreeSet<u64> = ranks.iter().flat_map(|r| r.keys().copied()).collect();
    progress.start("report", wanted.len() as u64, 0);
    let empty = || PairData { histograms: [vec![0; BINS], vec![0; BINS]], gallery: Vec::new(), panels: Vec::new() };
    let mut found: Vec<PairData> = ranks.iter().map(|_| empty()).collect();
    let mut candidates: Vec<Candidates> = ranks.iter().map(|_| Candidates::new()).collect();
    let mut maker = Maker::new(records, options)?;
    let mut images = records.image_rows();
    for place in wanted {
        let rows = images.of(place)?;
        for (pair, rows) in rows.chunks_exact(2).enumerate() {
            let Some(&rank) = ranks[pair].get(&place) else { continue };
            if rank < summary.pairs[pair].subset {
                add_histograms(&mut found[pair], rows);
                maker.consider(&mut candidates[pair], rank, rows)?;
            }
            if rank < count {
                found[pair].gallery.push(maker.entry(rank, rows)?);
            }
        }
        progress.advance(1);
        progress.check()?;
    }
    progress.finish();
    for (data, mut candidates) in found.iter_mut().zip(candidates) {
        data.gallery.sort_by_key(|e| e.rank);
        data.panels = Outcome::ALL.iter().filter_map(|o| Some(candidates.remove(o)?.1)).collect();
    }
    Ok(found)
}

/// By place, the ranks of a pair's subset and of the first `count` images.
fn ranks(pair: &PairSummary, count: usize) -> HashMap<u64, usize> {
    let first = pair.ranked.iter().take(pair.subset.max(count));
    first.enumerate().map(|(rank, &place)| (place, rank)).collect()
}

fn add_histograms(data: &mut PairData, rows: &[Record]) {
    for (sum, row) in data.histograms.iter_mut().zip(rows) {
        sum.iter_mut().zip(&row.histogram).for_each(|(sum, &count)| *sum += u64::from(count));
    }
}

/// Makes entries of rows.
struct Maker<'a> {
    options: &'a SummaryOptions,
    localizer: Localizer,
    out: [usize; 2],
}

impl<'a> Maker<'a> {
    fn new(records: &Records, options: &'a SummaryOptions) -> Result<Self, Error> {
        let out = records.manifest().settings.data.input_size;
        Ok(Self { options, localizer: Localizer::new(out[0], out[1], options.boxes)?, out })
    }

    /// Keeps the image where it is the best of its outcome so far.
    fn consider(&mut self, best: &mut Candidates, rank: usize, rows: &[Record]) -> Result<(), Error> {
        let (outcome, key) = (Outcome::of(rows), (rows[0].true_boxes.is_empty(), rank));
        if best.get(&outcome).is_none_or(|(there, _)| key < *there) {
            best.insert(outcome, (key, self.entry(rank, rows)?));
        }
        Ok(())
    }

    fn entry(&mut self, rank: usize, rows: &[Record]) -> Result<Entry, Error> {
        let boxes = rows[0].true_boxes.as_chunks::<4>().0.to_vec();
        let sides = [self.side(&rows[0], &boxes)?, self.side(&rows[1], &boxes)?];
        let [h, w] = sides[0].map;
        let difference = PairDifference::compute(&sides[0].signed(), &sides[1].signed(), h, w, self.out);
        Ok(Entry {
            place: rows[0].data_index,
            id: rows[0].image_id.clone(),
            rank,
            true_class: rows[0].true_class,
            boxes,
            outcome: Outcome::of(rows),
            difference,
            sides,
        })
    }

    fn side(&mut self, row: &Record, boxes: &[[f64; 4]]) -> Result<Side, Error> {
        let [h, w, _] = row.map.map(|n| n as usize);
        let turned = |policy| turned(policy, row);
        let mut side = Side {
            predicted: row.top5_class.first().copied(),
            probability: row.top5_prob.first().copied().unwrap_or(f32::NAN),
            right: row.true_rank.map(|rank| rank == 1),
            map: [h, w],
            p: row.p.clone(),
            turned: Turned {
                study: turned(self.options.signs),
                lapack: turned(SignPolicy::Lapack),
                mean: turned(SignPolicy::Mean),
                peak: turned(SignPolicy::Peak),
            },
            found: None,
            iou: None,
        };
        let grey = grey(&cam_map(&side.signed(), h, w, self.out[0], self.out[1]));
        let level = self.options.threshold.level(&grey);
        side.found = self.localizer.predict(&grey, level);
        side.iou = self.localizer.iou(&grey, level, boxes);
        Ok(side)
    }
}

/// Whether a policy turns the row's projection.
fn turned(policy: SignPolicy, row: &Record) -> Option<bool> {
    // The id by which the summary and the curves draw a pair's coins.
    let id = format!("{}/{}/{}", row.network, row.precision, row.image_id);
    let signed = policy.apply(&row.p, &row.mean_activation, row.map[2] as usize, &id).ok()?;
    Some(signed.iter().zip(&row.p).any(|(a, b)| a.to_bits() != b.to_bits()))
}
