//! The table of what a map costs by each method: the paper's claim that EigenCAM is far cheaper, measured.

use super::{Column, Kind, Row, Table, column, size};
use crate::methods::{MethodCost, Methods};
use crate::summary::Summary;

/// None where the stage has not run.
pub(super) fn table(s: &Summary) -> Option<Table> {
    let m = s.methods.as_ref()?;
    let rows = m.pairs.iter().flat_map(|p| {
        let eigen = [&p.f32, &p.int8].map(|costs| costs.first().map(|c| c.milliseconds.median));
        p.f32.iter().zip(&p.int8).map(move |(f32, int8)| Row {
            network: p.name.clone(),
            key: f32.method.clone(),
            label: label(&f32.method).into(),
            decimals: 3,
            values: [values(f32, eigen[0]), values(int8, eigen[1])].concat(),
        })
    });
    let columns = ["f32", "int8"].into_iter().flat_map(columns).collect();
    let (id, title) = ("methods".into(), "Cost of a map by method".into());
    let table =
        Table { id, title, notes: notes(s, m), row_heading: Some("method".into()), columns, rows: rows.collect() };
    Some(table)
}

fn label(method: &str) -> &str {
    match method {
        "eigencam" => "EigenCAM",
        "scorecam" => "ScoreCAM",
        "ablationcam" => "AblationCAM",
        other => other,
    }
}

fn values(c: &MethodCost, eigen: Option<f64>) -> Vec<Option<f64>> {
    let median = c.milliseconds.median;
    vec![Some(median), Some(c.forwards), Some(c.forwards_from_layer), eigen.map(|e| median / e)]
}

fn columns(precision: &str) -> [Column; 4] {
    let keys = match precision {
        "f32" => ["f32_ms", "f32_forwards", "f32_forwards_from_layer", "f32_times_eigencam"],
        _ => ["int8_ms", "int8_forwards", "int8_forwards_from_layer", "int8_times_eigencam"],
    };
    let headings = ["ms", "passes", "from the layer", "x EigenCAM"];
    let decimals = [None, Some(0), Some(0), Some(1)];
    [0, 1, 2, 3].map(|i| Column {
        decimals: decimals[i],
        ..column(keys[i], &format!("{precision} {}", headings[i]), Kind::Number)
    })
}

fn notes(s: &Summary, m: &Methods) -> Vec<String> {
    vec![format!(
        "Median over {} image{}, one thread, {}; from the activation to the {} map. Passes: forward passes of the whole \
         network, and such from the explained layer on, beside the one that gives prediction and activation.",
        m.images,
        if m.images == 1 { "" } else { "s" },
        m.isa,
        size(s)
    )]
}
