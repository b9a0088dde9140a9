//! A loaded model with its plan and its preprocessing: image in, predictions or map out.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use quantlens_data::{Geometry, Interpolation, Preprocess, RgbImage};
use quantlens_engine::{Plan, Session};
use quantlens_kernels::Isa;
use quantlens_nets::{Metadata, ModelFile};
use quantlens_tensor::Tensor;
use quantlens_xai::{CamWorkspace, EigenCam, SignPolicy};

use crate::Error;

/// How a model is loaded; [`Options::default`] follows the model's file and uses one thread.
#[derive(Debug, Clone)]
pub struct Options {
    /// Network of a plain state dict, where its shapes do not tell.
    pub network: Option<String>,
    /// Input height and width in pixels; the file's crop where absent.
    pub input_size: Option<[usize; 2]>,
    /// How images are brought to the input size.
    pub geometry: Geometry,
    /// Threads that share one run (1 or more).
    pub threads: usize,
    /// Instruction set; the best of this machine where absent.
    pub isa: Option<Isa>,
    /// Layer whose activations are explained; the file's `cam_layer` where absent.
    pub layer: Option<String>,
    /// Whether a run may start from that layer ([`Session::run_from`]), as AblationCAM's do.
    pub layer_entry: bool,
    /// Further layers whose outputs are kept by a run.
    pub taps: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            network: None,
            input_size: None,
            geometry: Geometry::ResizeCrop,
            threads: 1,
            isa: None,
            layer: None,
            layer_entry: false,
            taps: Vec::new(),
        }
    }
}

impl Options {
    /// Loads a model file.
    ///
    /// # Errors
    /// [`Error::Network`] for a file that is unreadable or refused, [`Error::Engine`] where the network cannot run at
    /// this input size or has no such layer.
    pub fn load(&self, path: impl AsRef<Path>) -> Result<Model, Error> {
        self.build(ModelFile::open(path.as_ref())?)
    }

    /// Makes a model ready from a file that is already in memory, whose bytes are freed before weights are packed: the
    /// most memory that loading takes is two copies of the weights.
    ///
    /// # Errors
    /// As [`Options::load`].
    pub fn build(&self, file: ModelFile) -> Result<Model, Error> {
        let network = quantlens_nets::load(&file, self.network.as_deref())?;
        let metadata = file.metadata().clone();
        drop(file);
        let preprocess = self.preprocess(&network.preprocess);
        preprocess.check()?;
        let layer = self.layer.clone().unwrap_or_else(|| network.cam_layer.clone());
        let [h, w] = preprocess.crop;
        let mut plan = Plan::builder(&network.graph).input_size(h, w).threads(self.threads);
        if let Some(isa) = self.isa {
            plan = plan.isa(isa);
        }
        for name in self.taps.iter().chain([&layer]) {
            plan = plan.tap(name);
        }
        if self.layer_entry {
            plan = plan.entry(&layer);
        }
        let plan = plan.build()?;
        Ok(Model { metadata, network, plan, preprocess, layer, idle: Mutex::default(), cams: Mutex::default() })
    }

    /// The file's preprocessing at the size and geometry asked for.
    fn preprocess(&self, file: &quantlens_nets::Preprocess) -> Preprocess {
        let file = file.with_crop(self.input_size.unwrap_or(file.crop));
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
            geometry: self.geometry,
        }
    }
}

/// A class with its probability.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// Index of the class, 0-based.
    pub index: usize,
    /// The class as the model's file names it (a wnid or a name); none where the file has no classes.
    pub class: Option<String>,
    /// Softmax probability, 0 to 1.
    pub probability: f32,
    /// The network's output itself.
    pub logit: f32,
}

/// Where a network looks.
#[derive(Debug, Clone)]
pub struct Cam {
    /// Height and width of the map: the network's input size.
    pub size: [usize; 2],
    /// The map in row-major order, 0 to 1.
    pub map: Vec<f32>,
    /// EigenCAM's result at the layer's own resolution, its sign not yet chosen.
    pub eigen: EigenCam,
}

