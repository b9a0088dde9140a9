//! int8 kernels that make whole output rows, each task some of them with a scratch of its own.

use std::ops::Range;

use super::{LINE, aligned};
use crate::Team;
use crate::conv::{Conv2d, InputRows, PackedU8, RowKernel};
use crate::shared::SharedMut;

/// A packed convolution that makes whole rows.
pub(crate) trait WholeRows: Send + Sync {
    /// What is convolved.
    fn conv(&self) -> &Conv2d;

    /// Output rows of a task.
    fn task_rows(&self) -> usize;

    /// Bytes of scratch that a task needs: whole cache lines.
    fn task_scratch(&self) -> usize;

    /// Bytes of packed weights and constants.
    fn weight_bytes(&self) -> usize;

    /// The output rows from `first` on, all that `out` has. `scratch` starts with a cache line.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn rows(&self, first: usize, input: InputRows<u8>, scratch: &mut [u8], out: &mut [u8]);
}

/// Runs such a convolution: all rows as tasks, or some by themselves.
pub(crate) struct ByRows<C>(pub(crate) C);

impl<C: WholeRows> PackedU8 for ByRows<C> {
    fn scratch_bytes(&self) -> usize {
        self.0.conv().out_h().div_ceil(self.0.task_rows()) * self.0.task_scratch() + LINE
    }

    fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }

    fn run(&self, input: &[u8], _: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let (scratch, len) = (SharedMut::new(aligned(scratch)), self.0.task_scratch());
        let (input, rows, conv) = (InputRows { first: 0, values: input }, self.0.task_rows(), self.0.conv());
        team.run_chunks(output, rows * conv.out_w() * conv.out_c, |task, out| {
            // SAFETY: each task has a scratch of its own, by its number; `ConvU8::new` checked that the CPU has the instruction set.
            unsafe { self.0.rows(task * rows, input, scratch.part(task * len, len), out) }
        });
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        Some(self)
    }
}

impl<C: WholeRows> RowKernel<u8> for ByRows<C> {
    fn scratch_len(&self) -> usize {
        self.0.task_scratch() + LINE
    }

    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, u8>,
        _: Option<&[u8]>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        // SAFETY: `ConvU8::new` checked that the CPU has the instruction set.
        unsafe { self.0.rows(rows.start, input, aligned(scratch), output) }
    }
}

/// Whether it is a depthwise convolution of 3x3 or 5x5 with a stride of 1 or 2 and so many channels at least.
pub(crate) fn is_small_depthwise(conv: &Conv2d, channels: usize) -> bool {
    let square = |size: [usize; 2], two: [usize; 2]| size[0] == size[1] && two.contains(&size[0]);
    conv.is_depthwise() && square(conv.kernel, [3, 5]) && square(conv.stride, [1, 2]) && conv.in_c >= channels
}
