//! The largest two eigenvalues and the first eigenvector of a small symmetric matrix, in f64.
//!
//! Householder reduction to tridiagonal form (Golub and Van Loan, Matrix Computations, 8.3.1), eigenvalues by bisection
//! on the Sturm count, the vector by inverse iteration just above the largest eigenvalue, where the shifted matrix is
//! positive definite and needs no pivoting. No iteration can fail to converge: every loop has a fixed bound.

/// Largest eigenvalues and first eigenvector.
#[derive(Debug)]
pub(crate) struct Top {
    /// The two largest eigenvalues, in descending order; the second is 0 for a 1x1 matrix.
    pub values: [f64; 2],
    /// Unit eigenvector of the first; its sign is arbitrary. All zero for a zero matrix.
    pub vector: Vec<f64>,
}

/// Symmetric tridiagonal matrix and the reflections that lead to it.
struct Tridiagonal {
    diagonal: Vec<f64>,
    /// `off[i]` couples i and i + 1.
    off: Vec<f64>,
    /// Unit vector of reflection k, acting on components k + 1 and up; empty where nothing was to reflect.
    reflections: Vec<Vec<f64>>,
}

/// Top two eigenvalues and first eigenvector of the symmetric `n` by `n` matrix `a` (row-major, finite; overwritten).
pub(crate) fn top(a: &mut [f64], n: usize) -> Top {
    let largest = a.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    if n == 0 || largest == 0.0 {
        return Top { values: [0.0; 2], vector: vec![0.0; n] };
    }
    // Scaled to about 1, so that no square over- or underflows whatever the activations' unit is.
    a.iter_mut().for_each(|x| *x /= largest);
    let t = tridiagonalize(a, n);
    let (first, above) = bisect(&t, 0);
    let second = if n > 1 { bisect(&t, 1).0 } else { 0.0 };
    let mut vector = inverse_iteration(&t, above);
    for (k, v) in t.reflections.iter().enumerate().rev() {
        reflect(v, &mut vector[k + 1..]);
    }
    Top { values: [first * largest, second * largest], vector }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

/// x -= 2 v (v . x); nothing for an empty v.
fn reflect(v: &[f64], x: &mut [f64]) {
    let factor = 2.0 * dot(v, x);
    for (x, v) in x.iter_mut().zip(v) {
        *x -= factor * v;
    }
}

fn tridiagonalize(a: &mut [f64], n: usize) -> Tridiagonal {
    let mut reflections = Vec::with_capacity(n.saturating_sub(2));
    let mut off = vec![0.0; n.saturating_sub(1)];
    for k in 0..n.saturating_sub(2) {
        let mut v: Vec<f64> = (k + 1..n).map(|i| a[i * n + k]).collect();
        let below = dot(&v[1..], &v[1..]);
        if below == 0.0 {
            off[k] = v[0];
            reflections.push(Vec::new());
            continue;
        }
        let alpha = -(v[0] * v[0] + below).sqrt().copysign(v[0]);
        v[0] -= alpha;
        let length = dot(&v, &v).sqrt();
        v.iter_mut().for_each(|x| *x /= length);
        off[k] = alpha;
        reflect_both_sides(a, n, k + 1, &v);
        reflections.push(v);
    }
    if n > 1 {
        off[n - 2] = a[(n - 1) * n + n - 2];
    }
    Tridiagonal { diagonal: (0..n).map(|i| a[i * n + i]).collect(), off, reflections }
}

/// The trailing block from `start`: B -= v w' + w v' with w = p - (p . v) v and p = 2 B v, which is H B H.
fn reflect_both_sides(a: &mut [f64], n: usize, start: usize, v: &[f64]) {
    let mut w: Vec<f64> = (start..n).map(|i| 2.0 * dot(&a[i * n + start..(i + 1) * n], v)).collect();
    let along = dot(&w, v);
    for (w, v) in w.iter_mut().zip(v) {
        *w -= along * v;
    }
    for (i, (&vi, &wi)) in v.iter().zip(&w).enumerate() {
        let row = (start + i) * n;
        for (x, (vj, wj)) in a[row + start..row + n].iter_mut().zip(v.iter().zip(&w)) {
            *x -= vi * wj + wi * vj;
        }
    }
}

/// How many eigenvalues are at or above `x`: the number of pivots of T - x I that are not negative.
fn count_above(t: &Tridiagonal, x: f64) -> usize {
    let mut pivot = 1.0;
    let mut count = 0;
    for (i, d) in t.diagonal.iter().enumerate() {
        let coupling = if i == 0 { 0.0 } else { t.off[i - 1] * t.off[i - 1] / pivot };
        pivot = d - x - coupling;
        if pivot == 0.0 {
            pivot = f64::MIN_POSITIVE.sqrt();
        }
        count += usize::from(pivot > 0.0);
    }
    count
}

/// Bracket of eigenvalue number `index` in descending order, as narrow as f64 allows: (low, high).
fn bisect(t: &Tridiagonal, index: usize) -> (f64, f64) {
    let n = t.diagonal.len();
    let radius = |i: usize| {
        let before = if i > 0 { t.off[i - 1].abs() } else { 0.0 };
        before + t.off.get(i).map_or(0.0, |x| x.abs())
    };
    // Gershgorin's circles hold all eigenvalues.
    let mut low = (0..n).map(|i| t.diagonal[i] - radius(i)).fold(f64::INFINITY, f64::min);
    let mut high = (0..n).map(|i| t.diagonal[i] + radius(i)).fold(f64::NEG_INFINITY, f64::max);
    let margin = 4.0 * f64::EPSILON * low.abs().max(high.abs());
    low -= margin;
    high += margin;
    // 120 halvings would exhaust any f64 interval; it ends earlier, where the middle is an end.
    for _ in 0..120 {
        let middle = 0.5 * (low + high);
        if middle <= low || middle >= high {
            break;
        }
        if count_above(t, middle) > index { low = middle } else { high = middle }
    }
    (low, high)
}

/// Unit eigenvector of the largest eigenvalue: (mu I - T)^-1 applied six times, `mu` just above it.
fn inverse_iteration(t: &Tridiagonal, mu: f64) -> Vec<f64> {
    let n = t.diagonal.len();
    // Pivots below rounding are raised to it: the vector's length does not matter, only its direction.
    let floor = f64::EPSILON * mu.abs().max(f64::MIN_POSITIVE.sqrt());
    let mut pivots = vec![0.0; n];
    for i in 0..n {
        let coupling = if i == 0 { 0.0 } else { t.off[i - 1] * t.off[i - 1] / pivots[i - 1] };
        pivots[i] = (mu - t.diagonal[i] - coupling).max(floor);
    }
    // Any start that is not orthogonal to the vector does; irregular, so that no symmetry of the map makes it so.
    let mut x: Vec<f64> = (0..n).map(|i| 1.0 + ((i * 7919) % 101) as f64 / 101.0).collect();
    for _ in 0..6 {
        for i in 1..n {
            x[i] += t.off[i - 1] / pivots[i - 1] * x[i - 1];
        }
        x.iter_mut().zip(&pivots).for_each(|(x, p)| *x /= p);
        for i in (1..n).rev() {
            x[i - 1] += t.off[i - 1] / pivots[i - 1] * x[i];
        }
        let largest = x.iter().fold(0.0, |m: f64, v| m.max(v.abs()));
        x.iter_mut().for_each(|v| *v /= largest);
        let length = dot(&x, &x).sqrt();
        x.iter_mut().for_each(|v| *v /= length);
    }
    x
}

#[cfg(test)]
mod tests {
    use approx::assert_abs_diff_eq;

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
            let length = dot(&v, &v).sqrt();
            v.iter_mut().for_each(|x| *x /= length);
            reflect_both_sides(&mut a, n, 0, &v);
        }
        a
    }

    fn residual(a: &[f64], n: usize, t: &Top) -> f64 {
        let row = |i: usize| dot(&a[i * n..(i + 1) * n], &t.vector) - t.values[0] * t.vector[i];
        (0..n).map(|i| row(i).abs()).fold(0.0, f64::max)
    }

    #[test]
    fn known_eigenvalues_come_back() {
        for n in [1, 2, 3, 4, 9, 49] {
            let mut values: Vec<f64> = (0..n).map(|i| 100.0 / (i + 1) as f64).collect();
            values[0] += 1.0;
            let a = with_eigenvalues(&values);
            let t = top(&mut a.clone(), n);
            let second = values.get(1).copied().unwrap_or(0.0);
            // 1e-12 of the norm: a few thousand roundings of f64.
            assert_abs_diff_eq!(t.values[0], values[0], epsilon = 1e-10);
            assert_abs_diff_eq!(t.values[1], second, epsilon = 1e-10);
            assert!(residual(&a, n, &t) < 1e-10, "{n}");
            assert!((dot(&t.vector, &t.vector) - 1.0).abs() < 1e-12);
        }
    }

    #[test]
    fn near_equal_and_equal_eigenvalues_still_give_an_eigenvector() {
        for gap in [1e-6, 1e-12, 0.0] {
            let a = with_eigenvalues(&[5.0, 5.0 - gap, 1.0, 0.5, 0.0, 0.0, 0.0]);
            let t = top(&mut a.clone(), 7);
            assert!(residual(&a, 7, &t) < 1e-10, "{gap}");
            assert!((t.values[0] - t.values[1] - gap).abs() < 1e-10, "{gap}");
        }
    }

    #[test]
    fn scale_does_not_matter() {
        for scale in [1e-200, 1e150] {
            let a: Vec<f64> = with_eigenvalues(&[3.0, 2.0, 1.0]).iter().map(|x| x * scale).collect();
            let t = top(&mut a.clone(), 3);
            assert!((t.values[0] / scale - 3.0).abs() < 1e-12 && (t.values[1] / scale - 2.0).abs() < 1e-12);
        }
        assert_eq!(top(&mut [0.0; 9], 3).values, [0.0, 0.0]);
        assert_eq!(top(&mut [], 0).vector, Vec::<f64>::new());
    }
}
