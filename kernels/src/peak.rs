//! The most that one core computes: multiply-adds a second with all operands in registers. A kernel's rate as a share of
//! this says how much of it memory, stores and short loops cost.

use std::time::{Duration, Instant};

use crate::{Error, Isa};

/// Multiply-adds a second that one thread reaches at best with an instruction set, measured.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Peak {
    /// The instruction set.
    pub isa: Isa,
    /// int8: bytes multiplied and summed exactly in i32, by the instruction that the set's kernels use (`vpdpbusd`,
    /// `vpmaddwd` on bytes already widened to i16; `smmla`, `sdot`, or `smull` with `sadalp`).
    pub int8: f64,
    /// f32: fused multiply-adds, or a product and a sum where the set has none.
    pub f32: f64,
}

/// A loop whose operands stay in registers.
#[derive(Clone, Copy)]
pub(crate) struct Loop {
    /// Multiply-adds of one round.
    pub(crate) macs: u64,
    /// Runs so many rounds. Unsafe: the CPU must have the instruction set that the loop is for.
    pub(crate) run: unsafe fn(u64),
}

/// The loops of an instruction set.
#[derive(Clone, Copy)]
pub(crate) struct Loops {
    pub(crate) int8: Loop,
    pub(crate) f32: Loop,
}

impl Peak {
    /// Measures for about 50 ms on the calling thread: the fastest of many short loops, so that a moment's interruption
    /// does not count. Clocks change with heat and neighbours: measure beside what is compared, and again each time.
    ///
    /// [`Isa::Scalar`] stands for what plain Rust is compiled to: the architecture's baseline vectors (SSE2 on x86-64, NEON
    /// on aarch64).
    ///
    /// # Errors
    /// [`Error::Isa`] where the set is not available.
    pub fn measure(isa: Isa) -> Result<Self, Error> {
        isa.check()?;
        let loops = loops(isa);
        let time = Duration::from_millis(25);
        // SAFETY: the set is available, and both loops are made of its instructions.
        let (int8, f32) = unsafe { (fastest(loops.int8, time), fastest(loops.f32, time)) };
        Ok(Self { isa, int8, f32 })
    }
}

/// Highest rate of a loop, in multiply-adds a second, among runs of about half a millisecond that together take `time`.
///
/// # Safety
/// The CPU has the loop's instruction set.
unsafe fn fastest(of: Loop, time: Duration) -> f64 {
    let seconds = |rounds: u64| {
        let start = Instant::now();
        // SAFETY: the caller's promise.
        unsafe { (of.run)(rounds) };
        start.elapsed().as_secs_f64()
    };
    let mut rounds = 1024;
    // A coarse clock may show 0; the limit ends the search.
    while seconds(rounds) < 0.5e-3 && rounds < 1 << 40 {
        rounds *= 2;
    }
    let (start, mut least) = (Instant::now(), f64::INFINITY);
    while start.elapsed() < time {
        least = least.min(seconds(rounds).max(1e-9));
    }
    rounds as f64 * of.macs as f64 / least
}

#[cfg(target_arch = "x86_64")]
fn loops(isa: Isa) -> Loops {
    crate::x86::peak_loops(isa)
}

#[cfg(target_arch = "aarch64")]
fn loops(isa: Isa) -> Loops {
    crate::aarch64::peak_loops(isa)
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn loops(_: Isa) -> Loops {
    plain::LOOPS
}

/// Plain Rust, for architectures without loops of their own: what the compiler makes of it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod plain {
    use std::hint::black_box;

    use super::{Loop, Loops};

    /// Sums at once: enough to hide the latency of an addition in vectors of 16 bytes.
    const SUMS: usize = 32;

    pub(super) const LOOPS: Loops =
        Loops { int8: Loop { macs: SUMS as u64, run: int8 }, f32: Loop { macs: SUMS as u64, run: float } };

    fn int8(rounds: u64) {
        let (mut sums, x) = ([0_i32; SUMS], black_box([3_i32; SUMS]));
        for _ in 0..rounds {
            // The sum is a factor, so that the loop cannot become one product.
            sums.iter_mut().zip(&x).for_each(|(sum, &x)| *sum = sum.wrapping_mul(x).wrapping_add(x));
        }
        black_box(sums);
    }

    fn float(rounds: u64) {
        let (mut sums, x) = ([0_f32; SUMS], black_box([0.5_f32; SUMS]));
        for _ in 0..rounds {
            sums.iter_mut().zip(&x).for_each(|(sum, &x)| *sum = *sum * x + x);
        }
        black_box(sums);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_available_set_has_a_peak() {
        for isa in Isa::ALL {
            match Peak::measure(isa) {
                Ok(peak) => {
                    assert!(isa.available() && peak.isa == isa);
                    // Between a thousandth and a thousand times what any core has had so far: a loop that the compiler
                    // removed would be above.
                    for rate in [peak.int8, peak.f32] {
                        assert!((1e6..1e14).contains(&rate), "{isa}: {rate}");
                    }
                }
                Err(error) => assert!(!isa.available(), "{error}"),
            }
        }
    }
}
