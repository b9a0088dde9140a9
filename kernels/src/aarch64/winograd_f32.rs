//! f32 3x3 convolution of stride 1 and 2 by Winograd's method, NEON: tiles of 4 x 4 outputs, and of 2 x 2 for small maps.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::lanes::NeonLanes;
use crate::conv::vector::{
    Chunk, Outputs, Product, WinogradF32, WinogradF32Kernel, is_winograd, product_by_tiles, winograd_kernel,
};
use crate::shared::SharedMut;

/// Tiles of a product: sums of 24 vectors of 32.
const MR: usize = 6;

winograd_kernel!(WINOGRAD4_F32, Neon, Neon, "f32-winograd-4x4-neon", 1, 4);
winograd_kernel!(WINOGRAD2_F32, Neon, Neon, "f32-winograd-2x2-neon", 1, 2);
winograd_kernel!(WINOGRAD_S2_4_F32, Neon, Neon, "f32-winograd-s2-4x4-neon", 2, 4);
winograd_kernel!(WINOGRAD_S2_2_F32, Neon, Neon, "f32-winograd-s2-2x2-neon", 2, 2);

struct Neon;

impl WinogradF32Kernel for Neon {
    type Lanes = NeonLanes;
    const MR: usize = MR;

    #[target_feature(enable = "neon")]
    unsafe fn transform(
        this: &WinogradF32<Self>,
        items: Range<usize>,
        chunk: &Chunk,
        input: &[f32],
        out: &SharedMut<f32>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { this.transform_body(items, chunk, input, out) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn store(
        this: &WinogradF32<Self>,
        panel: usize,
        chunk: &Chunk,
        products: &[MaybeUninit<f32>],
        out: &Outputs<f32>,
    ) {
        // SAFETY: the caller's promise.
        unsafe { this.store_body(panel, chunk, products, out) }
    }

    #[target_feature(enable = "neon")]
    unsafe fn product(tiles: usize, product: Product) {
        product_by_tiles!(multiply_tiles, tiles, product, [1 2 3 4 5 6])
    }
}

/// # Safety
/// The CPU has the instruction set.
#[target_feature(enable = "neon")]
#[inline(never)]
unsafe fn multiply_tiles<const TILES: usize>(product: Product) {
    // SAFETY: the caller's promise.
    unsafe { product.run::<NeonLanes, TILES>() }
}
