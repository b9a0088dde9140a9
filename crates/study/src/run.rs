//! A study from models and a data set: plans and sessions behind the scan's and the timing stage's traits.

use std::path::{Path, PathBuf};

use quantlens_data::{Dataset, DecodeOptions, Geometry, Interpolation, Labels, Preprocess, Sample};
use quantlens_engine::{Isa, Numerics, Plan, Session};
use quantlens_nets::Model;
use quantlens_tensor::Tensor;
use quantlens_xai::{CamWorkspace, EigenCam, Normalization, SignPolicy};

use crate::Error;
use crate::curves::{CurveOptions, CurveReport, Curves, Scorer};
use crate::data_hash::data_hash;
use crate::manifest::{DataSettings, Manifest, NetworkSettings, PairSettings, Settings};
use crate::methods::{Explainer, Methods, PairMethods};
use crate::parts::{PART_SIZE, Records, Shard};
use crate::progress::Progress;
use crate::record::{Precision, SCHEMA_VERSION};
use crate::scan::{Images, Input, Network, Scan, ScanReport};
use crate::summary::{Summary, SummaryOptions, chosen_images};
use crate::tensors::{self, MeanActivations};
use crate::timing::{Observe, TimingOptions, Timings, time_pair};

/// A float network and its quantized twin.
#[derive(Debug, Clone)]
pub struct PairSpec {
    /// What records and tables call the pair; no two the same.
    pub name: String,
    /// The float network.
    pub float: Model,
    /// The quantized one.
    pub int8: Model,
}

/// What a study runs on.
#[derive(Debug, Clone)]
pub struct StudyConfig {
    /// The pairs of networks.
    pub pairs: Vec<PairSpec>,
    /// The images.
    pub dataset: Dataset,
    /// What tables call the data set; without a path, so that records do not depend on where it lies.
    pub data_name: String,
    /// How image files are decoded. torchvision's loader, so the default, ignores EXIF orientation.
    pub decode: DecodeOptions,
    /// How images are brought to the input size.
    pub geometry: Geometry,
    /// Height and width of the input; none: what the model files say, if they agree.
    pub input_size: Option<[usize; 2]>,
    /// The layer of all networks that is recorded; none: each file's own choice.
    pub layer: Option<String>,
    /// Only the first so many images.
    pub limit: Option<usize>,
    /// Threads of the scan.
    pub threads: usize,
    /// Instruction set.
    pub isa: Isa,
    /// The sign policy of the tables.
    pub signs: SignPolicy,
    /// The folder of the records; made where it is not there.
    pub out_dir: PathBuf,
    /// Which parts to scan.
    pub shard: Shard,
    /// Images a part.
    pub part_size: u64,
}

impl StudyConfig {
    /// A study of these pairs over this data set, all else by default: torchvision's preprocessing, each model's own
    /// layer and input size, the pure decoder, all images, one thread, the best instruction set, signs as LAPACK.
    pub fn new(pairs: Vec<PairSpec>, dataset: Dataset, out_dir: impl Into<PathBuf>) -> Self {
        Self {
            pairs,
            dataset,
            data_name: "images".into(),
            decode: DecodeOptions::default(),
            geometry: Geometry::default(),
            input_size: None,
            layer: None,
            limit: None,
            threads: 1,
            isa: Isa::best(),
            signs: SignPolicy::Lapack,
            out_dir: out_dir.into(),
            shard: Shard::ALL,
            part_size: PART_SIZE,
        }
    }
}

/// Scans what the folder does not hold yet.
///
/// # Errors
/// Settings that cannot work, or that differ from the folder's; networks that cannot be planned; files that cannot be
/// written; not a single usable image. Single images that cannot be read are recorded and reported, not errors.
pub fn run_scan(config: &StudyConfig, progress: &dyn Progress) -> Result<ScanReport, Error> {
    let study = Study::new(config, 1, Starts::Image)?;
    let manifest = Manifest::new(study.settings(progress)?, config.isa.name());
    let networks: Vec<&dyn Network> = study.networks.iter().map(|n| n as &dyn Network).collect();
    let scan = Scan {
        images: &study,
        networks: &networks,
        manifest: &manifest,
        isa: config.isa.name(),
        folder: &config.out_dir,
        shard: config.shard,
        threads: config.threads,
    };
    scan.run(progress)
}

