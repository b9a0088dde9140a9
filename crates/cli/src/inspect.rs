//! `quantlens inspect`: what a model file holds and how it runs: layers, shapes, kernels, scales, sizes,
//! multiply-adds, and on request the time of each step.

use anyhow::Result;
use quantlens::Model;
use quantlens_engine::StepInfo;
use quantlens_tensor::{Layout, Tensor};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::args::InspectArgs;
use crate::output::thousands;
use crate::{models, output};

/// What the subcommand prints.
#[derive(Debug, Serialize)]
struct Inspection {
    model: String,
    network: String,
    precision: String,
    untrained: bool,
    sha256: String,
    file_bytes: u64,
    parameters: u64,
    multiply_adds: u64,
    /// Packed weights in memory.
    weight_bytes: usize,
    /// Activations and scratch of one session.
    session_bytes: usize,
    isa: &'static str,
    /// Height and width.
    input_size: [usize; 2],
    classes: usize,
    cam_layer: String,
    metadata: Map<String, Value>,
    steps: Vec<Step>,
    /// Median time of a run in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    run_us: Option<f64>,
}

/// One step of the plan.
#[derive(Debug, Serialize)]
struct Step {
    name: String,
    /// Other names of the same tensor.
    aliases: Vec<String>,
    op: String,
    kernel: String,
    /// Height, width, channels.
    shape: [usize; 3],
    /// Scale and zero point of the output.
    #[serde(skip_serializing_if = "Option::is_none")]
    scale: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zero_point: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<Weights>,
    multiply_adds: u64,
    /// Median time in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    us: Option<f64>,
}

/// A layer's weights.
#[derive(Debug, Serialize)]
struct Weights {
    /// OIHW or OI.
    shape: Vec<usize>,
    /// Weights and biases.
    parameters: usize,
    /// None for float weights, one, or one an output channel.
    scales: Vec<f32>,
}

/// Runs the subcommand.
pub fn run(args: &InspectArgs) -> Result<()> {
    let threads = models::threads(&args.engine);
    let options = models::options(&args.engine, args.network.as_deref(), false, threads)?;
    let model = models::load(&args.model, &options)?;
    if models::is_untrained(&model) {
        output::hint(models::UNTRAINED);
    }
    let mut found = inspect(args, &model);
    if let Some(runs) = args.profile {
        profile(&model, usize::from(runs), &mut found)?;
    }
    if args.json { output::print_json(&found) } else { output::print(&text(&found)) }
}

fn inspect(args: &InspectArgs, model: &Model) -> Inspection {
    let (network, plan) = (model.network(), model.plan());
    Inspection {
        model: args.model.display().to_string(),
        network: network.network.clone(),
        precision: models::precision(model),
        untrained: models::is_untrained(model),
        sha256: network.file_sha256.clone(),
        file_bytes: network.size_bytes,
        parameters: network.parameters,
        multiply_adds: plan.macs(),
        weight_bytes: plan.weight_bytes(),
        session_bytes: plan.arena_bytes(),
        isa: plan.isa().name(),
        input_size: plan.input_size(),
        classes: network.class_count,
        cam_layer: network.cam_layer.clone(),
        metadata: metadata(model),
        steps: plan.steps().iter().flat_map(|info| listed(args, info)).map(|info| step(model, info)).collect(),
        run_us: None,
    }
}

/// The steps to list: a chain's layers one by one where nobody asks how long they take, which is only known of all together.
fn listed<'i>(args: &InspectArgs, info: &'i StepInfo) -> &'i [StepInfo] {
    if info.links.is_empty() || args.profile.is_some() { std::slice::from_ref(info) } else { &info.links }
}

/// What the file says of itself, but for the list of classes, which is long.
fn metadata(model: &Model) -> Map<String, Value> {
    let m = model.metadata();
    let text = [
        ("format_version", &m.format_version),
        ("twin", &m.twin),
        ("source", &m.source),
        ("source_sha256", &m.source_sha256),
        ("torch", &m.torch),
        ("licence", &m.licence),
    ];
    let mut all: Map<String, Value> =
        text.into_iter().filter_map(|(key, value)| Some((key.to_string(), value.clone()?.into()))).collect();
    if !m.arguments.is_empty() {
        all.insert("arguments".into(), m.arguments.clone().into());
    }
    if let Some(eps) = m.batch_norm_eps {
        all.insert("batch_norm_eps".into(), short(eps));
    }
    if let Some(p) = &m.preprocess {
        let value = serde_json::json!({
            "resize": p.resize,
            "crop": p.crop,
            "interpolation": p.interpolation.to_string(),
            "mean": p.mean.map(short),
            "std": p.std.map(short),
        });
        all.insert("preprocess".into(), value);
    }
    all.extend(m.other.iter().map(|(key, value)| (key.clone(), value.clone().into())));
    all
}

/// The number with the digits it was written with: 0.485, not the 0.48500001430511475 of the f32 in f64.
fn short(x: f32) -> Value {
    x.to_string().parse::<f64>().map_or(Value::Null, Value::from)
}

