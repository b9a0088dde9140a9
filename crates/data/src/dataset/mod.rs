//! Data sets: which images there are, what is on them, and where.
//!
//! | [`Format`] | `path` | classes | boxes |
//! |-|-|-|-|
//! | `Folder` | a folder (searched through its subfolders) or one image | none | none |
//! | `ImageFolder` | a tree whose first level of subfolders are the classes: wnids or names | the subfolder | XML option |
//! | `Ilsvrc` | the validation images in one folder | a labels file, read as `Labels` says | XML option |
//! | `Wsol` | wsolevaluation's `class_labels.txt`, `image_sizes.txt`, `localization.txt` | 0-based indices | `localization.txt` |
//! | `Manifest` | a CSV file, see [`manifest`](Format::Manifest) | columns | column |
//! | any | `scenes:SPLIT:START..END`: rendered, see [`crate::scenes`] | 24 | exact |
//! | `Auto` | a `.csv` file: `Manifest`; a folder whose subfolders are all wnids: `ImageFolder`; else `Folder` | | |
//!
//! Labels are never guessed: 0-based indices, wnids and the devkit's ids cannot be told apart reliably (the ids count
//! 1 to 1000 in an order of their own), so a labels file without a choice is an error.
//!
//! Samples are sorted by the bytes of their ids: paths below the data set's folder, with `/` on every platform.

mod boxes;
mod labels;
mod manifest;
mod walk;
mod wsol;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::scenes::{self, SceneRange, Split};
use crate::{BBox, DecodeOptions, Error, RgbImage, decode_file, imagenet};

/// How a data set is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Format {
    /// Found out from the path: see the module's table. Never a choice of labels.
    #[default]
    Auto,
    /// Images in a folder and its subfolders, or one image; no classes.
    Folder,
    /// torchvision's ImageFolder: a subfolder a class, named by wnid or name.
    ImageFolder,
    /// ILSVRC's validation images in one folder, with a labels file.
    Ilsvrc,
    /// wsolevaluation's text files, in the folder that their image ids start from.
    Wsol,
    /// A CSV file with a header line. Columns, in any order, others ignored:
    ///
    /// - `file` (required): path below the manifest's folder, or below its subfolder `set` where that column is filled
    /// - `set`: see `file`
    /// - `class_index`: 0-based; `wnid`; `class`: a name
    /// - `orig_w`, `orig_h`, `file_w`, `file_h`: sizes in pixels of the original picture and of the file
    /// - `geometry`: how the file was made from the original; one that starts with `cropped` was cut at the right and
    ///   bottom (its boxes are not scaled), any other resized to `file_w` by `file_h`, x and y apart
    /// - `boxes`: JSON, `[[x0, y0, x1, y1], ...]` in pixels of the file, or
    ///   `boxes_xyxy_in_original_pixels`: the same in pixels of the original
    Manifest,
}

/// What the labels of a labels file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Labels {
    /// There is no labels file.
    #[default]
    None,
    /// Class indices, 0 to 999, in the order of the sorted wnids: torchvision's, Caffe's.
    Indices,
    /// WordNet ids such as `n01440764`.
    Wnids,
    /// The development kit's ids, 1 to 1000 in an order of their own (`ILSVRC2012_validation_ground_truth.txt`).
    DevkitIds,
}

/// What `--labels` may be.
const LABEL_CHOICES: &str =
    "`indices` (0 to 999, sorted wnids), `wnids` (n01440764), `devkit-ids` (the development kit's 1 to 1000)";

impl FromStr for Labels {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "indices" => Ok(Self::Indices),
            "wnids" => Ok(Self::Wnids),
            "devkit-ids" => Ok(Self::DevkitIds),
            other => Err(format!("unknown kind of labels `{other}`: choose {LABEL_CHOICES}")),
        }
    }
}

impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Indices => "indices",
            Self::Wnids => "wnids",
            Self::DevkitIds => "devkit-ids",
        })
    }
}

