//! All ops but convolutions on the instruction set and the threads that a plan was made for.
//!
//! Each method equals the function or method of the same op in plain Rust bit for bit (of maxima but for the sign of a zero), on every
//! instruction set and for any number of threads: tasks get parts of the output, and never of a sum.

mod blocked;
mod split;

pub use self::frame::Frame;
use self::split::split;
use crate::conv::InputRows;
use crate::lut::BLOCK;
use crate::quant::quantize_planes_u8;
use crate::scalar::float::{hardsigmoid, hardswish, relu, relu6};
use crate::{AddU8, ChannelView, Element, Error, Isa, Lut, MulU8, Numerics, Pool2d, QParams, Team};

/// Which code runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    /// The specification as it stands.
    Scalar,
    /// Plain Rust in blocks that the compiler turns into vectors of the target's base instruction set.
    Blocked,
    /// x86-64 with AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// x86-64 with AVX-512 F, BW, VL and DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

/// Elementwise ops, pooling and moves of channels for one instruction set.
#[derive(Debug, Clone, Copy)]
pub struct Ops {
    level: Level,
}

/// Calls the level's function of this name, or evaluates the other expression.
macro_rules! x86_or {
    ($level:expr, $name:ident($($argument:expr),*), $other:expr) => {
        match $level {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Ops::new` made this level on a CPU with AVX2 and FMA, all that these functions require.
            Level::Avx2 => unsafe { crate::x86::ops::$name($($argument),*) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: `Ops::new` made this level on a CPU with AVX-512 F, BW, VL and DQ, all that these functions require.
            Level::Avx512 => unsafe { crate::x86::avx512::ops::$name($($argument),*) },
            _ => $other,
        }
    };
}

mod frame;

impl Ops {
    /// Ops of this instruction set.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available.
    pub fn new(isa: Isa) -> Result<Self, Error> {
        isa.check()?;
        let level = match isa {
            Isa::Scalar => Level::Scalar,
            #[cfg(target_arch = "x86_64")]
            _ if isa.includes(Isa::Avx512) => Level::Avx512,
            #[cfg(target_arch = "x86_64")]
            _ if isa.includes(Isa::Avx2) => Level::Avx2,
            _ => Level::Blocked,
        };
        Ok(Self { level })
    }

    /// [`AddU8::run`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_u8(self, add: &AddU8, a: &[u8], b: &[u8], out: &mut [u8], team: &Team) {
        assert!(a.len() == b.len() && a.len() == out.len(), "int8 add: lengths");
        split(team, out, BLOCK, a.len(), |start, out| {
            let (a, b) = (&a[start..][..out.len()], &b[start..][..out.len()]);
            #[cfg(target_arch = "aarch64")]
            if self.level == Level::Blocked {
                // SAFETY: NEON is in the base instruction set of aarch64.
                return unsafe { crate::aarch64::add_u8(add, a, b, out) };
            }
            x86_or!(self.level, add_u8(add, a, b, out), add.run(a, b, out));
        });
    }

    /// [`MulU8::run`].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn mul_u8(self, mul: &MulU8, a: &[u8], b: &[u8], out: &mut [u8], channels: usize, team: &Team) {
        let each = factors(a.len(), b.len(), out.len(), channels);
        split(team, out, each.unwrap_or(BLOCK), a.len(), |start, out| {
            let a = &a[start..][..out.len()];
            let (b, channels) = if each.is_some() { (b, channels) } else { (&b[start..][..out.len()], out.len()) };
            x86_or!(self.level, mul_u8(mul, a, b, out, channels), mul.run(a, b, out, channels));
        });
    }

    /// [`crate::apply_lut`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn lut(self, lut: &Lut, x: &[u8], out: &mut [u8], team: &Team) {
        assert_eq!(x.len(), out.len(), "table: input and output lengths");
        split(team, out, BLOCK, x.len(), |start, out| {
            let x = &x[start..][..out.len()];
            x86_or!(self.level, apply_lut(lut, x, out), crate::apply_lut(lut, x, out));
        });
    }

    /// [`crate::quantize_u8`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn quantize_u8(self, x: &[f32], q: QParams, out: &mut [u8], team: &Team) {
        assert_eq!(x.len(), out.len(), "quantize: input and output lengths");
        split(team, out, BLOCK, x.len(), |start, out| {
            let x = &x[start..][..out.len()];
            x86_or!(self.level, quantize_u8(x, q, out), crate::quantize_u8(x, q, out));
        });
    }

    /// [`crate::quantize_u8`] of planes, one a channel, to pixels.
    ///
    /// # Panics
    /// If the lengths differ or are not those of whole planes.
    pub fn quantize_planes_u8(self, x: &[f32], channels: usize, q: QParams, out: &mut [u8], team: &Team) {
        check_planes(x.len(), channels, out.len());
        let pixels = x.len() / channels;
        split(team, out, channels * 64, x.len(), |start, out| {
            let range = start / channels..(start + out.len()) / channels;
            x86_or!(
                self.level,
                quantize_planes_u8(x, pixels, range, channels, q, out),
                quantize_planes_u8(x, pixels, range, channels, q, out)
            );
        });
    }

    /// [`crate::dequantize_f32`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dequantize_f32(self, q: &[u8], params: QParams, out: &mut [f32], team: &Team) {
        assert_eq!(q.len(), out.len(), "dequantize: input and output lengths");
        split(team, out, BLOCK, 4 * q.len(), |start, out| {
            self.compiled(|| crate::dequantize_f32(&q[start..][..out.len()], params, out));
        });
    }

    /// [`crate::global_avg_pool_u8`].
    ///
    /// # Panics
    /// If `out` does not have `channels` elements or the input is not whole pixels.
    pub fn global_avg_pool_u8(
        self,
        numerics: Numerics,
        q: QParams,
        x: &[u8],
        channels: usize,
        out: &mut [u8],
        team: &Team,
    ) {
        if self.level == Level::Scalar {
            return crate::global_avg_pool_u8(numerics, q, x, channels, out);
        }
        let pixels = crate::mean::pixels(x, channels, out);
        split(team, out, blocked::CHANNELS, x.len(), |start, out| {
            match self.level {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: `Ops::new` made this level on a CPU with AVX-512 F and BW.
                Level::Avx512 => unsafe {
                    crate::x86::avx512::ops::average_u8(numerics, q, x, pixels, start, out);
                },
                _ => self.compiled(|| blocked::average_u8(numerics, q, x, pixels, start, out)),
            }
        });
    }

    /// [`crate::mean_u8`].
    ///
    /// # Panics
    /// If `out` does not have `channels` elements or the input is not whole pixels.
    pub fn mean_u8(self, numerics: Numerics, q: QParams, x: &[u8], channels: usize, out: &mut [u8], team: &Team) {
        match (numerics, self.level) {
            (Numerics::Qnnpack, _) => self.global_avg_pool_u8(numerics, q, x, channels, out, team),
            (_, Level::Scalar) => crate::mean_u8(numerics, q, x, channels, out),
            _ => {
                let pixels = crate::mean::pixels(x, channels, out);
                // Sums of floats take longer than moving as many bytes.
                split(team, out, blocked::CHANNELS, 8 * x.len(), |start, out| {
                    match self.level {
                        #[cfg(target_arch = "x86_64")]
                        // SAFETY: `Ops::new` made this level on a CPU with AVX-512 F and BW.
                        Level::Avx512 => unsafe {
                            crate::x86::avx512::ops::mean_fbgemm(q, x, pixels, start, out);
                        },
                        _ => self.compiled(|| crate::mean::mean_fbgemm(q, x, pixels, start, out)),
                    }
                });
            }
        }
    }

    /// [`crate::mean_f32`], and [`crate::global_avg_pool_f32`].
    ///
    /// # Panics
    /// If `out` does not have `channels` elements or the input is not whole pixels.
    pub fn mean_f32(self, x: &[f32], channels: usize, out: &mut [f32], team: &Team) {
        if self.level == Level::Scalar {
            return crate::mean_f32(x, channels, out);
        }
        assert!(channels > 0 && x.len().is_multiple_of(channels) && out.len() == channels, "f32 mean: lengths");
        split(team, out, blocked::CHANNELS, size_of_val(x), |start, out| {
            self.compiled(|| blocked::mean_f32(x, channels, start, out));
        });
    }

    /// [`crate::max_pool_u8`].
    ///
    /// # Panics
    /// If a slice does not have the geometry's length.
    pub fn max_pool_u8(self, pool: &Pool2d, x: &[u8], out: &mut [u8], team: &Team) {
        assert!(x.len() == pool.in_len() && out.len() == pool.out_len(), "pooling: lengths");
        if self.level == Level::Scalar {
            return crate::max_pool_u8(pool, x, out);
        }
        let (row_len, input) = (pool.out_w() * pool.channels, InputRows { first: 0, values: x });
        split(team, out, row_len, x.len(), |start, out| self.max_pool_rows_u8(pool, input, start / row_len, out));
    }

    /// The rows from `row` on of [`Ops::max_pool_u8`].
    pub(crate) fn max_pool_rows_u8(self, pool: &Pool2d, x: InputRows<u8>, row: usize, out: &mut [u8]) {
        x86_or!(self.level, max_pool_rows(pool, x, row, out), blocked::max_pool_rows(pool, x, 0, row, out));
    }

    /// [`crate::max_pool_f32`].
    ///
    /// # Panics
    /// If a slice does not have the geometry's length.
    pub fn max_pool_f32(self, pool: &Pool2d, x: &[f32], out: &mut [f32], team: &Team) {
        assert!(x.len() == pool.in_len() && out.len() == pool.out_len(), "pooling: lengths");
        if self.level == Level::Scalar {
            return crate::max_pool_f32(pool, x, out);
        }
        let (row_len, input) = (pool.out_w() * pool.channels, InputRows { first: 0, values: x });
        let work = size_of_val(x);
        split(team, out, row_len, work, |start, out| self.max_pool_rows_f32(pool, input, start / row_len, out));
    }

    /// The rows from `row` on of [`Ops::max_pool_f32`].
    pub(crate) fn max_pool_rows_f32(self, pool: &Pool2d, x: InputRows<f32>, row: usize, out: &mut [f32]) {
        #[cfg(target_arch = "x86_64")]
        for (index, out) in out.chunks_exact_mut(pool.out_w() * pool.channels).enumerate() {
            match self.level {
                // SAFETY: `Ops::new` made this level on a CPU with AVX2 and FMA.
                Level::Avx2 => unsafe { crate::x86::ops_f32::max_pool_row_avx2(pool, x, row + index, out) },
                // SAFETY: `Ops::new` made this level on a CPU with AVX-512 F, BW, VL and DQ.
                Level::Avx512 => unsafe { crate::x86::ops_f32::max_pool_row_avx512(pool, x, row + index, out) },
                _ => blocked::max_pool_rows(pool, x, f32::NEG_INFINITY, row + index, out),
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        blocked::max_pool_rows(pool, x, f32::NEG_INFINITY, row, out);
    }

    /// [`crate::concat_channels`].
    ///
    /// # Panics
    /// If an input does not have `pixels` times its channels, or `out` does not have all of them.
    pub fn concat<T: Element>(self, inputs: &[(&[T], usize, Option<&Lut>)], out: &mut [T], pixels: usize, team: &Team) {
        let total: usize = inputs.iter().map(|&(_, channels, _)| channels).sum();
        assert_eq!(out.len(), total * pixels, "concat: output");
        assert!(inputs.iter().all(|(x, channels, _)| x.len() == channels * pixels), "concat: input");
        let work = size_of_val(out);
        split(team, out, total.max(1), work, |start, out| {
            let mut column = 0;
            for &(x, channels, lut) in inputs {
                let x = &x[start / total.max(1) * channels..][..out.len() / total.max(1) * channels];
                self.compiled(|| self.concat_one(x, channels, lut, out, total, column));
                column += channels;
            }
        });
    }

    /// Writes one input's channels from `column` on.
    #[inline(always)]
    fn concat_one<T: Element>(
        self,
        x: &[T],
        channels: usize,
        lut: Option<&Lut>,
        out: &mut [T],
        total: usize,
        column: usize,
    ) {
        if channels == 0 {
            return;
        }
        let (Some(lut), Some(bytes)) = (lut, T::bytes(x)) else {
            return blocked::copy_rows(x, channels, 0, out, total, column, channels);
        };
        let Some(out) = T::bytes_mut(out) else { return };
        x86_or!(
            self.level,
            concat_lut(lut, bytes, channels, out, total, column),
            crate::scalar::channels::concat_lut(lut, bytes, channels, out, total, column)
        );
    }

    /// [`crate::slice_channels`].
    ///
    /// # Panics
    /// If the channels lie outside the input, or the output does not have the input's pixels.
    pub fn slice<T: Element>(self, x: &[T], in_c: usize, first: usize, len: usize, out: &mut [T], team: &Team) {
        assert!(first + len <= in_c && len > 0, "slice: channels {first}..{} of {in_c}", first + len);
        assert_eq!(x.len() / in_c * len, out.len(), "slice: output");
        let work = size_of_val(out);
        split(team, out, len, work, |start, out| {
            let x = &x[start / len * in_c..][..out.len() / len * in_c];
            match T::bytes(x) {
                #[cfg(target_arch = "x86_64")]
                Some(x) if self.level == Level::Avx512 => {
                    let Some(out) = T::bytes_mut(out) else { return };
                    // SAFETY: `Ops::new` made this level on a CPU with AVX-512 F.
                    unsafe { crate::x86::avx512::ops::slice_rows(x, in_c, first, len, out) }
                }
                _ => self.compiled(|| blocked::copy_rows(x, in_c, first, out, len, 0, len)),
            }
        });
    }

    /// [`crate::channel_shuffle`].
    ///
    /// # Panics
    /// If `groups` does not divide `c`, or the lengths differ.
    pub fn shuffle<T: Element>(self, x: &[T], c: usize, groups: usize, out: &mut [T], team: &Team) {
        assert!(groups > 0 && c > 0 && c.is_multiple_of(groups), "shuffle: {groups} groups of {c} channels");
        assert_eq!(x.len(), out.len(), "shuffle: input and output lengths");
        split(team, out, c, size_of_val(x), |start, out| {
            let x = &x[start..][..out.len()];
            match T::bytes(x) {
                _ if groups != 2 || self.level == Level::Scalar => crate::channel_shuffle(x, c, groups, out),
                Some(x) => {
                    let Some(out) = T::bytes_mut(out) else { return };
                    x86_or!(self.level, shuffle_two(x, c, out), blocked::shuffle_two(x, c, out));
                }
                _ => self.compiled(|| blocked::shuffle_two(x, c, out)),
            }
        });
    }

    /// [`crate::concat_shuffle`].
    ///
    /// # Panics
    /// If the inputs are not whole pixels, or the lengths do not fit.
    pub fn concat_shuffle<T: Element>(
        self,
        inputs: [(&[T], Option<&Lut>); 2],
        channels: usize,
        out: &mut [T],
        team: &Team,
    ) {
        let [a, b] = inputs.map(|(x, _)| x);
        assert!(channels > 0 && a.len().is_multiple_of(channels) && a.len() == b.len(), "concat and shuffle: inputs");
        assert_eq!(out.len(), 2 * a.len(), "concat and shuffle: output");
        let work = size_of_val(out);
        split(team, out, 2 * channels, work, |start, out| {
            let inputs = inputs.map(|(x, lut)| (&x[start / 2..][..out.len() / 2], lut));
            self.compiled(|| self.concat_shuffle_part(inputs, channels, out));
        });
    }

    /// [`Ops::concat_shuffle`] of f32 without tables, the first input of which are `channels` of the pixels of `a` that a view says.
    ///
    /// # Panics
    /// If the view has too few channels, the inputs are not whole pixels, or the lengths do not fit.
    pub fn concat_shuffle_view(
        self,
        (a, view): (&[f32], ChannelView),
        b: &[f32],
        channels: usize,
        out: &mut [f32],
        team: &Team,
    ) {
        let ChannelView { pixel_len, first } = view;
        assert!(channels > 0 && first + channels <= pixel_len, "concat and shuffle: {channels} of {view:?}");
        assert!(b.len().is_multiple_of(channels) && out.len() == 2 * b.len(), "concat and shuffle: lengths");
        assert_eq!(a.len(), b.len() / channels * pixel_len, "concat and shuffle: view");
        let work = size_of_val(out);
        split(team, out, 2 * channels, work, |start, out| {
            let (pixel, b) = (start / (2 * channels), &b[start / 2..][..out.len() / 2]);
            let a = &a[pixel * pixel_len..][..out.len() / (2 * channels) * pixel_len];
            #[cfg(target_arch = "x86_64")]
            if self.level == Level::Avx512 {
                // SAFETY: `Ops::new` made this level on a CPU with AVX-512 F.
                return unsafe { crate::x86::ops_f32::interleave_view_avx512((a, view), b, channels, out) };
            }
            self.compiled(|| {
                let pixels = a.chunks_exact(pixel_len).zip(b.chunks_exact(channels));
                for (out, (a, b)) in out.chunks_exact_mut(2 * channels).zip(pixels) {
                    blocked::interleave_two(&a[first..first + channels], b, out);
                }
            });
        });
    }

    /// Some pixels of [`Ops::concat_shuffle`].
    #[inline(always)]
    fn concat_shuffle_part<T: Element>(self, inputs: [(&[T], Option<&Lut>); 2], channels: usize, out: &mut [T]) {
        let ([(a, _), (b, _)], luts) = (inputs, inputs.map(|(_, lut)| lut));
        // The second columns of tables are for channels after the last eight.
        let one_column = luts == [None, None] || channels.is_multiple_of(crate::lut::CONCAT_BLOCK);
        match (T::bytes(a), T::bytes(b)) {
            _ if self.level == Level::Scalar || !one_column => crate::concat_shuffle(inputs, channels, out),
            (Some(a), Some(b)) => {
                let Some(out) = T::bytes_mut(out) else { return };
                x86_or!(
                    self.level,
                    interleave_mapped([a, b], luts, out),
                    blocked::concat_shuffle([(a, luts[0]), (b, luts[1])], channels, out)
                );
            }
            _ => blocked::concat_shuffle(inputs, channels, out),
        }
    }

    /// [`crate::add_f32`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn add_f32(self, a: &[f32], b: &[f32], relu: bool, out: &mut [f32], team: &Team) {
        assert!(a.len() == b.len() && a.len() == out.len(), "f32 add: lengths");
        split(team, out, BLOCK, size_of_val(a), |start, out| {
            let (a, b) = (&a[start..][..out.len()], &b[start..][..out.len()]);
            self.compiled(|| crate::add_f32(a, b, relu, out));
        });
    }

    /// [`crate::mul_f32`].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn mul_f32(self, a: &[f32], b: &[f32], out: &mut [f32], channels: usize, team: &Team) {
        let each = factors(a.len(), b.len(), out.len(), channels);
        split(team, out, each.unwrap_or(BLOCK), size_of_val(a), |start, out| {
            let a = &a[start..][..out.len()];
            let (b, channels) = if each.is_some() { (b, channels) } else { (&b[start..][..out.len()], out.len()) };
            self.compiled(|| crate::mul_f32(a, b, out, channels));
        });
    }

    /// [`crate::relu_f32`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn relu_f32(self, x: &[f32], out: &mut [f32], team: &Team) {
        self.map_f32(x, out, team, relu);
    }

    /// [`crate::relu6_f32`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn relu6_f32(self, x: &[f32], out: &mut [f32], team: &Team) {
        self.map_f32(x, out, team, relu6);
    }

    /// [`crate::hardswish_f32`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn hardswish_f32(self, x: &[f32], out: &mut [f32], team: &Team) {
        self.map_f32(x, out, team, hardswish);
    }

    /// [`crate::hardsigmoid_f32`].
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn hardsigmoid_f32(self, x: &[f32], out: &mut [f32], team: &Team) {
        self.map_f32(x, out, team, hardsigmoid);
    }

    fn map_f32(self, x: &[f32], out: &mut [f32], team: &Team, f: impl Fn(f32) -> f32 + Sync) {
        assert_eq!(x.len(), out.len(), "f32 elementwise: input and output lengths");
        split(team, out, BLOCK, size_of_val(x), |start, out| {
            let x = &x[start..][..out.len()];
            self.compiled(|| out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x)));
        });
    }

    /// Runs plain Rust that is compiled for the level's instructions, as far as the compiler inlines it.
    #[inline(always)]
    fn compiled(self, f: impl FnOnce()) {
        x86_or!(self.level, compiled(f), f());
    }
}

/// `channels` where `b` has one factor a channel; none where it has one an element.
fn factors(a: usize, b: usize, out: usize, channels: usize) -> Option<usize> {
    assert_eq!(a, out, "mul: input and output lengths");
    if b == a {
        return None;
    }
    assert!(b == channels && channels > 0 && a.is_multiple_of(channels), "mul: factors");
    Some(channels)
}

fn check_planes(x: usize, channels: usize, out: usize) {
    assert!(channels > 0 && x == out && x.is_multiple_of(channels), "planes: {x} elements, {channels} channels");
}
