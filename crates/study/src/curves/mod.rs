//! The deletion and insertion stage: for each image of the subset (or of all) and each network, the probability of its
//! class along both walks of its own map. Throughput mode: each thread has sessions of its own and takes an image and network.
//! Files of a few images each, so that a killed run goes on where it stopped.

mod file;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Instant;

use quantlens_nets::softmax;
use quantlens_tensor::{Layout, Tensor};
use quantlens_xai::{Baseline, Known, Normalization, Perturbation, SignPolicy, cam_map, pixel_order};

pub use self::file::{CurveRow, CurveSettings};
use crate::manifest::Manifest;
use crate::parts::{ImageRows, Records, Shard};
use crate::progress::Progress;
use crate::record::Record;
use crate::scan::{Images, WALL_TIMES, append};
use crate::timing::Observe;
use crate::{Error, SCHEMA_VERSION};

/// Images a file: what a kill can cost.
const FILE_IMAGES: usize = 16;

/// How deletion and insertion are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CurveOptions {
    /// What pixels are deleted to.
    pub delete_to: Baseline,
    /// What pixels are inserted on.
    pub insert_on: Baseline,
    /// Whether the true class is followed rather than the one predicted on the whole image. Images without a label then
    /// have no curves.
    pub true_class: bool,
    /// All images rather than the subset.
    pub whole: bool,
    /// Which share of the files is made here; all shares' files in one folder are what one run would have made.
    pub shard: Shard,
}

impl Default for CurveOptions {
    /// Delete to the data set's mean, insert on the blurred image, the predicted class, the subset.
    fn default() -> Self {
        let (delete_to, insert_on) = (Baseline::DatasetMean, Baseline::Blur);
        Self { delete_to, insert_on, true_class: false, whole: false, shard: Shard::ALL }
    }
}

/// What the stage did.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct CurveReport {
    /// Images (of a pair) done now.
    pub images: u64,
    /// Images whose files were there already.
    pub kept: u64,
    /// Forward passes.
    pub forwards: u64,
    /// Wall time of those, seconds.
    pub seconds: f64,
}

/// The folder of a sign policy's curves within a study's folder.
pub fn curves_folder(folder: &Path, signs: SignPolicy) -> PathBuf {
    folder.join(format!("curves-{}", signs.to_string().replace(':', "-")))
}

/// All rows of a sign policy's curves in a study's folder: by pair, then image, then precision. None where that stage has
/// not run for these signs.
///
/// # Errors
/// Damaged files, and such of other records than the folder's.
pub fn read_curves(folder: &Path, signs: SignPolicy) -> Result<Vec<CurveRow>, Error> {
    let mut rows = Vec::new();
    read_all(folder, signs, Records::open(folder)?.manifest(), |row| rows.push(row))?;
    Ok(rows)
}

/// The rows of a sign policy's curves that are there, file by file.
///
/// # Errors
/// Damaged files, and such of other records than the folder's.
pub(crate) fn read_all(
    folder: &Path,
    signs: SignPolicy,
    manifest: &Manifest,
    mut each: impl FnMut(CurveRow),
) -> Result<Option<CurveSettings>, Error> {
    let folder = curves_folder(folder, signs);
    let Some(settings) = CurveSettings::read(&folder)? else { return Ok(None) };
    if settings.records != manifest.settings_hash {
        return Err(Error::file(&folder, "holds curves of other records; delete the folder"));
    }
    let entries = std::fs::read_dir(&folder).map_err(Error::io(&folder, "list"))?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|e| Some(e.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "parquet"))
        .collect();
    paths.sort();
    for path in paths {
        file::read(&path, &settings)?.into_iter().for_each(&mut each);
    }
    Ok(Some(settings))
}

/// Forward passes of a sign policy's curves and the seconds they took on however many threads; none where that is not
/// known.
pub(crate) fn forwards(folder: &Path, signs: SignPolicy) -> Option<[f64; 2]> {
    let text = std::fs::read_to_string(curves_folder(folder, signs).join(WALL_TIMES)).ok()?;
    let number = |field: Option<&str>| field.and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let lines = text.lines().skip(1).map(|line| {
        let mut fields = line.split(',').skip(2);
        [number(fields.next()), number(fields.next())]
    });
    lines.reduce(|a, b| [a[0] + b[0], a[1] + b[1]])
}

/// A network that the stage runs.
pub(crate) trait Scorer: Sync {
    /// Which of an image's inputs it takes.
    fn input(&self) -> usize;

    /// How that input was normalized.
    fn normalization(&self) -> Normalization;

    /// Something that runs it, for one thread.
    fn session(&self) -> Box<dyn Observe + '_>;
}

/// The stage, made ready.
pub(crate) struct Curves<'a> {
    pub images: &'a dyn Images,
    /// Float, int8, float, int8: in the order of the pairs.
    pub networks: Vec<&'a dyn Scorer>,
    pub records: &'a Records,
    /// The study's folder.
    pub folder: &'a Path,
    pub signs: SignPolicy,
    pub options: CurveOptions,
    /// For each pair the places in the data set, ascending.
    pub chosen: Vec<Vec<u64>>,
    pub threads: usize,
}

