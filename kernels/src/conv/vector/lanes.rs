//! Vectors of floats, for kernels whose code is the same on every instruction set.

use crate::conv::Activation;

/// Vectors of `LANES` floats of an instruction set. A method becomes one instruction or a few inside a function that has
/// the set.
///
/// # Safety
/// All methods: the CPU has the instruction set. Pointers: `LANES` floats, at any address.
pub(crate) trait LanesF32 {
    /// A vector.
    type V: Copy;
    /// Floats of a vector.
    const LANES: usize;

    /// `x` in every lane.
    unsafe fn splat(x: f32) -> Self::V;
    unsafe fn load(pointer: *const f32) -> Self::V;
    /// Loads the first `count` lanes, up to all, and nothing behind them; the others are zeros.
    unsafe fn load_first(pointer: *const f32, count: usize) -> Self::V;
    unsafe fn store(pointer: *mut f32, x: Self::V);
    /// Stores the first `out.len()` lanes, up to all.
    unsafe fn store_first(out: &mut [f32], x: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    /// `a` where it is larger than `b`, else `b`.
    #[cfg(target_arch = "x86_64")]
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Equal to [`Activation::apply`] bit for bit.
    unsafe fn activate(activation: Activation, x: Self::V) -> Self::V;
    /// Asks for a cache line that is read soon but not at once; any address will do.
    unsafe fn prefetch(pointer: *const f32);
}
