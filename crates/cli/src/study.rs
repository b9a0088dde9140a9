//! `quantlens study`: pairs of networks over a data set; records, and the tables in every format.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use quantlens::{DecodeOptions, Geometry};
use quantlens_data::scenes::SceneRange;
use quantlens_data::{Class, Dataset, OpenOptions, Sample};
use quantlens_study::statistics::Bootstrap;
use quantlens_study::{
    CurveOptions, CurveReport, Error, FIGURES, PairSpec, Progress, REPORT, Records, ReportOptions, ScanReport, Shard,
    StudyConfig, Summary, SummaryOptions, TableFormat, TimingOptions, render, run_curves, run_mean_activations,
    run_methods, run_report, run_scan, run_timing, summarize,
};
use quantlens_xai::{BoxOptions, BoxRule, SignPolicy};

use crate::args::{self, BoxRuleName, GeometryName, StudyArgs, TablesName};
use crate::parse::StudySigns;
use crate::stages::{self, Stages};
use crate::{models, output};

/// Runs the subcommand.
pub fn run(args: &StudyArgs) -> Result<()> {
    let stages = Stages::default();
    let mut config = configure(args, &stages)?;
    stages::catch_interrupts();
    tell(args, &run_scan(&config, &stages)?);
    if config.shard == Shard::ALL && !args.no_timing {
        let options =
            TimingOptions { rounds: args.timing_rounds, images: args.timing_images, threads: args.timing_threads };
        run_timing(&config, options, &stages)?;
    }
    if let Some(images) = args.methods {
        run_methods(&config, images, &stages)?;
    }
    let complete = Records::open(&config.out_dir)?.missing_images() == 0;
    if !complete && !args.no_curves {
        output::hint(
            "deletion and insertion wait for the other shares' records: put them here and run this command again",
        );
    }
    if complete && !args.no_curves {
        let mut main = true;
        for signs in args.signs.policies() {
            config.signs = signs;
            main &= applicable(args, signs, perturb(args, &config, main, &stages))?.is_none();
        }
    }
    let mut names = TableFormat::ALL.map(TableFormat::file_name).join(", ");
    let mut main = true;
    for signs in args.signs.policies() {
        config.signs = signs;
        let options = summary_options(args, signs);
        let found = summarize(&config.out_dir, &options, &stages);
        let Some(summary) = applicable(args, signs, found)? else { continue };
        write_tables(args, &config.out_dir, &summary, (!main).then_some(signs))?;
        if main && config.shard == Shard::ALL && !args.no_report {
            names += &report(args, &config, &summary, &options, &stages)?;
        }
        main = false;
    }
    output::hint(&format!("records, {names} are in {}", config.out_dir.display()));
    Ok(())
}

/// What a policy gave; of all policies, one that does not apply to the layer is left out.
fn applicable<T>(args: &StudyArgs, signs: SignPolicy, found: Result<T, Error>) -> Result<Option<T>, Error> {
    match found {
        Err(Error::Xai(why @ quantlens_xai::Error::LapackSign { .. })) if args.signs == StudySigns::All => {
            output::hint(&format!("signs {signs} are left out: {why}"));
            Ok(None)
        }
        other => other.map(Some),
    }
}

/// Writes the report and the figures; says how the names of the files go on.
fn report(
    args: &StudyArgs,
    config: &StudyConfig,
    summary: &Summary,
    options: &SummaryOptions,
    stages: &Stages,
) -> Result<String, Error> {
    let size = ReportOptions { pairs: args.report_pairs, max_bytes: 1_000_000 * args.report_mb as usize };
    let report = run_report(config, summary, options, &size, stages)?;
    if report.pairs < args.report_pairs && report.pairs < summary.pairs.iter().map(|p| p.images).max().unwrap_or(0) {
        output::hint(&format!("the gallery has {} images a pair: more would not fit (--report-mb)", report.pairs));
    }
    Ok(format!(", {REPORT} ({:.1} MB), {FIGURES}/", report.bytes as f64 / 1e6))
}

/// Deletion and insertion under the configuration's signs and, for the main tables, the subset's mean activation.
fn perturb(args: &StudyArgs, config: &StudyConfig, main: bool, stages: &Stages) -> Result<(), Error> {
    let options = CurveOptions {
        delete_to: args.delete_to,
        insert_on: args.insert_on,
        true_class: args.follow_true,
        whole: args.whole,
        shard: config.shard,
    };
    tell_curves(&run_curves(config, options, stages)?);
    if main && config.shard == Shard::ALL {
        run_mean_activations(config, stages)?;
    }
    Ok(())
}

