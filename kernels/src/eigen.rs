//! The largest two eigenvalues and the first eigenvector of a small symmetric matrix, in f64.
//!
//! Householder reduction to tridiagonal form from the last row up (Golub and Van Loan, Matrix Computations, 8.3.1),
//! eigenvalues by sections of an interval with the Sturm count, the vector by inverse iteration just above the largest
//! eigenvalue, where the shifted matrix is positive definite and needs no pivoting. No iteration can fail to converge: every
//! loop has a fixed bound. All of it is plain Rust in an order that vectorizes, so results are the same bits on every
//! instruction set.

use crate::vectorize::{Vectorize, vectorized};
use crate::{Error, Isa};

/// Elements that rows are padded to a multiple of.
const LANES: usize = 8;

/// Points that cut an interval in one pass, of which there are two.
const POINTS: usize = 8;

/// Passes over an interval at most: 9^20 sections are past what f64 resolves.
const PASSES: usize = 20;

/// What is below this, in a matrix whose largest element is 1, is rounding.
const NEGLIGIBLE: f64 = 1e-18;

/// Finds the top of a symmetric matrix's spectrum; keeps its memory for the next.
#[derive(Debug)]
pub struct TopEigen {
    isa: Isa,
    n: usize,
    /// `n` rounded up to whole lanes.
    stride: usize,
    /// The matrix; after the reduction, row `i` (2 or more) holds the unit vector of the reflection that made it tridiagonal,
    /// or zeros where there was nothing to reflect.
    a: Vec<f64>,
    diagonal: Vec<f64>,
    /// `off[i]` couples i and i + 1.
    off: Vec<f64>,
    vector: Vec<f64>,
    scratch: Vec<f64>,
}

impl TopEigen {
    /// A solver for this instruction set.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available.
    pub fn new(isa: Isa) -> Result<Self, Error> {
        isa.check()?;
        let [a, diagonal, off, vector, scratch] = [const { Vec::new() }; 5];
        Ok(Self { isa, n: 0, stride: 0, a, diagonal, off, vector, scratch })
    }

    /// The two largest eigenvalues of the symmetric `n` by `n` matrix (row-major, finite), in descending order; the second
    /// is 0 for a 1x1 matrix. [`TopEigen::vector`] is then an eigenvector of the first.
    ///
    /// # Panics
    /// If the matrix has another number of elements.
    pub fn solve(&mut self, matrix: &[f64], n: usize) -> [f64; 2] {
        assert_eq!(matrix.len(), n * n, "eigenvalues: elements of a matrix of {n} by {n}");
        let largest = matrix.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        self.n = n;
        self.vector.clear();
        self.vector.resize(n, 0.0);
        if n == 0 || largest == 0.0 {
            return [0.0; 2];
        }
        self.take(matrix, largest);
        vectorized(self.isa, self).map(|x| x * largest)
    }

    /// The unit eigenvector of the last matrix's largest eigenvalue; its sign is arbitrary. All zero for a zero matrix.
    pub fn vector(&self) -> &[f64] {
        &self.vector
    }

    /// Copies the matrix, scaled to 1 so that no square over- or underflows whatever its unit is.
    fn take(&mut self, matrix: &[f64], largest: f64) {
        let n = self.n;
        self.stride = n.next_multiple_of(LANES);
        self.a.clear();
        self.a.resize(n * self.stride, 0.0);
        for (row, from) in self.a.chunks_exact_mut(self.stride).zip(matrix.chunks_exact(n)) {
            row.iter_mut().zip(from).for_each(|(x, from)| *x = from / largest);
        }
        for values in [&mut self.diagonal, &mut self.off] {
            values.clear();
            values.resize(n, 0.0);
        }
        self.scratch.clear();
        self.scratch.resize(self.stride, 0.0);
    }

