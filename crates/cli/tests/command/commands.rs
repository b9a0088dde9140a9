//! The subcommands on the embedded demo pair and the generated picture.

use std::fs;

use crate::common::{demo, files, ok, quantlens};
use safetensors::SafeTensors;
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

/// A tensor as f32, with its shape.
fn floats(bytes: &[u8], name: &str) -> (Vec<usize>, Vec<f32>) {
    let file = SafeTensors::deserialize(bytes).expect("a safetensors file");
    let view = file.tensor(name).expect("the tensor");
    let values = view.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().expect("4 bytes"))).collect();
    (view.shape().to_vec(), values)
}

#[test]
fn doctor_reports_and_checks() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = ok(folder.path(), &["doctor"]);
    for word in [env!("CARGO_PKG_VERSION"), "scalar", "cores", "pure", "self-check"] {
        assert!(text.contains(word), "{text}");
    }
    let report = json(&ok(folder.path(), &["doctor", "--json"]).0);
    let available = report["instruction_sets"].as_array().unwrap().iter().filter(|s| s["available"] == true).count();
    let checks = report["checks"].as_array().unwrap();
    assert_eq!(checks.len(), available);
    assert!(checks.iter().all(|c| c["passed"] == true && c["int8_equal"] == true), "{report}");
}

#[test]
fn cam_without_arguments_draws_scenes() {
    let folder = tempfile::tempdir().unwrap();
    let (text, notes) = ok(folder.path(), &["cam"]);
    assert!(!notes.contains("untrained"), "{notes}");
    assert!(text.contains("RMSE") && text.contains("f32") && text.contains("int8"), "{text}");
    let picture = image::open(folder.path().join("quantlens-cam/study-00000000.cam.png")).unwrap();
    // Three panels of the network's input size.
    assert_eq!((picture.width(), picture.height()), (3 * 224, 224));
    assert_eq!(files(folder.path()).len(), 4);
}

/// `cam` of the small untrained pair on the generated picture.
const CAM_OF_DEMO: [&str; 4] = ["cam", "demo:f32", "demo:int8", "demo:image"];

#[test]
fn cam_writes_maps_and_json() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        ["--json", "--maps", "--input-size", "96x160", "--out", "a/b", "--layer", "features.17", "--signs", "peak"];
    let args = [&CAM_OF_DEMO[..], &options].concat();
    let report = json(&ok(folder.path(), &args).0);
    assert_eq!((&report["untrained"], &report["signs"]), (&Value::Bool(true), &"peak".into()));
    let image = &report["images"][0];
    let [rmse, aligned] = ["rmse", "rmse_aligned"].map(|k| image[k].as_f64().unwrap());
    assert!((0.0..=255.0).contains(&rmse) && (0.0..=255.0).contains(&aligned));
    assert!(image["flipped"] == true || rmse == aligned);
    assert_eq!(image["networks"][1]["layer"], "features.17");
    // features.17 has stride 32: 96x160 gives 3x5.
    assert_eq!(image["networks"][0]["map"], serde_json::json!([3, 5]));
    assert_eq!(image["networks"][0]["predictions"].as_array().unwrap().len(), 3);
    for (name, width) in [("demo.cam.png", 480), ("demo.f32.png", 160), ("demo.int8.png", 160)] {
        let picture = image::open(folder.path().join("a/b").join(name)).unwrap();
        assert_eq!((picture.width(), picture.height()), (width, 96), "{name}");
    }
    assert_eq!(files(folder.path()).len(), 3);
}

#[test]
fn cam_counts_the_passes_of_each_method() {
    let folder = tempfile::tempdir().unwrap();
    let run = |method: &str, threads: &str| {
        let options = ["--json", "--method", method, "--class", "3", "--input-size", "64", "--threads", threads];
        let args = [&CAM_OF_DEMO[..], &options].concat();
        let report = json(&ok(folder.path(), &args).0);
        assert_eq!(report["method"], method);
        report["images"][0].clone()
    };
    let cost = |image: &Value, side: usize, key: &str| image["networks"][side]["cost"][key].as_u64();
    let eigen = run("eigencam", "1");
    assert!(eigen["flipped"].is_boolean());
    for side in [0, 1] {
        assert_eq!((cost(&eigen, side, "forwards"), cost(&eigen, side, "class")), (Some(1), None));
        // The float and the int8 layer have 1280 channels; those that are constant share a run.
        for (method, key) in [("scorecam", "forwards"), ("ablationcam", "forwards_from_layer")] {
            let [one, two] = ["1", "2"].map(|threads| run(method, threads));
            let passes = cost(&one, side, key).unwrap();
            assert!((100..=1281).contains(&passes), "{one}");
            assert_eq!((cost(&one, side, "class"), cost(&two, side, key)), (Some(3), Some(passes)));
            assert!(one["flipped"].is_null() && one["rmse"] == two["rmse"], "{one} {two}");
        }
    }
}

