//! EigenCAM of many activations on one instruction set, in memory that is kept.

use quantlens_kernels::{Gram, Isa, MapResize, TopEigen};
use quantlens_tensor::{Data, Layout, Quant, Tensor, Values, View};

use crate::eigencam::positions_by_channels;
use crate::{EigenCam, Error};

/// Computes [`EigenCam`]s and their maps, one after the other, on one thread. After the first of a size,
/// [`CamWorkspace::eigen_cam_into`] and [`CamWorkspace::map`] allocate nothing.
#[derive(Debug)]
pub struct CamWorkspace {
    gram: Gram,
    eigen: TopEigen,
    resize: MapResize,
    /// The Gram matrix of the activation's shorter side.
    products: Vec<f64>,
    /// Sums of the rows that it was made of.
    sums: Vec<f64>,
    /// Sums over channels, one a position.
    position_sums: Vec<f64>,
    /// M v1.
    projection: Vec<f64>,
    /// A narrow activation, one row a channel.
    floats: Vec<f32>,
    /// The same of integers.
    bytes: Vec<u8>,
    /// The layer's map, normalized.
    small: Vec<f32>,
}

impl Default for CamWorkspace {
    /// On this machine's best instruction set.
    fn default() -> Self {
        Self::new(Isa::best()).or_else(|_| Self::new(Isa::Scalar)).expect("plain code runs everywhere")
    }
}

impl CamWorkspace {
    /// On this instruction set. p may differ in its last bits between sets where the activation is f32, and in nothing else.
    ///
    /// # Errors
    /// [`Error::Kernels`] where the set is not available.
    pub fn new(isa: Isa) -> Result<Self, Error> {
        let [products, sums, position_sums, projection] = [const { Vec::new() }; 4];
        Ok(Self {
            gram: Gram::new(isa)?,
            eigen: TopEigen::new(isa)?,
            resize: MapResize::new(isa)?,
            products,
            sums,
            position_sums,
            projection,
            floats: Vec::new(),
            bytes: Vec::new(),
            small: Vec::new(),
        })
    }

    /// [`EigenCam::compute`].
    ///
    /// # Errors
    /// See there.
    pub fn eigen_cam(&mut self, activation: &Tensor) -> Result<EigenCam, Error> {
        let [c, h, w] = activation.chw()?;
        let (scale, zero_point) = match activation.quant() {
            Some(Quant::PerTensor { scale, zero_point }) => (*scale, *zero_point),
            _ => (1.0, 0),
        };
        let plain = activation.layout() == Layout::Nhwc && activation.shape().dims()[0] == 1;
        let copy;
        let values = match (activation.data(), activation.quant()) {
            (Data::F32(values), _) if plain => Values::F32(values),
            (Data::U8(values), None | Some(Quant::PerTensor { .. })) if plain => Values::U8(values),
            _ => {
                (copy, _) = positions_by_channels(activation)?;
                Values::F32(&copy)
            }
        };
        let mut cam = EigenCam::default();
        self.eigen_cam_into(View { values, shape: [h, w, c], scale, zero_point }, &mut cam)?;
        Ok(cam)
    }

    /// [`EigenCam::compute`] of a borrowed activation, into a result whose memory is kept. After an error the result is
    /// without meaning.
    ///
    /// # Errors
    /// [`Error::Shape`] for an activation that is empty or has another number of elements than its shape,
    /// [`Error::NotFinite`] for infinities. NaN counts as 0.
    pub fn eigen_cam_into(&mut self, activation: View<'_>, cam: &mut EigenCam) -> Result<(), Error> {
        let View { values, shape: [h, w, channels], scale, zero_point } = activation;
        let positions = h * w;
        if values.is_empty() || values.len() != positions * channels {
            return Err(Error::Shape { found: format!("{} values of shape {h}x{w}x{channels}", values.len()) });
        }
        let eigenvalues = if positions <= channels {
            self.project_wide(values, positions)?
        } else {
            self.project_narrow(values, positions, channels)?
        };
        let (scale, zero_point) = (f64::from(scale), f64::from(zero_point));
        (cam.h, cam.w, cam.channels) = (h, w, channels);
        cam.mean_activation.clear();
        let mean = |sum: &f64| ((sum / channels as f64 - zero_point) * scale) as f32;
        cam.mean_activation.extend(self.position_sums.iter().map(mean));
        let p = &self.projection;
        let sign = if p[largest_magnitude(p)] < 0.0 { -scale } else { scale };
        cam.p.clear();
        cam.p.extend(p.iter().map(|x| (x * sign) as f32));
        cam.eigenvalues = eigenvalues.map(|x| (x.max(0.0) * scale * scale) as f32);
        if cam.p.iter().chain(&cam.eigenvalues).all(|x| x.is_finite()) { Ok(()) } else { Err(Error::NotFinite) }
    }

