//! What a folder of records was made with: `manifest.json`, and the hash that every part carries.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::parts::{remove_leftovers, write_shared};
use crate::record::SCHEMA_VERSION;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// Everything that decides what the records hold, for one instruction set. The sign policy is none of it: records
/// are unsigned. Threads and shards are none of it either: the records' bytes do not depend on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// Version of the records' columns.
    pub schema_version: u32,
    /// Version of quantlens: another one may compute other numbers.
    pub quantlens: String,
    /// Images a part.
    pub part_size: u64,
    /// The data set.
    pub data: DataSettings,
    /// The pairs of networks, in the order of the rows.
    pub pairs: Vec<PairSettings>,
}

/// The images and how they become inputs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataSettings {
    /// What the data set is, for people.
    pub description: String,
    /// Number of images.
    pub images: u64,
    /// SHA-256 over each image's id, class, boxes, and size and SHA-256 of its file, in order.
    pub sha256: String,
    /// The JPEG decoder.
    pub decoder: String,
    /// Whether EXIF orientation was applied.
    pub exif: bool,
    /// `resize-crop` or `stretch`.
    pub geometry: String,
    /// Height and width of the networks' input.
    pub input_size: [usize; 2],
}

/// A pair of networks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairSettings {
    /// The pair's name in the records.
    pub name: String,
    /// The float network.
    pub float: NetworkSettings,
    /// The quantized one.
    pub int8: NetworkSettings,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSettings {
    /// The architecture, for example `mobilenet_v2`.
    pub network: String,
    /// SHA-256 of the model file.
    pub sha256: String,
    /// Size of the model file in bytes.
    pub bytes: u64,
    /// Weights and biases as PyTorch counts parameters: with the architecture's name they tell widths and classes.
    pub parameters: u64,
    /// The layer whose activation is recorded.
    pub layer: String,
    /// Resize, crop, mean and standard deviation of the input, as text.
    pub preprocess: String,
    /// Whose integer arithmetic; none for float.
    pub numerics: Option<String>,
}

impl Settings {
    /// SHA-256 of the settings as JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        // Fields are written in the order of the struct, so equal settings have equal text.
        hex(&Sha256::digest(serde_json::to_string(self).unwrap_or_default()))
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// The content of `manifest.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of the records' columns and of this file.
    pub schema_version: u32,
    /// Version of quantlens that began the folder.
    pub quantlens: String,
    /// Instruction set that began the folder; each part names its own.
    pub isa: String,
    /// [`Settings::hash`].
    pub settings_hash: String,
    /// The settings.
    pub settings: Settings,
}

impl Manifest {
    /// A manifest of these settings, made by this version.
    pub fn new(settings: Settings, isa: &str) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            quantlens: env!("CARGO_PKG_VERSION").into(),
            isa: isa.into(),
            settings_hash: settings.hash(),
            settings,
        }
    }

    /// Reads the manifest of a folder; none where there is no such file.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] for one that is damaged or of another schema version.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MANIFEST);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(Error::io(&path, "read")(e)),
        };
        let value: Value = serde_json::from_str(&text).map_err(|e| Error::file(&path, format!("not JSON: {e}")))?;
        let version = value.get("schema_version").and_then(Value::as_u64);
        if version != Some(u64::from(SCHEMA_VERSION)) {
            let found = version.map_or("none".to_string(), |v| v.to_string());
            let why = format!("schema version {found}; this quantlens reads version {SCHEMA_VERSION}");
            return Err(Error::file(&path, why));
        }
        let manifest: Self =
            serde_json::from_value(value).map_err(|e| Error::file(&path, format!("not a manifest of records: {e}")))?;
        if manifest.settings.hash() == manifest.settings_hash {
            Ok(Some(manifest))
        } else {
            Err(Error::file(&path, "its settings do not fit its hash: it was edited; use another folder"))
        }
    }

    /// Checks that a folder's manifest, where it has one, has the same settings.
    ///
    /// # Errors
    /// [`Error::SettingsChanged`] where they differ, otherwise as [`Manifest::read`].
    pub fn check(&self, folder: &Path) -> Result<(), Error> {
        match Self::read(folder)? {
            Some(there) if there.settings_hash != self.settings_hash => {
                let [old, new] = [&there.settings, &self.settings].map(|s| serde_json::to_value(s).unwrap_or_default());
                Err(Error::SettingsChanged { folder: folder.into(), differences: differences(&old, &new) })
            }
            _ => Ok(()),
        }
    }

    /// Makes the folder and writes the manifest into it; one that is there already is checked and kept.
    ///
    /// # Errors
    /// As [`Manifest::check`].
    pub fn settle(&self, folder: &Path) -> Result<(), Error> {
        self.check(folder)?;
        let path = folder.join(MANIFEST);
        if path.exists() {
            remove_leftovers(&path);
            return Ok(());
        }
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))?;
        // Shards may begin at the same time.
        write_shared(&path, (text + "\n").as_bytes())
    }
}

