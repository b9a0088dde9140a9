//! One tester for every convolution kernel: awkward sizes on every instruction set of this machine against the scalar
//! kernel, and the same results on any number of threads.

mod chains;
mod residuals;

use quantlens_kernels::{
    Activation, AlignedBuf, ChannelView, Conv2d, ConvF32, ConvF32Parts, ConvU8, ExpandDepthwiseF32, Isa, LinearU8,
    Numerics, QParams, Requantize, Team, kernels, slice_channels,
};

/// A small generator (splitmix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `choices`.
    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    /// Between -1 and 1.
    fn float(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Channel counts around the tiles of all kernels: 8, 16 and 24 wide, and groups of 2, 4 and 8 products.
const CHANNELS: [usize; 13] = [1, 2, 3, 7, 8, 9, 15, 16, 17, 24, 31, 33, 48];

/// Kernel, stride and padding.
const WINDOWS: [([usize; 2], [usize; 2], [usize; 2]); 9] = [
    ([1, 1], [1, 1], [0, 0]),
    ([1, 1], [2, 2], [0, 0]),
    ([3, 3], [1, 1], [1, 1]),
    ([3, 3], [2, 2], [1, 1]),
    ([5, 5], [1, 1], [2, 2]),
    ([5, 5], [2, 2], [2, 2]),
    ([7, 7], [2, 2], [3, 3]),
    ([3, 3], [1, 1], [0, 0]),
    ([2, 3], [3, 1], [1, 0]),
];

/// Geometries: every window with every map that it fits, channels and groups in turn.
fn geometries(random: &mut Random) -> Vec<Conv2d> {
    let mut all = Vec::new();
    for (kernel, stride, padding) in WINDOWS {
        // Numbers of output pixels around the tiles: 1, and a few more and fewer than 4, 5, 6 and 8.
        for (in_h, in_w) in [(1, 1), (1, 5), (2, 2), (3, 2), (5, 7), (7, 7), (8, 6), (13, 12)] {
            for kind in 0..5 {
                let (a, b) = (random.of(&CHANNELS), random.of(&CHANNELS));
                let groups = random.of(&[2, 3]);
                let (in_c, out_c, groups) = match kind {
                    0 | 1 => (a, b, 1),
                    2 => (a, a, a),
                    3 => (a * groups, b * groups, groups),
                    _ => (a, a * 2, a),
                };
                let conv = Conv2d { in_h, in_w, in_c, out_c, kernel, stride, padding, groups };
                if conv.check().is_ok() {
                    all.push(conv);
                }
            }
        }
    }
    // Long sums, and maps of several bands.
    let large = Conv2d { in_h: 40, in_w: 33, kernel: [3, 3], padding: [1, 1], ..Conv2d::linear(40, 24) };
    all.extend([
        Conv2d::linear(1000, 37),
        Conv2d::linear(65_793, 2),
        large,
        Conv2d { stride: [2, 2], groups: 8, ..large },
        Conv2d { in_h: 61, in_w: 60, ..Conv2d::linear(57, 40) },
        Conv2d { in_c: 130, out_c: 130, groups: 130, ..large },
        Conv2d { in_c: 130, out_c: 130, groups: 130, stride: [2, 2], kernel: [5, 5], padding: [2, 2], ..large },
    ]);
    all.extend(special());
    all.extend(wide());
    all.extend(depthwise_paddings());
    all.retain(|conv| conv.macs() <= most_macs());
    all
}

/// Most multiply-adds of a geometry; fewer under an emulator, which is told by `QUANTLENS_TEST_MACS`.
fn most_macs() -> u64 {
    std::env::var("QUANTLENS_TEST_MACS").map_or(u64::MAX, |macs| macs.parse().expect("a number"))
}

/// More channels than the above: from two to eight blocks of 16, whole and not, for kernels that take several at once.
fn wide() -> Vec<Conv2d> {
    let mut all = Vec::new();
    for (in_h, in_w) in [(1, 1), (1, 3), (5, 7), (9, 12)] {
        for channels in [32, 49, 64, 72, 80, 95, 112, 113, 128] {
            all.push(Conv2d { in_h, in_w, ..Conv2d::linear(20, channels) });
            for (size, stride) in [(3, 1), (3, 2), (5, 1), (5, 2), (8, 1), (9, 1)] {
                let (kernel, stride, padding) = ([size; 2], [stride; 2], [size / 2; 2]);
                let shape = Conv2d { in_h, in_w, kernel, stride, padding, ..Conv2d::linear(channels, channels) };
                all.push(Conv2d { groups: channels, ..shape });
            }
        }
    }
    all
}

/// Depthwise windows with paddings that differ between the axes, none, and as much as there may be.
fn depthwise_paddings() -> Vec<Conv2d> {
    let mut all = Vec::new();
    for (in_h, in_w) in [(1, 1), (2, 5), (5, 2), (7, 9)] {
        for (size, paddings) in [(3, [[0, 1], [1, 0], [2, 2], [0, 2]]), (5, [[0, 0], [1, 3], [4, 4], [0, 2]])] {
            for (padding, stride) in paddings.into_iter().flat_map(|padding| [(padding, 1), (padding, 2)]) {
                for channels in [8, 20, 49, 72] {
                    let (kernel, stride) = ([size; 2], [stride; 2]);
                    let shape = Conv2d { in_h, in_w, kernel, stride, padding, ..Conv2d::linear(channels, channels) };
                    all.push(Conv2d { groups: channels, ..shape });
                }
            }
        }
    }
    all.retain(|conv| conv.check().is_ok());
    all
}

/// What Winograd kernels serve, at both strides: maps smaller than a tile, of whole tiles and of one to three pixels more, with
/// all paddings; one chunk of tiles and several; one block of channels and several.
fn special() -> Vec<Conv2d> {
    let mut all = Vec::new();
    let sizes = [(1, 1), (3, 2), (4, 5), (7, 8), (9, 9), (12, 13), (11, 17), (14, 16), (31, 30), (52, 53)];
    for ((in_h, in_w), stride) in sizes.into_iter().flat_map(|size| [(size, 1), (size, 2)]) {
        for (in_c, out_c) in [(16, 16), (32, 48), (16, 64)] {
            for padding in [[0, 0], [1, 1], [0, 1], [2, 2]] {
                let (kernel, stride) = ([3, 3], [stride; 2]);
                all.push(Conv2d { in_h, in_w, kernel, stride, padding, ..Conv2d::linear(in_c, out_c) });
            }
        }
    }
    // Each number of tiles that a product takes at once.
    for (tiles, stride) in (1..=28).flat_map(|tiles| [(tiles, 1), (tiles, 2)]) {
        let (in_h, in_w, kernel, padding) = (4 * stride, 4 * stride * tiles, [3, 3], [1, 1]);
        all.push(Conv2d { in_h, in_w, kernel, stride: [stride; 2], padding, ..Conv2d::linear(16, 16) });
    }
    // Windows over three colours, with runs of a known length.
    for (in_h, in_w) in [(1, 1), (2, 5), (9, 14), (33, 31)] {
        for (out_c, stride) in [(8, 2), (16, 1), (24, 2), (72, 1)] {
            let (kernel, stride, padding) = ([3, 3], [stride; 2], [1, 1]);
            all.push(Conv2d { in_h, in_w, kernel, stride, padding, ..Conv2d::linear(3, out_c) });
        }
    }
    all.retain(|conv| conv.check().is_ok());
    all
}

/// The sets to test against scalar: all of this machine, or of those the ones that `QUANTLENS_TEST_ISAS` names, for
/// emulators.
fn isas() -> impl Iterator<Item = Isa> {
    let named = std::env::var("QUANTLENS_TEST_ISAS").ok();
    let wanted = move |isa: &Isa| named.as_ref().is_none_or(|names| names.split(',').any(|name| name == isa.name()));
    Isa::ALL.into_iter().filter(|isa| isa.available() && *isa != Isa::Scalar).filter(wanted)
}

/// Prints which sets a family's tester ran, for scripts that expect some (`.ci/aarch64`, `.ci/avx512`); shown by `--nocapture`.
fn print_tested(family: &str, ran: &std::collections::HashSet<Isa>) {
    let names: Vec<_> = Isa::ALL.iter().filter(|isa| ran.contains(isa)).map(|isa| isa.name()).collect();
    println!("{family}: isas tested: {}", names.join(", "));
}

/// Integers: all of them, or the extremes alone.
fn integers(random: &mut Random, len: usize, extreme: bool) -> Vec<u8> {
    (0..len).map(|_| if extreme { random.of(&[0, 255, 127, 128]) } else { random.next() as u8 }).collect()
}

/// A random epilogue: outputs spread over the range, and some saturate.
fn epilogue(random: &mut Random, conv: &Conv2d, weights: &[i8]) -> Requantize {
    let numerics = random.of(&[Numerics::Fbgemm, Numerics::Qnnpack]);
    let scales = random.of(&[1, conv.out_c]);
    let x = QParams { scale: 0.02, zero_point: random.of(&[0, 1, 127, 255]) };
    let spread = 0.02 * 0.005 * 70.0 * 130.0 * (conv.terms() as f32).sqrt();
    let out = QParams { scale: spread / random.of(&[8.0, 60.0]), zero_point: random.of(&[0, 100, 255]) };
    let weight_scales: Vec<f32> = (0..scales).map(|_| 0.005 * (1.0 + 0.4 * random.float())).collect();
    let bias: Vec<f32> = (0..conv.out_c).map(|_| spread * random.float()).collect();
    let relu = random.of(&[false, true]);
    let sums = conv.weight_sums(weights);
    Requantize::new(numerics, x, &weight_scales, &bias, &sums, out, relu).expect("valid scales")
}

/// What is added to outputs, where anything is: all bytes, and small floats, in an order of no period that tiles have.
fn residual_u8(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 37 + i / 251) as u8).collect()
}