fn step(model: &Model, info: &StepInfo) -> Step {
    let graph = &model.network().graph;
    Step {
        name: info.name.clone(),
        aliases: graph.find(&info.name).map(|id| graph.tensor(id).aliases.clone()).unwrap_or_default(),
        op: info.op.into(),
        kernel: info.kernel.clone(),
        shape: info.out_shape,
        scale: info.quant.map(|q| q.scale),
        zero_point: info.quant.map(|q| q.zero_point),
        weights: (!info.weight_shape.is_empty()).then(|| Weights {
            shape: info.weight_shape.clone(),
            parameters: info.parameters,
            scales: info.weight_scales.clone(),
        }),
        multiply_adds: info.macs,
        us: None,
    }
}

/// Median times over `runs` runs on a blank input, after one that warms up.
fn profile(model: &Model, runs: usize, found: &mut Inspection) -> Result<()> {
    let [h, w] = model.plan().input_size();
    let input = Tensor::new(vec![0f32; 3 * h * w], [1, 3, h, w], Layout::Nchw)?;
    let mut session = model.plan().session();
    session.run(&input)?;
    session.profile(true);
    let mut times: Vec<Vec<u64>> = vec![Vec::new(); found.steps.len()];
    let mut totals = Vec::new();
    for _ in 0..runs {
        session.run(&input)?;
        let Some(profile) = session.last_profile() else { continue };
        totals.push(profile.total_nanos);
        for (times, step) in times.iter_mut().zip(profile.steps) {
            times.push(step.nanos);
        }
    }
    found.run_us = Some(median_us(totals));
    for (step, times) in found.steps.iter_mut().zip(times) {
        step.us = Some(median_us(times));
    }
    Ok(())
}

fn median_us(mut nanos: Vec<u64>) -> f64 {
    nanos.sort_unstable();
    let middle = nanos.get(nanos.len() / 2).copied().unwrap_or(0);
    middle as f64 / 1000.0
}

fn text(found: &Inspection) -> String {
    let classes = found.classes;
    let mut text = format!(
        "model          {}\n\
         network        {}, {}, {classes} classes\n\
         sha256         {}\n\
         file           {} bytes\n\
         parameters     {}\n\
         input          {}x{}\n\
         multiply-adds  {}\n\
         memory         {} bytes of packed weights, {} a session\n\
         kernels        {}\n\
         cam layer      {}\n",
        found.model,
        found.network,
        found.precision,
        found.sha256,
        thousands(found.file_bytes),
        thousands(found.parameters),
        found.input_size[0],
        found.input_size[1],
        thousands(found.multiply_adds),
        thousands(found.weight_bytes as u64),
        thousands(found.session_bytes as u64),
        found.isa,
        found.cam_layer,
    );
    for (key, value) in &found.metadata {
        let value = value.as_str().map_or_else(|| value.to_string(), Into::into);
        text += &format!("{key:<15}{value}\n");
    }
    if let Some(us) = found.run_us {
        text += &format!("a run          {:.2} ms (median)\n", us / 1000.0);
    }
    format!("{text}\n{}", steps(found))
}

fn steps(found: &Inspection) -> String {
    let timed = found.run_us.is_some();
    let mut header = vec!["output", "op", "h", "w", "c", "weights", "weight scale", "scale", "zero point"];
    header.extend(["multiply-adds", "kernel"]);
    if timed {
        header.extend(["us", "GMAC/s"]);
    }
    let mut table = output::table(&header, &[2, 3, 4, 7, 8, 9, 11, 12]);
    for step in &found.steps {
        let [h, w, c] = step.shape.map(|n| n.to_string());
        let number = |n: Option<String>| n.unwrap_or_default();
        let mut row = vec![step.name.clone(), step.op.clone(), h, w, c];
        row.push(step.weights.as_ref().map(|w| join(&w.shape)).unwrap_or_default());
        row.push(step.weights.as_ref().map(|w| scales(&w.scales)).unwrap_or_default());
        row.push(number(step.scale.map(|s| format!("{s:.6}"))));
        row.push(number(step.zero_point.map(|z| z.to_string())));
        row.push(if step.multiply_adds > 0 { thousands(step.multiply_adds) } else { String::new() });
        row.push(step.kernel.clone());
        if let (true, Some(us)) = (timed, step.us) {
            row.push(format!("{us:.1}"));
            let rate = step.multiply_adds as f64 / us.max(1e-3) / 1000.0;
            row.push(if step.multiply_adds > 0 { format!("{rate:.1}") } else { String::new() });
        }
        table.add_row(row);
    }
    output::lines(&table)
}

fn join(shape: &[usize]) -> String {
    shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
}

/// One scale, or the range of many.
fn scales(scales: &[f32]) -> String {
    let low = scales.iter().copied().fold(f32::INFINITY, f32::min);
    let high = scales.iter().copied().fold(0f32, f32::max);
    match scales.len() {
        0 => String::new(),
        1 => format!("{low:.6}"),
        n => format!("{low:.6}..{high:.6} ({n})"),
    }
}
