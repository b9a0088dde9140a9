//! The horizontal pass of a picture's resize with AVX2, the same bytes as in plain Rust: weights are cut into 12 low bits and
//! what is above, which fit 16 bits, so that one instruction multiplies two pixels' bytes and adds them in i32.

use std::arch::x86_64::*;

use crate::picture::PictureTaps;
use crate::scalar::picture::HALF;

/// Low bits of a weight.
const LOW: u32 = 12;

/// Weights of two pixels after one another: low parts in one word, high parts in the other.
pub(crate) type Pair = [i32; 2];

/// The weights of a tap in pairs, an odd last one with 0. None where one does not fit.
pub(crate) fn pairs(weights: &[i32]) -> Option<impl Iterator<Item = Pair>> {
    let fits = |w: &i32| i16::try_from(w >> LOW).is_ok();
    let low = |w: i32| w & ((1 << LOW) - 1);
    let word = |a: i32, b: i32| a & 0xffff | b << 16;
    weights.iter().all(fits).then(|| {
        weights.chunks(2).map(move |pair| {
            let (a, b) = (pair[0], pair.get(1).copied().unwrap_or(0));
            [word(low(a), low(b)), word(a >> LOW, b >> LOW)]
        })
    })
}

/// Two rows at once. Each is followed by at least 8 bytes: `rows` and `out` have the same two rows, `pairs` and `ends`
/// (where each tap's pairs end) are those of `taps`.
///
/// # Panics
/// If a tap reaches beyond a row, or `out` is shorter than the taps.
#[target_feature(enable = "avx2")]
pub(crate) fn columns(rows: [&[u8]; 2], taps: &PictureTaps, pairs: &[Pair], ends: &[usize], out: [&mut [u8]; 2]) {
    // (R0, R1), (G0, G1), (B0, B1) as 16-bit numbers, from the two rows' lanes.
    let spread = _mm256_setr_epi8(
        0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1, 0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1,
        -1,
    );

    let ([upper, lower], [a, b]) = (out, rows);
    let mut start = 0;
    for (i, &end) in ends.iter().enumerate() {
        let first = 3 * taps.of(i).0;
        let pairs = &pairs[start..end];
        start = end;
        // 6 bytes a pair are used, 8 are read.
        let bytes = first..first + 6 * pairs.len() + 2;
        let (a, b) = (&a[bytes.clone()], &b[bytes]);
        let (mut low, mut high) = (_mm256_set1_epi32(HALF), _mm256_setzero_si256());
        for (k, &[w_low, w_high]) in pairs.iter().enumerate() {
            // SAFETY: both slices have 6 * pairs + 2 bytes, so 8 from 6 * k on for k below pairs; no load needs alignment.
            let both = unsafe {
                let a = _mm_loadl_epi64(a.as_ptr().add(6 * k).cast());
                let b = _mm_loadl_epi64(b.as_ptr().add(6 * k).cast());
                _mm256_shuffle_epi8(_mm256_set_m128i(b, a), spread)
            };
            low = _mm256_add_epi32(low, _mm256_madd_epi16(both, _mm256_set1_epi32(w_low)));
            high = _mm256_add_epi32(high, _mm256_madd_epi16(both, _mm256_set1_epi32(w_high)));
        }
        let sums = _mm256_srai_epi32::<{ PictureTaps::FRACTION_BITS as i32 }>(_mm256_add_epi32(
            low,
            _mm256_slli_epi32::<12>(high),
        ));
        let words = _mm256_packs_epi32(sums, sums);
        let bytes = _mm256_packus_epi16(words, words);
        let a = _mm_cvtsi128_si32(_mm256_castsi256_si128(bytes)).to_le_bytes();
        let b = _mm_cvtsi128_si32(_mm256_extracti128_si256::<1>(bytes)).to_le_bytes();
        // The fourth byte is the next pixel's, which comes later; the last pixel has none.
        let (upper, lower) = (&mut upper[3 * i..], &mut lower[3 * i..]);
        if let (Some(upper), Some(lower)) = (upper.first_chunk_mut::<4>(), lower.first_chunk_mut::<4>()) {
            (*upper, *lower) = (a, b);
        } else {
            upper[..3].copy_from_slice(&a[..3]);
            lower[..3].copy_from_slice(&b[..3]);
        }
    }
}