fn residual_f32(len: usize) -> Vec<f32> {
    residual_u8(len).into_iter().map(|x| f32::from(x) / 64.0 - 2.0).collect()
}

fn run_u8(conv: &ConvU8, input: &[u8], threads: usize) -> Vec<u8> {
    // The scratch may start at any address, and what a kernel leaves unwritten or reads unwritten must not matter.
    let mut scratch = AlignedBuf::<u8>::new(conv.scratch_bytes() + 1);
    scratch.fill(0xa5);
    let scratch = &mut scratch[1..];
    let mut output = vec![0x5a; conv.geometry().out_len()];
    let team = Team::new(threads);
    if conv.has_residual() {
        conv.run_residual(input, &residual_u8(output.len()), &mut output, scratch, &team);
    } else {
        conv.run(input, &mut output, scratch, &team);
    }
    output
}

#[test]
fn int8_kernels_equal_scalar() {
    let mut random = Random(1);
    let (mut served, mut ran) = (std::collections::HashSet::new(), std::collections::HashSet::from([Isa::Scalar]));
    for (index, geometry) in geometries(&mut random).into_iter().enumerate() {
        let extreme = index % 3 == 0;
        let input = integers(&mut random, geometry.in_len(), extreme);
        let weights = integers(&mut random, geometry.weight_len(), extreme);
        let weights: Vec<i8> = weights.into_iter().map(|w| w as i8).collect();
        let requantize = epilogue(&mut random, &geometry, &weights);
        let zero_point = requantize.input_zero_point();
        let make = |isa| ConvU8::new(isa, &geometry, &weights, zero_point, requantize.clone()).expect("valid");
        let expected = run_u8(&make(Isa::Scalar), &input, 1);
        for isa in isas() {
            let conv = make(isa);
            served.insert(conv.kernel_name());
            ran.insert(isa);
            assert_eq!(run_u8(&conv, &input, 1), expected, "{} {geometry:?}", conv.kernel_name());
            assert_eq!(run_u8(&conv, &input, 3), expected, "{} {geometry:?}, 3 threads", conv.kernel_name());
        }
    }
    print_tested("int8 convolution", &ran);
    for info in kernels().iter().filter(|info| info.name.starts_with("u8") && info.isa != Isa::Scalar) {
        let tested = isas().any(|isa| isa == info.isa);
        assert!(!tested || served.contains(info.name), "{} was never chosen", info.name);
    }
}