#[test]
fn cam_draws_boxes() {
    let folder = tempfile::tempdir().unwrap();
    let options = ["--json", "--box=otsu", "--truth", "0,0,1e3,1e3", "--input-size", "96", "--out", "maps"];
    let args = [&CAM_OF_DEMO[..], &options].concat();
    let report = json(&ok(folder.path(), &args).0);
    let image = &report["images"][0];
    assert_eq!(image["truths"], serde_json::json!([[0.0, 0.0, 96.0, 96.0]]));
    let picture = image::open(folder.path().join("maps/demo.cam.png")).unwrap().into_rgb8();
    assert_eq!(picture.get_pixel(0, 0).0, [0, 255, 0]);
    for side in [0, 1] {
        let found = &image["networks"][side]["box"];
        let [x0, y0, x1, y1] = [0, 1, 2, 3].map(|i| found["edges"][i].as_u64().unwrap() as u32);
        assert!(x0 <= x1 && x1 < 96 && y0 <= y1 && y1 < 96, "{found}");
        // Of a truth of 97x97 pixels, sizes being last less first and one.
        let share = f64::from((x1 - x0 + 1) * (y1 - y0 + 1)) / (97.0 * 97.0);
        assert!((found["iou"].as_f64().unwrap() - share).abs() < 1e-12, "{found}");
        for (x, y) in [(x0, y0), (x1, y0), (x0, y1), (x1, y1)] {
            assert_eq!(picture.get_pixel(96 * (side as u32 + 1) + x, y).0, [255; 3]);
        }
    }
}

#[test]
fn cam_takes_files_and_folders_and_keeps_equal_names_apart() {
    let folder = tempfile::tempdir().unwrap();
    let picture = |seed: u32| image::RgbImage::from_fn(50, 40, |x, y| image::Rgb([(x * seed) as u8, (y * 5) as u8, 9]));
    for (name, seed) in [("a/x.png", 3), ("b/x.png", 5), ("b/y.png", 7)] {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        picture(seed).save(path).unwrap();
    }
    let [float, int8] = ["f32", "int8"].map(|p| demo(p).display().to_string());
    let (text, _) = ok(folder.path(), &["cam", &float, &int8, "a/x.png", "b", "--out", "maps", "--input-size", "64"]);
    assert_eq!(text.matches("RMSE").count(), 3, "{text}");
    let made = files(&folder.path().join("maps"));
    let names: Vec<_> = made.iter().map(|p| p.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["x-2.cam.png", "x.cam.png", "y.cam.png"]);
}

#[test]
fn infer_prints_and_writes_both_formats() {
    let folder = tempfile::tempdir().unwrap();
    let model = demo("int8").display().to_string();
    let run = |out: &str| {
        let tap = ["--tap", "features.18", "--tap", "features.18.0", "--tap", "features.18", "--tap", "logits"];
        let args = ["infer", &model, "demo:image", "demo:image", "--top", "2", "--out", out];
        ok(folder.path(), &[&args[..], &tap].concat()).0
    };
    let text = run("out.json");
    assert_eq!(text.lines().filter(|l| l.starts_with("demo:image")).count(), 2);
    assert_eq!(text.lines().count(), 2 + 4, "{text}");
    assert_eq!(run("out.safetensors"), text);

    let report = json(&fs::read_to_string(folder.path().join("out.json")).unwrap());
    let bytes = fs::read(folder.path().join("out.safetensors")).unwrap();
    let (shape, logits) = floats(&bytes, "logits");
    assert_eq!(report["tensors"]["logits"]["shape"], serde_json::json!(shape));
    assert_eq!(shape[0], 2);
    let written = report["tensors"]["logits"]["data"].as_array().unwrap();
    assert!(written.iter().zip(&logits).all(|(a, b)| a.as_f64().unwrap() as f32 == *b));
    // Two runs of one picture are equal, and the best class is the largest logit.
    assert_eq!(logits[..shape[1]], logits[shape[1]..]);
    let best = report["inputs"][0]["predictions"][0]["index"].as_u64().unwrap() as usize;
    assert!(logits[..shape[1]].iter().all(|x| *x <= logits[best]));
    // int8 taps are the integers, with what they stand for beside them; both names are the same tensor.
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (block, conv) = (file.tensor("features.18").unwrap(), file.tensor("features.18.0").unwrap());
    assert_eq!((block.dtype(), block.shape()[2..].to_vec()), (safetensors::Dtype::U8, vec![7, 7]));
    assert_eq!(block.data(), conv.data());
    assert!(report["tensors"]["features.18"]["quantization"]["scale"].as_f64().unwrap() > 0.0);
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let about = json(&header.metadata().as_ref().unwrap()["quantlens"]);
    assert!(about["quantization"]["features.18"]["zero_point"].is_u64());
    assert_eq!((about["network"].as_str(), about["untrained"].as_bool()), (Some("mobilenet_v2"), Some(true)));
}

