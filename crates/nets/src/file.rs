//! A model file in memory: its bytes, typed metadata and tensors by name.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use quantlens_tensor::{Data, Layout, Shape, Tensor, f16};
use sha2::{Digest, Sha256};

use crate::header::{Entry, Header};
use crate::{Error, Metadata};

/// Largest file that is read, in bytes. The largest network here takes 87 MB.
const MAX_FILE: u64 = 2 << 30;

/// A safetensors file with a network's weights, version 1 or a plain state_dict (`weights/README.md`).
#[derive(Debug)]
pub struct ModelFile {
    label: String,
    bytes: Vec<u8>,
    header: Header,
    metadata: Metadata,
    sha256: String,
}

impl ModelFile {
    /// Reads a file and checks its structure and metadata; the tensors are checked by [`crate::load`].
    ///
    /// # Errors
    /// [`Error::Io`] where it cannot be read, [`Error::Format`], [`Error::Version`] or [`Error::Metadata`] where it is
    /// not sound.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let io_error = |source| Error::Io { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(io_error)?;
        let info = file.metadata().map_err(io_error)?;
        if !info.is_file() {
            return Err(io_error(io::Error::other("it is not a regular file")));
        }
        if info.len() > MAX_FILE {
            return Err(io_error(io::Error::other(format!(
                "it has {} bytes, at most {MAX_FILE} are read",
                info.len()
            ))));
        }
        let mut bytes = Vec::with_capacity(info.len() as usize);
        // The limit holds even if the file grows while it is read.
        file.take(MAX_FILE).read_to_end(&mut bytes).map_err(io_error)?;
        Self::from_bytes(&path.display().to_string(), bytes)
    }

    /// Like [`ModelFile::open`] for bytes in memory; `label` stands for the path in messages.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::Version`] or [`Error::Metadata`] where the bytes are not a sound model file.
    pub fn from_bytes(label: &str, bytes: impl Into<Vec<u8>>) -> Result<Self, Error> {
        let bytes = bytes.into();
        let mut header = Header::read(&bytes).map_err(|why| Error::Format { file: label.into(), why })?;
        let metadata = Metadata::parse(label, std::mem::take(&mut header.metadata))?;
        let sha256 = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { label: label.into(), bytes, header, metadata, sha256 })
    }

    /// Path or label, as messages show it.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The metadata; empty for a plain state_dict.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// SHA-256 of the whole file, 64 hexadecimal digits.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// Size of the file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Names of the tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.header.tensors.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.header.tensors.contains_key(name)
    }

    /// Whether there is a tensor whose name begins so.
    pub(crate) fn has_prefix(&self, prefix: &str) -> bool {
        let mut following = self.header.tensors.range(prefix.to_string()..);
        following.next().is_some_and(|(name, _)| name.starts_with(prefix))
    }

    /// How many numbers in a row, from `first` on, have tensors whose names begin with `prefix(number)`.
    pub(crate) fn count(&self, first: usize, prefix: impl Fn(usize) -> String) -> usize {
        (first..).take_while(|&i| self.has_prefix(&prefix(i))).count()
    }

    /// A tensor, row-major (weights OIHW or OI), copied out of the file.
    ///
    /// # Errors
    /// [`Error::Missing`], or [`Error::DType`] for types other than F32, F16, I32, I8 and U8.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Error> {
        let entry = self.entry(name).ok_or_else(|| Error::Missing {
            file: self.label.clone(),
            tensor: name.into(),
            hint: format!("the file has {} tensors, none of this name", self.header.tensors.len()),
        })?;
        let bytes = &self.bytes[entry.bytes.0..entry.bytes.1];
        let data = match entry.dtype.as_str() {
            "F32" => Data::F32(words(bytes).map(f32::from_le_bytes).collect()),
            "F16" => Data::F16(words(bytes).map(f16::from_le_bytes).collect()),
            "I32" => Data::I32(words(bytes).map(i32::from_le_bytes).collect()),
            "I8" => Data::I8(words(bytes).map(i8::from_le_bytes).collect()),
            "U8" => Data::U8(bytes.to_vec()),
            other => return Err(self.wrong_dtype(name, "F32, F16, I32, I8 or U8", other)),
        };
        Tensor::new(data, Shape::new(&entry.shape), Layout::RowMajor)
            .map_err(|e| Error::Format { file: self.label.clone(), why: format!("tensor {name:?}: {e}") })
    }

    /// Shape of a tensor; none where there is no such tensor.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        self.entry(name).map(|e| e.shape.as_slice())
    }

    /// The header's entry of a tensor.
    pub(crate) fn entry(&self, name: &str) -> Option<&Entry> {
        self.header.tensors.get(name)
    }

    pub(crate) fn wrong_dtype(&self, tensor: &str, expected: &str, found: &str) -> Error {
        Error::DType { file: self.label.clone(), tensor: tensor.into(), expected: expected.into(), found: found.into() }
    }
}

/// The bytes in groups of `N`.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}
