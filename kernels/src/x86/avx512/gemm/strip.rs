//! Which tiles a layer's outputs are cut into, and what the tiles of a band and panel share.

use super::super::epilogue::LANES;
use crate::conv::Conv2d;
use crate::conv::vector::{Band, Bands, Panel, Panels, TileShape};

/// Most pixels of a tile, and blocks of a panel.
pub(super) const MAX_PIXELS: usize = 12;
const MAX_BLOCKS: usize = 6;

/// Pixels of tiles by their number of blocks: sums, weights of one step and broadcast activations fit 32 registers. Rows of the networks' maps
/// are often multiples of 7.
const PIXELS: [&[usize]; MAX_BLOCKS] = [&[12, 7], &[10, 7], &[8, 7], &[6], &[5], &[4]];

/// Pixels of tiles about half as large, for few steps and no half block: while the CPU still finishes one tile's outputs, it has room for
/// products of the next.
const FEWER_PIXELS: [usize; MAX_BLOCKS] = [6, 5, 4, 3, 3, 2];

/// Most steps of such tiles by their number of blocks (as measured on a Zen 4); where there are more, what counts is to read weights less often.
const FEW_STEPS: [usize; MAX_BLOCKS] = [200, 200, 200, 200, 200, 64];

/// Twentieths of a cycle that the outputs of a tile of so many vectors of sums take beside its products, by a formula that gives 12 vectors 18
/// cycles and 24 vectors 58, about what a Zen 4 takes.
const fn outputs(vectors: usize) -> usize {
    vectors * (12 + 3 * vectors / 2)
}

/// Whether a panel's last block has half its channels or less.
fn has_half(channels: usize) -> bool {
    (1..=LANES / 2).contains(&(channels % LANES))
}

/// How many pixels a tile has that computes a panel of so many channels of `pixels` pixels of a band in so many steps: what takes least time, of
/// a cycle a vector and step, one more a tile, and its outputs.
///
/// A band's last tile is as large as the others and computes some pixels twice; where there are fewer pixels than a tile has, tiles are
/// of one pixel.
fn pixels(channels: usize, pixels: usize, steps: usize) -> usize {
    let blocks = channels.div_ceil(LANES);
    let fewer = (steps <= FEW_STEPS[blocks - 1] && !has_half(channels)).then_some(FEWER_PIXELS[blocks - 1]);
    let cost = |&tile: &usize| pixels.div_ceil(tile) * (20 * (tile * blocks * steps + 1) + outputs(tile * blocks));
    let all = PIXELS[blocks - 1].iter().copied().chain(fewer);
    all.filter(|&tile| tile <= pixels).min_by_key(cost).unwrap_or(1)
}

/// The blocks of a panel that make the outputs of `conv` cheapest, in bands of about `band` pixels; with the pixels of a tile of such a panel.
///
/// Half cycles of a model: a multiplication of 512 bits a cycle, a load of a vector a cycle, two broadcasts a cycle, at least the four cycles that a sum
/// waits for itself, and some for each tile, half as many for one of [`FEWER_PIXELS`].
pub(super) fn choose(conv: &Conv2d, band: usize, steps: usize) -> TileShape {
    let total = conv.group_out().div_ceil(LANES);
    let cost = |&blocks: &usize| -> usize {
        let panels = total.div_ceil(blocks);
        (0..panels)
            .map(|index| {
                let (first, end) = (index * total / panels, (index + 1) * total / panels);
                let channels = (conv.group_out() - first * LANES).min((end - first) * LANES);
                let half_channels = channels.div_ceil(LANES / 2);
                let tile = pixels(channels, band, steps);
                let step = (tile * half_channels).max(half_channels + tile).max(8);
                band.div_ceil(tile) * (steps * step + if tile == FEWER_PIXELS[end - first - 1] { 20 } else { 40 })
            })
            .sum()
    };
    let blocks = (1..=MAX_BLOCKS.min(total)).rev().min_by_key(cost).unwrap_or(1);
    TileShape { blocks, pixels: pixels(conv.group_out().min(blocks * LANES), band, steps) }
}

/// What all strips of a layer have in common.
pub(super) struct Layer<'a> {
    pub(super) bands: &'a Bands,
    pub(super) panels: &'a Panels,
    /// Where the windows of a band's pixels start in its rows.
    pub(super) windows: &'a [u32],
}

/// The tiles of a band and panel.
pub(super) struct Strip<'a, X, W, O> {
    /// The band's rows from the panel's first input channel on.
    pub(super) rows: *const X,
    /// Where the window of each pixel starts in them.
    pub(super) windows: &'a [u32],
    /// Pixels, whole blocks and half blocks of a tile.
    pub(super) pixels: usize,
    pub(super) blocks: usize,
    pub(super) half: usize,
    /// Where runs, at least one, start in a window; and their length, at least a step.
    pub(super) runs: &'a [usize],
    pub(super) run_len: usize,
    /// The panel's, as [`Panels::pack`] lays them.
    pub(super) weights: *const W,
    /// Where the next panel's lie, if there is one, and how many of them each step of a tile and each tile asks for: all tiles together
    /// ask for all, so that the next strip's first tile finds them near.
    ahead: *const W,
    pub(super) ahead_step: usize,
    ahead_tile: usize,
    /// Where the first pixel's outputs go, how many of the panel's channels there are, and elements from one pixel to the next.
    pub(super) out: O,
    pub(super) channels: usize,
    pub(super) out_c: usize,
}

