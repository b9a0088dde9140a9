//! Records as Parquet: one part, one file, one row group, uncompressed, written and read a column at a time. The
//! three lists below (schema, writing, reading) name the columns in one order.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::column::reader::get_typed_column_reader;
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, FloatType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::Error;
use crate::record::{Precision, Reading, Record};

type Result<T> = std::result::Result<T, ParquetError>;

/// Columns of schema version 1.
const SCHEMA: &str = "
message record {
  REQUIRED BINARY image_id (UTF8);
  REQUIRED INT64 data_index;
  REQUIRED BINARY network (UTF8);
  REQUIRED BINARY precision (UTF8);
  OPTIONAL INT32 true_class;
  REQUIRED group top5_class (LIST) { REPEATED group list { REQUIRED INT32 element; } }
  REQUIRED group top5_prob (LIST) { REPEATED group list { REQUIRED FLOAT element; } }
  OPTIONAL FLOAT true_prob;
  OPTIONAL INT32 true_rank;
  REQUIRED INT32 map_height;
  REQUIRED INT32 map_width;
  REQUIRED INT32 map_channels;
  REQUIRED group p (LIST) { REPEATED group list { REQUIRED FLOAT element; } }
  REQUIRED group mean_activation (LIST) { REPEATED group list { REQUIRED FLOAT element; } }
  REQUIRED FLOAT eigenvalue_1;
  REQUIRED FLOAT eigenvalue_2;
  REQUIRED DOUBLE sigma_raw;
  REQUIRED DOUBLE sigma;
  REQUIRED DOUBLE sparsity_raw;
  REQUIRED DOUBLE sparsity;
  REQUIRED FLOAT entropy_softmax_raw;
  REQUIRED FLOAT entropy_softmax;
  REQUIRED FLOAT entropy_hist_raw;
  REQUIRED FLOAT entropy_hist;
  REQUIRED group histogram (LIST) { REPEATED group list { REQUIRED INT32 element; } }
  REQUIRED group true_boxes (LIST) { REPEATED group list { REQUIRED DOUBLE element; } }
  OPTIONAL BINARY error (UTF8);
}";

/// Writes records and metadata as one Parquet file.
pub(crate) fn write(out: impl Write + Send, records: &[Record], metadata: &[(String, String)]) -> Result<()> {
    write_rows(out, SCHEMA, records, metadata, write_columns)
}

/// Writes rows of any schema; `columns` writes each column in the schema's order.
pub(crate) fn write_rows<W: Write + Send, R>(
    out: W,
    schema: &str,
    rows: &[R],
    metadata: &[(String, String)],
    columns: impl FnOnce(&mut Columns<'_, W, R>) -> Result<()>,
) -> Result<()> {
    let metadata = metadata.iter().map(|(k, v)| KeyValue::new(k.clone(), v.clone())).collect();
    let properties = WriterProperties::builder()
        .set_created_by(concat!("quantlens ", env!("CARGO_PKG_VERSION")).into())
        .set_compression(Compression::UNCOMPRESSED)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(metadata))
        .build();
    let schema = Arc::new(parse_message_type(schema)?);
    let mut file = SerializedFileWriter::new(out, schema, Arc::new(properties))?;
    {
        let mut c = Columns { group: file.next_row_group()?, rows };
        columns(&mut c)?;
        c.group.close()?;
    }
    file.close()?;
    Ok(())
}

fn write_columns<W: Write + Send>(c: &mut Columns<'_, W, Record>) -> Result<()> {
    c.text(|r| &r.image_id)?;
    c.required::<Int64Type>(|r| r.data_index as i64)?;
    c.text(|r| &r.network)?;
    c.text(|r| r.precision.name())?;
    c.optional::<Int32Type>(|r| r.true_class.map(|c| c as i32))?;
    c.list::<Int32Type>(|r| r.top5_class.iter().map(|&c| c as i32).collect())?;
    c.list::<FloatType>(|r| r.top5_prob.clone())?;
    c.optional::<FloatType>(|r| r.true_prob)?;
    c.optional::<Int32Type>(|r| r.true_rank.map(|c| c as i32))?;
    for i in 0..3 {
        c.required::<Int32Type>(|r| r.map[i] as i32)?;
    }
    c.list::<FloatType>(|r| r.p.clone())?;
    c.list::<FloatType>(|r| r.mean_activation.clone())?;
    c.required::<FloatType>(|r| r.eigenvalues[0])?;
    c.required::<FloatType>(|r| r.eigenvalues[1])?;
    c.reading::<DoubleType>(|r| r.sigma)?;
    c.reading::<DoubleType>(|r| r.sparsity)?;
    c.reading::<FloatType>(|r| r.entropy_softmax)?;
    c.reading::<FloatType>(|r| r.entropy_hist)?;
    c.list::<Int32Type>(|r| r.histogram.iter().map(|&c| c as i32).collect())?;
    c.list::<DoubleType>(|r| r.true_boxes.clone())?;
    c.optional::<ByteArrayType>(|r| r.error.as_deref().map(ByteArray::from))
}

