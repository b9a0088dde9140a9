//! Single ops through plan and session against PyTorch 2.5.1's values: the engine must hand each kernel the right
//! tensors, scales and geometry.
//!
//! The values are torch's: `torch.ops.quantized.*` and `torch.nn.functional.*` on channels-last data, one thread, with
//! the input, weights and scales written below, for `torch.backends.quantized.engine` fbgemm and qnnpack.

use quantlens_engine::{
    Conv, ConvWeights, Graph, GraphBuilder, Linear, Numerics, Op, Plan, Pool, QParams, Session, TensorId,
};
use quantlens_tensor::{Layout, Tensor};

const SIZE: [usize; 2] = [3, 4];

/// Multiples of 1/16 between -2 and 2, in NCHW order.
fn input() -> Tensor {
    let values: Vec<f32> = (0..36).map(|i| ((i * 37 % 64) - 32) as f32 / 16.0).collect();
    Tensor::new(values, [1, 3, SIZE[0], SIZE[1]], Layout::Nchw).expect("36 values")
}

fn raw(n: i32, step: i32) -> Vec<i8> {
    (0..n).map(|i| (i * step % 255 - 127) as i8).collect()
}

/// Integers times `scale[0]` in f32, integers with these scales in int8.
fn weights(int8: bool, raw: &[i8], scale: &[f32], bias: &[f32]) -> ConvWeights {
    if int8 {
        return ConvWeights::Int8 { weight: raw.into(), scale: scale.into(), bias: bias.into() };
    }
    ConvWeights::F32 { weight: raw.iter().map(|&w| f32::from(w) * scale[0]).collect(), bias: bias.into() }
}

fn conv(numerics: Option<Numerics>, relu: bool) -> Op {
    let scales: &[f32] = if numerics == Some(Numerics::Fbgemm) { &[0.007_812_5, 0.003_906_25] } else { &[0.007_812_5] };
    let weights = weights(numerics.is_some(), &raw(54, 29), scales, &[0.3, -0.2]);
    let (kernel, stride, padding) = ([3, 3], [2, 2], [1, 1]);
    Op::Conv(Conv { in_channels: 3, out_channels: 2, kernel, stride, padding, groups: 1, relu, weights })
}

fn linear(numerics: Option<Numerics>) -> Op {
    let scales: &[f32] = if numerics == Some(Numerics::Fbgemm) { &[0.002, 0.003, 0.004, 0.005] } else { &[0.003] };
    let weights = weights(numerics.is_some(), &raw(12, 53), scales, &[0.1, -0.1, 0.25, 0.0]);
    Op::Linear(Linear { in_features: 3, out_features: 4, weights })
}

/// Every op over the same input (or over another's output, as torch was asked).
fn graph(numerics: Option<Numerics>) -> Graph {
    let mut b = GraphBuilder::new("ops", numerics);
    let quant = |scale, zero_point| numerics.map(|_| QParams { scale, zero_point });
    // 7 bits for fbgemm, as its networks have: with 8, torch's own kernels saturate on a CPU without VNNI.
    let own = if numerics == Some(Numerics::Fbgemm) { quant(0.0375, 58) } else { quant(0.01875, 117) };
    let x = match own {
        Some(_) => b.push(Op::Quantize, &[b.input()], "quant", own),
        None => b.input(),
    };
    b.push(conv(numerics, false), &[x], "conv", quant(0.037, 100));
    b.push(conv(numerics, true), &[x], "conv_relu", quant(0.021, 9));
    let hardswish = b.push(Op::Hardswish, &[x], "hardswish", quant(0.0123, 41));
    b.push(Op::Add { relu: false }, &[x, hardswish], "add", quant(0.029, 88));
    b.push(Op::Add { relu: true }, &[x, hardswish], "add_relu", quant(0.029, 11));
    b.push(Op::Concat, &[x, hardswish], "cat", quant(0.0171, 96));
    let pool = Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] };
    b.push(Op::MaxPool(pool), &[x], "maxpool", own);
    let avgpool = b.push(Op::AdaptiveAvgPool, &[x], "avgpool", own);
    b.push(Op::Mean, &[x], "mean", own);
    let scale = b.push(Op::Hardsigmoid, &[avgpool], "hardsigmoid", quant(1.0 / 256.0, 0));
    product(&mut b, [x, scale], quant(0.0097, 111));
    let mut output = b.push(linear(numerics), &[avgpool], "linear", quant(0.0041, 120));
    if numerics.is_some() {
        output = b.push(Op::Dequantize, &[output], "dequant", None);
    }
    b.finish(output)
}

/// The product in both orders of its factors: torchvision's SE block has the scale first.
fn product(b: &mut GraphBuilder, [x, scale]: [TensorId; 2], quant: Option<QParams>) {
    b.push(Op::Mul, &[x, scale], "mul", quant);
    b.push(Op::Mul, &[scale, x], "mul_swapped", quant);
}

