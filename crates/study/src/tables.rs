//! The paper's tables 1 to 9 as data, each with the settings it depends on, and their rendering for a terminal.

use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::summary::{Accuracy, PairSummary, Statistics, Summary};
use crate::timing::{NetworkTimes, Spread};

/// Bytes in a MB of the tables. The paper's sizes are torchvision's documented ones (44.661 for ResNet18, 11.238
/// for its quantized form), which count 2^20 bytes.
pub const BYTES_A_MB: f64 = 1_048_576.0;

/// A table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// `table-1` to `table-9` in the paper's numbering, or `figure-2`.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// What its numbers depend on: images, subset, sign policy, layer, units.
    pub notes: Vec<String>,
    /// The columns after the network's name.
    pub columns: Vec<Column>,
    /// One row a pair.
    pub rows: Vec<Row>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Name in JSON.
    pub key: String,
    /// Heading, with the unit.
    pub heading: String,
    /// Digits after the point in the terminal; JSON has all.
    pub decimals: usize,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The pair's name.
    pub network: String,
    /// A value a column; none is "n/a".
    pub values: Vec<Option<f64>>,
}

/// Key, heading, decimals and value of a cell.
type Entry = (&'static str, &'static str, usize, Option<f64>);

/// All tables that the summary has numbers for: 8 and 9 only where the timing stage ran.
pub fn tables(s: &Summary) -> Vec<Table> {
    let subset = subset_note(s);
    let images = images_note(s);
    let mut out = vec![
        table(s, 1, "Accuracy and size, float networks", &images, |p| sized(p.accuracy.f32, p.settings.float.bytes)),
        table(s, 2, "Accuracy and size, int8 networks", &images, |p| sized(p.accuracy.int8, p.settings.int8.bytes)),
        table(s, 3, "EigenCAM RMSE of float and int8 maps, 0 to 255", &[rmse_notes(s), subset.clone()].concat(), rmse),
        table(
            s,
            4,
            "Activations of the int8 networks on the subset",
            &[activation_notes(), subset.clone()].concat(),
            |p| statistics(p.subset_statistics.int8, true),
        ),
        table(
            s,
            5,
            "Activations of the float networks on the subset",
            &[activation_notes(), subset.clone()].concat(),
            |p| statistics(p.subset_statistics.f32, false),
        ),
        figure_2(s, &subset),
        table(s, 6, "Accuracy on the subset, int8 networks", &subset, |p| accuracy(p.subset_accuracy.int8)),
        table(s, 7, "Accuracy on the subset, float networks", &subset, |p| accuracy(p.subset_accuracy.f32)),
    ];
    if s.timings.is_some() {
        out.push(timing_table(s, 8, "Times of the int8 networks, ms an image", |p| p.int8));
        out.push(timing_table(s, 9, "Times of the float networks, ms an image", |p| p.float));
    }
    out
}

fn table(
    s: &Summary,
    number: u32,
    title: &str,
    notes: &[String],
    entries: impl Fn(&PairSummary) -> Vec<Entry>,
) -> Table {
    let rows = s.pairs.iter().map(|p| (p.settings.name.clone(), entries(p))).collect();
    build(format!("table-{number}"), title, notes, rows)
}

fn build(id: String, title: &str, notes: &[String], rows: Vec<(String, Vec<Entry>)>) -> Table {
    let column = |&(key, heading, decimals, _): &Entry| Column { key: key.into(), heading: heading.into(), decimals };
    Table {
        id,
        title: title.into(),
        notes: notes.to_vec(),
        columns: rows.first().map(|(_, entries)| entries.iter().map(column).collect()).unwrap_or_default(),
        rows: rows
            .into_iter()
            .map(|(network, entries)| Row {
                network,
                values: entries.iter().map(|e| e.3.filter(|v| v.is_finite())).collect(),
            })
            .collect(),
    }
}

fn accuracy(a: Accuracy) -> Vec<Entry> {
    vec![("top1_percent", "top-1 %", 3, a.top1), ("top5_percent", "top-5 %", 3, a.top5)]
}

fn sized(a: Accuracy, bytes: u64) -> Vec<Entry> {
    let mut entries = accuracy(a);
    entries.push(("size_mb", "size MB", 3, Some(bytes as f64 / BYTES_A_MB)));
    entries
}

fn rmse(p: &PairSummary) -> Vec<Entry> {
    vec![
        ("mean", "mean", 3, Some(p.rmse.mean)),
        ("top_mean", "top 5 % mean", 3, Some(p.rmse.subset_mean)),
        ("aligned_mean", "aligned mean", 3, Some(p.rmse.aligned_mean)),
        ("aligned_top_mean", "aligned top 5 % mean", 3, Some(p.rmse.aligned_top_mean)),
        ("flipped_percent", "flipped %", 2, Some(p.rmse.flipped)),
        ("top_flipped_percent", "flipped % of top 5 %", 2, Some(p.rmse.subset_flipped)),
    ]
}

