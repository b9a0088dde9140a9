//! The sums of some output rows of 64 lanes of channels, and their outputs.
//!
//! Walks over the columns of pixels once. What a column's four rows interleave to is multiplied for all outputs that read
//! it, so that it never leaves the registers: nor do the weights, nor the sums of the few output columns that are not
//! yet complete.
//!
//! `unpack` instructions interleave within parts of 16 bytes: 16 channels of four rows become four quarters of a register
//! each, with 4 channels. Packing sums into bytes undoes that order, so that nothing is permuted. Where all quarters at
//! once are more than there are registers for, two are taken, and the other two in a second pass over the strip.

use std::arch::x86_64::*;

use super::epilogue::{Constants, Epilogue};

/// Bytes of a register.
pub(super) const VECTOR: usize = 64;

/// What a strip of `OR` output rows reads and writes, in `L` lanes: 64 channels of one strip, or 32 of two strips, or 16 of four.
#[derive(Clone, Copy)]
pub(super) struct Strip<const R: usize, const OR: usize, const L: usize> {
    /// Where the first pixel of each input row lies; before that, as often, the padding: a pixel of zero points. Columns
    /// outside take these without a branch, which short rows would often mispredict.
    pub(super) rows: [[[*const u8; L]; R]; 2],
    /// Where the first pixel of each output row lies. Of two that are the same, the first counts.
    pub(super) out: [[*mut u8; L]; OR],
}

/// The widths of a convolution, and a block of its channels.
#[derive(Clone, Copy)]
pub(super) struct Tile<'a> {
    pub(super) in_w: usize,
    pub(super) out_w: usize,
    pub(super) channels: usize,
    pub(super) padding: usize,
    /// The block's first channel.
    pub(super) channel: usize,
    /// Its weights, `[pass][kernel column][output row][quarter]` and behind those of each pass those of the fifth row.
    pub(super) weights: &'a [i8],
    pub(super) epilogue: &'a Epilogue,
    /// Where its constants start.
    pub(super) constants: usize,
}

/// `K`: kernel rows and columns, 3 or 5. `S`: stride. `R`: input rows that the strip reads, 3 to 5. `OR`: its output rows. `N`:
/// output columns that a column of pixels meets at most. `Q`: quarters of a pass. `VNNI`: which instructions multiply.
///
/// # Safety
/// The CPU has AVX-512 F, BW, VL and DQ, and VNNI where `VNNI`. Input and output rows hold `in_w` and `out_w` pixels of `channels` channels, the padding one; `64 / L` channels from `channel`
/// on are in a pixel. `words` holds, where `Q` is 2, `OR * out_w` vectors.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) unsafe fn strip<
    const K: usize,
    const S: usize,
    const R: usize,
    const OR: usize,
    const N: usize,
    const Q: usize,
    const L: usize,
    const WAY: u8,
    const VNNI: bool,
>(
    tile: &Tile,
    strip: &Strip<R, OR, L>,
    words: *mut __m512i,
) {
    // SAFETY: the caller's promise.
    unsafe {
        if VNNI {
            vnni::pass::<K, S, R, OR, N, Q, L, WAY, 0>(tile, strip, words);
            if Q == 2 {
                vnni::pass::<K, S, R, OR, N, Q, L, WAY, 2>(tile, strip, words);
            }
        } else {
            widening::pass::<K, S, R, OR, N, Q, L, WAY, 0>(tile, strip, words);
            if Q == 2 {
                widening::pass::<K, S, R, OR, N, Q, L, WAY, 2>(tile, strip, words);
            }
        }
    }
}

