//! A whole study of the untrained demo pair on a few generated images: scan, resume, tables and timing.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use quantlens_data::{Dataset, OpenOptions, RgbImage, demo_image, resize_bilinear};
use quantlens_engine::Isa;
use quantlens_nets::{ModelFile, load};
use quantlens_study::{
    Error, PairSpec, Precision, Progress, Quiet, Record, Records, StudyConfig, SummaryOptions, TimingOptions,
    run_methods, run_scan, run_timing, summarize, to_json,
};
use quantlens_xai::SignPolicy;

fn pair(name: &str) -> PairSpec {
    let demo = quantlens_weights::demo_pair();
    let model = |bytes: &[u8]| load(&ModelFile::from_bytes(name, bytes).unwrap(), None).unwrap();
    PairSpec { name: name.into(), float: model(demo.float), int8: model(demo.int8) }
}

/// Five pictures in two classes, and a file that is none.
fn images(folder: &Path) -> Dataset {
    let picture = demo_image();
    for i in 0..5u32 {
        let class = folder.join(["n01440764", "n01443537"][i as usize % 2]);
        fs::create_dir_all(&class).unwrap();
        let mut small: RgbImage = resize_bilinear(&picture, 120 + 30 * i, 100 + 7 * i);
        small.pixels_mut().for_each(|p| p.0[i as usize % 3] /= 2);
        small.save(class.join(format!("{i}.png"))).unwrap();
    }
    fs::write(folder.join("n01440764/odd.jpg"), "no picture").unwrap();
    Dataset::open(folder, &OpenOptions::default()).unwrap()
}

fn config(data: &Path, out: &Path, threads: usize) -> StudyConfig {
    let config = StudyConfig::new(vec![pair("demo")], images(data), out);
    StudyConfig { input_size: Some([96, 96]), part_size: 4, threads, ..config }
}

/// All files but the wall times, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let named = entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()));
    named.filter(|(name, _)| name != "wall-times.csv" && name != "timing.json").collect()
}

#[test]
fn a_study_from_images_to_tables() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let config = config(&data, &out, 1);
    let report = run_scan(&config, &Quiet).unwrap();
    assert_eq!((report.scanned, report.error_rows, report.unreadable.len()), (6, 2, 1));
    let (id, why) = &report.unreadable[0];
    assert!(id == "n01440764/odd.jpg" && !why.contains(&*data.to_string_lossy()), "{id}: {why}");
    let records: Vec<Record> = Records::open(&out).unwrap().parts().flat_map(|p| p.unwrap().records).collect();
    assert_eq!(records.len(), 12);
    for r in records.iter().filter(|r| r.error.is_none()) {
        assert_eq!(r.p.len(), (r.map[0] * r.map[1]) as usize);
        assert!(r.true_rank.is_some() == r.true_class.is_some());
        assert_eq!(r.precision == Precision::F32, r.sigma.raw == r.sigma.real, "{}", r.image_id);
        // f32 sums of softmax probabilities: roundings of 5 values.
        assert!(r.top5_prob.iter().sum::<f32>() <= 1.0 + 1e-6 && r.top5_prob.is_sorted_by(|a, b| a >= b));
    }
    run_timing(&config, TimingOptions { rounds: 1, images: 2, threads: 1 }, &Quiet).unwrap();
    let summary = summarize(&out, &SummaryOptions::new(SignPolicy::Peak), &Quiet).unwrap();
    assert_eq!((summary.pairs[0].images, summary.pairs[0].failed, summary.pairs[0].subset), (5, 1, 1));
    assert!(summary.pairs[0].rmse.mean >= 0.0 && summary.timings.is_some());
    let json = to_json(&summary).to_string();
    assert!(json.contains("table-9") && json.contains("figure-2"));
}

#[test]
fn methods_cost_what_their_passes_say() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let config = config(&data, &out, 1);
    run_scan(&config, &Quiet).unwrap();
    run_methods(&config, 2, &Quiet).unwrap();
    let summary = summarize(&out, &SummaryOptions::new(SignPolicy::Peak), &Quiet).unwrap();
    let methods = summary.methods.as_ref().unwrap();
    assert_eq!((methods.images, methods.pairs.len()), (2, 1));
    let channels = 1280.0;
    for costs in [&methods.pairs[0].f32, &methods.pairs[0].int8] {
        let [eigen, score, ablation] = &costs[..] else { panic!("{costs:?}") };
        assert_eq!((eigen.forwards, eigen.forwards_from_layer), (0.0, 0.0));
        // A pass a channel that is not constant (one for all that are), and one more than channels that are not zero.
        assert!(score.forwards > 1.0 && score.forwards <= channels && score.forwards_from_layer == 0.0, "{score:?}");
        assert!(ablation.forwards == 0.0 && ablation.forwards_from_layer > 1.0, "{ablation:?}");
        assert!(ablation.forwards_from_layer <= channels + 1.0, "{ablation:?}");
        // Whole passes cost more than ends of passes, and both than none.
        let ms = [eigen, ablation, score].map(|c| c.milliseconds.median);
        assert!(ms.is_sorted() && ms[0] > 0.0 && ms[2] > 10.0 * ms[0], "{ms:?}");
    }
    let json = to_json(&summary);
    let table = json["tables"].as_array().unwrap().iter().find(|t| t["id"] == "methods").unwrap();
    assert_eq!(table["rows"][1]["values"]["int8_forwards"], methods.pairs[0].int8[1].forwards);
    assert_eq!(table["rows"][0]["values"]["f32_times_eigencam"], 1.0);
}

