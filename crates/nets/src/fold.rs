//! Batch norm folded into the convolution before it, in f32, with PyTorch's order of operations
//! (`torch.nn.utils.fusion.fuse_conv_bn_weights`): the results are the same bits.

/// Parameters of a batch norm in evaluation mode, one value a channel each.
pub(crate) struct BatchNorm {
    /// Factor (`weight`).
    pub gamma: Vec<f32>,
    /// Offset (`bias`).
    pub beta: Vec<f32>,
    /// `running_mean`.
    pub mean: Vec<f32>,
    /// `running_var`, not negative.
    pub var: Vec<f32>,
    /// Added to the variance.
    pub eps: f32,
}

/// Weights w * (gamma * r) and bias (b - mean) * r * gamma + beta, where r = 1 / sqrt(var + eps). `weight` is OIHW
/// with as many output channels as the batch norm has.
pub(crate) fn fold(mut weight: Vec<f32>, bias: Option<Vec<f32>>, norm: &BatchNorm) -> (Vec<f32>, Vec<f32>) {
    let channels = norm.gamma.len();
    let mut bias = bias.unwrap_or_else(|| vec![0.0; channels]);
    let filter_len = weight.len() / channels;
    for (c, filter) in weight.chunks_exact_mut(filter_len).enumerate() {
        let r = 1.0 / (norm.var[c] + norm.eps).sqrt();
        let factor = norm.gamma[c] * r;
        filter.iter_mut().for_each(|w| *w *= factor);
        bias[c] = (bias[c] - norm.mean[c]) * r * norm.gamma[c] + norm.beta[c];
    }
    (weight, bias)
}