/// A thread's session, and the baseline of deletion with its scores where that is the same for every image.
struct Worker<'a> {
    session: Box<dyn Observe + 'a>,
    blank: Option<(Tensor, Vec<f32>)>,
}

/// An image to do, with the pair's two rows.
type Task = [Record; 2];

/// A file to make: its pair, the places of its images in the data set, its path.
type File<'a> = (usize, &'a [u64], PathBuf);

/// The pair's rows of these places.
fn tasks(rows: &mut ImageRows<'_>, pair: usize, places: &[u64]) -> Result<Vec<Task>, Error> {
    let mut tasks = Vec::new();
    for &place in places {
        if let [float, int8, ..] = rows.of(place)?.get(2 * pair..).unwrap_or_default() {
            tasks.push([float.clone(), int8.clone()]);
        }
    }
    Ok(tasks)
}

impl Curves<'_> {
    /// Does what is missing of the share.
    pub(crate) fn run(&self, progress: &dyn Progress) -> Result<CurveReport, Error> {
        let folder = curves_folder(self.folder, self.signs);
        let settings = self.settings();
        settings.settle(&folder)?;
        let (missing, kept) = self.missing(&folder, &settings);
        let mut report = CurveReport { kept, ..CurveReport::default() };
        let total = missing.iter().map(|(_, places, _)| places.len() as u64).sum::<u64>() + kept;
        progress.start("deletion and insertion", total, kept);
        let worker = |_| self.networks.iter().map(|n| Worker { session: n.session(), blank: None }).collect();
        let mut workers: Vec<Vec<Worker<'_>>> = (0..self.threads.max(1)).map(worker).collect();
        let mut rows = self.records.image_rows();
        for (pair, places, path) in missing {
            let begun = Instant::now();
            let tasks = tasks(&mut rows, pair, places)?;
            let done = self.chunk(pair, &tasks, &mut workers, progress);
            let ControlFlow::Continue((rows, forwards)) = done else { return Err(Error::Stopped { done: None }) };
            file::write(&path, &settings, &rows)?;
            let seconds = begun.elapsed().as_secs_f64();
            self.wall_time(&path, forwards, seconds)?;
            report.images += places.len() as u64;
            report.forwards += forwards;
            report.seconds += seconds;
        }
        progress.finish();
        Ok(report)
    }

    /// The share's files that are not there: pair, images and path of each; and how many images lie in those that are.
    fn missing(&self, folder: &Path, settings: &CurveSettings) -> (Vec<File<'_>>, u64) {
        let pairs = self.chosen.iter().enumerate();
        let files = pairs.flat_map(|(pair, chosen)| chosen.chunks(FILE_IMAGES).map(move |places| (pair, places)));
        let Shard { index, count } = self.options.shard;
        let (mut missing, mut kept) = (Vec::new(), 0);
        for (pair, places) in files.skip(index as usize).step_by(count.max(1) as usize) {
            let path = file::path(folder, pair, places[0], places[places.len() - 1]);
            if file::read(&path, settings).is_ok() {
                kept += places.len() as u64;
            } else {
                missing.push((pair, places, path));
            }
        }
        (missing, kept)
    }

    /// Notes how long a file took, beside it and no part of it.
    fn wall_time(&self, path: &Path, forwards: u64, seconds: f64) -> Result<(), Error> {
        let (threads, name) = (self.threads.max(1), path.file_name().unwrap_or_default().to_string_lossy());
        let line = format!("{name},{threads},{forwards},{seconds:.3}\n");
        append(&path.with_file_name(WALL_TIMES), "file,threads,forwards,seconds\n", &line)
    }

    fn settings(&self) -> CurveSettings {
        let CurveOptions { delete_to, insert_on, true_class, whole, .. } = self.options;
        CurveSettings {
            schema_version: SCHEMA_VERSION,
            records: self.records.manifest().settings_hash.clone(),
            signs: self.signs.to_string(),
            delete_to: delete_to.to_string(),
            insert_on: insert_on.to_string(),
            class: if true_class { "true" } else { "predicted" }.into(),
            images: if whole { "all" } else { "subset" }.into(),
        }
    }

    /// The rows of some images in order, and the forward passes made; a break where the user stopped it.
    fn chunk(
        &self,
        pair: usize,
        tasks: &[Task],
        workers: &mut [Vec<Worker<'_>>],
        progress: &dyn Progress,
    ) -> ControlFlow<(), (Vec<CurveRow>, u64)> {
        let (next, forwards) = (AtomicUsize::new(0), AtomicU64::new(0));
        // Float and int8 network of each image in turn; both take about as long, a whole image would leave threads idle for longer.
        let done: Mutex<Vec<(usize, CurveRow)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for sessions in workers.iter_mut() {
                let (next, done, forwards) = (&next, &done, &forwards);
                scope.spawn(move || {
                    loop {
                        let place = next.fetch_add(1, Ordering::Relaxed);
                        let (image, which) = (place / 2, place % 2);
                        let Some(task) = tasks.get(image).filter(|_| !progress.stopped()) else { break };
                        let network = 2 * pair + which;
                        let (row, count) = self.row(network, &task[which], &mut sessions[network]);
                        forwards.fetch_add(count, Ordering::Relaxed);
                        // A poisoned lock means that another thread panicked; the scope passes that on.
                        done.lock().unwrap_or_else(|e| e.into_inner()).push((place, row));
                        // An image counts when its second network is done.
                        progress.advance(which as u64);
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
        if done.len() < 2 * tasks.len() {
            return ControlFlow::Break(());
        }
        done.sort_by_key(|(place, _)| *place);
        ControlFlow::Continue((done.into_iter().map(|(_, row)| row).collect(), forwards.into_inner()))
    }

    /// One network on one image, and the forward passes made.
    fn row(&self, network: usize, record: &Record, worker: &mut Worker<'_>) -> (CurveRow, u64) {
        let scorer = self.networks[network];
        let mut row = CurveRow {
            image_id: record.image_id.clone(),
            data_index: record.data_index,
            network: record.network.clone(),
            precision: record.precision,
            class: None,
            deletion: Vec::new(),
            insertion: Vec::new(),
            error: None,
        };
        let result = match self.images.inputs(record.data_index) {
            Ok(inputs) => self.curves(&mut row, record, scorer, &inputs[scorer.input()].tensor, worker),
            Err(why) => Err(why),
        };
        let forwards = result.unwrap_or_else(|why| {
            row.error = Some(why);
            0
        });
        (row, forwards)
    }

    /// Fills in the curves of one network; returns the forward passes made.
    fn curves(
        &self,
        row: &mut CurveRow,
        record: &Record,
        network: &dyn Scorer,
        input: &Tensor,
        worker: &mut Worker<'_>,
    ) -> Result<u64, String> {
        if let Some(why) = &record.error {
            return Err(why.clone());
        }
        let class = if self.options.true_class { record.true_class } else { record.top5_class.first().copied() };
        let class = class.ok_or("no label")?;
        row.class = Some(class);
        let text = |e: quantlens_xai::Error| e.to_string();
        let Worker { session, blank } = worker;
        let normalization = network.normalization();
        let CurveOptions { delete_to, insert_on, .. } = self.options;
        let baseline = |b: Baseline| b.image(input, &normalization, &record.image_id).map_err(text);
        // A run of each end gives its scores; for an int8 network the quantized ends are what is blended.
        let (image, scores) = ready(session.as_mut(), input)?;
        let known_blank = blank.take().filter(|_| delete_to.is_constant());
        let mut forwards = 2 + u64::from(known_blank.is_none());
        let (blank_image, blank_scores) =
            known_blank.map_or_else(|| ready(session.as_mut(), &baseline(delete_to)?), Ok)?;
        let (base_image, base_scores) = ready(session.as_mut(), &baseline(insert_on)?)?;
        let of = |scores: &[f32]| scores.get(class as usize).copied();
        let known = Known { image: of(&scores), delete_to: of(&blank_scores), insert_on: of(&base_scores) };
        let order = pixel_order(&self.map(record)?);
        let walks = Perturbation::new(&image, &blank_image, &base_image, &order).map_err(text)?;
        let score = |input: &Tensor| {
            session.infer(input)?;
            of(&softmax(session.logits())).ok_or_else(|| format!("the network has no class {class}"))
        };
        let found = walks.curves(known, score)?;
        (row.deletion, row.insertion) = (found.deletion.scores, found.insertion.scores);
        forwards += found.forwards as u64;
        *blank = Some((blank_image, blank_scores));
        Ok(forwards)
    }

    /// The map at input size with the policy's sign.
    fn map(&self, r: &Record) -> Result<Vec<f32>, String> {
        let id = format!("{}/{}/{}", r.network, r.precision, r.image_id);
        let [h, w, channels] = r.map.map(|n| n as usize);
        let p = self.signs.apply(&r.p, &r.mean_activation, channels, &id).map_err(|e| e.to_string())?;
        let [out_h, out_w] = self.records.manifest().settings.data.input_size;
        Ok(cam_map(&p, h, w, out_h, out_w))
    }
}

/// An input as the network's first layer takes it (channels last, and quantized where the network is), and the
/// network's probabilities for it.
fn ready(session: &mut dyn Observe, input: &Tensor) -> Result<(Tensor, Vec<f32>), String> {
    let prepared = match session.quantize(input) {
        Some(quantized) => quantized?,
        None => input.to_layout(Layout::Nhwc).map_err(|e| e.to_string())?,
    };
    session.infer(&prepared)?;
    Ok((prepared, softmax(session.logits())))
}
