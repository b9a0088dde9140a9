//! Pixels that go from one image into another: the specification.

use std::ops::RangeInclusive;

/// Copies the pixels whose step lies in `range`, `channels` elements each.
///
/// # Panics
/// If the lengths of the images are not those of `steps` times `channels`.
pub fn copy_steps<T: Copy>(steps: &[u8], range: RangeInclusive<u8>, channels: usize, source: &[T], target: &mut [T]) {
    let len = steps.len() * channels;
    assert!(source.len() == len && target.len() == len, "{} steps of {channels} channels", steps.len());
    if channels == 0 {
        return;
    }
    for ((step, source), target) in
        steps.iter().zip(source.chunks_exact(channels)).zip(target.chunks_exact_mut(channels))
    {
        if range.contains(step) {
            target.copy_from_slice(source);
        }
    }
}
