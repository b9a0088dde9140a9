//! From a node of a checked graph to its kernel: int8 or f32 by the tensors' quantization, packed and tabulated.

use quantlens_kernels as kernels;
use quantlens_kernels::{
    Activation, AddU8, ChannelView, Conv2d, ConvF32, ConvF32Parts, ConvU8, ExpandDepthwiseF32, Isa, LinearF32,
    LinearU8, MulU8, Numerics, Pool2d, QParams, Requantize, lut_hardsigmoid, lut_hardswish, lut_relu, lut_requantize,
};

use super::{ConcatPart, FloatKernel, Int8Kernel, MAX_CONCAT, Step, StepKernel};
use crate::Error;
use crate::graph::{Conv, ConvWeights, Graph, Linear, Node, Op, Pool, TensorId};
use crate::plan::Framed;

/// What making a step needs to know; `shapes` are those of all tensors, checked.
pub(crate) struct Context<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) shapes: &'a [[usize; 3]],
    pub(crate) isa: Isa,
    /// The tensor that lies in memory with its reader's padding around it.
    pub(crate) framed: Option<Framed>,
}

impl Context<'_> {
    pub(crate) fn shape(&self, id: TensorId) -> [usize; 3] {
        self.shapes[id.index()]
    }

    /// Where the channels that a slice takes lie in its input's pixels.
    fn view(&self, slice: &Node) -> Option<ChannelView> {
        let Op::SliceChannels { start, .. } = slice.op else { return None };
        Some(ChannelView { pixel_len: self.shape(slice.inputs[0])[2], first: start })
    }
}

impl Step {
    /// The step of `node`, with `activation` as its epilogue (f32 only), writing `output`: of a concatenation, that of the shuffle
    /// after it where it is not the node's.
    pub(crate) fn new(
        context: &Context<'_>,
        node: &Node,
        activation: Activation,
        output: TensorId,
    ) -> Result<Self, Error> {
        let maker = Maker { context, node, activation, shuffled: node.op == Op::Concat && output != node.output };
        Ok(Self { kernel: maker.kernel()?, inputs: node.inputs.clone(), output })
    }

    /// The step of a pointwise convolution and the depthwise one after it, each with its activation, on what `slice` takes where there is
    /// one; none where no kernel serves the two.
    pub(crate) fn expand_depthwise(
        context: &Context<'_>,
        slice: Option<&Node>,
        nodes: [(&Node, Activation); 2],
        output: TensorId,
    ) -> Result<Option<Self>, Error> {
        let [expand, depthwise] = nodes.map(|(node, activation)| Maker { context, node, activation, shuffled: false });
        let (Op::Conv(first), Op::Conv(second)) = (&expand.node.op, &depthwise.node.op) else { return Ok(None) };
        let geometries = [expand.geometry(first), depthwise.geometry(second)];
        let parts = [expand.parts(first, &geometries[0])?, depthwise.parts(second, &geometries[1])?];
        let made =
            ExpandDepthwiseF32::new(context.isa, slice.and_then(|slice| context.view(slice)), &parts[0], &parts[1]);
        let step = |kernel| Self {
            kernel: StepKernel::Float(FloatKernel::ExpandDepthwise(kernel)),
            inputs: slice.unwrap_or(expand.node).inputs.clone(),
            output,
        };
        Ok(made.map_err(|e| depthwise.kernel_error(e))?.map(step))
    }

