//! The command line: subcommands and the arguments they share.

use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use quantlens::Isa;
use quantlens_data::{BBox, Decoder, Format, Labels};
use quantlens_study::Shard;
use quantlens_xai::{Baseline, SignPolicy, Threshold};

use crate::parse::StudySigns;
use crate::parse::{
    parse_baseline, parse_bbox, parse_count, parse_isa, parse_out, parse_seconds, parse_shard, parse_signs, parse_size,
    parse_study_signs, parse_svg, parse_threads, parse_threshold,
};

const ABOUT: &str = "Runs torchvision's CNNs in f32 and int8, exact to PyTorch, and shows where quantization changes \
                     what they look at";

const EXAMPLES: &str = "\
Examples:
  quantlens study                                 the embedded networks over 1,000 rendered scenes
  quantlens cam                                   where one of them looks on four scenes
  quantlens cam f32.safetensors int8.safetensors cat.jpg --out maps
  quantlens infer int8.safetensors cat.jpg dog.png --top 3
  quantlens study --pair f32.safetensors,int8.safetensors --data photos --out study
  quantlens bench f32.safetensors int8.safetensors --threads 1,2 --profile
  quantlens doctor

A model is a safetensors file (weights/README.md describes it; tools/export.py makes it from PyTorch), or one inside this \
command: pack:NETWORK-f32 or pack:NETWORK-int8 with resnet18, shufflenet_v2_x0_5, mobilenet_v2 or mobilenet_v3_large, \
trained on rendered scenes, or demo:f32 or demo:int8, tiny and untrained.

Exit codes: 0 done, 1 the run failed, 2 the command was used wrongly, 130 a study was stopped with Ctrl-C.";

/// The data of a study that names none: rendered scenes.
const DEFAULT_DATA: &str = "scenes:study:0..1000";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "quantlens", version, about = ABOUT, after_help = EXAMPLES, max_term_width = 110)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Classify images, or ready inputs, with one model
    Infer(InferArgs),
    /// Draw where a float network and its int8 twin look, side by side
    Cam(CamArgs),
    /// List a model's layers, shapes, kernels, scales, sizes and multiply-adds
    Inspect(InspectArgs),
    /// Compare pairs of networks over a data set: records and tables
    Study(StudyArgs),
    /// Time networks: latency percentiles or throughput, and on request each layer
    Bench(BenchArgs),
    /// Draw scenes of the rendered data set into files, or raw into a pipe
    Render(crate::render::RenderArgs),
    /// Report version, instruction sets, cores and decoders, and check that the kernels compute
    Doctor(DoctorArgs),
}

/// How a network is run.
#[derive(Debug, Args)]
#[command(next_help_heading = "Engine")]
pub struct EngineArgs {
    /// Instruction set of the kernels [default: QUANTLENS_ISA, else the best this machine has]
    #[arg(long, value_name = "NAME", value_parser = parse_isa)]
    pub isa: Option<Isa>,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N", value_parser = parse_threads)]
    pub threads: Option<usize>,
    /// Input size, for example 224 or 192x256 (height x width) [default: the model's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub input_size: Option<[usize; 2]>,
}

/// How images become inputs.
#[derive(Debug, Args)]
#[command(next_help_heading = "Images")]
pub struct ImageArgs {
    /// JPEG decoder; both give Pillow's pixels, turbojpeg needs a build with that feature [default: pure]
    #[arg(long, value_enum)]
    pub decoder: Option<DecoderName>,
    /// Ignore the EXIF orientation (torchvision's loader ignores it; this command otherwise follows it)
    #[arg(long)]
    pub no_exif: bool,
    /// Stretch images to the input size instead of resizing the shorter side and cropping the centre
    #[arg(long)]
    pub stretch: bool,
}

/// Names of the JPEG decoders.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DecoderName {
    /// quantlens' own, in Rust
    Pure,
    /// libjpeg-turbo
    Turbojpeg,
}

/// `quantlens infer`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quantlens infer int8.safetensors photos/*.jpg
  quantlens infer int8.safetensors cat.jpg --out cat.safetensors --tap features.18
  quantlens infer int8.safetensors --tensors inputs.safetensors --out logits.json")]
