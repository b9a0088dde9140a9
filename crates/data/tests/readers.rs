//! Data set readers on small trees made here, and their errors.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod common;

use std::path::Path;

use common::file;
use quantlens_data::{BBox, Class, Dataset, Format, Geometry, Labels, OpenOptions, Preprocess, RgbImage};
use tempfile::TempDir;

/// A folder with these files; an empty text stands for an image.
fn tree(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match text.is_empty() {
            true => drop(std::fs::copy(file("images/rgb.jpg"), path).unwrap()),
            false => std::fs::write(path, text).unwrap(),
        }
    }
    root
}

fn format(format: Format) -> OpenOptions {
    OpenOptions { format, ..OpenOptions::default() }
}

fn ids(dataset: &Dataset) -> Vec<&str> {
    dataset.samples.iter().map(|s| s.id.as_str()).collect()
}

/// The message of the error that opening gives.
fn message(path: &Path, options: &OpenOptions) -> String {
    match Dataset::open(path, options) {
        Err(error) => error.to_string(),
        Ok(dataset) => panic!("opened: {}", dataset.description),
    }
}

fn indices(dataset: &Dataset) -> Vec<Option<usize>> {
    dataset.samples.iter().map(|s| s.class.as_ref().and_then(|c| c.index)).collect()
}

#[test]
fn folders_are_listed_in_byte_order() {
    let root = tree(&[
        ("b.JPG", ""),
        ("a/z.png", ""),
        ("a.jpeg", ""),
        ("B.jpg", ""),
        ("notes.txt", "x"),
        (".hidden.jpg", "x"),
        ("a/.cache/c.jpg", "x"),
    ]);
    let dataset = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(ids(&dataset), ["B.jpg", "a.jpeg", "a/z.png", "b.JPG"]);
    assert!(
        dataset.samples.iter().enumerate().all(|(i, s)| s.data_index == i && s.path.is_file() && s.class.is_none())
    );
    assert!(dataset.description.ends_with(": 4 images"), "{}", dataset.description);
    let single = Dataset::open(root.path().join("b.JPG"), &OpenOptions::default()).unwrap();
    assert_eq!(ids(&single), ["b.JPG"]);
}

#[test]
fn folders_without_images_are_errors() {
    let root = tree(&[("notes.txt", "x")]);
    assert!(message(root.path(), &OpenOptions::default()).contains("no images (files that end in .jpg"));
    let missing = root.path().join("missing");
    assert!(message(&missing, &OpenOptions::default()).starts_with(&missing.display().to_string()));
}

#[test]
fn image_folders_have_wnids_or_names() {
    let root = tree(&[("n02112137/1.jpg", ""), ("n01440764/deep/er/2.jpg", ""), ("n99999999/3.jpg", "")]);
    let dataset = Dataset::open(root.path(), &OpenOptions::default()).unwrap();
    assert_eq!(indices(&dataset), [Some(0), Some(260), None]);
    let names: Vec<_> = dataset.samples.iter().filter_map(|s| s.class.clone()).map(|c| c.name).collect();
    assert_eq!(names, ["tench", "chow", "n99999999"]);

    let named = tree(&[("cats/1.jpg", ""), ("dogs/2.jpg", "")]);
    let plain = Dataset::open(named.path(), &OpenOptions::default()).unwrap();
    assert!(plain.samples.iter().all(|s| s.class.is_none()), "names are never taken for classes unasked");
    let classes = Dataset::open(named.path(), &format(Format::ImageFolder)).unwrap();
    assert_eq!(classes.samples[1].class, Some(Class { index: None, wnid: None, name: "dogs".into() }));
    let flat = tree(&[("1.jpg", "")]);
    assert!(message(flat.path(), &format(Format::ImageFolder)).contains("1.jpg lies in no class folder"));
}

