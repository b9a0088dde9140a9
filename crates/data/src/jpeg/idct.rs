//! The inverse DCT, equal bit for bit to the one that libjpeg calls "islow" (its default, and Pillow's).
//!
//! Loeffler, Ligtenberg and Moschytz, "Practical fast 1-D DCT algorithms with 11 multiplications" (ICASSP 1989), the
//! variant with 12 multiplications and 32 additions, in fixed point: constants have 13 fraction bits, and the first
//! pass (columns) keeps 2 fraction bits of its results. Sums wrap: valid files stay far below 2^31.

/// Fraction bits of the constants.
const CONST_BITS: u32 = 13;
/// Fraction bits kept between the passes.
const PASS_BITS: u32 = 2;

/// A constant in fixed point.
const fn fix(x: f64) -> i32 {
    (x * (1 << CONST_BITS) as f64 + 0.5) as i32
}

/// Rounds to nearest, halves up, while dropping `bits` fraction bits.
#[inline(always)]
fn descale(x: i32, bits: u32) -> i32 {
    x.wrapping_add(1 << (bits - 1)) >> bits
}

#[inline(always)]
fn mul(x: i32, constant: i32) -> i32 {
    x.wrapping_mul(constant)
}

#[inline(always)]
fn add(a: i32, b: i32) -> i32 {
    a.wrapping_add(b)
}

#[inline(always)]
fn sub(a: i32, b: i32) -> i32 {
    a.wrapping_sub(b)
}

/// One 8-point inverse DCT; the results have `CONST_BITS` more fraction bits than the inputs, and are scaled by sqrt(8).
#[inline(always)]
fn idct_8(s: [i32; 8]) -> [i32; 8] {
    // Even part.
    let rotated = mul(add(s[2], s[6]), fix(0.541196100));
    let e2 = sub(rotated, mul(s[6], fix(1.847759065)));
    let e3 = add(rotated, mul(s[2], fix(0.765366865)));
    let e0 = add(s[0], s[4]).wrapping_shl(CONST_BITS);
    let e1 = sub(s[0], s[4]).wrapping_shl(CONST_BITS);
    let even = [add(e0, e3), add(e1, e2), sub(e1, e2), sub(e0, e3)];

    // Odd part.
    let (z1, z2) = (add(s[7], s[1]), add(s[5], s[3]));
    let (z3, z4) = (add(s[7], s[3]), add(s[5], s[1]));
    let z5 = mul(add(z3, z4), fix(1.175875602));
    let z1 = mul(z1, -fix(0.899976223));
    let z2 = mul(z2, -fix(2.562915447));
    let z3 = add(mul(z3, -fix(1.961570560)), z5);
    let z4 = add(mul(z4, -fix(0.390180644)), z5);
    let odd = [
        add(mul(s[1], fix(1.501321110)), add(z1, z4)),
        add(mul(s[3], fix(3.072711026)), add(z2, z3)),
        add(mul(s[5], fix(2.053119869)), add(z2, z4)),
        add(mul(s[7], fix(0.298631336)), add(z1, z3)),
    ];

    let mut out = [0; 8];
    for i in 0..4 {
        out[i] = add(even[i], odd[i]);
        out[7 - i] = sub(even[i], odd[i]);
    }
    out
}

/// Samples of a block from its coefficients (natural order) and quantization table (natural order), to 8 rows of
/// `out`, `stride` apart. `out` holds at least `7 * stride + 8` samples.
pub fn idct_block(coefficients: &[i16; 64], quant: &[u16; 64], out: &mut [u8], stride: usize) {
    if coefficients[1..].iter().all(|&c| c == 0) {
        // Equal to the passes below: only the constant part is left.
        let dc = mul(i32::from(coefficients[0]), i32::from(quant[0])).wrapping_shl(PASS_BITS);
        let sample = (descale(dc, PASS_BITS + 3).saturating_add(128)).clamp(0, 255) as u8;
        out.chunks_mut(stride).take(8).for_each(|row| row[..8].fill(sample));
        return;
    }
    let mut middle = [[0i32; 8]; 8];
    for x in 0..8 {
        let column: [i32; 8] = std::array::from_fn(|y| mul(coefficients[y * 8 + x].into(), quant[y * 8 + x].into()));
        let result = if column[1..] == [0; 7] {
            [column[0].wrapping_shl(PASS_BITS); 8]
        } else {
            idct_8(column).map(|v| descale(v, CONST_BITS - PASS_BITS))
        };
        for (row, value) in middle.iter_mut().zip(result) {
            row[x] = value;
        }
    }
    for (row, out) in middle.into_iter().zip(out.chunks_mut(stride)) {
        let samples = idct_8(row).map(|v| (descale(v, CONST_BITS + PASS_BITS + 3) + 128).clamp(0, 255) as u8);
        out[..8].copy_from_slice(&samples);
    }
}