/// Weights by tap that bring partial sums to the ends of i16 or beyond, by number.
fn steep_weights(random: &mut Random, pattern: usize, len: usize) -> Vec<i8> {
    let weight = |index: usize, random: &mut Random| match pattern {
        0 => 127,
        1 => -128,
        2 => [127, -128][index % 2],
        3 => [127, 127, -128, -128][index % 4],
        // 255 * 128 and 127 * 258 fit i16, one more does not.
        4 => [64, 64, 0, 0][index % 4],
        5 => [64, 65, 0, 0][index % 4],
        6 => [127, 127, 4, 0][index % 4],
        7 => [127, 127, 5, 0][index % 4],
        8 => [-64, -64, 0, -1][index % 4],
        // One pair that saturates alone among small weights.
        9 => [100, 100].get(index % 37).copied().unwrap_or(1),
        10 => random.of(&[-128, 127, 0, 1, -1]),
        _ => (random.next() % 61) as i8 - 30,
    };
    (0..len).map(|index| weight(index, random)).collect()
}

/// Activations at the ends, and 7-bit ones with few or no exceptions.
fn steep_inputs(random: &mut Random, pattern: usize, len: usize) -> Vec<u8> {
    let mut all: Vec<_> = match pattern {
        0 => vec![255; len],
        1 => vec![0; len],
        2 => vec![127; len],
        3 => (0..len).map(|index| [255, 0][index % 2]).collect(),
        _ => (0..len).map(|_| (random.next() % 128) as u8).collect(),
    };
    if pattern == 5 {
        let at = random.next() as usize % len;
        all[at] = random.of(&[128, 255]);
    }
    all
}

