//! A small writer of SVG: the same drawing as a file of its own and inside a page. Colours come from classes
//! (`page/figure.css`), so that a drawing follows the reader's light or dark scheme.

use std::fmt::Write;

/// What colours and line styles the classes have.
pub(super) const STYLE: &str = include_str!("page/figure.css");

/// Width of an average character, as a share of the font's size. Generous, since the reader's font is not known.
const CHARACTER: f64 = 0.56;

/// Size of text in the drawings' units.
pub(super) const TEXT: f64 = 14.0;

/// Text that is safe in HTML and XML, in attributes too. Characters that XML cannot hold become U+FFFD.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            '\'' => out += "&#39;",
            '\t' | '\n' | '\r' => out.push(' '),
            '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            _ => out.push(c),
        }
    }
    out
}

/// As much of a text as fits into `width` units, with an ellipsis where it was cut.
pub(super) fn fitted(text: &str, width: f64) -> String {
    let most = (width / (TEXT * CHARACTER)).max(1.0) as usize;
    if text.chars().count() <= most {
        return text.into();
    }
    text.chars().take(most - 1).chain(['…']).collect()
}

/// A number with at most two digits after the point.
pub(super) fn number(x: f64) -> String {
    let text = format!("{x:.2}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    if text == "-0" { "0".into() } else { text.into() }
}

/// Where a text begins, or is centred, or ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing.
#[derive(Debug, Clone)]
pub(super) struct Svg {
    size: [f64; 2],
    /// What it shows, for those who cannot see it.
    label: String,
    body: String,
}

impl Svg {
    pub fn new(size: [f64; 2], label: impl Into<String>) -> Self {
        Self { size, label: label.into(), body: String::new() }
    }

    fn element(&mut self, name: &str, class: &str, attributes: &[(&str, f64)]) {
        let _ = write!(self.body, "<{name} class=\"{class}\"");
        for (key, value) in attributes {
            let _ = write!(self.body, " {key}=\"{}\"", number(*value));
        }
        self.body += "/>\n";
    }

    pub fn rect(&mut self, class: &str, [x, y]: [f64; 2], [w, h]: [f64; 2], radius: f64) {
        self.element("rect", class, &[("x", x), ("y", y), ("width", w), ("height", h), ("rx", radius)]);
    }

    pub fn line(&mut self, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
        self.element("line", class, &[("x1", x1), ("y1", y1), ("x2", x2), ("y2", y2)]);
    }

    /// Straight lines through points; closed where asked for.
    pub fn path(&mut self, class: &str, points: &[[f64; 2]], closed: bool) {
        let mut d = String::new();
        for (i, [x, y]) in points.iter().enumerate() {
            let _ = write!(d, "{}{} {}", if i == 0 { "M" } else { "L" }, number(*x), number(*y));
        }
        let end = if closed { "Z" } else { "" };
        let _ = writeln!(self.body, "<path class=\"{class}\" d=\"{d}{end}\"/>");
    }

    pub fn text(&mut self, class: &str, [x, y]: [f64; 2], anchor: Anchor, text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let (x, y, text) = (number(x), number(y), escape(text));
        let _ =
            writeln!(self.body, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\" text-anchor=\"{anchor}\">{text}</text>");
    }

    /// Text that reads upwards, centred at a point.
    pub fn upward(&mut self, class: &str, [x, y]: [f64; 2], text: &str) {
        let (x, y, text) = (number(x), number(y), escape(text));
        let _ = writeln!(
            self.body,
            "<text class=\"{class}\" transform=\"translate({x} {y}) rotate(-90)\" text-anchor=\"middle\">{text}</text>"
        );
    }

    fn write(&self, style: &str) -> String {
        let [w, h] = self.size.map(number);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"ql-figure\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
             role=\"img\" aria-label=\"{}\">\n{style}<rect class=\"paper\" width=\"{w}\" height=\"{h}\"/>\n{}</svg>\n",
            escape(&self.label),
            self.body
        )
    }

    /// For inside a page, which has [`STYLE`].
    pub fn inline(&self) -> String {
        self.write("")
    }

    /// As a file.
    pub fn file(&self) -> String {
        // The style has no markup characters but `>` and `&`-free text: a CDATA section keeps it as it is.
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{}",
            self.write(&format!("<style><![CDATA[\n{STYLE}]]></style>\n"))
        )
    }
}

