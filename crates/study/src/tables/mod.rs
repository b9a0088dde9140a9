//! The paper's tables 1 to 9 and figure 2 as data, with the paper's number beside ours where the network is the
//! paper's, and the tables that the paper lacks. Each names the settings it depends on.

mod differences;
mod format;
mod localization;
mod methods;
mod notes;
mod paper;

use serde::Serialize;

pub use self::format::{TableFormat, render, to_json};
pub(crate) use self::format::{cells, number, remarks, text_columns};
use self::notes::{activation_notes, images_note, interval_note, per_pair, rmse_notes, size, subset_note};
use self::paper::{Paper, paper};
use crate::manifest::PairSettings;
use crate::summary::{Estimate, PairSummary, Scope, Summary};
use crate::timing::{NetworkTimes, PairTimes, Spread};

/// Bytes in a MB of the tables. The paper's sizes are torchvision's documented ones (44.661 for ResNet18, 11.238
/// for its quantized form), which count 2^20 bytes.
pub const BYTES_A_MB: f64 = 1_048_576.0;

/// A table: one row a network and measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Table {
    /// `table-1` to `table-9` in the paper's numbering, `figure-2`, or a name where the paper has none.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// What its numbers depend on: images, subset, sign policy, layer, units.
    pub notes: Vec<String>,
    /// Heading of the rows' labels; none: the table has one row a network.
    pub row_heading: Option<String>,
    /// The columns of numbers.
    pub columns: Vec<Column>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Column {
    /// Name in CSV and JSON.
    pub key: &'static str,
    /// Heading, with the unit.
    pub heading: String,
    /// How its numbers are written.
    #[serde(skip)]
    pub kind: Kind,
    /// Digits after the point; none: the row's.
    #[serde(skip)]
    pub decimals: Option<usize>,
}

/// How numbers are written for people; CSV and JSON have all digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Plain.
    Number,
    /// With its sign: a difference.
    Signed,
    /// A p value: four digits, or its power of ten.
    P,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The pair's name.
    pub network: String,
    /// Name of the measure in CSV and JSON.
    pub key: String,
    /// Its name for people, with the unit.
    pub label: String,
    /// Digits after the point.
    #[serde(skip)]
    pub decimals: usize,
    /// A value a column; none is "n/a".
    pub values: Vec<Option<f64>>,
}

/// A measure of a table with the paper's number.
struct Line {
    key: &'static str,
    label: &'static str,
    decimals: usize,
    estimate: Estimate,
    paper: Option<f64>,
}

/// All tables that the summary has numbers for: 8 and 9 only where the timing stage ran.
pub fn tables(s: &Summary) -> Vec<Table> {
    let subset = subset_note(s);
    let images = [images_note(s), interval_note(s, false)].concat();
    let activation = [activation_notes(), subset.clone(), interval_note(s, true)].concat();
    let on_subset = [subset.clone(), interval_note(s, true)].concat();
    let mut out = vec![
        table(s, "table-1", "Accuracy and size, float networks", &images, |p, paper| sized(p, 0, paper.map(|x| x.f32))),
        table(s, "table-2", "Accuracy and size, int8 networks", &images, |p, paper| sized(p, 1, paper.map(|x| x.int8))),
        table(
            s,
            "table-3",
            "EigenCAM RMSE of float and int8 maps, 0 to 255",
            &[rmse_notes(s), on_subset.clone()].concat(),
            rmse,
        ),
        table(s, "table-4", "Activations of the int8 networks on the subset", &activation, |p, paper| {
            statistics(p, 1, paper.map(|x| x.int8_activation))
        }),
        table(s, "table-5", "Activations of the float networks on the subset", &activation, |p, paper| {
            statistics(p, 0, paper.map(|x| x.f32_activation))
        }),
        table(s, "figure-2", "Overlap of the activation histograms", &[dice_notes(), subset].concat(), dice),
        table(s, "table-6", "Accuracy on the subset, int8 networks", &on_subset, |p, paper| {
            accuracy(p, Scope::Subset, 1, paper.map(|x| x.int8_subset)).into()
        }),
        table(s, "table-7", "Accuracy on the subset, float networks", &on_subset, |p, paper| {
            accuracy(p, Scope::Subset, 0, paper.map(|x| x.f32_subset)).into()
        }),
    ];
    out.extend(timing_table(s, "table-8", "Times of the int8 networks, ms an image", |t| t.int8, |p| p.int8_ms));
    out.extend(timing_table(s, "table-9", "Times of the float networks, ms an image", |t| t.float, |p| p.f32_ms));
    out.extend(methods::table(s));
    out.extend(cam_table(s, "table-10", "Maps of the int8 networks on the subset", 1, |p| p.int8_cam));
    out.extend(cam_table(s, "table-11", "Maps of the float networks on the subset", 0, |p| p.f32_cam));
    out.extend(differences::all(s));
    out
}

