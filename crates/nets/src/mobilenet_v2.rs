//! MobileNetV2 (Sandler et al. 2018) as torchvision names it. Widths and depths come from the shapes; strides, which
//! no shape tells, from the stages.

use quantlens_engine::Op;
use serde_json::Value;

use crate::arguments::Arguments;
use crate::builder::{Activation, ConvSpec, Feature, NetBuilder};
use crate::model::Built;
use crate::{Error, ModelFile};

/// Stride of the first block of each stage; all other blocks have stride 1.
const STAGE_STRIDES: [usize; 7] = [1, 2, 2, 2, 1, 2, 1];

/// Blocks of each stage in torchvision's default.
const STAGE_BLOCKS: [usize; 7] = [1, 2, 3, 4, 3, 3, 1];

/// Builds the network of `net`'s file.
pub(crate) fn build(net: &mut NetBuilder<'_>) -> Result<Built, Error> {
    let arguments = Arguments::new(net.file(), &["inverted_residual_setting"])?;
    let blocks = count_blocks(net.file());
    let strides = strides(net.file(), arguments, blocks)?;
    let mut x = net.input()?;
    x = conv_norm_relu6(net, x, "features.0", None, 2, false)?;
    for (i, &stride) in (1..).zip(&strides) {
        x = inverted_residual(net, x, i, stride)?;
    }
    let last = format!("features.{}", blocks + 1);
    x = conv_norm_relu6(net, x, &last, Some(1), 1, false)?;
    net.alias(x, "features");
    x = net.inherit(Op::AdaptiveAvgPool, x, "avgpool");
    net.alias(x, "classifier.0");
    x = net.linear(x, "classifier.1")?;
    net.alias(x, "classifier");
    arguments.agree("num_classes", &[x.channels])?;
    Ok(Built { output: x, cam_layer: last })
}

fn count_blocks(file: &ModelFile) -> usize {
    file.count(1, |i| format!("features.{i}.conv."))
}

/// torchvision's `Conv2dNormActivation` with ReLU6, 3x3 where `kernel` is none.
fn conv_norm_relu6(
    net: &mut NetBuilder<'_>,
    x: Feature,
    path: &str,
    kernel: Option<usize>,
    stride: usize,
    depthwise: bool,
) -> Result<Feature, Error> {
    let [conv, norm, relu] = [0, 1, 2].map(|i| format!("{path}.{i}"));
    let y = net.conv(
        x,
        ConvSpec {
            norm: Some(&norm),
            activation: Some((Activation::Relu6, &relu)),
            kernel: Some(kernel.unwrap_or(3)),
            stride,
            depthwise,
            ..ConvSpec::pointwise(&conv)
        },
    )?;
    net.alias(y, path);
    Ok(y)
}

/// Block `features.i`: expansion (absent for factor 1), depthwise, projection, and the sum where shapes allow it.
fn inverted_residual(net: &mut NetBuilder<'_>, x: Feature, i: usize, stride: usize) -> Result<Feature, Error> {
    let path = format!("features.{i}");
    let mut y = x;
    let mut next = 0;
    if is_expanded(net.file(), i) {
        y = conv_norm_relu6(net, y, &format!("{path}.conv.0"), Some(1), 1, false)?;
        next = 1;
    }
    y = conv_norm_relu6(net, y, &format!("{path}.conv.{next}"), None, stride, true)?;
    let [conv, norm] = [1, 2].map(|n| format!("{path}.conv.{}", next + n));
    y = net.conv(y, ConvSpec { norm: Some(&norm), ..ConvSpec::pointwise(&conv) })?;
    net.alias(y, &format!("{path}.conv"));
    if stride == 1 && y.channels == x.channels {
        y = net.functional(Op::Add { relu: false }, &[x, y], x.channels, &format!("{path}.skip_add"))?;
    } else {
        net.ignore_functional(&format!("{path}.skip_add"));
    }
    net.alias(y, &path);
    Ok(y)
}

fn is_expanded(file: &ModelFile, i: usize) -> bool {
    file.has(&format!("features.{i}.conv.1.0.weight"))
}

/// Stride of each block: from the arguments; or, where there are torchvision's 17 blocks, from its table; or from
/// the seven runs of blocks with equal output channels.
fn strides(file: &ModelFile, arguments: Arguments<'_>, blocks: usize) -> Result<Vec<usize>, Error> {
    if let Some(rows) = arguments.rows()? {
        return strides_of_rows(arguments, &rows, blocks);
    }
    let outputs: Vec<Option<usize>> = (1..=blocks).map(|i| output_channels(file, i)).collect();
    let changes: Vec<usize> = (1..blocks).filter(|&i| outputs[i] != outputs[i - 1]).collect();
    let mut starts = vec![0];
    if blocks == STAGE_BLOCKS.iter().sum::<usize>() {
        starts.extend(STAGE_BLOCKS.iter().scan(0, |end, n| {
            *end += n;
            Some(*end)
        }));
        starts.truncate(STAGE_BLOCKS.len());
    } else {
        starts.extend(&changes);
    }
    if starts.len() != STAGE_STRIDES.len() || changes.iter().any(|c| !starts.contains(c)) {
        let expected = format!(
            "a list of [t, c, n, s] rows: the file's {blocks} blocks change width after blocks {changes:?}, which does \
             not tell the strides"
        );
        return Err(arguments.error("inverted_residual_setting", &expected));
    }
    let mut strides = vec![1; blocks];
    starts.iter().zip(STAGE_STRIDES).for_each(|(&start, s)| strides[start] = s);
    Ok(strides)
}

/// Output channels of block `features.i`, where the tensor is there.
fn output_channels(file: &ModelFile, i: usize) -> Option<usize> {
    let conv = if is_expanded(file, i) { 2 } else { 1 };
    file.shape(&format!("features.{i}.conv.{conv}.weight")).and_then(|s| s.first().copied())
}

/// Strides of [t, c, n, s] rows: s for the first of n blocks.
fn strides_of_rows(arguments: Arguments<'_>, rows: &[&[Value]], blocks: usize) -> Result<Vec<usize>, Error> {
    let error = || {
        let expected = format!("rows of [t, c, n, s] with s 1 or 2 and {blocks} blocks in all, as the tensors");
        arguments.error("inverted_residual_setting", &expected)
    };
    let mut strides = Vec::new();
    for row in rows {
        let &[_, _, n, s] = row else { return Err(error()) };
        let (Some(n), Some(s @ (1 | 2))) = (n.as_u64(), s.as_u64()) else { return Err(error()) };
        if n == 0 || n > (blocks - strides.len()) as u64 {
            return Err(error());
        }
        strides.push(s as usize);
        strides.resize(strides.len() + n as usize - 1, 1);
    }
    if strides.len() == blocks { Ok(strides) } else { Err(error()) }
}
