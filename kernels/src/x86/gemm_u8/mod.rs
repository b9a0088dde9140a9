//! int8 convolution as a matrix product of bytes, AVX2: 3 output pixels by 16 channels.
//!
//! Products are summed in i16 as long as the packed weights prove that they fit ([`plan`]), then widened: one multiplication
//! for 32 products and a fraction of one for the widening, where widened factors need two. Six registers hold the i16 sums,
//! six the i32 ones. What is not proven is widened, so results are exact for all inputs and weights.
//!
//! fbgemm's observers aim at activations up to 127, which make runs more than twice as long, but nothing keeps a value below
//! 128. Plans for 127 are therefore taken for tiles that hold no larger value alone; others are widened as a whole.

mod plan;
mod widened;

use std::arch::x86_64::*;
use std::ops::Range;

use self::plan::{GROUP, KR, NR, Plan, plan};
pub(crate) use self::widened::WIDENED_U8;
use super::add_u8::add_to_u8;
use super::epilogue::{Constants, Scaling, store_u8};
use super::exceeds_127;
use crate::conv::vector::{Bands, EpilogueU8, Panel, Panels, Part, ResidualU8};
use crate::conv::{Conv2d, InputRows, KernelInfo, KernelOp, PackedU8, RowKernel, U8Kernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Isa, Requantize, Team};

/// Pixels of a tile.
const MR: usize = 3;

/// Terms of a sum beyond which it is long.
const LONG: usize = 64;

/// [`Scaling`] as constants.
const MULTIPLIER: u8 = Scaling::Multiplier as u8;
const BIAS: u8 = Scaling::Bias as u8;
const CLAMP: u8 = Scaling::Clamp as u8;

/// Bytes of input and output that a task should stay near: a first-level cache.
const BAND_BYTES: usize = 32 << 10;

pub(crate) static GEMM_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-gemm-3x16-avx2",
        op: KernelOp::ConvU8,
        isa: Isa::Avx2,
        mr: MR,
        nr: NR,
        kr: 2,
        residual: true,
        serves: "dense, pointwise and grouped convolutions, linear layers",
        accepts: |_| true,
    },
    pack: |conv, weights, requantize| {
        let packed = GemmU8::new(conv, weights, &requantize);
        if packed.mostly_wide() { (WIDENED_U8.pack)(conv, weights, requantize) } else { Box::new(packed) }
    },
};

struct GemmU8 {
    bands: Bands,
    panels: Panels,
    /// One a panel.
    plans: Vec<Plan>,
    /// `[panel][group][NR][KR]`, groups in the plan's order.
    weights: AlignedBuf<i8>,
    /// `[panel][group]`: where a group's activations lie, counted from the window's first.
    offsets: Vec<u32>,
    /// Where the windows of a band's pixels start in its rows.
    windows: Vec<u32>,
    epilogue: EpilogueU8,
    scaling: Scaling,
    residual: Option<ResidualU8>,
    padding: u8,
    /// Whether the plans are for activations up to 127.
    seven_bits: bool,
    /// Ranges of panels that tasks of one band share out.
    splits: usize,
    /// Bytes of a task's padded rows, a multiple of a cache line; 0 where the input is read in place.
    rows_len: usize,
    /// Bytes of a task's flags, one a tile.
    flags_len: usize,
}

/// A panel as its tiles read it.
struct Work<'a> {
    panel: Panel,
    plan: &'a Plan,
    constants: Constants<'a>,
    weights: &'a [i8],
    offsets: &'a [u32],
    rows: &'a [u8],
}

