//! Plans and sessions over a small network with every op, in f32 and both int8 arithmetics.

mod common;

use common::{image, small_net};
use quantlens_engine::{
    Conv, ConvWeights, Error, Graph, GraphBuilder, Isa, Numerics, Op, Plan, PlanBuilder, Pool, QParams, Session,
};
use quantlens_tensor::{Layout, Quant, Tensor};

/// All networks of these tests.
const PRECISIONS: [Option<Numerics>; 3] = [None, Some(Numerics::Fbgemm), Some(Numerics::Qnnpack)];

const SIZES: [[usize; 2]; 3] = [[32, 32], [13, 21], [1, 1]];

fn run(plan: &Plan, input: &Tensor) -> Session {
    let mut session = plan.session();
    session.run(input).expect("the input fits the plan");
    session
}

/// Bits of floats, so that a difference of sign or of NaN shows.
fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|x| x.to_bits()).collect()
}

fn names(graph: &Graph) -> Vec<String> {
    graph.tensors().iter().map(|t| t.name.clone()).collect()
}

fn all_entries(graph: &Graph, [h, w]: [usize; 2]) -> Plan {
    let builder = Plan::builder(graph).input_size(h, w).tap_all();
    names(graph).iter().fold(builder, |b, name| b.entry(name)).build().expect("all names exist")
}

#[test]
fn fused_and_shared_memory_change_no_bit() {
    for numerics in PRECISIONS {
        let graph = small_net(numerics);
        for [h, w] in SIZES {
            let input = image(1, h, w);
            let plain = Plan::builder(&graph).input_size(h, w).fuse(false).tap_all().build().unwrap();
            let reference = run(&plain, &input);
            assert_eq!(reference.logits().len(), 5);
            assert!(reference.logits().iter().all(|x| x.is_finite()));
            for fuse in [false, true] {
                let plan = Plan::builder(&graph).input_size(h, w).fuse(fuse).build().unwrap();
                assert_eq!(bits(run(&plan, &input).logits()), bits(reference.logits()), "{numerics:?} {h}x{w} {fuse}");
                assert!(plan.arena_bytes() < plain.arena_bytes());
            }
            // Each tensor tapped alone, in the fused plan: the tap must change nothing and be right.
            for name in names(&graph) {
                let plan = Plan::builder(&graph).input_size(h, w).tap(&name).build().unwrap();
                let session = run(&plan, &input);
                assert_eq!(session.tap(&name).unwrap(), reference.tap(&name).unwrap(), "{numerics:?} {name}");
                assert_eq!(bits(session.logits()), bits(reference.logits()));
            }
        }
    }
}

#[test]
fn fusion_merges_float_activations_only_where_nothing_else_reads() {
    let graph = small_net(None);
    let ops = |plan: &Plan| plan.steps().iter().map(|s| (s.name.clone(), s.op)).collect::<Vec<_>>();
    let fused = Plan::builder(&graph).input_size(32, 32).build().unwrap();
    for (name, op) in [
        ("stem.2", "conv_relu6"),
        ("block.1", "conv_hardswish"),
        ("unit.branch.1", "conv_relu"),
        ("se.activation", "conv_relu"),
        ("head.1", "conv_hardswish"),
    ] {
        assert!(ops(&fused).contains(&(name.into(), op)), "{name} {op} in {:?}", ops(&fused));
    }
    let tapped = Plan::builder(&graph).input_size(32, 32).tap("block.0").entry("head.0").build().unwrap();
    for (name, op) in [("block.0", "conv"), ("block.1", "hardswish"), ("head.0", "conv"), ("stem.2", "conv_relu6")] {
        assert!(ops(&tapped).contains(&(name.into(), op)), "{name} {op} in {:?}", ops(&tapped));
    }
}

