//! int8 depthwise convolution, NEON: 4 output pixels by 16 channels in 16 registers of i32 sums.

use std::arch::aarch64::*;

use crate::Isa;
use crate::conv::vector::{Band, DepthwiseU8, DepthwiseU8Kernel, Tile};
use crate::conv::{Conv2d, KernelInfo, KernelOp, U8Kernel};
use crate::shared::SharedMut;

/// Channels of a block.
const NR: usize = DepthwiseU8::<Neon>::NR;

pub(crate) static DEPTHWISE_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-depthwise-4x16-neon",
        op: KernelOp::ConvU8,
        isa: Isa::Neon,
        mr: DepthwiseU8::<Neon>::MR,
        nr: NR,
        kr: 1,
        residual: false,
        serves: "depthwise convolutions with any kernel, stride and padding",
        accepts: Conv2d::is_depthwise,
    },
    pack: |conv, weights, requantize| Box::new(DepthwiseU8::<Neon>::new(conv, weights, &requantize)),
};

struct Neon;

impl DepthwiseU8Kernel for Neon {
    const KR: usize = 1;

    fn channel_of(index: usize) -> usize {
        index
    }

    #[target_feature(enable = "neon")]
    unsafe fn band(this: &DepthwiseU8<Self>, band: Band, input: &[u8], rows: &mut [i16], out: &SharedMut<u8>) {
        // SAFETY: the caller's promise.
        unsafe { this.band_body(band, input, rows, out) }
    }

    #[target_feature(enable = "neon")]
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
        let mut sums = [this.epilogue.start::<4>(channel); MR];
        for (tap, weights) in this.taps.iter().zip(this.weights(channel).chunks_exact(NR)) {
            // SAFETY: the chunk has 16 elements.
            let w = unsafe { [vld1q_s16(weights.as_ptr()), vld1q_s16(weights.as_ptr().add(8))] };
            for (sums, window) in sums.iter_mut().zip(windows) {
                // SAFETY: `windows` says that 16 elements from each tap on are in `rows`.
                let x = unsafe { [vld1q_s16(window.add(*tap)), vld1q_s16(window.add(*tap + 8))] };
                for v in 0..2 {
                    sums[v * 2] = vmlal_s16(sums[v * 2], vget_low_s16(x[v]), vget_low_s16(w[v]));
                    sums[v * 2 + 1] = vmlal_high_s16(sums[v * 2 + 1], x[v], w[v]);
                }
            }
        }
        for (pixel, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller's promise; each pixel's part is used once.
            this.epilogue.store(channel, sums, unsafe { this.out_part(out, tile, pixel, channel) });
        }
    }
}