/// Kernels that sum products of bytes in i16 must know from the weights where to stop.
#[test]
fn sums_of_bytes_do_not_overflow() {
    let mut random = Random(3);
    let map = Conv2d { in_h: 5, in_w: 4, ..Conv2d::linear(1, 1) };
    let mut geometries = Vec::new();
    for (in_c, out_c) in [(1, 1), (2, 9), (3, 16), (4, 8), (7, 17), (36, 33), (130, 16), (1100, 5)] {
        geometries.push(Conv2d { in_c, out_c, ..map });
    }
    for (kernel, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
        let window = Conv2d { kernel: [kernel; 2], stride: [stride; 2], padding: [kernel / 2; 2], ..map };
        geometries.push(Conv2d { in_c: 35, out_c: 35, groups: 35, ..window });
        geometries.push(Conv2d { in_c: 64, out_c: 64, groups: 64, in_h: 9, in_w: 11, ..window });
        geometries.push(Conv2d { in_c: 5, out_c: 18, ..window });
        geometries.push(Conv2d { in_c: 10, out_c: 4, groups: 2, ..window });
    }
    for geometry in geometries {
        for (pattern, numerics) in
            (0..12).flat_map(|pattern| [(pattern, Numerics::Fbgemm), (pattern, Numerics::Qnnpack)])
        {
            let weights = steep_weights(&mut random, pattern, geometry.weight_len());
            let sums = geometry.weight_sums(&weights);
            let x = QParams { scale: 1.0, zero_point: random.of(&[0, 100, 255]) };
            // A sum that wraps in i16 is off by 2^16, 4 steps of the output.
            let out = QParams { scale: 16_384.0, zero_point: 128 };
            let bias = vec![0.0; geometry.out_c];
            let requantize = Requantize::new(numerics, x, &[1.0], &bias, &sums, out, false).expect("valid");
            let make = |isa| ConvU8::new(isa, &geometry, &weights, x.zero_point, requantize.clone()).expect("valid");
            let (scalar, others) = (make(Isa::Scalar), isas().map(make).collect::<Vec<_>>());
            for inputs in 0..6 {
                let input = steep_inputs(&mut random, inputs, geometry.in_len());
                let expected = run_u8(&scalar, &input, 1);
                for conv in &others {
                    let name = conv.kernel_name();
                    assert_eq!(run_u8(conv, &input, 1), expected, "{name} {geometry:?}: weights {pattern}, {inputs}");
                }
            }
        }
    }
}