/// Pointwise with relu6, 5x5 depthwise of stride 2 with hardswish, mean: names `expand.0`, `expand.1`, `depthwise.0`,
/// `depthwise.1`, `mean`.
fn expand_net() -> Graph {
    let mut builder = GraphBuilder::new("expand", None);
    let conv = |in_channels, groups, size: usize, stride| {
        let floats = |len: usize, scale: f32| (0..len).map(|i| (i as f32 * scale).sin()).collect::<Vec<_>>().into();
        let weights =
            ConvWeights::F32 { weight: floats(20 * in_channels / groups * size * size, 0.9), bias: floats(20, 0.3) };
        let (kernel, stride, padding) = ([size; 2], [stride; 2], [size / 2; 2]);
        Op::Conv(Conv { in_channels, out_channels: 20, kernel, stride, padding, groups, relu: false, weights })
    };
    let x = builder.push(conv(3, 1, 1, 1), &[builder.input()], "expand.0", None);
    let x = builder.push(Op::Relu6, &[x], "expand.1", None);
    let x = builder.push(conv(20, 20, 5, 2), &[x], "depthwise.0", None);
    let x = builder.push(Op::Hardswish, &[x], "depthwise.1", None);
    let output = builder.push(Op::Mean, &[x], "mean", None);
    builder.finish(output)
}

#[test]
fn expand_and_depthwise_in_one_step_change_no_bit() {
    let graph = expand_net();
    let input = image(1, 61, 30);
    let builder = || Plan::builder(&graph).input_size(61, 30);
    let plain = builder().fuse(false).tap("depthwise.1").build().unwrap();
    let expected = run(&plain, &input);
    for threads in [1, 2, 3] {
        let fused = builder().threads(threads).tap("depthwise.1").build().unwrap();
        let found = run(&fused, &input);
        assert_eq!(found.tap("depthwise.1").unwrap(), expected.tap("depthwise.1").unwrap(), "{threads}");
        assert_eq!(bits(found.logits()), bits(expected.logits()), "{threads}");
    }
    let steps = |plan: &Plan| plan.steps().iter().map(|s| (s.name.clone(), s.op)).collect::<Vec<_>>();
    let two = ["expand.1 conv_relu6", "depthwise.1 conv_hardswish", "mean mean"];
    let named = |plan: &Plan| steps(plan).iter().map(|(name, op)| format!("{name} {op}")).collect::<Vec<_>>();
    assert_eq!(named(&builder().isa(Isa::Scalar).build().unwrap()), two, "no kernel for both");
    assert_eq!(named(&builder().tap("expand.1").build().unwrap()), two, "tapped");
    assert_eq!(named(&builder().entry("expand.1").build().unwrap()), two, "an entry");
    if Isa::best() != Isa::Scalar {
        let fused = builder().build().unwrap();
        assert_eq!(named(&fused), ["depthwise.1 expand_depthwise", "mean mean"]);
        let step = &fused.steps()[0];
        assert_eq!((step.macs, step.parameters), (20 * (61 * 30 * 3 + 31 * 15 * 25), 20 * (3 + 1 + 25 + 1)));
        assert_eq!((step.in_shape, step.out_shape), ([61, 30, 3], [31, 15, 20]));
    }
}

/// A stem with relu6, 3x3 depthwise with relu, pointwise, maxima, 5x5 of stride 2 and mean: names `stem.0`, `stem.1`, `depthwise.0`,
/// `depthwise.1`, `project`, `maxpool`, `last`, `mean`.
fn chain_net() -> Graph {
    let mut builder = GraphBuilder::new("chain", None);
    let conv = |[in_channels, out_channels, groups]: [usize; 3], size: usize, stride| {
        let floats = |len: usize, scale: f32| (0..len).map(|i| (i as f32 * scale).sin()).collect::<Vec<_>>().into();
        let weight = floats(out_channels * in_channels / groups * size * size, 0.9);
        let weights = ConvWeights::F32 { weight, bias: floats(out_channels, 0.3) };
        let (kernel, stride, padding) = ([size; 2], [stride; 2], [size / 2; 2]);
        Op::Conv(Conv { in_channels, out_channels, kernel, stride, padding, groups, relu: false, weights })
    };
    let x = builder.push(conv([3, 20, 1], 3, 2), &[builder.input()], "stem.0", None);
    let x = builder.push(Op::Relu6, &[x], "stem.1", None);
    let x = builder.push(conv([20, 20, 20], 3, 1), &[x], "depthwise.0", None);
    let x = builder.push(Op::Relu, &[x], "depthwise.1", None);
    let x = builder.push(conv([20, 16, 1], 1, 1), &[x], "project", None);
    let pool = Pool { kernel: [3, 3], stride: [1, 1], padding: [1, 1] };
    let x = builder.push(Op::MaxPool(pool), &[x], "maxpool", None);
    let x = builder.push(conv([16, 4, 1], 5, 2), &[x], "last", None);
    let output = builder.push(Op::Mean, &[x], "mean", None);
    builder.finish(output)
}

