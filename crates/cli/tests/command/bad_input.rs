//! Bad input of every kind gives one clear error that names file and cause, exit code 1, and nothing half-written.

use std::fs;

use crate::common::{Parts, demo, failure, files, quantlens};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;

/// Some convolution of the demo network that is neither the first nor depthwise.
const CONV: &str = "features.18.0";

fn broken(precision: &str, change: impl FnOnce(&mut Parts)) -> Vec<u8> {
    let mut parts = Parts::demo(precision);
    change(&mut parts);
    parts.bytes()
}

/// Broken model files: name, content, what the error must say.
fn models() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let whole = Parts::demo("int8").bytes();
    let conv = |suffix: &str| format!("{CONV}.{suffix}");
    let header_of = |len: u64, text: &[u8]| [&len.to_le_bytes()[..], text].concat();
    let scale = |value: f32| broken("int8", |p| p.set(&conv("scale"), &value.to_le_bytes()));
    let transposed = |p: &mut Parts| {
        let shape = &mut p.header[&conv("weight")]["shape"];
        *shape = json!([shape[1], shape[0], shape[2], shape[3]]);
    };
    vec![
        ("empty.safetensors", Vec::new(), "safetensors"),
        ("cut.safetensors", whole[..whole.len() / 2].to_vec(), "safetensors"),
        ("cut-header.safetensors", whole[..100].to_vec(), "safetensors"),
        ("huge-header.safetensors", header_of(u64::MAX, b"{}"), "safetensors"),
        ("no-json.safetensors", header_of(8, b"not JSON"), "safetensors"),
        ("text.safetensors", b"This is no model, but a text of more than eight bytes.".to_vec(), "safetensors"),
        ("longer.safetensors", [&whole[..], b"more"].concat(), "safetensors"),
        (
            "overlap.safetensors",
            broken("int8", |p| {
                p.header["classifier.1.bias"]["data_offsets"] = p.header[&conv("bias")]["data_offsets"].clone()
            }),
            "safetensors",
        ),
        ("shape.safetensors", broken("int8", transposed), "features.18.0"),
        ("missing.safetensors", broken("int8", |p| p.rename(&conv("weight"), "features.18.0.other")), "features.18.0"),
        (
            "float-missing.safetensors",
            broken("f32", |p| p.rename("classifier.1.bias", "classifier.1.tail")),
            "classifier.1",
        ),
        ("nan-scale.safetensors", scale(f32::NAN), "features.18.0.scale"),
        ("zero-scale.safetensors", scale(0.0), "features.18.0.scale"),
        ("negative-scale.safetensors", scale(-0.1), "features.18.0.scale"),
        (
            "nan-weight-scale.safetensors",
            broken("int8", |p| p.set(&conv("weight_scale"), &f32::NAN.to_le_bytes())),
            "features.18.0.weight_scale",
        ),
        (
            "zero-point.safetensors",
            broken("int8", |p| p.set(&conv("zero_point"), &256i32.to_le_bytes())),
            "features.18.0.zero_point",
        ),
        (
            "newer.safetensors",
            broken("int8", |p| p.header["__metadata__"]["format_version"] = json!("2")),
            "format_version",
        ),
    ]
}

#[test]
fn broken_models() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes, cause) in models() {
        fs::write(folder.path().join(name), bytes).unwrap();
        let infer = ["infer", name, "demo:image", "--out", "out.json"];
        let cam = ["cam", "demo:f32", name, "demo:image", "--out", "maps"];
        for args in [&infer[..], &["inspect", name], &cam] {
            let error = failure(folder.path(), args);
            assert!(error.contains(name) && error.contains(cause), "{args:?}\n{error}");
        }
        assert!(!folder.path().join("maps").exists(), "{name} left a folder");
    }
}

#[test]
fn absent_files() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["infer", "absent.safetensors", "demo:image"][..],
        &["inspect", "absent.safetensors"],
        &["infer", "demo:int8", "absent.jpg"],
        &["infer", "demo:int8", "--tensors", "absent.safetensors"],
        &["cam", "absent.png"],
    ] {
        assert!(failure(folder.path(), args).contains("absent."), "{args:?}");
    }
    let error = failure(folder.path(), &["infer", "demo:int8", "demo:image", "--out", "nowhere/out.json"]);
    assert!(error.contains("nowhere"), "{error}");
}

/// A small valid PNG, to be broken.
fn png() -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_fn(40, 30, |x, y| image::Rgb([x as u8 * 6, y as u8 * 8, (x * y) as u8]))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .expect("a PNG");
    bytes.into_inner()
}

