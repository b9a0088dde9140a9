//! Errors name the tensor, what was expected, what was found and what to do.

mod common;

use std::sync::Arc;

use common::{image, small_net};
use quantlens_engine::{Conv, ConvWeights, Error, Graph, GraphBuilder, Linear, Numerics, Op, Plan, Pool, QParams};
use quantlens_tensor::{Layout, Quant, Tensor};

fn build_error(graph: &Graph, height: usize, width: usize) -> String {
    Plan::builder(graph).input_size(height, width).build().expect_err("the graph does not fit").to_string()
}

/// A graph of one op over the input.
fn one(op: Op) -> Graph {
    let mut builder = GraphBuilder::new("one", None);
    let output = builder.push(op, &[builder.input()], "op", None);
    builder.finish(output)
}

fn conv(in_channels: usize, padding: usize) -> Conv {
    let weights = ConvWeights::F32 { weight: vec![0.0; 2 * in_channels * 9].into(), bias: Arc::new([0.0; 2]) };
    let (kernel, stride, padding) = ([3, 3], [1, 1], [padding; 2]);
    Conv { in_channels, out_channels: 2, kernel, stride, padding, groups: 1, relu: false, weights }
}

#[test]
fn unknown_names_list_near_ones() {
    let graph = small_net(None);
    let error = Plan::builder(&graph).tap("block.skip_ad").build().unwrap_err();
    assert_eq!(error.to_string(), "no tensor is named 'block.skip_ad'; near names: block.skip_add");
    let error = Plan::builder(&graph).entry("unit.chunk.2").build().unwrap_err();
    assert!(error.to_string().contains("unit.chunk.0, unit.chunk.1"), "{error}");
    let error = Plan::builder(&graph).tap("conv_head_of_another_network").build().unwrap_err();
    assert!(error.to_string().contains("quantlens inspect"), "{error}");
    let session = Plan::builder(&graph).build().unwrap().session();
    assert!(matches!(session.tap("bloc"), Err(Error::UnknownTensor { .. })));
}

#[test]
fn undeclared_taps_and_entries_say_how_to_declare_them() {
    let graph = small_net(None);
    let mut session = Plan::builder(&graph).input_size(8, 8).tap("unit").entry("unit").build().unwrap().session();
    let error = session.tap("block").unwrap_err().to_string();
    assert!(error.contains("block.skip_add") && error.contains("tap("), "{error}");
    assert!(matches!(session.tap("unit"), Err(Error::NotComputed { .. })));
    let map = Tensor::new(vec![0.0; 4 * 4 * 16], [1, 4, 4, 16], Layout::Nhwc).unwrap();
    let error = session.run_from(&[("block", &map)], &[]).unwrap_err().to_string();
    assert!(error.contains("block.skip_add") && error.contains("entry("), "{error}");
    let error = session.run_from(&[], &["block"]).unwrap_err();
    assert!(matches!(error, Error::NotTapped { .. }), "{error}");
}

#[test]
fn a_cut_that_does_not_reach_says_what_to_give() {
    let graph = small_net(None);
    let plan = Plan::builder(&graph).input_size(8, 8).tap("block").tap("stem").entry("block.1").entry("unit");
    let mut session = plan.build().unwrap().session();
    let map = Tensor::new(vec![0.0; 4 * 4 * 16], [1, 4, 4, 16], Layout::Nhwc).unwrap();
    // The block's sum also needs its input, the stem's output.
    let error = session.run_from(&[("block.1", &map)], &["block"]).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { needed, .. } if needed == "stem.2"), "{error}");
    assert!(session.logits().is_empty());
    let error = session.run_from(&[("block.1", &map)], &["stem"]).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { needed, .. } if needed == "input"), "{error}");
    let error = session.run_from(&[], &[]).unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }), "{error}");
}

#[test]
fn wrong_inputs_are_refused() {
    let graph = small_net(Some(Numerics::Qnnpack));
    let mut session = Plan::builder(&graph).input_size(8, 9).build().unwrap().session();
    let error = session.run(&image(1, 9, 8)).unwrap_err().to_string();
    assert_eq!(
        error,
        "tensor input: expected one image of 3 channels, height 8 and width 9 ([1, 3, 8, 9] NCHW or [1, 8, 9, 3] NHWC), \
         found [1, 3, 9, 8] NCHW"
    );
    let two = Tensor::new(vec![0.0; 2 * 3 * 72], [2, 3, 8, 9], Layout::Nchw).unwrap();
    assert!(matches!(session.run(&two), Err(Error::InputShape { .. })));
    let flat = Tensor::new(vec![0.0; 3 * 72], [1, 3, 8, 9], Layout::RowMajor).unwrap();
    assert!(matches!(session.run(&flat), Err(Error::InputShape { .. })));
    let bytes = Tensor::new(vec![0u8; 3 * 72], [1, 3, 8, 9], Layout::Nchw).unwrap();
    let other = bytes.with_quant(Quant::PerTensor { scale: 0.5, zero_point: 3 }).unwrap();
    let error = session.run(&other).unwrap_err().to_string();
    assert_eq!(
        error,
        "tensor quant: expected u8 with scale 0.02 and zero point 114, found u8 with scale 0.5 and zero point 3"
    );
    let integers = Tensor::new(vec![0i32; 3 * 72], [1, 3, 8, 9], Layout::Nchw).unwrap();
    assert_eq!(session.run(&integers).unwrap_err().to_string(), "tensor input: expected f32, found i32");
    let mut float = Plan::builder(&small_net(None)).input_size(8, 9).build().unwrap().session();
    let bytes = Tensor::new(vec![0u8; 3 * 72], [1, 3, 8, 9], Layout::Nchw).unwrap();
    assert_eq!(float.run(&bytes).unwrap_err().to_string(), "tensor input: expected f32, found u8");
}

