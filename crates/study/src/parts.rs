//! Parts: the files that records lie in. A part holds a fixed range of the data set, is written beside its place and
//! renamed when complete, and says in its metadata what it was made with; all parts in a folder are one study.

use std::fs;
use std::io::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::manifest::{Manifest, Settings};
use crate::parquet_file::{self, PartFile};
use crate::record::{Precision, Record};
use crate::{Error, SCHEMA_VERSION};

const SETTINGS_HASH: &str = "quantlens.settings_hash";
const ISA: &str = "quantlens.isa";

/// Images a part unless a test wants fewer.
pub const PART_SIZE: u64 = 256;

/// A share of the parts: those whose number leaves `index` when divided by `count`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which share, from 0.
    pub index: u64,
    /// Of how many.
    pub count: u64,
}

impl Shard {
    /// Everything.
    pub const ALL: Self = Self { index: 0, count: 1 };
}

/// The ranges of images that a shard's parts hold.
pub(crate) fn ranges(settings: &Settings, shard: Shard) -> Vec<Range<u64>> {
    let (images, size) = (settings.data.images, settings.part_size.max(1));
    let parts = (0..images.div_ceil(size)).filter(|part| part % shard.count.max(1) == shard.index);
    parts.map(|part| part * size..((part + 1) * size).min(images)).collect()
}

/// Where the part of a range lies.
pub(crate) fn path(folder: &Path, range: &Range<u64>) -> PathBuf {
    folder.join(format!("part-{:08}-{:08}.parquet", range.start, range.end))
}

/// Reads a JSON file; none where it is absent. A damaged one is an error: what is `wrong` with it, the
/// parser's reason, the `remedy`.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path, wrong: &str, remedy: &str) -> Result<Option<T>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => {
            serde_json::from_str(&text).map(Some).map_err(|e| Error::file(path, format!("{wrong} ({e}); {remedy}")))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, "read")(e)),
    }
}

/// Writes a file beside its place, flushes it to the disk and renames it.
pub(crate) fn write_beside(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write_by_way_of(path, ".tmp", bytes)
}

/// The same for a file that several processes may write at once, all with the same content: each has a neighbour of its
/// own, and those that killed processes left are removed.
pub(crate) fn write_shared(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    match write_by_way_of(path, &format!(".{}.tmp", std::process::id()), bytes) {
        // Another process was first, and took this one's neighbour for a leftover.
        Err(_) if path.exists() => {}
        other => other?,
    }
    remove_leftovers(path);
    Ok(())
}

/// Removes the neighbours of a shared file that is in its place. One that cannot be removed does no harm.
pub(crate) fn remove_leftovers(path: &Path) {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str())) else { return };
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let other = entry.file_name();
        let middle = other.to_str().and_then(|o| o.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".tmp"));
        if middle.is_some_and(|pid| !pid.is_empty() && pid.bytes().all(|b| b.is_ascii_digit())) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn write_by_way_of(path: &Path, suffix: &str, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    let beside = path.with_file_name(name);
    let mut file = fs::File::create(&beside).map_err(Error::io(path, "create"))?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all()).map_err(Error::io(path, "write"));
    drop(file);
    let placed = written.and_then(|()| fs::rename(&beside, path).map_err(Error::io(path, "rename into place")));
    if placed.is_err() {
        // A full disk gets its space back; what went wrong is said already.
        let _ = fs::remove_file(&beside);
    }
    placed
}

/// Writes a complete part.
pub(crate) fn write(
    folder: &Path,
    range: &Range<u64>,
    manifest: &Manifest,
    isa: &str,
    records: &[Record],
) -> Result<(), Error> {
    let path = path(folder, range);
    let settings = serde_json::to_string(&manifest.settings).map_err(|e| Error::file(&path, e))?;
    let metadata = [
        ("quantlens.schema_version", SCHEMA_VERSION.to_string()),
        ("quantlens.version", env!("CARGO_PKG_VERSION").to_string()),
        (SETTINGS_HASH, manifest.settings_hash.clone()),
        ("quantlens.settings", settings),
        ("quantlens.data_sha256", manifest.settings.data.sha256.clone()),
        ("quantlens.decoder", manifest.settings.data.decoder.clone()),
        (ISA, isa.to_string()),
    ]
    .map(|(key, value)| (key.to_string(), value));
    let mut bytes = Vec::new();
    parquet_file::write(&mut bytes, records, &metadata).map_err(|e| Error::file(&path, e))?;
    write_beside(&path, &bytes)
}

