//! `quantlens render`: scenes of the rendered data set as files with a manifest, or raw to a pipe.

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{ExtendedColorType, ImageEncoder, RgbImage};
use quantlens_data::scenes::{Label, SIDE, SPLIT_LENGTH, Split, class_names, label, render, scene_name};

use crate::{args, inputs, models, output};

/// `quantlens render`.
#[derive(Debug, Args)]
#[command(after_help = "\
The rendered data set has 24 classes: six shapes with four surfaces each. A scene depends on its split and number alone and \
is the same on every machine. Commands that read images also take `scenes:SPLIT:START..END` and draw the scenes as they need \
them. docs/data.md describes the data set, the manifest and the raw form.

Examples:
  quantlens render --split study --count 48 --out scenes
  quantlens render --split train --start 1000 --count 1000 --raw | train.py
  quantlens study --pair f32.safetensors,int8.safetensors --data scenes:study:0..1000 --out study")]
pub struct RenderArgs {
    /// Part of the data set; no scene is in two of them
    #[arg(long, value_enum, default_value_t)]
    pub split: SplitName,
    /// Number of the first scene
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub start: u64,
    /// How many scenes
    #[arg(long, value_name = "N")]
    pub count: u64,
    /// Folder for the pictures and manifest.csv, which `study --data` reads; made if absent
    #[arg(long, value_name = "DIR", required_unless_present = "raw", conflicts_with = "raw")]
    pub out: Option<PathBuf>,
    /// Format of the pictures. PNG keeps a scene's pixels; JPEG (quality 90) changes them a little
    #[arg(long, value_enum, default_value_t, conflicts_with = "raw")]
    pub format: PictureFormat,
    /// Write pixels, classes and boxes to stdout
    #[arg(long)]
    pub raw: bool,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = crate::parse::parse_threads)]
    pub threads: Option<usize>,
}

/// Parts of the rendered data set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum SplitName {
    /// To train on
    Train,
    /// To calibrate quantization
    Calibration,
    /// To study networks on
    #[default]
    Study,
    /// For the accuracies of the model card
    Card,
}

impl From<SplitName> for Split {
    fn from(name: SplitName) -> Self {
        match name {
            SplitName::Train => Self::Train,
            SplitName::Calibration => Self::Calibration,
            SplitName::Study => Self::Study,
            SplitName::Card => Self::Card,
        }
    }
}

/// Formats of rendered pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum PictureFormat {
    /// PNG
    #[default]
    Png,
    /// JPEG
    Jpeg,
}

/// Quality of JPEG files.
const QUALITY: u8 = 90;

/// File of the classes and boxes, beside the pictures.
const MANIFEST: &str = "manifest.csv";

/// First bytes of the raw form, with its version.
const MAGIC: &[u8; 8] = b"QLSCENE1";

/// Scenes that each thread renders before they are written to the pipe.
const AHEAD: u64 = 4;

/// Runs the subcommand.
pub fn run(args: &RenderArgs) -> Result<()> {
    let end = args.start.checked_add(args.count).filter(|&end| end <= SPLIT_LENGTH);
    let Some(numbers) = end.map(|end| args.start..end).filter(|n| !n.is_empty()) else {
        let message = format!("--count {} from --start {}: a split has {SPLIT_LENGTH} scenes", args.count, args.start);
        return Err(args::usage("render", message));
    };
    let threads = args.threads.unwrap_or_else(models::cores);
    match &args.out {
        Some(folder) => files(args, folder, numbers, threads),
        None => raw(args.split.into(), numbers, threads),
    }
}

/// Writes a file a scene, then the manifest.
fn files(args: &RenderArgs, folder: &Path, numbers: Range<u64>, threads: usize) -> Result<()> {
    output::check_folder(folder)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let (split, count) = (Split::from(args.split), (numbers.end - numbers.start) as usize);
    let progress = output::progress(count, "scenes");
    let written = inputs::parallel(count, threads, |i| {
        let number = numbers.start + i as u64;
        let name = file_name(split, number, args.format);
        write_picture(&folder.join(name), &render(split, number).0, args.format)?;
        progress.inc(1);
        Ok(())
    });
    progress.finish_and_clear();
    written?;
    let manifest = folder.join(MANIFEST);
    output::write_file(&manifest, |f| Ok(f.write_all(manifest_text(split, numbers, args.format).as_bytes())?))?;
    output::print(&format!("{count} scenes and {}", manifest.display()))
}

fn file_name(split: Split, number: u64, format: PictureFormat) -> String {
    let extension = match format {
        PictureFormat::Png => "png",
        PictureFormat::Jpeg => "jpg",
    };
    format!("{}.{extension}", scene_name(split, number))
}

fn write_picture(path: &Path, image: &RgbImage, format: PictureFormat) -> Result<()> {
    let (side, color) = (SIDE as u32, ExtendedColorType::Rgb8);
    output::write_file(path, |f| match format {
        PictureFormat::Png => Ok(PngEncoder::new(f).write_image(image, side, side, color)?),
        PictureFormat::Jpeg => Ok(JpegEncoder::new_with_quality(f, QUALITY).write_image(image, side, side, color)?),
    })
}

/// The documented CSV form.
fn manifest_text(split: Split, numbers: Range<u64>, format: PictureFormat) -> String {
    let names = class_names();
    let mut text = String::from("file,class_index,class,file_w,file_h,boxes,visible\n");
    for number in numbers {
        let Label { class, bbox, visible } = label(split, number);
        let file = file_name(split, number, format);
        let [x0, y0, x1, y1] = [bbox.x0, bbox.y0, bbox.x1, bbox.y1];
        let name = &names[class];
        text += &format!("{file},{class},{name},{SIDE},{SIDE},\"[[{x0}, {y0}, {x1}, {y1}]]\",{visible:.3}\n");
    }
    text
}

/// Writes scenes to stdout as docs/data.md describes.
fn raw(split: Split, numbers: Range<u64>, threads: usize) -> Result<()> {
    let mut stdout = io::stdout().lock();
    if stdout.is_terminal() {
        bail!("--raw writes bytes for a program: send them to a pipe or a file");
    }
    stdout.write_all(&header(&numbers))?;
    let mut next = numbers.start;
    while next < numbers.end {
        let end = numbers.end.min(next + AHEAD * threads as u64);
        let scenes = inputs::parallel((end - next) as usize, threads, |i| {
            let (image, label) = render(split, next + i as u64);
            Ok(record(&image, &label))
        })?;
        for scene in scenes {
            stdout.write_all(&scene)?;
        }
        next = end;
    }
    Ok(stdout.flush()?)
}

/// Magic, width and height as u32, number of the first scene and count as u64; little-endian.
fn header(numbers: &Range<u64>) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend([SIDE as u32; 2].iter().flat_map(|v| v.to_le_bytes()));
    bytes.extend([numbers.start, numbers.end - numbers.start].iter().flat_map(|v| v.to_le_bytes()));
    bytes
}

/// Class as u32, box as four u16, visible share in millionths as u32, then R, G, B of each pixel; little-endian.
fn record(image: &RgbImage, label: &Label) -> Vec<u8> {
    let mut bytes = (label.class as u32).to_le_bytes().to_vec();
    let b = label.bbox;
    bytes.extend([b.x0, b.y0, b.x1, b.y1].iter().flat_map(|&v| (v as u16).to_le_bytes()));
    bytes.extend(((label.visible * 1e6) as u32).to_le_bytes());
    bytes.extend_from_slice(image);
    bytes
}
