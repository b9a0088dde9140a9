//! ILSVRC's validation images in one folder, with a labels file of one of three kinds.

use std::collections::HashMap;
use std::path::Path;

use super::{Class, Found, Labels, OpenOptions, Sample, walk};
use crate::{Error, imagenet};

/// Images of a folder with the labels of `options.labels_file`; without that file, no classes.
pub fn ilsvrc(path: &Path, options: &OpenOptions) -> Result<Found, Error> {
    let mut samples = walk::images(path)?;
    if let Some(file) = &options.labels_file {
        let text = std::fs::read_to_string(file).map_err(Error::io(file))?;
        let labels = LabelFile::parse(file, &text, options.labels)?;
        for sample in &mut samples {
            sample.class = Some(labels.class_of(file, sample)?);
        }
    }
    Ok(Found { kind: "ILSVRC folder", samples, missing: 0 })
}

/// A labels file, read.
enum LabelFile {
    /// Line N is for image number N.
    ByNumber(Vec<Class>),
    /// Classes by file name without folder and extension.
    ByName(HashMap<String, Class>),
}

impl LabelFile {
    fn parse(file: &Path, text: &str, labels: Labels) -> Result<Self, Error> {
        let mut numbered = Vec::new();
        let mut named = HashMap::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.trim();
            // Kaggle's list has a header.
            if line.is_empty() || (i == 0 && line.starts_with("ImageId,")) {
                continue;
            }
            let mut fields = line.split([',', ' ', '\t']).filter(|f| !f.is_empty());
            let wrong = |message: String| Error::line(file, i + 1, message);
            match (fields.next(), fields.next()) {
                (Some(label), None) => numbered.push(class(label, labels).map_err(wrong)?),
                (Some(name), Some(label)) => {
                    named.insert(stem(name).to_string(), class(label, labels).map_err(wrong)?);
                }
                (None, _) => {}
            }
        }
        match (numbered.is_empty(), named.is_empty()) {
            (false, true) => Ok(Self::ByNumber(numbered)),
            (true, false) => Ok(Self::ByName(named)),
            (true, true) => Err(Error::dataset(file, "the labels file is empty")),
            (false, false) => Err(Error::dataset(file, "some lines are `label`, others `file label`")),
        }
    }

    fn class_of(&self, file: &Path, sample: &Sample) -> Result<Class, Error> {
        let missing = |message: String| Error::dataset(file, format!("no label for image {}: {message}", sample.id));
        let stem = stem(&sample.id);
        match self {
            Self::ByName(named) => named.get(stem).cloned().ok_or_else(|| missing(format!("no line names {stem}"))),
            Self::ByNumber(classes) => {
                let digits = &stem[stem.trim_end_matches(|c: char| c.is_ascii_digit()).len()..];
                let number: usize = digits
                    .parse()
                    .map_err(|_| missing("its name does not end in a number, which says the line".into()))?;
                let class = number.checked_sub(1).and_then(|i| classes.get(i));
                class.cloned().ok_or_else(|| missing(format!("there are {} lines", classes.len())))
            }
        }
    }
}

/// File name without folder and extension.
fn stem(path: &str) -> &str {
    let name = path.rsplit(['/', '\\']).next().unwrap_or(path);
    name.rsplit_once('.').map_or(name, |(stem, _)| stem)
}

/// The class that a label of this kind means.
fn class(label: &str, labels: Labels) -> Result<Class, String> {
    let index = match labels {
        Labels::Wnids => imagenet::index_of(label)
            .ok_or_else(|| format!("`{label}` is none of ILSVRC2012's 1000 wnids (such as n01440764)"))?,
        Labels::DevkitIds => label
            .parse()
            .ok()
            .and_then(imagenet::devkit_to_index)
            .ok_or_else(|| format!("`{label}` is no devkit id from 1 to 1000"))?,
        Labels::Indices | Labels::None => label
            .parse()
            .ok()
            .filter(|&i| i < imagenet::CLASSES)
            .ok_or_else(|| format!("`{label}` is no class index from 0 to 999"))?,
    };
    Ok(Class::imagenet(index))
}
