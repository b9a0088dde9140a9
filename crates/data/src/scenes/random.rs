//! The generator that all of a scene's chance comes from.

/// PCG32 (XSH-RR 64/32) with its stream chosen: M. O'Neill, "PCG: A Family of Simple Fast Space-Efficient Statistically Good
/// Algorithms for Random Number Generation", HMC-CS-2014-0905; the reference implementation's `pcg32_srandom_r` and `pcg32_random_r`.
#[derive(Debug, Clone)]
pub struct Random {
    state: u64,
    increment: u64,
}

impl Random {
    /// The generator of a stream; streams below 2^63 that differ are different sequences, whatever the seed.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut random = Self { state: 0, increment: stream << 1 | 1 };
        random.bits();
        random.state = random.state.wrapping_add(seed);
        random.bits();
        random
    }

    /// The next 32 bits.
    pub fn bits(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(self.increment);
        let shifted = ((old >> 18 ^ old) >> 27) as u32;
        shifted.rotate_right((old >> 59) as u32)
    }

    /// A number from 0 up to, not including, 1: a multiple of 2^-24.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// A number between two.
    pub fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A whole number from 0 up to, not including, `count` (by multiplication; the bias is below `count` / 2^32).
    pub fn below(&mut self, count: u32) -> u32 {
        ((u64::from(self.bits()) * u64::from(count)) >> 32) as u32
    }

    /// True in `percent` of 100 cases.
    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// A direction: cosine and sine of a random angle.
    pub fn direction(&mut self) -> [f32; 2] {
        let angle = self.between(-core::f32::consts::PI, core::f32::consts::PI);
        [libm::cosf(angle), libm::sinf(angle)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first outputs that the reference implementation's demo prints for seed 42 and stream 54.
    #[test]
    fn numbers_are_those_of_the_reference_implementation() {
        let mut random = Random::new(42, 54);
        let expected = [0xa15c_02b7, 0x7b47_f409, 0xba1d_3330, 0x83d2_f293, 0xbfa4_784b, 0xcbed_606e];
        assert_eq!(expected.map(|_| random.bits()), expected);
    }
}