fn summary_options(args: &StudyArgs, signs: SignPolicy) -> SummaryOptions {
    let bootstrap = Bootstrap { seed: args.seed, resamples: args.resamples, ..Bootstrap::default() };
    let rule = match args.box_rule {
        BoxRuleName::Contour => BoxRule::LargestContour,
        BoxRuleName::Pixels => BoxRule::MostPixels,
    };
    let boxes = BoxOptions { rule, ..BoxOptions::default() };
    SummaryOptions { signs, threshold: args.threshold, boxes, whole: args.whole, bootstrap }
}

/// Writes the tables in every format, the main ones and those of further signs apart, and prints the main ones.
fn write_tables(args: &StudyArgs, folder: &Path, summary: &Summary, signs: Option<SignPolicy>) -> Result<()> {
    let printed = if args.json { TableFormat::Json } else { args.tables.into() };
    for format in TableFormat::ALL {
        let text = render(summary, format);
        let name = match signs {
            Some(signs) => {
                format.file_name().replace("tables", &format!("tables-{}", signs.to_string().replace(':', "-")))
            }
            None => format.file_name().into(),
        };
        output::write_file(&folder.join(name), |f| Ok(std::io::Write::write_all(f, text.as_bytes())?))?;
        if format == printed && signs.is_none() {
            output::print(&text)?;
        }
    }
    Ok(())
}

impl From<TablesName> for TableFormat {
    fn from(name: TablesName) -> Self {
        match name {
            TablesName::Terminal => Self::Terminal,
            TablesName::Markdown => Self::Markdown,
            TablesName::Csv => Self::Csv,
            TablesName::Latex => Self::Latex,
            TablesName::Json => Self::Json,
        }
    }
}

/// Opens the images. Labels of tens of thousands of rendered scenes are a stage of their own.
fn open_dataset(path: &Path, options: &OpenOptions, stages: &Stages) -> Result<Dataset> {
    if let Some(Ok(range)) = path.to_str().map(str::parse::<SceneRange>) {
        stages.start("labels", range.numbers.end - range.numbers.start, 0);
    }
    let dataset = Dataset::open_with_progress(path, options, &|labels| stages.advance(labels));
    stages.finish();
    Ok(dataset?)
}

fn configure(args: &StudyArgs, stages: &Stages) -> Result<StudyConfig> {
    let decoder = args::decoder(args.decoder, "study")?;
    output::check_folder(&args.out)?;
    let embedded: Vec<String> = if args.pair.is_empty() { embedded_pairs()? } else { Vec::new() };
    let named = args.pair.iter().chain(&embedded).map(|p| split_pair(p)).collect::<Result<Vec<_>>>()?;
    let options = OpenOptions {
        format: args.format.into(),
        labels: args.labels.into(),
        labels_file: args.labels_file.clone(),
        boxes: args.boxes.clone(),
        skip_missing: args.skip_missing,
    };
    let dataset = open_dataset(&args.data, &options, stages)?;
    let pairs = named.iter().map(|names| open_pair(names, args.network.as_deref())).collect::<Result<Vec<_>>>()?;
    output::hint(&dataset.description);
    let samples = &dataset.samples[..dataset.samples.len().min(args.limit.unwrap_or(usize::MAX))];
    pairs.iter().filter_map(|pair| unknown_classes(pair, samples)).for_each(|text| output::hint(&text));
    Ok(StudyConfig {
        data_name: data_name(&args.data),
        decode: DecodeOptions { decoder, orient: args.exif, ..DecodeOptions::default() },
        geometry: match args.geometry {
            GeometryName::ResizeCrop => Geometry::ResizeCrop,
            GeometryName::Stretch => Geometry::Stretch,
        },
        input_size: args.engine.input_size,
        layer: args.layer.clone(),
        limit: args.limit,
        threads: models::threads(&args.engine),
        isa: models::isa(&args.engine)?,
        shard: args.shard.unwrap_or(Shard::ALL),
        ..StudyConfig::new(pairs, dataset, &args.out)
    })
}

/// The pairs of a study that names none: those of the pack.
///
/// # Errors
/// A usage error where this build has none.
fn embedded_pairs() -> Result<Vec<String>> {
    let pairs: Vec<String> = quantlens_weights::pack().iter().map(|pair| models::pack_names(pair).join(",")).collect();
    if pairs.is_empty() {
        let message = "this build has no embedded networks (cargo feature `pack`): name two files with --pair";
        return Err(args::usage("study", message));
    }
    output::hint(DEMONSTRATION);
    Ok(pairs)
}

