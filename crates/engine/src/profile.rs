//! Where the time of a run goes.

use std::time::Instant;

use crate::plan::StepInfo;

/// Time of one step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StepTime {
    /// First name of the tensor that the step makes.
    pub name: String,
    /// The op, with a fused activation.
    pub op: &'static str,
    /// The kernel that ran it.
    pub kernel: String,
    /// Wall time in nanoseconds.
    pub nanos: u64,
    /// Multiply-adds.
    pub macs: u64,
}

impl StepTime {
    /// Rate in 10^9 multiply-adds a second; 0 for an op that has none.
    pub fn gmacs_per_second(&self) -> f64 {
        if self.nanos == 0 { 0.0 } else { self.macs as f64 / self.nanos as f64 }
    }
}

/// Times of one run.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Profile {
    /// The steps that ran, in order.
    pub steps: Vec<StepTime>,
    /// Wall time of the whole run in nanoseconds, copying the input included.
    pub total_nanos: u64,
}

/// Collects the times of a session's runs without allocating; off until asked for.
#[derive(Debug)]
pub(crate) struct Recorder {
    on: bool,
    /// Nanoseconds of each step in the last recorded run; none for steps that did not run.
    nanos: Vec<Option<u64>>,
    total: Option<u64>,
    started: Instant,
}

impl Recorder {
    pub(crate) fn new(steps: usize) -> Self {
        Self { on: false, nanos: vec![None; steps], total: None, started: Instant::now() }
    }

    pub(crate) fn switch(&mut self, on: bool) {
        self.on = on;
    }

    /// Starts a run.
    pub(crate) fn start(&mut self) {
        if self.on {
            self.nanos.fill(None);
            self.total = None;
            self.started = Instant::now();
        }
    }

    /// Runs a step and notes its time.
    pub(crate) fn step(&mut self, index: usize, run: impl FnOnce()) {
        if self.on {
            let start = Instant::now();
            run();
            self.nanos[index] = Some(nanos_since(start));
        } else {
            run();
        }
    }

    /// Ends a run.
    pub(crate) fn finish(&mut self) {
        if self.on {
            self.total = Some(nanos_since(self.started));
        }
    }

    /// Times of the last recorded run.
    pub(crate) fn profile(&self, infos: &[StepInfo]) -> Option<Profile> {
        let total_nanos = self.total?;
        let time = |(info, nanos): (&StepInfo, &Option<u64>)| {
            nanos.map(|nanos| StepTime {
                name: info.name.clone(),
                op: info.op,
                kernel: info.kernel.clone(),
                nanos,
                macs: info.macs,
            })
        };
        Some(Profile { steps: infos.iter().zip(&self.nanos).filter_map(time).collect(), total_nanos })
    }
}

fn nanos_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
