//! `quantlens cam`: where a float network and its int8 twin look, as pictures side by side and as numbers.

use std::collections::HashSet;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use quantlens::{Model, Options, PairDifference, Precision, RgbImage};
use quantlens_xai::{BoxOptions, Localizer, Threshold, best_iou, grey, overlay};
use serde::Serialize;

use crate::args::{self, CamArgs, MethodName};
use crate::draw::{self, rectangle, side_by_side, write_png};
use crate::explain::{Found, Look, Side, look};
use crate::inputs::{self, Input, Readable};
use crate::{models, output};

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    quantlens: &'static str,
    untrained: bool,
    method: String,
    signs: String,
    images: &'a [Report],
}

/// A picture's results, as they are printed.
#[derive(Debug, Serialize)]
struct Report {
    image: String,
    /// The overlay picture.
    file: PathBuf,
    /// Float, then int8.
    networks: [Side; 2],
    /// RMSE of the two maps as grey pictures, 0 to 255.
    rmse: f64,
    /// The same after turning one map's sign where the two disagree; none where a method knows its sign.
    #[serde(skip_serializing_if = "Option::is_none")]
    rmse_aligned: Option<f64>,
    /// Whether they disagree in sign, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    flipped: Option<bool>,
    /// The true boxes in the network's input: left, top, right, bottom.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    truths: Vec<[f64; 4]>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    maps: Vec<PathBuf>,
}

/// Runs the subcommand.
pub fn run(args: &CamArgs) -> Result<()> {
    let (pair, images) = split(&args.paths)?;
    let decode = inputs::decode_options(&args.image, "cam")?;
    let inputs = inputs::expand(&images)?;
    let threads = models::threads(&args.engine);
    let single = inputs.len() == 1;
    if !args.truth.is_empty() && !single {
        return Err(args::usage("cam", "--truth is of one picture; more than one was given"));
    }
    // Methods of many runs have a network a thread instead of many threads a run.
    let many_runs = args.method != MethodName::Eigen;
    let workers = if single && many_runs { threads } else { 1 };
    let per_run = if single && !many_runs { threads } else { 1 };
    let options = Options {
        layer: args.layer.clone(),
        layer_entry: args.method == MethodName::Ablation,
        ..models::options(&args.engine, args.network.as_deref(), args.image.stretch, per_run)?
    };
    let models = load_pair(&pair, &options)?;
    let untrained = models.iter().any(models::is_untrained);
    let stems = stems(&inputs);
    let progress = output::progress(inputs.len(), "images");
    let reports = inputs::parallel(inputs.len(), if single { 1 } else { threads }, |i| {
        let report = match inputs[i].read(&decode) {
            Ok(image) => explain(args, &models, &image, &inputs[i].label(), &stems[i], workers).map(Ok),
            Err(unreadable) => Ok(Err(unreadable)),
        };
        progress.inc(1);
        report.with_context(|| inputs[i].label())
    })?;
    progress.finish_and_clear();
    let reports = Readable::sort(reports)?;
    if untrained {
        output::hint(models::UNTRAINED);
    }
    print(args, &reports.done, untrained)?;
    reports.finish()
}

/// The pack's pair that is taken where no models are given.
const DEFAULT_PAIR: &str = "resnet18";

/// The scenes that are taken where no images are given.
const DEFAULT_IMAGES: &str = "scenes:study:0..4";

/// The pair where no models are given: one of the pack, or the demo pair in a build without it.
fn default_pair() -> [PathBuf; 2] {
    let pair = quantlens_weights::pack().iter().find(|pair| pair.name == DEFAULT_PAIR);
    pair.map_or(models::DEMO.map(PathBuf::from), |pair| models::pack_names(pair).map(PathBuf::from))
}

/// The arguments' models and images, or the default ones.
fn split(paths: &[PathBuf]) -> Result<([PathBuf; 2], Vec<PathBuf>)> {
    let (models, mut images): (Vec<PathBuf>, Vec<PathBuf>) = paths.iter().cloned().partition(|p| models::is_model(p));
    if images.is_empty() {
        images.push(DEFAULT_IMAGES.into());
    }
    let count = models.len();
    match <[PathBuf; 2]>::try_from(models) {
        Ok(pair) => Ok((pair, images)),
        Err(none) if none.is_empty() => Ok((default_pair(), images)),
        Err(_) => {
            let message = format!(
                "two models are needed, the float one and its int8 twin; {count} .safetensors argument(s) found"
            );
            Err(args::usage("cam", message))
        }
    }
}

fn load_pair(paths: &[PathBuf; 2], options: &Options) -> Result<[Model; 2]> {
    let pair = [models::load(&paths[0], options)?, models::load(&paths[1], options)?];
    let [float, int8] = [&pair[0], &pair[1]];
    if (float.network().precision, int8.network().precision) != (Precision::F32, Precision::Int8) {
        bail!(
            "expected a float model and its int8 twin in this order, found {} ({}) and {} ({})",
            float.network().precision,
            paths[0].display(),
            int8.network().precision,
            paths[1].display()
        );
    }
    if float.network().network != int8.network().network {
        let names = [float, int8].map(|m| m.network().network.clone());
        output::hint(&format!("hint: the pair is of two networks, {} and {}", names[0], names[1]));
    }
    if float.preprocess().crop != int8.preprocess().crop {
        bail!("the two models take inputs of different sizes; set one with --input-size");
    }
    Ok(pair)
}

