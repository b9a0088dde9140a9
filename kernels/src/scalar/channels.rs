//! Moves of channels between NHWC tensors: concatenation, slices, shuffle.

use crate::lut::CONCAT_BLOCK;
use crate::{Element, Lut};

/// Concatenates channels: every pixel of `out` is the pixels of the inputs one after another. An input is its
/// elements, its number of channels, and (u8 only) the table that requantizes it to the output's scale.
///
/// # Panics
/// If an input does not have `pixels` times its channels, or `out` does not have all of them.
pub fn concat_channels<T: Element>(inputs: &[(&[T], usize, Option<&Lut>)], out: &mut [T], pixels: usize) {
    let total: usize = inputs.iter().map(|&(_, channels, _)| channels).sum();
    assert_eq!(out.len(), total * pixels, "concat: output");
    let mut start = 0;
    for &(input, channels, lut) in inputs {
        assert_eq!(input.len(), channels * pixels, "concat: input");
        if channels == 0 {
            continue;
        }
        for (out, x) in out.chunks_exact_mut(total).zip(input.chunks_exact(channels)) {
            let out = &mut out[start..start + channels];
            match lut {
                None => out.copy_from_slice(x),
                Some(lut) => map_pixel(lut, x, out),
            }
        }
        start += channels;
    }
}

/// [`concat_channels`] of two inputs of as many channels, then [`channel_shuffle`] of two groups: the inputs' elements in
/// turns. An input is its elements and its table.
///
/// # Panics
/// If the inputs are not whole pixels, or the lengths do not fit.
pub fn concat_shuffle<T: Element>(inputs: [(&[T], Option<&Lut>); 2], channels: usize, out: &mut [T]) {
    let len = inputs[0].0.len();
    assert!(channels > 0 && len.is_multiple_of(channels) && inputs[1].0.len() == len, "concat and shuffle: inputs");
    assert_eq!(out.len(), 2 * len, "concat and shuffle: output");
    let blocks = channels / CONCAT_BLOCK * CONCAT_BLOCK;
    for (second, (x, lut)) in inputs.into_iter().enumerate() {
        for (out, x) in out.chunks_exact_mut(2 * channels).zip(x.chunks_exact(channels)) {
            let out = out.iter_mut().skip(second).step_by(2);
            match lut {
                None => out.zip(x).for_each(|(out, &x)| *out = x),
                Some(lut) => out.zip(x).enumerate().for_each(|(channel, (out, x))| {
                    *out = x.mapped(if channel < blocks { &lut.blocks } else { &lut.rest });
                }),
            }
        }
    }
}

/// Maps the channels of one pixel of a concatenated input.
#[inline(always)]
fn map_pixel<T: Element>(lut: &Lut, x: &[T], out: &mut [T]) {
    let blocks = x.len() / CONCAT_BLOCK * CONCAT_BLOCK;
    let (x, x_rest) = x.split_at(blocks);
    let (out, out_rest) = out.split_at_mut(blocks);
    out.iter_mut().zip(x).for_each(|(out, x)| *out = x.mapped(&lut.blocks));
    out_rest.iter_mut().zip(x_rest).for_each(|(out, x)| *out = x.mapped(&lut.rest));
}

/// Maps one input of a concatenation, of `channels` a pixel, to the channels from `column` on of pixels of `total`.
pub(crate) fn concat_lut(lut: &Lut, x: &[u8], channels: usize, out: &mut [u8], total: usize, column: usize) {
    for (out, x) in out.chunks_exact_mut(total).zip(x.chunks_exact(channels)) {
        map_pixel(lut, x, &mut out[column..column + channels]);
    }
}

/// Pixels of `range` of planes of `pixels` elements, one a channel.
#[inline(always)]
pub(crate) fn interleave_planes<T: Element>(
    x: &[T],
    pixels: usize,
    range: std::ops::Range<usize>,
    channels: usize,
    out: &mut [T],
) {
    for (out, pixel) in out.chunks_exact_mut(channels).zip(range) {
        out.iter_mut().enumerate().for_each(|(c, out)| *out = x[c * pixels + pixel]);
    }
}

/// Copies channels `start .. start + len` of an input with `in_c` channels.
///
/// # Panics
/// If the channels lie outside the input, or the output does not have the input's pixels.
pub fn slice_channels<T: Element>(input: &[T], in_c: usize, start: usize, len: usize, out: &mut [T]) {
    assert!(start + len <= in_c && len > 0, "slice: channels {start}..{} of {in_c}", start + len);
    assert_eq!(input.len() / in_c * len, out.len(), "slice: output");
    for (out, x) in out.chunks_exact_mut(len).zip(input.chunks_exact(in_c)) {
        out.copy_from_slice(&x[start..start + len]);
    }
}

/// Shuffles channels: channel `g * (c / groups) + i` becomes channel `i * groups + g`.
///
/// # Panics
/// If `groups` does not divide `c`, or the lengths differ.
pub fn channel_shuffle<T: Element>(input: &[T], c: usize, groups: usize, out: &mut [T]) {
    assert!(groups > 0 && c > 0 && c.is_multiple_of(groups), "shuffle: {groups} groups of {c} channels");
    assert_eq!(input.len(), out.len(), "shuffle: input and output lengths");
    let each = c / groups;
    for (out, x) in out.chunks_exact_mut(c).zip(input.chunks_exact(c)) {
        for (i, out) in out.chunks_exact_mut(groups).enumerate() {
            out.iter_mut().enumerate().for_each(|(g, out)| *out = x[g * each + i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concat_slice_and_shuffle() {
        let (a, b) = ([1_u8, 2, 3, 4], [10_u8, 20]);
        let table = Lut::new(|q| if q == 10 { 11 } else { 0 });
        let mut out = [0; 6];
        concat_channels(&[(&a, 2, None), (&b, 1, Some(&table))], &mut out, 2);
        assert_eq!(out, [1, 2, 11, 3, 4, 0]);
        let mut tail = [0; 4];
        slice_channels(&out, 3, 1, 2, &mut tail);
        assert_eq!(tail, [2, 11, 4, 0]);
        let mut shuffled = [0.0_f32; 6];
        channel_shuffle(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 6, 2, &mut shuffled);
        assert_eq!(shuffled, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }
}