#[test]
fn the_largest_sum_does_not_overflow() {
    let k = 65_793;
    let x = QParams { scale: 1.0, zero_point: 0 };
    let out = QParams { scale: 16_777_216.0, zero_point: 128 };
    for (weight, expected) in [(-128_i8, 0_u8), (127, 255)] {
        let weights = vec![weight; k];
        let sums = Conv2d::linear(k, 1).weight_sums(&weights);
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let requantize = Requantize::new(Numerics::Fbgemm, x, &[1.0], &[0.0], &sums, out, false).expect("valid");
            let linear = LinearU8::new(isa, k, 1, &weights, 0, requantize).expect("valid");
            let mut scratch = AlignedBuf::<u8>::new(linear.scratch_bytes());
            let mut output = [7];
            linear.run(&vec![255; k], &mut output, &mut scratch, &Team::new(1));
            // 65,793 * 255 * -128 / 2^24 is -128 to the nearest, with 127 it is 127: the ends, not wrapped around.
            assert_eq!(output, [expected], "{isa}");
        }
    }
}

#[test]
fn outputs_far_beyond_the_range_saturate() {
    // Products of 2^60 steps of the output: no i32 holds them.
    let x = QParams { scale: 1.0, zero_point: 0 };
    for (kernel, groups) in [([1, 1], 1), ([1, 1], 2)] {
        let geometry = Conv2d { kernel, groups, ..Conv2d::linear(2, 2) };
        let weights: &[i8] = if groups == 1 { &[1, 0, 0, -1] } else { &[1, -1] };
        for zero_point in [0, 100, 255] {
            let out = QParams { scale: 2.0_f32.powi(-60), zero_point };
            let sums = geometry.weight_sums(weights);
            for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                let requantize = Requantize::new(Numerics::Fbgemm, x, &[1.0], &[0.0; 2], &sums, out, false);
                let conv = ConvU8::new(isa, &geometry, weights, 0, requantize.expect("valid")).expect("valid");
                assert_eq!(run_u8(&conv, &[9, 9], 1), [255, 0], "{}", conv.kernel_name());
            }
        }
    }
}

/// Of the channels in turn the highest and the lowest: outputs that leave i32, and such that leave i16 alone.
#[test]
fn depthwise_outputs_beyond_the_range_saturate() {
    let x = QParams { scale: 1.0, zero_point: 0 };
    let numerics = [Numerics::Fbgemm, Numerics::Qnnpack];
    for (size, (in_h, in_w, channels, stride)) in
        [3, 5].into_iter().flat_map(|size| [(size, (1, 1, 16, 1)), (size, (7, 9, 24, 1)), (size, (5, 12, 64, 2))])
    {
        let (kernel, stride, padding, groups) = ([size; 2], [stride; 2], [size / 2; 2], channels);
        let linear = Conv2d::linear(channels, channels);
        let geometry = Conv2d { in_h, in_w, kernel, stride, padding, groups, ..linear };
        let middle = |index: usize| index % geometry.terms() == geometry.terms() / 2;
        let weight = |index: usize| [1, -1][index / geometry.terms() % 2] * i8::from(middle(index));
        let weights: Vec<i8> = (0..geometry.weight_len()).map(weight).collect();
        for (zero_point, exponent) in [0, 100, 255].into_iter().flat_map(|zero| [(zero, -60), (zero, -14)]) {
            let out = QParams { scale: 2.0_f32.powi(exponent), zero_point };
            let sums = geometry.weight_sums(&weights);
            for numerics in numerics {
                let requantize = Requantize::new(numerics, x, &[1.0], &vec![0.0; channels], &sums, out, false);
                let requantize = requantize.expect("valid");
                for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
                    let conv = ConvU8::new(isa, &geometry, &weights, 0, requantize.clone()).expect("valid");
                    let found = run_u8(&conv, &vec![9; geometry.in_len()], 1);
                    assert_eq!(found, [255, 0].repeat(geometry.out_len() / 2), "{} {geometry:?}", conv.kernel_name());
                }
            }
        }
    }
}

