//! Between two images, as deletion and insertion are: each pixel has a step from which on it is as in the second.

use std::ops::RangeInclusive;

use crate::scalar::blend::copy_steps;
use crate::{Element, Error, Isa};

/// Calls the function of this name for one or three channels; 0 where there is none.
macro_rules! vectors {
    ($blend:expr, $channels:expr, $name:ident($($argument:expr),*)) => {
        match $channels {
            _ if !$blend.has_vectors($channels) => 0,
            #[cfg(target_arch = "x86_64")]
            // SAFETY: a set that has vectors here includes AVX2, and whoever holds an `Isa` has checked that this CPU has it.
            1 => unsafe { crate::x86::blend::$name::<1>($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            3 => unsafe { crate::x86::blend::$name::<3>($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: NEON is in the base instruction set of aarch64.
            1 => unsafe { crate::aarch64::blend::$name::<1>($($argument),*) },
            #[cfg(target_arch = "aarch64")]
            // SAFETY: as above.
            3 => unsafe { crate::aarch64::blend::$name::<3>($($argument),*) },
            _ => 0,
        }
    };
}

/// Moves pixels from one image to another on one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Blend {
    isa: Isa,
}

impl Default for Blend {
    /// On this machine's best instruction set.
    fn default() -> Self {
        Self { isa: Isa::best() }
    }
}

impl Blend {
    /// On this instruction set.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available.
    pub fn new(isa: Isa) -> Result<Self, Error> {
        isa.check()?;
        Ok(Self { isa })
    }

    /// Whether this set has vectors for pixels of so many channels.
    pub fn has_vectors(&self, channels: usize) -> bool {
        matches!(channels, 1 | 3) && (self.isa.includes(Isa::Avx2) || self.isa.includes(Isa::Neon))
    }

    /// [`crate::scalar::blend::copy_steps`], and equal to it: copies the pixels whose step lies in `range`. Vectors serve u8 and f32 of one
    /// channel (a plane) and of three. Where no pixel of a vector is to be copied, only steps are read.
    ///
    /// # Panics
    /// If the lengths of the images are not those of `steps` times `channels`.
    pub fn copy_steps<T: Element>(
        &self,
        steps: &[u8],
        range: RangeInclusive<u8>,
        channels: usize,
        source: &[T],
        target: &mut [T],
    ) {
        let len = steps.len() * channels;
        assert!(source.len() == len && target.len() == len, "{} steps of {channels} channels", steps.len());
        if range.is_empty() {
            return;
        }
        let wide = match (T::bytes(source), T::floats(source)) {
            (Some(source), _) => {
                T::bytes_mut(target).map_or(0, |target| self.bytes(steps, &range, channels, source, target))
            }
            (_, Some(source)) => {
                T::floats_mut(target).map_or(0, |target| self.floats(steps, &range, channels, source, target))
            }
            _ => 0,
        };
        let at = wide * channels;
        copy_steps(&steps[wide..], range, channels, &source[at..], &mut target[at..]);
    }

    /// What vectors can do of bytes: returns the pixels that are done.
    fn bytes(
        &self,
        steps: &[u8],
        range: &RangeInclusive<u8>,
        channels: usize,
        source: &[u8],
        target: &mut [u8],
    ) -> usize {
        vectors!(self, channels, copy_bytes(steps, range, source, target))
    }

    /// What vectors can do of floats: returns the pixels that are done.
    fn floats(
        &self,
        steps: &[u8],
        range: &RangeInclusive<u8>,
        channels: usize,
        source: &[f32],
        target: &mut [f32],
    ) -> usize {
        vectors!(self, channels, copy_floats(steps, range, source, target))
    }
}

/// Calls `blend` with the pixels of each register of `N` steps of which `mask` says that some are to be copied; of `C` channels. Returns
/// the pixels of all whole registers.
#[inline(always)]
pub(crate) fn by_registers<const N: usize, const C: usize, T, M>(
    steps: &[u8],
    source: &[T],
    target: &mut [T],
    mask: impl Fn(&[u8; N]) -> Option<M>,
    blend: impl Fn(M, &[T], &mut [T]),
) -> usize {
    let (steps, _) = steps.as_chunks::<N>();
    let wide = steps.len() * N;
    let pixels = source[..wide * C].chunks_exact(N * C).zip(target[..wide * C].chunks_exact_mut(N * C));
    for (steps, (source, target)) in steps.iter().zip(pixels) {
        if let Some(mask) = mask(steps) {
            blend(mask, source, target);
        }
    }
    wide
}
