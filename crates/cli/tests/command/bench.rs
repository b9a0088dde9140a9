//! `quantlens bench`: what is measured is there and hangs together. How long anything takes is never checked.

use std::fs;
use std::path::Path;

use crate::common::{demo, failure, ok};
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(path).expect("the file")).expect("JSON")
}

fn number(value: &Value) -> f64 {
    value.as_f64().expect("a number")
}

#[test]
fn every_combination_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["bench", "--runs", "7", "--threads", "1,2,1", "--input-size", "32x64", "--json", "times.json"];
    let (text, notes) = ok(folder.path(), &args);
    assert!(notes.contains("demo pair"), "{notes}");
    assert!(text.contains("p99") && !text.contains("% of peak"), "{text}");
    let report = json(&folder.path().join("times.json"));
    assert_eq!(report["mode"], "latency");
    let results = report["results"].as_array().unwrap();
    let found: Vec<_> =
        results.iter().map(|r| (r["model"].as_str().unwrap(), r["threads"].as_u64().unwrap())).collect();
    assert_eq!(found, [("demo:f32", 1), ("demo:f32", 2), ("demo:int8", 1), ("demo:int8", 2)]);
    let starts = report["starts"].as_array().unwrap();
    assert_eq!(starts.iter().map(|s| s["model"].as_str().unwrap()).collect::<Vec<_>>(), ["demo:f32", "demo:int8"]);
    for start in starts {
        assert!(number(&start["first_result_ms"]) > 0.0);
        // More than the weights alone, where the system tells.
        assert!(start["peak_memory_mb"].is_null() || number(&start["peak_memory_mb"]) > 1.0);
    }
    assert!(text.contains("load to first result"), "{text}");
    for result in results {
        assert_eq!(result["runs"], 7);
        assert_eq!(result["input_size"], serde_json::json!([32, 64]));
        let ms: Vec<f64> = ["min", "p50", "p90", "p99"].iter().map(|p| number(&result["ms"][p])).collect();
        assert!(ms[0] > 0.0 && ms.is_sorted(), "{ms:?}");
        assert!(result["layers"].is_null() && result["images_per_second"].is_null());
    }
}

#[test]
fn the_profile_has_every_layer_and_a_bar_for_each() {
    let folder = tempfile::tempdir().unwrap();
    // A name that is markup until it is escaped.
    fs::copy(demo("int8"), folder.path().join("a&b.safetensors")).unwrap();
    let outputs = ["--json", "layers.json", "--picture", "layers.svg"];
    let run = ["bench", "a&b.safetensors", "--runs", "1", "--threads", "1", "--isa", "scalar", "--input-size", "32"];
    let (text, _) = ok(folder.path(), &[&run[..], &outputs].concat());
    for word in ["features.18.0", "% of peak", "depthwise", "-scalar", "peak of one thread, scalar"] {
        assert!(text.contains(word), "{word}\n{text}");
    }
    let report = json(&folder.path().join("layers.json"));
    let inspected = ok(folder.path(), &["inspect", "a&b.safetensors", "--input-size", "32", "--json"]).0;
    let inspected: Value = serde_json::from_str(&inspected).unwrap();
    let (layers, steps) = (report["results"][0]["layers"].as_array().unwrap(), inspected["steps"].as_array().unwrap());
    assert_eq!(layers.len(), steps.len());
    for (layer, step) in layers.iter().zip(steps) {
        assert_eq!((&layer["name"], &layer["multiply_adds"]), (&step["name"], &step["multiply_adds"]));
        assert!(number(&layer["us"]) > 0.0);
        assert_eq!(layer["share_of_peak"].is_number(), layer["multiply_adds"] != 0);
    }
    let kinds = |kind: &str| layers.iter().filter(|l| l["kind"] == kind).count();
    // MobileNetV2: the stem, 17 depthwise and 34 pointwise convolutions, one linear layer.
    assert_eq!(["dense", "depthwise", "pointwise", "linear"].map(kinds), [1, 17, 34, 1]);
    assert!(number(&report["peaks"][0]["int8_gmacs"]) > 0.0);
    let svg = fs::read_to_string(folder.path().join("layers.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    assert!(svg.contains("a&amp;b.safetensors") && !svg.contains("a&b"), "{svg}");
    assert_eq!(svg.matches("<g>").count(), layers.len());
}

#[test]
fn throughput_counts_the_images_of_all_threads() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["bench", "demo:int8", "--throughput", "--threads", "1,3", "--runs", "6", "--input-size", "32"];
    let (text, _) = ok(folder.path(), &[&args[..], &["--json", "t.json"]].concat());
    assert!(text.contains("images/s"), "{text}");
    let report = json(&folder.path().join("t.json"));
    assert_eq!(report["mode"], "throughput");
    for result in report["results"].as_array().unwrap() {
        assert_eq!(result["runs"], 6);
        assert!(number(&result["images_per_second"]) > 0.0);
    }
}

#[test]
fn failures_come_before_anything_is_measured() {
    let folder = tempfile::tempdir().unwrap();
    assert!(failure(folder.path(), &["bench", "none.safetensors"]).contains("none.safetensors"));
    assert!(failure(folder.path(), &["bench", "--json", "no/t.json"]).contains("no folder"));
    assert!(failure(folder.path(), &["bench", "demo:int8", "--picture", "no/l.svg"]).contains("no folder"));
}