#[test]
fn labels_are_read_as_chosen_and_never_guessed() {
    let images = [("val/ILSVRC2012_val_00000001.JPEG", ""), ("val/ILSVRC2012_val_00000003.JPEG", "")];
    let root = tree(&[
        images[0],
        images[1],
        ("devkit.txt", "490\n361\n171\n"),
        ("indices.txt", "65\n970\n230\n"),
        ("wnids.txt", "n01751748\nn09193705\nn02105855\n"),
        ("pairs.txt", "ILSVRC2012_val_00000003.JPEG 230\nval/ILSVRC2012_val_00000001.JPEG 65\n"),
        (
            "kaggle.csv",
            "ImageId,PredictionString\nILSVRC2012_val_00000001,n01751748 1 2 3 4\nILSVRC2012_val_00000003,n02105855 1 2 3 4\n",
        ),
    ]);
    let open = |file: &str, labels| OpenOptions {
        labels_file: Some(root.path().join(file)),
        labels,
        ..format(Format::Ilsvrc)
    };
    let val = root.path().join("val");
    for (file, labels) in [
        ("devkit.txt", Labels::DevkitIds),
        ("indices.txt", Labels::Indices),
        ("wnids.txt", Labels::Wnids),
        ("pairs.txt", Labels::Indices),
        ("kaggle.csv", Labels::Wnids),
    ] {
        let dataset = Dataset::open(&val, &open(file, labels)).unwrap();
        assert_eq!(indices(&dataset), [Some(65), Some(230)], "{file}");
        assert_eq!(dataset.samples[0].class.as_ref().unwrap().wnid.as_deref(), Some("n01751748"));
        assert_eq!(dataset.labels, labels);
    }
    let unchosen = message(&val, &open("devkit.txt", Labels::None));
    for choice in ["indices", "wnids", "devkit"] {
        assert!(unchosen.contains(choice), "{unchosen}");
    }
    assert!(
        message(&val, &OpenOptions { labels: Labels::Indices, ..format(Format::Ilsvrc) }).contains("no labels file")
    );
    let tree = OpenOptions { format: Format::ImageFolder, ..open("wnids.txt", Labels::Wnids) };
    assert!(message(&val, &tree).contains("goes with the format `ilsvrc` only"));
}

#[test]
fn wrong_labels_name_their_line() {
    let root = tree(&[
        ("val/x_2.jpg", ""),
        ("index.txt", "1\n1000\n"),
        ("devkit.txt", "1\n0\n"),
        ("wnid.txt", "n01440764\n\nn12345678\n"),
        ("short.txt", "5\n"),
        ("mixed.txt", "5\na.jpg 3\n"),
        ("empty.txt", "\n\n"),
        ("other.txt", "a.jpg 3\n"),
    ]);
    for (name, labels, expected) in [
        ("index.txt", Labels::Indices, "line 2: `1000` is no class index from 0 to 999"),
        ("devkit.txt", Labels::DevkitIds, "line 2: `0` is no devkit id from 1 to 1000"),
        ("wnid.txt", Labels::Wnids, "line 3: `n12345678` is none of ILSVRC2012's 1000 wnids"),
        ("wnid.txt", Labels::Indices, "line 1: `n01440764` is no class index"),
        ("short.txt", Labels::Indices, "no label for image x_2.jpg: there are 1 lines"),
        ("mixed.txt", Labels::Indices, "some lines are `label`, others `file label`"),
        ("empty.txt", Labels::Indices, "the labels file is empty"),
        ("other.txt", Labels::Indices, "no label for image x_2.jpg: no line names x_2"),
        ("absent.txt", Labels::Indices, "absent.txt"),
    ] {
        let options = OpenOptions { labels_file: Some(root.path().join(name)), labels, ..format(Format::Ilsvrc) };
        let found = message(&root.path().join("val"), &options);
        assert!(found.contains(expected) && found.contains(name), "{found}");
    }
}

const XML: &str = "<annotation><size><width>200</width><height>100</height></size><object><bndbox>\
    <xmin>20</xmin><ymin>10</ymin><xmax>100</xmax><ymax>60</ymax></bndbox></object></annotation>";