/// Biases at the ends of i32, which products carry beyond.
#[test]
fn sums_that_wrap_equal_scalar() {
    let out = QParams { scale: 2.0_f32.powi(24), zero_point: 128 };
    biased_sums_equal_scalar(&[-2.147_483_5e9, 0.0, 2.147_483_5e9], out);
}

/// Around 2^23, from where on not every integer is an f32, and with only positive outputs: kernels may make floats of sums in more than one way.
#[test]
fn sums_of_24_bits_equal_scalar() {
    let around = 2.0_f32.powi(23);
    let biases = [-around, 0.0, around / 2.0, around - 70_000.0, around - 1.0, around + 2.0, 2.0 * around];
    for exponent in [15, 17, 18] {
        biased_sums_equal_scalar(&biases, QParams { scale: 2.0_f32.powi(exponent), zero_point: 0 });
    }
}

/// Of some shapes, with biases drawn from these, in units of sums.
fn biased_sums_equal_scalar(biases: &[f32], out: QParams) {
    let mut random = Random(6);
    let map = Conv2d { in_h: 5, in_w: 6, ..Conv2d::linear(24, 24) };
    let mut geometries = vec![Conv2d::linear(40, 24), map, Conv2d { kernel: [3; 2], padding: [1; 2], ..map }];
    for (size, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
        let (kernel, stride, padding) = ([size; 2], [stride; 2], [size / 2; 2]);
        geometries.push(Conv2d { kernel, stride, padding, groups: 24, ..map });
    }
    for geometry in geometries {
        for zero_point in [0, 128, 255] {
            let weights: Vec<i8> = (0..geometry.weight_len()).map(|_| random.of(&[-128, -1, 1, 127])).collect();
            let input = integers(&mut random, geometry.in_len(), true);
            let bias: Vec<f32> = (0..geometry.out_c).map(|_| random.of(biases)).collect();
            let x = QParams { scale: 1.0, zero_point };
            let sums = geometry.weight_sums(&weights);
            let requantize = Requantize::new(Numerics::Qnnpack, x, &[1.0], &bias, &sums, out, false).expect("valid");
            let make = |isa| ConvU8::new(isa, &geometry, &weights, zero_point, requantize.clone()).expect("valid");
            let expected = run_u8(&make(Isa::Scalar), &input, 1);
            for conv in isas().map(make) {
                assert_eq!(run_u8(&conv, &input, 1), expected, "{} {geometry:?}", conv.kernel_name());
            }
        }
    }
}

fn run_f32(conv: &ConvF32, input: &[f32], threads: usize) -> Vec<f32> {
    let mut scratch = AlignedBuf::<f32>::new(conv.scratch_len());
    scratch.fill(f32::NAN);
    let mut output = vec![f32::NAN; conv.geometry().out_len()];
    let team = Team::new(threads);
    if conv.has_residual() {
        conv.run_residual(input, &residual_f32(output.len()), &mut output, &mut scratch, &team);
    } else {
        conv.run(input, &mut output, &mut scratch, &team);
    }
    output
}

