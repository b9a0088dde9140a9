//! Minimal filtering along one axis: points, filter matrices and the transforms of inputs and outputs, for both strides.
//!
//! With a stride of 1, m outputs are F(m, 3): m + 2 points. With 2, the outer taps meet samples 0, 2, 4, .. of a tile and the
//! middle tap meets 1, 3, 5, ..: F(m, 2), of m + 1 points, and m products of one tap, whose points are samples as they are.
//! Either way a tile has as many points as inputs.
//!
//! Fewer outputs need the first of the points: these stand in an order that makes it so, and have the same filters whatever m.

use crate::conv::vector::LanesF32;

/// Most outputs of a tile along an axis, and most points.
pub(super) const MOST: usize = 4;
pub(super) const SIDE: usize = side(2, MOST);

/// Inputs, and points, of `m` outputs.
pub(super) const fn side(stride: usize, m: usize) -> usize {
    (m - 1) * stride + 3
}

/// Filters along an axis for `m` outputs, of those of [`filter_matrix`] the first: with a stride of 2 points share one.
pub(super) const fn filters(m: usize) -> usize {
    m + 2
}

/// The filter of a point.
pub(super) fn filter_of(stride: usize, point: usize) -> usize {
    match stride {
        1 => point,
        _ => [0, 1, 2, 3, 2, 4, 2, 5, 2][point],
    }
}

/// G, by rows, for four outputs. Scales are those that make most factors of [`transform_input`] whole numbers.
pub(super) fn filter_matrix(stride: usize) -> &'static [[f64; 3]; filters(MOST)] {
    match stride {
        // At 0, infinity, 1, -1, 2, -2.
        1 => &[
            [1.0 / 4.0, 0.0, 0.0],
            [0.0, 0.0, 1.0],
            [-1.0 / 6.0, -1.0 / 6.0, -1.0 / 6.0],
            [-1.0 / 6.0, 1.0 / 6.0, -1.0 / 6.0],
            [1.0 / 24.0, 1.0 / 12.0, 1.0 / 6.0],
            [1.0 / 24.0, -1.0 / 12.0, 1.0 / 6.0],
        ],
        // Of the outer taps at 0 and infinity, the middle tap, of the outer taps at 1, -1, 2.
        _ => &[
            [1.0, 0.0, 0.0],
            [0.0, 0.0, 1.0],
            [0.0, 1.0, 0.0],
            [1.0 / 2.0, 0.0, 1.0 / 2.0],
            [-1.0 / 6.0, 0.0, 1.0 / 6.0],
            [1.0 / 6.0, 0.0, 1.0 / 3.0],
        ],
    }
}

/// B^T d along one axis for `M` outputs: of `d` and the result, the first [`side`].
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
pub(super) unsafe fn transform_input<L: LanesF32, const STRIDE: usize, const M: usize>(
    d: [L::V; SIDE],
) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        match STRIDE {
            1 => transform_input_1::<L, M>(d),
            _ => transform_input_2::<L, M>(d),
        }
    }
}

/// A^T p along one axis for `M` outputs: of `p`, the first [`side`]; of the result, the first `M`.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
pub(super) unsafe fn transform_output<L: LanesF32, const STRIDE: usize, const M: usize>(
    p: [L::V; SIDE],
) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        match STRIDE {
            1 => transform_output_1::<L, M>(p),
            _ => transform_output_2::<L, M>(p),
        }
    }
}

/// Stride 1: points 0, infinity, 1, -1, 2, -2.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_input_1<L: LanesF32, const M: usize>(d: [L::V; SIDE]) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |factor, x| L::fma(L::splat(factor), x, L::splat(0.0));
        let plus = |factor, x, sum| L::fma(L::splat(factor), x, sum);
        let mut points = d;
        match M {
            1 => {
                points[0] = times(4.0, L::sub(d[0], d[1]));
                points[1] = L::sub(d[2], d[1]);
                points[2] = times(-6.0, d[1]);
            }
            2 => {
                points[0] = times(4.0, L::sub(d[0], d[2]));
                points[1] = L::sub(d[3], d[1]);
                points[2] = times(-3.0, L::add(d[1], d[2]));
                points[3] = times(3.0, L::sub(d[1], d[2]));
            }
            3 => {
                let odd = L::sub(d[3], d[1]);
                points[0] = plus(4.0, L::sub(d[0], d[2]), L::add(odd, odd));
                points[1] = plus(-2.0, odd, L::sub(d[4], d[2]));
                points[2] = times(3.0, plus(-2.0, d[1], L::sub(d[3], d[2])));
                points[3] = plus(2.0, d[1], plus(-3.0, d[2], d[3]));
                points[4] = times(4.0, odd);
            }
            _ => {
                let (even, odd) = (plus(-4.0, d[2], d[4]), plus(-4.0, d[1], d[3]));
                let (even2, odd2) = (L::sub(d[4], d[2]), L::sub(d[3], d[1]));
                points[0] = plus(4.0, L::sub(d[0], d[2]), even2);
                points[1] = plus(-4.0, odd2, L::sub(d[5], d[3]));
                points[2] = L::add(even, odd);
                points[3] = L::sub(even, odd);
                points[4] = plus(2.0, odd2, even2);
                points[5] = plus(-2.0, odd2, even2);
            }
        }
        points
    }
}

