//! What a map costs by each of the gradient-free methods: EigenCAM, ScoreCAM, AblationCAM. A timing stage of its own,
//! since ScoreCAM takes a forward pass a channel.

use std::path::Path;
use std::time::Instant;

use quantlens_engine::Session;
use quantlens_tensor::Tensor;
use quantlens_xai::{AblationCam, CamWorkspace, EigenCam, ScoreCam};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::parts::{read_json, write_beside};
use crate::timing::Spread;

/// EigenCAM takes so little that one map is timed several times.
const EIGEN_RUNS: usize = 10;

/// What a map of one method cost a network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MethodCost {
    /// `eigencam`, `scorecam` or `ablationcam`.
    pub method: String,
    /// Forward passes of the whole network, beside the one that gives prediction and activation: mean over images.
    pub forwards: f64,
    /// Forward passes from the layer on, likewise.
    pub forwards_from_layer: f64,
    /// Milliseconds a map at input size, that one pass not counted.
    pub milliseconds: Spread,
}

/// The methods' costs of a pair, in the order of [`METHODS`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairMethods {
    /// The pair's name.
    pub name: String,
    /// The float network.
    pub f32: Vec<MethodCost>,
    /// The quantized one.
    pub int8: Vec<MethodCost>,
}

/// What the stage measured: one thread, one map at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Methods {
    /// Instruction set.
    pub isa: String,
    /// Images that were explained.
    pub images: usize,
    /// The pairs.
    pub pairs: Vec<PairMethods>,
}

/// File of the stage's results.
pub const METHODS_FILE: &str = "methods.json";

/// Names of the methods.
pub const METHODS: [&str; 3] = ["eigencam", "scorecam", "ablationcam"];

impl Methods {
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(METHODS_FILE);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))?;
        write_beside(&path, (text + "\n").as_bytes())
    }

    /// A folder's results; none where the stage has not run.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] for a damaged file.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(METHODS_FILE);
        read_json(&path, "not the methods' times", "delete it")
    }
}

/// Passes, passes from the layer on, and milliseconds of each map.
#[derive(Default)]
struct Runs {
    forwards: usize,
    from_layer: usize,
    images: usize,
    milliseconds: Vec<f64>,
}

/// A network that is explained by every method, whose plan taps its layer and can start from it.
pub(crate) struct Explainer<'a> {
    session: Session,
    layer: &'a str,
    cams: CamWorkspace,
    out: [usize; 2],
    map: Vec<f32>,
    runs: [Runs; 3],
}

impl<'a> Explainer<'a> {
    /// Maps are made at `out`, height and width.
    pub(crate) fn new(session: Session, cams: CamWorkspace, layer: &'a str, out: [usize; 2]) -> Self {
        Self { session, layer, cams, out, map: Vec::new(), runs: Default::default() }
    }

    /// Explains the class that the network sees in an input by each method.
    pub(crate) fn explain(&mut self, input: &Tensor) -> Result<(), String> {
        self.session.run(input).map_err(|e| e.to_string())?;
        self.eigen()?;
        let tapped = self.session.tap(self.layer).map_err(|e| e.to_string())?;
        let class =
            quantlens_nets::ranked(self.session.logits()).first().copied().ok_or("a network without classes")?;
        self.score(&tapped, input, class)?;
        self.ablation(&tapped, class)
    }

    fn eigen(&mut self) -> Result<(), String> {
        let mut cam = EigenCam::default();
        for _ in 0..EIGEN_RUNS {
            let begin = Instant::now();
            let view = self.session.view(self.layer).map_err(|e| e.to_string())?;
            self.cams.eigen_cam_into(view, &mut cam).map_err(|e| e.to_string())?;
            self.cams.map(&cam.p, [cam.h, cam.w], self.out, &mut self.map);
            self.runs[0].milliseconds.push(milliseconds(begin));
        }
        self.runs[0].images += 1;
        Ok(())
    }

    fn score(&mut self, tapped: &Tensor, input: &Tensor, class: usize) -> Result<(), String> {
        let begin = Instant::now();
        let text = |e: quantlens_xai::Error| e.to_string();
        let method = ScoreCam::new(tapped, input).map_err(text)?;
        let mut masked = method.masked(input).map_err(text)?;
        let session = &mut self.session;
        let scores = (0..method.runs()).map(|run| {
            session.run(masked.input(run)).map_err(|e| e.to_string())?;
            Ok::<f32, String>(session.logits()[class])
        });
        let cam = method.finish(&scores.collect::<Result<Vec<_>, _>>()?).map_err(text)?;
        self.cams.map(&cam.p, [cam.h, cam.w], self.out, &mut self.map);
        self.count(1, begin, [method.runs(), 0]);
        Ok(())
    }

    fn ablation(&mut self, tapped: &Tensor, class: usize) -> Result<(), String> {
        let begin = Instant::now();
        let text = |e: quantlens_xai::Error| e.to_string();
        let method = AblationCam::new(tapped).map_err(text)?;
        let mut ablated = method.ablated(tapped).map_err(text)?;
        let (session, layer) = (&mut self.session, self.layer);
        let scores = (0..method.runs()).map(|run| {
            session.run_from(&[(layer, ablated.activation(run))], &[]).map_err(|e| e.to_string())?;
            Ok::<f32, String>(session.logits()[class])
        });
        let cam = method.finish(&scores.collect::<Result<Vec<_>, _>>()?).map_err(text)?;
        self.cams.map(&cam.p, [cam.h, cam.w], self.out, &mut self.map);
        self.count(2, begin, [0, method.runs()]);
        Ok(())
    }

    fn count(&mut self, method: usize, begin: Instant, [forwards, from_layer]: [usize; 2]) {
        let runs = &mut self.runs[method];
        runs.milliseconds.push(milliseconds(begin));
        runs.images += 1;
        runs.forwards += forwards;
        runs.from_layer += from_layer;
    }

    /// What all images so far cost; at least one.
    pub(crate) fn costs(self) -> Vec<MethodCost> {
        let cost = |(method, runs): (&str, Runs)| MethodCost {
            method: method.into(),
            forwards: runs.forwards as f64 / runs.images as f64,
            forwards_from_layer: runs.from_layer as f64 / runs.images as f64,
            milliseconds: Spread::of(runs.milliseconds),
        };
        METHODS.into_iter().zip(self.runs).map(cost).collect()
    }
}

fn milliseconds(begin: Instant) -> f64 {
    begin.elapsed().as_secs_f64() * 1e3
}
