//! Plain Rust that is compiled once for any CPU and once for a set of vector instructions.

use crate::Isa;

/// A piece of work in plain Rust that the compiler turns into vectors. `run`, and what it calls in its loops, must be
/// `#[inline(always)]`: code that is not inlined stays compiled for any CPU. (That is why this is no closure, which nothing
/// obliges the compiler to inline.)
pub(crate) trait Vectorize {
    type Output;

    fn run(self) -> Self::Output;
}

/// Runs the work with the instruction set's vectors, as far as that has a version here. Results are the same: Rust never
/// fuses a product and a sum by itself, nor reorders sums.
#[inline]
pub(crate) fn vectorized<W: Vectorize>(isa: Isa, work: W) -> W::Output {
    #[cfg(target_arch = "x86_64")]
    if isa.includes(Isa::Avx2) {
        // SAFETY: whoever holds an `Isa` here has checked that this CPU has it, and the set includes AVX2 and FMA.
        return unsafe { crate::x86::run(work) };
    }
    let _ = isa;
    work.run()
}
