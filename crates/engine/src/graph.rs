//! What to compute: ops in order over named tensors. Shapes of activations are not part of a graph; they follow from
//! the input size when a plan is made.

use std::collections::HashMap;
use std::sync::Arc;

use quantlens_kernels::{Numerics, QParams};

/// A tensor of a graph, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(usize);

impl TensorId {
    /// The input of every graph.
    pub(crate) const INPUT: Self = Self(0);

    /// Position in [`Graph::tensors`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// A named activation. Quantized activations are u8, all others f32.
#[derive(Debug, Clone, PartialEq)]
pub struct TensorInfo {
    /// torchvision's module path, for example `features.18.0`.
    pub name: String,
    /// Further paths whose output is this very tensor (a block whose last module made it; an identity).
    pub aliases: Vec<String>,
    /// Scale and zero point; none for f32.
    pub quant: Option<QParams>,
}

/// Weights of a convolution (OIHW) or linear layer (OI), shared by all plans.
#[derive(Debug, Clone, PartialEq)]
pub enum ConvWeights {
    /// Float weights, batch norm already folded in.
    F32 {
        /// Weights, `out_channels * in_channels / groups * kernel_h * kernel_w` of them.
        weight: Arc<[f32]>,
        /// One a channel.
        bias: Arc<[f32]>,
    },
    /// Symmetric signed weights (zero point 0).
    Int8 {
        /// Weights, counted as above.
        weight: Arc<[i8]>,
        /// Scales: one for all, or one an output channel.
        scale: Arc<[f32]>,
        /// Float bias, one a channel.
        bias: Arc<[f32]>,
    },
}

/// A 2-d convolution.
#[derive(Debug, Clone, PartialEq)]
pub struct Conv {
    /// Input channels, of all groups together.
    pub in_channels: usize,
    /// Output channels, of all groups together.
    pub out_channels: usize,
    /// Kernel height and width.
    pub kernel: [usize; 2],
    /// Strides, vertical and horizontal.
    pub stride: [usize; 2],
    /// Padding on each side, vertical and horizontal; filled with real zeros.
    pub padding: [usize; 2],
    /// Groups; equal to both channel counts for depthwise.
    pub groups: usize,
    /// Whether the output is clamped at real zero from below (int8 `ConvReLU2d`).
    pub relu: bool,
    /// Weights and bias.
    pub weights: ConvWeights,
}

/// A fully connected layer over a flattened input.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Input features.
    pub in_features: usize,
    /// Output features.
    pub out_features: usize,
    /// Weights and bias.
    pub weights: ConvWeights,
}

/// A pooling window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Strides, vertical and horizontal.
    pub stride: [usize; 2],
    /// Padding on each side, vertical and horizontal; never the maximum, and not counted in averages.
    pub padding: [usize; 2],
}

/// One operation. Whether it is int8 or f32 follows from its tensors.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Op {
    /// f32 to u8.
    Quantize,
    /// u8 to f32.
    Dequantize,
    /// 2-d convolution.
    Conv(Conv),
    /// Fully connected layer over a flattened 1x1 map.
    Linear(Linear),
    /// Maximum of each window.
    MaxPool(Pool),
    /// Average over the whole map to 1x1, as `AdaptiveAvgPool2d(1)` computes it.
    AdaptiveAvgPool,
    /// Average over the whole map to 1x1, as `mean([2, 3])` computes it (another rounding in int8).
    Mean,
    /// Elementwise sum of two tensors, clamped at real zero from below where `relu`.
    Add {
        /// `add_relu`.
        relu: bool,
    },
    /// Elementwise product; the second input may be 1x1 (one factor a channel).
    Mul,
    /// Concatenation along channels; int8 inputs are requantized to the output's scale.
    Concat,
    /// The channels `start .. start + len`.
    SliceChannels {
        /// First channel.
        start: usize,
        /// Number of channels.
        len: usize,
    },
    /// Channel `g * (c / groups) + i` of the input becomes channel `i * groups + g`.
    ChannelShuffle {
        /// Groups.
        groups: usize,
    },
    /// max(x, 0).
    Relu,
    /// min(max(x, 0), 6).
    Relu6,
    /// x * relu6(x + 3) / 6.
    Hardswish,
    /// relu6(x + 3) / 6; int8 output always has scale 1/256 and zero point 0.
    Hardsigmoid,
}

