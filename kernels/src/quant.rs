//! Quantization parameters of activations, whose arithmetic an int8 network follows, and the way to u8 and back.

use crate::Error;

/// The PyTorch engine whose integer arithmetic a quantized network was made for. The two round and order their
/// float operations differently, so a network's outputs are equal bit for bit only under its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Numerics {
    /// x86 servers: per-channel weights, 7-bit activations by convention.
    Fbgemm,
    /// Mobile: per-tensor weights, 8-bit activations.
    Qnnpack,
}

/// Scale and zero point of a u8 activation: real = (q - zero_point) * scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QParams {
    /// Real value of one step; finite and positive.
    pub scale: f32,
    /// The integer that stands for 0.0.
    pub zero_point: u8,
}

impl QParams {
    /// The real value that `q` stands for.
    #[inline(always)]
    pub fn dequantize(self, q: u8) -> f32 {
        f32::from(i16::from(q) - i16::from(self.zero_point)) * self.scale
    }

    /// The real value of `q`, as PyTorch's vector code computes it: a fused multiply-add of the scale, `q`, and the
    /// rounded product of scale and zero point. It may differ from [`QParams::dequantize`] in the last bits.
    pub(crate) fn dequantize_fused(self, q: u8) -> f32 {
        self.scale.mul_add(f32::from(q), -(self.scale * f32::from(self.zero_point)))
    }

    /// Errs where the scale, or its inverse, is not finite and positive.
    pub(crate) fn check(self, what: &str) -> Result<(), Error> {
        check_scale(self.scale, what)
    }
}

/// Errs where a scale, or its inverse, is not finite and positive.
pub(crate) fn check_scale(scale: f32, what: &str) -> Result<(), Error> {
    if scale > 0.0 && scale.is_finite() && (1.0 / scale).is_finite() {
        return Ok(());
    }
    Err(Error::Quant(format!("{what}: scale {scale} is not positive and finite, or has no finite inverse")))
}

/// Rounds half to even to an integer in `low + zero_point ..= high + zero_point`, after clamping: exact for
/// integers `low` and `high` of magnitude up to 2^22. NaN becomes `low`.
///
/// Adding 1.5 * 2^23 leaves the integer, rounded as the addition rounds, in the low bits of the sum: unlike
/// `round_ties_even`, which is a call without SSE4.1, this stays in vector registers on every instruction set.
#[inline(always)]
pub(crate) fn round_clamped(x: f32, low: f32, high: f32, zero_point: i32) -> i32 {
    const MAGIC: f32 = 12_582_912.0;
    let x = if x > low { x } else { low };
    let x = if x < high { x } else { high };
    (x + MAGIC).to_bits() as i32 - MAGIC.to_bits() as i32 + zero_point
}

/// Constants that turn a float into a u8: `clamp(rne(x) + zero_point, 0, 255)`, with `low` above 0 for a fused ReLU.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rounding {
    pub(crate) low: f32,
    pub(crate) high: f32,
    pub(crate) zero_point: i32,
}

impl Rounding {
    /// For this zero point; where `relu`, nothing below it.
    pub(crate) fn new(zero_point: u8, relu: bool) -> Self {
        let zero = f32::from(zero_point);
        Self { low: if relu { 0.0 } else { -zero }, high: 255.0 - zero, zero_point: i32::from(zero_point) }
    }

    /// The u8 of `x`, which is in steps of the output's scale.
    #[inline(always)]
    pub(crate) fn round(self, x: f32) -> u8 {
        round_clamped(x, self.low, self.high, self.zero_point) as u8
    }
}

/// Quantizes: `clamp(rne(x * (1 / scale)) + zero_point, 0, 255)`, as PyTorch's `quantize_per_tensor` (a product with
/// the inverse, not a division). NaN becomes 0.
///
/// # Panics
/// If the lengths differ.
pub fn quantize_u8(x: &[f32], q: QParams, out: &mut [u8]) {
    assert_eq!(x.len(), out.len(), "quantize: input and output lengths");
    let (inverse, rounding) = (1.0 / q.scale, Rounding::new(q.zero_point, false));
    for (out, &x) in out.iter_mut().zip(x) {
        *out = rounding.round(x * inverse);
    }
}

/// [`quantize_u8`] of pixels `range` of planes, one a channel, to pixels.
pub(crate) fn quantize_planes_u8(
    x: &[f32],
    pixels: usize,
    range: std::ops::Range<usize>,
    channels: usize,
    q: QParams,
    out: &mut [u8],
) {
    let (inverse, rounding) = (1.0 / q.scale, Rounding::new(q.zero_point, false));
    for (out, pixel) in out.chunks_exact_mut(channels).zip(range) {
        out.iter_mut().enumerate().for_each(|(c, out)| *out = rounding.round(x[c * pixels + pixel] * inverse));
    }
}

/// Dequantizes: `(q - zero_point) * scale`.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn dequantize_f32(q: &[u8], params: QParams, out: &mut [f32]) {
    assert_eq!(q.len(), out.len(), "dequantize: input and output lengths");
    for (out, &q) in out.iter_mut().zip(q) {
        *out = params.dequantize(q);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_is_half_to_even_over_the_whole_range() {
        for i in -4096..4096 {
            let x = i as f32 / 8.0;
            let expected = x.round_ties_even().clamp(-128.0, 127.0) as i32 + 128;
            assert_eq!(round_clamped(x, -128.0, 127.0, 128), expected, "{x}");
        }
        for (x, expected) in [(f32::NAN, 0), (f32::INFINITY, 255), (f32::NEG_INFINITY, 0), (1e30, 255), (-1e30, 0)] {
            assert_eq!(round_clamped(x, 0.0, 255.0, 0), expected, "{x}");
        }
    }

    #[test]
    fn unusable_scales_are_refused() {
        for scale in [0.0, -1.0, f32::NAN, f32::INFINITY, 1e-45] {
            assert!(QParams { scale, zero_point: 0 }.check("x").is_err(), "{scale}");
        }
        assert!(QParams { scale: 0.02, zero_point: 255 }.check("x").is_ok());
    }
}
