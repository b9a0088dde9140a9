//! Running the command, and model files made from the demo pair by breaking them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::{Map, Value};

/// The demo pair's files.
pub fn demo(precision: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../weights/demo/mobilenet_v2-{precision}.safetensors"))
}

/// Runs the command in `folder`.
pub fn quantlens(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantlens"));
    command.current_dir(folder).env_remove("QUANTLENS_ISA").args(args).output().expect("the command starts")
}

/// Standard output of a run that must succeed, with its standard error.
pub fn ok(folder: &Path, args: &[&str]) -> (String, String) {
    let output = quantlens(folder, args);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(0), "{args:?}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

/// The error of a run that must fail: exit code 1, one error on stderr, nothing on stdout, no file made.
pub fn failure(folder: &Path, args: &[&str]) -> String {
    let before = files(folder);
    let output = quantlens(folder, args);
    let (stdout, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{args:?}\n{stdout}\n{stderr}");
    assert_eq!(stdout, "", "{args:?}");
    let errors: Vec<&str> = stderr.lines().filter(|l| l.starts_with("error: ")).collect();
    assert!(errors.len() == 1 && !stderr.contains("panicked"), "{args:?}\n{stderr}");
    assert_eq!(files(folder), before, "{args:?} left something");
    errors[0].to_string()
}

/// Files below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found.sort();
    found
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
    (text(&output.stdout), text(&output.stderr))
}

/// A safetensors file taken apart.
pub struct Parts {
    pub header: Map<String, Value>,
    pub data: Vec<u8>,
}

impl Parts {
    /// The demo network of this precision.
    pub fn demo(precision: &str) -> Self {
        let bytes = fs::read(demo(precision)).expect("the demo pair");
        let len = u64::from_le_bytes(bytes[..8].try_into().expect("8 bytes")) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + len]).expect("a JSON header");
        Self { header, data: bytes[8 + len..].to_vec() }
    }

    /// The file's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        let mut header = serde_json::to_vec(&self.header).expect("JSON");
        header.resize(header.len().next_multiple_of(8), b' ');
        let len = (header.len() as u64).to_le_bytes();
        [&len[..], &header, &self.data].concat()
    }

    /// Overwrites the start of a tensor's bytes.
    pub fn set(&mut self, tensor: &str, bytes: &[u8]) {
        let start = self.header[tensor]["data_offsets"][0].as_u64().expect("an offset") as usize;
        self.data[start..start + bytes.len()].copy_from_slice(bytes);
    }

    /// Gives a tensor another name.
    pub fn rename(&mut self, from: &str, to: &str) {
        let entry = self.header.remove(from).expect("a tensor");
        self.header.insert(to.into(), entry);
    }
}
