//! Deletion and insertion against torch, baselines against torchvision and OpenCV: tools/golden_perturbation.py made
//! perturbation.txt.

#![allow(clippy::unwrap_used)] // a test may panic

use quantlens_tensor::{Layout, Tensor};
use quantlens_xai::{Baseline, Curve, CurveBand, Error, Known, Normalization, Perturbation, pixel_order};

const IMAGENET: Normalization = Normalization { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
const IMAGE_ID: &str = "val/cat 1.jpg";

/// The script's `numbers`.
fn numbers(seed: u64, count: usize) -> Vec<i64> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i64
    };
    (0..count).map(next).collect()
}

/// The words of each line that begins with this one.
fn lines(name: &str) -> Vec<Vec<&'static str>> {
    let words = include_str!("perturbation.txt").lines().map(|l| l.split(' ').collect::<Vec<_>>());
    words.filter(|w| w[0] == name).map(|w| w[1..].to_vec()).collect()
}

fn floats(words: &[&str]) -> Vec<f64> {
    words.iter().map(|w| w.parse().unwrap()).collect()
}

struct Golden {
    image: Tensor,
    weights: Vec<f64>,
    order: Vec<u32>,
    classes: usize,
    scale: f32,
    zero_point: i32,
}

impl Golden {
    fn new() -> Self {
        let [h, w, classes] = [0, 1, 2].map(|i| lines("size")[0][i].parse::<usize>().unwrap());
        let pixels = h * w;
        let bytes: Vec<f32> = numbers(11, 3 * pixels).iter().map(|n| (n % 256) as f32).collect();
        let value = |i: usize| {
            (bytes[3 * (i % pixels) + i / pixels] / 255.0 - IMAGENET.mean[i / pixels]) / IMAGENET.std[i / pixels]
        };
        let image = Tensor::new((0..3 * pixels).map(value).collect::<Vec<_>>(), [1, 3, h, w], Layout::Nchw).unwrap();
        let weights = numbers(12, classes * 3 * pixels).iter().map(|n| (n % 2001 - 1000) as f64 / 10000.0).collect();
        let saliency: Vec<f32> = numbers(13, pixels).iter().map(|n| (n % 20) as f32 / 16.0).collect();
        let quant = &lines("quant")[0];
        let (scale, zero_point) = (quant[0].parse().unwrap(), quant[1].parse().unwrap());
        Self { image, weights, order: pixel_order(&saliency), classes, scale, zero_point }
    }

    /// The script's softmax of the linear layer, for NCHW values.
    fn probabilities(&self, values: impl Iterator<Item = f64> + Clone) -> Vec<f64> {
        let rows = self.weights.chunks(self.weights.len() / self.classes);
        let exps: Vec<f64> =
            rows.map(|row| row.iter().zip(values.clone()).map(|(w, x)| w * x).sum::<f64>().exp()).collect();
        let sum: f64 = exps.iter().sum();
        exps.iter().map(|e| e / sum).collect()
    }

    fn score(&self, input: &Tensor, target: usize) -> Result<f32, Error> {
        let planes = input.to_layout(Layout::Nchw)?;
        let integers = |q: &u8| (f64::from(*q) - f64::from(self.zero_point)) * f64::from(self.scale);
        let probabilities = match (planes.as_f32(), planes.as_u8()) {
            (Ok(x), _) => self.probabilities(x.iter().map(|&x| f64::from(x))),
            (_, Ok(q)) => self.probabilities(q.iter().map(integers)),
            _ => unreachable!(),
        };
        Ok(probabilities[target] as f32)
    }

    /// In the engine's layout.
    fn quantize(&self, image: &Tensor) -> Tensor {
        image.to_layout(Layout::Nhwc).unwrap().quantize(self.scale, self.zero_point).unwrap()
    }

    fn baseline(&self, name: &str) -> Tensor {
        name.parse::<Baseline>().unwrap().image(&self.image, &IMAGENET, IMAGE_ID).unwrap()
    }
}

#[test]
fn baselines_match_torchvision() {
    let golden = Golden::new();
    let expected = lines("baseline");
    assert_eq!(expected.len(), 5);
    for words in expected {
        let found = golden.baseline(words[0]);
        for (i, (a, b)) in found.as_f32().unwrap().iter().zip(floats(&words[1..])).enumerate() {
            // Sums of 121 products of about 1: a dozen roundings of 6e-8 each.
            assert!((f64::from(*a) - b).abs() < 1e-6, "{} value {i}: {a} {b}", words[0]);
        }
    }
}

#[test]
fn curves_match_torch() {
    let golden = Golden::new();
    let order: Vec<u32> = lines("order")[0].iter().map(|w| w.parse().unwrap()).collect();
    assert_eq!(golden.order, order);
    let expected = lines("curve");
    assert_eq!(expected.len(), 12);
    for pair in expected.chunks(2) {
        let (kind, target) = (pair[0][0], pair[0][3].parse().unwrap());
        let make = |t: Tensor| if kind == "int8" { golden.quantize(&t) } else { t };
        let image = make(golden.image.clone());
        let (delete_to, insert_on) = (make(golden.baseline(pair[0][1])), make(golden.baseline(pair[0][2])));
        let perturbation = Perturbation::new(&image, &delete_to, &insert_on, &golden.order).unwrap();
        let found = perturbation.curves(Known::default(), |t| golden.score(t, target)).unwrap();
        for (curve, words) in [&found.deletion, &found.insertion].into_iter().zip(pair) {
            let name = words[..3].join(" ");
            // Inputs differ by 1e-6 (see above) times weights of 0.06, in sums of 429.
            assert!((curve.area() - words[4].parse::<f64>().unwrap()).abs() < 2e-6, "{name}: area {}", curve.area());
            assert_eq!(curve.scores.len(), words.len() - 5, "{name}");
            for (step, (a, b)) in curve.scores.iter().zip(floats(&words[5..])).enumerate() {
                assert!((f64::from(*a) - b).abs() < 2e-6, "{name} step {step}: {a} {b}");
            }
        }
    }
}

#[test]
fn bands_match_numpy() {
    let curve = |words: Vec<&str>| Curve { scores: words[5..].iter().map(|w| w.parse().unwrap()).collect() };
    let curves: Vec<Curve> = lines("curve").into_iter().map(curve).collect();
    let band = CurveBand::of(&curves, [0.1, 0.75]).unwrap();
    let quantiles = lines("quantile");
    for (found, expected) in [
        (&band.mean, &lines("mean")[0][..]),
        (&band.standard_error, &lines("error")[0][..]),
        (&band.low, &quantiles[0][1..]),
        (&band.high, &quantiles[1][1..]),
    ] {
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(floats(expected)) {
            // The script's curves were written with 8 digits.
            assert!((a - b).abs() < 1e-7, "{a} {b}");
        }
    }
}
