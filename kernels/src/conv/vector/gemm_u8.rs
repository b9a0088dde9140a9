//! int8 convolution as a matrix product: tasks, packed weights and scratch; the tiles are an instruction set's.
//!
//! A task converts the padded input rows of its band once; every tap of every window is then a group of consecutive
//! values in a row of that copy. Kernels that multiply bytes as they are read the input in place where there is no
//! padding and no tap that must be filled up. Weights stay bytes.

use std::marker::PhantomData;
use std::ops::Range;

use super::stack::{Stack, stacked, stacked_weights};
use super::{
    Activation8, AddTo, Band, Bands, EpilogueU8, Panel, Panels, Part, ResidualU8, StackedRow, Tile, TileShape, Tiles,
    scratch_as, scratch_bytes,
};
use crate::conv::{Conv2d, InputRows, PackedU8, RowKernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Requantize, Team};

/// What an instruction set adds to [`GemmU8`].
pub(crate) trait GemmU8Kernel: Send + Sync + Sized + 'static {
    /// Activations in the converted rows.
    type X: Activation8;
    /// Most pixels of a tile, channels of a block, products that an instruction sums.
    const MR: usize;
    const NR: usize;
    const KR: usize;
    /// Adds residuals.
    const ADD_TO: AddTo;
    /// Tiles to choose from for a layer.
    const SHAPES: &'static [TileShape] = &[TileShape { blocks: 1, pixels: Self::MR }];
    /// Bytes of converted input that a task should stay near.
    const BAND_BYTES: usize;

    /// Blocks of a panel and most pixels of a tile for a layer in bands of `band` pixels.
    fn shape(conv: &Conv2d, band: usize) -> TileShape {
        let _ = band;
        TileShape::choose(Self::SHAPES, conv, Self::NR)
    }

    /// Finds out which of the kernel's ways from sums to outputs these weights allow, and may change the constants to what that one needs.
    #[cfg(target_arch = "x86_64")]
    fn way(conv: &Conv2d, weights: &[i8], requantize: &Requantize, constants: &mut EpilogueU8) -> u8 {
        let _ = (conv, weights, requantize, constants);
        0
    }

    /// Whether it stacks the rows of this convolution's windows; see [`Stack`].
    fn stacks(conv: &Conv2d) -> bool {
        let _ = conv;
        false
    }

    /// Stacks rows to the beginning of `out`. It may write beyond them, up to the slice's end or 64 elements.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn stack(row: &StackedRow<Self::X>, out: &mut [Self::X]) {
        row.copy_to(out);
    }

    /// [`GemmU8::part_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// The CPU has the instruction set. No other task has the part.
    unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [Self::X], out: &SharedMut<u8>);

    /// The outputs of a panel and all tiles of a band.
    ///
    /// # Safety
    /// The CPU has the instruction set; `rows` are those of the band; no other task has the band and panel.
    unsafe fn panel(gemm: &GemmU8<Self>, rows: &[Self::X], band: Band, panel: &Panel, out: &SharedMut<u8>);
}

/// A convolution packed for the kernel `K`.
pub(crate) struct GemmU8<K: GemmU8Kernel> {
    pub(crate) bands: Bands,
    pub(crate) panels: Panels,
    /// As [`Panels::pack`] lays them.
    weights: AlignedBuf<i8>,
    /// Its bias holds the correction for the activations' offset.
    pub(crate) epilogue: EpilogueU8,
    residual: Option<ResidualU8>,
    padding: K::X,
    /// The kernel's way from sums to outputs.
    #[cfg(target_arch = "x86_64")]
    pub(crate) way: u8,
    /// Where the windows of a band's pixels start in its rows.
    #[cfg(target_arch = "x86_64")]
    pub(crate) windows: Vec<u32>,
    /// What makes rows of windows' rows, where the geometry is that of stacked rows.
    stack: Option<Stack>,
    /// Most pixels of a tile, chosen for this layer.
    pixels: usize,
    /// Ranges of panels that tasks of one band share out.
    splits: usize,
    /// Elements of a task's converted rows, a multiple of a cache line; 0 where the input is read in place.
    rows_len: usize,
    kernel: PhantomData<fn() -> K>,
}

