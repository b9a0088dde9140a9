//! Element types and their storage.

use std::fmt;

use half::f16;

/// Type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DType {
    /// Unsigned 8-bit integers: quantized activations.
    U8,
    /// Signed 8-bit integers: quantized weights.
    I8,
    /// Signed 32-bit integers: accumulators and indices.
    I32,
    /// IEEE half floats: stored weights.
    F16,
    /// IEEE single floats.
    F32,
}

impl DType {
    /// Bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::F16 => 2,
            Self::I32 | Self::F32 => 4,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::I32 => "i32",
            Self::F16 => "f16",
            Self::F32 => "f32",
        })
    }
}

/// A tensor's elements.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// Elements of [`DType::U8`].
    U8(Vec<u8>),
    /// Elements of [`DType::I8`].
    I8(Vec<i8>),
    /// Elements of [`DType::I32`].
    I32(Vec<i32>),
    /// Elements of [`DType::F16`].
    F16(Vec<f16>),
    /// Elements of [`DType::F32`].
    F32(Vec<f32>),
}

/// Runs `$body` with `$v` bound to the elements, whatever their type.
macro_rules! for_each_dtype {
    ($data:expr, $v:ident => $body:expr) => {
        match $data {
            $crate::Data::U8($v) => $body,
            $crate::Data::I8($v) => $body,
            $crate::Data::I32($v) => $body,
            $crate::Data::F16($v) => $body,
            $crate::Data::F32($v) => $body,
        }
    };
}
pub(crate) use for_each_dtype;

impl Data {
    /// Type of the elements.
    pub fn dtype(&self) -> DType {
        match self {
            Self::U8(_) => DType::U8,
            Self::I8(_) => DType::I8,
            Self::I32(_) => DType::I32,
            Self::F16(_) => DType::F16,
            Self::F32(_) => DType::F32,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        for_each_dtype!(self, v => v.len())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

macro_rules! data_from {
    ($($t:ty => $variant:ident),*) => {$(
        impl From<Vec<$t>> for Data {
            fn from(v: Vec<$t>) -> Self {
                Self::$variant(v)
            }
        }
    )*};
}
data_from!(u8 => U8, i8 => I8, i32 => I32, f16 => F16, f32 => F32);
