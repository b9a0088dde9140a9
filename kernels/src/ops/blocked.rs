//! Ops in plain Rust, in blocks of fixed size that a compiler keeps in vector registers. Equal to the scalar versions:
//! each sum is made in the same order.

use std::ops::Range;

use crate::conv::InputRows;
use crate::mean::average_multiplier;
use crate::quant::Rounding;
use crate::{Element, Lut, Numerics, Pool2d, QParams};

/// Channels whose sums are made at once.
pub(super) const CHANNELS: usize = 32;

/// Averages of channels `start ..` of an int8 map.
#[inline(always)]
pub(super) fn average_u8(numerics: Numerics, q: QParams, x: &[u8], pixels: usize, start: usize, out: &mut [u8]) {
    let channels = x.len() / pixels;
    let multiplier = average_multiplier(numerics, q.scale, pixels);
    let (rounding, zeros) = (Rounding::new(q.zero_point, false), (pixels * usize::from(q.zero_point)) as i32);
    let add = |sum: i32, x: u8| sum.wrapping_add(i32::from(x));
    for_sums(x, channels, start, out, add, |sum| rounding.round(sum.wrapping_sub(zeros) as f32 * multiplier));
}

/// Means of channels `start ..` of an f32 map.
#[inline(always)]
pub(super) fn mean_f32(x: &[f32], channels: usize, start: usize, out: &mut [f32]) {
    let n = (x.len() / channels) as f32;
    for_sums(x, channels, start, out, |sum: f32, x| sum + x, |sum| sum / n);
}

/// Sums of channels `start ..` over all pixels, from a zero on, each pixel added in turn; then what `finish` makes of them.
#[inline(always)]
fn for_sums<T: Element, S: Copy + Default>(
    x: &[T],
    channels: usize,
    start: usize,
    out: &mut [T],
    add: impl Fn(S, T) -> S,
    finish: impl Fn(S) -> T,
) {
    let mut done = 0;
    while out.len() - done >= CHANNELS {
        sums_block::<T, S, CHANNELS>(x, channels, start + done, &mut out[done..], &add, &finish);
        done += CHANNELS;
    }
    while out.len() - done >= 8 {
        sums_block::<T, S, 8>(x, channels, start + done, &mut out[done..], &add, &finish);
        done += 8;
    }
    while done < out.len() {
        sums_block::<T, S, 1>(x, channels, start + done, &mut out[done..], &add, &finish);
        done += 1;
    }
}

/// Those of `N` channels.
#[inline(always)]
fn sums_block<T: Element, S: Copy + Default, const N: usize>(
    x: &[T],
    channels: usize,
    channel: usize,
    out: &mut [T],
    add: impl Fn(S, T) -> S,
    finish: impl Fn(S) -> T,
) {
    let mut sums = [S::default(); N];
    for pixel in x.chunks_exact(channels) {
        let values = &pixel[channel..][..N];
        sums.iter_mut().zip(values).for_each(|(sum, &x)| *sum = add(*sum, x));
    }
    out[..N].iter_mut().zip(sums).for_each(|(out, sum)| *out = finish(sum));
}

/// Maxima of the windows of the output's rows from `row` on.
pub(super) fn max_pool_rows<T: Element + PartialOrd>(
    pool: &Pool2d,
    x: InputRows<T>,
    least: T,
    row: usize,
    out: &mut [T],
) {
    for (index, out) in out.chunks_exact_mut(pool.channels).enumerate() {
        max_pool_pixel(pool, x, least, row + index / pool.out_w(), index % pool.out_w(), out);
    }
}

/// Maxima of the window at one output pixel.
#[inline(always)]
fn max_pool_pixel<T: Element + PartialOrd>(
    pool: &Pool2d,
    x: InputRows<T>,
    least: T,
    row: usize,
    column: usize,
    out: &mut [T],
) {
    let (x, rows, columns) = (x.values, x.window(pool, row), pool.window(1, column));
    let mut done = 0;
    while out.len() - done >= 32 {
        max_block::<T, 32>(pool, x, least, &rows, &columns, done, &mut out[done..]);
        done += 32;
    }
    while out.len() - done >= 8 {
        max_block::<T, 8>(pool, x, least, &rows, &columns, done, &mut out[done..]);
        done += 8;
    }
    while done < out.len() {
        max_block::<T, 1>(pool, x, least, &rows, &columns, done, &mut out[done..]);
        done += 1;
    }
}

/// Maxima of `N` channels from `channel` on.
#[inline(always)]
fn max_block<T: Element + PartialOrd, const N: usize>(
    pool: &Pool2d,
    x: &[T],
    least: T,
    rows: &Range<usize>,
    columns: &Range<usize>,
    channel: usize,
    out: &mut [T],
) {
    let mut most = [least; N];
    for row in rows.clone() {
        for pixel in row * pool.in_w + columns.start..row * pool.in_w + columns.end {
            let values = &x[pixel * pool.channels + channel..][..N];
            most.iter_mut().zip(values).for_each(|(most, &x)| *most = if x > *most { x } else { *most });
        }
    }
    out[..N].copy_from_slice(&most);
}

/// Copies `len` channels of each pixel: from those after `from` of pixels of `in_c`, to those after `to` of pixels of
/// `out_c`.
#[inline(always)]
pub(super) fn copy_rows<T: Element>(
    x: &[T],
    in_c: usize,
    from: usize,
    out: &mut [T],
    out_c: usize,
    to: usize,
    len: usize,
) {
    for (out, x) in out.chunks_exact_mut(out_c).zip(x.chunks_exact(in_c)) {
        out[to..][..len].copy_from_slice(&x[from..][..len]);
    }
}

/// Shuffles two groups of channels into each other.
#[inline(always)]
pub(super) fn shuffle_two<T: Element>(x: &[T], c: usize, out: &mut [T]) {
    for (out, x) in out.chunks_exact_mut(c).zip(x.chunks_exact(c)) {
        let (first, second) = x.split_at(c / 2);
        interleave_two(first, second, out);
    }
}

/// [`crate::concat_shuffle`].
#[inline(always)]
pub(super) fn concat_shuffle<T: Element>(inputs: [(&[T], Option<&Lut>); 2], channels: usize, out: &mut [T]) {
    match inputs {
        [(a, None), (b, None)] => interleave_two(a, b, out),
        _ => crate::concat_shuffle(inputs, channels, out),
    }
}

/// Elements of two slices in turns.
#[inline(always)]
pub(super) fn interleave_two<T: Element>(a: &[T], b: &[T], out: &mut [T]) {
    for (pair, (&a, &b)) in out.chunks_exact_mut(2).zip(a.iter().zip(b)) {
        pair[0] = a;
        pair[1] = b;
    }
}

/// Pixels of `range` of planes, with a loop of its own for colours.
#[inline(always)]
pub(super) fn interleave<T: Element>(x: &[T], pixels: usize, range: Range<usize>, channels: usize, out: &mut [T]) {
    if channels != 3 {
        return crate::scalar::channels::interleave_planes(x, pixels, range, channels, out);
    }
    let plane = |c: usize| &x[c * pixels..][range.clone()];
    let (reds, greens, blues) = (plane(0), plane(1), plane(2));
    for (out, ((&r, &g), &b)) in out.chunks_exact_mut(3).zip(reds.iter().zip(greens).zip(blues)) {
        out[0] = r;
        out[1] = g;
        out[2] = b;
    }
}
