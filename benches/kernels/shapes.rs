//! The shapes: of each family the largest, the smallest and the most frequent of MobileNetV2, MobileNetV3 (large), ResNet18 and
//! ShuffleNetV2 (x0.5) at 224x224.

use quantlens::Precision;
use quantlens::kernels::Conv2d;

/// What a layer computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Output channels, kernel, stride, groups.
    Conv(usize, usize, usize, usize),
    /// Output features.
    Linear(usize),
    Add,
    /// By one value a channel.
    Scale,
    Relu,
    Relu6,
    Hardswish,
    Hardsigmoid,
    /// 3x3, stride 2.
    MaxPool,
    AvgPool,
    Mean,
    /// Of two halves.
    Concat,
    /// The first half.
    Slice,
    /// In two groups.
    Shuffle,
    Quantize,
    Dequantize,
}

impl Kind {
    /// Whether a network of this precision has such a layer.
    pub fn exists(self, precision: Precision) -> bool {
        match self {
            Self::Quantize | Self::Dequantize => precision == Precision::Int8,
            // int8 networks have it fused into convolutions.
            Self::Relu6 => precision == Precision::F32,
            _ => true,
        }
    }
}

/// One layer of a network.
pub struct Case {
    /// v2, v3, resnet, shuffle: whose int8 arithmetic applies.
    pub network: &'static str,
    pub op: Kind,
    /// Height, which is the width too, and channels of the input.
    pub size: usize,
    pub channels: usize,
}

impl Case {
    /// The convolution's sizes, of a linear layer too; none of other ops.
    pub fn geometry(&self) -> Option<Conv2d> {
        match self.op {
            Kind::Conv(out_c, k, s, groups) => Some(Conv2d {
                in_h: self.size,
                in_w: self.size,
                in_c: self.channels,
                out_c,
                kernel: [k, k],
                stride: [s, s],
                padding: [k / 2, k / 2],
                groups,
            }),
            Kind::Linear(out) => Some(Conv2d::linear(self.channels, out)),
            _ => None,
        }
    }

    pub fn macs(&self) -> u64 {
        self.geometry().map_or(0, |conv| conv.macs())
    }

    /// Elements read and written.
    pub fn elements(&self) -> u64 {
        let map = (self.size * self.size * self.channels) as u64;
        match self.op {
            Kind::Add => 3 * map,
            Kind::MaxPool => map + map / 4,
            Kind::AvgPool | Kind::Mean => map,
            Kind::Slice => map,
            // The other side is f32: five bytes an element.
            Kind::Quantize | Kind::Dequantize => 5 * map,
            _ => 2 * map,
        }
    }

    pub fn name(&self) -> String {
        let Self { network, op, size, channels } = *self;
        match op {
            Kind::Conv(out, k, s, _) => format!("{network} {k}x{k} s{s} {channels}-{out} at {size}"),
            Kind::Linear(out) => format!("{network} {channels}-{out}"),
            _ => format!("{network} {op:?} {channels} at {size}"),
        }
    }
}

const fn conv(network: &'static str, size: usize, channels: usize, out: usize, k: usize, s: usize) -> Case {
    Case { network, op: Kind::Conv(out, k, s, 1), size, channels }
}

const fn pointwise(network: &'static str, size: usize, channels: usize, out: usize) -> Case {
    conv(network, size, channels, out, 1, 1)
}

const fn depthwise(network: &'static str, size: usize, channels: usize, k: usize, s: usize) -> Case {
    Case { network, op: Kind::Conv(channels, k, s, channels), size, channels }
}

const fn case(network: &'static str, op: Kind, size: usize, channels: usize) -> Case {
    Case { network, op, size, channels }
}

/// The families with their cases.
pub const FAMILIES: &[(&str, &[Case])] = &[
    ("dense", DENSE),
    ("pointwise", POINTWISE),
    ("depthwise", DEPTHWISE),
    ("stem", STEM),
    ("linear", LINEAR),
    ("elementwise", ELEMENTWISE),
    ("tables", TABLES),
    ("pools", POOLS),
    ("moves", MOVES),
    ("quantize", QUANTIZE),
];

const DENSE: &[Case] = &[
    conv("resnet", 56, 64, 64, 3, 1),
    conv("resnet", 56, 64, 128, 3, 2),
    conv("resnet", 28, 128, 128, 3, 1),
    conv("resnet", 28, 128, 256, 3, 2),
    conv("resnet", 14, 256, 256, 3, 1),
    conv("resnet", 14, 256, 512, 3, 2),
    conv("resnet", 7, 512, 512, 3, 1),
];