impl Op {
    /// The op's name in step lists and messages, for example `conv` or `add_relu`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Quantize => "quantize",
            Self::Dequantize => "dequantize",
            Self::Conv(conv) if conv.relu => "conv_relu",
            Self::Conv(_) => "conv",
            Self::Linear(_) => "linear",
            Self::MaxPool(_) => "max_pool",
            Self::AdaptiveAvgPool => "avg_pool",
            Self::Mean => "mean",
            Self::Add { relu: false } => "add",
            Self::Add { relu: true } => "add_relu",
            Self::Mul => "mul",
            Self::Concat => "concat",
            Self::SliceChannels { .. } => "slice",
            Self::ChannelShuffle { .. } => "shuffle",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::Hardswish => "hardswish",
            Self::Hardsigmoid => "hardsigmoid",
        }
    }
}

/// An operation with its tensors.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What to do.
    pub op: Op,
    /// Inputs, in the op's order.
    pub inputs: Vec<TensorId>,
    /// Output; each tensor has one producer.
    pub output: TensorId,
}

/// Ops in order over named tensors; made by [`GraphBuilder`], immutable after.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    network: String,
    numerics: Option<Numerics>,
    tensors: Vec<TensorInfo>,
    nodes: Vec<Node>,
    names: HashMap<String, TensorId>,
    output: TensorId,
}

impl Graph {
    /// The network's name, for example `mobilenet_v2`.
    pub fn network(&self) -> &str {
        &self.network
    }

    /// Whose int8 arithmetic applies; none for a float network.
    pub fn numerics(&self) -> Option<Numerics> {
        self.numerics
    }

    /// All tensors; the first is the input (f32, 3 channels, name `input`).
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// The tensor of an id.
    pub fn tensor(&self, id: TensorId) -> &TensorInfo {
        &self.tensors[id.0]
    }

    /// Ops in the order they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The input.
    pub fn input(&self) -> TensorId {
        TensorId::INPUT
    }

    /// The output: f32 logits, one a class.
    pub fn output(&self) -> TensorId {
        self.output
    }

    /// The tensor with this name or alias.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.names.get(name).copied()
    }

    /// Every name and alias, with its tensor.
    pub(crate) fn names(&self) -> &HashMap<String, TensorId> {
        &self.names
    }
}

/// Builds a [`Graph`] op by op.
#[derive(Debug)]
pub struct GraphBuilder {
    graph: Graph,
}

impl GraphBuilder {
    /// A graph with its input alone.
    pub fn new(network: &str, numerics: Option<Numerics>) -> Self {
        let input = TensorInfo { name: "input".into(), aliases: Vec::new(), quant: None };
        let graph = Graph {
            network: network.into(),
            numerics,
            tensors: vec![input],
            nodes: Vec::new(),
            names: HashMap::from([("input".to_string(), TensorId::INPUT)]),
            output: TensorId::INPUT,
        };
        Self { graph }
    }

    /// The graph's input.
    pub fn input(&self) -> TensorId {
        TensorId::INPUT
    }

    /// Adds an op whose output is named `name` and quantized as `quant` says; returns the output.
    ///
    /// # Panics
    /// If the name is taken: names come from the network builders, not from users.
    pub fn push(&mut self, op: Op, inputs: &[TensorId], name: &str, quant: Option<QParams>) -> TensorId {
        let id = TensorId(self.graph.tensors.len());
        self.claim(name, id);
        self.graph.tensors.push(TensorInfo { name: name.into(), aliases: Vec::new(), quant });
        self.graph.nodes.push(Node { op, inputs: inputs.to_vec(), output: id });
        id
    }

    /// Gives a tensor a further name.
    ///
    /// # Panics
    /// If the name is taken.
    pub fn alias(&mut self, id: TensorId, name: &str) {
        self.claim(name, id);
        self.graph.tensors[id.0].aliases.push(name.into());
    }

    /// Scale and zero point of a tensor made so far.
    pub fn quant(&self, id: TensorId) -> Option<QParams> {
        self.graph.tensors[id.0].quant
    }

    /// The finished graph.
    pub fn finish(mut self, output: TensorId) -> Graph {
        self.graph.output = output;
        self.graph
    }

    fn claim(&mut self, name: &str, id: TensorId) {
        let taken = self.graph.names.insert(name.into(), id);
        assert!(taken.is_none(), "tensor name {name} is taken");
    }
}
