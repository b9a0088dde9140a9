//! The contours of a map at all grey levels at once.
//!
//! One pass takes the pixels by falling grey into 8-connected components of foreground, another by rising grey into
//! 4-connected ones of background; two that meet become one (union-find). A background component that has not met the outside
//! is a hole. Components keep what a contour would say of them: bounds, first pixel by rows, and twice the area within,
//! which changes by a number of the pixel's eight neighbours alone. So a pixel is looked at twice a map, not once a level.
//!
//! Areas: the polygon through the pixel centres of an outer border encloses, of each square between four pixels that it
//! surrounds, all where four of them belong to the foreground with its holes filled, half where three do, and nothing
//! where fewer do. Doubled, a square with n pixels of background is worth max(0, 2 - n), and filling a hole adds 1 for
//! each of the first two of the square's pixels in the hole: the hole's own sum, whatever surrounds it.

use super::PixelBox;

/// A pixel: row << 16 | column, so that the smaller number comes first by rows. Sides are at most 65,536.
type Pixel = u32;

/// The background component of what lies around the map.
const OUTSIDE: u32 = 0;
/// The label of a pixel that is in no component (yet).
const NONE: u32 = u32::MAX;

/// For the eight neighbours that are there already (bits: the row above from the left, left, right, the row below):
/// how many of the four squares around a pixel have `least` to `most` of them.
const fn squares(least: u32, most: u32) -> [u8; 256] {
    const SQUARES: [usize; 4] = [0b0000_1011, 0b0001_0110, 0b0110_1000, 0b1101_0000];
    let mut table = [0; 256];
    let mut mask = 0;
    while mask < 256 {
        let mut square = 0;
        while square < 4 {
            let there = (mask & SQUARES[square]).count_ones();
            table[mask] += (least <= there && there <= most) as u8;
            square += 1;
        }
        mask += 1;
    }
    table
}

/// A foreground pixel is the third or fourth of its square.
static FRONT_SQUARES: [u8; 256] = squares(2, 3);
/// A background pixel is the first or second of its square.
static BACK_SQUARES: [u8; 256] = squares(0, 1);

/// What is known of a component.
#[derive(Debug, Clone, Copy)]
struct Component {
    parent: u32,
    pixels: u64,
    /// Of foreground: twice the area within its border, holes left out. Of background: what filling it adds.
    doubled_area: u64,
    first: Pixel,
    bounds: [u32; 4],
    /// The component that this one became part of, and the grey at which it did.
    joined: (u32, u8),
}

/// Components of one kind and the label of each pixel of a map with a margin of one pixel.
#[derive(Debug, Clone, Default)]
struct Forest {
    stride: usize,
    labels: Vec<u32>,
    all: Vec<Component>,
    /// Those that are not part of others; a few that have become so since the last [`Forest::settle`].
    live: Vec<u32>,
}

impl Forest {
    /// Empties the map, whose margin gets the label `margin`.
    fn clear(&mut self, h: usize, w: usize, margin: u32) {
        self.stride = w + 2;
        self.labels.clear();
        self.labels.resize((h + 2) * (w + 2), NONE);
        if margin != NONE {
            let last = (h + 1) * self.stride;
            self.labels[..self.stride].fill(margin);
            self.labels[last..].fill(margin);
            self.labels.chunks_exact_mut(self.stride).for_each(|row| (row[0], row[w + 1]) = (margin, margin));
        }
        self.all.clear();
        self.live.clear();
    }

    fn place(&self, pixel: Pixel) -> usize {
        ((pixel >> 16) as usize + 1) * self.stride + (pixel & 0xffff) as usize + 1
    }

    /// The component of a pixel that is in one.
    fn of(&mut self, place: usize) -> u32 {
        self.root(self.labels[place])
    }

    fn root(&mut self, mut id: u32) -> u32 {
        while self.all[id as usize].parent != id {
            // Path halving keeps chains short.
            let above = self.all[id as usize].parent;
            self.all[id as usize].parent = self.all[above as usize].parent;
            id = above;
        }
        id
    }

    /// The component that a label belonged to when all pixels up to this grey were there.
    fn root_at(&self, mut id: u32, grey: u8) -> u32 {
        loop {
            let Component { joined, .. } = self.all[id as usize];
            if joined.0 == id || joined.1 > grey {
                return id;
            }
            id = joined.0;
        }
    }

    /// A new component of no pixels.
    fn start(&mut self, first: Pixel) -> u32 {
        let id = self.all.len() as u32;
        let bounds = [u32::MAX, u32::MAX, 0, 0];
        self.all.push(Component { parent: id, pixels: 0, doubled_area: 0, first, bounds, joined: (id, 0) });
        self.live.push(id);
        id
    }

