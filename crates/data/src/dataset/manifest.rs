//! CSV manifests; [`super::Format::Manifest`] documents the columns.

use std::path::Path;

use csv::{ReaderBuilder, StringRecord, Trim};

use super::{Class, Found, Sample, existing};
use crate::{BBox, Error, imagenet};

/// Reads a manifest; images lie below its folder.
pub fn read(path: &Path, skip_missing: bool) -> Result<Found, Error> {
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    let mut reader = ReaderBuilder::new().trim(Trim::All).from_reader(bytes.as_slice());
    let headers = reader.headers().map_err(|e| csv_error(path, &e))?.clone();
    let columns = Columns::find(path, &headers)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut samples = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| csv_error(path, &e))?;
        let line = record.position().map_or(0, |p| p.line() as usize);
        let sample = columns.sample(folder, &record).map_err(|message| Error::line(path, line, message))?;
        samples.push(sample);
    }
    let (samples, missing) = existing(samples, path, skip_missing)?;
    Ok(Found { kind: "manifest", samples, missing })
}

fn csv_error(path: &Path, error: &csv::Error) -> Error {
    match error.position() {
        Some(position) => Error::line(path, position.line() as usize, error.to_string()),
        None => Error::dataset(path, error.to_string()),
    }
}

/// Where the known columns are.
struct Columns {
    file: usize,
    set: Option<usize>,
    class_index: Option<usize>,
    wnid: Option<usize>,
    class: Option<usize>,
    original: Option<[usize; 2]>,
    size: Option<[usize; 2]>,
    geometry: Option<usize>,
    boxes: Option<usize>,
    original_boxes: Option<usize>,
}

impl Columns {
    fn find(path: &Path, headers: &StringRecord) -> Result<Self, Error> {
        let at = |name: &str| headers.iter().position(|h| h.trim_start_matches('\u{feff}') == name);
        let pair = |x: &str, y: &str| match (at(x), at(y)) {
            (Some(x), Some(y)) => Ok(Some([x, y])),
            (None, None) => Ok(None),
            _ => Err(Error::line(path, 1, format!("of the columns {x} and {y} there is only one"))),
        };
        let found = headers.iter().collect::<Vec<_>>().join(", ");
        let columns = Self {
            file: at("file").ok_or_else(|| Error::line(path, 1, format!("no column `file` among: {found}")))?,
            set: at("set"),
            class_index: at("class_index"),
            wnid: at("wnid"),
            class: at("class"),
            original: pair("orig_w", "orig_h")?,
            size: pair("file_w", "file_h")?,
            geometry: at("geometry"),
            boxes: at("boxes"),
            original_boxes: at("boxes_xyxy_in_original_pixels"),
        };
        if columns.boxes.is_some() && columns.original_boxes.is_some() {
            return Err(Error::line(path, 1, "there are two columns of boxes"));
        }
        if columns.original_boxes.is_some() && columns.original.is_none() {
            return Err(Error::line(path, 1, "boxes in original pixels need the columns orig_w and orig_h"));
        }
        Ok(columns)
    }

    /// The sample that a line describes.
    fn sample(&self, folder: &Path, record: &StringRecord) -> Result<Sample, String> {
        let text = |column: Option<usize>| column.and_then(|c| record.get(c)).filter(|t| !t.is_empty());
        let file = text(Some(self.file)).ok_or("the column file is empty")?.replace('\\', "/");
        let id = match text(self.set) {
            Some(set) => format!("{}/{file}", set.replace('\\', "/")),
            None => file,
        };
        let mut sample = Sample::new(id.clone(), folder.join(&id));
        sample.class = class(text(self.class_index), text(self.wnid), text(self.class))?;
        let size = |columns: Option<[usize; 2]>| {
            columns.and_then(|[x, y]| text(Some(x)).zip(text(Some(y)))).map(|(x, y)| size(x, y)).transpose()
        };
        sample.original_size = size(self.original)?;
        let file_size = size(self.size)?;
        if let Some(boxes) = text(self.boxes) {
            sample.boxes = parse_boxes(boxes)?;
            sample.box_size = file_size;
        } else if let Some(boxes) = text(self.original_boxes) {
            sample.boxes = parse_boxes(boxes)?;
            let original = sample.original_size.ok_or("boxes in original pixels, but orig_w or orig_h is empty")?;
            if text(self.geometry).is_some_and(|g| g.starts_with("cropped")) {
                sample.boxes.retain_mut(|b| clip(b, file_size.unwrap_or(original)));
                sample.box_size = file_size;
            } else {
                sample.box_size = Some(original);
            }
        }
        Ok(sample)
    }
}

/// Cuts a box at the right and bottom of a cropped picture; false where nothing is left.
fn clip(bbox: &mut BBox, [width, height]: [u32; 2]) -> bool {
    bbox.x1 = bbox.x1.min(width.into());
    bbox.y1 = bbox.y1.min(height.into());
    bbox.x0 < bbox.x1 && bbox.y0 < bbox.y1
}

/// The class of a line, if it says one.
fn class(index: Option<&str>, wnid: Option<&str>, name: Option<&str>) -> Result<Option<Class>, String> {
    let index = index
        .map(|text| text.parse::<usize>().map_err(|_| format!("class_index `{text}` is no whole number from 0 up")))
        .transpose()?;
    if let Some(wnid) = wnid.filter(|w| !imagenet::is_wnid(w)) {
        return Err(format!("wnid `{wnid}` is not `n` and eight digits"));
    }
    let class = match (wnid.or(name), index) {
        (Some(text), _) => Class::named(text),
        (None, Some(index)) => Class { index: Some(index), wnid: None, name: format!("class {index}") },
        (None, None) => return Ok(None),
    };
    let name = name.map_or(class.name, str::to_string);
    Ok(Some(Class { index: index.or(class.index), wnid: class.wnid, name }))
}

fn size(width: &str, height: &str) -> Result<[u32; 2], String> {
    match (width.parse(), height.parse()) {
        (Ok(w), Ok(h)) if w > 0 && h > 0 => Ok([w, h]),
        _ => Err(format!("size `{width}` x `{height}` is not two whole numbers from 1 up")),
    }
}

/// Boxes from JSON: an array of arrays of four numbers.
fn parse_boxes(text: &str) -> Result<Vec<BBox>, String> {
    let boxes: Vec<[f64; 4]> =
        serde_json::from_str(text).map_err(|e| format!("boxes `{text}` are not [[x0, y0, x1, y1], ...]: {e}"))?;
    boxes.into_iter().map(BBox::checked).collect()
}
