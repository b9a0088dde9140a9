//! Reads a network's tensors by module path, checked, and keeps account of what was read: what is left over at the
//! end is an error, since a file with more than the network needs holds another network.

use std::collections::BTreeSet;
use std::sync::Arc;

use quantlens_engine::{ConvWeights, QParams};
use quantlens_tensor::Data;

use crate::fold::{BatchNorm, fold};
use crate::{Error, ModelFile, Precision};

/// Most products an int8 sum may have: 65,793 * 255 * 128 is the largest multiple that an i32 holds.
const MAX_PRODUCTS: usize = 65_793;

/// Kernel sizes beyond this are taken for damage.
const MAX_KERNEL: usize = 31;

/// What a convolution's weights must look like.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvShape {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output; none: whatever the file says. Ignored for depthwise.
    pub out_channels: Option<usize>,
    /// Side of the square kernel; none: any odd one.
    pub kernel: Option<usize>,
    /// One filter a channel instead of a dense kernel.
    pub depthwise: bool,
}

/// Checked weights of a convolution or linear layer.
pub(crate) struct Layer {
    /// Channels or features of the output.
    pub out_channels: usize,
    /// Side of the kernel; 1 for a linear layer.
    pub kernel: usize,
    /// Weights and bias.
    pub weights: ConvWeights,
}

/// A [`ModelFile`] read as one network of one precision.
pub(crate) struct Weights<'a> {
    file: &'a ModelFile,
    precision: Precision,
    eps: f32,
    used: BTreeSet<String>,
    parameters: u64,
}

impl<'a> Weights<'a> {
    pub fn new(file: &'a ModelFile, precision: Precision, eps: f32) -> Self {
        Self { file, precision, eps, used: BTreeSet::new(), parameters: 0 }
    }

    pub fn file(&self) -> &'a ModelFile {
        self.file
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Elements of all weights and biases read so far, batch norm's included.
    pub fn parameters(&self) -> u64 {
        self.parameters
    }

    /// Whether the file has this tensor.
    pub fn has(&self, name: &str) -> bool {
        self.file.has(name)
    }

    /// A convolution at `path`, with the batch norm at `norm` folded in where the file has one.
    pub fn conv(&mut self, path: &str, norm: Option<&str>, want: ConvShape) -> Result<Layer, Error> {
        let name = format!("{path}.weight");
        let shape = self.shape(&name)?;
        let (out_channels, kernel) = self.check_conv_shape(&name, &shape, want)?;
        if let (Some(norm), Precision::F32) = (norm, self.precision)
            && !self.is_folded(path, norm)
        {
            let weights = self.conv_norm(path, norm, out_channels)?;
            return Ok(Layer { out_channels, kernel, weights });
        }
        Ok(Layer { out_channels, kernel, weights: self.weights(path, &shape)? })
    }

    /// A linear layer at `path`.
    pub fn linear(&mut self, path: &str, in_features: usize) -> Result<Layer, Error> {
        let name = format!("{path}.weight");
        let shape = self.shape(&name)?;
        match *shape {
            [out, inputs] if inputs == in_features => {
                Ok(Layer { out_channels: out, kernel: 1, weights: self.weights(path, &shape)? })
            }
            _ => Err(self.wrong_shape(&name, format!("[classes, {in_features}]"), &shape)),
        }
    }

    /// Scale and zero point of the activation that the module at `path` makes.
    pub fn qparams(&mut self, path: &str) -> Result<QParams, Error> {
        let scale_name = format!("{path}.scale");
        let zero_name = format!("{path}.zero_point");
        let scale = self.scales(&scale_name, &[1])?[0];
        let zero_points = self.integers(&zero_name, &[1])?;
        match u8::try_from(zero_points[0]) {
            Ok(zero_point) => Ok(QParams { scale, zero_point }),
            Err(_) => Err(self.bad_value(&zero_name, 0, "0 to 255 (activations are u8)", zero_points[0])),
        }
    }

    /// Allows a tensor that the network does not need, where exporters write it all the same.
    pub fn ignore(&mut self, name: &str) {
        self.used.insert(name.into());
    }

