//! f32 3x3 convolution by Winograd's method, AVX2 and AVX-512: tiles of 4 x 4 outputs, and of 2 x 2 for small maps.

use std::ops::Range;

use super::lanes::{Avx2Lanes, Avx512Lanes};
use crate::Isa;
use crate::conv::vector::{Chunk, WinogradF32, WinogradF32Kernel, is_winograd, winograd_tiles};
use crate::conv::{F32Kernel, KernelInfo, KernelOp};
use crate::shared::SharedMut;

/// Tiles of 4 x 4 outputs below which those of 2 x 2 are faster: their weights, less than half as large, are read for
/// few products each.
const FEW_TILES: usize = 9;

/// Channels of a panel, on AVX2 and AVX-512: two vectors.
const NR: usize = 16;
const NR_AVX512: usize = 32;

pub(crate) static WINOGRAD4_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-4x4-avx2",
        op: KernelOp::ConvF32,
        isa: Isa::Avx2,
        mr: 6,
        nr: NR,
        kr: 1,
        serves: "dense 3x3 convolutions of stride 1, channels in multiples of 16, maps above 8x8",
        accepts: |conv| is_winograd(conv, NR) && winograd_tiles(conv, 4) >= FEW_TILES,
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Avx2<4>>::new(conv, weights, bias, activation)),
};

pub(crate) static WINOGRAD2_F32: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-2x2-avx2",
        serves: "dense 3x3 convolutions of stride 1, channels in multiples of 16, maps up to 8x8",
        accepts: |conv| is_winograd(conv, NR) && winograd_tiles(conv, 4) < FEW_TILES,
        ..WINOGRAD4_F32.info
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Avx2<2>>::new(conv, weights, bias, activation)),
};

pub(crate) static WINOGRAD4_F32_AVX512: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-4x4-avx512",
        isa: Isa::Avx512,
        nr: NR_AVX512,
        serves: "dense 3x3 convolutions of stride 1, output channels in multiples of 32, maps above 8x8",
        accepts: |conv| is_winograd(conv, NR_AVX512) && winograd_tiles(conv, 4) >= FEW_TILES,
        ..WINOGRAD4_F32.info
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Avx512<4>>::new(conv, weights, bias, activation)),
};

pub(crate) static WINOGRAD2_F32_AVX512: F32Kernel = F32Kernel {
    info: KernelInfo {
        name: "f32-winograd-2x2-avx512",
        serves: "dense 3x3 convolutions of stride 1, output channels in multiples of 32, maps up to 8x8",
        accepts: |conv| is_winograd(conv, NR_AVX512) && winograd_tiles(conv, 4) < FEW_TILES,
        ..WINOGRAD4_F32_AVX512.info
    },
    pack: |conv, weights, bias, activation| Box::new(WinogradF32::<Avx512<2>>::new(conv, weights, bias, activation)),
};

macro_rules! winograd {
    ($name:ident, $features:literal, $lanes:ident, $nr:ident) => {
        /// Tiles of `M` x `M` outputs.
        struct $name<const M: usize>;

        impl<const M: usize> WinogradF32Kernel for $name<M> {
            type Lanes = $lanes;
            const NR: usize = $nr;
            const M: usize = M;

            #[target_feature(enable = $features)]
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

            #[target_feature(enable = $features)]
            unsafe fn multiply(
                this: &WinogradF32<Self>,
                panel: usize,
                chunk: Chunk,
                inputs: &[f32],
                out: &SharedMut<f32>,
            ) {
                // SAFETY: the caller's promise.
                unsafe { this.multiply_body(panel, chunk, inputs, out) }
            }
        }
    };
}

winograd!(Avx2, "avx2,fma", Avx2Lanes, NR);
winograd!(Avx512, "avx512f,avx512bw,avx512vl,avx512dq", Avx512Lanes, NR_AVX512);
