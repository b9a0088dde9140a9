//! The timing stage: how long inference and CAM take, one image at a time on an otherwise idle machine (latency
//! mode). The networks of a pair alternate, so that a slow spell of the machine meets both.

use std::fs;
use std::path::Path;
use std::time::Instant;

use quantlens_tensor::Tensor;
use quantlens_xai::EigenCam;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::parts::{read_json, write_beside};
use crate::progress::Progress;

/// A network that can be run on an input and looked into.
pub(crate) trait Observe: Send {
    /// Runs it on an input.
    fn infer(&mut self, input: &Tensor) -> Result<(), String>;

    /// The logits of the last run.
    fn logits(&self) -> &[f32];

    /// The layer's activation of the last run.
    fn activation(&self) -> Result<Tensor, String>;

    /// An input as a quantized network's first layer takes it; none for a float network.
    fn quantize(&mut self, input: &Tensor) -> Option<Result<Tensor, String>> {
        let _ = input;
        None
    }

    /// EigenCAM of that activation.
    fn eigen_cam(&mut self) -> Result<&EigenCam, String>;

    /// The map of that EigenCAM, its sign as it is, at a size in pixels: [height, width].
    fn cam_map(&mut self, out: [usize; 2]) -> &[f32];
}

/// How the timing stage measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimingOptions {
    /// Rounds over the images that are measured.
    pub rounds: usize,
    /// Images, the first of the data set that can be read.
    pub images: usize,
    /// Threads a network runs on.
    pub threads: usize,
}

impl Default for TimingOptions {
    /// 5 rounds over 10 images on one thread.
    fn default() -> Self {
        Self { rounds: 5, images: 10, threads: 1 }
    }
}

/// Median and quartiles in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// A quarter of the runs took no longer.
    pub q1: f64,
    /// Half of them.
    pub median: f64,
    /// Three quarters.
    pub q3: f64,
}

impl Spread {
    /// Of at least one measurement; quartiles interpolate linearly (NumPy's default).
    pub(crate) fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let quantile = |q: f64| {
            let place = q * (values.len() - 1) as f64;
            let below = values[place.floor() as usize];
            below + (values[place.ceil() as usize] - below) * place.fract()
        };
        Self { q1: quantile(0.25), median: quantile(0.5), q3: quantile(0.75) }
    }
}

/// Times of one network, milliseconds an image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NetworkTimes {
    /// Inference from the prepared input to the logits.
    pub inference: Spread,
    /// From the layer's activation to the map at input size.
    pub cam: Spread,
    /// Both together.
    pub total: Spread,
}

/// Times of a pair.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairTimes {
    /// The pair's name.
    pub name: String,
    /// The float network.
    pub float: NetworkTimes,
    /// The quantized one.
    pub int8: NetworkTimes,
}

/// What the timing stage measured, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Timings {
    /// Threads a network ran on.
    pub threads: usize,
    /// Instruction set.
    pub isa: String,
    /// Measured runs of each network.
    pub runs: usize,
    /// The pairs.
    pub pairs: Vec<PairTimes>,
}

/// File of the timing stage's results.
pub const TIMINGS: &str = "timing.json";

impl Timings {
    /// Writes the results into a folder.
    pub(crate) fn write(&self, folder: &Path) -> Result<(), Error> {
        let path = folder.join(TIMINGS);
        let text = serde_json::to_string_pretty(self).map_err(|e| Error::file(&path, e))?;
        fs::create_dir_all(folder).map_err(Error::io(folder, "create"))?;
        write_beside(&path, (text + "\n").as_bytes())
    }

    /// Reads a folder's results; none where the stage has not run.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::File`] for a damaged file.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(TIMINGS);
        read_json(&path, "not the timing stage's file", "delete it")
    }
}

/// Milliseconds of single runs.
#[derive(Default)]
struct Runs {
    inference: Vec<f64>,
    cam: Vec<f64>,
    total: Vec<f64>,
}

impl Runs {
    fn spread(self) -> NetworkTimes {
        NetworkTimes { inference: Spread::of(self.inference), cam: Spread::of(self.cam), total: Spread::of(self.total) }
    }

    /// One measured run.
    fn measure(&mut self, session: &mut dyn Observe, input: &Tensor, out: [usize; 2]) -> Result<(), String> {
        let begin = Instant::now();
        session.infer(input)?;
        let inferred = begin.elapsed();
        session.eigen_cam()?;
        std::hint::black_box(session.cam_map(out));
        let total = begin.elapsed();
        self.inference.push(inferred.as_secs_f64() * 1e3);
        self.cam.push((total - inferred).as_secs_f64() * 1e3);
        self.total.push(total.as_secs_f64() * 1e3);
        Ok(())
    }
}

