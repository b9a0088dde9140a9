//! Pixels of some steps with NEON: 16 steps at a time become a mask; the channels of three are taken apart by the loads.

use std::arch::aarch64::*;
use std::ops::RangeInclusive;

use crate::blend::by_registers;

/// Steps of a register.
const STEPS: usize = 16;

/// [`copy_steps`](crate::scalar::blend::copy_steps) of bytes, one channel or three: of whole registers of steps, whose pixels' number is
/// returned.
#[target_feature(enable = "neon")]
pub(crate) fn copy_bytes<const C: usize>(
    steps: &[u8],
    range: &RangeInclusive<u8>,
    source: &[u8],
    target: &mut [u8],
) -> usize {
    const { assert!(C == 1 || C == 3) };
    let mask = |steps: &_| within(steps, range);
    by_registers::<STEPS, C, _, _>(steps, source, target, mask, |mask, source, target| {
        let (source, target) = (source.as_ptr(), target.as_mut_ptr());
        let blend = |new, old| vbslq_u8(mask, new, old);
        // SAFETY: both have `C` times 16 bytes.
        unsafe {
            if C == 1 {
                vst1q_u8(target, blend(vld1q_u8(source), vld1q_u8(target)));
            } else {
                let (new, old) = (vld3q_u8(source), vld3q_u8(target));
                vst3q_u8(target, uint8x16x3_t(blend(new.0, old.0), blend(new.1, old.1), blend(new.2, old.2)));
            }
        }
    })
}

/// [`copy_bytes`] of floats.
#[target_feature(enable = "neon")]
pub(crate) fn copy_floats<const C: usize>(
    steps: &[u8],
    range: &RangeInclusive<u8>,
    source: &[f32],
    target: &mut [f32],
) -> usize {
    const { assert!(C == 1 || C == 3) };
    let mask = |steps: &_| within(steps, range);
    by_registers::<STEPS, C, _, _>(steps, source, target, mask, |mask, source, target| {
        let pixels = source.chunks_exact(4 * C).zip(target.chunks_exact_mut(4 * C));
        for (mask, (source, target)) in widened(mask).into_iter().zip(pixels) {
            let (source, target) = (source.as_ptr(), target.as_mut_ptr());
            let blend = |new, old| vbslq_f32(mask, new, old);
            // SAFETY: both have `C` times 4 floats.
            unsafe {
                if C == 1 {
                    vst1q_f32(target, blend(vld1q_f32(source), vld1q_f32(target)));
                } else {
                    let (new, old) = (vld3q_f32(source), vld3q_f32(target));
                    vst3q_f32(target, float32x4x3_t(blend(new.0, old.0), blend(new.1, old.1), blend(new.2, old.2)));
                }
            }
        }
    })
}

/// All bits of the steps in `range`, if there are any.
#[target_feature(enable = "neon")]
#[inline]
fn within(steps: &[u8; STEPS], range: &RangeInclusive<u8>) -> Option<uint8x16_t> {
    // SAFETY: the array has 16 bytes.
    let steps = unsafe { vld1q_u8(steps.as_ptr()) };
    let mask = vandq_u8(vcgeq_u8(steps, vdupq_n_u8(*range.start())), vcleq_u8(steps, vdupq_n_u8(*range.end())));
    (vmaxvq_u8(mask) != 0).then_some(mask)
}

/// A mask of bytes as four of words.
#[target_feature(enable = "neon")]
#[inline]
fn widened(mask: uint8x16_t) -> [uint32x4_t; 4] {
    let mask = vreinterpretq_s8_u8(mask);
    let [low, high] = [vmovl_s8(vget_low_s8(mask)), vmovl_high_s8(mask)];
    [vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)), vmovl_high_s16(high)]
        .map(|words| vreinterpretq_u32_s32(words))
}
