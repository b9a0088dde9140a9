//! The networks that come with quantlens.
//!
//! For now the demo pair: a narrow MobileNetV2 in f32 and int8 with seeded random weights. It is **untrained**: it
//! shows that everything works, and its predictions and maps mean nothing.

#![forbid(unsafe_code)]

/// A float network and its int8 twin, as the bytes of model files.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Pair {
    /// Name of the pair.
    pub name: &'static str,
    /// The f32 file.
    pub float: &'static [u8],
    /// The int8 file.
    pub int8: &'static [u8],
    /// Whether the weights were trained; predictions of an untrained pair mean nothing.
    pub trained: bool,
}

/// The demo pair: MobileNetV2, narrow, untrained. `weights/README.md` says how it was made.
pub fn demo_pair() -> Pair {
    Pair {
        name: "mobilenet_v2-untrained",
        float: include_bytes!("../demo/mobilenet_v2-f32.safetensors"),
        int8: include_bytes!("../demo/mobilenet_v2-int8.safetensors"),
        trained: false,
    }
}
