//! The images a command was given, and running a job over all of them on several threads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use anyhow::{Result, anyhow};
use quantlens::{DecodeOptions, RgbImage, decode_file};
use quantlens_data::scenes::{SceneRange, Split, render, scene_name};
use quantlens_data::{Dataset, Format, OpenOptions, demo_image};

use crate::args::ImageArgs;
use crate::output;

/// Name of the generated picture on the command line.
pub const DEMO_IMAGE: &str = "demo:image";

/// One picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// The generated one.
    Demo,
    /// A rendered scene.
    Scene(Split, u64),
}

impl Input {
    /// What outputs call it.
    pub fn label(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Demo => DEMO_IMAGE.into(),
            Self::Scene(split, number) => format!("{}{split}:{number}", SceneRange::PREFIX),
        }
    }

    /// The start of the names of files made from it.
    pub fn stem(&self) -> String {
        match self {
            Self::File(path) => path.file_stem().map_or_else(|| "image".into(), |s| s.to_string_lossy().into_owned()),
            Self::Demo => "demo".into(),
            Self::Scene(split, number) => scene_name(*split, *number),
        }
    }

    /// The picture itself.
    ///
    /// # Errors
    /// Why it cannot be read; the message names the file.
    pub fn read(&self, options: &DecodeOptions) -> Result<RgbImage> {
        match self {
            Self::File(path) => Ok(decode_file(path, options)?),
            Self::Demo => Ok(demo_image()),
            Self::Scene(split, number) => Ok(render(*split, *number).0),
        }
    }
}

/// The pictures these arguments mean; a folder stands for those below it, in order of their paths, `scenes:SPLIT:START..END`
/// for rendered ones.
///
/// # Errors
/// A path that does not exist, a folder without images.
pub fn expand(paths: &[PathBuf]) -> Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in paths {
        if path.as_os_str() == DEMO_IMAGE {
            inputs.push(Input::Demo);
        } else if let Some(name) = path.to_str().filter(|p| p.starts_with(SceneRange::PREFIX)) {
            let range: SceneRange = name.parse().map_err(|e: String| anyhow!(e))?;
            inputs.extend(range.numbers.map(|number| Input::Scene(range.split, number)));
        } else if path.is_dir() {
            inputs.extend(folder(path)?.into_iter().map(Input::File));
        } else if path.exists() {
            inputs.push(Input::File(path.clone()));
        } else {
            return Err(anyhow!("{}: there is no such file or folder", path.display()));
        }
    }
    Ok(inputs)
}

fn folder(path: &Path) -> Result<Vec<PathBuf>> {
    let options = OpenOptions { format: Format::Folder, ..OpenOptions::default() };
    let dataset = Dataset::open(path, &options)?;
    Ok(dataset.samples.into_iter().map(|s| s.path).collect())
}

/// How `infer` and `cam` decode: EXIF orientation followed unless told otherwise.
///
/// # Errors
/// A usage error for a decoder that this build lacks.
pub fn decode_options(args: &ImageArgs, subcommand: &str) -> Result<DecodeOptions> {
    Ok(DecodeOptions { decoder: args.decoder(subcommand)?, orient: !args.no_exif, ..DecodeOptions::default() })
}

/// What could be done with each input, and why the others could not be read.
#[derive(Debug)]
pub struct Readable<T> {
    /// Results, in the inputs' order.
    pub done: Vec<T>,
    /// One for each unreadable input.
    errors: Vec<anyhow::Error>,
    /// How many inputs there were.
    count: usize,
}

impl<T> Readable<T> {
    /// Sorts results of [`parallel`], whose inner failures are unreadable inputs.
    ///
    /// # Errors
    /// The first failure if nothing could be read.
    pub fn sort(results: Vec<Result<T>>) -> Result<Self> {
        let mut sorted = Self { done: Vec::new(), errors: Vec::new(), count: results.len() };
        for result in results {
            match result {
                Ok(done) => sorted.done.push(done),
                Err(error) => sorted.errors.push(error),
            }
        }
        if sorted.done.is_empty() && !sorted.errors.is_empty() {
            return Err(sorted.errors.swap_remove(0));
        }
        Ok(sorted)
    }

    /// Names the inputs that could not be read; for the end of a command, when the others' results are out.
    ///
    /// # Errors
    /// How many they are, if any.
    pub fn finish(&self) -> Result<()> {
        if self.errors.is_empty() {
            return Ok(());
        }
        self.errors.iter().for_each(|error| output::hint(&format!("error: {error:#}")));
        Err(anyhow!("{} of {} images could not be read, the others are done", self.errors.len(), self.count))
    }
}

/// Runs `job(i)` for `0..count` on `threads` threads; results in order of `i`.
///
/// # Errors
/// The failure with the lowest `i`: jobs start in order, so it is the same however many threads there are.
pub fn parallel<T: Send>(count: usize, threads: usize, job: impl Fn(usize) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let failed = AtomicBool::new(false);
    let done: Mutex<Vec<Option<Result<T>>>> = Mutex::new((0..count).map(|_| None).collect());
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, count.max(1)) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= count {
                        return;
                    }
                    let result = job(i);
                    if result.is_err() {
                        failed.store(true, Ordering::Relaxed);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner)[i] = Some(result);
                }
            });
        }
    });
    done.into_inner().unwrap_or_else(PoisonError::into_inner).into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_their_order_and_the_first_failure_is_reported() {
        for threads in [1, 3, 50] {
            assert_eq!(parallel(20, threads, |i| Ok(i * i)).unwrap(), (0..20).map(|i| i * i).collect::<Vec<_>>());
            let failed = parallel(20, threads, |i| if i % 7 == 5 { Err(anyhow!("{i}")) } else { Ok(()) });
            assert_eq!(failed.unwrap_err().to_string(), "5");
        }
        assert!(parallel(0, 4, Ok).unwrap().is_empty());
    }

    #[test]
    fn what_can_be_read_is_kept() {
        let some = Readable::sort(vec![Ok(1), Err(anyhow!("bad")), Ok(3)]).unwrap();
        assert_eq!(some.done, [1, 3]);
        assert!(some.finish().unwrap_err().to_string().starts_with("1 of 3 images"));
        assert_eq!(
            Readable::<u8>::sort(vec![Err(anyhow!("bad")), Err(anyhow!("worse"))]).unwrap_err().to_string(),
            "bad"
        );
        Readable::<u8>::sort(Vec::new()).unwrap().finish().unwrap();
    }
}