#[test]
fn shapes_that_do_not_fit_name_the_tensor() {
    let error = build_error(&one(Op::Conv(conv(3, 0))), 2, 7);
    assert_eq!(error, "tensor op: a 3x3 window with padding 0x0 does not fit the 2x7 map of input: use a larger input");
    let error = build_error(&one(Op::Conv(conv(4, 1))), 7, 7);
    assert_eq!(error, "tensor op: expected 4 input channels, found 3 (input)");
    let error = build_error(&one(Op::Conv(Conv { groups: 2, ..conv(3, 1) })), 7, 7);
    assert_eq!(error, "tensor op: 3 to 2 channels do not split into 2 groups");
    let error = build_error(&one(Op::Conv(Conv { out_channels: 3, ..conv(3, 1) })), 7, 7);
    assert_eq!(error, "tensor op: expected 81 weights and 3 biases, found 54 and 2");
    let pool = Pool { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    assert!(build_error(&one(Op::MaxPool(pool)), 1, 7).contains("use a larger input"));
    assert!(build_error(&one(Op::MaxPool(Pool { padding: [2, 2], ..pool })), 9, 9).contains("half of the window"));
    let weights = ConvWeights::F32 { weight: vec![0.0; 3].into(), bias: Arc::new([0.0]) };
    let linear = Linear { in_features: 3, out_features: 1, weights };
    let error = build_error(&one(Op::Linear(linear)), 2, 1);
    assert_eq!(error, "tensor op: a linear layer needs a 1x1 map, found 2x1 with 3 channels (input)");
    let error = build_error(&one(Op::SliceChannels { start: 2, len: 2 }), 4, 4);
    assert!(error.contains("input has 3"), "{error}");
    assert!(build_error(&one(Op::ChannelShuffle { groups: 2 }), 4, 4).contains("do not split"));
    let mut builder = GraphBuilder::new("two", None);
    let slice = builder.push(Op::SliceChannels { start: 0, len: 1 }, &[builder.input()], "slice", None);
    let sum = builder.push(Op::Add { relu: false }, &[builder.input(), slice], "sum", None);
    let error = build_error(&builder.finish(sum), 4, 4);
    assert_eq!(
        error,
        "tensor sum: expected inputs of one shape, found input (4x4 with 3 channels) and slice (4x4 with 1 channels)"
    );
}

#[test]
fn settings_out_of_range_are_refused() {
    let graph = small_net(None);
    assert!(build_error(&graph, 0, 5).contains("at least 1"));
    assert!(build_error(&graph, usize::MAX, 2).contains("use a smaller input"));
    assert!(build_error(&graph, 1 << 20, 1 << 20).contains("use a smaller input"));
    for threads in [0, 5000] {
        let error = Plan::builder(&graph).threads(threads).build().unwrap_err().to_string();
        assert!(error.contains(&threads.to_string()), "{error}");
    }
}

#[test]
fn quantization_that_does_not_fit_names_the_op() {
    let quant = Some(QParams { scale: 0.1, zero_point: 3 });
    let graph = |numerics, op: Op, quant| {
        let mut builder = GraphBuilder::new("q", numerics);
        let x = builder.push(Op::Quantize, &[builder.input()], "quant", Some(QParams { scale: 0.1, zero_point: 3 }));
        let x = builder.push(op, &[x], "op", quant);
        let x = if quant.is_some() { builder.push(Op::Dequantize, &[x], "dequant", None) } else { x };
        builder.finish(x)
    };
    let fbgemm = Some(Numerics::Fbgemm);
    let error = build_error(&graph(None, Op::Relu, quant), 4, 4);
    assert!(error.contains("numerics"), "{error}");
    let error = build_error(&graph(fbgemm, Op::Conv(conv(3, 1)), quant), 4, 4);
    assert_eq!(error, "tensor op (conv): expected i8 weights, found f32");
    let error = build_error(&graph(fbgemm, Op::Relu, None), 4, 4);
    assert_eq!(error, "tensor op (relu): expected the output to be quantized (u8), found f32");
    let other = Some(QParams { scale: 0.2, zero_point: 3 });
    let error = build_error(&graph(fbgemm, Op::ChannelShuffle { groups: 3 }, other), 4, 4);
    assert!(error.contains("(0.1, 3), found (0.2, 3)"), "{error}");
    assert!(build_error(&graph(fbgemm, Op::Hardsigmoid, quant), 4, 4).contains("1/256"));
    for scale in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        let bad = Some(QParams { scale, zero_point: 0 });
        assert!(build_error(&graph(fbgemm, Op::Hardswish, bad), 4, 4).contains("finite and positive"), "{scale}");
    }
    let error = build_error(&one(Op::Dequantize), 4, 4);
    assert!(error.contains("expected input input to be quantized"), "{error}");
    let mut builder = GraphBuilder::new("q", fbgemm);
    let x = builder.push(Op::Quantize, &[builder.input()], "quant", quant);
    assert!(build_error(&builder.finish(x), 4, 4).contains("end with Dequantize"));
}
