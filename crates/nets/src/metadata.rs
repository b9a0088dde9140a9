//! The `__metadata__` of a model file, typed and checked. All values are strings in the file; unknown keys are kept.

use std::collections::BTreeMap;
use std::fmt;

use quantlens_engine::Numerics;
use serde_json::{Map, Value};

use crate::Error;
use crate::error::quoted;

/// Resampling filter of the resize before the crop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Interpolation {
    /// The nearest pixel.
    Nearest,
    /// Pillow's antialiased bilinear filter: torchvision's default.
    #[default]
    Bilinear,
    /// Pillow's antialiased bicubic filter.
    Bicubic,
}

impl fmt::Display for Interpolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
        })
    }
}

/// How images become the network's input.
#[derive(Debug, Clone, PartialEq)]
pub struct Preprocess {
    /// Length of the shorter side after the resize, in pixels; none: no resize.
    pub resize: Option<u32>,
    /// Height and width of the centre crop, in pixels: the network's input.
    pub crop: [usize; 2],
    /// Filter of the resize.
    pub interpolation: Interpolation,
    /// Subtracted from each of R, G, B after the division by 255.
    pub mean: [f32; 3],
    /// Divisor of each channel after that; finite and positive.
    pub std: [f32; 3],
}

impl Default for Preprocess {
    /// torchvision's `ImageClassification(crop_size=224)`.
    fn default() -> Self {
        Self {
            resize: Some(256),
            crop: [224, 224],
            interpolation: Interpolation::Bilinear,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

impl Preprocess {
    /// The same for an input of another height and width. The resize is scaled along (256 for 224, so 219 for 192),
    /// which keeps the share of the image that the crop sees.
    pub fn with_crop(&self, crop: [usize; 2]) -> Self {
        let side = |[h, w]: [usize; 2]| h.max(w) as f64;
        // `as` saturates; what is too large is for the reader of the result to refuse.
        let scaled = |resize: u32| (f64::from(resize) * side(crop) / side(self.crop)).round() as u32;
        Self { resize: self.resize.map(scaled), crop, ..self.clone() }
    }
}

/// Largest resize or crop taken from a file, in pixels: beyond it a damaged number would ask for gigabytes of
/// activations.
const MAX_SIDE: u64 = 2048;

/// The file's metadata; a field is none where the file does not have the key.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Metadata {
    /// Version of the file's format, `major` or `major.minor`; none for a plain state_dict.
    pub format_version: Option<String>,
    /// torchvision's name, for example `mobilenet_v2`.
    pub network: Option<String>,
    /// Arguments of torchvision's constructor.
    pub arguments: Map<String, Value>,
    /// Whose int8 arithmetic applies; int8 files only.
    pub numerics: Option<Numerics>,
    /// How images become the network's input.
    pub preprocess: Option<Preprocess>,
    /// wnids or names in index order; empty where the file has none.
    pub classes: Vec<String>,
    /// Tensor that class activation maps are made of.
    pub cam_layer: Option<String>,
    /// Batch norm's epsilon; float files only.
    pub batch_norm_eps: Option<f32>,
    /// Id of the file with the other precision.
    pub twin: Option<String>,
    /// Where the weights came from.
    pub source: Option<String>,
    /// SHA-256 of that source, in hexadecimal.
    pub source_sha256: Option<String>,
    /// PyTorch version of the export.
    pub torch: Option<String>,
    /// Licence of the weights.
    pub licence: Option<String>,
    /// Keys that this version does not know.
    pub other: BTreeMap<String, String>,
}

impl Metadata {
    /// Reads the strings of a file called `file` in messages.
    pub(crate) fn parse(file: &str, mut strings: BTreeMap<String, String>) -> Result<Self, Error> {
        let format_version = strings.remove("format_version");
        if let Some(version) = &format_version {
            check_version(file, version)?;
        }
        let mut reader = Reader { file, strings };
        Ok(Self {
            format_version,
            network: reader.take("network", text)?,
            arguments: reader.take("arguments", arguments)?.unwrap_or_default(),
            numerics: reader.take("numerics", numerics)?,
            preprocess: reader.take("preprocess", preprocess)?,
            classes: reader.take("classes", classes)?.unwrap_or_default(),
            cam_layer: reader.take("cam_layer", text)?,
            batch_norm_eps: reader.take("batch_norm_eps", epsilon)?,
            twin: reader.take("twin", text)?,
            source: reader.take("source", text)?,
            source_sha256: reader.take("source_sha256", text)?,
            torch: reader.take("torch", text)?,
            licence: reader.take("licence", text)?,
            other: reader.strings,
        })
    }
}

/// Major version 1 is read, whatever its minor.
fn check_version(file: &str, version: &str) -> Result<(), Error> {
    let numbers: Option<Vec<u32>> = version.split('.').map(|n| n.parse().ok()).collect();
    match numbers.as_deref() {
        Some([1] | [1, _]) => Ok(()),
        Some([major] | [major, _]) if *major > 1 => Err(Error::Version { file: file.into(), found: version.into() }),
        _ => Err(Error::Metadata {
            file: file.into(),
            key: "format_version".into(),
            expected: "\"1\" or \"1.\" and a minor number".into(),
            found: format!("{version:?}"),
        }),
    }
}

struct Reader<'a> {
    file: &'a str,
    strings: BTreeMap<String, String>,
}

/// What a key may hold, where its value is something else.
type Expected = &'static str;

impl Reader<'_> {
    /// The typed value of a key; an empty string counts as absent.
    fn take<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Expected>) -> Result<Option<T>, Error> {
        let Some(value) = self.strings.remove(key).filter(|v| !v.is_empty()) else { return Ok(None) };
        match parse(&value) {
            Ok(parsed) => Ok(Some(parsed)),
            Err(expected) => Err(Error::Metadata {
                file: self.file.into(),
                key: key.into(),
                expected: expected.into(),
                found: quoted(&value),
            }),
        }
    }
}

