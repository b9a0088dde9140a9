//! Borders of 8-connected foreground, followed as Suzuki and Abe (1985) describe; `cv2.findContours` returns the same.

use super::PixelBox;

/// The eight neighbours (dy, dx), clockwise on the screen from the right one.
const AROUND: [(isize, isize); 8] = [(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)];

/// Index of the right neighbour in [`AROUND`].
const RIGHT: usize = 0;
/// Index of the left neighbour in [`AROUND`].
const LEFT: usize = 4;

/// Which borders are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Borders {
    /// Outer borders that lie in no hole: `cv2.RETR_EXTERNAL`.
    External,
    /// Every outer border and every border of a hole: `cv2.RETR_TREE`, `cv2.RETR_LIST`.
    All,
}

/// A closed border.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Contour {
    /// Twice the area of the polygon through the border's pixel centres (Green's formula): `2 * cv2.contourArea`.
    pub doubled_area: u64,
    /// The first and last columns and rows of the border's pixels.
    pub pixels: PixelBox,
}

/// A binary image with a margin of one pixel, in which borders are marked while they are followed.
#[derive(Debug, Clone)]
pub(super) struct Canvas {
    h: usize,
    w: usize,
    /// `(h + 2) * (w + 2)`: 0 background, 1 foreground, 2 on a border already followed, -2 the same where the right
    /// neighbour is background that the border runs along.
    marks: Vec<i8>,
}

impl Canvas {
    pub fn new(h: usize, w: usize) -> Self {
        Self { h, w, marks: vec![0; (h + 2) * (w + 2)] }
    }

    /// Takes the pixels above `threshold` as foreground. `grey` has `h * w` values.
    pub fn fill(&mut self, grey: &[u8], threshold: u8) {
        let stride = self.w + 2;
        for (row, marks) in grey.chunks_exact(self.w).zip(self.marks[stride..].chunks_exact_mut(stride)) {
            for (mark, &value) in marks[1..].iter_mut().zip(row) {
                *mark = i8::from(value > threshold);
            }
        }
    }

    /// Calls `visit` with each border, in the order in which a scan by rows meets them. Uses up the image.
    pub fn borders(&mut self, which: Borders, mut visit: impl FnMut(Contour)) {
        let stride = self.w + 2;
        for y in 1..=self.h {
            // Mark of the last border pixel met in this row; positive: within a border that has not ended yet.
            let mut last = 0i8;
            let mut x = 1;
            while x <= self.w {
                let i = y * stride + x;
                let mark = self.marks[i];
                if mark == self.marks[i - 1] && (mark == 0 || mark == 1) {
                    // Inside a run nothing happens before its last pixel.
                    let run = run_length(&self.marks[i + 1..=i + self.w - x], mark);
                    if run > 0 {
                        x += run;
                        continue;
                    }
                }
                if mark != 0 {
                    let outer = mark == 1 && self.marks[i - 1] == 0;
                    let hole = !outer && mark >= 1 && self.marks[i + 1] == 0;
                    match which {
                        Borders::External if outer && last <= 0 => visit(self.follow(i, LEFT)),
                        Borders::All if outer => visit(self.follow(i, LEFT)),
                        Borders::All if hole => visit(self.follow(i, RIGHT)),
                        _ => {}
                    }
                    if self.marks[i] != 1 {
                        last = self.marks[i];
                    }
                }
                x += 1;
            }
        }
    }