pub struct InferArgs {
    /// Model file, or demo:f32 or demo:int8 (small and untrained)
    pub model: PathBuf,
    /// JPEG or PNG files, or folders of them; demo:image is a generated picture, scenes:study:0..10 ten rendered ones
    #[arg(required_unless_present = "tensors", conflicts_with = "tensors")]
    pub images: Vec<PathBuf>,
    /// Ready inputs instead of images: a safetensors file with f32 [N, 3, H, W], normalized
    #[arg(long, value_name = "FILE")]
    pub tensors: Option<PathBuf>,
    /// Name of the tensor in that file
    #[arg(long, value_name = "NAME", default_value = "input", requires = "tensors")]
    pub key: String,
    /// Predictions to print an image
    #[arg(long, value_name = "K", default_value_t = 5)]
    pub top: usize,
    /// Write the logits, and what is tapped, to this .safetensors or .json file
    #[arg(long, value_name = "FILE", value_parser = parse_out)]
    pub out: Option<OutFile>,
    /// Also keep this layer's output, named as in `quantlens inspect`; may be repeated
    #[arg(long, value_name = "LAYER", requires = "out")]
    pub tap: Vec<String>,
    /// Network of a plain state dict whose shapes do not tell
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Engine options.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Image options.
    #[command(flatten)]
    pub image: ImageArgs,
}

/// `quantlens cam`.
#[derive(Debug, Args)]
#[command(
    override_usage = "quantlens cam [OPTIONS] [[FLOAT INT8] IMAGES...]",
    after_help = "\
Each image gives a PNG: the network's input, the float network's map, the int8 network's map. Red is where a network \
looks. RMSE compares the two maps as grey pictures (0 to 255); aligned means after turning one map's sign where the \
two disagree in sign.

Examples:
  quantlens cam                                   the embedded ResNet18 on four rendered scenes
  quantlens cam f32.safetensors int8.safetensors cat.jpg --out maps
  quantlens cam f32.safetensors int8.safetensors photos --maps --json > cams.json
  quantlens cam f32.safetensors int8.safetensors cat.jpg --method ablationcam --box --truth 40,60,310,290"
)]
pub struct CamArgs {
    /// The float model, its int8 twin, then JPEG or PNG files or folders of them. Without models: the embedded
    /// ResNet18. Without images: four rendered scenes
    #[arg(value_name = "[FLOAT INT8] IMAGES")]
    pub paths: Vec<PathBuf>,
    /// Folder for the PNGs; made if absent
    #[arg(long, value_name = "DIR", default_value = "quantlens-cam")]
    pub out: PathBuf,
    /// Layer whose output is explained [default: each model's last convolutional block]
    #[arg(long, value_name = "LAYER")]
    pub layer: Option<String>,
    /// How the map is made
    #[arg(long, value_enum, default_value_t, value_name = "NAME")]
    pub method: MethodName,
    /// Class that ScoreCAM and AblationCAM explain, counted from 0 [default: the most probable of each network]
    #[arg(long, value_name = "INDEX")]
    pub class: Option<usize>,
    /// How EigenCAM's sign is chosen: mean, lapack, peak or random:SEED
    #[arg(long, value_name = "POLICY", default_value = "mean", value_parser = parse_signs)]
    pub signs: SignPolicy,
    /// Draw the box that each map predicts: around the largest contour above this share of the map's maximum, or above
    /// Otsu's threshold (otsu) [default: 0.2]
    #[arg(long = "box", value_name = "THRESHOLD", num_args = 0..=1, require_equals = true, default_missing_value = "0.2",
          value_parser = parse_threshold)]
    pub boxes: Option<Threshold>,
    /// Draw a true box, given in the picture's own pixels, and print how well the predicted ones meet it; may be repeated
    #[arg(long, value_name = "X0,Y0,X1,Y1", requires = "boxes", value_parser = parse_bbox)]
    pub truth: Vec<BBox>,
    /// Also write each map alone as a grey PNG
    #[arg(long)]
    pub maps: bool,
    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,
    /// Predictions to print a network
    #[arg(long, value_name = "K", default_value_t = 3)]
    pub top: usize,
    /// Network of plain state dicts whose shapes do not tell
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Engine options.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// Image options.
    #[command(flatten)]
    pub image: ImageArgs,
}

/// Methods that make a map.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum MethodName {
    /// The activation's first principal component: one forward pass
    #[default]
    #[value(name = "eigencam")]
    Eigen,
    /// Channels weighted by what the network makes of the input they show: a forward pass each
    #[value(name = "scorecam")]
    Score,
    /// Channels weighted by what the network loses without them: a pass from the layer on each
    #[value(name = "ablationcam")]
    Ablation,
}

/// `quantlens inspect`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  quantlens inspect int8.safetensors
  quantlens inspect int8.safetensors --profile --threads 1
  quantlens inspect int8.safetensors --json | jq '.steps[].name'")]
