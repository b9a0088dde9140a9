//! Products of every two rows with AVX2: some columns of all rows are packed, then multiplied in tiles of 4 by 3 sums.

use std::arch::x86_64::*;

use crate::AlignedBuf;

/// Rows of a tile.
const TILE_ROWS: usize = 4;

/// Columns of a tile.
const TILE_COLUMNS: usize = 3;

/// Floats of a row that are multiplied before the sums go to f64. 49 rows of 128 would fit a first-level cache of 32 KB, but
/// adding up the sums more often costs more than reading a second-level one.
const FLOATS: usize = 320;

/// Bytes of a row, likewise: 49 rows of them, widened, fit the first-level cache, and more do not pay.
const WORDS: usize = 256;

/// Memory for Gram matrices.
#[derive(Debug)]
pub(crate) struct Tiles {
    /// Some columns of all rows, without gaps between rows.
    floats: AlignedBuf<f32>,
    /// The same of bytes, widened.
    words: AlignedBuf<i16>,
    /// The lower triangle in whole tiles.
    sums: Vec<f64>,
}

impl Default for Tiles {
    fn default() -> Self {
        Self { floats: AlignedBuf::new(0), words: AlignedBuf::new(0), sums: Vec::new() }
    }
}

impl Tiles {
    /// [`crate::scalar::gram::gram_u8`]; the lengths are checked.
    #[target_feature(enable = "avx2")]
    pub(crate) fn u8(&mut self, x: &[u8], products: &mut [f64], sums: &mut [f64]) {
        let (rows, stride) = (sums.len(), self.start(sums));
        if self.words.len() < stride * WORDS {
            self.words = AlignedBuf::new(stride * WORDS);
        }
        self.words[rows * WORDS..].fill(0);
        for start in (0..x.len() / rows).step_by(WORDS) {
            add_u8(x, start, &mut self.words, &mut self.sums, stride, sums);
        }
        self.copy_out(rows, stride, products);
    }

    /// [`crate::scalar::gram::gram_f32`]; the lengths are checked.
    #[target_feature(enable = "avx2,fma")]
    pub(crate) fn f32(&mut self, x: &[f32], from_first: bool, products: &mut [f64], sums: &mut [f64]) {
        let (rows, stride) = (sums.len(), self.start(sums));
        if self.floats.len() < stride * FLOATS {
            self.floats = AlignedBuf::new(stride * FLOATS);
        }
        self.floats[rows * FLOATS..].fill(0.0);
        for start in (0..x.len() / rows).step_by(FLOATS) {
            add_f32(x, start, from_first, &mut self.floats, &mut self.sums, stride, sums);
        }
        self.copy_out(rows, stride, products);
    }

    /// Clears all sums. Returns the tiles' stride, which is also how many rows whole tiles may read.
    fn start(&mut self, sums: &mut [f64]) -> usize {
        let stride = sums.len().next_multiple_of(TILE_ROWS) + TILE_ROWS;
        sums.fill(0.0);
        self.sums.clear();
        self.sums.resize(stride * stride, 0.0);
        stride
    }

    /// The lower triangle to both.
    fn copy_out(&self, rows: usize, stride: usize, products: &mut [f64]) {
        for i in 0..rows {
            for j in 0..=i {
                let sum = self.sums[i * stride + j];
                (products[i * rows + j], products[j * rows + i]) = (sum, sum);
            }
        }
    }
}

/// Adds the products of columns `start..start + FLOATS` (as far as there are) of every two rows of `x` to
/// `tiles[i * stride + j]`, for all `j <= i` and some others, and those columns to `sums`, which has one a row. `block` is
/// room for them, its rows after those of `x` zero. `from_first` as in [`crate::scalar::gram::gram_f32`].
#[target_feature(enable = "avx2,fma")]
fn add_f32(
    x: &[f32],
    start: usize,
    from_first: bool,
    block: &mut [f32],
    tiles: &mut [f64],
    stride: usize,
    sums: &mut [f64],
) {
    let rows = sums.len();
    check(block.len() / FLOATS, rows, tiles.len(), stride);
    let columns = x.len() / rows;
    let len = FLOATS.min(columns - start);
    let mut first = [0.0; FLOATS];
    if from_first {
        pack_f32(&x[start..][..len], &[0.0; FLOATS], &mut first);
    }
    for ((i, sum), packed) in sums.iter_mut().enumerate().zip(block.chunks_exact_mut(FLOATS)) {
        *sum += f64::from(pack_f32(&x[i * columns + start..][..len], &first, packed));
    }
    for [i, j] in pairs(rows) {
        let mut sums = [[_mm256_setzero_ps(); TILE_COLUMNS]; TILE_ROWS];
        for at in (0..len).step_by(8) {
            // SAFETY: `check` holds rows up to i + 3 and j + 2; the row has 8 elements from `at` on, as `at < FLOATS`
            // and both are multiples of 8.
            let load = |row: usize| unsafe { _mm256_loadu_ps(block.as_ptr().add(row * FLOATS + at)) };
            let b = [load(j), load(j + 1), load(j + 2)];
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = load(i + r);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = _mm256_fmadd_ps(a, b, *sum);
                }
            }
        }
        for (r, [a, b, c]) in sums.into_iter().enumerate() {
            let pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, _mm256_setzero_ps()));
            let sums = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
            add4(_mm256_cvtps_pd(sums), &mut tiles[(i + r) * stride + j..][..4]);
        }
    }
}