#[test]
fn f32_kernels_are_close_to_scalar() {
    let mut random = Random(2);
    let (mut served, mut ran) = (std::collections::HashSet::new(), std::collections::HashSet::from([Isa::Scalar]));
    for geometry in geometries(&mut random) {
        let input: Vec<f32> = (0..geometry.in_len()).map(|_| random.float()).collect();
        let weights: Vec<f32> = (0..geometry.weight_len()).map(|_| random.float()).collect();
        let bias: Vec<f32> = (0..geometry.out_c).map(|_| random.float()).collect();
        let all = [Activation::None, Activation::Relu, Activation::Relu6, Activation::Hardswish];
        let activation = random.of(&all);
        let make = |isa| ConvF32::new(isa, &geometry, &weights, &bias, activation).expect("valid");
        let expected = run_f32(&make(Isa::Scalar), &input, 1);
        // Both sum n products of magnitude up to 1. Rounding errors add up as a random walk over partial sums, which
        // are one too: sqrt(n) steps of half an eps of sqrt(n), a quarter of that for products of this size. Six times
        // n * eps leaves room for the largest of all outputs and for the slope of 1.5 of an activation.
        let direct = 6.0 * (geometry.terms() as f32 + 1.0) * f32::EPSILON;
        for isa in isas() {
            let conv = make(isa);
            // Winograd's F(4x4) adds and takes away values up to 10 times as large along each axis: its errors are about
            // ten times those of direct sums, of which the bound above leaves a tenth; three times it leaves room.
            let tolerance = if conv.kernel_name().contains("winograd") { 3.0 * direct } else { direct };
            served.insert(conv.kernel_name());
            ran.insert(isa);
            let found = run_f32(&conv, &input, 1);
            for (index, (found, expected)) in found.iter().zip(&expected).enumerate() {
                let difference = (found - expected).abs();
                assert!(
                    difference <= tolerance,
                    "{} {geometry:?} {activation:?} at {index}: expected {expected}, found {found}",
                    conv.kernel_name()
                );
            }
            let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            // Winograd's chunks of tiles are each a thread's, or are shared by all, as suits their number.
            for threads in [2, 3] {
                let threaded = run_f32(&conv, &input, threads);
                assert_eq!(bits(&threaded), bits(&found), "{} {geometry:?}, {threads} threads", conv.kernel_name());
            }
        }
    }
    print_tested("f32 convolution", &ran);
    for info in kernels().iter().filter(|info| info.name.starts_with("f32") && info.isa != Isa::Scalar) {
        let tested = isas().any(|isa| isa == info.isa);
        assert!(!tested || served.contains(info.name), "{} was never chosen", info.name);
    }
}

/// Pointwise convolutions and the depthwise ones after them: windows, strides, maps smaller than a window, rings of one
/// step and of several, bands, blocks of one vector and less.
fn pairs() -> Vec<(Conv2d, Conv2d)> {
    let mut all = Vec::new();
    for (in_h, in_w, in_c) in [(1, 1, 5), (2, 3, 1), (7, 7, 8), (13, 12, 3), (30, 9, 2), (9, 61, 4), (120, 37, 24)] {
        for (size, stride, padding) in [(3, 1, 1), (3, 2, 1), (5, 1, 2), (5, 2, 2), (3, 1, 0), (5, 2, 1), (3, 2, 2)] {
            // One large input, of several bands, is enough.
            let channels = if in_h == 120 { &[17][..] } else { &[7, 8, 17, 24, 40, 65] };
            for &channels in channels {
                let expand = Conv2d { in_h, in_w, ..Conv2d::linear(in_c, channels) };
                let (kernel, stride, padding) = ([size; 2], [stride; 2], [padding; 2]);
                let shape = Conv2d { in_h, in_w, kernel, stride, padding, ..Conv2d::linear(channels, channels) };
                all.push((expand, Conv2d { groups: channels, ..shape }));
            }
        }
    }
    all.retain(|(expand, depthwise)| depthwise.check().is_ok() && expand.macs() + depthwise.macs() <= most_macs());
    all
}

