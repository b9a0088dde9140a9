//! What a pair's images are reduced to while the parts stream by: a few numbers an image, and whole rows only for the
//! images that can be in the subset. Memory grows by these few numbers, not by the records.

use super::image::{Image, STATISTICS};
use super::{Both, SMALL_GAP, subset_size};

/// What is kept of every image.
#[derive(Debug, Clone, Copy)]
pub(super) struct Brief {
    pub index: u32,
    pub flags: Flags,
    pub confidence: [f32; 2],
    pub rmse: f64,
    pub aligned: f32,
    /// IoU of each network's box with the best true one; NaN without a true box.
    pub iou: [f32; 2],
    /// The same at Otsu's threshold.
    pub iou_otsu: [f32; 2],
    /// IoU, MaxBoxAcc and MaxBoxAccV2 of each network in percent, at thresholds that other images chose; NaN where the
    /// sweep did not go.
    pub swept: [[f32; 3]; 2],
}

/// Yes-or-no facts about an image.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Flags {
    /// Rank of the true class in each network, held at [`Flags::LAST`]; 0 without a label.
    rank: [u8; 2],
    pub flipped: bool,
    pub agree: bool,
}

impl Flags {
    const LAST: u32 = 255;

    /// Whether network `which` has the true class among its first `k` (below 255); none without a label.
    pub(super) fn right(self, which: usize, k: u8) -> Option<bool> {
        (self.rank[which] > 0).then(|| self.rank[which] <= k)
    }
}

impl Brief {
    fn of(image: &Image) -> Option<Self> {
        let maps = image.maps.first().copied().flatten()?;
        let rank = |i: usize| image.networks[i].true_rank.map_or(0, |rank| rank.clamp(1, Flags::LAST) as u8);
        Some(Self {
            index: u32::try_from(image.index).ok()?,
            flags: Flags { rank: [rank(0), rank(1)], flipped: maps.flipped, agree: image.agree },
            confidence: [0, 1].map(|i| image.networks[i].confidence),
            rmse: maps.rmse,
            aligned: maps.aligned as f32,
            iou: image.iou,
            iou_otsu: image.iou_otsu,
            swept: [[f32::NAN; 3]; 2],
        })
    }
}

/// A sign policy's differences so far.
#[derive(Debug, Clone, Default)]
pub(super) struct PolicyTotals {
    pub images: usize,
    pub rmse: f64,
    pub aligned: f64,
    pub flipped: usize,
    /// The largest RMSE seen, at most twice as many as asked for.
    largest: Vec<f64>,
}

impl PolicyTotals {
    fn add(&mut self, maps: super::image::MapDifference, keep: usize) {
        self.images += 1;
        self.rmse += maps.rmse;
        self.aligned += maps.aligned;
        self.flipped += usize::from(maps.flipped);
        self.largest.push(maps.rmse);
        if self.largest.len() >= 2 * keep.max(1) {
            self.cut(keep);
        }
    }

    fn cut(&mut self, keep: usize) {
        self.largest.sort_by(|a, b| b.total_cmp(a));
        self.largest.truncate(keep);
    }

    /// The mean of the `count` largest.
    pub(super) fn top_mean(&mut self, count: usize) -> f64 {
        self.cut(count);
        self.largest.iter().sum::<f64>() / self.largest.len() as f64
    }
}

/// A pair's images so far.
pub(super) struct Collected {
    pub briefs: Vec<Brief>,
    /// The images with the largest RMSE: those that a subset, a resampled one included, can reach.
    pub pool: Vec<Image>,
    /// Sums of the statistics over all images.
    pub sums: Both<[f64; STATISTICS]>,
    pub policies: Vec<PolicyTotals>,
    pub small_gaps: usize,
    pub failed: usize,
    /// Why the first one failed.
    pub first_failure: Option<String>,
    subset: usize,
    pool_size: usize,
}

impl Collected {
    /// Ready for at most `images` images under so many policies.
    pub(super) fn new(images: u64, policies: usize) -> Self {
        let images = usize::try_from(images).unwrap_or(usize::MAX);
        let subset = subset_size(images);
        // A resample's subset ends where its drawn images are `subset`: 8 standard deviations are never reached.
        let reach = subset + (8.0 * (subset as f64).sqrt()).ceil() as usize + 32;
        Self {
            briefs: Vec::new(),
            pool: Vec::new(),
            sums: Both::default(),
            policies: vec![PolicyTotals::default(); policies],
            small_gaps: 0,
            failed: 0,
            first_failure: None,
            subset,
            pool_size: reach.min(images),
        }
    }

    pub(super) fn fail(&mut self, why: String) {
        self.failed += 1;
        self.first_failure.get_or_insert(why);
    }

    pub(super) fn add(&mut self, image: Image) {
        let Some(brief) = Brief::of(&image) else { return self.fail("its place exceeds 2^32".into()) };
        self.briefs.push(brief);
        for (sums, row) in [&mut self.sums.f32, &mut self.sums.int8].into_iter().zip(&image.networks) {
            sums.iter_mut().zip(row.statistics).for_each(|(sum, x)| *sum += x);
        }
        for (totals, maps) in self.policies.iter_mut().zip(&image.maps) {
            maps.iter().for_each(|maps| totals.add(*maps, self.subset));
        }
        self.small_gaps += usize::from(image.networks.iter().any(|n| n.gap < SMALL_GAP));
        self.pool.push(image);
        if self.pool.len() >= 2 * self.pool_size {
            self.cut();
        }
    }

    /// Sorts what was kept by RMSE, largest first; of equal ones the earlier image. The first `subset` of both are the
    /// subset.
    pub(super) fn rank(&mut self) {
        self.cut();
        self.briefs.sort_by(|a, b| b.rmse.total_cmp(&a.rmse).then(a.index.cmp(&b.index)));
    }

    fn cut(&mut self) {
        let rmse = |i: &Image| i.maps.first().copied().flatten().map_or(0.0, |m| m.rmse);
        self.pool.sort_by(|a, b| rmse(b).total_cmp(&rmse(a)).then(a.index.cmp(&b.index)));
        self.pool.truncate(self.pool_size);
    }
}
