//! One image's activation where it lies.

/// One image's activation, borrowed and channels last: `h * w` positions of `c` values each. A value v stands for
/// (v - zero_point) * scale.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct View<'a> {
    /// The elements, NHWC.
    pub values: Values<'a>,
    /// Height, width and channels.
    pub shape: [usize; 3],
    /// Real value of one step; 1 for real values.
    pub scale: f32,
    /// The element that stands for 0; 0 for real values.
    pub zero_point: i32,
}

/// Elements of a [`View`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Values<'a> {
    /// Real values.
    F32(&'a [f32]),
    /// Quantized ones.
    U8(&'a [u8]),
}

impl Values<'_> {
    /// Number of elements.
    pub fn len(&self) -> usize {
        match self {
            Values::F32(values) => values.len(),
            Values::U8(values) => values.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
