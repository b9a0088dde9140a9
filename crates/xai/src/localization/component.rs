//! 8-connected components by their number of pixels, from runs of foreground in two neighbouring rows.

use super::PixelBox;

/// A run of foreground pixels in a row: first column, last column, component.
type Run = (u32, u32, usize);

/// One component while rows are added; merged ones point to what they became part of.
#[derive(Debug, Clone, Copy)]
struct Component {
    parent: usize,
    pixels: u64,
    edges: [u32; 4],
}

/// Scratch space of [`Components::largest`].
#[derive(Debug, Clone, Default)]
pub(super) struct Components {
    all: Vec<Component>,
    above: Vec<Run>,
    row: Vec<Run>,
}

impl Components {
    /// The component with the most pixels above `threshold`; of equals the one whose first pixel by rows is first.
    pub fn largest(&mut self, grey: &[u8], w: usize, threshold: u8) -> Option<PixelBox> {
        self.all.clear();
        self.above.clear();
        for (y, row) in grey.chunks_exact(w).enumerate() {
            self.row.clear();
            let mut x = 0;
            while let Some(start) = row[x..].iter().position(|&v| v > threshold).map(|n| x + n) {
                x = row[start..].iter().position(|&v| v <= threshold).map_or(w, |n| start + n);
                self.add(y as u32, start as u32, x as u32 - 1);
            }
            std::mem::swap(&mut self.above, &mut self.row);
        }
        let roots = self.all.iter().enumerate().filter(|(i, c)| c.parent == *i);
        // Components are numbered by their first pixel, and merging keeps the smaller number.
        let largest = roots.min_by_key(|(_, c)| std::cmp::Reverse(c.pixels));
        largest.map(|(_, c)| PixelBox::from(c.edges))
    }

    /// Adds a run of row `y` to the components it touches above, which become one.
    fn add(&mut self, y: u32, x0: u32, x1: u32) {
        let own = self.all.len();
        self.all.push(Component { parent: own, pixels: u64::from(x1 - x0) + 1, edges: [x0, y, x1, y] });
        let mut id = own;
        for i in 0..self.above.len() {
            let (a, b, component) = self.above[i];
            if a <= x1 + 1 && b + 1 >= x0 {
                id = self.merge(id, component);
            }
        }
        self.row.push((x0, x1, id));
    }

    fn root(&mut self, mut id: usize) -> usize {
        while self.all[id].parent != id {
            // Path halving keeps chains short.
            self.all[id].parent = self.all[self.all[id].parent].parent;
            id = self.all[id].parent;
        }
        id
    }

    fn merge(&mut self, a: usize, b: usize) -> usize {
        let (a, b) = (self.root(a), self.root(b));
        let (keep, gone) = (a.min(b), a.max(b));
        if keep != gone {
            let Component { pixels, edges: [x0, y0, x1, y1], .. } = self.all[gone];
            self.all[gone].parent = keep;
            let kept = &mut self.all[keep];
            kept.pixels += pixels;
            let [kx0, ky0, kx1, ky1] = kept.edges;
            kept.edges = [kx0.min(x0), ky0.min(y0), kx1.max(x1), ky1.max(y1)];
        }
        keep
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn largest(rows: &[&str]) -> Option<[u32; 4]> {
        let grey: Vec<u8> = rows.iter().flat_map(|r| r.bytes()).map(|b| u8::from(b == b'#')).collect();
        Components::default().largest(&grey, rows[0].len(), 0).map(PixelBox::edges)
    }

    #[test]
    fn arms_join_and_ties_go_to_the_first() {
        assert_eq!(largest(&["#.#.###", "#.#....", "###...."]), Some([0, 0, 2, 2]));
        assert_eq!(largest(&["..##", "....", "##.."]), Some([2, 0, 3, 0]));
        assert_eq!(largest(&["#...", ".#..", "...#"]), Some([0, 0, 1, 1]));
        assert_eq!(largest(&["...", "..."]), None);
    }
}