    /// # Errors
    /// [`Error::Unused`] where the file holds tensors that nothing asked for; `num_batches_tracked`, which only
    /// training uses, is no error.
    pub fn finish(&self, network: &str) -> Result<(), Error> {
        let unused: Vec<String> = self
            .file
            .names()
            .filter(|name| !self.used.contains(*name) && !name.ends_with(".num_batches_tracked"))
            .map(String::from)
            .collect();
        if unused.is_empty() {
            return Ok(());
        }
        Err(Error::Unused { file: self.file.label().into(), network: network.into(), tensors: unused })
    }

    fn check_conv_shape(&self, name: &str, shape: &[usize], want: ConvShape) -> Result<(usize, usize), Error> {
        let inputs = if want.depthwise { 1 } else { want.in_channels };
        let outputs = if want.depthwise { Some(want.in_channels) } else { want.out_channels };
        if let &[o, i, kh, kw] = shape {
            let kernel_fits = want.kernel.map_or(kh % 2 == 1 && kh <= MAX_KERNEL, |k| k == kh);
            if i == inputs && kh == kw && kernel_fits && outputs.is_none_or(|n| n == o) {
                return Ok((o, kh));
            }
        }
        let o = outputs.map_or("O".to_string(), |o| o.to_string());
        let k = want.kernel.map_or("odd k".to_string(), |k| k.to_string());
        Err(self.wrong_shape(name, format!("[{o}, {inputs}, {k}, {k}]"), shape))
    }

    /// Whether an exporter folded the batch norm already: the convolution has a bias, the batch norm nothing.
    fn is_folded(&self, path: &str, norm: &str) -> bool {
        self.has(&format!("{path}.bias")) && !self.file.has_prefix(&format!("{norm}."))
    }

    /// A float convolution and its batch norm as one convolution.
    fn conv_norm(&mut self, path: &str, norm: &str, channels: usize) -> Result<ConvWeights, Error> {
        let shape = self.shape(&format!("{path}.weight"))?;
        let weight = self.floats(&format!("{path}.weight"), &shape)?;
        let bias_name = format!("{path}.bias");
        let bias = if self.has(&bias_name) { Some(self.parameter(&bias_name, &[channels])?) } else { None };
        let var_name = format!("{norm}.running_var");
        let batch_norm = BatchNorm {
            gamma: self.parameter(&format!("{norm}.weight"), &[channels])?,
            beta: self.parameter(&format!("{norm}.bias"), &[channels])?,
            mean: self.floats(&format!("{norm}.running_mean"), &[channels])?,
            var: self.floats(&var_name, &[channels])?,
            eps: self.eps,
        };
        if let Some((i, v)) = batch_norm.var.iter().enumerate().find(|(_, v)| **v < 0.0) {
            return Err(self.bad_value(&var_name, i, "a variance of at least 0", v));
        }
        self.parameters += weight.len() as u64;
        let (weight, bias) = fold(weight, bias, &batch_norm);
        let overflow = weight.iter().chain(&bias).position(|x| !x.is_finite());
        if let Some(i) = overflow {
            let expected = "finite weights after folding batch norm in";
            let channel = if i < weight.len() { i / (weight.len() / channels) } else { i - weight.len() };
            return Err(self.bad_value(&var_name, channel, expected, batch_norm.var[channel]));
        }
        Ok(ConvWeights::F32 { weight: weight.into(), bias: bias.into() })
    }

    /// Weights and bias of a layer without batch norm, in the network's precision.
    fn weights(&mut self, path: &str, shape: &[usize]) -> Result<ConvWeights, Error> {
        let name = format!("{path}.weight");
        let out = shape[0];
        let bias_name = format!("{path}.bias");
        if self.precision == Precision::F32 {
            let weight = self.parameter(&name, shape)?.into();
            return Ok(ConvWeights::F32 { weight, bias: self.parameter(&bias_name, &[out])?.into() });
        }
        let products: usize = shape[1..].iter().product();
        if products > MAX_PRODUCTS {
            let expected = format!("{shape:?} with at most {MAX_PRODUCTS} products a sum, more could overflow 32 bits");
            return Err(self.wrong_shape(&name, expected, shape));
        }
        let weight: Arc<[i8]> = match self.data(&name, shape, "I8", &["I8"])? {
            Data::I8(v) => v.into(),
            other => return Err(self.file.wrong_dtype(&name, "I8", &other.dtype().to_string())),
        };
        let bias: Arc<[f32]> = self.parameter(&bias_name, &[out])?.into();
        self.parameters += weight.len() as u64;
        Ok(ConvWeights::Int8 { weight, scale: self.weight_scales(path, out)?.into(), bias })
    }

