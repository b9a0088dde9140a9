//! The tables that the paper lacks: every difference with its interval, test and effect size, readings side by side,
//! sign policies, agreement, and RMSE by confidence and correctness.

use super::{
    Column, Kind, REAL, Row, Table, column, estimate, images_note, interval_note, localization, paper, rmse_notes,
    subset_note,
};
use crate::summary::{Comparison, Group, PairSummary, Scope, Summary};

/// All of them.
pub(super) fn all(s: &Summary) -> Vec<Table> {
    let mut tables = vec![
        differences(s, Scope::All),
        differences(s, Scope::Subset),
        localization::table(s, Scope::Subset),
        localization::table(s, Scope::All),
        readings(s),
        policies(s),
        agreement(s),
    ];
    let by = [
        ("rmse-by-confidence", "RMSE of the maps by the float network's confidence"),
        ("rmse-by-correctness", "RMSE of the maps by which network is right"),
    ];
    for (id, title) in by {
        let groups = |p: &'_ PairSummary| -> Vec<Group> {
            let i = &p.inference;
            if id == "rmse-by-confidence" { i.by_confidence.clone() } else { i.by_correctness.clone() }
        };
        tables.push(grouped(s, id, title, groups));
    }
    tables.retain(|t| !t.rows.is_empty());
    tables
}

pub(super) fn build(
    id: &str,
    title: &str,
    notes: Vec<String>,
    heading: &str,
    columns: Vec<Column>,
    rows: Vec<Row>,
) -> Table {
    let table = Table { id: id.into(), title: title.into(), notes, row_heading: Some(heading.into()), columns, rows };
    table.without_empty_columns()
}

/// The name of a measure, and its digits.
fn label(key: &str) -> (&'static str, usize) {
    match key {
        "top1" => ("top-1 %", 3),
        "top5" => ("top-5 %", 3),
        "confidence" => ("confidence %", 3),
        "deletion" => ("deletion %", 3),
        "insertion" => ("insertion %", 3),
        "entropy_raw" => ("entropy raw", 3),
        "entropy" => ("entropy", 3),
        "entropy_hist_raw" => ("hist. entropy raw", 3),
        "entropy_hist" => ("hist. entropy", 3),
        "sigma_raw" => ("sigma raw", 3),
        "sigma" => ("sigma", 3),
        "sparsity_raw" => ("zeros raw %", 3),
        "sparsity" => ("zeros %", 3),
        _ => ("other", 3),
    }
}

/// A comparison's row under the columns of [`comparison_columns`].
pub(super) fn comparison_row(p: &PairSummary, c: &Comparison, label: &str, decimals: usize) -> Row {
    let d = c.difference;
    let effect = |name| c.effect.filter(|e| e.name == name).map(|e| e.value);
    let values = vec![
        c.f32.value,
        c.int8.value,
        d.value,
        d.interval.map(|i| i.low),
        d.interval.map(|i| i.high),
        d.fixed.map(|i| i.low),
        d.fixed.map(|i| i.high),
        c.test.map(|t| t.p),
        c.test.map(|t| t.p_holm),
        effect("odds-ratio"),
        effect("d_z"),
    ];
    Row { network: p.settings.name.clone(), key: c.key.into(), label: label.into(), decimals, values }
}

pub(super) fn comparison_columns() -> Vec<Column> {
    vec![
        column("f32", "f32", Kind::Number),
        column("int8", "int8", Kind::Number),
        column("difference", "int8 - f32", Kind::Signed),
        column("low", "low", Kind::Signed),
        column("high", "high", Kind::Signed),
        column("fixed_low", "fixed low", Kind::Signed),
        column("fixed_high", "fixed high", Kind::Signed),
        column("p", "p", Kind::P),
        column("p_holm", "p (Holm)", Kind::P),
        column("odds_ratio", "odds ratio", Kind::Number),
        column("d_z", "d_z", Kind::Signed),
    ]
}

fn differences(s: &Summary, scope: Scope) -> Table {
    let rows = s.pairs.iter().flat_map(|p| {
        let chosen = p.inference.comparisons.iter().filter(|c| c.scope == scope && c.difference.value.is_some());
        chosen
            .filter(|c| !localization::KEYS.iter().any(|(key, _)| *key == c.key))
            .map(|c| {
                let (label, decimals) = label(c.key);
                comparison_row(p, c, label, decimals)
            })
            .collect::<Vec<_>>()
    });
    let columns = comparison_columns();
    let (id, title, mut notes) = match scope {
        Scope::All => ("differences", "Differences of int8 and f32 on all images", images_note(s)),
        Scope::Subset => ("subset-differences", "Differences of int8 and f32 on the subset", subset_note(s)),
    };
    notes.extend(interval_note(s, scope == Scope::Subset));
    notes.push(test_note(s));
    build(id, title, notes, "measure", columns, rows.collect())
}

/// What the p values and effect sizes are.
pub(super) fn test_note(s: &Summary) -> String {
    format!(
        "p: McNemar's exact test for accuracy and GT-known localization, paired sign-flip permutation test of the mean \
         for the others ({} flips), on the images as they are; Holm over all {} tests of the study. Odds ratio: images \
         right in int8 alone over right in f32 alone; d_z: Cohen's, of the paired differences. Raw integers and reals \
         differ by their unit, so raw rows have no test.",
        s.bootstrap.resamples, s.tests
    )
}