#[test]
fn xml_boxes_are_found_and_scaled() {
    let root = tree(&[
        ("val/a.jpg", ""),
        ("val/b.jpg", ""),
        ("xml/a.xml", XML),
        ("bad/a.xml", "<html/>"),
        ("none/x.txt", "x"),
    ]);
    let with = |folder: &str| OpenOptions { boxes: Some(root.path().join(folder)), ..OpenOptions::default() };
    let dataset = Dataset::open(root.path().join("val"), &with("xml")).unwrap();
    assert!(dataset.description.ends_with("2 images, 1 images with boxes"), "{}", dataset.description);
    let sample = &dataset.samples[0];
    assert_eq!(sample.original_size, Some([200, 100]));
    assert_eq!(sample.boxes_in(100, 200), [BBox { x0: 10.0, y0: 20.0, x1: 50.0, y1: 120.0 }]);
    assert!(dataset.samples[1].boxes.is_empty());
    let bad = message(&root.path().join("val"), &with("bad"));
    assert!(bad.contains("a.xml") && bad.contains("found <html>"), "{bad}");
    assert!(message(&root.path().join("val"), &with("none")).contains("no annotation fits an image"));
    assert!(message(&root.path().join("val"), &with("absent")).contains("absent"));
}

#[test]
fn wsolevaluations_lists_are_read() {
    let labels = "val/a.jpg,65\nval/b.jpg,970\nval/missing.jpg,3\n";
    let sizes = "val/a.jpg,500,375\nval/b.jpg,10,20\nval/missing.jpg,1,1\n";
    let boxes = "val/a.jpg,0,0,250,375\nval/a.jpg,1,2,3,4\nval/missing.jpg,0,0,1,1\n";
    let root = tree(&[
        ("val/a.jpg", ""),
        ("val/b.jpg", ""),
        ("class_labels.txt", labels),
        ("image_sizes.txt", sizes),
        ("localization.txt", boxes),
    ]);
    let skipping = OpenOptions { skip_missing: true, ..format(Format::Wsol) };
    let dataset = Dataset::open(root.path(), &skipping).unwrap();
    assert_eq!(indices(&dataset), [Some(65), Some(970)]);
    assert!(dataset.description.ends_with("2 classes, 1 images with boxes, 1 listed images missing"));
    assert_eq!(dataset.samples[0].boxes_in(100, 100)[0], BBox { x0: 0.0, y0: 0.0, x1: 50.0, y1: 100.0 });
    assert!(message(root.path(), &format(Format::Wsol)).contains("missing.jpg does not exist"));
    for (name, text, expected) in [
        ("class_labels.txt", "val/a.jpg,65\nval/b.jpg\n", "line 2: expected an image id and 1 numbers"),
        ("image_sizes.txt", "val/a.jpg,500\n", "line 1: expected an image id and 2 numbers"),
        ("localization.txt", "val/a.jpg,9,0,1,2\n", "line 1: box 9, 0, 1, 2 is not x0 <= x1"),
    ] {
        std::fs::write(root.path().join(name), text).unwrap();
        let found = message(root.path(), &skipping);
        assert!(found.contains(expected) && found.contains(name), "{found}");
        let original = [("class_labels.txt", labels), ("image_sizes.txt", sizes)].into_iter().find(|(n, _)| *n == name);
        original.into_iter().for_each(|(_, text)| std::fs::write(root.path().join(name), text).unwrap());
    }
}

/// The columns of an index of resized and of cropped images.
const HEADER: &str = "set,file,class_index,wnid,orig_w,orig_h,file_w,file_h,geometry,boxes_xyxy_in_original_pixels";

