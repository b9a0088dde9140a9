//! int8 depthwise convolution by `vpdpbusd`, AVX-512 with VNNI.
//!
//! An instruction should sum four products of one channel, which NHWC keeps far apart. So four input rows are interleaved
//! first: 16 channels of a column of pixels become one register, four rows a channel. Each such column then serves all kernel
//! columns that meet it and, where the rows allow, two output rows, whose weights are shifted against each other. The
//! padding is columns and rows of zero points; the input itself is not copied.

use std::arch::x86_64::*;

use super::epilogue::LANES;
use crate::conv::vector::{Bands, EpilogueU8, scratch_as, scratch_bytes};
use crate::conv::{Conv2d, KernelInfo, KernelOp, PackedU8, U8Kernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Element, Isa, Requantize, Team};

/// Rows that an instruction sums, and most groups of so many.
const KR: usize = 4;
const MAX_GROUPS: usize = 2;

/// Bytes of a register: 16 channels of `KR` rows.
const VECTOR: usize = LANES * KR;

/// Bytes of input that a task should stay near.
const BAND_BYTES: usize = 128 << 10;

pub(crate) static DEPTHWISE_U8_VNNI: U8Kernel = U8Kernel {
    info: KernelInfo {
        name: "u8s8-depthwise-4x64-avx512vnni",
        op: KernelOp::ConvU8,
        isa: Isa::Avx512Vnni,
        mr: 4,
        nr: 4 * LANES,
        kr: KR,
        serves: "depthwise convolutions with kernels of up to 8 rows, any stride and padding",
        accepts: |conv| conv.is_depthwise() && conv.kernel[0] <= MAX_GROUPS * KR,
    },
    pack: |conv, weights, requantize| Box::new(Depthwise::new(conv, weights, &requantize)),
};

/// A depthwise convolution with packed weights.
///
/// Channels are taken in units of 16. Where they do not divide, the last unit is the last 16 channels, some of which are
/// then computed twice; fewer than 16 channels are one unit, read and written by masks.
struct Depthwise {
    conv: Conv2d,
    /// `[unit][kernel column][group][output row of a strip][16 channels][KR rows]`, zeros where there is no weight.
    weights: AlignedBuf<i8>,
    /// 16 constants a unit.
    epilogue: EpilogueU8,
    /// As many zero points as an input pixel has channels, and at least 16.
    padding: AlignedBuf<u8>,
    /// Output rows computed at once, 1 or 2, and groups of interleaved input rows that they read.
    strip: usize,
    groups: usize,
    /// Output rows of a task.
    task_rows: usize,
}

/// What the tiles of a strip of output rows and some units share.
struct Strip<'a> {
    /// Interleaved columns, `[column][unit][group][16 channels][KR rows]`.
    columns: &'a [u8],
    /// First unit.
    unit: usize,
    /// Output rows, from the strip's first on; one or two.
    out: &'a mut [u8],
}

