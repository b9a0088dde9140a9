//! f32 convolution as a matrix product: tasks, packed weights and scratch; the tiles are an instruction set's.
//!
//! Each output is one chain of fused multiply-adds over the taps, whatever the tile, so results depend neither on tiles
//! nor on threads. Without padding the kernel reads the input in place, else a padded copy of its band.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Band, Bands, Outputs, Panel, Panels, Part, Tile, TileShape, Tiles};
use crate::conv::{Activation, Conv2d, InputRows, PackedF32, RowKernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Team};

/// Bytes of input that a task should stay near: a part of a 256 KB or larger second-level cache.
const BAND_BYTES: usize = 192 << 10;

/// What an instruction set adds to [`GemmF32`].
pub(crate) trait GemmF32Kernel: Send + Sync + Sized + 'static {
    /// Most pixels of a tile, and channels of a block.
    const MR: usize;
    const NR: usize;
    /// Tiles to choose from for a layer.
    const SHAPES: &'static [TileShape] = &[TileShape { blocks: 1, pixels: Self::MR }];

    /// Blocks of a panel and most pixels of a tile for a layer in bands of `band` pixels.
    fn shape(conv: &Conv2d, band: usize) -> TileShape {
        let _ = band;
        TileShape::choose(Self::SHAPES, conv, Self::NR)
    }

    /// [`GemmF32::part_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// The CPU has the instruction set. No other task has the part.
    unsafe fn part(gemm: &GemmF32<Self>, part: &Part, input: &[f32], rows: &mut [f32], out: &Outputs<f32>);

    /// The outputs of a panel and all tiles of a band.
    ///
    /// # Safety
    /// The CPU has the instruction set; `rows` are those of the band; no other task has the band and panel.
    unsafe fn panel(gemm: &GemmF32<Self>, rows: &[f32], band: Band, panel: &Panel, out: &Outputs<f32>);
}

/// A convolution packed for the kernel `K`.
pub(crate) struct GemmF32<K: GemmF32Kernel> {
    pub(crate) bands: Bands,
    pub(crate) panels: Panels,
    /// As [`Panels::pack`] lays them.
    weights: AlignedBuf<f32>,
    pub(crate) bias: AlignedBuf<f32>,
    pub(crate) activation: Activation,
    /// Most pixels of a tile, chosen for this layer.
    pub(crate) pixels: usize,
    /// Where the windows of a band's pixels start in its rows.
    #[cfg(target_arch = "x86_64")]
    pub(crate) windows: Vec<u32>,
    /// Ranges of panels that tasks of one band share out.
    splits: usize,
    /// Elements of a task's padded rows; 0 where the input is read in place.
    rows_len: usize,
    kernel: PhantomData<fn() -> K>,
}

impl<K: GemmF32Kernel> GemmF32<K> {
    pub(crate) fn new(conv: &Conv2d, weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        let bands = Bands::new(conv, conv.in_c, size_of::<f32>(), BAND_BYTES);
        // A band's padded copy is made again for each range of channels: it must be small beside the weights.
        let fewer = conv.padding == [0, 0] || conv.weight_len() > 8 * conv.in_len();
        let bands = if fewer { bands.fewer_for_weights(BAND_BYTES / size_of::<f32>()) } else { bands };
        let shape = K::shape(conv, bands.pixels());
        let bands = bands.align_to(shape.pixels);
        let panels = Panels::new(conv, bands.padded_w(), [K::NR, 1], shape.blocks);
        Self {
            weights: panels.pack(conv, weights),
            bias: panels.constants(bias),
            activation,
            pixels: shape.pixels,
            #[cfg(target_arch = "x86_64")]
            windows: bands.windows(),
            splits: bands.splits(panels.count()),
            rows_len: if conv.padding == [0, 0] { 0 } else { bands.padded_len().next_multiple_of(16) },
            bands,
            panels,
            kernel: PhantomData,
        }
    }

    fn tasks(&self) -> usize {
        self.bands.count() * self.splits
    }

    /// The part of the whole map that is a task's.
    fn part(&self, task: usize) -> Part {
        let (band, split, count) = (task / self.splits, task % self.splits, self.panels.count());
        let panels = split * count / self.splits..(split + 1) * count / self.splits;
        Part { band: self.bands.band(band), panels }
    }

