//! From a model file to a graph with what goes with it.

use std::fmt;
use std::sync::Arc;

use quantlens_engine::{Graph, Numerics};

use crate::builder::{Feature, NetBuilder};
use crate::error::quoted;
use crate::recognize::{Architecture, recognize};
use crate::weights::Weights;
use crate::{Error, ModelFile, Preprocess, mobilenet_v2, mobilenet_v3, resnet, shufflenet_v2};

/// Arithmetic of a network's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Precision {
    /// 32-bit floats.
    F32,
    /// 8-bit integers with float scales.
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        })
    }
}

/// A network with all that its file says about it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Model {
    /// What to compute.
    pub graph: Arc<Graph>,
    /// torchvision's name; `resnet` or `shufflenet_v2` for depths and widths that have none.
    pub network: String,
    /// Arithmetic of the layers.
    pub precision: Precision,
    /// Whose int8 arithmetic applies; none for f32.
    pub numerics: Option<Numerics>,
    /// wnids or names in index order, one an output; empty where the file has none.
    pub classes: Vec<String>,
    /// Number of outputs.
    pub class_count: usize,
    /// Tensor that class activation maps are made of: the file's choice, else the last before pooling.
    pub cam_layer: String,
    /// How images become the input: the file's choice, else torchvision's for ImageNet.
    pub preprocess: Preprocess,
    /// SHA-256 of the file, 64 hexadecimal digits.
    pub file_sha256: String,
    /// Size of the file in bytes.
    pub size_bytes: u64,
    /// Weights and biases, batch norm's included, as PyTorch counts parameters.
    pub parameters: u64,
}

/// What an architecture hands back to [`load`].
pub(crate) struct Built {
    /// The last layer's output.
    pub output: Feature,
    /// Default layer for class activation maps.
    pub cam_layer: String,
}

/// Builds the network of a file. `network` names it where the file does not (see [`crate::NETWORKS`]); none: the
/// metadata says it, or names and shapes of the tensors do.
///
/// ```no_run
/// use quantlens_nets::{ModelFile, load};
///
/// let file = ModelFile::open("resnet18-int8.safetensors")?;
/// let model = load(&file, None)?;
/// println!("{} {}: {} classes, {} parameters", model.network, model.precision, model.class_count, model.parameters);
/// # Ok::<(), quantlens_nets::Error>(())
/// ```
///
/// # Errors
/// [`Error::Network`] where the network is unknown or ambiguous; [`Error::Missing`], [`Error::DType`],
/// [`Error::Shape`], [`Error::Value`] or [`Error::Unused`] for tensors that do not make one up; [`Error::Metadata`]
/// for statements that contradict them.
pub fn load(file: &ModelFile, network: Option<&str>) -> Result<Model, Error> {
    let (network, architecture) = recognize(file, network)?;
    let precision = precision(file);
    let numerics = numerics(file, precision)?;
    let default_eps = if matches!(architecture, Architecture::MobileNetV3(_)) { 1e-3 } else { 1e-5 };
    let eps = file.metadata().batch_norm_eps.unwrap_or(default_eps);
    let mut net = NetBuilder::new(Weights::new(file, precision, eps), &network, numerics);
    let built = match architecture {
        Architecture::MobileNetV2 => mobilenet_v2::build(&mut net)?,
        Architecture::MobileNetV3(size) => mobilenet_v3::build(&mut net, size)?,
        Architecture::ResNet => resnet::build(&mut net)?,
        Architecture::ShuffleNetV2 => shufflenet_v2::build(&mut net)?,
    };
    let class_count = built.output.channels;
    let (graph, weights) = net.finish(built.output);
    weights.finish(&network)?;
    check_classes(file, class_count)?;
    Ok(Model {
        cam_layer: cam_layer(file, &graph, built.cam_layer)?,
        graph: Arc::new(graph),
        network,
        precision,
        numerics,
        classes: file.metadata().classes.clone(),
        class_count,
        preprocess: file.metadata().preprocess.clone().unwrap_or_default(),
        file_sha256: file.sha256().into(),
        size_bytes: file.size_bytes(),
        parameters: weights.parameters(),
    })
}

/// int8 where any weight is; layers of another type are then refused one by one.
fn precision(file: &ModelFile) -> Precision {
    let is_int8 = |name: &str| name.ends_with(".weight") && file.entry(name).is_some_and(|e| e.dtype == "I8");
    if file.names().any(is_int8) { Precision::Int8 } else { Precision::F32 }
}

fn numerics(file: &ModelFile, precision: Precision) -> Result<Option<Numerics>, Error> {
    let error = |key: &str, expected: &str, found: &str| Error::Metadata {
        file: file.label().into(),
        key: key.into(),
        expected: expected.into(),
        found: found.into(),
    };
    let metadata = file.metadata();
    match (precision, metadata.numerics) {
        (Precision::F32, None) => Ok(None),
        (Precision::F32, Some(_)) => {
            Err(error("numerics", "nothing, since the weights are floats", "the name of an int8 engine"))
        }
        (Precision::Int8, Some(_)) if metadata.format_version.is_none() => {
            Err(error("format_version", "\"1\", which an int8 file must state", "nothing"))
        }
        (Precision::Int8, Some(numerics)) => Ok(Some(numerics)),
        (Precision::Int8, None) => {
            let expected = "\"fbgemm\" or \"qnnpack\", which an int8 file must state: the two round differently";
            Err(error("numerics", expected, "nothing"))
        }
    }
}

fn check_classes(file: &ModelFile, class_count: usize) -> Result<(), Error> {
    let stated = file.metadata().classes.len();
    if stated == 0 || stated == class_count {
        return Ok(());
    }
    Err(Error::Metadata {
        file: file.label().into(),
        key: "classes".into(),
        expected: format!("{class_count} entries, one for each output of the last layer"),
        found: format!("{stated}"),
    })
}

/// The file's layer for class activation maps, which must be there, or the default.
fn cam_layer(file: &ModelFile, graph: &Graph, default: String) -> Result<String, Error> {
    let Some(stated) = &file.metadata().cam_layer else { return Ok(default) };
    if graph.find(stated).is_some() {
        return Ok(stated.clone());
    }
    Err(Error::Metadata {
        file: file.label().into(),
        key: "cam_layer".into(),
        expected: format!("a layer of the network, such as {default:?}"),
        found: quoted(stated),
    })
}
