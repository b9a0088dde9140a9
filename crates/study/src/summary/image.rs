//! One image and pair: the two maps compared under each sign policy, and what is kept of the two rows.

use quantlens_xai::{CamWorkspace, Localizer, SignPolicy, Threshold, covariance, rmse};

use crate::Error;
use crate::record::Record;

/// Number of statistics of a row, in the order of [`super::Statistics`]' fields.
pub(super) const STATISTICS: usize = 8;

/// What an image says about a pair.
pub(super) struct Image {
    /// Place in the data set.
    pub index: u64,
    /// The maps under each policy, in the order given; none where a policy does not apply to the layer.
    pub maps: Vec<Option<MapDifference>>,
    /// Whether both networks see the same class.
    pub agree: bool,
    /// IoU of each network's box under the first policy with the best true one; NaN without a true box.
    pub iou: [f32; 2],
    /// The same at Otsu's threshold.
    pub iou_otsu: [f32; 2],
    pub networks: [Row; 2],
}

/// What is kept of a row.
pub(super) struct Row {
    pub true_rank: Option<u32>,
    /// Probability of the predicted class.
    pub confidence: f32,
    /// Relative gap of the first two eigenvalues.
    pub gap: f32,
    pub statistics: [f64; STATISTICS],
    /// Filled bins and their counts: a 7x7 map fills at most 49 of 256.
    pub histogram: Vec<(u8, u32)>,
}

/// How far two maps are apart under a sign policy.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct MapDifference {
    /// RMSE of the 8-bit maps, 0 to 255.
    pub rmse: f64,
    /// The same after the second map was turned where the two correlate negatively.
    pub aligned: f64,
    /// Whether they correlate negatively.
    pub flipped: bool,
}

/// Memory that comparing images needs, kept from one to the next.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    cams: CamWorkspace,
    map: Vec<f32>,
    /// Where boxes are asked for.
    boxes: Option<(Localizer, Threshold)>,
}

impl Scratch {
    /// With boxes where these are given.
    pub(super) fn new(boxes: Option<(Localizer, Threshold)>) -> Self {
        Self { boxes, ..Self::default() }
    }
}

/// An image, or why it has no result.
pub(super) type Compared = Result<Image, String>;

impl Image {
    /// Compares the two rows of an image and pair under each policy. The first one must apply.
    pub(super) fn compare(
        rows: [&Record; 2],
        signs: &[SignPolicy],
        out: [usize; 2],
        scratch: &mut Scratch,
    ) -> Result<Compared, Error> {
        if let Some((row, why)) = rows.iter().find_map(|r| Some((r, r.error.as_ref()?))) {
            return Ok(Err(format!("{}: {why}", row.image_id)));
        }
        let [[h, w, _], [h8, w8, _]] = rows.map(|r| r.map.map(|n| n as usize));
        if [h, w] != [h8, w8] {
            return Err(Error::Settings(format!(
                "{}: the layers of the two networks have maps of {h}x{w} and {h8}x{w8}: choose layers of one size",
                rows[0].network
            )));
        }
        let Scratch { cams, map, boxes } = scratch;
        let mut maps = Maps::new(rows.map(|r| &r.p[..]), [h, w], out, (cams, map));
        let difference = |(place, policy): (usize, &SignPolicy)| match turned(*policy, rows) {
            Ok(turned) => Ok(Some(maps.difference(turned))),
            Err(e) if place == 0 => Err(e.into()),
            Err(_) => Ok(None),
        };
        let differences = signs.iter().enumerate().map(difference).collect::<Result<_, Error>>()?;
        let [mut iou, mut iou_otsu] = [[f32::NAN; 2]; 2];
        if let (Some((localizer, threshold)), Some(policy)) = (boxes, signs.first()) {
            let turned = turned(*policy, rows)?;
            for which in 0..2 {
                let truths = rows[which].true_boxes.as_chunks::<4>().0;
                if !truths.is_empty() {
                    let grey = maps.picture(which, turned[which]);
                    let mut at =
                        |t: Threshold| localizer.iou(grey, t.level(grey), truths).map_or(f32::NAN, |x| x as f32);
                    (iou[which], iou_otsu[which]) = (at(*threshold), at(Threshold::Otsu));
                }
            }
        }
        let agree = rows[0].top5_class.first() == rows[1].top5_class.first();
        Ok(Ok(Self { index: rows[0].data_index, maps: differences, agree, iou, iou_otsu, networks: rows.map(Row::of) }))
    }
}

