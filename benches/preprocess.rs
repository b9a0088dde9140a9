//! From a file's bytes to the network's input: decoding, resize and crop, normalization. Throughput is in pixels of the
//! picture (of the input, for the normalization).
//!
//! The photograph is the first of `QUANTLENS_TEST_DATA/imagenet` (or `../shared/imagenet`); without one, only the
//! repository's small test picture is decoded.

mod common;

use std::hint::black_box;
use std::path::{Path, PathBuf};

use criterion::{Criterion, Throughput};
use quantlens::data::{Preprocess, decode_bytes, demo_image};
use quantlens::{DecodeOptions, RgbImage};

fn main() {
    let mut criterion = common::criterion();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    decode(&mut criterion, "test picture", &root.join("crates/data/tests/images/quality-100.jpg"));
    if let Some(path) = photograph(root) {
        decode(&mut criterion, "photograph", &path);
    }
    let demo = demo_image();
    resize(&mut criterion, "demo image 320x256", &demo);
    // The size of most ImageNet photographs.
    let photo = RgbImage::from_fn(500, 375, |x, y| *demo.get_pixel(x % demo.width(), y % demo.height()));
    resize(&mut criterion, "500x375", &photo);
    normalize(&mut criterion, &demo);
    criterion.final_summary();
}

fn photograph(root: &Path) -> Option<PathBuf> {
    let data = std::env::var_os("QUANTLENS_TEST_DATA").map_or_else(|| root.join("../shared"), PathBuf::from);
    let mut folders = vec![data.join("imagenet")];
    while let Some(folder) = folders.pop() {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        if let Some(photo) = paths.iter().find(|p| p.extension().is_some_and(|e| e.eq_ignore_ascii_case("jpeg"))) {
            return Some(photo.clone());
        }
        folders.extend(paths.into_iter().filter(|p| p.is_dir()));
    }
    None
}

fn pixels(image: &RgbImage) -> Throughput {
    Throughput::Elements(u64::from(image.width()) * u64::from(image.height()))
}

fn decode(criterion: &mut Criterion, name: &str, path: &Path) {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let read = || decode_bytes(name, black_box(&bytes), &DecodeOptions::default()).expect("a JPEG file");
    let mut group = criterion.benchmark_group("decode");
    group.throughput(pixels(&read()));
    group.bench_function(name, |b| b.iter(read));
    group.finish();
}

fn resize(criterion: &mut Criterion, name: &str, image: &RgbImage) {
    let preprocess = Preprocess::imagenet();
    let mut group = criterion.benchmark_group("resize to 256, crop 224");
    group.throughput(pixels(image));
    group.bench_function(name, |b| b.iter(|| preprocess.rgb(black_box(image))));
    group.finish();
}

fn normalize(criterion: &mut Criterion, image: &RgbImage) {
    let preprocess = Preprocess::imagenet();
    let input = preprocess.rgb(image);
    let mut group = criterion.benchmark_group("normalize");
    group.throughput(pixels(&input));
    group.bench_function("224x224", |b| b.iter(|| preprocess.tensor(black_box(&input))));
    group.finish();
}