    /// What [`GemmF32Kernel::part`] does: the outputs of a part, with `rows` for its padded input.
    ///
    /// # Safety
    /// Those of [`GemmF32Kernel::part`].
    #[inline(always)]
    pub(crate) unsafe fn part_body(&self, part: &Part, input: &[f32], rows: &mut [f32], out: &Outputs<f32>) {
        let band = part.band;
        let rows = if self.rows_len == 0 {
            &input[self.bands.in_start(band)..]
        } else {
            self.bands.copy_padded(band, input, rows, 0.0, |x| x);
            &*rows
        };
        for index in part.panels.clone() {
            let panel = self.panels.panel(index);
            // SAFETY: `rows` are those of this band, and tasks differ in their band or their panels.
            unsafe { K::panel(self, rows, band, &panel, out) };
        }
    }

    /// The tiles of a band.
    #[inline(always)]
    pub(crate) fn tiles(&self, band: Band) -> Tiles {
        self.bands.tiles(band, self.pixels)
    }

    /// A panel's weights, block after block: `NR` for each of the `run_len` elements of each run.
    #[inline(always)]
    pub(crate) fn weights(&self, panel: &Panel) -> &[f32] {
        &self.weights[panel.weights..][..panel.blocks * self.panels.block_len()]
    }

    /// Elements from the outputs of a pixel to the next one's.
    #[inline(always)]
    pub(crate) fn out_c(&self) -> usize {
        self.bands.conv.out_c
    }

    /// Where the windows of a tile's first `MR` pixels start in `rows`. All that [`Panels::runs`] name after it lies in
    /// `rows`: runs, which are not filled up, end inside the band's rows, be they the padded copy or the input.
    ///
    /// # Safety
    /// `rows` are those of the tile's band, and the tile has `MR` pixels.
    #[inline(always)]
    pub(crate) unsafe fn windows<const MR: usize>(&self, rows: &[f32], tile: &Tile, panel: &Panel) -> [*const f32; MR] {
        debug_assert!(tile.offsets[..MR].iter().all(|o| o + panel.input + self.panels.reach() <= rows.len()));
        // SAFETY: see above.
        std::array::from_fn(|pixel| unsafe { rows.as_ptr().add(tile.offsets[pixel] + panel.input) })
    }

    /// Where the outputs of a tile's pixel and panel go, and what is added to them.
    ///
    /// # Safety
    /// No other task has the tile and panel, and the last result for this pixel is no longer used.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as `SharedMut::part`")]
    pub(crate) unsafe fn out_part<'a>(
        &self,
        out: &'a Outputs<f32>,
        tile: &Tile,
        pixel: usize,
        panel: &Panel,
    ) -> (&'a mut [f32], Option<&'a [f32]>) {
        // SAFETY: these channels of this pixel belong to this tile and panel.
        unsafe { out.part((tile.first + pixel) * self.out_c() + panel.channel, panel.len) }
    }
}

impl<K: GemmF32Kernel> PackedF32 for GemmF32<K> {
    fn scratch_len(&self) -> usize {
        self.tasks() * self.rows_len
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    fn run(&self, input: &[f32], residual: Option<&[f32]>, output: &mut [f32], scratch: &mut [f32], team: &Team) {
        let rows = SharedMut::new(scratch);
        let out = Outputs::new(output, residual);
        // SAFETY: `ConvF32::new` checked that the CPU has the instruction set; every task runs once, with rows of its own.
        team.run(self.tasks(), |task| unsafe {
            let rows = rows.part(task * self.rows_len, self.rows_len);
            K::part(self, &self.part(task), input, rows, &out);
        });
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<f32>> {
        Some(self)
    }
}

impl<K: GemmF32Kernel> RowKernel<f32> for GemmF32<K> {
    fn scratch_len(&self) -> usize {
        self.rows_len
    }

    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, f32>,
        residual: Option<&[f32]>,
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let out = Outputs::new(output, residual);
        for band in self.bands.within(rows, input.first) {
            let part = Part { band, panels: 0..self.panels.count() };
            // SAFETY: `ConvF32::new` checked that the CPU has the instruction set; the slices are this call's alone.
            unsafe { K::part(self, &part, input.values, &mut scratch[..self.rows_len], &out) };
        }
    }
}
