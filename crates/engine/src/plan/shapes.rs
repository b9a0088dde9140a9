//! Shapes of all tensors, from the input size: `[height, width, channels]` each.

use crate::graph::{Conv, ConvWeights, Graph, Linear, Node, Op, Pool, TensorId};
use crate::{Error, QParams};

/// Elements of the largest tensor that a plan accepts: kernels index with 32 bits in places.
const MAX_ELEMENTS: usize = i32::MAX as usize;

/// Channels of every graph's input.
const INPUT_CHANNELS: usize = 3;

/// Infers every tensor's shape, checking each op's channels, windows and quantization on the way.
///
/// # Errors
/// [`Error::Shape`], [`Error::Op`] or, for a size of zero, [`Error::Setting`].
pub(super) fn infer(graph: &Graph, height: usize, width: usize) -> Result<Vec<[usize; 3]>, Error> {
    if height == 0 || width == 0 {
        return Err(Error::Setting(format!("input size {height}x{width}: both sides must be at least 1")));
    }
    let mut shapes = vec![[0; 3]; graph.tensors().len()];
    shapes[graph.input().index()] = [height, width, INPUT_CHANNELS];
    check_elements("input", shapes[graph.input().index()])?;
    for node in graph.nodes() {
        let infer = Infer { graph, node, shapes: &shapes };
        infer.check_inputs()?;
        infer.check_quant()?;
        let shape = infer.output()?;
        check_elements(infer.name(), shape)?;
        shapes[node.output.index()] = shape;
    }
    Ok(shapes)
}

fn check_elements(tensor: &str, [h, w, c]: [usize; 3]) -> Result<(), Error> {
    match h.checked_mul(w).and_then(|n| n.checked_mul(c)) {
        Some(0) => Err(Error::Shape { tensor: tensor.into(), why: format!("{h}x{w} with {c} channels is empty") }),
        Some(n) if n <= MAX_ELEMENTS => Ok(()),
        _ => Err(Error::Shape {
            tensor: tensor.into(),
            why: format!("{h}x{w} with {c} channels is more than {MAX_ELEMENTS} elements: use a smaller input"),
        }),
    }
}

/// One node with the shapes known so far.
struct Infer<'a> {
    graph: &'a Graph,
    node: &'a Node,
    shapes: &'a [[usize; 3]],
}