/// Defines `pass` with these instructions. How weights and interleaved inputs are multiplied (`factors`, `inputs`, `dot`) is up to the module
/// that it is used in.
macro_rules! pass {
    ($features:literal) => {
        /// Quarters `FIRST` to `FIRST + Q` of a strip. Never inlined: what the compiler keeps in registers should not depend on what is around it.
        ///
        /// # Safety
        /// The CPU has these instructions; otherwise as of [`strip`].
        #[target_feature(enable = $features)]
        #[inline(never)]
        pub(super) unsafe fn pass<
            const K: usize,
            const S: usize,
            const R: usize,
            const OR: usize,
            const N: usize,
            const Q: usize,
            const L: usize,
            const WAY: u8,
            const FIRST: usize,
        >(
            tile: &Tile,
            strip: &Strip<R, OR, L>,
            words: *mut __m512i,
        ) {
            // SAFETY: the instruction set is the caller's promise.
            let constants = unsafe { Constants::<Q>::new(tile.epilogue, tile.constants + FIRST * 16) };
            let fifth = if R == 5 { 2 } else { 0 };
            let weights = &tile.weights[FIRST / 2 * (K * OR + fifth) * Q * VECTOR..][..(K * OR + fifth) * Q * VECTOR];
            let weight = |index: usize| {
                // SAFETY: the slice has `K * OR + fifth` times `Q` vectors; the load needs no alignment.
                factors(unsafe { _mm512_loadu_si512(weights.as_ptr().add(index * VECTOR).cast()) })
            };
            let w: [[[Factors; Q]; OR]; K] = std::array::from_fn(|kx| {
                std::array::from_fn(|o| std::array::from_fn(|q| weight((kx * OR + o) * Q + q)))
            });
            let w_fifth: [[Factors; Q]; 2] = std::array::from_fn(|i| {
                std::array::from_fn(|q| if R == 5 { weight((K * OR + i) * Q + q) } else { w[0][0][q] })
            });
            // Sums of the output columns that the last column met, the oldest first; those before the first output are of no use.
            let mut sums = [[constants.start; OR]; N];
            let (mut last, mut pairs) = (_mm512_setzero_si512(), [_mm512_setzero_si512(); 2]);
            for step in 0..tile.out_w + N - 1 {
                for j in 0..S {
                    let x = (step * S + j).wrapping_sub(S - 1 + tile.padding);
                    let inside = x < tile.in_w;
                    let (table, at) = (&strip.rows[usize::from(inside)], if inside { x * tile.channels } else { 0 });
                    // SAFETY: rows have `in_w` pixels, and the padding has one; the block lies inside a pixel.
                    let rows: [__m512i; R] = std::array::from_fn(|r| unsafe { load(&table[r], at + tile.channel) });
                    let column = interleave::<R, Q, FIRST>(rows).map(|x| inputs(x));
                    for d in 0..N {
                        if d * S <= K - S + j {
                            for o in 0..OR {
                                for q in 0..Q {
                                    sums[d][o][q] = dot(sums[d][o][q], column[q], w[K - S + j - d * S][o][q]);
                                }
                            }
                        }
                    }
                    if R == 5 {
                        // Pixels `x - 3 ..= x` of the fifth row.
                        let pair = interleave_pair::<FIRST>(last, rows[R - 1]);
                        let four = [_mm512_unpacklo_epi16(pairs[1], pair), _mm512_unpackhi_epi16(pairs[1], pair)]
                            .map(|x| inputs(x));
                        (last, pairs) = (rows[R - 1], [pair, pairs[0]]);
                        if j == S - 1 {
                            // The last four of the first window, and the first of the second.
                            for q in 0..Q {
                                sums[0][0][q] = dot(sums[0][0][q], four[q % 2], w_fifth[0][q]);
                                sums[1][0][q] = dot(sums[1][0][q], four[q % 2], w_fifth[1][q]);
                            }
                        }
                    }
                }
                if let Some(pixel) = step.checked_sub(N - 1) {
                    // Backwards: of two rows that are the same, the first counts.
                    for o in (0..OR).rev() {
                        let half = constants.words::<WAY>(0, [sums[0][o][0], sums[0][o][1]]);
                        // SAFETY: there are `OR * out_w` vectors.
                        let word = unsafe { words.add(pixel * OR + o) };
                        let bytes = match (Q, FIRST) {
                            (4, _) => constants.bytes::<WAY>([
                                half,
                                constants.words::<WAY>(Q - 2, [sums[0][o][Q - 2], sums[0][o][Q - 1]]),
                            ]),
                            // SAFETY: as above; the pass before has written it.
                            (_, 2) => constants.bytes::<WAY>([unsafe { _mm512_loadu_si512(word) }, half]),
                            _ => {
                                // SAFETY: as above.
                                unsafe { _mm512_storeu_si512(word, half) };
                                continue;
                            }
                        };
                        // SAFETY: rows have `out_w` pixels.
                        unsafe { store(&strip.out[o], pixel * tile.channels + tile.channel, bytes) };
                    }
                }
                for d in 1..N {
                    sums[d - 1] = sums[d];
                }
                sums[N - 1] = [constants.start; OR];
            }
        }
    };
}

/// Four products at once.
mod vnni {
    use super::*;

    pass!("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni");

    type Factors = __m512i;

    #[inline(always)]
    fn factors(w: __m512i) -> Factors {
        w
    }

