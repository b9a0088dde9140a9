//! The runs of a method, spread over networks that the caller has ready.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use crate::Error;

/// Runs and what came of them.
type Scores<E> = Vec<(usize, Result<f32, E>)>;

/// Scores of the runs `0..runs`, in their order. Each scorer has a thread (one alone the caller's) and an input maker of
/// its own; a free one takes the next run.
///
/// Fails with the failure of the lowest run: runs begin in order, so it is the same for any number of scorers.
pub(crate) fn spread<I, S, E>(
    runs: usize,
    scorers: &mut [S],
    make: impl Fn() -> Result<I, Error> + Sync,
    score: impl Fn(&mut I, &mut S, usize) -> Result<f32, E> + Sync,
) -> Result<Vec<f32>, E>
where
    S: Send,
    E: Send + From<Error>,
{
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let work = |scorer: &mut S| -> Result<Scores<E>, Error> {
        let mut input = make()?;
        let mut done = Vec::new();
        while !failed.load(Ordering::Relaxed) {
            let run = next.fetch_add(1, Ordering::Relaxed);
            if run >= runs {
                break;
            }
            let result = score(&mut input, scorer, run);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            done.push((run, result));
        }
        Ok(done)
    };
    let mut done = match scorers {
        [] => return Err(Error::Length { what: "scorers", expected: 1, found: 0 }.into()),
        [one] => work(one)?,
        many => thread::scope(|scope| {
            let threads: Vec<_> = many.iter_mut().map(|scorer| scope.spawn(|| work(scorer))).collect();
            let mut all = Vec::with_capacity(runs);
            for thread in threads {
                all.extend(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
            }
            Ok::<_, Error>(all)
        })?,
    };
    done.sort_unstable_by_key(|(run, _)| *run);
    done.into_iter().map(|(_, score)| score).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_keep_their_order_and_the_first_failure_is_told() {
        for count in [1, 3] {
            let mut scorers = vec![(); count];
            let square = |_: &mut (), _: &mut (), run: usize| Ok::<_, Error>((run * run) as f32);
            assert_eq!(spread(4, &mut scorers, || Ok(()), square).unwrap(), [0.0, 1.0, 4.0, 9.0]);
            assert_eq!(spread(0, &mut scorers, || Ok(()), square).unwrap(), []);
            let failing = |_: &mut (), _: &mut (), run: usize| {
                if run % 5 == 3 { Err(Error::Order { pixel: run as u32, pixels: 0 }) } else { Ok(0.0) }
            };
            let failed = spread(20, &mut scorers, || Ok(()), failing);
            assert_eq!(failed, Err(Error::Order { pixel: 3, pixels: 0 }));
            let make = || Err::<(), _>(Error::ZeroScore);
            assert_eq!(spread(4, &mut scorers, make, square), Err(Error::ZeroScore));
        }
        let none: &mut [()] = &mut [];
        let any = |_: &mut (), _: &mut (), _| Ok::<_, Error>(0.0);
        assert!(matches!(spread(4, none, || Ok(()), any), Err(Error::Length { .. })));
    }
}
