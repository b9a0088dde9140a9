//! f32 depthwise convolution, AVX2 and AVX-512: up to 8 output pixels by 8 or 16 channels.

use super::lanes::{Avx2Lanes, Avx512Lanes};
use crate::Isa;
use crate::conv::vector::{DepthwiseF32, DepthwiseF32Kernel, DepthwiseStrip, depthwise_kernel};
use crate::conv::{Conv2d, F32Kernel, InputRows, KernelInfo, KernelOp};

depthwise_kernel!(DEPTHWISE_F32, Avx2, Avx2, "f32-depthwise-8x8-avx2", "avx2,fma", Avx2Lanes);
depthwise_kernel!(
    DEPTHWISE_F32_AVX512,
    Avx512,
    Avx512,
    "f32-depthwise-8x16-avx512",
    "avx512f,avx512bw,avx512vl,avx512dq",
    Avx512Lanes
);
