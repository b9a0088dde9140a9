//! EigenCAM, maps and statistics against NumPy's SVD, OpenCV's resize and torch: tools/golden_xai.py made golden.txt.

#![allow(clippy::unwrap_used)] // a test may panic

use quantlens_tensor::{Layout, Quant, Tensor};
use quantlens_xai::{ActivationStats, EigenCam, SignPolicy, cam_map, grey};

/// The lines of one case, each a name and its words.
struct Case<'a> {
    name: &'a str,
    fields: Vec<(&'a str, Vec<&'a str>)>,
}

impl Case<'_> {
    fn words(&self, name: &str) -> &[&str] {
        &self.fields.iter().find(|(n, _)| *n == name).unwrap().1
    }

    fn numbers(&self, name: &str) -> Vec<f64> {
        self.words(name).iter().map(|w| w.parse().unwrap()).collect()
    }
}

fn cases() -> (Vec<Case<'static>>, [usize; 2]) {
    let (mut cases, mut out): (Vec<Case>, _) = (Vec::new(), [0; 2]);
    for line in include_str!("golden.txt").lines().filter(|l| !l.starts_with('#')) {
        let (name, rest) = line.split_once(' ').unwrap();
        match name {
            "case" => cases.push(Case { name: rest, fields: Vec::new() }),
            "out" => out = [0, 1].map(|i| rest.split(' ').nth(i).unwrap().parse().unwrap()),
            _ => cases.last_mut().unwrap().fields.push((name, rest.split(' ').collect())),
        }
    }
    (cases, out)
}

/// The script's `integers`.
fn integers(h: usize, w: usize, channels: usize, seed: usize) -> Vec<u8> {
    let mut state = seed as u64;
    let mut values = Vec::new();
    for i in 0..h * w * channels {
        let (y, x, c) = (i / channels / w, i / channels % w, i % channels);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let noise = (state >> 40) % 97;
        let first = (y * 5 + x * 3 + seed) % 23 * ((c * 7 + seed) % 5);
        let second = 2 * ((2 * y).abs_diff(h) + (2 * x).abs_diff(w)) * (c * 3 % 4);
        values.push((first as i64 + second as i64 + noise as i64 - 60).clamp(0, 255) as u8);
    }
    values
}

fn activation(case: &Case) -> Tensor {
    let words = case.words("shape");
    let [h, w, c, seed] = [0, 1, 2, 3].map(|i| words[i].parse::<usize>().unwrap());
    let q = integers(h, w, c, seed);
    let sum: u64 = q.iter().map(|&q| u64::from(q)).sum();
    assert_eq!(sum.to_string(), case.words("sum")[0], "{}: the generator differs from the script's", case.name);
    match words[4].parse::<f32>().unwrap() {
        0.0 => {
            let real = |q: u8| if q > 25 { (f32::from(q) - 20.0) / 64.0 } else { 0.0 };
            Tensor::new(q.into_iter().map(real).collect::<Vec<_>>(), [1, h, w, c], Layout::Nhwc).unwrap()
        }
        scale => {
            let quant = Quant::PerTensor { scale, zero_point: words[5].parse().unwrap() };
            Tensor::new(q, [1, h, w, c], Layout::Nhwc).unwrap().with_quant(quant).unwrap()
        }
    }
}

#[test]
fn projection_and_map_match_numpy_and_opencv() {
    let (cases, out) = cases();
    assert_eq!(cases.len(), 8);
    for case in &cases {
        let cam = EigenCam::compute(&activation(case)).unwrap();
        let expected = case.numbers("p");
        // Where LAPACK's sign has no rule (C < 1.7 HW), the golden's own sign is taken.
        let p = cam.signed(SignPolicy::Lapack, "").unwrap_or_else(|_| {
            let same: f64 = cam.p.iter().zip(&expected).map(|(&a, b)| f64::from(a) * b).sum();
            cam.p.iter().map(|&x| if same < 0.0 { -x } else { x }).collect()
        });
        let largest = expected.iter().fold(1e-30, |m: f64, x| m.max(x.abs()));
        for (a, b) in p.iter().zip(&expected) {
            // NumPy's SVD is f32: a few roundings of the largest entry.
            assert!((f64::from(*a) - b).abs() < 1e-5 * largest, "{}: {a} {b}", case.name);
        }
        for (a, b) in cam.eigenvalues.iter().zip(case.numbers("eigenvalues")) {
            assert!((f64::from(*a) - b).abs() < 1e-5 * b.abs() + 1e-9, "{}: {a} {b}", case.name);
        }
        let map = grey(&cam_map(&p, cam.h, cam.w, out[0], out[1]));
        let golden = case.words("map")[0].as_bytes().chunks(2);
        let golden: Vec<u8> =
            golden.map(|hex| u8::from_str_radix(std::str::from_utf8(hex).unwrap(), 16).unwrap()).collect();
        let differing = map.iter().zip(&golden).filter(|(a, b)| a != b).count();
        assert!(map.iter().zip(&golden).all(|(a, b)| a.abs_diff(*b) <= 1), "{}", case.name);
        // floor(255 x) where x lies within f32 rounding of a step: p differs by 1e-6, so about 255e-6 of 2,340 pixels.
        assert!(differing <= 6, "{}: {differing} of {} grey values differ by one", case.name, map.len());
    }
}

#[test]
fn statistics_match_torch() {
    for case in &cases().0 {
        let s = ActivationStats::compute(&activation(case)).unwrap();
        let found = [
            s.sigma_raw,
            s.sigma,
            s.sparsity_raw,
            s.sparsity,
            s.entropy_softmax_raw,
            s.entropy_softmax,
            s.entropy_hist_raw,
            s.entropy_hist,
        ];
        for (i, (a, b)) in found.iter().zip(case.numbers("stats")).enumerate() {
            // Both are f64; the script dequantizes to f32 first, which moves the real readings by 6e-8 of a value.
            assert!((a - b).abs() <= 1e-6 * b.abs(), "{} statistic {i}: {a} {b}", case.name);
        }
        let counts = s.histogram.iter().enumerate();
        let bins: Vec<String> = counts.flat_map(|(bin, &n)| vec![bin.to_string(); n as usize]).collect();
        assert_eq!(bins, case.words("histogram"), "{}", case.name);
    }
}
