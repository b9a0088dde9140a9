//! From f32 to u8.

use std::arch::x86_64::*;
use std::ops::Range;

use super::super::epilogue::load_f32;
use super::tables::vbmi;
use super::{LANES, Round, load, place, store};
use crate::QParams;
use crate::quant::Rounding;
use crate::x86::ops as narrow;

/// Constants of a quantization.
#[derive(Clone, Copy)]
struct Quantize {
    inverse: __m512,
    high: __m512,
    round: Round,
}

impl Quantize {
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn new(q: QParams) -> Self {
        let rounding = Rounding::new(q.zero_point, false);
        let (inverse, high) = (_mm512_set1_ps(1.0 / q.scale), _mm512_set1_ps(rounding.high));
        Self { inverse, high, round: Round::new(rounding) }
    }

    /// 64 values, each where [`place`] says. What no i32 holds becomes the least i32 and by that 0, which is right but for large values, and
    /// those are clamped; the minimum of NaN and a number is the second operand.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn packed(self, x: &[f32]) -> __m512i {
        let x = &x[..LANES];
        let integers = |block: usize| {
            let scaled = _mm512_mul_ps(load_f32(x, 16 * block), self.inverse);
            _mm512_cvtps_epi32(_mm512_min_ps(self.high, scaled))
        };
        self.round.packed([integers(0), integers(1), integers(2), integers(3)])
    }
}

/// [`crate::quantize_u8`].
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn quantize_u8(x: &[f32], q: QParams, out: &mut [u8]) {
    let quantize = Quantize::new(q);
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let vectors = x.len() / LANES * LANES;
    for (out, x) in out.chunks_exact_mut(LANES).zip(x.chunks_exact(LANES)) {
        store(_mm512_permutexvar_epi32(order, quantize.packed(x)), out);
    }
    narrow::quantize_u8(&x[vectors..], q, &mut out[vectors..]);
}

/// [`crate::quant::quantize_planes_u8`], with a loop of its own for colours where the CPU has VBMI.
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn quantize_planes_u8(
    x: &[f32],
    pixels: usize,
    range: Range<usize>,
    channels: usize,
    q: QParams,
    out: &mut [u8],
) {
    let vectors = if channels == 3 && vbmi() { range.len() / LANES * LANES } else { 0 };
    let planes = [0, 1, 2].map(|c| x.get(c * pixels + range.start..).and_then(|x| x.get(..vectors)).unwrap_or(&[]));
    // SAFETY: the CPU has VBMI, or there are no vectors.
    unsafe { quantize_colours(planes, q, &mut out[..3 * vectors]) }
    let rest = range.start + vectors..range.end;
    narrow::quantize_planes_u8(x, pixels, rest, channels, q, &mut out[vectors * channels..]);
}

/// Three planes of whole vectors to pixels.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn quantize_colours([reds, greens, blues]: [&[f32]; 3], q: QParams, out: &mut [u8]) {
    const ORDER: [[u8; LANES]; 3] = orders();
    let (quantize, orders) = (Quantize::new(q), ORDER.map(|order| load(&order)));
    let planes = reds.chunks_exact(LANES).zip(greens.chunks_exact(LANES)).zip(blues.chunks_exact(LANES));
    for (out, ((r, g), b)) in out.chunks_exact_mut(3 * LANES).zip(planes) {
        let [r, g, b] = [quantize.packed(r), quantize.packed(g), quantize.packed(b)];
        for (part, order) in orders.into_iter().enumerate() {
            let two = _mm512_permutex2var_epi8(r, order, g);
            let three = _mm512_mask_permutexvar_epi8(two, blue(part), order, b);
            store(three, &mut out[LANES * part..]);
        }
    }
}

/// For each 64 output bytes: which byte of the packed reds or, from 64 on, greens goes where; or of the packed blues, where
/// [`blue`].
const fn orders() -> [[u8; LANES]; 3] {
    let mut orders = [[0; LANES]; 3];
    let mut at = 0;
    while at < 3 * LANES {
        let green = if at % 3 == 1 { LANES } else { 0 };
        orders[at / LANES][at % LANES] = (place(at / 3) + green) as u8;
        at += 1;
    }
    orders
}

/// Which of the `part`-th 64 output bytes are blue.
const fn blue(part: usize) -> u64 {
    let (mut mask, mut at) = (0, 0);
    while at < LANES {
        if (part * LANES + at) % 3 == 2 {
            mask |= 1 << at;
        }
        at += 1;
    }
    mask
}
