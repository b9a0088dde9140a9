//! `quantlens render`, and rendered scenes as a data set by name.

use quantlens_data::scenes::{SIDE, Split, class_names, label, render};
use quantlens_data::{Dataset, DecodeOptions, OpenOptions};

use crate::common::{failure, ok, quantlens};

#[test]
fn files_read_back_as_the_data_set_they_were_drawn_from() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["render", "--split", "calibration", "--start", "7", "--count", "3", "--out", "new"];
    let (text, _) = ok(folder.path(), &args);
    assert!(text.starts_with("3 scenes"), "{text}");
    let options = OpenOptions::default();
    let files = Dataset::open(folder.path().join("new/manifest.csv"), &options).unwrap();
    let drawn = Dataset::open("scenes:calibration:7..10", &options).unwrap();
    assert_eq!((files.samples.len(), drawn.samples.len()), (3, 3));
    for (file, scene) in files.samples.iter().zip(&drawn.samples) {
        assert_eq!((&file.class, &file.boxes), (&scene.class, &scene.boxes));
        assert_eq!(file.id, format!("{}.png", scene.id));
        let decode = DecodeOptions::default();
        assert!(file.read(&decode).unwrap() == scene.read(&decode).unwrap(), "{}", file.id);
    }
}

#[test]
fn jpeg_files_are_near_the_scenes() {
    let folder = tempfile::tempdir().unwrap();
    ok(folder.path(), &["render", "--count", "1", "--out", ".", "--format", "jpeg"]);
    let path = folder.path().join("study-00000000.jpg");
    let file = quantlens_data::decode_file(path, &DecodeOptions::default()).unwrap();
    let scene = render(Split::Study, 0).0;
    let sum: u64 = file.iter().zip(scene.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    // Chroma at full resolution, quality 90: a few levels.
    assert!(sum > 0 && sum < 6 * scene.len() as u64, "{sum}");
}

#[test]
fn the_raw_form_is_as_documented() {
    let folder = tempfile::tempdir().unwrap();
    let args = ["render", "--split", "card", "--start", "3", "--count", "9", "--raw", "--threads", "2"];
    let output = quantlens(folder.path(), &args);
    assert_eq!(output.status.code(), Some(0));
    let (header, records) = output.stdout.split_at(32);
    let expected =
        [&b"QLSCENE1"[..], &224u32.to_le_bytes(), &224u32.to_le_bytes(), &3u64.to_le_bytes(), &9u64.to_le_bytes()];
    assert_eq!(header, expected.concat());
    let size = 16 + 3 * SIDE * SIDE;
    assert_eq!(records.len(), 9 * size);
    for (record, number) in records.chunks_exact(size).zip(3..) {
        let (image, label) = render(Split::Card, number);
        let integer = |at: usize| u32::from_le_bytes(record[at..at + 4].try_into().unwrap());
        let side = |at: usize| f64::from(u16::from_le_bytes([record[at], record[at + 1]]));
        assert_eq!((integer(0) as usize, integer(12)), (label.class, (label.visible * 1e6) as u32));
        let b = label.bbox;
        assert_eq!([side(4), side(6), side(8), side(10)], [b.x0, b.y0, b.x1, b.y1]);
        assert!(record[16..] == *image, "scene {number}");
    }
}

#[test]
fn commands_take_scenes_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let (text, _) = ok(folder.path(), &["infer", "demo:int8", "scenes:study:5..7", "--top", "1"]);
    assert!(text.contains("scenes:study:5\n") && text.contains("scenes:study:6\n"), "{text}");
    ok(folder.path(), &["cam", "scenes:study:5"]);
    assert!(folder.path().join("quantlens-cam/study-00000005.cam.png").is_file());
    let args = ["study", "--pair", "demo:f32,demo:int8", "--data", "scenes:study:0..3", "--out", "out", "--no-timing"];
    let (_, notes) = ok(folder.path(), &args);
    assert!(notes.contains("3 images, 3 classes, 3 images with boxes"), "{notes}");
    // The demo pair has ten classes of other names, so that labels meet them by index.
    let unknown = (0..3).map(|number| label(Split::Study, number).class).find(|&class| class >= 10);
    let name = &class_names()[unknown.expect("a scene whose class the demo pair lacks")];
    assert!(notes.contains(&format!("the first is {name:?}")), "{notes}");
    let message = failure(folder.path(), &["infer", "demo:int8", "scenes:study:9..2"]);
    assert!(message.contains("scenes:SPLIT:START..END"), "{message}");
}
