//! What the vector kernels of all instruction sets share: how a convolution is packed and cut into tasks and tiles, and
//! the constants of the epilogue. An instruction set adds the tiles themselves (`x86/`, `aarch64/`) by implementing a
//! trait for a type that names the kernel; inside its functions everything here is inlined.

mod depthwise_dot;
mod depthwise_f32;
mod depthwise_strip;
#[cfg(target_arch = "aarch64")]
mod depthwise_u8;
mod epilogue;
mod expand_f32;
mod gemm_f32;
mod gemm_u8;
mod lanes;
#[cfg(target_arch = "x86_64")]
mod max_pool;
mod outputs;
mod panels;
mod residual_u8;
mod stack;
mod tiling;
mod whole_rows;
mod winograd_f32;

pub(crate) use self::depthwise_dot::{
    DepthwiseDot, DepthwiseDotKernel, DotLanes, KR as DOT_KR, MR as DOT_MR, Row, Strip, UNIT, loaded, strip_body,
};
pub(crate) use self::depthwise_f32::{DepthwiseF32, DepthwiseF32Kernel, depthwise_kernel};
pub(crate) use self::depthwise_strip::{DepthwiseStrip, layout};
#[cfg(target_arch = "aarch64")]
pub(crate) use self::depthwise_u8::{DepthwiseU8, DepthwiseU8Kernel};
pub(crate) use self::epilogue::EpilogueU8;
pub(crate) use self::expand_f32::{ExpandF32, ExpandF32Kernel, ExpandStrip, Items, is_expand};
pub(crate) use self::gemm_f32::{GemmF32, GemmF32Kernel};
pub(crate) use self::gemm_u8::{GemmU8, GemmU8Kernel};
pub(crate) use self::lanes::LanesF32;
#[cfg(target_arch = "x86_64")]
pub(crate) use self::max_pool::max_pool_row;
pub(crate) use self::outputs::{Outputs, Span};
pub(crate) use self::panels::{Panel, Panels};
pub(crate) use self::residual_u8::{AddTo, ResidualU8};
pub(crate) use self::stack::{COLOURS, StackedRow, columns, order, spares_steps};
#[cfg(target_arch = "x86_64")]
pub(crate) use self::tiling::tasks;
pub(crate) use self::tiling::{Band, Bands, Part, Tile, TileShape, Tiles, even_tiles, task_rows};
pub(crate) use self::whole_rows::{ByRows, WholeRows, is_small_depthwise};
pub(crate) use self::winograd_f32::{
    Chunk, Product, WinogradF32, WinogradF32Kernel, is_winograd, product_by_tiles, winograd_kernel,
};

use crate::Element;

/// A u8 activation as a kernel reads it: less [`Activation8::OFFSET`], in a type that its instructions multiply.
pub(crate) trait Activation8: Element {
    /// What is taken off; the weights' sums bring it back.
    const OFFSET: i32;

    /// The activation in this type.
    fn from_u8(x: u8) -> Self;

    /// Activations as they are, where this type is theirs.
    fn unconverted(x: &[u8]) -> Option<&[Self]> {
        let _ = x;
        None
    }
}

impl Activation8 for u8 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn from_u8(x: u8) -> Self {
        x
    }

    #[inline(always)]
    fn unconverted(x: &[u8]) -> Option<&[Self]> {
        Some(x)
    }
}

impl Activation8 for i16 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn from_u8(x: u8) -> Self {
        Self::from(x)
    }
}

impl Activation8 for i8 {
    const OFFSET: i32 = 128;

    #[inline(always)]
    fn from_u8(x: u8) -> Self {
        (x ^ 0x80) as Self
    }
}

/// The elements of a scratch, which may start at any address.
pub(crate) fn scratch_as<T: Activation8>(scratch: &mut [u8]) -> &mut [T] {
    // SAFETY: all bytes are initialized, and any of them make a u8, i8 or i16.
    unsafe { scratch.align_to_mut::<T>().1 }
}

/// Bytes of scratch that hold `len` elements wherever it starts.
pub(crate) fn scratch_bytes<T: Activation8>(len: usize) -> usize {
    len * size_of::<T>() + align_of::<T>()
}

/// Bytes of a cache line.
pub(crate) const LINE: usize = 64;

/// The scratch from a cache line's start on: loads and stores of whole lines are faster. It is up to a line shorter.
pub(crate) fn aligned(scratch: &mut [u8]) -> &mut [u8] {
    let start = scratch.as_ptr().align_offset(LINE).min(LINE);
    &mut scratch[start..]
}

/// Calls a tile function for a tile's number of pixels, with the number of vectors of a whole panel or of half of one. In
/// an unsafe function, whose promise must be that of the called one.
macro_rules! by_pixels {
    ($call:ident($gemm:expr, $rows:expr, $tile:expr, $panel:expr, $out:expr), [$($pixels:literal)*], $whole:literal or $half:literal) => {
        match ($tile.len, $panel.len > $gemm.panels.nr / 2) {
            // SAFETY: the caller's promise, and the tile has so many pixels.
            $(($pixels, true) => unsafe { $call::<$pixels, $whole>($gemm, $rows, $tile, $panel, $out) },
            // SAFETY: the caller's promise, and the tile has so many pixels.
            ($pixels, false) => unsafe { $call::<$pixels, $half>($gemm, $rows, $tile, $panel, $out) },)*
            (len, _) => unreachable!("a tile of {len} pixels"),
        }
    };
}
pub(crate) use by_pixels;