/// Times all pairs and writes the result into the folder, beside the records.
///
/// # Errors
/// As [`run_scan`].
pub fn run_timing(config: &StudyConfig, options: TimingOptions, progress: &dyn Progress) -> Result<Timings, Error> {
    let study = Study::new(config, options.threads, Starts::Image)?;
    let inputs = study.first_inputs(options.images)?;
    progress.start("timing", (config.pairs.len() * (options.rounds + 1)) as u64, 0);
    let mut pairs = Vec::new();
    for (spec, networks) in config.pairs.iter().zip(study.networks.chunks_exact(2)) {
        let of =
            |n: &EngineNetwork| -> Vec<Tensor> { inputs.iter().map(|image| image[n.input].tensor.clone()).collect() };
        let (float_inputs, int8_inputs) = (of(&networks[0]), of(&networks[1]));
        let (mut float, mut int8) = (networks[0].open(), networks[1].open());
        let sessions: [&mut dyn Observe; 2] = [&mut *float, &mut *int8];
        let inputs = [float_inputs.as_slice(), int8_inputs.as_slice()];
        pairs.push(time_pair(&spec.name, sessions, inputs, options.rounds, study.input_size, progress)?);
    }
    progress.finish();
    let timings =
        Timings { threads: options.threads, isa: config.isa.name().into(), runs: options.rounds * inputs.len(), pairs };
    timings.write(&config.out_dir)?;
    Ok(timings)
}

/// Times EigenCAM, ScoreCAM and AblationCAM of all networks on the first readable images, and writes the result into the
/// folder. Seconds to minutes an image: ScoreCAM takes a pass a channel.
///
/// # Errors
/// As [`run_scan`].
pub fn run_methods(config: &StudyConfig, images: usize, progress: &dyn Progress) -> Result<Methods, Error> {
    let study = Study::new(config, 1, Starts::Layer)?;
    let inputs = study.first_inputs(images)?;
    progress.start("methods", (study.networks.len() * inputs.len()) as u64, 0);
    let costs = |network: &EngineNetwork<'_>| {
        let cams = CamWorkspace::new(config.isa)?;
        let mut explainer = Explainer::new(network.plan.session(), cams, network.layer, study.input_size);
        for image in &inputs {
            let failed = |why| Error::Network { network: format!("{} {}", network.pair, network.precision), why };
            explainer.explain(&image[network.input].tensor).map_err(failed)?;
            progress.advance(1);
            progress.check()?;
        }
        Ok::<_, Error>(explainer.costs())
    };
    let mut pairs = Vec::new();
    for (spec, networks) in config.pairs.iter().zip(study.networks.chunks_exact(2)) {
        pairs.push(PairMethods { name: spec.name.clone(), f32: costs(&networks[0])?, int8: costs(&networks[1])? });
    }
    progress.finish();
    let methods = Methods { isa: config.isa.name().into(), images: inputs.len(), pairs };
    methods.write(&config.out_dir)?;
    Ok(methods)
}

/// Runs deletion and insertion on the subset of the folder's records under the study's sign policy, or on all images,
/// and writes the curves into a folder within. What is there already is kept.
///
/// # Errors
/// As [`run_scan`] and [`Summary::compute`]; [`Error::SettingsChanged`] where the folder has curves of other options.
pub fn run_curves(config: &StudyConfig, options: CurveOptions, progress: &dyn Progress) -> Result<CurveReport, Error> {
    let study = Study::new(config, 1, Starts::Quantized)?;
    let records = Records::open(&config.out_dir)?;
    let curves = Curves {
        images: &study,
        networks: study.networks.iter().map(|n| n as &dyn Scorer).collect(),
        records: &records,
        folder: &config.out_dir,
        signs: config.signs,
        options,
        chosen: chosen_images(&records, config.signs, options.whole, progress)?,
        threads: config.threads,
    };
    curves.run(progress)
}

/// Runs the subset of the folder's records once more and writes the histograms of its mean activations into the folder.
/// Such as are there already, of the same records and signs, are kept.
///
/// # Errors
/// As [`run_curves`].
pub fn run_mean_activations(config: &StudyConfig, progress: &dyn Progress) -> Result<(), Error> {
    let records = Records::open(&config.out_dir)?;
    let manifest = records.manifest();
    let chosen = chosen_images(&records, config.signs, false, progress)?;
    let sizes = chosen.iter().map(|places| places.len() as u64);
    if let Some(there) = MeanActivations::read(&config.out_dir, config.signs, manifest)?
        && there.pairs.iter().map(|p| p.images).eq(sizes.clone())
    {
        return Ok(());
    }
    let study = Study::new(config, 1, Starts::Image)?;
    progress.start("mean activations", sizes.sum(), 0);
    let mut pairs = Vec::new();
    for ((spec, networks), places) in config.pairs.iter().zip(study.networks.chunks_exact(2)).zip(&chosen) {
        let networks: [&dyn Network; 2] = [&networks[0], &networks[1]];
        pairs.push(tensors::of_pair(&spec.name, &study, networks, places, config.threads, progress)?);
    }
    progress.finish();
    let (records, signs) = (manifest.settings_hash.clone(), config.signs.to_string());
    MeanActivations { records, signs, pairs }.write(&config.out_dir, config.signs)
}