#[test]
fn threads_and_kills_leave_no_trace() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let outs = ["one", "two"].map(|name| folder.path().join(name));
    run_scan(&config(&data, &outs[0], 1), &Quiet).unwrap();
    run_scan(&config(&data, &outs[1], 3), &Quiet).unwrap();
    assert_eq!(files(&outs[0]), files(&outs[1]));
    let part = outs[1].join("part-00000000-00000004.parquet");
    let bytes = fs::read(&part).unwrap();
    fs::write(part.with_extension("parquet.tmp"), &bytes[..100]).unwrap();
    fs::remove_file(&part).unwrap();
    let report = run_scan(&config(&data, &outs[1], 2), &Quiet).unwrap();
    assert_eq!((report.scanned, report.kept), (4, 2));
    assert_eq!(files(&outs[0]), files(&outs[1]));
}

/// Stops a stage after so many steps.
struct Stopper {
    stage: &'static str,
    left: AtomicU64,
    running: AtomicBool,
}

impl Stopper {
    fn new(stage: &'static str, steps: u64) -> Self {
        Self { stage, left: steps.into(), running: false.into() }
    }
}

impl Progress for Stopper {
    fn start(&self, stage: &str, _: u64, _: u64) {
        self.running.store(stage == self.stage, Ordering::Relaxed);
    }

    fn advance(&self, steps: u64) {
        if self.running.load(Ordering::Relaxed) {
            self.left.fetch_sub(steps, Ordering::Relaxed);
        }
    }

    fn stopped(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

#[test]
fn a_stopped_scan_keeps_whole_parts_and_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let whole = folder.path().join("whole");
    run_scan(&config(&data, &whole, 1), &Quiet).unwrap();
    let config = config(&data, &out, 1);
    let e = run_scan(&config, &Stopper::new("scan", 5)).unwrap_err();
    assert_eq!(e.to_string(), "stopped with 4 of 6 images scanned; the same command goes on from there");
    let report = run_scan(&config, &Quiet).unwrap();
    assert_eq!((report.scanned, report.kept), (2, 4));
    assert_eq!(files(&out), files(&whole));
    let e = summarize(&out, &SummaryOptions::new(SignPolicy::Mean), &Stopper::new("records", 4)).unwrap_err();
    assert!(matches!(e, Error::Stopped { done: None }), "{e}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let good = config(&data, &out, 1);
    let refused = |config: StudyConfig| run_scan(&config, &Quiet).unwrap_err().to_string();
    let demo = pair("demo");
    let turned = PairSpec { name: "demo".into(), float: demo.int8, int8: demo.float };
    let e = refused(StudyConfig { pairs: vec![turned], ..good.clone() });
    assert!(e.contains("expected a float model and its int8 twin"), "{e}");
    let e = refused(StudyConfig { pairs: vec![pair("demo"), pair("demo")], ..good.clone() });
    assert!(e.contains("two pairs are named \"demo\""), "{e}");
    let e = refused(StudyConfig { pairs: Vec::new(), ..good.clone() });
    assert!(e.contains("at least one pair"), "{e}");
    let e = refused(StudyConfig { limit: Some(0), ..good.clone() });
    assert!(e.contains("at least one image"), "{e}");
    let e = refused(StudyConfig { layer: Some("features.99".into()), ..good.clone() });
    assert!(e.starts_with("demo f32: ") && e.contains("features.99"), "{e}");
    assert!(!out.exists());
    run_scan(&good, &Quiet).unwrap();
    let e = run_scan(&StudyConfig { input_size: Some([64, 64]), ..good.clone() }, &Quiet).unwrap_err();
    assert!(matches!(&e, Error::SettingsChanged { .. }), "{e}");
    assert!(e.to_string().contains("data.input_size.0: 96, now 64"), "{e}");
    // Another layer is another study; other signs and threads are not.
    let e = refused(StudyConfig { layer: Some("features.17".into()), ..good.clone() });
    assert!(e.contains("pairs.0.float.layer"), "{e}");
    let same = StudyConfig { signs: SignPolicy::Mean, threads: 2, ..good };
    assert_eq!(run_scan(&same, &Quiet).unwrap().scanned, 0);
    assert_eq!(same.isa, Isa::best());
}
