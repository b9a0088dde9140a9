//! Windowed pooling, int8 and f32.

use crate::mean::average_multiplier;
use crate::quant::Rounding;
use crate::{Element, Numerics, Pool2d, QParams};

/// Channels whose accumulators lie on the stack at once.
const BLOCK: usize = 64;

/// For every window and channel: starts with `start`, folds in each of the window's pixels, and hands the result with
/// the number of pixels to `finish`.
fn pool<T: Element, A: Copy>(
    geometry: &Pool2d,
    input: &[T],
    output: &mut [T],
    start: A,
    fold: impl Fn(A, T) -> A,
    finish: impl Fn(A, usize) -> T,
) {
    assert_eq!(input.len(), geometry.in_len(), "pooling: input");
    assert_eq!(output.len(), geometry.out_len(), "pooling: output");
    let c = geometry.channels;
    for (index, out) in output.chunks_exact_mut(c).enumerate() {
        let rows = geometry.window(0, index / geometry.out_w());
        let columns = geometry.window(1, index % geometry.out_w());
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let mut acc = [start; BLOCK];
            for row in rows.clone() {
                for pixel in row * geometry.in_w + columns.start..row * geometry.in_w + columns.end {
                    let values = &input[pixel * c + block * BLOCK..][..out.len()];
                    acc.iter_mut().zip(values).for_each(|(acc, &x)| *acc = fold(*acc, x));
                }
            }
            let pixels = rows.len() * columns.len();
            out.iter_mut().zip(&acc).for_each(|(out, &acc)| *out = finish(acc, pixels));
        }
    }
}

/// Maximum of each window; keeps the input's scale and zero point.
///
/// # Panics
/// If a slice does not have the geometry's length.
pub fn max_pool_u8(geometry: &Pool2d, input: &[u8], output: &mut [u8]) {
    pool(geometry, input, output, 0_u8, |acc, x| if x > acc { x } else { acc }, |acc, _| acc);
}

/// Maximum of each window; where zeros of both signs are the largest, one of them.
///
/// # Panics
/// If a slice does not have the geometry's length.
pub fn max_pool_f32(geometry: &Pool2d, input: &[f32], output: &mut [f32]) {
    pool(geometry, input, output, f32::NEG_INFINITY, |acc, x| if x > acc { x } else { acc }, |acc, _| acc);
}

/// Average of each window, padding not counted; keeps the input's scale and zero point:
/// `rne(f32(sum - n * zero_point) * m) + zero_point` with m as in [`crate::global_avg_pool_u8`]. (PyTorch's qnnpack
/// counts padding even where it is told not to; without padding all agree.)
///
/// # Panics
/// If a slice does not have the geometry's length.
pub fn avg_pool_u8(numerics: Numerics, geometry: &Pool2d, x: QParams, input: &[u8], output: &mut [u8]) {
    let (rounding, zero) = (Rounding::new(x.zero_point, false), i32::from(x.zero_point));
    let finish = |sum: i32, n: usize| {
        let multiplier = average_multiplier(numerics, x.scale, n);
        rounding.round((sum - n as i32 * zero) as f32 * multiplier)
    };
    pool(geometry, input, output, 0_i32, |sum, x| sum + i32::from(x), finish);
}

/// Average of each window, padding not counted.
///
/// # Panics
/// If a slice does not have the geometry's length.
pub fn avg_pool_f32(geometry: &Pool2d, input: &[f32], output: &mut [f32]) {
    pool(geometry, input, output, 0.0_f32, |sum, x| sum + x, |sum, n| sum / n as f32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_neither_maximum_nor_counted() {
        let geometry = Pool2d { in_h: 2, in_w: 2, channels: 1, kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
        let mut out = [0.0];
        max_pool_f32(&geometry, &[-4.0, -3.0, -2.0, -1.0], &mut out);
        assert_eq!(out, [-1.0]);
        avg_pool_f32(&geometry, &[-4.0, -3.0, -2.0, -1.0], &mut out);
        assert_eq!(out, [-2.5]);
        let mut out = [0];
        max_pool_u8(&geometry, &[1, 2, 9, 4], &mut out);
        assert_eq!(out, [9]);
    }
}