/// The tables' numbers from the folder's records and, where it ran, the timing stage's file.
///
/// # Errors
/// As [`Summary::compute`].
pub fn summarize(folder: &Path, options: &SummaryOptions, progress: &dyn Progress) -> Result<Summary, Error> {
    let mut summary = Summary::compute(&Records::open(folder)?, options, Timings::read(folder)?, progress)?;
    summary.methods = Methods::read(folder)?;
    Ok(summary)
}

/// Where else than at the image a network is to start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Starts {
    /// Nowhere.
    Image,
    /// An int8 network at its quantized input.
    Quantized,
    /// At the layer.
    Layer,
}

/// A configuration made ready: plans, and the ways its networks want images prepared.
struct Study<'a> {
    config: &'a StudyConfig,
    samples: &'a [Sample],
    input_size: [usize; 2],
    preprocess: Vec<Preprocess>,
    /// Float, int8, float, int8: in the order of the pairs.
    networks: Vec<EngineNetwork<'a>>,
}

impl<'a> Study<'a> {
    fn new(config: &'a StudyConfig, threads: usize, starts: Starts) -> Result<Self, Error> {
        check(config)?;
        let samples = &config.dataset.samples;
        let samples = &samples[..samples.len().min(config.limit.unwrap_or(usize::MAX))];
        let input_size = input_size(config)?;
        let mut study = Self { config, samples, input_size, preprocess: Vec::new(), networks: Vec::new() };
        for pair in &config.pairs {
            for (model, precision) in [(&pair.float, Precision::F32), (&pair.int8, Precision::Int8)] {
                let network = study.network(pair, model, precision, threads, starts)?;
                study.networks.push(network);
            }
        }
        Ok(study)
    }

    fn network(
        &mut self,
        pair: &'a PairSpec,
        model: &'a Model,
        precision: Precision,
        threads: usize,
        starts: Starts,
    ) -> Result<EngineNetwork<'a>, Error> {
        let layer = self.config.layer.as_deref().unwrap_or(&model.cam_layer);
        let [h, w] = self.input_size;
        let mut builder = Plan::builder(&model.graph).input_size(h, w).tap(layer).threads(threads).isa(self.config.isa);
        match starts {
            Starts::Quantized if precision == Precision::Int8 => builder = builder.entry(INPUT).tap(QUANT),
            Starts::Layer => builder = builder.entry(layer),
            Starts::Quantized | Starts::Image => {}
        }
        let network = || format!("{} {precision}", pair.name);
        let plan = builder.build().map_err(|e| Error::Network { network: network(), why: e.to_string() })?;
        let preprocess = preprocess(model, self.input_size, self.config.geometry);
        let normalization = Normalization { mean: preprocess.mean, std: preprocess.std };
        preprocess.check().map_err(|e| Error::Network { network: network(), why: e.to_string() })?;
        let input = self.preprocess.iter().position(|p| *p == preprocess).unwrap_or_else(|| {
            self.preprocess.push(preprocess);
            self.preprocess.len() - 1
        });
        let class = |s: &Sample| s.class.as_ref()?.index_in(&model.classes).map(|c| c as u32);
        let classes = self.samples.iter().map(class).collect();
        Ok(EngineNetwork { pair: &pair.name, precision, model, plan, layer, input, normalization, classes })
    }

    fn settings(&self, progress: &dyn Progress) -> Result<Settings, Error> {
        let config = self.config;
        let geometry = match config.geometry {
            Geometry::Stretch => "stretch",
            _ => "resize-crop",
        };
        let pairs = self.networks.chunks_exact(2).map(|n| PairSettings {
            name: n[0].pair.into(),
            float: self.network_settings(&n[0]),
            int8: self.network_settings(&n[1]),
        });
        Ok(Settings {
            schema_version: SCHEMA_VERSION,
            quantlens: env!("CARGO_PKG_VERSION").into(),
            part_size: config.part_size,
            data: DataSettings {
                description: match config.dataset.labels {
                    Labels::None => config.data_name.clone(),
                    labels => format!("{}, labels read as {labels}", config.data_name),
                },
                images: self.samples.len() as u64,
                sha256: data_hash(self.samples, progress)?,
                decoder: config.decode.decoder.name().into(),
                exif: config.decode.orient,
                geometry: geometry.into(),
                input_size: self.input_size,
            },
            pairs: pairs.collect(),
        })
    }

    fn network_settings(&self, n: &EngineNetwork<'_>) -> NetworkSettings {
        let p = &self.preprocess[n.input];
        let resize = p.resize.map_or("none".into(), |r| r.to_string());
        let [h, w] = p.crop;
        NetworkSettings {
            network: n.model.network.clone(),
            sha256: n.model.file_sha256.clone(),
            bytes: n.model.size_bytes,
            parameters: n.model.parameters,
            layer: n.layer.into(),
            preprocess: format!(
                "resize {resize}, crop {h}x{w}, {:?}, mean {:?}, std {:?}",
                p.interpolation, p.mean, p.std
            )
            .to_lowercase(),
            numerics: n.model.numerics.map(|n| match n {
                Numerics::Fbgemm => "fbgemm".into(),
                Numerics::Qnnpack => "qnnpack".into(),
            }),
        }
    }

    /// The first readable images as inputs.
    fn first_inputs(&self, count: usize) -> Result<Vec<Vec<Input>>, Error> {
        let mut first_error = None;
        let mut inputs = Vec::new();
        for index in 0..self.samples.len() as u64 {
            if inputs.len() >= count {
                break;
            }
            match self.inputs(index) {
                Ok(tensors) => inputs.push(tensors),
                Err(why) => drop(first_error.get_or_insert(format!("{}: {why}", self.id(index)))),
            }
        }
        match (inputs.is_empty(), first_error) {
            (true, Some(first)) => Err(Error::NoUsableImages { tried: self.samples.len(), first }),
            _ => Ok(inputs),
        }
    }
}

