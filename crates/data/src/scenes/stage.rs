//! What stands in a scene: the object, clutter behind it, and what hides part of it.

use super::SIDE;
use super::frame::Frame;
use super::item::{Item, Light};
use super::random::Random;
use super::shape::{CLASS_SHAPES, OTHER_SHAPES, Shape};
use super::surface::{CLASS_PATTERNS, OTHER_PATTERNS, Pattern};
use crate::BBox;

/// Share of the object's pixels in the frame that nothing hides, at least.
const LEAST_VISIBLE: f32 = 0.65;

/// Radius of objects, in pixels.
const RADIUS: (f32, f32) = (38.0, 84.0);

/// A scene before it is painted: the labelled object, clutter behind it, what hides part of it, and the light on all.
#[derive(Debug)]
pub struct Stage {
    light: Light,
    clutter: Vec<Item>,
    object: Item,
    covers: Vec<Item>,
    /// Where the object is seen.
    pub mask: Mask,
}

impl Stage {
    /// Chooses all of it.
    pub fn set(random: &mut Random, class: usize) -> Self {
        let light = Light {
            direction: random.direction(),
            relief: random.between(0.15, 0.6),
            shadow: random.between(0.1, 0.6),
            reach: random.between(0.05, 0.3),
        };
        let (object, centre, radius) = object(random, class);
        let clutter = (0..1 + random.below(4)).map(|_| clutter(random, radius)).collect();
        let mut mask = Mask::of(&object);
        let covers: Vec<Item> = (0..random.below(3)).map(|_| cover(random, centre, radius)).collect();
        let covers = covers.into_iter().filter(|item| mask.hide(item)).collect();
        Self { light, clutter, object, covers, mask }
    }

    /// Paints it before a background.
    pub fn paint(&self, frame: &mut Frame) {
        for item in self.clutter.iter().chain([&self.object]).chain(&self.covers) {
            item.cast_shadow(frame, &self.light);
            item.paint(frame, &self.light);
        }
    }
}

/// How much of each pixel shows the object.
#[derive(Debug)]
pub struct Mask {
    shares: Vec<f32>,
    /// Sum of the shares before anything hid a part.
    area: f32,
    /// Sum of the shares.
    left: f32,
}

impl Mask {
    fn of(object: &Item) -> Self {
        let mut mask = Self { shares: vec![0.0; SIDE * SIDE], area: 0.0, left: 0.0 };
        object.cover(|x, y, share| {
            mask.shares[y * SIDE + x] = share;
            mask.area += share;
        });
        mask.left = mask.area;
        mask
    }

    /// Takes away what an item hides, unless too little would be left; says whether it did.
    fn hide(&mut self, item: &Item) -> bool {
        let mut left = self.left;
        item.cover(|x, y, share| left -= self.shares[y * SIDE + x] * share);
        let fits = left >= LEAST_VISIBLE * self.area;
        if fits {
            item.cover(|x, y, share| self.shares[y * SIDE + x] *= 1.0 - share);
            self.left = left;
        }
        fits
    }

    /// Share of the object's pixels in the frame that nothing hides.
    pub fn visible(&self) -> f32 {
        self.left / self.area
    }

    /// Box of the pixels that show the object by half or more.
    pub fn bbox(&self) -> BBox {
        let (mut low, mut high) = ([SIDE; 2], [0; 2]);
        for (at, _) in self.shares.iter().enumerate().filter(|(_, share)| **share >= 0.5) {
            for (axis, place) in [at % SIDE, at / SIDE].into_iter().enumerate() {
                low[axis] = low[axis].min(place);
                high[axis] = high[axis].max(place + 1);
            }
        }
        let [x0, y0, x1, y1] = [low[0], low[1], high[0], high[1]].map(|v| v as f64);
        BBox { x0, y0, x1, y1 }
    }
}

/// The labelled object, its centre and radius.
fn object(random: &mut Random, class: usize) -> (Item, [f32; 2], f32) {
    let (shape, pattern) = (CLASS_SHAPES[class / 4], CLASS_PATTERNS[class % 4]);
    let t = random.unit();
    let radius = RADIUS.0 + (RADIUS.1 - RADIUS.0) * t * (0.4 + 0.6 * t); // small ones more often
    let margin = 0.8 * radius;
    let centre = [0; 2].map(|_| random.between(margin, SIDE as f32 - margin));
    let contrast = random.between(0.22, 0.5);
    let surface = Item::surface(random, pattern, contrast, radius);
    (Item::new(random, shape, surface, centre, radius), centre, radius)
}

/// A thing that shares its surface or its shape with some class, or neither.
fn clutter(random: &mut Random, object_radius: f32) -> Item {
    let (shape, pattern) = match random.below(10) {
        0..=4 => (other_shape(random), CLASS_PATTERNS[random.below(4) as usize]),
        5..=8 => (CLASS_SHAPES[random.below(6) as usize], other_pattern(random)),
        _ => (other_shape(random), other_pattern(random)),
    };
    let radius = object_radius * random.between(0.4, 0.95);
    let centre = [0; 2].map(|_| random.between(0.0, SIDE as f32));
    thing(random, shape, pattern, centre, radius)
}

/// A thing in front of the object: a bar across it, or something at its edge.
fn cover(random: &mut Random, centre: [f32; 2], radius: f32) -> Item {
    let pattern = if random.chance(40) { CLASS_PATTERNS[random.below(4) as usize] } else { other_pattern(random) };
    let [c, s] = random.direction();
    let bar = random.chance(50);
    let away = radius * if bar { random.between(0.0, 0.7) } else { random.between(0.6, 1.2) };
    let centre = [centre[0] + c * away, centre[1] + s * away];
    if bar {
        let length = random.between(40.0, 120.0);
        thing(random, Shape::Bar, pattern, centre, length)
    } else {
        let (shape, size) = (other_shape(random), radius * random.between(0.35, 0.7));
        thing(random, shape, pattern, centre, size)
    }
}

fn thing(random: &mut Random, shape: Shape, pattern: Pattern, centre: [f32; 2], radius: f32) -> Item {
    let contrast = random.between(0.15, 0.5);
    let surface = Item::surface(random, pattern, contrast, radius);
    Item::new(random, shape, surface, centre, radius)
}

fn other_shape(random: &mut Random) -> Shape {
    OTHER_SHAPES[random.below(OTHER_SHAPES.len() as u32) as usize]
}

fn other_pattern(random: &mut Random) -> Pattern {
    OTHER_PATTERNS[random.below(OTHER_PATTERNS.len() as u32) as usize]
}
