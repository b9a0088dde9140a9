//! int8: bytes by `vpdpbusd`, or factors widened to i16 by `vpmaddwd`; and their epilogue.

use std::arch::x86_64::*;

use super::super::super::epilogue::Scaling;
use super::super::epilogue::{self, LANES};
use super::super::ops::{add_to_u8, add_to_u8_vnni};
use super::strip::{Layer, MAX_PIXELS, Strip, choose};
use super::{broadcast, by_shape, each, gemm_sums, stack};
use crate::conv::vector::{AddTo, Band, EpilogueU8, GemmU8, GemmU8Kernel, Panel, Part, StackedRow, TileShape};
use crate::conv::{Conv2d, KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;
use crate::{Isa, Requantize};

/// [`Scaling`] as constants.
const MULTIPLIER: u8 = Scaling::Multiplier as u8;
const BIAS: u8 = Scaling::Bias as u8;
const CLAMP: u8 = Scaling::Clamp as u8;
/// Beside those, [`epilogue::POSITIVE`].
const FLOAT_BITS: u8 = 3;
const _: () = assert!(FLOAT_BITS != MULTIPLIER && FLOAT_BITS != BIAS && FLOAT_BITS != CLAMP);

/// Defines an int8 kernel by some items of its trait and the arguments of `gemm_sums`.
macro_rules! gemm_u8 {
    ($kernel:ident, $features:literal, { $($item:item)* }, $x:ty, $kr:expr, $($step:tt)*) => {
        impl GemmU8Kernel for $kernel {
            type X = $x;
            const MR: usize = MAX_PIXELS;
            const NR: usize = LANES;
            $($item)*
            const KR: usize = $kr;
            /// A part of a second-level cache of 1 MB or more.
            const BAND_BYTES: usize = 192 << 10;

            fn shape(conv: &Conv2d, band: usize) -> TileShape {
                choose(conv, band, conv.terms().div_ceil($kr))
            }

            fn way(conv: &Conv2d, weights: &[i8], requantize: &Requantize, constants: &mut EpilogueU8) -> u8 {
                // Other zero points need no look at the weights.
                if requantize.zero_point == 0 && epilogue::way(conv, weights, requantize) == epilogue::POSITIVE {
                    constants.make_positive();
                    return FLOAT_BITS;
                }
                Scaling::new(requantize, conv.terms()) as u8
            }

            #[target_feature(enable = $features)]
            unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [$x], out: &SharedMut<u8>) {
                // SAFETY: the caller's promise.
                unsafe { gemm.part_body(part, input, rows, out) }
            }

            #[target_feature(enable = $features)]
            #[inline]
            unsafe fn panel(gemm: &GemmU8<Self>, rows: &[$x], band: Band, panel: &Panel, out: &SharedMut<u8>) {
                let layer = Layer { bands: &gemm.bands, panels: &gemm.panels, windows: &gemm.windows };
                let mut strip = Strip::new(&layer, (band, rows), (panel, gemm.weights(panel)), |start, len| out.span(start, len));
                let constants = Constants::new(&gemm.epilogue, panel);
                if gemm.way == CLAMP {
                    // No network's constants are so large: exact, but not fast.
                    strip.pixels = 1;
                    // SAFETY: as below; tiles may have one pixel.
                    return by_shape!(strip, |_MR, NB, H| unsafe { outputs::<1, NB, H, CLAMP>(&strip, &constants) });
                }
                if gemm.way == BIAS {
                    // SAFETY: as below.
                    return by_shape!(strip, |MR, NB, H| unsafe { outputs::<MR, NB, H, BIAS>(&strip, &constants) });
                }
                if gemm.way == FLOAT_BITS {
                    // SAFETY: as below.
                    return by_shape!(strip, |MR, NB, H| unsafe { outputs::<MR, NB, H, FLOAT_BITS>(&strip, &constants) });
                }
                // SAFETY: a strip of this shape, whose outputs no other task has, and constants of as many blocks.
                by_shape!(strip, |MR, NB, H| unsafe { outputs::<MR, NB, H, MULTIPLIER>(&strip, &constants) })
            }
        }

        /// The outputs of a strip. Not inlined: the many shapes would make one function of `panel`.
        ///
        /// # Safety
        /// The strip's tiles have `MR` pixels, `NB` blocks and `H` half blocks; there are constants of as many blocks; no other task has the
        /// strip's outputs.
        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn outputs<const MR: usize, const NB: usize, const H: usize, const S: u8>(
            strip: &Strip<$x, i8, *mut u8>,
            constants: &Constants,
        ) {
            let start: [__m512i; NB] = std::array::from_fn(|b| {
                // SAFETY: there are constants of so many blocks; the load needs no alignment.
                unsafe { _mm512_loadu_si512(constants.bias_i32.add(b * LANES).cast()) }
            });
            let half_start: [__m256i; H] = std::array::from_fn(|_| {
                // SAFETY: as above.
                unsafe { _mm256_loadu_si256(constants.bias_i32.add(NB * LANES).cast()) }
            });
            for first in strip.tiles::<MR>() {
                // SAFETY: a tile's pixels, the strip's runs, constants and outputs.
                unsafe {
                    let pixels = strip.windows::<MR>(first);
                    let (sums, half_sums) = sums::<MR, NB, H, false, *mut u8>(strip, pixels, start, half_start, strip.ahead::<MR>(first));
                    let tile = Sums::<MR, NB, H> { whole: sums, half: half_sums };
                    tile.store::<$x, S>(strip, constants, strip.out.wrapping_add(first * strip.out_c));
                }
            }
        }

        gemm_sums!($features, $x, i8, __m512i, __m256i, $kr, $($step)*);
    };
}

