//! A study of the demo pair against the same stages in torch, pytorch-grad-cam and OpenCV (tools/golden_study.py):
//! predictions, RMSE of the maps, areas of deletion and insertion, boxes and their IoU.

#![allow(clippy::unwrap_used)] // a test may panic

use std::fs;
use std::path::Path;

use quantlens_data::{Dataset, OpenOptions, RgbImage};
use quantlens_nets::{ModelFile, load};
use quantlens_study::{
    CurveOptions, CurveRow, PairSpec, Precision, Quiet, Record, Records, StudyConfig, read_curves, run_curves, run_scan,
};
use quantlens_xai::{BoxOptions, Curve, Localizer, SignPolicy, Threshold, cam_map, grey, rmse};

const SIZE: usize = 64;
const SIGNS: SignPolicy = SignPolicy::Lapack;
const COUNT: u32 = 24;

/// Two maps' greys differ by one here and there, where a value is within a rounding of a whole grey.
const RMSE: f64 = 0.02;
/// Percent of area, of any curve and in the mean of all. At 64x64 the layer has 2x2 positions, so that a map is four plateaus and
/// slopes of equal rows: most pixels are within a rounding of others, and change places with them.
const AREA: [f64; 2] = [0.75, 0.05];
/// Pixels: a grey beside the threshold may fall to either side of it.
const EDGE: f64 = 1.0;

/// tools/golden_study.py's picture.
fn picture(i: u32) -> RgbImage {
    let (w, h) = (80 + 5 * i, 70 + 3 * (i * 7 % 24));
    RgbImage::from_fn(w, h, |x, y| {
        let blocks = 97 * ((x / (5 + i % 9) + y / (4 + i % 7)) % 2);
        let square = |a: u32, b: u32| i64::from(a.abs_diff(b)).pow(2);
        let disc = 120 * u32::from(square(x, 30 + i) + square(y, 25 + i) < i64::from(200 + 40 * i));
        let channel = |c: u32| ((blocks + disc + (c + 1) * x * 60 / w + (3 - c) * y * (i % 5) * 10 / h) % 256) as u8;
        image::Rgb([channel(0), channel(1), channel(2)])
    })
}

/// One network on one picture, as torch has it.
struct Expected {
    class: u32,
    areas: [f64; 2],
    edges: [f64; 4],
    iou: f64,
}

/// RMSE, float, int8 of each picture.
fn expected() -> Vec<(f64, [Expected; 2])> {
    let network =
        |n: &[f64]| Expected { class: n[0] as u32, areas: [n[1], n[2]], edges: [n[3], n[4], n[5], n[6]], iou: n[7] };
    let line = |line: &str| {
        let n: Vec<f64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        (n[0], [network(&n[1..9]), network(&n[9..17])])
    };
    include_str!("reference.txt").lines().filter(|l| !l.starts_with('#')).map(line).collect()
}

fn study(folder: &Path) -> StudyConfig {
    let demo = quantlens_weights::demo_pair();
    let model = |bytes: &[u8]| load(&ModelFile::from_bytes("demo", bytes).unwrap(), None).unwrap();
    let pair = PairSpec { name: "demo".into(), float: model(demo.float), int8: model(demo.int8) };
    let mut list = String::from("file,boxes\n");
    for i in 0..COUNT {
        picture(i).save(folder.join(format!("{i:02}.png"))).unwrap();
        list += &format!("{i:02}.png,\"[[20,10,60,50]]\"\n");
    }
    fs::write(folder.join("index.csv"), list).unwrap();
    let dataset = Dataset::open(folder.join("index.csv"), &OpenOptions::default()).unwrap();
    let config = StudyConfig::new(vec![pair], dataset, folder.join("out"));
    StudyConfig { input_size: Some([SIZE, SIZE]), signs: SIGNS, threads: 2, ..config }
}

fn grey_map(r: &Record) -> Vec<u8> {
    let [h, w, channels] = r.map.map(|n| n as usize);
    let p = SIGNS.apply(&r.p, &r.mean_activation, channels, "").unwrap();
    grey(&cam_map(&p, h, w, SIZE, SIZE))
}

#[test]
fn every_stage_is_the_references() {
    let folder = tempfile::tempdir().unwrap();
    let config = study(folder.path());
    run_scan(&config, &Quiet).unwrap();
    run_curves(&config, CurveOptions { whole: true, ..CurveOptions::default() }, &Quiet).unwrap();
    let records: Vec<Record> =
        Records::open(&config.out_dir).unwrap().parts().flat_map(|p| p.unwrap().records).collect();
    let curves: Vec<CurveRow> = read_curves(&config.out_dir, SIGNS).unwrap();
    let expected = expected();
    assert_eq!((expected.len(), records.len(), curves.len()), (COUNT as usize, 2 * COUNT as usize, 2 * COUNT as usize));
    let mut localizer = Localizer::new(SIZE, SIZE, BoxOptions::default()).unwrap();
    let mut off = Vec::new();
    for (i, (theirs, networks)) in expected.iter().enumerate() {
        let rows = &records[2 * i..2 * i + 2];
        let greys = [grey_map(&rows[0]), grey_map(&rows[1])];
        let ours = rmse(&greys[0], &greys[1]);
        assert!((ours - theirs).abs() <= RMSE, "{i}: RMSE {ours}, expected {theirs}");
        for (which, e) in networks.iter().enumerate() {
            let (row, grey, precision) = (&rows[which], &greys[which], Precision::ALL[which]);
            assert_eq!(row.top5_class[0], e.class, "{i} {precision}");
            let own = curves.iter().find(|c| c.data_index == i as u64 && c.precision == precision).unwrap();
            for (curve, area) in [&own.deletion, &own.insertion].into_iter().zip(e.areas) {
                let found = 100.0 * Curve { scores: curve.clone() }.area();
                off.push((found - area).abs());
                assert!((found - area).abs() <= AREA[0], "{i} {precision}: area {found}, expected {area}");
            }
            let level = Threshold::default().level(grey);
            let found = localizer.predict(grey, level).unwrap().corners();
            let near = found.iter().zip(e.edges).all(|(a, b)| (a - b).abs() <= EDGE);
            assert!(near, "{i} {precision}: box {found:?}, expected {:?}", e.edges);
            let iou = localizer.iou(grey, level, row.true_boxes.as_chunks::<4>().0).unwrap();
            // An edge of a box of 20 pixels or more that moves by one.
            assert!((iou - e.iou).abs() <= if found == e.edges { 1e-6 } else { 0.06 }, "{i} {precision}: IoU {iou}");
        }
    }
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    assert!(mean <= AREA[1], "areas are off by {mean} in the mean");
}
