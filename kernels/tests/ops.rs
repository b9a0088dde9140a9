//! One tester for all ops but convolutions: awkward sizes on every instruction set of this machine and several numbers
//! of threads against the scalar versions, bit for bit.

use quantlens_kernels as kernels;
use quantlens_kernels::{AddU8, ChannelView, Frame, Isa, Lut, MulU8, Numerics, Ops, Pool2d, QParams, Team};

/// A small generator (splitmix64), so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[(self.next() % choices.len() as u64) as usize]
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let extreme = self.next().is_multiple_of(4);
        (0..len).map(|_| if extreme { self.of(&[0, 255, 127, 128]) } else { self.next() as u8 }).collect()
    }

    /// Between -8 and 8, and now and then something special.
    fn floats(&mut self, len: usize) -> Vec<f32> {
        let special = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0, 1e30, -1e30, 1e-40];
        let mut float = |_| match self.next() {
            bits if bits.is_multiple_of(61) => special[(bits >> 32) as usize % special.len()],
            bits => (bits >> 40) as f32 / (1 << 20) as f32 - 8.0,
        };
        (0..len).map(&mut float).collect()
    }

    fn quant(&mut self) -> QParams {
        let scale = 0.01 * (1.0 + (self.next() >> 40) as f32 / (1 << 23) as f32);
        QParams { scale, zero_point: self.of(&[0, 1, 100, 128, 255]) }
    }

    fn numerics(&mut self) -> Numerics {
        self.of(&[Numerics::Fbgemm, Numerics::Qnnpack])
    }
}

/// Lengths around vectors of 8 to 64, blocks of 64, and several tasks.
const LENGTHS: [usize; 16] = [0, 1, 7, 8, 9, 31, 32, 33, 63, 64, 65, 127, 128, 200, 1000, 70_001];

/// Channels around the same, and those of the networks.
const CHANNELS: [usize; 23] =
    [1, 2, 3, 4, 7, 8, 9, 16, 24, 31, 32, 33, 48, 58, 64, 72, 81, 96, 116, 120, 128, 192, 1030];

/// Pixels: one, odd, a level of a cascaded sum and more, several tasks.
const PIXELS: [usize; 9] = [1, 2, 3, 16, 49, 65, 196, 300, 1111];

/// Runs `op` with every instruction set and number of threads into outputs of `len`, and compares with `expected`.
fn check<T: Copy + Default>(what: &str, expected: &[T], bits: fn(T) -> u32, op: impl Fn(Ops, &mut [T], &Team)) {
    let teams = TEAMS.get_or_init(|| [1, 2, 3].map(Team::new));
    for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
        let ops = Ops::new(isa).expect("available");
        for team in teams {
            let mut out = vec![T::default(); expected.len()];
            op(ops, &mut out, team);
            let wrong = out.iter().zip(expected).position(|(&a, &b)| bits(a) != bits(b));
            assert!(wrong.is_none(), "{what}, {isa}, {} threads: at {wrong:?} of {}", team.threads(), out.len());
        }
    }
}

static TEAMS: std::sync::OnceLock<[Team; 3]> = std::sync::OnceLock::new();

/// NaNs are equal, whatever their bits: which operand's a sum of two hands on, Rust leaves open.
fn float(x: f32) -> u32 {
    if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() }
}

/// As [`float`], but zeros of both signs are one: which of them is the larger is not said.
fn number(x: f32) -> u32 {
    float(x + 0.0)
}

fn byte(x: u8) -> u32 {
    x.into()
}

#[test]
fn int8_sums_and_products() {
    let mut random = Random(1);
    for len in LENGTHS.into_iter().cycle().take(160) {
        let (a, b) = (random.bytes(len), random.bytes(len));
        let (x, y, z) = (random.quant(), random.quant(), random.quant());
        let (numerics, relu) = (random.numerics(), random.of(&[false, true]));
        let add = AddU8::new(numerics, x, y, z, relu).expect("valid");
        let mut expected = vec![0; len];
        add.run(&a, &b, &mut expected);
        check(&format!("add {numerics:?} {x:?} {y:?} {z:?}"), &expected, byte, |ops, out, team| {
            ops.add_u8(&add, &a, &b, out, team);
        });
        let mul = MulU8::new(x, y, z).expect("valid");
        mul.run(&a, &b, &mut expected, len);
        check("mul", &expected, byte, |ops, out, team| ops.mul_u8(&mul, &a, &b, out, 5, team));
    }
}

