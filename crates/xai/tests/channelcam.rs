//! ScoreCAM and AblationCAM against pytorch-grad-cam: tools/golden_channelcam.py made channelcam.txt.

#![allow(clippy::unwrap_used)] // a test may panic

use quantlens_tensor::{Layout, Tensor};
use quantlens_xai::{AblationCam, ChannelCam, Error, ScoreCam, cam_map};

const CHANNELS: [usize; 3] = [3, 6, 10];
const CLASSES: usize = 5;

/// The script's `numbers`.
fn numbers(seed: u64, count: usize, low: i64, high: i64, divisor: f32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (low + (state >> 40) as i64 % (high - low)) as f32 / divisor
    };
    (0..count).map(next).collect()
}

/// A convolution of 3x3 with a border of one zero, in double precision.
struct Conv {
    weights: Vec<f32>,
    bias: Vec<f32>,
    stride: usize,
}

impl Conv {
    /// `x` is planes of `size`; returns planes clamped to 0..=limit, and their size.
    fn run(&self, x: &[f64], [h, w]: [usize; 2], limit: f64) -> (Vec<f64>, [usize; 2]) {
        let [oh, ow] = [h, w].map(|n| (n - 1) / self.stride + 1);
        let inputs = x.len() / (h * w);
        let mut out = Vec::new();
        for (o, bias) in self.bias.iter().enumerate() {
            for (y, x0) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                let mut sum = f64::from(*bias);
                for (i, (ky, kx)) in (0..inputs).flat_map(|i| (0..9).map(move |k| (i, (k / 3, k % 3)))) {
                    let (sy, sx) = (y * self.stride + ky, x0 * self.stride + kx);
                    if (1..=h).contains(&sy) && (1..=w).contains(&sx) {
                        let weight = self.weights[(o * inputs + i) * 9 + ky * 3 + kx];
                        sum += f64::from(weight) * x[(i * h + sy - 1) * w + sx - 1];
                    }
                }
                out.push(sum.clamp(0.0, limit));
            }
        }
        (out, [oh, ow])
    }
}

/// The script's network.
struct Net {
    first: Conv,
    second: Conv,
    weights: Vec<f32>,
    bias: Vec<f32>,
}

impl Net {
    fn new(seed: u64, stride: usize) -> Self {
        let [a, b, c] = CHANNELS;
        let layer = |i: u64, weights, bias, divisor| {
            (numbers(10 * seed + i, weights, -100, 101, divisor), numbers(10 * seed + i + 5, bias, -50, 51, 64.0))
        };
        let (first, second, (weights, bias)) =
            (layer(0, a * b * 9, b, 128.0), layer(1, b * c * 9, c, 128.0), layer(2, c * CLASSES, CLASSES, 64.0));
        let mut second = Conv { weights: second.0, bias: second.1, stride: 2 };
        second.bias[4] = -1000.0;
        Self { first: Conv { weights: first.0, bias: first.1, stride }, second, weights, bias }
    }

    /// The target layer's activation of an NCHW input.
    fn activation(&self, input: &Tensor) -> Tensor {
        let [_, h, w] = input.chw().unwrap();
        let x: Vec<f64> = input.as_f32().unwrap().iter().map(|&x| f64::from(x)).collect();
        let (x, size) = self.first.run(&x, [h, w], f64::INFINITY);
        let (x, [h, w]) = self.second.run(&x, size, 6.0);
        let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
        Tensor::new(x, [1, CHANNELS[2], h, w], Layout::Nchw).unwrap()
    }

    fn logit(&self, activation: &Tensor, class: usize) -> Result<f32, Error> {
        let planes = activation.as_f32()?;
        let positions = planes.len() / CHANNELS[2];
        let means = planes.chunks(positions).map(|p| p.iter().map(|&x| f64::from(x)).sum::<f64>() / positions as f64);
        let row = &self.weights[class * CHANNELS[2]..];
        Ok((f64::from(self.bias[class]) + means.zip(row).map(|(m, &w)| m * f64::from(w)).sum::<f64>()) as f32)
    }
}

/// The numbers of the line that begins so.
fn line(block: &str, start: &str) -> Vec<f64> {
    let line = block.lines().find_map(|l| l.strip_prefix(start)).unwrap();
    line.split_whitespace().map(|n| n.parse().unwrap()).collect()
}

fn check(found: &ChannelCam, block: &str, method: &str, [h, w]: [usize; 2]) {
    let name = format!("{} {method}", block.lines().next().unwrap());
    let weights = line(block, &format!("{method} weights "));
    let largest = weights.iter().fold(0.0, |m: f64, x| m.max(x.abs()));
    assert_eq!(found.weights.len(), weights.len());
    for (channel, (a, b)) in found.weights.iter().zip(&weights).enumerate() {
        // The library is f32 throughout; logits of about 10 carry some 1e-6, of which differences and shares are taken.
        assert!((f64::from(*a) - b).abs() < 2e-5 * largest, "{name}: weight {channel} {a}, expected {b}");
    }
    let map = cam_map(&found.p, found.h, found.w, h, w);
    let expected = line(block, &format!("{method} map "));
    assert!(expected.iter().any(|&x| x > 0.9), "{name}: a blank map tests nothing");
    for (i, (a, b)) in map.iter().zip(&expected).enumerate() {
        assert!((f64::from(*a) - b).abs() < 1e-4, "{name}: pixel {i} {a}, expected {b}");
    }
}

#[test]
fn maps_match_pytorch_grad_cam() {
    let blocks: Vec<&str> = include_str!("channelcam.txt").split("case ").skip(1).collect();
    assert_eq!(blocks.len(), 4);
    for block in blocks {
        let head: Vec<&str> = block.lines().next().unwrap().rsplit(' ').collect();
        let [stride, class, seed, w, h] = [0, 1, 2, 3, 4].map(|i| head[i].parse::<usize>().unwrap());
        let net = Net::new(seed as u64, stride);
        let image = numbers(seed as u64, 3 * h * w, -128, 129, 64.0);
        let image = Tensor::new(image, [1, 3, h, w], Layout::Nchw).unwrap();
        let activation = net.activation(&image);
        for (class, b) in line(block, "logits ").into_iter().enumerate() {
            let a = net.logit(&activation, class).unwrap();
            assert!((f64::from(a) - b).abs() < 1e-5 * b.abs().max(1.0), "{block:.20}: logit {class} {a}, expected {b}");
        }

        let cam = ScoreCam::new(&activation, &image).unwrap();
        // Ten channels, of which one is dead and has the blank run.
        assert_eq!(cam.runs(), 10);
        let score = |input: &Tensor| net.logit(&net.activation(input), class);
        let scores = cam.scores(&image, &mut [score, score, score]).unwrap();
        check(&cam.finish(&scores).unwrap(), block, "score", [h, w]);

        let cam = AblationCam::new(&activation).unwrap();
        assert_eq!(cam.runs(), 10);
        let score = |activation: &Tensor| net.logit(activation, class);
        let scores = cam.scores(&activation, &mut [score]).unwrap();
        assert_eq!(scores, cam.scores(&activation, &mut [score, score]).unwrap());
        check(&cam.finish(&scores).unwrap(), block, "ablation", [h, w]);
    }
}
