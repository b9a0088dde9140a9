//! ImageNet's images and lists, where `QUANTLENS_TEST_DATA` names a folder that has them; listed as ignored elsewhere.

mod common;

use std::path::{Path, PathBuf};

use common::{decoders, number, table};
use libtest_mimic::{Arguments, Failed, Trial};
use quantlens_data::{Dataset, DecodeOptions, Decoder, Format, Labels, OpenOptions, decode_file, imagenet};

/// A test over the folder of images.
type Check = Box<dyn FnOnce(&Path) -> Result<(), Failed> + Send>;

fn main() {
    let arguments = Arguments::from_args();
    let folder =
        std::env::var_os("QUANTLENS_TEST_DATA").map(|f| PathBuf::from(f).join("imagenet")).filter(|f| f.is_dir());
    let absent = folder.is_none();
    let folder = folder.unwrap_or_default();
    let trial = |name: &str, test: Check| {
        let folder = folder.clone();
        let note = if absent { " (needs QUANTLENS_TEST_DATA with imagenet/)" } else { "" };
        Trial::test(format!("{name}{note}"), move || test(&folder)).with_ignored_flag(absent)
    };
    let mut trials = vec![
        trial("lists of one data set agree", Box::new(lists_agree)),
        trial("labels of all kinds agree", Box::new(labels_agree)),
    ];
    for decoder in decoders() {
        trials.push(trial(&format!("pixels are Pillow's: {}", decoder.name()), Box::new(move |f| pixels(f, decoder))));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// CRC-32 (zlib's) of all pixels, as `tools/golden_images.py --real` sums them up.
fn pixels(folder: &Path, decoder: Decoder) -> Result<(), Failed> {
    for line in table("real.txt") {
        let dataset = Dataset::open(folder.join(&line[0]), &OpenOptions::default())?;
        assert_eq!(dataset.samples.len(), number::<usize>(&line[1]));
        let mut crc = u32::MAX;
        for sample in dataset.samples {
            let image = decode_file(&sample.path, &DecodeOptions { decoder, ..DecodeOptions::default() })?;
            let size = [image.width(), image.height()].map(u32::to_le_bytes).concat();
            crc = size.iter().chain(image.as_raw()).fold(crc, |crc, &b| crc >> 8 ^ CRC[usize::from(crc as u8 ^ b)]);
        }
        assert_eq!(format!("{:08x}", !crc), line[2], "{}", line[0]);
    }
    Ok(())
}

static CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let (mut crc, mut bit) = (i as u32, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
            bit += 1;
        }
        table[i] = crc;
        i += 1;
    }
    table
};

/// The manifest, wsolevaluation's lists and the XML annotations say the same of an image.
fn lists_agree(folder: &Path) -> Result<(), Failed> {
    let manifest = Dataset::open(folder.join("index.csv"), &OpenOptions::default())?;
    assert_eq!(manifest.samples.len(), 977);
    assert!(manifest.samples.iter().all(|s| !s.boxes.is_empty() && s.class.is_some()));
    let skipping = OpenOptions { format: Format::Wsol, skip_missing: true, ..OpenOptions::default() };
    let wsol = Dataset::open(folder, &skipping)?;
    let xml = OpenOptions { boxes: Some(folder.join("xml")), ..OpenOptions::default() };
    let annotated = Dataset::open(folder.join("val"), &xml)?;
    let mut compared = 0;
    for sample in &wsol.samples {
        let other = manifest.samples.iter().find(|s| s.id == sample.id).ok_or(sample.id.clone())?;
        assert_eq!(sample.class, other.class, "{}", sample.id);
        assert_eq!(sample.original_size, other.original_size, "{}", sample.id);
        if let Some(xml) =
            annotated.samples.iter().find(|s| format!("val/{}", s.id) == sample.id && !s.boxes.is_empty())
        {
            assert_eq!(xml.original_size, sample.original_size, "{}", sample.id);
            assert_eq!(xml.boxes.len(), sample.boxes.len(), "{}", sample.id);
            compared += 1;
        }
    }
    assert!(compared >= 10, "{compared}");
    Ok(())
}

/// The 91 images of `val` by devkit id and by index; both agree with the manifest.
fn labels_agree(folder: &Path) -> Result<(), Failed> {
    let open = |file: &str, labels| {
        let options = OpenOptions {
            format: Format::Ilsvrc,
            labels_file: Some(folder.join(file)),
            labels,
            ..OpenOptions::default()
        };
        Dataset::open(folder.join("val"), &options)
    };
    let devkit = open("ILSVRC2012_validation_ground_truth_devkit_ids.txt", Labels::DevkitIds)?;
    let indices = open("class_labels.txt", Labels::Indices)?;
    assert_eq!(devkit.samples, indices.samples);
    let manifest = Dataset::open(folder.join("index.csv"), &OpenOptions::default())?;
    for sample in &devkit.samples {
        let id = format!("val/{}", sample.id);
        let other = manifest.samples.iter().find(|s| s.id == id).ok_or(id)?;
        assert_eq!(sample.class, other.class, "{}", sample.id);
    }
    let words = std::fs::read_to_string(folder.join("synset_words.txt"))?;
    for (i, line) in words.lines().enumerate() {
        assert_eq!(line, format!("{} {}", imagenet::wnids()[i], imagenet::synonyms()[i]));
    }
    Ok(())
}
