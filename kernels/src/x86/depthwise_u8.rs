//! int8 depthwise convolution, AVX2: 4 output pixels by 16 channels.
//!
//! A task widens the padded input rows of its band to i16, with the channels of a pixel filled up to whole vectors. Two
//! taps of 16 channels are interleaved and multiplied with interleaved weights by `vpmaddwd`. Interleaving leaves the
//! channels of a register's halves apart; weights and constants are packed in that order, and the final packing of the
//! outputs to bytes brings them back into order.

use std::arch::x86_64::*;

use super::epilogue::{EpilogueU8, store_u8};
use super::gemm_u8::as_i16;
use crate::conv::{Bands, Conv2d, KernelInfo, KernelOp, PackedU8, Tile, U8Kernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Element, Isa, Requantize, Team};

/// Pixels and channels of a tile.
const MR: usize = 4;
const NR: usize = 16;

/// Bytes of widened input that a task should stay near.
const BAND_BYTES: usize = 128 << 10;

pub(crate) static DEPTHWISE_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-depthwise-4x16-avx2",
        op: KernelOp::ConvU8,
        isa: Isa::Avx2,
        mr: MR,
        nr: NR,
        kr: 2,
        serves: "depthwise convolutions with any kernel, stride and padding",
        accepts: Conv2d::is_depthwise,
    },
    pack: |conv, weights, requantize| Box::new(DepthwiseU8::new(conv, weights, &requantize)),
};

struct DepthwiseU8 {
    bands: Bands,
    /// Where each tap lies, counted from the window's first element, in pairs; an odd last tap is paired with itself.
    taps: Vec<[usize; 2]>,
    /// `[block of NR channels][pair of taps][low or high half][8 channels][2]`, zeros where there is no weight.
    weights: AlignedBuf<i16>,
    epilogue: EpilogueU8,
    padding: i16,
    /// Elements of a task's widened rows; a multiple of a cache line.
    rows_len: usize,
}

/// The channel, within its block, of element `index` of the two interleaved registers.
fn interleaved(index: usize) -> usize {
    let (half, index) = (index / 8, index % 8);
    half * 4 + index / 4 * 8 + index % 4
}

/// One value a channel in the order of the interleaved registers, zeros for channels that fill up the last block.
fn spread<T: Element>(values: &[T]) -> AlignedBuf<T> {
    let mut spread = AlignedBuf::new(values.len().next_multiple_of(NR));
    for (index, out) in spread.iter_mut().enumerate() {
        *out = values.get(index / NR * NR + interleaved(index % NR)).copied().unwrap_or_default();
    }
    spread
}

impl DepthwiseU8 {
    fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let stride = conv.in_c.next_multiple_of(NR);
        let bands = Bands::new(conv, stride, size_of::<i16>(), BAND_BYTES);
        let [kernel_h, kernel_w] = conv.kernel;
        let count = kernel_h * kernel_w;
        let tap = |tap: usize| (tap / kernel_w * bands.padded_w() + tap % kernel_w) * stride;
        let taps: Vec<_> = (0..count).step_by(2).map(|t| [tap(t), tap((t + 1).min(count - 1))]).collect();
        let mut packed = AlignedBuf::<i16>::new(stride * taps.len() * 2);
        for (index, out) in packed.iter_mut().enumerate() {
            let (element, tap) = (index / 2 % NR, index / (2 * NR) % taps.len() * 2 + index % 2);
            let channel = index / (2 * NR * taps.len()) * NR + interleaved(element);
            if channel < conv.in_c && tap < count {
                *out = i16::from(weights[channel * count + tap]);
            }
        }
        Self {
            taps,
            weights: packed,
            epilogue: EpilogueU8::new(requantize, spread, spread),
            padding: i16::from(requantize.x_zero_point),
            rows_len: bands.padded_len().next_multiple_of(32),
            bands,
        }
    }

    /// # Safety
    /// The CPU has AVX2 and FMA. No two tasks of one run with the same number.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn task(&self, band: usize, input: &[u8], rows: &SharedMut<i16>, out: &SharedMut<u8>) {
        // SAFETY: each task has a part of its own, by its number.
        let rows = unsafe { rows.part(band * self.rows_len, self.rows_len) };
        self.bands.copy_padded(band, input, rows, self.padding, i16::from);
        for channel in (0..self.bands.conv.in_c).step_by(NR) {
            for tile in self.bands.tiles(band, MR) {
                // SAFETY: `rows` are those of this band, which no other task has.
                unsafe {
                    match tile.len {
                        1 => self.tile::<1>(rows, &tile, channel, out),
                        2 => self.tile::<2>(rows, &tile, channel, out),
                        3 => self.tile::<3>(rows, &tile, channel, out),
                        _ => self.tile::<MR>(rows, &tile, channel, out),
                    }
                }
            }
        }
    }

    /// # Safety
    /// The CPU has AVX2 and FMA; `rows` are those of the tile's band, which no other task has; the tile has `MR` pixels;
    /// `channel` is a multiple of `NR`.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile<const MR: usize>(&self, rows: &[i16], tile: &Tile, channel: usize, out: &SharedMut<u8>) {
        let len = self.taps.len() * 2 * NR;
        let weights = &self.weights[channel / NR * len..][..len];
        let reach = self.taps.last().map_or(0, |pair| pair[0].max(pair[1])) + channel + NR;
        debug_assert!(tile.offsets[..MR].iter().all(|offset| offset + reach <= rows.len()));
        let mut sums = [[self.epilogue.start(channel), self.epilogue.start(channel + 8)]; MR];
        for (pair, weights) in self.taps.iter().zip(weights.chunks_exact(2 * NR)) {
            // SAFETY: the chunk has 2 * 16 elements, 64 bytes; the loads need no alignment.
            let (low, high) = unsafe {
                let pointer = weights.as_ptr().cast::<__m256i>();
                (_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1)))
            };
            for (sums, offset) in sums.iter_mut().zip(tile.offsets) {
                // SAFETY: a window's taps lie inside the band's padded rows, whose pixels have whole blocks of `NR`
                // channels: 16 elements from the block's first channel on are in `rows`.
                let (a, b) = unsafe {
                    let pointer = rows.as_ptr().add(offset + channel);
                    let load = |tap: usize| _mm256_loadu_si256(pointer.add(tap).cast());
                    (load(pair[0]), load(pair[1]))
                };
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), low));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), high));
            }
        }
        let channels = (self.bands.conv.in_c - channel).min(NR);
        for (pixel, sums) in sums.iter().enumerate() {
            // Packing works within halves, as the interleaving did, and so restores the order.
            let bytes = self.epilogue.outputs([channel, channel + 8], *sums);
            // SAFETY: these channels of this pixel belong to this task's band.
            let out = unsafe { out.part((tile.first + pixel) * self.bands.conv.out_c + channel, channels) };
            store_u8(bytes, out);
        }
    }
}

impl PackedU8 for DepthwiseU8 {
    fn scratch_bytes(&self) -> usize {
        self.bands.count() * self.rows_len * size_of::<i16>() + align_of::<i16>()
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + self.epilogue.bytes()
    }

    fn run(&self, input: &[u8], output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let rows = SharedMut::new(as_i16(scratch));
        let out = SharedMut::new(output);
        // SAFETY: `ConvU8::new` checked that the CPU has AVX2 and FMA; every task runs once.
        team.run(self.bands.count(), |task| unsafe { self.task(task, input, &rows, &out) });
    }
}
