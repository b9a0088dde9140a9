//! f32 pointwise convolution and the depthwise one after it, in one pass: tasks and packed weights. The tensor between
//! the two is never written out.
//!
//! A task makes a block of channels of a band of output rows. It expands a few rows of these channels at a time into a
//! ring of padded rows that stays in the first-level cache, and convolves them from there. Sums are made in the order of
//! the two kernels run one after the other, so results are equal bit for bit; but taps in the padding, which those leave
//! out, add products of zero here.

use std::marker::PhantomData;
use std::ops::Range;

use super::{DepthwiseStrip, LanesF32, even_tiles};
use crate::conv::{Activation, ChannelView, Conv2d, ConvF32Parts, PackedF32};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Team};

/// Bytes that a ring should stay within, if it has room for one step: part of a first-level cache.
const RING_BYTES: usize = 20 << 10;

/// Bytes of input that a band should stay near, since every block of channels reads it anew: part of a second-level cache.
const BAND_BYTES: usize = 384 << 10;

/// Outputs of a depthwise tile.
const DEPTHWISE_MR: usize = 8;

/// Tasks for each thread, so that they end at about the same time.
const TASKS_EACH: usize = 4;

/// What an instruction set adds to [`ExpandF32`]: an entry that has its instructions.
pub(crate) trait ExpandF32Kernel: Send + Sync + Sized + 'static {
    /// Its vectors.
    type Lanes: LanesF32;
    /// Vectors of a block of channels, 1 or 2, and most pixels that are expanded at once, 12 or 6: as many sums as registers allow, for
    /// few loads a multiply-add.
    const VECTORS: usize;
    const PIXELS: usize;

    /// [`ExpandF32::items_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`ExpandF32::items_body`].
    unsafe fn items(this: &ExpandF32<Self>, items: Items, input: &[f32], ring: &mut [f32], out: &SharedMut<f32>);

    /// [`ExpandStrip::run`] in a function of its own that has the instruction set: inlined side by side, tiles of all sizes
    /// would leave no registers to each other.
    ///
    /// # Safety
    /// Those of [`ExpandStrip::run`].
    unsafe fn expand<const P: usize, const NV: usize>(strip: &mut ExpandStrip);

    /// [`DepthwiseStrip::run`], likewise.
    ///
    /// # Safety
    /// Those of [`DepthwiseStrip::run`].
    unsafe fn depthwise<const P: usize, const SIZE: usize, const STRIDE: usize>(strip: &mut DepthwiseStrip);
}

/// Both convolutions, packed for the kernel `K`.
pub(crate) struct ExpandF32<K: ExpandF32Kernel> {
    view: ChannelView,
    expand: Conv2d,
    depthwise: Conv2d,
    activations: [Activation; 2],
    /// Pointwise weights, `[block][in_c][channel of the block]`.
    weights: AlignedBuf<f32>,
    bias: AlignedBuf<f32>,
    /// Depthwise weights, `[block][tap][channel of the block]`.
    taps: AlignedBuf<f32>,
    depthwise_bias: AlignedBuf<f32>,
    bands: usize,
    /// Output rows of a step.
    step: usize,
    /// Rows of the ring, and its padded columns.
    ring_rows: usize,
    padded_w: usize,
    /// Lengths and numbers of the tiles of a row of outputs.
    row_tiles: [(usize, usize); 2],
    kernel: PhantomData<fn() -> K>,
}

/// Part of the work of a run: an item is a band, of so many, and a block, which counts faster.
pub(crate) struct Items {
    range: Range<usize>,
    bands: usize,
}

/// Whether the two are a pointwise convolution and a 3x3 or 5x5 depthwise one of its output.
pub(crate) fn is_expand(expand: &Conv2d, depthwise: &Conv2d) -> bool {
    let pointwise =
        expand.kernel == [1, 1] && expand.stride == [1, 1] && expand.padding == [0, 0] && expand.groups == 1;
    let chained = [expand.in_h, expand.in_w, expand.out_c] == [depthwise.in_h, depthwise.in_w, depthwise.in_c];
    let window = matches!(depthwise.kernel, [3, 3] | [5, 5]) && matches!(depthwise.stride, [1, 1] | [2, 2]);
    pointwise && chained && window && depthwise.is_depthwise()
}

impl<K: ExpandF32Kernel> ExpandF32<K> {
    /// Channels of a block.
    const NR: usize = K::VECTORS * K::Lanes::LANES;