    /// The step of a convolution and of the sum after it, with `activation` as the epilogue of both (f32 only); none where the sum's
    /// arithmetic wants an op of its own.
    pub(crate) fn conv_add(
        context: &Context<'_>,
        (node, activation): (&Node, Activation),
        (sum, residual): (&Node, TensorId),
    ) -> Result<Option<Self>, Error> {
        let maker = Maker { context, node, activation, shuffled: false };
        let (Op::Conv(conv), &Op::Add { relu }) = (&node.op, &sum.op) else { return Ok(None) };
        let quant = |id: TensorId| context.graph.tensor(id).quant;
        let made = (quant(node.inputs[0]), quant(node.output), quant(residual), quant(sum.output));
        let kernel = match (made, context.graph.numerics()) {
            ((None, None, None, None), _) => {
                let geometry = maker.geometry(conv);
                let parts = maker.parts(conv, &geometry)?;
                let made = ConvF32::with_residual(context.isa, &parts).map_err(|e| maker.kernel_error(e))?;
                StepKernel::Float(FloatKernel::Conv(made))
            }
            ((Some(x), Some(out), Some(residual), Some(total)), Some(numerics)) => {
                let add = AddU8::new(numerics, out, residual, total, relu);
                let add = add.map_err(|e| Maker { node: sum, ..maker }.kernel_error(e))?;
                if !add.fits_epilogue(context.shape(sum.output).iter().product()) {
                    return Ok(None);
                }
                StepKernel::Int8(Int8Kernel::Conv(maker.conv_u8(conv, Int8 { numerics, x, out }, Some(add))?))
            }
            _ => return Ok(None),
        };
        Ok(Some(Self { kernel, inputs: vec![node.inputs[0], residual], output: sum.output }))
    }

    /// The step of a concatenation of two floats' halves and the shuffle after it, the first of which are what `slice` takes.
    pub(crate) fn concat_shuffle_view(
        context: &Context<'_>,
        slice: &Node,
        concat: &Node,
        output: TensorId,
    ) -> Option<Self> {
        let (view, channels) = (context.view(slice)?, context.shape(slice.output)[2]);
        let inputs = vec![slice.inputs[0], *concat.inputs.get(1)?];
        Some(Self { kernel: StepKernel::Float(FloatKernel::ConcatShuffle { view, channels }), inputs, output })
    }
}

struct Maker<'a> {
    context: &'a Context<'a>,
    node: &'a Node,
    activation: Activation,
    /// Whether a concatenation is shuffled.
    shuffled: bool,
}

