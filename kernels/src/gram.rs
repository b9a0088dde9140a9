//! Gram matrices of activations: products of every two rows, the first step of EigenCAM.

use crate::scalar::gram::{check, gram_f32, gram_u8};
use crate::{Error, Isa};

/// Computes Gram matrices on one instruction set, on one thread, and keeps what that needs for the next.
///
/// The specification is [`crate::scalar::gram`].
#[derive(Debug)]
pub struct Gram {
    /// Where the instruction set includes AVX2.
    #[cfg(target_arch = "x86_64")]
    tiles: Option<crate::x86::gram::Tiles>,
}

impl Gram {
    /// Gram matrices on this instruction set.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available.
    pub fn new(isa: Isa) -> Result<Self, Error> {
        isa.check()?;
        Ok(Self {
            #[cfg(target_arch = "x86_64")]
            tiles: isa.includes(Isa::Avx2).then(crate::x86::gram::Tiles::default),
        })
    }

    /// [`crate::scalar::gram::gram_u8`], and equal to it.
    ///
    /// # Panics
    /// If lengths do not fit, see there.
    pub fn u8(&mut self, x: &[u8], rows: usize, products: &mut [f64], sums: &mut [f64]) {
        check(x.len(), rows, products.len(), sums.len());
        #[cfg(target_arch = "x86_64")]
        if let Some(tiles) = &mut self.tiles {
            // SAFETY: `new` found an instruction set that includes AVX2.
            return unsafe { tiles.u8(x, products, sums) };
        }
        gram_u8(x, rows, products, sums);
    }

    /// [`crate::scalar::gram::gram_f32`]. Rounding of f32 products makes differences of about 1e-7 of the product of the
    /// two rows' lengths.
    ///
    /// # Panics
    /// If lengths do not fit, see there.
    pub fn f32(&mut self, x: &[f32], rows: usize, from_first: bool, products: &mut [f64], sums: &mut [f64]) {
        check(x.len(), rows, products.len(), sums.len());
        #[cfg(target_arch = "x86_64")]
        if let Some(tiles) = &mut self.tiles {
            // SAFETY: `new` found an instruction set that includes AVX2 and FMA.
            unsafe { tiles.f32(x, from_first, products, sums) };
            if is_safe(x, rows, from_first, products) {
                return;
            }
        }
        gram_f32(x, rows, from_first, products, sums);
    }
}

/// Whether products of f32 neither overflowed nor lost what matters.
#[cfg(target_arch = "x86_64")]
fn is_safe(x: &[f32], rows: usize, from_first: bool, products: &[f64]) -> bool {
    let columns = x.len() / rows;
    let largest = (0..rows).map(|i| products[i * rows + i]).fold(0.0, f64::max);
    let blank = |row: &[f32]| row.iter().zip(x).all(|(&x, &first)| x == if from_first { first } else { 0.0 });
    let safe = (1e-20..1e30).contains(&largest) || columns == 0 || x.chunks_exact(columns).all(blank);
    safe && products.iter().all(|x| x.is_finite())
}
