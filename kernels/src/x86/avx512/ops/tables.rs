//! Tables of 256 bytes, with VBMI where the CPU has it: two lookups among 128 entries each, of which the top bit chooses.

use std::arch::x86_64::*;

use super::{LANES, load, load_first, store, store_first};
use crate::Lut;
use crate::lut::BLOCK;
use crate::x86::ops as narrow;

/// Whether the CPU has VBMI, which our sets of AVX-512 do not include. (The answer is kept by the standard library.)
pub(super) fn vbmi() -> bool {
    std::arch::is_x86_feature_detected!("avx512vbmi")
}

/// A table in registers.
#[derive(Clone, Copy)]
struct Table([__m512i; 4]);

impl Table {
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn new(table: &[u8; 256]) -> Self {
        Self(std::array::from_fn(|part| load(&table[LANES * part..])))
    }

    /// The entries of 64 bytes. Lookups ignore the top bit.
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
    #[inline]
    fn map(self, x: __m512i) -> __m512i {
        let [a, b, c, d] = self.0;
        let (low, high) = (_mm512_permutex2var_epi8(a, x, b), _mm512_permutex2var_epi8(c, x, d));
        _mm512_mask_blend_epi8(_mm512_movepi8_mask(x), low, high)
    }
}

/// [`crate::apply_lut`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn apply_lut(lut: &Lut, x: &[u8], out: &mut [u8]) {
    if vbmi() {
        // SAFETY: the CPU has VBMI.
        unsafe { apply_lut_vbmi(lut, x, out) }
    } else {
        narrow::apply_lut(lut, x, out);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn apply_lut_vbmi(lut: &Lut, x: &[u8], out: &mut [u8]) {
    let blocks = x.len() / BLOCK * BLOCK;
    let table = Table::new(&lut.blocks);
    for (out, x) in out[..blocks].chunks_exact_mut(LANES).zip(x.chunks_exact(LANES)) {
        store(table.map(load(x)), out);
    }
    out[blocks..].iter_mut().zip(&x[blocks..]).for_each(|(out, &x)| *out = lut.rest[usize::from(x)]);
}

/// Elements of two slices in turns, each mapped by the first column of its table, if it has one.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn interleave_mapped(inputs: [&[u8]; 2], luts: [Option<&Lut>; 2], out: &mut [u8]) {
    if vbmi() {
        // SAFETY: the CPU has VBMI.
        unsafe { interleave_mapped_vbmi(inputs, luts, out) }
    } else {
        narrow::interleave_mapped(inputs, luts, out);
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn interleave_mapped_vbmi([x, y]: [&[u8]; 2], luts: [Option<&Lut>; 2], out: &mut [u8]) {
    /// Which bytes of two registers the halves of their elements in turns are.
    const TURNS: [[u8; LANES]; 2] = turns();
    let [a, b] = luts.map(|lut| lut.map(|lut| Table::new(&lut.blocks)));
    let [first, second] = [load(&TURNS[0]), load(&TURNS[1])];
    let two = |x: __m512i, y: __m512i| {
        let (x, y) = (a.map_or(x, |table| table.map(x)), b.map_or(y, |table| table.map(y)));
        [_mm512_permutex2var_epi8(x, first, y), _mm512_permutex2var_epi8(x, second, y)]
    };
    for ((out, x), y) in out.chunks_mut(2 * LANES).zip(x.chunks(LANES)).zip(y.chunks(LANES)) {
        let [first, second] = two(load_first(x), load_first(y));
        store_first(first, out);
        if let Some(out) = out.get_mut(LANES..) {
            store_first(second, out);
        }
    }
}

const fn turns() -> [[u8; LANES]; 2] {
    let mut turns = [[0; LANES]; 2];
    let mut at = 0;
    while at < 2 * LANES {
        turns[at / LANES][at % LANES] = (at / 2 + at % 2 * LANES) as u8;
        at += 1;
    }
    turns
}
