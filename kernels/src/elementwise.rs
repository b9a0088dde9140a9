//! int8 sums and products of two tensors.

use crate::lut::BLOCK;
use crate::quant::Rounding;
use crate::{Error, Numerics, QParams};

/// Scaled values up to here need no clamp before they become integers: packing clamps by saturation.
pub(crate) const UNCLAMPED: f64 = (1 << 30) as f64;

/// Elementwise sum of two quantized tensors.
#[derive(Debug, Clone)]
pub struct AddU8(pub(crate) Add);

#[derive(Debug, Clone)]
pub(crate) enum Add {
    /// fbgemm: in f32. `fused` has the real values of each input's 256 integers, as blocks of elements see them.
    Float { a: QParams, b: QParams, fused: Box<[[f32; 256]; 2]>, inverse: f32, rounding: Rounding },
    /// qnnpack: in fixed point.
    Fixed(Fixed),
}

impl AddU8 {
    /// Constants for inputs `a` and `b`; where `relu`, nothing is below the output's zero point.
    ///
    /// - fbgemm: `rne((da + db) * (1 / so)) + zo`, da and db the real values: from a fused multiply-add in whole blocks
    ///   of 64 elements, `(q - z) * s` in the elements after the last block, as PyTorch's AVX2 code on one thread.
    /// - qnnpack: with `m` = the larger of `sa / so` and `sb / so`, both ratios times `2^(21 - floor(log2 m))` are
    ///   rounded to integers; the sum of the products is shifted back, ties away from zero, plus zo.
    ///
    /// # Errors
    /// [`Error::Quant`] for an unusable scale, or (qnnpack) a ratio outside 2^-10 .. 2^8, which QNNPACK refuses too.
    pub fn new(numerics: Numerics, a: QParams, b: QParams, out: QParams, relu: bool) -> Result<Self, Error> {
        a.check("add: first input")?;
        b.check("add: second input")?;
        out.check("add: output")?;
        match numerics {
            Numerics::Fbgemm => {
                let rounding = Rounding::new(out.zero_point, relu);
                let fused = Box::new([a, b].map(|x| std::array::from_fn(|q| x.dequantize_fused(q as u8))));
                Ok(Self(Add::Float { a, b, fused, inverse: 1.0 / out.scale, rounding }))
            }
            Numerics::Qnnpack => Self::fixed(a, b, out, relu),
        }
    }

    fn fixed(a: QParams, b: QParams, out: QParams, relu: bool) -> Result<Self, Error> {
        let (ratio_a, ratio_b) = (a.scale / out.scale, b.scale / out.scale);
        let larger = ratio_a.max(ratio_b);
        if !(2.0_f32.powi(-10)..2.0_f32.powi(8)).contains(&larger) {
            let message =
                format!("add: scales {}, {} (inputs) and {} (output) are too far apart", a.scale, b.scale, out.scale);
            return Err(Error::Quant(message));
        }
        // The exponent field of a normal f32 is floor(log2) + 127.
        let shift = 21 + 127 - (larger.to_bits() >> 23);
        let fixed = |ratio: f32| (ratio * 2.0_f32.powi(shift as i32)).round_ties_even() as i32;
        let (fixed_a, fixed_b) = (fixed(ratio_a), fixed(ratio_b));
        let bias = -(fixed_a * i32::from(a.zero_point) + fixed_b * i32::from(b.zero_point));
        let zero_point = i32::from(out.zero_point);
        let low = if relu { zero_point } else { 0 };
        Ok(Self(Add::Fixed(Fixed { a: fixed_a, b: fixed_b, bias, shift, zero_point, low })))
    }

    /// Whether a convolution of `len` outputs may add these tensors in its epilogue: all elements lie in whole blocks, if that matters,
    /// and no step leaves the range of its type without clamps. All networks' scales do the latter.
    pub fn fits_epilogue(&self, len: usize) -> bool {
        self.is_unclamped() && (len.is_multiple_of(BLOCK) || matches!(self.0, Add::Fixed(_)))
    }

    /// Whether no step leaves the range of i32 where it is not clamped.
    pub(crate) fn is_unclamped(&self) -> bool {
        match &self.0 {
            Add::Float { a, b, inverse, .. } => {
                255.0 * (f64::from(a.scale) + f64::from(b.scale)) * f64::from(*inverse) <= UNCLAMPED
            }
            // Sums are at most 2^31 - 2^23 (both factors at most 2^22), so that half of 2^shift more fits i32.
            Add::Fixed(fixed) => fixed.shift <= 23,
        }
    }

    /// The sum of two elements of whole blocks.
    #[inline(always)]
    pub(crate) fn sum(&self, a: u8, b: u8) -> u8 {
        match &self.0 {
            Add::Float { fused, inverse, rounding, .. } => {
                rounding.round((fused[0][usize::from(a)] + fused[1][usize::from(b)]) * inverse)
            }
            Add::Fixed(fixed) => fixed.sum(a, b),
        }
    }

