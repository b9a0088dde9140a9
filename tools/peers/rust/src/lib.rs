//! What a worker does beside its engine: reads its arguments, says that it is ready, and times runs when told.
//! `worker.py` documents the protocol.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, BufRead, Write};
use std::time::Instant;

/// Any error, for the message that `peers.py` shows.
pub type Failure = Box<dyn Error + Send + Sync>;

/// `WORKER MODEL THREADS IMAGE`.
pub struct Arguments {
    /// The model file.
    pub model: String,
    /// Threads that one run may use.
    pub threads: usize,
    /// 1x3x224x224, normalized.
    pub image: Vec<f32>,
}

impl Arguments {
    /// Those of this process.
    pub fn read() -> Result<Self, Failure> {
        let mut arguments = std::env::args().skip(1);
        let mut next = || arguments.next().ok_or("usage: WORKER MODEL THREADS IMAGE");
        let (model, threads, image) = (next()?, next()?.parse()?, next()?);
        let bytes = std::fs::read(image)?;
        let image = bytes.as_chunks::<4>().0.iter().map(|four| f32::from_le_bytes(*four)).collect();
        Ok(Self { model, threads, image })
    }
}

/// Loads by `load`, then runs what it returned (which gives the logits) as often as standard input says.
pub fn serve<R>(load: impl FnOnce() -> Result<R, Failure>) -> Result<(), Failure>
where
    R: FnMut(bool) -> Result<Vec<f32>, Failure>,
{
    let start = Instant::now();
    let mut run = load()?;
    let logits = run(true)?;
    let load_ms = start.elapsed().as_secs_f64() * 1e3;
    let mut out = io::stdout().lock();
    writeln!(out, "ready {{\"load_ms\": {load_ms:.3}, \"logits\": {logits:?}, \"note\": \"\"}}")?;
    out.flush()?;
    for line in io::stdin().lock().lines() {
        let count: usize = line?.split_whitespace().nth(1).ok_or("expected: run N")?.parse()?;
        let mut times = String::new();
        for _ in 0..count {
            let begin = Instant::now();
            run(false)?;
            let ms = begin.elapsed().as_secs_f64() * 1e3;
            write!(times, "{}{ms:.5}", if times.is_empty() { "" } else { ", " })?;
        }
        writeln!(out, "[{times}]")?;
        out.flush()?;
    }
    Ok(())
}
