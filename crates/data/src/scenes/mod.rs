//! A rendered data set: scenes with one labelled object each, the same bytes on every machine.
//!
//! An object is one of six shapes with one of four surfaces; its class is the pair. Around it lie things that carry a class's
//! surface on another shape, or a class's shape with another surface, and the background may carry a class's pattern: neither shape
//! nor surface alone tells the class, and only one thing in a scene has both.
//!
//! A scene depends on its [`Split`] and its number alone. All chance is PCG32's (`random.rs`), whose streams are different sequences.
//! A stream's number holds the split, the scene's number (40 bits) and the part of the scene, so that no two scenes, of one split or of
//! two, share a stream.
//!
//! Arithmetic is that of integers and of f32 with +, -, *, / and square root, which IEEE 754 rounds in one way and Rust never
//! fuses or reorders; sine and cosine come from the `libm` crate. Hence equal bytes, checked for x86-64 and aarch64.

mod background;
mod camera;
mod compress;
mod frame;
mod item;
mod random;
mod shape;
mod stage;
mod surface;

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use image::RgbImage;

use self::random::Random;
use self::stage::Stage;
use crate::BBox;

/// Width and height of a scene, in pixels.
pub const SIDE: usize = 224;

/// Version of the data set: the same version, the same bytes.
pub const VERSION: u32 = 1;

/// Number of classes.
pub const CLASSES: usize = 24;

/// Scenes in a split: their numbers are below this.
pub const SPLIT_LENGTH: u64 = 100_000_000;

/// Seed of all scenes; which scene it is, the generator's stream says.
const SEED: u64 = 2023;

/// Parts of the data set that have no scene in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Split {
    /// To train networks on.
    Train,
    /// To calibrate quantization, and to choose between settings.
    Calibration,
    /// To study networks on.
    Study,
    /// For the accuracies that the model card states.
    Card,
}

impl Split {
    /// All splits; a split's place here is part of its scenes' seeds.
    pub const ALL: [Self; 4] = [Self::Train, Self::Calibration, Self::Study, Self::Card];

    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Calibration => "calibration",
            Self::Study => "study",
            Self::Card => "card",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Split {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = || Self::ALL.map(Self::name).join(", ");
        let found = Self::ALL.into_iter().find(|s| s.name() == text);
        found.ok_or_else(|| format!("unknown split `{text}`: choose one of {}", names()))
    }
}

/// A stretch of a split. Written `scenes:SPLIT:START..END`, or `scenes:SPLIT:NUMBER` for one scene.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneRange {
    /// The split.
    pub split: Split,
    /// The scenes' numbers.
    pub numbers: Range<u64>,
}

impl SceneRange {
    /// What names of ranges begin with.
    pub const PREFIX: &str = "scenes:";
}

impl FromStr for SceneRange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let example = "expected `scenes:SPLIT:START..END`, for example `scenes:study:0..1000`";
            format!("`{text}`: {example}, with START below END and END at most {SPLIT_LENGTH}")
        };
        let (split, numbers) = text.strip_prefix(Self::PREFIX).and_then(|t| t.split_once(':')).ok_or_else(wrong)?;
        let split = split.parse().map_err(|e: String| format!("`{text}`: {e}"))?;
        let number = |t: &str| t.parse::<u64>().ok().filter(|&n| n <= SPLIT_LENGTH);
        let range = match numbers.split_once("..") {
            Some((start, end)) => number(start).zip(number(end)).map(|(start, end)| start..end),
            None => number(numbers).map(|n| n..n + 1),
        };
        match range {
            Some(numbers) if !numbers.is_empty() && numbers.end <= SPLIT_LENGTH => Ok(Self { split, numbers }),
            _ => Err(wrong()),
        }
    }
}

/// A scene's name, which is also the start of its file's.
pub fn scene_name(split: Split, number: u64) -> String {
    format!("{split}-{number:08}")
}

/// What is on a scene.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Label {
    /// The object's class, an index into [`class_names`].
    pub class: usize,
    /// Box of the object's visible pixels: those at least half of which show it. Right and bottom are exclusive.
    pub bbox: BBox,
    /// Share of the object's pixels in the frame that nothing hides.
    pub visible: f32,
}

/// Names of the classes, in the order of their indices: surface, then shape.
pub fn class_names() -> Vec<String> {
    let shapes = ["star", "heart", "fish", "mug", "key", "mushroom"];
    let surfaces = ["striped", "dotted", "checked", "zigzag"];
    shapes.iter().flat_map(|shape| surfaces.map(|surface| format!("{surface} {shape}"))).collect()
}

/// The class of a scene: any 24 scenes in a row have all of them.
pub fn class_of(number: u64) -> usize {
    (number % CLASSES as u64 * 7) as usize % CLASSES
}

/// What is on a scene, without rendering it.
///
/// # Panics
/// Where the number is not below [`SPLIT_LENGTH`].
pub fn label(split: Split, number: u64) -> Label {
    let class = class_of(number);
    label_of(class, &Stage::set(&mut random(split, number, Part::Stage), class))
}

/// Renders a scene, [`SIDE`] by [`SIDE`].
///
/// # Panics
/// Where the number is not below [`SPLIT_LENGTH`].
pub fn render(split: Split, number: u64) -> (RgbImage, Label) {
    let class = class_of(number);
    let stage = Stage::set(&mut random(split, number, Part::Stage), class);
    let mut frame = background::background(&mut random(split, number, Part::Background));
    stage.paint(&mut frame);
    let mut random = random(split, number, Part::Camera);
    camera::expose(&mut random, &mut frame);
    camera::blur(&mut random, &mut frame);
    let mut bytes = camera::develop(&mut random, &frame);
    if random.chance(80) {
        compress::compress(&mut bytes, 20 + random.below(76));
    }
    let mut image = RgbImage::new(SIDE as u32, SIDE as u32);
    image.copy_from_slice(&bytes);
    (image, label_of(class, &stage))
}

fn label_of(class: usize, stage: &Stage) -> Label {
    Label { class, bbox: stage.mask.bbox(), visible: stage.mask.visible() }
}

/// Parts of a scene that draw chance of their own, so that one can be made without the others.
#[derive(Clone, Copy)]
enum Part {
    Stage,
    Background,
    Camera,
}

/// The generator of a part of a scene: two bits say the part, 40 the number, the rest the split.
fn random(split: Split, number: u64, part: Part) -> Random {
    assert!(number < SPLIT_LENGTH, "scene {number} of {SPLIT_LENGTH}");
    let scene = (split as u64) << 40 | number;
    Random::new(SEED, scene << 2 | part as u64)
}
