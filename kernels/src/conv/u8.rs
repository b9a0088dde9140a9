//! int8 convolutions and linear layers.

use super::registry::find_u8;
use super::{Conv2d, KernelInfo, RowKernel};
use crate::error::check_len;
use crate::{Error, Isa, Requantize, Team};

/// Makes the packed object of a kernel.
type PackU8 = fn(&Conv2d, &[i8], Requantize) -> Box<dyn PackedU8>;

/// An int8 kernel: what it is and how it takes weights.
pub(crate) struct U8Kernel {
    pub(crate) info: KernelInfo,
    /// Packs weights (OIHW) for a checked geometry; the epilogue has one channel an output channel.
    pub(crate) pack: PackU8,
}

/// Weights packed for one int8 kernel and geometry.
pub(crate) trait PackedU8: Send + Sync {
    /// The kernel, where the weights made it another one than that which was asked to pack them.
    fn info(&self) -> Option<&'static KernelInfo> {
        None
    }

    /// Bytes of scratch that [`PackedU8::run`] needs.
    fn scratch_bytes(&self) -> usize;

    /// Bytes of packed weights.
    fn weight_bytes(&self) -> usize;

    /// Convolves. Slices have the geometry's lengths, the scratch at least `scratch_bytes`. There is a residual where
    /// one was announced when weights were packed.
    fn run(&self, input: &[u8], residual: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team);

    /// The kernel that makes rows by themselves, where this one can.
    fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        None
    }
}

/// An int8 convolution with its weights packed for the kernel that serves it.
pub struct ConvU8 {
    conv: Conv2d,
    info: &'static KernelInfo,
    packed: Box<dyn PackedU8>,
    residual: bool,
}

impl ConvU8 {
    /// Packs `weights_oihw` (zero point 0) for the best kernel of `isa`.
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available, [`Error::Geometry`] from [`Conv2d::check`], [`Error::Length`]
    /// where weights or epilogue do not have the geometry's size, [`Error::Quant`] where `x_zero_point` is not the one
    /// that the epilogue was made for, or its sum is not one that [`AddU8::fits_epilogue`](crate::AddU8::fits_epilogue).
    pub fn new(
        isa: Isa,
        conv: &Conv2d,
        weights_oihw: &[i8],
        x_zero_point: u8,
        requantize: Requantize,
    ) -> Result<Self, Error> {
        let residual = requantize.residual.is_some();
        let kernel = find_u8(isa, conv, residual)?;
        check_len("int8 weights", conv.weight_len(), weights_oihw.len())?;
        check_len("epilogue of an int8 convolution", conv.out_c, requantize.channels())?;
        if x_zero_point != requantize.x_zero_point {
            return Err(Error::Quant(format!(
                "the input's zero point is {x_zero_point}, the epilogue was made for {}",
                requantize.x_zero_point
            )));
        }
        if requantize.residual.as_ref().is_some_and(|add| !add.fits_epilogue(conv.out_len())) {
            return Err(Error::Quant(
                "the sum with a residual does not fit an epilogue: it must be an op of its own".into(),
            ));
        }
        let packed = (kernel.pack)(conv, weights_oihw, requantize);
        Ok(Self { conv: *conv, info: packed.info().unwrap_or(&kernel.info), packed, residual })
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

    /// Bytes of scratch that a run needs.
    pub fn scratch_bytes(&self) -> usize {
        self.packed.scratch_bytes()
    }

    /// Whether its kernel makes rows by themselves, as links of a [`Chain`](crate::Chain) must.
    pub fn makes_rows(&self) -> bool {
        self.row_kernel().is_some()
    }

    /// The kernel that makes rows by themselves, where this one can.
    pub(crate) fn row_kernel(&self) -> Option<&dyn RowKernel<u8>> {
        self.packed.row_kernel()
    }

    /// Whether it adds a residual to its outputs.
    pub fn has_residual(&self) -> bool {
        self.residual
    }

    /// Convolves `input` (NHWC, one image) into `output`. The scratch may hold anything and is left as garbage.
    ///
    /// # Panics
    /// If a slice does not have the geometry's length, the scratch is shorter than [`ConvU8::scratch_bytes`], or it adds a residual.
    pub fn run(&self, input: &[u8], output: &mut [u8], scratch: &mut [u8], team: &Team) {
        self.run_with(input, None, output, scratch, team);
    }

    /// As [`ConvU8::run`], with a residual of as many elements as the output, as [`Requantize::with_residual`] says.
    ///
    /// # Panics
    /// As [`ConvU8::run`]; if it adds none.
    pub fn run_residual(&self, input: &[u8], residual: &[u8], output: &mut [u8], scratch: &mut [u8], team: &Team) {
        assert_eq!(residual.len(), self.conv.out_len(), "int8 convolution: residual");
        self.run_with(input, Some(residual), output, scratch, team);
    }

    fn run_with(&self, input: &[u8], residual: Option<&[u8]>, output: &mut [u8], scratch: &mut [u8], team: &Team) {
        assert_eq!(input.len(), self.conv.in_len(), "int8 convolution: input");
        assert_eq!(output.len(), self.conv.out_len(), "int8 convolution: output");
        assert_eq!(residual.is_some(), self.residual, "int8 convolution: whether there is a residual");
        assert!(scratch.len() >= self.scratch_bytes(), "int8 convolution: scratch");
        self.packed.run(input, residual, output, scratch, team);
    }
}

impl std::fmt::Debug for ConvU8 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConvU8").field("conv", &self.conv).field("kernel", &self.info.name).finish_non_exhaustive()
    }
}

/// An int8 fully connected layer: a [`ConvU8`] of a 1x1 map.
#[derive(Debug)]
pub struct LinearU8(ConvU8);

impl LinearU8 {
    /// Packs `weights_oi` (zero point 0) for the best kernel of `isa`.
    ///
    /// # Errors
    /// Those of [`ConvU8::new`].
    pub fn new(
        isa: Isa,
        in_features: usize,
        out_features: usize,
        weights_oi: &[i8],
        x_zero_point: u8,
        requantize: Requantize,
    ) -> Result<Self, Error> {
        ConvU8::new(isa, &Conv2d::linear(in_features, out_features), weights_oi, x_zero_point, requantize).map(Self)
    }

    /// The kernel's name.
    pub fn kernel_name(&self) -> &'static str {
        self.0.kernel_name()
    }

    /// Bytes of packed weights.
    pub fn weight_bytes(&self) -> usize {
        self.0.weight_bytes()
    }

    /// Bytes of scratch that a run needs.
    pub fn scratch_bytes(&self) -> usize {
        self.0.scratch_bytes()
    }

    /// Multiplies `input` into `output`.
    ///
    /// # Panics
    /// If a slice has the wrong length, or the scratch is shorter than [`LinearU8::scratch_bytes`].
    pub fn run(&self, input: &[u8], output: &mut [u8], scratch: &mut [u8], team: &Team) {
        self.0.run(input, output, scratch, team);
    }
}
