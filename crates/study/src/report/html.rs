//! The page: its frame, the numbers at a glance, tables and figures. Written so that, without its scripts and styles, it
//! is well-formed XML too, which the tests use.

use std::fmt::Write;

use super::figures::Figure;
use super::panels::Panels;
use super::settings;
use super::svg::{STYLE, escape, number as short};
use crate::summary::{Comparison, PairSummary, Scope, Summary};
use crate::tables::{Table, cells, number, remarks, text_columns};

const PAGE_STYLE: &str = include_str!("page/report.css");
const MAPS: &str = include_str!("page/maps.js");
const GALLERY: &str = include_str!("page/gallery.js");
const GALLERY_HTML: &str = include_str!("page/gallery.html");

/// What the page is made of, but for the pictures of the gallery.
pub(super) struct Page<'a> {
    pub summary: &'a Summary,
    pub tables: &'a [Table],
    /// Figure 1, figures 2, curves.
    pub figures: &'a [Vec<Figure>; 3],
    pub panels: &'a [Panels],
}

/// The page around the gallery's data: what stands before it, and after.
pub(super) struct Frame {
    pub before: String,
    pub after: String,
}

impl Page<'_> {
    /// The page; `note` says what the gallery shows, and without one there is no gallery.
    pub fn frame(&self, note: Option<&str>) -> Frame {
        let s = self.summary;
        let title = format!("quantlens study: {}", s.data.description);
        let mut body = String::new();
        let _ = write!(
            body,
            "<a class=\"skip\" href=\"#content\">Skip to the content</a>\n<header>\n<h1>{}</h1>\n",
            escape(&title)
        );
        let _ = write!(body, "<p class=\"lead\">{}</p>\n</header>\n", escape(&lead(s)));
        body += &self.navigation(note.is_some());
        body += "<main id=\"content\">\n";
        body += &glance(s);
        body += &settings::section(s);
        body += &self.figure_section();
        body += &table_section(self.tables);
        if let Some(note) = note {
            body += &GALLERY_HTML.replace("@note@", &escape(note));
        }
        let before = format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; \
             style-src 'unsafe-inline'; script-src 'unsafe-inline'\"/>\n\
             <link rel=\"icon\" href=\"data:,\"/>\n<title>{}</title>\n<style>\n{STYLE}{PAGE_STYLE}</style>\n</head>\n<body>\n{body}</main>\n\
             <footer><p>quantlens {}. The paper: Rogers, De La Iglesia, Zebin, Evaluating the Use of Interpretable Quantized \
             Convolutional Neural Networks for Resource-Constrained Deployment (KDIR 2023).</p></footer>\n",
            escape(&title),
            env!("CARGO_PKG_VERSION"),
        );
        let (data, scripts) = match note {
            Some(_) => (
                "<script type=\"application/json\" id=\"data\">",
                format!("</script>\n<script>\n{MAPS}</script>\n<script>\n{GALLERY}</script>\n"),
            ),
            None => ("", String::new()),
        };
        Frame { before: before + data, after: scripts + "</body>\n</html>\n" }
    }

    fn navigation(&self, gallery: bool) -> String {
        let mut links =
            vec![("glance", "At a glance"), ("settings", "Settings"), ("figures", "Figures"), ("tables", "Tables")];
        if gallery {
            links.push(("gallery", "Most different pairs"));
        }
        let items: String = links.iter().map(|(id, text)| format!("<li><a href=\"#{id}\">{text}</a></li>\n")).collect();
        format!("<nav aria-label=\"Sections\"><ul>\n{items}</ul></nav>\n")
    }

    fn figure_section(&self) -> String {
        let [pipeline, histograms, curves] = self.figures;
        let group = |figures: &[Figure], class: &str| {
            if figures.is_empty() {
                String::new()
            } else {
                format!("<div class=\"{class}\">\n{}</div>\n", figures.iter().map(figure).collect::<String>())
            }
        };
        let panels: String = self.panels.iter().map(Panels::html).collect();
        format!(
            "<section id=\"figures\" aria-labelledby=\"figures-heading\">\n<h2 id=\"figures-heading\">Figures</h2>\n{}{}{panels}{}</section>\n",
            group(pipeline, "figures"),
            group(histograms, "figures two"),
            group(curves, "figures two"),
        )
    }
}

fn figure(f: &Figure) -> String {
    format!(
        "<figure id=\"{}\">\n<h3>{}</h3>\n{}<figcaption>{}</figcaption>\n</figure>\n",
        escape(&f.file),
        escape(&f.heading),
        f.svg.inline(),
        escape(&f.caption)
    )
}

/// What the study is, in a sentence or two.
fn lead(s: &Summary) -> String {
    let count = s.data.images - s.missing_images;
    let pairs = if s.pairs.len() == 1 { "1 pair".to_string() } else { format!("{} pairs", s.pairs.len()) };
    format!(
        "{pairs} of a float network and its int8 twin on {count} images: what they see, where they look, and how far the two \
         differ. Maps are EigenCAM's under the sign policy {}; numbers stand beside those of the paper where the network is \
         one of the paper's.",
        s.signs
    )
}

