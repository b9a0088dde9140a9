//! From the projection at the layer's size to the map at input size, as pytorch-grad-cam's `scale_cam_image` makes it
//! with `cv2.resize`, and the 8-bit picture that RMSE and boxes are taken from.

use crate::CamWorkspace;

/// The map of a signed projection at input size, 0 to 1, row-major `out_h * out_w`.
///
/// max(p, 0); (x - min) / (1e-7 + max); bilinear resize; the same normalization once more (the resize of a small map
/// lowers its maximum). All in f32. A projection without positive values gives a map of zeros. Equal to
/// pytorch-grad-cam's up to the last bits of f32: against OpenCV's own resize 3 grey values of a million differ, by one.
///
/// # Panics
/// If `p` has other than `h * w` values or a size is zero.
pub fn cam_map(p: &[f32], h: usize, w: usize, out_h: usize, out_w: usize) -> Vec<f32> {
    let mut map = Vec::new();
    CamWorkspace::default().map(p, [h, w], [out_h, out_w], &mut map);
    map
}

/// The map as 8-bit grey: floor(255 x), values outside 0 to 1 held at its ends.
pub fn grey(map: &[f32]) -> Vec<u8> {
    // `as` saturates and maps NaN to 0.
    map.iter().map(|x| (255.0 * x) as u8).collect()
}

/// Root of the mean squared difference of two grey images, 0 to 255.
///
/// # Panics
/// If the images differ in size or are empty.
pub fn rmse(a: &[u8], b: &[u8]) -> f64 {
    assert!(a.len() == b.len() && !a.is_empty(), "RMSE of images of {} and {} pixels", a.len(), b.len());
    // i32 holds the sum of 2^15 squares, and products of 16 bits are what processors add in pairs.
    let square = |(&x, &y): (&u8, &u8)| i32::from(i16::from(x) - i16::from(y)).pow(2);
    let part = |(a, b): (&[u8], &[u8])| u64::from(a.iter().zip(b).map(square).sum::<i32>().unsigned_abs());
    let sum: u64 = a.chunks(1 << 15).zip(b.chunks(1 << 15)).map(part).sum();
    (sum as f64 / a.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_maps_stay_blank() {
        for p in [[0.0; 4], [-1.0, -2.0, -3.0, 0.0], [f32::NAN; 4]] {
            assert_eq!(cam_map(&p, 2, 2, 5, 6), vec![0.0; 30]);
        }
    }

    #[test]
    fn second_normalization_restores_the_maximum() {
        // One peak of 1 among zeros, 2x2 to 3x3: no output pixel centre meets it but the held corner does.
        let map = cam_map(&[0.0, 0.0, 0.0, 5.0], 2, 2, 3, 3);
        assert!((map[8] - 1.0).abs() < 1e-6 && map[0] == 0.0 && (map[4] - 0.25).abs() < 1e-6);
    }

    #[test]
    fn grey_and_rmse() {
        assert_eq!(grey(&[0.0, 0.5, 0.999_999, 1.0, 2.0, -1.0, f32::NAN]), [0, 127, 254, 255, 255, 0, 0]);
        assert_eq!(rmse(&[0, 10, 255], &[3, 6, 255]), (25.0f64 / 3.0).sqrt());
        assert_eq!(rmse(&[0; 100_000], &[255; 100_000]), 255.0);
        let mut found = Vec::new();
        let map: Vec<f32> = (-300..900).map(|i| i as f32 / 599.7).chain([f32::NAN, f32::INFINITY]).collect();
        CamWorkspace::default().grey(&map, &mut found);
        assert_eq!(found, grey(&map));
    }
}
