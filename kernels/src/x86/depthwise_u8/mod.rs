//! int8 depthwise convolution, AVX2: 2 output pixels by 32 channels.
//!
//! A task copies 32 channels of the padded rows it reads, which a first-level cache holds. The bytes of two taps are interleaved and
//! multiplied with interleaved weights, and products summed in i16 as far as the weights prove that they fit ([`plan`]). Two such
//! sums at a time are interleaved and widened by one more multiplication. Interleaving leaves channels apart; weights and constants are
//! packed in that order, and the final packing of the outputs to bytes brings them back into order.

mod plan;

use std::arch::x86_64::*;
use std::ops::Range;

use self::plan::{NR, PAIR, Plan};
use super::epilogue::{Constants, Scaling, store_u8};
use super::exceeds_127;
use crate::conv::vector::{Band, Bands, EpilogueU8, Part, tasks};
use crate::conv::{Conv2d, InputRows, KernelInfo, KernelOp, PackedU8, RowKernel, U8Kernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Element, Isa, Requantize, Team};

/// Pixels of a tile.
const MR: usize = 2;

/// Bytes of copied rows that a task should stay near: a first-level cache.
const BAND_BYTES: usize = 28 << 10;

pub(crate) static DEPTHWISE_U8: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-depthwise-2x32-avx2",
        op: KernelOp::ConvU8,
        isa: Isa::Avx2,
        mr: MR,
        nr: NR,
        kr: 2,
        residual: false,
        serves: "depthwise convolutions with any kernel, stride and padding",
        accepts: Conv2d::is_depthwise,
    },
    pack: |conv, weights, requantize| Box::new(DepthwiseU8::new(conv, weights, &requantize)),
};

struct DepthwiseU8 {
    conv: Conv2d,
    /// Of one block of channels.
    bands: Bands,
    /// One a block, for activations up to 255.
    plans: Vec<Plan>,
    /// One a block for activations up to 127, where those are expected.
    plans_127: Vec<Plan>,
    /// Bytes of the rows from a window's first to the last that are read.
    reach: usize,
    /// Where the windows of a band's pixels start in its rows.
    windows: Vec<u32>,
    epilogue: EpilogueU8,
    scaling: Scaling,
    padding: u8,
    /// Ranges of blocks that tasks of one band share out.
    splits: usize,
    /// Bytes of a task's rows; a multiple of a cache line.
    rows_len: usize,
}

