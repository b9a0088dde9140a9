//! The default pack against PyTorch: logits of its files for 16 rendered scenes, made by tools/golden_pack.py. And its size.

#![allow(clippy::unwrap_used)] // the lint knows #[test] functions, not the helpers beside them

use quantlens::data::scenes::{Split, render};
use quantlens::{ModelFile, Options};
use safetensors::SafeTensors;

/// PyTorch's logits: a tensor [16, 24] a file.
const GOLDEN: &[u8] = include_bytes!("pack.safetensors");

/// Of the largest logit: float sums in another order.
const TOLERANCE: f32 = 1e-4;

fn golden(name: &str) -> Vec<f32> {
    let file = SafeTensors::deserialize(GOLDEN).unwrap();
    let view = file.tensor(name).unwrap();
    assert_eq!(view.shape(), [16, 24], "{name}");
    view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// quantlens' logits for the same scenes.
fn logits(name: &str, bytes: &[u8]) -> Vec<f32> {
    let model = Options::default().build(ModelFile::from_bytes(name, bytes).unwrap()).unwrap();
    let scene = |number| {
        let input = model.input(&render(Split::Card, number).0);
        model.run(&input, |session| session.logits().to_vec()).unwrap()
    };
    (0..16).flat_map(scene).collect()
}

#[test]
fn every_file_has_its_golden_logits() {
    let mut files: Vec<String> = quantlens_weights::pack()
        .iter()
        .flat_map(|pair| ["f32", "int8"].map(|p| format!("{}-{p}", pair.name)))
        .collect();
    files.sort();
    let deserialized = SafeTensors::deserialize(GOLDEN).unwrap();
    let mut golden = deserialized.names();
    golden.sort();
    assert_eq!(files, golden);
}

#[test]
fn a_crate_of_them_may_be_published() {
    // crates.io takes packages of 10 MB.
    let bytes: usize = quantlens_weights::pack().iter().map(|pair| pair.float.len() + pair.int8.len()).sum();
    assert!(bytes > 0 && bytes <= 8_000_000, "{bytes} bytes");
}

#[test]
fn int8_logits_are_torchs_bit_for_bit() {
    for pair in quantlens_weights::pack() {
        let name = format!("{}-int8", pair.name);
        assert_eq!(logits(&name, pair.int8), golden(&name), "{name}");
    }
}

#[test]
fn float_logits_are_near_torchs() {
    for pair in quantlens_weights::pack() {
        let name = format!("{}-f32", pair.name);
        let expected = golden(&name);
        let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (i, (a, b)) in logits(&name, pair.float).iter().zip(&expected).enumerate() {
            assert!((a - b).abs() <= TOLERANCE * largest, "{name}, scene {}, class {}: {a}, torch {b}", i / 24, i % 24);
        }
    }
}
