//! Tensors in and out: ready inputs from a safetensors file; logits and taps to safetensors or JSON.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use quantlens_nets::ModelFile;
use quantlens_tensor::{DType, Data, Layout, Quant, Shape, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use crate::args::OutFile;
use crate::output;

/// Ready inputs: one `[1, 3, h, w]` tensor for each of the N in the file.
///
/// # Errors
/// A file that is no safetensors file, has no such tensor, or one of another type or shape than f32 `[N, 3, h, w]`.
pub fn read_inputs(path: &Path, key: &str, [h, w]: [usize; 2]) -> Result<Vec<Tensor>> {
    let file = ModelFile::open(path)?;
    let tensor = file.tensor(key).with_context(|| format!("inputs of {}", path.display()))?;
    let shape = tensor.shape().clone();
    let what = || format!("{}: tensor {key:?}: expected f32 [N, 3, {h}, {w}], found", path.display());
    match shape.dims() {
        &[n, 3, height, width] if n > 0 && [height, width] == [h, w] => {}
        _ => bail!("{} {} {shape}; --input-size sets the network's size", what(), tensor.dtype()),
    }
    let values = tensor.as_f32().map_err(|_| anyhow!("{} {}", what(), tensor.dtype()))?;
    if let Some(i) = values.iter().position(|x| !x.is_finite()) {
        bail!("{} {} at element {i}", what(), values[i]);
    }
    let one = |v: &[f32]| Ok(Tensor::new(v.to_vec(), [1, 3, h, w], Layout::Nchw)?);
    values.chunks_exact(3 * h * w).map(one).collect()
}

/// One tensor of outputs from one a run: `[1, ...]` each becomes `[N, ...]`, activations in PyTorch's NCHW.
///
/// # Errors
/// Tensors of different types, which one plan never gives.
pub fn stack(parts: Vec<Tensor>) -> Result<Tensor> {
    let mut parts = parts.into_iter().map(|t| match t.layout() {
        Layout::Nhwc => t.to_layout(Layout::Nchw),
        _ => Ok(t),
    });
    let first = parts.next().ok_or_else(|| anyhow!("nothing to write"))??;
    let (mut dims, layout, quant) = (first.shape().dims().to_vec(), first.layout(), first.quant().cloned());
    let mut data = first.into_data();
    for part in parts {
        match (&mut data, part?.into_data()) {
            (Data::F32(all), Data::F32(more)) => all.extend(more),
            (Data::U8(all), Data::U8(more)) => all.extend(more),
            _ => bail!("outputs of one layer differ in type"),
        }
        dims[0] += 1;
    }
    let tensor = Tensor::new(data, Shape::new(&dims), layout)?;
    Ok(match quant {
        Some(quant) => tensor.with_quant(quant)?,
        None => tensor,
    })
}

/// Writes named tensors, with `about` (what made them) beside, in the format that the file's extension says.
///
/// # Errors
/// Why the file cannot be written; nothing is left of it then.
pub fn write(out: &OutFile, tensors: &[(String, Tensor)], about: Value) -> Result<()> {
    let bytes = if out.json { to_json(tensors, about)? } else { to_safetensors(tensors, about)? };
    output::write_file(&out.path, |f| Ok(f.write_all(&bytes)?))
}

/// Scale and zero point, where the tensor is quantized.
fn quant(tensor: &Tensor) -> Value {
    match tensor.quant() {
        Some(Quant::PerTensor { scale, zero_point }) => json!({"scale": scale, "zero_point": zero_point}),
        _ => Value::Null,
    }
}

fn to_json(tensors: &[(String, Tensor)], mut about: Value) -> Result<Vec<u8>> {
    let mut all = serde_json::Map::new();
    for (name, tensor) in tensors {
        let data = match tensor.data() {
            Data::U8(v) => json!(v),
            Data::F32(v) => json!(v),
            other => bail!("{name}: {} tensors are not written", other.dtype()),
        };
        let value = json!({
            "dtype": tensor.dtype().to_string(),
            "shape": tensor.shape().dims(),
            "quantization": quant(tensor),
            "data": data,
        });
        all.insert(name.clone(), value);
    }
    about["tensors"] = all.into();
    let mut bytes = serde_json::to_vec(&about)?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn to_safetensors(tensors: &[(String, Tensor)], mut about: Value) -> Result<Vec<u8>> {
    let quantization: serde_json::Map<String, Value> =
        tensors.iter().filter(|(_, t)| t.quant().is_some()).map(|(n, t)| (n.clone(), quant(t))).collect();
    about["quantization"] = quantization.into();
    let raw: Vec<Vec<u8>> = tensors.iter().map(|(_, t)| little_endian(t.data())).collect();
    let mut views = Vec::new();
    for ((name, tensor), bytes) in tensors.iter().zip(&raw) {
        let dtype = if tensor.dtype() == DType::U8 { Dtype::U8 } else { Dtype::F32 };
        views.push((name.as_str(), TensorView::new(dtype, tensor.shape().dims().to_vec(), bytes)?));
    }
    // One key only: the library writes several in the random order of a hash map.
    let metadata = HashMap::from([("quantlens".to_string(), about.to_string())]);
    Ok(safetensors::serialize(views, Some(metadata))?)
}

fn little_endian(data: &Data) -> Vec<u8> {
    match data {
        Data::U8(v) => v.clone(),
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        // No network here has outputs of other types; `stack` refuses them.
        _ => Vec::new(),
    }
}
