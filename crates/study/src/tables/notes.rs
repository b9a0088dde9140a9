//! The notes under the tables that several have: images, subset, maps, activations, intervals.

use crate::summary::{PairSummary, Summary};

pub(super) fn size(s: &Summary) -> String {
    let [h, w] = s.data.input_size;
    format!("{h}x{w}")
}

/// `one: 977 images; two: 975 images (2 failed)`, or the number alone where all pairs agree.
pub(super) fn per_pair(s: &Summary, text: impl Fn(&PairSummary) -> String) -> String {
    let texts: Vec<String> = s.pairs.iter().map(text).collect();
    if texts.windows(2).all(|t| t[0] == t[1]) {
        return texts.into_iter().next().unwrap_or_default();
    }
    let named: Vec<String> = s.pairs.iter().zip(texts).map(|(p, t)| format!("{}: {t}", p.settings.name)).collect();
    named.join("; ")
}

pub(super) fn images_note(s: &Summary) -> Vec<String> {
    let counts = per_pair(s, |p| {
        let labelled = match p.accuracy.f32.labelled {
            0 => ", none with a label".to_string(),
            n if n < p.images => format!(", {n} with a label"),
            _ => String::new(),
        };
        let failed = if p.failed > 0 { format!(", {} without a result", p.failed) } else { String::new() };
        format!("{} images{labelled}{failed}", p.images)
    });
    let exif = if s.data.exif { ", EXIF orientation applied" } else { "" };
    let data = &s.data;
    let data = format!(
        "{}; {counts}; input {}, {}, decoder {}{exif}.",
        data.description,
        size(s),
        data.geometry,
        data.decoder
    );
    vec![data, "MB: 2^20 bytes of the model file.".into()]
}

pub(super) fn subset_note(s: &Summary) -> Vec<String> {
    let sizes = per_pair(s, |p| format!("{} of {} images", p.subset, p.images));
    vec![format!("Subset: the 5 % (rounded up) with the largest RMSE under signs {}: {sizes}.", s.signs)]
}

pub(super) fn rmse_notes(s: &Summary) -> Vec<String> {
    let layers = per_pair(s, |p| {
        let (a, b) = (&p.settings.float.layer, &p.settings.int8.layer);
        if a == b { a.clone() } else { format!("{a} and {b}") }
    });
    vec![
        format!("Signs {}; layer {layers}; maps at {}, {}.", s.signs, size(s), s.data.geometry),
        "Aligned: one map turned where the two correlate negatively (flipped); its top 5 % are images of their own."
            .into(),
        format!(
            "Images where either network's first two eigenvalues are within 5 % of each other (map not well \
             determined): {}.",
            per_pair(s, |p| p.small_gaps.to_string())
        ),
    ]
}

pub(super) fn activation_notes() -> Vec<String> {
    vec![
        "Means of per-image values at the layer. Entropy: softmax over channels, bits, averaged over positions; hist. \
         entropy: 256 bins, bits; raw: of the stored integers."
            .into(),
    ]
}

/// What `low` and `high` are.
pub(super) fn interval_note(s: &Summary, subset: bool) -> Vec<String> {
    let b = s.bootstrap;
    let chosen = if subset {
        "; on the subset it is chosen again in each resample, and stays as it is for the fixed ones"
    } else {
        ""
    };
    vec![format!(
        "Low, high: {} % bootstrap interval over images, {} resamples, seed {}{chosen}.",
        100.0 * b.level,
        b.resamples,
        b.seed
    )]
}
