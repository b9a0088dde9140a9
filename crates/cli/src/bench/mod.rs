//! `quantlens bench`: how long networks take, by precision, threads and instruction set, and which layers take it.

mod measure;
mod picture;
mod profile;
mod start;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use quantlens::engine::Graph;
use quantlens::{Isa, Options, Plan, Tensor};
use serde::Serialize;

use self::measure::{Budget, Lane};
use self::profile::{Layer, PeakRate};
use self::start::Start;
use crate::args::BenchArgs;
use crate::{models, output};

/// What `--json` writes.
#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    target: String,
    /// The processor's name, where the system tells.
    cpu: Option<String>,
    cores: usize,
    /// `latency`: all threads share an image. `throughput`: an image a thread.
    mode: &'static str,
    rounds: usize,
    /// Of each model.
    starts: Vec<Start>,
    /// Measured beside the layers.
    peaks: Vec<PeakRate>,
    results: Vec<Row>,
}

/// One combination.
#[derive(Debug, Serialize)]
struct Row {
    model: String,
    network: String,
    precision: String,
    isa: &'static str,
    threads: usize,
    input_size: [usize; 2],
    multiply_adds: u64,
    runs: usize,
    /// Milliseconds an image.
    ms: Percentiles,
    /// Images a second of all threads together; throughput mode only.
    #[serde(skip_serializing_if = "Option::is_none")]
    images_per_second: Option<f64>,
    /// Fastest of the profiled runs in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_us: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layer>,
}

/// Of run times; in between two of them, interpolated linearly (NumPy's default).
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Percentiles {
    min: f64,
    p50: f64,
    p90: f64,
    p99: f64,
}

/// A network with its input.
struct Network {
    path: PathBuf,
    graph: Arc<Graph>,
    name: String,
    precision: String,
    input: Tensor,
    size: [usize; 2],
    start: Start,
}

/// Runs the subcommand.
pub fn run(args: &BenchArgs) -> Result<()> {
    [&args.json, &args.picture].into_iter().flatten().try_for_each(|path| output::check_parent(path))?;
    let (isas, threads) = (isas(args)?, threads(args));
    let networks = load(args, isas[0])?;
    let mut lanes = lanes(&networks, &isas, &threads, args.throughput)?;
    let budget = args.runs.map_or(Budget::Seconds(args.seconds), Budget::Runs);
    let rounds = measure::rounds(&mut lanes, budget)?;
    let mut report = report(args, &networks, &lanes, rounds);
    if args.profile || args.picture.is_some() {
        report.peaks = profile::run(&mut lanes, &isas, &mut report.results)?;
    }
    if let Some(path) = &args.json {
        let json = serde_json::to_string_pretty(&report)?;
        output::write_file(path, |file| Ok(writeln!(file, "{json}")?))?;
    }
    if let Some(path) = &args.picture {
        let svg = picture::draw(&report);
        output::write_file(path, |file| Ok(file.write_all(svg.as_bytes())?))?;
    }
    output::print(&text(&report))
}

fn load(args: &BenchArgs, isa: Isa) -> Result<Vec<Network>> {
    let demo = models::DEMO.map(PathBuf::from);
    let paths = if args.models.is_empty() { &demo[..] } else { &args.models };
    if paths.iter().any(|path| models::is_demo(path)) {
        output::hint(
            "note: the demo pair is a narrow MobileNetV2, made to show that everything works; it is no torchvision network",
        );
    }
    paths.iter().map(|path| network(path, args, isa)).collect()
}

fn network(path: &Path, args: &BenchArgs, isa: Isa) -> Result<Network> {
    let (network, input_size) = (args.network.clone(), args.input_size);
    let options = Options { network, input_size, isa: Some(isa), ..Options::default() };
    let (model, start) = start::load(path, &options)?;
    Ok(Network {
        path: path.to_path_buf(),
        graph: Arc::clone(&model.network().graph),
        name: model.network().network.clone(),
        precision: models::precision(&model),
        input: model.input(&quantlens_data::demo_image()),
        size: model.plan().input_size(),
        start,
    })
}

fn isas(args: &BenchArgs) -> Result<Vec<Isa>> {
    if args.isa.is_empty() { Ok(vec![Isa::from_env()?]) } else { Ok(distinct(&args.isa)) }
}

fn threads(args: &BenchArgs) -> Vec<usize> {
    if args.threads.is_empty() { distinct(&[1, models::cores()]) } else { distinct(&args.threads) }
}

/// The values, the first of equals alone.
fn distinct<T: Copy + PartialEq>(values: &[T]) -> Vec<T> {
    let mut kept = Vec::new();
    for value in values {
        if !kept.contains(value) {
            kept.push(*value);
        }
    }
    kept
}