impl DepthwiseU8 {
    fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let one = Conv2d { in_c: NR, out_c: NR, groups: NR, ..*conv };
        let bands = Bands::new(&one, NR, 1, BAND_BYTES);
        let [kernel_h, kernel_w] = conv.kernel;
        let count = kernel_h * kernel_w;
        let blocks = conv.in_c.div_ceil(NR);
        let taps: Vec<_> = (0..count).map(|tap| (tap / kernel_w * bands.padded_w() + tap % kernel_w) * NR).collect();
        let plans = |x_max: i32| -> Vec<_> {
            let weight = |c: usize, tap: usize| weights.get(c * count + tap).copied().unwrap_or(0);
            (0..blocks).map(|block| Plan::new(&taps, |c, tap| weight(block * NR + c, tap), x_max)).collect()
        };
        Self {
            plans: plans(255),
            plans_127: if requantize.x_max < 128 { plans(127) } else { Vec::new() },
            reach: taps[count - 1] + NR,
            windows: bands.windows(),
            epilogue: EpilogueU8::new(requantize, spread, spread),
            scaling: Scaling::new(requantize, conv.terms()),
            padding: requantize.x_zero_point,
            splits: tasks(conv).div_ceil(bands.count()).min(blocks),
            rows_len: bands.padded_len().next_multiple_of(64),
            conv: *conv,
            bands,
        }
    }

    fn tasks(&self) -> usize {
        self.bands.count() * self.splits
    }

    /// The part of the whole map that is a task's; its panels are blocks of channels.
    fn part(&self, task: usize) -> Part {
        let (band, split, blocks) = (task / self.splits, task % self.splits, self.plans.len());
        Part { band: self.bands.band(band), panels: split * blocks / self.splits..(split + 1) * blocks / self.splits }
    }

    /// The outputs of a part, with `rows` for a copy of its input.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA. No other task has the part.
    #[target_feature(enable = "avx2,fma")]
    unsafe fn make_part(&self, part: Part, input: &[u8], rows: &mut [u8], out: &SharedMut<u8>) {
        let band = part.band;
        let rows = &mut rows[..self.bands.rows_len(band)];
        for block in part.panels {
            self.copy(band, block * NR, input, rows);
            let expected = !self.plans_127.is_empty() && !exceeds_127(rows);
            let plan = if expected { &self.plans_127[block] } else { &self.plans[block] };
            // SAFETY: the rows are those of this band and block, and tasks differ in their bands or blocks. Activations are
            // within the plan's bound.
            unsafe {
                match self.scaling {
                    Scaling::Multiplier => self.block::<{ Scaling::Multiplier as u8 }>(band, block, plan, rows, out),
                    Scaling::Bias => self.block::<{ Scaling::Bias as u8 }>(band, block, plan, rows, out),
                    Scaling::Clamp => self.block::<{ Scaling::Clamp as u8 }>(band, block, plan, rows, out),
                }
            }
        }
    }

    /// Copies the channels from `channel` on of a band's input rows, with padding around them. Beyond the last channel lie
    /// other ones, which no output depends on.
    #[target_feature(enable = "avx2")]
    #[inline]
    fn copy(&self, band: Band, channel: usize, input: &[u8], rows: &mut [u8]) {
        let (Conv2d { in_w, padding, .. }, in_c) = (self.bands.conv, self.conv.in_c);
        for (index, out) in rows.chunks_exact_mut(self.bands.padded_w() * NR).enumerate() {
            let Some(row) = self.bands.in_row(band, index) else {
                out.fill(self.padding);
                continue;
            };
            let (left, rest) = out.split_at_mut(padding[1] * NR);
            let (middle, right) = rest.split_at_mut(in_w * NR);
            left.fill(self.padding);
            right.fill(self.padding);
            let input = &input[row * in_w * in_c + channel..];
            // At the end of the input, pixels may have fewer bytes after them.
            let whole = input.len().checked_sub(NR).map_or(0, |last| in_w.min(last / in_c + 1));
            let (first, last) = middle.split_at_mut(whole * NR);
            let mut from = input.as_ptr();
            for out in first.chunks_exact_mut(NR) {
                // SAFETY: pixels before `whole` have 32 bytes in the input, as checked; neither access needs alignment. The
                // pointer is not read from after the last of them.
                unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_loadu_si256(from.cast())) };
                from = from.wrapping_add(in_c);
            }
            for (x, out) in last.chunks_exact_mut(NR).enumerate() {
                let input = &input[(whole + x) * in_c..];
                let len = input.len().min(NR);
                out[..len].copy_from_slice(&input[..len]);
                out[len..].fill(self.padding);
            }
        }
    }

    /// The outputs of a band and block.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA. The rows are those of the band and block, which no other task has. Activations are within
    /// the plan's bound.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn block<const S: u8>(&self, band: Band, block: usize, plan: &Plan, rows: &[u8], out: &SharedMut<u8>) {
        let ((first, pixels), out_c) = (self.bands.out_pixels(band), self.conv.out_c);
        let windows = &self.windows[..pixels];
        // What tiles read unchecked, and write.
        assert!(windows.last().is_none_or(|&last| last as usize + self.reach <= rows.len()));
        let (constants, len) = (self.epilogue.constants(block * NR, NR), (out_c - block * NR).min(NR));
        let mut out = out.span(first * out_c + block * NR, (windows.len() - 1) * out_c + len);
        for windows in windows.chunks(MR) {
            // SAFETY: the caller's promise; all taps of the windows lie in `rows`, and `len` channels of each output pixel of
            // the band in `out`, as checked; the pointer moves past the last pixel at most.
            unsafe {
                if let [a, b] = *windows {
                    let sums = sums::<2>(&constants, plan, [a, b].map(|at| rows.as_ptr().add(at as usize)));
                    self.store::<S>(&constants, &sums[0], std::slice::from_raw_parts_mut(out, len));
                    out = out.wrapping_add(out_c);
                    self.store::<S>(&constants, &sums[1], std::slice::from_raw_parts_mut(out, len));
                } else {
                    let sums = sums::<1>(&constants, plan, [rows.as_ptr().add(windows[0] as usize)]);
                    self.store::<S>(&constants, &sums[0], std::slice::from_raw_parts_mut(out, len));
                }
                out = out.wrapping_add(out_c);
            }
        }
    }

    /// The epilogue of a pixel.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA. There are constants for four vectors.
    #[target_feature(enable = "avx2,fma")]
    #[inline]
    unsafe fn store<const S: u8>(&self, constants: &Constants, sums: &[__m256i; 4], out: &mut [u8]) {
        // SAFETY: the caller's promise.
        let (a, b) = unsafe {
            (constants.words::<S>(0, sums[0], Some(sums[1])), constants.words::<S>(2, sums[2], Some(sums[3])))
        };
        let bytes = self.epilogue.bytes_of(a, b);
        if out.len() == NR {
            // SAFETY: the slice has 32 writable bytes; the store needs no alignment.
            return unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), bytes) };
        }
        // A call that copies a few bytes would save all registers: the networks' channels are multiples of 8.
        let (low, high) = (_mm256_castsi256_si128(bytes), _mm256_extracti128_si256::<1>(bytes));
        if let Some((first, rest)) = out.split_at_mut_checked(16) {
            store_u8(low, first);
            store_u8(high, rest);
        } else {
            store_u8(low, out);
        }
    }
}

