//! What the four architectures share: layers by module path, appended to a graph with torchvision's names.
//!
//! In a float network a convolution's tensor is named after its batch norm, which is folded in, and the activation
//! makes a tensor of its own; in an int8 network convolution, batch norm and ReLU are one op named after the
//! convolution, and the other paths are aliases. All other names are the same in both.

use quantlens_engine::{Conv, GraphBuilder, Linear, Numerics, Op, Pool, QParams, TensorId};

use crate::weights::{ConvShape, Weights};
use crate::{Error, ModelFile, Precision};

/// A tensor of the graph with its number of channels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Feature {
    pub id: TensorId,
    pub channels: usize,
}

/// Nonlinearity after a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    Relu,
    Relu6,
    Hardswish,
}

/// A convolution with the batch norm and activation that follow it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ConvSpec<'a> {
    /// Path of the convolution.
    pub conv: &'a str,
    /// Path of its batch norm.
    pub norm: Option<&'a str>,
    /// Activation and its path.
    pub activation: Option<(Activation, &'a str)>,
    /// Output channels; none: as the file says.
    pub out_channels: Option<usize>,
    /// Kernel side; none: as the file says.
    pub kernel: Option<usize>,
    pub stride: usize,
    pub depthwise: bool,
}

impl<'a> ConvSpec<'a> {
    /// A dense 1x1 convolution of stride 1 at this path and nothing after it.
    pub fn pointwise(conv: &'a str) -> Self {
        Self { conv, norm: None, activation: None, out_channels: None, kernel: Some(1), stride: 1, depthwise: false }
    }
}

/// A network under construction.
pub(crate) struct NetBuilder<'a> {
    pub weights: Weights<'a>,
    graph: GraphBuilder,
}

impl<'a> NetBuilder<'a> {
    pub fn new(weights: Weights<'a>, network: &str, numerics: Option<Numerics>) -> Self {
        Self { weights, graph: GraphBuilder::new(network, numerics) }
    }

