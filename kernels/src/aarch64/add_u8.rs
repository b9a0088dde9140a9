//! int8 sums with NEON: of two tensors, and of a convolution's outputs with a residual.

use std::arch::aarch64::*;

use super::epilogue::store_u8;
use crate::AddU8;
use crate::elementwise::{Add, Fixed};
use crate::lut::BLOCK;
use crate::quant::Rounding;

/// Bytes of half a register.
const LANES: usize = 8;

/// [`AddU8`] of elements in whole blocks.
#[derive(Clone, Copy)]
struct Sum {
    kind: Kind,
    zero_point: int16x8_t,
    /// Smallest output.
    low: uint8x8_t,
}

#[derive(Clone, Copy)]
enum Kind {
    Float { scales: [float32x4_t; 2], zeros: [float32x4_t; 2], factor: float32x4_t },
    Fixed { factors: [int32x4_t; 2], bias: int32x4_t, shift: int32x4_t, mask: int32x4_t, half: int32x4_t },
}

impl Sum {
    #[target_feature(enable = "neon")]
    #[inline]
    fn new(add: &AddU8) -> Self {
        let (kind, zero_point, low) = match &add.0 {
            Add::Float { a, b, inverse, rounding: Rounding { low, zero_point, .. }, .. } => {
                let scales = [vdupq_n_f32(a.scale), vdupq_n_f32(b.scale)];
                let zero = |scale: f32, zero_point: u8| vdupq_n_f32(-(scale * f32::from(zero_point)));
                let zeros = [zero(a.scale, a.zero_point), zero(b.scale, b.zero_point)];
                (Kind::Float { scales, zeros, factor: vdupq_n_f32(*inverse) }, *zero_point, *low as i32 + zero_point)
            }
            &Add::Fixed(Fixed { a, b, bias, shift, zero_point, low }) => {
                let mask = ((1_u32 << shift) - 1) as i32;
                let kind = Kind::Fixed {
                    factors: [vdupq_n_s32(a), vdupq_n_s32(b)],
                    bias: vdupq_n_s32(bias),
                    // A shift to the left by less than nothing.
                    shift: vdupq_n_s32(-(shift as i32)),
                    mask: vdupq_n_s32(mask),
                    half: vdupq_n_s32(mask >> 1),
                };
                (kind, zero_point, low)
            }
        };
        Self { kind, zero_point: vdupq_n_s16(zero_point as i16), low: vdup_n_u8(low as u8) }
    }

    /// Four sums less the zero point, not yet clamped. Conversion rounds half to even and saturates.
    #[target_feature(enable = "neon")]
    #[inline]
    fn four(&self, a: uint16x4_t, b: uint16x4_t) -> int32x4_t {
        let (a, b) = (vmovl_u16(a), vmovl_u16(b));
        match self.kind {
            Kind::Float { scales, zeros, factor } => {
                let a = vfmaq_f32(zeros[0], scales[0], vcvtq_f32_u32(a));
                let b = vfmaq_f32(zeros[1], scales[1], vcvtq_f32_u32(b));
                vcvtnq_s32_f32(vmulq_f32(vaddq_f32(a, b), factor))
            }
            Kind::Fixed { factors, bias, shift, mask, half } => {
                let sum = vmlaq_s32(bias, factors[0], vreinterpretq_s32_u32(a));
                let sum = vmlaq_s32(sum, factors[1], vreinterpretq_s32_u32(b));
                let dropped = vaddq_s32(vandq_s32(sum, mask), vshrq_n_s32::<31>(sum));
                // A comparison that holds is -1.
                let up = vreinterpretq_s32_u32(vcgtq_s32(dropped, half));
                vsubq_s32(vshlq_s32(sum, shift), up)
            }
        }
    }

    /// Eight sums. Narrowing and adding the zero point saturate.
    #[target_feature(enable = "neon")]
    #[inline]
    fn eight(&self, a: uint8x8_t, b: uint8x8_t) -> uint8x8_t {
        let (a, b) = (vmovl_u8(a), vmovl_u8(b));
        let low = self.four(vget_low_u16(a), vget_low_u16(b));
        let high = self.four(vget_high_u16(a), vget_high_u16(b));
        let words = vqaddq_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high)), self.zero_point);
        vmax_u8(vqmovun_s16(words), self.low)
    }
}

/// Up to 8 bytes, the first of the result.
#[target_feature(enable = "neon")]
#[inline]
fn load_u8(x: &[u8]) -> uint8x8_t {
    let mut all = [0_u8; LANES];
    let x = match x.first_chunk::<LANES>() {
        Some(x) => x,
        None => {
            all[..x.len()].copy_from_slice(x);
            &all
        }
    };
    // SAFETY: the array has 8 readable bytes; the load needs no alignment.
    unsafe { vld1_u8(x.as_ptr()) }
}

/// Adds a residual to as many outputs, as to elements of whole blocks.
#[target_feature(enable = "neon")]
pub(super) fn add_to_u8(add: &AddU8, residual: &[u8], out: &mut [u8]) {
    let sum = Sum::new(add);
    for (out, residual) in out.chunks_mut(LANES).zip(residual.chunks(LANES)) {
        store_u8(sum.eight(load_u8(out), load_u8(residual)), out);
    }
}

/// [`AddU8::run`].
#[target_feature(enable = "neon")]
pub(crate) fn add_u8(add: &AddU8, a: &[u8], b: &[u8], out: &mut [u8]) {
    let (blocks, sum) = (out.len() / BLOCK * BLOCK, Sum::new(add));
    let vectors = a[..blocks].chunks_exact(LANES).zip(b[..blocks].chunks_exact(LANES));
    for (out, (a, b)) in out[..blocks].chunks_exact_mut(LANES).zip(vectors) {
        store_u8(sum.eight(load_u8(a), load_u8(b)), out);
    }
    add.run(&a[blocks..], &b[blocks..], &mut out[blocks..]);
}
