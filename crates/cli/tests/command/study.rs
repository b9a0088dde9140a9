//! `quantlens study` on the demo pair and a few generated images.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::common::{failure, files, ok};

/// A folder with `count` small images.
fn images(folder: &Path, count: u32) {
    fs::create_dir_all(folder).expect("a folder");
    for i in 0..count {
        let pixel = |x: u32, y: u32| image::Rgb([(x * (i + 3)) as u8, (y * 5 + i * 40) as u8, (x * y / (i + 2)) as u8]);
        image::RgbImage::from_fn(90, 70, pixel).save(folder.join(format!("{i}.png"))).expect("a PNG");
    }
}

/// The arguments of a small study, and more.
fn study<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let always = ["study", "--pair", "demo:f32,demo:int8", "--data", "images", "--out", "out", "--input-size", "64"];
    [&always[..], more].concat()
}

#[test]
fn a_small_study_makes_records_and_tables() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("images"), 3);
    let timing = ["--timing-rounds", "2", "--timing-images", "1"];
    let (text, notes) = ok(folder.path(), &study(&timing));
    for table in 1..=11 {
        assert!(text.contains(&format!("Table {table}.")), "{text}");
    }
    assert!(text.contains("mobilenet_v2") && notes.contains("untrained"), "{text}\n{notes}");
    let tables: Value = serde_json::from_slice(&fs::read(folder.path().join("out/tables.json")).unwrap()).unwrap();
    let ids: Vec<&str> = tables["tables"].as_array().unwrap().iter().map(|t| t["id"].as_str().unwrap()).collect();
    assert_eq!((ids.len(), ids[8], ids[11], ids[12]), (11 + 1 + 6, "table-8", "table-11", "differences"), "{ids:?}");
    assert!(text.contains("Dice % (tensor)") && text.contains("402 forward passes in"), "{text}");
    assert!(notes.contains("deletion and insertion of 1 images: 402 forward passes"), "{notes}");
    for (name, start) in [("tables.txt", "Table 1. "), ("tables.md", "### Table 1. "), ("tables.csv", "table,")] {
        let file = fs::read_to_string(folder.path().join("out").join(name)).unwrap();
        assert!(file.starts_with(start), "{name}: {file}");
    }
    assert!(fs::read_to_string(folder.path().join("out/tables.tex")).unwrap().contains("\\begin{tabular}"));
    assert_eq!(tables["summary"]["pairs"][0]["images"], 3);
    let page = fs::read_to_string(folder.path().join("out/report.html")).unwrap();
    assert!(page.contains("id=\"table-11\"") && page.contains("id=\"gallery\"") && notes.contains("report.html"));
    let figures = files(&folder.path().join("out/figures"));
    assert!(figures.iter().filter(|p| p.extension().is_some_and(|e| e == "svg")).count() == 4, "{figures:?}");
    assert!(files(&folder.path().join("out")).iter().any(|p| p.extension().is_some_and(|e| e == "parquet")));
    // Again: nothing is scanned, another sign policy comes from the records, and JSON goes to the terminal.
    let (csv, _) = ok(
        folder.path(),
        &study(&["--no-timing", "--no-curves", "--tables", "csv", "--resamples", "50", "--seed", "9"]),
    );
    assert_eq!(csv, fs::read_to_string(folder.path().join("out/tables.csv")).unwrap());
    fs::remove_file(folder.path().join("out/report.html")).unwrap();
    let (json, notes) = ok(folder.path(), &study(&["--signs", "mean", "--no-timing", "--json", "--no-report"]));
    assert!(!folder.path().join("out/report.html").exists() && !notes.contains("report.html"));
    assert!(notes.contains("3 images were in out already"), "{notes}");
    assert_eq!(serde_json::from_str::<Value>(&json).unwrap()["summary"]["signs"], "mean");
}

