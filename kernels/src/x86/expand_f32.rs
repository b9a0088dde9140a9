//! f32 pointwise convolution with the depthwise one after it, AVX2 and AVX-512: blocks of 16 channels, 6 or 12
//! expanded pixels and 8 outputs at a time.

use super::lanes::{Avx2Lanes, Avx512Lanes};
use crate::Isa;
use crate::conv::ExpandKernel;
use crate::conv::vector::{DepthwiseStrip, ExpandF32, ExpandF32Kernel, ExpandStrip, Items, is_expand, layout};
use crate::shared::SharedMut;

pub(crate) static EXPAND_F32: ExpandKernel = ExpandKernel {
    name: "f32-expand-depthwise-6x16-avx2",
    isa: Isa::Avx2,
    accepts: is_expand,
    pack: |view, expand, depthwise| Box::new(ExpandF32::<Avx2>::new(view, expand, depthwise)),
};

pub(crate) static EXPAND_F32_AVX512: ExpandKernel = ExpandKernel {
    name: "f32-expand-depthwise-12x16-avx512",
    isa: Isa::Avx512,
    // Half a vector of no use is a large part of few channels: AVX2's vectors have none of 24.
    accepts: |expand, depthwise| {
        is_expand(expand, depthwise) && (expand.out_c >= 32 || !matches!(expand.out_c % 16, 1..=8))
    },
    pack: |view, expand, depthwise| Box::new(ExpandF32::<Avx512>::new(view, expand, depthwise)),
};

macro_rules! expand {
    ($name:ident, $features:literal, $lanes:ident, $vectors:literal x $pixels:literal) => {
        struct $name;

        impl ExpandF32Kernel for $name {
            type Lanes = $lanes;
            const VECTORS: usize = $vectors;
            const PIXELS: usize = $pixels;

            #[target_feature(enable = $features)]
            unsafe fn items(
                this: &ExpandF32<Self>,
                items: Items,
                input: &[f32],
                ring: &mut [f32],
                out: &SharedMut<f32>,
            ) {
                // SAFETY: the caller's promise.
                unsafe { this.items_body(items, input, ring, out) }
            }

            #[target_feature(enable = $features)]
            #[inline(never)]
            unsafe fn expand<const P: usize, const NV: usize>(strip: &mut ExpandStrip) {
                // SAFETY: the caller's promise.
                unsafe { strip.run::<$lanes, P, NV, $vectors>() }
            }

            #[target_feature(enable = $features)]
            #[inline(never)]
            unsafe fn depthwise<const P: usize, const SIZE: usize, const STRIDE: usize>(strip: &mut DepthwiseStrip) {
                // SAFETY: the caller's promise.
                unsafe { strip.run::<$lanes, P, SIZE, STRIDE, { layout::WHOLE }>() }
            }
        }
    };
}

expand!(Avx2, "avx2,fma", Avx2Lanes, 2 x 6);
// 12 broadcasts for 12 multiply-adds, which AVX-512 loads in half their time; and a ring of half the size.
expand!(Avx512, "avx512f,avx512bw,avx512vl,avx512dq", Avx512Lanes, 1 x 12);
