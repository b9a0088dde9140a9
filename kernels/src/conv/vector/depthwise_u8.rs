//! int8 depthwise convolution: tasks, packed weights and scratch; the tiles are an instruction set's.
//!
//! A task widens the padded input rows of its band to i16, with the channels of a pixel filled up to whole blocks.

use std::marker::PhantomData;
use std::ops::Range;

use super::{Activation8, Band, Bands, EpilogueU8, Tile, scratch_as, scratch_bytes};
use crate::conv::{Conv2d, InputRows, PackedU8, RowKernel};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Element, Requantize, Team};

/// Bytes of widened input that a task should stay near.
const BAND_BYTES: usize = 128 << 10;

/// What an instruction set adds to [`DepthwiseU8`].
pub(crate) trait DepthwiseU8Kernel: Send + Sync + Sized + 'static {
    /// Taps that an instruction sums.
    const KR: usize;

    /// The channel, within its block, of element `index` of a block of sums.
    fn channel_of(index: usize) -> usize;

    /// [`DepthwiseU8::band_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// The CPU has the instruction set. No other task has the band.
    unsafe fn band(this: &DepthwiseU8<Self>, band: Band, input: &[u8], rows: &mut [i16], out: &SharedMut<u8>);

    /// The outputs of a tile of `MR` pixels and the block of channels from `channel` on.
    ///
    /// # Safety
    /// The CPU has the instruction set; `rows` are those of the tile's band, which no other task has; the tile has `MR`
    /// pixels; `channel` is a multiple of [`NR`](DepthwiseU8::NR).
    unsafe fn tile<const MR: usize>(
        this: &DepthwiseU8<Self>,
        rows: &[i16],
        tile: &Tile,
        channel: usize,
        out: &SharedMut<u8>,
    );
}

/// A depthwise convolution packed for the kernel `K`.
pub(crate) struct DepthwiseU8<K: DepthwiseU8Kernel> {
    bands: Bands,
    /// Where each tap lies, counted from the window's first element, in groups of `KR`, filled up with the last tap.
    pub(crate) taps: Vec<usize>,
    /// `[block of NR channels][group of taps][NR elements][KR]`, zeros where there is no weight.
    weights: AlignedBuf<i16>,
    pub(crate) epilogue: EpilogueU8,
    padding: i16,
    /// Elements of a task's widened rows; a multiple of a cache line.
    rows_len: usize,
    kernel: PhantomData<fn() -> K>,
}

impl<K: DepthwiseU8Kernel> DepthwiseU8<K> {
    /// Pixels of a tile, and channels of a block.
    pub(crate) const MR: usize = 4;
    pub(crate) const NR: usize = 16;

    pub(crate) fn new(conv: &Conv2d, weights: &[i8], requantize: &Requantize) -> Self {
        let stride = conv.in_c.next_multiple_of(Self::NR);
        let bands = Bands::new(conv, stride, size_of::<i16>(), BAND_BYTES);
        let [kernel_h, kernel_w] = conv.kernel;
        let count = kernel_h * kernel_w;
        let tap = |tap: usize| (tap / kernel_w * bands.padded_w() + tap % kernel_w) * stride;
        let taps: Vec<_> = (0..count.next_multiple_of(K::KR)).map(|t| tap(t.min(count - 1))).collect();
        let mut packed = AlignedBuf::<i16>::new(stride * taps.len());
        for (index, out) in packed.iter_mut().enumerate() {
            let (element, block) = (index / K::KR % Self::NR, index / (Self::NR * taps.len()));
            let tap = index / (Self::NR * K::KR) % (taps.len() / K::KR) * K::KR + index % K::KR;
            let channel = block * Self::NR + K::channel_of(element);
            if channel < conv.in_c && tap < count {
                *out = i16::from(weights[channel * count + tap]);
            }
        }
        Self {
            taps,
            weights: packed,
            epilogue: EpilogueU8::new(requantize, Self::spread, Self::spread),
            padding: i16::from_u8(requantize.x_zero_point),
            rows_len: bands.padded_len().next_multiple_of(32),
            bands,
            kernel: PhantomData,
        }
    }

    /// One value a channel in the kernel's order, zeros for channels that fill up the last block.
    fn spread<T: Element>(values: &[T]) -> AlignedBuf<T> {
        let mut spread = AlignedBuf::new(values.len().next_multiple_of(Self::NR));
        for (index, out) in spread.iter_mut().enumerate() {
            let channel = index / Self::NR * Self::NR + K::channel_of(index % Self::NR);
            *out = values.get(channel).copied().unwrap_or_default();
        }
        spread
    }

