//! f32 depthwise convolution, NEON: up to 8 output pixels by 4 channels.

use super::lanes::NeonLanes;
use crate::Isa;
use crate::conv::vector::{DepthwiseF32, DepthwiseF32Kernel, DepthwiseStrip, depthwise_kernel};
use crate::conv::{Conv2d, F32Kernel, InputRows, KernelInfo, KernelOp};

depthwise_kernel!(DEPTHWISE_F32, Neon, Neon, "f32-depthwise-8x4-neon", "neon", NeonLanes);