#[test]
fn results_do_not_depend_on_threads_or_integer_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let logits = |model: &str, extra: &[&str]| {
        let args = ["infer", model, "demo:image", "--out", "out.safetensors"];
        ok(folder.path(), &[&args[..], extra].concat());
        floats(&fs::read(folder.path().join("out.safetensors")).unwrap(), "logits").1
    };
    for model in ["demo:f32", "demo:int8"] {
        assert_eq!(logits(model, &["--threads", "1"]), logits(model, &["--threads", "3"]), "{model}");
    }
    assert_eq!(logits("demo:int8", &["--isa", "scalar"]), logits("demo:int8", &[]));
}

#[test]
fn ready_inputs_give_the_logits_of_the_golden_dump() {
    // tests/golden holds torch's input and logits of a narrow MobileNetV2 at 64x64 (tools/golden.py).
    let folder = tempfile::tempdir().unwrap();
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    let path = |name: &str| golden.join(name).display().to_string();
    let (model, dump) = (path("mobilenet_v2-int8.safetensors"), path("mobilenet_v2-int8-64.safetensors"));
    let args = ["infer", &model, "--tensors", &dump, "--input-size", "64", "--out", "out.safetensors"];
    let (text, _) = ok(folder.path(), &args);
    assert!(text.contains("[0]"), "{text}");
    let ours = floats(&fs::read(folder.path().join("out.safetensors")).unwrap(), "logits");
    let torch = floats(&fs::read(&dump).unwrap(), "logits");
    assert_eq!(ours.1, torch.1);
}

#[test]
fn inspect_lists_layers() {
    let folder = tempfile::tempdir().unwrap();
    let (text, notes) = ok(folder.path(), &["inspect", "demo:int8"]);
    assert!(notes.contains("untrained"), "{notes}");
    for word in ["mobilenet_v2", "int8 (qnnpack)", "features.18.0", "multiply-adds", "zero point"] {
        assert!(text.contains(word), "{word}\n{text}");
    }
    let report = json(&ok(folder.path(), &["inspect", "demo:int8", "--json", "--profile", "2", "--threads", "1"]).0);
    let steps = report["steps"].as_array().unwrap();
    let sum: u64 = steps.iter().map(|s| s["multiply_adds"].as_u64().unwrap()).sum();
    assert_eq!(report["multiply_adds"].as_u64(), Some(sum));
    // MobileNetV2 quantized: 52 convolutions, 10 of them with their skip's sum (and one where this width makes features.1 keep its
    // channels), one pool, one linear layer, quantize, dequantize.
    assert_eq!(steps.iter().filter(|s| s["weights"]["shape"].as_array().is_some_and(|a| a.len() == 4)).count(), 52);
    assert_eq!(steps.iter().filter(|s| s["op"] == "conv_add").count(), 11);
    assert_eq!(steps.len(), 52 + 4);
    let first = &steps[1];
    assert_eq!((first["name"].as_str(), &first["shape"][0]), (Some("features.0.0"), &112.into()));
    assert!(first["scale"].as_f64().unwrap() > 0.0 && first["us"].as_f64().unwrap() > 0.0);
    // What several threads run as a chain is listed by layers all the same, and timed as one.
    let several = |more: &[&str]| {
        let args = [&["inspect", "demo:int8", "--json", "--threads", "2"], more].concat();
        json(&ok(folder.path(), &args).0)["steps"].as_array().unwrap().clone()
    };
    assert_eq!(several(&[]).len(), steps.len());
    let chained = several(&["--profile", "2"]);
    // Scalar kernels make no rows by themselves.
    let chains = report["isa"] != "scalar";
    assert_eq!(chained.iter().any(|step| step["op"] == "chain"), chains, "{chained:?}");
    assert_eq!(chained.len() < steps.len(), chains);
    // The float network's convolutions have the same weights, batch norm folded in. Vector kernels may make one step of two
    // of them; the scalar ones never do.
    for (isa, counts) in [(&["--isa", "scalar"][..], &[53][..]), (&[], &[53, 37])] {
        let float = json(&ok(folder.path(), &[&["inspect", "demo:f32", "--json"], isa].concat()).0);
        assert_eq!(float["multiply_adds"], report["multiply_adds"]);
        let floats = float["steps"].as_array().unwrap().iter().filter(|s| s["weights"].is_object()).count();
        assert!(counts.contains(&floats), "{floats} steps with weights");
    }
}

#[test]
fn the_environment_chooses_the_kernels() {
    let folder = tempfile::tempdir().unwrap();
    let mut run = std::process::Command::new(env!("CARGO_BIN_EXE_quantlens"));
    let output =
        run.args(["inspect", "demo:int8"]).current_dir(&folder).env("QUANTLENS_ISA", "scalar").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("-scalar") && !text.contains("-avx"), "{text}");
    // The command line wins.
    assert_eq!(quantlens(folder.path(), &["inspect", "demo:int8", "--isa", "scalar"]).stdout, text.as_bytes());
}