pub struct InspectArgs {
    /// Model file, or demo:f32 or demo:int8 (small and untrained)
    pub model: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Time each step over this many runs on a blank image; the median is shown
    #[arg(long, value_name = "RUNS", num_args = 0..=1, default_missing_value = "10", value_parser = clap::value_parser!(u16).range(1..))]
    pub profile: Option<u16>,
    /// Network of a plain state dict whose shapes do not tell
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Engine options.
    #[command(flatten)]
    pub engine: EngineArgs,
}

/// `quantlens study`.
#[derive(Debug, Args)]
#[command(after_help = "\
Writes one record an image, network and precision into the folder (Parquet), and from them tables 1 to 11 of Rogers et \
al. (KDIR 2023) with the paper's numbers, intervals and tests, as tables.txt, .md, .csv, .tex and .json. A run that was \
cut short (Ctrl-C stops it cleanly) goes on where it stopped; records of other settings in the folder are an error that \
lists what differs. Another --signs or --seed scans nothing again; with --no-timing it keeps the times that are there.

Examples:
  quantlens study                                 the embedded networks over 1,000 rendered scenes
  quantlens study --pair f32.safetensors,int8.safetensors --data photos --out study
  quantlens study --pair v2=a.safetensors,b.safetensors --data index.csv --out study --no-timing
  quantlens study --pair f32.safetensors,int8.safetensors --out study --data ILSVRC2012/val \\
      --labels devkit-ids --labels-file truth.txt --boxes ILSVRC2012/xml")]
pub struct StudyArgs {
    /// A float model and its int8 twin, named in the tables; may be repeated [default: the
    /// embedded pairs; default name: the network's]
    #[arg(long, value_name = "[NAME=]FLOAT,INT8", requires = "data")]
    pub pair: Vec<String>,
    /// Network of plain state dicts whose shapes do not tell; holds for every pair
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// The images: a folder, an ImageFolder tree, ILSVRC's flat val, wsolevaluation's lists, a CSV manifest, or
    /// scenes:study:0..1000 for rendered ones
    #[arg(long, value_name = "PATH", default_value = DEFAULT_DATA)]
    pub data: PathBuf,
    /// Folder of the records and tables; made if absent
    #[arg(long, value_name = "DIR", default_value = "quantlens-study")]
    pub out: PathBuf,
    /// What the labels in --labels-file are; never guessed
    #[arg(long, value_enum, default_value_t)]
    pub labels: LabelsName,
    /// ILSVRC's labels: one a line in order of the image numbers, or `file label`
    #[arg(long, value_name = "FILE")]
    pub labels_file: Option<PathBuf>,
    /// Folder of ILSVRC's XML annotations (boxes)
    #[arg(long, value_name = "DIR")]
    pub boxes: Option<PathBuf>,
    /// Layout of the data
    #[arg(long, value_enum, default_value_t)]
    pub format: FormatName,
    /// Leave out listed images that do not exist, instead of failing
    #[arg(long)]
    pub skip_missing: bool,
    /// Only the first N images
    #[arg(long, value_name = "N", value_parser = parse_count)]
    pub limit: Option<usize>,
    /// Only the K-th of N shares (1/4 to 4/4) of the images, and of deletion and insertion once all images' records are in
    /// the folder; shares in one folder merge
    #[arg(long, value_name = "K/N", value_parser = parse_shard)]
    pub shard: Option<Shard>,
    /// Layer of all networks that is explained [default: each model's last convolutional block]
    #[arg(long, value_name = "LAYER")]
    pub layer: Option<String>,
    /// How the maps' signs are chosen: lapack, mean, peak, random:SEED, or all: each of these in turn (random:0), deletion
    /// and insertion included, with tables of its own; the main ones are lapack's
    #[arg(long, value_name = "POLICY", default_value = "lapack", value_parser = parse_study_signs)]
    pub signs: StudySigns,
    /// Leave out deletion and insertion, about 200 forward passes an image and network of the subset
    #[arg(long, conflicts_with_all = ["delete_to", "insert_on", "follow_true"])]
    pub no_curves: bool,
    /// Deletion: what pixels become (dataset-mean, black, image-mean, blur or noise:SEED)
    #[arg(long, value_name = "BASELINE", default_value = "dataset-mean", value_parser = parse_baseline)]
    pub delete_to: Baseline,
    /// Insertion: what pixels are inserted on
    #[arg(long, value_name = "BASELINE", default_value = "blur", value_parser = parse_baseline)]
    pub insert_on: Baseline,
    /// Deletion and insertion: follow the true class instead of the predicted one
    #[arg(long)]
    pub follow_true: bool,
    /// Deletion and insertion, and localization at swept thresholds, of all images instead of the subset
    #[arg(long)]
    pub whole: bool,
    /// Localization: foreground above this share of a map's maximum (0 to 1), or otsu
    #[arg(long, value_name = "T", default_value = "0.2", value_parser = parse_threshold)]
    pub threshold: Threshold,
    /// Localization: what the box is drawn around
    #[arg(long, value_enum, default_value_t)]
    pub box_rule: BoxRuleName,
    /// Seed of the bootstrap intervals and permutation tests
    #[arg(long, value_name = "N", default_value = "0")]
    pub seed: u64,
    /// Resamples of the bootstrap and flips of the permutation tests
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pub resamples: u32,
    /// Print the tables in this format; the files have all of them
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, conflicts_with = "json")]
    pub tables: TablesName,
    /// Print the tables as JSON, as --tables json does
    #[arg(long)]
    pub json: bool,
    /// Leave out report.html and the figures
    #[arg(long, conflicts_with_all = ["report_pairs", "report_mb"])]
    pub no_report: bool,
    /// Report: images of each pair in its gallery, those whose maps differ most
    #[arg(long, value_name = "N", default_value = "60")]
    pub report_pairs: usize,
    /// Report: largest size of report.html in MB; where it would be larger, pictures are compressed more, then left out
    #[arg(long, value_name = "MB", default_value = "25", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub report_mb: u32,
    /// Leave out the timing stage (tables 8 and 9)
    #[arg(long, conflicts_with_all = ["timing_rounds", "timing_images", "timing_threads"])]
    pub no_timing: bool,
    /// Timing: rounds over the images that are measured
    #[arg(long, value_name = "N", default_value = "5", value_parser = parse_count)]
    pub timing_rounds: usize,
    /// Timing: number of images
    #[arg(long, value_name = "N", default_value = "10", value_parser = parse_count)]
    pub timing_images: usize,
    /// Timing: threads of a network
    #[arg(long, value_name = "N", default_value = "1", value_parser = parse_threads)]
    pub timing_threads: usize,
    /// Also time EigenCAM, ScoreCAM and AblationCAM of every network on the first N images (1 if none is given): a table of
    /// its own; ScoreCAM takes a forward pass a channel
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "1", value_parser = parse_count)]
    pub methods: Option<usize>,
    /// Engine options.
    #[command(flatten)]
    pub engine: EngineArgs,
    /// How images are brought to the input size
    #[arg(long, value_enum, default_value_t, help_heading = "Images")]
    pub geometry: GeometryName,
    /// Follow the EXIF orientation (torchvision's loader does not)
    #[arg(long, help_heading = "Images")]
    pub exif: bool,
    /// JPEG decoder; both give Pillow's pixels, turbojpeg needs a build with that feature [default: pure]
    #[arg(long, value_enum, help_heading = "Images")]
    pub decoder: Option<DecoderName>,
}