/// A row's floats less those of another, NaN as 0, zeros up to a multiple of 8; the sum of the floats.
#[target_feature(enable = "avx2")]
fn pack_f32(x: &[f32], first: &[f32; FLOATS], out: &mut [f32]) -> f32 {
    let mut total = _mm256_setzero_ps();
    let mut last = [0.0; 8];
    let whole = x.len() / 8 * 8;
    last[..x.len() - whole].copy_from_slice(&x[whole..]);
    for at in (0..x.len()).step_by(8) {
        let (x, first) = (if at < whole { &x[at..at + 8] } else { &last[..] }, &first[at..at + 8]);
        let out = &mut out[at..at + 8];
        // SAFETY: all three slices have 8 elements; no access needs alignment.
        unsafe {
            let x = _mm256_loadu_ps(x.as_ptr());
            let clean = _mm256_and_ps(x, _mm256_cmp_ps::<_CMP_ORD_Q>(x, x));
            total = _mm256_add_ps(total, clean);
            _mm256_storeu_ps(out.as_mut_ptr(), _mm256_sub_ps(clean, _mm256_loadu_ps(first.as_ptr())));
        }
    }
    let half = _mm_add_ps(_mm256_castps256_ps128(total), _mm256_extractf128_ps::<1>(total));
    let pair = _mm_add_ps(half, _mm_movehl_ps(half, half));
    _mm_cvtss_f32(_mm_add_ss(pair, _mm_movehdup_ps(pair)))
}

/// The same of bytes and `start..start + WORDS`: exact, since 256 products of bytes stay far below 2^31, and the sums of f64
/// are integers.
#[target_feature(enable = "avx2")]
fn add_u8(x: &[u8], start: usize, block: &mut [i16], tiles: &mut [f64], stride: usize, sums: &mut [f64]) {
    let rows = sums.len();
    check(block.len() / WORDS, rows, tiles.len(), stride);
    let columns = x.len() / rows;
    let len = WORDS.min(columns - start);
    for ((i, sum), packed) in sums.iter_mut().enumerate().zip(block.chunks_exact_mut(WORDS)) {
        *sum += f64::from(pack_u8(&x[i * columns + start..][..len], packed));
    }
    for [i, j] in pairs(rows) {
        let mut sums = [[_mm256_setzero_si256(); TILE_COLUMNS]; TILE_ROWS];
        for at in (0..len).step_by(16) {
            // SAFETY: as in `add_f32`, with 16 elements.
            let load = |row: usize| unsafe { _mm256_loadu_si256(block.as_ptr().add(row * WORDS + at).cast()) };
            let b = [load(j), load(j + 1), load(j + 2)];
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = load(i + r);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(a, b));
                }
            }
        }
        for (r, [a, b, c]) in sums.into_iter().enumerate() {
            let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, _mm256_setzero_si256()));
            let sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
            add4(_mm256_cvtepi32_pd(sums), &mut tiles[(i + r) * stride + j..][..4]);
        }
    }
}

/// Widens a row's bytes, zeros up to a multiple of 16; their sum.
#[target_feature(enable = "avx2")]
fn pack_u8(x: &[u8], out: &mut [i16]) -> i32 {
    let mut total = _mm_setzero_si128();
    let mut last = [0; 16];
    let whole = x.len() / 16 * 16;
    last[..x.len() - whole].copy_from_slice(&x[whole..]);
    for at in (0..x.len()).step_by(16) {
        let x = if at < whole { &x[at..at + 16] } else { &last[..] };
        let out = &mut out[at..at + 16];
        // SAFETY: both slices have 16 elements; no access needs alignment.
        unsafe {
            let x = _mm_loadu_si128(x.as_ptr().cast());
            total = _mm_add_epi64(total, _mm_sad_epu8(x, _mm_setzero_si128()));
            _mm256_storeu_si256(out.as_mut_ptr().cast(), _mm256_cvtepu8_epi16(x));
        }
    }
    _mm_cvtsi128_si32(_mm_add_epi64(total, _mm_unpackhi_epi64(total, total)))
}

/// Panics unless tiles that start at rows and columns below `rows` lie inside block and tiles.
fn check(block_rows: usize, rows: usize, tiles: usize, stride: usize) {
    let reach = rows.next_multiple_of(TILE_ROWS) + TILE_COLUMNS;
    assert!(block_rows >= reach && stride > reach && tiles >= reach * stride, "Gram tiles of {rows} rows");
}

/// First row and column of each tile that meets the lower triangle.
fn pairs(rows: usize) -> impl Iterator<Item = [usize; 2]> {
    let columns = move |i: usize| (0..rows.min(i + TILE_ROWS)).step_by(TILE_COLUMNS);
    (0..rows).step_by(TILE_ROWS).flat_map(move |i| columns(i).map(move |j| [i, j]))
}

#[target_feature(enable = "avx2")]
#[inline]
fn add4(x: __m256d, out: &mut [f64]) {
    let out = &mut out[..4];
    // SAFETY: the slice has 4 elements; neither access needs alignment.
    unsafe {
        let sum = _mm256_add_pd(_mm256_loadu_pd(out.as_ptr()), x);
        _mm256_storeu_pd(out.as_mut_ptr(), sum);
    }
}
