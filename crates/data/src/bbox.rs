//! Boxes around objects.

/// A box in pixel coordinates: from the left or top edge (0) of the picture, x to the right, y down.
///
/// Coordinates are those of the data set's files, unchanged: ILSVRC's `xmax` and `ymax` are not made exclusive.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BBox {
    /// Left.
    pub x0: f64,
    /// Top.
    pub y0: f64,
    /// Right, at least `x0`.
    pub x1: f64,
    /// Bottom, at least `y0`.
    pub y1: f64,
}

impl BBox {
    /// The same box in a picture of another size: x and y scaled apart.
    pub fn scaled(self, x: f64, y: f64) -> Self {
        Self { x0: self.x0 * x, y0: self.y0 * y, x1: self.x1 * x, y1: self.y1 * y }
    }

    /// A box of four numbers, checked.
    ///
    /// # Errors
    /// What is wrong with them: not finite, or the wrong way round.
    pub(crate) fn checked([x0, y0, x1, y1]: [f64; 4]) -> Result<Self, String> {
        if ![x0, y0, x1, y1].iter().all(|v| v.is_finite()) || x0 > x1 || y0 > y1 {
            return Err(format!("box {x0}, {y0}, {x1}, {y1} is not x0 <= x1, y0 <= y1"));
        }
        Ok(Self { x0, y0, x1, y1 })
    }
}
