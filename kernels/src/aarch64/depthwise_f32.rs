//! f32 depthwise convolution, NEON: 4 output pixels by 8 channels.

use std::arch::aarch64::*;

use super::epilogue::{activate, load_f32, store_f32};
use crate::Isa;
use crate::conv::vector::{DepthwiseF32, DepthwiseF32Kernel, Row};
use crate::conv::{Conv2d, F32Kernel, KernelInfo, KernelOp};

/// Channels of a block.
const NR: usize = DepthwiseF32::<Neon>::NR;

pub(crate) static DEPTHWISE_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-depthwise-4x8-neon",
        op: KernelOp::ConvF32,
        isa: Isa::Neon,
        mr: DepthwiseF32::<Neon>::MR,
        nr: NR,
        kr: 1,
        serves: "depthwise convolutions with any kernel, stride and padding",
        accepts: Conv2d::is_depthwise,
    },
    pack: |conv, weights, bias, activation| Box::new(DepthwiseF32::<Neon>::new(conv, weights, bias, activation)),
};

struct Neon;

impl DepthwiseF32Kernel for Neon {
    const LANES: usize = 4;

    #[target_feature(enable = "neon")]
    unsafe fn rows(this: &DepthwiseF32<Self>, first: usize, input: &[f32], out: &mut [f32]) {
        // SAFETY: the caller's promise.
        unsafe { this.rows_body(first, input, out) }
    }

    #[target_feature(enable = "neon")]
    #[inline]
    unsafe fn tile<const MR: usize, const NV: usize, const FULL: bool>(
        this: &DepthwiseF32<Self>,
        row: Row,
        x: usize,
        columns: (usize, usize),
        out: &mut [f32],
    ) {
        let conv = &this.conv;
        let bias: [float32x4_t; NV] = std::array::from_fn(|v| load_f32(&this.bias, row.channel + v * 4));
        let mut sums = [bias; MR];
        for ky in row.kernel_rows.0..row.kernel_rows.1 {
            let values = this.values(&row, ky, x, MR, columns);
            for (tap, weights) in this.weights(&row, ky, columns).chunks_exact(NR).enumerate() {
                let w: [float32x4_t; NV] = std::array::from_fn(|v| load_f32(weights, v * 4));
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let first = (tap + pixel * conv.stride[1]) * conv.in_c;
                    for v in 0..NV {
                        let x = if FULL {
                            // SAFETY: there are `row.channels` values for this tap and pixel, `NV * 4` in a full block.
                            unsafe { vld1q_f32(values.as_ptr().add(first + v * 4)) }
                        } else {
                            load_up_to_4(&values[first + v * 4..first + row.channels])
                        };
                        sums[v] = vfmaq_f32(sums[v], x, w[v]);
                    }
                }
            }
        }
        for (pixel, sums) in sums.iter().enumerate() {
            let out = &mut out[(x + pixel) * conv.out_c + row.channel..][..row.channels];
            for (sums, out) in sums.iter().zip(out.chunks_mut(4)) {
                store_f32(activate(this.activation, *sums), out);
            }
        }
    }
}

/// The first four values, with zeros for those that are not there.
#[target_feature(enable = "neon")]
#[inline]
fn load_up_to_4(values: &[f32]) -> float32x4_t {
    if values.len() >= 4 {
        return load_f32(values, 0);
    }
    let mut all = [0.0; 4];
    all[..values.len()].copy_from_slice(values);
    load_f32(&all, 0)
}
