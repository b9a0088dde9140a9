//! Averages of whole int8 maps, which each engine and each of PyTorch's two operators rounds in its own way.

use crate::quant::Rounding;
use crate::{Numerics, QParams};

/// `AdaptiveAvgPool2d(1)` over an NHWC map, one value a channel; keeps the input's scale and zero point.
///
/// `rne(f32(sum - n * zero_point) * (1 / n)) + zero_point`, n the number of pixels.
///
/// # Panics
/// If `out` does not have `channels` elements or the input is not whole pixels.
pub fn global_avg_pool_u8(numerics: Numerics, x: QParams, input: &[u8], channels: usize, out: &mut [u8]) {
    let _ = numerics;
    let n = (input.len() / channels) as f32;
    let rounding = Rounding::new(x.zero_point, false);
    centred_sums(x, input, channels, out, |sum| rounding.round(sum * (1.0 / n)));
}

/// `mean([2, 3])` over an NHWC map, one value a channel; keeps the input's scale and zero point.
///
/// # Panics
/// If `out` does not have `channels` elements or the input is not whole pixels.
pub fn mean_u8(numerics: Numerics, x: QParams, input: &[u8], channels: usize, out: &mut [u8]) {
    let n = (input.len() / channels) as f32;
    let rounding = Rounding::new(x.zero_point, false);
    match numerics {
        Numerics::Qnnpack => centred_sums(x, input, channels, out, |sum| rounding.round(sum / n)),
        Numerics::Fbgemm => mean_fbgemm(x, input, channels, out),
    }
}

/// Hands `f32(sum - n * zero_point)` of each channel to `finish`.
fn centred_sums(x: QParams, input: &[u8], channels: usize, out: &mut [u8], finish: impl Fn(f32) -> u8) {
    assert!(channels > 0 && input.len().is_multiple_of(channels) && out.len() == channels, "int8 mean: lengths");
    let centre = (input.len() / channels) as i32 * i32::from(x.zero_point);
    for (channel, out) in out.iter_mut().enumerate() {
        let sum: i32 = input[channel..].iter().step_by(channels).map(|&q| i32::from(q)).sum();
        *out = finish((sum - centre) as f32);
    }
}

fn mean_fbgemm(x: QParams, input: &[u8], channels: usize, out: &mut [u8]) {
    assert!(channels > 0 && input.len().is_multiple_of(channels) && out.len() == channels, "int8 mean: lengths");
    let (n, inverse, rounding) = ((input.len() / channels) as f32, 1.0 / x.scale, Rounding::new(x.zero_point, false));
    for (channel, out) in out.iter_mut().enumerate() {
        let sum: f32 = input[channel..].iter().step_by(channels).map(|&q| x.dequantize(q)).sum();
        *out = rounding.round(sum / n * inverse);
    }
}
