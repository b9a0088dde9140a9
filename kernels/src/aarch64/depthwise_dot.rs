//! int8 depthwise convolution, NEON with dot products: 4 pixels of two output rows (or of one) by 8 channels, two registers of
//! four input rows' bytes a product.

use std::arch::aarch64::*;
use std::arch::asm;

use crate::conv::vector::{
    DOT_KR, DOT_MR, DepthwiseDot, DepthwiseDotKernel, DotLanes, EpilogueU8, Row, Strip, UNIT, loaded, strip_body,
};
use crate::conv::{KernelInfo, KernelOp, U8Kernel};
use crate::{Isa, Requantize};

pub(crate) static DEPTHWISE_U8_DOT: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-depthwise-8x8-neon-dot",
        op: KernelOp::ConvU8,
        isa: Isa::NeonDot,
        mr: 2 * DOT_MR,
        nr: UNIT,
        kr: DOT_KR,
        residual: false,
        serves: "depthwise convolutions of 3x3 and 5x5 with strides 1 and 2, 8 channels or more",
        accepts: DepthwiseDot::<NeonDot>::accepts,
    },
    pack: DepthwiseDot::<NeonDot>::pack,
};

struct NeonDot;

impl DepthwiseDotKernel for NeonDot {
    const UNITS: usize = 2;
    const OFFSET: u8 = 128;
    type Scaling = ();

    fn scaling(_: &Requantize, _: usize) {}

    #[target_feature(enable = "neon")]
    unsafe fn interleave<const FIRST: usize, const END: usize>(
        rows: [Row; DOT_KR],
        pixels: usize,
        units: usize,
        out: *mut u8,
        cell: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            if units == 2 {
                interleave::<FIRST, END, true>(rows, pixels, out, cell);
            } else {
                interleave::<FIRST, END, false>(rows, pixels, out, cell);
            }
        }
    }

    #[target_feature(enable = "neon,dotprod")]
    #[inline(never)]
    unsafe fn strip<const K: usize, const S: usize, const OR: usize>(_: &(), strip: &Strip<OR>) {
        // SAFETY: the caller's promise.
        unsafe { strip_body::<Self, K, S, OR>(strip) }
    }
}

/// Two units, or one.
///
/// # Safety
/// As [`DepthwiseDotKernel::interleave`] with so many units.
#[target_feature(enable = "neon")]
unsafe fn interleave<const FIRST: usize, const END: usize, const TWO: bool>(
    rows: [Row; DOT_KR],
    pixels: usize,
    out: *mut u8,
    cell: usize,
) {
    for pixel in 0..pixels {
        // SAFETY: the pixel's 16 or 8 bytes of each row, and 64 or 32 bytes of `out`.
        unsafe {
            let [a, b, c, d] = loaded::<FIRST, END, _>(rows, |row| {
                let from = row.pixel.add(pixel * row.step);
                let bytes = if TWO { vld1q_u8(from) } else { vcombine_u8(vld1_u8(from), vdup_n_u8(0)) };
                veorq_u8(bytes, vdupq_n_u8(NeonDot::OFFSET))
            });
            let out = out.add(pixel * cell);
            store(out, vzip1q_u8(a, b), vzip1q_u8(c, d));
            if TWO {
                store(out.add(32), vzip2q_u8(a, b), vzip2q_u8(c, d));
            }
        }
    }
}

/// Stores the 8 groups of 8 channels' first two and last two bytes.
///
/// # Safety
/// `out` has 32 writable bytes.
#[target_feature(enable = "neon")]
#[inline]
unsafe fn store(out: *mut u8, first: uint8x16_t, second: uint8x16_t) {
    let (first, second) = (vreinterpretq_u16_u8(first), vreinterpretq_u16_u8(second));
    // SAFETY: the caller's promise.
    unsafe {
        vst1q_u8(out, vreinterpretq_u8_u16(vzip1q_u16(first, second)));
        vst1q_u8(out.add(16), vreinterpretq_u8_u16(vzip2q_u16(first, second)));
    }
}

impl DotLanes for NeonDot {
    type Sums = [int32x4_t; 2];
    type Groups = [int8x16_t; 2];

    #[inline(always)]
    unsafe fn start(bias: *const i32) -> Self::Sums {
        // SAFETY: the caller's promise.
        unsafe { [vld1q_s32(bias), vld1q_s32(bias.add(4))] }
    }

    #[inline(always)]
    unsafe fn load(pointer: *const u8) -> Self::Groups {
        // SAFETY: the caller's promise.
        unsafe { [vld1q_s8(pointer.cast()), vld1q_s8(pointer.add(16).cast())] }
    }

    #[inline(always)]
    unsafe fn dot(sums: Self::Sums, x: Self::Groups, w: Self::Groups) -> Self::Sums {
        // SAFETY: the caller's promise.
        std::array::from_fn(|v| unsafe { sdot(sums[v], x[v], w[v]) })
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(
        epilogue: &EpilogueU8,
        constants: usize,
        sums: [Self::Sums; T],
        out: *mut u8,
        step: usize,
    ) {
        // SAFETY: the caller's promise; `step` apart are 8 writable bytes a pixel.
        unsafe {
            let constants = epilogue.constants(constants);
            for (t, sums) in sums.into_iter().enumerate() {
                vst1_u8(out.add(t * step), constants.outputs(sums));
            }
        }
    }
}

/// Adds to each sum the products of its four bytes.
#[target_feature(enable = "neon,dotprod")]
#[inline]
fn sdot(mut sums: int32x4_t, x: int8x16_t, w: int8x16_t) -> int32x4_t {
    // SAFETY: an instruction on registers alone, which the function's features include.
    unsafe {
        asm!("sdot {0:v}.4s, {1:v}.16b, {2:v}.16b", inout(vreg) sums, in(vreg) x, in(vreg) w,
            options(pure, nomem, nostack, preserves_flags));
    }
    sums
}
