//! The rendered data set: the same bytes everywhere, classes and boxes that fit the pictures.

use quantlens_data::scenes::{CLASSES, SIDE, SPLIT_LENGTH, SceneRange, Split, class_names, label, render};
use quantlens_data::{BBox, Dataset, DecodeOptions, OpenOptions};
use sha2::{Digest, Sha256};

/// A line a scene: split, number, class, box, visible share in millionths, the first 16 hexadecimal digits of the pixels' SHA-256.
///
/// The lines were written by this test on x86-64 (QUANTLENS_WRITE_CHECKSUMS=FILE), where the pictures were looked at. On another
/// machine they show that it renders the same; here, that a change of the renderer kept the data set that networks were trained on.
const CHECKSUMS: &str = include_str!("scenes.txt");

/// The scenes of the list: 50, from all splits and both ends.
fn listed() -> Vec<(Split, u64)> {
    let first = Split::ALL.into_iter().flat_map(|split| (0..11).map(move |number| (split, number)));
    let last = [(Split::Train, SPLIT_LENGTH - 1), (Split::Card, SPLIT_LENGTH - 1), (Split::Card, 4999)];
    let others = [(Split::Train, 95_999), (Split::Study, 49_999), (Split::Study, 12_345)];
    first.chain(last).chain(others).collect()
}

fn line(split: Split, number: u64) -> String {
    let (image, label) = render(split, number);
    let BBox { x0, y0, x1, y1 } = label.bbox;
    let digest = Sha256::digest(image.as_raw());
    let hash: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let visible = (label.visible * 1e6) as u32;
    format!("{split} {number} {} {x0} {y0} {x1} {y1} {visible} {hash}", label.class)
}

#[test]
fn scenes_are_the_same_on_every_machine() {
    let found: Vec<String> = listed().into_iter().map(|(split, number)| line(split, number)).collect();
    assert_eq!(found.len(), 50);
    if let Some(file) = std::env::var_os("QUANTLENS_WRITE_CHECKSUMS") {
        std::fs::write(file, found.join("\n") + "\n").expect("a file that can be written");
    }
    for (found, expected) in found.iter().zip(CHECKSUMS.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), CHECKSUMS.lines().count());
}

#[test]
fn labels_alone_are_those_of_the_rendered_scenes() {
    for number in 0..10 {
        assert_eq!(render(Split::Study, number).1, label(Split::Study, number));
    }
}

#[test]
fn every_class_is_there_as_often() {
    let mut counts = [0; CLASSES];
    for number in 240..240 + 5 * CLASSES as u64 {
        counts[label(Split::Train, number).class] += 1;
    }
    assert_eq!(counts, [5; CLASSES]);
    let names = class_names();
    assert_eq!(names.len(), CLASSES);
    assert_eq!((names[0].as_str(), names[23].as_str()), ("striped star", "zigzag mushroom"));
}

#[test]
fn boxes_lie_in_the_frame_and_enough_of_the_object_is_seen() {
    let mut hidden = 0;
    for number in 0..300 {
        let label = label(Split::Card, number);
        let BBox { x0, y0, x1, y1 } = label.bbox;
        assert!(0.0 <= x0 && 0.0 <= y0 && x1 <= SIDE as f64 && y1 <= SIDE as f64, "{number}: {:?}", label.bbox);
        assert!(x1 - x0 >= 20.0 && y1 - y0 >= 20.0, "{number}: {:?}", label.bbox);
        assert!((0.649..=1.0).contains(&label.visible), "{number}: {}", label.visible);
        hidden += usize::from(label.visible < 0.99);
    }
    assert!((60..240).contains(&hidden), "something hides a part of {hidden} objects of 300");
}

#[test]
fn splits_and_numbers_give_different_pictures() {
    let mut seen = std::collections::HashSet::new();
    for split in Split::ALL {
        for number in 0..4 {
            assert!(seen.insert(render(split, number).0.into_raw()), "{split} {number}");
        }
    }
}

#[test]
fn names_of_ranges_open_as_data_sets() {
    let range: SceneRange = "scenes:study:3..7".parse().unwrap();
    assert_eq!(range, SceneRange { split: Split::Study, numbers: 3..7 });
    assert_eq!("scenes:card:9".parse::<SceneRange>().unwrap().numbers, 9..10);
    for wrong in
        ["scenes:", "scenes:study", "scenes:study:", "scenes:study:4..4", "scenes:study:5..4", "scenes:mine:0..2"]
    {
        let message = wrong.parse::<SceneRange>().unwrap_err();
        assert!(message.contains(wrong), "{message}");
        assert!(Dataset::open(wrong, &OpenOptions::default()).is_err());
    }
    assert!(format!("scenes:study:0..{}", SPLIT_LENGTH + 1).parse::<SceneRange>().is_err());
    let dataset = Dataset::open("scenes:study:3..7", &OpenOptions::default()).unwrap();
    assert_eq!(dataset.description, "rendered scenes:study:3..7: 4 images, 4 classes, 4 images with boxes");
    let sample = &dataset.samples[1];
    assert_eq!((sample.id.as_str(), sample.data_index), ("study-00000004", 1));
    let (image, label) = render(Split::Study, 4);
    assert_eq!(sample.class.as_ref().unwrap().index_in(&class_names()), Some(label.class));
    assert_eq!(sample.boxes, [label.bbox]);
    assert!(sample.read(&DecodeOptions::default()).unwrap() == image);
}