    pub fn file(&self) -> &'a ModelFile {
        self.weights.file()
    }

    pub fn int8(&self) -> bool {
        self.weights.precision() == Precision::Int8
    }

    /// The network's input, quantized where the network is int8.
    pub fn input(&mut self) -> Result<Feature, Error> {
        let mut id = self.graph.input();
        if self.int8() {
            let quant = self.weights.qparams("quant")?;
            id = self.graph.push(Op::Quantize, &[id], "quant", Some(quant));
        }
        Ok(Feature { id, channels: 3 })
    }

    /// The finished graph with its weights' reader; `x` is the last layer's output.
    pub fn finish(mut self, x: Feature) -> (quantlens_engine::Graph, Weights<'a>) {
        let mut output = x.id;
        if self.int8() {
            output = self.graph.push(Op::Dequantize, &[output], "dequant", None);
        }
        self.graph.alias(output, "logits");
        (self.graph.finish(output), self.weights)
    }

    /// Further path of a tensor.
    pub fn alias(&mut self, x: Feature, name: &str) {
        self.graph.alias(x.id, name);
    }

    /// Convolution, folded batch norm and activation.
    pub fn conv(&mut self, x: Feature, spec: ConvSpec<'_>) -> Result<Feature, Error> {
        let want = ConvShape {
            in_channels: x.channels,
            out_channels: spec.out_channels,
            kernel: spec.kernel,
            depthwise: spec.depthwise,
        };
        let layer = self.weights.conv(spec.conv, spec.norm, want)?;
        let relu = matches!(spec.activation, Some((Activation::Relu | Activation::Relu6, _)));
        let conv = Conv {
            in_channels: x.channels,
            out_channels: layer.out_channels,
            kernel: [layer.kernel; 2],
            stride: [spec.stride; 2],
            padding: [layer.kernel / 2; 2],
            groups: if spec.depthwise { x.channels } else { 1 },
            relu: relu && self.int8(),
            weights: layer.weights,
        };
        let channels = conv.out_channels;
        if !self.int8() {
            let id = self.graph.push(Op::Conv(conv), &[x.id], spec.norm.unwrap_or(spec.conv), None);
            return self.activate(Feature { id, channels }, spec.activation);
        }
        let quant = self.weights.qparams(spec.conv)?;
        let id = self.graph.push(Op::Conv(conv), &[x.id], spec.conv, Some(quant));
        if let Some(norm) = spec.norm {
            self.graph.alias(id, norm);
        }
        match spec.activation {
            Some((Activation::Relu | Activation::Relu6, path)) => {
                self.graph.alias(id, path);
                Ok(Feature { id, channels })
            }
            other => self.activate(Feature { id, channels }, other),
        }
    }

    /// An activation as an op of its own.
    fn activate(&mut self, x: Feature, activation: Option<(Activation, &str)>) -> Result<Feature, Error> {
        match activation {
            None => Ok(x),
            Some((Activation::Relu, path)) => Ok(self.inherit(Op::Relu, x, path)),
            Some((Activation::Relu6, path)) => Ok(self.inherit(Op::Relu6, x, path)),
            Some((Activation::Hardswish, path)) => self.hardswish(x, path),
        }
    }

    pub fn hardswish(&mut self, x: Feature, path: &str) -> Result<Feature, Error> {
        self.functional(Op::Hardswish, &[x], x.channels, path)
    }

    /// Hardsigmoid; PyTorch fixes its int8 output at scale 1/256 and zero point 0.
    pub fn hardsigmoid(&mut self, x: Feature, path: &str) -> Feature {
        let quant = self.int8().then_some(QParams { scale: 1.0 / 256.0, zero_point: 0 });
        Feature { id: self.graph.push(Op::Hardsigmoid, &[x.id], path, quant), channels: x.channels }
    }

    /// An op whose int8 output has a scale and zero point of its own, stored under `path`.
    pub fn functional(&mut self, op: Op, inputs: &[Feature], channels: usize, path: &str) -> Result<Feature, Error> {
        let quant = if self.int8() { Some(self.weights.qparams(path)?) } else { None };
        let ids: Vec<TensorId> = inputs.iter().map(|x| x.id).collect();
        Ok(Feature { id: self.graph.push(op, &ids, path, quant), channels })
    }

    /// Allows the scale and zero point of a functional module that this block never calls: converted torchvision
    /// models carry them.
    pub fn ignore_functional(&mut self, path: &str) {
        self.weights.ignore(&format!("{path}.scale"));
        self.weights.ignore(&format!("{path}.zero_point"));
    }

    /// An op whose output keeps the input's channels, scale and zero point.
    pub fn inherit(&mut self, op: Op, x: Feature, path: &str) -> Feature {
        let quant = self.graph.quant(x.id);
        Feature { id: self.graph.push(op, &[x.id], path, quant), channels: x.channels }
    }

    /// The channels `start .. start + len`.
    pub fn slice(&mut self, x: Feature, start: usize, len: usize, path: &str) -> Feature {
        let quant = self.graph.quant(x.id);
        let id = self.graph.push(Op::SliceChannels { start, len }, &[x.id], path, quant);
        Feature { id, channels: len }
    }

    /// The 3x3 stride 2 maximum after ResNet's and ShuffleNet's stem.
    pub fn stem_pool(&mut self, x: Feature) -> Feature {
        self.inherit(Op::MaxPool(Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }), x, "maxpool")
    }

    pub fn linear(&mut self, x: Feature, path: &str) -> Result<Feature, Error> {
        let layer = self.weights.linear(path, x.channels)?;
        let out_features = layer.out_channels;
        let linear = Linear { in_features: x.channels, out_features, weights: layer.weights };
        self.functional(Op::Linear(linear), &[x], out_features, path)
    }
}