fn statistics(s: Statistics, quantized: bool) -> Vec<Entry> {
    let raw: Vec<Entry> = vec![
        ("entropy_raw", "entropy raw", 3, Some(s.entropy_raw)),
        ("sigma_raw", "sigma raw", 3, Some(s.sigma_raw)),
        ("sparsity_raw_percent", "zeros raw %", 3, Some(s.sparsity_raw)),
        ("entropy_histogram_raw", "hist. entropy raw", 3, Some(s.entropy_hist_raw)),
    ];
    let real: Vec<Entry> = vec![
        ("entropy", "entropy", 3, Some(s.entropy)),
        ("sigma", "sigma", 3, Some(s.sigma)),
        ("sparsity_percent", "zeros %", 3, Some(s.sparsity)),
        ("entropy_histogram", "hist. entropy", 3, Some(s.entropy_hist)),
    ];
    if quantized { [raw, real].concat() } else { real }
}

fn figure_2(s: &Summary, subset: &[String]) -> Table {
    let note = "Per image the mean over channels, min-max normalized, 256 bins; counts summed over the subset; \
                Sorensen-Dice of the shares.";
    let entries = |p: &PairSummary| -> Vec<Entry> { vec![("dice_percent", "Dice %", 3, Some(100.0 * p.dice))] };
    let rows = s.pairs.iter().map(|p| (p.settings.name.clone(), entries(p)));
    build(
        "figure-2".into(),
        "Overlap of the activation histograms",
        &[&[note.to_string()], subset].concat(),
        rows.collect(),
    )
}

fn timing_table(s: &Summary, number: u32, title: &str, of: impl Fn(&crate::PairTimes) -> NetworkTimes) -> Table {
    let Some(t) = &s.timings else { return build(format!("table-{number}"), title, &[], Vec::new()) };
    let entries = |times: NetworkTimes| {
        let NetworkTimes { inference: i, cam: c, total: a } = times;
        let all = |[m, l, h]: [(&'static str, &'static str); 3], s: Spread| -> Vec<Entry> {
            vec![(m.0, m.1, 3, Some(s.median)), (l.0, l.1, 3, Some(s.q1)), (h.0, h.1, 3, Some(s.q3))]
        };
        [
            all([("inference_ms", "inference"), ("inference_q1_ms", "q1"), ("inference_q3_ms", "q3")], i),
            all([("cam_ms", "CAM"), ("cam_q1_ms", "q1"), ("cam_q3_ms", "q3")], c),
            all([("total_ms", "total"), ("total_q1_ms", "q1"), ("total_q3_ms", "q3")], a),
        ]
        .concat()
    };
    let notes = [
        format!(
            "Median and quartiles of {} runs, one image at a time on {} thread{}, {}; the pair's networks alternate; \
             nothing else of this program runs.",
            t.runs,
            t.threads,
            if t.threads == 1 { "" } else { "s" },
            t.isa
        ),
        format!("Inference: prepared input to logits. CAM: activation to the {} map.", size(s)),
    ];
    let rows = t.pairs.iter().map(|p| (p.name.clone(), entries(of(p)))).collect();
    build(format!("table-{number}"), title, &notes, rows)
}

fn size(s: &Summary) -> String {
    let [h, w] = s.data.input_size;
    format!("{h}x{w}")
}

/// `one: 977 images; two: 975 images (2 failed)`, or the number alone where all pairs agree.
fn per_pair(s: &Summary, text: impl Fn(&PairSummary) -> String) -> String {
    let texts: Vec<String> = s.pairs.iter().map(text).collect();
    if texts.windows(2).all(|t| t[0] == t[1]) {
        return texts.into_iter().next().unwrap_or_default();
    }
    let named: Vec<String> = s.pairs.iter().zip(texts).map(|(p, t)| format!("{}: {t}", p.settings.name)).collect();
    named.join("; ")
}

