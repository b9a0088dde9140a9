//! f32 3x3 convolution by Winograd's method, NEON: tiles of 4 x 4 outputs, and of 2 x 2 for small maps.

use std::ops::Range;

use super::lanes::NeonLanes;
use crate::Isa;
use crate::conv::vector::{Chunk, WinogradF32, WinogradF32Kernel, is_winograd, winograd_tiles};
use crate::conv::{F32Kernel, KernelInfo, KernelOp};
use crate::shared::SharedMut;

/// Output channels of a panel.
const NR: usize = 16;

/// Tiles of 4 x 4 outputs below which those of 2 x 2 are faster: their weights, less than half as large, are read for
/// few products each.
const FEW_TILES: usize = 9;

pub(crate) static WINOGRAD4_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-4x4-neon",
        op: KernelOp::ConvF32,
        isa: Isa::Neon,
        mr: 6,
        nr: NR,
        kr: 1,
        serves: "dense 3x3 convolutions of stride 1, channels in multiples of 16, maps above 8x8",
        accepts: |conv| is_winograd(conv, NR) && winograd_tiles(conv, 4) >= FEW_TILES,
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Neon<4>>::new(conv, weights, bias, activation)),
};

pub(crate) static WINOGRAD2_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-2x2-neon",
        op: KernelOp::ConvF32,
        isa: Isa::Neon,
        mr: 6,
        nr: NR,
        kr: 1,
        serves: "dense 3x3 convolutions of stride 1, channels in multiples of 16, maps up to 8x8",
        accepts: |conv| is_winograd(conv, NR) && winograd_tiles(conv, 4) < FEW_TILES,
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Neon<2>>::new(conv, weights, bias, activation)),
};

/// Tiles of `M` x `M` outputs.
struct Neon<const M: usize>;

impl<const M: usize> WinogradF32Kernel for Neon<M> {
    type Lanes = NeonLanes;
    const NR: usize = NR;
    const M: usize = M;

    #[target_feature(enable = "neon")]
    unsafe fn transform(
        this: &WinogradF32<Self>,
        items: Range<usize>,
        chunk: Chunk,
        input: &[f32],
        out: &SharedMut<f32>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { this.transform_body(items, chunk, input, out) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn multiply(this: &WinogradF32<Self>, panel: usize, chunk: Chunk, inputs: &[f32], out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        unsafe { this.multiply_body(panel, chunk, inputs, out) }
    }
}
