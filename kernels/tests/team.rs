//! The thread team under stress: random jobs from several callers at once, nested, panicking, with regions that open and
//! close, on more threads than cores. A hang is a failure too: each test must end.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;

use quantlens_kernels::Team;

// Tasks panic by `resume_unwind`, which prints nothing.

/// A small generator (splitmix64), so that each thread's choices can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn spin(turns: u64) {
    (0..turns).for_each(|_| std::hint::spin_loop());
}

/// One random job: every task counted once, what the last job wrote seen, a panic passed on.
fn job(team: &Team, random: &mut Random, data: &mut [u64], round: u64) {
    let chunk = 1 + random.below(9) as usize;
    let work = random.below(3) * 200;
    match random.below(12) {
        0 => {
            let bad = random.below(data.len() as u64) as usize;
            let task = |task| {
                if task == bad {
                    resume_unwind(Box::new(bad))
                }
            };
            let panic = catch_unwind(AssertUnwindSafe(|| team.run(data.len(), task))).expect_err("a task panics");
            assert_eq!(panic.downcast_ref(), Some(&bad));
        }
        1 => {
            let count = AtomicUsize::new(0);
            team.run(data.len(), |_| team.run(2, |_| _ = count.fetch_add(1, Ordering::Relaxed)));
            assert_eq!(count.into_inner(), 2 * data.len());
        }
        2 => thread::sleep(std::time::Duration::from_micros(random.below(200))),
        _ => {}
    }
    // Plain writes, read by whichever thread gets the chunk in the next round: lost or repeated tasks, or a missing
    // synchronization between jobs, leave another number.
    team.run_chunks(data, chunk, |_, chunk| {
        spin(work);
        chunk.iter_mut().for_each(|x| {
            assert_eq!(*x, round);
            *x += 1;
        });
    });
    assert!(data.iter().all(|&x| x == round + 1), "round {round}: {data:?}");
}

#[test]
fn random_jobs_of_several_callers() {
    for threads in [2, 3, 8] {
        let team = Team::new(threads);
        thread::scope(|scope| {
            for caller in 0..3 {
                let team = &team;
                scope.spawn(move || {
                    let mut random = Random(caller + 100 * threads as u64);
                    let mut data = vec![0; 1 + random.below(70) as usize];
                    let mut region = None;
                    for round in 0..600 {
                        if random.below(20) == 0 {
                            region = if region.is_some() { None } else { Some(team.region()) };
                        }
                        job(team, &mut random, &mut data, round);
                    }
                    drop(region);
                });
            }
        });
    }
}

#[test]
fn teams_come_and_go() {
    for round in 0..200 {
        let team = Team::new(1 + round % 5);
        // Dropped at once, while workers start; after a job; after a region without one.
        if round % 3 > 0 {
            let region = team.region();
            let count = AtomicU32::new(0);
            if round % 3 == 1 {
                team.run(5, |_| _ = count.fetch_add(1, Ordering::Relaxed));
                assert_eq!(count.into_inner(), 5);
            }
            drop(region);
        }
    }
}

/// A panic's value that panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn panics_that_cannot_be_dropped_neither_hang_nor_abort() {
    let team = Team::new(4);
    for _ in 0..50 {
        let entered = AtomicU32::new(0);
        let run = AssertUnwindSafe(|| {
            team.run(4, |_| {
                // All threads that take part panic at about the same time.
                entered.fetch_add(1, Ordering::SeqCst);
                spin(2000);
                resume_unwind(Box::new(Bomb));
            });
        });
        let bomb = catch_unwind(run).expect_err("tasks panic");
        assert!(bomb.is::<Bomb>() && entered.into_inner() > 0);
        std::mem::forget(bomb);
        let count = AtomicU32::new(0);
        team.run(4, |_| _ = count.fetch_add(1, Ordering::Relaxed));
        assert_eq!(count.into_inner(), 4);
    }
}
