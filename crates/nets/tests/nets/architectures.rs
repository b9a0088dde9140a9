//! Full-size networks with made-up weights: inventories, recognition, widths, depths and classes.

use std::collections::BTreeMap;

use crate::synthetic::{self, MOBILENET_V2, MOBILENET_V3_LARGE, MOBILENET_V3_SMALL, Synthetic};
use quantlens_engine::{ConvWeights, Graph, Op};
use quantlens_nets::{Error, Model, ModelFile, Precision, load};

fn model(file: &Synthetic) -> Model {
    try_load(file, None).unwrap_or_else(|e| panic!("{e}"))
}

fn try_load(file: &Synthetic, network: Option<&str>) -> Result<Model, Error> {
    load(&ModelFile::from_bytes("made-up.safetensors", file.bytes())?, network)
}

fn shufflenet(int8: bool, classes: usize) -> Synthetic {
    synthetic::shufflenet_v2(int8, [24, 48, 96, 192, 1024], [4, 8, 4], classes)
}

/// How often each op occurs; slices, shuffles and the two stubs are no arithmetic and left out.
fn inventory(graph: &Graph) -> BTreeMap<&'static str, usize> {
    let mut counts = BTreeMap::new();
    for node in graph.nodes() {
        let kind = match &node.op {
            Op::Quantize | Op::Dequantize | Op::SliceChannels { .. } | Op::ChannelShuffle { .. } => continue,
            Op::Conv(conv) if conv.relu => "conv+relu",
            Op::Conv(_) => "conv",
            Op::Linear(_) => "linear",
            Op::MaxPool(_) => "maxpool",
            Op::AdaptiveAvgPool => "avgpool",
            Op::Mean => "mean",
            Op::Add { relu: true } => "add_relu",
            Op::Add { relu: false } => "add",
            Op::Mul => "mul",
            Op::Concat => "cat",
            Op::Relu => "relu",
            Op::Relu6 => "relu6",
            Op::Hardswish => "hardswish",
            Op::Hardsigmoid => "hardsigmoid",
            other => panic!("{other:?}"),
        };
        *counts.entry(kind).or_insert(0) += 1;
    }
    counts
}

/// Quantized ops of one forward pass, counted in torch (reference inventory, torchvision's default widths).
#[test]
fn int8_inventories_are_torchvisions() {
    let v2 = synthetic::mobilenet_v2(true, 1.0, &MOBILENET_V2, 1000);
    let v3 = synthetic::mobilenet_v3(true, &MOBILENET_V3_LARGE, 1280, 1000);
    let cases: [(Synthetic, &[(&str, usize)]); 4] = [
        (v2, &[("conv+relu", 35), ("conv", 17), ("add", 10), ("avgpool", 1), ("linear", 1)]),
        (
            v3,
            &[
                ("conv", 43),
                ("conv+relu", 19),
                ("hardswish", 21),
                ("add", 10),
                ("avgpool", 9),
                ("hardsigmoid", 8),
                ("mul", 8),
                ("linear", 2),
            ],
        ),
        (
            synthetic::resnet(true, 64, [2, 2, 2, 2], 1000),
            &[("conv+relu", 9), ("conv", 11), ("maxpool", 1), ("add_relu", 8), ("avgpool", 1), ("linear", 1)],
        ),
        (
            shufflenet(true, 1000),
            &[("conv+relu", 37), ("conv", 19), ("cat", 16), ("maxpool", 1), ("mean", 1), ("linear", 1)],
        ),
    ];
    for (file, expected) in cases {
        let model = model(&file);
        assert_eq!(model.precision, Precision::Int8);
        assert_eq!(inventory(&model.graph), expected.iter().copied().collect(), "{}", model.network);
    }
}

/// Names and parameter counts of torchvision 0.20's models: `sum(p.numel() for p in model.parameters())`.
#[test]
fn plain_state_dicts_are_recognized() {
    let v2 = |width, classes| synthetic::mobilenet_v2(false, width, &MOBILENET_V2, classes);
    let v3_large = |classes| synthetic::mobilenet_v3(false, &MOBILENET_V3_LARGE, 1280, classes);
    let shuffle = |widths| synthetic::shufflenet_v2(false, widths, [4, 8, 4], 1000);
    let cases = [
        (v2(1.0, 1000), "mobilenet_v2", 3_504_872),
        (v2(1.0, 10), "mobilenet_v2", 2_236_682),
        (v2(0.5, 1000), "mobilenet_v2", 1_968_680),
        (v3_large(1000), "mobilenet_v3_large", 5_483_032),
        (v3_large(10), "mobilenet_v3_large", 4_214_842),
        (synthetic::mobilenet_v3(false, &MOBILENET_V3_SMALL, 1024, 1000), "mobilenet_v3_small", 2_542_856),
        (synthetic::resnet(false, 64, [2, 2, 2, 2], 1000), "resnet18", 11_689_512),
        (synthetic::resnet(false, 64, [3, 4, 6, 3], 1000), "resnet34", 21_797_672),
        (shufflenet(false, 1000), "shufflenet_v2_x0_5", 1_366_792),
        (shufflenet(false, 10), "shufflenet_v2_x0_5", 352_042),
        (shuffle([24, 116, 232, 464, 1024]), "shufflenet_v2_x1_0", 2_278_604),
        (shuffle([24, 176, 352, 704, 1024]), "shufflenet_v2_x1_5", 3_503_624),
        (shuffle([24, 244, 488, 976, 2048]), "shufflenet_v2_x2_0", 7_393_996),
    ];
    for (file, name, parameters) in cases {
        let model = model(&file);
        assert_eq!((model.network.as_str(), model.parameters), (name, parameters));
        assert_eq!((model.precision, model.numerics, model.graph.numerics()), (Precision::F32, None, None));
        let head = model.graph.tensor(model.graph.output());
        assert!(head.aliases.contains(&"logits".to_string()), "{head:?}");
    }
}

