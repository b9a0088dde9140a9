//! Convolution by its definition: for each output, a sum over the taps that lie inside the input. Serves any
//! geometry; the order of an f32 sum is kernel row, kernel column, input channel.

use crate::conv::{Activation, Conv2d, F32Kernel, KernelInfo, KernelOp, PackedF32, PackedU8, U8Kernel};
use crate::{Isa, Requantize, Team};

/// int8, any shape.
pub(crate) static U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-conv-1x1-scalar",
        op: KernelOp::ConvU8,
        isa: Isa::Scalar,
        mr: 1,
        nr: 1,
        kr: 1,
        residual: true,
        serves: "any convolution",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(ScalarU8 { conv: *conv, weights: to_ohwi(conv, weights), requantize }),
};

/// f32, any shape.
pub(crate) static F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-conv-1x1-scalar",
        op: KernelOp::ConvF32,
        isa: Isa::Scalar,
        mr: 1,
        nr: 1,
        kr: 1,
        residual: true,
        serves: "any convolution",
        accepts: |_| true,
    },
    pack: |conv, weights, bias, activation| {
        Box::new(ScalarF32 { conv: *conv, weights: to_ohwi(conv, weights), bias: bias.to_vec(), activation })
    },
};

struct ScalarU8 {
    conv: Conv2d,
    weights: Vec<i8>,
    requantize: Requantize,
}

struct ScalarF32 {
    conv: Conv2d,
    weights: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
}

/// Weights with the input channel last, in the order in which NHWC input is read.
fn to_ohwi<T: Copy>(conv: &Conv2d, oihw: &[T]) -> Vec<T> {
    let (channels, taps) = (conv.group_in(), conv.kernel[0] * conv.kernel[1]);
    let source = |o: usize, tap: usize, i: usize| oihw[(o * channels + i) * taps + tap];
    (0..conv.weight_len())
        .map(|index| source(index / (taps * channels), index / channels % taps, index % channels))
        .collect()
}

/// Calls `tap` with the input's offset (none in the padding) and the weights' offset of every kernel position that
/// output pixel (`y`, `x`) reads.
#[inline(always)]
fn for_taps(conv: &Conv2d, y: usize, x: usize, mut tap: impl FnMut(Option<usize>, usize)) {
    for ky in 0..conv.kernel[0] {
        let row = (y * conv.stride[0] + ky).checked_sub(conv.padding[0]).filter(|&row| row < conv.in_h);
        for kx in 0..conv.kernel[1] {
            let column = (x * conv.stride[1] + kx).checked_sub(conv.padding[1]).filter(|&column| column < conv.in_w);
            let input = row.zip(column).map(|(row, column)| (row * conv.in_w + column) * conv.in_c);
            tap(input, (ky * conv.kernel[1] + kx) * conv.group_in());
        }
    }
}

impl PackedU8 for ScalarU8 {
    fn scratch_bytes(&self) -> usize {
        0
    }

    fn weight_bytes(&self) -> usize {
        self.weights.len()
    }

    fn run(&self, input: &[u8], residual: Option<&[u8]>, output: &mut [u8], _: &mut [u8], team: &Team) {
        let (conv, rounding) = (&self.conv, self.requantize.rounding());
        let (channels, terms) = (conv.group_in(), conv.terms());
        let padding = i32::from(self.requantize.x_zero_point);
        let row_len = conv.out_w() * conv.out_c;
        team.run_chunks(output, row_len, |y, row| {
            for (index, out) in row.iter_mut().enumerate() {
                let (x, o) = (index / conv.out_c, index % conv.out_c);
                let (first, weights) = (o / conv.group_out() * channels, &self.weights[o * terms..][..terms]);
                let mut acc = 0_i32;
                for_taps(conv, y, x, |offset, weight| {
                    let weights = &weights[weight..weight + channels];
                    acc += match offset {
                        Some(offset) => dot(&input[offset + first..][..channels], weights),
                        None => padding * weights.iter().map(|&w| i32::from(w)).sum::<i32>(),
                    };
                });
                let made = self.requantize.apply(rounding, o, acc);
                *out = match (&self.requantize.residual, residual) {
                    (Some(add), Some(residual)) => add.sum(made, residual[y * row_len + index]),
                    _ => made,
                };
            }
        });
    }
}

/// Exact, as `Conv2d::check` limits the number of terms.
#[inline(always)]
fn dot(x: &[u8], w: &[i8]) -> i32 {
    x.iter().zip(w).map(|(&x, &w)| i32::from(x) * i32::from(w)).sum()
}

impl PackedF32 for ScalarF32 {
    fn scratch_len(&self) -> usize {
        0
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(self.weights.as_slice())
    }

    fn run(&self, input: &[f32], residual: Option<&[f32]>, output: &mut [f32], _: &mut [f32], team: &Team) {
        let conv = &self.conv;
        let (channels, terms) = (conv.group_in(), conv.terms());
        let row_len = conv.out_w() * conv.out_c;
        team.run_chunks(output, row_len, |y, row| {
            for (index, out) in row.iter_mut().enumerate() {
                let (x, o) = (index / conv.out_c, index % conv.out_c);
                let (first, weights) = (o / conv.group_out() * channels, &self.weights[o * terms..][..terms]);
                let mut acc = self.bias[o];
                for_taps(conv, y, x, |offset, weight| {
                    if let Some(offset) = offset {
                        let x = &input[offset + first..][..channels];
                        acc = x.iter().zip(&weights[weight..]).fold(acc, |acc, (&x, &w)| acc + x * w);
                    }
                });
                let sum = residual.map_or(acc, |residual| acc + residual[y * row_len + index]);
                *out = self.activation.apply(sum);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_turn_to_channel_last() {
        let conv = Conv2d { kernel: [1, 3], in_w: 3, ..Conv2d::linear(2, 1) };
        assert_eq!(to_ohwi(&conv, &[0, 1, 2, 3, 4, 5]), [0, 3, 1, 4, 2, 5]);
    }
}
