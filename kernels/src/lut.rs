//! Elementwise ops from u8 to u8 as tables of 256 entries.

use crate::quant::Rounding;
use crate::scalar::float::{hardsigmoid, relu6};
use crate::{Numerics, QParams};

/// Elements that PyTorch's elementwise int8 loops take at a time (AVX2: two vectors). What is left over at the end of
/// a tensor goes through scalar code, which rounds the dequantized value in another order.
pub(crate) const BLOCK: usize = 64;

/// Channels that PyTorch's `cat` takes at a time (one AVX2 vector of f32); the rest of each input goes through scalar
/// code.
pub(crate) const CONCAT_BLOCK: usize = 8;

/// The output of each of the 256 inputs.
///
/// PyTorch computes some of these ops in blocks of elements and the remainder one by one, and dequantizes with a fused
/// multiply-add in the blocks alone. In about one of 3,000 pairs of scales that decides a tie, so a table has two
/// columns: `blocks` and `rest`. They are those of PyTorch's AVX2 code on one thread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lut {
    pub(crate) blocks: [u8; 256],
    pub(crate) rest: [u8; 256],
}

impl Lut {
    /// A table without regard to blocks.
    pub fn new(f: impl Fn(u8) -> u8) -> Self {
        let blocks = std::array::from_fn(|q| f(q as u8));
        Self { blocks, rest: blocks }
    }

    /// A table of a function of the real value.
    fn dequantized(x: QParams, f: impl Fn(f32) -> u8) -> Self {
        let blocks = std::array::from_fn(|q| f(x.dequantize_fused(q as u8)));
        Self { blocks, rest: std::array::from_fn(|q| f(x.dequantize(q as u8))) }
    }
}

/// ReLU: nothing below the zero point.
pub fn lut_relu(zero_point: u8) -> Lut {
    Lut::new(|q| q.max(zero_point))
}

/// From one scale and zero point to another (an input of `cat`, with either engine): `rne(d * (1 / so)) + zo`, d the
/// real value.
pub fn lut_requantize(x: QParams, out: QParams) -> Lut {
    if x == out {
        return Lut::new(|q| q);
    }
    let (inverse, rounding) = (1.0 / out.scale, Rounding::new(out.zero_point, false));
    Lut::dequantized(x, |d| rounding.round(d * inverse))
}

/// x * relu6(x + 3) / 6 with a quotient, as PyTorch's int8 ops compute it: their bytes depend on its last bit.
fn hardswish(x: f32) -> f32 {
    x * relu6(x + 3.0) / 6.0
}

/// Hardswish y = d * relu6(d + 3) / 6 of the real value d: fbgemm's `rne(y * (1 / so)) + zo`, qnnpack's
/// `rne(y * (1 / so) + zo)`, which is a table there too.
pub fn lut_hardswish(numerics: Numerics, x: QParams, out: QParams) -> Lut {
    let inverse = 1.0 / out.scale;
    match numerics {
        Numerics::Fbgemm => {
            let rounding = Rounding::new(out.zero_point, false);
            Lut::dequantized(x, |d| rounding.round(hardswish(d) * inverse))
        }
        Numerics::Qnnpack => {
            let (rounding, zero) = (Rounding::new(0, false), f32::from(out.zero_point));
            Lut::new(|q| rounding.round(hardswish(x.dequantize(q)) * inverse + zero))
        }
    }
}

/// Hardsigmoid relu6(d + 3) / 6 of the real value d; the output's scale is 1/256, its zero point 0.
pub fn lut_hardsigmoid(numerics: Numerics, x: QParams) -> Lut {
    let rounding = Rounding::new(0, false);
    let round = |d| rounding.round(hardsigmoid(d) * 256.0);
    match numerics {
        Numerics::Fbgemm => Lut::dequantized(x, round),
        Numerics::Qnnpack => Lut::new(|q| round(x.dequantize(q))),
    }
}

/// Maps every element of a whole tensor through the table. (A part of a tensor must start at a multiple of 64
/// elements, and end at one or at the tensor's end.)
///
/// # Panics
/// If the lengths differ.
pub fn apply_lut(lut: &Lut, input: &[u8], output: &mut [u8]) {
    assert_eq!(input.len(), output.len(), "table: input and output lengths");
    let blocks = input.len() / BLOCK * BLOCK;
    map(&lut.blocks, &input[..blocks], &mut output[..blocks]);
    map(&lut.rest, &input[blocks..], &mut output[blocks..]);
}

fn map(table: &[u8; 256], input: &[u8], output: &mut [u8]) {
    output.iter_mut().zip(input).for_each(|(out, &q)| *out = table[usize::from(q)]);
}
