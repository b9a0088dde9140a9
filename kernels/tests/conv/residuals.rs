//! Residuals added in an epilogue against the convolution without one and the sum after it.

use std::collections::HashSet;

use quantlens_kernels::{Activation, AddU8, Conv2d, ConvF32, ConvF32Parts, ConvU8, Isa, Numerics, QParams, kernels};

use super::{Random, epilogue, geometries, integers, isas, residual_f32, residual_u8, run_f32, run_u8};

/// A sum of outputs with a residual: over the whole range, with and without a ReLU.
pub fn addition(random: &mut Random, numerics: Numerics) -> AddU8 {
    let mut params = |scale: f32| QParams {
        scale: scale * (1.0 + 0.4 * random.float()),
        zero_point: random.of(&[0, 1, 100, 128, 255]),
    };
    let (a, b, out) = (params(0.03), params(0.05), params(0.06));
    AddU8::new(numerics, a, b, out, random.of(&[false, true])).expect("valid scales")
}

/// `add` of whole blocks.
fn added(add: &AddU8, a: &[u8], b: &[u8]) -> Vec<u8> {
    let padded = |x: &[u8]| {
        let mut x = x.to_vec();
        x.resize(x.len().next_multiple_of(64), 0);
        x
    };
    let (x, y) = (padded(a), padded(b));
    let mut out = vec![0; x.len()];
    add.run(&x, &y, &mut out);
    out.truncate(a.len());
    out
}

/// A third of the geometries of all other tests: emulators are slow.
fn some(random: &mut Random) -> Vec<Conv2d> {
    geometries(random).into_iter().step_by(3).collect()
}

/// Names of this machine's kernels of a type that can add a residual.
fn adding(kind: &str) -> impl Iterator<Item = &'static str> {
    let wanted = move |name: &str| name.starts_with(kind);
    let tested = |isa: Isa| isas().any(|other| other == isa);
    kernels().iter().filter(move |info| info.residual && wanted(info.name) && tested(info.isa)).map(|info| info.name)
}

#[test]
fn int8_residuals_are_sums_after_the_convolution() {
    let mut random = Random(21);
    let mut served = HashSet::new();
    for (index, geometry) in some(&mut random).into_iter().enumerate() {
        let numerics = [Numerics::Qnnpack, Numerics::Fbgemm][index % 2];
        let add = addition(&mut random, numerics);
        let extreme = index % 3 == 0;
        let input = integers(&mut random, geometry.in_len(), extreme);
        let weights = integers(&mut random, geometry.weight_len(), extreme);
        let weights: Vec<i8> = weights.into_iter().map(|w| w as i8).collect();
        let requantize = epilogue(&mut random, &geometry, &weights);
        let zero_point = requantize.input_zero_point();
        let alone = ConvU8::new(Isa::Scalar, &geometry, &weights, zero_point, requantize.clone()).expect("valid");
        let with = requantize.with_residual(add.clone());
        let make = |isa| ConvU8::new(isa, &geometry, &weights, zero_point, with.clone());
        if !add.fits_epilogue(geometry.out_len()) {
            assert!(make(Isa::Scalar).is_err() && numerics == Numerics::Fbgemm, "{geometry:?}");
            continue;
        }
        let expected = added(&add, &run_u8(&alone, &input, 1), &residual_u8(geometry.out_len()));
        for isa in isas().chain([Isa::Scalar]) {
            let conv = make(isa).expect("valid");
            served.insert((conv.kernel_name(), numerics));
            for threads in [1, 3] {
                let found = run_u8(&conv, &input, threads);
                assert_eq!(found, expected, "{} {geometry:?} {add:?}, {threads} threads", conv.kernel_name());
            }
        }
    }
    for name in adding("u8") {
        for numerics in [Numerics::Qnnpack, Numerics::Fbgemm] {
            assert!(served.contains(&(name, numerics)), "{name} never added a residual with {numerics:?}");
        }
    }
}

#[test]
fn f32_residuals_are_sums_after_the_convolution() {
    let mut random = Random(22);
    let mut served = HashSet::new();
    for geometry in some(&mut random) {
        let mut floats = |len: usize| (0..len).map(|_| random.float()).collect::<Vec<_>>();
        let (input, weights) = (floats(geometry.in_len()), floats(geometry.weight_len()));
        let bias = floats(geometry.out_c);
        let activation = random.of(&[Activation::None, Activation::Relu, Activation::Relu6, Activation::Hardswish]);
        let parts = ConvF32Parts { conv: &geometry, weights: &weights, bias: &bias, activation };
        let residual = residual_f32(geometry.out_len());
        for isa in isas().chain([Isa::Scalar]) {
            let conv = ConvF32::with_residual(isa, &parts).expect("valid");
            let alone = ConvF32::new(isa, &geometry, &weights, &bias, Activation::None).expect("valid");
            let sums = run_f32(&alone, &input, 1);
            let expected = sums.iter().zip(&residual).map(|(x, residual)| activation.apply(x + residual));
            let expected: Vec<_> = expected.collect();
            let same = conv.kernel_name() == alone.kernel_name();
            // Another kernel, where the best one cannot add: the two differ by rounding as `f32_kernels_are_close_to_scalar` says.
            let tolerance = if same { 0.0 } else { 6.0 * (geometry.terms() as f32 + 1.0) * f32::EPSILON };
            served.insert(conv.kernel_name());
            for threads in [1, 2, 3] {
                let found = run_f32(&conv, &input, threads);
                for (at, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert!(
                        (found - expected).abs() <= tolerance,
                        "{} {geometry:?} {activation:?} at {at}, {threads} threads: expected {expected}, found {found}",
                        conv.kernel_name()
                    );
                }
            }
        }
    }
    for name in adding("f32") {
        assert!(served.contains(name), "{name} never added a residual");
    }
}

#[test]
#[should_panic(expected = "whether there is a residual")]
fn a_residual_must_not_be_forgotten() {
    let conv = Conv2d::linear(2, 2);
    let parts = ConvF32Parts { conv: &conv, weights: &[0.0; 4], bias: &[0.0; 2], activation: Activation::None };
    let conv = ConvF32::with_residual(Isa::Scalar, &parts).expect("valid");
    conv.run(&[0.0; 2], &mut [0.0; 2], &mut [], &quantlens_kernels::Team::new(1));
}
