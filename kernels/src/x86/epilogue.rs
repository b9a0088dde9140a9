//! From sums in registers to outputs: requantization to u8, activation in f32.

use std::arch::x86_64::*;

use crate::Requantize;
use crate::conv::Activation;
use crate::conv::vector::EpilogueU8;
use crate::scalar::float::SIXTH;

/// Which steps of the epilogue have an effect, for all values that sums can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scaling {
    /// The multiplier's alone.
    Multiplier,
    /// The f32 bias's and the multiplier's.
    Bias,
    /// Those and a clamp before the conversion to integers.
    Clamp,
}

impl Scaling {
    /// For sums of `terms` products.
    pub(crate) fn new(requantize: &Requantize, terms: usize) -> Self {
        let most = terms as f64 * 255.0 * 128.0;
        let fits = |channel: usize| {
            let [i32_bias, f32_bias] =
                [f64::from(requantize.bias_i32[channel]), f64::from(requantize.bias_f32[channel])];
            let sum = most + i32_bias.abs() + (f32_bias * f64::from(requantize.bias_scale)).abs();
            // Far enough below 2^31 for any rounding in f32.
            most + i32_bias.abs() < 2.0_f64.powi(31)
                && sum * f64::from(requantize.multiplier[channel]) < 2.0_f64.powi(30)
        };
        if !(0..requantize.channels()).all(fits) {
            Self::Clamp
        } else if requantize.bias_f32.iter().any(|&bias| bias != 0.0) {
            Self::Bias
        } else {
            Self::Multiplier
        }
    }
}

/// Constants of a panel or block.
pub(super) struct Constants<'a> {
    bias_i32: &'a [i32],
    bias_f32: &'a [f32],
    multiplier: &'a [f32],
    bias_scale: f32,
    high: f32,
    zero_point: i16,
}

impl Constants<'_> {
    /// What the vector `v` of eight sums starts with.
    ///
    /// # Safety
    /// There are constants for it.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) unsafe fn start(&self, v: usize) -> __m256i {
        // SAFETY: the caller's promise; the load needs no alignment.
        unsafe { _mm256_loadu_si256(self.bias_i32.as_ptr().add(8 * v).cast()) }
    }

    /// As [`EpilogueU8::scaled`], without the steps that [`Scaling`] `S` says have no effect.
    ///
    /// # Safety
    /// There are constants for the vector `v`.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn scaled<const S: u8>(&self, v: usize, sums: __m256i) -> __m256i {
        // SAFETY: the caller's promise; the loads need no alignment.
        let (bias, multiplier) = unsafe {
            (_mm256_loadu_ps(self.bias_f32.as_ptr().add(8 * v)), _mm256_loadu_ps(self.multiplier.as_ptr().add(8 * v)))
        };
        let mut x = _mm256_cvtepi32_ps(sums);
        if S != Scaling::Multiplier as u8 {
            x = _mm256_fmadd_ps(bias, _mm256_set1_ps(self.bias_scale), x);
        }
        x = _mm256_mul_ps(x, multiplier);
        if S == Scaling::Clamp as u8 {
            x = _mm256_min_ps(x, _mm256_set1_ps(self.high));
        }
        _mm256_cvtps_epi32(x)
    }

    /// Outputs of the vectors `v` and `v + 1` of sums, or of one, not yet clamped to bytes: in groups of four, those of the
    /// first vector's low half, the second's low half, the first's high half, the second's high half. Packing and adding the
    /// zero point saturate.
    ///
    /// # Safety
    /// There are constants for the vectors.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) unsafe fn words<const S: u8>(&self, v: usize, first: __m256i, second: Option<__m256i>) -> __m256i {
        // SAFETY: the caller's promise.
        let a = unsafe { self.scaled::<S>(v, first) };
        let b = match second {
            // SAFETY: the caller's promise.
            Some(second) => unsafe { self.scaled::<S>(v + 1, second) },
            None => a,
        };
        self.to_words(a, b)
    }

    /// As [`Constants::words`] of two vectors of sums with the same constants, those of the vector `v`.
    ///
    /// # Safety
    /// There are constants for it.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(super) unsafe fn words_of_two<const S: u8>(&self, v: usize, first: __m256i, second: __m256i) -> __m256i {
        // SAFETY: the caller's promise.
        unsafe { self.to_words(self.scaled::<S>(v, first), self.scaled::<S>(v, second)) }
    }

    #[target_feature(enable = "avx2")]
    #[inline]
    fn to_words(&self, a: __m256i, b: __m256i) -> __m256i {
        _mm256_adds_epi16(_mm256_packs_epi32(a, b), _mm256_set1_epi16(self.zero_point))
    }
}

