//! A map's tiles, and the chunks that they are transformed and multiplied in.

use std::ops::Range;

use crate::conv::Conv2d;

/// Most tiles of a chunk: enough for a panel's weights to be worth reading, few enough for their products to stay in a
/// second-level cache.
pub(super) const CHUNK: usize = 28;

/// A tile: where its outputs begin, and how many there are along each axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    pub(super) y: usize,
    pub(super) x: usize,
    pub(super) outputs: [usize; 2],
}

/// Tiles that are transformed and multiplied together. Those without a point lie at an end, so that those with it are a range:
/// first come tiles short across only, then whole ones, those short down only, and those short along both axes.
pub(crate) struct Chunk {
    pub(super) tiles: Vec<Tile>,
    /// Whole along y: these from the first on. Whole along x: a range.
    whole_y: usize,
    whole_x: Range<usize>,
}

impl Chunk {
    /// For tiles of up to `most` outputs.
    fn new(mut tiles: Vec<Tile>, most: [usize; 2]) -> Self {
        let whole = |tile: &Tile| [tile.outputs[0] == most[0], tile.outputs[1] == most[1]];
        tiles.sort_by_key(|tile| match whole(tile) {
            [true, false] => 0,
            [true, true] => 1,
            [false, true] => 2,
            [false, false] => 3,
        });
        let count = |wanted: &dyn Fn([bool; 2]) -> bool| tiles.iter().filter(|tile| wanted(whole(tile))).count();
        let (whole_y, first) = (count(&|whole| whole[0]), count(&|whole| whole == [true, false]));
        let whole_x = first..first + count(&|whole| whole[1]);
        Self { tiles, whole_y, whole_x }
    }

    /// The tiles that have a point of which short ones lack these coordinates or do not.
    pub(super) fn with_point(&self, lacking: [bool; 2]) -> Range<usize> {
        let across = if lacking[1] { self.whole_x.clone() } else { 0..self.tiles.len() };
        if lacking[0] { across.start..across.end.min(self.whole_y) } else { across }
    }
}

/// Tiles of `m` x `m` outputs of a map.
pub(super) fn tiles(conv: &Conv2d, m: usize) -> usize {
    conv.out_h().div_ceil(m) * conv.out_w().div_ceil(m)
}

/// A map's tiles of up to `m` outputs along each axis, in chunks of even size.
pub(super) fn chunks(conv: &Conv2d, m: [usize; 2]) -> Vec<Chunk> {
    let (out_h, out_w) = (conv.out_h(), conv.out_w());
    let row =
        |y| (0..out_w).step_by(m[1]).map(move |x| Tile { y, x, outputs: [m[0].min(out_h - y), m[1].min(out_w - x)] });
    let tiles: Vec<Tile> = (0..out_h).step_by(m[0]).flat_map(row).collect();
    // As many for each of two threads.
    let count = if tiles.len() > CHUNK { tiles.len().div_ceil(2 * CHUNK) * 2 } else { 1 };
    let part = |i| tiles[i * tiles.len() / count..(i + 1) * tiles.len() / count].to_vec();
    (0..count).map(|i| Chunk::new(part(i), m)).collect()
}