impl GemmU8 {
    fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let in_bytes = BAND_BYTES * conv.in_c / (conv.in_c + conv.out_c);
        let bands = Bands::new(conv, conv.in_c, 1, in_bytes).align_to(4 * MR).fewer_for_weights(BAND_BYTES);
        let panels = Panels::new(conv, bands.padded_w(), [NR, KR], 1);
        let in_place = conv.padding == [0, 0] && !panels.filled(conv);
        let scaling = Scaling::new(requantize, conv.terms());
        let mut weights = panels.pack(conv, weights);
        let run = |&run: &usize| (run..run + panels.run_len).step_by(KR).map(|offset| offset as u32);
        let offsets: Vec<_> = panels.runs.iter().flat_map(run).collect();
        let groups = offsets.len();
        let mut offsets = offsets.repeat(panels.count());
        let a_panel = weights.chunks_exact_mut(panels.block_len()).zip(offsets.chunks_exact_mut(groups));
        let windows = bands.windows();
        Self {
            plans: a_panel.map(|(weights, offsets)| plan(weights, offsets, i32::from(requantize.x_max))).collect(),
            weights,
            offsets,
            epilogue: EpilogueU8::new(requantize, |v| panels.constants(v), |v| panels.constants(v)),
            scaling,
            residual: ResidualU8::new(requantize, add_to_u8),
            padding: requantize.x_zero_point,
            seven_bits: requantize.x_max < 128,
            splits: bands.splits(panels.count()),
            rows_len: if in_place { 0 } else { (bands.padded_len() + KR).next_multiple_of(64) },
            flags_len: windows.len().div_ceil(MR),
            windows,
            bands,
            panels,
        }
    }

    /// Whether most groups of a long sum would have to be widened: then a kernel that widens all of them once is faster.
    fn mostly_wide(&self) -> bool {
        let wide = self.plans.iter().map(|plan| plan.wide).sum::<usize>();
        2 * wide > self.offsets.len() && self.panels.block_len() > LONG * NR
    }

    fn tasks(&self) -> usize {
        self.bands.count() * self.splits
    }

    /// The part of the whole map that is a task's.
    fn part(&self, task: usize) -> Part {
        let (band, split, count) = (task / self.splits, task % self.splits, self.panels.count());
        let panels = split * count / self.splits..(split + 1) * count / self.splits;
        Part { band: self.bands.band(band), panels }
    }

    /// The outputs of a part, with as many of the residual's elements where there is one: parts of some channels leave the sum to the end; `scratch` is for its padded rows and flags.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA. No other task has the part.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn make_part(
        &self,
        part: &Part,
        (input, residual): (&[u8], Option<&[u8]>),
        scratch: &mut [u8],
        all: &SharedMut<u8>,
    ) {
        let band = part.band;
        let (rows, flags) = scratch.split_at_mut(self.rows_len);
        let rows = if self.rows_len == 0 {
            &input[self.bands.in_start(band)..]
        } else {
            self.bands.copy_padded(band, input, rows, self.padding, |x| x);
            &*rows
        };
        let (first, pixels) = self.bands.out_pixels(band);
        let windows = &self.windows[..pixels];
        let reach = self.panels.reach() + self.bands.conv.in_c - self.panels.group_in;
        // The last window is the furthest: what tiles read unchecked.
        assert!(windows.last().is_none_or(|&last| last as usize + reach <= rows.len()));
        let flagged = self.flag_tiles(rows, windows, flags);
        let groups = self.panels.block_len() / GROUP;
        for index in part.panels.clone() {
            let panel = self.panels.panel(index);
            let weights = &self.weights[panel.weights..][..self.panels.block_len()];
            let offsets = &self.offsets[index * groups..][..groups];
            let constants = self.epilogue.constants(panel.constants, NR);
            let work = Work { panel, plan: &self.plans[index], constants, weights, offsets, rows };
            let out_c = self.bands.conv.out_c;
            let out = all.span(first * out_c + panel.channel, (pixels - 1) * out_c + panel.len);
            let flags = flagged.then_some(&*flags);
            // SAFETY: all windows lie in `rows`, and outputs in `out`, as checked; tasks differ in their band or their panels;
            // flags are set where activations exceed the plan's bound.
            unsafe {
                match (self.scaling, panel.len > NR / 2) {
                    (Scaling::Multiplier, true) => self.tiles::<2, MULTIPLIER>(&work, windows, flags, out),
                    (Scaling::Multiplier, false) => self.tiles::<1, MULTIPLIER>(&work, windows, flags, out),
                    (Scaling::Bias, true) => self.tiles::<2, BIAS>(&work, windows, flags, out),
                    (Scaling::Bias, false) => self.tiles::<1, BIAS>(&work, windows, flags, out),
                    (Scaling::Clamp, true) => self.tiles::<2, CLAMP>(&work, windows, flags, out),
                    (Scaling::Clamp, false) => self.tiles::<1, CLAMP>(&work, windows, flags, out),
                }
            }
        }
        let residual = residual.filter(|_| part.panels.len() == self.panels.count());
        if let (Some(sum), Some(residual)) = (&self.residual, residual) {
            // SAFETY: the caller's promise.
            unsafe { sum.add_band(&self.bands, band, residual, all) };
        }
    }

    /// Flags tiles with activations that the plans do not allow, if there may be any.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn flag_tiles(&self, rows: &[u8], windows: &[u32], flags: &mut [u8]) -> bool {
        let len = if self.panels.groups == 1 { self.panels.run_len } else { self.bands.conv.in_c };
        let furthest = windows.last().map_or(0, |&last| last as usize) + self.panels.runs.last().unwrap_or(&0) + len;
        if !self.seven_bits || !exceeds_127(&rows[..furthest]) {
            return false;
        }
        for (windows, flag) in windows.chunks(MR).zip(flags) {
            let window =
                |&window: &u32| self.panels.runs.iter().any(|run| exceeds_127(&rows[window as usize + run..][..len]));
            *flag = u8::from(windows.iter().any(window));
        }
        true
    }

    /// The outputs of a panel and all pixels of a band, from `out` on.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA. All windows lie in the rows. No other task has the band and panel, which has up to `8 * NV`
    /// channels and as many outputs as windows, a pixel of the output apart. A tile is flagged or its activations are within
    /// the plan's bound.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn tiles<const NV: usize, const S: u8>(
        &self,
        work: &Work,
        windows: &[u32],
        flags: Option<&[u8]>,
        out: *mut u8,
    ) {
        let a_tile = MR * self.bands.conv.out_c;
        // SAFETY: the caller's promise; strips have whole tiles, and are one after another in `out`.
        unsafe {
            let Some(flags) = flags else {
                let (whole, rest) = windows.split_at(windows.len() / MR * MR);
                let end = out.wrapping_add(whole.len() / MR * a_tile);
                self.strip::<MR, NV, S, false>(work, whole, out);
                return match rest.len() {
                    0 => (),
                    1 => self.strip::<1, NV, S, false>(work, rest, end),
                    _ => self.strip::<2, NV, S, false>(work, rest, end),
                };
            };
            for (tile, (windows, &flag)) in windows.chunks(MR).zip(flags).enumerate() {
                let out = out.wrapping_add(tile * a_tile);
                match (windows.len(), flag) {
                    (1, 0) => self.strip::<1, NV, S, false>(work, windows, out),
                    (2, 0) => self.strip::<2, NV, S, false>(work, windows, out),
                    (_, 0) => self.strip::<3, NV, S, false>(work, windows, out),
                    (1, _) => self.strip::<1, NV, S, true>(work, windows, out),
                    (2, _) => self.strip::<2, NV, S, true>(work, windows, out),
                    _ => self.strip::<3, NV, S, true>(work, windows, out),
                }
            }
        }
    }

    /// The outputs of some tiles of `P` pixels, a function of its own: what all tiles share stays in registers. `WIDE` where
    /// activations may exceed the plan's bound.
    ///
    /// # Safety
    /// As [`GemmU8::tiles`]; the windows are a multiple of `P`.
    #[target_feature(enable = "avx2,fma")]
    #[inline(never)]
    unsafe fn strip<const P: usize, const NV: usize, const S: u8, const WIDE: bool>(
        &self,
        work: &Work,
        windows: &[u32],
        mut out: *mut u8,
    ) {
        for windows in windows.chunks_exact(P) {
            // SAFETY: the caller's promise; `out` moves from tile to tile.
            unsafe {
                let sums = work.sums::<P, NV, WIDE>(windows);
                self.store::<P, NV, S>(work, &sums, out);
            }
            out = out.wrapping_add(P * self.bands.conv.out_c);
        }
    }

    /// The epilogue of a tile, two pixels at a time.
    ///
    /// # Safety
    /// As [`GemmU8::strip`].
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn store<const P: usize, const NV: usize, const S: u8>(
        &self,
        work: &Work,
        sums: &[[__m256i; NV]; P],
        out: *mut u8,
    ) {
        let step = self.bands.conv.out_c;
        let mut p = 0;
        while p < P {
            let q = if p + 1 < P { p + 1 } else { p };
            // SAFETY: a panel has constants for two vectors.
            let words =
                |p: usize| unsafe { work.constants.words::<S>(0, sums[p][0], (NV > 1).then_some(sums[p][NV - 1])) };
            let a = words(p);
            let b = if q > p { words(q) } else { a };
            let bytes = self.epilogue.two_pixels(a, b);
            // SAFETY: these channels of these pixels belong to this tile and panel alone, and lie an output pixel apart.
            unsafe {
                let low = std::slice::from_raw_parts_mut(out.add(p * step), work.panel.len);
                store_u8(_mm256_castsi256_si128(bytes), low);
                if q > p {
                    let high = std::slice::from_raw_parts_mut(out.add(q * step), work.panel.len);
                    store_u8(_mm256_extracti128_si256::<1>(bytes), high);
                }
            }
            p += 2;
        }
    }
}

