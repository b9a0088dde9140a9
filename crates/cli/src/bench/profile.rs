//! The time of each layer, beside the peak that the machine reaches meanwhile.

use std::time::{Duration, Instant};

use anyhow::Result;
use quantlens::Isa;
use quantlens::engine::StepInfo;
use quantlens::kernels::Peak;
use serde::Serialize;

use super::measure::Lane;
use super::{Report, Row, median};
use crate::output;
use crate::output::thousands;

/// Rounds over all combinations, and how long a turn is.
const ROUNDS: usize = 5;
const TURN: Duration = Duration::from_millis(40);

/// Least runs of a turn.
const RUNS: usize = 3;

/// One step of a network.
#[derive(Debug, Clone, Serialize)]
pub struct Layer {
    pub name: String,
    pub op: &'static str,
    pub kind: Kind,
    pub kernel: String,
    /// Kernels of a chain; 0 of all other steps.
    #[serde(skip)]
    pub links: usize,
    /// Height, width, channels.
    pub shape: [usize; 3],
    pub multiply_adds: u64,
    /// Fastest of the runs: like the peak, what nothing disturbed.
    pub us: f64,
    /// Median of the runs.
    pub p50_us: f64,
    /// 10^9 multiply-adds a second, at the fastest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gmacs: Option<f64>,
    /// Of the peak of all threads, 1 is all of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share_of_peak: Option<f64>,
}

/// What kind of work a step is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Dense,
    Pointwise,
    Depthwise,
    /// A pointwise convolution and the depthwise one after it.
    Expand,
    /// Convolutions and poolings that follow each other a few rows at a time.
    Chain,
    Linear,
    Other,
}

impl Kind {
    pub const ALL: [Self; 7] =
        [Self::Dense, Self::Pointwise, Self::Depthwise, Self::Expand, Self::Chain, Self::Linear, Self::Other];

    /// Of a step, by its op and the shape of its weights.
    fn of(step: &StepInfo) -> Self {
        match step.weight_shape[..] {
            _ if step.op == "expand_depthwise" => Self::Expand,
            _ if step.op == "chain" => Self::Chain,
            [_, 1, _, _] if step.in_shape[2] > 1 => Self::Depthwise,
            [_, _, 1, 1] => Self::Pointwise,
            [_, _, _, _] => Self::Dense,
            [_, _] => Self::Linear,
            _ => Self::Other,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Pointwise => "pointwise",
            Self::Depthwise => "depthwise",
            Self::Expand => "expand",
            Self::Chain => "chain",
            Self::Linear => "linear",
            Self::Other => "other",
        }
    }
}

/// The peak of one thread, 10^9 multiply-adds a second, highest of the rounds.
#[derive(Debug, Clone, Serialize)]
pub struct PeakRate {
    pub isa: &'static str,
    pub int8_gmacs: f64,
    pub f32_gmacs: f64,
}

/// Nanoseconds of one combination.
struct Times {
    runs: Vec<u64>,
    steps: Vec<Vec<u64>>,
}