#[test]
fn broken_images() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("no-images")).unwrap();
    fs::write(folder.path().join("no-images/readme.txt"), "nothing to see").unwrap();
    fs::write(folder.path().join("good.png"), png()).unwrap();
    for (name, bytes) in [
        ("empty.jpg", &b""[..]),
        ("text.jpg", b"I am a text, and my name ends in .jpg"),
        ("cut.png", &png()[..60]),
        ("only-start.jpg", &[0xff, 0xd8, 0xff, 0xe0]),
    ] {
        fs::write(folder.path().join(name), bytes).unwrap();
        // After a good one: nothing of it may stay either.
        let infer = ["infer", "demo:int8", "good.png", name, "--out", "out.safetensors"];
        for args in [&infer[..], &["cam", name]] {
            let stderr = failure(folder.path(), args);
            assert!(stderr.contains(name), "{args:?}\n{stderr}");
        }
    }
    for args in [&["infer", "demo:int8", "no-images"][..], &["cam", "no-images"]] {
        let stderr = failure(folder.path(), args);
        assert!(stderr.contains("no-images"), "{args:?}\n{stderr}");
    }
}

#[test]
fn an_unreadable_picture_does_not_stop_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let photos = folder.path().join("photos");
    fs::create_dir(&photos).unwrap();
    for (name, bytes) in [("a.png", png()), ("b.png", png()[..60].to_vec()), ("c.png", png())] {
        fs::write(photos.join(name), bytes).unwrap();
    }
    for args in [&["infer", "demo:int8", "photos"][..], &["cam", "demo:f32", "demo:int8", "photos"]] {
        let output = quantlens(folder.path(), args);
        let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(stdout.contains("a.png") && stdout.contains("c.png") && !stdout.contains("b.png"), "{stdout}");
        assert!(stderr.contains("b.png") && stderr.contains("1 of 3 images could not be read"), "{stderr}");
    }
    assert_eq!(files(&folder.path().join("quantlens-cam")).len(), 2);
}

#[test]
fn broken_inputs() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo("int8");
    let write = |name: &str, key: &str, dtype: Dtype, shape: &[usize], data: &[u8]| {
        let view = TensorView::new(dtype, shape.to_vec(), data).unwrap();
        fs::write(folder.path().join(name), safetensors::serialize([(key, view)], None).unwrap()).unwrap();
    };
    let blank = vec![0u8; 4 * 3 * 64 * 64];
    let nan = f32::NAN.to_le_bytes().repeat(3 * 64 * 64);
    write("name.safetensors", "inputs", Dtype::F32, &[1, 3, 64, 64], &blank);
    write("type.safetensors", "input", Dtype::I32, &[1, 3, 64, 64], &blank);
    write("size.safetensors", "input", Dtype::F32, &[1, 3, 32, 128], &blank);
    write("rank.safetensors", "input", Dtype::F32, &[3, 64, 64], &blank);
    write("none.safetensors", "input", Dtype::F32, &[0, 3, 64, 64], &[]);
    write("nan.safetensors", "input", Dtype::F32, &[1, 3, 64, 64], &nan);
    for (name, cause) in [
        ("name.safetensors", "\"input\""),
        ("type.safetensors", "i32"),
        ("size.safetensors", "[1, 3, 32, 128]"),
        ("rank.safetensors", "[3, 64, 64]"),
        ("none.safetensors", "[0, 3, 64, 64]"),
        ("nan.safetensors", "NaN"),
    ] {
        let model = model.to_str().unwrap();
        let args = ["infer", model, "--tensors", name, "--input-size", "64", "--out", "out.json"];
        let error = failure(folder.path(), &args);
        assert!(error.contains(name) && error.contains(cause), "{error}");
    }
}

#[test]
fn unknown_layers_list_near_names() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo("int8");
    let args = ["infer", model.to_str().unwrap(), "demo:image", "--out", "o.json", "--tap", "features.19"];
    let error = failure(folder.path(), &args);
    assert!(error.contains("features.19") && error.contains("features.1"), "{error}");
}

#[test]
fn a_pair_in_the_wrong_order() {
    let folder = tempfile::tempdir().unwrap();
    for pair in [["demo:int8", "demo:f32"], ["demo:f32", "demo:f32"]] {
        let error = failure(folder.path(), &["cam", pair[0], pair[1], "demo:image", "--out", "maps"]);
        assert!(error.contains("expected a float model and its int8 twin") && error.contains("(demo:f32)"), "{error}");
    }
    assert!(!folder.path().join("maps").exists());
}
