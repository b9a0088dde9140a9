//! The scan: every network over every image, images split over threads, records written part by part.
//!
//! Throughput mode: each thread has sessions of its own for all networks, takes the next image of the part, decodes it
//! once and runs all networks on it. Which thread ran an image leaves no trace in its rows.

use std::fs::OpenOptions;
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use quantlens_tensor::Tensor;

use crate::manifest::Manifest;
use crate::parts::{self, Shard};
use crate::progress::Progress;
use crate::record::{Precision, Record};
use crate::{Error, timing::Observe};

/// An image ready for a network.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub tensor: Tensor,
    /// Its true boxes in the tensor's pixels, four numbers each.
    pub boxes: Vec<f64>,
}

/// Images by their place in the data set.
pub(crate) trait Images: Sync {
    /// Path relative to the data set.
    fn id(&self, index: u64) -> &str;

    /// The image as input, once for each way the networks want it prepared. Errors are text without paths of this
    /// machine: they become part of the records.
    fn inputs(&self, index: u64) -> Result<Vec<Input>, String>;
}

/// A network in one precision.
pub(crate) trait Network: Sync {
    /// Name of its pair.
    fn pair(&self) -> &str;

    fn precision(&self) -> Precision;

    /// Which of the inputs it takes.
    fn input(&self) -> usize;

    /// An image's class in the network's order.
    fn true_class(&self, index: u64) -> Option<u32>;

    /// Something that runs it, for one thread.
    fn session(&self) -> Box<dyn Observe + '_>;
}

/// Everything a scan needs.
pub(crate) struct Scan<'a> {
    pub images: &'a dyn Images,
    /// In the order of the rows: by pair, float before int8.
    pub networks: &'a [&'a dyn Network],
    pub manifest: &'a Manifest,
    pub isa: &'a str,
    pub folder: &'a Path,
    pub shard: Shard,
    pub threads: usize,
}

/// What a scan did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScanReport {
    /// Images scanned now.
    pub scanned: u64,
    /// Images whose parts were there already.
    pub kept: u64,
    /// Rows scanned now that have an error.
    pub error_rows: u64,
    /// Images scanned now that could not be read, and why.
    pub unreadable: Vec<(String, String)>,
}

/// File of the wall times of each scanned part, beside the records and no part of them.
pub const WALL_TIMES: &str = "wall-times.csv";