fn text(value: &str) -> Result<String, Expected> {
    Ok(value.to_string())
}

fn numerics(value: &str) -> Result<Numerics, Expected> {
    match value {
        "fbgemm" => Ok(Numerics::Fbgemm),
        "qnnpack" => Ok(Numerics::Qnnpack),
        _ => Err("\"fbgemm\" or \"qnnpack\""),
    }
}

fn arguments(value: &str) -> Result<Map<String, Value>, Expected> {
    serde_json::from_str(value).map_err(|_| "a JSON object of constructor arguments")
}

fn classes(value: &str) -> Result<Vec<String>, Expected> {
    serde_json::from_str(value).map_err(|_| "a JSON array of wnids or names")
}

fn epsilon(value: &str) -> Result<f32, Expected> {
    // Parsed as f64 and narrowed, as PyTorch does when it adds a Python float to a float tensor.
    match value.parse::<f64>().map(|eps| eps as f32) {
        Ok(eps) if eps.is_finite() && eps > 0.0 => Ok(eps),
        _ => Err("a finite positive number"),
    }
}

const PREPROCESS: Expected = "a JSON object {\"resize\": pixels or null, \"crop\": pixels or [height, width], \
     \"interpolation\": \"bilinear\", \"mean\": [r, g, b], \"std\": [r, g, b]}, sides 1 to 2048, std positive";

fn preprocess(value: &str) -> Result<Preprocess, Expected> {
    let object: Map<String, Value> = serde_json::from_str(value).map_err(|_| PREPROCESS)?;
    let mut result = Preprocess::default();
    if let Some(resize) = object.get("resize") {
        result.resize = if resize.is_null() { None } else { Some(side(resize)? as u32) };
    }
    match object.get("crop") {
        None => {}
        Some(Value::Array(sides)) => match sides.as_slice() {
            [h, w] => result.crop = [side(h)?, side(w)?],
            _ => return Err(PREPROCESS),
        },
        Some(one) => result.crop = [side(one)?; 2],
    }
    result.interpolation = match object.get("interpolation").map(Value::as_str) {
        None | Some(Some("bilinear")) => Interpolation::Bilinear,
        Some(Some("nearest")) => Interpolation::Nearest,
        Some(Some("bicubic")) => Interpolation::Bicubic,
        Some(_) => return Err(PREPROCESS),
    };
    if let Some(mean) = object.get("mean") {
        result.mean = rgb(mean)?;
    }
    if let Some(std) = object.get("std") {
        result.std = rgb(std)?;
    }
    if result.std.iter().all(|&s| s > 0.0) { Ok(result) } else { Err(PREPROCESS) }
}

fn side(value: &Value) -> Result<usize, Expected> {
    value.as_u64().filter(|s| (1..=MAX_SIDE).contains(s)).map(|s| s as usize).ok_or(PREPROCESS)
}

fn rgb(value: &Value) -> Result<[f32; 3], Expected> {
    let numbers: Option<Vec<f32>> = value.as_array().and_then(|a| a.iter().map(finite).collect());
    numbers.and_then(|n| n.try_into().ok()).ok_or(PREPROCESS)
}

fn finite(value: &Value) -> Option<f32> {
    value.as_f64().map(|x| x as f32).filter(|x| x.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_crop_scales_the_resize() {
        let at = |file: &Preprocess, crop| file.with_crop(crop).resize;
        let file = Preprocess::default();
        assert_eq!([[224, 224], [192, 192], [112, 448]].map(|crop| at(&file, crop)), [256, 219, 512].map(Some));
        let none = Preprocess { resize: None, ..file.clone() };
        assert_eq!((at(&none, [9, 9]), none.with_crop([8, 9]).crop), (None, [8, 9]));
        assert_eq!(file.with_crop([160, 160]), Preprocess { resize: Some(183), crop: [160, 160], ..file });
    }
}