    /// For a pair that [`is_expand`] accepts, with slices of the geometries' lengths, and a view of pixels that have its channels.
    pub(crate) fn new(view: ChannelView, expand: &ConvF32Parts, depthwise: &ConvF32Parts) -> Self {
        let (conv, channels) = (depthwise.conv, depthwise.conv.in_c);
        let blocks = channels.div_ceil(Self::NR);
        let padded_w = conv.in_w + 2 * conv.padding[1];
        let row_bytes = padded_w * Self::NR * size_of::<f32>();
        let fitting = (RING_BYTES / row_bytes).saturating_sub(conv.kernel[0]) / conv.stride[0] + 1;
        let step = fitting.min(conv.out_h());
        let bands = size_of::<f32>() * expand.conv.in_len() / BAND_BYTES + 1;
        let pack = |values: &[f32], each: usize| {
            let mut packed = AlignedBuf::new(blocks * each * Self::NR);
            for (index, &value) in values.iter().enumerate() {
                let (channel, i) = (index / each, index % each);
                packed[(channel / Self::NR * each + i) * Self::NR + channel % Self::NR] = value;
            }
            packed
        };
        Self {
            view,
            expand: *expand.conv,
            depthwise: *conv,
            activations: [expand.activation, depthwise.activation],
            weights: pack(expand.weights, expand.conv.in_c),
            bias: pack(expand.bias, 1),
            taps: pack(depthwise.weights, conv.kernel[0] * conv.kernel[1]),
            depthwise_bias: pack(depthwise.bias, 1),
            bands: bands.min(conv.out_h()),
            step,
            ring_rows: (step - 1) * conv.stride[0] + conv.kernel[0],
            padded_w,
            row_tiles: even_tiles(conv.out_w(), DEPTHWISE_MR),
            kernel: PhantomData,
        }
    }

    fn blocks(&self) -> usize {
        self.depthwise.in_c.div_ceil(Self::NR)
    }

    /// Bands of output rows for so many threads: where each has bands of its own it mostly reads what it wrote, but rows at the seams are
    /// expanded twice. Results do not depend on them.
    fn bands(&self, threads: usize) -> usize {
        let (expand, conv) = (&self.expand, &self.depthwise);
        let cost = |&bands: &usize| {
            let rows = conv.out_h().div_ceil(bands);
            let expanded = ((rows - 1) * conv.stride[0] + conv.kernel[0]).min(expand.in_h);
            let item = expanded * expand.in_w * expand.in_c + rows * conv.out_w() * conv.kernel[0] * conv.kernel[1];
            let longest = (bands * self.blocks()).div_ceil(threads) * item;
            // An eighth for outputs that another thread's cache holds when the next layer reads them: a rough measure, of MobileNets
            // on two cores.
            if bands.is_multiple_of(threads) { longest } else { longest + longest / 8 }
        };
        let own = self.bands.next_multiple_of(threads);
        [self.bands, own].into_iter().filter(|&bands| bands <= conv.out_h()).min_by_key(cost).unwrap_or(1)
    }

    fn ring_len(&self) -> usize {
        (self.ring_rows * self.padded_w * Self::NR).next_multiple_of(16)
    }

    /// What [`ExpandF32Kernel::items`] does.
    ///
    /// # Safety
    /// The CPU has the instruction set; no other task has these items. The slices are those of the geometries and the
    /// ring's length.
    #[inline(always)]
    pub(crate) unsafe fn items_body(&self, items: Items, input: &[f32], ring: &mut [f32], out: &SharedMut<f32>) {
        let conv = &self.depthwise;
        let (stride, pad) = (conv.stride[0], conv.padding[0] as isize);
        // The padding's columns stay as they are from here on.
        ring.fill(0.0);
        for item in items.range {
            let (band, block) = (item / self.blocks(), item % self.blocks());
            let (first, end) = (band * conv.out_h() / items.bands, (band + 1) * conv.out_h() / items.bands);
            let mut done = (first * stride) as isize - pad;
            for row in (first..end).step_by(self.step) {
                let step_end = (row + self.step).min(end);
                let needed = ((step_end - 1) * stride + conv.kernel[0]) as isize - pad;
                // SAFETY: the caller's promise; the ring holds the rows of a step.
                unsafe {
                    self.expand_rows(block, done.max((row * stride) as isize - pad)..needed, input, ring);
                    for row in row..step_end {
                        self.depthwise_row(block, row, ring, out);
                    }
                }
                done = needed;
            }
        }
    }