fn run(numerics: Option<Numerics>) -> Session {
    let graph = graph(numerics);
    let plan = Plan::builder(&graph).input_size(SIZE[0], SIZE[1]).tap_all().build().expect("the graph fits");
    let mut session = plan.session();
    session.run(&input()).expect("the input fits");
    session
}

const FBGEMM: &[(&str, &[u8])] = &[
    (
        "quant",
        &[
            5, 105, 98, 66, 60, 53, 21, 15, 8, 83, 76, 70, 38, 31, 25, 100, 93, 86, 55, 48, 41, 10, 110, 103, 71, 65,
            58, 26, 20, 13, 88, 81, 75, 43, 36, 30,
        ],
    ),
    ("conv", &[151, 57, 191, 42, 89, 80, 22, 53]),
    ("conv_relu", &[98, 9, 170, 9, 9, 9, 9, 9]),
    (
        "hardswish",
        &[
            14, 155, 132, 54, 44, 34, 11, 11, 12, 91, 75, 62, 18, 14, 11, 139, 118, 99, 37, 28, 21, 12, 172, 148, 64,
            53, 41, 12, 11, 11, 104, 86, 72, 22, 17, 13,
        ],
    ),
    (
        "add",
        &[
            8, 197, 178, 104, 92, 79, 27, 20, 11, 142, 126, 112, 52, 42, 33, 184, 166, 149, 82, 70, 58, 14, 211, 192,
            115, 102, 88, 34, 26, 17, 154, 137, 123, 61, 49, 40,
        ],
    ),
    (
        "add_relu",
        &[
            11, 120, 101, 27, 15, 11, 11, 11, 11, 65, 49, 35, 11, 11, 11, 107, 89, 72, 11, 11, 11, 11, 134, 115, 38,
            25, 11, 11, 11, 11, 77, 60, 46, 11, 11, 11,
        ],
    ),
    (
        "cat",
        &[
            0, 199, 184, 77, 178, 161, 114, 100, 85, 105, 98, 91, 15, 2, 0, 74, 74, 75, 151, 135, 122, 132, 120, 111,
            52, 37, 24, 79, 77, 74, 188, 173, 157, 166, 151, 138, 89, 74, 59, 93, 87, 82, 0, 210, 195, 75, 190, 173,
            125, 111, 96, 113, 105, 96, 26, 13, 0, 75, 74, 74, 162, 146, 133, 141, 128, 118, 63, 48, 35, 82, 79, 76,
        ],
    ),
    ("maxpool", &[100, 105, 98, 100, 110, 103, 100, 93, 86, 100, 110, 103]),
    ("avgpool", &[50, 62, 55]),
    ("mean", &[50, 62, 55]),
    ("hardsigmoid", &[115, 134, 123]),
    (
        "mul",
        &[
            19, 206, 185, 125, 115, 102, 47, 24, 18, 154, 147, 133, 76, 56, 50, 184, 182, 163, 106, 91, 79, 28, 216,
            195, 134, 125, 111, 55, 34, 27, 163, 158, 143, 85, 66, 59,
        ],
    ),
    ("linear", &[159, 108, 193, 73]),
];

const QNNPACK: &[(&str, &[u8])] = &[
    (
        "quant",
        &[
            10, 210, 197, 134, 120, 107, 44, 30, 17, 167, 154, 140, 77, 64, 50, 200, 187, 174, 110, 97, 84, 20, 220,
            207, 144, 130, 117, 54, 40, 27, 177, 164, 150, 87, 74, 60,
        ],
    ),
    ("conv", &[151, 18, 190, 0, 89, 65, 23, 11]),
    ("conv_relu", &[98, 9, 168, 9, 9, 9, 9, 9]),
    (
        "hardswish",
        &[
            14, 153, 132, 55, 43, 34, 11, 11, 12, 91, 76, 61, 18, 14, 11, 137, 118, 100, 36, 28, 21, 12, 170, 148, 65,
            52, 41, 12, 11, 11, 104, 87, 71, 22, 17, 13,
        ],
    ),
    (
        "add",
        &[
            7, 196, 178, 105, 91, 79, 28, 19, 11, 142, 127, 111, 52, 42, 32, 182, 166, 150, 81, 70, 58, 13, 209, 192,
            116, 101, 88, 35, 25, 17, 154, 138, 122, 61, 50, 39,
        ],
    ),
    (
        "add_relu",
        &[
            11, 119, 101, 28, 14, 11, 11, 11, 11, 65, 50, 34, 11, 11, 11, 105, 89, 73, 11, 11, 11, 11, 132, 115, 39,
            24, 11, 11, 11, 11, 77, 61, 45, 11, 11, 11,
        ],
    ),
    (
        "cat",
        &[
            0, 198, 184, 77, 177, 161, 115, 99, 85, 106, 97, 91, 16, 1, 0, 74, 74, 75, 151, 137, 121, 132, 121, 110,
            52, 38, 23, 79, 77, 74, 187, 173, 158, 165, 151, 138, 88, 74, 60, 92, 87, 82, 0, 209, 195, 75, 189, 173,
            126, 110, 96, 113, 104, 96, 27, 12, 0, 75, 74, 74, 162, 148, 132, 141, 129, 118, 63, 49, 34, 82, 79, 76,
        ],
    ),
    ("maxpool", &[200, 210, 197, 200, 220, 207, 200, 187, 174, 200, 220, 207]),
    ("avgpool", &[102, 124, 111]),
    ("mean", &[102, 124, 111]),
    ("hardsigmoid", &[116, 134, 123]),
    (
        "mul",
        &[
            17, 205, 185, 126, 114, 102, 47, 23, 18, 155, 148, 132, 76, 57, 49, 184, 182, 164, 105, 91, 80, 26, 215,
            195, 135, 124, 111, 56, 33, 27, 164, 159, 142, 85, 67, 58,
        ],
    ),
    ("linear", &[165, 107, 190, 95]),
];

