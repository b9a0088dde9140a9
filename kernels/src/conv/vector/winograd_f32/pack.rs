//! Filters, transformed and laid out as products read them.

use super::BLOCK;
use super::filter::{filter_matrix, filters};
use crate::AlignedBuf;
use crate::conv::Conv2d;

/// G g G^T of every filter g of OIHW weights, rounded once, as `[panel][filter][in_c][16]`.
pub(super) fn pack(conv: &Conv2d, m: [usize; 2], oihw: &[f32]) -> AlignedBuf<f32> {
    let matrix = filter_matrix(conv.stride[0]);
    let ([rows, columns], in_c) = (m.map(|m| &matrix[..filters(m)]), conv.in_c);
    let len = rows.len() * columns.len();
    let mut packed = AlignedBuf::new(len * in_c * conv.out_c);
    for (index, filter) in oihw.chunks_exact(9).enumerate() {
        let (o, i) = (index / in_c, index % in_c);
        let first = (o / BLOCK * len * in_c + i) * BLOCK + o % BLOCK;
        for (y, row) in rows.iter().enumerate() {
            let half: [f64; 3] = std::array::from_fn(|x| (0..3).map(|y| row[y] * f64::from(filter[y * 3 + x])).sum());
            for (x, column) in columns.iter().enumerate() {
                let value: f64 = half.iter().zip(column).map(|(a, b)| a * b).sum();
                packed[first + (y * columns.len() + x) * in_c * BLOCK] = value as f32;
            }
        }
    }
    packed
}
