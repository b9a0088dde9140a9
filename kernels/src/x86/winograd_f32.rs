//! f32 3x3 convolution of stride 1 and 2 by Winograd's method, AVX2 and AVX-512: tiles of 4 x 4 outputs, and of 2 x 2 for small maps.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::lanes::{Avx2Lanes, Avx512Lanes};
use crate::conv::vector::{
    Chunk, Outputs, Product, WinogradF32, WinogradF32Kernel, is_winograd, product_by_tiles, winograd_kernel,
};
use crate::shared::SharedMut;

/// Tiles of a product, on AVX2 and AVX-512: sums of 12 vectors of 16, and 28 of 32.
const MR: usize = 6;
const MR_AVX512: usize = 28;

winograd_kernel!(WINOGRAD4_F32, Avx2, Avx2, "f32-winograd-4x4-avx2", 1, 4);
winograd_kernel!(WINOGRAD2_F32, Avx2, Avx2, "f32-winograd-2x2-avx2", 1, 2);
winograd_kernel!(WINOGRAD_S2_4_F32, Avx2, Avx2, "f32-winograd-s2-4x4-avx2", 2, 4);
winograd_kernel!(WINOGRAD_S2_2_F32, Avx2, Avx2, "f32-winograd-s2-2x2-avx2", 2, 2);
winograd_kernel!(WINOGRAD4_F32_AVX512, Avx512, Avx512, "f32-winograd-4x4-avx512", 1, 4);
winograd_kernel!(WINOGRAD2_F32_AVX512, Avx512, Avx512, "f32-winograd-2x2-avx512", 1, 2);
winograd_kernel!(WINOGRAD_S2_4_F32_AVX512, Avx512, Avx512, "f32-winograd-s2-4x4-avx512", 2, 4);
winograd_kernel!(WINOGRAD_S2_2_F32_AVX512, Avx512, Avx512, "f32-winograd-s2-2x2-avx512", 2, 2);

macro_rules! winograd {
    ($name:ident, $features:literal, $lanes:ident, $mr:ident, $product:ident, $tiles:tt) => {
        struct $name;

        impl WinogradF32Kernel for $name {
            type Lanes = $lanes;
            const MR: usize = $mr;

            #[target_feature(enable = $features)]
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

            #[target_feature(enable = $features)]
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

            #[target_feature(enable = $features)]
            unsafe fn product(tiles: usize, product: Product) {
                product_by_tiles!($product, tiles, product, $tiles)
            }
        }

        /// # Safety
        /// The CPU has the instruction set.
        #[target_feature(enable = $features)]
        #[inline(never)]
        unsafe fn $product<const TILES: usize>(product: Product) {
            // SAFETY: the caller's promise.
            unsafe { product.run::<$lanes, TILES>() }
        }
    };
}

winograd!(Avx2, "avx2,fma", Avx2Lanes, MR, product_avx2, [1 2 3 4 5 6]);
winograd!(
    Avx512, "avx512f,avx512bw,avx512vl,avx512dq", Avx512Lanes, MR_AVX512, product_avx512,
    [1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28]
);