/// Names for the pictures' files: their own, numbered where two are the same.
fn stems(inputs: &[Input]) -> Vec<String> {
    let mut taken = HashSet::new();
    let unique = |input: &Input| {
        let stem = input.stem();
        let numbered = (2..).map(|n| format!("{stem}-{n}"));
        std::iter::once(stem.clone()).chain(numbered).find(|s| taken.insert(s.clone())).unwrap_or(stem)
    };
    inputs.iter().map(unique).collect()
}

/// Both maps of a picture, and its files.
fn explain(
    args: &CamArgs,
    pair: &[Model; 2],
    image: &RgbImage,
    label: &str,
    stem: &str,
    workers: usize,
) -> Result<Report> {
    let mut looks = [look(args, &pair[0], image, label, workers)?, look(args, &pair[1], image, label, workers)?];
    let [a, b] = &looks;
    if a.size != b.size {
        bail!("maps of {:?} and {:?} cannot be compared: choose one layer with --layer", a.size, b.size);
    }
    let preprocess = pair[0].preprocess();
    let [h, w] = preprocess.crop;
    let difference = PairDifference::compute(&a.p, &b.p, a.size[0], a.size[1], [h, w]);
    let truths: Vec<[f64; 4]> = args
        .truth
        .iter()
        .filter_map(|bbox| preprocess.map_box(*bbox, image.width(), image.height()))
        .map(|b| [b.x0, b.y0, b.x1, b.y1])
        .collect();
    if let Some(threshold) = args.boxes {
        for look in &mut looks {
            look.side.found = predicted(look, [h, w], threshold, &truths)?;
        }
    }
    let [a, b] = looks;
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let file = args.out.join(format!("{stem}.cam.png"));
    let panels = panels(&preprocess.rgb(image), [&a, &b], &truths);
    write_png(&file, &side_by_side(&panels, w), [3 * w, h], image::ExtendedColorType::Rgb8)?;
    let mut maps = Vec::new();
    if args.maps {
        for (name, look) in [("f32", &a), ("int8", &b)] {
            let path = args.out.join(format!("{stem}.{name}.png"));
            write_png(&path, &grey(&look.map), [w, h], image::ExtendedColorType::L8)?;
            maps.push(path);
        }
    }
    let signed = args.method == MethodName::Eigen;
    Ok(Report {
        image: label.into(),
        file,
        networks: [a.side, b.side],
        rmse: difference.rmse,
        rmse_aligned: signed.then_some(difference.rmse_aligned),
        flipped: signed.then_some(difference.flipped),
        truths,
        maps,
    })
}

/// The box of a map; none where nothing lies above the threshold.
fn predicted(look: &Look, [h, w]: [usize; 2], threshold: Threshold, truths: &[[f64; 4]]) -> Result<Option<Found>> {
    let grey = grey(&look.map);
    let found = Localizer::new(h, w, BoxOptions::default())?.predict(&grey, threshold.level(&grey));
    Ok(found.map(|b| Found { edges: b.edges(), iou: best_iou(b, truths) }))
}

/// The picture with its true boxes, and on it each map with its predicted box.
fn panels(shown: &RgbImage, looks: [&Look; 2], truths: &[[f64; 4]]) -> [Vec<u8>; 3] {
    let w = shown.width() as usize;
    let mut picture = shown.as_raw().clone();
    for truth in truths {
        // Inside the picture, as `map_box` leaves it.
        rectangle(&mut picture, w, truth.map(|v| v as u32), draw::TRUE);
    }
    let [a, b] = looks.map(|look| {
        let mut panel = overlay(shown.as_raw(), &look.map);
        if let Some(found) = &look.side.found {
            rectangle(&mut panel, w, found.edges, draw::PREDICTED);
        }
        panel
    });
    [picture, a, b]
}

fn print(args: &CamArgs, reports: &[Report], untrained: bool) -> Result<()> {
    let method = args.method.to_possible_value().map_or_else(String::new, |v| v.get_name().to_string());
    if args.json {
        let (quantlens, signs) = (env!("CARGO_PKG_VERSION"), args.signs.to_string());
        return output::print_json(&Document { quantlens, untrained, method, signs, images: reports });
    }
    let mut text = String::new();
    for report in reports {
        text += &format!("{}\n", report.image);
        for side in &report.networks {
            text += &format!("  {} at {}, map {}x{}\n", side.precision, side.layer, side.map[0], side.map[1]);
            text += &format!("    {method}: {}\n", side.cost);
            text.extend(side.found.iter().map(box_line));
            text.extend(side.predictions.iter().map(|g| format!("    {}\n", g.line())));
        }
        text += &format!("  RMSE {:.2}", report.rmse);
        if let (Some(aligned), Some(flipped)) = (report.rmse_aligned, report.flipped) {
            text += &format!(", aligned {aligned:.2}, flipped: {}", if flipped { "yes" } else { "no" });
        }
        text += &format!("\n  {}: image | f32 map | int8 map\n", report.file.display());
    }
    output::print(&text)
}

fn box_line(found: &Found) -> String {
    let [x0, y0, x1, y1] = found.edges;
    let iou = found.iou.map_or_else(String::new, |iou| format!(", IoU {iou:.3}"));
    format!("    box {x0},{y0} to {x1},{y1}{iou}\n")
}
