//! f32 ops whose plain loops compilers do not turn into good vectors, AVX2 and AVX-512. Equal to the scalar versions.

use std::arch::x86_64::*;

use super::lanes::{Avx2Lanes, Avx512Lanes};
use crate::conv::InputRows;
use crate::conv::vector::max_pool_row;
use crate::{ChannelView, Pool2d};

/// [`crate::max_pool_f32`] of output row `row`.
#[target_feature(enable = "avx2,fma")]
pub(crate) fn max_pool_row_avx2(pool: &Pool2d, x: InputRows<f32>, row: usize, out: &mut [f32]) {
    // SAFETY: this function has the instruction set.
    unsafe { max_pool_row::<Avx2Lanes>(pool, x, row, out) }
}

/// [`crate::max_pool_f32`] of output row `row`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(crate) fn max_pool_row_avx512(pool: &Pool2d, x: InputRows<f32>, row: usize, out: &mut [f32]) {
    // SAFETY: this function has the instruction set.
    unsafe { max_pool_row::<Avx512Lanes>(pool, x, row, out) }
}

/// Three planes of one length to pixels of three channels.
#[target_feature(enable = "avx2")]
pub(crate) fn interleave_colours_avx2(planes: [&[f32]; 3], out: &mut [f32]) {
    const LANES: usize = 8;
    let vectors = vectors_of::<LANES>(planes, out);
    // Which float of its plane goes to each place that is the plane's, of the first, second and third vector.
    const ORDERS: [[i32; LANES]; 3] = orders(0);
    // SAFETY: the arrays have 8 integers; the loads need no alignment.
    let orders = ORDERS.map(|order| unsafe { _mm256_loadu_si256(order.as_ptr().cast()) });
    for index in 0..vectors {
        // SAFETY: there are so many vectors in each plane; loads need no alignment.
        let colours = planes.map(|plane| unsafe { _mm256_loadu_ps(plane.as_ptr().add(index * LANES)) });
        let parts = [0, 1, 2].map(|part| colours.map(|colour| _mm256_permutevar8x32_ps(colour, orders[part])));
        let [[r0, g0, b0], [r1, g1, b1], [r2, g2, b2]] = parts;
        // Lanes of the second colour of three, and of the third.
        let pixels = [
            _mm256_blend_ps::<0b0010_0100>(_mm256_blend_ps::<0b1001_0010>(r0, g0), b0),
            _mm256_blend_ps::<0b0100_1001>(_mm256_blend_ps::<0b0010_0100>(r1, g1), b1),
            _mm256_blend_ps::<0b1001_0010>(_mm256_blend_ps::<0b0100_1001>(r2, g2), b2),
        ];
        for (part, pixels) in pixels.into_iter().enumerate() {
            // SAFETY: the output has three times as many vectors; stores need no alignment.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr().add((3 * index + part) * LANES), pixels) }
        }
    }
    interleave_rest(planes, vectors * LANES, out);
}

/// Three planes of one length to pixels of three channels.
#[target_feature(enable = "avx512f")]
pub(crate) fn interleave_colours_avx512(planes: [&[f32]; 3], out: &mut [f32]) {
    const LANES: usize = 16;
    let vectors = vectors_of::<LANES>(planes, out);
    // For each 16 floats of output: which of the reds or, from 16 on, of the greens goes where; or of the blues, where those are.
    const ORDERS: [[i32; LANES]; 3] = orders(LANES as i32);
    const BLUES: [u16; 3] = blues();
    // SAFETY: the arrays have 16 integers; the loads need no alignment.
    let orders = ORDERS.map(|order| unsafe { _mm512_loadu_si512(order.as_ptr().cast()) });
    for index in 0..vectors {
        // SAFETY: there are so many vectors in each plane; loads need no alignment.
        let [r, g, b] = planes.map(|plane| unsafe { _mm512_loadu_ps(plane.as_ptr().add(index * LANES)) });
        for (part, (order, blue)) in orders.into_iter().zip(BLUES).enumerate() {
            let two = _mm512_permutex2var_ps(r, order, g);
            let pixels = _mm512_mask_permutexvar_ps(two, blue, order, b);
            // SAFETY: the output has three times as many vectors; stores need no alignment.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr().add((3 * index + part) * LANES), pixels) }
        }
    }
    interleave_rest(planes, vectors * LANES, out);
}