    #[inline(always)]
    fn inputs(x: __m512i) -> __m512i {
        x
    }

    /// Adds the products of each four rows' bytes.
    #[target_feature(enable = "avx512f,avx512vnni")]
    #[inline]
    fn dot(sum: __m512i, x: __m512i, w: Factors) -> __m512i {
        _mm512_dpbusd_epi32(sum, x, w)
    }
}

/// Two products at once, of bytes widened to words: those of the rows 0 and 2, then of 1 and 3. The even and the odd bytes of 32 bits are
/// words as they are, so that nothing is unpacked.
mod widening {
    use super::*;

    pass!("avx512f,avx512bw,avx512vl,avx512dq");

    type Factors = [__m512i; 2];

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn factors(w: __m512i) -> Factors {
        [_mm512_srai_epi16::<8>(_mm512_slli_epi16::<8>(w)), _mm512_srai_epi16::<8>(w)]
    }

    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn inputs(x: __m512i) -> [__m512i; 2] {
        [_mm512_and_si512(x, _mm512_set1_epi16(0xff)), _mm512_srli_epi16::<8>(x)]
    }

    /// Adds the products of each four rows' words.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn dot(sum: __m512i, x: [__m512i; 2], w: Factors) -> __m512i {
        let two = _mm512_add_epi32(sum, _mm512_madd_epi16(x[0], w[0]));
        _mm512_add_epi32(two, _mm512_madd_epi16(x[1], w[1]))
    }
}

/// Quarters `FIRST` to `FIRST + Q` of up to four rows: four channels of each 16, of each channel a byte of each row. Where there
/// are three, the last is taken twice.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave<const R: usize, const Q: usize, const FIRST: usize>(rows: [__m512i; R]) -> [__m512i; Q] {
    std::array::from_fn(|q| {
        let pair = |a, b| {
            if FIRST + q < 2 { _mm512_unpacklo_epi8(a, b) } else { _mm512_unpackhi_epi8(a, b) }
        };
        let (first, second) = (pair(rows[0], rows[1]), pair(rows[2], rows[3.min(R - 1)]));
        if q % 2 == 0 { _mm512_unpacklo_epi16(first, second) } else { _mm512_unpackhi_epi16(first, second) }
    })
}

/// Bytes of two pixels, of the channels of quarters `FIRST` and the next.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave_pair<const FIRST: usize>(a: __m512i, b: __m512i) -> __m512i {
    if FIRST == 0 { _mm512_unpacklo_epi8(a, b) } else { _mm512_unpackhi_epi8(a, b) }
}

/// 64 bytes, an `L`-th of them from each lane's row at `at`.
///
/// # Safety
/// Each row has `64 / L` bytes there.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn load<const L: usize>(row: &[*const u8; L], at: usize) -> __m512i {
    // SAFETY: the caller's promise; loads need no alignment.
    unsafe {
        match L {
            1 => _mm512_loadu_si512(row[0].add(at).cast()),
            2 => join(_mm256_loadu_si256(row[0].add(at).cast()), _mm256_loadu_si256(row[1].add(at).cast())),
            _ => {
                let lane = |l: usize| _mm_loadu_si128(row[l].add(at).cast());
                let two = |l: usize| _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(lane(l)), lane(l + 1));
                join(two(0), two(2))
            }
        }
    }
}

#[target_feature(enable = "avx512f")]
#[inline]
fn join(low: __m256i, high: __m256i) -> __m512i {
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// Stores 64 bytes, an `L`-th of them to each lane's row at `at`.
///
/// # Safety
/// Each row has `64 / L` writable bytes there.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
unsafe fn store<const L: usize>(row: &[*mut u8; L], at: usize, bytes: __m512i) {
    let halves = [_mm512_castsi512_si256(bytes), _mm512_extracti64x4_epi64::<1>(bytes)];
    // SAFETY: the caller's promise; stores need no alignment.
    unsafe {
        match L {
            1 => _mm512_storeu_si512(row[0].add(at).cast(), bytes),
            2 => (0..L).for_each(|l| _mm256_storeu_si256(row[l].add(at).cast(), halves[l])),
            _ => {
                for (l, half) in halves.into_iter().enumerate() {
                    _mm_storeu_si128(row[l * 2].add(at).cast(), _mm256_castsi256_si128(half));
                    _mm_storeu_si128(row[l * 2 + 1].add(at).cast(), _mm256_extracti128_si256::<1>(half));
                }
            }
        }
    }
}
