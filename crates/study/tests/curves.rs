//! Deletion and insertion of the demo pair: against a plain computation with whole copies of the image, resumed, and
//! refused with other options.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use quantlens_data::{Dataset, OpenOptions, Preprocess, RgbImage, decode_file, demo_image, resize_bilinear};
use quantlens_engine::Plan;
use quantlens_nets::{Model, ModelFile, load, softmax};
use quantlens_study::{
    CurveOptions, Error, PairSpec, Precision, Quiet, Record, Records, Shard, StudyConfig, SummaryOptions, TableFormat,
    curves_folder, render, run_curves, run_scan, summarize,
};
use quantlens_tensor::{Layout, Tensor};
use quantlens_xai::{Baseline, Normalization, SignPolicy, cam_map, changed_pixels, pixel_order};

const SIZE: usize = 64;
const SIGNS: SignPolicy = SignPolicy::Mean;

fn pair() -> PairSpec {
    let demo = quantlens_weights::demo_pair();
    let model = |bytes: &[u8]| load(&ModelFile::from_bytes("demo", bytes).unwrap(), None).unwrap();
    PairSpec { name: "demo".into(), float: model(demo.float), int8: model(demo.int8) }
}

/// A study of so many pictures with a box each.
fn config(folder: &Path, images: u32) -> StudyConfig {
    let data = folder.join("data");
    fs::create_dir_all(&data).unwrap();
    let mut list = String::from("file,class_index,boxes\n");
    let picture = demo_image();
    for i in 0..images {
        let mut small: RgbImage = resize_bilinear(&picture, 100 + 9 * i, 90 + 4 * i);
        small.pixels_mut().for_each(|p| p.0[i as usize % 3] /= 2);
        small.save(data.join(format!("{i}.png"))).unwrap();
        list += &format!("{i}.png,{},\"[[20,10,70,80]]\"\n", i % 3);
    }
    fs::write(data.join("index.csv"), list).unwrap();
    let dataset = Dataset::open(data.join("index.csv"), &OpenOptions::default()).unwrap();
    StudyConfig {
        input_size: Some([SIZE, SIZE]),
        signs: SIGNS,
        threads: 2,
        ..StudyConfig::new(vec![pair()], dataset, folder.join("out"))
    }
}

/// Probability of a class of an f32 input with all pixels in place.
fn probability(model: &Model, input: &Tensor, class: usize) -> f32 {
    let mut session = Plan::builder(&model.graph).input_size(SIZE, SIZE).build().unwrap().session();
    session.run(input).unwrap();
    softmax(session.logits())[class]
}

/// `from` with the first `count` pixels of the order as in `to`; both NCHW.
fn blended(from: &Tensor, to: &Tensor, order: &[u32], count: usize) -> Tensor {
    let (mut values, to) = (from.as_f32().unwrap().to_vec(), to.as_f32().unwrap());
    for &pixel in &order[..count] {
        (0..3).for_each(|c| values[c * SIZE * SIZE + pixel as usize] = to[c * SIZE * SIZE + pixel as usize]);
    }
    Tensor::new(values, [1, 3, SIZE, SIZE], Layout::Nchw).unwrap()
}

#[test]
fn curves_are_those_of_blended_float_images() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 3);
    run_scan(&config, &Quiet).unwrap();
    let report = run_curves(&config, CurveOptions::default(), &Quiet).unwrap();
    // One image of three; 198 steps, the image and the blurred one, and the blank one once a network.
    assert_eq!((report.images, report.kept, report.forwards), (1, 0, 2 * (198 + 3)));
    let summary = summarize(&config.out_dir, &SummaryOptions::new(SIGNS), &Quiet).unwrap();
    let place = summary.pairs[0].subset_indexes[0];
    let rows: Vec<Record> = Records::open(&config.out_dir).unwrap().parts().flat_map(|p| p.unwrap().records).collect();
    let picture = decode_file(&config.dataset.samples[place as usize].path, &config.decode).unwrap();
    for (which, model) in [&config.pairs[0].float, &config.pairs[0].int8].into_iter().enumerate() {
        let file = model.preprocess.with_crop([SIZE, SIZE]);
        let prepare = Preprocess { resize: file.resize, crop: file.crop, ..Preprocess::imagenet() };
        let input = prepare.tensor(&prepare.rgb(&picture));
        let normalization = Normalization { mean: prepare.mean, std: prepare.std };
        let blank = Baseline::DatasetMean.image(&input, &normalization, "").unwrap();
        let base = Baseline::Blur.image(&input, &normalization, "").unwrap();
        let row = &rows[2 * place as usize + which];
        let [h, w, channels] = row.map.map(|n| n as usize);
        let p = SIGNS.apply(&row.p, &row.mean_activation, channels, "").unwrap();
        let order = pixel_order(&cam_map(&p, h, w, SIZE, SIZE));
        let class = row.top5_class[0] as usize;
        let curves = summary.pairs[0].curves.as_ref().unwrap();
        let found = if which == 0 { &curves.f32 } else { &curves.int8 };
        for step in [0, 1, 17, 50, 99, 100] {
            let count = changed_pixels(step, SIZE * SIZE);
            let deleted = probability(model, &blended(&input, &blank, &order, count), class);
            let inserted = probability(model, &blended(&base, &input, &order, count), class);
            assert_eq!(found.deletion.mean[step], f64::from(deleted), "{which} {step}");
            assert_eq!(found.insertion.mean[step], f64::from(inserted), "{which} {step}");
        }
        // The whole image's probability is the record's.
        assert_eq!(found.deletion.mean[0], f64::from(row.top5_prob[0]));
        assert_eq!(row.precision, Precision::ALL[which]);
    }
    let text = render(&summary, TableFormat::Terminal);
    assert!(text.contains("Table 10. Maps of the int8") && text.contains("WSOL: mean IoU %"), "{text}");
    assert!(text.contains("Deletion to dataset-mean, insertion on blur"), "{text}");
}

