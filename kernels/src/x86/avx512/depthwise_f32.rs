//! f32 depthwise convolution, AVX-512: 4 output pixels by 32 channels.

use std::arch::x86_64::*;

use super::epilogue::{activate, load_f32, mask, store_f32};
use crate::Isa;
use crate::conv::vector::{DepthwiseF32, DepthwiseF32Kernel, Row};
use crate::conv::{Conv2d, F32Kernel, KernelInfo, KernelOp};

/// Channels of a vector and of a block.
const LANES: usize = super::epilogue::LANES;
const NR: usize = DepthwiseF32::<Avx512>::NR;

pub(crate) static DEPTHWISE_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-depthwise-4x32-avx512",
        op: KernelOp::ConvF32,
        isa: Isa::Avx512,
        mr: DepthwiseF32::<Avx512>::MR,
        nr: NR,
        kr: 1,
        serves: "depthwise convolutions with any kernel, stride and padding",
        accepts: Conv2d::is_depthwise,
    },
    pack: |conv, weights, bias, activation| Box::new(DepthwiseF32::<Avx512>::new(conv, weights, bias, activation)),
};

struct Avx512;

impl DepthwiseF32Kernel for Avx512 {
    const LANES: usize = LANES;

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    unsafe fn rows(this: &DepthwiseF32<Self>, first: usize, input: &[f32], out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { this.rows_body(first, input, out) }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
    #[inline]
    unsafe fn tile<const MR: usize, const NV: usize, const FULL: bool>(
        this: &DepthwiseF32<Self>,
        row: Row,
        x: usize,
        columns: (usize, usize),
        out: &mut [f32],
    ) {
        let conv = &this.conv;
        let lanes: [__mmask16; NV] = std::array::from_fn(|v| mask(row.channels.saturating_sub(v * LANES)));
        let bias: [__m512; NV] = std::array::from_fn(|v| load_f32(&this.bias, row.channel + v * LANES));
        let mut sums = [bias; MR];
        for ky in row.kernel_rows.0..row.kernel_rows.1 {
            let values = this.values(&row, ky, x, MR, columns);
            for (tap, weights) in this.weights(&row, ky, columns).chunks_exact(NR).enumerate() {
                let w: [__m512; NV] = std::array::from_fn(|v| load_f32(weights, v * LANES));
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    for v in 0..NV {
                        // SAFETY: there are `row.channels` values for this tap and pixel; a full block has all of
                        // `NV * LANES`, else the mask selects those that there are, and masked lanes are not accessed.
                        let x = unsafe {
                            let pointer = values.as_ptr().add((tap + pixel * conv.stride[1]) * conv.in_c + v * LANES);
                            if FULL { _mm512_loadu_ps(pointer) } else { _mm512_maskz_loadu_ps(lanes[v], pointer) }
                        };
                        sums[v] = _mm512_fmadd_ps(x, w[v], sums[v]);
                    }
                }
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            let out = &mut out[(x + pixel) * conv.out_c + row.channel..][..row.channels];
            for (sums, out) in sums.iter().zip(out.chunks_mut(LANES)) {
                store_f32(activate(this.activation, *sums), out);
            }
        }
    }
}