/// Sums of products and the bias of some windows.
///
/// # Safety
/// The CPU has AVX2 and FMA. All taps of the windows can be read. Activations are within the plan's bound. There are constants
/// for four vectors.
#[target_feature(enable = "avx2,fma")]
#[inline]
unsafe fn sums<const P: usize>(constants: &Constants, plan: &Plan, windows: [*const u8; P]) -> [[__m256i; 4]; P] {
    let mut walk = Walk { windows, taps: plan.taps.as_ptr(), weights: plan.weights.as_ptr() };
    let mut sums = [[_mm256_setzero_si256(); 4]; P];
    let Some(([first, second], rounds)) = plan.rounds.split_first() else { return sums };
    // SAFETY: the plan has so many pairs, and promises that their sums fit i16.
    let words = unsafe { [walk.words(*first), walk.words(*second)] };
    for p in 0..P {
        let wide = widened(words[0][p], words[1][p]);
        for v in 0..4 {
            // SAFETY: the caller's promise.
            sums[p][v] = _mm256_add_epi32(wide[v], unsafe { constants.start(v) });
        }
    }
    for [first, second] in rounds {
        // SAFETY: as above.
        let words = unsafe { [walk.words(*first), walk.words(*second)] };
        for p in 0..P {
            let wide = widened(words[0][p], words[1][p]);
            for v in 0..4 {
                sums[p][v] = _mm256_add_epi32(sums[p][v], wide[v]);
            }
        }
    }
    sums
}