impl EpilogueU8 {
    /// What the eight sums with constants from `index` on start with.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(crate) fn start(&self, index: usize) -> __m256i {
        load_i32(&self.bias_i32, index)
    }

    /// Eight outputs less the zero point, not yet clamped at the low end, of eight sums with constants from `index` on.
    ///
    /// The order of operations is that of [`Requantize`](crate::Requantize). The fused multiply-add stands in its formula; the product with the
    /// multiplier is rounded by itself. Clamping at the high end comes before the conversion, which would turn large
    /// values into `i32::MIN`; small ones it turns into `i32::MIN` too, which later saturates as it should. The
    /// conversion rounds half to even: Rust never changes MXCSR.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    fn scaled(&self, index: usize, sums: __m256i) -> __m256i {
        let bias = load_f32(&self.bias_f32, index);
        let biased = _mm256_fmadd_ps(bias, _mm256_set1_ps(self.bias_scale), _mm256_cvtepi32_ps(sums));
        let high = 255.0 - f32::from(self.zero_point);
        let scaled = _mm256_mul_ps(biased, load_f32(&self.multiplier, index));
        _mm256_cvtps_epi32(_mm256_min_ps(scaled, _mm256_set1_ps(high)))
    }

    /// The constants of `len` sums from `index` on, whose range is checked once.
    ///
    /// # Panics
    /// If they are out of range.
    #[inline]
    pub(super) fn constants(&self, index: usize, len: usize) -> Constants<'_> {
        let range = index..index + len;
        Constants {
            bias_i32: &self.bias_i32[range.clone()],
            bias_f32: &self.bias_f32[range.clone()],
            multiplier: &self.multiplier[range],
            bias_scale: self.bias_scale,
            high: 255.0 - f32::from(self.zero_point),
            zero_point: i16::from(self.zero_point),
        }
    }

    /// Sixteen outputs each of two pixels' [`Constants::words`], in the order of channels, a pixel a half; or eight of each of four pixels'
    /// [`Constants::words_of_two`].
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn two_pixels(&self, a: __m256i, b: __m256i) -> __m256i {
        _mm256_permutevar8x32_epi32(self.bytes_of(a, b), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7))
    }

    /// Two times sixteen words as bytes, clamped at the low end: the low half of each, then the high halves.
    #[target_feature(enable = "avx2")]
    #[inline]
    pub(super) fn bytes_of(&self, a: __m256i, b: __m256i) -> __m256i {
        _mm256_max_epu8(_mm256_packus_epi16(a, b), _mm256_set1_epi8(self.low as i8))
    }

    /// Sixteen outputs of two times eight sums, whose constants start at the two indexes: in groups of four, those of
    /// the first vector's low half, the second's low half, the first's high half, the second's high half.
    ///
    /// Packing to i16 and adding the zero point saturate, and so does packing to u8: all values beyond the range of i16
    /// are beyond that of u8 on the same side.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    pub(crate) fn outputs(&self, indexes: [usize; 2], sums: [__m256i; 2]) -> __m128i {
        let [a, b] = [self.scaled(indexes[0], sums[0]), self.scaled(indexes[1], sums[1])];
        let zero_point = _mm256_set1_epi16(i16::from(self.zero_point));
        let words = _mm256_adds_epi16(_mm256_packs_epi32(a, b), zero_point);
        let bytes = _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
        _mm_max_epu8(bytes, _mm_set1_epi8(self.low as i8))
    }
}

/// Stores the first `out.len()` of 16 bytes.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn store_u8(bytes: __m128i, out: &mut [u8]) {
    match out.len() {
        // SAFETY: the slice has 16 writable bytes; the store needs no alignment.
        16 => unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), bytes) },
        // SAFETY: the slice has 8 writable bytes; the store needs no alignment.
        8 => unsafe { _mm_storel_epi64(out.as_mut_ptr().cast(), bytes) },
        0 => {}
        len => {
            let mut all = [0_u8; 16];
            // SAFETY: the array has 16 writable bytes; the store needs no alignment.
            unsafe { _mm_storeu_si128(all.as_mut_ptr().cast(), bytes) };
            out.copy_from_slice(&all[..len]);
        }
    }
}

/// Eight i32 from `index` on.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load_i32(values: &[i32], index: usize) -> __m256i {
    let values = &values[index..index + 8];
    // SAFETY: the slice has 8 elements; the load needs no alignment.
    unsafe { _mm256_loadu_si256(values.as_ptr().cast()) }
}

/// Eight f32 from `index` on.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load_f32(values: &[f32], index: usize) -> __m256 {
    let values = &values[index..index + 8];
    // SAFETY: the slice has 8 elements; the load needs no alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr()) }
}

/// The activation of eight values, equal to [`Activation::apply`] bit for bit (NaN included, but for `None`).
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn activate(activation: Activation, x: __m256) -> __m256 {
    match activation {
        Activation::None => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => relu6(x),
        Activation::Hardswish => {
            let gate = relu6(_mm256_add_ps(x, _mm256_set1_ps(3.0)));
            _mm256_mul_ps(_mm256_mul_ps(x, gate), _mm256_set1_ps(SIXTH))
        }
    }
}

#[target_feature(enable = "avx2")]
#[inline]
fn relu(x: __m256) -> __m256 {
    _mm256_max_ps(x, _mm256_setzero_ps())
}

#[target_feature(enable = "avx2")]
#[inline]
fn relu6(x: __m256) -> __m256 {
    _mm256_min_ps(relu(x), _mm256_set1_ps(6.0))
}

/// Lanes below `count` set, for masked loads and stores.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn mask(count: usize) -> __m256i {
    let count = _mm256_set1_epi32(count.min(8) as i32);
    _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

/// The first eight values, or what there are and zeros.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn load_first_f32(values: &[f32]) -> __m256 {
    // SAFETY: the mask selects the slice's elements alone; masked lanes are not accessed.
    unsafe { _mm256_maskload_ps(values.as_ptr(), mask(values.len())) }
}

/// Stores the first `out.len()` of eight values.
#[target_feature(enable = "avx2")]
#[inline]
pub(super) fn store_f32(values: __m256, out: &mut [f32]) {
    if out.len() >= 8 {
        // SAFETY: the slice has 8 writable elements; the store needs no alignment.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), values) }
    } else {
        // SAFETY: the mask selects the slice's elements alone; masked lanes are not accessed.
        unsafe { _mm256_maskstore_ps(out.as_mut_ptr(), mask(out.len()), values) }
    }
}