impl Images for Study<'_> {
    fn id(&self, index: u64) -> &str {
        &self.samples[index as usize].id
    }

    fn inputs(&self, index: u64) -> Result<Vec<Input>, String> {
        let sample = &self.samples[index as usize];
        let picture = sample.read(&self.config.decode).map_err(|e| match e {
            quantlens_data::Error::Image { cause, .. } => cause.to_string(),
            quantlens_data::Error::Io { source, .. } => source.to_string(),
            // Records do not say where the data set lies.
            other => other.to_string().replace(&sample.path.display().to_string(), &sample.id),
        })?;
        let (width, height) = picture.dimensions();
        let boxes = sample.boxes_in(width, height);
        let input = |p: &Preprocess| {
            let mapped = boxes.iter().filter_map(|b| p.map_box(*b, width, height));
            let boxes = mapped.flat_map(|b| [b.x0, b.y0, b.x1, b.y1]).collect();
            Input { tensor: p.tensor(&p.rgb(&picture)), boxes }
        };
        Ok(self.preprocess.iter().map(input).collect())
    }
}

/// Names, files and numbers that cannot work.
fn check(config: &StudyConfig) -> Result<(), Error> {
    let wrong = |why: String| Err(Error::Settings(why));
    if config.pairs.is_empty() {
        return wrong("a study needs at least one pair of networks".into());
    }
    if config.dataset.samples.is_empty() || config.limit == Some(0) {
        return wrong("a study needs at least one image".into());
    }
    if config.shard.index >= config.shard.count || config.part_size == 0 {
        return wrong(format!("there is no share {} of {}", config.shard.index, config.shard.count));
    }
    for (i, pair) in config.pairs.iter().enumerate() {
        if config.pairs[..i].iter().any(|other| other.name == pair.name) {
            return wrong(format!("two pairs are named {:?}: give each a name of its own", pair.name));
        }
        for (model, expected) in
            [(&pair.float, quantlens_nets::Precision::F32), (&pair.int8, quantlens_nets::Precision::Int8)]
        {
            if model.precision != expected {
                return wrong(format!(
                    "{}: expected a float model and its int8 twin in this order, found {} in the \
                                      place of {expected}",
                    pair.name, model.precision
                ));
            }
        }
        let (float, int8) = (&pair.float, &pair.int8);
        if float.network != int8.network || float.class_count != int8.class_count {
            return wrong(format!(
                "{}: the two are no twins: {} with {} classes and {} with {}",
                pair.name, float.network, float.class_count, int8.network, int8.class_count
            ));
        }
    }
    Ok(())
}

