//! `quantlens cam`: where a float network and its int8 twin look, as pictures side by side and as numbers.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use image::ImageEncoder;
use image::codecs::png::PngEncoder;
use quantlens::{DecodeOptions, Model, Options, PairDifference, Precision, RgbImage};
use quantlens_xai::{EigenCam, cam_map, grey, overlay};
use serde::Serialize;

use crate::args::{self, CamArgs};
use crate::inputs::{self, Input};
use crate::labels::{self, Guess};
use crate::{models, output};

/// The JSON document.
#[derive(Debug, Serialize)]
struct Document<'a> {
    quantlens: &'static str,
    untrained: bool,
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
    /// The same after turning one map's sign where the two disagree.
    rmse_aligned: f64,
    /// Whether they disagree in sign.
    flipped: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    maps: Vec<PathBuf>,
}

/// One network's part.
#[derive(Debug, Serialize)]
struct Side {
    precision: String,
    layer: String,
    /// Height and width of the layer's map.
    map: [usize; 2],
    predictions: Vec<Guess>,
}

/// One network's result on a picture.
struct Look {
    side: Side,
    eigen: EigenCam,
    /// Its projection with the sign chosen.
    p: Vec<f32>,
    /// The map at input size, 0 to 1.
    map: Vec<f32>,
}

/// Runs the subcommand.
pub fn run(args: &CamArgs) -> Result<()> {
    let (pair, images) = split(&args.paths)?;
    let decode = inputs::decode_options(&args.image, "cam")?;
    let inputs = inputs::expand(&images)?;
    let threads = models::threads(&args.engine);
    let single = inputs.len() == 1;
    let per_run = if single { threads } else { 1 };
    let options = Options {
        layer: args.layer.clone(),
        ..models::options(&args.engine, args.network.as_deref(), args.image.stretch, per_run)?
    };
    let models = load_pair(&pair, &options)?;
    let untrained = models.iter().any(models::is_untrained);
    let stems = stems(&inputs);
    let progress = output::progress(inputs.len(), "images");
    let reports = inputs::parallel(inputs.len(), if single { 1 } else { threads }, |i| {
        let report = explain(args, &models, &inputs[i], &stems[i], &decode);
        progress.inc(1);
        report.with_context(|| inputs[i].label())
    })?;
    progress.finish_and_clear();
    if untrained {
        output::hint(models::UNTRAINED);
    }
    print(args, &reports, untrained)
}

/// The arguments' models (the demo pair where there are none) and images (the generated one likewise).
fn split(paths: &[PathBuf]) -> Result<([PathBuf; 2], Vec<PathBuf>)> {
    let (models, mut images): (Vec<PathBuf>, Vec<PathBuf>) = paths.iter().cloned().partition(|p| models::is_model(p));
    if images.is_empty() {
        images.push(inputs::DEMO_IMAGE.into());
    }
    let count = models.len();
    match <[PathBuf; 2]>::try_from(models) {
        Ok(pair) => Ok((pair, images)),
        Err(none) if none.is_empty() => Ok((models::DEMO.map(PathBuf::from), images)),
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
fn explain(args: &CamArgs, pair: &[Model; 2], input: &Input, stem: &str, decode: &DecodeOptions) -> Result<Report> {
    let image = input.read(decode)?;
    let [a, b] = [look(args, &pair[0], &image, input)?, look(args, &pair[1], &image, input)?];
    if [a.eigen.h, a.eigen.w] != [b.eigen.h, b.eigen.w] {
        bail!("maps of {:?} and {:?} cannot be compared: choose one layer with --layer", a.side.map, b.side.map);
    }
    let [h, w] = pair[0].preprocess().crop;
    let difference = PairDifference::compute(&a.p, &b.p, a.eigen.h, a.eigen.w, [h, w]);
    let shown = pair[0].preprocess().rgb(&image);
    let panels = [shown.as_raw().clone(), overlay(shown.as_raw(), &a.map), overlay(shown.as_raw(), &b.map)];
    fs::create_dir_all(&args.out).with_context(|| format!("cannot make the folder {}", args.out.display()))?;
    let file = args.out.join(format!("{stem}.cam.png"));
    write_png(&file, &side_by_side(&panels, w), [3 * w, h], image::ExtendedColorType::Rgb8)?;
    let mut maps = Vec::new();
    if args.maps {
        for (name, look) in [("f32", &a), ("int8", &b)] {
            let path = args.out.join(format!("{stem}.{name}.png"));
            write_png(&path, &grey(&look.map), [w, h], image::ExtendedColorType::L8)?;
            maps.push(path);
        }
    }
    Ok(Report {
        image: input.label(),
        file,
        networks: [a.side, b.side],
        rmse: difference.rmse,
        rmse_aligned: difference.rmse_aligned,
        flipped: difference.flipped,
        maps,
    })
}

fn look(args: &CamArgs, model: &Model, image: &RgbImage, input: &Input) -> Result<Look> {
    let (eigen, predictions) = model.run(&model.input(image), |session| {
        (model.eigen_cam(session), labels::guesses(model, session.logits(), args.top))
    })?;
    let eigen = eigen?;
    let [h, w] = model.preprocess().crop;
    // Of the random policy each network draws its own coin.
    let p = eigen.signed(args.signs, &format!("{}/{:?}", input.label(), model.network().precision))?;
    let map = cam_map(&p, eigen.h, eigen.w, h, w);
    let layer = model.layer().to_string();
    let side = Side { precision: models::precision(model), layer, map: [eigen.h, eigen.w], predictions };
    Ok(Look { side, eigen, p, map })
}

/// RGB panels of width `w` joined row by row.
fn side_by_side(panels: &[Vec<u8>; 3], w: usize) -> Vec<u8> {
    let rows = panels[0].len() / (3 * w);
    (0..rows).flat_map(|y| panels.iter().flat_map(move |p| &p[3 * w * y..3 * w * (y + 1)])).copied().collect()
}

fn write_png(path: &Path, pixels: &[u8], [w, h]: [usize; 2], color: image::ExtendedColorType) -> Result<()> {
    output::write_file(path, |f| Ok(PngEncoder::new(f).write_image(pixels, w as u32, h as u32, color)?))
}

fn print(args: &CamArgs, reports: &[Report], untrained: bool) -> Result<()> {
    if args.json {
        let (quantlens, signs) = (env!("CARGO_PKG_VERSION"), args.signs.to_string());
        return output::print_json(&Document { quantlens, untrained, signs, images: reports });
    }
    let mut text = String::new();
    for report in reports {
        text += &format!("{}\n", report.image);
        for side in &report.networks {
            let best = side.predictions.iter().map(|g| format!("    {}\n", g.line()));
            text += &format!("  {} at {}, map {}x{}\n", side.precision, side.layer, side.map[0], side.map[1]);
            text.extend(best);
        }
        let flipped = if report.flipped { "yes" } else { "no" };
        text += &format!("  RMSE {:.2}, aligned {:.2}, flipped: {flipped}\n", report.rmse, report.rmse_aligned);
        text += &format!("  {}: image | f32 map | int8 map\n", report.file.display());
    }
    output::print(&text)
}