impl Scan<'_> {
    /// Scans what is missing. Nothing is written before the first image gave a result.
    pub(crate) fn run(&self, progress: &dyn Progress) -> Result<ScanReport, Error> {
        self.manifest.check(self.folder)?;
        let ranges = parts::ranges(&self.manifest.settings, self.shard);
        if ranges.is_empty() {
            return Err(self.empty_shard());
        }
        let (missing, kept) = self.missing(ranges)?;
        let mut report = ScanReport { kept, ..ScanReport::default() };
        let total = missing.iter().map(|r| r.end - r.start).sum::<u64>() + kept;
        progress.start("scan", total, kept);
        let sessions = |_| self.networks.iter().map(|n| n.session()).collect();
        let mut workers: Vec<Vec<Box<dyn Observe + '_>>> = (0..self.threads.max(1)).map(sessions).collect();
        let mut waiting = Vec::new();
        let mut usable = kept > 0;
        if usable {
            // Puts a lost manifest back: without it the records are unreadable, and no new part would bring it.
            self.manifest.settle(self.folder)?;
        }
        for range in missing {
            let started = Instant::now();
            let Some(rows) = self.part(&range, &mut workers, progress, &mut report) else {
                let written = if usable { report.scanned } else { 0 };
                return Err(Error::Stopped { done: Some([kept + written, total]) });
            };
            usable |= rows.iter().any(|r| r.error.is_none());
            waiting.push((range, rows, started.elapsed()));
            if usable {
                self.write(&mut waiting)?;
            }
        }
        progress.finish();
        if usable {
            return Ok(report);
        }
        let first = waiting.iter().flat_map(|(_, rows, _)| rows).find_map(|r| Some((&r.image_id, r.error.as_ref()?)));
        let first = first.map_or_else(|| "no images".into(), |(id, why)| format!("{id}: {why}"));
        Err(Error::NoUsableImages { tried: report.scanned as usize, first })
    }

    /// Why there is nothing to do for this shard.
    fn empty_shard(&self) -> Error {
        let (settings, Shard { index, count }) = (&self.manifest.settings, self.shard);
        let (images, size) = (settings.data.images, settings.part_size);
        let parts = parts::ranges(settings, Shard::ALL).len();
        Error::Settings(format!(
            "share {}/{count} is empty: {images} images are {parts} part(s) of up to {size}, so use at most {parts} shares",
            index + 1
        ))
    }

    /// Which of the ranges' parts are not there, and how many images lie in those that are.
    fn missing(&self, ranges: Vec<Range<u64>>) -> Result<(Vec<Range<u64>>, u64), Error> {
        let (mut missing, mut kept) = (Vec::new(), 0);
        for range in ranges {
            if parts::is_complete(self.folder, &range, self.manifest)? {
                kept += range.end - range.start;
            } else {
                missing.push(range);
            }
        }
        Ok((missing, kept))
    }

    /// Writes the parts that wait.
    fn write(&self, waiting: &mut Vec<(Range<u64>, Vec<Record>, Duration)>) -> Result<(), Error> {
        self.manifest.settle(self.folder)?;
        for (range, rows, elapsed) in waiting.drain(..) {
            parts::write(self.folder, &range, self.manifest, self.isa, &rows)?;
            self.wall_time(&range, elapsed)?;
        }
        Ok(())
    }

    /// The rows of a part, in order; none where the user stopped it, since a part is written whole or not at all.
    fn part(
        &self,
        range: &Range<u64>,
        workers: &mut [Vec<Box<dyn Observe + '_>>],
        progress: &dyn Progress,
        report: &mut ScanReport,
    ) -> Option<Vec<Record>> {
        let next = AtomicU64::new(range.start);
        let done: Mutex<Vec<(u64, Vec<Record>)>> = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for sessions in workers.iter_mut() {
                let (next, done) = (&next, &done);
                scope.spawn(move || {
                    loop {
                        let index = next.fetch_add(1, Ordering::Relaxed);
                        if index >= range.end || progress.stopped() {
                            break;
                        }
                        let rows = self.image(index, sessions);
                        // A poisoned lock means that another thread panicked; the scope passes that on.
                        done.lock().unwrap_or_else(|e| e.into_inner()).push((index, rows));
                        progress.advance(1);
                    }
                });
            }
        });
        let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
        if (done.len() as u64) < range.end - range.start {
            return None;
        }
        done.sort_by_key(|(index, _)| *index);
        let rows: Vec<Record> = done.into_iter().flat_map(|(_, rows)| rows).collect();
        report.scanned += range.end - range.start;
        report.error_rows += rows.iter().filter(|r| r.error.is_some()).count() as u64;
        for image in rows.chunks(self.networks.len().max(1)).filter(|rows| rows.iter().all(|r| r.error.is_some())) {
            let (id, why) = (&image[0].image_id, image[0].error.clone().unwrap_or_default());
            progress.note(&format!("{id}: {why}"));
            report.unreadable.push((id.clone(), why));
        }
        Some(rows)
    }

    /// The rows of an image.
    fn image(&self, index: u64, sessions: &mut [Box<dyn Observe + '_>]) -> Vec<Record> {
        let inputs = self.images.inputs(index);
        let row = |(network, session): (&&dyn Network, &mut Box<dyn Observe + '_>)| {
            let empty = || Record::empty(self.images.id(index), index, network.pair(), network.precision());
            let mut r = empty();
            let result = match &inputs {
                Ok(inputs) => observe(&mut r, &inputs[network.input()], session.as_mut(), network.true_class(index)),
                Err(why) => Err(why.clone()),
            };
            match result {
                Ok(()) => r,
                Err(why) => Record { error: Some(why), true_class: network.true_class(index), ..empty() },
            }
        };
        self.networks.iter().zip(sessions).map(row).collect()
    }

    /// Notes how long a part took, one line a part, in the order that parts were finished.
    fn wall_time(&self, range: &Range<u64>, elapsed: Duration) -> Result<(), Error> {
        let (threads, seconds) = (self.threads.max(1), elapsed.as_secs_f64());
        let line = format!("{},{},{threads},{seconds:.3}\n", range.start, range.end);
        append(&self.folder.join(WALL_TIMES), "first_image,end_image,threads,seconds\n", &line)
    }
}

