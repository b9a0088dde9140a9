//! Cuts an op into tasks.

use crate::Team;

/// Bytes that a task should move at least: about a microsecond of work, several times what handing it over costs.
const TASK_BYTES: usize = 12 * 1024;

/// Most tasks of an op for each thread.
const TASKS_EACH: usize = 2;

/// Calls `task` with parts of `out` and where each starts. Parts start at multiples of `unit` elements. `work` is about
/// how many bytes the op moves.
pub(super) fn split<T: Send>(
    team: &Team,
    out: &mut [T],
    unit: usize,
    work: usize,
    task: impl Fn(usize, &mut [T]) + Sync,
) {
    let threads = team.threads();
    let tasks = if threads == 1 { 1 } else { (work / TASK_BYTES).clamp(1, threads * TASKS_EACH) };
    let chunk = out.len().div_ceil(tasks).next_multiple_of(unit);
    if chunk >= out.len() {
        return task(0, out);
    }
    team.run_chunks(out, chunk, |index, out| task(index * chunk, out));
}
