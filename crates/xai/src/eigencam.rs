//! EigenCAM (Muhammad and Yeasin 2020) as pytorch-grad-cam computes it, through a Gram matrix.

use quantlens_tensor::{DType, Layout, Quant, Tensor};

use crate::{CamWorkspace, Error};

/// Result of EigenCAM at a layer: the projection of the activation on its first principal component, one value a
/// position. Everything else (sign, map, boxes) follows from it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EigenCam {
    /// p = M v1, row-major over positions (`h * w`), in the activation's real unit. M is the activation as a matrix
    /// of positions by channels with each column's mean removed, v1 its first right singular vector. The sign of v1
    /// is arbitrary: here the entry of largest magnitude (the first such) is positive, so that the stored vector is
    /// a function of the activation alone. A [`SignPolicy`](crate::SignPolicy) chooses the sign that is shown.
    pub p: Vec<f32>,
    /// Height of the layer's map.
    pub h: usize,
    /// Width of the layer's map.
    pub w: usize,
    /// Channels of the layer.
    pub channels: usize,
    /// Mean over channels at each position (`h * w`), in the activation's real unit.
    pub mean_activation: Vec<f32>,
    /// The two largest eigenvalues of M M' (squares of M's singular values), in descending order. Where the second is
    /// close to the first, the map is a mixture that small changes of the activation turn: see [`EigenCam::gap`].
    pub eigenvalues: [f32; 2],
}

impl EigenCam {
    /// EigenCAM of one image's activation: `[1, h, w, c]` NHWC or `[1, c, h, w]` NCHW, of any element type. A
    /// [`CamWorkspace`] does the same for many without new memory for each.
    ///
    /// NaN counts as 0, as in pytorch-grad-cam. Quantized activations are computed on the integers and scaled after:
    /// the zero point falls to the centring, so raw integers give the same map. A constant activation has p = 0.
    ///
    /// # Errors
    /// [`Error::Shape`] for more than one image, an empty tensor or a row-major one, [`Error::NotFinite`] for infinities.
    pub fn compute(activation: &Tensor) -> Result<Self, Error> {
        CamWorkspace::default().eigen_cam(activation)
    }

    /// Relative gap of the eigenvalues, (first - second) / first, between 0 and 1; 0 for a constant activation. The
    /// map of a small gap (below 0.05, say) is not well determined: a pair may disagree for this reason alone.
    pub fn gap(&self) -> f32 {
        let [first, second] = self.eigenvalues;
        if first > 0.0 { (first - second) / first } else { 0.0 }
    }
}

