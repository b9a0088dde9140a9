//! f32 pointwise convolution with the depthwise one after it, NEON: blocks of 8 channels, 6 expanded pixels and
//! 8 outputs at a time.

use super::lanes::NeonLanes;
use crate::Isa;
use crate::conv::ExpandKernel;
use crate::conv::vector::{DepthwiseStrip, ExpandF32, ExpandF32Kernel, ExpandStrip, Items, is_expand, layout};
use crate::shared::SharedMut;

pub(crate) static EXPAND_F32: ExpandKernel = ExpandKernel {
    name: "f32-expand-depthwise-6x8-neon",
    isa: Isa::Neon,
    accepts: is_expand,
    pack: |view, expand, depthwise| Box::new(ExpandF32::<Neon>::new(view, expand, depthwise)),
};

struct Neon;

impl ExpandF32Kernel for Neon {
    type Lanes = NeonLanes;
    const VECTORS: usize = 2;
    const PIXELS: usize = 6;

    #[target_feature(enable = "neon")]
    unsafe fn items(this: &ExpandF32<Self>, items: Items, input: &[f32], ring: &mut [f32], out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        unsafe { this.items_body(items, input, ring, out) }
    }

    #[target_feature(enable = "neon")]
    #[inline(never)]
    unsafe fn expand<const P: usize, const NV: usize>(strip: &mut ExpandStrip) {
        // SAFETY: the caller's promise.
        unsafe { strip.run::<NeonLanes, P, NV, 2>() }
    }

    #[target_feature(enable = "neon")]
    #[inline(never)]
    unsafe fn depthwise<const P: usize, const SIZE: usize, const STRIDE: usize>(strip: &mut DepthwiseStrip) {
        // SAFETY: the caller's promise.
        unsafe { strip.run::<NeonLanes, P, SIZE, STRIDE, { layout::WHOLE }>() }
    }
}