/// What is said before a study of the pack.
const DEMONSTRATION: &str = "These are quantlens' demonstration networks: narrow, and trained on rendered scenes \
    (weights/README.md). For torchvision's networks on ImageNet, export them with tools/export.py, then: \
    quantlens study --pair FLOAT,INT8 --data ILSVRC2012/val --labels wnids --labels-file LABELS";

/// A `--pair`: its name, where given, and the two files.
#[derive(Debug, PartialEq)]
struct Pair<'a> {
    name: Option<&'a str>,
    float: &'a Path,
    int8: &'a Path,
}

/// Reads `NAME=FLOAT,INT8`. What stands before `=` is a name unless it looks like a path.
fn split_pair(text: &str) -> Result<Pair<'_>> {
    let (name, files) = match text.split_once('=') {
        Some((name, files)) if !name.contains(['/', '\\', ',']) => (Some(name), files),
        _ => (None, text),
    };
    match files.split(',').collect::<Vec<_>>()[..] {
        [float, int8] if !float.is_empty() && !int8.is_empty() && name != Some("") => {
            Ok(Pair { name, float: Path::new(float), int8: Path::new(int8) })
        }
        _ => Err(args::usage("study", format!("--pair {text:?}: expected FLOAT,INT8 or NAME=FLOAT,INT8"))),
    }
}

fn open_pair(pair: &Pair<'_>, network: Option<&str>) -> Result<PairSpec> {
    let open = |path: &Path| {
        let file = models::open(path)?;
        let model = quantlens::nets::load(&file, network).with_context(|| path.display().to_string())?;
        Ok::<_, anyhow::Error>((model, models::says_untrained(file.metadata())))
    };
    let ((float, a), (int8, b)) = (open(pair.float)?, open(pair.int8)?);
    if a || b {
        output::hint(models::UNTRAINED);
    }
    let name = pair.name.map_or_else(|| float.network.clone(), Into::into);
    Ok(PairSpec { name, float, int8 })
}

/// What to say of labelled images whose class a pair does not know, and which its accuracy leaves out.
fn unknown_classes(pair: &PairSpec, samples: &[Sample]) -> Option<String> {
    let known = |c: &Class| [&pair.float, &pair.int8].iter().all(|model| c.index_in(&model.classes).is_some());
    let labels: Vec<&Class> = samples.iter().filter_map(|s| s.class.as_ref()).collect();
    let unknown: Vec<&Class> = labels.iter().copied().filter(|c| !known(c)).collect();
    let first = unknown.first()?;
    Some(format!(
        "hint: {}: {} of {} labels are none of the network's classes, the first is {:?}; accuracy leaves these images out. \
         Classes meet by wnid where both have one, else by name, else by index",
        pair.name,
        unknown.len(),
        labels.len(),
        first.wnid.as_ref().unwrap_or(&first.name)
    ))
}

/// What records call the data set: its last folder or file, since they do not say where it lies.
fn data_name(path: &Path) -> String {
    let whole = fs::canonicalize(path).unwrap_or_else(|_| path.into());
    whole.file_name().map_or_else(|| "images".into(), |name| name.to_string_lossy().into_owned())
}

/// What the scan did, and what it could not read.
fn tell(args: &StudyArgs, report: &ScanReport) {
    if report.kept > 0 {
        output::hint(&format!("{} images were in {} already", report.kept, args.out.display()));
    }
    if !report.unreadable.is_empty() {
        output::hint(&format!("{} images could not be read; their records say why", report.unreadable.len()));
    }
}

/// How fast deletion and insertion were.
fn tell_curves(report: &CurveReport) {
    if report.kept > 0 {
        output::hint(&format!("deletion and insertion of {} images were there already", report.kept));
    }
    if report.images > 0 {
        output::hint(&format!(
            "deletion and insertion of {} images: {} forward passes in {:.1} s, {:.1} a second",
            report.images,
            report.forwards,
            report.seconds,
            report.forwards as f64 / report.seconds.max(1e-9)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_are_read_with_and_without_a_name() {
        let pair = |name, float, int8| Pair { name, float: Path::new(float), int8: Path::new(int8) };
        assert_eq!(split_pair("a.st,b.st").unwrap(), pair(None, "a.st", "b.st"));
        assert_eq!(split_pair("net=a.st,b.st").unwrap(), pair(Some("net"), "a.st", "b.st"));
        assert_eq!(split_pair("x/k=1/a.st,b=2.st").unwrap(), pair(None, "x/k=1/a.st", "b=2.st"));
        for wrong in ["", "a.st", "a.st,", ",b.st", "a,b,c", "=a,b", "net=a"] {
            assert!(split_pair(wrong).unwrap_err().downcast::<clap::Error>().is_ok(), "{wrong}");
        }
    }
}
