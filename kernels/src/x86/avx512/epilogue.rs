//! From sums in 512-bit registers to outputs: requantization to u8, activation in f32.

use std::arch::x86_64::*;

use crate::conv::Activation;
use crate::conv::vector::EpilogueU8;

/// Lanes of i32 and f32: channels of a block.
pub(super) const LANES: usize = 16;

impl EpilogueU8 {
    /// What the 16 sums with constants from `index` on start with.
    #[target_feature(enable = "avx512f")]
    #[inline]
    pub(crate) fn start16(&self, index: usize) -> __m512i {
        let values = &self.bias_i32[index..index + LANES];
        // SAFETY: the slice has 16 elements; the load needs no alignment.
        unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
    }

    /// 16 outputs less the zero point, not yet clamped at the low end; as `scaled` of the AVX2 kernels.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scaled16(&self, index: usize, sums: __m512i) -> __m512i {
        let bias = load_f32(&self.bias_f32, index);
        let biased = _mm512_fmadd_ps(bias, _mm512_set1_ps(self.bias_scale), _mm512_cvtepi32_ps(sums));
        let high = 255.0 - f32::from(self.zero_point);
        let scaled = _mm512_mul_ps(biased, load_f32(&self.multiplier, index));
        _mm512_cvtps_epi32(_mm512_min_ps(scaled, _mm512_set1_ps(high)))
    }

    /// 64 outputs, in order, of four blocks of sums with constants from `index` on. Saturates as `outputs` of the AVX2
    /// kernels does.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn bytes64(&self, index: usize, sums: [__m512i; 4]) -> __m512i {
        let scaled = |block: usize| self.scaled16(index + block * LANES, sums[block]);
        let zero_point = _mm512_set1_epi16(i16::from(self.zero_point));
        let ab = _mm512_adds_epi16(_mm512_packs_epi32(scaled(0), scaled(1)), zero_point);
        let cd = _mm512_adds_epi16(_mm512_packs_epi32(scaled(2), scaled(3)), zero_point);
        // Packing works on 128-bit parts: part p has the p-th four outputs of each block.
        let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
        let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd));
        _mm512_max_epu8(bytes, _mm512_set1_epi8(self.low as i8))
    }

    /// 16 outputs of a block of sums with constants from `index` on. Scaled values are at most 255 less the zero point,
    /// and at least `i32::MIN`, which the zero point only brings nearer to 0; `low` is not negative.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn bytes16(&self, index: usize, sums: __m512i) -> __m128i {
        let integers = _mm512_add_epi32(self.scaled16(index, sums), _mm512_set1_epi32(i32::from(self.zero_point)));
        _mm512_cvtepi32_epi8(_mm512_max_epi32(integers, _mm512_set1_epi32(i32::from(self.low))))
    }

    /// Stores the first `out.len()` outputs of `NB` blocks of sums, whose constants start at `index`; those are more than
    /// the blocks but the last have.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(crate) fn store_blocks<const NB: usize>(&self, index: usize, sums: [__m512i; NB], out: &mut [u8]) {
        let mut block = 0;
        while block + 4 <= NB {
            let four = std::array::from_fn(|b| sums[block + b]);
            let bytes = self.bytes64(index + block * LANES, four);
            let end = out.len().min((block + 4) * LANES);
            store_u8x64(bytes, &mut out[block * LANES..end]);
            block += 4;
        }
        while block < NB {
            let bytes = self.bytes16(index + block * LANES, sums[block]);
            let end = out.len().min((block + 1) * LANES);
            store_u8x16(bytes, &mut out[block * LANES..end]);
            block += 1;
        }
    }
}

/// Stores the first `out.len()` of 64 bytes.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn store_u8x64(bytes: __m512i, out: &mut [u8]) {
    if out.len() >= 64 {
        // SAFETY: the slice has 64 writable bytes; the store needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), bytes) }
    } else {
        // SAFETY: the mask selects the slice's bytes alone; masked ones are not accessed.
        unsafe { _mm512_mask_storeu_epi8(out.as_mut_ptr().cast(), (1 << out.len()) - 1, bytes) }
    }
}

/// Stores the first `out.len()` of 16 bytes.
#[target_feature(enable = "avx512bw,avx512vl")]
#[inline]
pub(super) fn store_u8x16(bytes: __m128i, out: &mut [u8]) {
    match out.len() {
        // SAFETY: the slice has 16 writable bytes or more; the store needs no alignment.
        16.. => unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) },
        // SAFETY: the slice has 8 writable bytes; the store needs no alignment. Half blocks are common, and a store
        // without a mask is faster on some CPUs.
        8 => unsafe { _mm_storel_epi64(out.as_mut_ptr().cast(), bytes) },
        // SAFETY: the mask selects the slice's bytes alone; masked ones are not accessed.
        len => unsafe { _mm_mask_storeu_epi8(out.as_mut_ptr().cast(), (1 << len) - 1, bytes) },
    }
}

/// 16 f32 from `index` on.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn load_f32(values: &[f32], index: usize) -> __m512 {
    let values = &values[index..index + LANES];
    // SAFETY: the slice has 16 elements; the load needs no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// The activation of 16 values, equal to [`Activation::apply`] bit for bit (NaN included, but for `None`).
#[target_feature(enable = "avx512f")]
#[inline]
pub(in crate::x86) fn activate(activation: Activation, x: __m512) -> __m512 {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Hardswish => {
            let gate = relu6(_mm512_add_ps(x, _mm512_set1_ps(3.0)));
            _mm512_div_ps(_mm512_mul_ps(x, gate), _mm512_set1_ps(6.0))
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn relu(x: __m512) -> __m512 {
    _mm512_max_ps(x, _mm512_setzero_ps())
}

#[target_feature(enable = "avx512f")]
#[inline]
fn relu6(x: __m512) -> __m512 {
    _mm512_min_ps(relu(x), _mm512_set1_ps(6.0))
}

/// Lanes below `count` set, for masked loads and stores.
#[inline(always)]
pub(super) fn mask(count: usize) -> __mmask16 {
    if count >= LANES { !0 } else { (1 << count) - 1 }
}

/// Stores the first `out.len()` of 16 values.
#[target_feature(enable = "avx512f")]
#[inline]
pub(in crate::x86) fn store_f32(values: __m512, out: &mut [f32]) {
    if out.len() >= LANES {
        // SAFETY: the slice has 16 writable elements; the store needs no alignment.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), values) }
    } else {
        // SAFETY: the mask selects the slice's elements alone; masked lanes are not accessed.
        unsafe { _mm512_mask_storeu_ps(out.as_mut_ptr(), mask(out.len()), values) }
    }
}