impl Infer<'_> {
    fn name(&self) -> &str {
        &self.graph.tensor(self.node.output).name
    }

    fn shape_error(&self, why: String) -> Error {
        Error::Shape { tensor: self.name().into(), why }
    }

    fn op_error(&self, why: String) -> Error {
        Error::Op { tensor: self.name().into(), op: self.node.op.name(), why }
    }

    fn input(&self, i: usize) -> [usize; 3] {
        self.shapes[self.node.inputs[i].index()]
    }

    fn input_name(&self, i: usize) -> &str {
        &self.graph.tensor(self.node.inputs[i]).name
    }

    fn check_inputs(&self) -> Result<(), Error> {
        let found = self.node.inputs.len();
        let expected = match self.node.op {
            Op::Add { .. } | Op::Mul => 2,
            Op::Concat => found.max(1),
            _ => 1,
        };
        if found == expected {
            Ok(())
        } else {
            Err(self.op_error(format!("expected {expected} inputs, found {found}")))
        }
    }

    fn quant(&self, id: TensorId) -> Option<QParams> {
        self.graph.tensor(id).quant
    }

    /// Quantized inputs make a quantized output, but for the two ops that cross over.
    fn check_quant(&self) -> Result<(), Error> {
        let (from, to) = match self.node.op {
            Op::Quantize => (false, true),
            Op::Dequantize => (true, false),
            _ => {
                let first = self.quant(self.node.inputs[0]).is_some();
                (first, first)
            }
        };
        let kind = |quantized: bool| if quantized { "quantized (u8)" } else { "f32" };
        for &id in &self.node.inputs {
            if self.quant(id).is_some() != from {
                let name = &self.graph.tensor(id).name;
                return Err(self.op_error(format!(
                    "expected input {name} to be {}, found {}",
                    kind(from),
                    kind(!from)
                )));
            }
        }
        if self.quant(self.node.output).is_some() != to {
            return Err(self.op_error(format!("expected the output to be {}, found {}", kind(to), kind(!to))));
        }
        for q in self.node.inputs.iter().chain([&self.node.output]).filter_map(|&id| self.quant(id)) {
            if !(q.scale.is_finite() && q.scale > 0.0) {
                return Err(self.op_error(format!("scale {} is not finite and positive", q.scale)));
            }
        }
        if (from || to) && self.graph.numerics().is_none() {
            return Err(self.op_error("a graph with quantized tensors must say whose numerics apply".into()));
        }
        self.check_inherited_quant()
    }

    /// Ops that only move or pool values keep their input's scale and zero point.
    fn check_inherited_quant(&self) -> Result<(), Error> {
        let inherits = matches!(
            self.node.op,
            Op::MaxPool(_)
                | Op::AdaptiveAvgPool
                | Op::Mean
                | Op::SliceChannels { .. }
                | Op::ChannelShuffle { .. }
                | Op::Relu
        );
        let (x, out) = (self.quant(self.node.inputs[0]), self.quant(self.node.output));
        match (x, out) {
            (Some(x), Some(out)) if inherits && x != out => Err(self.op_error(format!(
                "expected the scale and zero point of its input ({}, {}), found ({}, {})",
                x.scale, x.zero_point, out.scale, out.zero_point
            ))),
            (Some(_), Some(out))
                if self.node.op == Op::Hardsigmoid && (out.scale, out.zero_point) != (1.0 / 256.0, 0) =>
            {
                Err(self.op_error(format!(
                    "expected scale 1/256 and zero point 0, found ({}, {})",
                    out.scale, out.zero_point
                )))
            }
            _ => Ok(()),
        }
    }

    fn output(&self) -> Result<[usize; 3], Error> {
        let [h, w, c] = self.input(0);
        match &self.node.op {
            Op::Conv(conv) => self.conv(conv),
            Op::Linear(linear) => self.linear(linear),
            Op::MaxPool(pool) => {
                let [h, w] = self.pool(pool)?;
                Ok([h, w, c])
            }
            Op::AdaptiveAvgPool | Op::Mean => Ok([1, 1, c]),
            Op::Add { .. } if self.input(1) == [h, w, c] => Ok([h, w, c]),
            Op::Mul => self.mul(),
            Op::Add { .. } => Err(self.mismatch(1)),
            Op::Concat => self.concat(),
            &Op::SliceChannels { start, len } => {
                if len == 0 || start.checked_add(len).is_none_or(|end| end > c) {
                    let why = format!("channels from {start}, {len} of them: {} has {c}", self.input_name(0));
                    return Err(self.shape_error(why));
                }
                Ok([h, w, len])
            }
            &Op::ChannelShuffle { groups } => {
                if groups == 0 || c % groups != 0 {
                    let why = format!("{c} channels of {} do not split into {groups} groups", self.input_name(0));
                    return Err(self.shape_error(why));
                }
                Ok([h, w, c])
            }
            Op::Quantize | Op::Dequantize | Op::Relu | Op::Relu6 | Op::Hardswish | Op::Hardsigmoid => Ok([h, w, c]),
        }
    }

    fn mismatch(&self, i: usize) -> Error {
        let text = |[h, w, c]: [usize; 3]| format!("{h}x{w} with {c} channels");
        self.shape_error(format!(
            "expected inputs of one shape, found {} ({}) and {} ({})",
            self.input_name(0),
            text(self.input(0)),
            self.input_name(i),
            text(self.input(i))
        ))
    }

    fn channels(&self, expected: usize) -> Result<(), Error> {
        let found = self.input(0)[2];
        if found == expected {
            return Ok(());
        }
        Err(self.shape_error(format!("expected {expected} input channels, found {found} ({})", self.input_name(0))))
    }

    fn conv(&self, conv: &Conv) -> Result<[usize; 3], Error> {
        self.channels(conv.in_channels)?;
        let Conv { in_channels, out_channels, groups, .. } = *conv;
        if groups == 0 || out_channels == 0 || in_channels % groups != 0 || out_channels % groups != 0 {
            let why = format!("{in_channels} to {out_channels} channels do not split into {groups} groups");
            return Err(self.shape_error(why));
        }
        let per_filter = in_channels / groups * conv.kernel[0] * conv.kernel[1];
        self.weights(&conv.weights, out_channels, per_filter)?;
        let [h, w] = self.window(conv.kernel, conv.stride, conv.padding)?;
        Ok([h, w, out_channels])
    }

    fn linear(&self, linear: &Linear) -> Result<[usize; 3], Error> {
        let [h, w, c] = self.input(0);
        if h != 1 || w != 1 {
            let why =
                format!("a linear layer needs a 1x1 map, found {h}x{w} with {c} channels ({})", self.input_name(0));
            return Err(self.shape_error(why));
        }
        self.channels(linear.in_features)?;
        self.weights(&linear.weights, linear.out_features, linear.in_features)?;
        Ok([1, 1, linear.out_features])
    }

    /// Checks the counts and the type of weights; `inputs` weights an output channel.
    fn weights(&self, weights: &ConvWeights, outputs: usize, inputs: usize) -> Result<(), Error> {
        let quantized = self.quant(self.node.output).is_some();
        let (count, biases) = match weights {
            ConvWeights::F32 { weight, bias } if !quantized => (weight.len(), bias.len()),
            ConvWeights::Int8 { weight, bias, scale } if quantized => {
                if scale.len() != 1 && scale.len() != outputs {
                    let why = format!("expected 1 or {outputs} weight scales, found {}", scale.len());
                    return Err(self.shape_error(why));
                }
                (weight.len(), bias.len())
            }
            ConvWeights::F32 { .. } => return Err(self.op_error("expected i8 weights, found f32".into())),
            ConvWeights::Int8 { .. } => return Err(self.op_error("expected f32 weights, found i8".into())),
        };
        if count != outputs * inputs || biases != outputs {
            let expected = outputs * inputs;
            let why = format!("expected {expected} weights and {outputs} biases, found {count} and {biases}");
            return Err(self.shape_error(why));
        }
        Ok(())
    }

    fn pool(&self, pool: &Pool) -> Result<[usize; 2], Error> {
        // torch refuses more: a window could then lie in the padding alone and have no maximum.
        if (0..2).any(|i| pool.padding[i] * 2 > pool.kernel[i]) {
            let why = format!("padding {:?} is more than half of the window {:?}", pool.padding, pool.kernel);
            return Err(self.shape_error(why));
        }
        self.window(pool.kernel, pool.stride, pool.padding)
    }

    /// Height and width of the output of a sliding window over the first input.
    fn window(&self, kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<[usize; 2], Error> {
        let [h, w, _] = self.input(0);
        if kernel.contains(&0) || stride.contains(&0) {
            return Err(self.shape_error(format!("window {kernel:?} and stride {stride:?} must be at least 1")));
        }
        let mut out = [0; 2];
        for (i, size) in [h, w].into_iter().enumerate() {
            let Some(room) = (size + 2 * padding[i]).checked_sub(kernel[i]) else {
                return Err(self.shape_error(format!(
                    "a {}x{} window with padding {}x{} does not fit the {h}x{w} map of {}: use a larger input",
                    kernel[0],
                    kernel[1],
                    padding[0],
                    padding[1],
                    self.input_name(0)
                )));
            };
            out[i] = room / stride[i] + 1;
        }
        Ok(out)
    }

    fn mul(&self) -> Result<[usize; 3], Error> {
        let ([ah, aw, ac], [bh, bw, bc]) = (self.input(0), self.input(1));
        match ac == bc {
            true if [ah, aw] == [bh, bw] || [bh, bw] == [1, 1] => Ok([ah, aw, ac]),
            true if [ah, aw] == [1, 1] => Ok([bh, bw, bc]),
            _ => Err(self.mismatch(1)),
        }
    }

    fn concat(&self) -> Result<[usize; 3], Error> {
        let [h, w, mut channels] = self.input(0);
        for i in 1..self.node.inputs.len() {
            let [ih, iw, ic] = self.input(i);
            if [ih, iw] != [h, w] {
                return Err(self.mismatch(i));
            }
            channels += ic;
        }
        Ok([h, w, channels])
    }
}