impl Row {
    fn of(r: &Record) -> Self {
        let [first, second] = r.eigenvalues;
        let filled = r.histogram.iter().enumerate().filter(|(_, count)| **count > 0);
        Self {
            true_rank: r.true_rank,
            confidence: r.top5_prob.first().copied().unwrap_or(f32::NAN),
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

/// The 8-bit maps of both networks of an image under a policy.
pub(super) fn grey_maps(
    rows: [&Record; 2],
    policy: SignPolicy,
    out: [usize; 2],
    scratch: &mut Scratch,
) -> Result<[Vec<u8>; 2], Error> {
    let size = [rows[0].map[0] as usize, rows[0].map[1] as usize];
    let turned = turned(policy, rows)?;
    let Scratch { cams, map, .. } = scratch;
    let mut maps = Maps::new(rows.map(|r| &r.p[..]), size, out, (cams, map));
    Ok([0, 1].map(|which| maps.picture(which, turned[which]).to_vec()))
}

/// Whether a policy turns each of the two projections.
fn turned(policy: SignPolicy, rows: [&Record; 2]) -> Result<[bool; 2], quantlens_xai::Error> {
    let of = |r: &Record| {
        // The coins of a pair are independent: the id says which network.
        let id = format!("{}/{}/{}", r.network, r.precision, r.image_id);
        let signed = policy.apply(&r.p, &r.mean_activation, r.map[2] as usize, &id)?;
        Ok::<_, quantlens_xai::Error>(signed.iter().zip(&r.p).any(|(a, b)| a.to_bits() != b.to_bits()))
    };
    Ok([of(rows[0])?, of(rows[1])?])
}

/// The maps of two projections and their negatives: four pictures and four differences, whatever the number of
/// policies, each made when it is first asked for.
struct Maps<'a> {
    projections: [&'a [f32]; 2],
    size: [usize; 2],
    out: [usize; 2],
    covariance: f64,
    /// Memory to make maps in.
    memory: (&'a mut CamWorkspace, &'a mut Vec<f32>),
    pictures: [[Option<Vec<u8>>; 2]; 2],
    rmse: [[Option<f64>; 2]; 2],
}

impl<'a> Maps<'a> {
    fn new(
        projections: [&'a [f32]; 2],
        size: [usize; 2],
        out: [usize; 2],
        memory: (&'a mut CamWorkspace, &'a mut Vec<f32>),
    ) -> Self {
        let covariance = covariance(projections[0], projections[1]);
        Self { projections, size, out, covariance, memory, pictures: Default::default(), rmse: Default::default() }
    }

    fn difference(&mut self, turned: [bool; 2]) -> MapDifference {
        let covariance = if turned[0] == turned[1] { self.covariance } else { -self.covariance };
        let flipped = covariance < 0.0;
        let rmse = self.rmse(turned);
        let aligned = if flipped { self.rmse([turned[0], !turned[1]]) } else { rmse };
        MapDifference { rmse, aligned, flipped }
    }

    fn rmse(&mut self, turned: [bool; 2]) -> f64 {
        let [a, b] = turned.map(usize::from);
        if let Some(known) = self.rmse[a][b] {
            return known;
        }
        turned.into_iter().enumerate().for_each(|(which, turn)| {
            self.picture(which, turn);
        });
        let picture = |which: usize, turn: usize| self.pictures[which][turn].as_deref().unwrap_or_default();
        *self.rmse[a][b].insert(rmse(picture(0, a), picture(1, b)))
    }

    /// The map of a network, turned or not, as grey.
    fn picture(&mut self, which: usize, turn: bool) -> &[u8] {
        let (size, out, p, (cams, map)) = (self.size, self.out, self.projections[which], &mut self.memory);
        self.pictures[which][usize::from(turn)].get_or_insert_with(|| {
            // 0 - x rather than -x: no negative zeros.
            let p: Vec<f32> = p.iter().map(|&x| if turn { 0.0 - x } else { x }).collect();
            cams.map(&p, size, out, map);
            let mut grey = Vec::new();
            cams.grey(map, &mut grey);
            grey
        })
    }
}

#[cfg(test)]
mod tests {
    use quantlens_xai::PairDifference;

    use super::*;
    use crate::record::Precision;
    use crate::record::tests::sample;

    #[test]
    fn every_policy_gives_what_its_signed_maps_give() {
        let signs = [SignPolicy::Lapack, SignPolicy::Mean, SignPolicy::Peak, SignPolicy::Random(1)];
        let mut flipped = 0;
        for index in 0..40 {
            let rows = Precision::ALL.map(|p| sample(index, "n", p, index as u32 * 31 + p as u32));
            let image =
                Image::compare([&rows[0], &rows[1]], &signs, [12, 18], &mut Scratch::default()).unwrap().unwrap();
            for (policy, found) in signs.iter().zip(image.maps) {
                let signed = |r: &Record| {
                    policy.apply(&r.p, &r.mean_activation, 12, &format!("n/{}/{}", r.precision, r.image_id)).unwrap()
                };
                let d = PairDifference::compute(&signed(&rows[0]), &signed(&rows[1]), 2, 3, [12, 18]);
                let expected = MapDifference { rmse: d.rmse, aligned: d.rmse_aligned, flipped: d.flipped };
                assert_eq!(found, Some(expected), "{index} {policy}");
                flipped += u32::from(d.flipped);
            }
        }
        assert!((10..150).contains(&flipped), "{flipped}");
    }

    #[test]
    fn a_policy_that_does_not_apply_is_an_error_only_where_it_was_chosen() {
        let mut rows = Precision::ALL.map(|p| sample(0, "n", p, 1));
        rows.iter_mut().for_each(|r| r.map[2] = 9);
        let compare =
            |signs: &[SignPolicy]| Image::compare([&rows[0], &rows[1]], signs, [4, 6], &mut Scratch::default());
        let image = compare(&[SignPolicy::Mean, SignPolicy::Lapack]).unwrap().unwrap();
        assert!(image.maps[0].is_some() && image.maps[1].is_none());
        assert!(compare(&[SignPolicy::Lapack]).is_err());
    }
}
