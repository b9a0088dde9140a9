//! int8 sums with NEON: of two tensors, and of a convolution's outputs with a residual.

use std::arch::aarch64::*;

use super::epilogue::store_u8;
use crate::elementwise::{Add, Fixed};
use crate::lut::BLOCK;
use crate::quant::Rounding;
use crate::{AddU8, QParams};

/// Bytes of half a register.
const LANES: usize = 8;

/// [`AddU8`] of elements in whole blocks.
#[derive(Clone, Copy)]
struct Sum<K> {
    kind: K,
    zero_point: int16x8_t,
    /// Smallest output.
    low: uint8x8_t,
}

/// One engine's sum.
trait Kind: Copy {
    /// Four sums of integers, rounded, less the output's zero point.
    ///
    /// # Safety
    /// The CPU has NEON.
    unsafe fn four(&self, a: uint32x4_t, b: uint32x4_t) -> int32x4_t;
}

/// fbgemm's.
#[derive(Clone, Copy)]
struct Float {
    scales: [float32x4_t; 2],
    zeros: [float32x4_t; 2],
    factor: float32x4_t,
}

impl Kind for Float {
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn four(&self, a: uint32x4_t, b: uint32x4_t) -> int32x4_t {
        let a = vfmaq_f32(self.zeros[0], self.scales[0], vcvtq_f32_u32(a));
        let b = vfmaq_f32(self.zeros[1], self.scales[1], vcvtq_f32_u32(b));
        // The conversion rounds half to even and saturates.
        vcvtnq_s32_f32(vmulq_f32(vaddq_f32(a, b), self.factor))
    }
}

/// qnnpack's.
#[derive(Clone, Copy)]
struct FixedPoint {
    factors: [int32x4_t; 2],
    bias: int32x4_t,
    /// To the left by less than nothing.
    shift: int32x4_t,
    mask: int32x4_t,
    half: int32x4_t,
}

impl Kind for FixedPoint {
    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn four(&self, a: uint32x4_t, b: uint32x4_t) -> int32x4_t {
        let sum = vmlaq_s32(self.bias, self.factors[0], vreinterpretq_s32_u32(a));
        let sum = vmlaq_s32(sum, self.factors[1], vreinterpretq_s32_u32(b));
        let dropped = vaddq_s32(vandq_s32(sum, self.mask), vshrq_n_s32::<31>(sum));
        // A comparison that holds is -1.
        let up = vreinterpretq_s32_u32(vcgtq_s32(dropped, self.half));
        vsubq_s32(vshlq_s32(sum, self.shift), up)
    }
}

impl Sum<Float> {
    #[target_feature(enable = "neon")]
    #[inline]
    fn float([a, b]: [QParams; 2], inverse: f32, Rounding { low, zero_point, .. }: Rounding) -> Self {
        let zero = |q: QParams| -(q.scale * f32::from(q.zero_point));
        let kind = Float {
            scales: [vdupq_n_f32(a.scale), vdupq_n_f32(b.scale)],
            zeros: [vdupq_n_f32(zero(a)), vdupq_n_f32(zero(b))],
            factor: vdupq_n_f32(inverse),
        };
        Self::new(kind, zero_point, low as i32 + zero_point)
    }
}

impl Sum<FixedPoint> {
    #[target_feature(enable = "neon")]
    #[inline]
    fn fixed(&Fixed { a, b, bias, shift, zero_point, low }: &Fixed) -> Self {
        let mask = ((1_u32 << shift) - 1) as i32;
        let kind = FixedPoint {
            factors: [vdupq_n_s32(a), vdupq_n_s32(b)],
            bias: vdupq_n_s32(bias),
            shift: vdupq_n_s32(-(shift as i32)),
            mask: vdupq_n_s32(mask),
            half: vdupq_n_s32(mask >> 1),
        };
        Self::new(kind, zero_point, low)
    }
}

impl<K: Kind> Sum<K> {
    #[target_feature(enable = "neon")]
    #[inline]
    fn new(kind: K, zero_point: i32, low: i32) -> Self {
        Self { kind, zero_point: vdupq_n_s16(zero_point as i16), low: vdup_n_u8(low as u8) }
    }

    /// Eight sums. Narrowing and adding the zero point saturate.
    #[target_feature(enable = "neon")]
    #[inline]
    fn eight(&self, a: uint8x8_t, b: uint8x8_t) -> uint8x8_t {
        let (a, b) = (vmovl_u8(a), vmovl_u8(b));
        // SAFETY: this function has the instruction set.
        let (low, high) = unsafe {
            let low = self.kind.four(vmovl_u16(vget_low_u16(a)), vmovl_u16(vget_low_u16(b)));
            (low, self.kind.four(vmovl_high_u16(a), vmovl_high_u16(b)))
        };
        let words = vqaddq_s16(vcombine_s16(vqmovn_s32(low), vqmovn_s32(high)), self.zero_point);
        vmax_u8(vqmovun_s16(words), self.low)
    }

    /// Adds `b` to as many outputs.
    #[target_feature(enable = "neon")]
    #[inline]
    fn add_to(&self, b: &[u8], out: &mut [u8]) {
        for (out, b) in out.chunks_mut(LANES).zip(b.chunks(LANES)) {
            store_u8(self.eight(load_u8(out), load_u8(b)), out);
        }
    }

    /// Adds two tensors of whole blocks.
    #[target_feature(enable = "neon")]
    #[inline]
    fn add(&self, a: &[u8], b: &[u8], out: &mut [u8]) {
        let inputs = a.chunks_exact(LANES).zip(b.chunks_exact(LANES));
        out.chunks_exact_mut(LANES)
            .zip(inputs)
            .for_each(|(out, (a, b))| store_u8(self.eight(load_u8(a), load_u8(b)), out));
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
    match &add.0 {
        Add::Float { a, b, inverse, rounding, .. } => {
            Sum::float([*a, *b], *inverse, *rounding).add_to(residual, out);
        }
        Add::Fixed(fixed) => Sum::fixed(fixed).add_to(residual, out),
    }
}

/// [`AddU8::run`].
#[target_feature(enable = "neon")]
pub(crate) fn add_u8(add: &AddU8, a: &[u8], b: &[u8], out: &mut [u8]) {
    let blocks = out.len() / BLOCK * BLOCK;
    let (whole, rest) = out.split_at_mut(blocks);
    match &add.0 {
        Add::Float { a: x, b: y, inverse, rounding, .. } => {
            Sum::float([*x, *y], *inverse, *rounding).add(&a[..blocks], &b[..blocks], whole);
        }
        Add::Fixed(fixed) => Sum::fixed(fixed).add(&a[..blocks], &b[..blocks], whole),
    }
    add.run(&a[blocks..], &b[blocks..], rest);
}
