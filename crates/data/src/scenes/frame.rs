//! A picture in the making: RGB in f32, 0 to 1 and beyond, and fields of one value a pixel.

use super::SIDE;
use super::random::Random;

/// A colour.
pub type Rgb = [f32; 3];

/// A picture of SIDE by SIDE pixels, row by row.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The pixels.
    pub pixels: Vec<Rgb>,
}

/// Between two colours: `a` at 0, `b` at 1.
pub fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t, a[2] + (b[2] - a[2]) * t]
}

/// Brightness of a colour (the weights of ITU-R BT.601).
pub fn luma(c: Rgb) -> f32 {
    0.299 * c[0] + 0.587 * c[1] + 0.114 * c[2]
}

/// A colour of any hue; saturation and value are drawn as well.
pub fn colour(random: &mut Random) -> Rgb {
    let hue = random.between(0.0, 6.0);
    let (saturation, value) = (random.between(0.1, 0.95), random.between(0.2, 0.98));
    let channel = |shift: f32| {
        // HSV to RGB: a trapezoid over the hue for each channel.
        let h = hue + shift;
        let h = h - 6.0 * (h / 6.0).floor();
        let ramp = ((h - 3.0).abs() - 1.0).clamp(0.0, 1.0);
        value * (1.0 - saturation + saturation * ramp)
    };
    [channel(0.0), channel(4.0), channel(2.0)]
}

/// Two colours that differ by at least `contrast` in brightness, or by that in all channels' differences together times 0.4.
pub fn two_colours(random: &mut Random, contrast: f32) -> [Rgb; 2] {
    let a = colour(random);
    for _ in 0..16 {
        let b = colour(random);
        let spread: f32 = (0..3).map(|i| (a[i] - b[i]).abs()).sum();
        if (luma(a) - luma(b)).abs() >= contrast || 0.4 * spread >= contrast {
            return [a, b];
        }
    }
    let end = if luma(a) > 0.5 { 0.05 } else { 0.95 };
    [a, mix(a, [end; 3], 0.8)]
}

/// Smooth noise over the frame, about 0 to 1: values on a lattice with `cell` pixels between its points, interpolated
/// with 3t^2 - 2t^3 (value noise), the mean of `octaves` that halve in cell and weight.
pub fn noise(random: &mut Random, cell: f32, octaves: usize) -> Vec<f32> {
    let mut field = vec![0.0f32; SIDE * SIDE];
    let (mut cell, mut weight, mut total) = (cell, 1.0f32, 0.0f32);
    for _ in 0..octaves {
        add_octave(random, &mut field, cell, weight);
        total += weight;
        weight *= 0.5;
        cell *= 0.5;
    }
    let scale = 1.0 / total;
    field.iter_mut().for_each(|v| *v *= scale);
    field
}

/// Adds one octave of value noise.
fn add_octave(random: &mut Random, field: &mut [f32], cell: f32, weight: f32) {
    let points = (SIDE as f32 / cell) as usize + 3;
    let lattice: Vec<f32> = (0..points * points).map(|_| random.unit() * weight).collect();
    let offset = [random.unit(), random.unit()];
    let inverse = 1.0 / cell;
    let place = |i: usize, axis: usize| {
        let at = i as f32 * inverse + offset[axis];
        let t = at - at.floor();
        (at as usize, t * t * (3.0 - 2.0 * t))
    };
    let columns: Vec<(usize, f32)> = (0..SIDE).map(|x| place(x, 0)).collect();
    let mut line = vec![0.0f32; points];
    for (y, row) in field.chunks_exact_mut(SIDE).enumerate() {
        let (j, t) = place(y, 1);
        let (upper, lower) = (&lattice[j * points..][..points], &lattice[(j + 1) * points..][..points]);
        for ((v, &a), &b) in line.iter_mut().zip(upper).zip(lower) {
            *v = a + (b - a) * t;
        }
        for (v, &(i, t)) in row.iter_mut().zip(&columns) {
            *v += line[i] + (line[i + 1] - line[i]) * t;
        }
    }
}