    /// What [`DepthwiseU8Kernel::band`] does: the outputs of a band, with `rows` for its widened input.
    ///
    /// # Safety
    /// Those of [`DepthwiseU8Kernel::band`].
    #[inline(always)]
    pub(crate) unsafe fn band_body(&self, band: Band, input: &[u8], rows: &mut [i16], out: &SharedMut<u8>) {
        self.bands.copy_padded(band, input, rows, self.padding, i16::from_u8);
        for channel in (0..self.bands.conv.in_c).step_by(Self::NR) {
            for tile in self.bands.tiles(band, Self::MR) {
                // SAFETY: `rows` are those of this band, which no other task has.
                unsafe {
                    match tile.len {
                        1 => K::tile::<1>(self, rows, &tile, channel, out),
                        2 => K::tile::<2>(self, rows, &tile, channel, out),
                        3 => K::tile::<3>(self, rows, &tile, channel, out),
                        _ => K::tile::<4>(self, rows, &tile, channel, out),
                    }
                }
            }
        }
    }

    /// The weights of the block of channels from `channel` on.
    #[inline(always)]
    pub(crate) fn weights(&self, channel: usize) -> &[i16] {
        let len = self.taps.len() * Self::NR;
        &self.weights[channel / Self::NR * len..][..len]
    }

    /// Where the windows of a tile's first `MR` pixels start in `rows`, at channel `channel`. From every tap after it on,
    /// `NR` elements lie in `rows`: taps are inside the band's padded rows, whose pixels have whole blocks of channels.
    ///
    /// # Safety
    /// `rows` are those of the tile's band, the tile has `MR` pixels, `channel` is a multiple of `NR`.
    #[inline(always)]
    pub(crate) unsafe fn windows<const MR: usize>(
        &self,
        rows: &[i16],
        tile: &Tile,
        channel: usize,
    ) -> [*const i16; MR] {
        let reach = self.taps.iter().max().unwrap_or(&0) + channel + Self::NR;
        debug_assert!(tile.offsets[..MR].iter().all(|offset| offset + reach <= rows.len()));
        // SAFETY: see above.
        std::array::from_fn(|pixel| unsafe { rows.as_ptr().add(tile.offsets[pixel] + channel) })
    }

    /// Where the outputs of a tile's pixel and the block of channels from `channel` on go.
    ///
    /// # Safety
    /// No other task has the tile's band, and the last result for this pixel is no longer used.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "as `SharedMut::part`")]
    pub(crate) unsafe fn out_part<'a>(
        &self,
        out: &'a SharedMut<u8>,
        tile: &Tile,
        pixel: usize,
        channel: usize,
    ) -> &'a mut [u8] {
        let out_c = self.bands.conv.out_c;
        // SAFETY: these channels of this pixel belong to this task's band.
        unsafe { out.part((tile.first + pixel) * out_c + channel, (out_c - channel).min(Self::NR)) }
    }
}

impl<K: DepthwiseU8Kernel> PackedU8 for DepthwiseU8<K> {
    fn scratch_bytes(&self) -> usize {
        scratch_bytes::<i16>(self.bands.count() * self.rows_len)
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + self.epilogue.bytes()
    }

    fn run(&self, input: &[u8], _: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team) {
        let rows = SharedMut::new(scratch_as(scratch));
        let out = SharedMut::new(output);
        // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; every task runs once, with rows of its own.
        team.run(self.bands.count(), |task| unsafe {
            let rows = rows.part(task * self.rows_len, self.rows_len);
            K::band(self, self.bands.band(task), input, rows, &out);
        });
    }

    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        Some(self)
    }
}

impl<K: DepthwiseU8Kernel> RowKernel<u8> for DepthwiseU8<K> {
    fn scratch_len(&self) -> usize {
        scratch_bytes::<i16>(self.rows_len)
    }

    fn make(
        &self,
        rows: Range<usize>,
        input: InputRows<'_, u8>,
        _: Option<&[u8]>,
        output: &mut [u8],
        scratch: &mut [u8],
    ) {
        let (widened, out) = (&mut scratch_as(scratch)[..self.rows_len], SharedMut::new(output));
        for band in self.bands.within(rows, input.first) {
            // SAFETY: `ConvU8::new` checked that the CPU has the instruction set; the slices are this call's alone.
            unsafe { K::band(self, band, input.values, widened, &out) };
        }
    }
}