    /// One scale for all output channels or one a channel; zero points, where the file states them, must be 0.
    fn weight_scales(&mut self, path: &str, out: usize) -> Result<Vec<f32>, Error> {
        let name = format!("{path}.weight_scale");
        let shape = self.shape(&name)?;
        if *shape != [1] && *shape != [out] {
            return Err(self.wrong_shape(&name, format!("[1] or [{out}]"), &shape));
        }
        let zero_name = format!("{path}.weight_zero_point");
        if self.has(&zero_name) {
            let zero_shape = self.shape(&zero_name)?;
            let zero_points = self.integers(&zero_name, &zero_shape)?;
            if let Some((i, z)) = zero_points.iter().enumerate().find(|(_, z)| **z != 0) {
                return Err(self.bad_value(&zero_name, i, "0 (int8 weights are symmetric)", z));
            }
        }
        self.scales(&name, &shape)
    }

    fn scales(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let scales = match self.data(name, shape, "F32", &["F32"])? {
            Data::F32(v) => v,
            other => return Err(self.file.wrong_dtype(name, "F32", &other.dtype().to_string())),
        };
        match scales.iter().enumerate().find(|(_, s)| !(s.is_finite() && **s > 0.0)) {
            Some((i, s)) => Err(self.bad_value(name, i, "a finite and positive scale", s)),
            None => Ok(scales),
        }
    }

    fn integers(&mut self, name: &str, shape: &[usize]) -> Result<Vec<i32>, Error> {
        match self.data(name, shape, "I32", &["I32"])? {
            Data::I32(v) => Ok(v),
            other => Err(self.file.wrong_dtype(name, "I32", &other.dtype().to_string())),
        }
    }

    /// Like [`Weights::floats`], counted as parameters of the network.
    fn parameter(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let values = self.floats(name, shape)?;
        self.parameters += values.len() as u64;
        Ok(values)
    }

    /// Finite f32 values, halves widened.
    fn floats(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>, Error> {
        let values = match self.data(name, shape, "F32 or F16", &["F32", "F16"])? {
            Data::F32(v) => v,
            Data::F16(v) => v.iter().map(|x| x.to_f32()).collect(),
            other => return Err(self.file.wrong_dtype(name, "F32 or F16", &other.dtype().to_string())),
        };
        match values.iter().enumerate().find(|(_, x)| !x.is_finite()) {
            Some((i, x)) => Err(self.bad_value(name, i, "a finite number", x)),
            None => Ok(values),
        }
    }

    /// The elements of a tensor of this shape and one of these types, marked as used.
    fn data(&mut self, name: &str, shape: &[usize], expected: &str, allowed: &[&str]) -> Result<Data, Error> {
        let found = self.shape(name)?;
        let dtype = self.file.entry(name).map_or("", |e| e.dtype.as_str());
        if !allowed.contains(&dtype) {
            return Err(self.file.wrong_dtype(name, expected, dtype));
        }
        if found != shape {
            return Err(self.wrong_shape(name, format!("{shape:?}"), &found));
        }
        self.used.insert(name.into());
        Ok(self.file.tensor(name)?.into_data())
    }

    /// Shape of a tensor that must be there.
    fn shape(&self, name: &str) -> Result<Vec<usize>, Error> {
        self.file.shape(name).map(<[usize]>::to_vec).ok_or_else(|| Error::Missing {
            file: self.file.label().into(),
            tensor: name.into(),
            hint: match self.precision {
                Precision::F32 => "the network needs it; was the whole state_dict saved?".into(),
                Precision::Int8 => "the int8 network needs it; tools/export.py writes all of them by walking the \
                     modules, since PyTorch's state_dict lacks some"
                    .into(),
            },
        })
    }

    fn wrong_shape(&self, tensor: &str, expected: String, found: &[usize]) -> Error {
        Error::Shape { file: self.file.label().into(), tensor: tensor.into(), expected, found: format!("{found:?}") }
    }

    fn bad_value(&self, tensor: &str, index: usize, expected: &str, found: impl std::fmt::Display) -> Error {
        Error::Value {
            file: self.file.label().into(),
            tensor: tensor.into(),
            index,
            expected: expected.into(),
            found: found.to_string(),
        }
    }
}
