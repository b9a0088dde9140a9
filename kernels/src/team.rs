//! The threads that share one run of a network.
//!
//! A team is its caller and some workers. Work is offered to all of them as a *job*; who is awake takes part, and the
//! caller waits only for those that did: a worker that the system does not run costs nothing but its help. Within a
//! [`Region`] idle workers spin, so that a job starts within a fraction of a microsecond; outside they go to sleep.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::shared::SharedMut;

/// Most tasks that are shared among threads: both counts of [`Shared::cursor`] stay below 2^32.
const MAX_TASKS: usize = 1 << 31;

/// Turns of a spin loop before a thread that waits gives way to others: about 50 microseconds.
const SPINS: u32 = 4096;

/// The same where threads outnumber the cores.
const CROWDED_SPINS: u32 = 16;

/// A team of threads. Kernels split outputs over it, never sums, so results do not depend on its size.
pub struct Team {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
}

impl Team {
    /// A team of `threads` (0 counts as 1). One thread costs nothing: work then runs on the caller. Where the
    /// system refuses to start threads, the team is smaller; see [`Team::threads`].
    pub fn new(threads: usize) -> Self {
        let workers = threads.saturating_sub(1);
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let shared = Arc::new(Shared::new(workers, if threads > cores { CROWDED_SPINS } else { SPINS }));
        let start = |index| {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("quantlens-{index}")).spawn(move || shared.work(index)).ok()
        };
        let workers = (0..workers).map_while(start).collect();
        Self { shared, workers }
    }

    /// Number of threads that work, at least 1.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Keeps the workers awake until the result is dropped: for a sequence of calls of [`Team::run`] with little
    /// between them.
    pub fn region(&self) -> Region<'_> {
        self.shared.regions.fetch_add(1, Ordering::SeqCst);
        self.wake();
        Region { team: self }
    }

    /// Calls `task` with each index below `tasks`, in any order and on any thread; returns when all are done. Where
    /// the team is already at work (a task that calls `run`, or another caller), the caller does it alone.
    ///
    /// # Panics
    /// If a task panics: with its message, after all threads have left the job. Some tasks may not have run then.
    pub fn run<F: Fn(usize) + Sync>(&self, tasks: usize, task: F) {
        let shared = &*self.shared;
        let alone = self.workers.is_empty() || !(2..MAX_TASKS).contains(&tasks);
        if alone || shared.busy.swap(true, Ordering::Acquire) {
            return (0..tasks).for_each(task);
        }
        // SAFETY: `busy` was false and is now this thread's. `task` lives until `finish` returns below, in any case:
        // nothing between the two can unwind but what `catch_unwind` catches, and the wake-up, which has no job yet.
        unsafe { shared.offer(&task, tasks) };
        self.wake();
        let own = catch_unwind(AssertUnwindSafe(|| shared.take_tasks(End::Front, tasks, &task)));
        if own.is_err() {
            shared.cursor.0.store(EXHAUSTED, Ordering::Relaxed);
        }
        shared.finish();
        let mut panic = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        shared.busy.store(false, Ordering::Release);
        if let Err(own) = own {
            keep_first(&mut panic, own);
        }
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }

    /// Splits `data` into chunks of `chunk` elements (the last may be shorter) and calls `task` with each one's
    /// index and elements.
    ///
    /// # Panics
    /// If `chunk` is 0, and as [`Team::run`].
    pub fn run_chunks<T: Send>(&self, data: &mut [T], chunk: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        let len = data.len();
        let shared = SharedMut::new(data);
        self.run(len.div_ceil(chunk), |index| {
            let start = index * chunk;
            // SAFETY: chunks of different indexes do not overlap, and each index is one task's.
            task(index, unsafe { shared.part(start, chunk.min(len - start)) });
        });
    }

    /// Wakes the workers that sleep. Comes after a `SeqCst` store of what they are to see.
    fn wake(&self) {
        for (asleep, worker) in self.shared.asleep.iter().zip(&self.workers) {
            if asleep.load(Ordering::SeqCst) {
                asleep.store(false, Ordering::SeqCst);
                worker.thread().unpark();
            }
        }
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.wake();
        for worker in self.workers.drain(..) {
            // Workers catch their tasks' panics, so there is none to pass on.
            let _ = worker.join();
        }
    }
}

impl fmt::Debug for Team {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Team").field("threads", &self.threads()).finish_non_exhaustive()
    }
}

/// While it lives, a team's workers stay awake; see [`Team::region`].
#[derive(Debug)]
pub struct Region<'t> {
    team: &'t Team,
}

impl Drop for Region<'_> {
    fn drop(&mut self) {
        self.team.shared.regions.fetch_sub(1, Ordering::SeqCst);
    }
}