/// Where two JSON values differ, a line each.
pub(crate) fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut differences = Vec::new();
    compare("", old, new, &mut differences);
    differences
}

/// Lists where two JSON values differ, as `path: old, now new`.
fn compare(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    let below = |key: &str| if path.is_empty() { key.to_string() } else { format!("{path}.{key}") };
    match (old, new) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, old) in a {
                compare(&below(key), old, b.get(key).unwrap_or(&Value::Null), out);
            }
            for (key, new) in b.iter().filter(|(key, _)| !a.contains_key(*key)) {
                compare(&below(key), &Value::Null, new, out);
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (i, (old, new)) in a.iter().zip(b).enumerate() {
                compare(&below(&i.to_string()), old, new, out);
            }
        }
        _ if old != new => out.push(format!("{path}: {}, now {}", short(old), short(new))),
        _ => {}
    }
}

/// JSON text, cut where long.
fn short(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() > 80 { text.chars().take(77).collect::<String>() + "..." } else { text }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Settings of a study of `images` images and two pairs, "one" and "two".
    pub(crate) fn settings(images: u64, part_size: u64) -> Settings {
        let network = |precision: &str| NetworkSettings {
            network: "tiny".into(),
            sha256: hex(&Sha256::digest(precision)),
            bytes: if precision == "f32" { 4 << 20 } else { 1 << 20 },
            parameters: 1 << 20,
            layer: "features.1".into(),
            preprocess: "resize 256, crop 224".into(),
            numerics: (precision != "f32").then(|| "fbgemm".into()),
        };
        let pair = |name: &str| PairSettings { name: name.into(), float: network("f32"), int8: network("int8") };
        Settings {
            schema_version: SCHEMA_VERSION,
            quantlens: env!("CARGO_PKG_VERSION").into(),
            part_size,
            data: DataSettings {
                description: "fake images".into(),
                images,
                sha256: "00".into(),
                decoder: "pure".into(),
                exif: false,
                geometry: "resize-crop".into(),
                input_size: [224, 224],
            },
            pairs: vec![pair("one"), pair("two")],
        }
    }

    #[test]
    fn a_folder_keeps_its_settings() {
        let folder = tempfile::tempdir().unwrap();
        let first = Manifest::new(settings(10, 4), "scalar");
        assert_eq!(Manifest::read(folder.path()).unwrap(), None);
        first.settle(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Some(first.clone()));
        // What a killed process may have left; other files are not touched.
        for name in ["manifest.json.123.tmp", "manifest.json.tmp", "my-manifest.json.123.tmp"] {
            fs::write(folder.path().join(name), "{").unwrap();
        }
        // Another instruction set is no other setting, and the file stays as it is.
        Manifest::new(settings(10, 4), "avx2").settle(folder.path()).unwrap();
        assert_eq!(Manifest::read(folder.path()).unwrap(), Some(first));
        let left = |name: &str| folder.path().join(name).exists();
        assert!(!left("manifest.json.123.tmp") && left("manifest.json.tmp") && left("my-manifest.json.123.tmp"));
        let mut other = settings(10, 4);
        other.pairs[1].int8.layer = "features.2".into();
        other.data.decoder = "turbojpeg".into();
        let e = Manifest::new(other, "scalar").settle(folder.path()).unwrap_err().to_string();
        assert!(e.contains("\n  data.decoder: \"pure\", now \"turbojpeg\""), "{e}");
        assert!(e.contains("\n  pairs.1.int8.layer: \"features.1\", now \"features.2\""), "{e}");
        assert_eq!(e.lines().count(), 3, "{e}");
    }

    #[test]
    fn damaged_manifests_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(MANIFEST);
        let good = serde_json::to_string(&Manifest::new(settings(10, 4), "scalar")).unwrap();
        for (text, expected) in [
            ("{".to_string(), "not JSON"),
            ("{}".to_string(), "schema version none"),
            (good.replacen("\"schema_version\":1", "\"schema_version\":2", 1), "schema version 2"),
            (good.replace("\"images\":10", "\"images\":11"), "it was edited"),
            ("{\"schema_version\":1}".to_string(), "not a manifest"),
        ] {
            fs::write(&path, text).unwrap();
            let e = Manifest::read(folder.path()).unwrap_err().to_string();
            assert!(e.contains(expected) && e.contains(MANIFEST), "{e}");
        }
    }
}