    /// Makes two components one; the one with more pixels stays.
    fn join(&mut self, a: u32, b: u32, grey: u8) -> u32 {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return a;
        }
        let more = self.all[a as usize].pixels >= self.all[b as usize].pixels;
        let (keep, gone) = if more { (a, b) } else { (b, a) };
        let other = &mut self.all[gone as usize];
        (other.parent, other.joined) = (keep, (keep, grey));
        let other = *other;
        let kept = &mut self.all[keep as usize];
        kept.pixels = kept.pixels.saturating_add(other.pixels);
        kept.doubled_area += other.doubled_area;
        kept.first = kept.first.min(other.first);
        let ([x0, y0, x1, y1], [u0, v0, u1, v1]) = (kept.bounds, other.bounds);
        kept.bounds = [x0.min(u0), y0.min(v0), x1.max(u1), y1.max(v1)];
        keep
    }

    /// Adds a pixel that touches the neighbours of the bits `touching`; the sum of `squares` is what it adds in area.
    #[inline]
    fn add(&mut self, pixel: Pixel, grey: u8, touching: u8, squares: &[u8; 256]) {
        let (place, stride) = (self.place(pixel), self.stride);
        let row = |from: usize| -> [u32; 3] { self.labels[from..from + 3].try_into().unwrap_or([NONE; 3]) };
        let ([a, b, c], [d, _, e], [f, g, h]) = (row(place - stride - 1), row(place - 1), row(place + stride - 1));
        let around = [a, b, c, d, e, f, g, h];
        let there = (0..8).fold(0u8, |bits, i| bits | u8::from(around[i] != NONE) << i);
        let mut touched = there & touching;
        let mut id = NONE;
        let mut last = NONE;
        while touched != 0 {
            let label = around[touched.trailing_zeros() as usize & 7];
            touched &= touched - 1;
            if label != last {
                id = if id == NONE { self.root(label) } else { self.join(id, label, grey) };
                last = label;
            }
        }
        if id == NONE {
            id = self.start(pixel);
        }
        self.labels[place] = id;
        let (x, y) = (pixel & 0xffff, pixel >> 16);
        let component = &mut self.all[id as usize];
        component.pixels = component.pixels.saturating_add(1);
        component.doubled_area += u64::from(squares[usize::from(there)]);
        component.first = component.first.min(pixel);
        let [x0, y0, x1, y1] = component.bounds;
        component.bounds = [x0.min(x), y0.min(y), x1.max(x), y1.max(y)];
    }

    /// Takes those that are part of others out of `live`.
    fn settle(&mut self) {
        let Self { all, live, .. } = self;
        live.retain(|&id| all[id as usize].parent == id);
    }
}

/// A hole at one level.
#[derive(Debug, Clone, Copy)]
struct Hole {
    id: u32,
    doubled_area: u64,
    first: Pixel,
    bounds: [u32; 4],
}

/// All levels of a map; keeps its memory for the next one.
#[derive(Debug, Clone, Default)]
pub(super) struct Levels {
    /// By falling grey.
    order: Vec<Pixel>,
    front: Forest,
    back: Forest,
    /// The holes of one level after the other.
    holes: Vec<Hole>,
    /// Where in `holes` a level's are.
    holes_of: Vec<(usize, usize)>,
    /// Scratch: the outer component around each hole and in each component of foreground.
    first_of_hole: Vec<Pixel>,
    areas: Vec<u64>,
}

impl Levels {
    /// Calls `visit` with each level below a grey that occurs, from the largest down. `grey` has `h * w` values.
    pub fn walk(&mut self, grey: &[u8], [h, w]: [usize; 2], mut visit: impl FnMut(u8, &mut Self)) {
        let counts = super::threshold::counts(grey).map(|n| n as usize);
        // Where the pixels of a grey begin, by falling grey.
        let mut starts = [0usize; 256];
        (0..255).rev().for_each(|g| starts[g] = starts[g + 1] + counts[g + 1]);
        self.order.clear();
        self.order.resize(grey.len(), 0);
        let mut next = starts;
        for (y, row) in grey.chunks_exact(w).enumerate() {
            for (x, &g) in row.iter().enumerate() {
                self.order[next[usize::from(g)]] = (y as u32) << 16 | x as u32;
                next[usize::from(g)] += 1;
            }
        }
        let of = |g: u8| starts[usize::from(g)]..starts[usize::from(g)] + counts[usize::from(g)];
        let max = grey.iter().copied().max().unwrap_or(0);
        self.find_holes([h, w], max, of);
        self.front.clear(h, w, NONE);
        for g in (1..=max).rev().filter(|&g| counts[usize::from(g)] > 0) {
            for &pixel in &self.order[of(g)] {
                self.front.add(pixel, g, 0xff, &FRONT_SQUARES);
            }
            self.front.settle();
            visit(g - 1, self);
        }
    }

