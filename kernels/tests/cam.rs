//! Gram matrices, resized maps and blended images: awkward sizes on every instruction set of this machine against plain formulas.

use std::ops::RangeInclusive;

use quantlens_kernels::scalar::gram::{gram_f32, gram_u8};
use quantlens_kernels::scalar::picture::{resize_columns, resize_rows};
use quantlens_kernels::scalar::resize::resize_bilinear;
use quantlens_kernels::{Blend, Gram, Isa, MapResize, PictureResize, PictureTaps};

const ROWS: [usize; 12] = [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 49, 50];

/// Around vectors of 8 and 16 and blocks of 256 and 320.
const COLUMNS: [usize; 19] = [0, 1, 3, 7, 8, 9, 15, 16, 17, 31, 127, 255, 256, 257, 319, 320, 321, 640, 1030];

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available())
}

/// Bits that look random and can be repeated (splitmix64).
fn bits(i: usize) -> u64 {
    let z = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Products and sums by the definition, from integers.
fn expected(x: &[i64], rows: usize) -> (Vec<f64>, Vec<f64>) {
    let columns = x.len() / rows;
    let row = |i: usize| &x[i * columns..(i + 1) * columns];
    let product = |k: usize| row(k / rows).iter().zip(row(k % rows)).map(|(a, b)| a * b).sum::<i64>() as f64;
    ((0..rows * rows).map(product).collect(), (0..rows).map(|i| row(i).iter().sum::<i64>() as f64).collect())
}

#[test]
fn products_of_bytes_are_exact() {
    for isa in isas() {
        let mut gram = Gram::new(isa).expect("available");
        for (rows, columns) in ROWS.into_iter().flat_map(|r| COLUMNS.map(|c| (r, c))) {
            for extreme in [false, true] {
                let byte = |i: usize| if extreme { [255, 0, 254][bits(i) as usize % 3] } else { bits(i) as u8 };
                let x: Vec<u8> = (0..rows * columns).map(byte).collect();
                let wide: Vec<i64> = x.iter().map(|&x| i64::from(x)).collect();
                let (mut products, mut sums) = (vec![f64::NAN; rows * rows], vec![f64::NAN; rows]);
                gram.u8(&x, rows, &mut products, &mut sums);
                assert_eq!(
                    (&products, &sums),
                    (&expected(&wide, rows).0, &expected(&wide, rows).1),
                    "{isa} {rows}x{columns}"
                );
                gram_u8(&x, rows, &mut products, &mut sums);
                assert_eq!((products, sums), expected(&wide, rows), "plain {rows}x{columns}");
            }
        }
    }
}

#[test]
fn long_rows_of_the_largest_bytes_do_not_overflow() {
    let columns = 70_000;
    let x = vec![255; 2 * columns];
    for isa in isas() {
        let (mut products, mut sums) = ([0.0; 4], [0.0; 2]);
        Gram::new(isa).expect("available").u8(&x, 2, &mut products, &mut sums);
        assert_eq!((products, sums), ([65_025.0 * 70_000.0; 4], [255.0 * 70_000.0; 2]), "{isa}");
    }
}

#[test]
fn products_of_floats_are_those_of_f64() {
    for isa in isas() {
        let mut gram = Gram::new(isa).expect("available");
        for (rows, columns) in ROWS.into_iter().flat_map(|r| COLUMNS.map(|c| (r, c))) {
            for from_first in [false, true] {
                // Multiples of 1/16 up to 16, and NaN: products and sums of the integers are exact.
                let integer = |i: usize| (bits(i) % 256) as i64;
                let nan = |i: usize| bits(i + 7).is_multiple_of(29);
                let x: Vec<f32> =
                    (0..rows * columns).map(|i| if nan(i) { f32::NAN } else { integer(i) as f32 / 16.0 }).collect();
                let clean = |i: usize| if nan(i) { 0 } else { integer(i) };
                let first = |i: usize| if from_first { clean(i % columns) } else { 0 };
                let raw: Vec<i64> = (0..x.len()).map(clean).collect();
                let wide: Vec<i64> = (0..x.len()).map(|i| clean(i) - first(i)).collect();
                let (products, sums) = (expected(&wide, rows).0, expected(&raw, rows).1);
                let check = |found: &[f64], found_sums: &[f64]| {
                    for (k, (found, exact)) in found.iter().zip(&products).enumerate() {
                        let length = |i: usize| products[i * rows + i].sqrt();
                        // 320 roundings of partial sums, which are at most the product of the lengths, and mostly less.
                        let tolerance = 2e-6 * length(k / rows) * length(k % rows);
                        assert!((found * 256.0 - exact).abs() <= tolerance, "{isa} {rows}x{columns}: {found} {exact}");
                    }
                    for (found, exact) in found_sums.iter().zip(&sums) {
                        assert!((found * 16.0 - exact).abs() <= 1e-6 * exact.abs(), "{isa} {rows}x{columns}");
                    }
                };
                let (mut found, mut found_sums) = (vec![f64::NAN; rows * rows], vec![f64::NAN; rows]);
                gram.f32(&x, rows, from_first, &mut found, &mut found_sums);
                check(&found, &found_sums);
                gram_f32(&x, rows, from_first, &mut found, &mut found_sums);
                check(&found, &found_sums);
            }
        }
    }
}

#[test]
fn floats_of_any_unit_keep_their_products() {
    for isa in isas() {
        let mut gram = Gram::new(isa).expect("available");
        for unit in [1e-30_f32, 1.0, 1e25] {
            let x: Vec<f32> = (0..2 * 40).map(|i| unit * (1 + i % 7) as f32).collect();
            let (mut found, mut sums) = ([0.0; 4], [0.0; 2]);
            gram.f32(&x, 2, false, &mut found, &mut sums);
            let exact: f64 = x[..40].iter().zip(&x[40..]).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            assert!((found[1] - exact).abs() <= 1e-6 * exact && found[1] == found[2], "{isa} {unit}: {}", found[1]);
        }
        let (mut found, mut sums) = ([0.0; 4], [0.0; 2]);
        gram.f32(&[f32::INFINITY, 0.0, 1.0, 2.0], 2, false, &mut found, &mut sums);
        assert!(!found[0].is_finite() && !sums[0].is_finite(), "{isa}: {found:?}");
    }
}

#[test]
fn resized_maps_are_the_same_bits_everywhere() {
    let sizes = [[1, 1], [1, 3], [2, 1], [3, 2], [7, 7], [14, 14], [5, 33]];
    for isa in isas() {
        let mut resize = MapResize::new(isa).expect("available");
        for (from, to) in sizes.into_iter().flat_map(|a| sizes.map(|b| (a, b)).into_iter().chain([(a, [224, 224])])) {
            let map: Vec<f32> =
                (0..from[0] * from[1]).map(|i| (bits(i) >> 40) as f32 / (1 << 24) as f32 - 0.25).collect();
            let mut plain = vec![f32::NAN; to[0] * to[1]];
            resize_bilinear(&map, from, to, &mut plain);
            let mut found = vec![f32::NAN; to[0] * to[1]];
            let [low, high] = resize.run(&map, from, to, &mut found);
            assert_eq!(found, plain, "{isa} {from:?} to {to:?}");
            assert_eq!(low, plain.iter().copied().fold(f32::INFINITY, f32::min));
            assert_eq!(high, plain.iter().copied().fold(f32::NEG_INFINITY, f32::max));
            resize.normalize(&mut found, [low, high]);
            let normal: Vec<f32> = plain.iter().map(|x| (x - low) / (1e-7 + (high - low))).collect();
            assert_eq!(found, normal, "{isa} {from:?} to {to:?}");
            found.iter_mut().zip([f32::NAN, -1.0, 2.0, 1.0, f32::INFINITY]).for_each(|(x, odd)| *x = odd);
            let mut grey = vec![7; found.len()];
            resize.grey(&found, &mut grey);
            let plain: Vec<u8> = found.iter().map(|x| (255.0 * x) as u8).collect();
            assert_eq!(grey, plain, "{isa} {from:?} to {to:?}");
        }
    }
}

#[test]
fn pictures_are_the_same_bytes_everywhere() {
    for (n, (width, height)) in
        [(1, 1), (2, 1), (5, 7), (10, 3), (11, 12), (21, 4), (33, 9), (64, 5)].into_iter().enumerate()
    {
        let picture: Vec<u8> = (0..3 * width * height).map(|i| bits(i + n) as u8).collect();
        for (of, new) in [(width, 1), (width, 2), (width, 13), (height, 1), (height, 6)] {
            // As many old pixels as there are, or fewer; weights of both signs that overshoot both ends, and wild ones.
            let mut taps = PictureTaps::new();
            for i in 0..new {
                let first = bits(i) as usize % of;
                let count = 1 + bits(i + 7) as usize % (of - first);
                let wild = n % 2 == 1 && i % 5 == 4;
                taps.push(first, (0..count).map(|k| bits(i * 31 + k) as i32 >> if wild { 0 } else { 8 }));
            }
            let (mut plain, mut plain_rows) = (vec![1; 3 * new * height], vec![1; 3 * new * width]);
            if of == width {
                resize_columns(&picture, width, &taps, &mut plain);
            }
            if of == height {
                resize_rows(&picture, 3 * width, &taps, &mut plain_rows);
            }
            for isa in isas() {
                let resize = PictureResize::new(isa).expect("available");
                let (mut found, mut rows) = (vec![1; plain.len()], vec![1; plain_rows.len()]);
                if of == width {
                    resize.columns(&picture, width, &taps, &mut found);
                }
                if of == height {
                    resize.rows(&picture, 3 * width, &taps, &mut rows);
                }
                assert_eq!((&found, &rows), (&plain, &plain_rows), "{isa} {width}x{height}, {new} of {of}");
            }
        }
    }
    // Nothing in, nothing out.
    let (none, resize) = (PictureTaps::new(), PictureResize::default());
    resize.columns(&[1, 2, 3], 1, &none, &mut []);
    resize.rows(&[1, 2, 3], 3, &none, &mut []);
    resize.rows(&[], 0, &none, &mut []);
}

#[test]
fn resize_holds_edges_and_centres_pixels() {
    let resized = |map: &[f32], from, to: [usize; 2]| {
        let mut out = vec![0.0; to[0] * to[1]];
        resize_bilinear(map, from, to, &mut out);
        out
    };
    // 2 to 4: centres at -0.25, 0.25, 0.75, 1.25 of the source.
    assert_eq!(resized(&[0.0, 1.0], [1, 2], [1, 4]), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(resized(&[0.0, 1.0], [2, 1], [4, 1]), [0.0, 0.25, 0.75, 1.0]);
    assert_eq!(resized(&[3.0], [1, 1], [2, 2]), [3.0; 4]);
}

#[test]
fn pixels_of_some_steps_are_the_same_everywhere() {
    // Around registers of 16 and 32 steps.
    let lens = [0, 1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100, 224 * 3 + 5];
    let ranges = [1..=100, 1..=1, 3..=9, 0..=0, 0..=255, 200..=255, 128..=128, RangeInclusive::new(9, 3), 101..=101];
    for (len, channels) in lens.into_iter().flat_map(|len| [0, 1, 2, 3, 4].map(|channels| (len, channels))) {
        let bytes = |seed: usize| (0..len * channels).map(|i| bits(i + seed) as u8).collect::<Vec<_>>();
        // Steps of all sizes, of a walk's, and a few that are far apart.
        for most in [256, 101, 2] {
            let steps: Vec<_> = (0..len).map(|i| (bits(i * 7 + most) as usize % most) as u8).collect();
            for range in ranges.clone() {
                let (source, target) = (bytes(1), bytes(2));
                let wanted = |i: usize| range.contains(&steps[i / channels]);
                let expected: Vec<_> =
                    (0..source.len()).map(|i| if wanted(i) { source[i] } else { target[i] }).collect();
                let float = |x: &[u8]| x.iter().map(|&x| f32::from(x)).collect::<Vec<_>>();
                for isa in isas() {
                    let blend = Blend::new(isa).expect("available");
                    let what = format!("{isa}, {len} pixels of {channels}, steps {range:?}");
                    let mut found = target.clone();
                    blend.copy_steps(&steps, range.clone(), channels, &source, &mut found);
                    assert_eq!(found, expected, "{what}");
                    let mut found = float(&target);
                    blend.copy_steps(&steps, range.clone(), channels, &float(&source), &mut found);
                    assert_eq!(found, float(&expected), "{what}");
                }
            }
        }
    }
}
