//! Loops that do nothing but multiply and add, for [`crate::Peak`].

use std::arch::aarch64::*;
use std::arch::asm;

use super::gemm_u8_dot::sdot;
use super::gemm_u8_i8mm::smmla;
use crate::Isa;
use crate::peak::{Loop, Loops};

/// Sums at once: four multiply-adds a cycle of latency 4 need 16; with operands and products they fit 32 registers.
const SUMS: usize = 20;

/// A loop over `SUMS` sums in registers: `$step` adds the products of `$x` with itself to `$sum`.
macro_rules! peak_loop {
    ($name:ident, $features:literal, $sums:expr, $start:expr, |$sum:ident, $x:ident| $step:expr) => {
        #[target_feature(enable = $features)]
        fn $name(rounds: u64) {
            let mut sums = [$sums; SUMS];
            let mut $x = $start;
            for _ in 0..rounds {
                for sum in &mut sums {
                    // Makes the value unknown to the compiler, which would otherwise compute each product once.
                    // SAFETY: the assembly is a comment: it changes no register, flag or memory.
                    unsafe { asm!("/* {0:v} */", inout(vreg) $x, options(nomem, nostack, preserves_flags)) };
                    let $sum = *sum;
                    *sum = $step;
                }
            }
            for sum in sums {
                // SAFETY: the assembly is a comment; it only counts as a reader of the sum.
                unsafe { asm!("/* {0:v} */", in(vreg) sum, options(nomem, nostack, preserves_flags)) };
            }
        }
    };
}

peak_loop!(plain_int8, "neon", vdupq_n_s32(0), vdup_n_s16(3), |sum, x| vmlal_s16(sum, x, x));
peak_loop!(plain_f32, "neon", vdupq_n_f32(0.0), vdupq_n_f32(1e-3), |sum, x| vaddq_f32(sum, vmulq_f32(x, x)));

peak_loop!(neon_int8, "neon", vdupq_n_s32(0), vdup_n_s8(3), |sum, x| vpadalq_s16(sum, vmull_s8(x, x)));
peak_loop!(neon_f32, "neon", vdupq_n_f32(0.0), vdupq_n_f32(1e-3), |sum, x| vfmaq_f32(sum, x, x));

peak_loop!(dot_int8, "neon,dotprod", vdupq_n_s32(0), vdupq_n_s8(3), |sum, x| sdot::<0>(sum, x, x));
peak_loop!(i8mm_int8, "neon,dotprod,i8mm", vdupq_n_s32(0), vdupq_n_s8(3), |sum, x| smmla(sum, x, x));

/// The loops of a set, made of the instructions that its kernels use.
pub(crate) fn peak_loops(isa: Isa) -> Loops {
    // Multiply-adds of one step, times the sums of a round.
    let of = |products: u64, run: unsafe fn(u64)| Loop { macs: products * SUMS as u64, run };
    match isa {
        Isa::Neon => Loops { int8: of(8, neon_int8), f32: of(4, neon_f32) },
        Isa::NeonDot => Loops { int8: of(16, dot_int8), f32: of(4, neon_f32) },
        Isa::NeonI8mm => Loops { int8: of(32, i8mm_int8), f32: of(4, neon_f32) },
        // NEON is a part of aarch64; sets of other architectures are never available here.
        _ => Loops { int8: of(4, plain_int8), f32: of(4, plain_f32) },
    }
}
