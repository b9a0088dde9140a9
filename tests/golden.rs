//! Golden outputs against PyTorch: every layer of every network, int8 bit for bit and f32 logits within 1e-4.
//!
//! - Small dumps (narrow networks, committed in `tests/golden`) hold a SHA-256 of every layer's output.
//! - Full-size dumps hold every layer's output; `tools/golden.py --full` writes them to `local/golden`.
//! - The real MobileNetV2: `tools/golden.py --real` writes torch's logits of real images to `local/real`.
//!
//! A set that is absent is listed as an ignored test that says how to make it.

mod dump;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use quantlens::nets::{self, Model, ModelFile, Precision};
use quantlens::{Plan, Tensor};

use dump::Dump;

/// f32 sums are ordered differently here than in torch; 1e-4 of the largest logit is what issue and README promise.
const LOGIT_TOLERANCE: f32 = 1e-4;

fn main() {
    let arguments = Arguments::from_args();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut trials = layer_dumps("small", &root.join("tests/golden"), "python tools/golden.py --small");
    trials.extend(layer_dumps("full", &root.join("local/golden"), "python tools/golden.py --full --out local/golden"));
    trials.extend(real_logits(&root.join("local/real")));
    libtest_mimic::run(&arguments, trials).exit();
}

/// The tests of each `<network>-<precision>-<size>.safetensors` in `folder`, whose weights lie beside it.
fn layer_dumps(set: &'static str, folder: &Path, recipe: &str) -> Vec<Trial> {
    let dumps: Vec<PathBuf> = safetensors_in(folder).into_iter().filter(|p| weights_of(p).is_some()).collect();
    if dumps.is_empty() {
        return vec![absent(set, folder, recipe)];
    }
    let mut trials = Vec::new();
    for path in dumps {
        let stem = file_stem(&path);
        let weights = weights_of(&path).unwrap_or_default();
        let (p, w) = (path.clone(), weights.clone());
        trials.push(Trial::test(format!("{set} {stem} end to end"), move || end_to_end(&p, &w)));
        if stem.contains("-int8-") {
            trials.push(Trial::test(format!("{set} {stem} layer by layer"), move || layer_by_layer(&path, &weights)));
        }
    }
    trials
}

/// `mobilenet_v2-int8-97.safetensors` -> `mobilenet_v2-int8.safetensors`, where that exists.
fn weights_of(dump: &Path) -> Option<PathBuf> {
    let (model, size) = file_stem(dump).rsplit_once('-').map(|(m, s)| (m.to_string(), s.to_string()))?;
    size.parse::<usize>().ok()?;
    Some(dump.with_file_name(format!("{model}.safetensors"))).filter(|p| p.exists())
}

fn end_to_end(dump: &Path, weights: &Path) -> Result<(), Failed> {
    let (dump, model) = (Dump::open(dump)?, load(weights)?);
    let input = dump.tensor("input")?;
    let [_, height, width] = input.chw()?;
    let expected = dump.tensor("logits")?;
    for threads in [1, 2] {
        let plan = Plan::builder(&model.graph).input_size(height, width).threads(threads).build()?;
        let mut session = plan.session();
        session.run(&input)?;
        check_logits(model.precision, session.logits(), expected.as_f32()?, "fused plan")?;
    }
    let plan = Plan::builder(&model.graph).input_size(height, width).tap_all().build()?;
    let mut session = plan.session();
    session.run(&input)?;
    check_logits(model.precision, session.logits(), expected.as_f32()?, "plan with every tensor tapped")?;
    if model.precision == Precision::Int8 {
        for layer in &dump.layers {
            dump.check(layer, &session.tap(&layer.name)?)?;
        }
    }
    Ok(())
}

