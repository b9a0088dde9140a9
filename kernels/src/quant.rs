//! Quantization parameters of activations, and whose arithmetic an int8 network follows.

/// The PyTorch engine whose integer arithmetic a quantized network was made for. The two round and order their
/// float operations differently, so a network's outputs are equal bit for bit only under its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Numerics {
    /// x86 servers: per-channel weights, 7-bit activations by convention.
    Fbgemm,
    /// Mobile: per-tensor weights, 8-bit activations.
    Qnnpack,
}

/// Scale and zero point of a u8 activation: real = (q - zero_point) * scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QParams {
    /// Real value of one step; finite and positive.
    pub scale: f32,
    /// The integer that stands for 0.0.
    pub zero_point: u8,
}
