//! Weakly supervised localization: the box that a map predicts, as wsolevaluation (Choe et al. 2020) finds it with
//! OpenCV, and how well it meets the true boxes.
//!
//! The map as 8-bit grey, a threshold on it, the largest contour of what lies above, the bounding box of that:
//!
//! ```
//! use quantlens_xai::{BoxOptions, Localizer, Threshold};
//!
//! let grey = [0, 0, 0, 0, 9, 9, 0, 9, 9, 0, 0, 0]; // 4 rows of 3 columns
//! let mut localizer = Localizer::new(4, 3, BoxOptions::default())?;
//! let level = Threshold::Fixed(0.2).level(&grey);
//! let found = localizer.predict(&grey, level).expect("there is foreground");
//! assert_eq!(found.edges(), [1, 1, 2, 3]);
//! # Ok::<(), quantlens_xai::Error>(())
//! ```

mod component;
mod contour;
mod levels;
mod score;
mod threshold;

pub use score::{BoxAccuracy, IouCurve, LocalizationTally, SweepBest, best_iou, iou};
pub use threshold::{Threshold, otsu, threshold_level, threshold_sweep};

use component::Components;
use contour::{Borders, Canvas};
use levels::Levels;

use crate::Error;

/// A box of whole pixels, from the top-left corner of the picture (0, 0), x to the right, y down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PixelBox {
    /// First column.
    pub x0: u32,
    /// First row.
    pub y0: u32,
    /// Last column (see [`BoxEdge`]), at least `x0`.
    pub x1: u32,
    /// Last row, at least `y0`.
    pub y1: u32,
}

impl PixelBox {
    /// x0, y0, x1, y1.
    pub fn edges(self) -> [u32; 4] {
        [self.x0, self.y0, self.x1, self.y1]
    }

    /// x0, y0, x1, y1 as numbers to compare with true boxes.
    pub fn corners(self) -> [f64; 4] {
        self.edges().map(f64::from)
    }
}

impl From<[u32; 4]> for PixelBox {
    fn from([x0, y0, x1, y1]: [u32; 4]) -> Self {
        Self { x0, y0, x1, y1 }
    }
}

/// Which part of the foreground becomes the box.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BoxRule {
    /// The external contour that encloses the largest area (`cv2.contourArea`: through the pixels' centres, so that a
    /// line has none); of equals the one found last in a scan by rows, as Python's `max` over `cv2.findContours` takes.
    #[default]
    LargestContour,
    /// The 8-connected component with the most pixels, holes not counted; of equals the first in a scan by rows.
    MostPixels,
    /// The box that meets a true one best, of every contour (those of holes included): MaxBoxAccV2's setting in
    /// wsolevaluation. Only where true boxes are at hand; a prediction without them is that of `LargestContour`.
    BestContour,
}

/// What a box's last column and row are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum BoxEdge {
    /// One past the last pixel, but within the picture: min(x + width, picture's width - 1), as in wsolevaluation.
    #[default]
    Wsol,
    /// The last pixel: x + width - 1, which is what the +1 in the IoU's sizes means.
    LastPixel,
}

/// How boxes are made of foreground.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct BoxOptions {
    /// Which part of the foreground.
    pub rule: BoxRule,
    /// Which coordinates.
    pub edge: BoxEdge,
}

/// Largest side of a map.
const LARGEST_SIDE: usize = 1 << 16;

/// Finds boxes in maps of one size; keeps its scratch space, so that a map after the first allocates nothing.
#[derive(Debug, Clone)]
pub struct Localizer {
    h: usize,
    w: usize,
    options: BoxOptions,
    canvas: Canvas,
    components: Components,
    levels: Levels,
}

impl Localizer {
    /// For maps of `h` rows and `w` columns.
    ///
    /// # Errors
    /// [`Error::Length`] for a side of 0 or above 65,536.
    pub fn new(h: usize, w: usize, options: BoxOptions) -> Result<Self, Error> {
        if let Some(&found) = [h, w].iter().find(|n| !(1..=LARGEST_SIDE).contains(*n)) {
            return Err(Error::Length { what: "side of a map", expected: found.clamp(1, LARGEST_SIDE), found });
        }
        Ok(Self {
            h,
            w,
            options,
            canvas: Canvas::new(h, w),
            components: Components::default(),
            levels: Levels::default(),
        })
    }

    /// The box of the pixels above `level`; none where there are none.
    ///
    /// # Panics
    /// If `grey` has other than `h * w` values; likewise the methods below.
    pub fn predict(&mut self, grey: &[u8], level: u8) -> Option<PixelBox> {
        assert_eq!(grey.len(), self.h * self.w, "a map of {}x{}", self.h, self.w);
        let pixels = match self.options.rule {
            BoxRule::MostPixels => self.components.largest(grey, self.w, level),
            BoxRule::LargestContour | BoxRule::BestContour => {
                let mut largest: Option<contour::Contour> = None;
                self.canvas.fill(grey, level);
                self.canvas.borders(Borders::External, |c| {
                    if largest.is_none_or(|l| c.doubled_area >= l.doubled_area) {
                        largest = Some(c);
                    }
                });
                largest.map(|c| c.pixels)
            }
        };
        pixels.map(|p| self.edge(p))
    }