/// Each op alone on torch's own inputs: those of the dump where it holds them, otherwise those of our run, whose
/// checksums are torch's.
fn layer_by_layer(dump: &Path, weights: &Path) -> Result<(), Failed> {
    let (dump, model) = (Dump::open(dump)?, load(weights)?);
    let input = dump.tensor("input")?;
    let [_, height, width] = input.chw()?;
    let graph = &model.graph;
    let mut builder = Plan::builder(graph).input_size(height, width).tap_all();
    for tensor in graph.tensors() {
        builder = builder.entry(&tensor.name);
    }
    let mut session = builder.build()?.session();
    session.run(&input)?;
    let ours = |name: &str| session.tap(name);
    let mut values: Vec<Arc<Tensor>> = Vec::new();
    for tensor in graph.tensors() {
        let value = match dump.layer_tensor(&tensor.name)? {
            Some(torch) => torch,
            None if tensor.name == "input" => input.clone(),
            None => ours(&tensor.name)?,
        };
        values.push(Arc::new(value));
    }
    let mut checked = 0;
    for node in graph.nodes() {
        let name = &graph.tensor(node.output).name;
        let Some(layer) = dump.layers.iter().find(|l| graph.find(&l.name) == Some(node.output)) else { continue };
        let entries: Vec<(&str, &Tensor)> =
            node.inputs.iter().map(|id| (graph.tensor(*id).name.as_str(), &*values[id.index()])).collect();
        session.run_from(&entries, &[name])?;
        dump.check(layer, &session.tap(name)?)?;
        checked += 1;
    }
    // Every op with an output of its own in torch is in the dump.
    if checked * 10 < graph.nodes().len() * 9 {
        return Err(format!("the dump covers only {checked} of {} ops", graph.nodes().len()).into());
    }
    Ok(())
}

/// torch's logits of real images: int8 equal, f32 within the tolerance.
fn real_logits(folder: &Path) -> Vec<Trial> {
    let recipe = "python tools/golden.py --real, see tools/README.md";
    let mut trials = Vec::new();
    for precision in ["f32", "int8"] {
        let weights = folder.join(format!("mobilenet_v2-{precision}.safetensors"));
        for dump in safetensors_in(&folder.join("logits")) {
            let weights = weights.clone();
            let name = format!("real mobilenet_v2-{precision} {}", file_stem(&dump));
            trials.push(Trial::test(name, move || real_images(&dump, &weights, precision)));
        }
    }
    if trials.is_empty() {
        trials.push(absent("real mobilenet_v2", folder, recipe));
    }
    trials
}

fn real_images(dump: &Path, weights: &Path, precision: &str) -> Result<(), Failed> {
    let (dump, model) = (Dump::open(dump)?, load(weights)?);
    let inputs = dump.tensor("input")?;
    let expected = dump.tensor(&format!("logits_{precision}"))?;
    let &[images, _, height, width] = inputs.shape().dims() else { return Err("input is not 4-d".into()) };
    let (pixels, classes) = (3 * height * width, expected.shape().dims()[1]);
    let mut session = Plan::builder(&model.graph).input_size(height, width).threads(2).build()?.session();
    for i in 0..images {
        let image = inputs.as_f32()?[i * pixels..][..pixels].to_vec();
        session.run(&Tensor::new(image, [1, 3, height, width], quantlens::Layout::Nchw)?)?;
        let logits = &expected.as_f32()?[i * classes..][..classes];
        check_logits(model.precision, session.logits(), logits, &format!("image {i}"))?;
    }
    Ok(())
}

fn check_logits(precision: Precision, ours: &[f32], torch: &[f32], what: &str) -> Result<(), Failed> {
    if ours.len() != torch.len() {
        return Err(format!("{what}: {} logits, torch has {}", ours.len(), torch.len()).into());
    }
    let largest = torch.iter().fold(0f32, |m, x| m.max(x.abs()));
    let limit = if precision == Precision::Int8 { 0.0 } else { LOGIT_TOLERANCE * largest };
    for (i, (a, b)) in ours.iter().zip(torch).enumerate() {
        let close = (a - b).abs() <= limit; // false for NaN
        if !close {
            return Err(format!("{what}: logit {i} is {a}, torch's is {b} (allowed difference {limit})").into());
        }
    }
    Ok(())
}

fn load(weights: &Path) -> Result<Model, Failed> {
    Ok(nets::load(&ModelFile::open(weights)?, None)?)
}

fn absent(set: &str, folder: &Path, recipe: &str) -> Trial {
    let name = format!("{set}: SKIPPED, no {} (make it: {recipe})", folder.display());
    Trial::test(name, || Ok(())).with_ignored_flag(true)
}

fn safetensors_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "safetensors")).collect();
    files.sort();
    files
}

fn file_stem(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}
