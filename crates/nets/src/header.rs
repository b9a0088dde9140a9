//! The safetensors header: 8 bytes of length (little endian), JSON of that length, then the tensors' bytes.
//!
//! Read here rather than by the safetensors crate, because that one takes the last of two equal keys in silence and
//! does not say which tensor is wrong. The rules are its own and stricter: names once, tensors back to back without a
//! gap or an overlap, bytes as many as type and shape need, nothing after the last tensor. Sizes stated in the file
//! are compared with the bytes that are there before anything is allocated.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Error as _, MapAccess, Visitor};

use crate::error::quoted;

/// Longest header that safetensors allows, in bytes.
const MAX_HEADER: u64 = 100_000_000;

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
        let (json, data_start) = header_json(file)?;
        let raw: RawHeader = serde_json::from_str(json).map_err(|e| {
            // serde_json repeats what it read, however long.
            let why: String = e.to_string().chars().take(300).collect();
            format!("its header is not valid: {why}")
        })?;
        let mut tensors = BTreeMap::new();
        for (name, info) in raw.tensors {
            let entry = info.check(file.len(), data_start).map_err(|why| format!("tensor {}: {why}", quoted(&name)))?;
            tensors.insert(name, entry);
        }
        check_coverage(&tensors, data_start, file.len())?;
        Ok(Self { metadata: raw.metadata, tensors })
    }
}

/// The header's text and where the tensors' bytes begin.
fn header_json(file: &[u8]) -> Result<(&str, usize), String> {
    let Some((length, rest)) = file.split_first_chunk::<8>() else {
        return Err(format!("it has {} bytes, fewer than the 8 that state the header's length", file.len()));
    };
    let length = u64::from_le_bytes(*length);
    if length > MAX_HEADER.min(rest.len() as u64) {
        return Err(format!(
            "it states a header of {length} bytes, but {} follow (at most {MAX_HEADER} are allowed): the file is \
             truncated or not safetensors; a .pth file is turned into one by tools/export.py",
            rest.len()
        ));
    }
    // No more than the file's length, so it fits.
    let length = length as usize;
    let json = std::str::from_utf8(&rest[..length])
        .map_err(|e| format!("its header is not UTF-8 (byte {})", 8 + e.valid_up_to()))?;
    Ok((json, 8 + length))
}

/// Tensors lie back to back from the header to the end of the file.
fn check_coverage(tensors: &BTreeMap<String, Entry>, data_start: usize, file_len: usize) -> Result<(), String> {
    let mut order: Vec<_> = tensors.iter().collect();
    order.sort_by_key(|(_, entry)| entry.bytes);
    let mut end = data_start;
    let mut last = "the header";
    for (name, entry) in order {
        if entry.bytes.0 != end {
            let relation = if entry.bytes.0 < end { "overlaps" } else { "leaves a gap after" };
            return Err(format!(
                "tensor {} {relation} {}: it begins at byte {}, expected {end}",
                quoted(name),
                quoted(last),
                entry.bytes.0
            ));
        }
        end = entry.bytes.1;
        last = name;
    }
    if end == file_len {
        Ok(())
    } else {
        Err(format!("its tensors end at byte {end}, but the file has {file_len}: something was appended to it"))
    }
}

/// One tensor's description, unchecked.
#[derive(Deserialize)]
struct RawTensor {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: [u64; 2],
}

impl RawTensor {
    fn check(self, file_len: usize, data_start: usize) -> Result<Entry, String> {
        let size = element_size(&self.dtype)
            .ok_or_else(|| format!("element type {} is unknown; F32, F16, I8 and I32 are read", quoted(&self.dtype)))?;
        let needed = self.shape.iter().try_fold(size, |n, &d| n.checked_mul(d));
        let [begin, end] = self.data_offsets;
        let available = (file_len - data_start) as u64;
        if begin > end || end > available {
            return Err(format!(
                "its bytes {begin} to {end} are not within the {available} that the file has: the file is truncated or \
                 damaged"
            ));
        }
        if needed != Some(end - begin) {
            let needed = needed.map_or("more than any file has".to_string(), |n| n.to_string());
            return Err(format!(
                "shape {:?} of {} needs {needed} bytes, its offsets give {}",
                self.shape,
                self.dtype,
                end - begin
            ));
        }
        if begin == end {
            return Err(format!("shape {:?} has no elements", self.shape));
        }
        // With elements, no dimension exceeds the file's length.
        let shape = self.shape.iter().map(|&d| d as usize).collect();
        Ok(Entry { dtype: self.dtype, shape, bytes: (data_start + begin as usize, data_start + end as usize) })
    }
}

/// Bytes of one element; none for types that are unknown or smaller than a byte.
fn element_size(dtype: &str) -> Option<u64> {
    Some(match dtype {
        "BOOL" | "U8" | "I8" => 1,
        "F16" | "BF16" | "I16" | "U16" => 2,
        "F32" | "I32" | "U32" => 4,
        "F64" | "I64" | "U64" => 8,
        _ => return None,
    })
}

/// The header's JSON object with every key once.
#[derive(Default)]
struct RawHeader {
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, RawTensor>,
}

impl<'de> Deserialize<'de> for RawHeader {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = RawHeader;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors by name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawHeader, A::Error> {
        let mut header = RawHeader::default();
        let mut has_metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == "__metadata__" {
                if std::mem::replace(&mut has_metadata, true) {
                    return Err(A::Error::custom("\"__metadata__\" stands in it twice"));
                }
                header.metadata = map.next_value_seed(StringMap)?;
            } else {
                let info: RawTensor =
                    map.next_value().map_err(|e| A::Error::custom(format!("tensor {}: {e}", quoted(&name))))?;
                if header.tensors.contains_key(&name) {
                    return Err(A::Error::custom(format!("tensor {} stands in it twice", quoted(&name))));
                }
                header.tensors.insert(name, info);
            }
        }
        Ok(header)
    }
}

/// An object of strings with every key once.
struct StringMap;

impl<'de> DeserializeSeed<'de> for StringMap {
    type Value = BTreeMap<String, String>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for StringMap {
    type Value = BTreeMap<String, String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of strings as \"__metadata__\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut strings = BTreeMap::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map
                .next_value::<String>()
                .map_err(|e| A::Error::custom(format!("metadata key {}: {e}", quoted(&key))))?;
            if strings.contains_key(&key) {
                return Err(A::Error::custom(format!("metadata key {} stands in it twice", quoted(&key))));
            }
            strings.insert(key, value);
        }
        Ok(strings)
    }
}