const FLOAT: &[(&str, &[f32])] = &[
    ("conv", &[1.8727539, -3.024707, 3.355664, -4.0847654, -0.4133789, -1.2825196, -2.8728516, -3.302539]),
    (
        "hardswish",
        &[
            -0.33333334,
            1.3854166,
            1.125,
            0.17252605,
            0.031901043,
            -0.087890625,
            -0.37239584,
            -0.37239584,
            -0.3515625,
            0.6152344,
            0.42252603,
            0.25065103,
            -0.28125,
            -0.33333334,
            -0.36458334,
            1.188151,
            0.9433594,
            0.71940106,
            -0.059895832,
            -0.1640625,
            -0.24739583,
            -0.35872397,
            1.594401,
            1.3183594,
            0.29166666,
            0.13541667,
            0.0,
            -0.35872397,
            -0.37434897,
            -0.36914062,
            0.7734375,
            0.5651042,
            0.37760416,
            -0.22851562,
            -0.29622397,
            -0.34309897,
        ],
    ),
    ("maxpool", &[1.5625, 1.75, 1.5, 1.5625, 1.9375, 1.6875, 1.5625, 1.3125, 1.0625, 1.5625, 1.9375, 1.6875]),
    ("avgpool", &[-0.28125, 0.13541667, -0.114583336]),
    ("hardsigmoid", &[0.453125, 0.5225695, 0.4809028]),
    (
        "mul",
        &[
            -0.90625,
            0.9144966,
            0.7213542,
            0.14160156,
            0.032660592,
            -0.09016927,
            -0.6230469,
            -0.8491754,
            -0.90169275,
            0.4248047,
            0.35926652,
            0.21039498,
            -0.33984375,
            -0.5225695,
            -0.60112846,
            0.7080078,
            0.68587244,
            0.5109592,
            -0.056640625,
            -0.19596356,
            -0.30056423,
            -0.82128906,
            1.0124784,
            0.81152344,
            0.2265625,
            0.13064237,
            0.0,
            -0.53808594,
            -0.75119364,
            -0.81152344,
            0.5097656,
            0.4572483,
            0.30056423,
            -0.2548828,
            -0.4245877,
            -0.5109592,
        ],
    ),
    ("linear", &[0.1843125, -0.052249998, 0.28509375, -0.10506251]),
];

#[test]
fn int8_ops_equal_torch() {
    for (numerics, own) in [(Numerics::Fbgemm, FBGEMM), (Numerics::Qnnpack, QNNPACK)] {
        let session = run(Some(numerics));
        for (name, expected) in own {
            let found = session.tap(name).unwrap();
            assert_eq!(found.as_u8().unwrap(), *expected, "{numerics:?} {name}");
        }
        assert_eq!(session.tap("mul_swapped").unwrap(), session.tap("mul").unwrap());
        let (_, linear) = own.iter().find(|(name, _)| *name == "linear").unwrap();
        let logits: Vec<f32> = linear.iter().map(|&q| f32::from(i16::from(q) - 120) * 0.0041).collect();
        assert_eq!(session.logits(), logits);
    }
}

#[test]
fn float_ops_equal_torch() {
    let session = run(None);
    for (name, expected) in FLOAT {
        let found = session.tap(name).unwrap();
        assert_eq!(found.as_f32().unwrap().len(), expected.len());
        for (a, b) in found.as_f32().unwrap().iter().zip(*expected) {
            // Sums of at most 27 products in another order than torch's: a few units of the last place.
            assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{name}: {a}, torch has {b}");
        }
    }
    assert_eq!(session.tap("mul_swapped").unwrap(), session.tap("mul").unwrap());
    assert_eq!(session.logits(), session.tap("linear").unwrap().as_f32().unwrap());
}
