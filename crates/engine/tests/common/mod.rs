//! A small network that has every op, in f32 and in the int8 of both engines, with generated weights.

use quantlens_engine::{Conv, ConvWeights, Graph, GraphBuilder, Linear, Numerics, Op, Pool, QParams, TensorId};
use quantlens_tensor::{Layout, Tensor};

/// Numbers that look random and are the same everywhere (a linear congruential generator, Knuth's constants).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// Uniform in -1 .. 1.
    pub fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub fn floats(&mut self, n: usize, size: f32) -> Vec<f32> {
        (0..n).map(|_| self.next() * size).collect()
    }
}

/// An image for [`small_net`].
pub fn image(seed: u64, height: usize, width: usize) -> Tensor {
    let values = Random::new(seed).floats(3 * height * width, 2.0);
    Tensor::new(values, [1, 3, height, width], Layout::Nchw).expect("3 planes of values")
}

struct Net {
    builder: GraphBuilder,
    numerics: Option<Numerics>,
    random: Random,
}

impl Net {
    fn quant(&self, scale: f32, zero_point: u8) -> Option<QParams> {
        self.numerics.map(|_| QParams { scale, zero_point })
    }

    fn weights(&mut self, outputs: usize, inputs: usize) -> ConvWeights {
        let size = 1.7 / (inputs as f32).sqrt();
        let weight = self.random.floats(outputs * inputs, size);
        let bias = self.random.floats(outputs, 0.3).into();
        let Some(numerics) = self.numerics else { return ConvWeights::F32 { weight: weight.into(), bias } };
        let scales = if numerics == Numerics::Fbgemm { outputs } else { 1 };
        let scale: Vec<f32> = (0..scales).map(|i| size / 127.0 * (1.0 + i as f32 / 64.0)).collect();
        let q = |(i, w): (usize, f32)| (w / scale[i / inputs % scales]).round() as i8;
        let weight: Vec<i8> = weight.into_iter().enumerate().map(q).collect();
        ConvWeights::Int8 { weight: weight.into(), scale: scale.into(), bias }
    }

    /// A convolution `[in, out, kernel, stride, groups]`, same padding, with a relu in int8 where asked.
    fn conv(&mut self, x: TensorId, name: &str, dims: [usize; 5], relu: bool, quant: Option<QParams>) -> TensorId {
        let [in_channels, out_channels, k, s, groups] = dims;
        let weights = self.weights(out_channels, in_channels / groups * k * k);
        let (kernel, stride, padding) = ([k, k], [s, s], [k / 2, k / 2]);
        let conv = Conv { in_channels, out_channels, kernel, stride, padding, groups, relu, weights };
        self.builder.push(Op::Conv(conv), &[x], name, quant)
    }

    fn same(&mut self, op: Op, x: TensorId, name: &str) -> TensorId {
        let quant = self.builder.quant(x);
        self.builder.push(op, &[x], name, quant)
    }
}

/// Input 3 channels; maps of half, a quarter of the size; 5 logits. In int8, relu6 is a relu fused into its
/// convolution.
pub fn small_net(numerics: Option<Numerics>) -> Graph {
    let builder = GraphBuilder::new("small", numerics);
    let mut net = Net { builder, numerics, random: Random::new(7) };
    let (int8, mut x) = (numerics.is_some(), net.builder.input());
    if int8 {
        let quant = net.quant(0.02, 114);
        x = net.builder.push(Op::Quantize, &[x], "quant", quant);
    }
    // Stem: 3x3 stride 2, relu6.
    let quant = net.quant(0.022, 0);
    x = net.conv(x, "stem.0", [3, 16, 3, 2, 1], int8, quant);
    if int8 {
        net.builder.alias(x, "stem.2");
    } else {
        x = net.builder.push(Op::Relu6, &[x], "stem.2", None);
    }
    net.builder.alias(x, "stem");
    x = residual(&mut net, x);
    x = shuffled(&mut net, x);
    x = squeeze_excite(&mut net, x);
    let output = head(&mut net, x);
    net.builder.alias(output, "logits");
    net.builder.finish(output)
}

/// Depthwise, hardswish, pointwise, add; 16 channels.
fn residual(net: &mut Net, input: TensorId) -> TensorId {
    let quant = net.quant(0.05, 131);
    let x = net.conv(input, "block.0", [16, 16, 3, 1, 16], false, quant);
    let quant = net.quant(0.03, 13);
    let x = net.builder.push(Op::Hardswish, &[x], "block.1", quant);
    let quant = net.quant(0.045, 120);
    let x = net.conv(x, "block.2", [16, 16, 1, 1, 1], false, quant);
    let quant = net.quant(0.05, 70);
    let x = net.builder.push(Op::Add { relu: false }, &[input, x], "block.skip_add", quant);
    net.builder.alias(x, "block");
    x
}

/// Max pool, two halves, one with a grouped convolution and relu, concat, shuffle; 20 channels.
fn shuffled(net: &mut Net, x: TensorId) -> TensorId {
    let pool = Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    let x = net.same(Op::MaxPool(pool), x, "maxpool");
    let left = net.same(Op::SliceChannels { start: 0, len: 8 }, x, "unit.chunk.0");
    let right = net.same(Op::SliceChannels { start: 8, len: 8 }, x, "unit.chunk.1");
    let quant = net.quant(0.03, 110);
    let right = net.conv(right, "unit.branch.0", [8, 12, 3, 1, 2], false, quant);
    let right = net.same(Op::Relu, right, "unit.branch.1");
    net.builder.alias(right, "unit.branch");
    let quant = net.quant(0.04, 90);
    let x = net.builder.push(Op::Concat, &[left, right], "unit.cat", quant);
    net.same(Op::ChannelShuffle { groups: 2 }, x, "unit")
}

/// Average, two 1x1 convolutions, hardsigmoid, product, add with relu; 20 channels.
fn squeeze_excite(net: &mut Net, input: TensorId) -> TensorId {
    let x = net.same(Op::AdaptiveAvgPool, input, "se.avgpool");
    let quant = net.quant(0.02, 0);
    let mut x = net.conv(x, "se.fc1", [20, 8, 1, 1, 1], net.numerics.is_some(), quant);
    if net.numerics.is_none() {
        x = net.builder.push(Op::Relu, &[x], "se.activation", None);
    }
    let quant = net.quant(0.04, 128);
    let x = net.conv(x, "se.fc2", [8, 20, 1, 1, 1], false, quant);
    let quant = net.quant(1.0 / 256.0, 0);
    let x = net.builder.push(Op::Hardsigmoid, &[x], "se.scale", quant);
    let quant = net.quant(0.025, 80);
    let x = net.builder.push(Op::Mul, &[input, x], "se.skip_mul", quant);
    let quant = net.quant(0.03, 5);
    net.builder.push(Op::Add { relu: true }, &[x, input], "se.add_relu", quant)
}

/// Pointwise with hardswish, mean, linear.
fn head(net: &mut Net, x: TensorId) -> TensorId {
    let quant = net.quant(0.04, 100);
    let x = net.conv(x, "head.0", [20, 33, 1, 1, 1], false, quant);
    let quant = net.quant(0.02, 19);
    let x = net.builder.push(Op::Hardswish, &[x], "head.1", quant);
    let x = net.same(Op::Mean, x, "mean");
    let weights = net.weights(5, 33);
    let quant = net.quant(0.01, 127);
    let linear = Op::Linear(Linear { in_features: 33, out_features: 5, weights });
    let x = net.builder.push(linear, &[x], "fc", quant);
    if net.numerics.is_some() { net.builder.push(Op::Dequantize, &[x], "dequant", None) } else { x }
}
