//! Tables as text: for a terminal, Markdown, CSV, LaTeX and JSON. All formats have the same rows and columns; CSV and
//! JSON have all digits.

use comfy_table::{CellAlignment, ContentArrangement, presets};
use serde_json::{Map, Value, json};

use super::{Column, Kind, Row, Table, tables};
use crate::Summary;

/// How tables are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TableFormat {
    /// Boxes drawn with characters.
    Terminal,
    /// GitHub's Markdown.
    Markdown,
    /// One comma-separated table for all: a line is one number of one row (`table, network, measure, column, value`).
    Csv,
    /// A `tabular` each, for `\input`; needs the package booktabs.
    Latex,
    /// The summary and the tables.
    Json,
}

impl TableFormat {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Terminal, Self::Markdown, Self::Csv, Self::Latex, Self::Json];

    /// The file that a study's folder has in this format.
    pub fn file_name(self) -> &'static str {
        match self {
            Self::Terminal => "tables.txt",
            Self::Markdown => "tables.md",
            Self::Csv => "tables.csv",
            Self::Latex => "tables.tex",
            Self::Json => "tables.json",
        }
    }
}

/// All tables of a summary as text, with what they depend on, and the summary's hints.
pub fn render(s: &Summary, format: TableFormat) -> String {
    let all = tables(s);
    match format {
        TableFormat::Terminal => all.iter().map(terminal).chain([remarks(s, "")]).collect::<Vec<_>>().join("\n"),
        TableFormat::Markdown => {
            all.iter().map(markdown).chain([remarks(s, "- ")]).collect::<Vec<_>>().join("\n").trim_end().to_string()
                + "\n"
        }
        TableFormat::Csv => csv(&all),
        TableFormat::Latex => all.iter().map(latex).chain([remarks(s, "% ")]).collect::<Vec<_>>().join("\n"),
        // Numbers, text and lists: nothing in it can fail to become JSON.
        TableFormat::Json => serde_json::to_string_pretty(&to_json(s)).unwrap_or_default() + "\n",
    }
}

/// What holds for the whole study, a line each.
pub(crate) fn remarks(s: &Summary, start: &str) -> String {
    let mut lines = Vec::new();
    if s.missing_images > 0 {
        lines.push(format!("Not complete: {} images have no records yet.", s.missing_images));
    }
    if s.instruction_sets.len() > 1 {
        let sets: Vec<String> = s.instruction_sets.iter().map(|(isa, n)| format!("{n} images on {isa}")).collect();
        lines.push(format!("Records of several instruction sets: {}.", sets.join(", ")));
    }
    lines.extend(s.hints.iter().map(|hint| format!("Hint: {hint}")));
    lines.iter().map(|line| format!("{start}{line}\n")).collect()
}

/// `Table 3`, `Figure 2`, or nothing for a table that the paper lacks.
pub(crate) fn number(t: &Table) -> String {
    match t.id.split_once('-') {
        Some(("table", n)) => format!("Table {n}. "),
        Some(("figure", n)) => format!("Figure {n}. "),
        _ => String::new(),
    }
}

/// The text of a cell.
fn cell(column: &Column, row: &Row, value: Option<f64>) -> String {
    let Some(v) = value else { return "n/a".into() };
    let decimals = column.decimals.unwrap_or(row.decimals);
    match column.kind {
        Kind::Number => format!("{v:.decimals$}"),
        Kind::Signed => format!("{v:+.decimals$}"),
        Kind::P if v > 0.0 && v < 0.0001 => format!("{v:.1e}"),
        Kind::P => format!("{v:.4}"),
    }
}

/// Headings and rows as text.
pub(crate) fn cells(t: &Table) -> (Vec<String>, Vec<Vec<String>>) {
    let mut headings = vec!["network".to_string()];
    headings.extend(t.row_heading.clone());
    headings.extend(t.columns.iter().map(|c| c.heading.clone()));
    let row = |r: &Row| {
        let label = t.row_heading.as_ref().map(|_| r.label.clone());
        let numbers = t.columns.iter().zip(&r.values).map(|(c, v)| cell(c, r, *v));
        std::iter::once(r.network.clone()).chain(label).chain(numbers).collect()
    };
    (headings, t.rows.iter().map(row).collect())
}

/// Columns before the numbers.
pub(crate) fn text_columns(t: &Table) -> usize {
    1 + usize::from(t.row_heading.is_some())
}

fn terminal(t: &Table) -> String {
    let (headings, rows) = cells(t);
    let mut text = comfy_table::Table::new();
    text.load_style(presets::UTF8_FULL_CONDENSED).set_content_arrangement(ContentArrangement::Disabled);
    text.set_header(headings).add_rows(rows);
    for column in text.column_iter_mut().skip(text_columns(t)) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    let notes: String = t.notes.iter().map(|n| format!("  {n}\n")).collect();
    format!("{}{}\n{text}\n{notes}", number(t), t.title)
}

