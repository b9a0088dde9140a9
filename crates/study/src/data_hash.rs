//! One hash for a whole data set: every image's id, class, boxes, size of file and content, so that a study notices
//! when one of its images was replaced. The contents are read once more for it: SHA-256 with the processor's own instructions
//! is faster than disks, and reading 50,000 photographs is a small share of running networks on them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use quantlens_data::{Sample, scenes};
use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::Error;
use crate::manifest::hex;
use crate::progress::Progress;

/// Images hashed between two looks at [`Progress::stopped`].
const CHUNK: usize = 512;

/// SHA-256 over each image's id, class, boxes, and size and SHA-256 of its file or what stands for it. A file that cannot be
/// read counts as such: its record will say why.
///
/// # Errors
/// [`Error::Stopped`].
pub(crate) fn data_hash(samples: &[Sample], progress: &dyn Progress) -> Result<String, Error> {
    let mut hash = Sha256::new();
    progress.start("checking the images", samples.len() as u64, 0);
    for chunk in samples.chunks(CHUNK) {
        let contents: Vec<Option<(u64, String)>> = chunk.par_iter().map(content_of).collect();
        for (s, content) in chunk.iter().zip(contents) {
            let class = s.class.as_ref().map(|c| (c.index, c.wnid.as_deref(), c.name.as_str()));
            let boxes = (&s.boxes, s.box_size);
            hash.update(format!("{}\t{content:?}\t{class:?}\t{boxes:?}\n", s.id));
        }
        progress.advance(chunk.len() as u64);
        progress.check()?;
    }
    progress.finish();
    Ok(hex(&hash.finalize()))
}

/// What stands for a picture's bytes; of a rendered scene, whose id says the rest, the version of the renderer.
fn content_of(sample: &Sample) -> Option<(u64, String)> {
    match sample.scene {
        Some(_) => Some((u64::from(scenes::VERSION), "rendered".into())),
        None => content(&sample.path).ok(),
    }
}

/// Size and SHA-256 of a file.
fn content(path: &Path) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = [0; 1 << 15];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((size, hex(&hash.finalize()))),
            Ok(n) => {
                hash.update(&buffer[..n]);
                size += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use quantlens_data::{Dataset, OpenOptions};

    use super::*;
    use crate::progress::Quiet;

    #[test]
    fn contents_names_and_order_count() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        write("a.jpg", "one");
        write("b.jpg", "two");
        let samples = || Dataset::open(folder.path(), &OpenOptions::default()).unwrap().samples;
        let hash = |samples: &[Sample]| data_hash(samples, &Quiet).unwrap();
        let first = hash(&samples());
        assert_eq!((first.len(), hash(&samples())), (64, first.clone()));
        let mut turned = samples();
        turned.reverse();
        assert_ne!(hash(&turned), first);
        let gone = samples();
        // Same name, same size.
        write("b.jpg", "owt");
        let other = hash(&samples());
        assert_ne!(other, first);
        std::fs::remove_file(folder.path().join("b.jpg")).unwrap();
        let missing = hash(&gone);
        assert!(missing != first && missing != other);
    }

    #[test]
    fn the_content_is_sha256_of_all_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("big");
        std::fs::write(&path, vec![b'a'; 1_000_000]).unwrap();
        // FIPS 180-2's third example: a million times "a".
        let expected = "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0";
        assert_eq!(content(&path).unwrap(), (1_000_000, expected.into()));
    }
}