impl Work<'_> {
    /// Sums of products and the bias of a tile, before the rest of the epilogue.
    ///
    /// # Safety
    /// As [`GemmU8::strip`]; there are `P` windows.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn sums<const P: usize, const NV: usize, const WIDE: bool>(&self, windows: &[u32]) -> [[__m256i; NV]; P] {
        // SAFETY: windows lie in the rows.
        let pixels = std::array::from_fn(|p| unsafe { self.rows.as_ptr().add(windows[p] as usize + self.panel.input) });
        // SAFETY: a panel has constants for two vectors.
        let start: [__m256i; NV] = std::array::from_fn(|v| unsafe { self.constants.start(v) });
        let mut sums = [start; P];
        let mut walk = Walk { pixels, weights: self.weights.as_ptr(), offsets: self.offsets.as_ptr() };
        let mut wide = self.offsets.len();
        if !WIDE {
            for &len in &self.plan.runs {
                // SAFETY: the panel has as many groups as its plan; the plan promises that sums of a run fit i16.
                unsafe { walk.run(len, &mut sums) };
            }
            wide = self.plan.wide;
        }
        for _ in 0..wide {
            // SAFETY: as above.
            unsafe { walk.widened(&mut sums) };
        }
        sums
    }
}

/// Where a tile is in a panel's groups.
struct Walk<const P: usize> {
    pixels: [*const u8; P],
    weights: *const i8,
    offsets: *const u32,
}

