//! Averages of whole int8 maps, which each engine and each of PyTorch's two operators rounds in its own way. All are
//! those of torch 2.5.1 on channels-last data (what its convolutions hand on); they differ at even numbers of pixels
//! alone, where an average may be a tie.

use std::ops::Range;

use crate::quant::Rounding;
use crate::{Numerics, QParams};

/// `AdaptiveAvgPool2d(1)` over an NHWC map, one value a channel; keeps the input's scale and zero point.
///
/// With `sum` over the map's n pixels, `rne(f32(sum - n * zero_point) * m) + zero_point`, where m is `1 / n` (fbgemm) or
/// `scale / (scale * n)` (qnnpack; the two may differ in the last bit).
///
/// # Panics
/// If `out` does not have `channels` elements or the input is not whole pixels.
pub fn global_avg_pool_u8(numerics: Numerics, x: QParams, input: &[u8], channels: usize, out: &mut [u8]) {
    let multiplier = average_multiplier(numerics, x.scale, pixels(input, channels, out));
    let rounding = Rounding::new(x.zero_point, false);
    for (block, out) in out.chunks_mut(BLOCK).enumerate() {
        let mut sums = [0_i32; BLOCK];
        for pixel in input.chunks_exact(channels) {
            let values = &pixel[block * BLOCK..][..out.len()];
            sums.iter_mut().zip(values).for_each(|(sum, &q)| *sum += i32::from(q) - i32::from(x.zero_point));
        }
        out.iter_mut().zip(&sums).for_each(|(out, &sum)| *out = rounding.round(sum as f32 * multiplier));
    }
}

/// `mean([2, 3])` over an NHWC map, one value a channel; keeps the input's scale and zero point.
///
/// qnnpack: as [`global_avg_pool_u8`]. fbgemm: `rne((sum / n) * (1 / scale)) + zero_point` with the f32 sum of the
/// dequantized values, in the order in which torch's AVX2 code sums: cascaded for channels in whole groups of
/// 32; for the rest in four interleaved cascades.
///
/// # Panics
/// If `out` does not have `channels` elements or the input is not whole pixels.
pub fn mean_u8(numerics: Numerics, x: QParams, input: &[u8], channels: usize, out: &mut [u8]) {
    if numerics == Numerics::Qnnpack {
        return global_avg_pool_u8(numerics, x, input, channels, out);
    }
    let n = pixels(input, channels, out);
    for (channel, out) in out.iter_mut().enumerate() {
        fbgemm_channels::<1>(x, input, n, channel, std::array::from_mut(out));
    }
}

/// fbgemm's means of channels `start ..`, eight at a time where there are; `start` is a multiple of eight.
#[inline(always)]
pub(crate) fn mean_fbgemm(x: QParams, input: &[u8], n: usize, start: usize, out: &mut [u8]) {
    const LANES: usize = 8;
    let mut channel = start;
    let mut blocks = out.chunks_exact_mut(LANES);
    for out in &mut blocks {
        if let Ok(out) = <&mut [u8; LANES]>::try_from(out) {
            fbgemm_channels(x, input, n, channel, out);
        }
        channel += LANES;
    }
    for out in blocks.into_remainder() {
        fbgemm_channels::<1>(x, input, n, channel, std::array::from_mut(out));
        channel += 1;
    }
}

/// fbgemm's means of `N` channels from `channel` on, all in groups of 32 or all after them.
#[inline(always)]
fn fbgemm_channels<const N: usize>(x: QParams, input: &[u8], n: usize, channel: usize, out: &mut [u8; N]) {
    let (inverse, rounding) = (1.0 / x.scale, Rounding::new(x.zero_point, false));
    let channels = input.len() / n;
    let value = |pixel: usize| {
        let values = &input[pixel * channels + channel..][..N];
        std::array::from_fn(|lane| x.dequantize(values[lane]))
    };
    let in_groups = channel < channels / GROUP * GROUP;
    let sums: [f32; N] = if in_groups { cascade(n, [0.0; N], add, value) } else { interleaved(n, value) };
    out.iter_mut().zip(sums).for_each(|(out, sum)| *out = rounding.round(sum / n as f32 * inverse));
}

/// What turns a sum of n integers into their average, as each engine computes it.
pub(crate) fn average_multiplier(numerics: Numerics, scale: f32, n: usize) -> f32 {
    match numerics {
        Numerics::Fbgemm => 1.0 / n as f32,
        Numerics::Qnnpack => scale / (scale * n as f32),
    }
}

/// Channels whose sums lie on the stack at once.
const BLOCK: usize = 64;

/// Channels that torch sums together: four vectors of eight.
pub(crate) const GROUP: usize = 32;

/// Levels of torch's cascaded sum.
const LEVELS: usize = 4;

/// The map's pixels, after a check of the lengths.
pub(crate) fn pixels(input: &[u8], channels: usize, out: &[u8]) -> usize {
    let whole = channels > 0 && !input.is_empty() && input.len().is_multiple_of(channels);
    assert!(whole && out.len() == channels, "int8 mean: lengths");
    input.len() / channels
}

/// Sum of n values, each of several channels, in torch's order: a chunk of 2^p values at a time into the lowest level,
/// which after each chunk moves up by one level, and on from any level whose 2^p additions are complete;
/// p = max(4, ceil(log2 n) / 4). What is left over stays in the lowest level, and the levels are added at the end.
#[inline(always)]
pub(crate) fn cascade<S: Copy>(n: usize, zero: S, add: impl Fn(S, S) -> S, value: impl Fn(usize) -> S) -> S {
    let ceil_log2 = n.next_power_of_two().trailing_zeros();
    let power = (ceil_log2 / LEVELS as u32).max(4);
    let chunk = 1_usize << power;
    let mut levels = [zero; LEVELS];
    let full = n / chunk * chunk;
    let sum = |range: Range<usize>| range.fold(zero, |sum, index| add(sum, value(index)));
    for start in (0..full).step_by(chunk) {
        levels[0] = sum(start..start + chunk);
        for level in 1..LEVELS {
            let below = std::mem::replace(&mut levels[level - 1], zero);
            levels[level] = add(levels[level], below);
            let done = start + chunk;
            if done & ((chunk - 1) << (level as u32 * power)) != 0 {
                break;
            }
        }
    }
    levels[0] = sum(full..n);
    levels.into_iter().reduce(add).unwrap_or(zero)
}

/// Sums of n values as torch sums a single vector: four cascades of every fourth value, the remainder of n on the
/// first, then added in order.
#[inline(always)]
fn interleaved<const N: usize>(n: usize, value: impl Fn(usize) -> [f32; N]) -> [f32; N] {
    let rows = n / 4;
    let part = |k: usize| if rows > 0 { cascade(rows, [0.0; N], add, |i| value(i * 4 + k)) } else { [0.0; N] };
    let first = (rows * 4..n).fold(part(0), |sums, index| add(sums, value(index)));
    (1..4).fold(first, |sums, k| add(sums, part(k)))
}

#[inline(always)]
fn add<const N: usize>(a: [f32; N], b: [f32; N]) -> [f32; N] {
    std::array::from_fn(|lane| a[lane] + b[lane])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_integers_are_exact_in_any_order() {
        for n in [1, 3, 4, 15, 16, 17, 49, 255, 256, 257, 4096, 5000] {
            let expected = (n * (n - 1) / 2) as f32;
            // Below 2^24 every partial sum is an integer that f32 holds.
            assert_eq!(cascade(n, [0.0], add, |i| [i as f32]), [expected]);
            assert_eq!(interleaved(n, |i| [i as f32]), [expected]);
        }
    }
}