#[test]
fn all_signs_have_curves_and_tables_of_their_own() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("images"), 3);
    // The demo pair's layer has 2x2 positions and channels enough for lapack.
    let (json, notes) = ok(folder.path(), &study(&["--signs", "all", "--no-timing", "--json", "--resamples", "50"]));
    assert_eq!(notes.matches("402 forward passes").count(), 4, "{notes}");
    let tables: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(tables["summary"]["signs"], "lapack");
    let policies = tables["summary"]["pairs"][0]["policies"].as_array().unwrap();
    assert_eq!(
        policies.iter().map(|p| p["signs"].as_str().unwrap()).collect::<Vec<_>>(),
        ["lapack", "mean", "peak", "random:0"]
    );
    for (name, policy) in ["", "-mean", "-peak", "-random-0"].iter().zip(policies) {
        let file = fs::read(folder.path().join(format!("out/tables{name}.json"))).unwrap();
        let own: Value = serde_json::from_slice(&file).unwrap();
        // The main tables' row of a policy is what the policy's own tables say.
        assert_eq!(own["summary"]["pairs"][0]["rmse"]["mean"], policy["mean"], "{name}");
        let own = &own["summary"]["pairs"][0]["inference"]["comparisons"];
        let own = own.as_array().unwrap().iter().find(|c| c["key"] == "deletion" && c["scope"] == "subset").unwrap();
        let (a, b) = (own["int8"]["value"].as_f64().unwrap(), policy["areas"]["int8"][0].as_f64().unwrap());
        assert!((a - b).abs() < 1e-6, "{name}: {a} {b}");
    }
}

#[test]
fn the_network_that_is_named_must_be_the_files() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("images"), 1);
    let error = failure(folder.path(), &study(&["--network", "resnet18"]));
    assert!(error.contains("resnet18") && error.contains("mobilenet_v2"), "{error}");
}

#[test]
fn other_settings_in_one_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("images"), 2);
    ok(folder.path(), &study(&["--no-timing", "--no-curves"]));
    for (more, difference) in [
        (&["--limit", "1"][..], "images"),
        (&["--layer", "features.17"], "features.17"),
        (&["--geometry", "stretch"], "stretch"),
        (&["--exif"], "exif"),
    ] {
        let error = failure(folder.path(), &study(&[more, &["--no-timing"]].concat()));
        assert!(error.contains("other settings") && error.contains(difference), "{error}");
    }
}

#[test]
fn one_broken_image_is_recorded_and_only_broken_ones_fail() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("images"), 2);
    fs::write(folder.path().join("images/text.jpg"), "no image").unwrap();
    let (_, notes) = ok(folder.path(), &study(&["--no-timing", "--no-curves"]));
    assert!(notes.contains("1 images could not be read"), "{notes}");
    let other = tempfile::tempdir().unwrap();
    fs::create_dir(other.path().join("images")).unwrap();
    fs::write(other.path().join("images/text.jpg"), "no image").unwrap();
    fs::write(other.path().join("images/empty.png"), "").unwrap();
    let error = failure(other.path(), &study(&["--no-timing"]));
    assert!(error.contains("none of 2 images") && error.contains("empty.png"), "{error}");
    assert!(!other.path().join("out").exists());
}

#[test]
fn labels_that_no_network_knows_are_named() {
    let folder = tempfile::tempdir().unwrap();
    images(&folder.path().join("images/chow"), 2);
    let (_, notes) = ok(folder.path(), &study(&["--no-timing", "--format", "imagefolder"]));
    assert!(notes.contains("2 of 2 labels are none of the network's classes, the first is \"chow\""), "{notes}");
}

#[test]
fn data_that_cannot_be_used_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("images")).unwrap();
    let error = failure(folder.path(), &study(&[]));
    assert!(error.contains("images") && error.contains("no images"), "{error}");
    images(&folder.path().join("images"), 1);
    let error = failure(folder.path(), &study(&["--labels", "wnids"]));
    assert!(error.contains("labels"), "{error}");
    fs::write(folder.path().join("file"), "").unwrap();
    let args = ["study", "--pair", "demo:f32,demo:int8", "--data", "images", "--out", "file/deep"];
    assert_eq!(failure(folder.path(), &args), "error: cannot write into file/deep: file is not a folder");
    let swapped = ["study", "--pair", "demo:int8,demo:f32", "--data", "images", "--out", "out"];
    assert!(failure(folder.path(), &swapped).contains("float"));
    assert!(!folder.path().join("out").exists());
}
