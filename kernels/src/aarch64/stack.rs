//! Rows of three colours stacked by column, a few columns at a time, by permutations of bytes.

use std::arch::aarch64::*;

use crate::conv::Conv2d;
use crate::conv::vector::{COLOURS, StackedRow, columns, order, spares_steps};

/// Most rows: two tables of four registers.
const MAX_ROWS: usize = 8;

/// Bytes of a row that are loaded at once.
const LOAD: usize = 16;

/// For each number of rows, which byte of the rows' loads each byte of the columns is.
static ORDERS: [[u8; 64]; MAX_ROWS + 1] = {
    let mut orders = [[0; 64]; MAX_ROWS + 1];
    let mut rows = 1;
    while rows <= MAX_ROWS {
        orders[rows] = order(rows, LOAD);
        rows += 1;
    }
    orders
};

/// Whether the windows of this convolution are worth it where instructions sum `kr` products, and [`stack`] serves them.
pub(super) fn stacks(conv: &Conv2d, kr: usize) -> bool {
    conv.in_c == COLOURS && conv.kernel[0] <= MAX_ROWS && spares_steps(conv, kr)
}

/// As [`StackedRow::copy_to`].
///
/// # Panics
/// If there is less than 64 bytes after the rows or the columns, or [`stacks`] denies them.
#[target_feature(enable = "neon")]
pub(super) fn stack(row: &StackedRow<i8>, out: &mut [i8]) {
    let (rows, width) = (row.height, row.row_len / COLOURS);
    assert!(row.channels == COLOURS && (1..=MAX_ROWS).contains(&rows), "rows to stack");
    assert!(row.rows.len() >= rows * row.row_len + 64 && out.len() >= width * rows * COLOURS + 64, "slack");
    let (step, order) = (columns(rows, LOAD), ORDERS[rows].as_ptr());
    // Rows that there are not repeat the last one.
    let starts: [*const i8; MAX_ROWS] =
        std::array::from_fn(|index| row.rows[index.min(rows - 1) * row.row_len..].as_ptr());
    for first in (0..width).step_by(step) {
        // SAFETY: `first` is one of the columns; after the last row there are 64 bytes, and after the last column's place, as asserted.
        unsafe {
            let load = |index: usize| vld1q_s8(starts[index].add(first * COLOURS));
            let low = int8x16x4_t(load(0), load(1), load(2), load(3));
            let to = out.as_mut_ptr().add(first * rows * COLOURS);
            for at in (0..step * rows * COLOURS).step_by(16) {
                // SAFETY: an order has 64 bytes.
                let order = vld1q_u8(order.add(at));
                let mut columns = vqtbl4q_s8(low, order);
                if rows > MAX_ROWS / 2 {
                    let high = int8x16x4_t(load(4), load(5), load(6), load(7));
                    columns = vqtbx4q_s8(columns, high, vsubq_u8(order, vdupq_n_u8(64)));
                }
                vst1q_s8(to.add(at), columns);
            }
        }
    }
}
