//! A network of one layer, with a small convolution before it that makes its input.

use std::sync::Arc;
use std::time::Duration;

use quantlens::engine::{Conv, ConvWeights, Graph, GraphBuilder, Linear, Op, Pool, QParams, TensorId};
use quantlens::kernels::Conv2d;
use quantlens::{Isa, Layout, Numerics, Plan, Precision, Session, Tensor};

use crate::shapes::{Case, Kind};

/// Name of the tensor that the timed step makes.
const LAYER: &str = "layer";

/// A case, ready to run.
pub struct Layer {
    session: Session,
    input: Tensor,
    /// The timed step's place.
    step: usize,
}

impl Layer {
    pub fn new(case: &Case, precision: Precision, isa: Isa) -> Self {
        let graph = graph(case, precision);
        // The tap keeps an activation from being fused into the convolution before it.
        let plan = Plan::builder(&graph).input_size(case.size, case.size).isa(isa).tap(FEED);
        let plan = plan.build().unwrap_or_else(|e| panic!("{}: {e}", case.name()));
        let step = plan.steps().iter().position(|step| step.name == LAYER).expect("a step for every op");
        let values = (0..3 * case.size * case.size).map(|i| (i as f32 * 0.7).sin()).collect::<Vec<_>>();
        let input = Tensor::new(values, [1, 3, case.size, case.size], Layout::Nchw).expect("3 planes");
        let mut session = plan.session();
        session.profile(true);
        Self { session, input, step }
    }

    /// Runs the network; the time of the layer alone.
    pub fn run(&mut self) -> Duration {
        self.session.run(&self.input).expect("an input of the plan's size");
        let profile = self.session.last_profile().expect("the run was timed");
        Duration::from_nanos(profile.steps[self.step].nanos)
    }
}

/// Name of the layer's input.
const FEED: &str = "feed";

fn graph(case: &Case, precision: Precision) -> Graph {
    let numerics = match case.network {
        _ if precision == Precision::F32 => None,
        "v2" | "v3" => Some(Numerics::Qnnpack),
        _ => Some(Numerics::Fbgemm),
    };
    let mut net = Net { builder: GraphBuilder::new("layer", numerics), numerics };
    let image = net.builder.input();
    let quantize_name = if case.op == Kind::Quantize { LAYER } else { "quantized" };
    let mut feed = if numerics.is_some() { net.push(Op::Quantize, &[image], quantize_name) } else { image };
    if case.channels == 3 {
        net.builder.alias(feed, FEED);
    } else {
        let conv = Conv2d { in_h: case.size, in_w: case.size, ..Conv2d::linear(3, case.channels) };
        let op = net.conv(&conv);
        feed = net.push(op, &[feed], FEED);
    }
    let layer = if case.op == Kind::Quantize { feed } else { net.layer(case, feed) };
    let real = numerics.is_none() || case.op == Kind::Dequantize;
    let output = if real { layer } else { net.builder.push(Op::Dequantize, &[layer], "output", None) };
    net.builder.finish(output)
}

struct Net {
    builder: GraphBuilder,
    numerics: Option<Numerics>,
}

impl Net {
    /// Adds an op whose output, in int8, has a range around 0.
    fn push(&mut self, op: Op, inputs: &[TensorId], name: &str) -> TensorId {
        let quant = self.numerics.map(|_| QParams { scale: 0.02, zero_point: 120 });
        self.builder.push(op, inputs, name, quant)
    }

    fn layer(&mut self, case: &Case, x: TensorId) -> TensorId {
        let op = match case.op {
            Kind::Conv(..) => self.conv(&case.geometry().expect("a convolution")),
            Kind::Linear(out_features) => {
                let weights = self.weights(out_features, case.channels);
                Op::Linear(Linear { in_features: case.channels, out_features, weights })
            }
            Kind::Add => return self.push(Op::Add { relu: case.network == "resnet" }, &[x, x], LAYER),
            Kind::Scale => {
                let factors = self.push(Op::AdaptiveAvgPool, &[x], "factors");
                return self.push(Op::Mul, &[x, factors], LAYER);
            }
            Kind::Concat => {
                let [a, b] = [0, case.channels / 2].map(|start| {
                    let op = Op::SliceChannels { start, len: case.channels / 2 };
                    self.push(op, &[x], &format!("half.{start}"))
                });
                return self.push(Op::Concat, &[a, b], LAYER);
            }
            Kind::Dequantize => return self.builder.push(Op::Dequantize, &[x], LAYER, None),
            Kind::Relu => Op::Relu,
            Kind::Relu6 => Op::Relu6,
            Kind::Hardswish => Op::Hardswish,
            Kind::Hardsigmoid => {
                let quant = self.numerics.map(|_| QParams { scale: 1.0 / 256.0, zero_point: 0 });
                return self.builder.push(Op::Hardsigmoid, &[x], LAYER, quant);
            }
            Kind::MaxPool => Op::MaxPool(Pool { kernel: [3, 3], stride: [2, 2], padding: [1, 1] }),
            Kind::AvgPool => Op::AdaptiveAvgPool,
            Kind::Mean => Op::Mean,
            Kind::Slice => Op::SliceChannels { start: 0, len: case.channels / 2 },
            Kind::Shuffle => Op::ChannelShuffle { groups: 2 },
            Kind::Quantize => unreachable!("it is the feed itself"),
        };
        self.push(op, &[x], LAYER)
    }

    fn conv(&self, conv: &Conv2d) -> Op {
        let Conv2d { in_c: in_channels, out_c: out_channels, kernel, stride, padding, groups, .. } = *conv;
        let weights = self.weights(out_channels, conv.terms());
        let relu = self.numerics.is_some();
        Op::Conv(Conv { in_channels, out_channels, kernel, stride, padding, groups, relu, weights })
    }

    /// Waves, so that outputs spread over their range.
    fn weights(&self, outputs: usize, inputs: usize) -> ConvWeights {
        let wave = (0..outputs * inputs).map(|i| (i as f32 * 1.3).sin());
        let bias: Arc<[f32]> = vec![0.1; outputs].into();
        match self.numerics {
            None => ConvWeights::F32 { weight: wave.map(|w| w / (inputs as f32).sqrt()).collect(), bias },
            Some(numerics) => {
                // fbgemm's networks have a scale a channel, qnnpack's one.
                let scales = if numerics == Numerics::Fbgemm { outputs } else { 1 };
                let scale = vec![1.0 / (127.0 * (inputs as f32).sqrt()); scales].into();
                ConvWeights::Int8 { weight: wave.map(|w| (w * 127.0) as i8).collect(), scale, bias }
            }
        }
    }
}