    /// To tridiagonal form: the reflection of row i acts on the rows and columns before i.
    #[inline(always)]
    fn reduce(&mut self) {
        for i in (2..self.n).rev() {
            let width = i.next_multiple_of(LANES);
            let (block, row) = self.a.split_at_mut(i * self.stride);
            self.diagonal[i] = row[i];
            let v = &mut row[..width];
            v[i..].fill(0.0);
            let (last, rest) = (v[i - 1], square(&v[..i - 1]));
            if rest <= NEGLIGIBLE * NEGLIGIBLE {
                self.off[i - 1] = last;
                v.fill(0.0);
                continue;
            }
            let alpha = -(last * last + rest).sqrt().copysign(last);
            self.off[i - 1] = alpha;
            v[i - 1] = last - alpha;
            let length = (rest + v[i - 1] * v[i - 1]).sqrt();
            v.iter_mut().for_each(|x| *x /= length);
            reflect_both_sides(block, self.stride, i, v, &mut self.scratch[..width]);
        }
        self.diagonal[0] = self.a[0];
        if self.n > 1 {
            self.diagonal[1] = self.a[self.stride + 1];
            self.off[0] = self.a[self.stride];
        }
    }

    /// Brackets of the largest and the second eigenvalue, as narrow as f64 allows: [low, high] each.
    #[inline(always)]
    fn intervals(&self) -> [[f64; 2]; 2] {
        let n = self.n;
        // Gershgorin's circles hold all eigenvalues.
        let radius = |i: usize| if i > 0 { self.off[i - 1].abs() } else { 0.0 } + self.off[i].abs();
        let low = (0..n).map(|i| self.diagonal[i] - radius(i)).fold(f64::INFINITY, f64::min);
        let high = (0..n).map(|i| self.diagonal[i] + radius(i)).fold(f64::NEG_INFINITY, f64::max);
        let margin = 4.0 * f64::EPSILON * low.abs().max(high.abs());
        let mut intervals = [[low - margin, high + margin]; 2];
        for _ in 0..PASSES {
            let mut points = [0.0; 2 * POINTS];
            for (points, [low, high]) in points.chunks_exact_mut(POINTS).zip(intervals) {
                for (m, point) in points.iter_mut().enumerate() {
                    *point = low + (high - low) * ((m + 1) as f64 / (POINTS + 1) as f64);
                }
            }
            let counts = self.counts_above(&points);
            let mut moved = false;
            for (index, interval) in intervals.iter_mut().enumerate() {
                let before = *interval;
                for m in index * POINTS..(index + 1) * POINTS {
                    if counts[m] <= index as f64 {
                        interval[1] = points[m].min(before[1]);
                        break;
                    }
                    interval[0] = points[m].max(before[0]);
                }
                moved |= *interval != before;
            }
            if !moved {
                break;
            }
        }
        intervals
    }

    /// For each point, how many eigenvalues are above it: the number of positive pivots of T - x I.
    #[inline(always)]
    fn counts_above(&self, points: &[f64; 2 * POINTS]) -> [f64; 2 * POINTS] {
        let (mut pivots, mut counts) = ([1.0; 2 * POINTS], [0.0; 2 * POINTS]);
        for i in 0..self.n {
            let square = if i > 0 { self.off[i - 1] * self.off[i - 1] } else { 0.0 };
            for lane in 0..2 * POINTS {
                let pivot = self.diagonal[i] - points[lane] - square / pivots[lane];
                // Far below rounding, and its square is not subnormal.
                let pivot = if pivot.abs() < 1e-100 { 1e-100 } else { pivot };
                pivots[lane] = pivot;
                counts[lane] += if pivot > 0.0 { 1.0 } else { 0.0 };
            }
        }
        counts
    }

    /// The tridiagonal matrix's unit eigenvector of the largest eigenvalue: (mu I - T)^-1 applied six times, `mu` just above
    /// it.
    #[inline(always)]
    fn inverse_iteration(&mut self, mu: f64) {
        let (n, off, x) = (self.n, &self.off, &mut self.vector);
        // Pivots below rounding are raised to it: the vector's length does not matter, only its direction.
        let floor = f64::EPSILON * mu.abs().max(f64::MIN_POSITIVE.sqrt());
        // After this, scratch holds the reciprocals of the pivots.
        let inverse = &mut self.scratch;
        for i in 0..n {
            let coupling = if i == 0 { 0.0 } else { off[i - 1] * off[i - 1] * inverse[i - 1] };
            inverse[i] = 1.0 / (mu - self.diagonal[i] - coupling).max(floor);
        }
        // Any start that is not orthogonal to the vector does; irregular, so that no symmetry of the map makes it so.
        x.iter_mut().enumerate().for_each(|(i, x)| *x = 1.0 + ((i * 7919) % 101) as f64 / 101.0);
        for _ in 0..6 {
            for i in 1..n {
                x[i] += off[i - 1] * inverse[i - 1] * x[i - 1];
            }
            x.iter_mut().zip(inverse.iter()).for_each(|(x, inverse)| *x *= inverse);
            for i in (1..n).rev() {
                x[i - 1] += off[i - 1] * inverse[i - 1] * x[i];
            }
            let largest = x.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
            x.iter_mut().for_each(|v| *v /= largest);
            let length = square(x).sqrt();
            x.iter_mut().for_each(|v| *v /= length);
        }
    }