/// How to open a data set.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OpenOptions {
    /// Its layout.
    pub format: Format,
    /// What the labels in `labels_file` are.
    pub labels: Labels,
    /// [`Format::Ilsvrc`]: a label a line, line N for the image whose name ends in number N, or `file label` or `file,label`.
    pub labels_file: Option<PathBuf>,
    /// ILSVRC's XML annotations: the folder that holds `<name of the image>.xml`, directly or as deep as the image lies.
    pub boxes: Option<PathBuf>,
    /// Leave out images that a list names but that do not exist (they are counted), instead of failing.
    pub skip_missing: bool,
}

/// What is on an image, as far as the data set says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Class {
    /// 0-based class index, where the data set has one (or the wnid is one of ILSVRC2012's 1000).
    pub index: Option<usize>,
    /// WordNet id.
    pub wnid: Option<String>,
    /// A name to show: the data set's, else ImageNet's, else the wnid or index.
    pub name: String,
}

impl Class {
    /// A class by its index in ILSVRC2012's order.
    fn imagenet(index: usize) -> Self {
        let wnid = imagenet::wnids().get(index).map(|w| (*w).to_string());
        let name = imagenet::names().get(index).map_or_else(|| format!("class {index}"), |n| (*n).to_string());
        Self { index: Some(index), wnid, name }
    }

    /// A class by wnid or, where the text is none, by name.
    fn named(text: &str) -> Self {
        if !imagenet::is_wnid(text) {
            return Self { index: None, wnid: None, name: text.to_string() };
        }
        let index = imagenet::index_of(text);
        let name = index.map_or(text, |i| imagenet::names()[i]).to_string();
        Self { index, wnid: Some(text.to_string()), name }
    }

    /// Which of a model's classes (wnids or names, in order of its outputs; empty where unknown) this is.
    ///
    /// By wnid where both have one; else by a name that only one class has; else, for a model that does not say or names 1000 classes of its own, by index.
    pub fn index_in(&self, classes: &[String]) -> Option<usize> {
        let find = |text: &str| classes.iter().position(|c| c == text);
        let model_has_wnids = classes.iter().any(|c| imagenet::is_wnid(c));
        match &self.wnid {
            Some(wnid) if model_has_wnids => return find(wnid),
            _ => {}
        }
        let mut namesakes = (0..classes.len()).filter(|&i| classes[i] == self.name);
        // Two of ImageNet's classes are called crane, two maillot: such a name does not tell.
        if let (Some(found), None) = (namesakes.next(), namesakes.next()) {
            return Some(found);
        }
        let comparable = classes.is_empty() || classes.len() == imagenet::CLASSES || self.wnid.is_none();
        self.index.filter(|&i| comparable && (classes.is_empty() || i < classes.len()))
    }
}

/// One image of a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Path below the data set's folder, with `/`: names the image in records.
    pub id: String,
    /// The file; of a rendered scene its name, which is no file's.
    pub path: PathBuf,
    /// The rendered scene that this is, in place of a file.
    pub scene: Option<(Split, u64)>,
    /// Position among all samples, from 0.
    pub data_index: usize,
    /// What is on it.
    pub class: Option<Class>,
    /// Where: boxes in pixels of a picture of size `box_size`; [`Self::boxes_in`] scales them to the file.
    pub boxes: Vec<BBox>,
    /// Width and height that `boxes` refer to; none: those of the file.
    pub box_size: Option<[u32; 2]>,
    /// Width and height of the original picture, where the file was made from another one.
    pub original_size: Option<[u32; 2]>,
}

impl Sample {
    fn new(id: String, path: PathBuf) -> Self {
        Self {
            id,
            path,
            scene: None,
            data_index: 0,
            class: None,
            boxes: Vec::new(),
            box_size: None,
            original_size: None,
        }
    }

    /// The picture: the file's, decoded, or the rendered scene.
    ///
    /// # Errors
    /// As [`decode_file`].
    pub fn read(&self, options: &DecodeOptions) -> Result<RgbImage, Error> {
        match self.scene {
            Some((split, number)) => Ok(scenes::render(split, number).0),
            None => decode_file(&self.path, options),
        }
    }

