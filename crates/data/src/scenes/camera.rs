//! What a camera does to a scene: light, blur, noise, and rounding to bytes.

use super::SIDE;
use super::frame::{Frame, Rgb};
use super::random::Random;

/// Uneven light, a cast of colour, contrast and brightness.
pub fn expose(random: &mut Random, frame: &mut Frame) {
    let [c, s] = random.direction();
    let slope = random.between(0.0, 0.55);
    let vignette = random.between(0.0, 0.45);
    let contrast = random.between(0.6, 1.1);
    let brightness = random.between(-0.12, 0.12);
    let cast: Rgb = [0; 3].map(|_| random.between(0.86, 1.14));
    let half = 0.5 * SIDE as f32;
    for (y, row) in frame.pixels.chunks_exact_mut(SIDE).enumerate() {
        let v = (y as f32 - half) / half;
        for (x, pixel) in row.iter_mut().enumerate() {
            let u = (x as f32 - half) / half;
            let light = (1.0 + slope * (c * u + s * v)) * (1.0 - vignette * 0.5 * (u * u + v * v));
            for (channel, gain) in pixel.iter_mut().zip(cast) {
                *channel = (*channel * light * gain - 0.5) * contrast + 0.5 + brightness;
            }
        }
    }
}

/// Blur by passes of (1, 2, 1) / 4 along both axes; half of the scenes are sharp.
pub fn blur(random: &mut Random, frame: &mut Frame) {
    let passes = if random.chance(50) { 0 } else { 1 + random.below(3) };
    for _ in 0..passes {
        for row in frame.pixels.chunks_exact_mut(SIDE) {
            let mut left = row[0];
            for x in 0..SIDE - 1 {
                let here = row[x];
                row[x] = smooth(left, here, row[x + 1]);
                left = here;
            }
        }
        let mut above: Vec<Rgb> = frame.pixels[..SIDE].to_vec();
        for y in 0..SIDE - 1 {
            let (upper, lower) = frame.pixels.split_at_mut((y + 1) * SIDE);
            for ((above, here), below) in above.iter_mut().zip(&mut upper[y * SIDE..]).zip(&*lower) {
                let old = *here;
                *here = smooth(*above, old, *below);
                *above = old;
            }
        }
    }
}

fn smooth(a: Rgb, b: Rgb, c: Rgb) -> Rgb {
    [0, 1, 2].map(|i| 0.25 * (a[i] + c[i]) + 0.5 * b[i])
}

/// Noise of brightness and, half as strong, of colour; then bytes, R, G, B.
pub fn develop(random: &mut Random, frame: &Frame) -> Vec<u8> {
    // The sum of two bytes, about its mean: a triangle of standard deviation 104.5 / 255.
    let strength = if random.chance(25) { 0.0 } else { random.between(0.0, 0.12) };
    let mut bytes = Vec::with_capacity(3 * SIDE * SIDE);
    for pixel in &frame.pixels {
        let bits = random.bits();
        let byte = |i: u32| (bits >> (8 * i) & 0xFF) as f32 * (1.0 / 255.0);
        let grey = strength * (byte(0) + byte(1) - 1.0);
        let (red, blue) = (strength * (byte(2) - 0.5), strength * (byte(3) - 0.5));
        let noisy = [pixel[0] + grey + red, pixel[1] + grey, pixel[2] + grey + blue];
        bytes.extend(noisy.map(|v| (v * 255.0 + 0.5) as u8)); // `as` stops at 0 and 255
    }
    bytes
}