pub(crate) static GEMM_U8_VNNI: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-6x64-avx512vnni",
        op: KernelOp::ConvU8,
        isa: Isa::Avx512Vnni,
        mr: 6,
        nr: 4 * LANES,
        kr: 4,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers; other tiles from 12x16 to 4x96 where they fit better",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<vnni::Avx512Vnni>::new(conv, weights, requantize)),
};

/// int8 by `vpdpbusd`, on the activations as they are.
mod vnni {
    use super::*;

    pub(super) struct Avx512Vnni;

    gemm_u8!(
        Avx512Vnni,
        "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni",
        {
            const ADD_TO: AddTo = add_to_u8_vnni;

            fn stacks(conv: &Conv2d) -> bool {
                stack::stacks(conv)
            }

            unsafe fn stack(row: &StackedRow<u8>, out: &mut [u8]) {
                // SAFETY: the caller's promise; only what `stacks` allows, where there is VBMI, is stacked.
                unsafe { stack::stack(row, out) }
            }
        },
        u8,
        4,
        // SAFETY: 64 bytes of weights, as `gemm_sums` says; the load needs no alignment.
        |weight| unsafe { _mm512_loadu_si512(weight.cast()) },
        // SAFETY: as above, 32 bytes.
        |weight| unsafe { _mm256_loadu_si256(weight.cast()) },
        // SAFETY: four bytes of a window, as `gemm_sums` says; the read needs no alignment.
        |at| _mm512_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() }),
        |x| x,
        |x| _mm512_castsi512_si256(x),
        |sum, x, w| _mm512_dpbusd_epi32(sum, x, w),
        |sum, x, w| _mm256_dpbusd_epi32(sum, x, w)
    );
}

pub(crate) static GEMM_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-6x64-avx512",
        op: KernelOp::ConvU8,
        isa: Isa::Avx512,
        mr: 6,
        nr: 4 * LANES,
        kr: 2,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers; other tiles from 12x16 to 4x96 where they fit better",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| Box::new(GemmU8::<widening::Avx512>::new(conv, weights, requantize)),
};

/// int8 by `vpmaddwd`, on activations and weights widened to i16.
mod widening {
    use super::*;

    pub(super) struct Avx512;

    gemm_u8!(
        Avx512,
        "avx512f,avx512bw,avx512vl,avx512dq",
        {
            const ADD_TO: AddTo = add_to_u8;
        },
        i16,
        2,
        // SAFETY: 32 bytes of weights, as `gemm_sums` says; the load needs no alignment.
        |weight| _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(weight.cast()) }),
        // SAFETY: as above, 16 bytes.
        |weight| _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(weight.cast()) }),
        // SAFETY: two activations of a window, as `gemm_sums` says; the read needs no alignment.
        |at| _mm512_set1_epi32(unsafe { at.cast::<i32>().read_unaligned() }),
        |x| x,
        |x| _mm512_castsi512_si256(x),
        |sum, x, w| _mm512_add_epi32(sum, _mm512_madd_epi16(x, w)),
        |sum, x, w| _mm256_add_epi32(sum, _mm256_madd_epi16(x, w))
    );
}