    /// The boxes in pixels of the decoded file, which is `width` by `height` (without EXIF rotation). x and y scale apart.
    pub fn boxes_in(&self, width: u32, height: u32) -> Vec<BBox> {
        let scale = |file: u32, reference: u32| f64::from(file) / f64::from(reference.max(1));
        let (x, y) = self.box_size.map_or((1.0, 1.0), |[w, h]| (scale(width, w), scale(height, h)));
        self.boxes.iter().map(|b| b.scaled(x, y)).collect()
    }
}

/// A data set: its samples in order of their ids.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// The images.
    pub samples: Vec<Sample>,
    /// One line for people: where, what, how many.
    pub description: String,
    /// What the labels were read as.
    pub labels: Labels,
}

/// What a reader hands over.
struct Found {
    kind: &'static str,
    samples: Vec<Sample>,
    /// Images that a list names but that do not exist.
    missing: usize,
}

/// Every how many labels of rendered scenes progress is told.
const TOLD: u64 = 64;

impl Dataset {
    /// Lists a data set's images; no image is opened. A path that is the name of a [`SceneRange`], such as `scenes:study:0..1000`, means
    /// rendered scenes, which are drawn when they are read.
    ///
    /// # Errors
    /// A path that does not exist, a folder without images, labels without a choice of what they are, a line or number that is
    /// wrong (with its line number), an image without a label, an id that occurs twice.
    pub fn open(path: impl AsRef<Path>, options: &OpenOptions) -> Result<Self, Error> {
        Self::open_with_progress(path, options, &|_| {})
    }

    /// [`Dataset::open`]. Labels of rendered scenes, of which each is drawn for its box, take a while: `labelled` is told of every few more, from several
    /// threads.
    ///
    /// # Errors
    /// As there.
    pub fn open_with_progress(
        path: impl AsRef<Path>,
        options: &OpenOptions,
        labelled: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, Error> {
        let path = path.as_ref();
        if let Some(name) = path.to_str().filter(|p| p.starts_with(SceneRange::PREFIX)) {
            return Self::of_scenes(path, name, options, labelled);
        }
        std::fs::metadata(path).map_err(Error::io(path))?;
        let format = match options.format {
            Format::Auto => detect(path, options)?,
            chosen => chosen,
        };
        check_labels(path, format, options)?;
        let mut found = match format {
            Format::ImageFolder => walk::image_folder(path)?,
            Format::Ilsvrc => labels::ilsvrc(path, options)?,
            Format::Wsol => wsol::read(path, options.skip_missing)?,
            Format::Manifest => manifest::read(path, options.skip_missing)?,
            Format::Folder | Format::Auto => walk::folder(path)?,
        };
        if let Some(annotations) = &options.boxes {
            boxes::add_xml(annotations, &mut found.samples)?;
        }
        Self::finish(path, options.labels, found)
    }

    /// Rendered scenes, in order of their numbers.
    fn of_scenes(
        path: &Path,
        name: &str,
        options: &OpenOptions,
        labelled: &(dyn Fn(u64) + Sync),
    ) -> Result<Self, Error> {
        if *options != OpenOptions::default() {
            let message =
                "rendered scenes have classes and boxes of their own: no format, labels or boxes go with them";
            return Err(Error::dataset(path, message));
        }
        let range: SceneRange = name.parse().map_err(|message: String| Error::dataset(path, message))?;
        let names = &scenes::class_names();
        let sample = |number: u64| {
            let label = scenes::label(range.split, number);
            let id = scenes::scene_name(range.split, number);
            let class = Class { index: Some(label.class), wnid: None, name: names[label.class].clone() };
            let path = PathBuf::from(&id);
            let scene = Some((range.split, number));
            if number % TOLD == TOLD - 1 {
                labelled(TOLD);
            }
            Sample { scene, class: Some(class), boxes: vec![label.bbox], ..Sample::new(id, path) }
        };
        // A label is what is left of a drawing: 0.4 ms.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
        let numbers = &range.numbers;
        let share = (numbers.end - numbers.start).div_ceil(threads).max(64);
        let samples = std::thread::scope(|scope| {
            let shares = numbers.clone().step_by(share as usize).map(|start| {
                let numbers = start..numbers.end.min(start + share);
                scope.spawn(move || numbers.map(sample).collect::<Vec<Sample>>())
            });
            let running: Vec<_> = shares.collect();
            running.into_iter().flat_map(|share| share.join().unwrap_or_else(|why| resume_unwind(why))).collect()
        });
        Self::finish(path, options.labels, Found { kind: "rendered", samples, missing: 0 })
    }

    /// Sorts, numbers and describes.
    fn finish(path: &Path, labels: Labels, found: Found) -> Result<Self, Error> {
        let Found { kind, mut samples, missing } = found;
        if samples.is_empty() {
            let extensions = walk::EXTENSIONS.join(", .");
            let why = if missing > 0 { format!("none of its {missing} images exist") } else { "no images".into() };
            return Err(Error::dataset(path, format!("{why} (files that end in .{extensions} are looked for)")));
        }
        samples.sort_by(|a, b| a.id.as_bytes().cmp(b.id.as_bytes()));
        if let Some(pair) = samples.windows(2).find(|pair| pair[0].id == pair[1].id) {
            return Err(Error::dataset(path, format!("image {} is listed twice", pair[0].id)));
        }
        samples.iter_mut().enumerate().for_each(|(i, s)| s.data_index = i);
        let mut classes: BTreeMap<&str, usize> = BTreeMap::new();
        for class in samples.iter().filter_map(|s| s.class.as_ref()) {
            *classes.entry(class.wnid.as_deref().unwrap_or(&class.name)).or_default() += 1;
        }
        let boxed = samples.iter().filter(|s| !s.boxes.is_empty()).count();
        let mut description = format!("{kind} {}: {} images", path.display(), samples.len());
        for (count, what) in
            [(classes.len(), "classes"), (boxed, "images with boxes"), (missing, "listed images missing")]
        {
            if count > 0 {
                description += &format!(", {count} {what}");
            }
        }
        Ok(Self { samples, description, labels })
    }
}

/// The layout of what is at `path`.
fn detect(path: &Path, options: &OpenOptions) -> Result<Format, Error> {
    if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("csv")) && path.is_file() {
        return Ok(Format::Manifest);
    }
    if options.labels_file.is_some() {
        return Ok(Format::Ilsvrc);
    }
    let subfolders = if path.is_dir() { walk::subfolders(path)? } else { Vec::new() };
    let tree = !subfolders.is_empty() && subfolders.iter().all(|name| imagenet::is_wnid(name));
    Ok(if tree { Format::ImageFolder } else { Format::Folder })
}

