//! The progress of long stages on stderr, and Ctrl-C: the first one stops after the images at hand, the second at once.

use std::io::{self, IsTerminal};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use quantlens_study::Progress;

use crate::output;

/// Seconds between lines where stderr is no terminal.
const LINE_SECONDS: u64 = 30;

/// What a shell reports of a program that Ctrl-C ended.
pub const INTERRUPTED: u8 = 130;

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C sets a flag that the stages look at. Where the system refuses, it ends the program as before:
/// nothing is lost, since every file is renamed into place when it is complete.
pub fn catch_interrupts() {
    let caught = ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
        output::hint("stopping after the images at hand; Ctrl-C once more stops at once");
    });
    if caught.is_err() {
        output::hint("Ctrl-C will stop at once, without a word on how far it came; the same command goes on");
    }
}

/// Shows the progress of a study: a bar with rate and time left, or a line now and then where stderr is no terminal.
pub struct Stages {
    terminal: bool,
    stage: Mutex<Option<Stage>>,
}

/// A stage that runs.
struct Stage {
    name: String,
    unit: &'static str,
    total: u64,
    done: u64,
    /// Steps of earlier runs: they say nothing about the rate.
    before: u64,
    began: Instant,
    told: Instant,
    bar: Option<ProgressBar>,
}

impl Default for Stages {
    fn default() -> Self {
        Self { terminal: io::stderr().is_terminal(), stage: Mutex::new(None) }
    }
}

impl Stages {
    fn with(&self, use_it: impl FnOnce(&mut Stage)) {
        if let Some(stage) = &mut *self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            use_it(stage);
        }
    }
}

impl Progress for Stages {
    fn start(&self, stage: &str, total: u64, done: u64) {
        let unit = match stage {
            "timing" => "rounds",
            "statistics" => "million draws",
            "methods" => "maps",
            _ => "images",
        };
        let now = Instant::now();
        let bar = (self.terminal && total > done + 1).then(|| bar(stage, unit, total, done));
        let name = stage.to_string();
        let stage = Stage { name, unit, total, done, before: done, began: now, told: now, bar };
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = Some(stage);
    }

    fn advance(&self, steps: u64) {
        self.with(|stage| {
            stage.done += steps;
            match &stage.bar {
                Some(bar) => bar.inc(steps),
                None if !self.terminal && stage.told.elapsed() >= Duration::from_secs(LINE_SECONDS) => {
                    stage.told = Instant::now();
                    output::hint(&stage.line(stage.began.elapsed()));
                }
                None => {}
            }
        });
    }

    fn finish(&self) {
        self.with(|stage| stage.bar.iter().for_each(ProgressBar::finish_and_clear));
    }

    fn stopped(&self) -> bool {
        STOP.load(Ordering::Relaxed)
    }

    fn note(&self, text: &str) {
        self.with(|stage| match &stage.bar {
            Some(bar) => bar.suspend(|| output::hint(text)),
            None => output::hint(text),
        });
    }
}

fn bar(stage: &str, unit: &str, total: u64, done: u64) -> ProgressBar {
    let template = format!("{stage}: {{bar:30}} {{pos}}/{{len}} {unit}, {{per_sec}}, {{eta}} left");
    let style = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(total).with_style(style);
    bar.set_position(done);
    bar.reset_eta();
    bar
}

impl Stage {
    /// `scan: 512 of 50000 images, 23.1 a second, 35 min left`.
    fn line(&self, elapsed: Duration) -> String {
        let Self { name, unit, total, done, .. } = self;
        let rate = done.saturating_sub(self.before) as f64 / elapsed.as_secs_f64().max(1e-9);
        let left = (total.saturating_sub(*done)) as f64 / rate.max(1e-9);
        format!("{name}: {done} of {total} {unit}, {rate:.1} a second, {} left", span(left))
    }
}

/// A time for people: `40 s`, `35 min`, `2 h 5 min`.
fn span(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0..2 => format!("{} s", seconds.round() as u64),
        2..90 => format!("{minutes} min"),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_time_left_leave_earlier_runs_out() {
        let now = Instant::now();
        let (name, unit, bar) = ("scan".to_string(), "images", None);
        let stage = Stage { name, unit, total: 50_000, done: 10_000, before: 9_000, began: now, told: now, bar };
        let line = stage.line(Duration::from_secs(100));
        assert_eq!(line, "scan: 10000 of 50000 images, 10.0 a second, 67 min left");
        assert_eq!((span(4.4), span(119.0), span(7500.0)), ("4 s".into(), "2 min".into(), "2 h 5 min".into()));
    }
}
