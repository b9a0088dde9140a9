//! EigenCAM: from the activations of each network's target layer, and of an inner one, to the map at 224x224. Deletion: one step of a walk, and
//! half of it at once.

mod common;

use std::hint::black_box;

use criterion::Criterion;
use quantlens::tensor::{Values, View};
use quantlens::xai::{CamWorkspace, Walk, cam_map, pixel_order};
use quantlens::{EigenCam, Layout, SignPolicy, Tensor};

/// Side of the map and channels of the target layers at an input of 224x224, and of one layer of 14x14.
const LAYERS: [(&str, usize, usize); 5] = [
    ("mobilenet_v2", 7, 1280),
    ("mobilenet_v3_large", 7, 960),
    ("resnet18", 7, 512),
    ("shufflenet_v2_x0_5", 7, 1024),
    ("mobilenet_v2-features.13", 14, 96),
];

fn main() {
    let mut criterion = common::criterion();
    for (layer, side, channels) in LAYERS {
        let floats = values(side * side, channels);
        let integers: Vec<u8> = floats.iter().map(|x| (x * 200.0) as u8).collect();
        let real = View { values: Values::F32(&floats), shape: [side, side, channels], scale: 1.0, zero_point: 0 };
        let quantized = View { values: Values::U8(&integers), scale: 0.005, ..real };
        bench(&mut criterion, &format!("{layer}-f32"), real);
        bench(&mut criterion, &format!("{layer}-int8"), quantized);
    }
    let order = pixel_order(&cam_map(&values(49, 1), 7, 7, 224, 224));
    walk(&mut criterion, "f32", &order, [0.0, 1.0_f32].map(|x| vec![x; 3 * 224 * 224]));
    walk(&mut criterion, "int8", &order, [0, 1_u8].map(|x| vec![x; 3 * 224 * 224]));
    criterion.final_summary();
}

fn walk<T>(criterion: &mut Criterion, name: &str, order: &[u32], images: [Vec<T>; 2])
where
    Vec<T>: Into<quantlens::Data>,
{
    let [from, to] =
        images.map(|image| Tensor::new(image, [1, 224, 224, 3], Layout::Nhwc).expect("as many values as elements"));
    let mut walk = Walk::new(&from, &to, order).expect("two images and an order of their pixels");
    let mut group = criterion.benchmark_group("deletion");
    for (what, [a, b]) in [("a step", [50, 51]), ("50 steps at once", [25, 75])] {
        walk.seek(a);
        // There and back.
        group.bench_function(format!("{what}, {name}, twice"), |bench| {
            bench.iter(|| {
                black_box(walk.seek(b));
                black_box(walk.seek(a));
            });
        });
    }
    group.finish();
}

fn bench(criterion: &mut Criterion, name: &str, activation: View<'_>) {
    let (mut cams, mut cam, mut map) = (CamWorkspace::default(), EigenCam::default(), Vec::new());
    let mut group = criterion.benchmark_group("cam");
    group.bench_function(name, |b| {
        b.iter(|| {
            cams.eigen_cam_into(black_box(activation), &mut cam).expect("finite activations");
            let p = cam.signed(SignPolicy::Mean, "").expect("a policy without randomness");
            cams.map(&p, [cam.h, cam.w], [224, 224], &mut map);
            black_box(&map);
        });
    });
    group.finish();
}

/// Activations of a pattern with a clear first component: waves over the positions, of a strength for each channel.
fn values(positions: usize, channels: usize) -> Vec<f32> {
    let value = |i: usize| {
        let (position, channel) = ((i / channels) as f32, (i % channels) as f32);
        ((position * 0.37).sin() * (channel * 0.11).cos() + 0.2 * (i as f32 * 1.7).sin()).max(0.0)
    };
    (0..positions * channels).map(value).collect()
}
