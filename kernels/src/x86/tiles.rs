//! What the matrix products of the x86 kernels with one instruction a step share: the loop over taps, and the choice of a
//! tile function.

/// Calls a tile function for a panel's blocks and a tile's pixels, of all the shapes listed. In an unsafe
/// function, whose promise must be that of the called one.
macro_rules! by_shape {
    ($call:ident $arguments:tt, [$($blocks:literal: $($pixels:literal)*),*]) => {
        by_shape!(@match $call $arguments, [$($([$blocks $pixels])*)*])
    };
    (@match $call:ident($gemm:expr, $rows:expr, $tile:expr, $panel:expr, $out:expr), [$([$blocks:literal $pixels:literal])*]) => {
        match ($panel.blocks, $tile.len) {
            // SAFETY: the caller's promise, and the tile and panel have so many pixels and blocks.
            $(($blocks, $pixels) => unsafe { $call::<$pixels, $blocks>($gemm, $rows, $tile, $panel, $out) },)*
            (blocks, pixels) => unreachable!("a tile of {blocks} blocks and {pixels} pixels"),
        }
    };
}

/// Defines `sums`: those of products, and the bias, of a tile and panel, before the rest of the epilogue. `$kr` products are
/// summed by one step of `|sum, x, w|`; the other closures load a block's first sums, its weights of one step, and
/// activations of one step.
macro_rules! gemm_sums {
    (
        $features:literal, $gemm:ty, $x:ty, $vector:ty, $kr:expr,
        |$g:ident, $index:ident| $start:expr, |$weight:ident| $load:expr, |$at:ident| $broadcast:expr,
        |$sum:ident, $activation:ident, $w:ident| $step:expr
    ) => {
        /// # Safety
        /// As the kernel's `tile`; the tile has `MR` pixels and the panel `NB` blocks.
        #[target_feature(enable = $features)]
        #[inline]
        unsafe fn sums<const MR: usize, const NB: usize>(
            gemm: &$gemm,
            rows: &[$x],
            tile: &Tile,
            panel: &Panel,
        ) -> [[$vector; NB]; MR] {
            let run_len = gemm.panels.run_len;
            // SAFETY: the caller's promise.
            let pixels = unsafe { gemm.windows::<MR>(rows, tile, panel) };
            let mut weights = gemm.weights(panel).as_ptr();
            let start: [$vector; NB] = std::array::from_fn(|b| {
                let ($g, $index) = (gemm, panel.constants + b * <$gemm>::NR);
                $start
            });
            let mut sums = [start; MR];
            for &run in &gemm.panels.runs {
                for k in (run..run + run_len).step_by($kr) {
                    let w: [$vector; NB] = std::array::from_fn(|b| {
                        // SAFETY: each of the panel's blocks has `NR * $kr` weights for each of the `run_len / $kr` steps
                        // of each run, block after block; steps start at multiples of a vector.
                        let $weight = unsafe { weights.add(b * <$gemm>::NR * $kr) };
                        $load
                    });
                    // SAFETY: as above; one past the end after the last step.
                    weights = unsafe { weights.add(NB * <$gemm>::NR * $kr) };
                    for pixel in 0..MR {
                        // SAFETY: a step of a run of this window, which `windows` says is in `rows`.
                        let $at = unsafe { pixels[pixel].add(k) };
                        let $activation = $broadcast;
                        for b in 0..NB {
                            let ($sum, $w) = (sums[pixel][b], w[b]);
                            sums[pixel][b] = $step;
                        }
                    }
                }
            }
            sums
        }
    };
}

pub(super) use {by_shape, gemm_sums};
