//! Loops that do nothing but multiply and add, for [`crate::Peak`].

use std::arch::asm;
use std::arch::x86_64::*;

use crate::Isa;
use crate::peak::{Loop, Loops};

/// Sums at once: two multiply-adds a cycle of latency 4 or 5 need 8 or 10; with operands they fit 16 registers.
const SUMS: usize = 12;

/// A loop over `SUMS` sums in registers: `$step` adds the products of `$x` with itself to `$sum`.
macro_rules! peak_loop {
    ($name:ident, $features:literal, $register:ident, $start:expr, |$sum:ident, $x:ident| $step:expr) => {
        #[target_feature(enable = $features)]
        fn $name(rounds: u64) {
            let mut sums = [$start; SUMS];
            let mut $x = $start;
            for _ in 0..rounds {
                for sum in &mut sums {
                    // Makes the value unknown to the compiler, which would otherwise compute each product once.
                    // SAFETY: the assembly is a comment: it changes no register, flag or memory.
                    unsafe { asm!("/* {0} */", inout($register) $x, options(nomem, nostack, preserves_flags)) };
                    let $sum = *sum;
                    *sum = $step;
                }
            }
            for sum in sums {
                // SAFETY: the assembly is a comment; it only counts as a reader of the sum.
                unsafe { asm!("/* {0} */", in($register) sum, options(nomem, nostack, preserves_flags)) };
            }
        }
    };
}

peak_loop!(sse2_int8, "sse2", xmm_reg, _mm_set1_epi16(3), |sum, x| _mm_add_epi32(sum, _mm_madd_epi16(x, x)));
peak_loop!(sse2_f32, "sse2", xmm_reg, _mm_set1_ps(1e-3), |sum, x| _mm_add_ps(sum, _mm_mul_ps(x, x)));

peak_loop!(avx2_int8, "avx2", ymm_reg, _mm256_set1_epi8(3), |sum, x| _mm256_add_epi16(sum, _mm256_maddubs_epi16(x, x)));
peak_loop!(avx2_f32, "avx2,fma", ymm_reg, _mm256_set1_ps(1e-3), |sum, x| _mm256_fmadd_ps(x, x, sum));

peak_loop!(avxvnni_int8, "avx2,avxvnni", ymm_reg, _mm256_set1_epi8(3), |sum, x| _mm256_dpbusd_avx_epi32(sum, x, x));

peak_loop!(avx512_int8, "avx512f,avx512bw", zmm_reg, _mm512_set1_epi16(3), |sum, x| _mm512_add_epi32(
    sum,
    _mm512_madd_epi16(x, x)
));
peak_loop!(avx512_f32, "avx512f", zmm_reg, _mm512_set1_ps(1e-3), |sum, x| _mm512_fmadd_ps(x, x, sum));
peak_loop!(avx512vnni_int8, "avx512f,avx512vnni", zmm_reg, _mm512_set1_epi8(3), |sum, x| _mm512_dpbusd_epi32(
    sum, x, x
));

/// The loops of a set, made of its instructions alone.
pub(crate) fn peak_loops(isa: Isa) -> Loops {
    // Multiply-adds of one instruction, times the sums of a round.
    let of = |lanes: u64, run: unsafe fn(u64)| Loop { macs: lanes * SUMS as u64, run };
    match isa {
        Isa::Avx2 => Loops { int8: of(32, avx2_int8), f32: of(8, avx2_f32) },
        Isa::AvxVnni => Loops { int8: of(32, avxvnni_int8), f32: of(8, avx2_f32) },
        Isa::Avx512 => Loops { int8: of(32, avx512_int8), f32: of(16, avx512_f32) },
        Isa::Avx512Vnni => Loops { int8: of(64, avx512vnni_int8), f32: of(16, avx512_f32) },
        // SSE2 is a part of x86-64; sets of other architectures are never available here.
        _ => Loops { int8: of(8, sse2_int8), f32: of(4, sse2_f32) },
    }
}
