//! From sums in registers to outputs: requantization to u8, activation in f32.

use std::arch::aarch64::*;

use crate::conv::Activation;
use crate::conv::vector::EpilogueU8;
use crate::scalar::float::SIXTH;

impl EpilogueU8 {
    /// What `4 * NV` sums with constants from `index` on start with.
    #[target_feature(enable = "neon")]
    #[inline]
    pub(crate) fn start<const NV: usize>(&self, index: usize) -> [int32x4_t; NV] {
        std::array::from_fn(|v| load_i32(&self.bias_i32, index + v * 4))
    }

    /// The constants of the eight sums with constants from `index` on.
    #[target_feature(enable = "neon")]
    #[inline]
    pub(super) fn constants(&self, index: usize) -> Constants {
        Constants {
            bias: [load_f32(&self.bias_f32, index), load_f32(&self.bias_f32, index + 4)],
            multiplier: [load_f32(&self.multiplier, index), load_f32(&self.multiplier, index + 4)],
            bias_scale: vdupq_n_f32(self.bias_scale),
            zero_point: vdupq_n_s16(i16::from(self.zero_point)),
            low: vdup_n_u8(self.low),
        }
    }

    /// Stores the first `out.len()` outputs of `4 * NV` sums (8 or 16) whose constants start at `index`.
    #[target_feature(enable = "neon")]
    #[inline]
    pub(crate) fn store<const NV: usize>(&self, index: usize, sums: [int32x4_t; NV], out: &mut [u8]) {
        for (v, out) in out.chunks_mut(8).enumerate().take(NV / 2) {
            store_u8(self.constants(index + v * 8).outputs([sums[v * 2], sums[v * 2 + 1]]), out);
        }
    }
}

/// Constants of eight sums, in registers.
#[derive(Clone, Copy)]
pub(super) struct Constants {
    bias: [float32x4_t; 2],
    multiplier: [float32x4_t; 2],
    bias_scale: float32x4_t,
    zero_point: int16x8_t,
    low: uint8x8_t,
}

impl Constants {
    /// Four outputs less the zero point, not yet clamped, of four sums, the first or the second of eight.
    ///
    /// The order of operations is that of [`Requantize`](crate::Requantize). The fused multiply-add stands in its formula;
    /// the product with the multiplier is rounded by itself. The conversion rounds half to even and saturates.
    #[target_feature(enable = "neon")]
    #[inline]
    fn scaled(&self, half: usize, sums: int32x4_t) -> int32x4_t {
        let biased = vfmaq_f32(vcvtq_f32_s32(sums), self.bias[half], self.bias_scale);
        vcvtnq_s32_f32(vmulq_f32(biased, self.multiplier[half]))
    }

    /// Eight outputs.
    ///
    /// Narrowing to i16, adding the zero point and narrowing to u8 saturate: all values beyond the range of i16 are beyond
    /// that of u8 on the same side.
    #[target_feature(enable = "neon")]
    #[inline]
    pub(super) fn outputs(&self, sums: [int32x4_t; 2]) -> uint8x8_t {
        let [low, high] = [self.scaled(0, sums[0]), self.scaled(1, sums[1])];
        let words = vcombine_s16(vqmovn_s32(low), vqmovn_s32(high));
        vmax_u8(vqmovun_s16(vqaddq_s16(words, self.zero_point)), self.low)
    }
}

/// Stores the first `out.len()` of eight bytes.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store_u8(bytes: uint8x8_t, out: &mut [u8]) {
    if out.len() == 8 {
        // SAFETY: the slice has 8 writable bytes; the store needs no alignment.
        unsafe { vst1_u8(out.as_mut_ptr(), bytes) }
    } else {
        let mut all = [0_u8; 8];
        // SAFETY: the array has 8 writable bytes; the store needs no alignment.
        unsafe { vst1_u8(all.as_mut_ptr(), bytes) };
        out.copy_from_slice(&all[..out.len()]);
    }
}

/// Four i32 from `index` on.
#[target_feature(enable = "neon")]
#[inline]
fn load_i32(values: &[i32], index: usize) -> int32x4_t {
    let values = &values[index..index + 4];
    // SAFETY: the slice has 4 elements; the load needs no alignment.
    unsafe { vld1q_s32(values.as_ptr()) }
}

/// Four f32 from `index` on.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_f32(values: &[f32], index: usize) -> float32x4_t {
    let values = &values[index..index + 4];
    // SAFETY: the slice has 4 elements; the load needs no alignment.
    unsafe { vld1q_f32(values.as_ptr()) }
}

/// The activation of four values, equal to [`Activation::apply`] bit for bit (NaN aside).
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn activate(activation: Activation, x: float32x4_t) -> float32x4_t {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Hardswish => {
            let gate = relu6(vaddq_f32(x, vdupq_n_f32(3.0)));
            vmulq_f32(vmulq_f32(x, gate), vdupq_n_f32(SIXTH))
        }
    }
}

#[target_feature(enable = "neon")]
#[inline]
fn relu(x: float32x4_t) -> float32x4_t {
    vmaxnmq_f32(x, vdupq_n_f32(0.0))
}

#[target_feature(enable = "neon")]
#[inline]
fn relu6(x: float32x4_t) -> float32x4_t {
    vminnmq_f32(relu(x), vdupq_n_f32(6.0))
}

/// The first four values, or what there are and zeros.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn load_first_f32(values: &[f32]) -> float32x4_t {
    let mut all = [0.0; 4];
    if values.len() >= 4 {
        return load_f32(values, 0);
    }
    all[..values.len()].copy_from_slice(values);
    load_f32(&all, 0)
}

/// Stores the first `out.len()` of four values.
#[target_feature(enable = "neon")]
#[inline]
pub(super) fn store_f32(values: float32x4_t, out: &mut [f32]) {
    if out.len() >= 4 {
        // SAFETY: the slice has 4 writable elements; the store needs no alignment.
        unsafe { vst1q_f32(out.as_mut_ptr(), values) }
    } else {
        let mut all = [0.0; 4];
        // SAFETY: the array has 4 writable elements; the store needs no alignment.
        unsafe { vst1q_f32(all.as_mut_ptr(), values) };
        out.copy_from_slice(&all[..out.len()]);
    }
}