    /// The holes of all levels below `max`; `of` says where the pixels of a grey lie in the order.
    fn find_holes(&mut self, [h, w]: [usize; 2], max: u8, of: impl Fn(u8) -> std::ops::Range<usize>) {
        const BESIDE: u8 = 0b0101_1010;
        self.holes.clear();
        self.holes_of.clear();
        self.back.clear(h, w, OUTSIDE);
        self.back.start(0);
        // More than any other: it is what others become part of.
        self.back.all[OUTSIDE as usize].pixels = u64::MAX;
        for g in 0..max {
            let pixels = of(g);
            if pixels.is_empty() {
                self.holes_of.push(self.holes_of.last().copied().unwrap_or_default());
                continue;
            }
            for &pixel in &self.order[pixels] {
                self.back.add(pixel, g, BESIDE, &BACK_SQUARES);
            }
            self.back.settle();
            let from = self.holes.len();
            for &id in self.back.live.iter().filter(|id| **id != OUTSIDE) {
                let Component { doubled_area, first, bounds, .. } = self.back.all[id as usize];
                self.holes.push(Hole { id, doubled_area, first, bounds });
            }
            self.holes_of.push((from, self.holes.len()));
        }
    }

    fn holes(&self, level: u8) -> &[Hole] {
        let (from, to) = self.holes_of.get(usize::from(level)).copied().unwrap_or_default();
        &self.holes[from..to]
    }

    /// The bounds of every contour: of components, and of the pixels around holes.
    pub fn contours(&self, level: u8, mut visit: impl FnMut(PixelBox)) {
        self.front.live.iter().for_each(|&id| visit(PixelBox::from(self.front.all[id as usize].bounds)));
        for hole in self.holes(level) {
            let [x0, y0, x1, y1] = hole.bounds;
            visit(PixelBox::from([x0 - 1, y0 - 1, x1 + 1, y1 + 1]));
        }
    }

    /// The bounds of the component with the most pixels; of equals the one whose first pixel by rows is first.
    pub fn most_pixels(&self) -> Option<PixelBox> {
        let components = self.front.live.iter().map(|&id| &self.front.all[id as usize]);
        let most = components.min_by_key(|c| (std::cmp::Reverse(c.pixels), c.first));
        most.map(|c| PixelBox::from(c.bounds))
    }

    /// The bounds of the contour in no hole that encloses the largest area; of equals the one whose first pixel by rows is
    /// last.
    pub fn largest_contour(&mut self, level: u8) -> Option<PixelBox> {
        if self.front.live.len() == 1 {
            return self.most_pixels();
        }
        self.add_up(level);
        let outer = self.front.live.iter().filter(|&&id| self.hole_around(id, level) == OUTSIDE);
        let largest = outer.max_by_key(|&&id| (self.areas[id as usize], self.front.all[id as usize].first));
        largest.map(|&id| PixelBox::from(self.front.all[id as usize].bounds))
    }

    /// The background around a component of foreground.
    fn hole_around(&self, id: u32, level: u8) -> u32 {
        // Above the topmost pixel lies what surrounds a component.
        let above = self.front.place(self.front.all[id as usize].first) - self.front.stride;
        self.back.root_at(self.back.labels[above], level)
    }

    /// Doubled areas with holes filled, of the components that lie in no hole.
    fn add_up(&mut self, level: u8) {
        let (from, to) = self.holes_of.get(usize::from(level)).copied().unwrap_or_default();
        self.areas.resize(self.areas.len().max(self.front.all.len()), 0);
        self.first_of_hole.resize(self.first_of_hole.len().max(self.back.all.len()), 0);
        for &id in &self.front.live {
            self.areas[id as usize] = self.front.all[id as usize].doubled_area;
        }
        for hole in &self.holes[from..to] {
            self.first_of_hole[hole.id as usize] = hole.first;
        }
        for i in from..to {
            let Hole { doubled_area, first, .. } = self.holes[i];
            let around = self.outer(first, level);
            self.areas[around as usize] += doubled_area;
        }
        for i in 0..self.front.live.len() {
            let id = self.front.live[i];
            let hole = self.hole_around(id, level);
            if hole != OUTSIDE {
                let around = self.outer(self.first_of_hole[hole as usize], level);
                self.areas[around as usize] += self.front.all[id as usize].doubled_area;
            }
        }
    }

    /// The component in no hole that a hole with this first pixel lies in.
    fn outer(&mut self, mut first: Pixel, level: u8) -> u32 {
        loop {
            // Above a hole's topmost pixel lies the component around it.
            let around = self.front.of(self.front.place(first) - self.front.stride);
            let hole = self.hole_around(around, level);
            if hole == OUTSIDE {
                return around;
            }
            first = self.first_of_hole[hole as usize];
        }
    }
}
