//! Boxes against OpenCV's contours, thresholds and SciPy's components: tools/golden_localization.py made
//! localization.txt.

#![allow(clippy::unwrap_used)] // a test may panic

use quantlens_xai::{BoxEdge, BoxOptions, BoxRule, Localizer, Threshold, otsu, threshold_level};

/// The script's `numbers`.
fn numbers(seed: u64, count: usize) -> Vec<i64> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as i64
    };
    (0..count).map(next).collect()
}

/// The script's `smooth`, at one pixel.
fn smooth(grid: &[i64], [h, w]: [i64; 2], y: i64, x: i64) -> i64 {
    let (y, x) = (y * 192 / (h - 1).max(1), x * 256 / (w - 1).max(1));
    let (i, j) = ((y / 64).min(2), (x / 64).min(3));
    let (v, u) = (y - 64 * i, x - 64 * j);
    let at = |i: i64, j: i64| grid[(i * 5 + j) as usize];
    let top = at(i, j) * (64 - u) + at(i, j + 1) * u;
    let bottom = at(i + 1, j) * (64 - u) + at(i + 1, j + 1) * u;
    (top * (64 - v) + bottom * v) / 4096
}

/// The script's `grey_map`.
fn grey_map(kind: &str, h: usize, w: usize, seed: usize) -> Vec<u8> {
    let noise = numbers(seed as u64, h * w);
    let grid = numbers(seed as u64, 20).iter().map(|n| n % 256).collect::<Vec<_>>();
    let (rows, columns, s) = (h as i64, w as i64, seed as i64);
    let pixel = |i: usize| -> i64 {
        let (y, x, n) = ((i / w) as i64, (i % w) as i64, noise[i]);
        let edge = y == 0 || x == 0 || y == rows - 1 || x == columns - 1;
        match kind {
            "noise" => n % 256,
            "smooth" => smooth(&grid, [rows, columns], y, x),
            "sparse" => 255 * i64::from(n % 5 == 0),
            "dense" => 250 * i64::from(n % 3 != 0),
            "rings" => {
                let distance = (2 * y - rows + 1).abs().max((2 * x - columns + 1).abs()) / 2;
                200 * i64::from(distance % 3 == s % 3)
            }
            "constant" => (s - 1) * 127,
            "point" => 255 * i64::from(y == s % rows && x == s * 7 % columns),
            "checkers" => 255 * ((x + y + s) % 2),
            "frame" => 90 + 100 * i64::from(edge) - 45 * i64::from(n % s == 0),
            "blocks" => 180 * i64::from((1..4).contains(&(y % 5)) && (1..3 + s % 2).contains(&(x % 5))),
            "diagonals" => 240 * i64::from((x - y + s + 600) % 6 == 0),
            "steps" => smooth(&grid, [rows, columns], y, x) / 64 * 64,
            _ => unreachable!("{kind}"),
        }
    };
    (0..h * w).map(|i| u8::try_from(pixel(i)).unwrap()).collect()
}

struct Case {
    name: String,
    h: usize,
    w: usize,
    grey: Vec<u8>,
    truths: [[f64; 4]; 2],
}

fn case(line: &str) -> Case {
    let words: Vec<&str> = line.split(' ').collect();
    let n = |i: usize| words[i].parse::<usize>().unwrap();
    let (h, w) = (n(1), n(2));
    let grey = grey_map(words[0], h, w, n(3));
    assert_eq!(grey.iter().map(|&g| usize::from(g)).sum::<usize>(), n(4), "{line}: another map than the script's");
    assert_eq!(usize::from(otsu(&grey)), n(5), "{line}: Otsu");
    assert_eq!(usize::from(Threshold::Otsu.level(&grey)), n(5));
    let truths = [6, 10].map(|at| [0, 1, 2, 3].map(|i| n(at + i) as f64));
    Case { name: line.into(), h, w, grey, truths }
}

/// Four edges, or nothing.
fn edges(field: &str) -> Option<[u32; 4]> {
    let numbers: Vec<u32> = field.split_whitespace().map(|n| n.parse().unwrap()).collect();
    numbers.try_into().ok()
}

fn check(case: &Case, line: &str) {
    let fields: Vec<&str> = line.split('|').collect();
    let t: f64 = fields[0].trim().parse().unwrap();
    let level = threshold_level(t, case.grey.iter().copied().max().unwrap());
    let localizer = |rule, edge| Localizer::new(case.h, case.w, BoxOptions { rule, edge }).unwrap();
    let named = format!("{} at {t}", case.name);
    for (rule, field) in [(BoxRule::LargestContour, 1), (BoxRule::MostPixels, 3)] {
        let found = localizer(rule, BoxEdge::LastPixel).predict(&case.grey, level);
        assert_eq!(found.map(|b| b.edges()), edges(fields[field]), "{named}: {rule:?}");
    }
    let contours = localizer(BoxRule::default(), BoxEdge::default()).contours(&case.grey, level);
    let tree: Vec<f64> = fields[2].split_whitespace().map(|n| n.parse().unwrap()).collect();
    assert_eq!(contours.len() as f64, tree.first().copied().unwrap_or(0.0), "{named}: contours");
    for (rule, expected) in [
        (BoxRule::LargestContour, fields[4].trim().parse().unwrap()),
        (BoxRule::BestContour, tree.get(1).copied().unwrap_or(0.0)),
    ] {
        let mut localizer = localizer(rule, BoxEdge::Wsol);
        let found = localizer.iou(&case.grey, level, &case.truths).unwrap();
        // Nine digits were written.
        assert!((found - expected).abs() < 1e-8, "{named}: {rule:?} IoU {found}, expected {expected}");
    }
}

#[test]
fn boxes_match_opencv() {
    let lines: Vec<&str> = include_str!("localization.txt").lines().filter(|l| !l.starts_with('#')).collect();
    let groups: Vec<&[&str]> = lines.chunks(9).collect();
    assert_eq!(groups.len(), 291);
    for group in groups {
        let case = case(group[0].strip_prefix("case ").unwrap());
        group[1..].iter().for_each(|line| check(&case, line));
    }
}
