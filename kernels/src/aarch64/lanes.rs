//! Vectors of four floats, NEON.

use std::arch::aarch64::*;
use std::arch::asm;

use super::epilogue::{activate, store_f32};
use crate::conv::Activation;
use crate::conv::vector::LanesF32;

/// NEON.
pub(super) struct NeonLanes;

impl LanesF32 for NeonLanes {
    type V = float32x4_t;
    const LANES: usize = 4;

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn splat(x: f32) -> float32x4_t {
        vdupq_n_f32(x)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load(pointer: *const f32) -> float32x4_t {
        // SAFETY: the caller's promise.
        unsafe { vld1q_f32(pointer) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn load_first(pointer: *const f32, count: usize) -> float32x4_t {
        let mut all = [0.0; 4];
        // SAFETY: the caller's promise: so many elements, of which the array holds up to four; and it has four.
        unsafe {
            std::ptr::copy_nonoverlapping(pointer, all.as_mut_ptr(), count.min(4));
            vld1q_f32(all.as_ptr())
        }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn store(pointer: *mut f32, x: float32x4_t) {
        // SAFETY: the caller's promise.
        unsafe { vst1q_f32(pointer, x) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn store_first(out: &mut [f32], x: float32x4_t) {
        store_f32(x, out);
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn activate(activation: Activation, x: float32x4_t) -> float32x4_t {
        activate(activation, x)
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn prefetch(pointer: *const f32) {
        // SAFETY: a prefetch reads nothing that a program sees, and never faults.
        unsafe { asm!("prfm pldl2keep, [{0}]", in(reg) pointer, options(nostack, preserves_flags, readonly)) }
    }
}
