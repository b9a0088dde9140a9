//! Time of each layer as bars: an SVG with one panel a combination, all on one scale.

use std::fmt::Write;

use super::profile::{Kind, Layer, title};
use super::{Report, Row};

/// Of the picture, its column of names and its bars, in pixels.
const WIDTH: f64 = 1100.0;
const NAMES: f64 = 270.0;
const BARS: f64 = 600.0;

/// Height of a bar's row, and of what is above the bars of a panel.
const ROW: f64 = 15.0;
const TITLE: f64 = 44.0;

/// Above the first panel.
const HEAD: f64 = 34.0;

/// The picture of all profiled combinations.
pub fn draw(report: &Report) -> String {
    let rows: Vec<&Row> = report.results.iter().filter(|row| !row.layers.is_empty()).collect();
    let longest = rows.iter().flat_map(|row| &row.layers).map(|layer| layer.us).fold(1e-3, f64::max);
    let height = HEAD + rows.iter().map(|row| TITLE + ROW * row.layers.len() as f64).sum::<f64>() + 16.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    legend(&mut svg);
    let mut y = HEAD;
    for row in rows {
        panel(&mut svg, row, y, BARS / longest);
        y += TITLE + ROW * row.layers.len() as f64;
    }
    svg + "</svg>\n"
}

fn legend(svg: &mut String) {
    for (i, kind) in Kind::ALL.into_iter().enumerate() {
        let x = NAMES + 90.0 * i as f64;
        rect(svg, [x, 10.0, 11.0, 11.0], color(kind));
        text(svg, x + 16.0, 20.0, "start", kind.name());
    }
    let x = NAMES + 90.0 * Kind::ALL.len() as f64;
    rect(svg, [x, 10.0, 3.0, 11.0], MARK);
    text(svg, x + 9.0, 20.0, "start", "time at the measured peak");
}

/// One combination; `scale` is pixels a microsecond.
fn panel(svg: &mut String, row: &Row, y: f64, scale: f64) {
    let heading = format!("{}: {:.3} ms", title(row), row.run_us.unwrap_or(0.0) / 1e3);
    let _ = writeln!(
        svg,
        "<text x=\"10\" y=\"{}\" font-size=\"14\" font-weight=\"bold\">{}</text>",
        y + 28.0,
        escape(&heading)
    );
    for (i, layer) in row.layers.iter().enumerate() {
        bar(svg, layer, y + TITLE + ROW * i as f64, scale);
    }
}

fn bar(svg: &mut String, layer: &Layer, y: f64, scale: f64) {
    let about = format!("{} {} {:?}: {:.1} us, {}", layer.name, layer.op, layer.shape, layer.us, layer.kernel);
    let _ = writeln!(svg, "<g><title>{}</title>", escape(&about));
    text(svg, NAMES - 8.0, y + 10.0, "end", &shortened(&layer.name));
    let length = layer.us * scale;
    rect(svg, [NAMES, y, length.max(0.5), ROW - 3.0], color(layer.kind));
    let mut value = format!("{:.1} us", layer.us);
    if let (Some(rate), Some(share)) = (layer.gmacs, layer.share_of_peak) {
        rect(svg, [NAMES + length * share - 1.0, y, 3.0, ROW - 3.0], MARK);
        value += &format!(", {rate:.1} GMAC/s, {:.0} %", 100.0 * share);
    }
    text(svg, NAMES + length.max(length * layer.share_of_peak.unwrap_or(0.0)) + 7.0, y + 10.0, "start", &value);
    svg.push_str("</g>\n");
}

/// Of the mark at the time that the peak would take.
const MARK: &str = "#222222";

/// Colours that differ to colour-blind readers too (Okabe and Ito).
fn color(kind: Kind) -> &'static str {
    match kind {
        Kind::Dense => "#0072b2",
        Kind::Pointwise => "#56b4e9",
        Kind::Depthwise => "#e69f00",
        Kind::Expand => "#cc79a7",
        Kind::Chain => "#d55e00",
        Kind::Linear => "#009e73",
        Kind::Other => "#999999",
    }
}

/// The end of a long name, which tells layers apart.
fn shortened(name: &str) -> String {
    let letters: Vec<char> = name.chars().collect();
    if letters.len() <= 40 {
        return name.to_string();
    }
    format!("…{}", letters[letters.len() - 39..].iter().collect::<String>())
}

// Writing to a string cannot fail.
fn rect(svg: &mut String, [x, y, width, height]: [f64; 4], fill: &str) {
    let _ =
        writeln!(svg, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\"/>");
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, content: &str) {
    let _ = writeln!(svg, "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{}</text>", escape(content));
}

/// Text as XML: markup escaped, characters that XML forbids replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            c if c.is_control() => escaped.push('\u{fffd}'),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_end_its_element() {
        assert_eq!(escape("</text><a b=\"c'\">&\u{1}"), "&lt;/text&gt;&lt;a b=&quot;c&#39;&quot;&gt;&amp;\u{fffd}");
    }

    #[test]
    fn long_names_keep_their_end() {
        let name = "ä".repeat(50) + ".conv";
        let short = shortened(&name);
        assert!(short.chars().count() == 40 && short.ends_with("ä.conv"));
        assert_eq!(shortened("features.0"), "features.0");
    }
}