/// The columns still to be written.
pub(crate) struct Columns<'a, W: Write, R> {
    group: SerializedRowGroupWriter<'a, W>,
    rows: &'a [R],
}

impl<W: Write + Send, R> Columns<'_, W, R> {
    fn column<T: DataType>(&mut self, values: &[T::T], def: Option<&[i16]>, rep: Option<&[i16]>) -> Result<()> {
        let missing = || ParquetError::General("more columns written than the schema has".into());
        let mut column = self.group.next_column()?.ok_or_else(missing)?;
        column.typed::<T>().write_batch(values, def, rep)?;
        column.close()
    }

    pub(crate) fn required<T: DataType>(&mut self, value: impl Fn(&R) -> T::T) -> Result<()> {
        let values: Vec<T::T> = self.rows.iter().map(value).collect();
        self.column::<T>(&values, None, None)
    }

    pub(crate) fn text(&mut self, value: impl Fn(&R) -> &str) -> Result<()> {
        self.required::<ByteArrayType>(|r| ByteArray::from(value(r)))
    }

    fn reading<T: DataType>(&mut self, value: impl Fn(&R) -> Reading<T::T>) -> Result<()> {
        self.required::<T>(|r| value(r).raw)?;
        self.required::<T>(|r| value(r).real)
    }

    pub(crate) fn optional<T: DataType>(&mut self, value: impl Fn(&R) -> Option<T::T>) -> Result<()> {
        let all: Vec<Option<T::T>> = self.rows.iter().map(value).collect();
        let def: Vec<i16> = all.iter().map(|v| i16::from(v.is_some())).collect();
        let values: Vec<T::T> = all.into_iter().flatten().collect();
        self.column::<T>(&values, Some(&def), None)
    }

    pub(crate) fn list<T: DataType>(&mut self, value: impl Fn(&R) -> Vec<T::T>) -> Result<()> {
        let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
        for list in self.rows.iter().map(value) {
            // An empty list has one level entry and no value.
            def.extend(std::iter::repeat_n(i16::from(!list.is_empty()), list.len().max(1)));
            rep.extend((0..list.len().max(1)).map(|i| i16::from(i > 0)));
            values.extend(list);
        }
        self.column::<T>(&values, Some(&def), Some(&rep))
    }
}

/// A part that has been opened: its metadata, and its records on demand.
pub(crate) struct PartFile {
    reader: SerializedFileReader<File>,
}

impl PartFile {
    pub(crate) fn open(path: &Path) -> std::result::Result<Self, Error> {
        Self::open_as(path, SCHEMA)
    }

    /// Opens a file of another schema.
    pub(crate) fn open_as(path: &Path, schema: &str) -> std::result::Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path, "open"))?;
        let reader = SerializedFileReader::new(file).map_err(|e| unreadable(path, e))?;
        let schema = parse_message_type(schema).map_err(|e| Error::file(path, e))?;
        let found = reader.metadata().file_metadata().schema();
        if *found != schema || reader.num_row_groups() != 1 {
            return Err(Error::file(path, "not a part of records of schema version 1"));
        }
        Ok(Self { reader })
    }

    /// The value of a metadata key.
    pub(crate) fn metadata(&self, key: &str) -> Option<&str> {
        let pairs = self.reader.metadata().file_metadata().key_value_metadata()?;
        pairs.iter().find(|pair| pair.key == key)?.value.as_deref()
    }

    /// All records, each checked.
    pub(crate) fn records(&self, path: &Path) -> std::result::Result<Vec<Record>, Error> {
        let records = self.read(path, read_columns)?;
        for r in &records {
            r.check().map_err(|why| Error::file(path, format!("row of {} ({}): {why}", r.image_id, r.network)))?;
        }
        Ok(records)
    }
}

