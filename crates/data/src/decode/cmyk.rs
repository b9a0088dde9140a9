//! CMYK to RGB, in Pillow's integer arithmetic: each colour is (1 - ink) * (1 - black), without a colour profile.

/// a * b / 255, rounded, as Pillow's MULDIV255 computes it.
fn mul_div_255(a: u8, b: u8) -> u8 {
    let t = u32::from(a) * u32::from(b) + 128;
    (((t >> 8) + t) >> 8) as u8
}

/// RGB of pixels stored inverted (255 is no ink), four bytes each.
pub fn inverted_to_rgb(pixels: &[u8]) -> Vec<u8> {
    let rgb = |&[c, m, y, k]: &[u8; 4]| {
        // `k` inverted is what black leaves of the light; the inks take their share of that.
        [c, m, y].map(|ink| k.saturating_sub(mul_div_255(255 - ink, k)))
    };
    pixels.as_chunks::<4>().0.iter().flat_map(rgb).collect()
}