    /// Where a row of the expanded tensor, which may be one of the padding, lies in the ring.
    #[inline(always)]
    fn slot(&self, row: isize) -> usize {
        (row + self.ring_rows as isize) as usize % self.ring_rows * self.padded_w * Self::NR
    }

    /// Expands rows, zeros for those in the padding, into the ring.
    ///
    /// # Safety
    /// As [`ExpandF32::items_body`].
    #[inline(always)]
    unsafe fn expand_rows(&self, block: usize, rows: Range<isize>, input: &[f32], ring: &mut [f32]) {
        let (h, w) = (self.expand.in_h as isize, self.expand.in_w);
        let inside = rows.start.clamp(0, h)..rows.end.clamp(0, h);
        for row in (rows.start..inside.start.min(rows.end)).chain(inside.end.max(rows.start)..rows.end) {
            let start = self.slot(row);
            ring[start..][..self.padded_w * Self::NR].fill(0.0);
        }
        if inside.is_empty() {
            return;
        }
        let (in_c, ring_len) = (self.expand.in_c, self.ring_rows * self.padded_w * Self::NR);
        let pixels = inside.start as usize * w..inside.end as usize * w;
        assert!(ring_len <= ring.len());
        let mut strip = ExpandStrip {
            tiles: 0,
            in_c,
            pixel_len: self.view.pixel_len,
            input: input[pixels.start * self.view.pixel_len..pixels.end * self.view.pixel_len][self.view.first..]
                .as_ptr(),
            weights: self.weights[block * in_c * Self::NR..][..in_c * Self::NR].as_ptr(),
            bias: self.bias[block * Self::NR..][..Self::NR].as_ptr(),
            activation: self.activations[0],
            ring: ring.as_mut_ptr(),
            ring_len,
            next: (self.slot(inside.start), 0),
            row_len: self.padded_w * Self::NR,
            padding: self.depthwise.padding[1],
            columns: w,
            ahead: self.weights[block * in_c * Self::NR..].as_ptr().wrapping_add(in_c * Self::NR),
            ahead_step: Self::NR.div_ceil(pixels.len().div_ceil(K::PIXELS)),
        };
        for (len, tiles) in even_tiles(pixels.len(), K::PIXELS).into_iter().filter(|&(_, tiles)| tiles > 0) {
            strip.tiles = tiles;
            // SAFETY: the caller's promise; the slices above are what the pointers promise, and the tiles of both sizes
            // together have as many pixels as the rows.
            unsafe {
                match (len, self.depthwise.in_c - block * Self::NR > K::Lanes::LANES && K::VECTORS > 1) {
                    (6, true) => K::expand::<6, 2>(&mut strip),
                    (5, true) => K::expand::<5, 2>(&mut strip),
                    (4, true) => K::expand::<4, 2>(&mut strip),
                    (3, true) => K::expand::<3, 2>(&mut strip),
                    (2, true) => K::expand::<2, 2>(&mut strip),
                    (_, true) => K::expand::<1, 2>(&mut strip),
                    (12, false) => K::expand::<12, 1>(&mut strip),
                    (11, false) => K::expand::<11, 1>(&mut strip),
                    (10, false) => K::expand::<10, 1>(&mut strip),
                    (9, false) => K::expand::<9, 1>(&mut strip),
                    (8, false) => K::expand::<8, 1>(&mut strip),
                    (7, false) => K::expand::<7, 1>(&mut strip),
                    (6, false) => K::expand::<6, 1>(&mut strip),
                    (5, false) => K::expand::<5, 1>(&mut strip),
                    (4, false) => K::expand::<4, 1>(&mut strip),
                    (3, false) => K::expand::<3, 1>(&mut strip),
                    (2, false) => K::expand::<2, 1>(&mut strip),
                    (_, false) => K::expand::<1, 1>(&mut strip),
                }
            }
        }
    }

