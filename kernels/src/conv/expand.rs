//! f32 pointwise convolutions fused with the depthwise convolution after them.

use super::{Activation, Conv2d, PackedF32};
use crate::error::check_len;
use crate::{Error, Isa, Team};

/// Some channels of each pixel of a map, read where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelView {
    /// Channels of a pixel.
    pub pixel_len: usize,
    /// The first of those that are read.
    pub first: usize,
}

/// Geometry, weights and what follows the sums, of an f32 convolution.
#[derive(Debug, Clone, Copy)]
pub struct ConvF32Parts<'a> {
    /// The geometry.
    pub conv: &'a Conv2d,
    /// Weights, OIHW.
    pub weights: &'a [f32],
    /// One value an output channel.
    pub bias: &'a [f32],
    /// Applied to the sums.
    pub activation: Activation,
}

impl ConvF32Parts<'_> {
    fn check(&self) -> Result<(), Error> {
        self.conv.check()?;
        check_len("f32 weights", self.conv.weight_len(), self.weights.len())?;
        check_len("f32 bias", self.conv.out_c, self.bias.len())
    }
}

/// A kernel for the pair: what it is and how it takes weights.
pub(crate) struct ExpandKernel {
    /// As [`KernelInfo::name`](crate::KernelInfo).
    pub(crate) name: &'static str,
    /// Instructions it is made of.
    pub(crate) isa: Isa,
    /// Whether it serves these two geometries.
    pub(crate) accepts: fn(&Conv2d, &Conv2d) -> bool,
    /// Packs the two for checked geometries that it serves.
    pub(crate) pack: fn(ChannelView, &ConvF32Parts, &ConvF32Parts) -> Box<dyn PackedF32>,
}

/// The kernels, those to prefer later.
static KERNELS: &[&ExpandKernel] = &[
    #[cfg(target_arch = "x86_64")]
    &crate::x86::EXPAND_F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::EXPAND_F32_AVX512,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::EXPAND_F32,
];

/// A pointwise convolution and the depthwise one after it as one pass over the image, without the tensor between them.
///
/// Equal to the two [`ConvF32`](crate::ConvF32) of the same instruction set, bit for bit, for finite weights and
/// activations.
pub struct ExpandDepthwiseF32 {
    view: ChannelView,
    expand: Conv2d,
    depthwise: Conv2d,
    name: &'static str,
    packed: Box<dyn PackedF32>,
}

impl ExpandDepthwiseF32 {
    /// Packs both convolutions for the best kernel of `isa`; none where no kernel serves the pair. With a view, the input's pixels
    /// have other channels beside those of `expand`, which are the view's.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available, [`Error::Geometry`] from [`Conv2d::check`] or where the view has too few channels,
    /// [`Error::Length`] where weights or bias do not have their geometry's size.
    pub fn new(
        isa: Isa,
        view: Option<ChannelView>,
        expand: &ConvF32Parts,
        depthwise: &ConvF32Parts,
    ) -> Result<Option<Self>, Error> {
        isa.check()?;
        expand.check()?;
        depthwise.check()?;
        let view = view.unwrap_or(ChannelView { pixel_len: expand.conv.in_c, first: 0 });
        if view.first.checked_add(expand.conv.in_c).is_none_or(|end| end > view.pixel_len) {
            return Err(Error::Geometry(format!("{view:?} has fewer than {} channels", expand.conv.in_c)));
        }
        let serves =
            |kernel: &&&ExpandKernel| isa.includes(kernel.isa) && (kernel.accepts)(expand.conv, depthwise.conv);
        Ok(KERNELS.iter().rev().find(serves).map(|kernel| Self {
            view,
            expand: *expand.conv,
            depthwise: *depthwise.conv,
            name: kernel.name,
            packed: (kernel.pack)(view, expand, depthwise),
        }))
    }

    /// The kernel's name, in the form of [`KernelInfo::name`](crate::KernelInfo::name).
    pub fn kernel_name(&self) -> &'static str {
        self.name
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.packed.weight_bytes()
    }

    /// Elements of scratch that a run needs.
    pub fn scratch_len(&self) -> usize {
        self.packed.scratch_len()
    }

    /// Convolves `input` (NHWC, one image, all channels of the view's pixels) into `output`. The scratch may hold anything and is left as garbage.
    ///
    /// # Panics
    /// If a slice does not have its geometry's and view's length, or the scratch is shorter than
    /// [`ExpandDepthwiseF32::scratch_len`].
    pub fn run(&self, input: &[f32], output: &mut [f32], scratch: &mut [f32], team: &Team) {
        let in_len = self.expand.in_h * self.expand.in_w * self.view.pixel_len;
        assert_eq!(input.len(), in_len, "expand and depthwise: input");
        assert_eq!(output.len(), self.depthwise.out_len(), "expand and depthwise: output");
        assert!(scratch.len() >= self.scratch_len(), "expand and depthwise: scratch");
        self.packed.run(input, None, output, scratch, team);
    }
}

impl std::fmt::Debug for ExpandDepthwiseF32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { expand, depthwise, name, .. } = self;
        let mut debug = f.debug_struct("ExpandDepthwiseF32");
        debug.field("expand", expand).field("depthwise", depthwise).field("kernel", name).finish_non_exhaustive()
    }
}