impl<'a, X, W, O> Strip<'a, X, W, O> {
    /// The strip of a band, whose padded rows (or input) are `rows`, and a panel with its weights; `out` is where outputs from one on go, of
    /// which there are at least so many.
    ///
    /// # Panics
    /// If a window or an output lies outside.
    #[inline(always)]
    pub(super) fn new(
        layer: &Layer<'a>,
        (band, rows): (Band, &[X]),
        (panel, weights): (&Panel, &[W]),
        out: impl FnOnce(usize, usize) -> O,
    ) -> Self {
        let (bands, panels) = (layer.bands, layer.panels);
        let ((first, len), out_c) = (bands.out_pixels(band), bands.conv.out_c);
        let windows = &layer.windows[..len];
        // The last window is the furthest: what tiles read unchecked.
        assert!(windows.last().is_none_or(|&last| last as usize + panel.input + panels.reach() <= rows.len()));
        assert!(!panels.runs.is_empty() && panels.run_len > 0 && !windows.is_empty());
        assert!(weights.len() >= panel.blocks * panels.block_len());
        let steps = panels.runs.len() * panels.run_len / panels.kr;
        let pixels = pixels(panel.len, len, steps);
        let ahead_step = (panel.blocks * panels.nr * panels.kr).div_ceil(len.div_ceil(pixels));
        let half = usize::from(has_half(panel.len));
        Self {
            rows: rows[panel.input..].as_ptr(),
            windows,
            pixels,
            blocks: panel.blocks - half,
            half,
            runs: &panels.runs,
            run_len: panels.run_len,
            weights: weights.as_ptr(),
            ahead: weights.as_ptr().wrapping_add(panel.blocks * panels.block_len()),
            ahead_step,
            ahead_tile: steps * ahead_step,
            out: out(first * out_c + panel.channel, (windows.len() - 1) * out_c + panel.len),
            channels: panel.len,
            out_c,
        }
    }

    /// Whether the panel has all channels of its blocks.
    #[inline(always)]
    pub(super) fn whole(&self) -> bool {
        self.channels == self.blocks * LANES + self.half * (LANES / 2)
    }

    /// Which of the next panel's weights the tile from pixel `first` on asks for first.
    #[inline(always)]
    pub(super) fn ahead<const MR: usize>(&self, first: usize) -> *const W {
        self.ahead.wrapping_add(first.div_ceil(MR) * self.ahead_tile)
    }

    /// First pixels of the tiles: of `MR` pixels each, of which the last starts early enough to be whole.
    #[inline(always)]
    pub(super) fn tiles<const MR: usize>(&self) -> impl Iterator<Item = usize> {
        let last = self.windows.len() - MR;
        (0..self.windows.len().div_ceil(MR)).map(move |tile| (tile * MR).min(last))
    }

    /// Where the windows of the tile from pixel `first` on start.
    ///
    /// # Safety
    /// There are `MR` pixels from there on.
    #[inline(always)]
    pub(super) unsafe fn windows<const MR: usize>(&self, first: usize) -> [*const X; MR] {
        // SAFETY: the caller's promise; windows lie in the band's rows, as `new` checked.
        std::array::from_fn(|pixel| unsafe { self.rows.add(*self.windows.get_unchecked(first + pixel) as usize) })
    }
}

#[cfg(test)]
mod tests {
    use super::super::by_shape;
    use super::*;

    #[test]
    fn tiles_leave_little_unused() {
        let many = 288;
        assert_eq!(pixels(48, 49, many), 7);
        assert_eq!(pixels(48, 64, many), 8);
        assert_eq!(pixels(16, 6, many), 1);
        assert_eq!(pixels(64, 784, many), 6);
        assert_eq!(pixels(56, 784, 16), 6);
    }

    #[test]
    fn tiles_of_few_steps_are_small() {
        assert_eq!(pixels(64, 784, 16), 3);
        // Of 3 pixels, 17 tiles would have 51; of 7 there is none too many.
        assert_eq!(pixels(48, 49, 80), 7);
    }

    #[test]
    fn there_is_code_for_each_tile() {
        struct Shape {
            pixels: usize,
            blocks: usize,
            half: usize,
        }
        for (channels, map) in (1..=MAX_BLOCKS * LANES).flat_map(|c| (1..50).map(move |map| (c, map))) {
            for steps in [1, 64, 65, 200, 201, 1000] {
                let half = usize::from(has_half(channels));
                let strip =
                    Shape { pixels: pixels(channels, map, steps), blocks: channels.div_ceil(LANES) - half, half };
                assert!(strip.pixels <= map);
                assert_eq!(by_shape!(strip, |MR, NB, H| MR * (NB + H)), strip.pixels * channels.div_ceil(LANES));
            }
        }
    }

    #[test]
    fn panels_suit_the_channels() {
        let shape = |channels: usize, pixels| choose(&Conv2d::linear(64, channels), pixels, 16);
        assert_eq!(shape(16, 784), TileShape { blocks: 1, pixels: 7 });
        assert_eq!(shape(512, 49), TileShape { blocks: 3, pixels: 7 });
        assert_eq!(shape(1000, 1).pixels, 1);
    }
}
