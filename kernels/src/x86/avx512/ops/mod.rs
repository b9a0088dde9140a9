//! Elementwise int8 ops, pooling and moves of bytes with AVX-512 (F, BW, VL, DQ). Each equals the scalar version of its op
//! bit for bit. Ends of tensors, and constants that networks do not have, are left to the AVX2 versions.
//!
//! A row that is no multiple of a vector is read and written in whole vectors all the same: what lies beyond it in the
//! output belongs to rows that are written later. Masks are for the end of a tensor alone; some CPUs store slowly with them.

mod arithmetic;
mod moves;
mod pool;
mod quantize;
mod tables;

pub(super) use self::arithmetic::{add_to_u8, add_to_u8_vnni};
pub(crate) use self::arithmetic::{add_u8, mul_u8};
pub(crate) use self::moves::slice_rows;
pub(crate) use self::pool::{average_u8, max_pool_rows, mean_fbgemm};
pub(crate) use self::quantize::{quantize_planes_u8, quantize_u8};
pub(crate) use self::tables::{apply_lut, interleave_mapped};
pub(crate) use crate::x86::ops::{compiled, concat_lut, shuffle_two};

use std::arch::x86_64::*;

use crate::quant::Rounding;

/// Bytes of a register.
const LANES: usize = 64;

/// 64 bytes.
#[target_feature(enable = "avx512f")]
#[inline]
fn load(x: &[u8]) -> __m512i {
    let x = &x[..LANES];
    // SAFETY: the slice has 64 readable bytes; the load needs no alignment.
    unsafe { _mm512_loadu_si512(x.as_ptr().cast()) }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn store(x: __m512i, out: &mut [u8]) {
    let out = &mut out[..LANES];
    // SAFETY: the slice has 64 writable bytes; the store needs no alignment.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), x) }
}

/// The first 64 bytes, or what there are and zeros.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn load_first(x: &[u8]) -> __m512i {
    if x.len() >= LANES {
        return load(x);
    }
    // SAFETY: the mask selects the slice's bytes alone; masked ones are not accessed.
    unsafe { _mm512_maskz_loadu_epi8((1 << x.len()) - 1, x.as_ptr().cast()) }
}

/// Stores as many of 64 bytes as the slice has room for.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_first(x: __m512i, out: &mut [u8]) {
    if out.len() >= LANES {
        return store(x, out);
    }
    // SAFETY: the mask selects the slice's bytes alone; masked ones are not accessed.
    unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), (1 << out.len()) - 1, x) }
}

/// 64 bytes as f32, of which each register has four of each 128 bits: packing them brings back the order.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn floats(x: __m512i) -> [__m512; 4] {
    let spread = |first: i32| {
        // An index with its high bit set gives 0.
        let [a, b, c, d] = [0, 1, 2, 3].map(|at| 0x8080_8000_u32 as i32 | (first + at));
        _mm512_cvtepi32_ps(_mm512_shuffle_epi8(x, _mm512_set4_epi32(d, c, b, a)))
    };
    [spread(0), spread(4), spread(8), spread(12)]
}

/// [`Rounding`] of values whose magnitude is at most [`UNCLAMPED`](crate::elementwise::UNCLAMPED).
#[derive(Clone, Copy)]
struct Round {
    zero_point: __m512i,
    low: __m512i,
}

impl Round {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(rounding: Rounding) -> Self {
        let low = rounding.low as i32 + rounding.zero_point;
        Self { zero_point: _mm512_set1_epi16(rounding.zero_point as i16), low: _mm512_set1_epi8(low as u8 as i8) }
    }

    /// 64 bytes of values in the order of [`floats`]: rounded half to even (Rust never changes MXCSR), the zero point added,
    /// clamped.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn bytes(self, [a, b, c, d]: [__m512; 4]) -> __m512i {
        let rounded = [_mm512_cvtps_epi32(a), _mm512_cvtps_epi32(b), _mm512_cvtps_epi32(c), _mm512_cvtps_epi32(d)];
        self.packed(rounded)
    }

    /// Integers plus the zero point, clamped to bytes: all steps saturate.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn packed(self, [a, b, c, d]: [__m512i; 4]) -> __m512i {
        let ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), self.zero_point);
        let cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), self.zero_point);
        _mm512_max_epu8(_mm512_packus_epi16(ab, cd), self.low)
    }
}

/// Where packing four registers of 16 integers in order leaves element `at` of the 64: it works on 128-bit parts, of which
/// part p gets the p-th four elements of each register.
const fn place(at: usize) -> usize {
    at % 16 / 4 * 16 + at / 16 * 4 + at % 4
}
