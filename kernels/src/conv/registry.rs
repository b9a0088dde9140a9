//! The list of kernels, and the one that serves a shape.

use std::sync::OnceLock;

use super::{Conv2d, F32Kernel, U8Kernel};
use crate::{Error, Isa};

/// The operation of a kernel and the type it works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KernelOp {
    /// Convolution of u8 activations with s8 weights, requantized to u8.
    ConvU8,
    /// Convolution in f32.
    ConvF32,
}

/// What a kernel is: its name, what it needs, its tile, what it serves.
#[derive(Debug)]
pub struct KernelInfo {
    /// `<type>-<op>-<tile>-<isa>`, for example `u8s8-gemm-5x16-avx2`; unique.
    pub name: &'static str,
    /// The operation.
    pub op: KernelOp,
    /// Instructions it is made of.
    pub isa: Isa,
    /// Output pixels of a tile.
    pub mr: usize,
    /// Output channels of a tile.
    pub nr: usize,
    /// Products that one instruction sums.
    pub kr: usize,
    /// Whether it can add a residual to its outputs before it stores them.
    pub residual: bool,
    /// The shapes it serves, in words.
    pub serves: &'static str,
    /// Whether it serves a shape.
    pub accepts: fn(&Conv2d) -> bool,
}

/// int8 kernels, those to prefer later.
static U8: &[&U8Kernel] = &[
    &crate::scalar::conv::U8,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WIDENED_U8,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::GEMM_U8,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::GEMM_U8_AVX_VNNI,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::GEMM_U8_AVX512,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::GEMM_U8_AVX512_VNNI,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::DEPTHWISE_U8,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::DEPTHWISE_U8_AVX512,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::DEPTHWISE_U8_AVX_VNNI,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::DEPTHWISE_U8_AVX512_VNNI,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::GEMM_U8_NEON,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::GEMM_U8_DOT,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::GEMM_U8_I8MM,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::DEPTHWISE_U8,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::DEPTHWISE_U8_DOT,
];

/// f32 kernels, those to prefer later.
static F32: &[&F32Kernel] = &[
    &crate::scalar::conv::F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::GEMM_F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::GEMM_F32_AVX512,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::DEPTHWISE_F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::DEPTHWISE_F32_AVX512,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD2_F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD4_F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD_S2_2_F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD_S2_4_F32,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD_S2_2_F32_AVX512,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD_S2_4_F32_AVX512,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD2_F32_AVX512,
    #[cfg(target_arch = "x86_64")]
    &crate::x86::WINOGRAD4_F32_AVX512,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::GEMM_F32,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::DEPTHWISE_F32,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::WINOGRAD_S2_2_F32,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::WINOGRAD_S2_4_F32,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::WINOGRAD2_F32,
    #[cfg(target_arch = "aarch64")]
    &crate::aarch64::WINOGRAD4_F32,
];

/// All kernels of this build, those to prefer later; whether this CPU can run one says [`Isa::available`].
pub fn kernels() -> &'static [&'static KernelInfo] {
    static ALL: OnceLock<Vec<&'static KernelInfo>> = OnceLock::new();
    let all = || U8.iter().map(|kernel| &kernel.info).chain(F32.iter().map(|kernel| &kernel.info)).collect();
    ALL.get_or_init(all)
}

/// The int8 kernel that serves `conv` on `isa`, with a residual where there is one.
pub(super) fn find_u8(isa: Isa, conv: &Conv2d, residual: bool) -> Result<&'static U8Kernel, Error> {
    isa.check()?;
    conv.check()?;
    Ok(U8.iter().rev().find(|kernel| usable(&kernel.info, isa, conv, residual)).unwrap_or(&U8[0]))
}

/// The f32 kernel that serves `conv` on `isa`, with a residual where there is one.
pub(super) fn find_f32(isa: Isa, conv: &Conv2d, residual: bool) -> Result<&'static F32Kernel, Error> {
    isa.check()?;
    conv.check()?;
    Ok(F32.iter().rev().find(|kernel| usable(&kernel.info, isa, conv, residual)).unwrap_or(&F32[0]))
}

fn usable(info: &KernelInfo, isa: Isa, conv: &Conv2d, residual: bool) -> bool {
    isa.includes(info.isa) && (info.residual || !residual) && (info.accepts)(conv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_end_with_their_set() {
        for info in kernels() {
            assert_eq!(kernels().iter().filter(|other| other.name == info.name).count(), 1, "{}", info.name);
            assert!(info.name.ends_with(&format!("-{}", info.isa)), "{}", info.name);
        }
    }

    #[test]
    fn scalar_serves_all() {
        assert!([&U8[0].info, &F32[0].info].iter().all(|info| info.isa == Isa::Scalar));
        assert!(find_u8(Isa::Scalar, &Conv2d::linear(3, 2), true).is_ok_and(|kernel| kernel.info.isa == Isa::Scalar));
        let foreign = if cfg!(target_arch = "x86_64") { Isa::Neon } else { Isa::Avx2 };
        assert!(find_f32(foreign, &Conv2d::linear(3, 2), false).is_err());
    }
}
