//! `quantlens infer`: images, or ready inputs, through one model; predictions to the terminal, logits and taps to a
//! file.

use anyhow::{Context, Result};
use quantlens::{DecodeOptions, Model, Options};
use quantlens_tensor::{Layout, Tensor};
use serde::Serialize;

use crate::args::InferArgs;
use crate::inputs::{self, Input, Readable};
use crate::labels::{self, Guess};
use crate::{models, output, tensors};

/// What the inputs are: pictures to decode, or tensors.
enum Source {
    Images(Vec<Input>, DecodeOptions),
    Ready(String, Vec<Tensor>),
}

/// What the outputs call the logits.
const LOGITS: &str = "logits";

/// The layers to keep, each once; logits are kept in any case.
fn taps(args: &InferArgs) -> Vec<&str> {
    let mut taps = Vec::new();
    for name in args.tap.iter().map(String::as_str).filter(|&name| name != LOGITS) {
        if !taps.contains(&name) {
            taps.push(name);
        }
    }
    taps
}

/// The results of one input.
struct Outcome {
    label: String,
    guesses: Vec<Guess>,
    /// Logits first, then the taps in the order asked for.
    kept: Vec<Tensor>,
}

/// Runs the subcommand.
pub fn run(args: &InferArgs) -> Result<()> {
    if let Some(out) = &args.out {
        output::check_parent(&out.path)?;
    }
    let decode = inputs::decode_options(&args.image, "infer")?;
    let images = inputs::expand(&args.images)?;
    // One image a thread where there are several, else all threads on the one: no result depends on it.
    let threads = models::threads(&args.engine);
    let single = images.len() == 1;
    let options = Options {
        taps: taps(args).into_iter().map(Into::into).collect(),
        ..models::options(&args.engine, args.network.as_deref(), args.image.stretch, if single { threads } else { 1 })?
    };
    let model = models::load(&args.model, &options)?;
    if models::is_untrained(&model) {
        output::hint(models::UNTRAINED);
    }
    let source = match &args.tensors {
        None => Source::Images(images, decode),
        Some(path) => {
            let ready = tensors::read_inputs(path, &args.key, model.preprocess().crop)?;
            Source::Ready(path.display().to_string(), ready)
        }
    };
    let outcomes = infer_all(args, &model, &source, if single { 1 } else { threads })?;
    let mut outcomes = Readable::sort(outcomes)?;
    let report: String = outcomes.done.iter().map(text).collect();
    write(args, &model, &source, std::mem::take(&mut outcomes.done))?;
    output::print(&report)?;
    outcomes.finish()
}

/// The inputs' results; the inner failures are pictures that cannot be read.
fn infer_all(args: &InferArgs, model: &Model, source: &Source, threads: usize) -> Result<Vec<Result<Outcome>>> {
    let count = match source {
        Source::Images(images, _) => images.len(),
        Source::Ready(_, ready) => ready.len(),
    };
    let progress = output::progress(count, "images");
    let outcomes = inputs::parallel(count, threads, |i| {
        let outcome = match source {
            Source::Images(images, decode) => match images[i].read(decode) {
                Ok(image) => infer(args, model, images[i].label(), &model.input(&image)).map(Ok),
                // A stack of tensors without some of its rows would be taken for the whole.
                Err(unreadable) if args.out.is_some() => Err(unreadable),
                Err(unreadable) => Ok(Err(unreadable)),
            },
            Source::Ready(file, ready) => infer(args, model, format!("{file}[{i}]"), &ready[i]).map(Ok),
        };
        progress.inc(1);
        outcome
    });
    progress.finish_and_clear();
    outcomes
}

fn infer(args: &InferArgs, model: &Model, label: String, input: &Tensor) -> Result<Outcome> {
    model
        .run(input, |session| {
            let logits = session.logits().to_vec();
            let guesses = labels::guesses(model, &logits, args.top);
            let mut kept = Vec::new();
            if args.out.is_some() {
                let classes = logits.len();
                kept.push(Tensor::new(logits, [1, classes], Layout::RowMajor)?);
                for name in taps(args) {
                    kept.push(session.tap(name)?);
                }
            }
            Ok(Outcome { label: label.clone(), guesses, kept })
        })
        .map_err(anyhow::Error::from)
        .and_then(|outcome| outcome)
        .with_context(|| label.clone())
}

fn text(outcome: &Outcome) -> String {
    let lines: String = outcome.guesses.iter().map(|g| format!("  {}\n", g.line())).collect();
    format!("{}\n{lines}", outcome.label)
}

/// What made the outputs, as it is written beside them.
#[derive(Serialize)]
struct About<'a> {
    quantlens: &'static str,
    model: String,
    model_sha256: &'a str,
    network: &'a str,
    precision: String,
    untrained: bool,
    /// Height and width.
    input_size: [usize; 2],
    isa: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<Decoding>,
    inputs: Vec<InputReport<'a>>,
}

#[derive(Serialize)]
struct Decoding {
    decoder: &'static str,
    exif: bool,
    stretch: bool,
}

#[derive(Serialize)]
struct InputReport<'a> {
    input: &'a str,
    predictions: &'a [Guess],
}

fn about<'a>(args: &InferArgs, model: &'a Model, source: &Source, outcomes: &'a [Outcome]) -> About<'a> {
    let network = model.network();
    let images = match source {
        Source::Images(_, decode) => {
            Some(Decoding { decoder: decode.decoder.name(), exif: decode.orient, stretch: args.image.stretch })
        }
        Source::Ready(..) => None,
    };
    About {
        quantlens: env!("CARGO_PKG_VERSION"),
        model: args.model.display().to_string(),
        model_sha256: &network.file_sha256,
        network: &network.network,
        precision: models::precision(model),
        untrained: models::is_untrained(model),
        input_size: model.preprocess().crop,
        isa: model.plan().isa().name(),
        images,
        inputs: outcomes.iter().map(|o| InputReport { input: &o.label, predictions: &o.guesses }).collect(),
    }
}

/// Writes what was kept of each input, stacked, to `--out`.
fn write(args: &InferArgs, model: &Model, source: &Source, mut outcomes: Vec<Outcome>) -> Result<()> {
    let Some(out) = &args.out else { return Ok(()) };
    let names = std::iter::once(LOGITS).chain(taps(args));
    let mut columns: Vec<(&str, Vec<Tensor>)> = names.map(|name| (name, Vec::new())).collect();
    for outcome in &mut outcomes {
        for ((_, column), tensor) in columns.iter_mut().zip(outcome.kept.drain(..)) {
            column.push(tensor);
        }
    }
    let stacked = columns.into_iter().map(|(name, parts)| Ok((name.to_string(), tensors::stack(parts)?)));
    tensors::write(out, &stacked.collect::<Result<Vec<_>>>()?, &about(args, model, source, &outcomes))
}