/// A rectangle of a drawing with a scale along each side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Axes {
    /// Top-left corner.
    pub at: [f64; 2],
    /// Width and height.
    pub size: [f64; 2],
    /// Largest value along x and along y; both begin at 0.
    pub most: [f64; 2],
}

impl Axes {
    pub fn point(&self, x: f64, y: f64) -> [f64; 2] {
        [self.at[0] + self.size[0] * x / self.most[0], self.at[1] + self.size[1] * (1.0 - y / self.most[1])]
    }

    /// Grid lines, ticks and names of the scales.
    pub fn draw(&self, svg: &mut Svg, x_name: &str, y_name: &str) {
        let [[left, top], [w, h]] = [self.at, self.size];
        for y in ticks(self.most[1]) {
            let [_, place] = self.point(0.0, y);
            svg.line("grid", [left, place], [left + w, place]);
            svg.text("tick", [left - 6.0, place + 4.5], Anchor::End, &number(y));
        }
        for x in ticks(self.most[0]) {
            let [place, _] = self.point(x, 0.0);
            svg.line("axis", [place, top + h], [place, top + h + 4.0]);
            svg.text("tick", [place, top + h + 19.0], Anchor::Middle, &number(x));
        }
        svg.line("axis", [left, top + h], [left + w, top + h]);
        svg.text("name", [left + w / 2.0, top + h + 39.0], Anchor::Middle, x_name);
        svg.upward("name", [left - 40.0, top + h / 2.0], y_name);
    }
}

/// Round numbers from 0 to at most `most`: four to eight of them.
fn ticks(most: f64) -> Vec<f64> {
    let power = 10f64.powf((most / 4.0).log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|s| s * power).into_iter().find(|s| most / s <= 5.5).unwrap_or(most);
    (0..).map(|i| f64::from(i) * step).take_while(|x| *x <= most * (1.0 + 1e-9)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escape("</script>\"'&\u{1}\n"), "&lt;/script&gt;&quot;&#39;&amp;\u{fffd} ");
        let mut svg = Svg::new([10.0, 5.5], "a \"b\" <c>");
        svg.text("t", [1.0, 2.125], Anchor::End, "x < y & ]]>");
        svg.upward("t", [1.0, 2.0], "<up>");
        svg.path("p", &[[0.0, 1.0], [2.0, -0.001]], true);
        for text in [svg.file(), svg.inline()] {
            let document = roxmltree::Document::parse(&text).unwrap();
            assert_eq!(document.root_element().attribute("aria-label"), Some("a \"b\" <c>"));
            let found =
                document.descendants().find(|n| n.has_tag_name(("http://www.w3.org/2000/svg", "text"))).unwrap();
            assert_eq!(found.text(), Some("x < y & ]]>"));
        }
        assert!(svg.inline().contains("d=\"M0 1L2 0Z\""), "{}", svg.inline());
    }

    #[test]
    fn scales() {
        assert_eq!(ticks(1.0), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(ticks(100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        assert_eq!(ticks(7.0), [0.0, 2.0, 4.0, 6.0]);
        let axes = Axes { at: [10.0, 20.0], size: [100.0, 50.0], most: [1.0, 2.0] };
        assert_eq!((axes.point(0.0, 0.0), axes.point(1.0, 2.0)), ([10.0, 70.0], [110.0, 20.0]));
        assert_eq!(
            (number(0.5), number(3.0), number(-0.001), number(1200.0)),
            ("0.5".into(), "3".into(), "0".into(), "1200".into())
        );
        assert_eq!((fitted("abc", 100.0), fitted("abcdefghijkl", 50.0)), ("abc".into(), "abcde…".into()));
    }
}