#[test]
fn manifests_are_read() {
    let text = format!(
        "{HEADER}\ns,b.jpg,472,n02951358,500,250,100,100,resized_squash,\"[[50, 50, 250, 100], [0, 0, 500, 250]]\"\n\
         s,a.jpg,260,n02112137,375,500,368,496,cropped_to_multiple_of_8,\"[[10, 20, 375, 500], [370, 0, 375, 9]]\"\n\
         ,c.jpg,,,,,,,,\n"
    );
    let root = tree(&[("s/a.jpg", ""), ("s/b.jpg", ""), ("c.jpg", ""), ("index.csv", &text)]);
    let dataset = Dataset::open(root.path().join("index.csv"), &OpenOptions::default()).unwrap();
    assert_eq!(ids(&dataset), ["c.jpg", "s/a.jpg", "s/b.jpg"]);
    assert_eq!(indices(&dataset), [None, Some(260), Some(472)]);
    let cropped = dataset.samples[1].boxes_in(368, 496);
    assert_eq!(
        cropped,
        [BBox { x0: 10.0, y0: 20.0, x1: 368.0, y1: 496.0 }],
        "cut, not scaled; the other is cropped away"
    );
    let scaled = dataset.samples[2].boxes_in(100, 100);
    assert_eq!(scaled[0], BBox { x0: 10.0, y0: 20.0, x1: 50.0, y1: 40.0 });
    assert_eq!(scaled[1], BBox { x0: 0.0, y0: 0.0, x1: 100.0, y1: 100.0 });

    let simple = "\u{feff}class,file,boxes\ncats,c.jpg,\"[[1, 2, 3.5, 4]]\"\n";
    std::fs::write(root.path().join("simple.csv"), simple).unwrap();
    let dataset = Dataset::open(root.path().join("simple.csv"), &OpenOptions::default()).unwrap();
    assert_eq!(dataset.samples[0].class, Some(Class { index: None, wnid: None, name: "cats".into() }));
    assert_eq!(dataset.samples[0].boxes_in(7, 9), [BBox { x0: 1.0, y0: 2.0, x1: 3.5, y1: 4.0 }]);
}

#[test]
fn wrong_manifests_name_their_line() {
    let root = tree(&[("c.jpg", "")]);
    let path = root.path().join("m.csv");
    let line = |rest: &str| format!("{HEADER}\n,c.jpg,{rest}\n");
    for (text, expected) in [
        ("name\nc.jpg\n".into(), "line 1: no column `file` among: name"),
        ("file,orig_w\nc.jpg,3\n".into(), "line 1: of the columns orig_w and orig_h there is only one"),
        ("file,boxes_xyxy_in_original_pixels\nc.jpg,\n".into(), "line 1: boxes in original pixels need"),
        ("file,wnid\nc.jpg,cat\n".into(), "line 2: wnid `cat` is not `n` and eight digits"),
        ("file,wnid\nc.jpg\n".into(), "line 2: "),
        (line("-1,,,,,,,"), "line 2: class_index `-1`"),
        (line("1,,0,3,,,,"), "line 2: size `0` x `3`"),
        (line("1,,9,9,,,,[[1]]"), "line 2: boxes `[[1]]` are not"),
        (line("1,,9,9,,,,\"[[5, 1, 4, 2]]\""), "line 2: box 5, 1, 4, 2 is not"),
        (line("1,,,,,,,\"[[1, 1, 4, 2]]\""), "line 2: boxes in original pixels, but orig_w or orig_h is empty"),
        ("file\nc.jpg\nd.jpg\n".into(), "d.jpg does not exist"),
        ("file\nc.jpg\nc.jpg\n".into(), "image c.jpg is listed twice"),
        ("file\n".into(), "no images"),
    ] {
        std::fs::write(&path, text).unwrap();
        let found = message(&path, &OpenOptions::default());
        assert!(found.contains(expected) && found.contains("m.csv"), "{found}");
    }
}