/// In [`Shared::state`]: a job is on offer.
const OPEN: u64 = 1 << 31;

/// In [`Shared::state`]: the workers at the job.
const MEMBERS: u64 = OPEN - 1;

/// A [`Shared::cursor`] past any number of tasks.
const EXHAUSTED: u64 = MAX_TASKS as u64;

/// From which end of the tasks a thread takes: with two threads, each then works on one half of every tensor, whose
/// other operands it has in its own cache from the step before.
#[derive(Clone, Copy)]
enum End {
    Front,
    Back,
}

/// A value in a cache line of its own.
#[repr(align(128))]
struct Padded<T>(T);

/// What a job calls: a closure without its type.
#[derive(Clone, Copy)]
struct Job {
    call: unsafe fn(&Shared, *const (), usize),
    task: *const (),
    tasks: usize,
}

struct Shared {
    /// The job's number (32 bits), whether it is open, how many workers are at it.
    state: Padded<AtomicU64>,
    /// Tasks taken from the front (low half) and from the back (high half).
    cursor: Padded<AtomicU64>,
    /// The job; written by the owner of `busy` while the state is closed without members, read by members alone.
    job: UnsafeCell<Job>,
    /// Whether a caller is between offering a job and the end of it.
    busy: AtomicBool,
    /// Number of open regions.
    regions: AtomicUsize,
    stop: AtomicBool,
    /// By worker: about to sleep, or asleep.
    asleep: Box<[AtomicBool]>,
    /// A worker's panic, for the caller.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    spins: u32,
}

// SAFETY: all fields but `job` are `Sync`. `job` is written by the one thread that owns `busy`, while `state` is closed
// and has no members, and read by members alone, whose entry and exit are atomic operations on `state` with acquire and
// release order. The closure it points to is `Sync`, as `Team::run` demands, and lives as long as there are members.
unsafe impl Sync for Shared {}
// SAFETY: the pointer in `job` is used as described above, whichever thread owns the `Shared`.
unsafe impl Send for Shared {}

impl Shared {
    fn new(workers: usize, spins: u32) -> Self {
        Self {
            state: Padded(AtomicU64::new(0)),
            cursor: Padded(AtomicU64::new(EXHAUSTED)),
            job: UnsafeCell::new(Job { call: call::<fn(usize)>, task: std::ptr::null(), tasks: 0 }),
            busy: AtomicBool::new(false),
            regions: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            asleep: (0..workers).map(|_| AtomicBool::new(false)).collect(),
            panic: Mutex::new(None),
            spins,
        }
    }

    /// Opens a job.
    ///
    /// # Safety
    /// The caller owns `busy`, and calls `finish` before it gives up either `busy` or the task.
    unsafe fn offer<F: Fn(usize) + Sync>(&self, task: &F, tasks: usize) {
        let job = Job { call: call::<F>, task: std::ptr::from_ref(task).cast(), tasks };
        // SAFETY: the caller owns `busy`, and the last owner left the state closed without members: nobody else
        // accesses `job`.
        unsafe { *self.job.get() = job };
        self.cursor.0.store(0, Ordering::Relaxed);
        let number = (self.state.0.load(Ordering::Relaxed) >> 32) + 1;
        self.state.0.store(number << 32 | OPEN, Ordering::SeqCst);
    }

    /// Closes the job and waits until no worker is at it.
    fn finish(&self) {
        self.state.0.fetch_and(!OPEN, Ordering::AcqRel);
        let mut turns = 0;
        // The last member's leaving and this load make what members wrote visible here.
        while self.state.0.load(Ordering::Acquire) & MEMBERS != 0 {
            self.spin(&mut turns);
        }
    }

    /// Takes and runs tasks until there are none.
    fn take_tasks<F: Fn(usize)>(&self, end: End, tasks: usize, task: &F) {
        let (one, tasks) = (if matches!(end, End::Front) { 1 } else { 1 << 32 }, tasks as u64);
        loop {
            let taken = self.cursor.0.fetch_add(one, Ordering::Relaxed);
            let (front, back) = (taken & u64::from(u32::MAX), taken >> 32);
            if front + back >= tasks {
                return;
            }
            task(if matches!(end, End::Front) { front } else { tasks - 1 - back } as usize);
        }
    }