fn table(
    s: &Summary,
    id: &str,
    title: &str,
    notes: &[String],
    lines: impl Fn(&PairSummary, Option<&Paper>) -> Vec<Line>,
) -> Table {
    let rows = s.pairs.iter().map(|p| (p.settings.name.clone(), lines(p, paper(&p.settings)))).collect();
    beside_the_paper(id, title, notes, rows)
}

/// A table of measures: ours, the intervals, the paper's number and the difference, each where any row has it.
fn beside_the_paper(id: &str, title: &str, notes: &[String], rows: Vec<(String, Vec<Line>)>) -> Table {
    let values = |l: &Line| {
        let (e, fixed) = (l.estimate, l.estimate.fixed);
        let difference = e.value.zip(l.paper).map(|(ours, paper)| ours - paper);
        [
            e.value,
            e.interval.map(|i| i.low),
            e.interval.map(|i| i.high),
            fixed.map(|i| i.low),
            fixed.map(|i| i.high),
            l.paper,
            difference,
        ]
    };
    let row = |network: &String, l: &Line| Row {
        network: network.clone(),
        key: l.key.into(),
        label: l.label.into(),
        decimals: l.decimals,
        values: values(l).to_vec(),
    };
    let rows: Vec<Row> = rows.iter().flat_map(|(network, lines)| lines.iter().map(|l| row(network, l))).collect();
    let columns = [
        column("value", "here", Kind::Number),
        column("low", "low", Kind::Number),
        column("high", "high", Kind::Number),
        column("fixed_low", "fixed low", Kind::Number),
        column("fixed_high", "fixed high", Kind::Number),
        column("paper", "paper", Kind::Number),
        column("difference", "here - paper", Kind::Signed),
    ];
    let table = Table {
        id: id.into(),
        title: title.into(),
        notes: notes.to_vec(),
        row_heading: Some("measure".into()),
        columns: columns.into(),
        rows,
    };
    table.without_empty_columns()
}

fn column(key: &'static str, heading: &str, kind: Kind) -> Column {
    Column { key, heading: heading.into(), kind, decimals: None }
}

impl Table {
    /// Without the columns that have no number in any row, the first one excepted.
    fn without_empty_columns(mut self) -> Self {
        let used = |i: usize| i == 0 || self.rows.iter().any(|r| r.values[i].is_some());
        let keep: Vec<bool> = (0..self.columns.len()).map(used).collect();
        for row in &mut self.rows {
            row.values.iter_mut().for_each(|v| *v = v.filter(|v| v.is_finite()));
            let mut kept = keep.iter();
            row.values.retain(|_| kept.next() == Some(&true));
        }
        let mut kept = keep.iter();
        self.columns.retain(|_| kept.next() == Some(&true));
        self
    }
}

/// Without intervals.
fn plain(value: Option<f64>) -> Estimate {
    Estimate { value, ..Estimate::default() }
}