/// A part that was read back.
#[derive(Debug)]
pub struct Part {
    /// Its file.
    pub path: PathBuf,
    /// Instruction set that it was made on.
    pub isa: String,
    /// Its records: by image, then pair, then precision.
    pub records: Vec<Record>,
}

/// Reads a part and checks that it belongs to the settings and holds exactly the rows of its range.
fn read(path: &Path, range: &Range<u64>, manifest: &Manifest) -> Result<Part, Error> {
    let file = PartFile::open(path)?;
    if file.metadata(SETTINGS_HASH) != Some(&manifest.settings_hash) {
        let why = "was made with other settings than the folder's manifest; move it elsewhere";
        return Err(Error::file(path, why));
    }
    let records = file.records(path)?;
    if !holds_range(&records, range, &manifest.settings) {
        return Err(Error::file(path, "does not hold the rows of its range; delete it and run the study again"));
    }
    Ok(Part { path: path.into(), isa: file.metadata(ISA).unwrap_or("unknown").into(), records })
}

/// Whether the records are the rows of a range, in order.
fn holds_range(records: &[Record], range: &Range<u64>, settings: &Settings) -> bool {
    let rows_of =
        |i: u64| settings.pairs.iter().flat_map(move |pair| Precision::ALL.map(|p| (i, pair.name.as_str(), p)));
    let found = records.iter().map(|r| (r.data_index, r.network.as_str(), r.precision));
    range.clone().flat_map(rows_of).eq(found)
}

/// Whether the part of a range is there, complete and of these settings.
///
/// A damaged part is "no": it will be made anew. One of other settings is an error.
pub(crate) fn is_complete(folder: &Path, range: &Range<u64>, manifest: &Manifest) -> Result<bool, Error> {
    let path = path(folder, range);
    if !path.exists() {
        return Ok(false);
    }
    match PartFile::open(&path) {
        Ok(file) if file.metadata(SETTINGS_HASH) == Some(&manifest.settings_hash) => {
            Ok(read(&path, range, manifest).is_ok())
        }
        Ok(_) => read(&path, range, manifest).map(|_| true),
        Err(_) => Ok(false),
    }
}

/// The records of a folder: a manifest and the parts that are there, of whatever shards.
#[derive(Debug)]
pub struct Records {
    folder: PathBuf,
    manifest: Manifest,
    present: Vec<Range<u64>>,
    missing: Vec<Range<u64>>,
}

impl Records {
    /// Opens a folder of records.
    ///
    /// # Errors
    /// [`Error::File`] for a folder without manifest or without a single part, or with a damaged manifest.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        let missing = || Error::file(folder, "holds no study (no manifest.json)");
        let manifest = Manifest::read(folder)?.ok_or_else(missing)?;
        let (present, missing): (Vec<_>, Vec<_>) =
            ranges(&manifest.settings, Shard::ALL).into_iter().partition(|range| path(folder, range).exists());
        if present.is_empty() {
            return Err(Error::file(folder, "holds a manifest but no records; run the study again"));
        }
        Ok(Self { folder: folder.into(), manifest, present, missing })
    }

    /// What the records were made with.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Images whose part is not there (yet).
    pub fn missing_images(&self) -> u64 {
        self.missing.iter().map(|r| r.end - r.start).sum()
    }

    /// The folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The rows of single images.
    pub(crate) fn image_rows(&self) -> ImageRows<'_> {
        ImageRows { records: self, part: 0..0, rows: Vec::new() }
    }

    /// The parts in order of the data set, each read and checked when it is asked for.
    pub fn parts(&self) -> impl Iterator<Item = Result<Part, Error>> {
        self.present.iter().map(|range| read(&path(&self.folder, range), range, &self.manifest))
    }
}