impl Maker<'_> {
    fn kernel(&self) -> Result<StepKernel, Error> {
        let quant = self.context.graph.tensor(self.node.output).quant;
        let x = self.context.graph.tensor(self.node.inputs[0]).quant;
        match (x, quant, self.context.graph.numerics()) {
            (None, None, _) => self.float().map(StepKernel::Float),
            (None, Some(out), _) => Ok(StepKernel::Quantize(out)),
            (Some(x), None, _) => Ok(StepKernel::Dequantize(x)),
            (Some(x), Some(out), Some(numerics)) => self.int8(Int8 { numerics, x, out }).map(StepKernel::Int8),
            (Some(_), Some(_), None) => Err(self.unsupported("int8 without numerics")),
        }
    }

    fn unsupported(&self, why: &str) -> Error {
        let tensor = self.context.graph.tensor(self.node.output).name.clone();
        Error::Op { tensor, op: self.node.op.name(), why: why.into() }
    }

    fn kernel_error(&self, source: kernels::Error) -> Error {
        Error::Kernel { tensor: self.context.graph.tensor(self.node.output).name.clone(), source }
    }

    fn in_shape(&self, i: usize) -> [usize; 3] {
        self.context.shape(self.node.inputs[i])
    }

    fn pool(&self, pool: &Pool) -> Result<Pool2d, Error> {
        let [in_h, in_w, channels] = self.in_shape(0);
        let Pool { kernel, stride, padding } = *pool;
        let pool = Pool2d { in_h, in_w, channels, kernel, stride, padding };
        pool.check().map_err(|e| self.kernel_error(e))?;
        Ok(pool)
    }

    /// Whether the first factor of a product is the one with a value a channel.
    fn swap_factors(&self) -> bool {
        self.in_shape(0) != self.context.shape(self.node.output)
    }

    /// Channels of each input of a concatenation, and pixels of all.
    fn concat(&self) -> Result<(Vec<usize>, usize), Error> {
        let inputs = self.node.inputs.len();
        if inputs > MAX_CONCAT {
            return Err(self.unsupported(&format!("expected at most {MAX_CONCAT} inputs, found {inputs}")));
        }
        let [h, w, _] = self.in_shape(0);
        Ok(((0..inputs).map(|i| self.in_shape(i)[2]).collect(), h * w))
    }

    fn float(&self) -> Result<FloatKernel, Error> {
        let [_, _, channels] = self.in_shape(0);
        Ok(match &self.node.op {
            Op::Conv(conv) => FloatKernel::Conv(self.conv_f32(conv)?),
            Op::Linear(linear) => FloatKernel::Linear(self.linear_f32(linear)?),
            Op::MaxPool(pool) => FloatKernel::MaxPool(self.pool(pool)?),
            Op::AdaptiveAvgPool => FloatKernel::AvgPool { channels },
            Op::Mean => FloatKernel::Mean { channels },
            &Op::Add { relu } => FloatKernel::Add { relu },
            Op::Mul => FloatKernel::Mul { channels, swap: self.swap_factors() },
            Op::Concat => {
                let (channels, pixels) = self.concat()?;
                if self.shuffled {
                    let channels = channels[0];
                    FloatKernel::ConcatShuffle { view: ChannelView { pixel_len: channels, first: 0 }, channels }
                } else {
                    FloatKernel::Concat { channels, pixels }
                }
            }
            &Op::SliceChannels { start, len } => FloatKernel::Slice { channels, start, len },
            &Op::ChannelShuffle { groups } => FloatKernel::Shuffle { channels, groups },
            Op::Relu => FloatKernel::Relu,
            Op::Relu6 => FloatKernel::Relu6,
            Op::Hardswish => FloatKernel::Hardswish,
            Op::Hardsigmoid => FloatKernel::Hardsigmoid,
            Op::Quantize | Op::Dequantize => return Err(self.unsupported("between f32 tensors")),
        })
    }

    fn int8(&self, int8: Int8) -> Result<Int8Kernel, Error> {
        let Int8 { numerics, x, out } = int8;
        let [_, _, channels] = self.in_shape(0);
        let second = || self.context.graph.tensor(self.node.inputs[1]).quant.unwrap_or(x);
        Ok(match &self.node.op {
            Op::Conv(conv) => Int8Kernel::Conv(self.conv_u8(conv, int8, None)?),
            Op::Linear(linear) => Int8Kernel::Linear(self.linear_u8(linear, int8)?),
            Op::MaxPool(pool) => Int8Kernel::MaxPool(self.pool(pool)?),
            Op::AdaptiveAvgPool => Int8Kernel::AvgPool { numerics, x, channels },
            Op::Mean => Int8Kernel::Mean { numerics, x, channels },
            &Op::Add { relu } => {
                let add = AddU8::new(numerics, x, second(), out, relu);
                Int8Kernel::Add(add.map_err(|e| self.kernel_error(e))?)
            }
            Op::Mul => {
                let swap = self.swap_factors();
                let (a, b) = if swap { (second(), x) } else { (x, second()) };
                let mul = MulU8::new(a, b, out).map_err(|e| self.kernel_error(e))?;
                Int8Kernel::Mul { mul, channels, swap }
            }
            Op::Concat => self.concat_u8(int8)?,
            &Op::SliceChannels { start, len } => Int8Kernel::Slice { channels, start, len },
            &Op::ChannelShuffle { groups } => Int8Kernel::Shuffle { channels, groups },
            Op::Relu => Int8Kernel::Lut { name: "u8-relu-lut", table: lut_relu(x.zero_point).into() },
            Op::Hardswish => {
                Int8Kernel::Lut { name: "u8-hardswish-lut", table: lut_hardswish(numerics, x, out).into() }
            }
            Op::Hardsigmoid => {
                Int8Kernel::Lut { name: "u8-hardsigmoid-lut", table: lut_hardsigmoid(numerics, x).into() }
            }
            Op::Relu6 => return Err(self.unsupported("int8 networks have ReLU6 as a ReLU fused into its convolution")),
            Op::Quantize | Op::Dequantize => return Err(self.unsupported("between quantized tensors")),
        })
    }

    fn geometry(&self, conv: &Conv) -> Conv2d {
        let [in_h, in_w, in_c] = self.in_shape(0);
        let Conv { out_channels, kernel, stride, padding, groups, .. } = *conv;
        let conv = Conv2d { in_h, in_w, in_c, out_c: out_channels, kernel, stride, padding, groups };
        if self.context.framed.is_some_and(|framed| framed.tensor == self.node.inputs[0]) {
            return Conv2d { in_h: in_h + 2 * padding[0], in_w: in_w + 2 * padding[1], padding: [0, 0], ..conv };
        }
        conv
    }

    fn conv_f32(&self, conv: &Conv) -> Result<ConvF32, Error> {
        let geometry = self.geometry(conv);
        let ConvF32Parts { conv, weights, bias, activation } = self.parts(conv, &geometry)?;
        ConvF32::new(self.context.isa, conv, weights, bias, activation).map_err(|e| self.kernel_error(e))
    }

    fn parts<'w>(&self, conv: &'w Conv, geometry: &'w Conv2d) -> Result<ConvF32Parts<'w>, Error> {
        let ConvWeights::F32 { weight, bias } = &conv.weights else {
            return Err(self.unsupported("expected f32 weights, found i8"));
        };
        Ok(ConvF32Parts { conv: geometry, weights: weight, bias, activation: self.activation })
    }

    fn linear_f32(&self, linear: &Linear) -> Result<LinearF32, Error> {
        let ConvWeights::F32 { weight, bias } = &linear.weights else {
            return Err(self.unsupported("expected f32 weights, found i8"));
        };
        let (inputs, outputs) = (linear.in_features, linear.out_features);
        let made = LinearF32::new(self.context.isa, inputs, outputs, weight, bias, self.activation);
        made.map_err(|e| self.kernel_error(e))
    }

    fn conv_u8(&self, conv: &Conv, int8: Int8, residual: Option<AddU8>) -> Result<ConvU8, Error> {
        let geometry = self.geometry(conv);
        let (weight, mut requantize) = self.requantize(&conv.weights, &geometry, int8, conv.relu)?;
        if let Some(add) = residual {
            requantize = requantize.with_residual(add);
        }
        let made = ConvU8::new(self.context.isa, &geometry, weight, int8.x.zero_point, requantize);
        made.map_err(|e| self.kernel_error(e))
    }

    fn linear_u8(&self, linear: &Linear, int8: Int8) -> Result<LinearU8, Error> {
        let (inputs, outputs) = (linear.in_features, linear.out_features);
        let (weight, requantize) = self.requantize(&linear.weights, &Conv2d::linear(inputs, outputs), int8, false)?;
        let made = LinearU8::new(self.context.isa, inputs, outputs, weight, int8.x.zero_point, requantize);
        made.map_err(|e| self.kernel_error(e))
    }

    /// Weights with the constants of the epilogue.
    fn requantize<'w>(
        &self,
        weights: &'w ConvWeights,
        geometry: &Conv2d,
        int8: Int8,
        relu: bool,
    ) -> Result<(&'w [i8], Requantize), Error> {
        let ConvWeights::Int8 { weight, scale, bias } = weights else {
            return Err(self.unsupported("expected i8 weights, found f32"));
        };
        // Sums of weights fit i32 only for a geometry that passes.
        geometry.check().map_err(|e| self.kernel_error(e))?;
        let sums = geometry.weight_sums(weight);
        let made = Requantize::new(int8.numerics, int8.x, scale, bias, &sums, int8.out, relu);
        Ok((weight, made.map_err(|e| self.kernel_error(e))?))
    }

    fn concat_u8(&self, int8: Int8) -> Result<Int8Kernel, Error> {
        let (channels, pixels) = self.concat()?;
        let parts = channels.iter().zip(&self.node.inputs).map(|(&channels, &id)| {
            let x = self.context.graph.tensor(id).quant.unwrap_or(int8.x);
            let lut = (x != int8.out).then(|| Box::new(lut_requantize(x, int8.out)));
            ConcatPart { channels, lut }
        });
        let parts: Vec<_> = parts.collect();
        Ok(if self.shuffled { Int8Kernel::ConcatShuffle { parts } } else { Int8Kernel::Concat { parts, pixels } })
    }
}

/// Quantization of an int8 op's first input and its output.
#[derive(Clone, Copy)]
struct Int8 {
    numerics: Numerics,
    x: QParams,
    out: QParams,
}
