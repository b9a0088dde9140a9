//! Turns in rounds over all combinations.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use quantlens::{Plan, Session, Tensor};

use super::Network;
use crate::output;

/// Least number of rounds: a combination's runs are spread over at least so many turns.
const ROUNDS: usize = 5;

/// Longest turn.
const TURN: Duration = Duration::from_millis(50);

/// How much of each combination is measured.
#[derive(Debug, Clone, Copy)]
pub enum Budget {
    /// So many runs.
    Runs(usize),
    /// Runs of so many seconds together.
    Seconds(f64),
}

/// One combination of network, threads and instruction set with what has been measured.
pub struct Lane<'a> {
    pub network: &'a Network,
    pub plan: Plan,
    pub threads: usize,
    /// One whose threads share each image; or one a thread, each with images of its own.
    pub sessions: Vec<Session>,
    /// Of each image.
    pub nanos: Vec<u64>,
    /// Images a second of each turn; throughput alone.
    rates: Option<Vec<f64>>,
}

/// Limits of one turn.
#[derive(Clone, Copy)]
struct Turn {
    time: Duration,
    runs: usize,
}

impl<'a> Lane<'a> {
    /// All threads of the plan share one image at a time.
    pub fn latency(network: &'a Network, plan: Plan) -> Self {
        let (threads, sessions) = (plan.threads(), vec![plan.session()]);
        Self { network, plan, threads, sessions, nanos: Vec::new(), rates: None }
    }

    /// `threads` images at a time, each by one thread.
    pub fn throughput(network: &'a Network, plan: Plan, threads: usize) -> Self {
        let sessions = (0..threads).map(|_| plan.session()).collect();
        Self { network, plan, threads, sessions, nanos: Vec::new(), rates: Some(Vec::new()) }
    }

    /// Median over the turns; none in latency mode.
    pub fn images_per_second(&self) -> Option<f64> {
        let mut rates = self.rates.clone()?;
        rates.sort_by(f64::total_cmp);
        rates.get(rates.len() / 2).copied()
    }

    /// Share of the budget that has been measured.
    fn progress(&self, budget: Budget) -> f64 {
        match budget {
            Budget::Runs(runs) => self.nanos.len() as f64 / runs as f64,
            Budget::Seconds(seconds) => {
                self.nanos.iter().sum::<u64>() as f64 / 1e9 / self.sessions.len() as f64 / seconds
            }
        }
    }

    fn turn(&mut self, limits: Turn) -> Result<()> {
        let (input, barrier) = (&self.network.input, Barrier::new(self.sessions.len()));
        let measured = thread::scope(|scope| -> Result<Vec<Vec<u64>>> {
            let (first, others) = self.sessions.split_at_mut(1);
            let spawned: Vec<_> =
                others.iter_mut().map(|session| scope.spawn(|| burst(session, input, limits, &barrier))).collect();
            // The first runs here: latency needs no thread beside the session's own.
            let mut all: Vec<_> = first.iter_mut().map(|session| burst(session, input, limits, &barrier)).collect();
            all.extend(spawned.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(anyhow!("a thread panicked")))));
            all.into_iter().collect()
        })?;
        if let Some(rates) = &mut self.rates {
            let rate = |nanos: &Vec<u64>| nanos.len() as f64 * 1e9 / nanos.iter().sum::<u64>().max(1) as f64;
            rates.push(measured.iter().map(rate).sum());
        }
        measured.into_iter().for_each(|nanos| self.nanos.extend(nanos));
        Ok(())
    }
}

/// Times of runs one after another, once all threads of the turn are here and warm.
fn burst(session: &mut Session, input: &Tensor, limits: Turn, barrier: &Barrier) -> Result<Vec<u64>> {
    // Caches hold the data of the combination before; threads sleep.
    let warm = session.run(input);
    barrier.wait();
    warm?;
    let (start, mut nanos) = (Instant::now(), Vec::new());
    while nanos.is_empty() || (nanos.len() < limits.runs && start.elapsed() < limits.time) {
        let run = Instant::now();
        session.run(input)?;
        nanos.push(u64::try_from(run.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(nanos)
}

/// Takes turns until each combination has its budget; returns the number of rounds. Which one goes first rotates.
pub fn rounds(lanes: &mut [Lane<'_>], budget: Budget) -> Result<usize> {
    let limits = match budget {
        Budget::Runs(runs) => Turn { time: TURN, runs: runs.div_ceil(ROUNDS) },
        Budget::Seconds(seconds) => {
            Turn { time: TURN.min(Duration::from_secs_f64(seconds / ROUNDS as f64)), runs: usize::MAX }
        }
    };
    let bar = output::progress(100, "%");
    let mut round = 0;
    while let Some(least) = lanes.iter().map(|lane| lane.progress(budget)).reduce(f64::min).filter(|p| *p < 1.0) {
        bar.set_position((100.0 * least) as u64);
        for i in 0..lanes.len() {
            let next = (round + i) % lanes.len();
            let lane = &mut lanes[next];
            if lane.progress(budget) < 1.0 {
                let left = match budget {
                    Budget::Runs(runs) => (runs - lane.nanos.len()).div_ceil(lane.sessions.len()),
                    Budget::Seconds(_) => usize::MAX,
                };
                lane.turn(Turn { runs: limits.runs.min(left), ..limits })?;
            }
        }
        round += 1;
    }
    bar.finish_and_clear();
    Ok(round)
}
