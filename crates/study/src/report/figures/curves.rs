//! The mean curves of deletion and insertion of a pair, with bands.

use quantlens_xai::STEPS;

use super::{Figure, file_name};
use crate::curves::CurveSettings;
use crate::report::svg::{Anchor, Axes, Svg};
use crate::summary::{Band, PairSummary, Scope, Summary};

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 330.0;

/// A 95 % interval of a mean is this many standard errors wide to each side.
const QUANTILE: f64 = 1.96;

/// A curve's line, and the outline of its band.
fn points(axes: &Axes, band: &Band) -> [Vec<[f64; 2]>; 2] {
    let at = |i: usize, y: f64| axes.point(100.0 * i as f64 / STEPS as f64, 100.0 * y.clamp(0.0, 1.0));
    let edge = |i: usize, side: f64| at(i, band.mean[i] + side * QUANTILE * band.standard_error[i]);
    let steps = 0..band.mean.len();
    let upper = steps.clone().map(|i| edge(i, 1.0));
    let outline = upper.chain(steps.clone().rev().map(|i| edge(i, -1.0))).collect();
    [steps.map(|i| at(i, band.mean[i])).collect(), outline]
}

/// The areas of both networks, as text.
fn areas(pair: &PairSummary, key: &str) -> [String; 2] {
    let scopes = [Scope::Subset, Scope::All];
    let found = scopes.iter().find_map(|s| pair.inference.comparison(*s, key).filter(|c| c.f32.value.is_some()));
    let text = |x: Option<f64>| x.map_or_else(String::new, |x| format!(", area {x:.1} %"));
    found.map_or_else(Default::default, |c| [text(c.f32.value), text(c.int8.value)])
}

/// The two figures of a pair; none where the stage has not run.
pub(super) fn figures(number: usize, pair: &PairSummary, summary: &Summary) -> Vec<Figure> {
    let (Some(bands), Some(settings)) = (&pair.curves, &summary.curves) else { return Vec::new() };
    let deletion = [&bands.f32.deletion, &bands.int8.deletion];
    let insertion = [&bands.f32.insertion, &bands.int8.insertion];
    let images = bands.f32.images;
    let x_names = [
        format!("pixels deleted (to {}), %", settings.delete_to),
        format!("pixels inserted (on {}), %", settings.insert_on),
    ];
    let figure = |kind: usize, bands| figure(number, pair, kind, bands, &x_names[kind], &caption(settings, images));
    vec![figure(0, deletion), figure(1, insertion)]
}

fn caption(settings: &CurveSettings, images: u64) -> String {
    format!(
        "Mean probability of the {} class over {images} images, signs {}, pixels in the order of each network's own map. Bands: \
         95 % of the mean (1.96 standard errors) at each of the 101 steps.",
        settings.class, settings.signs
    )
}

fn figure(number: usize, pair: &PairSummary, kind: usize, bands: [&Band; 2], x_name: &str, caption: &str) -> Figure {
    let name = &pair.settings.name;
    let (key, title) = [("deletion", "Deletion"), ("insertion", "Insertion")][kind];
    let label = format!("{title}, {name}: mean curves of f32 and int8 with 95 % bands.");
    let mut svg = Svg::new([WIDTH, HEIGHT], label);
    let (left, top) = (64.0, 48.0);
    let axes = Axes { at: [left, top], size: [WIDTH - left - 16.0, HEIGHT - top - 50.0], most: [100.0, 100.0] };
    axes.draw(&mut svg, x_name, "probability, %");
    let lines = bands.map(|band| points(&axes, band));
    for (i, (class, text)) in ["f32", "int8"].into_iter().zip(areas(pair, key)).enumerate() {
        svg.path(&format!("{class}-area"), &lines[i][1], true);
        svg.path(class, &lines[i][0], false);
        let x = left + 206.0 * i as f64;
        svg.line(class, [x, 19.0], [x + 30.0, 19.0]);
        svg.text("", [x + 38.0, 24.0], Anchor::Start, &format!("{class}{text}"));
    }
    Figure {
        file: file_name(&format!("curves-{key}"), number, name),
        heading: format!("{title}, {name}"),
        caption: caption.into(),
        svg,
    }
}
