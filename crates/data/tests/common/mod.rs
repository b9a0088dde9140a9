//! What the tests share.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::{Path, PathBuf};

use quantlens_data::{Decoder, RgbImage};

/// A file of `tests/`.
pub fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// The decoders of this build.
pub fn decoders() -> Vec<Decoder> {
    [Decoder::Pure, Decoder::TurboJpeg].into_iter().filter(|d| d.available()).collect()
}

/// FNV-1a, 64 bits.
pub fn fnv(bytes: impl IntoIterator<Item = u8>) -> u64 {
    bytes.into_iter().fold(0xCBF2_9CE4_8422_2325, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01B3))
}

/// Lines of a file of `tests/`, split at spaces.
pub fn table(name: &str) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(file(name)).unwrap();
    text.lines().map(|l| l.split(' ').map(String::from).collect()).collect()
}

/// A number in a cell.
pub fn number<T: std::str::FromStr>(cell: &str) -> T {
    cell.parse().unwrap_or_else(|_| panic!("{cell} is not a number"))
}

/// A checksum in a cell.
pub fn checksum(cell: &str) -> u64 {
    u64::from_str_radix(cell, 16).unwrap()
}

/// The picture that `tools/golden_images.py` generates for resizing.
pub fn generated(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| {
        let channel = |c: u32| {
            let hash = (x.wrapping_mul(40503)).wrapping_add(y.wrapping_mul(30011)).wrapping_add(c * 977) >> 4;
            (x * (7 + c) + y * 13 + (x * y) % 251).wrapping_add(hash) as u8
        };
        [channel(0), channel(1), channel(2)].into()
    })
}
