//! int8 depthwise convolution, AVX-VNNI: 4 pixels of two output rows (or of one) by 8 channels, a register of four input rows'
//! bytes a product.

use std::arch::x86_64::*;

use super::epilogue::Scaling;
use crate::conv::vector::{
    DOT_KR, DOT_MR, DepthwiseDot, DepthwiseDotKernel, DotLanes, EpilogueU8, Row, Strip, UNIT, loaded, strip_body,
};
use crate::conv::{KernelInfo, KernelOp, U8Kernel};
use crate::{Isa, Requantize};

pub(crate) static DEPTHWISE_U8_AVX_VNNI: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-depthwise-8x8-avxvnni",
        op: KernelOp::ConvU8,
        isa: Isa::AvxVnni,
        mr: 2 * DOT_MR,
        nr: UNIT,
        kr: DOT_KR,
        residual: false,
        serves: "depthwise convolutions of 3x3 and 5x5 with strides 1 and 2, 8 channels or more",
        accepts: DepthwiseDot::<AvxVnni>::accepts,
    },
    pack: DepthwiseDot::<AvxVnni>::pack,
};

struct AvxVnni;

impl DepthwiseDotKernel for AvxVnni {
    const UNITS: usize = 4;
    const OFFSET: u8 = 0;
    type Scaling = Scaling;

    fn scaling(requantize: &Requantize, terms: usize) -> Scaling {
        Scaling::new(requantize, terms)
    }

    #[target_feature(enable = "avx2")]
    unsafe fn interleave<const FIRST: usize, const END: usize>(
        rows: [Row; DOT_KR],
        pixels: usize,
        units: usize,
        out: *mut u8,
        cell: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            match units {
                1 => interleave_units::<1, FIRST, END>(rows, pixels, out, cell),
                2 => interleave_units::<2, FIRST, END>(rows, pixels, out, cell),
                3 => interleave_units::<3, FIRST, END>(rows, pixels, out, cell),
                _ => interleave_block::<FIRST, END>(rows, pixels, out, cell),
            }
        }
    }

    #[target_feature(enable = "avx2,fma,avxvnni")]
    #[inline(never)]
    unsafe fn strip<const K: usize, const S: usize, const OR: usize>(scaling: &Scaling, strip: &Strip<OR>) {
        // SAFETY: the caller's promise.
        unsafe {
            match scaling {
                Scaling::Multiplier => strip_body::<Lanes<{ Scaling::Multiplier as u8 }>, K, S, OR>(strip),
                Scaling::Bias => strip_body::<Lanes<{ Scaling::Bias as u8 }>, K, S, OR>(strip),
                Scaling::Clamp => strip_body::<Lanes<{ Scaling::Clamp as u8 }>, K, S, OR>(strip),
            }
        }
    }
}

/// Blocks of four units: 32 channels.
///
/// # Safety
/// As [`DepthwiseDotKernel::interleave`] with four units.
#[target_feature(enable = "avx2")]
unsafe fn interleave_block<const FIRST: usize, const END: usize>(
    rows: [Row; DOT_KR],
    pixels: usize,
    out: *mut u8,
    cell: usize,
) {
    // Channels in fours, so that interleaving within halves of a register leaves 8 of them in order.
    let order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    for pixel in 0..pixels {
        // SAFETY: the pixel's 32 bytes of each row, and 128 bytes of `out`; no access needs alignment.
        unsafe {
            let [a, b, c, d] = loaded::<FIRST, END, _>(rows, |row| {
                _mm256_permutevar8x32_epi32(_mm256_loadu_si256(row.pixel.add(pixel * row.step).cast()), order)
            });
            let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
            let (low2, high2) = (_mm256_unpacklo_epi8(c, d), _mm256_unpackhi_epi8(c, d));
            let out = out.add(pixel * cell).cast::<__m256i>();
            _mm256_storeu_si256(out, _mm256_unpacklo_epi16(low, low2));
            _mm256_storeu_si256(out.add(1), _mm256_unpackhi_epi16(low, low2));
            _mm256_storeu_si256(out.add(2), _mm256_unpacklo_epi16(high, high2));
            _mm256_storeu_si256(out.add(3), _mm256_unpackhi_epi16(high, high2));
        }
    }
}

/// Fewer units, one after another.
///
/// # Safety
/// As [`DepthwiseDotKernel::interleave`].
#[target_feature(enable = "avx2")]
unsafe fn interleave_units<const UNITS: usize, const FIRST: usize, const END: usize>(
    rows: [Row; DOT_KR],
    pixels: usize,
    out: *mut u8,
    cell: usize,
) {
    for pixel in 0..pixels {
        for unit in 0..UNITS {
            // SAFETY: the unit's 8 bytes of the pixel in each row, and 32 bytes of `out`; no access needs alignment.
            unsafe {
                let [a, b, c, d] = loaded::<FIRST, END, _>(rows, |row| {
                    _mm_loadl_epi64(row.pixel.add(pixel * row.step + unit * UNIT).cast())
                });
                let (first, second) = (_mm_unpacklo_epi8(a, b), _mm_unpacklo_epi8(c, d));
                let out = out.add(pixel * cell + unit * 32).cast::<__m128i>();
                _mm_storeu_si128(out, _mm_unpacklo_epi16(first, second));
                _mm_storeu_si128(out.add(1), _mm_unpackhi_epi16(first, second));
            }
        }
    }
}

/// Registers of 8 groups, with an epilogue of the steps that [`Scaling`] `S` says have an effect.
struct Lanes<const S: u8>;

impl<const S: u8> DotLanes for Lanes<S> {
    type Sums = __m256i;
    type Groups = __m256i;

    #[inline(always)]
    unsafe fn start(bias: *const i32) -> __m256i {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm256_loadu_si256(bias.cast()) }
    }

    #[inline(always)]
    unsafe fn load(pointer: *const u8) -> __m256i {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm256_loadu_si256(pointer.cast()) }
    }

    #[inline(always)]
    unsafe fn dot(sums: __m256i, x: __m256i, w: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { _mm256_dpbusd_avx_epi32(sums, x, w) }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(
        epilogue: &EpilogueU8,
        constants: usize,
        sums: [__m256i; T],
        out: *mut u8,
        step: usize,
    ) {
        let constants = epilogue.constants(constants, UNIT);
        // SAFETY: the caller's promise; stores need no alignment.
        unsafe {
            let words = |a: usize, b: usize| constants.words_of_two::<S>(0, sums[a % T], sums[b % T]);
            let bytes = epilogue.two_pixels(words(0, 1), words(2, 3));
            let halves = [_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes)];
            for t in 0..T {
                let half = halves[t / 2];
                let pixel = if t % 2 == 0 { half } else { _mm_unpackhi_epi64(half, half) };
                _mm_storel_epi64(out.add(t * step).cast(), pixel);
            }
        }
    }
}
