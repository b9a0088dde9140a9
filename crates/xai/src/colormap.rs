//! Maps as pictures: the jet colours and the blend that pytorch-grad-cam's `show_cam_on_image` makes.

/// Jet colour of a value in 0..=1 as RGB: blue over cyan, yellow and red to dark red. Within 1 of OpenCV's table.
pub fn jet(x: f32) -> [u8; 3] {
    let x = 4.0 * x.clamp(0.0, 1.0);
    // NaN becomes 0 in the conversion.
    [3.0, 2.0, 1.0].map(|centre: f32| (255.0 * (1.5 - (x - centre).abs()).clamp(0.0, 1.0)).round() as u8)
}

/// The picture half covered by the map's colours, both of one size: `rgb` has three bytes a pixel of `map`.
///
/// As in pytorch-grad-cam the mean of picture and colours is divided by its largest value, so that the result uses
/// the whole range.
///
/// # Panics
/// If `rgb` has other than three bytes for each value of `map`.
pub fn overlay(rgb: &[u8], map: &[f32]) -> Vec<u8> {
    assert_eq!(rgb.len(), 3 * map.len(), "overlay of a picture and a map of different sizes");
    let colours = map.iter().flat_map(|&x| jet(x));
    let sums: Vec<u16> = rgb.iter().zip(colours).map(|(&a, b)| u16::from(a) + u16::from(b)).collect();
    let largest = u32::from(sums.iter().copied().max().unwrap_or(1).max(1));
    sums.iter().map(|&s| (u32::from(s) * 255 / largest) as u8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jet_matches_opencv() {
        // cv2.applyColorMap(i, COLORMAP_JET) of OpenCV 5.0 at i = 0, 32, 127, 128, 255; within 1.
        let table =
            [(0, [0, 0, 128]), (32, [0, 0, 255]), (127, [126, 255, 130]), (128, [130, 255, 126]), (255, [128, 0, 0])];
        for (i, expected) in table {
            let found = jet(i as f32 / 255.0);
            assert!(found.iter().zip(expected).all(|(a, b): (&u8, u8)| a.abs_diff(b) <= 1), "{i}: {found:?}");
        }
        assert_eq!(jet(-1.0), jet(0.0));
        assert_eq!(jet(f32::NAN), [0, 0, 0]);
    }

    #[test]
    fn overlay_uses_the_whole_range() {
        let out = overlay(&[255, 255, 255, 0, 0, 0], &[1.0, 0.0]);
        // Sums: 383 (255 + 128), 255, 255 and 0, 0, 128, divided by 383.
        assert_eq!(out, [255, 169, 169, 0, 0, 85]);
        assert_eq!(overlay(&[], &[]), Vec::<u8>::new());
    }
}
