//! Things in a scene: a shape with a surface, placed, lit and painted into the frame.

use std::ops::Range;

use super::SIDE;
use super::frame::{Frame, mix};
use super::random::Random;
use super::shape::{EXTENT, Field, Shape};
use super::surface::{Pattern, Surface};

/// Light from one direction, the same for all of a scene's things.
#[derive(Debug, Clone, Copy)]
pub struct Light {
    /// Towards the light, in the picture's plane.
    pub direction: [f32; 2],
    /// How strongly edges catch it.
    pub relief: f32,
    /// How much darker a cast shadow is.
    pub shadow: f32,
    /// How far shadows fall, as a share of the thing's radius.
    pub reach: f32,
}

/// A thing: where it is, what it looks like.
#[derive(Debug)]
pub struct Item {
    field: &'static Field,
    surface: Surface,
    centre: [f32; 2],
    /// Maps pixels from the centre to the shape's plane.
    inverse: [[f32; 2]; 2],
    /// Pixels in a length of 1 of the shape's plane.
    radius: f32,
}

impl Item {
    /// Places a shape of `radius` pixels: turned by any angle, perhaps mirrored, stretched and sheared a little.
    pub fn new(random: &mut Random, shape: Shape, surface: Surface, centre: [f32; 2], radius: f32) -> Self {
        let [c, s] = random.direction();
        let mirror = if random.chance(50) { -1.0 } else { 1.0 };
        let stretch = random.between(0.85, 1.18);
        let shear = random.between(-0.18, 0.18);
        // Rotation, then shear, then stretch; x and y are scaled against each other, so that the area stays.
        let (sx, sy) = (mirror * stretch / radius, 1.0 / (stretch * radius));
        let inverse = [[sx * (c + shear * s), sx * (s - shear * c)], [-s * sy, c * sy]];
        Self { field: Field::of(shape), surface, centre, inverse, radius }
    }

    /// A surface for a thing of this radius: the pattern's period suits its size.
    pub fn surface(random: &mut Random, pattern: Pattern, contrast: f32, radius: f32) -> Surface {
        let period = (radius * random.between(0.32, 0.55)).max(10.0);
        Surface::new(random, pattern, contrast, period)
    }

    /// Signed distance in pixels to the outline, at pixels from the centre.
    fn distance(&self, x: f32, y: f32) -> f32 {
        let m = &self.inverse;
        self.field.at(m[0][0] * x + m[0][1] * y, m[1][0] * x + m[1][1] * y) * self.radius
    }

    /// The rows of the frame that may show the item moved by `shift`, and `margin` pixels around it.
    fn rows(&self, shift: [f32; 2], margin: f32) -> Range<usize> {
        let m = &self.inverse;
        let determinant = (m[0][0] * m[1][1] - m[0][1] * m[1][0]).abs();
        let half = EXTENT * (m[0][0].abs() + m[1][0].abs()) / determinant + margin;
        within(self.centre[1] + shift[1], -half, half)
    }

    /// The pixels of row `y` that may: those whose place in the shape's plane is within its extent both ways.
    fn columns(&self, y: usize, shift: [f32; 2], margin: f32) -> Range<usize> {
        let dy = y as f32 - self.centre[1] - shift[1];
        let extent = EXTENT + 1.5 * margin / self.radius;
        let (mut low, mut high) = (-2.0 * SIDE as f32, 2.0 * SIDE as f32);
        for m in self.inverse {
            let (along, across) = (m[0], m[1] * dy);
            if along.abs() * SIDE as f32 > 0.01 {
                let ends = [(-extent - across) / along, (extent - across) / along];
                low = low.max(ends[0].min(ends[1]));
                high = high.min(ends[0].max(ends[1]));
            }
        }
        within(self.centre[0] + shift[0], low, high)
    }

    /// Darkens what lies behind.
    pub fn cast_shadow(&self, frame: &mut Frame, light: &Light) {
        let away = light.reach * self.radius;
        let shift = [-light.direction[0] * away, -light.direction[1] * away];
        let width = 1.0 + 0.8 * away;
        let softness = 1.0 / width;
        for y in self.rows(shift, width) {
            let dy = y as f32 - self.centre[1] - shift[1];
            for x in self.columns(y, shift, width) {
                let d = self.distance(x as f32 - self.centre[0] - shift[0], dy);
                let cover = (0.5 - d * softness).clamp(0.0, 1.0);
                if cover > 0.0 {
                    let pixel = &mut frame.pixels[y * SIDE + x];
                    *pixel = pixel.map(|v| v * (1.0 - light.shadow * cover));
                }
            }
        }
    }

    /// Calls `cover(x, y, share)` for every pixel that it covers a share of.
    pub fn cover(&self, mut cover: impl FnMut(usize, usize, f32)) {
        for y in self.rows([0.0; 2], 1.0) {
            for x in self.columns(y, [0.0; 2], 1.0) {
                let d = self.distance(x as f32 - self.centre[0], y as f32 - self.centre[1]);
                let share = (0.5 - d).clamp(0.0, 1.0);
                if share > 0.0 {
                    cover(x, y, share);
                }
            }
        }
    }

    /// Paints it.
    pub fn paint(&self, frame: &mut Frame, light: &Light) {
        let step = (0.045 * self.radius).max(1.0);
        let (lx, ly) = (light.direction[0] * step, light.direction[1] * step);
        let band = 1.0 / (0.3 * self.radius);
        for y in self.rows([0.0; 2], 1.0) {
            let dy = y as f32 - self.centre[1];
            for x in self.columns(y, [0.0; 2], 1.0) {
                let dx = x as f32 - self.centre[0];
                let d = self.distance(dx, dy);
                let share = (0.5 - d).clamp(0.0, 1.0);
                if share <= 0.0 {
                    continue;
                }
                // Edges that face the light are brighter, the others darker; less so farther inside.
                let near = (1.0 + d * band).clamp(0.0, 1.0);
                let slope = if near > 0.0 { (self.distance(dx + lx, dy + ly) - d) / step } else { 0.0 };
                let facing = (dx * light.direction[0] + dy * light.direction[1]) / self.radius;
                let lit = 1.0 + light.relief * (slope * near + 0.35 * facing);
                let painted = self.surface.at(dx, dy).map(|v| v * lit);
                let pixel = &mut frame.pixels[y * SIDE + x];
                *pixel = mix(*pixel, painted, share);
            }
        }
    }
}

/// Pixels from `low` to `high` about a centre, as far as they are in the frame.
fn within(centre: f32, low: f32, high: f32) -> Range<usize> {
    let end = (centre + high + 1.0).clamp(0.0, SIDE as f32) as usize;
    ((centre + low).max(0.0) as usize).min(end)..end
}
