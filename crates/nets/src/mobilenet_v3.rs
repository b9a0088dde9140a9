//! MobileNetV3 (Howard et al. 2019), large and small, as torchvision names them. Kernels, widths and the presence of
//! squeeze-and-excitation come from the tensors; activations and strides from the paper's tables 1 and 2.

use quantlens_engine::Op;
use serde_json::Value;

use crate::Error;
use crate::arguments::Arguments;
use crate::builder::{Activation, ConvSpec, Feature, NetBuilder};
use crate::model::Built;

use Activation::{Hardswish as Hs, Relu as Re};

/// Which of the two tables applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Large,
    Small,
}

impl Size {
    /// Number of blocks in the paper's table.
    pub fn blocks(self) -> usize {
        match self {
            Self::Large => 15,
            Self::Small => 11,
        }
    }

    /// Activation and stride of each block: tables 1 and 2 of the paper.
    fn table(self) -> Vec<(Activation, usize)> {
        let (first_hardswish, downsampling) = match self {
            Self::Large => (6, [1, 3, 6, 12]),
            Self::Small => (3, [0, 1, 3, 8]),
        };
        let activation = |i| if i < first_hardswish { Re } else { Hs };
        let stride = |i| if downsampling.contains(&i) { 2 } else { 1 };
        (0..self.blocks()).map(|i| (activation(i), stride(i))).collect()
    }
}

/// Builds the network of `net`'s file.
pub(crate) fn build(net: &mut NetBuilder<'_>, size: Size) -> Result<Built, Error> {
    let known = ["inverted_residual_setting", "last_channel", "reduced_tail", "dilated"];
    let arguments = Arguments::new(net.file(), &known)?;
    arguments.only("dilated", &Value::Bool(false))?;
    let blocks = net.file().count(1, |i| format!("features.{i}.block."));
    let settings = settings(arguments, size, blocks)?;
    let mut x = net.input()?;
    x = conv_norm(net, x, "features.0", Some(Hs), ConvSpec { kernel: Some(3), stride: 2, ..ConvSpec::pointwise("") })?;
    for (i, &(activation, stride)) in (1..).zip(&settings) {
        x = inverted_residual(net, x, &format!("features.{i}"), activation, stride)?;
    }
    let last = format!("features.{}", blocks + 1);
    x = conv_norm(net, x, &last, Some(Hs), ConvSpec::pointwise(""))?;
    net.alias(x, "features");
    x = net.inherit(Op::AdaptiveAvgPool, x, "avgpool");
    x = net.linear(x, "classifier.0")?;
    x = net.hardswish(x, "classifier.1")?;
    net.alias(x, "classifier.2");
    x = net.linear(x, "classifier.3")?;
    net.alias(x, "classifier");
    arguments.agree("num_classes", &[x.channels])?;
    Ok(Built { output: x, cam_layer: last })
}

/// torchvision's `Conv2dNormActivation` at `path`; `spec` gives the convolution's geometry.
fn conv_norm(
    net: &mut NetBuilder<'_>,
    x: Feature,
    path: &str,
    activation: Option<Activation>,
    spec: ConvSpec<'_>,
) -> Result<Feature, Error> {
    let [conv, norm, act] = [0, 1, 2].map(|i| format!("{path}.{i}"));
    let activation = activation.map(|a| (a, act.as_str()));
    let y = net.conv(x, ConvSpec { conv: &conv, norm: Some(&norm), activation, ..spec })?;
    net.alias(y, path);
    Ok(y)
}

/// Expansion (absent where it would not widen), depthwise, squeeze-and-excitation where present, projection, sum.
fn inverted_residual(
    net: &mut NetBuilder<'_>,
    x: Feature,
    path: &str,
    activation: Activation,
    stride: usize,
) -> Result<Feature, Error> {
    let mut y = x;
    let mut next = 0;
    let mut child = || {
        next += 1;
        format!("{path}.block.{}", next - 1)
    };
    // Two convolutions with activation before the projection: the first is the expansion. A depthwise one is not 1x1.
    let first = net.file().shape(&format!("{path}.block.0.0.weight"));
    if matches!(first, Some([_, _, 1, 1])) {
        y = conv_norm(net, y, &child(), Some(activation), ConvSpec::pointwise(""))?;
    }
    let depthwise = ConvSpec { kernel: None, stride, depthwise: true, ..ConvSpec::pointwise("") };
    y = conv_norm(net, y, &child(), Some(activation), depthwise)?;
    let mut project = child();
    if net.weights.has(&format!("{project}.fc1.weight")) {
        y = squeeze_excitation(net, y, &project)?;
        project = child();
    }
    y = conv_norm(net, y, &project, None, ConvSpec::pointwise(""))?;
    net.alias(y, &format!("{path}.block"));
    if stride == 1 && y.channels == x.channels {
        y = net.functional(Op::Add { relu: false }, &[x, y], x.channels, &format!("{path}.skip_add"))?;
    } else {
        net.ignore_functional(&format!("{path}.skip_add"));
    }
    net.alias(y, path);
    Ok(y)
}

/// One factor a channel, from the channels' averages.
fn squeeze_excitation(net: &mut NetBuilder<'_>, x: Feature, path: &str) -> Result<Feature, Error> {
    let [fc1, relu, fc2] = ["fc1", "activation", "fc2"].map(|name| format!("{path}.{name}"));
    let mut scale = net.inherit(Op::AdaptiveAvgPool, x, &format!("{path}.avgpool"));
    scale = net.conv(scale, ConvSpec { activation: Some((Re, &relu)), ..ConvSpec::pointwise(&fc1) })?;
    scale = net.conv(scale, ConvSpec { out_channels: Some(x.channels), ..ConvSpec::pointwise(&fc2) })?;
    scale = net.hardsigmoid(scale, &format!("{path}.scale_activation"));
    let y = net.functional(Op::Mul, &[x, scale], x.channels, &format!("{path}.skip_mul"))?;
    net.alias(y, path);
    Ok(y)
}

/// Activation and stride of each block, from the arguments or the table.
fn settings(arguments: Arguments<'_>, size: Size, blocks: usize) -> Result<Vec<(Activation, usize)>, Error> {
    let Some(rows) = arguments.rows()? else {
        if size.blocks() == blocks {
            return Ok(size.table());
        }
        let expected = format!(
            "a list of InvertedResidualConfig arguments: the file has {blocks} blocks, mobilenet_v3_large 15 and \
             mobilenet_v3_small 11"
        );
        return Err(arguments.error("inverted_residual_setting", &expected));
    };
    let settings: Option<Vec<_>> = rows.iter().map(|row| setting(row)).collect();
    settings.filter(|s| s.len() == blocks).ok_or_else(|| {
        let expected = format!(
            "{blocks} rows, as the tensors, of [input, kernel, expanded, output, use_se, \"RE\" or \"HS\", stride 1 or 2, \
             dilation 1]"
        );
        arguments.error("inverted_residual_setting", &expected)
    })
}

/// A row: the arguments of torchvision's `InvertedResidualConfig` (width_mult may follow).
fn setting(row: &[Value]) -> Option<(Activation, usize)> {
    let (activation, stride, dilation) = (row.get(5)?, row.get(6)?, row.get(7)?);
    let activation = match activation.as_str()? {
        "RE" => Re,
        "HS" => Hs,
        _ => return None,
    };
    let stride = stride.as_u64().filter(|s| (1..=2).contains(s))?;
    (dilation.as_u64()? == 1).then_some((activation, stride as usize))
}
