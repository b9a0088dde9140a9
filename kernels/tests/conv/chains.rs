//! Chains of kernels against the same kernels one after another.

use quantlens_kernels::{
    Activation, AlignedBuf, Chain, Conv2d, ConvF32, ConvF32Parts, ConvU8, Isa, Link, MAX_LINKS, Numerics, Ops, Pool2d,
    Team,
};

use super::residuals::addition;
use super::{Random, epilogue, integers, isas, most_macs, residual_f32, residual_u8, run_f32, run_u8};

/// A map between links: height, width and channels.
type Map = [usize; 3];

/// What follows what in a chain: a convolution (kernel, stride, padding, output channels, groups) or maxima (kernel, stride, padding).
#[derive(Debug, Clone, Copy)]
enum Next {
    Conv(usize, usize, usize, usize, usize),
    Max(usize, usize, usize),
}

impl Next {
    fn conv(self, [in_h, in_w, in_c]: Map) -> Option<Conv2d> {
        let Self::Conv(size, stride, padding, out_c, groups) = self else { return None };
        let (kernel, stride, padding) = ([size; 2], [stride; 2], [padding; 2]);
        Some(Conv2d { in_h, in_w, in_c, out_c, kernel, stride, padding, groups })
    }

    fn pool(self, [in_h, in_w, channels]: Map) -> Option<Pool2d> {
        let Self::Max(size, stride, padding) = self else { return None };
        Some(Pool2d { in_h, in_w, channels, kernel: [size; 2], stride: [stride; 2], padding: [padding; 2] })
    }

    fn out(self, map: Map) -> Map {
        match (self.conv(map), self.pool(map)) {
            (Some(conv), _) => [conv.out_h(), conv.out_w(), conv.out_c],
            (_, Some(pool)) => [pool.out_h(), pool.out_w(), pool.channels],
            _ => map,
        }
    }
}

/// Stems with maxima, blocks of MobileNets, windows that leave rows out or reach beyond small maps, wide padding, maps of one row; enough rows for several steps, and as many links as a chain may have.
fn chains() -> Vec<(Map, Vec<Next>)> {
    use Next::{Conv, Max};
    let all = vec![
        ([61, 40, 3], vec![Conv(3, 2, 1, 24, 1), Max(3, 2, 1)]),
        ([40, 33, 3], vec![Conv(7, 2, 3, 20, 1), Max(3, 2, 1), Conv(1, 1, 0, 9, 1)]),
        ([50, 21, 3], vec![Conv(3, 2, 1, 32, 1), Conv(3, 1, 1, 32, 32), Conv(1, 1, 0, 16, 1)]),
        ([120, 100, 16], vec![Conv(1, 1, 0, 96, 1), Conv(3, 2, 1, 96, 96), Conv(1, 1, 0, 24, 1)]),
        ([29, 30, 8], vec![Conv(1, 1, 0, 40, 1), Conv(5, 1, 2, 40, 40), Conv(5, 2, 2, 40, 40), Conv(3, 1, 1, 7, 1)]),
        ([17, 9, 5], vec![Max(2, 3, 0), Conv(3, 1, 1, 16, 1)]),
        ([9, 8, 4], vec![Conv(1, 3, 0, 17, 1), Conv(2, 1, 1, 6, 1), Max(5, 1, 2)]),
        ([1, 5, 16], vec![Conv(3, 1, 1, 16, 16), Conv(3, 1, 1, 8, 2), Max(3, 1, 1)]),
        ([5, 6, 2], vec![Conv(3, 1, 2, 4, 1), Conv(3, 2, 0, 4, 2), Conv(2, 2, 1, 3, 1)]),
        ([17, 11, 24], vec![Conv(1, 1, 0, 24, 1), Conv(5, 1, 2, 24, 24), Conv(5, 2, 2, 24, 24), Conv(3, 2, 1, 24, 24)]),
        // Of so many weights that tasks of the last one alone share out channels.
        ([6, 5, 8], vec![Conv(1, 1, 0, 64, 1), Conv(1, 1, 0, 320, 1)]),
        ([64, 50, 16], vec![Conv(3, 1, 1, 16, 16); MAX_LINKS]),
    ];
    let macs = |(map, links): &(Map, Vec<Next>)| {
        let mut map = *map;
        links.iter().map(|next| (next.conv(map).map_or(0, |conv| conv.macs()), map = next.out(map)).0).sum::<u64>()
    };
    all.into_iter().filter(|chain| macs(chain) <= most_macs()).collect()
}