    /// The boxes of all contours above `level`, those of holes included, in the order of a scan by rows.
    pub fn contours(&mut self, grey: &[u8], level: u8) -> Vec<PixelBox> {
        assert_eq!(grey.len(), self.h * self.w, "a map of {}x{}", self.h, self.w);
        let mut found = Vec::new();
        self.canvas.fill(grey, level);
        self.canvas.borders(Borders::All, |c| found.push(c.pixels));
        found.iter_mut().for_each(|b| *b = self.edge(*b));
        found
    }

    /// IoU of the prediction above `level` with the best-matching of the true boxes (x0, y0, x1, y1 in the map's
    /// pixels); 0 where nothing is predicted, none where there are no true boxes.
    pub fn iou(&mut self, grey: &[u8], level: u8, truths: &[[f64; 4]]) -> Option<f64> {
        let found = match self.options.rule {
            BoxRule::BestContour => self.contours(grey, level),
            _ => self.predict(grey, level).into_iter().collect(),
        };
        let ious = found.into_iter().filter_map(|b| best_iou(b, truths));
        (!truths.is_empty()).then(|| ious.fold(0.0, f64::max))
    }

    /// [`Localizer::iou`] at every level that a threshold can give; none where there are no true boxes.
    ///
    /// Two passes over the map's pixels give the contours of all levels: a smooth map takes a few times as long as one
    /// box, not 256 times.
    pub fn iou_curve(&mut self, grey: &[u8], truths: &[[f64; 4]]) -> Option<IouCurve> {
        let rule = self.options.rule;
        self.curves(grey, truths, [rule]).map(|[curve]| curve)
    }

    /// [`Localizer::iou_curve`], and the same under [`BoxRule::BestContour`], in the time of one.
    pub fn iou_curves(&mut self, grey: &[u8], truths: &[[f64; 4]]) -> Option<[IouCurve; 2]> {
        let rule = self.options.rule;
        self.curves(grey, truths, [rule, BoxRule::BestContour])
    }

    fn curves<const N: usize>(
        &mut self,
        grey: &[u8],
        truths: &[[f64; 4]],
        rules: [BoxRule; N],
    ) -> Option<[IouCurve; N]> {
        assert_eq!(grey.len(), self.h * self.w, "a map of {}x{}", self.h, self.w);
        if truths.is_empty() {
            return None;
        }
        // Nothing lies above the largest grey. Going down, only a level below a grey that occurs has a new foreground:
        // the levels below it have the same one.
        let max = grey.iter().copied().max().unwrap_or(0);
        let mut found = [(); N].map(|()| vec![f64::NAN; usize::from(max) + 1]);
        let mut levels = std::mem::take(&mut self.levels);
        levels.walk(grey, [self.h, self.w], |level, at| {
            let iou = |pixels: PixelBox| best_iou(self.edge(pixels), truths).unwrap_or(0.0);
            for (by_level, rule) in found.iter_mut().zip(rules) {
                let mut best = 0f64;
                match rule {
                    BoxRule::LargestContour => {
                        at.largest_contour(level).into_iter().for_each(|b| best = best.max(iou(b)))
                    }
                    BoxRule::MostPixels => at.most_pixels().into_iter().for_each(|b| best = best.max(iou(b))),
                    BoxRule::BestContour => at.contours(level, |b| best = best.max(iou(b))),
                }
                by_level[usize::from(level)] = best;
            }
        });
        self.levels = levels;
        Some(found.map(|mut by_level| {
            by_level[usize::from(max)] = 0.0;
            let mut above = 0.0;
            by_level.iter_mut().rev().for_each(|iou| {
                *iou = if iou.is_nan() { above } else { *iou };
                above = *iou;
            });
            IouCurve { by_level }
        }))
    }