    /// Adds two whole tensors. (Parts must start at a multiple of 64 elements, and end at one or at the tensors' end.)
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn run(&self, a: &[u8], b: &[u8], out: &mut [u8]) {
        assert!(a.len() == b.len() && a.len() == out.len(), "int8 add: lengths");
        match &self.0 {
            Add::Float { a: x, b: y, inverse, rounding, .. } => {
                let blocks = a.len() / BLOCK * BLOCK;
                for (out, (&a, &b)) in out[..blocks].iter_mut().zip(a.iter().zip(b)) {
                    *out = self.sum(a, b);
                }
                for (out, (&a, &b)) in out[blocks..].iter_mut().zip(a[blocks..].iter().zip(&b[blocks..])) {
                    *out = rounding.round((x.dequantize(a) + y.dequantize(b)) * inverse);
                }
            }
            Add::Fixed(fixed) => fixed.run(a, b, out),
        }
    }
}

/// Constants of qnnpack's sum.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixed {
    pub(crate) a: i32,
    pub(crate) b: i32,
    pub(crate) bias: i32,
    pub(crate) shift: u32,
    pub(crate) zero_point: i32,
    pub(crate) low: i32,
}

impl Fixed {
    #[inline(always)]
    pub(crate) fn run(&self, a: &[u8], b: &[u8], out: &mut [u8]) {
        for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
            *out = self.sum(a, b);
        }
    }

    #[inline(always)]
    fn sum(&self, a: u8, b: u8) -> u8 {
        let Self { a: factor_a, b: factor_b, bias, shift, zero_point, low } = *self;
        let mask = ((1_u32 << shift) - 1) as i32;
        // Both factors are at most 2^22, so that the sum stays below 2^31.
        let sum = bias + factor_a * i32::from(a) + factor_b * i32::from(b);
        // What the shift drops, less one of negative sums: ties go away from zero. Half of 2^shift added before the
        // shift would do the same, but leaves i32 where the output's scale is far above the inputs'.
        let dropped = (sum & mask) + (sum >> 31);
        let rounded = (sum >> shift) + i32::from(dropped > mask >> 1);
        (rounded + zero_point).clamp(low, 255) as u8
    }
}

/// Elementwise product of two quantized tensors; the second may have one value a channel.
#[derive(Debug, Clone)]
pub struct MulU8 {
    pub(crate) a: i32,
    pub(crate) b: i32,
    pub(crate) multiplier: f32,
    pub(crate) rounding: Rounding,
}

impl MulU8 {
    /// Constants for inputs `a` and `b`: `rne(f32((qa - za) * (qb - zb)) * (sa * sb * (1 / so))) + zo`, for either
    /// engine.
    ///
    /// # Errors
    /// [`Error::Quant`] for an unusable scale or product of scales.
    pub fn new(a: QParams, b: QParams, out: QParams) -> Result<Self, Error> {
        a.check("mul: first input")?;
        b.check("mul: second input")?;
        out.check("mul: output")?;
        let multiplier = a.scale * b.scale * (1.0 / out.scale);
        if !(multiplier.is_finite() && multiplier > 0.0) {
            let (sa, sb, so) = (a.scale, b.scale, out.scale);
            return Err(Error::Quant(format!("mul: {sa} * {sb} / {so} (scales) leaves the range of f32")));
        }
        let rounding = Rounding::new(out.zero_point, false);
        Ok(Self { a: i32::from(a.zero_point), b: i32::from(b.zero_point), multiplier, rounding })
    }

    /// Multiplies; `b` has the length of `a`, or `channels` factors, one a channel.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn run(&self, a: &[u8], b: &[u8], out: &mut [u8], channels: usize) {
        assert_eq!(a.len(), out.len(), "int8 mul: input and output lengths");
        let period = if b.len() == a.len() { a.len() } else { channels };
        assert!(b.len() == period && (period == 0 || a.len().is_multiple_of(period)), "int8 mul: factors");
        for (out, a) in out.chunks_mut(period.max(1)).zip(a.chunks(period.max(1))) {
            for (out, (&a, &b)) in out.iter_mut().zip(a.iter().zip(b)) {
                let product = (i32::from(a) - self.a) * (i32::from(b) - self.b);
                *out = self.rounding.round(product as f32 * self.multiplier);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_point_sums_stay_in_range_at_every_ratio() {
        let at = |scale: f32, zero_point| QParams { scale, zero_point };
        for exponent in -10..8 {
            // Just below a power of two: the largest factors, and with these integers the largest sums.
            let scale = 2.0_f32.powi(exponent) * 1.999;
            for (zero_point, q) in [(0, 255_u8), (255, 0), (0, 1), (0, 0)] {
                let x = at(scale, zero_point);
                let add = AddU8::new(Numerics::Qnnpack, x, x, at(1.0, 128), false).expect("in range");
                let mut out = [7];
                add.run(&[q], &[q], &mut out);
                // No sum here is within rounding of a tie.
                let expected = 2.0 * f64::from(x.dequantize(q));
                assert_eq!(i32::from(out[0]), (expected.round() as i32 + 128).clamp(0, 255), "{scale} {x:?} {q}");
            }
        }
    }
}
