//! Opening models: files by path, the demo pair by name.

use std::path::Path;
use std::thread;

use anyhow::{Context, Result, anyhow};
use quantlens::{Isa, Model, ModelFile, Numerics, Options};
use quantlens_data::Geometry;
use quantlens_nets::Metadata;
use quantlens_weights::Pair;

use crate::args::EngineArgs;

/// Names of the embedded pair on the command line.
pub const DEMO: [&str; 2] = ["demo:f32", "demo:int8"];

/// What names of the embedded trained networks begin with: `pack:resnet18-int8`.
const PACK: &str = "pack:";

/// The names of an embedded pair's float network and of its int8 twin.
pub fn pack_names(pair: &Pair) -> [String; 2] {
    ["f32", "int8"].map(|precision| format!("{PACK}{}-{precision}", pair.name))
}

/// What is said wherever an untrained network is used, such as the embedded pair.
pub const UNTRAINED: &str = "note: untrained networks (seeded random weights): predictions and maps show that the \
                             program works, and say nothing about the pictures";

/// Whether this argument names one of the embedded networks.
pub fn is_demo(path: &Path) -> bool {
    DEMO.iter().any(|name| path.as_os_str() == *name)
}

/// The bytes of the embedded network of this name.
///
/// # Errors
/// Lists the names where there is none.
fn packed(name: &str) -> Result<&'static [u8]> {
    let names = || quantlens_weights::pack().iter().flat_map(pack_names);
    let bytes = quantlens_weights::pack().iter().flat_map(|pair| [pair.float, pair.int8]);
    let found = names().zip(bytes).find(|(n, _)| n == name).map(|(_, bytes)| bytes);
    found.ok_or_else(|| match names().collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => anyhow!("{name}: this build has no embedded networks (cargo feature `pack`)"),
        all => anyhow!("{name}: no embedded network has that name; there are {all}"),
    })
}

/// Whether this argument names a network of the pack.
fn is_packed(path: &Path) -> bool {
    path.to_str().is_some_and(|p| p.starts_with(PACK))
}

/// Whether this argument means a model: an embedded one, or a file by its extension.
pub fn is_model(path: &Path) -> bool {
    is_demo(path) || is_packed(path) || path.extension().is_some_and(|e| e.eq_ignore_ascii_case("safetensors"))
}

/// Opens a model file or an embedded network.
///
/// # Errors
/// Why the file is refused; the message names it.
pub fn load(path: &Path, options: &Options) -> Result<Model> {
    options.build(open(path)?).with_context(|| path.display().to_string())
}

/// Opens a model's file, or an embedded one, without building the network.
///
/// # Errors
/// As [`load`].
pub fn open(path: &Path) -> Result<ModelFile> {
    let demo = quantlens_weights::demo_pair();
    if path.as_os_str() == DEMO[0] {
        Ok(ModelFile::from_bytes(DEMO[0], demo.float)?)
    } else if path.as_os_str() == DEMO[1] {
        Ok(ModelFile::from_bytes(DEMO[1], demo.int8)?)
    } else if let Some(name) = path.to_str().filter(|_| is_packed(path)) {
        Ok(ModelFile::from_bytes(name, packed(name)?)?)
    } else {
        Ok(ModelFile::open(path)?)
    }
}

/// Whether a model's file says that its weights were never trained.
pub fn is_untrained(model: &Model) -> bool {
    says_untrained(model.metadata())
}

/// Whether this metadata says that the weights were never trained.
pub fn says_untrained(metadata: &Metadata) -> bool {
    metadata.other.get("trained").is_some_and(|v| v == "false")
}

/// The facade's options for these arguments, for `threads` threads a run.
///
/// # Errors
/// A QUANTLENS_ISA that is unknown or not available here.
pub fn options(engine: &EngineArgs, network: Option<&str>, stretch: bool, threads: usize) -> Result<Options> {
    Ok(Options {
        network: network.map(Into::into),
        input_size: engine.input_size,
        geometry: if stretch { Geometry::Stretch } else { Geometry::ResizeCrop },
        threads,
        isa: Some(isa(engine)?),
        ..Options::default()
    })
}

/// The instruction set asked for: by `--isa`, else QUANTLENS_ISA, else the best.
///
/// # Errors
/// As [`options`].
pub fn isa(engine: &EngineArgs) -> Result<Isa> {
    match engine.isa {
        Some(isa) => Ok(isa),
        None => Isa::from_env().context("QUANTLENS_ISA"),
    }
}

/// The threads asked for, or one a core.
pub fn threads(engine: &EngineArgs) -> usize {
    engine.threads.unwrap_or_else(cores)
}

/// Cores this process may use.
pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// `f32`, or `int8` with the engine whose arithmetic it follows.
pub fn precision(model: &Model) -> String {
    let network = model.network();
    match network.numerics {
        Some(Numerics::Fbgemm) => format!("{} (fbgemm)", network.precision),
        Some(Numerics::Qnnpack) => format!("{} (qnnpack)", network.precision),
        None => network.precision.to_string(),
    }
}