    fn edge(&self, pixels: PixelBox) -> PixelBox {
        match self.options.edge {
            BoxEdge::LastPixel => pixels,
            BoxEdge::Wsol => PixelBox {
                x1: (pixels.x1 + 1).min(self.w as u32 - 1),
                y1: (pixels.y1 + 1).min(self.h as u32 - 1),
                ..pixels
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_edges() {
        // A block of 3x3, a longer line of 10, both in a map of 6x12.
        let mut grey = [0u8; 72];
        for (y, x) in (0..3).flat_map(|y| (0..3).map(move |x| (y, x))).chain((0..10).map(|x| (5, x))) {
            grey[y * 12 + x] = 200;
        }
        let predict =
            |rule, edge| Localizer::new(6, 12, BoxOptions { rule, edge }).unwrap().predict(&grey, 100).unwrap().edges();
        assert_eq!(predict(BoxRule::LargestContour, BoxEdge::LastPixel), [0, 0, 2, 2]);
        assert_eq!(predict(BoxRule::LargestContour, BoxEdge::Wsol), [0, 0, 3, 3]);
        assert_eq!(predict(BoxRule::MostPixels, BoxEdge::LastPixel), [0, 5, 9, 5]);
        // The last row is the picture's.
        assert_eq!(predict(BoxRule::MostPixels, BoxEdge::Wsol), [0, 5, 10, 5]);
        let best = BoxOptions { rule: BoxRule::BestContour, edge: BoxEdge::LastPixel };
        let mut localizer = Localizer::new(6, 12, best).unwrap();
        assert_eq!(localizer.iou(&grey, 100, &[[0.0, 5.0, 9.0, 5.0]]), Some(1.0));
        assert_eq!(localizer.iou(&grey, 100, &[]), None);
        assert_eq!(localizer.iou(&grey, 200, &[[0.0, 5.0, 9.0, 5.0]]), Some(0.0));
    }

    #[test]
    fn a_curve_is_what_single_levels_give() {
        let grey: Vec<u8> = (0..35u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 25) as u8).collect();
        let truths = [[1.0, 1.0, 4.5, 3.0], [0.0, 0.0, 2.0, 2.0]];
        let mut localizer = Localizer::new(5, 7, BoxOptions::default()).unwrap();
        let curve = localizer.iou_curve(&grey, &truths).unwrap();
        let max = grey.iter().copied().max().unwrap();
        for i in 0..=100 {
            let t = f64::from(i) / 100.0;
            let level = threshold_level(t, max);
            assert_eq!(Some(curve.at(t)), localizer.iou(&grey, level, &truths), "{t}");
        }
        assert_eq!(localizer.iou_curve(&grey, &[]), None);
        assert_eq!(localizer.iou_curve(&[0; 35], &truths).unwrap().at(0.5), 0.0);
    }

    /// Maps of every kind: noise of few and of many greys, blurred noise with peaks, holes and islands in holes.
    fn maps(count: u32) -> Vec<(usize, usize, Vec<u8>)> {
        let mut state = 1u32;
        let mut random = move |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) % n
        };
        let mut map = |kind: u32| {
            let (h, w) = (1 + random(24) as usize, 1 + random(24) as usize);
            let greys = [2, 3, 5, 40, 256][random(5) as usize];
            let top = 1 + random(255);
            let mut grey: Vec<u32> = (0..h * w).map(|_| random(greys) * top / (greys - 1)).collect();
            for _ in 0..kind % 4 {
                let at = |y: usize, x: usize| grey[y.min(h - 1) * w + x.min(w - 1)];
                let near = |y: usize, x: usize| {
                    (0..3)
                        .flat_map(|i| (0..3).map(move |j| (i, j)))
                        .map(|(i, j)| at((y + i).max(1) - 1, (x + j).max(1) - 1))
                        .sum::<u32>()
                };
                grey = (0..h * w).map(|i| near(i / w, i % w) / 9).collect();
            }
            (h, w, grey.iter().map(|&g| g as u8).collect())
        };
        (0..count).map(&mut map).collect()
    }

    #[test]
    fn all_levels_at_once_are_each_level_alone() {
        for (n, (h, w, grey)) in maps(800).into_iter().enumerate() {
            let (x, y) = (w as f64 * 0.3, h as f64 * 0.2);
            let truths = [[x, y, x + w as f64 / 2.0, y + h as f64 / 3.0], [0.0, 0.0, 1.0, 2.0]];
            for rule in [BoxRule::LargestContour, BoxRule::MostPixels, BoxRule::BestContour] {
                let options = BoxOptions { rule, edge: [BoxEdge::Wsol, BoxEdge::LastPixel][n % 2] };
                // One localizer for all maps would hide what a map leaves behind; one for each, what it does not.
                let mut localizer = Localizer::new(h, w, options).unwrap();
                let _ = localizer.iou_curve(&grey.iter().map(|g| 255 - g).collect::<Vec<u8>>(), &truths);
                let [own, best] = localizer.iou_curves(&grey, &truths).unwrap();
                let mut any = Localizer::new(h, w, BoxOptions { rule: BoxRule::BestContour, ..options }).unwrap();
                for level in 0..=grey.iter().copied().max().unwrap() {
                    let i = usize::from(level);
                    let told = || format!("map {n} of {h}x{w}, {rule:?}, level {level}: {grey:?}");
                    assert_eq!(Some(own.by_level[i]), localizer.iou(&grey, level, &truths), "{}", told());
                    assert_eq!(Some(best.by_level[i]), any.iou(&grey, level, &truths), "{}", told());
                }
            }
        }
    }

    #[test]
    fn impossible_sizes_are_refused() {
        for (h, w) in [(0, 3), (3, 0), (70_000, 3)] {
            assert!(matches!(Localizer::new(h, w, BoxOptions::default()), Err(Error::Length { .. })));
        }
    }
}
