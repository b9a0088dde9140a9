//! The files of deletion and insertion: one row an image, network and precision, with both curves. Parquet as the
//! records are, in a folder of their own whose manifest says what they were made with.

use std::fs;
use std::path::{Path, PathBuf};

use parquet::data_type::{ByteArray, ByteArrayType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use quantlens_xai::STEPS;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Error;
use crate::manifest::{MANIFEST, differences};
use crate::parquet_file::{Columns, PartFile, Source, write_rows};
use crate::parts::{read_json, write_beside, write_shared};
use crate::record::Precision;

const SETTINGS: &str = "quantlens.curve_settings";

const SCHEMA: &str = "
message curves {
  REQUIRED BINARY image_id (UTF8);
  REQUIRED INT64 data_index;
  REQUIRED BINARY network (UTF8);
  REQUIRED BINARY precision (UTF8);
  OPTIONAL INT32 class;
  REQUIRED group deletion (LIST) { REPEATED group list { REQUIRED FLOAT element; } }
  REQUIRED group insertion (LIST) { REPEATED group list { REQUIRED FLOAT element; } }
  OPTIONAL BINARY error (UTF8);
}";

/// Deletion and insertion of one network on one image.
#[derive(Debug, Clone, PartialEq)]
pub struct CurveRow {
    /// The image's path relative to its data set.
    pub image_id: String,
    /// The image's place in the data set.
    pub data_index: u64,
    /// Name of the pair of networks.
    pub network: String,
    /// Which of the two.
    pub precision: Precision,
    /// The class whose probability the curves are.
    pub class: Option<u32>,
    /// 101 probabilities, from the whole image to the baseline.
    pub deletion: Vec<f32>,
    /// 101 probabilities, from the baseline to the whole image.
    pub insertion: Vec<f32>,
    /// Why there is no result.
    pub error: Option<String>,
}

impl CurveRow {
    fn check(&self) -> Result<(), String> {
        let whole = |curve: &[f32]| curve.len() == STEPS + 1;
        if self.error.is_some() || (whole(&self.deletion) && whole(&self.insertion)) {
            return Ok(());
        }
        Err(format!("curves of {} and {} values", self.deletion.len(), self.insertion.len()))
    }
}

/// What curves were made with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurveSettings {
    /// Version of the records' columns and of this file.
    pub schema_version: u32,
    /// Hash of the records' settings.
    pub records: String,
    /// Sign policy of the maps.
    pub signs: String,
    /// What pixels are deleted to.
    pub delete_to: String,
    /// What pixels are inserted on.
    pub insert_on: String,
    /// `predicted` (on the whole image) or `true`: the class whose probability is followed.
    pub class: String,
    /// `subset` or `all`.
    pub images: String,
}

impl CurveSettings {
    /// The settings of a folder; none where there are no curves.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] for a damaged file.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST);
        read_json(&path, "not the manifest of curves", "delete the folder")
    }

    /// Writes the settings into a folder; where there are others already, says what differs.
    pub(super) fn settle(&self, folder: &Path) -> Result<(), Error> {
        let json = |s: &Self| serde_json::to_value(s).unwrap_or(Value::Null);
        match Self::read(folder)? {
            Some(there) if there == *self => Ok(()),
            Some(there) => {
                let differences = differences(&json(&there), &json(self));
                Err(Error::SettingsChanged { folder: folder.into(), differences })
            }
            None => {
                fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
                let path = folder.join(MANIFEST);
                let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))?;
                // Shards may begin at the same time.
                write_shared(&path, (text + "\n").as_bytes())
            }
        }
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Where the rows of some images of a pair lie.
pub(super) fn path(folder: &Path, pair: usize, first: u64, last: u64) -> PathBuf {
    folder.join(format!("curves-{pair:02}-{first:08}-{last:08}.parquet"))
}

/// Writes a complete file.
pub(super) fn write(path: &Path, settings: &CurveSettings, rows: &[CurveRow]) -> Result<(), Error> {
    let mut bytes = Vec::new();
    let metadata = [(SETTINGS.to_string(), settings.text())];
    write_rows(&mut bytes, SCHEMA, rows, &metadata, columns).map_err(|e| Error::file(path, e))?;
    write_beside(path, &bytes)
}

fn columns<W: std::io::Write + Send>(c: &mut Columns<'_, W, CurveRow>) -> Result<(), ParquetError> {
    c.text(|r| &r.image_id)?;
    c.required::<Int64Type>(|r| r.data_index as i64)?;
    c.text(|r| &r.network)?;
    c.text(|r| r.precision.name())?;
    c.optional::<Int32Type>(|r| r.class.map(|c| c as i32))?;
    c.list::<FloatType>(|r| r.deletion.clone())?;
    c.list::<FloatType>(|r| r.insertion.clone())?;
    c.optional::<ByteArrayType>(|r| r.error.as_deref().map(ByteArray::from))
}

/// Reads a file of these settings.
///
/// # Errors
/// [`Error::File`] for one that is damaged or of other settings.
pub(super) fn read(path: &Path, settings: &CurveSettings) -> Result<Vec<CurveRow>, Error> {
    let file = PartFile::open_as(path, SCHEMA)?;
    if file.metadata(SETTINGS) != Some(&settings.text()) {
        return Err(Error::file(path, "was made with other settings than the folder's manifest; delete it"));
    }
    let rows = file.read(path, rows)?;
    for r in &rows {
        r.check().map_err(|why| Error::file(path, format!("row of {}: {why}; delete it", r.image_id)))?;
    }
    Ok(rows)
}

fn rows(s: &mut Source<'_>) -> Result<Vec<CurveRow>, ParquetError> {
    let empty = CurveRow {
        image_id: String::new(),
        data_index: 0,
        network: String::new(),
        precision: Precision::F32,
        class: None,
        deletion: Vec::new(),
        insertion: Vec::new(),
        error: None,
    };
    let mut rows = vec![empty; s.rows()];
    s.text(&mut rows, |r, v| r.image_id = v)?;
    s.required::<Int64Type, _>(&mut rows, |r, v| r.data_index = v as u64)?;
    s.text(&mut rows, |r, v| r.network = v)?;
    s.text(&mut rows, |r, v| r.precision = Precision::parse(&v).unwrap_or(Precision::F32))?;
    s.optional::<Int32Type, _>(&mut rows, |r, v| r.class = Some(v as u32))?;
    s.list::<FloatType, _>(&mut rows, |r, v| r.deletion = v)?;
    s.list::<FloatType, _>(&mut rows, |r, v| r.insertion = v)?;
    s.optional::<ByteArrayType, _>(&mut rows, |r, v| r.error = Some(String::from_utf8_lossy(v.data()).into_owned()))?;
    Ok(rows)
}
