//! The report of a small study of the untrained demo pair: its structure, its figures, its size, names that look like markup.

#![allow(clippy::unwrap_used)] // a test may panic

use std::fs;
use std::path::{Path, PathBuf};

use quantlens_data::{Dataset, OpenOptions, RgbImage, demo_image, resize_bilinear};
use quantlens_nets::{ModelFile, load};
use quantlens_study::{
    CurveOptions, Error, FIGURES, PairSpec, Quiet, REPORT, ReportFiles, ReportOptions, StudyConfig, Summary,
    SummaryOptions, run_curves, run_report, run_scan, summarize, tables,
};
use quantlens_xai::SignPolicy;
use roxmltree::{Document, ParsingOptions};
use serde_json::Value;

/// A name that ends elements, attributes, scripts and JSON strings where it is not escaped.
const NAME: &str = "a\"'&<b>\\</script><!--\u{1}\u{2028}.png";
const PAIR: &str = "</title><i>\"'&";

/// Six pictures in two classes, one of which is called NAME.
fn dataset(folder: &Path) -> Dataset {
    let picture = demo_image();
    for i in 0..6u32 {
        let class = folder.join(["n01440764", "n01443537"][i as usize % 2]);
        fs::create_dir_all(&class).unwrap();
        let mut small: RgbImage = resize_bilinear(&picture, 120 + 30 * i, 100 + 7 * i);
        small.pixels_mut().for_each(|p| p.0[i as usize % 3] /= 2);
        small.save(class.join(format!("{i}.png"))).unwrap();
    }
    let mut dataset = Dataset::open(folder, &OpenOptions::default()).unwrap();
    dataset.samples[0].id = NAME.into();
    dataset
}

struct Study {
    folder: tempfile::TempDir,
    config: StudyConfig,
    summary: Summary,
    options: SummaryOptions,
}

impl Study {
    fn new(curves: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let demo = quantlens_weights::demo_pair();
        let model = |bytes: &[u8]| load(&ModelFile::from_bytes(PAIR, bytes).unwrap(), None).unwrap();
        let pair = PairSpec { name: PAIR.into(), float: model(demo.float), int8: model(demo.int8) };
        let config = StudyConfig::new(vec![pair], dataset(&folder.path().join("data")), folder.path().join("out"));
        let config = StudyConfig { input_size: Some([96, 96]), signs: SignPolicy::Peak, ..config };
        run_scan(&config, &Quiet).unwrap();
        if curves {
            run_curves(&config, CurveOptions::default(), &Quiet).unwrap();
        }
        let options = SummaryOptions::new(SignPolicy::Peak);
        let summary = summarize(&config.out_dir, &options, &Quiet).unwrap();
        Self { folder, config, summary, options }
    }

    fn report(&self, options: ReportOptions) -> Result<ReportFiles, Error> {
        run_report(&self.config, &self.summary, &self.options, &options, &Quiet)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join("out").join(name)
    }

    fn page(&self) -> String {
        fs::read_to_string(self.path(REPORT)).unwrap()
    }
}

/// The page without what stands inside its scripts and styles, which is not markup.
fn markup(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(start) = ["<script", "<style"].iter().filter_map(|tag| rest.find(tag)).min() {
        let open = start + rest[start..].find('>').unwrap() + 1;
        let tag = if rest[start..].starts_with("<script") { "</script>" } else { "</style>" };
        out += &rest[..open];
        rest = &rest[open..][rest[open..].find(tag).unwrap()..];
        let (end, after) = rest.split_at(tag.len());
        out += end;
        rest = after;
    }
    out + rest
}