#[test]
fn depths_and_widths_without_a_name_load() {
    let resnet = model(&synthetic::resnet(false, 8, [1, 2, 1, 1], 5));
    assert_eq!((resnet.network.as_str(), resnet.class_count, resnet.cam_layer.as_str()), ("resnet", 5, "layer4.0"));
    assert!(resnet.graph.find("layer2.1.add_relu").is_some());
    let shuffle = model(&synthetic::shufflenet_v2(true, [8, 16, 32, 64, 40], [1, 2, 3], 7));
    assert_eq!((shuffle.network.as_str(), shuffle.class_count), ("shufflenet_v2", 7));
    let named = try_load(&synthetic::resnet(false, 8, [1, 2, 1, 1], 5), Some("resnet18")).unwrap();
    assert_eq!(named.network, "resnet18");
}

/// Vertical stride of every convolution that has one above 1, by name.
fn strided(graph: &Graph) -> Vec<String> {
    let strided = |op: &Op| matches!(op, Op::Conv(conv) if conv.stride[0] > 1);
    graph.nodes().iter().filter(|n| strided(&n.op)).map(|n| graph.tensor(n.output).name.clone()).collect()
}

#[test]
fn strides_follow_the_architecture() {
    let v2 = strided(&model(&synthetic::mobilenet_v2(true, 1.0, &MOBILENET_V2, 10)).graph);
    let expected = ["features.0.0", "features.2.conv.1.0", "features.4.conv.1.0", "features.7.conv.1.0"];
    assert_eq!(v2, [&expected[..], &["features.14.conv.1.0"]].concat());
    let large = strided(&model(&synthetic::mobilenet_v3(true, &MOBILENET_V3_LARGE, 1280, 10)).graph);
    let blocks = [2, 4, 7, 13].map(|i| format!("features.{i}.block.1.0"));
    assert_eq!(large, [&["features.0.0".to_string()], &blocks[..]].concat());
    let small = strided(&model(&synthetic::mobilenet_v3(true, &MOBILENET_V3_SMALL, 1024, 10)).graph);
    let blocks = ["1.block.0", "2.block.1", "4.block.1", "9.block.1"].map(|p| format!("features.{p}.0"));
    assert_eq!(small, [&["features.0.0".to_string()], &blocks[..]].concat());
    let resnet = strided(&model(&synthetic::resnet(true, 8, [1, 1, 1, 1], 10)).graph);
    let blocks = [2, 3, 4].map(|l| [format!("layer{l}.0.conv1"), format!("layer{l}.0.downsample.0")]).concat();
    assert_eq!(resnet, [&["conv1".to_string()], &blocks[..]].concat());
}

/// A MobileNetV2 of another depth: the stages show in the widths, or the arguments say them, or it is an error.
#[test]
fn mobilenet_v2_of_another_depth() {
    let mut rows = MOBILENET_V2;
    rows[3][2] = 2;
    rows[1][2] = 1;
    let deep = strided(&model(&synthetic::mobilenet_v2(true, 1.0, &rows, 10)).graph);
    let expected = ["0.0", "2.conv.1.0", "3.conv.1.0", "6.conv.1.0", "11.conv.1.0"];
    assert_eq!(deep, expected.map(|p| format!("features.{p}")));

    let rows = [[1, 16, 1, 1], [6, 24, 2, 2], [6, 40, 2, 2]];
    let mut file = synthetic::mobilenet_v2(true, 1.0, &rows, 10);
    let error = try_load(&file, None).unwrap_err().to_string();
    assert!(error.contains("arguments.inverted_residual_setting") && error.contains("5 blocks"), "{error}");
    let arguments = r#"{"inverted_residual_setting": [[1,16,1,1],[6,24,2,2],[6,40,2,2]], "num_classes": 10}"#;
    file.metadata.insert("arguments".into(), arguments.into());
    let shallow = strided(&model(&file).graph);
    assert_eq!(shallow, ["0.0", "2.conv.1.0", "4.conv.1.0"].map(|p| format!("features.{p}")));
}

