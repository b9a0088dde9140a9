//! The constants of the int8 epilogue as vector kernels read them. What is done with them is each instruction set's.

use crate::{AlignedBuf, Requantize};

/// A [`Requantize`] with its constants spread to vectors of channels, in the order in which a kernel's sums lie.
#[derive(Debug)]
pub(crate) struct EpilogueU8 {
    pub(crate) bias_i32: AlignedBuf<i32>,
    pub(crate) bias_f32: AlignedBuf<f32>,
    pub(crate) multiplier: AlignedBuf<f32>,
    pub(crate) bias_scale: f32,
    /// Smallest output.
    pub(crate) low: u8,
    pub(crate) zero_point: u8,
}

impl EpilogueU8 {
    /// `spread_i32` and `spread_f32` bring one value an output channel into the kernel's order.
    pub(crate) fn new(
        requantize: &Requantize,
        spread_i32: impl Fn(&[i32]) -> AlignedBuf<i32>,
        spread_f32: impl Fn(&[f32]) -> AlignedBuf<f32>,
    ) -> Self {
        Self {
            bias_i32: spread_i32(&requantize.bias_i32),
            bias_f32: spread_f32(&requantize.bias_f32),
            multiplier: spread_f32(&requantize.multiplier),
            bias_scale: requantize.bias_scale,
            low: if requantize.relu { requantize.zero_point } else { 0 },
            zero_point: requantize.zero_point,
        }
    }

    /// Bytes of the constants.
    pub(crate) fn bytes(&self) -> usize {
        self.bias_i32.len() * 12
    }
}
