//! Philox4x64-10: a counter-based generator (Salmon, Moraes, Dror, Shaw: Parallel Random Numbers: As Easy as 1, 2, 3,
//! SC 2011). Any block of any stream can be computed at once, so resample 7,000 does not wait for the 6,999 before it.

const MULTIPLIERS: [u64; 2] = [0xd2e7_470e_e14c_6c93, 0xca5a_8263_9512_1157];
const WEYL: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbb67_ae85_84ca_a73b];
const ROUNDS: usize = 10;

/// One stream of random numbers.
#[derive(Debug, Clone)]
pub struct Philox {
    key: [u64; 2],
    counter: [u64; 4],
    block: [u64; 4],
    /// 32-bit words of the block that were handed out.
    used: usize,
}

impl Philox {
    /// The stream of a seed, of what it is drawn for, and of a number within that (a resample, for example).
    pub fn new(seed: u64, purpose: u64, number: u64) -> Self {
        Self { key: [seed, purpose], counter: [0, number, 0, 0], block: [0; 4], used: 8 }
    }

    /// 32 random bits: the low half of each 64-bit word first.
    #[inline]
    pub fn bits32(&mut self) -> u32 {
        if self.used == 8 {
            self.block = block(self.counter, self.key);
            self.counter[0] += 1;
            self.used = 0;
        }
        let word = self.block[self.used / 2] >> (32 * (self.used % 2));
        self.used += 1;
        word as u32
    }

    /// 64 random bits.
    #[inline]
    pub fn bits64(&mut self) -> u64 {
        u64::from(self.bits32()) | u64::from(self.bits32()) << 32
    }

    /// A number below `n`, each with exactly the same probability (Lemire: Fast Random Integer Generation in an
    /// Interval, 2019). 0 for `n` = 0.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        loop {
            let product = u64::from(self.bits32()) * u64::from(n);
            let low = product as u32;
            if low >= n || low >= n.wrapping_neg().checked_rem(n).unwrap_or(0) {
                return (product >> 32) as u32;
            }
        }
    }

    /// Draws [`Philox::below`] of `counts`' length as often as that is long, from the beginning of a block, and counts
    /// how often each number came: a resample.
    pub fn resample(&mut self, counts: &mut [u16]) {
        counts.fill(0);
        let n = u32::try_from(counts.len()).unwrap_or(u32::MAX);
        let refused = n.wrapping_neg().checked_rem(n).unwrap_or(0);
        let mut left = n;
        while left > 0 {
            for word in block(self.counter, self.key) {
                for bits in [word as u32, (word >> 32) as u32] {
                    let product = u64::from(bits) * u64::from(n);
                    if product as u32 >= refused && left > 0 {
                        let count = &mut counts[(product >> 32) as usize];
                        *count = count.saturating_add(1);
                        left -= 1;
                    }
                }
            }
            self.counter[0] += 1;
        }
        self.used = 8;
    }
}

/// The four words of a counter.
#[inline]
fn block(mut c: [u64; 4], mut key: [u64; 2]) -> [u64; 4] {
    let wide = |a: u64, b: u64| {
        let product = u128::from(a) * u128::from(b);
        ((product >> 64) as u64, product as u64)
    };
    for _ in 0..ROUNDS {
        let (high0, low0) = wide(MULTIPLIERS[0], c[0]);
        let (high1, low1) = wide(MULTIPLIERS[1], c[2]);
        c = [high1 ^ c[1] ^ key[0], low1, high0 ^ c[3] ^ key[1], low0];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    c
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `numpy.random.Philox(key=[1, 2], counter=[0, 3, 0, 0])` of NumPy 2.4.6, whose first block is counter + 1.
    #[test]
    fn the_bits_are_numpys() {
        let mut random = Philox::new(1, 2, 3);
        random.counter[0] = 1;
        let expected: [u64; 6] = GOLDEN;
        assert_eq!([(); 6].map(|()| random.bits64()), expected);
    }

    const GOLDEN: [u64; 6] = [
        0x2327_8960_bbd2_1e3d,
        0x39a8_8273_926b_8f36,
        0x4156_7896_ec75_3ad6,
        0xd642_f2f4_0243_945f,
        0xa29f_1f59_ab30_c12a,
        0x2293_aad6_2fd9_221f,
    ];

    /// The known answer of Random123's kat_vectors.
    #[test]
    fn the_zero_block_is_the_papers() {
        let expected = [0x1655_4d9e_ca36_314c, 0xdb20_fe9d_672d_0fdc, 0xd7e7_72ce_e186_176b, 0x7e68_b68a_ec7b_a23b];
        assert_eq!(block([0; 4], [0; 2]), expected);
    }

    #[test]
    fn every_number_below_n_is_equally_likely() {
        let mut random = Philox::new(7, 0, 0);
        let mut counts = [0u32; 6];
        (0..60_000).for_each(|_| counts[random.below(6) as usize] += 1);
        // Five standard deviations of a binomial count with 60,000 throws of a die: 91.
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 457), "{counts:?}");
        // Above half of the range every second word is thrown away: the rest stays uniform.
        let n = (1 << 31) + 1;
        let upper = (0..60_000).filter(|_| random.below(n) >= n / 2).count();
        assert!(upper.abs_diff(30_000) < 613, "{upper}");
        assert_eq!((random.below(1), random.below(0)), (0, 0));
    }

    #[test]
    fn a_resample_is_as_many_single_draws() {
        for n in [0usize, 1, 2, 7, 8, 9, 1000, 4097] {
            let (mut one, mut counts) = (Philox::new(1, 2, n as u64), vec![7; n]);
            let mut expected = vec![0u16; n];
            (0..n).for_each(|_| expected[one.below(n as u32) as usize] += 1);
            Philox::new(1, 2, n as u64).resample(&mut counts);
            assert_eq!(counts, expected, "{n}");
        }
    }

    #[test]
    fn streams_differ_by_seed_purpose_and_number() {
        let first = |a, b, c| Philox::new(a, b, c).bits64();
        let all = [first(0, 0, 0), first(1, 0, 0), first(0, 1, 0), first(0, 0, 1)];
        assert!((0..4).all(|i| (0..i).all(|j| all[i] != all[j])), "{all:?}");
    }
}