/// A MobileNetV3 of another depth needs its name and its settings.
#[test]
fn mobilenet_v3_of_another_depth() {
    let mut file = synthetic::mobilenet_v3(false, &MOBILENET_V3_SMALL[..4], 64, 10);
    let error = try_load(&file, None).unwrap_err();
    assert!(matches!(&error, Error::Network { candidates, .. } if candidates.len() == 2), "{error}");
    let error = try_load(&file, Some("mobilenet_v3_small")).unwrap_err().to_string();
    assert!(error.contains("4 blocks"), "{error}");
    let arguments = r#"{"inverted_residual_setting": [[16,3,16,16,true,"RE",2,1],[16,3,72,24,false,"RE",2,1],
        [24,3,88,24,false,"RE",1,1],[24,5,96,40,true,"HS",2,1]]}"#;
    file.metadata.insert("arguments".into(), arguments.into());
    let model = try_load(&file, Some("mobilenet_v3_small")).unwrap();
    assert_eq!(model.cam_layer, "features.5");
    assert_eq!(inventory(&model.graph)["hardswish"], 5);
}

/// The names that every architecture's tensors have, in f32 and int8 alike.
#[test]
fn names_common_to_both_precisions() {
    type Make = fn(bool) -> Synthetic;
    let pairs: [(Make, &[&str]); 4] = [
        (
            |int8| synthetic::mobilenet_v2(int8, 1.0, &MOBILENET_V2, 10),
            &[
                "features.0",
                "features.1.conv.2",
                "features.3.skip_add",
                "features.3",
                "features.18",
                "avgpool",
                "classifier.0",
            ],
        ),
        (
            |int8| synthetic::mobilenet_v3(int8, &MOBILENET_V3_LARGE, 1280, 10),
            &["features.0.2", "features.4.block.2.skip_mul", "features.4.block.2", "features.16", "classifier.2"],
        ),
        (
            |int8| synthetic::resnet(int8, 64, [2, 2, 2, 2], 10),
            &["relu", "bn1", "maxpool", "layer1.0.relu", "layer2.0.downsample", "layer2.0.add_relu", "layer4", "fc"],
        ),
        (
            |int8| shufflenet(int8, 10),
            &["conv1", "stage2.0.branch1", "stage2.0.cat", "stage2.1.chunk.1", "stage2", "conv5", "mean", "fc"],
        ),
    ];
    for (file, names) in pairs {
        for int8 in [false, true] {
            let model = model(&file(int8));
            for name in names.iter().chain(&["input", "logits"]) {
                assert!(model.graph.find(name).is_some(), "{} {}: {name}", model.network, model.precision);
            }
        }
    }
}

/// Weight 0.125, gamma 2, beta 0.5, mean 0.25, variance 4 as `torch.nn.utils.fusion.fuse_conv_bn_weights` folds them
/// (torch 2.5.1), to the bit.
#[test]
fn batch_norm_is_folded_as_torch_does() {
    let cases = [
        (synthetic::resnet(false, 8, [1, 1, 1, 1], 2), "bn1", 0x3dff_ffec_u32, 0x3e80_000a_u32),
        (synthetic::mobilenet_v3(false, &MOBILENET_V3_SMALL, 16, 2), "features.0.1", 0x3dff_f7d0, 0x3e80_0418),
    ];
    for (file, name, expected_weight, expected_bias) in cases {
        let model = model(&file);
        let folded = model.graph.nodes().iter().find(|n| model.graph.tensor(n.output).name == name).unwrap();
        let Op::Conv(conv) = &folded.op else { panic!("{folded:?}") };
        let ConvWeights::F32 { weight, bias } = &conv.weights else { panic!("int8") };
        assert_eq!((weight[0].to_bits(), bias[0].to_bits()), (expected_weight, expected_bias), "{name}");
    }
}

/// Halves are widened; a float file whose batch norms were folded already has biases instead.
#[test]
fn half_and_folded_files_load() {
    let mut half = synthetic::resnet(false, 8, [1, 1, 1, 1], 2);
    let count = 8 * 3 * 49;
    half.tensors.insert("conv1.weight".into(), (safetensors::Dtype::F16, vec![8, 3, 7, 7], [0x00, 0x30].repeat(count)));
    assert_eq!(model(&half).graph, model(&synthetic::resnet(false, 8, [1, 1, 1, 1], 2)).graph);

    let mut folded = half;
    for tensor in ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"] {
        folded.remove(&format!("bn1.{tensor}"));
    }
    folded.f32("conv1.bias", &[8], 0.75);
    let model = model(&folded);
    let Op::Conv(conv) = &model.graph.nodes()[0].op else { panic!() };
    let ConvWeights::F32 { weight, bias } = &conv.weights else { panic!() };
    assert_eq!((weight[0], bias[0]), (0.125, 0.75));
}
