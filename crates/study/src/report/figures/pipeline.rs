//! Figure 1: the pipeline as it ran, with its counts.

use super::Figure;
use crate::record::Precision;
use crate::report::svg::{Anchor, Svg, fitted};
use crate::summary::{PairSummary, Summary};
use crate::tables::BYTES_A_MB;

const WIDTH: f64 = 500.0;
const MARGIN: f64 = 10.0;
/// Between two boxes side by side, and between two rows.
const GAP: f64 = 16.0;
const BETWEEN: f64 = 26.0;
const LINE: f64 = 19.0;

/// A box: title and lines.
struct Stage {
    /// How it is drawn: `skipped` for a stage that did not run.
    class: &'static str,
    /// Whether nothing of the next row comes from it.
    leaf: bool,
    title: String,
    lines: Vec<String>,
}

impl Stage {
    fn new(title: impl Into<String>, lines: Vec<String>) -> Self {
        Self { class: "box", leaf: false, title: title.into(), lines }
    }

    fn skipped(title: &str, why: &str) -> Self {
        Self { class: "skipped", ..Self::new(title, vec![why.into()]) }
    }

    fn height(&self) -> f64 {
        17.0 + LINE * (1 + self.lines.len()) as f64
    }

    fn draw(&self, svg: &mut Svg, [x, y]: [f64; 2], [w, h]: [f64; 2]) {
        svg.rect(self.class, [x, y], [w, h], 8.0);
        let room = w - 20.0;
        svg.text("title", [x + w / 2.0, y + 23.0], Anchor::Middle, &fitted(&self.title, room));
        for (i, line) in self.lines.iter().enumerate() {
            let place = y + 23.0 + LINE * (i + 1) as f64;
            svg.text("quiet", [x + w / 2.0, place], Anchor::Middle, &fitted(line, room));
        }
    }
}

/// One line for each pair, or the one that all share.
fn per_pair(s: &Summary, text: impl Fn(&PairSummary) -> String) -> Vec<String> {
    let texts: Vec<String> = s.pairs.iter().map(&text).collect();
    if texts.len() > 1 && texts.windows(2).all(|t| t[0] == t[1]) {
        return vec![format!("{} in each pair", texts[0])];
    }
    let named = |p: &PairSummary| if texts.len() > 1 { format!("{}: {}", p.settings.name, text(p)) } else { text(p) };
    s.pairs.iter().map(named).collect()
}

/// The pairs' counts of something: one number, or the smallest and the largest.
fn counts(s: &Summary, count: impl Fn(&PairSummary) -> u64, one: &str) -> String {
    let all: Vec<u64> = s.pairs.iter().map(count).collect();
    let (low, high) = (all.iter().copied().min().unwrap_or(0), all.iter().copied().max().unwrap_or(0));
    let each = if all.len() > 1 { "each: " } else { "" };
    if low == high { format!("{each}{}", plural(low, one)) } else { format!("{each}{low}-{}", plural(high, one)) }
}

