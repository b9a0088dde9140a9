//! ResNet with basic blocks (He et al. 2016): resnet18, resnet34 and any other depth and width of the kind.

use quantlens_engine::Op;
use serde_json::Value;

use crate::arguments::Arguments;
use crate::builder::{Activation, ConvSpec, Feature, NetBuilder};
use crate::model::Built;
use crate::{Error, ModelFile};

/// Builds the network of `net`'s file.
pub(crate) fn build(net: &mut NetBuilder<'_>) -> Result<Built, Error> {
    let known = ["layers", "block", "groups", "width_per_group", "base_width", "replace_stride_with_dilation"];
    let arguments = Arguments::new(net.file(), &known)?;
    arguments.only("block", &Value::from("BasicBlock"))?;
    arguments.only("groups", &Value::from(1))?;
    arguments.only("width_per_group", &Value::from(64))?;
    arguments.only("replace_stride_with_dilation", &Value::Bool(false))?;
    let layers = layers(net.file());
    arguments.agree("layers", &layers)?;
    let mut x = net.input()?;
    x = conv(net, x, ["conv1", "bn1", "relu"], ConvSpec { kernel: Some(7), stride: 2, ..ConvSpec::pointwise("") })?;
    arguments.agree("base_width", &[x.channels])?;
    x = net.stem_pool(x);
    for (layer, &blocks) in (1..).zip(&layers) {
        for block in 0..blocks.max(1) {
            let stride = if layer > 1 && block == 0 { 2 } else { 1 };
            x = basic_block(net, x, &format!("layer{layer}.{block}"), stride)?;
        }
        net.alias(x, &format!("layer{layer}"));
    }
    x = net.inherit(Op::AdaptiveAvgPool, x, "avgpool");
    x = net.linear(x, "fc")?;
    arguments.agree("num_classes", &[x.channels])?;
    Ok(Built { output: x, cam_layer: format!("layer4.{}", layers[3].max(1) - 1) })
}

/// Blocks of each of the four layers.
pub(crate) fn layers(file: &ModelFile) -> [usize; 4] {
    [1, 2, 3, 4].map(|layer| file.count(0, |block| format!("layer{layer}.{block}.")))
}

/// Convolution, batch norm and ReLU at three paths; an empty third one is no ReLU.
fn conv(net: &mut NetBuilder<'_>, x: Feature, paths: [&str; 3], spec: ConvSpec<'_>) -> Result<Feature, Error> {
    let [conv, norm, relu] = paths;
    let activation = (!relu.is_empty()).then_some((Activation::Relu, relu));
    net.conv(x, ConvSpec { conv, norm: Some(norm), activation, ..spec })
}

/// Two 3x3 convolutions and the sum with the input, which is projected where the sizes differ.
fn basic_block(net: &mut NetBuilder<'_>, x: Feature, path: &str, stride: usize) -> Result<Feature, Error> {
    let at = |name: &str| format!("{path}.{name}");
    let spec = ConvSpec { kernel: Some(3), ..ConvSpec::pointwise("") };
    let [conv1, bn1, relu, conv2, bn2] = ["conv1", "bn1", "relu", "conv2", "bn2"].map(at);
    let mut y = conv(net, x, [&conv1, &bn1, &relu], ConvSpec { stride, ..spec })?;
    y = conv(net, y, [&conv2, &bn2, ""], spec)?;
    let mut identity = x;
    let projection = at("downsample.0");
    if stride != 1 || x.channels != y.channels || net.weights.has(&format!("{projection}.weight")) {
        let spec = ConvSpec { stride, out_channels: Some(y.channels), ..ConvSpec::pointwise("") };
        identity = conv(net, x, [&projection, &at("downsample.1"), ""], spec)?;
        net.alias(identity, &at("downsample"));
    }
    y = net.functional(Op::Add { relu: true }, &[y, identity], y.channels, &at("add_relu"))?;
    net.alias(y, path);
    Ok(y)
}
