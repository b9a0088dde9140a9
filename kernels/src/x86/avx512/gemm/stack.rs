//! Rows of three colours stacked by column: as many columns as a register has room for at a time, by one permutation of bytes.

use std::arch::x86_64::*;

use crate::conv::Conv2d;
use crate::conv::vector::{COLOURS, StackedRow, columns, order, spares_steps};

/// Most rows: two registers of four.
const MAX_ROWS: usize = 8;

/// Bytes of each of so many rows that are loaded at once: all rows' fill two registers at most.
const fn loaded(rows: usize) -> usize {
    if rows <= MAX_ROWS / 2 { 32 } else { 16 }
}

/// Bytes of a register.
const LANES: usize = 64;

/// For each number of rows, which byte of the rows' loads each byte of the columns is.
static ORDERS: [[u8; LANES]; MAX_ROWS + 1] = {
    let mut orders = [[0; LANES]; MAX_ROWS + 1];
    let mut rows = 1;
    while rows <= MAX_ROWS {
        orders[rows] = order(rows, loaded(rows));
        rows += 1;
    }
    orders
};

/// Whether the windows of this convolution are worth it, and [`stack`] serves them on this CPU.
pub(super) fn stacks(conv: &Conv2d) -> bool {
    let fits = conv.in_c == COLOURS && conv.kernel[0] <= MAX_ROWS;
    fits && spares_steps(conv, 4) && std::arch::is_x86_feature_detected!("avx512vbmi")
}

/// As [`StackedRow::copy_to`].
///
/// # Panics
/// If there is less than 64 bytes after the rows or the columns, or [`stacks`] denies them.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
pub(super) fn stack(row: &StackedRow<u8>, out: &mut [u8]) {
    let (rows, width) = (row.height, row.row_len / COLOURS);
    assert!(row.channels == COLOURS && (1..=MAX_ROWS).contains(&rows), "rows to stack");
    assert!(row.rows.len() >= rows * row.row_len + LANES && out.len() >= width * rows * COLOURS + LANES, "slack");
    // SAFETY: the array has 64 bytes; the load needs no alignment.
    let order = unsafe { _mm512_loadu_si512(ORDERS[rows].as_ptr().cast()) };
    // Rows that there are not repeat the last one.
    let starts: [*const u8; MAX_ROWS] =
        std::array::from_fn(|index| row.rows[index.min(rows - 1) * row.row_len..].as_ptr());
    for first in (0..width).step_by(columns(rows, loaded(rows))) {
        // SAFETY: `first` is one of the columns; after the last row there are 64 bytes, and after the last column's place, as asserted. Loads
        // and stores need no alignment.
        unsafe {
            let starts = starts.map(|start| start.add(first * COLOURS));
            let columns = if rows <= MAX_ROWS / 2 {
                _mm512_permutex2var_epi8(two(&starts[..2]), order, two(&starts[2..4]))
            } else {
                _mm512_permutex2var_epi8(four(&starts[..4]), order, four(&starts[4..]))
            };
            _mm512_storeu_si512(out.as_mut_ptr().add(first * rows * COLOURS).cast(), columns);
        }
    }
}

/// 32 bytes of each of two rows.
///
/// # Safety
/// There are as many from these on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
#[inline]
unsafe fn two(starts: &[*const u8]) -> __m512i {
    // SAFETY: the caller's promise.
    let [a, b] = [0, 1].map(|index| unsafe { _mm256_loadu_si256(starts[index].cast()) });
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(a), b)
}

/// 16 bytes of each of four rows.
///
/// # Safety
/// There are as many from these on.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi")]
#[inline]
unsafe fn four(starts: &[*const u8]) -> __m512i {
    // SAFETY: the caller's promise.
    let [a, b, c, d] = [0, 1, 2, 3].map(|index| unsafe { _mm_loadu_si128(starts[index].cast()) });
    let rows = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(rows, c), d)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_equal_those_of_plain_rust() {
        if !std::arch::is_x86_feature_detected!("avx512vbmi") {
            return;
        }
        for (rows, width) in (1..=MAX_ROWS).flat_map(|rows| [1, 2, 3, 5, 6, 31].map(|width| (rows, width))) {
            let padded: Vec<u8> = (0..rows * width * COLOURS + LANES).map(|i| (i * 73 % 251) as u8).collect();
            let row = StackedRow { rows: &padded, row_len: width * COLOURS, channels: COLOURS, height: rows };
            let len = rows * width * COLOURS;
            let (mut expected, mut found) = (vec![0; len], vec![0; len + LANES]);
            row.copy_to(&mut expected);
            // SAFETY: checked above, and AVX-512 VBMI comes with the others.
            unsafe { stack(&row, &mut found) };
            assert_eq!(found[..len], expected, "{rows} rows of {width}");
        }
    }
}
