//! Figure 2: the histograms of the normalized mean activation of a pair, and how far they overlap.

use super::{Figure, file_name};
use crate::report::gather::PairData;
use crate::report::svg::{Anchor, Axes, Svg, number};
use crate::summary::PairSummary;
use crate::tables::paper_dice;

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 320.0;

/// Counts as percent of their sum.
fn percent(counts: &[u64]) -> Vec<f64> {
    let total = counts.iter().sum::<u64>().max(1) as f64;
    counts.iter().map(|&c| 100.0 * c as f64 / total).collect()
}

/// The outline of bars, from the axis to the axis.
fn outline(axes: &Axes, shares: &[f64]) -> Vec<[f64; 2]> {
    let bins = shares.len() as f64;
    let mut points = vec![axes.point(0.0, 0.0)];
    for (i, &share) in shares.iter().enumerate() {
        points.push(axes.point(i as f64 / bins, share));
        points.push(axes.point((i + 1) as f64 / bins, share));
    }
    points.push(axes.point(1.0, 0.0));
    points
}

/// The histograms of a pair.
pub(super) fn figure(number_of_pair: usize, pair: &PairSummary, data: &PairData) -> Figure {
    let shares = data.histograms.each_ref().map(|h| percent(h));
    let most = shares.iter().flatten().copied().fold(0.5, f64::max);
    let axes = Axes { at: [64.0, 66.0], size: [WIDTH - 64.0 - 16.0, HEIGHT - 66.0 - 50.0], most: [1.0, 1.05 * most] };
    let name = &pair.settings.name;
    let dice = format!("Dice {:.3} %", 100.0 * pair.dice.counts);
    let theirs = paper_dice(&pair.settings).map(|d| format!(" (the paper: {d:.3} %)")).unwrap_or_default();
    let label = format!("{name}: histograms of the normalized mean activation, f32 and int8. {dice}{theirs}.");
    let mut svg = Svg::new([WIDTH, HEIGHT], label);
    svg.text("title", [12.0, 22.0], Anchor::Start, name);
    svg.text("quiet", [12.0, 44.0], Anchor::Start, &format!("{dice}{theirs}"));
    axes.draw(&mut svg, "mean activation, normalized by image", "share of positions, %");
    for (class, shares) in [("f32", &shares[0]), ("int8", &shares[1])] {
        let points = outline(&axes, shares);
        svg.path(&format!("{class}-area"), &points, true);
        svg.path(&format!("{class} thin"), &points, false);
    }
    for (i, class) in ["f32", "int8"].into_iter().enumerate() {
        let x = WIDTH - 150.0 + 72.0 * i as f64;
        svg.rect(&format!("{class}-area"), [x, 11.0], [18.0, 13.0], 2.0);
        svg.rect(&format!("{class} thin none"), [x, 11.0], [18.0, 13.0], 2.0);
        svg.text("", [x + 24.0, 22.0], Anchor::Start, class);
    }
    let positions = data.histograms[0].iter().sum::<u64>();
    Figure {
        file: file_name("figure-2", number_of_pair, name),
        heading: format!("Figure 2. Activation histograms, {name}"),
        caption: format!(
            "256 bins, counts summed over the subset: {} images, {} positions of the layer. Each image's mean over channels is \
             normalized to 0 to 1, so the first and last bin hold at least one position of each image.",
            pair.subset,
            number(positions as f64)
        ),
        svg,
    }
}
