//! Reads a golden dump: a safetensors file of torch's tensors, with each layer's name, shape and SHA-256 in its
//! metadata (written by tools/golden.py).

use std::path::Path;

use libtest_mimic::Failed;
use quantlens::{DType, Data, Layout, Tensor};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// One layer's output as torch computed it.
pub struct Layer {
    /// The tensor's name in the graph.
    pub name: String,
    /// `[1, h, w, c]`.
    pub shape: Vec<usize>,
    /// Of the NHWC bytes, little-endian, as hex.
    pub sha256: String,
}

/// An open dump.
pub struct Dump {
    bytes: Vec<u8>,
    /// Layers in execution order.
    pub layers: Vec<Layer>,
}

impl Dump {
    pub fn open(path: &Path) -> Result<Self, Failed> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let (_, header) = SafeTensors::read_metadata(&bytes)?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let layers = match metadata.get("layers") {
            None => Vec::new(),
            Some(json) => parse_layers(&serde_json::from_str(json)?)?,
        };
        Ok(Self { bytes, layers })
    }

    /// A 4-d tensor is read as NCHW, any other as row-major.
    pub fn tensor(&self, name: &str) -> Result<Tensor, Failed> {
        let file = SafeTensors::deserialize(&self.bytes)?;
        let view = file.tensor(name)?;
        let layout = if view.shape().len() == 4 { Layout::Nchw } else { Layout::RowMajor };
        to_tensor(&view, layout)
    }

    /// A layer's output, where the dump holds it in full.
    pub fn layer_tensor(&self, name: &str) -> Result<Option<Tensor>, Failed> {
        let file = SafeTensors::deserialize(&self.bytes)?;
        match file.tensor(name) {
            Ok(view) if name != "input" && view.shape().len() == 4 => Ok(Some(to_tensor(&view, Layout::Nhwc)?)),
            _ => Ok(None),
        }
    }

    /// Compares a layer's output with torch's, byte for byte.
    pub fn check(&self, layer: &Layer, ours: &Tensor) -> Result<(), Failed> {
        let name = &layer.name;
        let elements: usize = layer.shape.iter().product();
        if ours.shape().elements() != elements {
            return Err(format!("{name}: shape {}, torch has {:?}", ours.shape(), layer.shape).into());
        }
        if hex_sha256(ours) == layer.sha256 {
            return Ok(());
        }
        let Some(torch) = self.layer_tensor(name)? else {
            return Err(format!("{name}: differs from torch (SHA-256 of {} bytes)", elements).into());
        };
        let (a, b) = (ours.to_f32(), torch.to_f32());
        let wrong = a.iter().zip(&b).filter(|(a, b)| a != b).count();
        let worst = a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        Err(format!("{name}: {wrong} of {elements} values differ from torch, by up to {worst}").into())
    }
}

fn parse_layers(json: &Value) -> Result<Vec<Layer>, Failed> {
    let layers = json.as_array().ok_or("layers is not a list")?;
    layers.iter().map(|l| parse_layer(l).ok_or_else(|| format!("bad layer entry {l}").into())).collect()
}

fn parse_layer(json: &Value) -> Option<Layer> {
    let shape = json["shape"].as_array()?.iter().map(|d| Some(d.as_u64()? as usize)).collect::<Option<_>>()?;
    Some(Layer { name: json["name"].as_str()?.into(), shape, sha256: json["sha256"].as_str()?.into() })
}

fn to_tensor(view: &safetensors::tensor::TensorView<'_>, layout: Layout) -> Result<Tensor, Failed> {
    let bytes = view.data();
    let data: Data = match view.dtype() {
        Dtype::U8 => bytes.to_vec().into(),
        Dtype::F32 => {
            bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<_>>().into()
        }
        other => return Err(format!("unexpected type {other:?}").into()),
    };
    Ok(Tensor::new(data, quantlens::Shape::new(view.shape()), layout)?)
}

fn hex_sha256(tensor: &Tensor) -> String {
    let bytes = match tensor.data() {
        Data::U8(v) => v.clone(),
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        other => panic!("{} activations are not dumped", dtype_name(other)),
    };
    Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect()
}

fn dtype_name(data: &Data) -> DType {
    data.dtype()
}