/// The gallery's data.
fn data(page: &str) -> Value {
    let start = "<script type=\"application/json\" id=\"data\">";
    let (_, rest) = page.split_once(start).unwrap();
    serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn the_page_has_every_table_and_no_name_becomes_markup() {
    let study = Study::new(true);
    let report = study.report(ReportOptions::default()).unwrap();
    let page = study.page();
    assert_eq!((report.bytes, report.pairs), (page.len(), 6));
    assert!(page.len() < 25_000_000);
    // Scripts and styles left out, the page is well-formed XML: nothing is unescaped or left open.
    let text = markup(&page);
    let options = ParsingOptions { allow_dtd: true, ..ParsingOptions::default() };
    let document = Document::parse_with_options(&text, options).unwrap();
    let with_id = |id: &str| {
        let mut found = document.descendants().filter(|n| n.attribute("id") == Some(id));
        let first = found.next().unwrap_or_else(|| panic!("no {id}"));
        assert!(found.next().is_none(), "two {id}");
        first
    };
    for table in tables(&study.summary) {
        let rows = with_id(&table.id).descendants().filter(|n| n.has_tag_name("tr")).count();
        assert_eq!(rows, table.rows.len() + 1, "{}", table.id);
    }
    for id in ["table-1", "table-11", "differences", "glance", "settings", "figures", "gallery", "threshold", "blend"] {
        with_id(id);
    }
    let headings = document.descendants().filter(|n| n.text() == Some(PAIR)).count();
    assert!(headings > 10, "{headings}");
    assert!(document.descendants().any(|n| n.text().is_some_and(|t| t.contains("Figure 3") && t.contains(PAIR))));
    // Nothing is fetched: every reference is to a place in the page, or holds its data.
    for (name, link) in document.descendants().flat_map(|n| n.attributes()).map(|a| (a.name(), a.value())) {
        let inside = link.starts_with('#') || link.starts_with("data:");
        assert!(!["href", "src", "srcset", "action"].contains(&name) || inside, "{name}={link:.80}");
    }
    // The script elements are the page's own three.
    assert_eq!((page.matches("</script").count(), page.matches("<!--").count()), (3, 0));
    // Every control has a label.
    for control in document.descendants().filter(|n| n.has_tag_name("select") || n.has_tag_name("input")) {
        let id = control.attribute("id").unwrap();
        let labelled = |n: roxmltree::Node<'_, '_>| n.attribute("for") == Some(id) || n == control.parent().unwrap();
        assert!(document.descendants().any(|n| n.has_tag_name("label") && labelled(n)), "{id}");
    }
}

#[test]
fn the_gallery_holds_what_the_records_say() {
    let study = Study::new(false);
    study.report(ReportOptions::default()).unwrap();
    let data = data(&study.page());
    let entries = data["entries"].as_array().unwrap();
    assert_eq!((entries.len(), data["images"].as_array().unwrap().len()), (6, 6));
    assert_eq!(data["networks"][0], PAIR);
    assert!(entries.iter().any(|e| e["id"] == NAME));
    let rmse: Vec<f64> = entries.iter().map(|e| e["rmse"].as_f64().unwrap()).collect();
    assert!(rmse.is_sorted_by(|a, b| a >= b));
    let mean = rmse.iter().sum::<f64>() / 6.0;
    assert!((mean - study.summary.pairs[0].rmse.mean).abs() < 1e-9);
    for e in entries {
        assert_eq!(e["outcome"] == "unlabelled", e["truth"].is_null());
        for side in e["sides"].as_array().unwrap() {
            let map: Vec<u64> = side["map"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
            assert_eq!(side["p"].as_array().unwrap().len() as u64, map[0] * map[1]);
            assert!(side["turned"]["study"] == side["turned"]["peak"] && side["probability"].as_f64() <= Some(1.0));
        }
    }
}

#[test]
fn figures_are_drawings_and_old_ones_go() {
    let study = Study::new(true);
    let folder = study.path(FIGURES);
    fs::create_dir_all(&folder).unwrap();
    for name in ["figure-2-9-gone.svg", "figure-3-9-gone.png", "mine.svg"] {
        fs::write(folder.join(name), "old").unwrap();
    }
    let report = study.report(ReportOptions::default()).unwrap();
    let names = |folder: &Path| {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let plain = "__title__i____";
    let expected = [
        format!("curves-deletion-1-{plain}.svg"),
        format!("curves-insertion-1-{plain}.svg"),
        "figure-1-pipeline.svg".into(),
        format!("figure-2-1-{plain}.svg"),
        format!("figure-3-1-{plain}.png"),
        "figures.txt".into(),
        "mine.svg".into(),
    ];
    assert_eq!(names(&folder), expected);
    for path in report.figures.iter().filter(|p| p.extension().is_some_and(|e| e == "svg")) {
        let text = fs::read_to_string(path).unwrap();
        let document = Document::parse(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_eq!(document.root_element().tag_name().name(), "svg");
        assert!(document.descendants().filter(|n| n.tag_name().name() == "text").count() > 5, "{}", path.display());
    }
    let sheet = image::open(folder.join(&expected[4])).unwrap();
    // Three panels of 96 pixels and two gaps of 6; one image is in the subset.
    assert_eq!((sheet.width(), sheet.height()), (300, 96));
}

#[test]
fn equal_records_give_equal_bytes_and_the_size_is_kept() {
    let study = Study::new(false);
    let whole = study.report(ReportOptions::default()).unwrap();
    let page = study.page();
    study.report(ReportOptions::default()).unwrap();
    assert!(study.page() == page);
    let two = study.report(ReportOptions { pairs: 2, ..ReportOptions::default() }).unwrap();
    assert_eq!((two.pairs, data(&study.page())["entries"].as_array().unwrap().len()), (2, 2));
    let none = study.report(ReportOptions { pairs: 0, ..ReportOptions::default() }).unwrap();
    let bare = study.page();
    assert_eq!((none.pairs, bare.contains("<script"), bare.contains("gallery-heading")), (0, false, false));
    // A byte too few: pictures are compressed more. Hardly more than without a gallery: there is none.
    let less = study.report(ReportOptions { max_bytes: whole.bytes - 1, ..ReportOptions::default() }).unwrap();
    assert!(less.pairs == 6 && less.bytes < whole.bytes, "{less:?}");
    let tight = study.report(ReportOptions { max_bytes: none.bytes + 100, ..ReportOptions::default() }).unwrap();
    assert_eq!((tight.pairs, study.page() == bare), (0, true));
    let e = study.report(ReportOptions { max_bytes: none.bytes - 1, ..ReportOptions::default() }).unwrap_err();
    assert!(matches!(e, Error::Settings(_)) && e.to_string().contains("without a gallery"), "{e}");
    assert!(study.page() == bare, "a failed report changed the old one");
}