/// Checks chains of f32 or int8 maps against their kernels one after another, for each instruction set and numbers of threads up to
/// more than there are rows; with a residual of the last convolution and without. `$conv` makes a convolution for an instruction set, a
/// geometry and with a residual or without, `$alone` runs it.
macro_rules! check_chains {
    ($random:ident, $sample:ty, |$len:ident| $input:expr, $conv:expr, $alone:ident, $residual:ident, $max_pool:ident) => {
        for (map, links) in chains() {
            let $len: usize = map.iter().product();
            let input: Vec<$sample> = $input;
            let seed = $random.next();
            for isa in isas() {
                let ops = Ops::new(isa).expect("available");
                for (threads, adds) in [(1, false), (2, true), (3, false), (1, true), (200, true)] {
                    // The same weights for all.
                    let mut random = Random(seed);
                    let (mut expected, mut map, mut made) = (input.clone(), map, Vec::new());
                    for (index, next) in links.iter().enumerate() {
                        if let Some(pool) = next.pool(map) {
                            let mut out = vec![<$sample>::default(); pool.out_len()];
                            ops.$max_pool(&pool, &expected, &mut out, &Team::new(1));
                            expected = out;
                            made.push(Link::max_pool(pool, ops));
                        }
                        if let Some(geometry) = next.conv(map) {
                            let conv = $conv(&mut random, isa, &geometry, adds && index + 1 == links.len());
                            expected = $alone(&conv, &expected, 1);
                            made.push(Link::conv(conv).expect("no kernel of these makes whole maps only"));
                        }
                        map = next.out(map);
                    }
                    let chain = Chain::new(made, threads);
                    let mut scratch = AlignedBuf::<$sample>::new(chain.scratch_len() + 1);
                    scratch.fill(77 as $sample);
                    let scratch = &mut scratch[1..];
                    let mut found = vec![99 as $sample; expected.len()];
                    let residual = $residual(expected.len());
                    let residual = chain.has_residual().then_some(&*residual);
                    chain.run(&input, residual, &mut found, scratch, &Team::new(threads.min(3)));
                    assert!(found == expected, "{isa}, {threads} threads: {map:?} {links:?}");
                }
            }
        }
    };
}

#[test]
fn f32_chains_equal_their_kernels_alone() {
    let mut random = Random(11);
    let conv = |random: &mut Random, isa, geometry: &Conv2d, residual: bool| {
        let mut floats = |len: usize| (0..len).map(|_| random.float()).collect::<Vec<_>>();
        let (weights, bias) = (floats(geometry.weight_len()), floats(geometry.out_c));
        let parts = ConvF32Parts { conv: geometry, weights: &weights, bias: &bias, activation: Activation::Relu6 };
        if residual {
            return ConvF32::with_residual(isa, &parts).expect("valid");
        }
        ConvF32::new(isa, geometry, &weights, &bias, Activation::Relu6).expect("valid")
    };
    check_chains!(
        random,
        f32,
        |len| (0..len).map(|_| random.float()).collect(),
        conv,
        run_f32,
        residual_f32,
        max_pool_f32
    );
}

#[test]
fn int8_chains_equal_their_kernels_alone() {
    let mut random = Random(12);
    let conv = |random: &mut Random, isa, geometry: &Conv2d, residual: bool| {
        let weights: Vec<i8> = integers(random, geometry.weight_len(), false).into_iter().map(|w| w as i8).collect();
        let mut requantize = epilogue(random, geometry, &weights);
        if residual {
            requantize = requantize.with_residual(addition(random, Numerics::Qnnpack));
        }
        let zero_point = requantize.input_zero_point();
        ConvU8::new(isa, geometry, &weights, zero_point, requantize).expect("valid")
    };
    check_chains!(random, u8, |len| integers(&mut random, len, false), conv, run_u8, residual_u8, max_pool_u8);
}

#[test]
fn kernels_that_cannot_make_rows_are_no_links() {
    let conv = ConvF32::new(Isa::Scalar, &Conv2d::linear(2, 2), &[0.0; 4], &[0.0; 2], Activation::None).expect("valid");
    assert!(!conv.makes_rows() && Link::conv(conv).is_err());
}
