//! Bad input: an error that names file and cause, never a panic, never a picture that was made up.

mod common;

use common::{decoders, file};
use quantlens_data::{Cause, DecodeOptions, Decoder, Error, Geometry, Preprocess, RgbImage, decode_bytes, decode_file};

fn options(decoder: Decoder) -> DecodeOptions {
    DecodeOptions { decoder, ..DecodeOptions::default() }
}

fn cause(bytes: &[u8], decoder: Decoder) -> Cause {
    match decode_bytes("some/file.jpg", bytes, &options(decoder)) {
        Err(Error::Image { file, cause }) => {
            assert_eq!(file, "some/file.jpg");
            cause
        }
        other => panic!("expected an error, found {:?}", other.map(|i| i.dimensions())),
    }
}

#[test]
fn what_is_no_image_is_named() {
    let pure = Decoder::Pure;
    assert_eq!(cause(b"", pure), Cause::Empty);
    for (bytes, what) in [
        (&b"just some text\n"[..], "it looks like a text file"),
        (b"GIF89a....", "it is a GIF file"),
        (b"RIFF\0\0\0\0WEBPVP8 ", "it is a WebP file"),
        (b"\0\x01\x02\x03\x04", "it starts with [00, 01, 02, 03]"),
    ] {
        assert_eq!(cause(bytes, pure), Cause::NotAnImage(what.into()));
    }
    assert!(matches!(cause(b"\xFF\xD8", pure), Cause::Truncated(_)));
    assert!(matches!(cause(b"\x89PNG", pure), Cause::Truncated(_)));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.jpg");
    std::fs::write(&path, "not a picture").unwrap();
    let message = decode_file(&path, &options(pure)).unwrap_err().to_string();
    assert_eq!(message, format!("{}: not a JPEG or PNG image: it looks like a text file", path.display()));
    let missing = folder.path().join("missing.jpg");
    assert!(decode_file(&missing, &options(pure)).unwrap_err().to_string().starts_with(&missing.display().to_string()));
}

#[test]
fn content_decides_not_the_name() {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [("rgb.png", "a.jpg"), ("rgb.jpg", "b.png"), ("rgb.png", "c")] {
        let path = folder.path().join(to);
        std::fs::copy(file("images").join(from), &path).unwrap();
        let renamed = decode_file(&path, &DecodeOptions::default()).unwrap();
        assert_eq!(renamed, decode_file(file("images").join(from), &DecodeOptions::default()).unwrap());
    }
}

#[test]
fn every_truncation_is_an_error() {
    let names =
        ["baseline-420.jpg", "progressive-444.jpg", "restart.jpg", "not-interleaved.jpg", "cmyk.jpg", "rgba.png"];
    for name in names {
        let bytes = std::fs::read(file("images").join(name)).unwrap();
        // A PNG is whole without its last chunk, IEND, 12 bytes: Pillow shows it too.
        let tail = if name.ends_with("png") { 12 + 4 } else { 0 };
        for length in 0..bytes.len() - tail {
            for decoder in decoders() {
                let found = cause(&bytes[..length], decoder);
                if decoder == Decoder::Pure && length > 8 && name.ends_with("jpg") {
                    assert!(matches!(found, Cause::Truncated(_)), "{name} cut to {length} bytes: {found}");
                }
            }
        }
    }
}

#[test]
fn what_is_not_supported_says_so() {
    let read = |name: &str| std::fs::read(file("images").join(name)).unwrap();
    let message = cause(&read("arithmetic.jpg"), Decoder::Pure).to_string();
    assert!(message.contains("arithmetic coding"), "{message}");
    let message = cause(&read("first-scans-only.jpg"), Decoder::Pure).to_string();
    assert!(message.contains("last scans"), "{message}");
    if !Decoder::TurboJpeg.available() {
        let message = cause(&read("rgb.jpg"), Decoder::TurboJpeg).to_string();
        assert!(message.contains("feature `turbojpeg`"), "{message}");
    }
}

#[test]
fn bombs_are_refused_by_their_headers() {
    let small = DecodeOptions { max_pixels: 23 * 17 - 1, ..DecodeOptions::default() };
    for name in ["rgb.png", "rgb.jpg"] {
        let error = decode_file(file("images").join(name), &small).unwrap_err();
        assert!(matches!(error, Error::Image { cause: Cause::TooLarge { limit: 390, .. }, .. }), "{error}");
    }
    // The header of a 65,000 x 65,000 picture, nothing behind it.
    let mut jpeg = b"\xFF\xD8\xFF\xC0\0\x11\x08".to_vec();
    jpeg.extend([65_000u16; 2].map(u16::to_be_bytes).concat());
    jpeg.extend([3, 1, 0x22, 0, 2, 0x11, 0, 3, 0x11, 0]);
    for decoder in decoders() {
        let found = cause(&jpeg, decoder);
        assert!(decoder != Decoder::Pure || matches!(found, Cause::TooLarge { width: 65_000, .. }), "{found}");
    }
    let mut png = std::fs::read(file("images/rgb.png")).unwrap();
    png[16..24].fill(0x7F);
    assert!(matches!(cause(&png, Decoder::Pure), Cause::TooLarge { .. }));
}

/// Damages every test image in a few hundred ways; whatever comes back, nothing may panic or hang.
#[test]
fn damaged_files_never_panic() {
    let mut random = 0x9E37_79B9_7F4A_7C15u64;
    let mut next = move |n: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random % n as u64) as usize
    };
    let limited = DecodeOptions { max_pixels: 1 << 16, orient: true, ..DecodeOptions::default() };
    for entry in std::fs::read_dir(file("images")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for round in 0..300 {
            let mut damaged = bytes.clone();
            // Every other time only the headers.
            let reach = if round % 2 == 0 { damaged.len() } else { damaged.len().min(640) };
            for _ in 0..=next(4) {
                let at = next(reach);
                match next(4) {
                    0 => damaged[at] ^= 1 << next(8),
                    1 => damaged[at] = 0xFF,
                    2 => drop(damaged.drain(at..(at + 1 + next(8)).min(reach).min(damaged.len()))),
                    _ => damaged[at] = next(256) as u8,
                }
                if damaged.len() < reach {
                    break;
                }
            }
            let _ = decode_bytes("damaged", &damaged, &limited);
        }
    }
}

#[test]
fn preprocessing_survives_any_shape() {
    let stretch = Preprocess { geometry: Geometry::Stretch, ..Preprocess::imagenet() };
    for (width, height) in [(0, 0), (1, 1), (1, 60_000), (60_000, 1)] {
        for preprocess in [&Preprocess::imagenet(), &stretch] {
            assert_eq!(preprocess.rgb(&RgbImage::new(width, height)).dimensions(), (224, 224));
        }
    }
    let wrong = [
        Preprocess { resize: Some(0), ..Preprocess::imagenet() },
        Preprocess { crop: [0, 224], ..Preprocess::imagenet() },
        Preprocess { crop: [224, 1 << 20], ..Preprocess::imagenet() },
        Preprocess { mean: [f32::NAN; 3], ..Preprocess::imagenet() },
        Preprocess { std: [1.0, 0.0, 1.0], ..Preprocess::imagenet() },
    ];
    for preprocess in wrong {
        assert!(preprocess.check().is_err());
    }
    // Unchecked sizes of 0 are taken as 1.
    let unchecked = Preprocess { resize: Some(0), crop: [0, 0], ..Preprocess::imagenet() };
    assert_eq!(unchecked.rgb(&RgbImage::new(5, 7)).dimensions(), (1, 1));
}
