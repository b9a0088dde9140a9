//! What is behind everything: noise, wallpaper or patches.

use super::SIDE;
use super::frame::{Frame, Rgb, colour, mix, noise, two_colours};
use super::random::Random;
use super::surface::{CLASS_PATTERNS, OTHER_PATTERNS, Surface};

/// A background of one of five kinds.
pub fn background(random: &mut Random) -> Frame {
    let pixels = match random.below(10) {
        0..=2 => clouds(random),
        3..=4 => grain(random),
        5..=7 => wallpaper(random),
        _ => patches(random),
    };
    Frame { pixels }
}

/// Three colours blended by fractal noise.
fn clouds(random: &mut Random) -> Vec<Rgb> {
    let [a, b] = two_colours(random, 0.15);
    let c = colour(random);
    let cell = random.between(20.0, 70.0);
    let (first, second) = (noise(random, cell, 5), noise(random, 2.0 * cell, 2));
    let sharp = random.between(1.5, 4.0);
    let blend = |(&f, &g): (&f32, &f32)| {
        let t = (0.5 + sharp * (f - 0.5)).clamp(0.0, 1.0);
        mix(mix(a, b, t), c, (1.4 * g - 0.45).clamp(0.0, 0.6))
    };
    first.iter().zip(&second).map(blend).collect()
}

/// Grain as of wood or cloth: noise along one axis, bent by more noise.
fn grain(random: &mut Random) -> Vec<Rgb> {
    let [a, b] = two_colours(random, 0.12);
    let [c, s] = random.direction();
    let (fine, coarse) = (random.between(0.05, 0.25), random.between(20.0, 80.0));
    let bend = random.between(4.0, 18.0);
    let bent = noise(random, 50.0, 3);
    let dust = noise(random, 3.0, 2);
    let pixel = |i: usize| {
        let (x, y) = ((i % SIDE) as f32, (i / SIDE) as f32);
        let at = (c * x + s * y + coarse * bent[i]) * fine + bend * bent[i] * 0.3;
        let wave = (at - at.floor() - 0.5).abs() * 2.0;
        mix(a, b, (0.6 * wave + 0.8 * (dust[i] - 0.3)).clamp(0.0, 1.0))
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

/// A pattern, a class's or another, over the whole frame, weaker than on objects and bent and stained by noise.
fn wallpaper(random: &mut Random) -> Vec<Rgb> {
    let pattern = match random.below(3) {
        0 => OTHER_PATTERNS[random.below(6) as usize],
        _ => CLASS_PATTERNS[random.below(4) as usize],
    };
    let period = random.between(10.0, 40.0);
    let surface = Surface::new(random, pattern, 0.08, period);
    let bend = random.between(0.0, 30.0);
    let (along, across) = (noise(random, 60.0, 2), noise(random, 60.0, 2));
    let fade = random.between(0.25, 0.8);
    let base = colour(random);
    let pixel = |i: usize| {
        let (x, y) = ((i % SIDE) as f32, (i / SIDE) as f32);
        let c = surface.at(x + bend * along[i], y + bend * across[i]);
        let stain = 0.75 + 0.5 * along[i];
        mix(base, c, fade).map(|v| v * stain)
    };
    (0..SIDE * SIDE).map(pixel).collect()
}

/// Patches of colour around random points, each point's patch being what lies nearest to it.
fn patches(random: &mut Random) -> Vec<Rgb> {
    let cell = random.between(24.0, 64.0);
    let count = (SIDE as f32 / cell) as usize + 3;
    let [a, b] = two_colours(random, 0.2);
    let points: Vec<([f32; 2], Rgb)> = (0..count * count)
        .map(|i| {
            let at = |k: usize, random: &mut Random| (k as f32 - 1.0 + random.unit()) * cell;
            let place = [at(i % count, random), at(i / count, random)];
            let t = random.unit();
            (place, mix(a, b, t))
        })
        .collect();
    let dust = noise(random, 12.0, 3);
    let gap = random.between(0.0, 2.5);
    let pixel = |i: usize| {
        let (x, y) = ((i % SIDE) as f32, (i / SIDE) as f32);
        let (column, row) = ((x / cell) as usize, (y / cell) as usize);
        let mut nearest = [(f32::MAX, a); 2];
        for k in 0..9 {
            let (p, c) = points[(row + k / 3) * count + column + k % 3];
            let (dx, dy) = (p[0] - x, p[1] - y);
            let d = dx * dx + dy * dy;
            if d < nearest[0].0 {
                nearest = [(d, c), nearest[0]];
            } else if d < nearest[1].0 {
                nearest[1] = (d, c);
            }
        }
        let border = nearest[1].0.sqrt() - nearest[0].0.sqrt();
        let shade = if border < gap { 0.55 } else { 1.0 };
        nearest[0].1.map(|v| v * shade * (0.7 + 0.6 * dust[i]))
    };
    (0..SIDE * SIDE).map(pixel).collect()
}