impl Depthwise {
    fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let (kernel_h, stride) = (conv.kernel[0], conv.stride[0]);
        let groups = kernel_h.div_ceil(KR);
        let strip = if kernel_h + stride <= groups * KR { 2 } else { 1 };
        let units = conv.in_c.div_ceil(LANES);
        let mut packed = AlignedBuf::new(units * conv.kernel[1] * groups * strip * VECTOR);
        for (index, out) in packed.iter_mut().enumerate() {
            let (row, lane, vector) = (index % KR, index / KR % LANES, index / VECTOR);
            let (shift, vector) = (vector % strip * stride, vector / strip);
            let (group, vector) = (vector % groups, vector / groups);
            let (column, unit) = (vector % conv.kernel[1], vector / conv.kernel[1]);
            let (channel, ky) = (first_channel(conv, unit) + lane, (group * KR + row).wrapping_sub(shift));
            if channel < conv.in_c && ky < kernel_h {
                *out = weights[(channel * kernel_h + ky) * conv.kernel[1] + column];
            }
        }
        let mut padding = AlignedBuf::new(conv.in_c.max(LANES));
        padding.fill(requantize.x_zero_point);
        let task_rows = Bands::new(conv, conv.in_c, 1, BAND_BYTES).out_rows(0).len().next_multiple_of(strip);
        Self {
            conv: *conv,
            weights: packed,
            epilogue: EpilogueU8::new(requantize, |v| spread(conv, v), |v| spread(conv, v)),
            padding,
            strip,
            groups,
            task_rows,
        }
    }

    fn tasks(&self) -> usize {
        self.conv.out_h().div_ceil(self.task_rows)
    }

    /// Bytes of a task's interleaved columns, of up to four units.
    fn columns_len(&self) -> usize {
        (self.conv.in_w + 2 * self.conv.padding[1]) * 4 * self.groups * VECTOR
    }

    /// The output rows of a task.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    fn task(&self, task: usize, input: &[u8], columns: &mut [u8], out: &mut [u8]) {
        let row_len = self.conv.out_w() * self.conv.out_c;
        for (index, out) in out.chunks_mut(self.strip * row_len).enumerate() {
            let rows = self.input_rows(task * self.task_rows + index * self.strip, input);
            match (self.strip, self.groups) {
                (1, 1) => self.strip::<1, 1>(&rows, columns, out),
                (1, _) => self.strip::<1, 2>(&rows, columns, out),
                (_, 1) => self.strip::<2, 1>(&rows, columns, out),
                _ => self.strip::<2, 2>(&rows, columns, out),
            }
        }
    }

    /// The input rows that the strip from output row `first` on reads, with the distance of their pixels: those outside the
    /// input are the padding, again and again, and so are those that only fill up a group.
    fn input_rows<'a>(&'a self, first: usize, input: &'a [u8]) -> [(&'a [u8], usize); MAX_GROUPS * KR] {
        let conv = &self.conv;
        let row_len = conv.in_w * conv.in_c;
        let used = conv.kernel[0] + (self.strip - 1) * conv.stride[0];
        std::array::from_fn(|row| {
            let inside = (first * conv.stride[0] + row).checked_sub(conv.padding[0]).filter(|&y| y < conv.in_h);
            match inside.filter(|_| row < used) {
                Some(y) => (&input[y * row_len..][..row_len], conv.in_c),
                None => (&*self.padding, 0),
            }
        })
    }

    /// The outputs of a strip of `OR` output rows (of which the last may be missing in `out`), which read `G` groups of rows.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    #[inline]
    fn strip<const OR: usize, const G: usize>(&self, rows: &Rows, columns: &mut [u8], out: &mut [u8]) {
        let channels = self.conv.in_c;
        // Whole units: four, two or one at once.
        let (mut unit, whole) = (0, channels / LANES);
        while unit < whole {
            match whole - unit {
                4.. => {
                    self.units::<4, OR, G, true>(unit, rows, columns, out);
                    unit += 4;
                }
                2.. => {
                    self.units::<2, OR, G, true>(unit, rows, columns, out);
                    unit += 2;
                }
                _ => {
                    self.units::<1, OR, G, true>(unit, rows, columns, out);
                    unit += 1;
                }
            }
        }
        if channels < LANES {
            self.units::<1, OR, G, false>(0, rows, columns, out);
        } else if !channels.is_multiple_of(LANES) {
            self.units::<1, OR, G, true>(whole, rows, columns, out);
        }
    }

    /// The outputs of a strip and `U` units, all of them `FULL` or not.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    #[inline]
    fn units<const U: usize, const OR: usize, const G: usize, const FULL: bool>(
        &self,
        unit: usize,
        rows: &Rows,
        columns: &mut [u8],
        out: &mut [u8],
    ) {
        self.interleave::<U, G, FULL>(unit, rows, columns);
        let mut strip = Strip { columns, unit, out };
        let (mut x, width) = (0, self.conv.out_w());
        while x < width {
            // Up to 16 sums in flight; the last tile may compute some pixels again.
            x += match (U * OR, width) {
                (8.., 2..) => self.tile::<2, U, OR, G>(&mut strip, x.min(width - 2)),
                (_, 4..) if U * OR < 8 => self.tile::<4, U, OR, G>(&mut strip, x.min(width - 4)),
                _ => self.tile::<1, U, OR, G>(&mut strip, x),
            };
        }
    }

    /// Fills the columns of `U` units: `KR` bytes of a channel from as many rows, in order.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    #[inline]
    fn interleave<const U: usize, const G: usize, const FULL: bool>(
        &self,
        unit: usize,
        rows: &Rows,
        columns: &mut [u8],
    ) {
        let conv = &self.conv;
        let (column_len, pad) = (U * G * VECTOR, conv.padding[1]);
        let columns = &mut columns[..(conv.in_w + 2 * pad) * column_len];
        let (left, rest) = columns.split_at_mut(pad * column_len);
        let (middle, right) = rest.split_at_mut(conv.in_w * column_len);
        left.fill(self.padding[0]);
        right.fill(self.padding[0]);
        let mask = if FULL { !0 } else { (1 << conv.in_c) - 1 };
        for (x, column) in middle.chunks_exact_mut(column_len).enumerate() {
            for (index, out) in column.chunks_exact_mut(VECTOR).enumerate() {
                let (u, group) = (index / G, index % G);
                let channel = first_channel(conv, unit + u);
                let load = |row: usize| {
                    let (row, step) = rows[group * KR + row];
                    debug_assert!(x * step + channel + if FULL { LANES } else { conv.in_c } <= row.len());
                    // SAFETY: a row has `in_w` pixels, `in_c` apart (or repeats one pixel), and a unit lies inside a
                    // pixel's channels; of a unit that is not full, the mask selects those that there are.
                    unsafe {
                        let pointer = row.as_ptr().add(x * step + channel);
                        if FULL { _mm_loadu_si128(pointer.cast()) } else { _mm_maskz_loadu_epi8(mask, pointer.cast()) }
                    }
                };
                let vector = interleave4([load(0), load(1), load(2), load(3)]);
                // SAFETY: the chunk has 64 writable bytes; the store needs no alignment.
                unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), vector) }
            }
        }
    }

    /// The outputs of `P` pixels from column `x` on, of `OR` rows and `U` units. Returns `P`.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
    #[inline]
    fn tile<const P: usize, const U: usize, const OR: usize, const G: usize>(
        &self,
        strip: &mut Strip,
        x: usize,
    ) -> usize {
        let conv = &self.conv;
        let [kernel_w, stride] = [conv.kernel[1], conv.stride[1]];
        let constants = strip.unit * LANES;
        let mut sums: [[[__m512i; P]; OR]; U] =
            std::array::from_fn(|u| [[self.epilogue.start16(constants + u * LANES); P]; OR]);
        let unit_len = kernel_w * G * OR * VECTOR;
        let weights = &self.weights[strip.unit * unit_len..][..U * unit_len];
        let column_len = U * G * VECTOR;
        let columns = &strip.columns[x * stride * column_len..][..((P - 1) * stride + kernel_w) * column_len];
        for kx in 0..kernel_w {
            for (u, sums) in sums.iter_mut().enumerate() {
                for group in 0..G {
                    let q: [__m512i; P] = std::array::from_fn(|p| {
                        let at = (p * stride + kx) * column_len + (u * G + group) * VECTOR;
                        // SAFETY: column `p * stride + kx` of `columns`, which ends with the last of them.
                        unsafe { _mm512_loadu_si512(columns.as_ptr().add(at).cast()) }
                    });
                    for (o, sums) in sums.iter_mut().enumerate() {
                        let at = u * unit_len + ((kx * G + group) * OR + o) * VECTOR;
                        // SAFETY: `weights` has `U` units of `kernel_w * G * OR` vectors.
                        let w = unsafe { _mm512_loadu_si512(weights.as_ptr().add(at).cast()) };
                        for (sum, q) in sums.iter_mut().zip(q) {
                            *sum = _mm512_dpbusd_epi32(*sum, q, w);
                        }
                    }
                }
            }
        }
        let channels = conv.out_c;
        let (channel, len) = (first_channel(conv, strip.unit), (U * LANES).min(channels));
        let row_len = conv.out_w() * channels;
        // Loops of fixed counts, so that sums stay in registers.
        let rows: [[[__m512i; U]; P]; OR] =
            std::array::from_fn(|o| std::array::from_fn(|p| std::array::from_fn(|u| sums[u][o][p])));
        for (o, pixels) in rows.into_iter().enumerate() {
            let Some(row) = strip.out.get_mut(o * row_len..(o + 1) * row_len) else { break };
            for (p, sums) in pixels.into_iter().enumerate() {
                let out = &mut row[(x + p) * channels + channel..][..len];
                self.epilogue.store_blocks(constants, sums, out);
            }
        }
        P
    }
}