/// The estimate of network `which` (0 float, 1 int8) of a comparison.
fn estimate(p: &PairSummary, scope: Scope, which: usize, key: &str) -> Estimate {
    p.inference.comparison(scope, key).map(|c| [c.f32, c.int8][which]).unwrap_or_default()
}

fn accuracy(p: &PairSummary, scope: Scope, which: usize, paper: Option<[f64; 2]>) -> [Line; 2] {
    [("top1", "top-1 %", 0), ("top5", "top-5 %", 1)].map(|(key, label, place)| {
        let estimate = estimate(p, scope, which, key);
        Line { key, label, decimals: 3, estimate, paper: paper.map(|x| x[place]) }
    })
}

fn sized(p: &PairSummary, which: usize, paper: Option<[f64; 3]>) -> Vec<Line> {
    let bytes = [p.settings.float.bytes, p.settings.int8.bytes][which];
    let size = Line {
        key: "size_mb",
        label: "size MB",
        decimals: 3,
        estimate: plain(Some(bytes as f64 / BYTES_A_MB)),
        paper: paper.map(|x| x[2]),
    };
    let mut lines: Vec<Line> = accuracy(p, Scope::All, which, paper.map(|x| [x[0], x[1]])).into();
    lines.push(size);
    lines
}

fn rmse(p: &PairSummary, paper: Option<&Paper>) -> Vec<Line> {
    let of = |scope, key| p.inference.single(scope, key).map(|s| s.estimate).unwrap_or_default();
    let line = |key, label, decimals, estimate, place: Option<usize>| {
        let paper = paper.zip(place).map(|(x, place)| x.rmse[place]);
        Line { key, label, decimals, estimate, paper }
    };
    vec![
        line("mean", "mean", 3, of(Scope::All, "rmse"), Some(0)),
        line("top_mean", "top 5 % mean", 3, of(Scope::Subset, "rmse"), Some(1)),
        line("aligned_mean", "aligned mean", 3, of(Scope::All, "aligned"), None),
        line("aligned_top_mean", "aligned top 5 % mean", 3, plain(Some(p.rmse.aligned_top_mean)), None),
        line("flipped_percent", "flipped %", 2, of(Scope::All, "flipped"), None),
        line("top_flipped_percent", "flipped % of top 5 %", 2, of(Scope::Subset, "flipped"), None),
    ]
}

