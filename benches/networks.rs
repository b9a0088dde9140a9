//! Whole networks, from the normalized input to the logits, on one thread and on all cores: the demo pair, the narrow networks of
//! `tests/golden`, and the full-size ones of `local/golden` where `tools/golden.py --full` has made them.

mod common;
#[path = "common/rate.rs"]
mod rate;

use std::path::{Path, PathBuf};

use criterion::Throughput;
use quantlens::kernels::Peak;
use quantlens::nets::{self, Precision};
use quantlens::{Isa, Layout, ModelFile, Plan, Tensor};

use rate::Rate;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (set, folder) in
        [("demo", "weights/demo"), ("pack", "weights/pack"), ("narrow", "tests/golden"), ("full", "local/golden")]
    {
        for path in models(&root.join(folder)) {
            network(set, &path);
        }
    }
    common::criterion().final_summary();
}

/// The models of a folder; files that end in `-<size>` are dumps of activations.
fn models(folder: &Path) -> Vec<PathBuf> {
    let is_model = |path: &PathBuf| {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let dump = stem.rsplit_once('-').is_some_and(|(_, size)| size.parse::<u32>().is_ok());
        path.extension().is_some_and(|e| e == "safetensors") && !dump
    };
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut models: Vec<PathBuf> = entries.filter(is_model).collect();
    models.sort();
    models
}

fn network(set: &str, path: &Path) {
    let file = ModelFile::open(path).unwrap_or_else(|e| panic!("{e}"));
    let model = nets::load(&file, None).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let [h, w] = model.preprocess.crop;
    let pixels = (0..3 * h * w).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
    let input = Tensor::new(pixels, [1, 3, h, w], Layout::Nchw).expect("3 planes");
    let isa = Isa::from_env().unwrap_or_else(|e| panic!("{e}"));
    let peak = Peak::measure(isa).expect("an available instruction set");
    let peak = if model.precision == Precision::Int8 { peak.int8 } else { peak.f32 };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for threads in if cores > 1 { vec![1, cores] } else { vec![1] } {
        let plan = Plan::builder(&model.graph).input_size(h, w).threads(threads).isa(isa).build();
        let plan = plan.unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut criterion = common::criterion().with_measurement(Rate { peak: peak * threads as f64 });
        let mut group = criterion.benchmark_group(format!("{set}/{}-{}", model.network, model.precision));
        group.throughput(Throughput::Elements(plan.macs()));
        group.bench_function(format!("{threads} threads, {isa}"), |b| {
            let mut session = plan.session();
            b.iter(|| session.run(&input).expect("an input of the plan's size"));
        });
        group.finish();
    }
}
