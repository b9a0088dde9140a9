//! f32 3x3 convolution by Winograd's method, AVX2 and FMA: tiles of 4 x 4 outputs, and of 2 x 2 for small maps.

use std::ops::Range;

use super::lanes::Avx2Lanes;
use crate::Isa;
use crate::conv::vector::{Chunk, WinogradF32, WinogradF32Kernel, is_winograd, winograd_tiles};
use crate::conv::{F32Kernel, KernelInfo, KernelOp};
use crate::shared::SharedMut;

/// Tiles of 4 x 4 outputs below which those of 2 x 2 are faster: their weights, less than half as large, are read for
/// few products each.
const FEW_TILES: usize = 9;

pub(crate) static WINOGRAD4_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-4x4-avx2",
        op: KernelOp::ConvF32,
        isa: Isa::Avx2,
        mr: 6,
        nr: 16,
        kr: 1,
        serves: "dense 3x3 convolutions of stride 1, channels in multiples of 16, maps above 8x8",
        accepts: |conv| is_winograd(conv) && winograd_tiles(conv, 4) >= FEW_TILES,
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Avx2<4>>::new(conv, weights, bias, activation)),
};

pub(crate) static WINOGRAD2_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-2x2-avx2",
        op: KernelOp::ConvF32,
        isa: Isa::Avx2,
        mr: 6,
        nr: 16,
        kr: 1,
        serves: "dense 3x3 convolutions of stride 1, channels in multiples of 16, maps up to 8x8",
        accepts: |conv| is_winograd(conv) && winograd_tiles(conv, 4) < FEW_TILES,
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Avx2<2>>::new(conv, weights, bias, activation)),
};

/// Tiles of `M` x `M` outputs.
struct Avx2<const M: usize>;

impl<const M: usize> WinogradF32Kernel for Avx2<M> {
    type Lanes = Avx2Lanes;
    const M: usize = M;

    #[target_feature(enable = "avx2,fma")]
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

    #[target_feature(enable = "avx2,fma")]
    unsafe fn multiply(this: &WinogradF32<Self>, panel: usize, chunk: Chunk, inputs: &[f32], out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        unsafe { this.multiply_body(panel, chunk, inputs, out) }
    }
}
