//! EigenCAM: from the activations of each network's target layer to the map at 224x224.

mod common;

use std::hint::black_box;

use criterion::Criterion;
use quantlens::xai::cam_map;
use quantlens::{EigenCam, Layout, Quant, SignPolicy, Tensor};

/// Channels of the target layers, all 7x7 at an input of 224x224.
const LAYERS: [(&str, usize); 4] =
    [("mobilenet_v2", 1280), ("mobilenet_v3_large", 960), ("resnet18", 512), ("shufflenet_v2_x0_5", 1024)];

fn main() {
    let mut criterion = common::criterion();
    for (network, channels) in LAYERS {
        bench(&mut criterion, &format!("{network}-f32"), &activation(channels));
        bench(&mut criterion, &format!("{network}-int8"), &quantized(channels));
    }
    criterion.final_summary();
}

fn bench(criterion: &mut Criterion, name: &str, activation: &Tensor) {
    let mut group = criterion.benchmark_group("cam");
    group.bench_function(name, |b| b.iter(|| map(black_box(activation))));
    group.finish();
}

fn map(activation: &Tensor) -> Vec<f32> {
    let eigen = EigenCam::compute(activation).expect("finite activations");
    let p = eigen.signed(SignPolicy::Mean, "").expect("a policy without randomness");
    cam_map(&p, eigen.h, eigen.w, 224, 224)
}

/// Activations of a pattern with a clear first component: waves over the positions, of a strength for each channel.
fn values(channels: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (position, channel) = ((i / channels) as f32, (i % channels) as f32);
        ((position * 0.37).sin() * (channel * 0.11).cos() + 0.2 * (i as f32 * 1.7).sin()).max(0.0)
    };
    (0..49 * channels).map(value).collect()
}

fn activation(channels: usize) -> Tensor {
    Tensor::new(values(channels), [1, 7, 7, channels], Layout::Nhwc).expect("49 positions")
}

fn quantized(channels: usize) -> Tensor {
    let values: Vec<u8> = values(channels).iter().map(|x| (x * 200.0) as u8).collect();
    let tensor = Tensor::new(values, [1, 7, 7, channels], Layout::Nhwc).expect("49 positions");
    tensor.with_quant(Quant::PerTensor { scale: 0.005, zero_point: 0 }).expect("a u8 tensor")
}
