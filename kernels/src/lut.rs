//! Elementwise ops from u8 to u8 as tables of 256 entries.

use crate::quant::Rounding;
use crate::scalar::float::{hardsigmoid, hardswish};
use crate::{Numerics, QParams};

/// The output of each of the 256 inputs.
pub type Lut = [u8; 256];

fn table(f: impl Fn(u8) -> u8) -> Lut {
    std::array::from_fn(|q| f(q as u8))
}

/// ReLU: nothing below the zero point.
pub fn lut_relu(zero_point: u8) -> Lut {
    table(|q| q.max(zero_point))
}

/// From one scale and zero point to another (an input of `cat`): `rne(d * (1 / so)) + zo`, d the real value.
pub fn lut_requantize(numerics: Numerics, x: QParams, out: QParams) -> Lut {
    let _ = numerics;
    if x == out {
        return table(|q| q);
    }
    let (inverse, rounding) = (1.0 / out.scale, Rounding::new(out.zero_point, false));
    table(|q| rounding.round(x.dequantize(q) * inverse))
}

/// [`lut_requantize`], then nothing below the output's zero point (`cat_relu`).
pub fn lut_requantize_then_relu(numerics: Numerics, x: QParams, out: QParams) -> Lut {
    let relu = lut_relu(out.zero_point);
    lut_requantize(numerics, x, out).map(|q| relu[usize::from(q)])
}

/// Hardswish y = d * relu6(d + 3) / 6 of the real value d: fbgemm's `rne(y * (1 / so)) + zo`, qnnpack's
/// `rne(y * (1 / so) + zo)`.
pub fn lut_hardswish(numerics: Numerics, x: QParams, out: QParams) -> Lut {
    let inverse = 1.0 / out.scale;
    match numerics {
        Numerics::Fbgemm => {
            let rounding = Rounding::new(out.zero_point, false);
            table(|q| rounding.round(hardswish(x.dequantize(q)) * inverse))
        }
        Numerics::Qnnpack => {
            let (rounding, zero) = (Rounding::new(0, false), f32::from(out.zero_point));
            table(|q| rounding.round(hardswish(x.dequantize(q)) * inverse + zero))
        }
    }
}

/// Hardsigmoid relu6(d + 3) / 6 of the real value d; the output's scale is 1/256, its zero point 0.
pub fn lut_hardsigmoid(numerics: Numerics, x: QParams) -> Lut {
    let _ = numerics;
    let rounding = Rounding::new(0, false);
    table(|q| rounding.round(hardsigmoid(x.dequantize(q)) * 256.0))
}

/// Maps every element through the table.
///
/// # Panics
/// If the lengths differ.
pub fn apply_lut(lut: &Lut, input: &[u8], output: &mut [u8]) {
    assert_eq!(input.len(), output.len(), "table: input and output lengths");
    output.iter_mut().zip(input).for_each(|(out, &q)| *out = lut[usize::from(q)]);
}