    /// Follows the border that begins at `start` and has background in the direction `from`, marking its pixels.
    fn follow(&mut self, start: usize, from: usize) -> Contour {
        let stride = (self.w + 2) as isize;
        let steps = AROUND.map(|(dy, dx)| dy * stride + dx);
        let next = |i: usize, d: usize| i.wrapping_add_signed(steps[d]);
        let (x, y) = (start % (self.w + 2) - 1, start / (self.w + 2) - 1);
        let mut sum = Polygon::new(x as i64, y as i64);
        let Some(first) = (1..8).map(|k| (from + k) % 8).find(|&d| self.marks[next(start, d)] != 0) else {
            self.marks[start] = -2;
            return sum.close();
        };
        // The pixel that closes the border: the last one before `start` comes again.
        let last = next(start, first);
        let (mut here, mut back) = (start, first);
        loop {
            // Counterclockwise from the pixel that we came from.
            let mut along_right = false;
            let mut d = back;
            let ahead = loop {
                d = (d + 7) % 8;
                if self.marks[next(here, d)] != 0 {
                    break d;
                }
                along_right |= d == RIGHT;
            };
            if along_right {
                self.marks[here] = -2;
            } else if self.marks[here] == 1 {
                self.marks[here] = 2;
            }
            let there = next(here, ahead);
            if there == start && here == last {
                return sum.close();
            }
            sum.step(AROUND[ahead]);
            (here, back) = (there, (ahead + 4) % 8);
        }
    }
}

/// How many of the first marks are `mark`, sixteen at a time.
fn run_length(marks: &[i8], mark: i8) -> usize {
    let (blocks, _) = marks.as_chunks::<16>();
    let whole = 16 * blocks.iter().take_while(|b| **b == [mark; 16]).count();
    whole + marks[whole..].iter().take_while(|&&m| m == mark).count()
}

/// Green's sum and the bounds of a walk over pixels.
struct Polygon {
    x: i64,
    y: i64,
    /// Sum of x dy - y dx: twice the signed area once the walk is closed.
    sum: i64,
    start: (i64, i64),
    low: (i64, i64),
    high: (i64, i64),
}

impl Polygon {
    fn new(x: i64, y: i64) -> Self {
        Self { x, y, sum: 0, start: (x, y), low: (x, y), high: (x, y) }
    }

    fn step(&mut self, (dy, dx): (isize, isize)) {
        self.sum += self.x * dy as i64 - self.y * dx as i64;
        (self.x, self.y) = (self.x + dx as i64, self.y + dy as i64);
        self.low = (self.low.0.min(self.x), self.low.1.min(self.y));
        self.high = (self.high.0.max(self.x), self.high.1.max(self.y));
    }

    fn close(self) -> Contour {
        let closing = self.x * (self.start.1 - self.y) - self.y * (self.start.0 - self.x);
        let edges = [self.low.0, self.low.1, self.high.0, self.high.1].map(|v| v as u32);
        Contour { doubled_area: (self.sum + closing).unsigned_abs(), pixels: PixelBox::from(edges) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn borders(rows: &[&str], which: Borders) -> Vec<(u64, [u32; 4])> {
        let grey: Vec<u8> = rows.iter().flat_map(|r| r.bytes()).map(|b| u8::from(b == b'#')).collect();
        let mut canvas = Canvas::new(rows.len(), rows[0].len());
        canvas.fill(&grey, 0);
        let mut found = Vec::new();
        canvas.borders(which, |c| found.push((c.doubled_area, c.pixels.edges())));
        found
    }

    #[test]
    fn a_ring_with_an_island() {
        let rows = ["#####", "#...#", "#.#.#", "#...#", "#####"];
        assert_eq!(borders(&rows, Borders::External), [(32, [0, 0, 4, 4])]);
        // The hole's border cuts the corners: 16 less four triangles of 1/2; the island is a point.
        assert_eq!(borders(&rows, Borders::All), [(32, [0, 0, 4, 4]), (28, [0, 0, 4, 4]), (0, [2, 2, 2, 2])]);
    }

    #[test]
    fn points_lines_and_diagonals() {
        assert_eq!(borders(&["#"], Borders::All), [(0, [0, 0, 0, 0])]);
        assert_eq!(borders(&["..", ".."], Borders::All), []);
        assert_eq!(borders(&["###."], Borders::External), [(0, [0, 0, 2, 0])]);
        assert_eq!(borders(&["#..", ".#.", "..#"], Borders::External), [(0, [0, 0, 2, 2])]);
        assert_eq!(borders(&["#.#", ".#.", "#.#"], Borders::External), [(0, [0, 0, 2, 2])]);
        assert_eq!(borders(&["#.#", "..."], Borders::External), [(0, [0, 0, 0, 0]), (0, [2, 0, 2, 0])]);
    }
}