/// Where vectors do without clamps, or with fewer bits, for scales that are not far apart: at those that are, and at the
/// largest that are not.
#[test]
fn int8_sums_and_products_of_scales_far_apart() {
    let mut random = Random(10);
    let (a, b) = (random.bytes(1000), random.bytes(1000));
    let at = |scale: f32, zero_point| QParams { scale, zero_point };
    for exponent in -30..30 {
        for mantissa in [1.0, 1.5, 1.999_999_9] {
            let scale = 2.0_f32.powi(exponent) * mantissa;
            let (x, y) =
                (at(scale, random.of(&[0, 3, 255])), at(scale * random.of(&[1.0, 0.37]), random.of(&[0, 255])));
            let z = at(1.0, random.of(&[0, 128, 255]));
            let mut expected = vec![0; a.len()];
            for numerics in [Numerics::Fbgemm, Numerics::Qnnpack] {
                // qnnpack refuses scales too far apart.
                let Ok(add) = AddU8::new(numerics, x, y, z, random.of(&[false, true])) else { continue };
                add.run(&a, &b, &mut expected);
                check(&format!("add {numerics:?} {x:?} {y:?}"), &expected, byte, |ops, out, team| {
                    ops.add_u8(&add, &a, &b, out, team);
                });
            }
            let mul = MulU8::new(x, y, z).expect("valid");
            mul.run(&a, &b, &mut expected, a.len());
            check(&format!("mul {x:?} {y:?}"), &expected, byte, |ops, out, team| {
                ops.mul_u8(&mul, &a, &b, out, 5, team);
            });
        }
    }
}

#[test]
fn ties_of_int8_sums_fall_as_they_should() {
    // Every pair of integers, for scales that differ by a power of two: half of the sums are ties.
    let a: Vec<u8> = (0..=65_535_u16).map(|i| i as u8).collect();
    let b: Vec<u8> = (0..=65_535_u16).map(|i| (i >> 8) as u8).collect();
    let mut random = Random(2);
    for _ in 0..40 {
        let x = QParams { scale: random.of(&[0.1, 0.3, 0.07]), zero_point: random.of(&[0, 3, 255]) };
        let z = QParams { scale: 2.0 * x.scale, zero_point: random.of(&[0, 77]) };
        let add = AddU8::new(random.numerics(), x, x, z, false).expect("valid");
        let mut expected = vec![0; a.len()];
        add.run(&a, &b, &mut expected);
        check("add", &expected, byte, |ops, out, team| ops.add_u8(&add, &a, &b, out, team));
    }
}

#[test]
fn products_with_a_factor_a_channel() {
    let mut random = Random(3);
    for channels in CHANNELS {
        for pixels in PIXELS {
            let (a, b) = (random.bytes(pixels * channels), random.bytes(channels));
            let mul = MulU8::new(random.quant(), random.quant(), random.quant()).expect("valid");
            let mut expected = vec![0; a.len()];
            mul.run(&a, &b, &mut expected, channels);
            check("mul", &expected, byte, |ops, out, team| ops.mul_u8(&mul, &a, &b, out, channels, team));
            let (a, b) = (random.floats(pixels * channels), random.floats(channels));
            let mut expected = vec![0.0; a.len()];
            kernels::mul_f32(&a, &b, &mut expected, channels);
            check("f32 mul", &expected, float, |ops, out, team| ops.mul_f32(&a, &b, out, channels, team));
        }
    }
}

#[test]
fn tables_and_quantization() {
    let mut random = Random(4);
    for len in LENGTHS.into_iter().cycle().take(64) {
        let (x, q) = (random.bytes(len), random.quant());
        let table: [u8; 256] = std::array::from_fn(|_| random.next() as u8);
        let tables = [
            Lut::new(|q| table[usize::from(q)]),
            kernels::lut_hardswish(Numerics::Fbgemm, q, random.quant()),
            kernels::lut_hardsigmoid(Numerics::Qnnpack, q),
        ];
        for lut in tables {
            let mut expected = vec![0; len];
            kernels::apply_lut(&lut, &x, &mut expected);
            check("table", &expected, byte, |ops, out, team| ops.lut(&lut, &x, out, team));
        }
        let mut expected = vec![0.0; len];
        kernels::dequantize_f32(&x, q, &mut expected);
        check("dequantize", &expected, float, |ops, out, team| ops.dequantize_f32(&x, q, out, team));
        let x = random.floats(len);
        let mut expected = vec![0; len];
        kernels::quantize_u8(&x, q, &mut expected);
        check("quantize", &expected, byte, |ops, out, team| ops.quantize_u8(&x, q, out, team));
    }
}

