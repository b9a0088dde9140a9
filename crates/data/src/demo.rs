//! A generated picture for trying things out: no photograph, nothing to download, the same on every machine.

use image::{Rgb, RgbImage};

/// Width and height of [`demo_image`], in pixels.
const SIZE: (u32, u32) = (320, 256);

/// A picture of a red disc, a blue square and a yellow triangle on textured ground, 320x256 pixels.
///
/// Integer arithmetic only, so every machine gives the same bytes.
pub fn demo_image() -> RgbImage {
    RgbImage::from_fn(SIZE.0, SIZE.1, |x, y| Rgb(pixel(x as i32, y as i32)))
}

/// Colour of one pixel.
fn pixel(x: i32, y: i32) -> [u8; 3] {
    let grain = i32::from(hash(x as u32, y as u32)) / 8;
    let (dx, dy) = (x - 112, y - 128);
    let distance = dx * dx + dy * dy;
    let colour = if distance < 56 * 56 {
        // Lit from the upper left.
        let light = 40 - (dx + dy) / 2;
        [200 + light / 2, 48 + light, 40 + light]
    } else if (184..264).contains(&x) && (40..120).contains(&y) {
        [36, 72 + (x - 184), 190]
    } else if (152..=232).contains(&y) && (x - 232).abs() * 2 <= y - 152 {
        [226, 196 - (y - 152), 40]
    } else {
        // Ground: soft waves of green and brown.
        let wave = ((x / 4 + y / 3) % 48 - 24).abs();
        [92 + wave, 116 + wave / 2 + y / 8, 74 + (x + y) / 16]
    };
    colour.map(|v| (v + grain - 16).clamp(0, 255) as u8)
}

/// A byte that looks random, from integer multiplications (a finalizer as in Murmur hashes).
fn hash(x: u32, y: u32) -> u8 {
    let mut h = x.wrapping_mul(0x9E37_79B1) ^ y.wrapping_mul(0x85EB_CA77);
    h = (h ^ h >> 15).wrapping_mul(0x2C1B_3C6D);
    h = (h ^ h >> 12).wrapping_mul(0x297A_2D39);
    (h ^ h >> 15) as u8
}