#[test]
fn classes_meet_by_wnid_then_name_then_index() {
    let list = |names: &[&str]| names.iter().map(|n| (*n).to_string()).collect::<Vec<_>>();
    let chow = Class { index: Some(260), wnid: Some("n02112137".into()), name: "chow".into() };
    assert_eq!(chow.index_in(&list(&["n01440764", "n02112137"])), Some(1));
    assert_eq!(chow.index_in(&list(&["n01440764", "n01443537"])), None, "the model has wnids, but not this one");
    assert_eq!(chow.index_in(&list(&["cat", "chow"])), Some(1));
    assert_eq!(chow.index_in(&list(&["cat", "dog"])), None);
    assert_eq!(chow.index_in(&[]), Some(260));
    // Names of 1000 classes, two of them called crane: the index tells which.
    let names = list(quantlens_data::imagenet::names());
    let machine = Class { index: Some(517), wnid: Some("n03126707".into()), name: "crane".into() };
    assert_eq!(machine.index_in(&names), Some(517));
    let plain = Class { index: Some(1), wnid: None, name: "class 1".into() };
    assert_eq!(plain.index_in(&list(&["n01440764", "n02112137"])), Some(1));
    assert_eq!(plain.index_in(&list(&["n01440764"])), None);
}

#[test]
fn boxes_follow_the_pixels() {
    let b = |x0, y0, x1, y1| BBox { x0, y0, x1, y1 };
    let crop = Preprocess::imagenet();
    // 512x256 keeps its size; the crop starts at x = 144, y = 16.
    assert_eq!(crop.map_box(b(144.0, 16.0, 368.0, 240.0), 512, 256), Some(b(0.0, 0.0, 224.0, 224.0)));
    assert_eq!(crop.map_box(b(100.0, 20.0, 154.0, 26.0), 512, 256), Some(b(0.0, 4.0, 10.0, 10.0)));
    assert_eq!(crop.map_box(b(0.0, 0.0, 144.0, 256.0), 512, 256), None, "cropped away");
    // 1000x500 is halved... to 512x256: 0.512 apart from rounding of sides.
    assert_eq!(crop.map_box(b(500.0, 250.0, 600.0, 300.0), 1000, 500), Some(b(112.0, 112.0, 163.2, 137.6)));
    let stretch = Preprocess { geometry: Geometry::Stretch, ..crop.clone() };
    assert_eq!(stretch.map_box(b(0.0, 0.0, 250.0, 100.0), 500, 400), Some(b(0.0, 0.0, 112.0, 56.0)));
    // Smaller than the crop: padded with 97 pixels at the left and 99 above.
    let padded = Preprocess { resize: None, ..crop };
    assert_eq!(padded.map_box(b(0.0, 0.0, 30.0, 26.0), 30, 26), Some(b(97.0, 99.0, 127.0, 125.0)));
    // The drawn box lands where the mapped box says.
    let image = RgbImage::from_fn(400, 300, |x, y| {
        if (100..200).contains(&x) && (120..240).contains(&y) { [255; 3] } else { [0; 3] }.into()
    });
    let crop = Preprocess::imagenet();
    let mapped = crop.map_box(b(100.0, 120.0, 200.0, 240.0), 400, 300).unwrap();
    let white = crop.rgb(&image).enumerate_pixels().filter(|(_, _, p)| p[0] > 127).fold(
        [f64::MAX, f64::MAX, 0.0, 0.0],
        |a, (x, y, _)| {
            [a[0].min(x.into()), a[1].min(y.into()), a[2].max(f64::from(x) + 1.0), a[3].max(f64::from(y) + 1.0)]
        },
    );
    // Edges fall between pixels: half a pixel of tolerance.
    for (found, expected) in white.into_iter().zip([mapped.x0, mapped.y0, mapped.x1, mapped.y1]) {
        assert!((found - expected).abs() <= 0.5, "{white:?} {mapped:?}");
    }
}

#[cfg(unix)]
#[test]
fn a_loop_of_links_is_an_error() {
    let root = tree(&[("a/1.jpg", "")]);
    std::os::unix::fs::symlink(root.path(), root.path().join("a/back")).unwrap();
    let found = message(root.path(), &OpenOptions::default());
    assert!(found.contains("back") && found.contains("remove the link"), "{found}");
}