#[test]
fn planes_to_pixels() {
    let mut random = Random(5);
    for channels in [1, 2, 3, 4] {
        for pixels in [0, 1, 15, 31, 32, 33, 63, 64, 65, 100, 20_011] {
            for padding in [[0, 0], [1, 2]] {
                frames(&mut random, Frame { height: 1, width: pixels, channels, padding });
            }
            let (x, q) = (random.floats(channels * pixels), random.quant());
            let at = |index: usize| x[index % channels * pixels + index / channels];
            let expected: Vec<f32> = (0..x.len()).map(at).collect();
            let mut bytes = vec![0; x.len()];
            kernels::quantize_u8(&expected, q, &mut bytes);
            check("quantize planes", &bytes, byte, |ops, out, team| {
                ops.quantize_planes_u8(&x, channels, q, out, team);
            });
        }
    }
    for (height, width) in [(2, 3), (9, 16), (33, 50), (224, 224)] {
        frames(&mut random, Frame { height, width, channels: 3, padding: [1, 1] });
        frames(&mut random, Frame { height, width, channels: 3, padding: [0, 3] });
    }
}

/// Planes and pixels in a frame.
fn frames(random: &mut Random, frame: Frame) {
    let Frame { height, width, channels, padding: [rows, columns] } = frame;
    let (x, fill) = (random.floats(frame.map_len()), 0.25);
    // The pixels with their frame, of planes or of pixels.
    let framed = |at: &dyn Fn(usize, usize) -> f32| -> Vec<f32> {
        let positions = (0..height + 2 * rows).flat_map(|y| (0..width + 2 * columns).map(move |x| (y, x)));
        let value = |y: usize, x: usize, c: usize| match (y.checked_sub(rows), x.checked_sub(columns)) {
            (Some(y), Some(x)) if y < height && x < width => at(y * width + x, c),
            _ => fill,
        };
        positions.flat_map(|(y, x)| (0..channels).map(move |c| (y, x, c))).map(|(y, x, c)| value(y, x, c)).collect()
    };
    let of_planes = framed(&|pixel, c| x[c * height * width + pixel]);
    let of_pixels = framed(&|pixel, c| x[pixel * channels + c]);
    check("interleave", &of_planes, float, |ops, out, team| ops.interleave(&x, &frame, fill, out, team));
    check("frame", &of_pixels, float, |ops, out, team| ops.frame(&x, &frame, fill, out, team));
}

#[test]
fn means() {
    let mut random = Random(6);
    for channels in CHANNELS {
        for pixels in PIXELS {
            let (x, q, numerics) = (random.bytes(channels * pixels), random.quant(), random.numerics());
            let mut expected = vec![0; channels];
            kernels::mean_u8(numerics, q, &x, channels, &mut expected);
            check("mean", &expected, byte, |ops, out, team| ops.mean_u8(numerics, q, &x, channels, out, team));
            kernels::global_avg_pool_u8(numerics, q, &x, channels, &mut expected);
            check("average", &expected, byte, |ops, out, team| {
                ops.global_avg_pool_u8(numerics, q, &x, channels, out, team);
            });
            let x = random.floats(channels * pixels);
            let mut expected = vec![0.0; channels];
            kernels::mean_f32(&x, channels, &mut expected);
            check("f32 mean", &expected, float, |ops, out, team| ops.mean_f32(&x, channels, out, team));
        }
    }
}

#[test]
fn maxima_of_windows() {
    let mut random = Random(7);
    for channels in CHANNELS {
        for (in_h, in_w) in [(1, 1), (2, 3), (7, 7), (12, 31), (56, 56)] {
            let windows = [
                ([3, 3], [2, 2], [1, 1]),
                ([3, 3], [2, 2], [1, 1]),
                ([3, 3], [1, 1], [0, 1]),
                ([3, 3], [2, 40], [0, 0]),
                ([2, 2], [2, 2], [0, 0]),
                ([5, 4], [2, 3], [2, 2]),
            ];
            // All of them where they are many and the channels those of whole vectors.
            let one = [random.of(&windows)];
            let chosen = if in_w == 56 && channels % 8 == 0 { &windows[..] } else { &one };
            for &(kernel, stride, padding) in chosen {
                let pool = Pool2d { in_h, in_w, channels, kernel, stride, padding };
                if pool.check().is_err() {
                    continue;
                }
                let x = random.bytes(pool.in_len());
                let mut expected = vec![0; pool.out_len()];
                kernels::max_pool_u8(&pool, &x, &mut expected);
                check("max", &expected, byte, |ops, out, team| ops.max_pool_u8(&pool, &x, out, team));
                let x = random.floats(pool.in_len());
                let mut expected = vec![0.0; pool.out_len()];
                kernels::max_pool_f32(&pool, &x, &mut expected);
                check("f32 max", &expected, number, |ops, out, team| ops.max_pool_f32(&pool, &x, out, team));
            }
        }
    }
}