/// Profiles every combination in rounds, the peaks in each, and puts the layers into the rows.
pub fn run(lanes: &mut [Lane<'_>], isas: &[Isa], rows: &mut [Row]) -> Result<Vec<PeakRate>> {
    let mut peaks: Vec<Vec<Peak>> = vec![Vec::new(); isas.len()];
    let mut times: Vec<Times> =
        lanes.iter().map(|l| Times { runs: Vec::new(), steps: vec![Vec::new(); l.plan.steps().len()] }).collect();
    for _ in 0..ROUNDS {
        for (peaks, &isa) in peaks.iter_mut().zip(isas) {
            peaks.push(Peak::measure(isa)?);
        }
        for (lane, times) in lanes.iter_mut().zip(&mut times) {
            turn(lane, times)?;
        }
    }
    let peaks: Vec<PeakRate> = peaks.iter().zip(isas).map(|(peaks, &isa)| peak_rate(isa, peaks)).collect();
    for ((lane, times), row) in lanes.iter().zip(&mut times).zip(rows) {
        row.run_us = times.runs.iter().min().map(|&nanos| nanos as f64 / 1e3);
        if let Some(peak) = peaks.iter().find(|p| p.isa == row.isa) {
            row.layers = layers(lane, &mut times.steps, peak);
        }
    }
    Ok(peaks)
}

/// A few runs of one combination, the first not counted.
fn turn(lane: &mut Lane<'_>, times: &mut Times) -> Result<()> {
    let input = &lane.network.input;
    for session in &mut lane.sessions {
        session.run(input)?;
        session.profile(true);
        let (start, mut runs) = (Instant::now(), 0);
        while runs < RUNS || start.elapsed() < TURN {
            session.run(input)?;
            let Some(profile) = session.last_profile() else { break };
            times.runs.push(profile.total_nanos);
            times.steps.iter_mut().zip(&profile.steps).for_each(|(times, step)| times.push(step.nanos));
            runs += 1;
        }
        session.profile(false);
    }
    Ok(())
}

fn peak_rate(isa: Isa, peaks: &[Peak]) -> PeakRate {
    let rate = |of: fn(&Peak) -> f64| peaks.iter().map(of).fold(0.0, f64::max) / 1e9;
    PeakRate { isa: isa.name(), int8_gmacs: rate(|p| p.int8), f32_gmacs: rate(|p| p.f32) }
}

fn layers(lane: &Lane<'_>, times: &mut [Vec<u64>], peak: &PeakRate) -> Vec<Layer> {
    let layer = |(step, times): (&StepInfo, &mut Vec<u64>)| {
        let p50 = median(times);
        let nanos = times.first().copied().unwrap_or(0) as f64;
        let gmacs = (step.macs > 0).then(|| step.macs as f64 / nanos.max(1.0));
        let one = if step.kernel.starts_with("f32") { peak.f32_gmacs } else { peak.int8_gmacs };
        Layer {
            name: step.name.clone(),
            op: step.op,
            kind: Kind::of(step),
            kernel: step.kernel.clone(),
            links: step.links.len(),
            shape: step.out_shape,
            multiply_adds: step.macs,
            us: nanos / 1e3,
            p50_us: p50 / 1e3,
            gmacs,
            share_of_peak: gmacs.map(|rate| rate / (one * lane.threads as f64)),
        }
    };
    lane.plan.steps().iter().zip(times).map(layer).collect()
}

/// The tables of all profiled combinations; empty without.
pub fn text(report: &Report) -> String {
    let mut text = String::new();
    for peak in &report.peaks {
        text += &format!(
            "\npeak of one thread, {}: int8 {:.1}, f32 {:.1} GMAC/s",
            peak.isa, peak.int8_gmacs, peak.f32_gmacs
        );
    }
    if !report.peaks.is_empty() {
        text += "\n";
    }
    report.results.iter().filter(|row| !row.layers.is_empty()).for_each(|row| text += &table(row));
    text
}

fn table(row: &Row) -> String {
    let header =
        ["layer", "op", "h", "w", "c", "multiply-adds", "us", "% of run", "p50 us", "GMAC/s", "% of peak", "kernel"];
    let mut table = output::table(&header, &[2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let run = row.run_us.unwrap_or(0.0);
    let percent = |part: f64| format!("{:.1}", 100.0 * part);
    for layer in &row.layers {
        let [h, w, c] = layer.shape.map(|n| n.to_string());
        let macs = if layer.multiply_adds > 0 { thousands(layer.multiply_adds) } else { String::new() };
        let mut cells = vec![layer.name.clone(), layer.op.to_string(), h, w, c, macs];
        cells.extend([format!("{:.1}", layer.us), percent(layer.us / run.max(1e-3)), format!("{:.1}", layer.p50_us)]);
        cells.push(layer.gmacs.map(|rate| format!("{rate:.1}")).unwrap_or_default());
        cells.push(layer.share_of_peak.map(percent).unwrap_or_default());
        // The names of a chain's kernels would be as wide as all else.
        cells.push(if layer.links == 0 { layer.kernel.clone() } else { format!("{} in turn", layer.links) });
        table.add_row(cells);
    }
    format!("\n{}\n{}{}", title(row), output::lines(&table), kinds(row))
}

/// One line a kind of layer, then what is outside of layers.
fn kinds(row: &Row) -> String {
    let run = row.run_us.unwrap_or(0.0);
    let mut text = String::new();
    for kind in Kind::ALL {
        let of: Vec<&Layer> = row.layers.iter().filter(|layer| layer.kind == kind).collect();
        let (us, macs): (f64, u64) = (of.iter().map(|l| l.us).sum(), of.iter().map(|l| l.multiply_adds).sum());
        // The time that the peak would take, over the time it took.
        let at_peak: f64 = of.iter().map(|l| l.us * l.share_of_peak.unwrap_or(0.0)).sum();
        if of.is_empty() {
            continue;
        }
        text += &format!("{:<10}{us:>9.1} us {:>5.1} %", kind.name(), 100.0 * us / run.max(1e-3));
        if macs > 0 {
            let rate = macs as f64 / us.max(1e-3) / 1e3;
            text += &format!("{rate:>8.1} GMAC/s {:>5.1} % of peak", 100.0 * at_peak / us.max(1e-3));
        }
        text += "\n";
    }
    let sum: f64 = row.layers.iter().map(|layer| layer.us).sum();
    format!("{text}{:<10}{run:>9.1} us the fastest; its layers at their fastest {sum:.1} us together\n", "run")
}

/// What a combination is called above its layers.
pub fn title(row: &Row) -> String {
    let threads = if row.threads == 1 { "1 thread".into() } else { format!("{} threads", row.threads) };
    format!("{}: {} {}, {}, {threads}", row.model, row.network, row.precision, row.isa)
}