    /// A row of outputs of a block, from the ring.
    ///
    /// # Safety
    /// As [`ExpandF32::items_body`]; the ring holds the rows of the window.
    #[inline(always)]
    unsafe fn depthwise_row(&self, block: usize, row: usize, ring: &[f32], out: &SharedMut<f32>) {
        // SAFETY: the caller's promise.
        unsafe {
            match (self.depthwise.kernel[0], self.depthwise.stride[0]) {
                (3, 1) => self.depthwise_tiles::<3, 1>(block, row, ring, out),
                (3, _) => self.depthwise_tiles::<3, 2>(block, row, ring, out),
                (_, 1) => self.depthwise_tiles::<5, 1>(block, row, ring, out),
                (_, _) => self.depthwise_tiles::<5, 2>(block, row, ring, out),
            }
        }
    }

    /// [`ExpandF32::depthwise_row`] for a window of `SIZE` and a stride.
    ///
    /// # Safety
    /// As there.
    #[inline(always)]
    unsafe fn depthwise_tiles<const SIZE: usize, const STRIDE: usize>(
        &self,
        block: usize,
        row: usize,
        ring: &[f32],
        out: &SharedMut<f32>,
    ) {
        let conv = &self.depthwise;
        let top = (row * STRIDE) as isize - conv.padding[0] as isize;
        let (first, row_len) = (self.slot(top), self.padded_w * Self::NR);
        let ring_len = self.ring_rows * row_len;
        // The ring's first row comes after its last.
        let slots: [usize; SIZE] = std::array::from_fn(|ky| {
            let slot = first + ky * row_len;
            if slot < ring_len { slot } else { slot - ring_len }
        });
        let out_w = conv.out_w();
        let reach = ((out_w - 1) * STRIDE + SIZE) * Self::NR;
        assert!(slots.iter().all(|slot| slot + reach <= ring.len()));
        for channel in (block * Self::NR..conv.in_c.min((block + 1) * Self::NR)).step_by(K::Lanes::LANES) {
            let lane = channel % Self::NR;
            let channels = (conv.in_c - channel).min(K::Lanes::LANES);
            let taps = &self.taps[block * SIZE * SIZE * Self::NR..][..SIZE * SIZE * Self::NR];
            let mut strip = DepthwiseStrip {
                tiles: 0,
                values: ring[lane..].as_ptr(),
                rows: &slots,
                taps: taps[lane..].as_ptr(),
                taps_step: Self::NR,
                pixel_len: Self::NR,
                bias: self.depthwise_bias[channel..][..K::Lanes::LANES].as_ptr(),
                activation: self.activations[1],
                channels,
                out: out.span(row * out_w * conv.out_c + channel, (out_w - 1) * conv.out_c + channels),
                out_c: conv.out_c,
            };
            for (len, tiles) in self.row_tiles {
                if tiles == 0 {
                    continue;
                }
                strip.tiles = tiles;
                // SAFETY: the caller's promise; the slices above are what the pointers promise, and the tiles of both sizes
                // together have as many pixels as the row.
                unsafe {
                    match len {
                        8 => K::depthwise::<8, SIZE, STRIDE>(&mut strip),
                        7 => K::depthwise::<7, SIZE, STRIDE>(&mut strip),
                        6 => K::depthwise::<6, SIZE, STRIDE>(&mut strip),
                        5 => K::depthwise::<5, SIZE, STRIDE>(&mut strip),
                        4 => K::depthwise::<4, SIZE, STRIDE>(&mut strip),
                        3 => K::depthwise::<3, SIZE, STRIDE>(&mut strip),
                        2 => K::depthwise::<2, SIZE, STRIDE>(&mut strip),
                        _ => K::depthwise::<1, SIZE, STRIDE>(&mut strip),
                    }
                }
            }
        }
    }
}

/// Tiles of pixels to expand, one after another, for a block of channels. What is the same for all of them is set up
/// once: with few input channels a tile takes hardly longer than that.
pub(crate) struct ExpandStrip {
    tiles: usize,
    in_c: usize,
    /// Pixels of `in_c` elements, each so many after the one before.
    input: *const f32,
    pixel_len: usize,
    /// The block's weights, of all its channels for each of `in_c`, and bias.
    weights: *const f32,
    bias: *const f32,
    activation: Activation,
    /// The ring, and elements of all its rows.
    ring: *mut f32,
    ring_len: usize,
    /// Where the next pixel's row starts in it, and its column.
    next: (usize, usize),
    /// Elements of a row, pixels of padding before its first column, and columns.
    row_len: usize,
    padding: usize,
    columns: usize,
    /// The next block's weights, or what lies behind the last, which tiles ask for ahead of time: so many with each input channel.
    ahead: *const f32,
    ahead_step: usize,
}