/// The size asked for, or the one that all models share.
fn input_size(config: &StudyConfig) -> Result<[usize; 2], Error> {
    if let Some(size) = config.input_size {
        return Ok(size);
    }
    let sizes = config.pairs.iter().flat_map(|p| [&p.float, &p.int8]).map(|m| m.preprocess.crop);
    let mut sizes: Vec<[usize; 2]> = sizes.collect();
    sizes.dedup();
    match sizes[..] {
        [size] => Ok(size),
        _ => Err(Error::Settings(format!("the models want inputs of different sizes ({sizes:?}): choose one"))),
    }
}

/// The file's preprocessing at this size and geometry.
fn preprocess(model: &Model, crop: [usize; 2], geometry: Geometry) -> Preprocess {
    let file = model.preprocess.with_crop(crop);
    Preprocess {
        resize: file.resize,
        crop: file.crop,
        interpolation: match file.interpolation {
            quantlens_nets::Interpolation::Nearest => Interpolation::Nearest,
            quantlens_nets::Interpolation::Bicubic => Interpolation::Bicubic,
            _ => Interpolation::Bilinear,
        },
        mean: file.mean,
        std: file.std,
        geometry,
    }
}

/// How each pair's float network wants its input.
pub(crate) fn input_preprocess(config: &StudyConfig) -> Result<Vec<Preprocess>, Error> {
    let size = input_size(config)?;
    Ok(config.pairs.iter().map(|pair| preprocess(&pair.float, size, config.geometry)).collect())
}

/// A network ready to run.
struct EngineNetwork<'a> {
    pair: &'a str,
    precision: Precision,
    model: &'a Model,
    plan: Plan,
    layer: &'a str,
    input: usize,
    normalization: Normalization,
    classes: Vec<Option<u32>>,
}

impl Network for EngineNetwork<'_> {
    fn pair(&self) -> &str {
        self.pair
    }

    fn precision(&self) -> Precision {
        self.precision
    }

    fn input(&self) -> usize {
        self.input
    }

    fn true_class(&self, index: u64) -> Option<u32> {
        self.classes[index as usize]
    }

    fn session(&self) -> Box<dyn Observe + '_> {
        self.open()
    }
}

impl EngineNetwork<'_> {
    fn open(&self) -> Box<dyn Observe + '_> {
        let quantized = self.precision == Precision::Int8;
        // The plan runs on this instruction set, so explanations do as well.
        let cams = CamWorkspace::new(self.plan.isa()).unwrap_or_default();
        let (session, cam) = (self.plan.session(), EigenCam::default());
        Box::new(EngineSession { session, layer: self.layer, quantized, cams, cam, map: Vec::new() })
    }
}

impl Scorer for EngineNetwork<'_> {
    fn input(&self) -> usize {
        self.input
    }

    fn normalization(&self) -> Normalization {
        self.normalization
    }

    fn session(&self) -> Box<dyn Observe + '_> {
        self.open()
    }
}

/// A session and the layer it is asked for.
struct EngineSession<'a> {
    session: Session,
    layer: &'a str,
    quantized: bool,
    cams: CamWorkspace,
    cam: EigenCam,
    map: Vec<f32>,
}

/// Names of a graph's input and of a quantized network's input stub.
const INPUT: &str = "input";
const QUANT: &str = "quant";

impl Observe for EngineSession<'_> {
    fn infer(&mut self, input: &Tensor) -> Result<(), String> {
        self.session.run(input).map_err(|e| e.to_string())
    }

    fn logits(&self) -> &[f32] {
        self.session.logits()
    }

    fn activation(&self) -> Result<Tensor, String> {
        self.session.tap(self.layer).map_err(|e| e.to_string())
    }

    fn quantize(&mut self, input: &Tensor) -> Option<Result<Tensor, String>> {
        let session = &mut self.session;
        self.quantized
            .then(|| session.run_from(&[(INPUT, input)], &[QUANT]).and_then(|()| session.tap(QUANT)))
            .map(|found| found.map_err(|e| e.to_string()))
    }

    fn eigen_cam(&mut self) -> Result<&EigenCam, String> {
        let view = self.session.view(self.layer).map_err(|e| e.to_string())?;
        self.cams.eigen_cam_into(view, &mut self.cam).map_err(|e| e.to_string())?;
        Ok(&self.cam)
    }

    fn cam_map(&mut self, out: [usize; 2]) -> &[f32] {
        self.cams.map(&self.cam.p, [self.cam.h, self.cam.w], out, &mut self.map);
        &self.map
    }
}
