//! The reading of figure 2 that records cannot give: the mean of the layer's whole activation, H*W*C values, over the
//! images of the subset, and its histogram. The subset's images run once more, each through both networks.

use std::path::{Path, PathBuf};

use quantlens_xai::{SignPolicy, mean_activation_histogram};
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::manifest::Manifest;
use crate::parts::{read_json, write_beside};
use crate::progress::Progress;
use crate::scan::{Images, Network};
use crate::timing::Observe;

/// Histograms of mean activations, as the stage's file holds them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeanActivations {
    /// Hash of the records' settings.
    pub records: String,
    /// Sign policy that chose the subset.
    pub signs: String,
    /// The pairs.
    pub pairs: Vec<PairActivations>,
}

/// Of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairActivations {
    /// The pair's name.
    pub name: String,
    /// Images that the mean is over.
    pub images: u64,
    /// The float network's values: 256 counts, min-max normalized.
    pub f32: Vec<u32>,
    /// The quantized one's.
    pub int8: Vec<u32>,
}

fn path(folder: &Path, signs: SignPolicy) -> PathBuf {
    folder.join(format!("mean-activations-{}.json", signs.to_string().replace(':', "-")))
}

impl MeanActivations {
    /// A folder's results for these signs; none where the stage has not run on these records.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] for a damaged file.
    pub(crate) fn read(folder: &Path, signs: SignPolicy, manifest: &Manifest) -> Result<Option<Self>, Error> {
        let path = path(folder, signs);
        let found: Option<Self> = read_json(&path, "not a file of mean activations", "delete it")?;
        Ok(found.filter(|f| f.records == manifest.settings_hash))
    }

    pub(crate) fn write(&self, folder: &Path, signs: SignPolicy) -> Result<(), Error> {
        let path = path(folder, signs);
        let text = serde_json::to_string(self).map_err(|e| Error::file(&path, e))?;
        write_beside(&path, (text + "\n").as_bytes())
    }
}

/// Images that wait for each other, so that sums are in the order of the data set whatever the threads do.
const CHUNK: usize = 16;

/// Sums of a network's activations.
#[derive(Default)]
struct Sum {
    values: Vec<f64>,
    images: u64,
}

impl Sum {
    fn add(&mut self, activation: &[f32]) -> Result<(), String> {
        if self.images == 0 {
            self.values = vec![0.0; activation.len()];
        }
        if self.values.len() != activation.len() {
            return Err(format!("activations of {} and {} values", self.values.len(), activation.len()));
        }
        self.images += 1;
        self.values.iter_mut().zip(activation).for_each(|(sum, &x)| *sum += f64::from(x));
        Ok(())
    }

    fn histogram(&self) -> Vec<u32> {
        let mean: Vec<f32> = self.values.iter().map(|sum| (sum / self.images.max(1) as f64) as f32).collect();
        mean_activation_histogram(&mean).to_vec()
    }
}

/// The histograms of a pair over these places of the data set, on so many threads.
pub(crate) fn of_pair(
    name: &str,
    images: &dyn Images,
    networks: [&dyn Network; 2],
    places: &[u64],
    threads: usize,
    progress: &dyn Progress,
) -> Result<PairActivations, Error> {
    let failed = |why: String| Error::Network { network: name.into(), why };
    let sessions = |_| networks.map(|n| n.session());
    let mut workers: Vec<[Box<dyn Observe + '_>; 2]> = (0..threads.max(1)).map(sessions).collect();
    let mut sums = [Sum::default(), Sum::default()];
    for chunk in places.chunks(CHUNK) {
        let each = chunk.len().div_ceil(workers.len());
        let found: Vec<Result<Vec<[Vec<f32>; 2]>, String>> = std::thread::scope(|scope| {
            let run = |(sessions, places): (&mut [Box<dyn Observe + '_>; 2], &[u64])| {
                places.iter().map(|&place| activations(images, networks, sessions, place)).collect()
            };
            let work = workers.iter_mut().zip(chunk.chunks(each));
            let threads: Vec<_> = work.map(|work| scope.spawn(move || run(work))).collect();
            // A panic goes on here, as it would without threads.
            threads.into_iter().map(|t| t.join().unwrap_or_else(|e| std::panic::resume_unwind(e))).collect()
        });
        for both in found.into_iter().collect::<Result<Vec<_>, _>>().map_err(failed)?.iter().flatten() {
            for (sum, values) in sums.iter_mut().zip(both) {
                sum.add(values).map_err(failed)?;
            }
        }
        progress.advance(chunk.len() as u64);
        progress.check()?;
    }
    let [float, int8] = &sums;
    Ok(PairActivations { name: name.into(), images: float.images, f32: float.histogram(), int8: int8.histogram() })
}

/// The real activations of both networks at a place of the data set.
fn activations(
    images: &dyn Images,
    networks: [&dyn Network; 2],
    sessions: &mut [Box<dyn Observe + '_>; 2],
    place: u64,
) -> Result<[Vec<f32>; 2], String> {
    let inputs = images.inputs(place)?;
    let mut of = |which: usize| {
        sessions[which].infer(&inputs[networks[which].input()].tensor)?;
        Ok::<_, String>(sessions[which].activation()?.dequantize().to_f32())
    };
    Ok([of(0)?, of(1)?])
}
