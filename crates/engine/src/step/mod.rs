//! A step of a plan: a kernel with its packed weights and tables, and the tensors it reads and writes.

mod build;
mod run;

use quantlens_kernels::{
    AddU8, Chain, ChannelView, ConvF32, ConvU8, ExpandDepthwiseF32, LinearF32, LinearU8, Lut, MulU8, Numerics, Pool2d,
    QParams,
};

pub(crate) use build::Context;

use crate::graph::TensorId;

/// Most inputs of a concatenation: a run keeps views of them in an array of this size.
pub(crate) const MAX_CONCAT: usize = 8;

/// One step.
pub(crate) struct Step {
    pub(crate) kernel: StepKernel,
    pub(crate) inputs: Vec<TensorId>,
    pub(crate) output: TensorId,
}

/// One input of an int8 concatenation.
pub(crate) struct ConcatPart {
    channels: usize,
    /// To the output's scale and zero point; none where they are the input's.
    lut: Option<Box<Lut>>,
}

/// What a step runs, with everything that can be computed beforehand; by the types it reads and writes.
pub(crate) enum StepKernel {
    /// f32 to u8.
    Quantize(QParams),
    /// u8 to f32.
    Dequantize(QParams),
    /// u8 to u8.
    Int8(Int8Kernel),
    /// f32 to f32.
    Float(FloatKernel),
}

/// Kernels from u8 to u8.
pub(crate) enum Int8Kernel {
    Conv(ConvU8),
    Chain(Chain<ConvU8>),
    Linear(LinearU8),
    MaxPool(Pool2d),
    AvgPool {
        numerics: Numerics,
        x: QParams,
        channels: usize,
    },
    Mean {
        numerics: Numerics,
        x: QParams,
        channels: usize,
    },
    Add(AddU8),
    /// The second factor may have one value a channel; `swap` where that is the first input.
    Mul {
        mul: MulU8,
        channels: usize,
        swap: bool,
    },
    Concat {
        parts: Vec<ConcatPart>,
        pixels: usize,
    },
    /// Two parts of as many channels, their elements in turns.
    ConcatShuffle {
        parts: Vec<ConcatPart>,
    },
    Slice {
        channels: usize,
        start: usize,
        len: usize,
    },
    Shuffle {
        channels: usize,
        groups: usize,
    },
    /// Any activation.
    Lut {
        name: &'static str,
        table: Box<Lut>,
    },
}

/// Kernels from f32 to f32.
pub(crate) enum FloatKernel {
    Conv(ConvF32),
    Chain(Chain<ConvF32>),
    ExpandDepthwise(ExpandDepthwiseF32),
    Linear(LinearF32),
    MaxPool(Pool2d),
    AvgPool {
        channels: usize,
    },
    Mean {
        channels: usize,
    },
    Add {
        relu: bool,
    },
    /// As in [`Int8Kernel::Mul`].
    Mul {
        channels: usize,
        swap: bool,
    },
    /// Channels of each input.
    Concat {
        channels: Vec<usize>,
        pixels: usize,
    },
    /// Two inputs of as many channels, their elements in turns; those of the first may be some of larger pixels.
    ConcatShuffle {
        view: ChannelView,
        channels: usize,
    },
    Slice {
        channels: usize,
        start: usize,
        len: usize,
    },
    Shuffle {
        channels: usize,
        groups: usize,
    },
    Relu,
    Relu6,
    Hardswish,
    Hardsigmoid,
}

impl StepKernel {
    /// `<type>-<op>-<tile>-<isa>`; ops without variants have neither tile nor instruction set in their names.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Quantize(_) => "f32-quantize",
            Self::Dequantize(_) => "u8-dequantize",
            Self::Int8(kernel) => kernel.name(),
            Self::Float(kernel) => kernel.name(),
        }
    }

    /// Bytes of the packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::Int8(Int8Kernel::Conv(conv)) => conv.weight_bytes(),
            Self::Int8(Int8Kernel::Linear(linear)) => linear.weight_bytes(),
            Self::Float(FloatKernel::Conv(conv)) => conv.weight_bytes(),
            Self::Float(FloatKernel::ExpandDepthwise(pair)) => pair.weight_bytes(),
            Self::Float(FloatKernel::Linear(linear)) => linear.weight_bytes(),
            _ => 0,
        }
    }

    /// Scratch bytes that a run needs.
    pub(crate) fn scratch_bytes(&self) -> usize {
        match self {
            Self::Int8(Int8Kernel::Conv(conv)) => conv.scratch_bytes(),
            Self::Int8(Int8Kernel::Chain(chain)) => chain.scratch_len(),
            Self::Int8(Int8Kernel::Linear(linear)) => linear.scratch_bytes(),
            _ => 0,
        }
    }

    /// Scratch floats that a run needs.
    pub(crate) fn scratch_floats(&self) -> usize {
        match self {
            Self::Float(FloatKernel::Conv(conv)) => conv.scratch_len(),
            Self::Float(FloatKernel::Chain(chain)) => chain.scratch_len(),
            Self::Float(FloatKernel::ExpandDepthwise(pair)) => pair.scratch_len(),
            Self::Float(FloatKernel::Linear(linear)) => linear.scratch_len(),
            _ => 0,
        }
    }
}

impl Int8Kernel {
    fn name(&self) -> &str {
        match self {
            Self::Conv(conv) => conv.kernel_name(),
            Self::Linear(linear) => linear.kernel_name(),
            Self::Chain(_) => "u8-chain",
            Self::MaxPool(_) => "u8-maxpool",
            Self::AvgPool { .. } => "u8-avgpool",
            Self::Mean { .. } => "u8-mean",
            Self::Add(_) => "u8-add",
            Self::Mul { .. } => "u8-mul",
            Self::Concat { .. } => "u8-concat",
            Self::ConcatShuffle { .. } => "u8-concat-shuffle",
            Self::Slice { .. } => "u8-slice",
            Self::Shuffle { .. } => "u8-shuffle",
            Self::Lut { name, .. } => name,
        }
    }
}

impl FloatKernel {
    fn name(&self) -> &str {
        match self {
            Self::Conv(conv) => conv.kernel_name(),
            Self::ExpandDepthwise(pair) => pair.kernel_name(),
            Self::Linear(linear) => linear.kernel_name(),
            Self::Chain(_) => "f32-chain",
            Self::MaxPool(_) => "f32-maxpool",
            Self::AvgPool { .. } => "f32-avgpool",
            Self::Mean { .. } => "f32-mean",
            Self::Add { .. } => "f32-add",
            Self::Mul { .. } => "f32-mul",
            Self::Concat { .. } => "f32-concat",
            Self::ConcatShuffle { .. } => "f32-concat-shuffle",
            Self::Slice { .. } => "f32-slice",
            Self::Shuffle { .. } => "f32-shuffle",
            Self::Relu => "f32-relu",
            Self::Relu6 => "f32-relu6",
            Self::Hardswish => "f32-hardswish",
            Self::Hardsigmoid => "f32-hardsigmoid",
        }
    }
}
