//! Shapes: signed distance fields on a grid, computed once. Six of them make classes, the others are clutter.
//!
//! Each shape lies within the unit circle about (0, 0), y down. The formulas of the parts (circle, box, polygon) are those of
//! common use: the distance to the nearest point of the outline, negative inside; parts are joined by minimum and cut by maximum,
//! which keeps the sign and the outline exact.

use std::sync::OnceLock;

/// A shape's outline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Star,
    Heart,
    Fish,
    Mug,
    Key,
    Mushroom,
    Disc,
    Triangle,
    Box,
    Cross,
    Moon,
    Drop,
    Ring,
    Bar,
}

/// The shapes that make classes, in the classes' order.
pub const CLASS_SHAPES: [Shape; 6] = [Shape::Star, Shape::Heart, Shape::Fish, Shape::Mug, Shape::Key, Shape::Mushroom];

/// The others, for clutter.
pub const OTHER_SHAPES: [Shape; 8] =
    [Shape::Disc, Shape::Triangle, Shape::Box, Shape::Cross, Shape::Moon, Shape::Drop, Shape::Ring, Shape::Bar];

/// Every shape lies within this much of the origin, both ways (with room for a soft edge).
pub const EXTENT: f32 = 1.06;

/// Points of a field's grid along a side.
const GRID: usize = 97;

/// The grid spans -REACH to REACH.
const REACH: f32 = 1.2;

/// Grid steps in a length of 1.
const STEPS: f32 = (GRID - 1) as f32 / (2.0 * REACH);

/// A shape's signed distances on the grid.
#[derive(Debug)]
pub struct Field(Vec<f32>);

impl Field {
    /// The field of a shape; computed when first asked for.
    pub fn of(shape: Shape) -> &'static Self {
        static FIELDS: [OnceLock<Field>; 14] = [const { OnceLock::new() }; 14];
        FIELDS[shape as usize].get_or_init(|| Self::compute(shape))
    }

    fn compute(shape: Shape) -> Self {
        let place = |i: usize| i as f32 / STEPS - REACH;
        let distances = (0..GRID * GRID).map(|i| shape.distance([place(i % GRID), place(i / GRID)]));
        Self(distances.collect())
    }

    /// The signed distance at a place; bilinear between the grid's points, large outside of it.
    pub fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = ((x + REACH) * STEPS, (y + REACH) * STEPS);
        let inside = 0.0..(GRID - 1) as f32;
        if !inside.contains(&x) || !inside.contains(&y) {
            return 1.0;
        }
        let (i, j) = (x as usize, y as usize);
        let (s, t) = (x - i as f32, y - j as f32);
        let at = j * GRID + i;
        let (upper, lower) = (&self.0[at..at + 2], &self.0[at + GRID..at + GRID + 2]);
        let a = upper[0] + (upper[1] - upper[0]) * s;
        let b = lower[0] + (lower[1] - lower[0]) * s;
        a + (b - a) * t
    }
}

type Point = [f32; 2];

fn length(x: f32, y: f32) -> f32 {
    (x * x + y * y).sqrt()
}

fn circle(p: Point, centre: Point, radius: f32) -> f32 {
    length(p[0] - centre[0], p[1] - centre[1]) - radius
}

/// A box of these half sides with rounded corners.
fn rounded_box(p: Point, centre: Point, half: Point, round: f32) -> f32 {
    let x = (p[0] - centre[0]).abs() - half[0] + round;
    let y = (p[1] - centre[1]).abs() - half[1] + round;
    length(x.max(0.0), y.max(0.0)) + x.max(y).min(0.0) - round
}

/// A closed polygon: the distance to its nearest side, negative where a ray from the point crosses an odd number of sides.
fn polygon(p: Point, corners: &[Point]) -> f32 {
    let (mut nearest, mut inside) = (f32::MAX, false);
    let ends = corners.iter().cycle().skip(1);
    for (a, b) in corners.iter().zip(ends) {
        let (ex, ey, wx, wy) = (b[0] - a[0], b[1] - a[1], p[0] - a[0], p[1] - a[1]);
        let t = ((wx * ex + wy * ey) / (ex * ex + ey * ey)).clamp(0.0, 1.0);
        nearest = nearest.min(length(wx - ex * t, wy - ey * t));
        if (a[1] > p[1]) != (b[1] > p[1]) && p[0] < a[0] + ex * (p[1] - a[1]) / ey {
            inside = !inside;
        }
    }
    if inside { -nearest } else { nearest }
}

