//! The safetensors header: metadata and tensors of a whole file, read by the safetensors crate.
//!
//! That crate takes the last of two equal keys in silence, and does not always say which tensor is wrong; keys are
//! therefore read once before it, and its errors are put in words that name the tensor.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use safetensors::{SafeTensorError, SafeTensors};
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

use crate::error::quoted;

/// A tensor as the header describes it, checked against the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Element type, in safetensors' names (`F32`, `I8`).
    pub dtype: String,
    /// Sizes of the dimensions.
    pub shape: Vec<usize>,
    /// First byte and the byte after the last, from the start of the file.
    pub bytes: (usize, usize),
}

/// A header that was found sound.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// `__metadata__`, empty where there is none.
    pub metadata: BTreeMap<String, String>,
    /// Tensors by name.
    pub tensors: BTreeMap<String, Entry>,
}

impl Header {
    /// Reads and checks the header of a whole file.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn read(file: &[u8]) -> Result<Self, String> {
        let json = header_json(file)?;
        check_keys(json).map_err(|e| format!("its header is not valid: {}", shortened(&e)))?;
        let (length, raw) = SafeTensors::read_metadata(file).map_err(|e| explain(&e, json, file.len()))?;
        let data_start = 8 + length;
        let mut tensors = BTreeMap::new();
        for (name, info) in raw.tensors() {
            let (begin, end) = info.data_offsets;
            if begin == end {
                return Err(format!("tensor {}: shape {:?} has no elements", quoted(&name), info.shape));
            }
            let bytes = (data_start + begin, data_start + end);
            tensors.insert(name, Entry { dtype: info.dtype.to_string(), shape: info.shape.clone(), bytes });
        }
        Ok(Self { metadata: raw.metadata().iter().flatten().map(|(k, v)| (k.clone(), v.clone())).collect(), tensors })
    }
}

/// The header's text.
fn header_json(file: &[u8]) -> Result<&str, String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(format!("it has {} bytes, fewer than the 8 that state the header's length", file.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > rest.len() as u64 {
        return Err(format!(
            "it states a header of {length} bytes, but {} follow: the file is truncated or not safetensors; a .pth file \
             is turned into one by tools/export.py",
            rest.len()
        ));
    }
    // No more than the file's length, so it fits.
    std::str::from_utf8(&rest[..length as usize])
        .map_err(|e| format!("its header is not UTF-8 (byte {})", 8 + e.valid_up_to()))
}

/// The crate's error, with the tensor that it is about.
fn explain(error: &SafeTensorError, json: &str, file_len: usize) -> String {
    match error {
        SafeTensorError::InvalidOffset(name) => format!(
            "tensor {}: its bytes do not begin where those of the tensor before it end: tensors overlap or leave a gap",
            quoted(name)
        ),
        SafeTensorError::TensorInvalidInfo | SafeTensorError::ValidationOverflow => match misfit(json) {
            Some(name) => {
                format!("tensor {}: its shape and type need other bytes than its offsets give", quoted(&name))
            }
            None => "a tensor's shape and type need other bytes than its offsets give".to_string(),
        },
        SafeTensorError::MetadataIncompleteBuffer => format!(
            "its tensors do not end where the file does, at byte {file_len}: it is truncated, or something was appended"
        ),
        other => format!("its header is not valid: {}", shortened(&other)),
    }
}

/// The tensor whose bytes are not as many as its shape and type need.
fn misfit(json: &str) -> Option<String> {
    let header: serde_json::Map<String, Value> = serde_json::from_str(json).ok()?;
    let fits = |tensor: &Value| -> Option<bool> {
        let dtype: safetensors::Dtype = serde_json::from_value(tensor["dtype"].clone()).ok()?;
        let mut bits = Some(dtype.bitsize() as u128);
        for dim in tensor["shape"].as_array()? {
            bits = bits.and_then(|n| n.checked_mul(dim.as_u64()?.into()));
        }
        let [begin, end] = serde_json::from_value::<[u64; 2]>(tensor["data_offsets"].clone()).ok()?;
        Some(bits == Some(u128::from(end.checked_sub(begin)?) * 8))
    };
    header.into_iter().find(|(name, tensor)| name != "__metadata__" && fits(tensor) != Some(true)).map(|(name, _)| name)
}

/// A message without what it repeats at length of a file's contents.
fn shortened(message: &impl fmt::Display) -> String {
    message.to_string().chars().take(300).collect()
}

/// Every key once, in the header and in its metadata; what the tensors hold is left to the safetensors crate.
fn check_keys(json: &str) -> Result<(), serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_str(json);
    UniqueKeys { what: "tensor", nested: true }.deserialize(&mut reader)?;
    reader.end()
}

/// An object whose keys differ.
#[derive(Clone, Copy)]
struct UniqueKeys {
    what: &'static str,
    /// Whether `__metadata__` inside is such an object as well.
    nested: bool,
}

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.nested {
            "an object of tensors by name"
        } else {
            "an object of strings as \"__metadata__\""
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = BTreeSet::new();
        while let Some(key) = map.next_key::<String>()? {
            if self.nested && key == "__metadata__" {
                map.next_value_seed(UniqueKeys { what: "metadata key", nested: false })?;
            } else if self.nested {
                map.next_value::<IgnoredAny>()?;
            } else {
                map.next_value::<String>()
                    .map_err(|e| A::Error::custom(format!("metadata key {}: {e}", quoted(&key))))?;
            }
            if seen.contains(&key) {
                return Err(A::Error::custom(format!("{} {} stands in it twice", self.what, quoted(&key))));
            }
            seen.insert(key);
        }
        Ok(())
    }
}
