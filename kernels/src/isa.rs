//! Instruction sets: which exist, which this machine has, which one to use.

use std::fmt;
use std::sync::OnceLock;

use crate::Error;

/// A set of CPU instructions that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Isa {
    /// Plain Rust, for any CPU; the specification of every op.
    Scalar,
    /// x86-64: AVX2, FMA and F16C.
    Avx2,
    /// `Avx2` and AVX-VNNI (256-bit `vpdpbusd`).
    AvxVnni,
    /// `Avx2` and AVX-512 F, BW, VL and DQ.
    Avx512,
    /// `Avx512` and AVX-512 VNNI.
    Avx512Vnni,
    /// aarch64: Advanced SIMD.
    Neon,
    /// `Neon` and the dot product instructions.
    NeonDot,
    /// `NeonDot` and the 8-bit integer matrix instructions.
    NeonI8mm,
}

/// Name of the variable that [`Isa::from_env`] reads.
const ENV: &str = "QUANTLENS_ISA";

impl Isa {
    /// All, from the least to the most capable of each architecture.
    pub const ALL: [Self; 8] = [
        Self::Scalar,
        Self::Avx2,
        Self::AvxVnni,
        Self::Avx512,
        Self::Avx512Vnni,
        Self::Neon,
        Self::NeonDot,
        Self::NeonI8mm,
    ];

    /// The name used in kernel names, in `QUANTLENS_ISA` and in records.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avxvnni",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
            Self::Neon => "neon",
            Self::NeonDot => "neon-dot",
            Self::NeonI8mm => "neon-i8mm",
        }
    }

    /// Whether this CPU has the instructions and this build is for its architecture.
    pub fn available(self) -> bool {
        match self {
            Self::Scalar => true,
            Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Avx512Vnni => x86_available(self),
            Self::Neon | Self::NeonDot | Self::NeonI8mm => aarch64_available(self),
        }
    }

    /// The most capable set available here. Where a set has no kernel of its own for an op, it uses those of the sets
    /// that it includes. The CPU is asked once.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| Self::ALL.into_iter().rev().find(|isa| isa.available()).unwrap_or(Self::Scalar))
    }

    /// The set named by the environment variable `QUANTLENS_ISA`; [`Isa::best`] where it is unset or empty.
    ///
    /// # Errors
    /// [`Error::Isa`], with the choices, for a name that is unknown or a set that is not available here.
    pub fn from_env() -> Result<Self, Error> {
        match std::env::var_os(ENV) {
            None => Ok(Self::best()),
            Some(value) if value.is_empty() => Ok(Self::best()),
            Some(value) => Self::parse(&value.to_string_lossy()),
        }
    }

    /// The available set of this name.
    ///
    /// # Errors
    /// [`Error::Isa`], with the choices, for a name that is unknown or a set that is not available here.
    pub fn parse(name: &str) -> Result<Self, Error> {
        let known = Self::ALL.into_iter().find(|isa| isa.name().eq_ignore_ascii_case(name));
        known.filter(|isa| isa.available()).ok_or_else(|| unavailable(name))
    }

    /// Whether a CPU with this set can run kernels written for `other`.
    pub fn includes(self, other: Self) -> bool {
        match other {
            Self::Scalar => true,
            Self::Avx2 => matches!(self, Self::Avx2 | Self::AvxVnni | Self::Avx512 | Self::Avx512Vnni),
            Self::Avx512 => matches!(self, Self::Avx512 | Self::Avx512Vnni),
            Self::Neon => matches!(self, Self::Neon | Self::NeonDot | Self::NeonI8mm),
            Self::NeonDot => matches!(self, Self::NeonDot | Self::NeonI8mm),
            Self::AvxVnni | Self::Avx512Vnni | Self::NeonI8mm => self == other,
        }
    }

    /// Errs where the set is not available.
    pub(crate) fn check(self) -> Result<(), Error> {
        if self.available() { Ok(()) } else { Err(unavailable(self.name())) }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

fn unavailable(requested: &str) -> Error {
    let available = Isa::ALL.into_iter().filter(|isa| isa.available()).map(Isa::name).collect();
    Error::Isa { requested: requested.into(), available }
}

#[cfg(target_arch = "x86_64")]
fn x86_available(isa: Isa) -> bool {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma") && has!("f16c");
    let avx512 = || has!("avx512f") && has!("avx512bw") && has!("avx512vl") && has!("avx512dq");
    match isa {
        Isa::Avx2 => avx2,
        Isa::AvxVnni => avx2 && has!("avxvnni"),
        Isa::Avx512 => avx2 && avx512(),
        Isa::Avx512Vnni => avx2 && avx512() && has!("avx512vnni"),
        _ => false,
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn x86_available(_: Isa) -> bool {
    false
}

#[cfg(target_arch = "aarch64")]
fn aarch64_available(isa: Isa) -> bool {
    use std::arch::is_aarch64_feature_detected as has;
    match isa {
        Isa::Neon => has!("neon"),
        Isa::NeonDot => has!("neon") && has!("dotprod"),
        Isa::NeonI8mm => has!("neon") && has!("dotprod") && has!("i8mm"),
        _ => false,
    }
}

#[cfg(not(target_arch = "aarch64"))]
fn aarch64_available(_: Isa) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_distinct_and_parse_where_available() {
        for isa in Isa::ALL {
            assert_eq!(Isa::ALL.iter().filter(|other| other.name() == isa.name()).count(), 1);
            assert_eq!(Isa::parse(isa.name()).is_ok(), isa.available());
        }
        assert!(Isa::best().available());
    }

    #[test]
    fn an_unknown_name_lists_the_choices() {
        let message = Isa::parse("mmx").expect_err("no such set").to_string();
        assert!(message.contains("\"mmx\"") && message.contains("scalar"), "{message}");
    }

    #[test]
    fn every_set_includes_scalar_and_itself() {
        for isa in Isa::ALL {
            assert!(isa.includes(Isa::Scalar) && isa.includes(isa));
        }
        assert!(!Isa::Avx2.includes(Isa::Neon) && !Isa::AvxVnni.includes(Isa::Avx512));
    }
}