#[test]
fn chains_of_several_threads_change_no_bit() {
    let (graph, input) = (chain_net(), image(1, 90, 75));
    let builder = || Plan::builder(&graph).input_size(90, 75);
    let plain = run(&builder().fuse(false).tap_all().build().unwrap(), &input);
    for threads in [1, 2, 3, 64] {
        let found = run(&builder().threads(threads).tap("last").build().unwrap(), &input);
        assert_eq!(found.tap("last").unwrap(), plain.tap("last").unwrap(), "{threads}");
        assert_eq!(bits(found.logits()), bits(plain.logits()), "{threads}");
    }
    let ops = |builder: PlanBuilder<'_>| {
        builder.build().unwrap().steps().iter().map(|s| format!("{} {}", s.name, s.op)).collect::<Vec<_>>()
    };
    let alone =
        ["stem.1 conv_relu6", "depthwise.1 conv_relu", "project conv", "maxpool max_pool", "last conv", "mean mean"];
    assert_eq!(ops(builder()), alone, "small enough for one thread");
    assert_eq!(ops(builder().threads(2).isa(Isa::Scalar)), alone, "no kernel makes rows");
    assert_eq!(ops(builder().threads(2).fuse(false)).len(), 8);
    if Isa::best() != Isa::Scalar {
        assert_eq!(ops(builder().threads(2)), ["last chain", "mean mean"]);
        let tapped = ["project chain", "last chain", "mean mean"];
        assert_eq!(ops(builder().threads(2).tap("project")), tapped);
        assert_eq!(ops(builder().threads(2).entry("project")), tapped);
        let plan = builder().threads(2).build().unwrap();
        let step = &plan.steps()[0];
        let macs = 45 * 38 * (20 * 27 + 20 * 9 + 20 * 16) + 23 * 19 * 16 * 4 * 25;
        assert_eq!((step.macs, step.inputs.len(), step.kernel.matches(" > ").count()), (macs, 1, 4));
        assert_eq!((step.in_shape, step.out_shape), ([90, 75, 3], [23, 19, 4]));
    }
}

/// A block with a convolution of its input on the way around, made last, and one that adds its own input: `first`, `second`, `down`, `sum`
/// (with a ReLU), `third`, `skip`, then `mean`.
fn residual_net(numerics: Option<Numerics>) -> Graph {
    let mut builder = GraphBuilder::new("residuals", numerics);
    let quant = |scale, zero_point| numerics.map(|_| QParams { scale, zero_point });
    let conv = |in_channels: usize, size: usize, stride| {
        let wave = |len: usize, step: f32| (0..len).map(move |i| (i as f32 * step).sin());
        let (len, bias) = (16 * in_channels * size * size, wave(16, 0.3).collect());
        let weights = if numerics.is_some() {
            let weight = wave(len, 0.9).map(|x| (100.0 * x) as i8).collect();
            ConvWeights::Int8 { weight, scale: [0.004].into(), bias }
        } else {
            ConvWeights::F32 { weight: wave(len, 0.9).collect(), bias }
        };
        let (kernel, stride, padding) = ([size; 2], [stride; 2], [size / 2; 2]);
        Op::Conv(Conv { in_channels, out_channels: 16, kernel, stride, padding, groups: 1, relu: false, weights })
    };
    let mut image = builder.input();
    if numerics.is_some() {
        image = builder.push(Op::Quantize, &[image], "quant", quant(0.03, 120));
    }
    let first = builder.push(conv(3, 3, 2), &[image], "first", quant(0.03, 118));
    let second = builder.push(conv(16, 3, 1), &[first], "second", quant(0.06, 130));
    let down = builder.push(conv(3, 1, 2), &[image], "down", quant(0.02, 110));
    let sum = builder.push(Op::Add { relu: true }, &[second, down], "sum", quant(0.05, 0));
    let third = builder.push(conv(16, 1, 1), &[sum], "third", quant(0.07, 125));
    let skip = builder.push(Op::Add { relu: false }, &[sum, third], "skip", quant(0.08, 90));
    let mut x = builder.push(Op::Mean, &[skip], "mean", quant(0.08, 90));
    if numerics.is_some() {
        x = builder.push(Op::Dequantize, &[x], "dequant", None);
    }
    builder.finish(x)
}

