//! The tables of localization: every threshold and every score, on the subset and on all images.

use super::differences::{build, comparison_columns, comparison_row, test_note};
use super::notes::{images_note, interval_note, per_pair, subset_note};
use super::{Column, Kind, Row, Table, column};
use crate::summary::{Best, PairSummary, Scope, Summary, Sweep, Thresholds};

/// Keys of the measures and their names, in the order of the rows.
pub(super) const KEYS: [(&str, &str); 7] = [
    ("iou", "mean IoU %"),
    ("gt_known", "GT-known %"),
    ("iou_otsu", "mean IoU %, Otsu"),
    ("gt_known_otsu", "GT-known %, Otsu"),
    ("iou_swept", "mean IoU %, swept t"),
    ("max_box_acc", "MaxBoxAcc %, swept t"),
    ("max_box_acc_v2", "MaxBoxAccV2 %, swept t"),
];

/// Empty without true boxes.
pub(super) fn table(s: &Summary, scope: Scope) -> Table {
    let rows = s.pairs.iter().flat_map(|p| rows(s, p, scope)).collect();
    let threshold = |key, heading: &str| Column { decimals: Some(3), ..column(key, heading, Kind::Number) };
    let mut columns = comparison_columns();
    columns.extend([threshold("t_f32", "t f32"), threshold("t_int8", "t int8")]);
    let (id, title, mut notes) = match scope {
        Scope::All => ("localization-all", "Localization by the maps on all images", images_note(s)),
        Scope::Subset => ("localization", "Localization by the maps on the subset", subset_note(s)),
    };
    notes.truncate(1);
    notes.extend(definitions(s));
    notes.extend(interval_note(s, scope == Scope::Subset));
    notes.push(test_note(s));
    build(id, title, notes, "measure", columns, rows)
}

fn rows(s: &Summary, p: &PairSummary, scope: Scope) -> Vec<Row> {
    let fixed = s.threshold.parse::<f64>().ok();
    let swept = |of: fn(&Thresholds) -> f64| p.sweep.as_ref().map(|x| [of(&x.thresholds.f32), of(&x.thresholds.int8)]);
    let row = |(key, label): &(&str, &str)| {
        let c = p.inference.comparison(scope, key).filter(|c| c.difference.value.is_some())?;
        let thresholds = match *key {
            "iou" | "gt_known" => fixed.map(|t| [t, t]),
            "iou_swept" => swept(|t| t.iou),
            "max_box_acc" => swept(|t| t.max_box_acc),
            _ => None,
        };
        let mut row = comparison_row(p, c, label, 3);
        row.values.extend([0, 1].map(|which| thresholds.map(|t| t[which])));
        Some(row)
    };
    let mut rows: Vec<Row> = KEYS.iter().filter_map(row).collect();
    rows.extend(p.sweep.iter().flat_map(|sweep| best_rows(p, sweep, scope)));
    rows
}

/// The best of the same images: no interval and no test, since the images chose for themselves.
fn best_rows(p: &PairSummary, sweep: &Sweep, scope: Scope) -> Vec<Row> {
    let Some(best) = (match scope {
        Scope::All => sweep.all,
        Scope::Subset => sweep.subset,
    }) else {
        return Vec::new();
    };
    let measures = [
        ("best_iou", "mean IoU %, best t of these"),
        ("best_max_box_acc", "MaxBoxAcc %, best t of these"),
        ("best_max_box_acc_v2", "MaxBoxAccV2 %, best t of these"),
    ];
    let of = |b: &Best| [b.iou, b.max_box_acc, b.max_box_acc_v2];
    let row = |place: usize| {
        let ((key, label), f32, int8) = (measures[place], of(&best.f32)[place], of(&best.int8)[place]);
        let mut values = vec![None; comparison_columns().len() + 2];
        values[..3].copy_from_slice(&[Some(f32), Some(int8), Some(int8 - f32)]);
        Row { network: p.settings.name.clone(), key: key.into(), label: label.into(), decimals: 3, values }
    };
    (0..measures.len()).map(row).collect()
}

/// What the scores are, with every option.
fn definitions(s: &Summary) -> Vec<String> {
    let boxed = per_pair(s, |p| format!("{} of {} images have a true box", p.boxed, p.images));
    let chosen = per_pair(s, |p| match &p.sweep {
        Some(sweep) => {
            let [a, b, c] = sweep.thresholds.f32.max_box_acc_v2;
            let [d, e, f] = sweep.thresholds.int8.max_box_acc_v2;
            format!(
                "every {}th image chooses ({} with a true box) and is left out of the swept rows; MaxBoxAccV2's three \
                 t are {a:.3}, {b:.3}, {c:.3} of f32 and {d:.3}, {e:.3}, {f:.3} of int8",
                sweep.stride, sweep.choosers
            )
        }
        None => "none".into(),
    });
    vec![
        format!(
            "Box of the {} above floor(t x maximum) of the 8-bit map; t {}; IoU with the best of the image's boxes in \
             the input's pixels, last pixel included ({}); {boxed}. GT-known: IoU of 0.5 or more.",
            s.box_rule, s.threshold, s.data.geometry
        ),
        format!(
            "Swept t: the best of 0, {}, ... below 1 on images apart: {chosen}. MaxBoxAcc: share with an IoU of 0.5 or \
             more; MaxBoxAccV2: mean of the shares for 0.3, 0.5 and 0.7, each at its own t, the best box of any \
             contour. Best t of these: as published, t is the best one of the very images of the row, those that choose \
             left out.",
            crate::summary::SWEEP_STEP
        ),
    ]
}