/// Times the two networks of a pair, each on inputs of its own (the same images, at least one): one round that is not
/// counted, then `rounds`; the two alternate image by image, and which goes first alternates too.
pub(crate) fn time_pair(
    name: &str,
    sessions: [&mut dyn Observe; 2],
    inputs: [&[Tensor]; 2],
    rounds: usize,
    out: [usize; 2],
    progress: &dyn Progress,
) -> Result<PairTimes, Error> {
    if inputs.iter().any(|images| images.is_empty()) || rounds == 0 {
        return Err(Error::Settings("the timing stage needs at least one readable image and one round".into()));
    }
    let mut runs = [Runs::default(), Runs::default()];
    for round in 0..=rounds {
        if round == 1 {
            runs = [Runs::default(), Runs::default()];
        }
        for (image, both) in inputs[0].iter().zip(inputs[1]).map(<[&Tensor; 2]>::from).enumerate() {
            for turn in 0..2 {
                let which = (turn + round + image) % 2;
                let input = both[which];
                let failed = |why| Error::Network { network: name.into(), why };
                runs[which].measure(&mut *sessions[which], input, out).map_err(failed)?;
            }
        }
        progress.advance(1);
        progress.check()?;
    }
    let [float, int8] = runs.map(Runs::spread);
    Ok(PairTimes { name: name.into(), float, int8 })
}

#[cfg(test)]
mod tests {
    use quantlens_tensor::Layout;

    use super::*;
    use crate::progress::Quiet;

    #[test]
    fn quartiles_interpolate() {
        let s = Spread::of(vec![4.0, 1.0, 3.0, 2.0]);
        assert_eq!((s.q1, s.median, s.q3), (1.75, 2.5, 3.25));
        assert_eq!(Spread::of(vec![7.0]), Spread { q1: 7.0, median: 7.0, q3: 7.0 });
    }

    struct Sleeper(u64, Vec<usize>, EigenCam);

    impl Observe for Sleeper {
        fn infer(&mut self, input: &Tensor) -> Result<(), String> {
            self.1.push(input.shape().elements());
            std::thread::sleep(std::time::Duration::from_millis(self.0));
            Ok(())
        }

        fn logits(&self) -> &[f32] {
            &[]
        }

        fn activation(&self) -> Result<Tensor, String> {
            Tensor::new(vec![1f32; 8], [1, 1, 2, 4], Layout::Nhwc).map_err(|e| e.to_string())
        }

        fn eigen_cam(&mut self) -> Result<&EigenCam, String> {
            Ok(&self.2)
        }

        fn cam_map(&mut self, _: [usize; 2]) -> &[f32] {
            &[]
        }
    }

    #[test]
    fn both_networks_see_every_image_and_one_more_round() {
        let inputs: Vec<Tensor> = (1..4).map(|n| Tensor::new(vec![0f32; n], [n], Layout::RowMajor).unwrap()).collect();
        let (mut slow, mut quick) =
            (Sleeper(3, Vec::new(), EigenCam::default()), Sleeper(0, Vec::new(), EigenCam::default()));
        let t = time_pair("a", [&mut slow, &mut quick], [&inputs, &inputs], 2, [8, 8], &Quiet).unwrap();
        assert_eq!((&slow.1, &quick.1), (&vec![1, 2, 3, 1, 2, 3, 1, 2, 3], &slow.1));
        assert!(t.float.inference.median >= 3.0 && t.float.total.median >= t.float.inference.median);
        assert!(time_pair("a", [&mut slow, &mut quick], [&[], &[]], 2, [8, 8], &Quiet).is_err());
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Timings::read(folder.path()).unwrap(), None);
        let timings = Timings { threads: 1, isa: "scalar".into(), runs: 6, pairs: vec![t] };
        timings.write(folder.path()).unwrap();
        let back = Timings::read(folder.path()).unwrap().unwrap();
        // serde_json reads floats to within one unit in the last place.
        let close = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a;
        assert!(close(timings.pairs[0].float.cam.q3, back.pairs[0].float.cam.q3));
        assert_eq!((back.runs, back.threads, back.pairs[0].name.as_str()), (6, 1, "a"));
    }
}