    /// From the tridiagonal matrix's vector to the matrix's.
    #[inline(always)]
    fn reflect_back(&mut self) {
        for i in 2..self.n {
            let v = &self.a[i * self.stride..][..i];
            let factor = 2.0 * dot(v, &self.vector[..i]);
            self.vector.iter_mut().zip(v).for_each(|(x, v)| *x -= factor * v);
        }
    }
}

impl Vectorize for &mut TopEigen {
    type Output = [f64; 2];

    /// Both eigenvalues of the scaled matrix; sets the vector.
    #[inline(always)]
    fn run(self) -> [f64; 2] {
        self.reduce();
        let [first, second] = self.intervals();
        self.inverse_iteration(first[1]);
        self.reflect_back();
        [first[0], if self.n > 1 { second[0] } else { 0.0 }]
    }
}

/// H A H for the leading `n` rows and columns of `a`, H = I - 2 v v': A -= v w' + w v' with w = p - (p . v) v and p = 2 A v.
/// `v` is zero from `n` on; `w` is scratch of its length.
#[inline(always)]
fn reflect_both_sides(a: &mut [f64], stride: usize, n: usize, v: &[f64], w: &mut [f64]) {
    let width = v.len();
    w.fill(0.0);
    // A is symmetric: A v is a sum of its rows.
    let mut rows = a[..n * stride].chunks_exact(4 * stride);
    let mut factors = v[..n].chunks_exact(4);
    for (rows, f) in rows.by_ref().zip(factors.by_ref()) {
        let row = |k: usize| &rows[k * stride..][..width];
        let (a, b, c, d) = (row(0), row(1), row(2), row(3));
        for j in 0..width {
            w[j] += (f[0] * a[j] + f[1] * b[j]) + (f[2] * c[j] + f[3] * d[j]);
        }
    }
    for (row, f) in rows.remainder().chunks_exact(stride).zip(factors.remainder()) {
        w.iter_mut().zip(row).for_each(|(w, a)| *w += f * a);
    }
    w[n..].fill(0.0);
    let along = 2.0 * dot(w, v);
    w.iter_mut().zip(v).for_each(|(w, v)| *w = 2.0 * *w - along * v);
    for (i, row) in a[..n * stride].chunks_exact_mut(stride).enumerate() {
        let (vi, wi, row) = (v[i], w[i], &mut row[..width]);
        for j in 0..width {
            row[j] -= vi * w[j] + wi * v[j];
        }
    }
}

#[inline(always)]
fn square(x: &[f64]) -> f64 {
    dot(x, x)
}