fn plural(count: u64, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

/// The rows of the diagram from top to bottom.
fn rows(s: &Summary) -> Vec<Vec<Stage>> {
    let scanned = s.data.images - s.missing_images;
    let [h, w] = s.data.input_size;
    let rows = 2 * scanned * s.pairs.len() as u64;
    let usable = counts(s, |p| p.images as u64, "usable image");
    vec![
        vec![Stage::new(
            "Images",
            vec![s.data.description.clone(), format!("{} of {}", scanned, plural(s.data.images, "image"))],
        )],
        vec![Stage::new("Input", vec![format!("decoder {}, {}, {h}x{w} pixels", s.data.decoder, s.data.geometry)])],
        vec![networks(s, Precision::F32), networks(s, Precision::Int8)],
        vec![
            Stage::new("Records", vec![plural(rows, "row"), "EigenCAM vector, statistics".into(), usable]),
            Stage { leaf: true, ..timing(s) },
        ],
        vec![Stage::new(
            "Maps and their RMSE",
            [
                vec![format!("sign {}, {h}x{w} pixels, 8 bits", s.signs)],
                per_pair(s, |p| format!("mean RMSE {:.1}", p.rmse.mean)),
            ]
            .concat(),
        )],
        vec![Stage::new(
            "Subset: the 5 % with the largest RMSE",
            per_pair(s, |p| format!("{} of {}", p.subset, plural(p.images as u64, "image"))),
        )],
        vec![deletion(s), localization(s)],
        vec![statistics(s)],
        vec![Stage::new(
            "Tables 1-11, figures 1-3, this report",
            vec!["with the paper's numbers where it has any".into()],
        )],
    ]
}

/// The networks of one precision, with the sizes of their files.
fn networks(s: &Summary, precision: Precision) -> Stage {
    let line = |p: &PairSummary| {
        let network = if precision == Precision::F32 { &p.settings.float } else { &p.settings.int8 };
        format!("{}, {:.1} MB", p.settings.name, network.bytes as f64 / BYTES_A_MB)
    };
    let mut lines: Vec<String> = s.pairs.iter().map(line).collect();
    lines.push(format!("forward passes: {}", (s.data.images - s.missing_images) * s.pairs.len() as u64));
    let title = if precision == Precision::F32 { "Float networks" } else { "Their int8 twins" };
    Stage { class: precision.name(), ..Stage::new(title, lines) }
}

fn deletion(s: &Summary) -> Stage {
    let title = "Deletion and insertion";
    let Some(curves) = &s.curves else {
        return Stage::skipped(title, "not run for these signs");
    };
    let images = vec![counts(s, |p| p.curves.as_ref().map_or(0, |c| c.f32.images), "image")];
    let settings =
        vec![format!("101 steps, {} class", curves.class), format!("to {}, on {}", curves.delete_to, curves.insert_on)];
    Stage::new(title, [images, settings].concat())
}

fn localization(s: &Summary) -> Stage {
    let title = "Localization";
    if s.pairs.iter().all(|p| p.boxed == 0) {
        return Stage::skipped(title, "no image has a true box");
    }
    let boxed = vec![counts(s, |p| p.boxed as u64, "boxed image")];
    Stage::new(title, [boxed, vec![format!("threshold {}", s.threshold), s.box_rule.into()]].concat())
}

fn statistics(s: &Summary) -> Stage {
    Stage::new(
        "Intervals and tests",
        vec![
            format!("bootstrap, {} resamples", s.bootstrap.resamples),
            format!("{}, Holm's correction", plural(s.tests as u64, "test")),
        ],
    )
}

fn timing(s: &Summary) -> Stage {
    match &s.timings {
        Some(t) => Stage::new(
            "Timing",
            vec![
                format!("{} of each network", plural(t.runs as u64, "run")),
                format!("{} on {}", plural(t.threads as u64, "thread"), t.isa),
            ],
        ),
        None => Stage::skipped("Timing", "not run"),
    }
}

/// An arrow down from `from` to `to`, by way of a level between.
fn arrow(svg: &mut Svg, from: [f64; 2], to: [f64; 2]) {
    let middle = (from[1] + to[1]) / 2.0 - 2.0;
    svg.path("arrow", &[from, [from[0], middle], [to[0], middle], [to[0], to[1] - 5.0]], false);
    let [x, y] = to;
    svg.path("head", &[[x - 4.5, y - 7.0], [x + 4.5, y - 7.0], [x, y]], true);
}

/// The diagram.
pub(super) fn figure(s: &Summary) -> Figure {
    let rows = rows(s);
    let heights: Vec<f64> = rows.iter().map(|row| row.iter().map(Stage::height).fold(0.0, f64::max)).collect();
    let height = 2.0 * MARGIN + heights.iter().sum::<f64>() + BETWEEN * (rows.len() - 1) as f64;
    let label = rows.iter().flatten().map(|r| format!("{}: {}", r.title, r.lines.join(", "))).collect::<Vec<_>>();
    let mut svg = Svg::new([WIDTH, height], format!("The pipeline. {}.", label.join("; ")));
    let mut y = MARGIN;
    let mut above: Vec<[f64; 2]> = Vec::new();
    for (row, h) in rows.iter().zip(heights) {
        let n = row.len() as f64;
        let w = (WIDTH - 2.0 * MARGIN - GAP * (n - 1.0)) / n;
        let left = |i: usize| MARGIN + (w + GAP) * i as f64;
        let tops: Vec<[f64; 2]> = (0..row.len()).map(|i| [left(i) + w / 2.0, y]).collect();
        if above.len() == tops.len() && !row.iter().any(|stage| stage.leaf) {
            above.iter().zip(&tops).for_each(|(from, to)| arrow(&mut svg, *from, *to));
        } else {
            above.iter().for_each(|from| tops.iter().for_each(|to| arrow(&mut svg, *from, *to)));
        }
        row.iter().enumerate().for_each(|(i, stage)| stage.draw(&mut svg, [left(i), y], [w, h]));
        above = tops.into_iter().zip(row).filter(|(_, stage)| !stage.leaf).map(|([x, y], _)| [x, y + h]).collect();
        y += h + BETWEEN;
    }
    Figure {
        file: "figure-1-pipeline".into(),
        heading: "Figure 1. The pipeline as it ran".into(),
        caption: "Counts are of this study; a dashed box is a stage that did not run.".into(),
        svg,
    }
}
