//! Surfaces: two colours in a pattern, or none. Four of them make classes, the others do not.

use super::frame::{Rgb, mix, two_colours};
use super::random::Random;

/// A pattern over the plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pattern {
    Striped,
    Dotted,
    Checked,
    Zigzag,
    Plain,
    Shaded,
    Bricks,
    Rings,
    Mesh,
    Speckled,
}

/// The patterns that make classes, in the classes' order.
pub const CLASS_PATTERNS: [Pattern; 4] = [Pattern::Striped, Pattern::Dotted, Pattern::Checked, Pattern::Zigzag];

/// The others, for clutter.
pub const OTHER_PATTERNS: [Pattern; 6] =
    [Pattern::Plain, Pattern::Shaded, Pattern::Bricks, Pattern::Rings, Pattern::Mesh, Pattern::Speckled];

/// A pattern with its colours, laid over the picture.
#[derive(Debug, Clone)]
pub struct Surface {
    pattern: Pattern,
    colours: [Rgb; 2],
    /// Maps pixels to periods of the pattern.
    matrix: [[f32; 2]; 2],
    offset: [f32; 2],
    /// Share of the first colour; the meaning depends on the pattern.
    duty: f32,
    /// A pixel's length in periods: the width of soft edges.
    pixel: f32,
    salt: u32,
}

impl Surface {
    /// A pattern with colours that differ by `contrast`, `period` pixels long, turned at random.
    pub fn new(random: &mut Random, pattern: Pattern, contrast: f32, period: f32) -> Self {
        let [c, s] = random.direction();
        let scale = 1.0 / period;
        let stretch = random.between(0.85, 1.18);
        Self {
            pattern,
            colours: two_colours(random, contrast),
            matrix: [[c * scale, s * scale], [-s * scale * stretch, c * scale * stretch]],
            offset: [random.between(64.0, 96.0), random.between(64.0, 96.0)],
            duty: random.between(0.38, 0.62),
            pixel: scale,
            salt: random.bits(),
        }
    }

    /// The colour at a place, in pixels from where the pattern is anchored.
    pub fn at(&self, x: f32, y: f32) -> Rgb {
        let u = self.matrix[0][0] * x + self.matrix[0][1] * y + self.offset[0];
        let v = self.matrix[1][0] * x + self.matrix[1][1] * y + self.offset[1];
        mix(self.colours[0], self.colours[1], self.share(u, v))
    }

    /// How much of the second colour there is at a place in periods.
    fn share(&self, u: f32, v: f32) -> f32 {
        // Soft over one pixel: `d` is the distance to the edge in periods, negative inside.
        let soft = |d: f32| (0.5 - d / self.pixel).clamp(0.0, 1.0);
        // Places are positive: `new` offsets them by more than a frame has periods. So `as` rounds down.
        let centred = |t: f32| t - t as u32 as f32 - 0.5;
        match self.pattern {
            Pattern::Striped => soft(centred(u).abs() - 0.5 * self.duty),
            Pattern::Zigzag => {
                // Stripes bent by a triangle wave of slope 1: distances shrink by the square root of 2.
                let bent = u + centred(v * 0.8).abs() * 1.25;
                soft((centred(bent).abs() - 0.5 * self.duty) * 0.707)
            }
            Pattern::Dotted => {
                let shifted = if v as u32 & 1 == 0 { u } else { u + 0.5 };
                let (a, b) = (centred(shifted), centred(v));
                soft((a * a + b * b).sqrt() - (0.16 + 0.3 * self.duty))
            }
            Pattern::Checked => {
                // Two periods of stripes each way; the colour changes at every line.
                let (a, b) = (centred(0.7 * u).abs() - 0.25, centred(0.7 * v).abs() - 0.25);
                let edge = a.abs().min(b.abs()) * 1.43;
                soft(if (a < 0.0) == (b < 0.0) { -edge } else { edge })
            }
            Pattern::Plain => 0.0,
            Pattern::Shaded => (0.5 + 0.12 * (u - self.offset[0])).clamp(0.0, 1.0),
            Pattern::Bricks => {
                let row = 1.6 * v;
                let shifted = if row as u32 & 1 == 0 { 0.8 * u } else { 0.8 * u + 0.5 };
                soft(0.42 - centred(shifted).abs().max(centred(row).abs()))
            }
            Pattern::Rings => {
                let (a, b) = (u - self.offset[0], v - self.offset[1]);
                soft(centred((a * a + b * b).sqrt()).abs() - 0.5 * self.duty)
            }
            Pattern::Mesh => soft(0.4 - centred(u).abs().max(centred(v).abs())),
            Pattern::Speckled => {
                let cell = |t: f32| (t * 4.0) as u32;
                let mixed = (cell(u).wrapping_mul(0x9E37_79B1) ^ cell(v).wrapping_mul(0x85EB_CA77) ^ self.salt)
                    .wrapping_mul(0x2C1B_3C6D);
                ((mixed ^ mixed >> 15) >> 8 & 0xFF) as f32 * (1.0 / 255.0)
            }
        }
    }
}