/// Floats in turns of `channels` of each pixel of `a` that a view says, and of `b`, whose pixels have just these.
#[target_feature(enable = "avx512f")]
pub(crate) fn interleave_view_avx512((a, view): (&[f32], ChannelView), b: &[f32], channels: usize, out: &mut [f32]) {
    const LANES: usize = 16;
    let (first, second) = turns();
    let pixels = a.chunks_exact(view.pixel_len).zip(b.chunks_exact(channels));
    for (out, (a, b)) in out.chunks_exact_mut(2 * channels).zip(pixels) {
        let a = &a[view.first..][..channels];
        for at in (0..channels).step_by(LANES) {
            let left = channels - at;
            // Masked stores are slow on some CPUs: whole vectors where the networks' channels, multiples of 8, allow.
            if left >= LANES || left == LANES / 2 {
                // SAFETY: so many floats are left in both slices and twice as many in the output; no access needs alignment.
                unsafe {
                    let (a, b, out) = (a.as_ptr().add(at), b.as_ptr().add(at), out.as_mut_ptr().add(2 * at));
                    if left >= LANES {
                        let (a, b) = (_mm512_loadu_ps(a), _mm512_loadu_ps(b));
                        _mm512_storeu_ps(out, _mm512_permutex2var_ps(a, first, b));
                        _mm512_storeu_ps(out.add(LANES), _mm512_permutex2var_ps(a, second, b));
                    } else {
                        let [a, b] = [a, b].map(|x| _mm512_castps256_ps512(_mm256_loadu_ps(x)));
                        _mm512_storeu_ps(out, _mm512_permutex2var_ps(a, first, b));
                    }
                }
                continue;
            }
            let ones = |count: usize| if count >= LANES { !0 } else { (1_u16 << count) - 1 };
            // SAFETY: so many floats are left in both slices and twice as many in the output; masked ones are not accessed.
            unsafe {
                let [a, b] = [a, b].map(|x| _mm512_maskz_loadu_ps(ones(left), x.as_ptr().add(at)));
                let out = out.as_mut_ptr().add(2 * at);
                _mm512_mask_storeu_ps(out, ones(2 * left), _mm512_permutex2var_ps(a, first, b));
                if 2 * left > LANES {
                    let rest = ones(2 * left - LANES);
                    _mm512_mask_storeu_ps(out.add(LANES), rest, _mm512_permutex2var_ps(a, second, b));
                }
            }
        }
    }
}

/// For each of 32 floats of output in turns: which of one vector or, from 16 on, of the other.
#[target_feature(enable = "avx512f")]
#[inline]
fn turns() -> (__m512i, __m512i) {
    let first = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
    (first, _mm512_add_epi32(first, _mm512_set1_epi32(8)))
}

/// For each float of three vectors of pixels: which of its plane it is; `green` more for those of the second plane.
const fn orders<const LANES: usize>(green: i32) -> [[i32; LANES]; 3] {
    let mut orders = [[0; LANES]; 3];
    let mut at = 0;
    while at < 3 * LANES {
        orders[at / LANES][at % LANES] = (at / 3) as i32 + if at % 3 == 1 { green } else { 0 };
        at += 1;
    }
    orders
}

/// For each vector of 16 floats of pixels: which are of the third plane.
const fn blues() -> [u16; 3] {
    let (mut blues, mut at) = ([0; 3], 2);
    while at < 3 * 16 {
        blues[at / 16] |= 1 << (at % 16);
        at += 3;
    }
    blues
}

/// Whole vectors of three planes, which are of one length, a third of the output's.
fn vectors_of<const LANES: usize>(planes: [&[f32]; 3], out: &[f32]) -> usize {
    assert!(planes.iter().all(|plane| 3 * plane.len() == out.len()), "planes and pixels differ");
    out.len() / (3 * LANES)
}

/// The pixels from `start` on.
fn interleave_rest([reds, greens, blues]: [&[f32]; 3], start: usize, out: &mut [f32]) {
    for (index, out) in out.chunks_exact_mut(3).enumerate().skip(start) {
        out.copy_from_slice(&[reds[index], greens[index], blues[index]]);
    }
}
