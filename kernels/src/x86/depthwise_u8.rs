//! int8 depthwise convolution, AVX2: 4 output pixels by 16 channels.
//!
//! Two taps of 16 channels are interleaved and multiplied with interleaved weights by `vpmaddwd`. Interleaving leaves the
//! channels of a register's halves apart; weights and constants are packed in that order, and the final packing of the
//! outputs to bytes brings them back into order.

use std::arch::x86_64::*;

use super::epilogue::store_u8;
use crate::Isa;
use crate::conv::vector::{DepthwiseU8, DepthwiseU8Kernel, Tile};
use crate::conv::{Conv2d, KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;

/// Channels of a block, and taps an instruction sums.
const NR: usize = DepthwiseU8::<Avx2>::NR;
const KR: usize = 2;

pub(crate) static DEPTHWISE_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-depthwise-4x16-avx2",
        op: KernelOp::ConvU8,
        isa: Isa::Avx2,
        mr: DepthwiseU8::<Avx2>::MR,
        nr: NR,
        kr: KR,
        serves: "depthwise convolutions with any kernel, stride and padding",
        accepts: Conv2d::is_depthwise,
    },
    pack: |conv, weights, requantize| Box::new(DepthwiseU8::<Avx2>::new(conv, weights, &requantize)),
};

struct Avx2;

impl DepthwiseU8Kernel for Avx2 {
    const KR: usize = KR;

    /// As the two interleaved registers lie.
    fn channel_of(index: usize) -> usize {
        let (half, index) = (index / 8, index % 8);
        half * 4 + index / 4 * 8 + index % 4
    }

    #[target_feature(enable = "avx2,fma")]
    unsafe fn task(this: &DepthwiseU8<Self>, band: usize, input: &[u8], rows: &SharedMut<i16>, out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { this.task_body(band, input, rows, out) }
    }

    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tile<const MR: usize>(
        this: &DepthwiseU8<Self>,
        rows: &[i16],
        tile: &Tile,
        channel: usize,
        out: &SharedMut<u8>,
    ) {
        // SAFETY: the caller's promise.
        let windows = unsafe { this.windows::<MR>(rows, tile, channel) };
        let weights = this.weights(channel);
        let mut sums = [[this.epilogue.start(channel), this.epilogue.start(channel + 8)]; MR];
        for (pair, weights) in this.taps.chunks_exact(KR).zip(weights.chunks_exact(KR * NR)) {
            // SAFETY: the chunk has 2 * 16 elements, 64 bytes; the loads need no alignment.
            let (low, high) = unsafe {
                let pointer = weights.as_ptr().cast::<__m256i>();
                (_mm256_loadu_si256(pointer), _mm256_loadu_si256(pointer.add(1)))
            };
            for (sums, window) in sums.iter_mut().zip(windows) {
                // SAFETY: `windows` says that 16 elements from each tap on are in `rows`.
                let (a, b) = unsafe {
                    let load = |tap: usize| _mm256_loadu_si256(window.add(tap).cast());
                    (load(pair[0]), load(pair[1]))
                };
                sums[0] = _mm256_add_epi32(sums[0], _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), low));
                sums[1] = _mm256_add_epi32(sums[1], _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), high));
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            // Packing works within halves, as the interleaving did, and so restores the order.
            let bytes = this.epilogue.outputs([channel, channel + 8], *sums);
            // SAFETY: the caller's promise; each pixel's part is used once.
            store_u8(bytes, unsafe { this.out_part(out, tile, pixel, channel) });
        }
    }
}