impl<const P: usize> Walk<P> {
    /// A run of groups, summed in i16.
    ///
    /// # Safety
    /// So many groups are left, and no lane's sum over them leaves i16.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn run<const NV: usize>(&mut self, len: u32, sums: &mut [[__m256i; NV]; P]) {
        // SAFETY: the caller's promise.
        let mut words = unsafe { self.products::<NV>(None) };
        for _ in 1..len {
            // SAFETY: the caller's promise.
            words = unsafe { self.products(Some(words)) };
        }
        let ones = _mm256_set1_epi16(1);
        for (sums, words) in sums.iter_mut().zip(words) {
            for (sum, words) in sums.iter_mut().zip(words) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(words, ones));
            }
        }
    }

    /// Products of the next group, added to those before.
    ///
    /// # Safety
    /// There is a next group, and no lane's sum leaves i16.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn products<const NV: usize>(&mut self, before: Option<[[__m256i; NV]; P]>) -> [[__m256i; NV]; P] {
        // SAFETY: the caller's promise.
        let (offset, weights) = unsafe { self.next::<NV>() };
        let mut words = [[_mm256_setzero_si256(); NV]; P];
        for p in 0..P {
            // SAFETY: the offset is one of this group.
            let x = unsafe { self.activations(p, offset) };
            for v in 0..NV {
                let products = _mm256_maddubs_epi16(x, weights[v]);
                words[p][v] = before.map_or(products, |before| _mm256_add_epi16(before[p][v], products));
            }
        }
        words
    }

    /// The products of the next group, with factors widened to i16.
    ///
    /// # Safety
    /// There is a next group.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn widened<const NV: usize>(&mut self, sums: &mut [[__m256i; NV]; P]) {
        // SAFETY: the caller's promise.
        let (offset, weights) = unsafe { self.next::<NV>() };
        let mut factors = [[_mm256_setzero_si256(); 2]; NV];
        for v in 0..NV {
            factors[v][0] = _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights[v]));
            factors[v][1] = _mm256_srai_epi16::<8>(weights[v]);
        }
        for (p, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the offset is one of this group.
            let x = unsafe { self.activations(p, offset) };
            let (even, odd) = (_mm256_and_si256(x, _mm256_set1_epi16(255)), _mm256_srli_epi16::<8>(x));
            for v in 0..NV {
                sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(even, factors[v][0]));
                sums[v] = _mm256_add_epi32(sums[v], _mm256_madd_epi16(odd, factors[v][1]));
            }
        }
    }

    /// The next group's offset and weights.
    ///
    /// # Safety
    /// There is one.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn next<const NV: usize>(&mut self) -> (usize, [__m256i; NV]) {
        // SAFETY: the group has an offset and `GROUP` bytes of weights, aligned as these are.
        unsafe {
            let weights = std::array::from_fn(|v| _mm256_load_si256(self.weights.add(v * 32).cast()));
            let offset = *self.offsets as usize;
            (self.weights, self.offsets) = (self.weights.add(GROUP), self.offsets.add(1));
            (offset, weights)
        }
    }

    /// Four activations of a pixel, eight times.
    ///
    /// # Safety
    /// `offset` is one of the plan's.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn activations(&self, pixel: usize, offset: usize) -> __m256i {
        // SAFETY: the offset's four bytes belong to this window; the read needs no alignment.
        _mm256_set1_epi32(unsafe { self.pixels[pixel].add(offset).cast::<i32>().read_unaligned() })
    }
}