#[test]
fn sums_in_a_convolutions_step_change_no_bit() {
    for (numerics, [h, w]) in PRECISIONS.into_iter().flat_map(|numerics| [(numerics, [64, 64]), (numerics, [90, 75])]) {
        let (graph, input) = (residual_net(numerics), image(1, h, w));
        let builder = || Plan::builder(&graph).input_size(h, w);
        let plain = run(&builder().fuse(false).tap_all().build().unwrap(), &input);
        let isas = || Isa::ALL.into_iter().filter(|isa| isa.available());
        for (isa, threads) in isas().flat_map(|isa| [(isa, 1), (isa, 2), (isa, 5)]) {
            // Float sums of another instruction set may differ by rounding.
            let plain = run(&builder().fuse(false).tap_all().isa(isa).build().unwrap(), &input);
            let found = run(&builder().threads(threads).isa(isa).tap("skip").build().unwrap(), &input);
            assert_eq!(found.tap("skip").unwrap(), plain.tap("skip").unwrap(), "{numerics:?} {isa} {threads}");
            assert_eq!(bits(found.logits()), bits(plain.logits()), "{numerics:?} {isa} {threads}");
        }
        let sums = |builder: PlanBuilder<'_>| {
            let plan = builder.build().unwrap();
            let sums = plan.steps().iter().filter(|s| s.op.contains("add"));
            sums.map(|s| format!("{} {} {}", s.name, s.op, s.inputs.join(" "))).collect::<Vec<_>>()
        };
        // fbgemm's sum has a rule of its own for what is left over of blocks of 64 elements.
        if numerics == Some(Numerics::Fbgemm) && [h, w] == [90, 75] {
            assert_eq!(sums(builder()), ["sum add_relu second down", "skip add sum third"]);
            continue;
        }
        let source = if numerics.is_some() { "quant" } else { "input" };
        let sum = format!("sum conv_add_relu {source} second");
        assert_eq!(sums(builder()), [&sum, "skip conv_add sum sum"], "{numerics:?}");
        assert_eq!(sums(builder().tap("third")), [&sum, "skip add sum third"], "tapped");
        assert_eq!(sums(builder().entry("third")), [&sum, "skip add sum third"], "an entry");
        assert_eq!(sums(builder().tap("down"))[0], "sum add_relu second down", "made before its residual is");
        let tapped = run(&builder().tap("third").build().unwrap(), &input);
        assert_eq!(tapped.tap("third").unwrap(), plain.tap("third").unwrap());
    }
}

/// A slice of the image's channels, pointwise and depthwise, joined to another slice and shuffled: the f32 steps that read channels where
/// they are.
fn view_net() -> Graph {
    let mut builder = GraphBuilder::new("view", None);
    let conv = |groups: usize, size: usize| {
        let floats = |len: usize| (0..len).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>().into();
        let weights = ConvWeights::F32 { weight: floats(4 / groups * size * size), bias: floats(2) };
        let (kernel, stride, padding) = ([size; 2], [1, 1], [size / 2; 2]);
        Op::Conv(Conv { in_channels: 2, out_channels: 2, kernel, stride, padding, groups, relu: false, weights })
    };
    let x = builder.input();
    let kept = builder.push(Op::SliceChannels { start: 0, len: 2 }, &[x], "kept", None);
    let branch = builder.push(Op::SliceChannels { start: 1, len: 2 }, &[x], "branch", None);
    let branch = builder.push(conv(1, 1), &[branch], "pointwise", None);
    let branch = builder.push(conv(2, 3), &[branch], "depthwise", None);
    let x = builder.push(Op::Concat, &[kept, branch], "cat", None);
    let x = builder.push(Op::ChannelShuffle { groups: 2 }, &[x], "unit", None);
    let output = builder.push(Op::Mean, &[x], "mean", None);
    builder.finish(output)
}