fn images_note(s: &Summary) -> Vec<String> {
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

fn subset_note(s: &Summary) -> Vec<String> {
    let sizes = per_pair(s, |p| format!("{} of {} images", p.subset, p.images));
    vec![format!("Subset: the 5 % (rounded up) with the largest RMSE under signs {}: {sizes}.", s.signs)]
}

fn rmse_notes(s: &Summary) -> Vec<String> {
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

fn activation_notes() -> Vec<String> {
    vec![
        "Means of per-image values at the layer. Entropy: softmax over channels, bits, averaged over positions; hist. \
         entropy: 256 bins, bits; raw: of the stored integers."
            .into(),
    ]
}

/// Everything as JSON: the summary, and the tables with values by column key.
pub fn to_json(s: &Summary) -> Value {
    let table = |t: &Table| {
        let row = |r: &Row| {
            let values: Map<String, Value> =
                t.columns.iter().zip(&r.values).map(|(c, v)| (c.key.clone(), json!(v))).collect();
            json!({ "network": r.network, "values": values })
        };
        json!({
            "id": t.id,
            "title": t.title,
            "notes": t.notes,
            "columns": t.columns,
            "rows": t.rows.iter().map(row).collect::<Vec<_>>(),
        })
    };
    json!({ "summary": s, "tables": tables(s).iter().map(table).collect::<Vec<_>>() })
}

/// The tables as text, with what they depend on below each, and the summary's hints at the end.
pub fn render(s: &Summary) -> String {
    let mut out: String = tables(s).iter().map(|t| render_table(t) + "\n").collect();
    if s.missing_images > 0 {
        out += &format!("Not complete: {} images have no records yet.\n", s.missing_images);
    }
    if s.instruction_sets.len() > 1 {
        let sets: Vec<String> = s.instruction_sets.iter().map(|(isa, n)| format!("{n} images on {isa}")).collect();
        out += &format!("Records of several instruction sets: {}.\n", sets.join(", "));
    }
    for hint in &s.hints {
        out += &format!("Hint: {hint}\n");
    }
    out
}

fn render_table(t: &Table) -> String {
    let mut text = comfy_table::Table::new();
    text.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    text.set_header(std::iter::once("network").chain(t.columns.iter().map(|c| c.heading.as_str())));
    for row in &t.rows {
        let cell = |(c, v): (&Column, &Option<f64>)| match v {
            Some(v) => format!("{v:.*}", c.decimals),
            None => "n/a".into(),
        };
        text.add_row(std::iter::once(row.network.clone()).chain(t.columns.iter().zip(&row.values).map(cell)));
    }
    for column in text.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let name = t.id.replace("table-", "Table ").replace("figure-", "Figure ");
    let notes: String = t.notes.iter().map(|n| format!("  {n}\n")).collect();
    format!("{name}. {}\n{text}\n{notes}", t.title)
}

#[cfg(test)]
mod tests {
    use quantlens_xai::SignPolicy;

    use super::*;
    use crate::parts::Records;
    use crate::summary::tests::folder;
    use crate::timing::{PairTimes, Timings};

    fn summary() -> Summary {
        let folder = folder();
        let spread = Spread { q1: 1.0, median: 1.5, q3: 2.5 };
        let times = NetworkTimes { inference: spread, cam: spread, total: spread };
        let pairs = vec![PairTimes { name: "one".into(), float: times, int8: times }];
        let timings = Timings { threads: 1, isa: "scalar".into(), runs: 50, pairs };
        Summary::compute(&Records::open(folder.path()).unwrap(), SignPolicy::Peak, Some(timings)).unwrap()
    }

    #[test]
    fn all_tables_with_their_settings() {
        let all = tables(&summary());
        let ids: Vec<&str> = all.iter().map(|t| t.id.as_str()).collect();
        let expected = ["1", "2", "3", "4", "5", "", "6", "7", "8", "9"];
        assert!(
            ids.iter().zip(expected).all(|(id, n)| *id == "figure-2" && n.is_empty() || *id == format!("table-{n}"))
        );
        let find = |id: &str| all.iter().find(|t| t.id == id).unwrap();
        assert_eq!(find("table-1").rows[0].values, [Some(100.0), Some(100.0), Some(4.0)]);
        assert_eq!(find("table-2").rows[1].values, [None, None, Some(1.0)]);
        assert_eq!(find("table-3").rows[0].values[1], Some(254.0));
        assert_eq!(find("table-4").columns.len(), 8);
        assert_eq!(find("figure-2").rows[1].values, [Some(50.0)]);
        let subset = "Subset: the 5 % (rounded up) with the largest RMSE under signs peak: one: 1 of 3 images; two: 1 of 2 images.";
        assert!(find("table-6").notes.contains(&subset.to_string()), "{:?}", find("table-6").notes);
        assert!(find("table-3").notes[0].starts_with("Signs peak; layer features.1; maps at 1x2, resize-crop."));
    }

    #[test]
    fn json_and_text_say_the_same() {
        let s = summary();
        let json = to_json(&s);
        assert_eq!(json["tables"][0]["rows"][0]["values"]["size_mb"], 4.0);
        assert_eq!(json["tables"][1]["rows"][1]["values"]["top1_percent"], Value::Null);
        assert_eq!(json["summary"]["pairs"][0]["subset"], 1);
        let text = render(&s);
        assert!(text.contains("Table 1. Accuracy and size, float networks"), "{text}");
        assert!(text.contains("n/a") && text.contains("254.000"), "{text}");
        assert!(text.contains("1 images on avx2, 2 images on scalar"), "{text}");
        assert!(text.contains("3 images; two: 2 images, none with a label, 1 without a result"), "{text}");
    }
}
