//! The page's section on what the numbers were made with: the settings, and the definitions chosen where the paper is
//! silent.

use std::fmt::Write;

use super::svg::escape;
use crate::manifest::{NetworkSettings, PairSettings};
use crate::summary::Summary;

type Rows = Vec<(&'static str, String)>;

/// The section.
pub(super) fn section(s: &Summary) -> String {
    let mut out = String::from(
        "<section id=\"settings\" aria-labelledby=\"settings-heading\">\n<h2 id=\"settings-heading\">Settings and definitions</h2>\n",
    );
    out += &block("The study", study(s), true);
    for pair in &s.pairs {
        out += &block(&format!("Networks of {}", pair.settings.name), networks(&pair.settings), false);
    }
    out += &block("Definitions", definitions(s), false);
    out + "</section>\n"
}

fn block(title: &str, rows: Rows, open: bool) -> String {
    let open = if open { " open=\"open\"" } else { "" };
    let mut out = format!("<details{open}><summary>{}</summary>\n<dl class=\"settings\">\n", escape(title));
    for (name, text) in rows {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(&text));
    }
    out + "</dl>\n</details>\n"
}

fn study(s: &Summary) -> Rows {
    let [h, w] = s.data.input_size;
    let sets: Vec<String> = s.instruction_sets.iter().map(|(isa, n)| format!("{isa} ({n} images)")).collect();
    let curves = s.curves.as_ref().map_or_else(
        || "not run for these signs".into(),
        |c| format!("to {}, on {}, the {} class, of the {} images", c.delete_to, c.insert_on, c.class, c.images),
    );
    vec![
        ("Data", format!("{}, {} images", s.data.description, s.data.images)),
        ("SHA-256 of the data", s.data.sha256.clone()),
        (
            "Decoder",
            format!("{}, EXIF orientation {}", s.data.decoder, if s.data.exif { "applied" } else { "ignored" }),
        ),
        ("Input", format!("{h}x{w}, {}", s.data.geometry)),
        ("Sign policy", s.signs.clone()),
        ("Deletion, insertion", curves),
        ("Threshold of boxes", s.threshold.clone()),
        ("Boxes around", s.box_rule.into()),
        (
            "Bootstrap",
            format!("{} resamples, seed {}, level {}", s.bootstrap.resamples, s.bootstrap.seed, s.bootstrap.level),
        ),
        ("Tests", format!("{} in one family", s.tests)),
        ("Instruction sets", sets.join(", ")),
    ]
}

fn networks(pair: &PairSettings) -> Rows {
    let text = |n: &NetworkSettings| {
        let numerics = n.numerics.as_ref().map(|n| format!(", {n} arithmetic")).unwrap_or_default();
        format!(
            "{}{numerics}, {} parameters, {} bytes, layer {}, {}, file SHA-256 {}",
            n.network, n.parameters, n.bytes, n.layer, n.preprocess, n.sha256
        )
    };
    vec![("f32", text(&pair.float)), ("int8", text(&pair.int8))]
}

fn definitions(s: &Summary) -> Rows {
    let [h, w] = s.data.input_size;
    let mut rows: Rows = DEFINITIONS.map(|(name, text)| (name, text.to_string())).into();
    rows.insert(1, ("Layer", format!("The output of each network's layer named above; maps at {h}x{w}.")));
    rows
}

/// What each number is, where the paper leaves a choice.
const DEFINITIONS: [(&str, &str); 10] = [
    (
        "Map",
        "EigenCAM as pytorch-grad-cam computes it: positions by channels, centred by channel, projected on the first right \
             singular vector; negative values to 0, minimum and maximum to 0 and 1, bilinear resize to the input's size with \
             half-pixel centres, minimum and maximum to 0 and 1 once more; 8 bits as floor(255 x).",
    ),
    (
        "Sign",
        "That of a singular vector is arbitrary. lapack: the top-left position projects negative, which is what NumPy returns. \
             mean: the map correlates with the mean activation. peak: the value of largest magnitude is positive. random: a fair \
             coin for each map. Aligned: one map of a pair is turned where the two correlate negatively (flipped).",
    ),
    ("RMSE", "Root of the mean squared difference of a pair's 8-bit maps, 0 to 255."),
    ("Subset", "The 5 % of a pair's images, rounded up, with the largest RMSE."),
    (
        "Deletion and insertion",
        "Step k of 100 changes round(k pixels / 100) pixels by falling value of the network's own map (before it has 8 bits), ties \
             in row-major order; area under the probability by the trapezoid rule. An int8 network's input is blended after \
             quantization.",
    ),
    (
        "Localization",
        "Foreground: grey above floor(t maximum). IoU with sizes + 1, with the best of the image's true boxes, which go \
             through the same resize and crop as the pixels; one that is cropped away is dropped. GT-known: share of images \
             with an IoU of 0.5 or more.",
    ),
    (
        "Activations",
        "Means of per-image values at the layer: population standard deviation, share of zeros, entropy of the softmax over \
             channels averaged over positions (epsilon 1e-10 inside the logarithm). Raw: of the stored integers, as the paper's \
             int8 columns; otherwise of real values.",
    ),
    (
        "Histograms, Dice",
        "By image the mean over channels, minimum and maximum to 0 and 1, 256 bins; counts summed over the subset. \
             Sorensen-Dice of the two networks' shares.",
    ),
    (
        "Intervals",
        "Percentile bootstrap over images. On the subset there are two: with the subset chosen again inside each resample, and \
             with the subset as it is (fixed).",
    ),
    (
        "Tests",
        "McNemar's exact test for accuracy and GT-known localization, otherwise the paired sign-flip permutation test of the \
             mean; Holm's correction over all tests of the study. Effect sizes: odds ratio, and Cohen's d_z.",
    ),
];
