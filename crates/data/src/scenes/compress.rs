//! What JPEG does to a picture, without the file: colours to YCbCr, chroma halved, 8x8 cosine transforms rounded to the steps of
//! ITU-T T.81's tables K.1 and K.2 (scaled by quality as the IJG's library does), and back.

use super::SIDE;

/// Luminance and chrominance steps (T.81, tables K.1 and K.2), row by row.
const STEPS: [[u8; 64]; 2] = [
    [
        16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56, 14, 17, 22, 29,
        51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92, 49, 64, 78, 87, 103, 121,
        120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
    ],
    [
        17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99, 47, 66, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99, 99,
        99, 99, 99, 99, 99, 99, 99, 99,
    ],
];

/// Row k: cos((2x + 1) k pi / 16) / 2, for k = 0 divided by the square root of 2.
const COSINES: [[f32; 8]; 8] = [
    [0.353_553_4, 0.353_553_4, 0.353_553_4, 0.353_553_4, 0.353_553_4, 0.353_553_4, 0.353_553_4, 0.353_553_4],
    [0.490_392_63, 0.415_734_8, 0.277_785_1, 0.097_545_16, -0.097_545_16, -0.277_785_1, -0.415_734_8, -0.490_392_63],
    [
        0.461_939_76,
        0.191_341_71,
        -0.191_341_71,
        -0.461_939_76,
        -0.461_939_76,
        -0.191_341_71,
        0.191_341_71,
        0.461_939_76,
    ],
    [0.415_734_8, -0.097_545_16, -0.490_392_63, -0.277_785_1, 0.277_785_1, 0.490_392_63, 0.097_545_16, -0.415_734_8],
    [0.353_553_4, -0.353_553_4, -0.353_553_4, 0.353_553_4, 0.353_553_4, -0.353_553_4, -0.353_553_4, 0.353_553_4],
    [0.277_785_1, -0.490_392_63, 0.097_545_16, 0.415_734_8, -0.415_734_8, -0.097_545_16, 0.490_392_63, -0.277_785_1],
    [
        0.191_341_71,
        -0.461_939_76,
        0.461_939_76,
        -0.191_341_71,
        -0.191_341_71,
        0.461_939_76,
        -0.461_939_76,
        0.191_341_71,
    ],
    [0.097_545_16, -0.277_785_1, 0.415_734_8, -0.490_392_63, 0.490_392_63, -0.415_734_8, 0.277_785_1, -0.097_545_16],
];

type Block = [[f32; 8]; 8];

/// Compresses and restores RGB bytes; `quality` from 1 to 100.
pub fn compress(bytes: &mut [u8], quality: u32) {
    let half = SIDE / 2;
    let mut planes = [vec![0.0; SIDE * SIDE], vec![0.0; half * half], vec![0.0; half * half]];
    split(bytes, &mut planes);
    let scale = if quality < 50 { 5000 / quality.max(1) } else { 200 - 2 * quality.min(100) };
    for (i, plane) in planes.iter_mut().enumerate() {
        let table = STEPS[i.min(1)].map(|s| ((u32::from(s) * scale + 50) / 100).clamp(1, 255) as f32);
        let width = if i == 0 { SIDE } else { half };
        for corner in (0..width / 8).flat_map(|row| (0..width / 8).map(move |column| (row * width + column) * 8)) {
            round_block(&mut plane[corner..], width, &table);
        }
    }
    join(&planes, bytes);
}

/// RGB bytes to Y, and Cb and Cr averaged over 2x2 pixels, all about 0 (JFIF's weights).
fn split(bytes: &[u8], [luma, blue, red]: &mut [Vec<f32>; 3]) {
    let half = SIDE / 2;
    for (i, pixel) in bytes.chunks_exact(3).enumerate() {
        let [r, g, b] = [0, 1, 2].map(|c| f32::from(pixel[c]));
        luma[i] = 0.299 * r + 0.587 * g + 0.114 * b - 128.0;
        let at = i / SIDE / 2 * half + i % SIDE / 2;
        blue[at] += 0.25 * (-0.168_736 * r - 0.331_264 * g + 0.5 * b);
        red[at] += 0.25 * (0.5 * r - 0.418_688 * g - 0.081_312 * b);
    }
}

/// Back to RGB; each chroma value serves its 2x2 pixels.
fn join([luma, blue, red]: &[Vec<f32>; 3], bytes: &mut [u8]) {
    let half = SIDE / 2;
    for (i, pixel) in bytes.chunks_exact_mut(3).enumerate() {
        let at = i / SIDE / 2 * half + i % SIDE / 2;
        let (y, b, r) = (luma[i] + 128.5, blue[at], red[at]);
        // `as` stops at 0 and 255.
        pixel[0] = (y + 1.402 * r) as u8;
        pixel[1] = (y - 0.344_136 * b - 0.714_136 * r) as u8;
        pixel[2] = (y + 1.772 * b) as u8;
    }
}

/// Transforms the block at the start of `plane`, rounds its coefficients to their steps, and transforms back.
fn round_block(plane: &mut [f32], width: usize, steps: &[f32; 64]) {
    let mut block: Block = [[0.0; 8]; 8];
    for (row, line) in block.iter_mut().zip(plane.chunks(width)) {
        row.copy_from_slice(&line[..8]);
    }
    let mut coefficients = forward(&transposed(&forward(&block)));
    for (row, k) in coefficients.iter_mut().zip(0..) {
        for (c, j) in row.iter_mut().zip(0..) {
            // The block is transposed here, so are the steps. Halves are rounded away from 0 by adding and cutting.
            let step = steps[j * 8 + k];
            let level = *c / step;
            *c = (level + if level < 0.0 { -0.5 } else { 0.5 }) as i32 as f32 * step;
        }
    }
    let restored = backward(&transposed(&backward(&coefficients)));
    for (row, line) in restored.iter().zip(plane.chunks_mut(width)) {
        line[..8].copy_from_slice(row);
    }
}

/// The cosine transform of each column.
fn forward(block: &Block) -> Block {
    COSINES.map(|weights| combine(&weights, block))
}

/// Its inverse.
fn backward(block: &Block) -> Block {
    [0, 1, 2, 3, 4, 5, 6, 7].map(|x| combine(&COSINES.map(|row| row[x]), block))
}

/// The sum of weighted rows.
fn combine(weights: &[f32; 8], rows: &Block) -> [f32; 8] {
    let mut sum = [0.0; 8];
    for (&weight, row) in weights.iter().zip(rows) {
        for (s, v) in sum.iter_mut().zip(row) {
            *s += weight * v;
        }
    }
    sum
}

fn transposed(block: &Block) -> Block {
    [0, 1, 2, 3, 4, 5, 6, 7].map(|x| block.map(|row| row[x]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_those_of_the_definition() {
        for (k, row) in COSINES.iter().enumerate() {
            for (x, &c) in row.iter().enumerate() {
                let root = if k == 0 { 0.5f64.sqrt() } else { 1.0 };
                let exact = 0.5 * root * (std::f64::consts::PI * ((2 * x + 1) * k) as f64 / 16.0).cos();
                assert!((f64::from(c) - exact).abs() < 1e-7, "{k}, {x}: {c} for {exact}");
            }
        }
    }
}