#[test]
fn slices_that_are_read_where_they_are_change_no_bit() {
    let (graph, input) = (view_net(), image(1, 19, 23));
    let builder = || Plan::builder(&graph).input_size(19, 23);
    let plain = run(&builder().fuse(false).tap_all().build().unwrap(), &input);
    for threads in [1, 2, 3] {
        let plan = builder().threads(threads).tap("unit").build().unwrap();
        assert_eq!(run(&plan, &input).tap("unit").unwrap(), plain.tap("unit").unwrap(), "{threads}");
    }
    let names = |builder: PlanBuilder<'_>| {
        builder.build().unwrap().steps().iter().map(|s| (s.name.clone(), s.inputs.join(" "))).collect::<Vec<_>>()
    };
    let named = |all: &[(&str, &str)]| all.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    let scalar = named(&[
        ("branch", "input"),
        ("pointwise", "branch"),
        ("depthwise", "pointwise"),
        ("unit", "input depthwise"),
        ("mean", "unit"),
    ]);
    assert_eq!(names(builder().isa(Isa::Scalar)), scalar, "no kernel for both convolutions");
    if Isa::best() != Isa::Scalar {
        let views = [("depthwise", "input"), ("unit", "input depthwise"), ("mean", "unit")];
        assert_eq!(names(builder()), named(&views));
        let tapped = [("kept", "input"), ("depthwise", "input"), ("unit", "kept depthwise"), ("mean", "unit")];
        assert_eq!(names(builder().tap("kept")), named(&tapped));
    }
}

/// Two slices of the image, in int8 with different scales, joined and shuffled: `cat`, `unit`, then `mean`.
fn shuffled_net(numerics: Option<Numerics>, halves: [usize; 2]) -> Graph {
    let mut builder = GraphBuilder::new("shuffled", numerics);
    let quant = |scale| numerics.map(|_| QParams { scale, zero_point: 120 });
    let mut x = builder.input();
    if numerics.is_some() {
        x = builder.push(Op::Quantize, &[x], "quant", quant(0.02));
    }
    let a = builder.push(Op::SliceChannels { start: 0, len: halves[0] }, &[x], "a", quant(0.02));
    let b = builder.push(Op::SliceChannels { start: 3 - halves[1], len: halves[1] }, &[x], "b", quant(0.02));
    let x = builder.push(Op::Concat, &[a, b], "cat", quant(0.03));
    let x = builder.push(Op::ChannelShuffle { groups: 2 }, &[x], "unit", quant(0.03));
    let mut x = builder.push(Op::Mean, &[x], "mean", quant(0.03));
    if numerics.is_some() {
        x = builder.push(Op::Dequantize, &[x], "dequant", None);
    }
    builder.finish(x)
}

#[test]
fn concat_and_shuffle_in_one_step_change_no_bit() {
    for numerics in PRECISIONS {
        let (graph, input) = (shuffled_net(numerics, [2, 2]), image(1, 29, 17));
        let builder = || Plan::builder(&graph).input_size(29, 17);
        let expected = run(&builder().fuse(false).tap_all().build().unwrap(), &input);
        let plan = builder().tap("unit").build().unwrap();
        assert_eq!(run(&plan, &input).tap("unit").unwrap(), expected.tap("unit").unwrap(), "{numerics:?}");
        let ops =
            |plan: &Plan| plan.steps().iter().map(|s| s.op).filter(|op| op.contains("concat")).collect::<Vec<_>>();
        assert_eq!(ops(&plan), ["concat_shuffle"]);
        assert_eq!(ops(&builder().tap("cat").build().unwrap()), ["concat"], "tapped");
        assert_eq!(ops(&builder().entry("cat").build().unwrap()), ["concat"], "an entry");
        let uneven = Plan::builder(&shuffled_net(numerics, [1, 3])).input_size(29, 17).build().unwrap();
        assert_eq!(ops(&uneven), ["concat"], "not two halves");
    }
}

