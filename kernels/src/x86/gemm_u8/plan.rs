//! Which sums of byte products may stay in i16: decided from the weights when they are packed.
//!
//! `vpmaddubsw` adds two products u8 * s8 into an i16 lane and saturates. With activations up to `x_max`, a lane that sums
//! several of them lies between `x_max` times its negative weights and `x_max` times its positive ones. Groups (four taps of 16
//! channels) whose bounds together hold in every lane form a run: the kernel adds its products in i16 and widens the sums
//! once at its end. The order of an integer sum is free, so a run takes any groups that fit together. A group that could
//! saturate by itself is left for the widening form.

use crate::AlignedBuf;

/// Channels of a panel, taps of a group, and bytes of a group's weights.
pub(super) const NR: usize = 16;
pub(super) const KR: usize = 4;
pub(super) const GROUP: usize = NR * KR;

/// Most groups of a run: with more, the widening that is saved is less than what the search costs.
const MAX_RUN: usize = 8;

/// Runs that a group may still join; beyond that the oldest is closed.
const OPEN: usize = 8;

/// i16 lanes of a panel, two a channel.
const LANES: usize = 2 * NR;

/// Sums of the positive weights of each lane, then of the negative ones' magnitudes.
type Bounds = [i16; 2 * LANES];

/// The order of one panel's groups.
#[derive(Debug)]
pub(super) struct Plan {
    /// Groups of each run, longest runs first. These groups come first.
    pub(super) runs: Vec<u32>,
    /// Groups after them that must be widened.
    pub(super) wide: usize,
}

/// Reorders a panel's groups of weights (`[group][NR][KR]`) and their offsets into runs.
pub(super) fn plan(weights: &mut [i8], offsets: &mut [u32], x_max: i32) -> Plan {
    let limits = [(i32::from(i16::MAX) / x_max) as i16, (-i32::from(i16::MIN) / x_max) as i16];
    let (mut bins, mut wide) = (Vec::<(Vec<usize>, Bounds)>::new(), Vec::new());
    let mut open = Vec::<usize>::with_capacity(OPEN);
    for (index, group) in weights.chunks_exact(GROUP).enumerate() {
        let bounds = bounds(group);
        if !fits(&bounds, limits) {
            wide.push(index);
            continue;
        }
        let joined = open.iter().enumerate().find_map(|(place, &bin)| {
            let sum = add(&bins[bin].1, &bounds);
            fits(&sum, limits).then_some((place, bin, sum))
        });
        if let Some((place, bin, sum)) = joined {
            bins[bin].0.push(index);
            bins[bin].1 = sum;
            if bins[bin].0.len() == MAX_RUN {
                open.remove(place);
            }
        } else {
            if open.len() == OPEN {
                open.remove(0);
            }
            open.push(bins.len());
            bins.push((vec![index], bounds));
        }
    }
    bins.sort_by_key(|(groups, _)| std::cmp::Reverse(groups.len()));
    let runs = bins.iter().map(|(groups, _)| groups.len() as u32).collect();
    let order = bins.iter().flat_map(|(groups, _)| groups).chain(&wide);
    let (old_weights, old_offsets) = (AlignedBuf::from_slice(weights), offsets.to_vec());
    for (&group, (weights, offset)) in order.zip(weights.chunks_exact_mut(GROUP).zip(offsets)) {
        weights.copy_from_slice(&old_weights[group * GROUP..][..GROUP]);
        *offset = old_offsets[group];
    }
    Plan { runs, wide: wide.len() }
}

fn bounds(group: &[i8]) -> Bounds {
    let mut bounds = [0; 2 * LANES];
    for (lane, pair) in group.chunks_exact(2).enumerate() {
        for &weight in pair {
            bounds[lane] += i16::from(weight).max(0);
            bounds[LANES + lane] -= i16::from(weight).min(0);
        }
    }
    bounds
}

fn add(a: &Bounds, b: &Bounds) -> Bounds {
    std::array::from_fn(|index| a[index] + b[index])
}

fn fits(bounds: &Bounds, [positive, negative]: [i16; 2]) -> bool {
    let most = |bounds: &[i16]| bounds.iter().fold(0, |most, &bound| most.max(bound));
    most(&bounds[..LANES]) <= positive && most(&bounds[LANES..]) <= negative
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panel's groups of which each has one weight at one place.
    fn panel(weights: &[(usize, i8)]) -> Vec<i8> {
        let mut panel = vec![0; weights.len() * GROUP];
        for (group, &(place, weight)) in weights.iter().enumerate() {
            panel[group * GROUP + place] = weight;
        }
        panel
    }

    fn planned(weights: &[(usize, i8)], x_max: i32) -> (Vec<u32>, usize, Vec<u32>) {
        let mut offsets: Vec<u32> = (0..weights.len() as u32).collect();
        let plan = plan(&mut panel(weights), &mut offsets, x_max);
        (plan.runs, plan.wide, offsets)
    }

    #[test]
    fn runs_end_where_a_lane_could_overflow() {
        // 255 * 128 = 32,640 fits and 255 * 129 = 32,895 does not; -255 * 129 does not either.
        assert_eq!(planned(&[(0, 64), (1, 64)], 255).0, [2]);
        assert_eq!(planned(&[(0, 64), (1, 65)], 255).0, [1, 1]);
        assert_eq!(planned(&[(0, -64), (1, -64)], 255).0, [2]);
        assert_eq!(planned(&[(0, -64), (1, -65)], 255).0, [1, 1]);
        // Another lane has a bound of its own, and so have weights of the other sign.
        assert_eq!(planned(&[(0, 127), (2, 127), (4, 127), (1, -128)], 255).0, [4]);
        // 127 * 258 = 32,766 fits.
        assert_eq!(planned(&[(0, 127), (1, 127), (0, 4)], 127).0, [3]);
        assert_eq!(planned(&[(0, 127), (1, 127), (0, 5)], 127).0, [2, 1]);
    }

    #[test]
    fn groups_join_any_open_run_and_keep_their_offsets() {
        let (runs, wide, offsets) = planned(&[(0, 127), (1, 127), (0, 1), (1, 1)], 255);
        assert_eq!((runs, wide, offsets), (vec![2, 2], 0, vec![0, 2, 1, 3]));
    }

    #[test]
    fn a_group_that_saturates_alone_is_widened() {
        let mut weights = panel(&[(0, 100), (7, 1)]);
        weights[1] = 29;
        let mut offsets = [5, 6];
        let plan = plan(&mut weights, &mut offsets, 255);
        assert_eq!((plan.runs, plan.wide, offsets), (vec![1], 1, [6, 5]));
        assert_eq!((weights[7], weights[GROUP], weights[GROUP + 1]), (1, 100, 29));
    }
}
