//! Which products of a depthwise window may be summed in i16: as in [`gemm_u8`](super::super::gemm_u8), decided from the
//! weights when they are packed.
//!
//! Two taps' bytes of 32 channels are interleaved, so that `vpmaddubsw` sums the two products of a channel. Pairs of taps are put
//! into as few sums as stay within i16 for all channels of the block. A pair that could saturate by itself is taken apart.

use crate::AlignedBuf;

/// Channels of a block.
pub(super) const NR: usize = 32;

/// Bytes of a pair's weights.
pub(super) const PAIR: usize = 2 * NR;

/// The pairs of taps of one block of channels, in the order in which they are summed.
#[derive(Debug)]
pub(super) struct Plan {
    /// Pairs of the two i16 sums that are widened together; the second may have none.
    pub(super) rounds: Vec<[usize; 2]>,
    /// Where the taps of each pair lie, counted from the window's first byte.
    pub(super) taps: Vec<[u32; 2]>,
    /// `[pair][half of the interleaved registers][16 channels][2]`.
    pub(super) weights: AlignedBuf<i8>,
}

/// Two taps and their weights by channel.
#[derive(Clone)]
struct Pair {
    taps: [usize; 2],
    weights: [[i8; 2]; NR],
}

/// Sums of a channel's positive weights, and of the negative ones' magnitudes.
type Bounds = [[i16; 2]; NR];

impl Plan {
    /// For taps at these offsets, with the weight of a channel of the block and a tap.
    pub(super) fn new(offsets: &[usize], weight: impl Fn(usize, usize) -> i8, x_max: i32) -> Self {
        let limits = [(i32::from(i16::MAX) / x_max) as i16, (-i32::from(i16::MIN) / x_max) as i16];
        let mut sums = Vec::<(Vec<Pair>, Bounds)>::new();
        for pair in pairs(offsets.len(), weight, limits) {
            let joined = sums.iter_mut().find_map(|(pairs, bounds)| {
                let sum = add(bounds, &pair);
                fits(&sum, limits).then_some((pairs, bounds, sum))
            });
            if let Some((pairs, bounds, sum)) = joined {
                pairs.push(pair);
                *bounds = sum;
            } else {
                let bounds = add(&[[0; 2]; NR], &pair);
                sums.push((vec![pair], bounds));
            }
        }
        let len = |sum: Option<&(Vec<Pair>, Bounds)>| sum.map_or(0, |(pairs, _)| pairs.len());
        let rounds = sums.chunks(2).map(|two| [len(two.first()), len(two.get(1))]).collect();
        let pairs: Vec<_> = sums.iter().flat_map(|(pairs, _)| pairs).collect();
        let mut weights = AlignedBuf::new(pairs.len() * PAIR);
        for (pair, out) in pairs.iter().zip(weights.chunks_exact_mut(PAIR)) {
            for (channel, two) in pair.weights.iter().enumerate() {
                out[interleaved(channel)..][..2].copy_from_slice(two);
            }
        }
        let taps = pairs.iter().map(|pair| pair.taps.map(|tap| offsets[tap] as u32)).collect();
        Self { rounds, taps, weights }
    }
}

/// Where the weights of a channel lie after interleaving within the halves of a register.
fn interleaved(channel: usize) -> usize {
    let (half, register) = (channel / 16, channel % 16 / 8);
    32 * register + 16 * half + 2 * (channel % 8)
}

/// Neighbouring taps in pairs; taps that may not be in one, and a last one that is left, with a second weight of zero.
fn pairs(taps: usize, weight: impl Fn(usize, usize) -> i8, limits: [i16; 2]) -> Vec<Pair> {
    let mut pairs = Vec::new();
    for tap in (0..taps).step_by(2) {
        let alone = |tap: usize| Pair { taps: [tap; 2], weights: std::array::from_fn(|c| [weight(c, tap), 0]) };
        if tap + 1 == taps {
            pairs.push(alone(tap));
            continue;
        }
        let both =
            Pair { taps: [tap, tap + 1], weights: std::array::from_fn(|c| [weight(c, tap), weight(c, tap + 1)]) };
        if fits(&add(&[[0; 2]; NR], &both), limits) {
            pairs.push(both);
        } else {
            pairs.extend([alone(tap), alone(tap + 1)]);
        }
    }
    pairs
}

fn add(bounds: &Bounds, pair: &Pair) -> Bounds {
    let mut sum = *bounds;
    for (sum, weights) in sum.iter_mut().zip(pair.weights) {
        for weight in weights.map(i16::from) {
            sum[0] += weight.max(0);
            sum[1] -= weight.min(0);
        }
    }
    sum
}

fn fits(bounds: &Bounds, limits: [i16; 2]) -> bool {
    bounds.iter().all(|bound| bound[0] <= limits[0] && bound[1] <= limits[1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_sums_hold_small_weights_and_large_ones_are_taken_apart() {
        let planned = |weight: i8, x_max: i32| {
            let plan = Plan::new(&[0; 9], |_, _| weight, x_max);
            (plan.rounds, plan.taps.len())
        };
        // 9 * 14 = 126 of 128.
        assert_eq!(planned(14, 255), (vec![[5, 0]], 5));
        assert_eq!(planned(16, 255), (vec![[4, 1]], 5));
        assert_eq!(planned(-64, 255), (vec![[1, 1], [1, 1], [1, 0]], 5));
        assert_eq!(planned(65, 255), (vec![[1, 1], [1, 1], [1, 1], [1, 1], [1, 0]], 9));
        // 3 * 65 = 195 of 258: the last pair has one tap.
        assert_eq!(planned(65, 127), (vec![[2, 1], [1, 1]], 5));
    }

    #[test]
    fn weights_lie_as_bytes_do_after_interleaving() {
        let plan = Plan::new(&[0; 2], |channel, tap| if tap == 0 { channel as i8 } else { -(channel as i8) }, 255);
        let found: Vec<_> = plan.weights.chunks_exact(2).map(|two| two[0]).collect();
        let expected: Vec<i8> = (0..8).chain(16..24).chain(8..16).chain(24..32).collect();
        assert_eq!(found, expected);
        assert_eq!(plan.weights[2..4], [1, -1]);
    }
}
