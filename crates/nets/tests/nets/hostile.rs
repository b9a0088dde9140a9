//! Damaged, hostile and contradictory files: each one error that names the file and what is wrong, never a panic.

use crate::synthetic::{self, Synthetic};
use quantlens_nets::{Error, ModelFile, load};
use safetensors::Dtype;

const LABEL: &str = "bad.safetensors";

fn int8() -> Synthetic {
    synthetic::resnet(true, 4, [1, 1, 1, 1], 3)
}

fn f32() -> Synthetic {
    synthetic::resnet(false, 4, [1, 1, 1, 1], 3)
}

fn error_of(bytes: Vec<u8>) -> Error {
    let result = ModelFile::from_bytes(LABEL, bytes).and_then(|file| load(&file, None));
    result.expect_err("the file should have been refused")
}

/// The message of a changed file's error; it names the file.
fn refused(mut file: Synthetic, change: impl FnOnce(&mut Synthetic)) -> String {
    change(&mut file);
    let message = error_of(file.bytes()).to_string();
    assert!(message.starts_with(LABEL), "{message}");
    message
}

/// A file of this header and these many bytes of data.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

#[test]
fn broken_structure() {
    let long = |n: u64| [&n.to_le_bytes()[..], b"{}"].concat();
    let tensor = |name: &str, dtype: &str, shape: &str, offsets: &str| {
        format!("\"{name}\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":{offsets}}}")
    };
    let one = |dtype: &str, shape: &str, offsets: &str, data: usize| {
        raw(&format!("{{{}}}", tensor("a", dtype, shape, offsets)), data)
    };
    let two =
        |a: &str, b: &str| raw(&format!("{{{},{}}}", tensor("a", "F32", "[1]", a), tensor("b", "F32", "[1]", b)), 8);
    let nested = raw(&"[".repeat(100_000), 0);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "0 bytes"),
        (vec![1, 2, 3], "3 bytes"),
        (long(u64::MAX), "18446744073709551615"),
        (long(99_999_999), "truncated"),
        (raw(&" ".repeat(100_000_001), 0), "not valid"),
        (raw("not json", 0), "not valid"),
        (raw("[]", 0), "tensors by name"),
        (nested, "not valid"),
        (raw("{\"a\":", 0), "not valid"),
        ([&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat(), "not UTF-8 (byte 8)"),
        (one("F32", "[2]", "[0,8]", 4), "do not end where the file does"),
        (one("F32", "[1]", "[4,0]", 4), "\"a\": its bytes do not begin"),
        (one("F32", "[2]", "[0,4]", 4), "\"a\": its shape and type need other bytes"),
        (one("F32", "[4294967296,4294967296]", "[0,4]", 4), "\"a\": its shape and type"),
        (one("F32", "[18446744073709551615]", "[0,4]", 4), "\"a\": its shape and type"),
        (one("F32", "[0]", "[0,0]", 0), "no elements"),
        (one("F32", "[-1]", "[0,4]", 4), "`-1`"),
        (one("F32", "[1.5]", "[0,4]", 4), "`1.5`"),
        (one("F32", "1", "[0,4]", 4), "a sequence"),
        (one("F7", "[1]", "[0,4]", 4), "unknown variant `F7`"),
        (one("F32", "[1]", "[0,4]", 5), "appended"),
        (raw("{\"a\":{\"dtype\":\"F32\",\"shape\":[1]}}", 4), "data_offsets"),
        (raw("{\"a\":3}", 0), "TensorInfo"),
        (two("[0,4]", "[0,4]"), "tensors overlap or leave a gap"),
        (two("[0,4]", "[2,6]"), "\"b\": its bytes do not begin"),
        (one("F32", "[1]", "[4,8]", 8), "\"a\": its bytes do not begin"),
        (raw(&format!("{{{0},{0}}}", tensor("a", "F32", "[1]", "[0,4]")), 4), "\"a\" stands in it twice"),
        (raw("{\"__metadata__\":{\"x\":\"1\",\"x\":\"2\"}}", 0), "\"x\" stands in it twice"),
        (raw("{\"__metadata__\":{},\"__metadata__\":{}}", 0), "\"__metadata__\" stands in it twice"),
        (raw("{\"__metadata__\":{\"x\":1}}", 0), "\"x\""),
        (raw("{\"__metadata__\":\"x\"}", 0), "__metadata__"),
        (raw("{}", 0), "not those of a supported network"),
    ];
    for (bytes, expected) in cases {
        let message = error_of(bytes).to_string();
        assert!(message.starts_with(LABEL) && message.contains(expected), "expected {expected:?} in: {message}");
    }
}

