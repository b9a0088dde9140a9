//! What a model costs before its first result: time from its file to logits, and memory.

use std::fs;
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use quantlens::{Layout, Model, Options, Tensor};
use serde::Serialize;

use crate::{models, output};

/// One model's start, on one thread.
#[derive(Debug, Clone, Serialize)]
pub struct Start {
    model: String,
    /// Milliseconds from opening the file to the first logits: reading, checking and hashing it, packing weights, one run.
    first_result_ms: f64,
    /// Most memory that the process has had resident until then, in 10^6 bytes; where the system tells. That of the first model
    /// is what a process with this model alone takes; memory of earlier ones that is not yet returned counts for later ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    peak_memory_mb: Option<f64>,
}

/// Loads a model and runs it once on zeros.
pub fn load(path: &Path, options: &Options) -> Result<(Model, Start)> {
    forget_peak();
    let start = Instant::now();
    let model = models::load(path, options)?;
    let [h, w] = model.plan().input_size();
    model.run(&Tensor::new(vec![0.0; 3 * h * w], [1, 3, h, w], Layout::Nchw)?, |_| ())?;
    let first_result_ms = start.elapsed().as_secs_f64() * 1e3;
    Ok((model, Start { model: path.display().to_string(), first_result_ms, peak_memory_mb: peak_memory_mb() }))
}

/// Linux starts its record of the peak anew; elsewhere, or where that is not allowed, it stays.
fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

fn peak_memory_mb() -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// A table with a line a model.
pub fn text(starts: &[Start]) -> String {
    let mut table = output::table(&["model", "load to first result, ms", "peak memory, MB"], &[1, 2]);
    for start in starts {
        let memory = start.peak_memory_mb.map_or("-".to_string(), |mb| format!("{mb:.1}"));
        table.add_row([start.model.clone(), format!("{:.1}", start.first_result_ms), memory]);
    }
    format!("\n{}", output::lines(&table))
}
