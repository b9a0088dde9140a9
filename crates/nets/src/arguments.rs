//! The `arguments` of a model file: what torchvision's constructor was called with. Most of it the shapes tell as
//! well, and then the two must agree; what they cannot tell (strides, activations) completes them.

use serde_json::Value;

use crate::{Error, ModelFile};

/// Arguments that change nothing in a trained network, or only what every shape shows.
const WITHOUT_EFFECT: [&str; 9] = [
    "backend",
    "dropout",
    "progress",
    "quantize",
    "round_nearest",
    "transform_input",
    "weights",
    "width_mult",
    "zero_init_residual",
];

/// The arguments of one file.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<'a> {
    file: &'a ModelFile,
}

impl<'a> Arguments<'a> {
    /// The file's arguments; `known` are those that this architecture reads besides the common ones.
    ///
    /// # Errors
    /// [`Error::Metadata`] for any other that is not null: it could change what the network computes.
    pub fn new(file: &'a ModelFile, known: &[&str]) -> Result<Self, Error> {
        let arguments = Self { file };
        for (key, value) in &file.metadata().arguments {
            let allowed = key == "num_classes" || WITHOUT_EFFECT.contains(&key.as_str()) || known.contains(&&**key);
            if !allowed && !value.is_null() {
                let expected = format!("arguments that {known:?} or torchvision's common ones cover");
                return Err(arguments.error(key, &expected));
            }
        }
        Ok(arguments)
    }

    /// An argument that is present and not null.
    pub fn get(&self, key: &str) -> Option<&'a Value> {
        self.file.metadata().arguments.get(key).filter(|v| !v.is_null())
    }

    /// # Errors
    /// [`Error::Metadata`] where the argument is present and is not what the tensors show.
    pub fn agree(&self, key: &str, found: &[usize]) -> Result<(), Error> {
        let Some(value) = self.get(key) else { return Ok(()) };
        let stated = match value {
            Value::Array(list) => list.iter().map(Value::as_u64).collect(),
            one => one.as_u64().map(|n| vec![n]),
        };
        let found: Vec<u64> = found.iter().map(|&n| n as u64).collect();
        if stated.as_ref() == Some(&found) {
            Ok(())
        } else {
            Err(self.error(key, &format!("{found:?}, as the tensors")))
        }
    }

    /// # Errors
    /// [`Error::Metadata`] where the argument is present and neither `allowed` nor a list of nothing else.
    pub fn only(&self, key: &str, allowed: &Value) -> Result<(), Error> {
        let fits = |value: &Value| match value {
            Value::Array(list) => list.iter().all(|v| v == allowed),
            one => one == allowed,
        };
        match self.get(key) {
            Some(value) if !fits(value) => Err(self.error(key, &format!("{allowed} (nothing else is supported)"))),
            _ => Ok(()),
        }
    }

    /// The rows of `inverted_residual_setting`, where present.
    pub fn rows(&self) -> Result<Option<Vec<&'a [Value]>>, Error> {
        let key = "inverted_residual_setting";
        let Some(value) = self.get(key) else { return Ok(None) };
        let rows = value.as_array().and_then(|rows| rows.iter().map(|r| r.as_array().map(Vec::as_slice)).collect());
        rows.map(Some).ok_or_else(|| self.error(key, "a list of lists"))
    }

    /// The error of an argument that is not what it should be.
    pub fn error(&self, key: &str, expected: &str) -> Error {
        let found = self.get(key).map_or("nothing".to_string(), |v| v.to_string().chars().take(120).collect());
        Error::Metadata {
            file: self.file.label().into(),
            key: format!("arguments.{key}"),
            expected: expected.into(),
            found,
        }
    }
}