#[test]
fn threads_repetition_and_second_sessions_change_nothing() {
    for numerics in PRECISIONS {
        let graph = small_net(numerics);
        let (a, b) = (image(1, 37, 30), image(2, 37, 30));
        let one = Plan::builder(&graph).input_size(37, 30).build().unwrap();
        let (expected_a, expected_b) = (run(&one, &a).logits().to_vec(), run(&one, &b).logits().to_vec());
        assert_ne!(expected_a, expected_b, "{numerics:?}: the images differ, the logits should");
        for threads in [1, 2, 3] {
            let plan = Plan::builder(&graph).input_size(37, 30).threads(threads).build().unwrap();
            let mut session = plan.session();
            for _ in 0..2 {
                session.run(&a).unwrap();
                assert_eq!(bits(session.logits()), bits(&expected_a), "{numerics:?} {threads}");
                session.run(&b).unwrap();
                assert_eq!(bits(session.logits()), bits(&expected_b), "{numerics:?} {threads}");
            }
        }
        std::thread::scope(|scope| {
            for (input, expected) in [(&a, &expected_a), (&b, &expected_b)] {
                let plan = one.clone();
                scope.spawn(move || assert_eq!(bits(run(&plan, input).logits()), bits(expected)));
            }
        });
    }
}

#[test]
fn every_cut_gives_the_rest_of_the_network() {
    for numerics in PRECISIONS {
        let graph = small_net(numerics);
        let plan = all_entries(&graph, [22, 17]);
        let mut session = run(&plan, &image(3, 22, 17));
        let logits = session.logits().to_vec();
        let values: Vec<Tensor> = names(&graph).iter().map(|n| session.tap(n).unwrap()).collect();
        // Each op alone, on its own inputs.
        for node in graph.nodes() {
            let name = |id: &quantlens_engine::TensorId| graph.tensor(*id).name.as_str();
            let entries: Vec<(&str, &Tensor)> = node.inputs.iter().map(|id| (name(id), &values[id.index()])).collect();
            session.run_from(&entries, &[name(&node.output)]).unwrap();
            assert_eq!(session.tap(name(&node.output)).unwrap(), values[node.output.index()], "{}", name(&node.output));
        }
        // Single tensors that all paths go through, to the logits, from a plan with that entry alone.
        for cut in ["input", "stem", "block", "maxpool", "unit.cat", "unit", "se.add_relu", "head.1", "mean", "fc"] {
            let plan = Plan::builder(&graph).input_size(22, 17).entry(cut).build().unwrap();
            let mut session = plan.session();
            let value = &values[graph.find(cut).unwrap().index()];
            for layout in [Layout::Nhwc, Layout::Nchw] {
                session.run_from(&[(cut, &value.to_layout(layout).unwrap())], &[]).unwrap();
                assert_eq!(bits(session.logits()), bits(&logits), "{numerics:?} {cut} {layout}");
            }
        }
    }
}

#[test]
fn run_from_computes_only_what_is_asked() {
    let graph = small_net(None);
    let plan = Plan::builder(&graph).input_size(20, 20).tap("block").tap("unit").entry("stem").entry("maxpool");
    let mut session = plan.build().unwrap().session();
    session.run(&image(1, 20, 20)).unwrap();
    let (block, unit) = (session.tap("block").unwrap(), session.tap("unit").unwrap());
    let mut full = Plan::builder(&graph).input_size(20, 20).tap_all().build().unwrap().session();
    full.run(&image(1, 20, 20)).unwrap();
    let (stem, maxpool) = (full.tap("stem").unwrap(), full.tap("maxpool").unwrap());
    session.profile(true);
    session.run_from(&[("stem", &stem)], &["block"]).unwrap();
    let ran: Vec<String> = session.last_profile().unwrap().steps.into_iter().map(|s| s.name).collect();
    // The sum is the epilogue of the block's last convolution.
    assert_eq!(ran, ["block.1", "block.skip_add"]);
    assert_eq!(session.tap("block").unwrap(), block);
    assert!(session.logits().is_empty());
    assert!(matches!(session.tap("unit"), Err(Error::NotComputed { .. })));
    // Two entries: the later one wins where both lead to an output.
    let other = Tensor::new(vec![0.5; 10 * 10 * 16], [1, 10, 10, 16], Layout::Nhwc).unwrap();
    session.run_from(&[("stem", &other), ("maxpool", &maxpool)], &["unit"]).unwrap();
    assert_eq!(session.tap("unit").unwrap(), unit);
    assert!(matches!(session.tap("block"), Err(Error::NotComputed { .. })));
}

