//! A step of a plan: a kernel with its packed weights and tables, and the tensors it reads and writes.

mod build;
mod run;

use quantlens_kernels::{AddU8, ConvF32, ConvU8, LinearF32, LinearU8, Lut, MulU8, Numerics, Pool2d, QParams};

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

/// What a step runs, with everything that can be computed beforehand.
pub(crate) enum StepKernel {
    Quantize(QParams),
    Dequantize(QParams),
    ConvU8(ConvU8),
    ConvF32(ConvF32),
    LinearU8(LinearU8),
    LinearF32(LinearF32),
    MaxPoolU8(Pool2d),
    MaxPoolF32(Pool2d),
    AvgPoolU8 {
        numerics: Numerics,
        x: QParams,
        channels: usize,
    },
    AvgPoolF32 {
        channels: usize,
    },
    MeanU8 {
        numerics: Numerics,
        x: QParams,
        channels: usize,
    },
    MeanF32 {
        channels: usize,
    },
    AddU8(AddU8),
    AddF32 {
        relu: bool,
    },
    /// The second factor may have one value a channel; `swap` where that is the first input.
    MulU8 {
        mul: MulU8,
        channels: usize,
        swap: bool,
    },
    MulF32 {
        channels: usize,
        swap: bool,
    },
    ConcatU8 {
        parts: Vec<ConcatPart>,
        pixels: usize,
    },
    ConcatF32 {
        channels: Vec<usize>,
        pixels: usize,
    },
    SliceU8 {
        channels: usize,
        start: usize,
        len: usize,
    },
    SliceF32 {
        channels: usize,
        start: usize,
        len: usize,
    },
    ShuffleU8 {
        channels: usize,
        groups: usize,
    },
    ShuffleF32 {
        channels: usize,
        groups: usize,
    },
    /// Any int8 activation.
    Lut {
        name: &'static str,
        table: Box<Lut>,
    },
    ReluF32,
    Relu6F32,
    HardswishF32,
    HardsigmoidF32,
}

impl StepKernel {
    /// `<type>-<op>-<tile>-<isa>`; ops without variants have neither tile nor instruction set in their names.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Quantize(_) => "f32-quantize",
            Self::Dequantize(_) => "u8-dequantize",
            Self::ConvU8(conv) => conv.kernel_name(),
            Self::ConvF32(conv) => conv.kernel_name(),
            Self::LinearU8(linear) => linear.kernel_name(),
            Self::LinearF32(linear) => linear.kernel_name(),
            Self::MaxPoolU8(_) => "u8-maxpool",
            Self::MaxPoolF32(_) => "f32-maxpool",
            Self::AvgPoolU8 { .. } => "u8-avgpool",
            Self::AvgPoolF32 { .. } => "f32-avgpool",
            Self::MeanU8 { .. } => "u8-mean",
            Self::MeanF32 { .. } => "f32-mean",
            Self::AddU8(_) => "u8-add",
            Self::AddF32 { .. } => "f32-add",
            Self::MulU8 { .. } => "u8-mul",
            Self::MulF32 { .. } => "f32-mul",
            Self::ConcatU8 { .. } => "u8-concat",
            Self::ConcatF32 { .. } => "f32-concat",
            Self::SliceU8 { .. } => "u8-slice",
            Self::SliceF32 { .. } => "f32-slice",
            Self::ShuffleU8 { .. } => "u8-shuffle",
            Self::ShuffleF32 { .. } => "f32-shuffle",
            Self::Lut { name, .. } => name,
            Self::ReluF32 => "f32-relu",
            Self::Relu6F32 => "f32-relu6",
            Self::HardswishF32 => "f32-hardswish",
            Self::HardsigmoidF32 => "f32-hardsigmoid",
        }
    }

    /// Bytes of the packed weights.
    pub(crate) fn weight_bytes(&self) -> usize {
        match self {
            Self::ConvU8(conv) => conv.weight_bytes(),
            Self::ConvF32(conv) => conv.weight_bytes(),
            Self::LinearU8(linear) => linear.weight_bytes(),
            Self::LinearF32(linear) => linear.weight_bytes(),
            _ => 0,
        }
    }

    /// Scratch bytes that a run needs.
    pub(crate) fn scratch_bytes(&self) -> usize {
        match self {
            Self::ConvU8(conv) => conv.scratch_bytes(),
            Self::LinearU8(linear) => linear.scratch_bytes(),
            _ => 0,
        }
    }

    /// Scratch floats that a run needs.
    pub(crate) fn scratch_floats(&self) -> usize {
        match self {
            Self::ConvF32(conv) => conv.scratch_len(),
            Self::LinearF32(linear) => linear.scratch_len(),
            _ => 0,
        }
    }
}
