//! The networks that come with quantlens.
//!
//! [`pack`]: pairs of narrow networks trained on quantlens' rendered scenes; `weights/README.md` is their model card.
//! [`demo_pair`]: a tiny **untrained** pair for tests and timings, whose predictions and maps mean nothing.
//!
//! # Features
//! `pack` (default): embed the trained pairs. Without it [`pack`] is empty.

#![forbid(unsafe_code)]

/// A float network and its int8 twin, as the bytes of model files.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Pair {
    /// Name of the pair.
    pub name: &'static str,
    /// The f32 file; of the pack with weights stored as f16.
    pub float: &'static [u8],
    /// The int8 file.
    pub int8: &'static [u8],
    /// Whether the weights were trained; predictions of an untrained pair mean nothing.
    pub trained: bool,
}

/// The default pack: at most one pair an architecture, trained on rendered scenes. Empty without the feature `pack`.
pub fn pack() -> &'static [Pair] {
    PACK
}

/// A trained pair of the pack's folder.
#[cfg(feature = "pack")]
macro_rules! trained {
    ($name:literal) => {
        Pair {
            name: $name,
            float: include_bytes!(concat!("../pack/", $name, "-f32.safetensors")),
            int8: include_bytes!(concat!("../pack/", $name, "-int8.safetensors")),
            trained: true,
        }
    };
}

#[cfg(feature = "pack")]
static PACK: &[Pair] =
    &[trained!("resnet18"), trained!("shufflenet_v2_x0_5"), trained!("mobilenet_v2"), trained!("mobilenet_v3_large")];

#[cfg(not(feature = "pack"))]
static PACK: &[Pair] = &[];

/// The demo pair: MobileNetV2, narrow, untrained. `weights/README.md` says how it was made.
pub fn demo_pair() -> Pair {
    Pair {
        name: "mobilenet_v2-untrained",
        float: include_bytes!("../demo/mobilenet_v2-f32.safetensors"),
        int8: include_bytes!("../demo/mobilenet_v2-int8.safetensors"),
        trained: false,
    }
}