/// Key of a statistic, key in the tables, label, and its place in the paper's tables 4 and 5.
type Reading = (&'static str, &'static str, &'static str, Option<usize>);

const RAW: [Reading; 4] = [
    ("entropy_raw", "entropy_raw", "entropy raw", Some(0)),
    ("sigma_raw", "sigma_raw", "sigma raw", Some(1)),
    ("sparsity_raw", "sparsity_raw_percent", "zeros raw %", Some(2)),
    ("entropy_hist_raw", "entropy_histogram_raw", "hist. entropy raw", None),
];

const REAL: [Reading; 4] = [
    ("entropy", "entropy", "entropy", Some(0)),
    ("sigma", "sigma", "sigma", Some(1)),
    ("sparsity", "sparsity_percent", "zeros %", Some(2)),
    ("entropy_hist", "entropy_histogram", "hist. entropy", None),
];

/// The paper's int8 numbers are of raw integers, so they stand beside those alone.
fn statistics(p: &PairSummary, which: usize, paper: Option<[f64; 3]>) -> Vec<Line> {
    let line = |(of, key, label, place): Reading, paper: Option<[f64; 3]>| Line {
        key,
        label,
        decimals: 3,
        estimate: estimate(p, Scope::Subset, which, of),
        paper: paper.zip(place).map(|(x, place)| x[place]),
    };
    if which == 0 {
        return REAL.map(|r| line(r, paper)).into();
    }
    RAW.map(|r| line(r, paper)).into_iter().chain(REAL.map(|r| line(r, None))).collect()
}

/// The paper's Dice of a pair in percent, where it is one of the paper's four.
pub(crate) fn paper_dice(settings: &PairSettings) -> Option<f64> {
    paper(settings).map(|x| x.dice)
}

fn dice(p: &PairSummary, paper: Option<&Paper>) -> Vec<Line> {
    let line = |key, label, value: f64| {
        let estimate = plain(Some(100.0 * value));
        Line { key, label, decimals: 3, estimate, paper: paper.map(|x| x.dice) }
    };
    let mut lines = vec![
        line("dice_percent", "Dice % (counts)", p.dice.counts),
        line("dice_images_percent", "Dice % (images)", p.dice.images),
        line("dice_each_percent", "Dice % (each)", p.dice.each),
    ];
    lines.extend(p.dice.tensor.map(|value| line("dice_tensor_percent", "Dice % (tensor)", value)));
    lines
}

fn dice_notes() -> Vec<String> {
    vec![
        "Per image the mean over channels, min-max normalized, 256 bins. Counts: summed over the subset, Sorensen-Dice of \
         the shares. Images: each image's shares averaged (the same where all maps have one size). Each: the mean of \
         every image's own coefficient. Tensor: the mean activation over the subset, each of its H*W*C values a count."
            .into(),
    ]
}

fn timing_table(
    s: &Summary,
    id: &str,
    title: &str,
    of: impl Fn(&PairTimes) -> NetworkTimes,
    paper_of: impl Fn(&Paper) -> [f64; 3],
) -> Option<Table> {
    let t = s.timings.as_ref()?;
    let row = |p: &PairTimes| {
        let settings = s.pairs.iter().find(|pair| pair.settings.name == p.name);
        let theirs = settings.and_then(|pair| paper(&pair.settings)).map(&paper_of);
        let NetworkTimes { inference, cam, total } = of(p);
        let measures = [("inference_ms", "inference", inference), ("cam_ms", "CAM", cam), ("total_ms", "total", total)];
        let rows = measures.into_iter().enumerate().map(move |(place, (key, label, Spread { q1, median, q3 }))| {
            let theirs = theirs.map(|x| x[place]);
            let values = vec![Some(median), Some(q1), Some(q3), theirs, theirs.map(|x| median - x)];
            (key, label, values)
        });
        let network = p.name.clone();
        rows.map(move |(key, label, values)| Row {
            network: network.clone(),
            key: key.into(),
            label: label.into(),
            decimals: 3,
            values,
        })
        .collect::<Vec<_>>()
    };
    let columns = [
        column("median", "median", Kind::Number),
        column("q1", "q1", Kind::Number),
        column("q3", "q3", Kind::Number),
        column("paper", "paper", Kind::Number),
        column("difference", "here - paper", Kind::Signed),
    ];
    let rows = t.pairs.iter().flat_map(row).collect();
    let table = Table {
        id: id.into(),
        title: title.into(),
        notes: timing_notes(s, t),
        row_heading: Some("measure".into()),
        columns: columns.into(),
        rows,
    };
    Some(table.without_empty_columns())
}

/// Deletion, insertion and localization; none where there is neither a curve nor a box.
fn cam_table(s: &Summary, id: &str, title: &str, which: usize, paper_of: impl Fn(&Paper) -> [f64; 3]) -> Option<Table> {
    let measures = [
        ("deletion", "deletion %", Some(0)),
        ("insertion", "insertion %", Some(1)),
        ("iou", "WSOL: mean IoU %", Some(2)),
        ("gt_known", "GT-known (IoU >= 0.5) %", None),
    ];
    let lines = |p: &PairSummary, paper: Option<&Paper>| -> Vec<Line> {
        let all = measures.iter().map(|&(key, label, place)| Line {
            key,
            label,
            decimals: 3,
            estimate: estimate(p, Scope::Subset, which, key),
            paper: paper.zip(place).map(|(x, place)| paper_of(x)[place]),
        });
        all.filter(|line| line.estimate.value.is_some()).collect()
    };
    let notes = [cam_notes(s), subset_note(s), interval_note(s, true)].concat();
    let table = table(s, id, title, &notes, lines);
    (!table.rows.is_empty()).then_some(table)
}

fn cam_notes(s: &Summary) -> Vec<String> {
    let curves = match &s.curves {
        Some(c) => format!(
            "Deletion to {}, insertion on {}; 1 % of the pixels a step by the f32 map, trapezoid rule over 101 points; \
             probability of the {} class; areas of {} images. Intervals with the subset chosen again need all of them.{}",
            c.delete_to,
            c.insert_on,
            c.class,
            c.images,
            forwards_note(s)
        ),
        None => "Deletion and insertion have not run for these signs.".into(),
    };
    let boxed = per_pair(s, |p| format!("{} of {} images have a true box", p.boxed, p.images));
    let foreground = match s.threshold.as_str() {
        "otsu" => "above Otsu's threshold".to_string(),
        t => format!("above floor({t} x maximum)"),
    };
    vec![
        curves,
        format!(
            "WSOL: box of the {} {foreground} of the 8-bit map, IoU with the best of the image's boxes in \
             the input's pixels ({}); {boxed}.",
            s.box_rule, s.data.geometry
        ),
    ]
}

/// How fast the curves came.
fn forwards_note(s: &Summary) -> String {
    s.curve_forwards.map_or_else(String::new, |[forwards, seconds]| {
        format!(" {forwards} forward passes in {seconds:.1} s, {:.1} a second.", forwards / seconds.max(1e-9))
    })
}

fn timing_notes(s: &Summary, t: &crate::Timings) -> Vec<String> {
    let plural = if t.threads == 1 { "" } else { "s" };
    vec![
        format!(
            "Median and quartiles of {} runs, one image at a time on {} thread{plural}, {}; the pair's networks \
             alternate; nothing else of this program runs.",
            t.runs, t.threads, t.isa
        ),
        format!(
            "Inference: prepared input to logits. CAM: activation to the {} map. The paper: mobile Core i7.",
            size(s)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use quantlens_xai::SignPolicy;

    use super::*;
    use crate::parts::Records;
    use crate::progress::Quiet;
    use crate::statistics::Bootstrap;
    use crate::summary::SummaryOptions;
    use crate::summary::tests::folder;
    use crate::timing::Timings;

    fn summary() -> Summary {
        let folder = folder();
        let spread = Spread { q1: 1.0, median: 1.5, q3: 2.5 };
        let times = NetworkTimes { inference: spread, cam: spread, total: spread };
        let pairs = vec![PairTimes { name: "one".into(), float: times, int8: times }];
        let timings = Timings { threads: 1, isa: "scalar".into(), runs: 50, pairs };
        let bootstrap = Bootstrap { resamples: 200, ..Bootstrap::default() };
        let options = SummaryOptions { bootstrap, ..SummaryOptions::new(SignPolicy::Peak) };
        Summary::compute(&Records::open(folder.path()).unwrap(), &options, Some(timings), &Quiet).unwrap()
    }

    /// The value of a row's column.
    fn value(all: &[Table], id: &str, network: &str, key: &str, column: &str) -> Option<f64> {
        let t = all.iter().find(|t| t.id == id).unwrap_or_else(|| panic!("no {id}"));
        let place = t.columns.iter().position(|c| c.key == column)?;
        t.rows.iter().find(|r| r.network == network && r.key == key)?.values[place]
    }

    #[test]
    fn all_tables_with_their_settings() {
        let all = tables(&summary());
        let ids: Vec<&str> = all.iter().map(|t| t.id.as_str()).collect();
        let expected = ["table-1", "table-2", "table-3", "table-4", "table-5", "figure-2", "table-6", "table-7"];
        assert_eq!(ids[..8], expected);
        assert_eq!(ids[8..10], ["table-8", "table-9"]);
        assert_eq!(value(&all, "table-1", "one", "top1", "value"), Some(100.0));
        assert_eq!(value(&all, "table-1", "one", "size_mb", "value"), Some(4.0));
        assert_eq!(value(&all, "table-2", "two", "top1", "value"), None);
        assert_eq!(value(&all, "table-2", "two", "size_mb", "value"), Some(1.0));
        assert_eq!(value(&all, "table-3", "one", "top_mean", "value"), Some(254.0));
        assert_eq!(value(&all, "table-4", "one", "sigma_raw", "value"), Some(11.0));
        assert_eq!(value(&all, "table-5", "one", "sigma", "value"), Some(0.5));
        assert_eq!(value(&all, "figure-2", "two", "dice_percent", "value"), Some(50.0));
        assert_eq!(value(&all, "table-8", "one", "cam_ms", "q3"), Some(2.5));
        let find = |id: &str| all.iter().find(|t| t.id == id).unwrap();
        let subset = "Subset: the 5 % (rounded up) with the largest RMSE under signs peak: one: 1 of 3 images; two: 1 of 2 images.";
        assert!(find("table-6").notes.contains(&subset.to_string()), "{:?}", find("table-6").notes);
        assert!(find("table-3").notes[0].starts_with("Signs peak; layer features.1; maps at 1x2, resize-crop."));
        // No network of the paper: no empty columns for its numbers.
        assert!(all.iter().all(|t| t.columns.iter().all(|c| c.key != "paper")));
    }

    #[test]
    fn the_papers_numbers_stand_beside_its_networks() {
        let mut s = summary();
        let float = &mut s.pairs[0].settings.float;
        (float.network, float.parameters) = ("mobilenet_v2".into(), 3_504_872);
        let all = tables(&s);
        for (id, key, paper) in [
            ("table-1", "top1", 71.878),
            ("table-2", "size_mb", 3.423),
            ("table-3", "top_mean", 144.449),
            ("table-4", "sigma_raw", 18.259),
            ("table-5", "entropy", 8.931),
            ("figure-2", "dice_percent", 98.126),
            ("table-6", "top5", 88.724),
            ("table-7", "top1", 69.212),
            ("table-8", "inference_ms", 13.0),
            ("table-9", "total_ms", 52.0),
        ] {
            assert_eq!(value(&all, id, "one", key, "paper"), Some(paper), "{id} {key}");
            let ours = value(&all, id, "one", key, if id < "table-8" { "value" } else { "median" }).unwrap();
            let difference = value(&all, id, "one", key, "difference").unwrap();
            assert!((difference - (ours - paper)).abs() < 1e-9, "{id} {key}");
        }
        // The paper's raw numbers are no match for real ones.
        assert_eq!(value(&all, "table-4", "one", "sigma", "paper"), None);
        assert_eq!(value(&all, "table-1", "two", "top1", "paper"), None);
    }

    #[test]
    fn json_and_text_say_the_same() {
        let s = summary();
        let json = to_json(&s);
        assert_eq!(json["tables"][0]["rows"][2]["values"]["value"], 4.0);
        assert_eq!(json["tables"][1]["rows"][3]["values"]["value"], serde_json::Value::Null);
        assert_eq!(json["summary"]["pairs"][0]["subset"], 1);
        let text = render(&s, TableFormat::Terminal);
        assert!(text.contains("Table 1. Accuracy and size, float networks"), "{text}");
        assert!(text.contains("n/a") && text.contains("254.000"), "{text}");
        assert!(text.contains("1 images on avx2, 2 images on scalar"), "{text}");
        assert!(text.contains("3 images; two: 2 images, none with a label, 1 without a result"), "{text}");
    }
}