    /// A worker's life.
    fn work(&self, index: usize) {
        let mut last = 0;
        while let Some(number) = self.join_next(last, index) {
            last = number;
            // SAFETY: this thread is a member, so that `job` is not written and what it points to lives.
            let job = unsafe { *self.job.get() };
            let tasks = job.tasks;
            // SAFETY: `call` was made for the type of `task`, which lives while this thread is a member.
            let result = catch_unwind(AssertUnwindSafe(|| unsafe { (job.call)(self, job.task, tasks) }));
            if let Err(panic) = result {
                self.cursor.0.store(EXHAUSTED, Ordering::Relaxed);
                keep_first(&mut self.panic.lock().unwrap_or_else(PoisonError::into_inner), panic);
            }
            self.state.0.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open job other than `last`, becomes a member and returns its number; none when the team ends.
    fn join_next(&self, last: u64, index: usize) -> Option<u64> {
        let mut turns = 0;
        loop {
            let state = self.state.0.load(Ordering::Acquire);
            if state & OPEN != 0 && state >> 32 != last {
                let entered = self.state.0.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
                if entered.is_ok() {
                    return Some(state >> 32);
                }
                continue;
            }
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if turns < self.spins || self.regions.load(Ordering::Relaxed) > 0 {
                self.spin(&mut turns);
                continue;
            }
            // Either this thread sees what a caller stored, or the caller sees it asleep and wakes it: all four
            // operations are `SeqCst`.
            self.asleep[index].store(true, Ordering::SeqCst);
            let state = self.state.0.load(Ordering::SeqCst);
            let work = state & OPEN != 0 && state >> 32 != last;
            if !work && self.regions.load(Ordering::SeqCst) == 0 && !self.stop.load(Ordering::SeqCst) {
                thread::park();
            }
            self.asleep[index].store(false, Ordering::SeqCst);
            turns = 0;
        }
    }

    /// One turn of waiting: gives way to other threads after a while.
    fn spin(&self, turns: &mut u32) {
        *turns = turns.saturating_add(1);
        if *turns < self.spins {
            std::hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}

/// Keeps one of a job's panics for its caller. Others are forgotten, not dropped: dropping one may panic again, and a worker
/// that unwinds from there would never leave its job.
fn keep_first(kept: &mut Option<Box<dyn Any + Send>>, panic: Box<dyn Any + Send>) {
    match kept {
        None => *kept = Some(panic),
        Some(_) => std::mem::forget(panic),
    }
}

/// Runs a worker's tasks of a job.
///
/// # Safety
/// `task` points to an `F` that lives and may be shared with this thread.
unsafe fn call<F: Fn(usize)>(shared: &Shared, task: *const (), tasks: usize) {
    // SAFETY: the caller's promise.
    let task = unsafe { &*task.cast::<F>() };
    shared.take_tasks(End::Back, tasks, task);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU32;

    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [0, 1, 2, 5] {
            let team = Team::new(threads);
            assert_eq!(team.threads(), threads.max(1));
            for region in [false, true] {
                let _region = region.then(|| team.region());
                for tasks in [0, 1, 2, 33] {
                    let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
                    team.run(tasks, |task| _ = counts[task].fetch_add(1, Ordering::Relaxed));
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn many_jobs_in_a_row_see_each_others_results() {
        let team = Team::new(3);
        let mut data = vec![0_u32; 64];
        for round in 0..20_000 {
            let _region = (round % 100 < 90).then(|| team.region());
            team.run_chunks(&mut data, 7, |_, chunk| chunk.iter_mut().for_each(|x| *x += 1));
        }
        assert!(data.iter().all(|&x| x == 20_000));
    }

    #[test]
    fn sleeping_workers_wake() {
        let team = Team::new(2);
        for _ in 0..3 {
            thread::sleep(std::time::Duration::from_millis(20));
            // Both threads must be there, or neither task ends.
            let met = AtomicU32::new(0);
            team.run(2, |_| {
                met.fetch_add(1, Ordering::SeqCst);
                while met.load(Ordering::SeqCst) < 2 {
                    thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_team_goes_on() {
        let team = Team::new(3);
        for bad in 0..8 {
            let run = AssertUnwindSafe(|| team.run(8, |task| assert_ne!(task, bad, "task {bad}")));
            let panic = catch_unwind(run).expect_err("a task panics");
            assert!(panic.downcast_ref::<String>().is_some_and(|text| text.contains(&format!("task {bad}"))));
            let count = AtomicU32::new(0);
            team.run(8, |_| _ = count.fetch_add(1, Ordering::Relaxed));
            assert_eq!(count.into_inner(), 8);
        }
    }

    #[test]
    fn nested_and_concurrent_calls_run() {
        let team = Team::new(3);
        let count = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        team.run(4, |_| team.run(3, |_| _ = count.fetch_add(1, Ordering::Relaxed)));
                    }
                });
            }
        });
        assert_eq!(count.into_inner(), 3 * 200 * 12);
    }

    #[test]
    fn chunks_cover_the_data() {
        for threads in [1, 3] {
            let mut data = vec![0; 10];
            Team::new(threads).run_chunks(&mut data, 4, |index, chunk| chunk.fill(index + 1));
            assert_eq!(data, [1, 1, 1, 1, 2, 2, 2, 2, 3, 3]);
        }
    }
}