/// Input rows, each with the distance of its pixels.
type Rows<'a> = [(&'a [u8], usize); MAX_GROUPS * KR];

/// First channel of a unit.
#[inline(always)]
fn first_channel(conv: &Conv2d, unit: usize) -> usize {
    (unit * LANES).min(conv.in_c.saturating_sub(LANES))
}

/// One value a channel as 16 a unit, zeros for channels that there are not.
fn spread<T: Element>(conv: &Conv2d, values: &[T]) -> AlignedBuf<T> {
    let mut spread = AlignedBuf::new(conv.in_c.div_ceil(LANES) * LANES);
    for (index, out) in spread.iter_mut().enumerate() {
        let channel = first_channel(conv, index / LANES) + index % LANES;
        *out = values.get(channel).copied().unwrap_or_default();
    }
    spread
}

/// Four rows of 16 bytes to 16 groups of four, one byte of each row.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave4(rows: [__m128i; 4]) -> __m512i {
    let low = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(rows[0]), rows[1]);
    let high = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(rows[2]), rows[3]);
    let rows = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
    // First groups of four bytes: the p-th of each row to part p; then the bytes within each part.
    let groups = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let bytes = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    _mm512_shuffle_epi8(_mm512_permutexvar_epi32(groups, rows), bytes)
}

impl PackedU8 for Depthwise {
    fn scratch_bytes(&self) -> usize {
        scratch_bytes::<u8>(self.tasks() * self.columns_len() + VECTOR)
    }

    fn weight_bytes(&self) -> usize {
        self.weights.len() + self.epilogue.bytes()
    }

    fn run(&self, input: &[u8], output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let scratch = scratch_as::<u8>(scratch);
        // Loads and stores of whole cache lines are faster.
        let aligned = scratch.as_ptr().align_offset(VECTOR).min(VECTOR);
        let (columns, columns_len) = (SharedMut::new(&mut scratch[aligned..]), self.columns_len());
        let task_len = self.task_rows * self.conv.out_w() * self.conv.out_c;
        team.run_chunks(output, task_len, |task, out| {
            // SAFETY: each task has columns of its own, by its number; `ConvU8::new` checked that the CPU has the
            // instruction set.
            unsafe { self.task(task, input, columns.part(task * columns_len, columns_len), out) }
        });
    }
}