/// `68.10 to 67.90 (-0.20, 95 % interval -0.61 to +0.20)`.
fn change(c: &Comparison, unit: &str) -> Option<String> {
    let (f32, int8, difference) = (c.f32.value?, c.int8.value?, c.difference.value?);
    let interval = c.difference.interval.or(c.difference.fixed);
    let interval = interval.map(|i| format!(", 95 % interval {:+.2} to {:+.2}", i.low, i.high)).unwrap_or_default();
    Some(format!("f32 {f32:.2}{unit}, int8 {int8:.2}{unit} ({difference:+.2}{interval})"))
}

fn facts(p: &PairSummary) -> Vec<(&'static str, String)> {
    let i = &p.inference;
    let changed = |scope, key: &str, unit| i.comparison(scope, key).and_then(|c| change(c, unit));
    let single = |scope, key: &str| i.single(scope, key).and_then(|s| s.estimate.value);
    let mut facts = vec![("Images", format!("{}, of which {} in the subset", p.images, p.subset))];
    facts.extend(changed(Scope::All, "top1", " %").map(|t| ("Top-1", t)));
    facts.extend(single(Scope::All, "agree").map(|x| ("Same class in both", format!("{x:.2} % of the images"))));
    facts.push((
        "RMSE of the maps",
        format!(
            "{:.2}; with signs aligned {:.2}; {:.2} % of the pairs are flipped",
            p.rmse.mean, p.rmse.aligned_mean, p.rmse.flipped
        ),
    ));
    facts.push(("RMSE on the subset", format!("{:.2}; {:.2} % flipped", p.rmse.subset_mean, p.rmse.subset_flipped)));
    facts.extend(changed(Scope::All, "iou", " %").map(|t| ("IoU of the boxes", t)));
    facts.extend(changed(Scope::Subset, "deletion", " %").map(|t| ("Deletion, subset", t)));
    facts.extend(changed(Scope::Subset, "insertion", " %").map(|t| ("Insertion, subset", t)));
    facts.push(("Dice of the histograms", format!("{:.2} %", 100.0 * p.dice.counts)));
    facts
}

fn glance(s: &Summary) -> String {
    let mut out = String::from(
        "<section id=\"glance\" aria-labelledby=\"glance-heading\">\n<h2 id=\"glance-heading\">At a glance</h2>\n",
    );
    let remarks = remarks(s, "");
    if !remarks.is_empty() {
        let items: String = remarks.lines().map(|line| format!("<li>{}</li>\n", escape(line))).collect();
        let _ = write!(out, "<ul class=\"remarks\">\n{items}</ul>\n");
    }
    out += "<div class=\"cards\">\n";
    for p in &s.pairs {
        let rows: String =
            facts(p).iter().map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(text))).collect();
        let _ = write!(
            out,
            "<article class=\"card\">\n<h3>{}</h3>\n<dl>\n{rows}</dl>\n</article>\n",
            escape(&p.settings.name)
        );
    }
    out + "</div>\n</section>\n"
}

fn table_section(tables: &[Table]) -> String {
    let links: String = tables
        .iter()
        .map(|t| format!("<li><a href=\"#{}\">{}{}</a></li>\n", escape(&t.id), number(t), escape(&t.title)))
        .collect();
    let all: String = tables.iter().map(table).collect();
    format!(
        "<section id=\"tables\" aria-labelledby=\"tables-heading\">\n<h2 id=\"tables-heading\">Tables</h2>\n\
         <details><summary>{} tables</summary>\n<ul class=\"contents\">\n{links}</ul>\n</details>\n{all}</section>\n",
        short(tables.len() as f64)
    )
}

fn table(t: &Table) -> String {
    let (headings, rows) = cells(t);
    let text = text_columns(t);
    let class = |i: usize| if i < text { "" } else { " class=\"number\"" };
    let head: String =
        headings.iter().enumerate().map(|(i, h)| format!("<th scope=\"col\"{}>{}</th>", class(i), escape(h))).collect();
    let mut body = String::new();
    let mut before = None;
    for row in &rows {
        body += "<tr>";
        for (i, cell) in row.iter().enumerate() {
            let cell_text = escape(cell);
            let _ = match i {
                0 if before == Some(cell) => write!(body, "<th scope=\"row\" class=\"same\">{cell_text}</th>"),
                0 => write!(body, "<th scope=\"row\">{cell_text}</th>"),
                _ if cell == "n/a" => write!(body, "<td class=\"number same\">n/a</td>"),
                _ => write!(body, "<td{}>{cell_text}</td>", class(i)),
            };
        }
        body += "</tr>\n";
        before = row.first();
    }
    let notes: String = t.notes.iter().map(|n| format!("<li>{}</li>\n", escape(n))).collect();
    let id = escape(&t.id);
    let title = format!("{}{}", number(t), escape(&t.title));
    format!(
        "<section class=\"table\" id=\"{id}\">\n<h3 id=\"{id}-title\">{title}</h3>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-labelledby=\"{id}-title\">\n\
         <table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>\n\
         <ul class=\"notes\">\n{notes}</ul>\n</section>\n"
    )
}
