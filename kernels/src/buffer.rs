//! Memory aligned to a cache line, so that a vector load of packed weights never crosses one; large buffers in huge pages.

use std::alloc::{self, Layout};
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
use std::ffi::{c_int, c_void};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// Alignment of every [`AlignedBuf`], in bytes.
const ALIGN: usize = 64;

/// A huge page of x86-64, and of aarch64 with pages of 4 KB. Buffers of one and more are aligned to it and ask for them.
const HUGE: usize = 2 << 20;

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
impl Element for f32 {}

/// A slice on the heap, aligned to 64 bytes and zeroed when made. Its length is fixed.
#[derive(Debug)]
pub struct AlignedBuf<T: Element> {
    ptr: NonNull<T>,
    len: usize,
}

impl<T: Element> AlignedBuf<T> {
    /// `len` zeros.
    ///
    /// # Panics
    /// If `len` elements are more than `isize::MAX` bytes. Aborts, as `Vec` does, when memory runs out.
    pub fn new(len: usize) -> Self {
        let Some(layout) = Self::layout(len) else { panic!("a buffer of {len} elements exceeds the address space") };
        if layout.size() == 0 {
            return Self { ptr: NonNull::dangling(), len };
        }
        // SAFETY: the layout's size is not 0.
        let ptr = unsafe { alloc::alloc(layout) };
        if ptr.is_null() {
            alloc::handle_alloc_error(layout);
        }
        // Before the first write, which is what makes pages.
        advise_huge(ptr, layout.size());
        // SAFETY: as many bytes were allocated, and are nobody else's; zeros are a value of every `Element`.
        unsafe { ptr.write_bytes(0, layout.size()) };
        Self { ptr: NonNull::new(ptr.cast()).expect("not null"), len }
    }

    /// A copy of `data`.
    pub fn from_slice(data: &[T]) -> Self {
        let mut buffer = Self::new(data.len());
        buffer.copy_from_slice(data);
        buffer
    }

    fn layout(len: usize) -> Option<Layout> {
        let bytes = len.checked_mul(size_of::<T>())?;
        Layout::from_size_align(bytes, if bytes < HUGE { ALIGN } else { HUGE }).ok()
    }
}

/// Asks the system for huge pages for those that lie in a buffer as a whole; without them, all is as before. Under a hypervisor,
/// where a missing translation costs most, a core of a Zen 4 reads 30 instead of 17 GB/s from memory with them.
fn advise_huge(ptr: *mut u8, bytes: usize) {
    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    if bytes >= HUGE {
        /// `MADV_HUGEPAGE`.
        const ADVICE: c_int = 14;

        unsafe extern "C" {
            fn madvise(address: *mut c_void, length: usize, advice: c_int) -> c_int;
        }

        // SAFETY: the signature is that of Linux; a buffer as large is aligned to a huge page, so that the range begins with a page, and it
        // ends inside the buffer. The advice does not change what memory holds, and its result can be ignored.
        unsafe { madvise(ptr.cast(), bytes / HUGE * HUGE, ADVICE) };
    }
    #[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
    let _ = (ptr, bytes);
}

impl<T: Element> Drop for AlignedBuf<T> {
    fn drop(&mut self) {
        if let Some(layout) = Self::layout(self.len).filter(|layout| layout.size() > 0) {
            // SAFETY: `new` allocated `ptr` with this same layout, as it depends on `len` alone, and a size above 0.
            unsafe { alloc::dealloc(self.ptr.as_ptr().cast(), layout) }
        }
    }
}

impl<T: Element> Deref for AlignedBuf<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `ptr` is aligned and points to `len` elements (or is dangling with 0 bytes to read), initialized
        // to zeros by `new`, which are valid values of every `Element`.
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

// SAFETY: the buffer owns its memory as a `Vec` does, and `Element` implies `Send`.
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
        for len in [HUGE - 1, HUGE, HUGE + 1, 3 * HUGE + 77] {
            let mut buffer = AlignedBuf::<u8>::new(len);
            assert!(buffer.iter().all(|&x| x == 0) && buffer.len() == len);
            buffer.fill(7);
            assert!(buffer.clone().iter().all(|&x| x == 7));
        }
    }
}