/// The rows of single images; the part that the last one lay in is kept.
pub(crate) struct ImageRows<'a> {
    records: &'a Records,
    part: Range<u64>,
    rows: Vec<Record>,
}

impl ImageRows<'_> {
    /// The rows of the image at a place of the data set: by pair, then precision; none where its part is missing.
    pub(crate) fn of(&mut self, place: u64) -> Result<&[Record], Error> {
        let Records { folder, manifest, present, .. } = self.records;
        if !self.part.contains(&place) {
            let Some(range) = present.iter().find(|range| range.contains(&place)) else { return Ok(&[]) };
            self.rows = read(&path(folder, range), range, manifest)?.records;
            self.part = range.clone();
        }
        let rows = 2 * manifest.settings.pairs.len();
        let first = (place - self.part.start) as usize * rows;
        Ok(&self.rows[first..first + rows])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::tests::settings;
    use crate::record::tests::sample;

    fn rows(range: Range<u64>) -> Vec<Record> {
        let pairs = |i| ["one", "two"].map(|pair| Precision::ALL.map(|p| sample(i, pair, p, i as u32)));
        range.flat_map(|i| pairs(i).into_iter().flatten()).collect()
    }

    #[test]
    fn ranges_are_fixed_and_shards_are_whole_parts() {
        let s = settings(10, 4);
        assert_eq!(ranges(&s, Shard::ALL), [0..4, 4..8, 8..10]);
        assert_eq!(ranges(&s, Shard { index: 0, count: 2 }), [0..4, 8..10]);
        assert_eq!(ranges(&s, Shard { index: 1, count: 2 }), [Range { start: 4, end: 8 }]);
        assert_eq!(ranges(&settings(0, 4), Shard::ALL), []);
    }

    #[test]
    fn a_folder_is_the_union_of_its_parts() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::new(settings(10, 4), "scalar");
        manifest.settle(folder.path()).unwrap();
        assert!(Records::open(folder.path()).unwrap_err().to_string().contains("no records"));
        write(folder.path(), &(8..10), &manifest, "avx2", &rows(8..10)).unwrap();
        write(folder.path(), &(0..4), &manifest, "scalar", &rows(0..4)).unwrap();
        let records = Records::open(folder.path()).unwrap();
        assert_eq!(records.missing_images(), 4);
        let parts: Vec<Part> = records.parts().map(Result::unwrap).collect();
        assert_eq!(parts.iter().map(|p| p.isa.as_str()).collect::<Vec<_>>(), ["scalar", "avx2"]);
        assert_eq!((&parts[0].records, &parts[1].records), (&rows(0..4), &rows(8..10)));
        let mut images = records.image_rows();
        assert_eq!(images.of(9).unwrap(), rows(9..10));
        assert_eq!(images.of(2).unwrap(), rows(2..3));
        assert!(images.of(5).unwrap().is_empty());
    }

    #[test]
    fn only_complete_parts_of_these_settings_count() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = Manifest::new(settings(10, 4), "scalar");
        let complete = |range: Range<u64>| is_complete(folder.path(), &range, &manifest);
        assert!(!complete(0..4).unwrap());
        write(folder.path(), &(0..4), &manifest, "scalar", &rows(0..4)).unwrap();
        assert!(complete(0..4).unwrap());
        let file = path(folder.path(), &(0..4));
        let bytes = fs::read(&file).unwrap();
        fs::write(&file, &bytes[..bytes.len() / 2]).unwrap();
        assert!(!complete(0..4).unwrap());
        write(folder.path(), &(0..4), &manifest, "scalar", &rows(0..3)).unwrap();
        assert!(!complete(0..4).unwrap());
        let other = Manifest::new(settings(11, 4), "scalar");
        write(folder.path(), &(0..4), &other, "scalar", &rows(0..4)).unwrap();
        assert!(complete(0..4).unwrap_err().to_string().contains("other settings"));
        assert!(fs::read_dir(folder.path()).unwrap().all(|f| f.unwrap().file_name() != "part.tmp"));
    }
}