/// Dot product in eight interleaved sums, a fixed order that vectorizes.
#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; LANES];
    let (blocks_a, blocks_b) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let tail: f64 = blocks_a.remainder().iter().zip(blocks_b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in blocks_a.zip(blocks_b) {
        for lane in 0..LANES {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + tail
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Symmetric Q diag(values) Q' where Q is a product of reflections of irregular vectors.
    fn with_eigenvalues(values: &[f64]) -> Vec<f64> {
        let n = values.len();
        let mut a = vec![0.0; n * n];
        for (i, v) in values.iter().enumerate() {
            a[i * n + i] = *v;
        }
        for round in 1..4 {
            let mut v: Vec<f64> = (0..n).map(|i| ((i * 37 + round * 11) % 17) as f64 - 7.5).collect();
            let length = square(&v).sqrt();
            v.iter_mut().for_each(|x| *x /= length);
            let mut w = vec![0.0; n];
            reflect_both_sides(&mut a, n, n, &v, &mut w);
        }
        a
    }

    /// Largest deviation of A x from the first eigenvalue times x.
    fn residual(a: &[f64], n: usize, value: f64, vector: &[f64]) -> f64 {
        let row = |i: usize| dot(&a[i * n..(i + 1) * n], vector) - value * vector[i];
        (0..n).map(|i| row(i).abs()).fold(0.0, f64::max)
    }

    fn isas() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.available())
    }

    #[test]
    fn known_eigenvalues_come_back_the_same_on_every_instruction_set() {
        for n in [1, 2, 3, 4, 7, 8, 9, 16, 17, 49, 96] {
            let mut values: Vec<f64> = (0..n).map(|i| 100.0 / (i + 1) as f64).collect();
            values[0] += 1.0;
            let a = with_eigenvalues(&values);
            let mut scalar = TopEigen::new(Isa::Scalar).unwrap();
            let expected = scalar.solve(&a, n);
            let second = values.get(1).copied().unwrap_or(0.0);
            // 1e-12 of the norm: a few thousand roundings of f64.
            assert!(
                (expected[0] - values[0]).abs() < 1e-10 && (expected[1] - second).abs() < 1e-10,
                "{n}: {expected:?}"
            );
            assert!(residual(&a, n, expected[0], scalar.vector()) < 1e-10, "{n}");
            assert!((square(scalar.vector()) - 1.0).abs() < 1e-12);
            for isa in isas() {
                let mut solver = TopEigen::new(isa).unwrap();
                for _ in 0..2 {
                    assert_eq!(solver.solve(&a, n), expected, "{isa} {n}");
                    assert_eq!(solver.vector(), scalar.vector(), "{isa} {n}");
                }
            }
        }
    }

    #[test]
    fn near_equal_and_equal_eigenvalues_still_give_an_eigenvector() {
        for gap in [1e-6, 1e-12, 0.0] {
            let a = with_eigenvalues(&[5.0, 5.0 - gap, 1.0, 0.5, 0.0, 0.0, 0.0]);
            let mut solver = TopEigen::new(Isa::best()).unwrap();
            let [first, second] = solver.solve(&a, 7);
            assert!(residual(&a, 7, first, solver.vector()) < 1e-10, "{gap}");
            assert!((first - second - gap).abs() < 1e-10, "{gap}");
        }
    }

    #[test]
    fn matrices_of_low_rank_do_not_slow_down() {
        // One and two distinct rows among 49: all that the reduction leaves is rounding, which must not become subnormal.
        for rank in [1, 2] {
            let x = |i: usize| if i.is_multiple_of(rank + 1) { 1.0 } else { 0.25 * (i % (rank + 1)) as f64 };
            let a: Vec<f64> =
                (0..49 * 49).map(|i| x(i / 49) * x(i % 49) + f64::from(i / 49 % 3 == i % 49 % 3)).collect();
            let mut solver = TopEigen::new(Isa::best()).unwrap();
            let [first, _] = solver.solve(&a, 49);
            assert!(residual(&a, 49, first, solver.vector()) < 1e-12 * first);
            assert!(solver.off.iter().chain(&solver.diagonal).all(|x| *x == 0.0 || x.abs() > 1e-100));
        }
    }

    #[test]
    fn scale_does_not_matter() {
        let mut solver = TopEigen::new(Isa::best()).unwrap();
        for scale in [1e-200, 1e150] {
            let a: Vec<f64> = with_eigenvalues(&[3.0, 2.0, 1.0]).iter().map(|x| x * scale).collect();
            let [first, second] = solver.solve(&a, 3);
            assert!((first / scale - 3.0).abs() < 1e-12 && (second / scale - 2.0).abs() < 1e-12);
        }
        assert_eq!(solver.solve(&[0.0; 9], 3), [0.0, 0.0]);
        assert_eq!(solver.vector(), [0.0; 3]);
        assert_eq!(solver.solve(&[], 0), [0.0, 0.0]);
        assert_eq!(solver.vector(), Vec::<f64>::new());
    }
}
