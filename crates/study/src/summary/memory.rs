//! Peak memory of a summary, measured in processes of its own: it must not grow with the records.

#![allow(clippy::unwrap_used)] // a test may panic

use std::env;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::process::Command;

use quantlens_xai::SignPolicy;

use super::{Summary, SummaryOptions};
use crate::manifest::Manifest;
use crate::manifest::tests::settings;
use crate::parts::{self, Records};
use crate::progress::Quiet;
use crate::record::tests::sample;
use crate::record::{Precision, Record};
use crate::statistics::Bootstrap;

/// Tells the child where the records lie.
const FOLDER: &str = "QUANTLENS_MEMORY_TEST";

/// Writes records of two pairs over so many images; every value differs from image to image.
fn write(folder: &Path, images: u64) {
    let mut s = settings(images, 256);
    s.data.input_size = [8, 12];
    let manifest = Manifest::new(s, "scalar");
    manifest.settle(folder).unwrap();
    let templates: Vec<Record> = (0..97).map(|seed| sample(0, "", Precision::F32, seed)).collect();
    let row = |index: u64, pair: &str, precision| {
        let seed = (index * 31 + precision as u64 * 7 + pair.len() as u64) % 97;
        let t = templates[seed as usize].clone();
        Record { image_id: format!("{index:08}.jpg"), data_index: index, network: pair.into(), precision, ..t }
    };
    let rows = |range: Range<u64>| -> Vec<Record> {
        range.flat_map(|i| ["one", "two"].map(|pair| Precision::ALL.map(|p| row(i, pair, p)))).flatten().collect()
    };
    for start in (0..images).step_by(256) {
        let range = start..(start + 256).min(images);
        parts::write(folder, &range, &manifest, "scalar", &rows(range.clone())).unwrap();
    }
}

/// Not a test by itself: what the child does.
#[test]
fn child() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let bootstrap = Bootstrap { resamples: 50, ..Bootstrap::default() };
    let options = SummaryOptions { bootstrap, ..SummaryOptions::new(SignPolicy::Peak) };
    Summary::compute(&Records::open(Path::new(&folder)).unwrap(), &options, None, &Quiet).unwrap();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    println!("{peak}");
}

/// Peak resident memory of a summary, bytes.
fn peak(images: u64) -> u64 {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), images);
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["summary::memory::child", "--exact", "--nocapture"]).env(FOLDER, folder.path());
    child.env("RAYON_NUM_THREADS", "2");
    let output = String::from_utf8(child.output().unwrap().stdout).unwrap();
    let line = output.lines().find(|line| line.contains("VmHWM")).unwrap();
    let kilobytes: u64 = line.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap();
    1024 * kilobytes
}

#[test]
fn memory_grows_by_a_few_numbers_an_image() {
    let (few, many) = (512, 16_384);
    let (small, large) = (peak(few), peak(many));
    let grown = large.saturating_sub(small) as f64 / (many - few) as f64;
    // For each pair a few numbers an image, the columns they become, and the rows of the twentieth of the images that
    // can be in the subset; an image's four records are 6 kB.
    assert!(grown < 1000.0, "{small} to {large}: {grown:.0} bytes an image");
}