#[test]
fn expand_and_depthwise_equals_the_two_alone() {
    let mut random = Random(3);
    for (index, (expand, depthwise)) in pairs().into_iter().enumerate() {
        let mut floats = |len: usize| (0..len).map(|_| random.float()).collect::<Vec<_>>();
        let weights = [floats(expand.weight_len()), floats(depthwise.weight_len())];
        let bias = [floats(expand.out_c), floats(expand.out_c)];
        // Every second one reads channels of larger pixels.
        let view = ChannelView { pixel_len: expand.in_c + index % 2 * 3, first: index % 2 * 2 };
        let wide = floats(expand.in_len() / expand.in_c * view.pixel_len);
        let mut input = vec![0.0; expand.in_len()];
        slice_channels(&wide, view.pixel_len, view.first, expand.in_c, &mut input);
        let all = [Activation::None, Activation::Relu, Activation::Relu6, Activation::Hardswish];
        let activations = [all[index % 4], all[index / 4 % 4]];
        let part =
            |conv, i: usize| ConvF32Parts { conv, weights: &weights[i], bias: &bias[i], activation: activations[i] };
        let [first, second] = [part(&expand, 0), part(&depthwise, 1)];
        for isa in isas() {
            let Some(pair) = ExpandDepthwiseF32::new(isa, Some(view), &first, &second).expect("valid") else {
                continue;
            };
            let alone = |part: &ConvF32Parts, input: &[f32]| {
                let conv = ConvF32::new(isa, part.conv, part.weights, part.bias, part.activation).expect("valid");
                run_f32(&conv, input, 1)
            };
            let expected = alone(&second, &alone(&first, &input));
            for threads in [1, 2, 5] {
                let mut scratch = AlignedBuf::<f32>::new(pair.scratch_len());
                scratch.fill(f32::NAN);
                let mut found = vec![f32::NAN; depthwise.out_len()];
                pair.run(&wide, &mut found, &mut scratch, &Team::new(threads));
                let name = pair.kernel_name();
                assert!(found == expected, "{name} {expand:?} {depthwise:?} {activations:?}, {threads} threads");
            }
        }
    }
    let (expand, depthwise) = (Conv2d::linear(4, 8), Conv2d { groups: 8, ..Conv2d::linear(8, 8) });
    let parts = |conv, weights| ConvF32Parts { conv, weights, bias: &[0.0; 8], activation: Activation::None };
    let pair =
        |weights| ExpandDepthwiseF32::new(Isa::Scalar, None, &parts(&expand, weights), &parts(&depthwise, &[0.0; 8]));
    assert!(pair(&[0.0; 32]).is_ok_and(|pair| pair.is_none()), "nothing serves a window of 1x1");
    assert!(pair(&[0.0; 31]).is_err());
}

#[test]
fn wrong_sizes_are_errors() {
    let conv = Conv2d::linear(4, 2);
    let x = QParams { scale: 1.0, zero_point: 3 };
    let requantize = |channels: usize| {
        let (bias, sums) = (vec![0.0; channels], vec![0; channels]);
        Requantize::new(Numerics::Qnnpack, x, &[1.0], &bias, &sums, x, false)
    };
    let ok = requantize(2).expect("valid");
    assert!(ConvU8::new(Isa::Scalar, &conv, &[0; 8], 3, ok.clone()).is_ok());
    assert!(ConvU8::new(Isa::Scalar, &conv, &[0; 7], 3, ok.clone()).is_err());
    assert!(ConvU8::new(Isa::Scalar, &conv, &[0; 8], 4, ok).is_err());
    assert!(ConvU8::new(Isa::Scalar, &conv, &[0; 8], 3, requantize(3).expect("valid")).is_err());
    assert!(ConvF32::new(Isa::Scalar, &conv, &[0.0; 8], &[0.0; 1], Activation::None).is_err());
    assert!(Requantize::new(Numerics::Fbgemm, x, &[1.0, 1.0], &[0.0], &[0], x, false).is_err());
    assert!(Requantize::new(Numerics::Fbgemm, x, &[f32::NAN], &[0.0], &[0], x, false).is_err());
    assert!(Requantize::new(Numerics::Qnnpack, x, &[1.0], &[3e9], &[0], x, false).is_err());
    assert!(Requantize::new(Numerics::Fbgemm, x, &[1e-30], &[1e30], &[0], x, false).is_err());
}