/// A model ready to run. Shared between threads, each call runs in a session of its own; sessions are kept for reuse.
#[derive(Debug)]
pub struct Model {
    metadata: Metadata,
    network: quantlens_nets::Model,
    plan: Plan,
    preprocess: Preprocess,
    layer: String,
    idle: Mutex<Vec<Session>>,
    /// Memory for explanations.
    cams: Mutex<Vec<CamWorkspace>>,
}

impl Model {
    /// Loads a model file as it says, on one thread; [`Options`] has the rest.
    ///
    /// # Errors
    /// As [`Options::load`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, Error> {
        Options::default().load(path)
    }

    /// What the file says of itself.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What the file holds: network, precision, classes, graph.
    pub fn network(&self) -> &quantlens_nets::Model {
        &self.network
    }

    /// How the network runs: steps, kernels, sizes.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How images become inputs.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The layer that [`Model::cam`] explains.
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// The network's input for an image of any size: resized, cropped and normalized, f32 `[1, 3, h, w]`.
    pub fn input(&self, image: &RgbImage) -> Tensor {
        self.preprocess.tensor(&self.preprocess.rgb(image))
    }

    /// The `top` most probable classes of an image, most probable first; ties in order of their index.
    ///
    /// # Errors
    /// As [`Model::run`].
    pub fn classify(&self, image: &RgbImage, top: usize) -> Result<Vec<Prediction>, Error> {
        self.run(&self.input(image), |session| self.predictions(session.logits(), top))
    }

    /// Where the network looks in an image: EigenCAM of [`Model::layer`] with the sign that follows the mean
    /// activation.
    ///
    /// # Errors
    /// [`Error::Explanation`] for activations without a map, and as [`Model::run`].
    pub fn cam(&self, image: &RgbImage) -> Result<Cam, Error> {
        let eigen = self.run(&self.input(image), |session| self.eigen_cam(session))??;
        let [h, w] = self.preprocess.crop;
        let p = eigen.signed(SignPolicy::Mean, "")?;
        let mut map = Vec::new();
        self.explain(|cams| cams.map(&p, [eigen.h, eigen.w], [h, w], &mut map))?;
        Ok(Cam { size: [h, w], map, eigen })
    }

    /// EigenCAM of the layer that the session has just run.
    ///
    /// # Errors
    /// [`Error::Explanation`] for activations without a map.
    pub fn eigen_cam(&self, session: &Session) -> Result<EigenCam, Error> {
        let activation = session.view(&self.layer)?;
        let mut cam = EigenCam::default();
        self.explain(|cams| cams.eigen_cam_into(activation, &mut cam))??;
        Ok(cam)
    }

    /// Lends memory for explanations.
    fn explain<R>(&self, f: impl FnOnce(&mut CamWorkspace) -> R) -> Result<R, Error> {
        let idle = self.cams.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut cams = idle.map_or_else(|| CamWorkspace::new(self.plan.isa()), Ok)?;
        let result = f(&mut cams);
        self.cams.lock().unwrap_or_else(PoisonError::into_inner).push(cams);
        Ok(result)
    }

    /// Runs one input (`[1, 3, h, w]` f32, or u8 already quantized) and hands the session to `read` for its logits and
    /// taps.
    ///
    /// # Errors
    /// [`Error::Engine`] for an input of the wrong shape or type.
    pub fn run<R>(&self, input: &Tensor, read: impl FnOnce(&Session) -> R) -> Result<R, Error> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut session = idle.unwrap_or_else(|| self.plan.session());
        let ran = session.run(input);
        let result = ran.map(|()| read(&session));
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
        Ok(result?)
    }

    /// The `top` most probable classes of these logits, most probable first; ties in order of their index.
    pub fn predictions(&self, logits: &[f32], top: usize) -> Vec<Prediction> {
        let probabilities = quantlens_nets::softmax(logits);
        let prediction = |index: usize| Prediction {
            index,
            class: self.network.classes.get(index).cloned(),
            probability: probabilities[index],
            logit: logits[index],
        };
        quantlens_nets::ranked(logits).into_iter().take(top).map(prediction).collect()
    }
}
