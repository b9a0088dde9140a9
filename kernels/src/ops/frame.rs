//! Images on their way in: planes or pixels to rows of pixels with a frame of padding, so that the first convolution needs no copy of
//! its own.

use std::ops::Range;

use super::{Level, Ops, blocked, split};
use crate::scalar::channels::interleave_planes;
use crate::{Element, Team};

/// A map and the padding around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Rows of the map.
    pub height: usize,
    /// Columns of the map.
    pub width: usize,
    /// Channels of a pixel.
    pub channels: usize,
    /// Rows above and below the map, and columns on its left and right.
    pub padding: [usize; 2],
}

impl Frame {
    /// Elements of the map alone.
    pub fn map_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// Elements with the padding.
    pub fn padded_len(&self) -> usize {
        (self.height + 2 * self.padding[0]) * self.row_len()
    }

    fn row_len(&self) -> usize {
        (self.width + 2 * self.padding[1]) * self.channels
    }

    fn check<S, T>(&self, x: &[S], out: &[T]) {
        assert_eq!(x.len(), self.map_len(), "frame {self:?}: input");
        assert_eq!(out.len(), self.padded_len(), "frame {self:?}: output");
    }

    /// Calls `row` with the pixels of each row of the map and where they go, and fills the padding with `fill`. `work` is about how
    /// many bytes are moved.
    fn each_row<T: Element>(
        &self,
        fill: T,
        out: &mut [T],
        work: usize,
        team: &Team,
        row: impl Fn(Range<usize>, &mut [T]) + Sync,
    ) {
        let row_len = self.row_len();
        if row_len == 0 {
            return;
        }
        if self.padding == [0, 0] {
            // One row as good as many.
            return split(team, out, self.channels * 64, work, |start, out| {
                row(start / self.channels..(start + out.len()) / self.channels, out);
            });
        }
        split(team, out, row_len, work, |start, out| {
            for (index, out) in out.chunks_exact_mut(row_len).enumerate() {
                let Some(y) = (start / row_len + index).checked_sub(self.padding[0]).filter(|&y| y < self.height)
                else {
                    out.fill(fill);
                    continue;
                };
                let (left, rest) = out.split_at_mut(self.padding[1] * self.channels);
                let (middle, right) = rest.split_at_mut(self.width * self.channels);
                left.fill(fill);
                right.fill(fill);
                row(y * self.width..(y + 1) * self.width, middle);
            }
        });
    }
}

impl Ops {
    /// Planes, one a channel, to pixels in a frame of `fill`.
    ///
    /// # Panics
    /// If a slice does not have the frame's length.
    pub fn interleave<T: Element>(self, x: &[T], frame: &Frame, fill: T, out: &mut [T], team: &Team) {
        frame.check(x, out);
        let (pixels, channels) = (frame.height * frame.width, frame.channels);
        frame.each_row(fill, out, size_of_val(x), team, |range, out| {
            self.interleave_part(x, pixels, range, channels, out);
        });
    }

    fn interleave_part<T: Element>(self, x: &[T], pixels: usize, range: Range<usize>, channels: usize, out: &mut [T]) {
        match (self.level, T::floats(x)) {
            (Level::Scalar, _) => interleave_planes(x, pixels, range, channels, out),
            #[cfg(target_arch = "x86_64")]
            (Level::Avx2 | Level::Avx512, Some(x)) if channels == 3 => {
                let Some(out) = T::floats_mut(out) else { return };
                let planes = [0, 1, 2].map(|c| &x[c * pixels..][range.clone()]);
                if self.level == Level::Avx512 {
                    // SAFETY: `Ops::new` made this level on a CPU with AVX-512 F.
                    unsafe { crate::x86::ops_f32::interleave_colours_avx512(planes, out) }
                } else {
                    // SAFETY: `Ops::new` made this level on a CPU with AVX2.
                    unsafe { crate::x86::ops_f32::interleave_colours_avx2(planes, out) }
                }
            }
            _ => self.compiled(|| blocked::interleave(x, pixels, range, channels, out)),
        }
    }

    /// Pixels into a frame of `fill`.
    ///
    /// # Panics
    /// If a slice does not have the frame's length.
    pub fn frame<T: Element>(self, x: &[T], frame: &Frame, fill: T, out: &mut [T], team: &Team) {
        frame.check(x, out);
        let channels = frame.channels;
        frame.each_row(fill, out, size_of_val(x), team, |range, out| {
            out.copy_from_slice(&x[range.start * channels..range.end * channels]);
        });
    }
}