impl PackedU8 for GemmU8 {
    fn scratch_bytes(&self) -> usize {
        self.tasks() * (self.rows_len + self.flags_len)
    }

    fn weight_bytes(&self) -> usize {
        self.weights.len() + self.offsets.len() * size_of::<u32>() + self.epilogue.bytes()
    }

    fn run(&self, input: &[u8], residual: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let scratch = SharedMut::new(scratch);
        let out = SharedMut::new(output);
        let scratch_len = self.rows_len + self.flags_len;
        // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; every task runs once, with scratch of its own.
        team.run(self.tasks(), |task| unsafe {
            self.make_part(&self.part(task), (input, residual), scratch.part(task * scratch_len, scratch_len), &out);
        });
        if let (Some(sum), Some(residual)) = (&self.residual, residual.filter(|_| self.splits > 1)) {
            // SAFETY: as above; all outputs have been made.
            unsafe { sum.add_all(residual, &out, team) };
        }
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        Some(self)
    }
}

impl RowKernel<u8> for GemmU8 {
    fn scratch_len(&self) -> usize {
        self.rows_len + self.flags_len
    }

    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, u8>,
        residual: Option<&[u8]>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let out = SharedMut::new(output);
        for band in self.bands.within(rows, input.first) {
            let part = Part { band, panels: 0..self.panels.count() };
            // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; the slices are this call's alone.
            unsafe {
                self.make_part(&part, (input.values, residual), &mut scratch[..self.rows_len + self.flags_len], &out)
            };
        }
    }
}