/// A five-pointed star's corners: (cos, sin) of multiples of 36 degrees from the top, inner radius 0.45.
const STAR: [Point; 10] = [
    [0.0, -1.0],
    [0.2645, -0.3641],
    [0.9511, -0.309],
    [0.428, 0.1391],
    [0.5878, 0.809],
    [0.0, 0.45],
    [-0.5878, 0.809],
    [-0.428, 0.1391],
    [-0.9511, -0.309],
    [-0.2645, -0.3641],
];

impl Shape {
    /// Signed distance to the outline.
    fn distance(self, p: Point) -> f32 {
        let [x, y] = p;
        match self {
            Self::Star => polygon(p, &STAR) - 0.02,
            Self::Heart => heart(p),
            Self::Fish => fish(p),
            Self::Mug => mug(p),
            Self::Key => key(p),
            Self::Mushroom => mushroom(p),
            Self::Disc => circle(p, [0.0, 0.0], 0.85),
            Self::Triangle => polygon(p, &[[0.0, -0.9], [0.85, 0.65], [-0.85, 0.65]]) - 0.03,
            Self::Box => rounded_box(p, [0.0, 0.0], [0.8, 0.6], 0.08),
            Self::Cross => {
                rounded_box(p, [0.0, 0.0], [0.9, 0.3], 0.05).min(rounded_box(p, [0.0, 0.0], [0.3, 0.9], 0.05))
            }
            Self::Moon => circle(p, [0.0, 0.0], 0.92).max(-circle(p, [0.45, -0.1], 0.75)),
            Self::Drop => {
                let point = polygon(p, &[[0.0, -0.98], [0.46, 0.05], [-0.46, 0.05]]);
                circle(p, [0.0, 0.32], 0.55).min(point)
            }
            Self::Ring => (length(x, y) - 0.65).abs() - 0.22,
            Self::Bar => rounded_box(p, [0.0, 0.0], [1.0, 0.16], 0.08),
        }
    }
}

/// Two discs over a triangle whose sides touch them.
fn heart(p: Point) -> f32 {
    let lobes = circle(p, [0.43, -0.33], 0.5).min(circle(p, [-0.43, -0.33], 0.5));
    lobes.min(polygon(p, &[[0.0, -0.45], [0.5, -0.3], [0.8, 0.0], [0.0, 0.92], [-0.8, 0.0], [-0.5, -0.3]]))
}

/// A lens with a forked tail and a fin; an eye is cut out.
fn fish(p: Point) -> f32 {
    let body = circle(p, [-0.22, 0.55], 0.93).max(circle(p, [-0.22, -0.55], 0.93));
    let tail = polygon(p, &[[0.35, 0.0], [0.98, -0.5], [0.82, 0.0], [0.98, 0.5]]);
    let fin = polygon(p, &[[-0.35, -0.3], [0.05, -0.66], [0.2, -0.2]]);
    body.min(tail).min(fin).max(-circle(p, [-0.62, -0.08], 0.075))
}

/// A cup with a handle on the right.
fn mug(p: Point) -> f32 {
    let cup = rounded_box(p, [-0.22, 0.0], [0.58, 0.78], 0.14);
    let handle = (length((p[0] - 0.42) * 0.95, p[1] * 0.9) - 0.4).abs() - 0.115;
    cup.min(handle)
}

/// A ring, a bar and two teeth.
fn key(p: Point) -> f32 {
    let bow = (length(p[0] + 0.54, p[1]) - 0.29).abs() - 0.16;
    let bar = rounded_box(p, [0.36, 0.0], [0.62, 0.15], 0.03);
    let teeth = rounded_box(p, [0.83, 0.26], [0.14, 0.27], 0.03).min(rounded_box(p, [0.42, 0.24], [0.13, 0.24], 0.03));
    bow.min(bar).min(teeth)
}

/// A cap, flat below, on a stem that widens downwards.
fn mushroom(p: Point) -> f32 {
    let cap = circle([p[0] * 0.9, p[1]], [0.0, 0.02], 0.85).max(p[1] - 0.1);
    let stem = polygon(p, &[[-0.22, 0.0], [0.22, 0.0], [0.34, 0.88], [-0.34, 0.88]]) - 0.04;
    cap.min(stem)
}