    /// From products of positions: M v1 = s1 u1, and u1 is the first eigenvector of M M'. Sets projection and position sums,
    /// returns the eigenvalues.
    fn project_wide(&mut self, values: Values<'_>, positions: usize) -> Result<[f64; 2], Error> {
        let products = sized(&mut self.products, positions * positions);
        let sums = sized(&mut self.position_sums, positions);
        match values {
            Values::F32(values) => self.gram.f32(values, positions, true, products, sums),
            Values::U8(values) => self.gram.u8(values, positions, products, sums),
        }
        // Centring the columns of M centres rows and columns of its products: J M M' J, J = I - 1 1' / n.
        let n = positions as f64;
        let means = sized(&mut self.sums, positions);
        for (mean, row) in means.iter_mut().zip(products.chunks_exact(positions)) {
            *mean = row.iter().sum::<f64>() / n;
        }
        let all = means.iter().sum::<f64>() / n;
        for (row, mean) in products.chunks_exact_mut(positions).zip(means.iter()) {
            row.iter_mut().zip(means.iter()).for_each(|(x, other)| *x = *x - mean - other + all);
        }
        check_finite(products)?;
        let eigenvalues = self.eigen.solve(products, positions);
        let s1 = eigenvalues[0].max(0.0).sqrt();
        self.projection.clear();
        self.projection.extend(self.eigen.vector().iter().map(|u| s1 * u));
        Ok(eigenvalues)
    }

    /// From products of channels: v1 is the first eigenvector of M' M. Otherwise as `project_wide`.
    fn project_narrow(&mut self, values: Values<'_>, positions: usize, channels: usize) -> Result<[f64; 2], Error> {
        let products = sized(&mut self.products, channels * channels);
        let sums = sized(&mut self.sums, channels);
        let position_sums = sized(&mut self.position_sums, positions);
        match values {
            Values::F32(values) => {
                add_rows(values, channels, position_sums, |x| f64::from(clean(x)));
                // Values less those of the first position: centring then costs no digits.
                let first = &values[..channels];
                let rows = transposed(&mut self.floats, values, channels, |x, c| clean(x) - clean(first[c]));
                self.gram.f32(rows, channels, false, products, sums);
            }
            Values::U8(values) => {
                add_rows(values, channels, position_sums, f64::from);
                self.gram.u8(transposed(&mut self.bytes, values, channels, |x, _| x), channels, products, sums);
            }
        }
        let n = positions as f64;
        for (row, sum) in products.chunks_exact_mut(channels).zip(sums.iter()) {
            row.iter_mut().zip(sums.iter()).for_each(|(x, other)| *x -= sum * other / n);
        }
        check_finite(products)?;
        let eigenvalues = self.eigen.solve(products, channels);
        let p = sized(&mut self.projection, positions);
        let vector = self.eigen.vector();
        match values {
            Values::F32(_) => add_products(&self.floats, vector, p),
            Values::U8(_) => add_products(&self.bytes, vector, p),
        }
        let mean = p.iter().sum::<f64>() / n;
        p.iter_mut().for_each(|x| *x -= mean);
        Ok(eigenvalues)
    }

    /// [`crate::cam_map`] into memory that is kept. Sizes are [height, width].
    ///
    /// # Panics
    /// If `p` has other than `from`'s values or a size is zero.
    pub fn map(&mut self, p: &[f32], from: [usize; 2], to: [usize; 2], map: &mut Vec<f32>) {
        self.small.clear();
        self.small.extend(p.iter().map(|x| x.max(0.0)));
        let low = self.small.iter().copied().fold(f32::INFINITY, f32::min);
        let high = self.small.iter().copied().fold(0.0, f32::max);
        self.resize.normalize(&mut self.small, [low, high]);
        map.resize(to[0] * to[1], 0.0);
        // Between values of 0 and more, no maximum with 0 is left to take.
        let range = self.resize.run(&self.small, from, to, map);
        self.resize.normalize(map, range);
    }

    /// [`crate::grey`] with vectors, into memory that is kept.
    pub fn grey(&self, map: &[f32], grey: &mut Vec<u8>) {
        grey.resize(map.len(), 0);
        self.resize.grey(map, grey);
    }
}

/// `len` zeros in kept memory.
fn sized(values: &mut Vec<f64>, len: usize) -> &mut [f64] {
    values.clear();
    values.resize(len, 0.0);
    values
}

fn check_finite(products: &[f64]) -> Result<(), Error> {
    if products.iter().all(|x| x.is_finite()) { Ok(()) } else { Err(Error::NotFinite) }
}

/// NaN is 0.
fn clean(x: f32) -> f32 {
    if x.is_nan() { 0.0 } else { x }
}

/// Adds each position's values.
fn add_rows<T: Copy>(values: &[T], channels: usize, sums: &mut [f64], real: impl Fn(T) -> f64) {
    for (sum, row) in sums.iter_mut().zip(values.chunks_exact(channels)) {
        *sum = row.iter().map(|&x| real(x)).sum();
    }
}

/// One row a channel, of values that `f` makes of an element and its channel.
fn transposed<'a, T: Copy>(out: &'a mut Vec<T>, values: &[T], channels: usize, f: impl Fn(T, usize) -> T) -> &'a [T] {
    out.clear();
    for c in 0..channels {
        out.extend(values[c..].iter().step_by(channels).map(|&x| f(x, c)));
    }
    out
}

/// Adds to each position the product of its channels (rows of `rows`) and `vector`.
fn add_products<T: Copy + Into<f64>>(rows: &[T], vector: &[f64], p: &mut [f64]) {
    for (row, v) in rows.chunks_exact(p.len()).zip(vector) {
        p.iter_mut().zip(row).for_each(|(p, &x)| *p += x.into() * v);
    }
}

/// Index of the entry of largest magnitude, the first of equals.
fn largest_magnitude(p: &[f64]) -> usize {
    (0..p.len()).fold(0, |best, i| if p[i].abs() > p[best].abs() { i } else { best })
}