#[test]
fn moves_of_channels() {
    let mut random = Random(8);
    for channels in CHANNELS {
        for pixels in PIXELS {
            let other = random.of(&CHANNELS);
            let (a, b) = (random.bytes(channels * pixels), random.bytes(other * pixels));
            let lut = kernels::lut_requantize(random.quant(), random.quant());
            let inputs = [(&*a, channels, Some(&lut)), (&*b, other, random.of(&[None, Some(&lut)]))];
            let mut joined = vec![0; (channels + other) * pixels];
            kernels::concat_channels(&inputs, &mut joined, pixels);
            check("concat", &joined, byte, |ops, out, team| ops.concat(&inputs, out, pixels, team));
            let y = random.bytes(a.len());
            for luts in [[None, None], [Some(&lut), None], [None, Some(&lut)], [Some(&lut), Some(&lut)]] {
                let pair = [(&*a, luts[0]), (&*y, luts[1])];
                let (mut both, mut expected) = (vec![0; 2 * a.len()], vec![0; 2 * a.len()]);
                kernels::concat_channels(&pair.map(|(x, lut)| (x, channels, lut)), &mut both, pixels);
                kernels::channel_shuffle(&both, 2 * channels, 2, &mut expected);
                kernels::concat_shuffle(pair, channels, &mut both);
                assert_eq!(both, expected, "{channels} channels");
                let op = |ops: Ops, out: &mut [u8], team: &Team| ops.concat_shuffle(pair, channels, out, team);
                check("concat and shuffle", &expected, byte, op);
            }
            let (total, first) = (channels + other, channels / 2);
            let mut expected = vec![0; other * pixels];
            kernels::slice_channels(&joined, total, first, other, &mut expected);
            check("slice", &expected, byte, |ops, out, team| ops.slice(&joined, total, first, other, out, team));
            let groups = random.of(&[2, 2, 3, 4]);
            let (each, x) = (channels * groups, random.bytes(channels * groups * pixels));
            let mut expected = vec![0; x.len()];
            kernels::channel_shuffle(&x, each, groups, &mut expected);
            check("shuffle", &expected, byte, |ops, out, team| ops.shuffle(&x, each, groups, out, team));
            let x = random.floats(each * pixels);
            let mut expected = vec![0.0; x.len()];
            kernels::channel_shuffle(&x, each, groups, &mut expected);
            check("f32 shuffle", &expected, float, |ops, out, team| ops.shuffle(&x, each, groups, out, team));
            let (pair, mut both) = ([(&*x, None), (&*expected, None)], vec![0.0; 2 * x.len()]);
            kernels::concat_shuffle(pair, each, &mut both);
            check("f32 concat and shuffle", &both, float, |ops, out, team| ops.concat_shuffle(pair, each, out, team));
            for view in
                [ChannelView { pixel_len: each, first: 0 }, ChannelView { pixel_len: 2 * each + 1, first: each }]
            {
                let wide = random.floats(pair[0].0.len() / each * view.pixel_len);
                let mut narrow = vec![0.0; pair[0].0.len()];
                kernels::slice_channels(&wide, view.pixel_len, view.first, each, &mut narrow);
                kernels::concat_shuffle([(&narrow, None), pair[1]], each, &mut both);
                check("f32 concat and shuffle of a view", &both, float, |ops, out, team| {
                    ops.concat_shuffle_view((&wide, view), pair[1].0, each, out, team);
                });
            }
            let inputs = [(&*x, each, None), (&*x, each, None)];
            let mut expected = vec![0.0; 2 * x.len()];
            kernels::concat_channels(&inputs, &mut expected, pixels);
            check("f32 concat", &expected, float, |ops, out, team| ops.concat(&inputs, out, pixels, team));
        }
    }
}

#[test]
fn float_ops() {
    let mut random = Random(9);
    for len in LENGTHS {
        let (a, b) = (random.floats(len), random.floats(len));
        let mut expected = vec![0.0; len];
        for relu in [false, true] {
            kernels::add_f32(&a, &b, relu, &mut expected);
            check("f32 add", &expected, float, |ops, out, team| ops.add_f32(&a, &b, relu, out, team));
        }
        kernels::mul_f32(&a, &b, &mut expected, len);
        check("f32 mul", &expected, float, |ops, out, team| ops.mul_f32(&a, &b, out, 3, team));
        kernels::relu_f32(&a, &mut expected);
        check("relu", &expected, float, |ops, out, team| ops.relu_f32(&a, out, team));
        kernels::relu6_f32(&a, &mut expected);
        check("relu6", &expected, float, |ops, out, team| ops.relu6_f32(&a, out, team));
        kernels::hardswish_f32(&a, &mut expected);
        check("hardswish", &expected, float, |ops, out, team| ops.hardswish_f32(&a, out, team));
        kernels::hardsigmoid_f32(&a, &mut expected);
        check("hardsigmoid", &expected, float, |ops, out, team| ops.hardsigmoid_f32(&a, out, team));
    }
}

#[test]
fn absent_instruction_sets_are_refused() {
    for isa in Isa::ALL {
        assert_eq!(Ops::new(isa).is_ok(), isa.available(), "{isa}");
    }
}
