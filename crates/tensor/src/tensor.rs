//! The tensor itself.

use half::f16;

use crate::data::for_each_dtype;
use crate::{DType, Data, Error, Layout, Quant, Shape};

/// Elements with a shape, a layout and, where quantized, scale and zero point.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Shape,
    layout: Layout,
    data: Data,
    quant: Option<Quant>,
}

impl Tensor {
    /// A tensor of these elements, in the order that `shape` and `layout` say.
    ///
    /// # Errors
    /// [`Error::Length`] where the count differs from the shape's, [`Error::Layout`] for NCHW or NHWC that is not 4-d.
    pub fn new(data: impl Into<Data>, shape: impl Into<Shape>, layout: Layout) -> Result<Self, Error> {
        let (data, shape) = (data.into(), shape.into());
        if shape.elements() != data.len() {
            return Err(Error::Length { shape, found: data.len() });
        }
        if layout != Layout::RowMajor && shape.rank() != 4 {
            return Err(Error::Layout { layout, shape });
        }
        Ok(Self { shape, layout, data, quant: None })
    }

    /// The same tensor with quantization parameters.
    ///
    /// # Errors
    /// [`Error::Quant`], see [`Quant::check`].
    pub fn with_quant(mut self, quant: Quant) -> Result<Self, Error> {
        quant.check(self.dtype(), &self.shape)?;
        self.quant = Some(quant);
        Ok(self)
    }

