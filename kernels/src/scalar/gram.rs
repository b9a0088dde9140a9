//! Gram matrices in plain Rust: the specification.

/// Products of every two rows of a row-major matrix of bytes, and the sums of its rows: exact.
///
/// `products[i * rows + j]` is the sum over columns of `x[i] * x[j]`, for all `i` and `j`.
///
/// # Panics
/// If `x` is not whole rows, or an output has another length than `rows * rows` and `rows`.
pub fn gram_u8(x: &[u8], rows: usize, products: &mut [f64], sums: &mut [f64]) {
    check(x.len(), rows, products.len(), sums.len());
    let row = |i: usize| &x[i * (x.len() / rows)..][..x.len() / rows];
    let dot = |(a, b): (&[u8], &[u8])| a.iter().zip(b).map(|(&a, &b)| u32::from(a) * u32::from(b)).sum::<u32>();
    for i in 0..rows {
        sums[i] = row(i).iter().map(|&x| u64::from(x)).sum::<u64>() as f64;
        for j in 0..=i {
            // 4096 products stay below 2^32, and all sums below 2^53.
            let sum: u64 = row(i).chunks(4096).zip(row(j).chunks(4096)).map(dot).map(u64::from).sum();
            (products[i * rows + j], products[j * rows + i]) = (sum as f64, sum as f64);
        }
    }
}

/// The same of floats, NaN read as 0. With `from_first`, the first row is subtracted from every row before the products
/// (not before the sums): columns of one value then give exact zeros, and large ones lose nothing when a caller centres
/// the products.
///
/// All sums are f64 here; vector versions multiply in f32 and add up to 320 columns in f32.
///
/// # Panics
/// If `x` is not whole rows, or an output has another length than `rows * rows` and `rows`.
pub fn gram_f32(x: &[f32], rows: usize, from_first: bool, products: &mut [f64], sums: &mut [f64]) {
    check(x.len(), rows, products.len(), sums.len());
    let columns = x.len() / rows;
    let mut values: Vec<f64> = x.iter().map(|&x| if x.is_nan() { 0.0 } else { f64::from(x) }).collect();
    if columns > 0 {
        sums.iter_mut().zip(values.chunks_exact(columns)).for_each(|(sum, row)| *sum = row.iter().sum());
    } else {
        sums.fill(0.0);
    }
    if from_first {
        let first = values[..columns].to_vec();
        for row in values.chunks_exact_mut(columns.max(1)) {
            row.iter_mut().zip(&first).for_each(|(x, first)| *x -= first);
        }
    }
    let row = |i: usize| &values[i * columns..(i + 1) * columns];
    for i in 0..rows {
        for j in 0..=i {
            let sum = dot(row(i), row(j));
            (products[i * rows + j], products[j * rows + i]) = (sum, sum);
        }
    }
}

/// In eight interleaved sums, a fixed order that vectorizes.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (blocks_a, blocks_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = blocks_a.remainder().iter().zip(blocks_b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in blocks_a.zip(blocks_b) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + tail
}

/// Panics with what does not fit.
pub(crate) fn check(len: usize, rows: usize, products: usize, sums: usize) {
    assert!(rows > 0 && len.is_multiple_of(rows), "Gram matrix: {len} elements in {rows} rows");
    assert!(products == rows * rows && sums == rows, "Gram matrix: outputs of {products} and {sums} elements");
}