#[test]
fn aliases_are_the_same_tensor() {
    let graph = small_net(None);
    let plan = Plan::builder(&graph).input_size(16, 16).tap("block").entry("unit.branch").build().unwrap();
    let session = run(&plan, &image(1, 16, 16));
    assert_eq!(session.tap("block").unwrap(), session.tap("block.skip_add").unwrap());
    assert_eq!(session.tap("logits").unwrap().as_f32().unwrap(), session.logits());
    assert_eq!(plan.tensor_shape("block"), Some([8, 8, 16]));
    assert_eq!(plan.tensor_shape("stem.0"), Some([8, 8, 16]));
    assert_eq!(plan.tensor_shape("nothing"), None);
}

#[test]
fn inputs_in_every_accepted_form_are_equal() {
    for numerics in PRECISIONS {
        let graph = small_net(numerics);
        let input = image(5, 14, 18);
        let plan = Plan::builder(&graph).input_size(14, 18).build().unwrap();
        let expected = run(&plan, &input).logits().to_vec();
        let nhwc = input.to_layout(Layout::Nhwc).unwrap();
        assert_eq!(run(&plan, &nhwc).logits(), expected);
        if numerics.is_none() {
            continue;
        }
        let tapped = Plan::builder(&graph).input_size(14, 18).tap("quant").tap("input").build().unwrap();
        let mut session = run(&tapped, &input);
        let quantized = session.tap("quant").unwrap();
        assert!(matches!(quantized.quant(), Some(Quant::PerTensor { zero_point: 114, .. })));
        for layout in [Layout::Nhwc, Layout::Nchw] {
            session.run(&quantized.to_layout(layout).unwrap()).unwrap();
            assert_eq!(session.logits(), expected);
            assert_eq!(session.tap("quant").unwrap(), quantized);
            assert!(matches!(session.tap("input"), Err(Error::NotComputed { .. })));
        }
    }
}

#[test]
fn profile_counts_every_step() {
    let graph = small_net(None);
    let plan = Plan::builder(&graph).input_size(16, 24).build().unwrap();
    let mut session = run(&plan, &image(1, 16, 24));
    assert_eq!(session.last_profile(), None);
    session.profile(true);
    session.run(&image(1, 16, 24)).unwrap();
    let profile = session.last_profile().unwrap();
    assert_eq!(profile.steps.len(), plan.steps().len());
    assert!(profile.steps.iter().map(|s| s.nanos).sum::<u64>() <= profile.total_nanos);
    assert!(profile.steps.iter().all(|s| !s.kernel.is_empty()));
    // By hand: the stem makes 8x12 outputs of 16 channels from 3x3x3 inputs; fc 5 from 33.
    assert_eq!(profile.steps[0].macs, 8 * 12 * 16 * 27);
    assert_eq!(profile.steps.last().unwrap().macs, 5 * 33);
    assert_eq!(plan.macs(), profile.steps.iter().map(|s| s.macs).sum::<u64>());
    assert_eq!(plan.steps()[0].parameters, 16 * 27 + 16);
    assert_eq!(plan.steps()[0].weight_shape, [16, 3, 3, 3]);
}

#[test]
fn every_instruction_set_gives_the_same_network() {
    for numerics in PRECISIONS {
        let graph = small_net(numerics);
        let input = image(4, 29, 34);
        let plan = |isa| Plan::builder(&graph).input_size(29, 34).isa(isa).build().unwrap();
        let scalar = run(&plan(Isa::Scalar), &input).logits().to_vec();
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let session = run(&plan(isa), &input);
            if numerics.is_some() {
                assert_eq!(bits(session.logits()), bits(&scalar), "{numerics:?} {isa}");
            }
            for (a, b) in session.logits().iter().zip(&scalar) {
                // Sums of up to 180 products in another order, through a dozen layers.
                assert!((a - b).abs() < 1e-4, "{isa}: {a}, scalar has {b}");
            }
        }
    }
}

#[test]
fn plans_are_shared_and_sessions_move_between_threads() {
    fn shared<T: Send + Sync + Clone>() {}
    fn moved<T: Send>() {}
    shared::<Plan>();
    moved::<Session>();
}
