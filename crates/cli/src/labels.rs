//! Classes as people read them.

use quantlens::{Model, Prediction};
use quantlens_data::imagenet;
use serde::Serialize;

/// A prediction as it is printed and written.
#[derive(Debug, Serialize)]
pub struct Guess {
    /// Class index, 0-based.
    pub index: usize,
    /// The class in the model's own words: a wnid or a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What an ImageNet wnid means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Softmax probability, 0 to 1.
    pub probability: f32,
    /// The network's output.
    pub logit: f32,
}

impl Guess {
    /// The prediction with its ImageNet name, where the class is a wnid.
    pub fn new(prediction: Prediction) -> Self {
        let Prediction { index, class, probability, logit, .. } = prediction;
        let name = class.as_deref().and_then(imagenet_name).map(Into::into);
        Self { index, class, name, probability, logit }
    }

    /// `tench (n01440764)`, the class alone, or `class 0`.
    pub fn label(&self) -> String {
        match (&self.name, &self.class) {
            (Some(name), Some(class)) => format!("{name} ({class})"),
            (_, Some(class)) => class.clone(),
            (_, None) => format!("class {}", self.index),
        }
    }

    /// `0.9312  tench (n01440764)`.
    pub fn line(&self) -> String {
        format!("{:.4}  {}", self.probability, self.label())
    }
}

/// The `top` most probable classes of these logits.
pub fn guesses(model: &Model, logits: &[f32], top: usize) -> Vec<Guess> {
    model.predictions(logits, top).into_iter().map(Guess::new).collect()
}

fn imagenet_name(wnid: &str) -> Option<&'static str> {
    imagenet::names().get(imagenet::index_of(wnid)?).copied()
}