impl<K: GemmU8Kernel> GemmU8<K> {
    /// Channels of a block.
    #[cfg(target_arch = "x86_64")]
    pub(crate) const NR: usize = K::NR;

    pub(crate) fn new(conv: &Conv2d, weights: &[i8], requantize: Requantize) -> Self {
        if !K::stacks(conv) {
            return Self::of(conv, weights, requantize);
        }
        let mut made = Self::of(&stacked(conv), &stacked_weights(conv, weights), requantize);
        let stack = Stack::new(conv, &made.bands);
        made.rows_len = stack.scratch_len();
        made.stack = Some(stack);
        made
    }

    /// Of rows as they are.
    fn of(conv: &Conv2d, weights: &[i8], mut requantize: Requantize) -> Self {
        let bands = Bands::new(conv, conv.in_c, size_of::<K::X>(), K::BAND_BYTES);
        let run = if conv.groups == 1 { conv.kernel[1] * conv.in_c } else { conv.group_in() };
        let filled = !run.is_multiple_of(K::KR);
        let in_place = K::X::unconverted(&[]).is_some() && conv.padding == [0, 0] && !filled;
        // A band's copy is made again for each range of channels: it must be small beside the weights.
        let fewer = in_place || conv.weight_len() > 8 * conv.in_len();
        let bands = if fewer { bands.fewer_for_weights(K::BAND_BYTES) } else { bands };
        let shape = K::shape(conv, bands.pixels());
        let bands = bands.align_to(shape.pixels);
        let panels = Panels::new(conv, bands.padded_w(), [K::NR, K::KR], shape.blocks);
        // A window's last run may be filled up to a group.
        let rows_len = if in_place { 0 } else { (bands.padded_len() + K::KR).next_multiple_of(64) };
        for (bias, sum) in requantize.bias_i32.iter_mut().zip(conv.weight_sums(weights)) {
            *bias = bias.wrapping_add(sum.wrapping_mul(K::X::OFFSET));
        }
        #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
        let mut epilogue = EpilogueU8::new(&requantize, |v| panels.constants(v), |v| panels.constants(v));
        Self {
            #[cfg(target_arch = "x86_64")]
            way: K::way(conv, weights, &requantize, &mut epilogue),
            weights: panels.pack(conv, weights),
            epilogue,
            residual: ResidualU8::new(&requantize, K::ADD_TO),
            padding: K::X::from_u8(requantize.x_zero_point),
            #[cfg(target_arch = "x86_64")]
            windows: bands.windows(),
            stack: None,
            pixels: shape.pixels,
            splits: bands.splits(panels.count()),
            rows_len,
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

    /// The outputs of a part, with as many of the residual's elements where there is one: parts of some channels leave the sum to the end.
    ///
    /// # Safety
    /// Those of [`GemmU8Kernel::part`].
    unsafe fn make_part(
        &self,
        part: &Part,
        (input, residual): (&[u8], Option<&[u8]>),
        rows: &mut [K::X],
        out: &SharedMut<u8>,
    ) {
        // SAFETY: the caller's promise.
        unsafe {
            K::part(self, part, input, rows, out);
            let residual = residual.filter(|_| part.panels.len() == self.panels.count());
            if let (Some(sum), Some(residual)) = (&self.residual, residual) {
                sum.add_band(&self.bands, part.band, residual, out);
            }
        }
    }

    /// What [`GemmU8Kernel::part`] does: the outputs of a part, with `rows` for its padded input.
    ///
    /// # Safety
    /// Those of [`GemmU8Kernel::part`].
    #[inline(always)]
    pub(crate) unsafe fn part_body(&self, part: &Part, input: &[u8], rows: &mut [K::X], out: &SharedMut<u8>) {
        let band = part.band;
        let rows = match (&self.stack, K::X::unconverted(input)) {
            // SAFETY: the caller's promise.
            (Some(stack), _) => unsafe { stack.fill::<K>(band, input, rows, self.padding) },
            (None, Some(input)) if self.rows_len == 0 => &input[self.bands.in_start(band)..],
            (None, _) => {
                self.bands.copy_padded(band, input, rows, self.padding, K::X::from_u8);
                &*rows
            }
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

    /// A panel's weights: `NR * KR` bytes a block for each of the `run_len / KR` groups of each run.
    #[inline(always)]
    pub(crate) fn weights(&self, panel: &Panel) -> &[i8] {
        &self.weights[panel.weights..][..panel.blocks * self.panels.block_len()]
    }

    /// Where the windows of a tile's first `MR` pixels start in `rows`. All that [`Panels::runs`] name after it, fill
    /// included, lies in `rows`: a window ends inside the band's padded rows but for the fill of up to `KR - 1`
    /// elements, for which `rows_len` has room; rows of the input itself are read without fill.
    ///
    /// # Safety
    /// `rows` are those of the tile's band, and the tile has `MR` pixels.
    #[inline(always)]
    pub(crate) unsafe fn windows<const MR: usize>(
        &self,
        rows: &[K::X],
        tile: &Tile,
        panel: &Panel,
    ) -> [*const K::X; MR] {
        debug_assert!(tile.offsets[..MR].iter().all(|o| o + panel.input + self.panels.reach() <= rows.len()));
        // SAFETY: see above.
        std::array::from_fn(|pixel| unsafe { rows.as_ptr().add(tile.offsets[pixel] + panel.input) })
    }

    /// Where the outputs of a tile's pixel and panel go.
    ///
    /// # Safety
    /// No other task has the tile and panel, and the last result for this pixel is no longer used.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as `SharedMut::part`")]
    pub(crate) unsafe fn out_part<'a>(
        &self,
        out: &'a SharedMut<u8>,
        tile: &Tile,
        pixel: usize,
        panel: &Panel,
    ) -> &'a mut [u8] {
        // SAFETY: these channels of this pixel belong to this tile and panel.
        unsafe { out.part((tile.first + pixel) * self.bands.conv.out_c + panel.channel, panel.len) }
    }
}

impl<K: GemmU8Kernel> PackedU8 for GemmU8<K> {
    fn scratch_bytes(&self) -> usize {
        scratch_bytes::<K::X>(self.tasks() * self.rows_len)
    }

    fn weight_bytes(&self) -> usize {
        self.weights.len() + self.epilogue.bytes()
    }

    fn run(&self, input: &[u8], residual: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let rows = SharedMut::new(scratch_as(scratch));
        let out = SharedMut::new(output);
        // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; every task runs once, with rows of its own.
        team.run(self.tasks(), |task| unsafe {
            let rows = rows.part(task * self.rows_len, self.rows_len);
            self.make_part(&self.part(task), (input, residual), rows, &out);
        });
        if let (Some(sum), Some(residual)) = (&self.residual, residual.filter(|_| self.splits > 1)) {
            // SAFETY: as above; all outputs have been made.
            unsafe { sum.add_all(residual, &out, team) };
        }
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        Some(self)
    }
}

impl<K: GemmU8Kernel> RowKernel<u8> for GemmU8<K> {
    fn scratch_len(&self) -> usize {
        scratch_bytes::<K::X>(self.rows_len)
    }

    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, u8>,
        residual: Option<&[u8]>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let (padded, out) = (&mut scratch_as(scratch)[..self.rows_len], SharedMut::new(output));
        for band in self.bands.within(rows, input.first) {
            let part = Part { band, panels: 0..self.panels.count() };
            // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; the slices are this call's alone.
            unsafe { self.make_part(&part, (input.values, residual), padded, &out) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spares_steps;
    use super::*;
    use crate::{ConvU8, Isa, Numerics, QParams};

    /// A kernel in plain Rust that reads bytes as they are, in groups of four.
    struct Plain;

    impl GemmU8Kernel for Plain {
        type X = u8;
        const MR: usize = 3;
        const NR: usize = 8;
        const KR: usize = 4;
        const ADD_TO: AddTo = |_, _, _| unreachable!("no residual");
        const BAND_BYTES: usize = 1 << 10;

        fn stacks(conv: &Conv2d) -> bool {
            conv.in_c < 6 && spares_steps(conv, Self::KR)
        }

        unsafe fn part(gemm: &GemmU8<Self>, part: &Part, input: &[u8], rows: &mut [u8], out: &SharedMut<u8>) {
            // SAFETY: the caller's promise.
            unsafe { gemm.part_body(part, input, rows, out) }
        }

        unsafe fn panel(gemm: &GemmU8<Self>, rows: &[u8], band: Band, panel: &Panel, out: &SharedMut<u8>) {
            let (run_len, weights) = (gemm.panels.run_len, gemm.weights(panel));
            for (tile, pixel) in gemm.tiles(band).flat_map(|tile| (0..tile.len).map(move |pixel| (tile, pixel))) {
                // SAFETY: the caller's promise; each pixel's part is used once.
                let out = unsafe { gemm.out_part(out, &tile, pixel, panel) };
                for (n, out) in out.iter_mut().enumerate() {
                    let mut sum = gemm.epilogue.bias_i32[panel.constants + n];
                    for (index, run) in gemm.panels.runs.iter().enumerate() {
                        for k in 0..run_len {
                            let at =
                                (index * run_len + k / Self::KR * Self::KR) * Self::NR + n * Self::KR + k % Self::KR;
                            let x = rows[tile.offsets[pixel] + panel.input + run + k];
                            sum += i32::from(x) * i32::from(weights[at]);
                        }
                    }
                    *out = sum.clamp(0, 255) as u8;
                }
            }
        }
    }

    /// Sums that fit a byte, so that the kernel needs no epilogue; a copy is made only where it must be.
    #[test]
    fn bytes_are_read_in_place_or_padded() {
        let map = Conv2d { in_h: 9, in_w: 7, ..Conv2d::linear(8, 11) };
        let same = |kernel: usize| Conv2d { kernel: [kernel; 2], padding: [kernel / 2; 2], ..map };
        let cases = [
            (map, true),
            (Conv2d { stride: [2, 3], ..map }, true),
            (Conv2d { kernel: [3, 3], ..map }, true),
            (Conv2d { groups: 2, out_c: 6, ..map }, true),
            (Conv2d { in_c: 7, ..map }, false),
            (Conv2d { groups: 2, in_c: 12, out_c: 6, ..map }, false),
            (same(3), false),
            (Conv2d { in_c: 3, stride: [2, 2], ..same(5) }, false),
            (Conv2d { in_c: 3, stride: [1, 2], ..same(3) }, false),
            (Conv2d { in_c: 1, kernel: [2, 3], padding: [0, 1], ..map }, false),
        ];
        for (conv, in_place) in cases {
            let q = QParams { scale: 1.0, zero_point: 3 };
            let input: Vec<u8> = (0..conv.in_len()).map(|i| (i * 7 % 5) as u8).collect();
            let weights: Vec<i8> = (0..conv.weight_len()).map(|i| (i * 5 % 3) as i8 - 1).collect();
            let (bias, sums) = (vec![40.0; conv.out_c], conv.weight_sums(&weights));
            let out = QParams { scale: 1.0, zero_point: 0 };
            let requantize = Requantize::new(Numerics::Qnnpack, q, &[1.0], &bias, &sums, out, false).expect("valid");
            let run = |packed: &dyn PackedU8| {
                let (mut scratch, mut output) = (vec![9; packed.scratch_bytes()], vec![0; conv.out_len()]);
                packed.run(&input, None, &mut output, &mut scratch, &Team::new(2));
                output
            };
            let scalar = ConvU8::new(Isa::Scalar, &conv, &weights, 3, requantize.clone()).expect("valid");
            let mut expected = vec![0; conv.out_len()];
            scalar.run(&input, &mut expected, &mut vec![0; scalar.scratch_bytes()], &Team::new(1));
            let gemm = GemmU8::<Plain>::new(&conv, &weights, requantize);
            assert_eq!(gemm.rows_len == 0, in_place, "{conv:?}");
            assert_eq!(run(&gemm), expected, "{conv:?}");
        }
    }
}
