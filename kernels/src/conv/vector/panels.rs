//! Weights of a matrix product in panels: the order in which a kernel that walks over taps reads them.

use crate::conv::Conv2d;
use crate::{AlignedBuf, Element};

/// Runs of consecutive input elements that an output reads, and the panels of output channels that read them.
///
/// In NHWC, a window's row is one run of `kernel_w * in_c` elements; with groups, every tap is a run of its own.
#[derive(Debug, Clone)]
pub(crate) struct Panels {
    /// Where each run starts, counted from the window's first element.
    pub(crate) runs: Vec<usize>,
    /// Elements of a run, filled up to a multiple of `kr`.
    pub(crate) run_len: usize,
    /// Groups of the convolution.
    pub(crate) groups: usize,
    /// Input and output channels of a group.
    pub(crate) group_in: usize,
    pub(crate) group_out: usize,
    /// Output channels of a panel.
    pub(crate) nr: usize,
    kr: usize,
}

/// One panel: some output channels of one group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    /// First output channel.
    pub(crate) channel: usize,
    /// Number of output channels, up to `nr`.
    pub(crate) len: usize,
    /// First input channel of the group.
    pub(crate) input: usize,
    /// Where its weights start.
    pub(crate) weights: usize,
    /// Where its constants start, which are `nr` a panel.
    pub(crate) constants: usize,
}

impl Panels {
    /// For a convolution over padded rows of `padded_w` pixels of `in_c` elements; an instruction sums `kr` products.
    pub(crate) fn new(conv: &Conv2d, padded_w: usize, nr: usize, kr: usize) -> Self {
        let [kernel_h, kernel_w] = conv.kernel;
        let run = |y: usize, x: usize| (y * padded_w + x) * conv.in_c;
        let (runs, len) = if conv.groups == 1 {
            ((0..kernel_h).map(|y| run(y, 0)).collect(), kernel_w * conv.in_c)
        } else {
            ((0..kernel_h * kernel_w).map(|tap| run(tap / kernel_w, tap % kernel_w)).collect(), conv.group_in())
        };
        let (group_in, group_out) = (conv.group_in(), conv.group_out());
        Self { runs, run_len: len.next_multiple_of(kr), groups: conv.groups, group_in, group_out, nr, kr }
    }

    /// Number of panels, of all groups.
    pub(crate) fn count(&self) -> usize {
        self.groups * self.group_out.div_ceil(self.nr)
    }

    /// A panel.
    pub(crate) fn panel(&self, index: usize) -> Panel {
        let a_group = self.group_out.div_ceil(self.nr);
        let (group, start) = (index / a_group, index % a_group * self.nr);
        Panel {
            channel: group * self.group_out + start,
            len: (self.group_out - start).min(self.nr),
            input: group * self.group_in,
            weights: index * self.weights_len(),
            constants: index * self.nr,
        }
    }

    /// Elements of a panel's weights.
    pub(crate) fn weights_len(&self) -> usize {
        self.runs.len() * self.run_len * self.nr
    }

    /// Whether runs are filled up, so that a kernel reads beyond them.
    pub(crate) fn filled(&self, conv: &Conv2d) -> bool {
        self.run_len * self.runs.len() != conv.terms()
    }

    /// Elements after a window's first that a kernel may read, fill included.
    pub(crate) fn reach(&self) -> usize {
        self.runs.last().map_or(0, |run| run + self.run_len)
    }

    /// Packs OIHW weights as `[panel][run][run_len / kr][nr][kr]`, zeros where there is no weight.
    pub(crate) fn pack<T: Element>(&self, conv: &Conv2d, oihw: &[T]) -> AlignedBuf<T> {
        let mut packed = AlignedBuf::new(self.count() * self.weights_len());
        let taps = conv.kernel[0] * conv.kernel[1];
        let taps_a_run = taps / self.runs.len();
        for index in 0..self.count() {
            let panel = self.panel(index);
            let out = &mut packed[panel.weights..][..self.weights_len()];
            for run in 0..self.runs.len() {
                for k in 0..taps_a_run * self.group_in {
                    let (tap, i) = (run * taps_a_run + k / self.group_in, k % self.group_in);
                    let row = (run * self.run_len + k / self.kr * self.kr) * self.nr + k % self.kr;
                    for n in 0..panel.len {
                        let o = panel.channel + n;
                        out[row + n * self.kr] = oihw[(o * self.group_in + i) * taps + tap];
                    }
                }
            }
        }
        packed
    }

    /// Spreads one value an output channel to `nr` values a panel, filled up with zeros.
    pub(crate) fn constants<T: Element>(&self, values: &[T]) -> AlignedBuf<T> {
        let mut spread = AlignedBuf::new(self.count() * self.nr);
        for index in 0..self.count() {
            let panel = self.panel(index);
            spread[panel.constants..][..panel.len].copy_from_slice(&values[panel.channel..][..panel.len]);
        }
        spread
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_pairs_with_fill() {
        let conv = Conv2d { kernel: [1, 3], in_w: 3, ..Conv2d::linear(1, 3) };
        let panels = Panels::new(&conv, 3, 2, 2);
        assert_eq!((panels.count(), panels.run_len, panels.reach()), (2, 4, 4));
        let packed = panels.pack(&conv, &[1_i8, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(&*packed, [1, 2, 4, 5, 3, 0, 6, 0, 7, 8, 0, 0, 9, 0, 0, 0]);
        assert_eq!(&*panels.constants(&[1, 2, 3]), [1, 2, 3, 0]);
    }

    #[test]
    fn groups_have_panels_of_their_own() {
        let conv = Conv2d { groups: 2, ..Conv2d::linear(4, 6) };
        let panels = Panels::new(&conv, 1, 2, 1);
        assert_eq!(panels.count(), 4);
        let panel = panels.panel(3);
        assert_eq!((panel.channel, panel.len, panel.input, panel.constants), (5, 1, 2, 6));
    }
}
