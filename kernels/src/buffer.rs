//! Memory aligned to a cache line, so that a vector load of packed weights never crosses one; side by side in huge pages.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::region::{self, Region};

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for i8 {}
    impl Sealed for i16 {}
    impl Sealed for i32 {}
    impl Sealed for f32 {}
}

/// Types whose all-zero bytes are their zero, and which a table may map.
pub trait Element: sealed::Sealed + Copy + Default + Send + Sync + 'static {
    /// The element after a table of u8; types other than u8 have none and stay as they are.
    fn mapped(self, table: &[u8; 256]) -> Self {
        let _ = table;
        self
    }

    /// The slice, where elements are u8.
    fn bytes(values: &[Self]) -> Option<&[u8]> {
        let _ = values;
        None
    }

    /// The slice, where elements are f32.
    fn floats(values: &[Self]) -> Option<&[f32]> {
        let _ = values;
        None
    }

    /// The slice, where elements are f32.
    fn floats_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        let _ = values;
        None
    }

    /// The slice, where elements are u8.
    fn bytes_mut(values: &mut [Self]) -> Option<&mut [u8]> {
        let _ = values;
        None
    }
}

impl Element for u8 {
    fn mapped(self, table: &[u8; 256]) -> Self {
        table[usize::from(self)]
    }

    fn bytes(values: &[Self]) -> Option<&[u8]> {
        Some(values)
    }

    fn bytes_mut(values: &mut [Self]) -> Option<&mut [u8]> {
        Some(values)
    }
}
impl Element for i8 {}
impl Element for i16 {}
impl Element for i32 {}
impl Element for f32 {
    fn floats(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn floats_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }
}

/// A slice on the heap, aligned to 64 bytes and zeroed when made. Its length is fixed.
///
/// Buffers share regions of memory, each of which is freed with the last buffer in it: they are for what lives as long as a plan or a session.
#[derive(Debug)]
pub struct AlignedBuf<T: Element> {
    ptr: NonNull<T>,
    len: usize,
    /// Keeps what `ptr` points into; none where there is nothing to point at.
    _region: Option<Arc<Region>>,
}

impl<T: Element> AlignedBuf<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// If `len` elements are more than `isize::MAX` bytes. Aborts, as `Vec` does, when memory runs out.
    pub fn new(len: usize) -> Self {
        if len == 0 {
            return Self { ptr: NonNull::dangling(), len, _region: None };
        }
        let Some((region, ptr)) = len.checked_mul(size_of::<T>()).and_then(region::place) else {
            panic!("a buffer of {len} elements exceeds the address space")
        };
        Self { ptr: ptr.cast(), len, _region: Some(region) }
    }

    /// A copy of `data`.
    pub fn from_slice(data: &[T]) -> Self {
        let mut buffer = Self::new(data.len());
        buffer.copy_from_slice(data);
        buffer
    }
}

impl<T: Element> Deref for AlignedBuf<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `ptr` is aligned and points to `len` elements (or is dangling with 0 bytes to read) of the region that this buffer keeps, which gave
        // them to it alone and zeroed; zeros are valid values of every `Element`.
        unsafe { std::slice::from_raw_parts(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Element> DerefMut for AlignedBuf<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as in `deref`; `&mut self` makes the access unique.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.as_ptr(), self.len) }
    }
}

impl<T: Element> Clone for AlignedBuf<T> {
    fn clone(&self) -> Self {
        Self::from_slice(self)
    }
}

// SAFETY: the buffer's part of its region is its own, as a `Vec`'s memory is, and `Element` implies `Send`.
unsafe impl<T: Element> Send for AlignedBuf<T> {}
// SAFETY: shared access gives `&[T]` alone, and `Element` implies `Sync`.
unsafe impl<T: Element> Sync for AlignedBuf<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligned_zeroed_and_writable() {
        for len in [0, 1, 63, 64, 65] {
            let mut buffer = AlignedBuf::<f32>::new(len);
            assert!(buffer.iter().all(|&x| x == 0.0) && buffer.len() == len);
            assert!(len == 0 || (buffer.as_ptr() as usize).is_multiple_of(64));
            buffer.fill(1.5);
            assert_eq!(&*buffer.clone(), vec![1.5; len].as_slice());
        }
        assert_eq!(&*AlignedBuf::from_slice(&[3_u8, 4]), [3, 4]);
        for len in [4096, 1 << 20, (2 << 20) - 1, (2 << 20) + 1, (30 << 20) + 77] {
            let mut buffer = AlignedBuf::<u8>::new(len);
            assert!(buffer.iter().all(|&x| x == 0) && buffer.len() == len);
            buffer.fill(7);
            assert!(buffer.clone().iter().all(|&x| x == 7));
        }
    }
}
