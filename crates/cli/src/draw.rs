//! Pictures that `cam` writes: panels side by side, boxes on them.

use std::path::Path;

use anyhow::Result;
use image::ImageEncoder;
use image::codecs::png::PngEncoder;

use crate::output;

/// Colour of true boxes.
pub const TRUE: [u8; 3] = [0, 255, 0];
/// Colour of predicted boxes.
pub const PREDICTED: [u8; 3] = [255, 255, 255];

/// Draws the outline of a box, two pixels thick and inwards, into RGB rows of `w` pixels. `edges` are the first and last
/// column and row, x0, y0, x1, y1; what lies outside the picture is left out.
pub fn rectangle(rgb: &mut [u8], w: usize, [x0, y0, x1, y1]: [u32; 4], color: [u8; 3]) {
    let h = rgb.len() / (3 * w);
    let near = |v: u32, a: u32, b: u32| v < a.saturating_add(2) || v.saturating_add(2) > b;
    for y in y0..=y1.min(h.saturating_sub(1) as u32) {
        for x in x0..=x1.min(w.saturating_sub(1) as u32) {
            if near(x, x0, x1) || near(y, y0, y1) {
                let at = 3 * (y as usize * w + x as usize);
                rgb[at..at + 3].copy_from_slice(&color);
            }
        }
    }
}

/// RGB panels of width `w` joined row by row.
pub fn side_by_side(panels: &[Vec<u8>; 3], w: usize) -> Vec<u8> {
    let rows = panels[0].len() / (3 * w);
    (0..rows).flat_map(|y| panels.iter().flat_map(move |p| &p[3 * w * y..3 * w * (y + 1)])).copied().collect()
}

/// Writes a PNG.
pub fn write_png(path: &Path, pixels: &[u8], [w, h]: [usize; 2], color: image::ExtendedColorType) -> Result<()> {
    output::write_file(path, |f| Ok(PngEncoder::new(f).write_image(pixels, w as u32, h as u32, color)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outlines_are_two_thick_and_stay_inside() {
        let mut rgb = vec![0u8; 3 * 8 * 7];
        rectangle(&mut rgb, 8, [1, 1, 6, 6], [1, 1, 1]);
        let text: Vec<String> =
            rgb.chunks(24).map(|row| row.chunks(3).map(|p| if p[0] == 1 { '#' } else { '.' }).collect()).collect();
        assert_eq!(text, ["........", ".######.", ".######.", ".##..##.", ".##..##.", ".######.", ".######."]);
        rectangle(&mut rgb, 8, [7, 6, 500, u32::MAX], [2, 2, 2]);
        assert_eq!(rgb.iter().filter(|&&v| v == 2).count(), 3);
    }
}