    /// Sizes of the dimensions, in the order of the layout.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Order of the elements.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        self.data.dtype()
    }

    /// The elements.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The elements, without the rest.
    pub fn into_data(self) -> Data {
        self.data
    }

    /// Scale and zero point, where quantized.
    pub fn quant(&self) -> Option<&Quant> {
        self.quant.as_ref()
    }

    /// The elements as u8.
    ///
    /// # Errors
    /// [`Error::DType`] for another type; likewise the methods below.
    pub fn as_u8(&self) -> Result<&[u8], Error> {
        match &self.data {
            Data::U8(v) => Ok(v),
            other => Err(Error::DType { expected: DType::U8, found: other.dtype() }),
        }
    }

    /// The elements as i8.
    ///
    /// # Errors
    /// [`Error::DType`] for another type.
    pub fn as_i8(&self) -> Result<&[i8], Error> {
        match &self.data {
            Data::I8(v) => Ok(v),
            other => Err(Error::DType { expected: DType::I8, found: other.dtype() }),
        }
    }

    /// The elements as i32.
    ///
    /// # Errors
    /// [`Error::DType`] for another type.
    pub fn as_i32(&self) -> Result<&[i32], Error> {
        match &self.data {
            Data::I32(v) => Ok(v),
            other => Err(Error::DType { expected: DType::I32, found: other.dtype() }),
        }
    }

    /// The elements as f32.
    ///
    /// # Errors
    /// [`Error::DType`] for another type ([`Tensor::to_f32`] converts).
    pub fn as_f32(&self) -> Result<&[f32], Error> {
        match &self.data {
            Data::F32(v) => Ok(v),
            other => Err(Error::DType { expected: DType::F32, found: other.dtype() }),
        }
    }

    /// The elements as u8, to be changed in place.
    ///
    /// # Errors
    /// [`Error::DType`] for another type.
    pub fn as_u8_mut(&mut self) -> Result<&mut [u8], Error> {
        match &mut self.data {
            Data::U8(v) => Ok(v),
            other => Err(Error::DType { expected: DType::U8, found: other.dtype() }),
        }
    }

    /// The elements as f32, to be changed in place.
    ///
    /// # Errors
    /// [`Error::DType`] for another type.
    pub fn as_f32_mut(&mut self) -> Result<&mut [f32], Error> {
        match &mut self.data {
            Data::F32(v) => Ok(v),
            other => Err(Error::DType { expected: DType::F32, found: other.dtype() }),
        }
    }

    /// Channels, height and width of a 4-d activation.
    ///
    /// # Errors
    /// [`Error::Layout`] for a row-major tensor.
    pub fn chw(&self) -> Result<[usize; 3], Error> {
        match (self.layout, self.shape.dims()) {
            (Layout::Nchw, &[_, c, h, w]) | (Layout::Nhwc, &[_, h, w, c]) => Ok([c, h, w]),
            _ => Err(Error::Layout { layout: self.layout, shape: self.shape.clone() }),
        }
    }

    /// The elements as f32 numbers, quantization ignored (u8 200 becomes 200.0); the raw reading of integers.
    pub fn to_f32(&self) -> Vec<f32> {
        match &self.data {
            Data::U8(v) => v.iter().map(|&x| f32::from(x)).collect(),
            Data::I8(v) => v.iter().map(|&x| f32::from(x)).collect(),
            Data::I32(v) => v.iter().map(|&x| x as f32).collect(),
            Data::F16(v) => v.iter().map(|&x| x.to_f32()).collect(),
            Data::F32(v) => v.clone(),
        }
    }

    /// Real values: (q - zero_point) * scale of a quantized tensor, the numbers themselves of any other.
    pub fn dequantize(&self) -> Tensor {
        let raw = self.to_f32();
        let values = match &self.quant {
            None => raw,
            Some(quant) => {
                let axis = if let Quant::PerChannel { axis, .. } = quant { *axis } else { 0 };
                let stride = self.shape.strides().get(axis).copied().unwrap_or(1).max(1);
                let channels = self.shape.dims().get(axis).copied().unwrap_or(1).max(1);
                let real = |(i, q): (usize, f32)| {
                    let (scale, zero_point) = quant.of(i / stride % channels);
                    (q - zero_point as f32) * scale
                };
                raw.into_iter().enumerate().map(real).collect()
            }
        };
        Tensor { shape: self.shape.clone(), layout: self.layout, data: Data::F32(values), quant: None }
    }

    /// f32 values as u8 with this scale and zero point, clamp(round(x * (1 / scale)) + zero_point, 0, 255), halves to the
    /// even number: PyTorch's `quantize_per_tensor`, and what a network's input stub does. NaN becomes 0.
    ///
    /// # Errors
    /// [`Error::DType`] for another type, [`Error::Quant`] for a scale that is not positive or a zero point outside 0 to
    /// 255.
    pub fn quantize(&self, scale: f32, zero_point: i32) -> Result<Tensor, Error> {
        let inverse = 1.0 / scale;
        let (low, high) = (-zero_point as f32, (255 - zero_point) as f32);
        // `as` maps NaN to 0.
        let q = |x: &f32| ((x * inverse).clamp(low, high).round_ties_even() + zero_point as f32) as u8;
        let quant = Quant::PerTensor { scale, zero_point };
        quant.check(DType::U8, &self.shape)?;
        let data = self.as_f32()?.iter().map(q).collect::<Vec<_>>().into();
        Tensor { shape: self.shape.clone(), layout: self.layout, data, quant: None }.with_quant(quant)
    }

    /// The same values stored as f16, rounded to nearest even.
    pub fn to_f16(&self) -> Tensor {
        let values: Vec<f16> = self.to_f32().into_iter().map(f16::from_f32).collect();
        Tensor { shape: self.shape.clone(), layout: self.layout, data: Data::F16(values), quant: None }
    }

    /// The same activation in another layout (NCHW to NHWC or back; its own layout is a copy). Quantization
    /// parameters are kept; a per-channel axis follows its dimension.
    ///
    /// # Errors
    /// [`Error::Layout`] between a row-major and an activation layout.
    pub fn to_layout(&self, layout: Layout) -> Result<Tensor, Error> {
        if layout == self.layout {
            return Ok(self.clone());
        }
        let d = self.shape.dims();
        // new_order[i]: which old dimension becomes dimension i.
        let new_order = match (self.layout, layout) {
            (Layout::Nchw, Layout::Nhwc) => [0, 2, 3, 1],
            (Layout::Nhwc, Layout::Nchw) => [0, 3, 1, 2],
            _ => return Err(Error::Layout { layout, shape: self.shape.clone() }),
        };
        let old_strides = self.shape.strides();
        let dims = new_order.map(|i| d[i]);
        let strides = new_order.map(|i| old_strides[i]);
        let data = for_each_dtype!(&self.data, v => Data::from(permute(v, dims, strides)));
        let quant = self.quant.clone().map(|q| match q {
            Quant::PerChannel { axis, scales, zero_points } => {
                let axis = new_order.iter().position(|&i| i == axis).unwrap_or(axis);
                Quant::PerChannel { axis, scales, zero_points }
            }
            q => q,
        });
        Ok(Tensor { shape: dims.into(), layout, data, quant })
    }
}