/// Every prefix of a sound file is refused, and so is a sound file with any one byte of its header changed to a few
/// others, unless it still is a sound file: none panics.
#[test]
fn truncated_and_flipped() {
    let bytes = int8().bytes();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for len in (0..bytes.len()).step_by(97).chain([header - 1, header, bytes.len() - 1]) {
        assert!(ModelFile::from_bytes(LABEL, bytes[..len].to_vec()).is_err(), "{len} bytes");
    }
    for at in 0..header {
        for byte in [b'0', b'"', b']', 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = byte;
            let _ = ModelFile::from_bytes(LABEL, damaged).and_then(|file| load(&file, None));
        }
    }
}

#[test]
fn tensors_that_do_not_fit() {
    type Change = fn(&mut Synthetic);
    let int8_cases: [(Change, &str); 25] = [
        (
            |f| f.f32("conv1.scale", &[1], f32::NAN),
            "\"conv1.scale\", element 0: expected a finite and positive scale, found NaN",
        ),
        (|f| f.f32("conv1.scale", &[1], 0.0), "\"conv1.scale\", element 0"),
        (|f| f.f32("conv1.scale", &[1], -0.5), "found -0.5"),
        (|f| f.f32("conv1.scale", &[1], f32::INFINITY), "found inf"),
        (|f| f.f32("conv1.scale", &[2], 0.5), "\"conv1.scale\": expected shape [1], found [2]"),
        (|f| f.i32("conv1.scale", &[1], 1), "\"conv1.scale\": expected element type F32, found I32"),
        (|f| f.f32("conv1.weight_scale", &[4], f32::NAN), "\"conv1.weight_scale\", element 0"),
        (|f| f.f32("conv1.weight_scale", &[3], 0.5), "\"conv1.weight_scale\": expected shape [1] or [4], found [3]"),
        (|f| f.i32("conv1.weight_zero_point", &[4], 1), "\"conv1.weight_zero_point\", element 0: expected 0"),
        (|f| f.i32("conv1.zero_point", &[1], 256), "\"conv1.zero_point\", element 0: expected 0 to 255"),
        (|f| f.i32("conv1.zero_point", &[1], -1), "found -1"),
        (|f| f.f32("conv1.zero_point", &[1], 1.0), "expected element type I32, found F32"),
        (|f| f.f32("conv1.bias", &[4], f32::NAN), "\"conv1.bias\", element 0: expected a finite number"),
        (|f| f.f32("conv1.bias", &[5], 0.0), "\"conv1.bias\": expected shape [4], found [5]"),
        (|f| f.i8("conv1.weight", &[4, 3, 5, 5]), "\"conv1.weight\": expected shape [O, 3, 7, 7], found [4, 3, 5, 5]"),
        (|f| f.i8("conv1.weight", &[588]), "found [588]"),
        (|f| f.i8("layer2.0.downsample.0.weight", &[4, 4, 1, 1]), "expected shape [8, 4, 1, 1], found [4, 4, 1, 1]"),
        (
            |f| f.f32("layer1.0.conv1.weight", &[4, 4, 3, 3], 1.0),
            "\"layer1.0.conv1.weight\": expected element type I8, found F32",
        ),
        (|f| f.i8("fc.weight", &[3, 31]), "\"fc.weight\": expected shape [classes, 32], found [3, 31]"),
        (|f| f.remove("quant.scale"), "\"quant.scale\" is missing"),
        (|f| f.remove("fc.bias"), "\"fc.bias\" is missing"),
        (|f| f.remove("layer3.0.add_relu.zero_point"), "\"layer3.0.add_relu.zero_point\" is missing"),
        (|f| f.remove("layer2.0.downsample.0.weight"), "\"layer2.0.downsample.0.weight\" is missing"),
        (|f| f.f32("fc.extra", &[1], 0.0), "1 of its tensors are no part of resnet: \"fc.extra\""),
        (|f| f.f32("layer5.0.conv1.weight", &[1], 0.0), "no part of resnet: \"layer5.0.conv1.weight\""),
    ];
    for (change, expected) in int8_cases {
        let message = refused(int8(), change);
        assert!(message.contains(expected), "expected {expected:?} in: {message}");
    }
    let f32_cases: [(Change, &str); 9] = [
        (|f| f.f32("bn1.running_var", &[4], -1.0), "\"bn1.running_var\", element 0: expected a variance"),
        (|f| f.f32("bn1.running_var", &[4], f32::NAN), "\"bn1.running_var\", element 0: expected a finite number"),
        (|f| f.f32("bn1.weight", &[4], 1e38), "\"bn1.running_var\", element 0: expected finite weights after folding"),
        (|f| f.f32("conv1.weight", &[4, 3, 7, 7], f32::INFINITY), "\"conv1.weight\", element 0"),
        (|f| f.f32("bn1.running_mean", &[3], 0.0), "\"bn1.running_mean\": expected shape [4], found [3]"),
        (|f| f.remove("bn1.running_var"), "\"bn1.running_var\" is missing"),
        (|f| f.remove("layer1.0.bn2.weight"), "\"layer1.0.bn2.weight\" is missing"),
        (|f| f.i32("fc.weight", &[3, 32], 1), "expected element type F32 or F16, found I32"),
        (|f| f.f32("fc.scale", &[1], 1.0), "no part of resnet: \"fc.scale\""),
    ];
    for (change, expected) in f32_cases {
        let scaled = |f: &mut Synthetic| {
            // Large enough that the third case overflows.
            f.f32("conv1.weight", &[4, 3, 7, 7], 1e3);
            change(f);
        };
        let message = refused(f32(), scaled);
        assert!(message.contains(expected), "expected {expected:?} in: {message}");
    }
}

