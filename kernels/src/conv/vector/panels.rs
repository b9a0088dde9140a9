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
    /// Output channels of a block.
    pub(crate) nr: usize,
    /// Most blocks of a panel.
    blocks: usize,
    pub(crate) kr: usize,
}

/// One panel: a few blocks of output channels of one group, whose sums a tile holds at once.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Panel {
    /// First output channel.
    pub(crate) channel: usize,
    /// Number of output channels, up to `nr` a block.
    pub(crate) len: usize,
    /// Number of blocks.
    pub(crate) blocks: usize,
    /// First input channel of the group.
    pub(crate) input: usize,
    /// Where its weights start.
    pub(crate) weights: usize,
    /// Where its constants start, which are `nr` a block.
    pub(crate) constants: usize,
}

impl Panels {
    /// For a convolution over padded rows of `padded_w` pixels of `in_c` elements; an instruction sums `kr` products.
    /// Panels have up to `blocks` blocks of `nr` channels, as evenly many as can be.
    pub(crate) fn new(conv: &Conv2d, padded_w: usize, [nr, kr]: [usize; 2], blocks: usize) -> Self {
        let [kernel_h, kernel_w] = conv.kernel;
        let run = |y: usize, x: usize| (y * padded_w + x) * conv.in_c;
        let (runs, len) = if conv.groups == 1 {
            ((0..kernel_h).map(|y| run(y, 0)).collect(), kernel_w * conv.in_c)
        } else {
            ((0..kernel_h * kernel_w).map(|tap| run(tap / kernel_w, tap % kernel_w)).collect(), conv.group_in())
        };
        let (group_in, group_out) = (conv.group_in(), conv.group_out());
        Self { runs, run_len: len.next_multiple_of(kr), groups: conv.groups, group_in, group_out, nr, blocks, kr }
    }

    /// Blocks of a group.
    fn group_blocks(&self) -> usize {
        self.group_out.div_ceil(self.nr)
    }

    /// Number of panels, of all groups.
    pub(crate) fn count(&self) -> usize {
        self.groups * self.group_blocks().div_ceil(self.blocks)
    }

    /// A panel.
    pub(crate) fn panel(&self, index: usize) -> Panel {
        let (blocks, a_group) = (self.group_blocks(), self.group_blocks().div_ceil(self.blocks));
        let (group, index) = (index / a_group, index % a_group);
        let (first, end) = (index * blocks / a_group, (index + 1) * blocks / a_group);
        self.blocks(group, first, end - first)
    }

    /// The panel of some blocks of a group.
    fn blocks(&self, group: usize, first: usize, blocks: usize) -> Panel {
        let (start, before) = (first * self.nr, group * self.group_blocks() + first);
        Panel {
            channel: group * self.group_out + start,
            len: (self.group_out - start).min(blocks * self.nr),
            blocks,
            input: group * self.group_in,
            weights: before * self.block_len(),
            constants: before * self.nr,
        }
    }

    /// All blocks, each as a panel of its own.
    fn all_blocks(&self) -> impl Iterator<Item = Panel> {
        let blocks = self.group_blocks();
        (0..self.groups * blocks).map(move |index| self.blocks(index / blocks, index % blocks, 1))
    }

    /// Elements of a block's weights.
    pub(crate) fn block_len(&self) -> usize {
        self.runs.len() * self.run_len * self.nr
    }

    /// Whether runs are filled up, so that a kernel reads beyond them.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn filled(&self, conv: &Conv2d) -> bool {
        self.run_len * self.runs.len() != conv.terms()
    }

    /// Elements after a window's first that a kernel may read, fill included.
    pub(crate) fn reach(&self) -> usize {
        self.runs.last().map_or(0, |run| run + self.run_len)
    }

    /// Packs OIHW weights as `[panel][run][run_len / kr][block of the panel][nr][kr]`, zeros where there is no weight: in the order in
    /// which a tile reads them.
    pub(crate) fn pack<T: Element>(&self, conv: &Conv2d, oihw: &[T]) -> AlignedBuf<T> {
        let mut packed = AlignedBuf::new(self.groups * self.group_blocks() * self.block_len());
        let taps = conv.kernel[0] * conv.kernel[1];
        let taps_a_run = taps / self.runs.len();
        for panel in (0..self.count()).map(|index| self.panel(index)) {
            let out = &mut packed[panel.weights..][..panel.blocks * self.block_len()];
            // Elements of one step of all blocks.
            let step = panel.blocks * self.nr * self.kr;
            for run in 0..self.runs.len() {
                for k in 0..taps_a_run * self.group_in {
                    let (tap, i) = (run * taps_a_run + k / self.group_in, k % self.group_in);
                    let row = (run * self.run_len + k) / self.kr * step + k % self.kr;
                    for n in 0..panel.len {
                        let o = panel.channel + n;
                        out[row + n * self.kr] = oihw[(o * self.group_in + i) * taps + tap];
                    }
                }
            }
        }
        packed
    }

    /// Spreads one value an output channel to `nr` values a block, filled up with zeros.
    pub(crate) fn constants<T: Element>(&self, values: &[T]) -> AlignedBuf<T> {
        let mut spread = AlignedBuf::new(self.groups * self.group_blocks() * self.nr);
        for block in self.all_blocks() {
            spread[block.constants..][..block.len].copy_from_slice(&values[block.channel..][..block.len]);
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
        let panels = Panels::new(&conv, 3, [2, 2], 1);
        assert_eq!((panels.count(), panels.run_len, panels.reach()), (2, 4, 4));
        let packed = panels.pack(&conv, &[1_i8, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(&*packed, [1, 2, 4, 5, 3, 0, 6, 0, 7, 8, 0, 0, 9, 0, 0, 0]);
        assert_eq!(&*panels.constants(&[1, 2, 3]), [1, 2, 3, 0]);
    }

    #[test]
    fn blocks_of_a_panel_take_turns() {
        let conv = Conv2d::linear(3, 3);
        let packed = Panels::new(&conv, 1, [2, 2], 2).pack(&conv, &[1_i8, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(&*packed, [1, 2, 4, 5, 7, 8, 0, 0, 3, 0, 6, 0, 9, 0, 0, 0]);
    }

    #[test]
    fn groups_have_panels_of_their_own() {
        let conv = Conv2d { groups: 2, ..Conv2d::linear(4, 6) };
        let panels = Panels::new(&conv, 1, [2, 1], 1);
        assert_eq!(panels.count(), 4);
        let panel = panels.panel(3);
        assert_eq!((panel.channel, panel.len, panel.input, panel.constants), (5, 1, 2, 6));
    }

    #[test]
    fn panels_have_evenly_many_blocks() {
        // Two groups of 19 channels: 5 blocks of up to 4 each, in panels of up to 3.
        let conv = Conv2d { groups: 2, ..Conv2d::linear(4, 19 * 2) };
        let panels = Panels::new(&conv, 1, [4, 1], 3);
        let found: Vec<_> = (0..panels.count()).map(|index| panels.panel(index)).collect();
        let found: Vec<_> = found.iter().map(|p| (p.channel, p.len, p.blocks, p.constants)).collect();
        assert_eq!(found, [(0, 8, 2, 0), (8, 11, 3, 8), (19, 8, 2, 20), (27, 11, 3, 28)]);
        assert_eq!(panels.panel(1).weights, 2 * panels.block_len());
    }
}
