//! Convolution as a matrix product, AVX-512: up to 6 blocks of 16 channels by up to 12 output pixels.
//!
//! Three kernels share one loop: int8 by `vpdpbusd`, int8 by `vpmaddwd` on i16, and f32. One instruction broadcasts a
//! pixel's next activations (four, two, one) to all lanes; it meets a vector of weights of each block. Where a panel's last block has no more
//! than 8 channels, it is a half block of 256-bit vectors, of which a CPU multiplies two in the time of a 512-bit one.

use std::arch::asm;
use std::arch::x86_64::__m512i;

mod float;
mod int8;
mod stack;
mod strip;

pub(crate) use float::GEMM_F32;
pub(crate) use int8::{GEMM_U8, GEMM_U8_VNNI};

/// Runs a block of code for each number below a constant of up to 12: with a loop's index, or with loops that are not
/// unrolled, the compiler keeps the sums in memory.
macro_rules! each {
    ($count:expr, |$i:ident| $body:block) => {
        each!(@ $count, $i, $body, 0 1 2 3 4 5 6 7 8 9 10 11)
    };
    (@ $count:expr, $i:ident, $body:block, $($number:literal)*) => {
        $(if $number < $count {
            let $i: usize = $number;
            $body
        })*
    };
}

/// The four bytes at `window[k]`, in all lanes. Written out for tiles with a half block: what the compiler makes of a broadcast of which the lower half is used too, one
/// through a general register or in two steps, competes with multiplications.
///
/// # Safety
/// There are four bytes.
#[target_feature(enable = "avx512f")]
#[inline]
unsafe fn broadcast<T>(window: *const T, k: usize) -> __m512i {
    let x: __m512i;
    // SAFETY: the caller's promise; the instruction changes nothing else.
    unsafe {
        asm!(
            "vpbroadcastd {x}, dword ptr [{window} + {k} * {size}]",
            x = lateout(zmm_reg) x,
            window = in(reg) window,
            k = in(reg) k,
            size = const size_of::<T>(),
            options(pure, readonly, nostack, preserves_flags),
        );
    }
    x
}

/// Defines `sums`: those of products, and what they start with, of a tile of `MR` pixels by `NB` blocks of 16 channels and `H` (0 or 1)
/// half blocks. With `PREFETCH` it asks for weights from `ahead` on meanwhile. `$kr` products are summed by one step of `|sum, x, w|`; the other closures load a block's weights of one step, and
/// a pixel's activations of one step.
macro_rules! gemm_sums {
    (
        $features:literal, $x:ty, $w:ty, $vector:ty, $half:ty, $kr:expr,
        |$weight:ident| $load:expr, |$half_weight:ident| $load_half:expr, |$at:ident| $broadcast:expr,
        |$four_bytes:ident| $whole:expr, |$lower:ident| $lower_half:expr,
        |$sum:ident, $activation:ident, $b:ident| $step:expr,
        |$half_sum:ident, $half_activation:ident, $half_b:ident| $half_step:expr
    ) => {
        /// # Safety
        /// The strip's pointers are what its fields say; `pixels` are the windows of the tile's pixels.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn sums<const MR: usize, const NB: usize, const H: usize, const PREFETCH: bool, O>(
            strip: &Strip<$x, $w, O>,
            pixels: [*const $x; MR],
            start: [$vector; NB],
            half_start: [$half; H],
            ahead: *const $w,
        ) -> ([[$vector; NB]; MR], [[$half; H]; MR]) {
            let (mut weights, mut ahead) = (strip.weights, ahead);
            let (mut sums, mut half_sums) = ([start; MR], [half_start; MR]);
            let mut runs = strip.runs.as_ptr_range();
            // Loops that end with their test: there is a run, and a step in it.
            loop {
                // SAFETY: not past the last run, which starts inside its window.
                let pixels: [*const $x; MR] = std::array::from_fn(|pixel| unsafe { pixels[pixel].add(*runs.start) });
                let mut k = 0;
                loop {
                    let w: [$vector; NB] = std::array::from_fn(|block| {
                        // SAFETY: each of the panel's blocks, half ones too, has `LANES * $kr` weights for each of the
                        // `run_len / $kr` steps of each run, block after block.
                        let $weight = unsafe { weights.add(block * LANES * $kr) };
                        $load
                    });
                    let half_w: [$half; H] = std::array::from_fn(|_| {
                        // SAFETY: as above; the half block comes last.
                        let $half_weight = unsafe { weights.add(NB * LANES * $kr) };
                        $load_half
                    });
                    if PREFETCH {
                        _mm_prefetch::<_MM_HINT_T1>(ahead.cast());
                        ahead = ahead.wrapping_add(strip.ahead_step);
                    }
                    // SAFETY: as above; one past the end after the last step.
                    weights = unsafe { weights.add((NB + H) * LANES * $kr) };
                    for pixel in 0..MR {
                        let x = if H == 0 {
                            // SAFETY: a step of a run of this window, all of which lies in the band's rows.
                            let $at = unsafe { pixels[pixel].add(k) };
                            $broadcast
                        } else {
                            // SAFETY: as above.
                            let $four_bytes = unsafe { broadcast(pixels[pixel], k) };
                            $whole
                        };
                        for block in 0..NB {
                            let ($sum, $activation, $b) = (sums[pixel][block], x, w[block]);
                            sums[pixel][block] = $step;
                        }
                        for block in 0..H {
                            let $lower = x;
                            let ($half_sum, $half_activation, $half_b) =
                                (half_sums[pixel][block], $lower_half, half_w[block]);
                            half_sums[pixel][block] = $half_step;
                        }
                    }
                    k += $kr;
                    if k >= strip.run_len {
                        break;
                    }
                }
                // SAFETY: as above; one past the end after the last run.
                runs.start = unsafe { runs.start.add(1) };
                if runs.start == runs.end {
                    break;
                }
            }
            (sums, half_sums)
        }
    };
}

/// Calls `outputs` for the shape of a strip's tiles: any that [`strip::pixels`] gives for any number of blocks. In an unsafe function, whose promise must be that of
/// `outputs`.
macro_rules! by_shape {
    ($strip:expr, |$mr:ident, $nb:ident, $h:ident| $call:expr) => {
        by_shape!(@ $strip, $mr, $nb, $h, $call, [
            (1, 0, 1) (7, 0, 1) (12, 0, 1) (1, 1, 0) (6, 1, 0) (7, 1, 0) (12, 1, 0)
            (1, 1, 1) (7, 1, 1) (10, 1, 1) (1, 2, 0) (5, 2, 0) (7, 2, 0) (10, 2, 0)
            (1, 2, 1) (7, 2, 1) (8, 2, 1) (1, 3, 0) (4, 3, 0) (7, 3, 0) (8, 3, 0)
            (1, 3, 1) (6, 3, 1) (1, 4, 0) (3, 4, 0) (6, 4, 0)
            (1, 4, 1) (5, 4, 1) (1, 5, 0) (3, 5, 0) (5, 5, 0)
            (1, 5, 1) (4, 5, 1) (1, 6, 0) (2, 6, 0) (4, 6, 0)
        ])
    };
    (@ $strip:expr, $mr:ident, $nb:ident, $h:ident, $call:expr, [$(($m:literal, $n:literal, $half:literal))*]) => {
        match ($strip.pixels, $strip.blocks, $strip.half) {
            $(($m, $n, $half) => {
                const $mr: usize = $m;
                const $nb: usize = $n;
                const $h: usize = $half;
                $call
            })*
            shape => unreachable!("a tile of {shape:?}"),
        }
    };
}

use {by_shape, each, gemm_sums};