/// Refuses labels without a choice of what they are, and choices that nothing will be read with.
fn check_labels(path: &Path, format: Format, options: &OpenOptions) -> Result<(), Error> {
    match (&options.labels_file, options.labels) {
        (Some(file), Labels::None) => {
            let file = file.display();
            Err(Error::dataset(path, format!("what are the labels in {file}? Choose {LABEL_CHOICES} with --labels")))
        }
        (Some(file), _) if format != Format::Ilsvrc => {
            let file = file.display();
            Err(Error::dataset(
                path,
                format!("labels file {file} goes with the format `ilsvrc` only, not with {format:?}"),
            ))
        }
        (None, labels) if labels != Labels::None => {
            Err(Error::dataset(path, format!("labels are `{labels}`, but there is no labels file")))
        }
        _ => Ok(()),
    }
}

/// Keeps the samples whose file exists.
///
/// # Errors
/// The first missing one, unless they may be skipped.
fn existing(samples: Vec<Sample>, list: &Path, skip_missing: bool) -> Result<(Vec<Sample>, usize), Error> {
    let all = samples.len();
    let (present, missing): (Vec<_>, Vec<_>) = samples.into_iter().partition(|s| s.path.is_file());
    match missing.first() {
        Some(first) if !skip_missing => {
            let more =
                if missing.len() > 1 { format!(" (and {} more of {all})", missing.len() - 1) } else { String::new() };
            Err(Error::dataset(list, format!("image {} does not exist{more}", first.path.display())))
        }
        _ => Ok((present, missing.len())),
    }
}

/// Positions of samples by id.
fn by_id(samples: &[Sample]) -> HashMap<String, usize> {
    samples.iter().enumerate().map(|(i, s)| (s.id.clone(), i)).collect()
}
