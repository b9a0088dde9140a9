//! f32 convolutions and linear layers.

use super::registry::find_f32;
use super::{Activation, Conv2d, ConvF32Parts, KernelInfo, RowKernel};
use crate::error::check_len;
use crate::{Error, Isa, Team};

/// Makes the packed object of a kernel.
type PackF32 = fn(&Conv2d, &[f32], &[f32], Activation) -> Box<dyn PackedF32>;

/// An f32 kernel: what it is and how it takes weights.
pub(crate) struct F32Kernel {
    pub(crate) info: KernelInfo,
    /// Packs weights (OIHW) and bias for a checked geometry.
    pub(crate) pack: PackF32,
}

/// Weights packed for one f32 kernel and geometry.
pub(crate) trait PackedF32: Send + Sync {
    /// Elements of scratch that [`PackedF32::run`] needs.
    fn scratch_len(&self) -> usize;

    /// Bytes of packed weights.
    fn weight_bytes(&self) -> usize;

    /// Convolves. Slices have the geometry's lengths, the scratch at least `scratch_len`. There is a residual where
    /// one was announced when weights were packed.
    fn run(&self, input: &[f32], residual: Option<&[f32]>, output: &mut [f32], scratch: &mut [f32], team: &Team);

    /// The kernel that makes rows by themselves, where this one can.
    fn row_kernel(&self) -> Option<&dyn RowKernel<f32>> {
        None
    }
}

/// An f32 convolution with its weights packed for the kernel that serves it.
pub struct ConvF32 {
    conv: Conv2d,
    info: &'static KernelInfo,
    packed: Box<dyn PackedF32>,
    residual: bool,
}

impl ConvF32 {
    /// Packs `weights_oihw` and `bias` for the best kernel of `isa`.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available, [`Error::Geometry`] from [`Conv2d::check`], [`Error::Length`]
    /// where weights or bias do not have the geometry's size.
    pub fn new(
        isa: Isa,
        conv: &Conv2d,
        weights_oihw: &[f32],
        bias: &[f32],
        activation: Activation,
    ) -> Result<Self, Error> {
        Self::make(isa, &ConvF32Parts { conv, weights: weights_oihw, bias, activation }, false)
    }

    /// A convolution that adds a residual, for [`ConvF32::run_residual`], before the activation.
    ///
    /// # Errors
    /// Those of [`ConvF32::new`].
    pub fn with_residual(isa: Isa, parts: &ConvF32Parts<'_>) -> Result<Self, Error> {
        Self::make(isa, parts, true)
    }

    fn make(isa: Isa, parts: &ConvF32Parts<'_>, residual: bool) -> Result<Self, Error> {
        let &ConvF32Parts { conv, weights, bias, activation } = parts;
        let kernel = find_f32(isa, conv, residual)?;
        check_len("f32 weights", conv.weight_len(), weights.len())?;
        check_len("f32 bias", conv.out_c, bias.len())?;
        let packed = (kernel.pack)(conv, weights, bias, activation);
        Ok(Self { conv: *conv, info: &kernel.info, packed, residual })
    }

    /// The kernel.
    pub fn kernel(&self) -> &'static KernelInfo {
        self.info
    }

    /// The kernel's name.
    pub fn kernel_name(&self) -> &'static str {
        self.info.name
    }

    /// The geometry.
    pub fn geometry(&self) -> &Conv2d {
        &self.conv
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.packed.weight_bytes()
    }

    /// Elements of scratch that a run needs.
    pub fn scratch_len(&self) -> usize {
        self.packed.scratch_len()
    }

    /// Whether its kernel makes rows by themselves, as links of a [`Chain`](crate::Chain) must.
    pub fn makes_rows(&self) -> bool {
        self.row_kernel().is_some()
    }

    /// The kernel that makes rows by themselves, where this one can.
    pub(crate) fn row_kernel(&self) -> Option<&dyn RowKernel<f32>> {
        self.packed.row_kernel()
    }

    /// Whether it adds a residual to its outputs.
    pub fn has_residual(&self) -> bool {
        self.residual
    }

    /// Convolves `input` (NHWC, one image) into `output`. The scratch may hold anything and is left as garbage.
    ///
    /// # Panics
    /// If a slice does not have the geometry's length, the scratch is shorter than [`ConvF32::scratch_len`], or it adds a residual.
    pub fn run(&self, input: &[f32], output: &mut [f32], scratch: &mut [f32], team: &Team) {
        self.run_with(input, None, output, scratch, team);
    }

    /// As [`ConvF32::run`], with a residual of as many elements as the output, which is added before the activation.
    ///
    /// # Panics
    /// As [`ConvF32::run`]; if it adds none.
    pub fn run_residual(&self, input: &[f32], residual: &[f32], output: &mut [f32], scratch: &mut [f32], team: &Team) {
        assert_eq!(residual.len(), self.conv.out_len(), "f32 convolution: residual");
        self.run_with(input, Some(residual), output, scratch, team);
    }

    fn run_with(&self, input: &[f32], residual: Option<&[f32]>, output: &mut [f32], scratch: &mut [f32], team: &Team) {
        assert_eq!(input.len(), self.conv.in_len(), "f32 convolution: input");
        assert_eq!(output.len(), self.conv.out_len(), "f32 convolution: output");
        assert_eq!(residual.is_some(), self.residual, "f32 convolution: whether there is a residual");
        assert!(scratch.len() >= self.scratch_len(), "f32 convolution: scratch");
        self.packed.run(input, residual, output, scratch, team);
    }
}

impl std::fmt::Debug for ConvF32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConvF32").field("conv", &self.conv).field("kernel", &self.info.name).finish_non_exhaustive()
    }
}

/// An f32 fully connected layer: a [`ConvF32`] of a 1x1 map.
#[derive(Debug)]
pub struct LinearF32(ConvF32);

impl LinearF32 {
    /// Packs `weights_oi` and `bias` for the best kernel of `isa`.
    ///
    /// # Errors
    /// Those of [`ConvF32::new`].
    pub fn new(
        isa: Isa,
        in_features: usize,
        out_features: usize,
        weights_oi: &[f32],
        bias: &[f32],
        activation: Activation,
    ) -> Result<Self, Error> {
        ConvF32::new(isa, &Conv2d::linear(in_features, out_features), weights_oi, bias, activation).map(Self)
    }

    /// The kernel's name.
    pub fn kernel_name(&self) -> &'static str {
        self.0.kernel_name()
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }

    /// Elements of scratch that a run needs.
    pub fn scratch_len(&self) -> usize {
        self.0.scratch_len()
    }

    /// Multiplies `input` into `output`.
    ///
    /// # Panics
    /// If a slice has the wrong length, or the scratch is shorter than [`LinearF32::scratch_len`].
    pub fn run(&self, input: &[f32], output: &mut [f32], scratch: &mut [f32], team: &Team) {
        self.0.run(input, output, scratch, team);
    }
}