impl PartFile {
    /// All rows, by a function that reads each column in the schema's order.
    pub(crate) fn read<R>(
        &self,
        path: &Path,
        columns: impl FnOnce(&mut Source<'_>) -> Result<Vec<R>>,
    ) -> std::result::Result<Vec<R>, Error> {
        let rows = usize::try_from(self.reader.metadata().file_metadata().num_rows()).unwrap_or(0);
        let group = self.reader.get_row_group(0).map_err(|e| unreadable(path, e))?;
        columns(&mut Source { group: &*group, next: 0, rows }).map_err(|e| unreadable(path, e))
    }
}

fn unreadable(path: &Path, e: ParquetError) -> Error {
    Error::file(path, format!("cannot be read as Parquet ({e}); delete it and run the study again to make it anew"))
}

fn read_columns(s: &mut Source<'_>) -> Result<Vec<Record>> {
    let mut records = vec![Record::empty("", 0, "", Precision::F32); s.rows];
    s.text(&mut records, |r, v| r.image_id = v)?;
    s.required::<Int64Type, _>(&mut records, |r, v| r.data_index = v as u64)?;
    s.text(&mut records, |r, v| r.network = v)?;
    let mut unknown = None;
    s.text(&mut records, |r, v| match Precision::parse(&v) {
        Some(p) => r.precision = p,
        None => unknown = Some(v),
    })?;
    if let Some(name) = unknown {
        return Err(ParquetError::General(format!("unknown precision {name:?}")));
    }
    s.optional::<Int32Type, _>(&mut records, |r, v| r.true_class = Some(v as u32))?;
    s.list::<Int32Type, _>(&mut records, |r, v| r.top5_class = v.into_iter().map(|c| c as u32).collect())?;
    s.list::<FloatType, _>(&mut records, |r, v| r.top5_prob = v)?;
    s.optional::<FloatType, _>(&mut records, |r, v| r.true_prob = Some(v))?;
    s.optional::<Int32Type, _>(&mut records, |r, v| r.true_rank = Some(v as u32))?;
    for i in 0..3 {
        s.required::<Int32Type, _>(&mut records, |r, v| r.map[i] = v as u32)?;
    }
    s.list::<FloatType, _>(&mut records, |r, v| r.p = v)?;
    s.list::<FloatType, _>(&mut records, |r, v| r.mean_activation = v)?;
    s.required::<FloatType, _>(&mut records, |r, v| r.eigenvalues[0] = v)?;
    s.required::<FloatType, _>(&mut records, |r, v| r.eigenvalues[1] = v)?;
    s.reading::<DoubleType>(&mut records, |r| &mut r.sigma)?;
    s.reading::<DoubleType>(&mut records, |r| &mut r.sparsity)?;
    s.reading::<FloatType>(&mut records, |r| &mut r.entropy_softmax)?;
    s.reading::<FloatType>(&mut records, |r| &mut r.entropy_hist)?;
    s.list::<Int32Type, _>(&mut records, |r, v| r.histogram = v.into_iter().map(|c| c as u32).collect())?;
    s.list::<DoubleType, _>(&mut records, |r, v| r.true_boxes = v)?;
    s.optional::<ByteArrayType, _>(&mut records, |r, v| {
        r.error = Some(String::from_utf8_lossy(v.data()).into_owned());
    })?;
    Ok(records)
}

/// The columns still to be read.
pub(crate) struct Source<'a> {
    group: &'a dyn RowGroupReader,
    next: usize,
    rows: usize,
}

/// A column's values and levels.
struct Column<T> {
    values: std::vec::IntoIter<T>,
    def: Vec<i16>,
    rep: Vec<i16>,
}