/// Stride 2: points 0 and infinity of the even samples, the first odd one, 1, the second odd one, -1, the third, 2, the fourth.
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_input_2<L: LanesF32, const M: usize>(d: [L::V; SIDE]) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let times = |factor, x| L::fma(L::splat(factor), x, L::splat(0.0));
        let plus = |factor, x, sum| L::fma(L::splat(factor), x, sum);
        let [e0, odd0, e1, odd1, e2, odd2, e3, odd3, e4] = d;
        let mut points = [e0, e2, odd0, e1, odd1, e2, odd2, e3, odd3];
        match M {
            1 => points[1] = e1,
            2 => {
                points[0] = L::sub(e0, e1);
                points[1] = L::sub(e2, e1);
                points[3] = L::add(e1, e1);
            }
            3 => {
                points[0] = L::sub(e0, e2);
                points[1] = L::sub(e3, e1);
                points[3] = L::add(e1, e2);
                points[5] = times(3.0, L::sub(e1, e2));
            }
            _ => {
                let difference = L::sub(e3, e1);
                points[0] = plus(0.5, difference, L::sub(e0, e2));
                points[1] = plus(-2.0, difference, L::sub(e4, e2));
                points[3] = plus(2.0, e1, L::sub(e2, e3));
                points[5] = plus(2.0, e1, plus(-3.0, e2, e3));
                points[7] = difference;
            }
        }
        points
    }
}

/// Stride 1, as [`transform_output`].
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_output_1<L: LanesF32, const M: usize>(p: [L::V; SIDE]) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let plus = |factor, x, sum| L::fma(L::splat(factor), x, sum);
        let mut outputs = p;
        if M == 1 {
            outputs[0] = L::add(L::add(p[0], p[2]), p[1]);
            return outputs;
        }
        let (sum, difference) = (L::add(p[2], p[3]), L::sub(p[2], p[3]));
        match M {
            2 => {
                outputs[0] = L::add(p[0], sum);
                outputs[1] = L::add(difference, p[1]);
            }
            3 => {
                outputs[0] = L::add(L::add(p[0], sum), p[4]);
                outputs[1] = plus(2.0, p[4], difference);
                outputs[2] = L::add(plus(4.0, p[4], sum), p[1]);
            }
            _ => {
                let (sum2, difference2) = (L::add(p[4], p[5]), L::sub(p[4], p[5]));
                outputs[0] = L::add(L::add(p[0], sum), sum2);
                outputs[1] = plus(2.0, difference2, difference);
                outputs[2] = plus(4.0, sum2, sum);
                outputs[3] = L::add(plus(8.0, difference2, difference), p[1]);
            }
        }
        outputs
    }
}

/// Stride 2, as [`transform_output`].
///
/// # Safety
/// The CPU has the instruction set.
#[inline(always)]
unsafe fn transform_output_2<L: LanesF32, const M: usize>(p: [L::V; SIDE]) -> [L::V; SIDE] {
    // SAFETY: the caller's promise.
    unsafe {
        let plus = |factor, x, sum| L::fma(L::splat(factor), x, sum);
        let [zero, infinity, odd0, one, odd1, minus_one, odd2, two, odd3] = p;
        let mut outputs = p;
        let (sum, difference) = (L::add(one, minus_one), L::sub(one, minus_one));
        match M {
            1 => outputs[0] = L::add(L::add(zero, infinity), odd0),
            2 => {
                outputs[0] = L::add(L::add(zero, one), odd0);
                outputs[1] = L::add(L::add(one, infinity), odd1);
            }
            3 => {
                outputs[0] = L::add(L::add(zero, sum), odd0);
                outputs[1] = L::add(difference, odd1);
                outputs[2] = L::add(L::add(sum, infinity), odd2);
            }
            _ => {
                outputs[0] = L::add(L::add(zero, sum), L::add(two, odd0));
                outputs[1] = plus(2.0, two, L::add(difference, odd1));
                outputs[2] = plus(4.0, two, L::add(sum, odd2));
                outputs[3] = plus(8.0, two, L::add(L::add(difference, infinity), odd3));
            }
        }
        outputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What lets tiles that are short use the others' filters.
    #[test]
    fn fewer_outputs_have_the_first_points_and_filters() {
        for (stride, m) in (1..=MOST).flat_map(|m| [(1, m), (2, m)]) {
            let mut found: Vec<usize> = (0..side(stride, m)).map(|point| filter_of(stride, point)).collect();
            found.sort_unstable();
            found.dedup();
            assert_eq!(found, (0..filters(m)).collect::<Vec<_>>(), "stride {stride}, {m} outputs");
        }
    }
}
