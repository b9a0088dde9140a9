//! Elementwise ops, means and softmax in f32.

/// max(x, 0) of one value; NaN becomes 0.
#[inline(always)]
pub fn relu(x: f32) -> f32 {
    if x > 0.0 { x } else { 0.0 }
}

/// min(max(x, 0), 6) of one value; NaN becomes 0.
#[inline(always)]
pub fn relu6(x: f32) -> f32 {
    let x = relu(x);
    if x < 6.0 { x } else { 6.0 }
}

/// The factor in [`hardswish`]: a product is faster than a quotient, and differs from it by about one rounding.
pub(crate) const SIXTH: f32 = 1.0 / 6.0;

/// x * relu6(x + 3) / 6 of one value, as a product with 1/6 rounded to f32.
#[inline(always)]
pub fn hardswish(x: f32) -> f32 {
    x * relu6(x + 3.0) * SIXTH
}

/// relu6(x + 3) / 6 of one value.
#[inline(always)]
pub fn hardsigmoid(x: f32) -> f32 {
    relu6(x + 3.0) / 6.0
}

fn map(x: &[f32], out: &mut [f32], f: impl Fn(f32) -> f32) {
    assert_eq!(x.len(), out.len(), "f32 elementwise: input and output lengths");
    out.iter_mut().zip(x).for_each(|(out, &x)| *out = f(x));
}

/// max(x, 0).
///
/// # Panics
/// If the lengths differ.
pub fn relu_f32(x: &[f32], out: &mut [f32]) {
    map(x, out, relu);
}

/// min(max(x, 0), 6).
///
/// # Panics
/// If the lengths differ.
pub fn relu6_f32(x: &[f32], out: &mut [f32]) {
    map(x, out, relu6);
}

/// [`hardswish`] of each value.
///
/// # Panics
/// If the lengths differ.
pub fn hardswish_f32(x: &[f32], out: &mut [f32]) {
    map(x, out, hardswish);
}

/// relu6(x + 3) / 6.
///
/// # Panics
/// If the lengths differ.
pub fn hardsigmoid_f32(x: &[f32], out: &mut [f32]) {
    map(x, out, hardsigmoid);
}

/// a + b, and max(., 0) of it where `relu`.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn add_f32(a: &[f32], b: &[f32], relu: bool, out: &mut [f32]) {
    assert!(a.len() == b.len() && a.len() == out.len(), "f32 add: lengths");
    let pairs = out.iter_mut().zip(a.iter().zip(b));
    if relu {
        pairs.for_each(|(out, (&a, &b))| *out = self::relu(a + b));
    } else {
        pairs.for_each(|(out, (&a, &b))| *out = a + b);
    }
}

/// a * b; `b` has the length of `a`, or `channels` factors, one a channel.
///
/// # Panics
/// If the lengths do not fit.
#[inline(always)]
pub fn mul_f32(a: &[f32], b: &[f32], out: &mut [f32], channels: usize) {
    assert_eq!(a.len(), out.len(), "f32 mul: input and output lengths");
    let period = if b.len() == a.len() { a.len() } else { channels };
    assert!(b.len() == period && (period == 0 || a.len().is_multiple_of(period)), "f32 mul: factors");
    for (out, a) in out.chunks_mut(period.max(1)).zip(a.chunks(period.max(1))) {
        out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (&a, &b))| *out = a * b);
    }
}

/// Mean over the pixels of an NHWC map, one a channel: sequential sum, then a division.
///
/// # Panics
/// If `out` does not have `channels` elements or the input is not whole pixels.
pub fn mean_f32(input: &[f32], channels: usize, out: &mut [f32]) {
    assert!(channels > 0 && input.len().is_multiple_of(channels) && out.len() == channels, "f32 mean: lengths");
    let n = (input.len() / channels) as f32;
    out.fill(0.0);
    for pixel in input.chunks_exact(channels) {
        out.iter_mut().zip(pixel).for_each(|(sum, &x)| *sum += x);
    }
    out.iter_mut().for_each(|sum| *sum /= n);
}

/// `AdaptiveAvgPool2d(1)`; in f32 the same as [`mean_f32`].
///
/// # Panics
/// As [`mean_f32`].
pub fn global_avg_pool_f32(input: &[f32], channels: usize, out: &mut [f32]) {
    mean_f32(input, channels, out);
}

/// Softmax over the whole slice, exp(x - max) over their sum, computed in f64.
///
/// # Panics
/// If the lengths differ.
pub fn softmax_f32(x: &[f32], out: &mut [f32]) {
    let largest = f64::from(x.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let exponential = |x: f32| (f64::from(x) - largest).exp();
    let sum: f64 = x.iter().map(|&x| exponential(x)).sum();
    map(x, out, |x| (exponential(x) / sum) as f32);
}
