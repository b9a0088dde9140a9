//! ShuffleNetV2 (Ma et al. 2018) in any width, as torchvision names it.

use quantlens_engine::Op;

use crate::arguments::Arguments;
use crate::builder::{Activation, ConvSpec, Feature, NetBuilder};
use crate::model::Built;
use crate::{Error, ModelFile};

/// Builds the network of `net`'s file.
pub(crate) fn build(net: &mut NetBuilder<'_>) -> Result<Built, Error> {
    let arguments = Arguments::new(net.file(), &["stages_repeats", "stages_out_channels"])?;
    let repeats = repeats(net.file());
    arguments.agree("stages_repeats", &repeats)?;
    let mut x = net.input()?;
    x = conv_relu(net, x, "conv1", 0, ConvSpec { kernel: Some(3), stride: 2, ..ConvSpec::pointwise("") })?;
    net.alias(x, "conv1");
    let mut widths = vec![x.channels];
    x = net.stem_pool(x);
    for (stage, &blocks) in (2..).zip(&repeats) {
        let path = format!("stage{stage}");
        x = downsampling_block(net, x, &format!("{path}.0"))?;
        for block in 1..blocks {
            x = block_with_split(net, x, &format!("{path}.{block}"))?;
        }
        net.alias(x, &path);
        widths.push(x.channels);
    }
    x = conv_relu(net, x, "conv5", 0, ConvSpec::pointwise(""))?;
    net.alias(x, "conv5");
    widths.push(x.channels);
    arguments.agree("stages_out_channels", &widths)?;
    x = net.inherit(Op::Mean, x, "mean");
    x = net.linear(x, "fc")?;
    arguments.agree("num_classes", &[x.channels])?;
    Ok(Built { output: x, cam_layer: "conv5".into() })
}

/// Blocks of each of the three stages.
pub(crate) fn repeats(file: &ModelFile) -> [usize; 3] {
    [2, 3, 4].map(|stage| file.count(0, |block| format!("stage{stage}.{block}.")))
}

/// Convolution, batch norm and ReLU: children `first`, `first + 1` and `first + 2` of `path`.
fn conv_relu(
    net: &mut NetBuilder<'_>,
    x: Feature,
    path: &str,
    first: usize,
    spec: ConvSpec<'_>,
) -> Result<Feature, Error> {
    let [conv, norm, relu] = [0, 1, 2].map(|i| format!("{path}.{}", first + i));
    net.conv(x, ConvSpec { conv: &conv, norm: Some(&norm), activation: Some((Activation::Relu, &relu)), ..spec })
}

/// Depthwise 3x3 convolution and batch norm: children `first` and `first + 1` of `path`.
fn depthwise(net: &mut NetBuilder<'_>, x: Feature, path: &str, first: usize, stride: usize) -> Result<Feature, Error> {
    let [conv, norm] = [0, 1].map(|i| format!("{path}.{}", first + i));
    let spec = ConvSpec { kernel: Some(3), stride, depthwise: true, ..ConvSpec::pointwise(&conv) };
    net.conv(x, ConvSpec { norm: Some(&norm), ..spec })
}

/// The first block of a stage: both branches see all channels and halve the map.
fn downsampling_block(net: &mut NetBuilder<'_>, x: Feature, path: &str) -> Result<Feature, Error> {
    let branch1 = format!("{path}.branch1");
    let mut left = depthwise(net, x, &branch1, 0, 2)?;
    left = conv_relu(net, left, &branch1, 2, ConvSpec::pointwise(""))?;
    net.alias(left, &branch1);
    let right = branch2(net, x, path, 2, left.channels)?;
    join(net, left, right, path)
}

/// A further block: half of the channels pass, the other half go through the branch.
fn block_with_split(net: &mut NetBuilder<'_>, x: Feature, path: &str) -> Result<Feature, Error> {
    // Even, since every block before it joined two equal halves.
    let half = x.channels / 2;
    let left = net.slice(x, 0, half, &format!("{path}.chunk.0"));
    let right = net.slice(x, half, half, &format!("{path}.chunk.1"));
    let right = branch2(net, right, path, 1, half)?;
    join(net, left, right, path)
}

/// Pointwise, depthwise, pointwise, to `out` channels.
fn branch2(net: &mut NetBuilder<'_>, x: Feature, path: &str, stride: usize, out: usize) -> Result<Feature, Error> {
    let branch = format!("{path}.branch2");
    let mut y = conv_relu(net, x, &branch, 0, ConvSpec::pointwise(""))?;
    y = depthwise(net, y, &branch, 3, stride)?;
    y = conv_relu(net, y, &branch, 5, ConvSpec { out_channels: Some(out), ..ConvSpec::pointwise("") })?;
    net.alias(y, &branch);
    Ok(y)
}

/// Concatenation and shuffle.
fn join(net: &mut NetBuilder<'_>, left: Feature, right: Feature, path: &str) -> Result<Feature, Error> {
    let channels = left.channels + right.channels;
    let y = net.functional(Op::Concat, &[left, right], channels, &format!("{path}.cat"))?;
    Ok(net.inherit(Op::ChannelShuffle { groups: 2 }, y, path))
}