/// The epilogue's constants of a panel.
struct Constants {
    bias_i32: *const i32,
    bias_f32: *const f32,
    multiplier: *const f32,
    bias_scale: f32,
    high: f32,
    zero_point: i16,
    low: u8,
}

impl Constants {
    /// `LANES` a block.
    ///
    /// # Panics
    /// If they are out of range.
    #[inline(always)]
    fn new(epilogue: &EpilogueU8, panel: &Panel) -> Self {
        let range = panel.constants..panel.constants + panel.blocks * LANES;
        Self {
            bias_i32: epilogue.bias_i32[range.clone()].as_ptr(),
            bias_f32: epilogue.bias_f32[range.clone()].as_ptr(),
            multiplier: epilogue.multiplier[range].as_ptr(),
            bias_scale: epilogue.bias_scale,
            high: 255.0 - f32::from(epilogue.zero_point),
            zero_point: i16::from(epilogue.zero_point),
            low: epilogue.low,
        }
    }

    /// Sums as integers, scaled; without the steps that [`Scaling`] `S` says have no effect. As `scaled` of the AVX2 kernels.
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn scaled<const S: u8>(&self, sums: __m512i, bias: __m512, multiplier: __m512) -> __m512i {
        if S == FLOAT_BITS {
            return _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_castsi512_ps(sums), multiplier, bias));
        }
        let mut x = _mm512_cvtepi32_ps(sums);
        if S != MULTIPLIER {
            x = _mm512_fmadd_ps(bias, _mm512_set1_ps(self.bias_scale), x);
        }
        x = _mm512_mul_ps(x, multiplier);
        if S == CLAMP {
            x = _mm512_min_ps(x, _mm512_set1_ps(self.high));
        }
        _mm512_cvtps_epi32(x)
    }
}

/// A tile's sums.
struct Sums<const MR: usize, const NB: usize, const H: usize> {
    whole: [[__m512i; NB]; MR],
    half: [[__m256i; H]; MR],
}

impl<const MR: usize, const NB: usize, const H: usize> Sums<MR, NB, H> {
    /// Vectors of sums: those of whole blocks, pixel after pixel, then those of half blocks, two pixels in each.
    const WHOLE: usize = MR * NB;
    const ALL: usize = MR * NB + H * MR.div_ceil(2);