/// The activation as f32 rows, one a position (NaN read as 0), with channels, height and width. Integers of one scale
/// stay raw; integers with a scale a channel are dequantized.
pub(crate) fn positions_by_channels(t: &Tensor) -> Result<(Vec<f32>, [usize; 3]), Error> {
    let chw = t.chw()?;
    if t.shape().dims()[0] != 1 || t.shape().elements() == 0 {
        return Err(Error::Shape { found: t.shape().to_string() });
    }
    let per_channel = matches!(t.quant(), Some(Quant::PerChannel { .. }));
    let real = if per_channel { t.dequantize() } else { t.clone() };
    let mut values = real.to_layout(Layout::Nhwc)?.to_f32();
    if matches!(t.dtype(), DType::F32 | DType::F16) {
        values.iter_mut().filter(|x| x.is_nan()).for_each(|x| *x = 0.0);
    }
    Ok((values, chw))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(h: usize, w: usize, c: usize, mut f: impl FnMut(usize, usize) -> f32) -> Tensor {
        let values: Vec<f32> = (0..h * w).flat_map(|i| (0..c).map(move |j| (i, j))).map(|(i, j)| f(i, j)).collect();
        Tensor::new(values, [1, h, w, c], Layout::Nhwc).unwrap()
    }

    #[test]
    fn rank_one_is_recovered_on_both_sides() {
        // M = a b' with mean of a = 0: p = |b| a up to sign, first eigenvalue |a|^2 |b|^2, second 0.
        let a = [-3.0f32, 1.0, 2.0, 5.0, -1.0, -4.0];
        for channels in [3, 40] {
            let b = |j: usize| (j % 3) as f32 + 1.0;
            let cam = EigenCam::compute(&block(2, 3, channels, |i, j| a[i] * b(j) + 7.0)).unwrap();
            let norm = (0..channels).map(|j| b(j) * b(j)).sum::<f32>().sqrt();
            for (p, a) in cam.p.iter().zip(a) {
                // f32 rounding of the result alone.
                assert!((p - a * norm).abs() <= 1e-6 * norm * 5.0, "{channels}: {p} {}", a * norm);
            }
            assert!((cam.eigenvalues[0] - 56.0 * norm * norm).abs() < 1e-4 * cam.eigenvalues[0]);
            assert!(cam.eigenvalues[1] < 1e-6 && (cam.gap() - 1.0).abs() < 1e-6);
        }
    }

    #[test]
    fn raw_integers_and_dequantized_give_one_map() {
        let q: Vec<u8> = (0..6 * 80u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let raw = Tensor::new(q, [1, 2, 3, 80], Layout::Nhwc).unwrap();
        let quantized = raw.clone().with_quant(Quant::PerTensor { scale: 0.0605, zero_point: 17 }).unwrap();
        let cams = [&raw, &quantized, &quantized.dequantize()].map(|t| EigenCam::compute(t).unwrap());
        for i in 0..6 {
            // The integers' p times the scale is the quantized one up to f32 rounding of each; dequantizing first rounds
            // 80 values a row, which averages to less than 1e-6.
            let unit = cams[1].p[i];
            assert!((cams[0].p[i] * 0.0605 - unit).abs() <= 1e-6 * unit.abs().max(0.1));
            assert!((cams[2].p[i] - unit).abs() <= 2e-6 * unit.abs().max(0.1));
            assert!((cams[2].mean_activation[i] - cams[1].mean_activation[i]).abs() < 1e-5);
        }
        let maps = cams.each_ref().map(|c| crate::grey(&crate::cam_map(&c.p, 2, 3, 20, 30)));
        assert_eq!(maps[0], maps[1]);
        assert_eq!(maps[0], maps[2]);
    }

    #[test]
    fn nan_is_zero_constant_is_blank_and_infinity_an_error() {
        let with_nan = block(2, 2, 9, |i, j| if (i, j) == (1, 4) { f32::NAN } else { (i * j) as f32 });
        let with_zero = block(2, 2, 9, |i, j| if (i, j) == (1, 4) { 0.0 } else { (i * j) as f32 });
        assert_eq!(EigenCam::compute(&with_nan).unwrap(), EigenCam::compute(&with_zero).unwrap());
        let constant = EigenCam::compute(&block(2, 2, 9, |_, j| j as f32)).unwrap();
        assert_eq!((constant.p.clone(), constant.eigenvalues, constant.gap()), (vec![0.0; 4], [0.0; 2], 0.0));
        assert_eq!(EigenCam::compute(&block(2, 2, 9, |_, _| f32::INFINITY)), Err(Error::NotFinite));
        let single = EigenCam::compute(&block(1, 1, 4, |_, j| j as f32)).unwrap();
        assert_eq!((single.p, single.mean_activation), (vec![0.0], vec![1.5]));
    }

    #[test]
    fn layouts_agree_and_odd_tensors_are_refused() {
        let nhwc = block(3, 2, 5, |i, j| ((i * 5 + j * 3) % 7) as f32);
        let nchw = nhwc.to_layout(Layout::Nchw).unwrap();
        assert_eq!(EigenCam::compute(&nhwc).unwrap(), EigenCam::compute(&nchw).unwrap());
        let two = Tensor::new(vec![0f32; 8], [2, 1, 2, 2], Layout::Nhwc).unwrap();
        assert!(matches!(EigenCam::compute(&two), Err(Error::Shape { .. })));
        let empty = Tensor::new(Vec::<f32>::new(), [1, 0, 2, 2], Layout::Nhwc).unwrap();
        assert!(matches!(EigenCam::compute(&empty), Err(Error::Shape { .. })));
        let flat = Tensor::new(vec![0f32; 8], [8], Layout::RowMajor).unwrap();
        assert!(matches!(EigenCam::compute(&flat), Err(Error::Tensor(_))));
    }
}
