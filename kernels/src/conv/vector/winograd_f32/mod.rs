//! f32 3x3 convolution of stride 1 and 2 by Winograd's minimal filtering (Lavin and Gray, 2015): tasks, packed weights and
//! transforms; the vectors are an instruction set's.
//!
//! A tile of m x m outputs reads p x p inputs, p = (m - 1) * stride + 3. They are transformed to p x p points, the 3x3 filters
//! too, so that the sums over taps become one product at each point, and the sums over channels a matrix product of all tiles
//! at each point. With a stride of 1 that is 2.25 times fewer products than m^2 * 9 for m = 2, 4 times fewer for m = 4; with 2,
//! 1.44 and 1.78 times fewer. With a stride of 2, points share filters: of 81 points (m = 4) there are 36, of 25 (m = 2) 16.
//!
//! Where a map is no multiple of m, its last tiles have fewer outputs, down to one, along an axis. They need fewer
//! points, a subset of those of m, and the same filters. With a stride of 1, 14x14 outputs in tiles of 4x4 take 484 instead of
//! 576 products, 7x7 in tiles of 2x2 225 instead of 256; with 2, 1024 instead of 1296, and 324 instead of 400.
//!
//! Tiles go in chunks, each in two jobs: transformed inputs of all channels into the scratch, by blocks of channels and
//! tiles; then, by panels of output channels, products at all points and transformed outputs. Threads take chunks of their
//! own where there are enough, or share the jobs of each. An output is one sum in one order, whatever the chunks and threads.

mod filter;
mod pack;
mod product;
mod tiles;
mod transform;

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

pub(crate) use self::product::{Product, product_by_tiles};
pub(crate) use self::tiles::Chunk;

use self::filter::{filters, side};
use self::pack::pack;
use self::product::{Point, points};
use self::tiles::{chunks, tiles};
use super::{LanesF32, Outputs};
use crate::conv::{Activation, Conv2d, PackedF32};
use crate::shared::SharedMut;
use crate::{AlignedBuf, Team};

/// Input channels that are transformed at once, and output channels of a panel.
const BLOCK: usize = 16;

/// Tasks that a chunk's inputs are transformed in.
const INPUT_TASKS: usize = 8;

/// Most threads that have chunks, and transformed inputs, of their own.
const LANES: usize = 4;

/// What an instruction set adds to [`WinogradF32`]: entries that have its instructions.
pub(crate) trait WinogradF32Kernel: Send + Sync + Sized + 'static {
    /// Its vectors; their length divides 16.
    type Lanes: LanesF32;
    /// Most tiles of a product: their sums, 16 channels each, stay in registers.
    const MR: usize;

    /// [`WinogradF32::transform_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`WinogradF32::transform_body`].
    unsafe fn transform(
        this: &WinogradF32<Self>,
        items: Range<usize>,
        chunk: &Chunk,
        input: &[f32],
        out: &SharedMut<f32>,
    );

    /// [`WinogradF32::store_body`] in a function that has the instruction set.
    ///
    /// # Safety
    /// Those of [`WinogradF32::store_body`].
    unsafe fn store(
        this: &WinogradF32<Self>,
        panel: usize,
        chunk: &Chunk,
        products: &[MaybeUninit<f32>],
        out: &Outputs<f32>,
    );

    /// [`Product::run`] for a number of tiles up to [`Self::MR`], each in a function of its own that has the instruction set:
    /// side by side in one they leave each other no registers.
    ///
    /// # Safety
    /// The CPU has the instruction set.
    unsafe fn product(tiles: usize, product: Product);
}

/// A convolution packed for the kernel `K`.
pub(crate) struct WinogradF32<K: WinogradF32Kernel> {
    conv: Conv2d,
    /// Points of whole tiles along each axis.
    sides: [usize; 2],
    /// These points in the order of their products.
    order: Vec<Point>,
    /// Filters that they have.
    filters: usize,
    /// Transformed, `[panel][filter][in_c][16]`: one stream a panel.
    weights: AlignedBuf<f32>,
    bias: AlignedBuf<f32>,
    activation: Activation,
    chunks: Vec<Chunk>,
    /// Elements from a point's transformed inputs, `[block][tile][16]`, to the next one's: an odd number of cache lines, so
    /// that a tile does not meet itself in a cache's sets.
    point_stride: usize,
    kernel: PhantomData<fn() -> K>,
}

/// Tiles of 4 x 4 outputs below which those of 2 x 2 are faster: their weights, less than half as large, are read for
/// few products each.
const FEW_TILES: usize = 9;

/// Whether the kernel of this stride and of tiles of `m` x `m` outputs, 4 or 2, serves a shape.
pub(crate) fn is_winograd(conv: &Conv2d, stride: usize, m: usize) -> bool {
    let whole = conv.in_c.is_multiple_of(BLOCK) && conv.out_c.is_multiple_of(BLOCK);
    let dense = conv.kernel == [3, 3] && conv.stride == [stride; 2] && conv.groups == 1;
    dense && whole && (tiles(conv, 4) >= FEW_TILES) == (m == 4)
}

