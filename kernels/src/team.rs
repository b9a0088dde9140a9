//! The threads that share one run of a network.

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};
use rayon::slice::ParallelSliceMut;

/// A team of threads. Kernels split outputs over it, never sums, so results do not depend on its size.
#[derive(Debug)]
pub struct Team {
    pool: Option<rayon::ThreadPool>,
}

impl Team {
    /// A team of `threads` (0 counts as 1). One thread costs nothing: work then runs on the caller. Where the
    /// system refuses to start threads, the team is the caller alone; see [`Team::threads`].
    pub fn new(threads: usize) -> Self {
        let name = |index| format!("quantlens-{index}");
        let build = || rayon::ThreadPoolBuilder::new().num_threads(threads).thread_name(name).build().ok();
        Self { pool: if threads > 1 { build() } else { None } }
    }

    /// Number of threads that work, at least 1.
    pub fn threads(&self) -> usize {
        self.pool.as_ref().map_or(1, rayon::ThreadPool::current_num_threads)
    }

    /// Calls `task` with each index below `tasks`, in any order and on any thread; returns when all are done.
    pub fn run(&self, tasks: usize, task: impl Fn(usize) + Sync) {
        match &self.pool {
            Some(pool) if tasks > 1 => pool.install(|| (0..tasks).into_par_iter().with_max_len(1).for_each(&task)),
            _ => (0..tasks).for_each(task),
        }
    }

    /// Splits `data` into chunks of `chunk` elements (the last may be shorter) and calls `task` with each one's
    /// index and elements.
    ///
    /// # Panics
    /// If `chunk` is 0.
    pub fn run_chunks<T: Send>(&self, data: &mut [T], chunk: usize, task: impl Fn(usize, &mut [T]) + Sync) {
        match &self.pool {
            Some(pool) if data.len() > chunk => pool.install(|| {
                data.par_chunks_mut(chunk).with_max_len(1).enumerate().for_each(|(index, chunk)| task(index, chunk));
            }),
            _ => data.chunks_mut(chunk).enumerate().for_each(|(index, chunk)| task(index, chunk)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [0, 1, 2, 5] {
            let team = Team::new(threads);
            for tasks in [0, 1, 2, 33] {
                let seen = Mutex::new(Vec::new());
                team.run(tasks, |task| seen.lock().expect("no task panics").push(task));
                let mut seen = seen.into_inner().expect("no task panics");
                seen.sort_unstable();
                assert_eq!(seen, (0..tasks).collect::<Vec<_>>());
            }
        }
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