/// 65,794 products of 255 and -128 leave 32 bits; one fewer does not.
#[test]
fn sums_stay_within_32_bits() {
    // The linear layer, where sums grow without a huge file.
    let file = |inputs: usize| {
        let mut file = synthetic::resnet(true, 1, [1, 1, 1, 1], 1);
        file.i8("layer4.0.conv2.weight", &[inputs, 8, 3, 3]);
        file.f32("layer4.0.conv2.bias", &[inputs], 0.0);
        file.i8("layer4.0.downsample.0.weight", &[inputs, 4, 1, 1]);
        file.f32("layer4.0.downsample.0.bias", &[inputs], 0.0);
        file.i8("fc.weight", &[1, inputs]);
        file
    };
    let fits = ModelFile::from_bytes(LABEL, file(65_793).bytes()).unwrap();
    load(&fits, None).unwrap_or_else(|e| panic!("{e}"));
    let message = error_of(file(65_794).bytes()).to_string();
    assert!(message.contains("\"fc.weight\"") && message.contains("65793 products"), "{message}");
}

#[test]
fn metadata_that_does_not_fit() {
    let with = |key: &'static str, value: &'static str| {
        move |f: &mut Synthetic| {
            f.metadata.insert(key.into(), value.into());
        }
    };
    let cases = [
        ("format_version", "2", "format_version is \"2\", this build reads version 1"),
        ("format_version", "17.3", "this build reads version 1"),
        ("format_version", "0", "\"format_version\": expected \"1\""),
        ("format_version", "one", "found \"one\""),
        ("format_version", "1.2.3", "found \"1.2.3\""),
        ("network", "resnet50", "\"resnet50\" is not supported: supported are (mobilenet_v2"),
        ("network", "mobilenet_v2", "named mobilenet_v2, but its tensors are those of resnet"),
        ("numerics", "x86", "\"numerics\": expected \"fbgemm\" or \"qnnpack\", found \"x86\""),
        ("arguments", "[1]", "\"arguments\": expected a JSON object"),
        ("arguments", r#"{"layers": [2, 2, 2, 2]}"#, "arguments.layers\": expected [1, 1, 1, 1], as the tensors"),
        ("arguments", r#"{"num_classes": 1000}"#, "arguments.num_classes\": expected [3]"),
        ("arguments", r#"{"groups": 32}"#, "arguments.groups\": expected 1"),
        ("arguments", r#"{"replace_stride_with_dilation": [false, true, false]}"#, "nothing else is supported"),
        ("arguments", r#"{"swish": true}"#, "arguments.swish"),
        ("classes", r#"["a", "b"]"#, "\"classes\": expected 3 entries"),
        ("classes", "a, b, c", "\"classes\": expected a JSON array"),
        ("cam_layer", "features.18", "\"cam_layer\": expected a layer of the network, such as \"layer4.0\""),
        ("batch_norm_eps", "0", "\"batch_norm_eps\": expected a finite positive number"),
        ("batch_norm_eps", "NaN", "\"batch_norm_eps\""),
        ("preprocess", "{}]", "\"preprocess\": expected a JSON object"),
        ("preprocess", r#"{"crop": 0}"#, "\"preprocess\""),
        ("preprocess", r#"{"crop": 4000000000}"#, "sides 1 to 2048"),
        ("preprocess", r#"{"std": [1, 1, 0]}"#, "std positive"),
        ("preprocess", r#"{"mean": [1, 1]}"#, "\"preprocess\""),
        ("preprocess", r#"{"interpolation": "lanczos"}"#, "\"preprocess\""),
    ];
    for (key, value, expected) in cases {
        let message = refused(int8(), with(key, value));
        assert!(message.contains(expected), "expected {expected:?} in: {message}");
    }
    let message = refused(int8(), |f| drop(f.metadata.remove("numerics")));
    assert!(message.contains("an int8 file must state"), "{message}");
    let message = refused(int8(), |f| drop(f.metadata.remove("format_version")));
    assert!(message.contains("\"format_version\""), "{message}");
    let message = refused(f32(), with("numerics", "fbgemm"));
    assert!(message.contains("the weights are floats"), "{message}");
}

/// A long hostile value is not repeated at length.
#[test]
fn messages_stay_short() {
    let message = refused(int8(), |f| drop(f.metadata.insert("arguments".into(), "x".repeat(1 << 20))));
    assert!(message.len() < 400, "{} characters", message.len());
    let long = "x".repeat(1 << 20);
    let message = refused(int8(), |f| f.f32(&long, &[1], 0.0));
    assert!(message.len() < 400, "{} characters", message.len());
    let header = format!("{{\"a\":{{\"dtype\":\"{long}\",\"shape\":\"{long}\",\"data_offsets\":[0,0]}}}}");
    let message = error_of(raw(&header, 0)).to_string();
    assert!(message.len() < 400, "{} characters", message.len());
    let message = refused(int8(), |f| (0..1000).for_each(|i| f.f32(&format!("extra.{i}"), &[1], 0.0)));
    assert!(message.contains("and 994 more") && message.len() < 500, "{message}");
}

#[test]
fn metadata_is_typed_and_unknown_keys_are_kept() {
    let mut file = f32();
    let entries = [
        ("format_version", "1.4"),
        ("network", "resnet"),
        ("arguments", r#"{"num_classes": 3, "layers": [1, 1, 1, 1], "norm_layer": null, "width_mult": 1.0}"#),
        ("preprocess", r#"{"resize": null, "crop": [160, 320], "interpolation": "bicubic", "mean": [0, 0.5, 1]}"#),
        ("classes", r#"["n01440764", "n01443537", "n01484850"]"#),
        ("cam_layer", "layer3"),
        ("batch_norm_eps", "0.001"),
        ("licence", "CC0-1.0"),
        ("mood", "good"),
    ];
    file.metadata.extend(entries.map(|(k, v)| (k.to_string(), v.to_string())));
    let file = ModelFile::from_bytes(LABEL, file.bytes()).unwrap();
    let metadata = file.metadata();
    assert_eq!(metadata.format_version.as_deref(), Some("1.4"));
    assert_eq!(metadata.batch_norm_eps, Some(1e-3));
    assert_eq!(metadata.licence.as_deref(), Some("CC0-1.0"));
    assert_eq!(metadata.other.iter().collect::<Vec<_>>(), [(&"mood".to_string(), &"good".to_string())]);
    let model = load(&file, None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!((model.cam_layer.as_str(), model.classes[1].as_str()), ("layer3", "n01443537"));
    let preprocess = &model.preprocess;
    assert_eq!((preprocess.resize, preprocess.crop, preprocess.mean), (None, [160, 320], [0.0, 0.5, 1.0]));
    assert_eq!(preprocess.interpolation.to_string(), "bicubic");
}

#[test]
fn wrong_networks_are_told() {
    let refuse = |file: &Synthetic, network: Option<&str>| {
        let file = ModelFile::from_bytes(LABEL, file.bytes()).unwrap();
        load(&file, network).unwrap_err().to_string()
    };
    let message = refuse(&synthetic::resnet(false, 4, [2, 2, 2, 2], 3), Some("resnet34"));
    assert!(message.contains("named resnet34, but its tensors are those of resnet18"), "{message}");
    let message = refuse(&synthetic::resnet(false, 4, [2, 2, 2, 2], 3), Some("vgg16"));
    assert!(message.contains("\"vgg16\" is not supported"), "{message}");
    let mut stated = f32();
    stated.metadata.insert("network".into(), "resnet18".into());
    let message = refuse(&stated, Some("resnet"));
    assert!(message.contains("resnet was asked for, but the file's metadata says resnet18"), "{message}");
    let mut bottleneck = f32();
    bottleneck.f32("layer1.0.conv3.weight", &[16, 4, 1, 1], 1.0);
    assert!(refuse(&bottleneck, None).contains("bottleneck"));
    let mut both = f32();
    both.tensors.extend(synthetic::mobilenet_v2(false, 0.1, &synthetic::MOBILENET_V2, 3).tensors);
    assert!(refuse(&both, None).contains("more than one network"));
    let mut wrapped = f32();
    wrapped.tensors = wrapped.tensors.into_iter().map(|(name, tensor)| (format!("module.{name}"), tensor)).collect();
    assert!(refuse(&wrapped, None).contains("begin with \"module.\""));
    let mut halves = int8();
    halves.tensors.insert("fc.scale".into(), (Dtype::F64, vec![1], vec![0; 8]));
    assert!(refuse(&halves, None).contains("\"fc.scale\": expected element type F32, found F64"));
}

#[test]
fn paths_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let absent = ModelFile::open(folder.path().join("absent.safetensors")).unwrap_err();
    assert!(matches!(&absent, Error::Io { .. }) && absent.to_string().contains("absent.safetensors"), "{absent}");
    assert!(matches!(ModelFile::open(folder.path()), Err(Error::Io { .. })));
    let path = folder.path().join("empty.safetensors");
    std::fs::write(&path, b"").unwrap();
    let empty = ModelFile::open(&path).unwrap_err().to_string();
    assert!(empty.contains("empty.safetensors") && empty.contains("0 bytes"), "{empty}");
}
