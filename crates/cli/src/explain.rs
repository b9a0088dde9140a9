//! One network's map of one picture, by whichever method, and what it cost.

use std::fmt;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use quantlens::{Model, RgbImage, Session, Tensor};
use quantlens_xai::{AblationCam, ChannelCam, ScoreCam, cam_map};
use serde::Serialize;

use crate::args::{CamArgs, MethodName};
use crate::labels::{self, Guess};
use crate::models;

/// One network's result on a picture.
pub struct Look {
    /// What is printed of it.
    pub side: Side,
    /// The map at the layer's size, its sign chosen.
    pub p: Vec<f32>,
    /// Height and width of that.
    pub size: [usize; 2],
    /// The map at input size, 0 to 1.
    pub map: Vec<f32>,
}

/// The printed part.
#[derive(Debug, Serialize)]
pub struct Side {
    pub precision: String,
    pub layer: String,
    /// Height and width of the layer's map.
    pub map: [usize; 2],
    pub cost: Cost,
    pub predictions: Vec<Guess>,
    /// The box that the map predicts.
    #[serde(rename = "box", skip_serializing_if = "Option::is_none")]
    pub found: Option<Found>,
}

/// What a map took.
#[derive(Debug, Serialize)]
pub struct Cost {
    /// Forward passes of the whole network, that of the prediction included.
    pub forwards: usize,
    /// Forward passes from the layer on.
    pub forwards_from_layer: usize,
    /// Wall time of the map at the layer's size, in milliseconds, without the pass of the prediction; ScoreCAM's and
    /// AblationCAM's passes run on every thread there is, where there is one picture.
    pub milliseconds: f64,
    /// The class that is explained; none for EigenCAM, which asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<usize>,
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(class) = self.class {
            write!(f, "class {class}, ")?;
        }
        let passes = if self.forwards == 1 { "pass" } else { "passes" };
        write!(f, "{} forward {passes}", self.forwards)?;
        if self.forwards_from_layer > 0 {
            write!(f, " and {} from the layer on", self.forwards_from_layer)?;
        }
        write!(f, ", {:.2} ms for the map", self.milliseconds)
    }
}

/// A predicted box.
#[derive(Debug, Serialize)]
pub struct Found {
    /// First and last column and row in the network's input: x0, y0, x1, y1.
    pub edges: [u32; 4],
    /// IoU with the best of the true boxes that were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iou: Option<f64>,
}

/// The map of a picture; `workers` networks run at once where the method has many runs.
///
/// # Errors
/// Why the network cannot run or the method is not defined.
pub fn look(args: &CamArgs, model: &Model, image: &RgbImage, label: &str, workers: usize) -> Result<Look> {
    let input = model.input(image);
    let (p, size, cost, predictions) = match args.method {
        MethodName::Eigen => eigen(args, model, &input, label)?,
        MethodName::Score | MethodName::Ablation => by_channel(args, model, &input, workers)?,
    };
    let [h, w] = model.preprocess().crop;
    let map = cam_map(&p, size[0], size[1], h, w);
    let (precision, layer) = (models::precision(model), model.layer().to_string());
    Ok(Look { side: Side { precision, layer, map: size, cost, predictions, found: None }, p, size, map })
}

/// A map at the layer's size, that size, its cost, and the predictions.
type Map = (Vec<f32>, [usize; 2], Cost, Vec<Guess>);

fn eigen(args: &CamArgs, model: &Model, input: &Tensor, label: &str) -> Result<Map> {
    let (eigen, milliseconds, predictions) = model.run(input, |session| {
        let start = Instant::now();
        let eigen = model.eigen_cam(session);
        (eigen, milliseconds(start), labels::guesses(model, session.logits(), args.top))
    })?;
    let eigen = eigen?;
    // Of the random policy each network draws its own coin.
    let p = eigen.signed(args.signs, &format!("{label}/{:?}", model.network().precision))?;
    let cost = Cost { forwards: 1, forwards_from_layer: 0, milliseconds, class: None };
    Ok((p, [eigen.h, eigen.w], cost, predictions))
}

fn by_channel(args: &CamArgs, model: &Model, input: &Tensor, workers: usize) -> Result<Map> {
    let (activation, logits) = model.run(input, |session| (session.tap(model.layer()), session.logits().to_vec()))?;
    let activation = activation?;
    let class = match args.class {
        Some(class) if class >= logits.len() => bail!("there is no class {class}: the network has {}", logits.len()),
        Some(class) => class,
        None => model.predictions(&logits, 1).first().context("the network has no classes")?.index,
    };
    let mut sessions: Vec<Session> = (0..workers.max(1)).map(|_| model.plan().session()).collect();
    let start = Instant::now();
    let (cam, [forwards, forwards_from_layer]) = if args.method == MethodName::Score {
        score(&mut sessions, &activation, input, class)?
    } else {
        ablation(&mut sessions, model.layer(), &activation, class)?
    };
    let cost =
        Cost { forwards: forwards + 1, forwards_from_layer, milliseconds: milliseconds(start), class: Some(class) };
    Ok((cam.p, [cam.h, cam.w], cost, labels::guesses(model, &logits, args.top)))
}

/// ScoreCAM, with its passes of the whole network and from the layer on.
fn score(
    sessions: &mut [Session],
    activation: &Tensor,
    input: &Tensor,
    class: usize,
) -> Result<(ChannelCam, [usize; 2])> {
    let cam = ScoreCam::new(activation, input)?;
    let networks = sessions.iter_mut().map(|session| {
        move |input: &Tensor| {
            session.run(input)?;
            Ok::<_, anyhow::Error>(session.logits()[class])
        }
    });
    let mut scorers: Vec<_> = networks.collect();
    let scores = cam.scores(input, &mut scorers)?;
    Ok((cam.finish(&scores)?, [cam.runs(), 0]))
}

/// AblationCAM, likewise.
fn ablation(
    sessions: &mut [Session],
    layer: &str,
    activation: &Tensor,
    class: usize,
) -> Result<(ChannelCam, [usize; 2])> {
    let cam = AblationCam::new(activation)?;
    let networks = sessions.iter_mut().map(|session| {
        move |activation: &Tensor| {
            session.run_from(&[(layer, activation)], &[])?;
            Ok::<_, anyhow::Error>(session.logits()[class])
        }
    });
    let mut scorers: Vec<_> = networks.collect();
    let scores = cam.scores(activation, &mut scorers)?;
    Ok((cam.finish(&scores)?, [0, cam.runs()]))
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}
