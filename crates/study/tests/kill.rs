//! A study in a process of its own, killed at many moments: the folder ends in the same bytes as an undisturbed run's.

#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use quantlens_data::{Dataset, OpenOptions, RgbImage, demo_image, resize_bilinear};
use quantlens_nets::{ModelFile, load};
use quantlens_study::{PairSpec, Quiet, StudyConfig, run_scan};

/// Tells the child that it is one, and where to work.
const FOLDER: &str = "QUANTLENS_KILL_TEST";
const IMAGES: u32 = 24;

fn config(folder: &Path, out: &Path) -> StudyConfig {
    let demo = quantlens_weights::demo_pair();
    let model = |bytes: &[u8]| load(&ModelFile::from_bytes("demo", bytes).unwrap(), None).unwrap();
    let pair = PairSpec { name: "demo".into(), float: model(demo.float), int8: model(demo.int8) };
    let dataset = Dataset::open(folder.join("data"), &OpenOptions::default()).unwrap();
    StudyConfig { input_size: Some([96, 96]), part_size: 2, threads: 2, ..StudyConfig::new(vec![pair], dataset, out) }
}

/// Not a test by itself: what the child does.
#[test]
fn child() {
    if let Some(folder) = env::var_os(FOLDER) {
        let folder = Path::new(&folder);
        run_scan(&config(folder, &folder.join("killed")), &Quiet).unwrap();
    }
}

fn start(folder: &Path) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["child", "--exact", "--quiet"]).env(FOLDER, folder).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// All files but the wall times, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let named = entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()));
    named.filter(|(name, _)| name != "wall-times.csv").collect()
}

#[test]
fn killed_at_any_moment_it_ends_in_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    fs::create_dir(folder.join("data")).unwrap();
    let picture = demo_image();
    for i in 0..IMAGES {
        let small: RgbImage = resize_bilinear(&picture, 100 + 3 * i, 130 - 2 * i);
        small.save(folder.join(format!("data/{i:02}.png"))).unwrap();
    }
    run_scan(&config(folder, &folder.join("whole")), &Quiet).unwrap();
    let expected = files(&folder.join("whole"));
    assert_eq!(expected.len(), 13);
    // How long a child takes is not known: delays grow until one gets through, from moments before its first file on.
    let begun = Instant::now();
    let mut delay = Duration::from_millis(1);
    let (mut kills, mut halfway) = (0, 0);
    loop {
        let mut child = start(folder);
        std::thread::sleep(delay);
        match child.try_wait().unwrap() {
            Some(status) if status.success() => break,
            Some(status) => panic!("the child failed: {status}"),
            None => {
                // SIGKILL on Unix, TerminateProcess on Windows.
                child.kill().unwrap();
                child.wait().unwrap();
            }
        }
        kills += 1;
        let parts = fs::read_dir(folder.join("killed")).map_or(0, |d| {
            d.filter(|e| e.as_ref().is_ok_and(|e| e.path().extension().is_some_and(|x| x == "parquet"))).count()
        });
        halfway += u32::from(parts > 0 && parts < 12);
        delay =
            (delay * 13 / 10).min(delay + Duration::from_millis(7 + u64::from(begun.elapsed().subsec_nanos()) % 40));
        assert!(kills < 400, "the child never got through");
    }
    assert!(kills >= 5 && halfway >= 1, "{kills} kills, {halfway} of them between the first part and the last");
    let found = files(&folder.join("killed"));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    let differ: Vec<&String> =
        found.iter().filter(|(name, bytes)| expected[*name] != **bytes).map(|(n, _)| n).collect();
    assert!(differ.is_empty(), "{differ:?}");
}