/// Names of the rules for boxes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum BoxRuleName {
    /// The external contour that encloses the largest area
    #[default]
    Contour,
    /// The connected component with the most pixels
    Pixels,
}

/// Names of the tables' formats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum TablesName {
    /// Boxes drawn with characters
    #[default]
    Terminal,
    /// GitHub's Markdown
    Markdown,
    /// A line a number
    Csv,
    /// A tabular each (booktabs)
    Latex,
    /// Everything, with all digits
    Json,
}

/// What the labels of a labels file are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LabelsName {
    /// No labels file
    #[default]
    None,
    /// 0 to 999, in order of the sorted wnids
    Indices,
    /// WordNet ids such as n01440764
    Wnids,
    /// ILSVRC's development kit's 1 to 1000, in an order of its own
    #[value(alias = "devkit")]
    DevkitIds,
}

impl From<LabelsName> for Labels {
    fn from(name: LabelsName) -> Self {
        match name {
            LabelsName::None => Self::None,
            LabelsName::Indices => Self::Indices,
            LabelsName::Wnids => Self::Wnids,
            LabelsName::DevkitIds => Self::DevkitIds,
        }
    }
}

/// Layouts of data sets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum FormatName {
    /// From the path
    #[default]
    Auto,
    /// Images in a folder, no classes
    Folder,
    /// torchvision's tree: a subfolder a class
    #[value(name = "imagefolder")]
    ImageFolder,
    /// ILSVRC's flat validation folder with a labels file
    Ilsvrc,
    /// wsolevaluation's text files
    Wsol,
    /// A CSV file
    Manifest,
}

