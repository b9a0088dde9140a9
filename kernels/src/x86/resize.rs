//! A row of a resized map with AVX2, the same bits as in plain Rust: no sum is fused with a product.

use std::arch::x86_64::*;

use crate::scalar::resize::mix;

/// `out` between the rows `a` and `b`; its extremes go into `range`, [smallest, largest]. Without NaN.
#[target_feature(enable = "avx2")]
pub(crate) fn mix_rows(a: &[f32], b: &[f32], t: f32, out: &mut [f32], range: &mut [f32; 2]) {
    let whole = out.len() / 8 * 8;
    let (low, high) = (&mut [range[0]; 8], &mut [range[1]; 8]);
    let (mut least, mut most) = (_mm256_set1_ps(range[0]), _mm256_set1_ps(range[1]));
    let (keep, add) = (_mm256_set1_ps(1.0 - t), _mm256_set1_ps(t));
    for at in (0..whole).step_by(8) {
        let (a, b, out) = (&a[at..at + 8], &b[at..at + 8], &mut out[at..at + 8]);
        // SAFETY: the slices have 8 elements; no access needs alignment.
        unsafe {
            let (a, b) = (_mm256_loadu_ps(a.as_ptr()), _mm256_loadu_ps(b.as_ptr()));
            let x = _mm256_add_ps(_mm256_mul_ps(a, keep), _mm256_mul_ps(b, add));
            _mm256_storeu_ps(out.as_mut_ptr(), x);
            (least, most) = (_mm256_min_ps(least, x), _mm256_max_ps(most, x));
        }
    }
    // SAFETY: the arrays have 8 elements; no store needs alignment.
    unsafe {
        _mm256_storeu_ps(low.as_mut_ptr(), least);
        _mm256_storeu_ps(high.as_mut_ptr(), most);
    }
    for at in whole..out.len() {
        out[at] = mix(a[at], b[at], t);
        (low[0], high[0]) = (low[0].min(out[at]), high[0].max(out[at]));
    }
    *range = [low.iter().copied().fold(low[0], f32::min), high.iter().copied().fold(high[0], f32::max)];
}