impl ExpandStrip {
    /// `NV` vectors of a block of `VECTORS` at the next tiles, of `P` pixels.
    ///
    /// # Safety
    /// The CPU has the instruction set, and the pointers what the fields say, for so many tiles of `P` pixels.
    #[inline(always)]
    pub(crate) unsafe fn run<L: LanesF32, const P: usize, const NV: usize, const VECTORS: usize>(&mut self) {
        // Not through `self`, which stores might change for all the compiler knows.
        let (mut input, (mut row, mut column)) = (self.input, self.next);
        for _ in 0..self.tiles {
            // SAFETY: the caller's promise.
            unsafe {
                let sums = self.sums::<L, P, NV, VECTORS>(input);
                let sums = self.activation.with(
                    #[inline(always)]
                    |activation| {
                        let mut sums = sums;
                        for sum in sums.as_flattened_mut() {
                            *sum = L::activate(activation, *sum);
                        }
                        sums
                    },
                );
                for sums in &sums {
                    let to = self.ring.add(row + (self.padding + column) * VECTORS * L::LANES);
                    for (v, &sum) in sums.iter().enumerate() {
                        L::store(to.add(v * L::LANES), sum);
                    }
                    column += 1;
                    if column == self.columns {
                        // The ring's first row comes after its last.
                        row = if row + self.row_len == self.ring_len { 0 } else { row + self.row_len };
                        column = 0;
                    }
                }
            }
            input = input.wrapping_add(P * self.pixel_len);
            self.ahead = self.ahead.wrapping_add(self.ahead_step * self.in_c);
        }
        (self.input, self.next) = (input, (row, column));
    }

    /// Bias and sums of products of a tile, whose pixels start at `input`.
    ///
    /// # Safety
    /// As [`ExpandStrip::run`].
    #[inline(always)]
    unsafe fn sums<L: LanesF32, const P: usize, const NV: usize, const VECTORS: usize>(
        &self,
        input: *const f32,
    ) -> [[L::V; NV]; P] {
        // SAFETY: the caller's promise.
        unsafe {
            let mut sums = [[L::splat(0.0); NV]; P];
            for sums in &mut sums {
                for (v, sum) in sums.iter_mut().enumerate() {
                    *sum = L::load(self.bias.add(v * L::LANES));
                }
            }
            let (mut weight, mut input, mut ahead) = (self.weights, input, self.ahead);
            for _ in 0..self.in_c {
                let mut w = [sums[0][0]; NV];
                for (v, w) in w.iter_mut().enumerate() {
                    *w = L::load(weight.add(v * L::LANES));
                }
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let x = L::splat(*input.add(pixel * self.pixel_len));
                    for v in 0..NV {
                        sums[v] = L::fma(x, w[v], sums[v]);
                    }
                }
                L::prefetch(ahead);
                ahead = ahead.wrapping_add(self.ahead_step);
                weight = weight.add(VECTORS * L::LANES);
                input = input.add(1);
            }
            sums
        }
    }
}

impl<K: ExpandF32Kernel> PackedF32 for ExpandF32<K> {
    fn scratch_len(&self) -> usize {
        // Tasks are as many as there are items at most; how many depends on the team, which is not known here.
        (self.depthwise.out_h() * self.blocks()).min(MAX_TASKS) * self.ring_len()
    }

    fn weight_bytes(&self) -> usize {
        [&self.weights, &self.bias, &self.taps, &self.depthwise_bias].map(|values| size_of_val(&**values)).iter().sum()
    }

    fn run(&self, input: &[f32], _: Option<&[f32]>, output: &mut [f32], scratch: &mut [f32], team: &Team) {
        let threads = team.threads();
        let bands = self.bands(threads);
        let items = bands * self.blocks();
        let tasks = if threads == 1 { 1 } else { items.min(threads * TASKS_EACH).min(MAX_TASKS) };
        let (rings, out) = (SharedMut::new(scratch), SharedMut::new(output));
        team.run(tasks, |task| {
            let items = Items { range: task * items / tasks..(task + 1) * items / tasks, bands };
            // SAFETY: a kernel is chosen only where the CPU has its instruction set; each task has its items and ring.
            unsafe { K::items(self, items, input, rings.part(task * self.ring_len(), self.ring_len()), &out) }
        });
    }
}

/// Most tasks, each with a ring of its own.
const MAX_TASKS: usize = 16;