    /// The epilogue of a tile, whose outputs start at `out`: four vectors of sums at a time become 64 bytes.
    ///
    /// # Safety
    /// `out` is the first of the tile's outputs; there are constants of `NB + H` blocks.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    unsafe fn store<X, const S: u8>(&self, strip: &Strip<X, i8, *mut u8>, constants: &Constants, out: *mut u8) {
        each!(Self::ALL.div_ceil(4), |group| {
            let first = 4 * group;
            // SAFETY: the caller's promise; vectors beyond the last repeat it, and are not stored.
            unsafe {
                let scaled = |v: usize| self.scaled::<S>(constants, v.min(Self::ALL - 1));
                let words = |first: usize| {
                    let words = _mm512_packs_epi32(scaled(first), scaled(first + 1));
                    if S == FLOAT_BITS {
                        words
                    } else {
                        _mm512_adds_epi16(words, _mm512_set1_epi16(constants.zero_point))
                    }
                };
                let (ab, cd) = (words(first), words(first + 2));
                // Packing works on 128-bit parts: part p has the p-th four outputs of each vector.
                let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
                let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(ab, cd));
                let bytes =
                    if S == FLOAT_BITS { bytes } else { _mm512_max_epu8(bytes, _mm512_set1_epi8(constants.low as i8)) };
                if strip.whole() {
                    Self::store_group(bytes, first, out, strip.out_c);
                } else {
                    Self::store_parts(bytes, first, out, strip);
                }
            }
        });
    }

    /// A vector of sums as integers: of a block, or of two pixels' half blocks. Saturates as the AVX2 kernels do.
    ///
    /// # Safety
    /// As [`Sums::store`]; `v` is below `ALL`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    unsafe fn scaled<const S: u8>(&self, constants: &Constants, v: usize) -> __m512i {
        // SAFETY: constants of `NB + H` blocks; the loads need no alignment.
        unsafe {
            if v < Self::WHOLE {
                let (pixel, block) = (v / NB.max(1), v % NB.max(1));
                let bias = _mm512_loadu_ps(constants.bias_f32.add(block * LANES));
                let multiplier = _mm512_loadu_ps(constants.multiplier.add(block * LANES));
                constants.scaled::<S>(self.whole[pixel][block], bias, multiplier)
            } else {
                let pixel = 2 * (v - Self::WHOLE);
                let half =
                    |pixel: usize| self.half[pixel.min(MR - 1)].first().copied().unwrap_or(_mm256_setzero_si256());
                let sums = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(half(pixel)), half(pixel + 1));
                let bias = _mm512_broadcast_f32x8(_mm256_loadu_ps(constants.bias_f32.add(NB * LANES)));
                let multiplier = _mm512_broadcast_f32x8(_mm256_loadu_ps(constants.multiplier.add(NB * LANES)));
                constants.scaled::<S>(sums, bias, multiplier)
            }
        }
    }

    /// Stores the outputs of the four vectors from `first` on, 16 bytes each, where all blocks have all their channels: neighbours of
    /// one pixel together.
    ///
    /// # Safety
    /// As [`Sums::store`]; pixels are `step` apart.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    unsafe fn store_group(bytes: __m512i, first: usize, out: *mut u8, step: usize) {
        let nb = NB.max(1);
        // Whether both are vectors of blocks of one pixel.
        let together = |a: usize, b: usize| b < Self::WHOLE && a / nb == b / nb;
        let at = |v: usize| out.wrapping_add(v / nb * step + v % nb * LANES);
        // SAFETY: outputs of the tile's pixels, each within its blocks.
        unsafe {
            if together(first, first + 3) {
                return _mm512_storeu_si512(at(first).cast(), bytes);
            }
            each!(2, |index| {
                let v = first + 2 * index;
                let half =
                    if index == 0 { _mm512_castsi512_si256(bytes) } else { _mm512_extracti64x4_epi64::<1>(bytes) };
                if together(v, v + 1) {
                    _mm256_storeu_si256(at(v).cast(), half);
                } else {
                    Self::store_vector(_mm256_castsi256_si128(half), v, out, step);
                    Self::store_vector(_mm256_extracti128_si256::<1>(half), v + 1, out, step);
                }
            });
        }
    }

    /// Stores the 16 outputs of a vector, if there is one: a whole block's, or the half blocks' of two pixels.
    ///
    /// # Safety
    /// As [`Sums::store_group`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    unsafe fn store_vector(bytes: __m128i, v: usize, out: *mut u8, step: usize) {
        let nb = NB.max(1);
        // SAFETY: the caller's promise.
        unsafe {
            if v < Self::WHOLE {
                _mm_storeu_si128(out.add(v / nb * step + v % nb * LANES).cast(), bytes);
            } else if v < Self::ALL {
                let pixel = 2 * (v - Self::WHOLE);
                _mm_storel_epi64(out.add(pixel * step + NB * LANES).cast(), bytes);
                if pixel + 1 < MR {
                    _mm_storeh_pd(out.add((pixel + 1) * step + NB * LANES).cast(), _mm_castsi128_pd(bytes));
                }
            }
        }
    }

    /// As [`Sums::store_group`], where the last block has channels that there are not. Rare: no function of its own for each place of the
    /// vectors.
    ///
    /// # Safety
    /// As [`Sums::store`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline(never)]
    unsafe fn store_parts<X>(bytes: __m512i, first: usize, out: *mut u8, strip: &Strip<X, i8, *mut u8>) {
        let mut all = [0_u8; 4 * LANES];
        // SAFETY: the array has 64 bytes.
        unsafe { _mm512_storeu_si512(all.as_mut_ptr().cast(), bytes) };
        for (v, bytes) in (first..Self::ALL).zip(all.chunks_exact(LANES)) {
            let parts = if v < Self::WHOLE {
                [Some((v / NB.max(1), v % NB.max(1))), None]
            } else {
                let pixel = 2 * (v - Self::WHOLE);
                [Some((pixel, NB)), (pixel + 1 < MR).then_some((pixel + 1, NB))]
            };
            for ((pixel, block), bytes) in
                parts.into_iter().flatten().zip(bytes.chunks(if v < Self::WHOLE { LANES } else { LANES / 2 }))
            {
                let len = bytes.len().min(strip.channels - block * LANES);
                // SAFETY: channels of this pixel and block, of which there are so many.
                unsafe {
                    let to = out.add(pixel * strip.out_c + block * LANES);
                    std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, len);
                }
            }
        }
    }
}
