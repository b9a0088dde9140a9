//! Kernels that make any range of a map's rows by themselves, so that several can follow each other a few rows at a time.

use std::ops::Range;

use crate::Pool2d;

/// Rows of an input map, from row `first` on.
#[derive(Clone, Copy)]
pub struct InputRows<'a, T> {
    pub first: usize,
    pub values: &'a [T],
}

impl<T> InputRows<'_, T> {
    /// Where the rows of a pooling window at output row `row` lie among these.
    pub(crate) fn window(&self, pool: &Pool2d, row: usize) -> Range<usize> {
        let rows = pool.window(0, row);
        rows.start - self.first..rows.end - self.first
    }
}

/// A kernel that makes any rows of its output from those of its input that they depend on. Results are the same however the rows are
/// shared out.
pub trait RowKernel<T>: Send + Sync {
    /// Elements of scratch that [`RowKernel::make`] needs.
    fn scratch_len(&self) -> usize;

    /// Makes the output rows `rows`, all that `output` and `residual`, if any, have. `input` has every row inside the map that their
    /// windows reach.
    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, T>,
        residual: Option<&[T]>,
        output: &mut [T],
        scratch: &mut [T],
    );
}