/// All files in a folder but the wall times, by name.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let paths = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let named = paths.map(|p| (PathBuf::from(p.file_name().unwrap()), fs::read(p).unwrap()));
    named.filter(|(name, _)| *name != *"wall-times.csv").collect()
}

#[test]
fn shards_in_one_folder_are_one_run() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 18);
    run_scan(&config, &Quiet).unwrap();
    let whole = CurveOptions { whole: true, ..CurveOptions::default() };
    run_curves(&config, whole, &Quiet).unwrap();
    let curves = curves_folder(&config.out_dir, SIGNS);
    let expected = files(&curves);
    fs::rename(&curves, folder.path().join("one-run")).unwrap();
    let images = [1, 0].map(|index| {
        let shard = Shard { index, count: 2 };
        let report = run_curves(&config, CurveOptions { shard, ..whole }, &Quiet).unwrap();
        (report.images, report.kept, files(&curves).len())
    });
    // The second file has two images, the first sixteen; and the manifest.
    assert_eq!(images, [(2, 0, 2), (16, 0, 3)]);
    assert_eq!(files(&curves), expected);
    let report = run_curves(&config, whole, &Quiet).unwrap();
    assert_eq!((report.images, report.kept), (0, 18));
}

#[test]
fn curves_resume_and_refuse_other_options() {
    let folder = tempfile::tempdir().unwrap();
    let config = config(folder.path(), 18);
    run_scan(&config, &Quiet).unwrap();
    let whole = CurveOptions { whole: true, ..CurveOptions::default() };
    let report = run_curves(&config, whole, &Quiet).unwrap();
    assert_eq!((report.images, report.kept), (18, 0));
    let curves = curves_folder(&config.out_dir, SIGNS);
    let expected = files(&curves);
    assert_eq!(expected.len(), 3);
    // As a kill leaves it: one file half-written beside its place, one cut.
    let first = expected.keys().find(|p| p.to_string_lossy().ends_with("00000015.parquet")).unwrap();
    fs::write(curves.join(first), &expected[first][..99]).unwrap();
    let report = run_curves(&StudyConfig { threads: 1, ..config.clone() }, whole, &Quiet).unwrap();
    assert_eq!((report.images, report.kept), (16, 2));
    assert_eq!(files(&curves), expected);
    let black = CurveOptions { delete_to: Baseline::Black, ..whole };
    let e = run_curves(&config, black, &Quiet).unwrap_err();
    assert!(matches!(&e, Error::SettingsChanged { .. }), "{e}");
    assert!(e.to_string().contains("delete_to: \"dataset-mean\", now \"black\""), "{e}");
    let summary = summarize(&config.out_dir, &SummaryOptions::new(SIGNS), &Quiet).unwrap();
    let all = summary.pairs[0].inference.comparison(quantlens_study::Scope::All, "deletion").unwrap();
    assert!(all.difference.interval.is_some() && all.test.is_some());
    // Other signs have other maps, and no curves yet.
    let summary = summarize(&config.out_dir, &SummaryOptions::new(SignPolicy::Peak), &Quiet).unwrap();
    assert!(summary.curves.is_none() && summary.pairs[0].curves.is_none());
}