impl Source<'_> {
    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    fn column<T: DataType>(&mut self) -> Result<Column<T::T>> {
        let mut reader = get_typed_column_reader::<T>(self.group.get_column_reader(self.next)?);
        self.next += 1;
        let (mut values, mut def, mut rep) = (Vec::new(), Vec::new(), Vec::new());
        let (records, ..) = reader.read_records(self.rows, Some(&mut def), Some(&mut rep), &mut values)?;
        if records != self.rows {
            return Err(ParquetError::General(format!("column {} has {records} of {} rows", self.next, self.rows)));
        }
        Ok(Column { values: values.into_iter(), def, rep })
    }

    pub(crate) fn required<T: DataType, R>(
        &mut self,
        records: &mut [R],
        mut set: impl FnMut(&mut R, T::T),
    ) -> Result<()> {
        let column = self.column::<T>()?;
        records.iter_mut().zip(column.values).for_each(|(r, v)| set(r, v));
        Ok(())
    }

    pub(crate) fn text<R>(&mut self, records: &mut [R], mut set: impl FnMut(&mut R, String)) -> Result<()> {
        self.required::<ByteArrayType, R>(records, |r, v| set(r, String::from_utf8_lossy(v.data()).into_owned()))
    }

    fn reading<T: DataType>(
        &mut self,
        records: &mut [Record],
        field: impl Fn(&mut Record) -> &mut Reading<T::T>,
    ) -> Result<()> {
        self.required::<T, _>(records, |r, v| field(r).raw = v)?;
        self.required::<T, _>(records, |r, v| field(r).real = v)
    }

    pub(crate) fn optional<T: DataType, R>(
        &mut self,
        records: &mut [R],
        mut set: impl FnMut(&mut R, T::T),
    ) -> Result<()> {
        let mut column = self.column::<T>()?;
        for (r, _) in records.iter_mut().zip(&column.def).filter(|(_, def)| **def > 0) {
            if let Some(v) = column.values.next() {
                set(r, v);
            }
        }
        Ok(())
    }

    pub(crate) fn list<T: DataType, R>(
        &mut self,
        records: &mut [R],
        mut set: impl FnMut(&mut R, Vec<T::T>),
    ) -> Result<()> {
        let mut column = self.column::<T>()?;
        let mut starts = (0..column.rep.len()).filter(|&i| column.rep[i] == 0).collect::<Vec<_>>();
        starts.push(column.rep.len());
        for (r, range) in records.iter_mut().zip(starts.windows(2)) {
            let present = column.def[range[0]..range[1]].iter().filter(|&&d| d > 0).count();
            set(r, column.values.by_ref().take(present).collect());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::sample;

    #[test]
    fn records_come_back_bit_for_bit() {
        let mut records: Vec<Record> =
            (0..9).flat_map(|i| Precision::ALL.map(|p| sample(i, "netz \u{e4}", p, i as u32 * 3 + p as u32))).collect();
        records[3] =
            Record { error: Some("truncated".into()), ..Record::empty("b/\u{1f600}", 1, "n", Precision::Int8) };
        records[4].true_class = None;
        records[4].true_prob = None;
        records[4].true_rank = None;
        records[5].p[0] = -0.0;
        records[5].true_boxes = vec![0.5, 1.0, 7.25, 8.0, 0.0, 0.0, 223.0, 223.0];
        records[5].eigenvalues = [f32::MIN_POSITIVE / 2.0, f32::MAX];
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let metadata = [("key".to_string(), "value".to_string())];
        write(File::create(&path).unwrap(), &records, &metadata).unwrap();
        let part = PartFile::open(&path).unwrap();
        assert_eq!((part.metadata("key"), part.metadata("none")), (Some("value"), None));
        let back = part.records(&path).unwrap();
        assert_eq!(back, records);
        assert!(back[5].p[0].is_sign_negative());
    }

    #[test]
    fn damaged_files_are_errors() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.parquet");
        let mut bytes = Vec::new();
        write(&mut bytes, &[sample(0, "n", Precision::F32, 1)], &[]).unwrap();
        for cut in [0, 3, bytes.len() / 2, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let e = PartFile::open(&path).err().unwrap().to_string();
            assert!(e.contains("a.parquet") && e.contains("delete it"), "{e}");
        }
        let wrong = Record { p: vec![1.0], ..sample(0, "n", Precision::F32, 1) };
        write(File::create(&path).unwrap(), &[wrong], &[]).unwrap();
        let e = PartFile::open(&path).unwrap().records(&path).unwrap_err().to_string();
        assert!(e.contains("row of a/0.jpg (n): p has 1 values, expected 6"), "{e}");
    }
}