/// Every combination, ready to run.
fn lanes<'a>(networks: &'a [Network], isas: &[Isa], threads: &[usize], throughput: bool) -> Result<Vec<Lane<'a>>> {
    let mut lanes = Vec::new();
    for network in networks {
        for &isa in isas {
            let plan = |threads: usize| {
                let [h, w] = network.size;
                let plan = Plan::builder(&network.graph).input_size(h, w).threads(threads).isa(isa).build();
                plan.with_context(|| network.path.display().to_string())
            };
            for &threads in threads {
                lanes.push(if throughput {
                    Lane::throughput(network, plan(1)?, threads)
                } else {
                    Lane::latency(network, plan(threads)?)
                });
            }
        }
    }
    Ok(lanes)
}

fn report(args: &BenchArgs, networks: &[Network], lanes: &[Lane<'_>], rounds: usize) -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION"),
        target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        cpu: cpu(),
        cores: models::cores(),
        mode: if args.throughput { "throughput" } else { "latency" },
        rounds,
        starts: networks.iter().map(|network| network.start.clone()).collect(),
        peaks: Vec::new(),
        results: lanes.iter().map(row).collect(),
    }
}

fn row(lane: &Lane<'_>) -> Row {
    Row {
        model: lane.network.path.display().to_string(),
        network: lane.network.name.clone(),
        precision: lane.network.precision.clone(),
        isa: lane.plan.isa().name(),
        threads: lane.threads,
        input_size: lane.network.size,
        multiply_adds: lane.plan.macs(),
        runs: lane.nanos.len(),
        ms: Percentiles::of(&lane.nanos),
        images_per_second: lane.images_per_second(),
        run_us: None,
        layers: Vec::new(),
    }
}

/// The first processor's name in Linux' list; other systems are not asked.
fn cpu() -> Option<String> {
    let list = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = list.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_string())
}

impl Percentiles {
    /// Milliseconds, of at least one run's nanoseconds.
    fn of(nanos: &[u64]) -> Self {
        let mut sorted = nanos.to_vec();
        sorted.sort_unstable();
        let at = |q: f64| quantile(&sorted, q) / 1e6;
        Self { min: at(0.0), p50: at(0.5), p90: at(0.9), p99: at(0.99) }
    }
}

/// A quantile of sorted values; 0 of none.
fn quantile(sorted: &[u64], q: f64) -> f64 {
    let place = q * sorted.len().saturating_sub(1) as f64;
    let value = |place: f64| sorted.get(place as usize).copied().unwrap_or(0) as f64;
    value(place.floor()) + (value(place.ceil()) - value(place.floor())) * place.fract()
}

/// The median of values in any order, which it sorts; 0 of none.
fn median(values: &mut [u64]) -> f64 {
    values.sort_unstable();
    quantile(values, 0.5)
}

fn text(report: &Report) -> String {
    let throughput = report.mode == "throughput";
    let cpu = report.cpu.as_deref().unwrap_or("unknown processor");
    let counted = format!("{}, {} cores, {} rounds", cpu, report.cores, report.rounds);
    let what = if throughput { "milliseconds an image, an image a thread" } else { "milliseconds an image" };
    let mut header = vec!["model", "network", "precision", "kernels", "threads", "runs", "min", "p50", "p90", "p99"];
    header.push(if throughput { "images/s" } else { "GMAC/s" });
    let mut table = output::table(&header, &[4, 5, 6, 7, 8, 9, 10]);
    for row in &report.results {
        let Percentiles { min, p50, p90, p99 } = row.ms;
        let rate = row.images_per_second.map_or_else(
            || format!("{:.1}", row.multiply_adds as f64 / p50.max(1e-6) / 1e6),
            |images| format!("{images:.1}"),
        );
        let mut cells = vec![row.model.clone(), row.network.clone(), row.precision.clone(), row.isa.to_string()];
        cells.extend([row.threads.to_string(), row.runs.to_string()]);
        cells.extend([min, p50, p90, p99].map(|ms| format!("{ms:.3}")));
        cells.push(rate);
        table.add_row(cells);
    }
    let tables = [output::lines(&table), start::text(&report.starts), profile::text(report)];
    format!("{counted}; {what}\n\n{}", tables.concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_interpolate() {
        let nanos: Vec<u64> = (0..=100).rev().map(|n| n * 1_000_000).collect();
        assert_eq!(Percentiles::of(&nanos), Percentiles { min: 0.0, p50: 50.0, p90: 90.0, p99: 99.0 });
        let two = Percentiles::of(&[2_000_000, 1_000_000]);
        assert_eq!((two.min, two.p50, two.p90), (1.0, 1.5, 1.9));
        let one = Percentiles::of(&[5_000_000]);
        assert_eq!((one.min, one.p99), (5.0, 5.0));
    }

    #[test]
    fn values_are_kept_once() {
        assert_eq!(distinct(&[2, 1, 2, 1]), [2, 1]);
    }
}