/// Appends a line to a file, which begins with `head`.
pub(crate) fn append(path: &Path, head: &str, line: &str) -> Result<(), Error> {
    let head = if path.exists() { "" } else { head };
    let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(Error::io(path, "open"))?;
    file.write_all(format!("{head}{line}").as_bytes()).map_err(Error::io(path, "write"))
}

/// Runs the network and fills in the row.
fn observe(r: &mut Record, input: &Input, session: &mut dyn Observe, true_class: Option<u32>) -> Result<(), String> {
    session.infer(&input.tensor)?;
    let logits = session.logits();
    if logits.iter().any(|x| !x.is_finite()) {
        return Err("a logit is NaN or infinite".into());
    }
    r.set_logits(logits, true_class);
    r.true_boxes.clone_from(&input.boxes);
    let cam = session.eigen_cam()?.clone();
    r.set_activation(&session.activation()?, cam).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::sync::atomic::AtomicUsize;

    use quantlens_tensor::Layout;
    use quantlens_xai::EigenCam;

    use super::*;
    use crate::manifest::tests::settings;
    use crate::parts::Records;
    use crate::progress::Quiet;

    /// Numbers as images; those in `broken` cannot be read.
    struct Fake {
        ids: Vec<String>,
        broken: Vec<u64>,
        opened: AtomicUsize,
    }

    impl Fake {
        fn new(images: u64, broken: &[u64]) -> Self {
            let ids = (0..images).map(|i| format!("{i}.jpg")).collect();
            Self { ids, broken: broken.to_vec(), opened: AtomicUsize::new(0) }
        }
    }

    impl Images for Fake {
        fn id(&self, index: u64) -> &str {
            &self.ids[index as usize]
        }

        fn inputs(&self, index: u64) -> Result<Vec<Input>, String> {
            self.opened.fetch_add(1, Ordering::Relaxed);
            if self.broken.contains(&index) {
                return Err("file is empty".into());
            }
            let tensor = Tensor::new(vec![index as f32], [1], Layout::RowMajor).unwrap();
            Ok(vec![Input { tensor, boxes: vec![0.0, 1.0, 5.0, 5.5] }])
        }
    }

    struct Tiny(&'static str, Precision);

    impl Network for Tiny {
        fn pair(&self) -> &str {
            self.0
        }

        fn precision(&self) -> Precision {
            self.1
        }

        fn input(&self) -> usize {
            0
        }

        fn true_class(&self, index: u64) -> Option<u32> {
            Some((index % 4) as u32)
        }

        fn session(&self) -> Box<dyn Observe + '_> {
            let (salt, cam) = (self.0.len() as f32 + self.1 as u32 as f32, EigenCam::default());
            Box::new(TinySession { salt, logits: Vec::new(), seed: 0.0, cam })
        }
    }

    struct TinySession {
        salt: f32,
        logits: Vec<f32>,
        seed: f32,
        cam: EigenCam,
    }

    impl Observe for TinySession {
        fn infer(&mut self, input: &Tensor) -> Result<(), String> {
            self.seed = input.as_f32().unwrap()[0] + self.salt;
            self.logits = (0..4).map(|i| (self.seed * (i + 1) as f32).sin()).collect();
            Ok(())
        }

        fn logits(&self) -> &[f32] {
            &self.logits
        }

        fn activation(&self) -> Result<Tensor, String> {
            let values: Vec<f32> = (0..60).map(|i| (self.seed + i as f32 * 0.7).sin()).collect();
            Tensor::new(values, [1, 2, 3, 10], Layout::Nhwc).map_err(|e| e.to_string())
        }

        fn eigen_cam(&mut self) -> Result<&EigenCam, String> {
            self.cam = EigenCam::compute(&self.activation()?).map_err(|e| e.to_string())?;
            Ok(&self.cam)
        }

        fn cam_map(&mut self, _: [usize; 2]) -> &[f32] {
            &[]
        }
    }

    const NETWORKS: [Tiny; 4] = [
        Tiny("one", Precision::F32),
        Tiny("one", Precision::Int8),
        Tiny("two", Precision::F32),
        Tiny("two", Precision::Int8),
    ];

    fn scan(folder: &Path, images: &Fake, threads: usize, shard: Shard) -> Result<ScanReport, Error> {
        let manifest = Manifest::new(settings(images.ids.len() as u64, 4), "scalar");
        let networks = NETWORKS.each_ref().map(|n| n as &dyn Network);
        let scan = Scan { images, networks: &networks, manifest: &manifest, isa: "scalar", folder, shard, threads };
        scan.run(&Quiet)
    }

    /// All files but the wall times, by name.
    fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap());
        let named = entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap()));
        named.filter(|(name, _)| name != WALL_TIMES).collect()
    }

    #[test]
    fn bytes_do_not_depend_on_threads_or_shards() {
        let folders = [(); 3].map(|()| tempfile::tempdir().unwrap());
        let images = Fake::new(10, &[5]);
        let report = scan(folders[0].path(), &images, 1, Shard::ALL).unwrap();
        assert_eq!((report.scanned, report.kept, report.error_rows), (10, 0, 4));
        assert_eq!(report.unreadable, [("5.jpg".to_string(), "file is empty".to_string())]);
        scan(folders[1].path(), &images, 3, Shard::ALL).unwrap();
        for index in [1, 0] {
            scan(folders[2].path(), &images, 2, Shard { index, count: 2 }).unwrap();
        }
        let expected = files(folders[0].path());
        assert_eq!(expected.len(), 4);
        assert_eq!(files(folders[1].path()), expected);
        assert_eq!(files(folders[2].path()), expected);
    }

    #[test]
    fn a_share_without_parts_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let e = scan(folder.path(), &Fake::new(10, &[]), 1, Shard { index: 3, count: 4 }).unwrap_err().to_string();
        assert_eq!(e, "share 4/4 is empty: 10 images are 3 part(s) of up to 4, so use at most 3 shares");
    }

    #[test]
    fn a_killed_run_resumes_to_the_same_bytes() {
        let (whole, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        scan(whole.path(), &Fake::new(10, &[]), 1, Shard::ALL).unwrap();
        scan(killed.path(), &Fake::new(10, &[]), 1, Shard::ALL).unwrap();
        // As a kill leaves it: the second part half-written beside its place, the third cut by a full disk.
        let second = killed.path().join("part-00000004-00000008.parquet");
        let bytes = fs::read(&second).unwrap();
        fs::remove_file(&second).unwrap();
        fs::write(second.with_extension("parquet.tmp"), &bytes[..bytes.len() / 3]).unwrap();
        let third = killed.path().join("part-00000008-00000010.parquet");
        let bytes = fs::read(&third).unwrap();
        fs::write(&third, &bytes[..bytes.len() - 5]).unwrap();
        let images = Fake::new(10, &[]);
        let report = scan(killed.path(), &images, 2, Shard::ALL).unwrap();
        assert_eq!((report.scanned, report.kept, images.opened.load(Ordering::Relaxed)), (6, 4, 6));
        assert_eq!(files(killed.path()), files(whole.path()));
        fs::remove_file(killed.path().join(crate::manifest::MANIFEST)).unwrap();
        let again = scan(killed.path(), &images, 1, Shard::ALL).unwrap();
        assert_eq!((again.scanned, again.kept), (0, 10));
        assert_eq!(Records::open(killed.path()).unwrap().missing_images(), 0);
    }

    #[test]
    fn changed_settings_are_refused_and_change_nothing() {
        let folder = tempfile::tempdir().unwrap();
        scan(folder.path(), &Fake::new(10, &[]), 1, Shard::ALL).unwrap();
        let before = files(folder.path());
        let e = scan(folder.path(), &Fake::new(11, &[]), 1, Shard::ALL).unwrap_err().to_string();
        assert!(e.contains("data.images: 10, now 11"), "{e}");
        assert_eq!(files(folder.path()), before);
    }

    #[test]
    fn no_usable_image_is_an_error_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("out");
        let all: Vec<u64> = (0..10).collect();
        let e = scan(&out, &Fake::new(10, &all), 2, Shard::ALL).unwrap_err().to_string();
        assert_eq!(e, "none of 10 images gave a result; the first: 0.jpg: file is empty");
        assert!(!out.exists());
        // The first part has no usable image, a later one has: all are written.
        scan(&out, &Fake::new(10, &all[..5]), 2, Shard::ALL).unwrap();
        assert_eq!(Records::open(&out).unwrap().missing_images(), 0);
        let wall = fs::read_to_string(out.join(WALL_TIMES)).unwrap();
        assert!(wall.starts_with("first_image,end_image,threads,seconds\n0,4,2,") && wall.lines().count() == 4);
    }
}
