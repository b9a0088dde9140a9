//! Geometry of windowed pooling.

use crate::Error;
use crate::conv::{MAX_ELEMENTS, MAX_NUMBER};

/// Geometry of a pooling over windows of one NHWC image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Input height.
    pub in_h: usize,
    /// Input width.
    pub in_w: usize,
    /// Channels.
    pub channels: usize,
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Strides, vertical and horizontal.
    pub stride: [usize; 2],
    /// Padding on each side, vertical and horizontal: never the maximum, not counted in averages.
    pub padding: [usize; 2],
}

impl Pool2d {
    /// Output height. Valid after [`Pool2d::check`].
    pub fn out_h(&self) -> usize {
        (self.in_h + 2 * self.padding[0] - self.kernel[0]) / self.stride[0] + 1
    }

    /// Output width. Valid after [`Pool2d::check`].
    pub fn out_w(&self) -> usize {
        (self.in_w + 2 * self.padding[1] - self.kernel[1]) / self.stride[1] + 1
    }

    /// Elements of the input.
    pub fn in_len(&self) -> usize {
        self.in_h * self.in_w * self.channels
    }

    /// Elements of the output.
    pub fn out_len(&self) -> usize {
        self.out_h() * self.out_w() * self.channels
    }

    /// Checks that every window has a pixel: padding is at most half of the kernel, as PyTorch requires.
    ///
    /// # Errors
    /// [`Error::Geometry`], with the numbers.
    pub fn check(&self) -> Result<(), Error> {
        let Self { in_h, in_w, channels, kernel, stride, padding } = *self;
        let fail = |why: &str| {
            Err(Error::Geometry(format!(
                "pooling of {in_h}x{in_w}x{channels}, window {kernel:?}, stride {stride:?}, padding {padding:?}: {why}"
            )))
        };
        let numbers = [in_h, in_w, channels, kernel[0], kernel[1], stride[0], stride[1]];
        if numbers.contains(&0) {
            return fail("only padding may be 0");
        }
        if numbers.iter().any(|&number| number > MAX_NUMBER) {
            return fail("a number is above 2^24");
        }
        if padding[0] > kernel[0] / 2 || padding[1] > kernel[1] / 2 {
            return fail("padding may be at most half of the window");
        }
        if kernel[0] > in_h + 2 * padding[0] || kernel[1] > in_w + 2 * padding[1] {
            return fail("the window is larger than the padded input");
        }
        let len = in_h.checked_mul(in_w).and_then(|pixels| pixels.checked_mul(channels));
        if len.is_some_and(|len| len <= MAX_ELEMENTS) { Ok(()) } else { fail("it does not fit memory") }
    }

    /// Input rows (`axis` 0) or columns (`axis` 1) of the window at output position `at`.
    pub(crate) fn window(&self, axis: usize, at: usize) -> std::ops::Range<usize> {
        let size = [self.in_h, self.in_w][axis];
        let start = at * self.stride[axis];
        let end = (start + self.kernel[axis] - self.padding[axis]).min(size);
        start.saturating_sub(self.padding[axis])..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_stay_inside() {
        let pool = Pool2d { in_h: 5, in_w: 6, channels: 2, kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
        assert!(pool.check().is_ok());
        assert_eq!((pool.out_h(), pool.out_w()), (3, 3));
        assert_eq!([0, 1, 2].map(|at| pool.window(0, at)), [0..2, 1..4, 3..5]);
        assert_eq!([0, 1, 2].map(|at| pool.window(1, at)), [0..2, 1..4, 3..6]);
    }

    #[test]
    fn empty_windows_are_refused() {
        let pool = Pool2d { in_h: 5, in_w: 6, channels: 2, kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
        assert!(Pool2d { padding: [2, 1], ..pool }.check().is_err());
        assert!(Pool2d { in_h: 0, ..pool }.check().is_err());
        assert!(Pool2d { kernel: [9, 3], ..pool }.check().is_err());
        assert!(Pool2d { kernel: [usize::MAX, 3], ..pool }.check().is_err());
    }
}