/// Declares the kernel `$static` of an instruction set: of `$kernel`'s, for a stride, in tiles of `$m` x `$m` outputs.
macro_rules! winograd_kernel {
    ($static:ident, $kernel:ident, $isa:ident, $name:literal, $stride:literal, $m:literal) => {
        pub(crate) static $static: $crate::conv::F32Kernel = $crate::conv::F32Kernel {
            info: $crate::conv::KernelInfo {
                name: $name,
                op: $crate::conv::KernelOp::ConvF32,
                isa: $crate::Isa::$isa,
                mr: <$kernel as WinogradF32Kernel>::MR,
                nr: 16,
                kr: 1,
                residual: true,
                serves: concat!(
                    "dense 3x3 convolutions of stride ",
                    $stride,
                    ", channels in multiples of 16, in tiles of ",
                    $m,
                    "x",
                    $m,
                    " outputs (4: maps above 8x8; 2: others)"
                ),
                accepts: |conv| is_winograd(conv, $stride, $m),
            },
            pack: |conv, weights, bias, activation| {
                Box::new(WinogradF32::<$kernel>::new(conv, [$m, $m], weights, bias, activation))
            },
        };
    };
}
pub(crate) use winograd_kernel;

impl<K: WinogradF32Kernel> WinogradF32<K> {
    /// In tiles of up to `m` outputs along each axis, 4 at most, for a shape that [`is_winograd`] accepts.
    pub(crate) fn new(conv: &Conv2d, m: [usize; 2], weights: &[f32], bias: &[f32], activation: Activation) -> Self {
        let mut padded = AlignedBuf::new(conv.out_c);
        padded.copy_from_slice(bias);
        let chunks = chunks(conv, m);
        let chunk = chunks.iter().map(|chunk| chunk.tiles.len()).max().unwrap_or(0);
        let short = |outputs: usize, m: usize| if outputs.is_multiple_of(m) { m } else { outputs % m };
        let stride = conv.stride[0];
        Self {
            conv: *conv,
            sides: m.map(|m| side(stride, m)),
            order: points(stride, m, [short(conv.out_h(), m[0]), short(conv.out_w(), m[1])]),
            filters: filters(m[0]) * filters(m[1]),
            weights: pack(conv, m, weights),
            bias: padded,
            activation,
            chunks,
            // An odd number of lines, of 16 floats each.
            point_stride: ((conv.in_c / BLOCK * chunk) | 1) * BLOCK,
            kernel: PhantomData,
        }
    }

    /// Inputs, and points, of outputs along an axis.
    fn side(&self, outputs: usize) -> usize {
        side(self.conv.stride[0], outputs)
    }

    /// Points of a whole tile.
    fn points(&self) -> usize {
        self.sides[0] * self.sides[1]
    }

    /// Elements of scratch for a chunk's transformed inputs.
    fn transformed_len(&self) -> usize {
        self.points() * self.point_stride
    }

    /// Threads that may have chunks of their own.
    fn lanes(&self) -> usize {
        self.chunks.len().min(LANES)
    }

    /// A chunk's items of the first job, and tasks (panels) of the second.
    fn jobs(&self, chunk: &Chunk) -> [usize; 2] {
        [self.conv.in_c / BLOCK * chunk.tiles.len(), self.conv.out_c / BLOCK]
    }

    /// Each thread takes the next chunk and does all of it: what it transforms never leaves its caches.
    fn run_chunks(&self, input: &[f32], out: &Outputs<f32>, scratch: &mut [f32], team: &Team) {
        let next = AtomicUsize::new(0);
        team.run_chunks(scratch, self.transformed_len(), |_, scratch| {
            while let Some(chunk) = self.chunks.get(next.fetch_add(1, Ordering::Relaxed)) {
                let [items, panels] = self.jobs(chunk);
                // SAFETY: `ConvF32::new` checked that the CPU has the instruction set; scratch and chunk are this task's.
                unsafe { K::transform(self, 0..items, chunk, input, &SharedMut::new(scratch)) };
                for panel in 0..panels {
                    // SAFETY: as above; all items of the chunk are done.
                    unsafe { self.multiply(panel, chunk, scratch, out) };
                }
            }
        });
    }

    /// All threads share each chunk.
    fn run_shared(&self, input: &[f32], out: &Outputs<f32>, scratch: &mut [f32], team: &Team) {
        for chunk in &self.chunks {
            let [items, panels] = self.jobs(chunk);
            let tasks = items.min(INPUT_TASKS);
            let transformed = SharedMut::new(scratch);
            team.run(tasks, |task| {
                let items = task * items / tasks..(task + 1) * items / tasks;
                // SAFETY: `ConvF32::new` checked that the CPU has the instruction set; each item is one task's.
                unsafe { K::transform(self, items, chunk, input, &transformed) }
            });
            let transformed = &*scratch;
            team.run(panels, |panel| {
                // SAFETY: as above; all items of the chunk are done; each panel is one task's.
                unsafe { self.multiply(panel, chunk, transformed, out) }
            });
        }
    }
}

impl<K: WinogradF32Kernel> PackedF32 for WinogradF32<K> {
    fn scratch_len(&self) -> usize {
        self.lanes() * self.transformed_len()
    }

    fn weight_bytes(&self) -> usize {
        size_of_val(&*self.weights) + size_of_val(&*self.bias)
    }

    fn run(&self, input: &[f32], residual: Option<&[f32]>, output: &mut [f32], scratch: &mut [f32], team: &Team) {
        let scratch = &mut scratch[..self.scratch_len()];
        let out = Outputs::new(output, residual);
        // Where chunks give threads about the same to do.
        let (chunks, threads) = (self.chunks.len(), team.threads());
        if threads <= self.lanes() && (chunks.is_multiple_of(threads) || chunks > 2 * threads) {
            self.run_chunks(input, &out, scratch, team);
        } else {
            self.run_shared(input, &out, &mut scratch[..self.transformed_len()], team);
        }
    }
}
