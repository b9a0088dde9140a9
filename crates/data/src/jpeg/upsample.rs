//! From planes of samples to rows of pixels: chroma upsampling and colour conversion, equal bit for bit to
//! libjpeg-turbo's defaults ("fancy upsampling", the islow colour tables), which are Pillow's.
//!
//! A component sampled at half the resolution is interpolated with weights 3/4 (nearer sample) and 1/4 (farther one).
//! Rounding alternates between neighbours, so that no bias adds up. Other ratios replicate samples.

use super::frame::{Component, Frame, Plane};

/// Row `y` of the picture for one component, at full width (`out.len()` is the picture's width).
pub fn upsample_row(frame: &Frame, component: &Component, plane: &Plane, y: usize, out: &mut [u8]) {
    let (hr, vr) = (frame.h_max / component.h, frame.v_max / component.v);
    let row = |r: usize| &plane.samples[r * plane.stride..][..component.width];
    let near_index = (y / vr).min(component.height - 1);
    let near = row(near_index);
    // The farther row: the one above for the upper half of a sample, the one below for the lower half.
    let upper = y.is_multiple_of(vr);
    let far = || row(if upper { near_index.saturating_sub(1) } else { (near_index + 1).min(component.height - 1) });
    match (hr, vr) {
        (1, 1) => out.copy_from_slice(near),
        // Two samples or fewer have no inner neighbours to interpolate between: replicated, as libjpeg does.
        (2, 1) if component.width > 2 => double_row(near, out),
        (1, 2) => {
            let rounding = if upper { 1 } else { 2 };
            for ((out, &a), &b) in out.iter_mut().zip(near).zip(far()) {
                *out = ((u32::from(a) * 3 + u32::from(b) + rounding) >> 2) as u8;
            }
        }
        (2, 2) if component.width > 2 => double_both(near, far(), out),
        _ => {
            for (out, &sample) in out.chunks_mut(hr).zip(near) {
                out.fill(sample);
            }
        }
    }
}

/// Writes pairs of pixels to `out`, which may end in the middle of a pair.
fn write_pairs(out: &mut [u8], pair: impl Fn(usize) -> [u8; 2]) {
    for (i, out) in out.chunks_mut(2).enumerate() {
        out.copy_from_slice(&pair(i)[..out.len()]);
    }
}

/// Twice as wide: (3 * nearer + farther) / 4.
fn double_row(samples: &[u8], out: &mut [u8]) {
    let at = |i: usize| u32::from(samples[i]);
    let last = samples.len() - 1;
    write_pairs(out, |i| {
        let left = if i == 0 { at(0) } else { (at(i) * 3 + at(i - 1) + 1) >> 2 };
        let right = if i == last { at(last) } else { (at(i) * 3 + at(i + 1) + 2) >> 2 };
        [left as u8, right as u8]
    });
}

/// Twice as wide and as high: both directions in one step, with one rounding.
fn double_both(near: &[u8], far: &[u8], out: &mut [u8]) {
    let sum = |i: usize| u32::from(near[i]) * 3 + u32::from(far[i]);
    let last = near.len() - 1;
    write_pairs(out, |i| {
        let here = sum(i) * 3;
        let left = if i == 0 { sum(0) } else { sum(i - 1) };
        let right = if i == last { sum(last) } else { sum(i + 1) };
        [((here + left + 8) >> 4) as u8, ((here + right + 7) >> 4) as u8]
    });
}

/// A colour constant with 16 fraction bits.
const fn fix(x: f64) -> i32 {
    (x * 65536.0 + 0.5) as i32
}
const HALF: i32 = 1 << 15;

/// R, G and B of Y, Cb, Cr (JFIF: BT.601, full range), before clamping to a byte.
#[inline(always)]
pub fn ycc_to_rgb(y: u8, cb: u8, cr: u8) -> [u8; 3] {
    let (y, cb, cr) = (i32::from(y), i32::from(cb) - 128, i32::from(cr) - 128);
    let r = y + ((fix(1.40200) * cr + HALF) >> 16);
    let g = y + ((-fix(0.34414) * cb - fix(0.71414) * cr + HALF) >> 16);
    let b = y + ((fix(1.77200) * cb + HALF) >> 16);
    [r, g, b].map(|v| v.clamp(0, 255) as u8)
}
