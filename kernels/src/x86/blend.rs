//! Pixels of some steps with AVX2: 32 steps at a time become a mask, which is spread to the pixels' channels.

use std::arch::x86_64::*;
use std::ops::RangeInclusive;

use crate::blend::by_registers;

/// Steps of a register.
const STEPS: usize = 32;

/// The pixel, of the 16 in that half of a spread register, that each byte of three registers belongs to.
const PIXELS_OF_BYTES: [[u8; STEPS]; 3] = {
    let mut pixels = [[0; STEPS]; 3];
    let mut byte = 0;
    while byte < 3 * STEPS {
        pixels[byte / STEPS][byte % STEPS] = (byte / 3 % 16) as u8;
        byte += 1;
    }
    pixels
};

/// The pixel, of eight, that each float of three registers belongs to.
const PIXELS_OF_FLOATS: [[i32; 8]; 3] = [[0, 0, 0, 1, 1, 1, 2, 2], [2, 3, 3, 3, 4, 4, 4, 5], [5, 5, 6, 6, 6, 7, 7, 7]];

/// [`copy_steps`](crate::scalar::blend::copy_steps) of bytes, one channel or three: of whole registers of steps, whose pixels' number is
/// returned.
#[target_feature(enable = "avx2")]
pub(crate) fn copy_bytes<const C: usize>(
    steps: &[u8],
    range: &RangeInclusive<u8>,
    source: &[u8],
    target: &mut [u8],
) -> usize {
    let mask = |steps: &_| within(steps, range);
    by_registers::<STEPS, C, _, _>(steps, source, target, mask, |mask, source, target| {
        let registers = source.chunks_exact(STEPS).zip(target.chunks_exact_mut(STEPS));
        for (mask, (source, target)) in spread_bytes::<C>(mask).into_iter().zip(registers) {
            // SAFETY: the slices have 32 bytes.
            unsafe { blend(source.as_ptr().cast(), mask, target.as_mut_ptr().cast()) };
        }
    })
}

/// [`copy_bytes`] of floats.
#[target_feature(enable = "avx2")]
pub(crate) fn copy_floats<const C: usize>(
    steps: &[u8],
    range: &RangeInclusive<u8>,
    source: &[f32],
    target: &mut [f32],
) -> usize {
    let mask = |steps: &_| within(steps, range);
    by_registers::<STEPS, C, _, _>(steps, source, target, mask, |mask, source, target| {
        let mut bytes = [0_u8; STEPS];
        // SAFETY: the array has 32 bytes; the store needs no alignment.
        unsafe { _mm256_storeu_si256(bytes.as_mut_ptr().cast(), mask) };
        let pixels = source.chunks_exact(8 * C).zip(target.chunks_exact_mut(8 * C));
        for (mask, (source, target)) in bytes.chunks_exact(8).zip(pixels) {
            // SAFETY: the slice has 8 bytes; the load needs no alignment.
            let mask = _mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(mask.as_ptr().cast()) });
            for (k, mask) in spread_floats::<C>(mask).into_iter().enumerate() {
                let (source, target) = (&source[8 * k..8 * k + 8], &mut target[8 * k..8 * k + 8]);
                // SAFETY: the slices have 8 floats.
                unsafe { blend(source.as_ptr().cast(), mask, target.as_mut_ptr().cast()) };
            }
        }
    })
}

/// 32 bytes, those of `source` where the mask's are set. As bytes also for floats: of a blend of floats the compiler makes a masked
/// store, which takes AMD's cores some twenty cycles.
///
/// # Safety
/// The CPU has AVX2. Both pointers are those of 32 bytes, at any address.
#[target_feature(enable = "avx2")]
#[inline]
unsafe fn blend(source: *const __m256i, mask: __m256i, target: *mut __m256i) {
    // SAFETY: the caller's promise; no access needs alignment.
    unsafe {
        let (old, new) = (_mm256_loadu_si256(target), _mm256_loadu_si256(source));
        _mm256_storeu_si256(target, _mm256_blendv_epi8(old, new, mask));
    }
}

/// All bits of the steps in `range`, if there are any.
#[target_feature(enable = "avx2")]
#[inline]
fn within(steps: &[u8; STEPS], range: &RangeInclusive<u8>) -> Option<__m256i> {
    let (low, high) = (_mm256_set1_epi8(*range.start() as i8), _mm256_set1_epi8(*range.end() as i8));
    // SAFETY: the array has 32 bytes; the load needs no alignment.
    let steps = unsafe { _mm256_loadu_si256(steps.as_ptr().cast()) };
    let held = _mm256_min_epu8(_mm256_max_epu8(steps, low), high);
    let mask = _mm256_cmpeq_epi8(held, steps);
    (_mm256_testz_si256(mask, mask) == 0).then_some(mask)
}

/// The mask of 32 pixels as one of their `C` registers of bytes.
#[target_feature(enable = "avx2")]
#[inline]
fn spread_bytes<const C: usize>(mask: __m256i) -> [__m256i; C] {
    if C == 1 {
        return [mask; C];
    }
    let halves = [_mm256_permute2x128_si256::<0x00>(mask, mask), mask, _mm256_permute2x128_si256::<0x11>(mask, mask)];
    std::array::from_fn(|k| {
        // SAFETY: an array of 32 bytes; the load needs no alignment.
        let pixels = unsafe { _mm256_loadu_si256(PIXELS_OF_BYTES[k].as_ptr().cast()) };
        _mm256_shuffle_epi8(halves[k], pixels)
    })
}

/// The mask of 8 pixels as one of their `C` registers of floats.
#[target_feature(enable = "avx2")]
#[inline]
fn spread_floats<const C: usize>(mask: __m256i) -> [__m256i; C] {
    if C == 1 {
        return [mask; C];
    }
    std::array::from_fn(|k| {
        // SAFETY: an array of 8 integers; the load needs no alignment.
        let pixels = unsafe { _mm256_loadu_si256(PIXELS_OF_FLOATS[k].as_ptr().cast()) };
        _mm256_permutevar8x32_epi32(mask, pixels)
    })
}