impl From<FormatName> for Format {
    fn from(name: FormatName) -> Self {
        match name {
            FormatName::Auto => Self::Auto,
            FormatName::Folder => Self::Folder,
            FormatName::ImageFolder => Self::ImageFolder,
            FormatName::Ilsvrc => Self::Ilsvrc,
            FormatName::Wsol => Self::Wsol,
            FormatName::Manifest => Self::Manifest,
        }
    }
}

/// How images are brought to the input size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum GeometryName {
    /// Resize the shorter side, crop the centre: torchvision's
    #[default]
    ResizeCrop,
    /// Resize both sides: wsolevaluation's
    Stretch,
}

/// `quantlens bench`.
#[derive(Debug, Args)]
#[command(after_help = "\
Combinations of model, instruction set and threads take turns of at most 50 ms in rounds, so that a slow spell of the \
machine meets all of them; the first run of a turn is not counted. A run goes from the normalized input to the logits. \
Where the machine does other work, times are too high: compare min and p50, and only within one run of this command.

Examples:
  quantlens bench                              the demo pair, on 1 thread and on all cores
  quantlens bench f32.safetensors int8.safetensors --threads 1,2 --seconds 10 --json times.json
  quantlens bench int8.safetensors --threads 1 --isa scalar,avx2 --profile --picture layers.svg
  quantlens bench int8.safetensors --throughput --threads 1,2")]
pub struct BenchArgs {
    /// Model files, or demo:f32 or demo:int8 [default: both of these]
    pub models: Vec<PathBuf>,
    /// Numbers of threads to run on [default: 1 and all cores]
    #[arg(long, value_name = "N,...", value_delimiter = ',', value_parser = parse_threads)]
    pub threads: Vec<usize>,
    /// Instruction sets to run with [default: QUANTLENS_ISA, else the best this machine has]
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = parse_isa)]
    pub isa: Vec<Isa>,
    /// Seconds to measure each combination for
    #[arg(long, value_name = "S", default_value = "2", value_parser = parse_seconds)]
    pub seconds: f64,
    /// Measure so many runs of each combination instead
    #[arg(long, value_name = "N", value_parser = parse_count, conflicts_with = "seconds")]
    pub runs: Option<usize>,
    /// Throughput: every thread runs images of its own, instead of all sharing one
    #[arg(long, conflicts_with_all = ["profile", "picture"])]
    pub throughput: bool,
    /// Also time each layer: multiply-adds, rate, and share of the peak measured beside it
    #[arg(long)]
    pub profile: bool,
    /// Write all results to this JSON file
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Draw the time of each layer as bars to this SVG file; implies --profile
    #[arg(long, value_name = "FILE", value_parser = parse_svg)]
    pub picture: Option<PathBuf>,
    /// Input size, for example 224 or 192x256 (height x width) [default: each model's]
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub input_size: Option<[usize; 2]>,
    /// Network of plain state dicts whose shapes do not tell
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
}

/// `quantlens doctor`.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// An output file whose extension says its format.
#[derive(Debug, Clone)]
pub struct OutFile {
    /// Where.
    pub path: PathBuf,
    /// JSON rather than safetensors.
    pub json: bool,
}

/// An error that prints the subcommand's usage and exits with 2.
pub fn usage(subcommand: &str, message: impl std::fmt::Display) -> anyhow::Error {
    let mut cli = Cli::command();
    cli.build();
    let command = cli.find_subcommand_mut(subcommand);
    match command {
        Some(command) => command.error(ErrorKind::ValueValidation, message).into(),
        None => cli.error(ErrorKind::ValueValidation, message).into(),
    }
}

impl ImageArgs {
    /// The decoder that was asked for.
    ///
    /// # Errors
    /// A usage error where this build lacks it.
    pub fn decoder(&self, subcommand: &str) -> anyhow::Result<Decoder> {
        decoder(self.decoder, subcommand)
    }
}

/// The decoder of that name, the pure Rust one by default.
///
/// # Errors
/// A usage error where this build lacks it.
pub fn decoder(name: Option<DecoderName>, subcommand: &str) -> anyhow::Result<Decoder> {
    let decoder = match name {
        None | Some(DecoderName::Pure) => Decoder::Pure,
        Some(DecoderName::Turbojpeg) => Decoder::TurboJpeg,
    };
    if decoder.available() {
        return Ok(decoder);
    }
    let message = "this build has no turbojpeg; install with `--features turbojpeg` (needs cmake and a C compiler)";
    Err(usage(subcommand, message))
}