fn markdown(t: &Table) -> String {
    let (headings, rows) = cells(t);
    let line = |cells: &[String]| {
        let cells: Vec<String> = cells.iter().map(|c| c.replace('\\', "\\\\").replace('|', "\\|")).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let rule = |i| if i < text_columns(t) { "-" } else { "-:" };
    let rules: Vec<&str> = (0..headings.len()).map(rule).collect();
    let body: String = rows.iter().map(|row| line(row)).collect();
    let notes: String = t.notes.iter().map(|n| format!("- {n}\n")).collect();
    format!("### {}{}\n\n{}| {} |\n{body}\n{notes}", number(t), t.title, line(&headings), rules.join(" | "))
}

/// Quoted where a comma, a quote or a line end needs it (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

fn csv(all: &[Table]) -> String {
    let mut out = String::from("table,network,measure,column,value\n");
    for t in all {
        for r in &t.rows {
            for (c, v) in t.columns.iter().zip(&r.values) {
                let value = v.map(|v| v.to_string()).unwrap_or_default();
                out += &format!("{},{},{},{},{value}\n", t.id, quoted(&r.network), quoted(&r.key), c.key);
            }
        }
    }
    out
}

/// Text with LaTeX's special characters as themselves.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '%' | '&' | '_' | '#' | '$' | '{' | '}' => out.extend(['\\', c]),
            '\\' => out += "\\textbackslash{}",
            '~' => out += "\\textasciitilde{}",
            '^' => out += "\\textasciicircum{}",
            _ => out.push(c),
        }
    }
    out
}

fn latex(t: &Table) -> String {
    let (headings, rows) = cells(t);
    // A minus rather than a hyphen before a number.
    let cell = |(i, text): (usize, &String)| match text.strip_prefix('-') {
        Some(number) if i >= text_columns(t) => format!("$-${number}"),
        _ => escaped(text),
    };
    let line = |cells: &[String]| cells.iter().enumerate().map(cell).collect::<Vec<_>>().join(" & ") + " \\\\\n";
    let body: String = rows.iter().map(|row| line(row)).collect();
    let notes: String = t.notes.iter().map(|n| format!("% {n}\n")).collect();
    let format = "l".repeat(text_columns(t)) + &"r".repeat(t.columns.len());
    format!(
        "% {}{}\n{notes}\\begin{{tabular}}{{{format}}}\n\\toprule\n{}\\midrule\n{body}\\bottomrule\n\\end{{tabular}}\n",
        number(t),
        t.title,
        line(&headings)
    )
}

/// Everything as JSON: the summary, and the tables with values by column key.
pub fn to_json(s: &Summary) -> Value {
    let table = |t: &Table| {
        let row = |r: &Row| {
            let values: Map<String, Value> =
                t.columns.iter().zip(&r.values).map(|(c, v)| (c.key.into(), json!(v))).collect();
            json!({ "network": r.network, "key": r.key, "label": r.label, "values": values })
        };
        let columns: Vec<Value> = t.columns.iter().map(|c| json!({ "key": c.key, "heading": c.heading })).collect();
        json!({
            "id": t.id,
            "title": t.title,
            "notes": t.notes,
            "columns": columns,
            "rows": t.rows.iter().map(row).collect::<Vec<_>>(),
        })
    };
    json!({ "summary": s, "tables": tables(s).iter().map(table).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let column = |key, heading: &str, kind| Column { key, heading: heading.into(), kind, decimals: None };
        Table {
            id: "table-3".into(),
            title: "A & B".into(),
            notes: vec!["50 % of all".into()],
            row_heading: Some("measure".into()),
            columns: vec![
                column("value", "here", Kind::Number),
                column("difference", "here - paper", Kind::Signed),
                column("p", "p", Kind::P),
            ],
            rows: vec![
                Row {
                    network: "a_b|c".into(),
                    key: "top, 5".into(),
                    label: "top 5 %".into(),
                    decimals: 2,
                    values: vec![Some(1.23456), Some(-0.5), Some(1.5e-11)],
                },
                Row {
                    network: "d".into(),
                    key: "k".into(),
                    label: "l".into(),
                    decimals: 0,
                    values: vec![None, Some(3.0), Some(0.04567)],
                },
            ],
        }
    }

    #[test]
    fn each_format_of_one_table() {
        let t = table();
        assert_eq!(
            markdown(&t),
            "### Table 3. A & B\n\n| network | measure | here | here - paper | p |\n| - | - | -: | -: | -: |\n\
             | a_b\\|c | top 5 % | 1.23 | -0.50 | 1.5e-11 |\n| d | l | n/a | +3 | 0.0457 |\n\n- 50 % of all\n"
        );
        assert_eq!(
            latex(&t),
            "% Table 3. A & B\n% 50 % of all\n\\begin{tabular}{llrrr}\n\\toprule\n\
             network & measure & here & here - paper & p \\\\\n\\midrule\n\
             a\\_b|c & top 5 \\% & 1.23 & $-$0.50 & 1.5e-11 \\\\\nd & l & n/a & +3 & 0.0457 \\\\\n\
             \\bottomrule\n\\end{tabular}\n"
        );
        assert_eq!(
            csv(std::slice::from_ref(&t)),
            "table,network,measure,column,value\ntable-3,a_b|c,\"top, 5\",value,1.23456\n\
             table-3,a_b|c,\"top, 5\",difference,-0.5\ntable-3,a_b|c,\"top, 5\",p,0.000000000015\n\
             table-3,d,k,value,\ntable-3,d,k,difference,3\ntable-3,d,k,p,0.04567\n"
        );
        let text = terminal(&t);
        assert!(text.starts_with("Table 3. A & B\n") && text.ends_with("  50 % of all\n"), "{text}");
        assert!(text.contains("│ a_b|c   ┆ top 5 % ┆ 1.23 ┆        -0.50 ┆ 1.5e-11 │"), "{text}");
    }
}
