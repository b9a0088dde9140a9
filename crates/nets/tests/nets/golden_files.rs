//! The narrow networks in `tests/golden` of the repository, exported from torchvision's models: their graphs against
//! what torch ran, layer by layer, as the dumps beside them state it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use quantlens_engine::{Graph, Numerics, Op};
use quantlens_nets::{Model, ModelFile, Precision, load};

const NETWORKS: [&str; 4] = ["mobilenet_v2", "mobilenet_v3_large", "resnet18", "shufflenet_v2_x0_5"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden").join(name)
}

fn open(network: &str, precision: &str) -> (ModelFile, Model) {
    let file = ModelFile::open(golden(&format!("{network}-{precision}.safetensors"))).unwrap();
    let model = load(&file, None).unwrap_or_else(|e| panic!("{e}"));
    (file, model)
}

/// Names of the layers torch ran, in its order, with their channels.
fn torch_layers(network: &str, precision: &str) -> Vec<(String, u64)> {
    let bytes = std::fs::read(golden(&format!("{network}-{precision}-64.safetensors"))).unwrap();
    let (_, header) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let layers: serde_json::Value = serde_json::from_str(&header.metadata().as_ref().unwrap()["layers"]).unwrap();
    let layer = |l: &serde_json::Value| (l["name"].as_str().unwrap().to_string(), l["shape"][3].as_u64().unwrap());
    layers.as_array().unwrap().iter().map(layer).collect()
}

/// Channels of each tensor, followed through the graph.
fn channels(graph: &Graph) -> BTreeMap<String, u64> {
    let mut channels = vec![3usize; graph.tensors().len()];
    for node in graph.nodes() {
        let x = channels[node.inputs[0].index()];
        channels[node.output.index()] = match &node.op {
            Op::Conv(conv) => {
                assert_eq!(conv.in_channels, x);
                conv.out_channels
            }
            Op::Linear(linear) => {
                assert_eq!(linear.in_features, x);
                linear.out_features
            }
            Op::Concat => node.inputs.iter().map(|i| channels[i.index()]).sum(),
            Op::SliceChannels { start, len } => {
                assert!(start + len <= x);
                *len
            }
            _ => x,
        };
    }
    graph.tensors().iter().zip(channels).map(|(t, c)| (t.name.clone(), c as u64)).collect()
}

#[test]
fn tensors_are_those_that_torch_made() {
    for network in NETWORKS {
        for precision in ["f32", "int8"] {
            let (_, model) = open(network, precision);
            assert_eq!(model.network, network);
            let mut ours = channels(&model.graph);
            ours.remove("input");
            let torch: BTreeMap<String, u64> = torch_layers(network, precision).into_iter().collect();
            assert_eq!(ours, torch, "{network} {precision}");
        }
    }
}

/// Every path that has tensors in the file, and every container above it, is a name in the graph: batch norms of
/// float files, whose convolutions are folded away, and all layers of int8 files.
#[test]
fn module_paths_are_names() {
    for network in NETWORKS {
        for precision in ["f32", "int8"] {
            let (file, model) = open(network, precision);
            let marker = if precision == "f32" { ".running_mean" } else { ".weight" };
            let mut paths: BTreeSet<&str> = file.names().filter_map(|n| n.strip_suffix(marker)).collect();
            for path in paths.clone() {
                paths.extend(path.match_indices('.').map(|(i, _)| &path[..i]));
            }
            paths.extend(["logits", "input", &model.cam_layer]);
            let unknown: Vec<_> = paths.iter().filter(|p| model.graph.find(p).is_none()).collect();
            assert!(unknown.is_empty(), "{network} {precision}: {unknown:?}");
        }
    }
}

#[test]
fn quantization_follows_the_file() {
    for network in NETWORKS {
        let (file, model) = open(network, "int8");
        assert_eq!(model.precision, Precision::Int8);
        let numerics = if network.starts_with("mobilenet") { Numerics::Qnnpack } else { Numerics::Fbgemm };
        assert_eq!((model.numerics, model.graph.numerics()), (Some(numerics), Some(numerics)));
        for node in model.graph.nodes() {
            let (x, y) = (model.graph.tensor(node.inputs[0]), model.graph.tensor(node.output));
            let quant = y.quant;
            match node.op {
                Op::Dequantize => assert_eq!(quant, None),
                Op::Hardsigmoid => {
                    let quant = quant.unwrap();
                    assert_eq!((quant.scale, quant.zero_point), (1.0 / 256.0, 0));
                }
                Op::MaxPool(_)
                | Op::AdaptiveAvgPool
                | Op::Mean
                | Op::SliceChannels { .. }
                | Op::ChannelShuffle { .. } => {
                    assert_eq!(quant, x.quant, "{}", y.name);
                }
                _ => {
                    let scale = file.tensor(&format!("{}.scale", y.name)).unwrap();
                    let zero_point = file.tensor(&format!("{}.zero_point", y.name)).unwrap();
                    let quant = quant.unwrap();
                    assert_eq!(scale.as_f32().unwrap(), [quant.scale]);
                    assert_eq!(zero_point.as_i32().unwrap(), [i32::from(quant.zero_point)]);
                }
            }
        }
    }
}

#[test]
fn what_the_file_says_reaches_the_model() {
    for network in NETWORKS {
        for precision in ["f32", "int8"] {
            let (file, model) = open(network, precision);
            assert_eq!(model.classes.len(), model.class_count);
            assert_eq!(Some(&model.cam_layer), file.metadata().cam_layer.as_ref());
            assert_eq!(model.preprocess, quantlens_nets::Preprocess::default());
            assert_eq!(file.metadata().other.get("trained").map(String::as_str), Some("false"));
            assert_eq!(
                model.size_bytes,
                std::fs::metadata(golden(&format!("{network}-{precision}.safetensors"))).unwrap().len()
            );
            assert_eq!(model.file_sha256.len(), 64);
        }
    }
}
