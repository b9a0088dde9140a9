//! Pixels and tensors against Pillow 13.0.0 and torchvision 0.20.1: `tools/golden_images.py` made the files and checksums.

mod common;

use common::{checksum, decoders, file, fnv, generated, number, table};
use quantlens_data::{DecodeOptions, Geometry, Interpolation, Preprocess, decode_file, demo_image, resize};

#[test]
fn decoded_pixels_are_pillows() {
    let lines = table("pixels.txt");
    assert_eq!(lines.len(), 106);
    for decoder in decoders() {
        for line in &lines {
            let options = DecodeOptions { decoder, orient: line[1] == "upright", ..DecodeOptions::default() };
            let image = decode_file(file("images").join(&line[0]), &options).unwrap();
            assert_eq!(image.dimensions(), (number(&line[2]), number(&line[3])), "{line:?} {decoder:?}");
            assert_eq!(fnv(image.into_raw()), checksum(&line[4]), "{line:?} {decoder:?}");
        }
    }
}

#[test]
fn resized_pixels_are_pillows() {
    let lines = table("resizes.txt");
    assert_eq!(lines.len(), 816);
    for line in lines {
        let interpolation = match line[4].as_str() {
            "nearest" => Interpolation::Nearest,
            "bilinear" => Interpolation::Bilinear,
            _ => Interpolation::Bicubic,
        };
        let image = generated(number(&line[0]), number(&line[1]));
        let resized = resize(&image, number(&line[2]), number(&line[3]), interpolation);
        assert_eq!(fnv(resized.into_raw()), checksum(&line[5]), "{line:?}");
    }
}

#[test]
fn network_inputs_are_torchvisions() {
    let lines = table("inputs.txt");
    assert_eq!(lines.len(), 44);
    for line in lines {
        let numbers: Vec<usize> = line[1..6].iter().map(|c| number(c)).collect();
        let preprocess = Preprocess {
            resize: (numbers[2] > 0).then_some(numbers[2] as u32),
            crop: [numbers[3], numbers[4]],
            geometry: if line[0] == "stretch" { Geometry::Stretch } else { Geometry::ResizeCrop },
            ..Preprocess::imagenet()
        };
        preprocess.check().unwrap();
        let rgb = preprocess.rgb(&generated(numbers[0] as u32, numbers[1] as u32));
        assert_eq!((rgb.height() as usize, rgb.width() as usize), (numbers[3], numbers[4]));
        let tensor = preprocess.tensor(&rgb);
        assert_eq!(tensor.shape().dims(), [1, 3, numbers[3], numbers[4]]);
        assert_eq!(fnv(rgb.into_raw()), checksum(&line[6]), "{line:?}");
        let bytes = tensor.as_f32().unwrap().iter().flat_map(|v| v.to_le_bytes());
        assert_eq!(fnv(bytes), checksum(&line[7]), "{line:?}");
    }
}

#[test]
fn the_demo_image_is_the_same_everywhere() {
    let image = demo_image();
    assert_eq!(image.dimensions(), (320, 256));
    // Our own output: records it, so that a change of the picture (and of every document that shows it) is noticed.
    assert_eq!(fnv(image.into_raw()), 2_432_728_746_504_485_190);
}
