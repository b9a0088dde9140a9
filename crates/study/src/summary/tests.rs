//! A small study whose numbers are known by hand.

#![allow(clippy::unwrap_used)] // a test may panic

use super::*;
use crate::manifest::tests::settings;
use crate::parts;
use crate::progress::Quiet;
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

/// Few resamples: the tests that look at intervals are elsewhere.
fn compute(records: &Records, signs: SignPolicy) -> Result<Summary, Error> {
    let bootstrap = Bootstrap { resamples: 200, ..Bootstrap::default() };
    Summary::compute(records, &SummaryOptions { bootstrap, ..SummaryOptions::new(signs) }, None, &Quiet)
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
    let s = compute(&records, SignPolicy::Peak).unwrap();
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
    assert_eq!((one.dice, one.small_gaps), (Dice { counts: 1.0, images: 1.0, each: 1.0, tensor: None }, 1));
    let two = &s.pairs[1];
    // All RMSE are 0: the subset is the first image, whose int8 histogram has one of two values elsewhere.
    assert_eq!((two.images, two.failed, two.subset_indexes.as_slice()), (2, 1, [0].as_slice()));
    assert_eq!((two.accuracy.f32.labelled, two.accuracy.f32.top1, two.dice.counts), (0, None, 0.5));
    assert!(s.hints.is_empty());
}

#[test]
fn signs_are_chosen_after_the_scan() {
    let folder = folder();
    let records = Records::open(folder.path()).unwrap();
    // Mean activation (0, 1): the opposite map of image 1 is turned.
    let s = compute(&records, SignPolicy::Mean).unwrap();
    assert_eq!((s.pairs[0].rmse.mean, s.pairs[0].rmse.flipped, s.signs.as_str()), (0.0, 0.0, "mean"));
    let s = compute(&records, SignPolicy::Lapack).unwrap();
    assert_eq!(s.pairs[0].rmse.mean, 0.0);
    let coins = |seed| compute(&records, SignPolicy::Random(seed)).unwrap().pairs[1].rmse.mean;
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
    let s = compute(&Records::open(folder.path()).unwrap(), SignPolicy::Lapack).unwrap();
    assert_eq!(s.hints.len(), 1);
    assert!(s.hints[0].starts_with("one int8: top-1 is 0.00 % on 100 images."), "{}", s.hints[0]);
}