/// Raw integers and real values side by side, on the subset and on all images.
fn readings(s: &Summary) -> Table {
    let row = |p: &PairSummary, (place, (key, _, label, _)): (usize, super::Reading)| {
        let theirs = paper(&p.settings);
        let raw = format!("{key}_raw");
        let all = |which: usize, raw: bool| {
            let x = [&p.statistics.f32, &p.statistics.int8][which];
            let both = [
                [x.entropy, x.entropy_raw],
                [x.sigma, x.sigma_raw],
                [x.sparsity, x.sparsity_raw],
                [x.entropy_hist, x.entropy_hist_raw],
            ];
            Some(both[place][usize::from(raw)])
        };
        let values = vec![
            estimate(p, Scope::Subset, 0, key).value,
            estimate(p, Scope::Subset, 1, key).value,
            estimate(p, Scope::Subset, 1, &raw).value,
            theirs.and_then(|x| x.f32_activation.get(place).copied()),
            theirs.and_then(|x| x.int8_activation.get(place).copied()),
            all(0, false),
            all(1, false),
            all(1, true),
        ];
        Row { network: p.settings.name.clone(), key: key.into(), label: label.into(), decimals: 3, values }
    };
    let rows = s.pairs.iter().flat_map(|p| REAL.into_iter().enumerate().map(move |r| row(p, r)));
    let columns = vec![
        column("f32", "f32", Kind::Number),
        column("int8", "int8", Kind::Number),
        column("int8_raw", "int8 raw", Kind::Number),
        column("paper_f32", "paper f32", Kind::Number),
        column("paper_int8", "paper int8", Kind::Number),
        column("all_f32", "f32, all", Kind::Number),
        column("all_int8", "int8, all", Kind::Number),
        column("all_int8_raw", "int8 raw, all", Kind::Number),
    ];
    let mut notes = subset_note(s);
    notes.push(
        "int8: dequantized, in the float network's unit; raw: the stored integers. All: means over all images.".into(),
    );
    build("readings", "Activations on equal terms", notes, "measure", columns, rows.collect())
}

fn policies(s: &Summary) -> Table {
    let rows = s.pairs.iter().flat_map(|p| {
        let theirs = paper(&p.settings).map(|x| x.rmse);
        p.policies.iter().map(move |x| Row {
            network: p.settings.name.clone(),
            key: x.signs.clone(),
            label: x.signs.clone(),
            decimals: 3,
            values: vec![
                Some(x.mean),
                theirs.map(|t| t[0]),
                Some(x.top_mean),
                theirs.map(|t| t[1]),
                Some(x.aligned_mean),
                Some(x.flipped),
                x.areas.map(|a| a.f32[0]),
                x.areas.map(|a| a.int8[0]),
                x.areas.map(|a| a.f32[1]),
                x.areas.map(|a| a.int8[1]),
            ],
        })
    });
    let columns = vec![
        column("mean", "mean", Kind::Number),
        column("paper_mean", "paper", Kind::Number),
        column("top_mean", "top 5 % mean", Kind::Number),
        column("paper_top_mean", "paper", Kind::Number),
        column("aligned_mean", "aligned mean", Kind::Number),
        Column { decimals: Some(2), ..column("flipped_percent", "flipped %", Kind::Number) },
        column("f32_deletion", "f32 deletion %", Kind::Number),
        column("int8_deletion", "int8 deletion %", Kind::Number),
        column("f32_insertion", "f32 insertion %", Kind::Number),
        column("int8_insertion", "int8 insertion %", Kind::Number),
    ];
    let mut notes = rmse_notes(s);
    notes.push(
        "Each policy with a top 5 % of its own. random: a fair coin for each map. Deletion and insertion of that top 5 % \
         (or of all images), where they have run for the policy (--signs all)."
            .into(),
    );
    build("sign-policies", "EigenCAM under each sign policy", notes, "signs", columns, rows.collect())
}

fn agreement(s: &Summary) -> Table {
    let row = |p: &PairSummary, scope: Scope| {
        let e = p.inference.single(scope, "agree").map(|s| s.estimate).unwrap_or_default();
        let (key, label) = match scope {
            Scope::All => ("all", "all images"),
            Scope::Subset => ("subset", "subset"),
        };
        let ends = [e.interval, e.fixed].map(|i| [i.map(|i| i.low), i.map(|i| i.high)]);
        Row {
            network: p.settings.name.clone(),
            key: key.into(),
            label: label.into(),
            decimals: 3,
            values: [&[e.value][..], &ends[0], &ends[1]].concat(),
        }
    };
    let rows = s.pairs.iter().flat_map(|p| [row(p, Scope::All), row(p, Scope::Subset)]);
    let columns = vec![
        column("agree_percent", "same class %", Kind::Number),
        column("low", "low", Kind::Number),
        column("high", "high", Kind::Number),
        column("fixed_low", "fixed low", Kind::Number),
        column("fixed_high", "fixed high", Kind::Number),
    ];
    let notes = [subset_note(s), interval_note(s, true)].concat();
    build("agreement", "Images where both networks see the same class", notes, "images", columns, rows.collect())
}

fn grouped(s: &Summary, id: &str, title: &str, groups: impl Fn(&PairSummary) -> Vec<Group>) -> Table {
    let rows = s.pairs.iter().flat_map(|p| {
        let network = p.settings.name.clone();
        groups(p).into_iter().map(move |g| Row {
            network: network.clone(),
            key: g.label.clone(),
            label: g.label,
            decimals: 3,
            values: vec![
                g.rmse.value,
                g.rmse.interval.map(|i| i.low),
                g.rmse.interval.map(|i| i.high),
                Some(g.images as f64),
            ],
        })
    });
    let columns = vec![
        column("rmse", "mean RMSE", Kind::Number),
        column("low", "low", Kind::Number),
        column("high", "high", Kind::Number),
        Column { decimals: Some(0), ..column("images", "images", Kind::Number) },
    ];
    let mut notes = rmse_notes(s);
    notes.truncate(1);
    notes.extend(interval_note(s, false));
    notes.push("Intervals are over the images of a row.".into());
    build(id, title, notes, "images", columns, rows.collect())
}
