//! Maps of a layer's size to maps of the image's.

use crate::scalar::resize::{Tap, check, mix, tap};
use crate::vectorize::{Vectorize, vectorized};
use crate::{Error, Isa};

/// Resizes and normalizes maps on one instruction set; keeps its memory for the next. Results are the same bits on every
/// instruction set.
#[derive(Debug)]
pub struct MapResize {
    isa: Isa,
    from: [usize; 2],
    to: [usize; 2],
    /// By output row and by output column.
    taps: [Vec<Tap>; 2],
    /// The map's rows at the output's width.
    wide: Vec<f32>,
}

impl MapResize {
    /// For this instruction set.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available.
    pub fn new(isa: Isa) -> Result<Self, Error> {
        isa.check()?;
        Ok(Self { isa, from: [0; 2], to: [0; 2], taps: [Vec::new(), Vec::new()], wide: Vec::new() })
    }

    /// [`crate::scalar::resize::resize_bilinear`], and equal to it. Returns the smallest and the largest value, of a map
    /// without NaN.
    ///
    /// # Panics
    /// See there.
    pub fn run(&mut self, map: &[f32], from: [usize; 2], to: [usize; 2], out: &mut [f32]) -> [f32; 2] {
        check(map.len(), from, to, out.len());
        self.plan(from, to);
        let [rows, columns] = &self.taps;
        for (wide, row) in self.wide.chunks_exact_mut(to[1]).zip(map.chunks_exact(from[1])) {
            wide.iter_mut().zip(columns).for_each(|(x, &(a, b, t))| *x = mix(row[a], row[b], t));
        }
        let mut range = [f32::INFINITY, f32::NEG_INFINITY];
        for (out, &(a, b, t)) in out.chunks_exact_mut(to[1]).zip(rows) {
            let (a, b) = (&self.wide[a * to[1]..][..to[1]], &self.wide[b * to[1]..][..to[1]]);
            #[cfg(target_arch = "x86_64")]
            if self.isa.includes(Isa::Avx2) {
                // SAFETY: `new` found this instruction set, which includes AVX2.
                unsafe { crate::x86::resize::mix_rows(a, b, t, out, &mut range) };
                continue;
            }
            mix_rows(a, b, t, out, &mut range);
        }
        range
    }

    /// x = (x - low) / (1e-7 + (high - low)), as pytorch-grad-cam normalizes: `low` and `high` are those of `map`.
    pub fn normalize(&self, map: &mut [f32], [low, high]: [f32; 2]) {
        let range = 1e-7 + (high - low);
        vectorized(self.isa, Normalize { map, low, range });
    }

    /// A map as 8-bit grey: floor(255 x), values outside 0 to 1 held at its ends, NaN 0.
    ///
    /// # Panics
    /// If `grey` has another length than `map`.
    pub fn grey(&self, map: &[f32], grey: &mut [u8]) {
        assert_eq!(map.len(), grey.len(), "a map and its grey");
        vectorized(self.isa, Grey { map, grey });
    }

    /// Taps for these sizes.
    fn plan(&mut self, from: [usize; 2], to: [usize; 2]) {
        if [from, to] != [self.from, self.to] {
            for (axis, taps) in self.taps.iter_mut().enumerate() {
                taps.clear();
                taps.extend((0..to[axis]).map(|i| tap(i, from[axis], to[axis])));
            }
            self.wide.clear();
            self.wide.resize(from[0] * to[1], 0.0);
            (self.from, self.to) = (from, to);
        }
    }
}

struct Normalize<'a> {
    map: &'a mut [f32],
    low: f32,
    range: f32,
}

impl Vectorize for Normalize<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.map.iter_mut().for_each(|x| *x = (*x - self.low) / self.range);
    }
}

struct Grey<'a> {
    map: &'a [f32],
    grey: &'a mut [u8],
}

impl Vectorize for Grey<'_> {
    type Output = ();

    #[inline(always)]
    #[allow(clippy::manual_clamp, reason = "`clamp` keeps NaN")]
    fn run(self) {
        for (grey, &x) in self.grey.iter_mut().zip(self.map) {
            // `max` before `min`: NaN becomes 0.
            let held = (255.0 * x).max(0.0).min(255.0);
            // SAFETY: `held` is a number from 0 to 255.
            *grey = unsafe { held.to_int_unchecked::<i32>() } as u8;
        }
    }
}

/// `out` between the rows `a` and `b`; its extremes go into `range`, [smallest, largest].
fn mix_rows(a: &[f32], b: &[f32], t: f32, out: &mut [f32], range: &mut [f32; 2]) {
    out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (&a, &b))| *out = mix(a, b, t));
    *range = [out.iter().copied().fold(range[0], f32::min), out.iter().copied().fold(range[1], f32::max)];
}