/// Elements of `v` read in row-major order of `dims`, `strides` apart.
fn permute<T: Copy>(v: &[T], dims: [usize; 4], strides: [usize; 4]) -> Vec<T> {
    let mut out = Vec::with_capacity(v.len());
    for a in 0..dims[0] {
        for b in 0..dims[1] {
            for c in 0..dims[2] {
                let base = a * strides[0] + b * strides[1] + c * strides[2];
                out.extend((0..dims[3]).map(|d| v[base + d * strides[3]]));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_convert_and_come_back() {
        let nchw = Tensor::new((0u8..24).collect::<Vec<_>>(), [1, 4, 2, 3], Layout::Nchw).unwrap();
        let nhwc = nchw.to_layout(Layout::Nhwc).unwrap();
        assert_eq!(nhwc.shape().dims(), [1, 2, 3, 4]);
        assert_eq!(&nhwc.as_u8().unwrap()[..8], [0, 6, 12, 18, 1, 7, 13, 19]);
        assert_eq!(nhwc.chw().unwrap(), nchw.chw().unwrap());
        assert_eq!(nhwc.to_layout(Layout::Nchw).unwrap(), nchw);
    }

    #[test]
    fn per_channel_axis_follows_its_dimension() {
        let quant = Quant::PerChannel { axis: 1, scales: vec![1.0, 10.0], zero_points: vec![0, 1] };
        let nchw = Tensor::new(vec![1i8, 2, 3, 4], [1, 2, 1, 2], Layout::Nchw).unwrap().with_quant(quant).unwrap();
        assert_eq!(nchw.dequantize().as_f32().unwrap(), [1.0, 2.0, 20.0, 30.0]);
        let nhwc = nchw.to_layout(Layout::Nhwc).unwrap();
        assert_eq!(nhwc.dequantize().as_f32().unwrap(), [1.0, 20.0, 2.0, 30.0]);
    }

    #[test]
    fn quantizing_rounds_halves_to_even_and_saturates() {
        let t = Tensor::new(vec![0.25f32, 0.75, -0.25, 100.0, -100.0, f32::NAN, 0.0], [7], Layout::RowMajor).unwrap();
        let q = t.quantize(0.5, 10).unwrap();
        assert_eq!(q.as_u8().unwrap(), [10, 12, 10, 210, 0, 0, 10]);
        assert_eq!(t.quantize(0.25, 10).unwrap().as_u8().unwrap()[3], 255);
        assert_eq!(q.dequantize().as_f32().unwrap()[..4], [0.0, 1.0, 0.0, 100.0]);
        assert!(t.quantize(0.0, 0).is_err() && t.quantize(1.0, 256).is_err() && q.quantize(1.0, 0).is_err());
    }

    #[test]
    fn wrong_tensors_are_refused() {
        let length = Tensor::new(vec![0f32; 5], [2, 3], Layout::RowMajor).unwrap_err();
        assert_eq!(length.to_string(), "shape [2, 3] needs 6 elements, found 5");
        assert!(matches!(Tensor::new(vec![0f32; 6], [2, 3], Layout::Nhwc), Err(Error::Layout { .. })));
        for (scale, zero_point) in [(f32::NAN, 0), (0.0, 0), (-1.0, 0), (f32::INFINITY, 0), (1.0, 256), (1.0, -1)] {
            let t = Tensor::new(vec![0u8; 2], [2], Layout::RowMajor).unwrap();
            assert!(t.with_quant(Quant::PerTensor { scale, zero_point }).is_err(), "{scale} {zero_point}");
        }
        let float = Tensor::new(vec![0f32; 2], [2], Layout::RowMajor).unwrap();
        assert!(float.with_quant(Quant::PerTensor { scale: 1.0, zero_point: 0 }).is_err());
        let few = Quant::PerChannel { axis: 0, scales: vec![1.0], zero_points: vec![0] };
        assert!(Tensor::new(vec![0i8; 2], [2], Layout::RowMajor).unwrap().with_quant(few).is_err());
    }

    #[test]
    fn halves_round_to_nearest_even() {
        let t = Tensor::new(vec![1.0f32, 2049.0, 2051.0], [3], Layout::RowMajor).unwrap();
        assert_eq!(t.to_f16().to_f32(), [1.0, 2048.0, 2052.0]);
    }
}
