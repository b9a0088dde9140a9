//! Bilinear resize of maps in plain Rust: the specification.

/// Where an output pixel comes from: a source index, its neighbour, and the neighbour's weight.
pub(crate) type Tap = (usize, usize, f32);

/// The tap of output pixel `i` of `to`: half-pixel centres, edges held.
pub(crate) fn tap(i: usize, from: usize, to: usize) -> Tap {
    let centre = ((i as f64 + 0.5) * (from as f64 / to as f64) - 0.5) as f32;
    let left = centre.floor();
    if left < 0.0 {
        (0, 0, 0.0)
    } else if left as usize >= from - 1 {
        (from - 1, from - 1, 0.0)
    } else {
        (left as usize, left as usize + 1, centre - left)
    }
}

/// Between `a` and `b`: `a` at `t` = 0.
#[inline(always)]
pub(crate) fn mix(a: f32, b: f32, t: f32) -> f32 {
    a * (1.0 - t) + b * t
}

/// Bilinear resize with half-pixel centres and no antialiasing (`cv2.resize`, `INTER_LINEAR`): rows first, in f32, no sum
/// fused with a product. Sizes are [height, width], maps row-major.
///
/// # Panics
/// If a size is zero, or `map` or `out` has another length than its size.
pub fn resize_bilinear(map: &[f32], from: [usize; 2], to: [usize; 2], out: &mut [f32]) {
    check(map.len(), from, to, out.len());
    for (i, out) in out.iter_mut().enumerate() {
        let ((top, bottom, t), (left, right, s)) = (tap(i / to[1], from[0], to[0]), tap(i % to[1], from[1], to[1]));
        let row = |y: usize| mix(map[y * from[1] + left], map[y * from[1] + right], s);
        *out = mix(row(top), row(bottom), t);
    }
}

/// Panics with what does not fit.
pub(crate) fn check(map: usize, [h, w]: [usize; 2], [out_h, out_w]: [usize; 2], out: usize) {
    assert!(map == h * w && map > 0, "a map of {h}x{w} cannot have {map} values");
    assert!(out == out_h * out_w && out > 0, "a map of {out_h}x{out_w} cannot have {out} values");
}
