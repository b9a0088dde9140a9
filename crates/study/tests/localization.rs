//! Localization at swept thresholds, against a plain computation over all images at once with xai's scores (which are
//! tested against OpenCV).

#![allow(clippy::unwrap_used)] // a test may panic

use std::fs;

use quantlens_data::{Dataset, OpenOptions, RgbImage, demo_image, resize_bilinear};
use quantlens_nets::{ModelFile, load};
use quantlens_study::{
    PairSpec, Quiet, Record, Records, Scope, StudyConfig, SummaryOptions, TableFormat, render, run_scan, summarize,
};
use quantlens_xai::{BoxOptions, BoxRule, IouCurve, Localizer, SignPolicy, cam_map, grey};

const SIZE: usize = 64;
const SIGNS: SignPolicy = SignPolicy::Mean;
const IMAGES: u32 = 22;

fn study(folder: &std::path::Path) -> StudyConfig {
    let demo = quantlens_weights::demo_pair();
    let model = |bytes: &[u8]| load(&ModelFile::from_bytes("demo", bytes).unwrap(), None).unwrap();
    let pair = PairSpec { name: "demo".into(), float: model(demo.float), int8: model(demo.int8) };
    let picture = demo_image();
    let mut list = String::from("file,boxes\n");
    for i in 0..IMAGES {
        let mut small: RgbImage = resize_bilinear(&picture, 100 + 9 * i, 90 + 4 * i);
        small.pixels_mut().for_each(|p| p.0[i as usize % 3] /= 2 + i as u8 % 4);
        small.save(folder.join(format!("{i:02}.png"))).unwrap();
        let (x, y) = (5 + 3 * (i % 7), 3 + 5 * (i % 5));
        // The last image has no box.
        let boxes = if i + 1 < IMAGES { format!("\"[[{x},{y},{},{}]]\"", x + 60, y + 50) } else { String::new() };
        list += &format!("{i:02}.png,{boxes}\n");
    }
    fs::write(folder.join("index.csv"), list).unwrap();
    let dataset = Dataset::open(folder.join("index.csv"), &OpenOptions::default()).unwrap();
    StudyConfig {
        input_size: Some([SIZE, SIZE]),
        signs: SIGNS,
        ..StudyConfig::new(vec![pair], dataset, folder.join("out"))
    }
}

/// Largest contour and best of any at every level, of each of the two rows of each image.
fn curves(rows: &[Record]) -> Vec<Option<[IouCurve; 2]>> {
    let curve = |r: &Record| {
        let [h, w, channels] = r.map.map(|n| n as usize);
        let p = SIGNS.apply(&r.p, &r.mean_activation, channels, "").unwrap();
        let grey = grey(&cam_map(&p, h, w, SIZE, SIZE));
        let of = |rule| {
            let options = BoxOptions { rule, ..BoxOptions::default() };
            Localizer::new(SIZE, SIZE, options).unwrap().iou_curve(&grey, r.true_boxes.as_chunks::<4>().0)
        };
        Some([of(BoxRule::LargestContour)?, of(BoxRule::BestContour)?])
    };
    rows.iter().map(curve).collect()
}

/// The first of the largest.
fn best(score: impl Fn(f64) -> f64) -> (f64, f64) {
    let all = (0..200).map(|i| f64::from(i) * 0.005).map(|t| (score(t), t));
    all.reduce(|a, b| if b.0 > a.0 { b } else { a }).unwrap()
}

#[test]
fn thresholds_are_chosen_on_images_apart() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path());
    run_scan(&config, &Quiet).unwrap();
    let options = SummaryOptions { whole: true, ..SummaryOptions::new(SIGNS) };
    let summary = summarize(&config.out_dir, &options, &Quiet).unwrap();
    let pair = &summary.pairs[0];
    let sweep = pair.sweep.as_ref().unwrap();
    let rows: Vec<Record> = Records::open(&config.out_dir).unwrap().parts().flat_map(|p| p.unwrap().records).collect();
    let all = curves(&rows);
    // Every fourth of 22 images: 0, 4, ... 20.
    assert_eq!((sweep.stride, sweep.choosers, pair.boxed), (4, 6, 21));
    let estimate = |which: usize, key: &str| {
        let c = pair.inference.comparison(Scope::All, key).unwrap();
        [c.f32, c.int8][which].value.unwrap()
    };
    for which in 0..2 {
        let images = |chooser: bool| -> Vec<&[IouCurve; 2]> {
            let own = (0..IMAGES as usize).filter(|i| (i % 4 == 0) == chooser);
            own.filter_map(|i| all[2 * i + which].as_ref()).collect()
        };
        let share = |images: &[&[IouCurve; 2]], rule: usize, t: f64, least: f64| {
            images.iter().filter(|c| c[rule].at(t) >= least).count() as f64 / images.len() as f64
        };
        let mean =
            |images: &[&[IouCurve; 2]], t: f64| images.iter().map(|c| c[0].at(t)).sum::<f64>() / images.len() as f64;
        let (choosers, others) = (images(true), images(false));
        let (t, found) =
            ([sweep.thresholds.f32, sweep.thresholds.int8][which], [sweep.all.unwrap().f32, sweep.all.unwrap().int8]);
        assert_eq!(t.iou, best(|t| mean(&choosers, t)).1);
        assert_eq!(t.max_box_acc, best(|t| share(&choosers, 0, t, 0.5)).1);
        let levels = [0.3, 0.5, 0.7];
        assert_eq!(t.max_box_acc_v2, levels.map(|least| best(|t| share(&choosers, 1, t, least)).1));
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-4, "{a} {b}");
        near(estimate(which, "iou_swept"), 100.0 * mean(&others, t.iou));
        near(estimate(which, "max_box_acc"), 100.0 * share(&others, 0, t.max_box_acc, 0.5));
        let v2 = levels.iter().zip(t.max_box_acc_v2).map(|(&least, t)| share(&others, 1, t, least));
        near(estimate(which, "max_box_acc_v2"), 100.0 * v2.sum::<f64>() / 3.0);
        near(found[which].iou, 100.0 * best(|t| mean(&others, t)).0);
        near(found[which].max_box_acc, 100.0 * best(|t| share(&others, 0, t, 0.5)).0);
        let v2 = levels.map(|least| best(|t| share(&others, 1, t, least)).0);
        near(found[which].max_box_acc_v2, 100.0 * v2.iter().sum::<f64>() / 3.0);
    }
    let text = render(&summary, TableFormat::Terminal);
    assert!(
        text.contains("Localization by the maps on all images") && text.contains("MaxBoxAccV2 %, swept t"),
        "{text}"
    );
    assert!(text.contains("every 4th image chooses (6 with a true box)"), "{text}");
    // Unless asked for, the whole set has no sweep; the subset has.
    let summary = summarize(&config.out_dir, &SummaryOptions::new(SIGNS), &Quiet).unwrap();
    let pair = &summary.pairs[0];
    assert!(pair.inference.comparison(Scope::All, "iou_swept").is_none());
    assert!(pair.inference.comparison(Scope::Subset, "iou_swept").is_some());
    assert!(pair.sweep.as_ref().unwrap().all.is_none());
}
