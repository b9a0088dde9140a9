//! From the i32 sums of an int8 convolution to its u8 outputs.

use crate::error::check_len;
use crate::quant::{Rounding, check_scale};
use crate::{AddU8, Error, Numerics, QParams};

/// The epilogue of an int8 convolution or linear layer, for either engine's arithmetic:
///
/// `q = clamp(rne(fma(bias_f32[c], bias_scale, f32(acc + bias_i32[c])) * multiplier[c]) + zero_point, low, 255)`
///
/// where `acc` is the sum of `q_x * q_w` over all taps, padding included (padded taps hold the input's zero point);
/// `bias_i32` takes the input's zero point out again. `low` is the output's zero point where a ReLU is fused, else 0.
#[derive(Debug, Clone)]
pub struct Requantize {
    pub(crate) bias_i32: Vec<i32>,
    pub(crate) bias_f32: Vec<f32>,
    pub(crate) bias_scale: f32,
    pub(crate) multiplier: Vec<f32>,
    pub(crate) zero_point: u8,
    pub(crate) relu: bool,
    pub(crate) x_zero_point: u8,
    /// What adds a residual to the outputs.
    pub(crate) residual: Option<AddU8>,
    /// The largest activation to expect: fbgemm's observers aim at 7 bits. Kernels may be fast up to here; exact they
    /// are for all.
    #[cfg(target_arch = "x86_64")]
    pub(crate) x_max: u8,
}

impl Requantize {
    /// Constants in the order of operations of `numerics`.
    ///
    /// - `x`, `out`: quantization of input and output. `weight_scales`: one, or one an output channel.
    /// - `bias`: real values, one an output channel. `weight_sums`: sums of each output channel's weights
    ///   ([`crate::Conv2d::weight_sums`]).
    /// - fbgemm keeps the bias in f32. With scales per channel it adds `bias / (sx * sw)`. With one scale it adds
    ///   `bias * (1 / (sx * sw))` by a fused multiply-add (found by measurement: torch 2.5.1, 0 of 51 million
    ///   outputs differ, against 23 with a rounded product). Multiplier `(sx * sw) / so`.
    /// - qnnpack rounds it to i32: `rne(bias * (1 / (sx * sw)))`; multiplier `(sw * sx) * (1 / so)`.
    ///
    /// # Errors
    /// [`Error::Length`] where lengths differ; [`Error::Quant`] where a scale is not finite and positive, or a bias
    /// or multiplier leaves the range of f32 or i32.
    pub fn new(
        numerics: Numerics,
        x: QParams,
        weight_scales: &[f32],
        bias: &[f32],
        weight_sums: &[i32],
        out: QParams,
        relu: bool,
    ) -> Result<Self, Error> {
        x.check("input")?;
        out.check("output")?;
        let channels = bias.len();
        check_len("sums of weights", channels, weight_sums.len())?;
        if weight_scales.len() != 1 {
            check_len("weight scales", channels, weight_scales.len())?;
        }
        let mut made = Self {
            bias_i32: Vec::with_capacity(channels),
            bias_f32: Vec::with_capacity(channels),
            bias_scale: 1.0,
            multiplier: Vec::with_capacity(channels),
            zero_point: out.zero_point,
            relu,
            x_zero_point: x.zero_point,
            residual: None,
            #[cfg(target_arch = "x86_64")]
            x_max: if numerics == Numerics::Fbgemm { 127 } else { 255 },
        };
        let one_scale = weight_scales.len() == 1;
        if one_scale && numerics == Numerics::Fbgemm {
            made.bias_scale = 1.0 / (x.scale * weight_scales[0]);
        }
        for channel in 0..channels {
            let sw = weight_scales[if one_scale { 0 } else { channel }];
            check_scale(sw, "weight")?;
            let constants = constants(numerics, x.scale, sw, one_scale, bias[channel], out.scale);
            let (bias_i32, bias_f32, multiplier) = constants.ok_or_else(|| {
                Error::Quant(format!(
                    "channel {channel}: bias {} with scales {} (input), {sw} (weight), {} (output) leaves the range of \
                     the arithmetic",
                    bias[channel], x.scale, out.scale
                ))
            })?;
            let correction = weight_sums[channel].wrapping_mul(-i32::from(x.zero_point));
            made.bias_i32.push(bias_i32.wrapping_add(correction));
            made.bias_f32.push(bias_f32);
            made.multiplier.push(multiplier);
        }
        Ok(made)
    }

    /// With a residual: what the epilogue makes is the first input of `add`, the residual the second, and the sum the output. It is summed
    /// as elements in whole blocks are, which must be the rule for all: see [`AddU8::fits_epilogue`].
    pub fn with_residual(mut self, add: AddU8) -> Self {
        self.residual = Some(add);
        self
    }

    /// Number of output channels.
    pub fn channels(&self) -> usize {
        self.multiplier.len()
    }

    /// Zero point of the input that the constants are for.
    pub fn input_zero_point(&self) -> u8 {
        self.x_zero_point
    }

    /// Rounding and clamping of the outputs.
    pub(crate) fn rounding(&self) -> Rounding {
        Rounding::new(self.zero_point, self.relu)
    }

    /// The output of one sum. Sums may wrap, as the engines' do.
    #[inline(always)]
    pub(crate) fn apply(&self, rounding: Rounding, channel: usize, acc: i32) -> u8 {
        let acc = acc.wrapping_add(self.bias_i32[channel]) as f32;
        // Without a scale, the sum alone is the same and spares CPUs without the instruction a slow call.
        let bias = self.bias_f32[channel];
        let biased = if self.bias_scale == 1.0 { acc + bias } else { bias.mul_add(self.bias_scale, acc) };
        rounding.round(biased * self.multiplier[channel])
    }
}

/// Bias as i32, bias as f32 and multiplier of one channel; none where one leaves its range.
fn constants(numerics: Numerics, sx: f32, sw: f32, one_scale: bool, bias: f32, so: f32) -> Option<(i32, f32, f32)> {
    let product = sx * sw;
    let inverse = 1.0 / product;
    let (bias_i32, bias_f32, multiplier) = match numerics {
        Numerics::Fbgemm => (0, if one_scale { bias } else { bias / product }, product / so),
        Numerics::Qnnpack => {
            let rounded = (bias * inverse).round_ties_even();
            // i32::MAX is no f32; 2^31 - 128 is the largest one below it.
            if !(-2_147_483_648.0..=2_147_483_520.0).contains(&rounded) {
                return None;
            }
            (rounded as i32, 0.0, product * (1.0 / so))
        }
    };
    let finite = (bias * inverse).is_finite() && bias_f32.is_finite() && multiplier.is_finite();
    (finite && multiplier > 0.0).then_some((bias_i32, bias_f32, multiplier))
}