/// Sums of two times 32 words, in the order of [`spread`].
#[target_feature(enable = "avx2")]
#[inline]
fn widened(a: [__m256i; 2], b: [__m256i; 2]) -> [__m256i; 4] {
    let ones = _mm256_set1_epi16(1);
    [
        _mm256_madd_epi16(_mm256_unpacklo_epi16(a[0], b[0]), ones),
        _mm256_madd_epi16(_mm256_unpackhi_epi16(a[0], b[0]), ones),
        _mm256_madd_epi16(_mm256_unpacklo_epi16(a[1], b[1]), ones),
        _mm256_madd_epi16(_mm256_unpackhi_epi16(a[1], b[1]), ones),
    ]
}

/// Where a tile is in a plan.
struct Walk<const P: usize> {
    windows: [*const u8; P],
    taps: *const [u32; 2],
    weights: *const i8,
}

impl<const P: usize> Walk<P> {
    /// The sums of the next pairs: of the low halves of the interleaved bytes and of the high ones.
    ///
    /// # Safety
    /// There are so many pairs, whose taps can be read and whose sums fit i16.
    #[target_feature(enable = "avx2")]
    #[inline]
    unsafe fn words(&mut self, pairs: usize) -> [[__m256i; 2]; P] {
        let mut words = [[_mm256_setzero_si256(); 2]; P];
        for _ in 0..pairs {
            // SAFETY: the caller's promise; a pair has two taps and 64 bytes of weights, aligned to as many.
            let ([a, b], weights) = unsafe {
                let weights = self.weights.cast::<__m256i>();
                (*self.taps, [_mm256_load_si256(weights), _mm256_load_si256(weights.add(1))])
            };
            // SAFETY: as above; one past the end after the last pair.
            unsafe { (self.taps, self.weights) = (self.taps.add(1), self.weights.add(PAIR)) };
            for (words, window) in words.iter_mut().zip(self.windows) {
                // SAFETY: the caller's promise; the loads need no alignment.
                let (a, b) = unsafe {
                    let load = |tap: u32| _mm256_loadu_si256(window.add(tap as usize).cast());
                    (load(a), load(b))
                };
                let (low, high) = (_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b));
                words[0] = _mm256_add_epi16(words[0], _mm256_maddubs_epi16(low, weights[0]));
                words[1] = _mm256_add_epi16(words[1], _mm256_maddubs_epi16(high, weights[1]));
            }
        }
        words
    }
}

/// One value a channel in the order in which widened sums lie, zeros for channels that fill up the last block.
fn spread<T: Element>(values: &[T]) -> AlignedBuf<T> {
    let mut spread = AlignedBuf::new(values.len().next_multiple_of(NR));
    for (index, out) in spread.iter_mut().enumerate() {
        let (vector, half, element) = (index % NR / 8, index % 8 / 4, index % 4);
        let channel = index / NR * NR + 16 * half + 4 * vector + element;
        *out = values.get(channel).copied().unwrap_or_default();
    }
    spread
}

impl PackedU8 for DepthwiseU8 {
    fn scratch_bytes(&self) -> usize {
        self.tasks() * self.rows_len
    }

    fn weight_bytes(&self) -> usize {
        self.plans.iter().chain(&self.plans_127).map(|plan| plan.weights.len()).sum::<usize>() + self.epilogue.bytes()
    }

    fn run(&self, input: &[u8], _: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let scratch = SharedMut::new(scratch);
        let out = SharedMut::new(output);
        // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; every task runs once, with rows of its own.
        team.run(self.tasks(), |task| unsafe {
            self.make_part(self.part(task), input, scratch.part(task * self.rows_len, self.rows_len), &out);
        });
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        Some(self)
    }
}

impl RowKernel<u8> for DepthwiseU8 {
    fn scratch_len(&self) -> usize {
        self.rows_len
    }

    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, u8>,
        _: Option<&[u8]>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let out = SharedMut::new(output);
        for band in self.bands.within(rows, input.first) {
            let part = Part { band, panels: 0..self.plans.len() };
            // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; the slices are this call's alone.
            unsafe { self.make_part(part, input.values, &mut scratch[..self.rows_len], &out) };
        }
    }
}