const POINTWISE: &[Case] = &[
    pointwise("v2", 112, 32, 16),
    pointwise("v2", 112, 16, 96),
    pointwise("v2", 56, 96, 24),
    pointwise("v2", 56, 24, 144),
    pointwise("v2", 28, 144, 32),
    pointwise("v2", 28, 32, 192),
    pointwise("v2", 14, 64, 384),
    pointwise("v2", 14, 384, 64),
    pointwise("v2", 14, 96, 576),
    pointwise("v2", 14, 576, 96),
    pointwise("v2", 7, 160, 960),
    pointwise("v2", 7, 960, 160),
    pointwise("v2", 7, 320, 1280),
    pointwise("v3", 14, 80, 200),
    pointwise("v3", 14, 112, 672),
    pointwise("v3", 1, 72, 24),
    pointwise("v3", 1, 240, 960),
    conv("resnet", 56, 64, 128, 1, 2),
    pointwise("shuffle", 56, 24, 24),
    pointwise("shuffle", 28, 24, 24),
    pointwise("shuffle", 14, 48, 48),
    pointwise("shuffle", 7, 96, 96),
    pointwise("shuffle", 7, 192, 1024),
];

const DEPTHWISE: &[Case] = &[
    depthwise("v2", 112, 32, 3, 1),
    depthwise("v2", 112, 96, 3, 2),
    depthwise("v2", 56, 144, 3, 1),
    depthwise("v2", 28, 192, 3, 1),
    depthwise("v2", 14, 384, 3, 1),
    depthwise("v2", 14, 576, 3, 2),
    depthwise("v2", 7, 960, 3, 1),
    depthwise("v3", 56, 72, 5, 2),
    depthwise("v3", 28, 120, 5, 1),
    depthwise("v3", 14, 672, 5, 2),
    depthwise("v3", 7, 960, 5, 1),
    depthwise("shuffle", 56, 24, 3, 2),
    depthwise("shuffle", 28, 24, 3, 1),
    depthwise("shuffle", 14, 48, 3, 1),
    depthwise("shuffle", 7, 96, 3, 1),
];

const STEM: &[Case] = &[
    conv("v2", 224, 3, 32, 3, 2),
    conv("v3", 224, 3, 16, 3, 2),
    conv("shuffle", 224, 3, 24, 3, 2),
    conv("resnet", 224, 3, 64, 7, 2),
];

const LINEAR: &[Case] = &[
    case("v2", Kind::Linear(1000), 1, 1280),
    case("v3", Kind::Linear(1280), 1, 960),
    case("resnet", Kind::Linear(1000), 1, 512),
    case("shuffle", Kind::Linear(1000), 1, 1024),
];

const ELEMENTWISE: &[Case] = &[
    case("v2", Kind::Add, 56, 24),
    case("v2", Kind::Add, 7, 160),
    case("resnet", Kind::Add, 56, 64),
    case("resnet", Kind::Add, 7, 512),
    case("v3", Kind::Scale, 28, 120),
    case("v3", Kind::Scale, 14, 672),
    case("v3", Kind::Scale, 7, 960),
];

const TABLES: &[Case] = &[
    case("resnet", Kind::Relu, 56, 64),
    case("v2", Kind::Relu6, 112, 96),
    case("v3", Kind::Hardswish, 112, 16),
    case("v3", Kind::Hardswish, 14, 672),
    case("v3", Kind::Hardsigmoid, 1, 960),
];

const POOLS: &[Case] = &[
    case("resnet", Kind::MaxPool, 112, 64),
    case("shuffle", Kind::MaxPool, 112, 24),
    case("v2", Kind::AvgPool, 7, 1280),
    case("v3", Kind::AvgPool, 28, 120),
    case("v3", Kind::AvgPool, 14, 672),
    case("resnet", Kind::AvgPool, 7, 512),
    case("shuffle", Kind::Mean, 7, 1024),
];

const MOVES: &[Case] = &[
    case("shuffle", Kind::Concat, 28, 48),
    case("shuffle", Kind::Concat, 7, 192),
    case("shuffle", Kind::Slice, 28, 48),
    case("shuffle", Kind::Shuffle, 28, 48),
    case("shuffle", Kind::Shuffle, 7, 192),
];

const QUANTIZE: &[Case] = &[case("v2", Kind::Quantize, 224, 3), case("v2", Kind::Dequantize, 1, 1000)];
