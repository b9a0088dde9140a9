//! Tensors in and out: ready inputs from a safetensors file; logits and taps to safetensors or JSON.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use quantlens_nets::ModelFile;
use quantlens_tensor::{DType, Data, Layout, Quant, Shape, Tensor};
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;

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

/// A JSON document: what made the tensors, and the tensors.
#[derive(Serialize)]
struct Document<'a, A> {
    #[serde(flatten)]
    about: &'a A,
    tensors: BTreeMap<&'a str, Entry<'a>>,
}

/// The metadata of a safetensors file: what made the tensors, and what the integers stand for.
#[derive(Serialize)]
struct Metadata<'a, A> {
    #[serde(flatten)]
    about: &'a A,
    quantization: BTreeMap<&'a str, Quantization>,
}

#[derive(Serialize)]
struct Entry<'a> {
    dtype: String,
    shape: &'a [usize],
    #[serde(skip_serializing_if = "Option::is_none")]
    quantization: Option<Quantization>,
    data: Numbers<'a>,
}

#[derive(Serialize)]
struct Quantization {
    scale: f32,
    zero_point: i32,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Numbers<'a> {
    U8(&'a [u8]),
    F32(&'a [f32]),
}

/// Writes named tensors, with `about` (what made them) beside, in the format that the file's extension says.
///
/// # Errors
/// Why the file cannot be written; nothing is left of it then.
pub fn write(out: &OutFile, tensors: &[(String, Tensor)], about: &impl Serialize) -> Result<()> {
    let bytes = if out.json { to_json(tensors, about)? } else { to_safetensors(tensors, about)? };
    output::write_file(&out.path, |f| Ok(f.write_all(&bytes)?))
}

/// Scale and zero point, where the tensor is quantized.
fn quantization(tensor: &Tensor) -> Option<Quantization> {
    match tensor.quant() {
        Some(&Quant::PerTensor { scale, zero_point }) => Some(Quantization { scale, zero_point }),
        _ => None,
    }
}

/// The elements, of the two types that outputs have.
fn numbers(tensor: &Tensor) -> Result<Numbers<'_>> {
    match tensor.data() {
        Data::U8(v) => Ok(Numbers::U8(v)),
        Data::F32(v) => Ok(Numbers::F32(v)),
        other => bail!("{} tensors are not written", other.dtype()),
    }
}

fn to_json(tensors: &[(String, Tensor)], about: &impl Serialize) -> Result<Vec<u8>> {
    let mut entries = BTreeMap::new();
    for (name, tensor) in tensors {
        let (dtype, shape) = (tensor.dtype().to_string(), tensor.shape().dims());
        entries
            .insert(name.as_str(), Entry { dtype, shape, quantization: quantization(tensor), data: numbers(tensor)? });
    }
    let mut bytes = serde_json::to_vec(&Document { about, tensors: entries })?;
    bytes.push(b'\n');
    Ok(bytes)
}

fn to_safetensors(tensors: &[(String, Tensor)], about: &impl Serialize) -> Result<Vec<u8>> {
    let quantization = tensors.iter().filter_map(|(name, t)| Some((name.as_str(), quantization(t)?))).collect();
    // One key only: the library writes several in the random order of a hash map.
    let metadata = serde_json::to_string(&Metadata { about, quantization })?;
    let metadata = HashMap::from([("quantlens".to_string(), metadata)]);
    let raw = tensors.iter().map(|(_, t)| Ok(little_endian(numbers(t)?))).collect::<Result<Vec<_>>>()?;
    let mut views = Vec::new();
    for ((name, tensor), bytes) in tensors.iter().zip(&raw) {
        let dtype = if tensor.dtype() == DType::U8 { Dtype::U8 } else { Dtype::F32 };
        views.push((name.as_str(), TensorView::new(dtype, tensor.shape().dims().to_vec(), bytes)?));
    }
    Ok(safetensors::serialize(views, Some(metadata))?)
}

fn little_endian(numbers: Numbers<'_>) -> Vec<u8> {
    match numbers {
        Numbers::U8(v) => v.to_vec(),
        Numbers::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
    }
}
