//! Running allocates nothing once the session exists.

mod common;

use std::time::Duration;

use common::{image, small_net};
use quantlens_engine::{Numerics, Plan, Session};
use quantlens_kernels::testing::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ENGINES: [Option<Numerics>; 3] = [None, Some(Numerics::Fbgemm), Some(Numerics::Qnnpack)];

fn session_of(numerics: Option<Numerics>, threads: usize) -> Session {
    let graph = small_net(numerics);
    let builder = Plan::builder(&graph).input_size(33, 40).tap("block").tap("unit").entry("unit");
    builder.threads(threads).build().expect("a valid plan").session()
}

/// Both tests count in one: the second counts what all threads of the process allocate.
#[test]
fn runs_allocate_nothing() {
    for numerics in ENGINES {
        one_thread(numerics);
        two_threads(numerics);
    }
}

fn one_thread(numerics: Option<Numerics>) {
    let mut session = session_of(numerics, 1);
    let input = image(1, 33, 40);
    session.profile(true);
    let before = CountingAllocator::allocations();
    session.run(&input).expect("the right input");
    session.run(&input).expect("the right input");
    assert_eq!(CountingAllocator::allocations() - before, 0, "{numerics:?}: run");
    let unit = session.tap("unit").expect("tapped");
    let counted = CountingAllocator::allocations();
    assert!(counted > before, "a tap is a copy, and the counter sees it");
    session.run_from(&[("unit", &unit)], &["logits"]).expect("an entry");
    assert_eq!(CountingAllocator::allocations() - counted, 0, "{numerics:?}: run_from");
}

fn two_threads(numerics: Option<Numerics>) {
    let mut session = session_of(numerics, 2);
    let input = image(1, 33, 40);
    // A thread allocates while it starts: run until nothing has been allocated for a while.
    let mut quiet = 0;
    while quiet < 20 {
        let before = CountingAllocator::allocations_of_all();
        session.run(&input).expect("the right input");
        std::thread::sleep(Duration::from_millis(1));
        quiet = if CountingAllocator::allocations_of_all() == before { quiet + 1 } else { 0 };
    }
    let before = CountingAllocator::allocations_of_all();
    for _ in 0..20 {
        session.run(&input).expect("the right input");
    }
    assert_eq!(CountingAllocator::allocations_of_all() - before, 0, "{numerics:?}: run on two threads");
    assert!(session.tap("unit").is_ok() && CountingAllocator::allocations_of_all() > before, "the counter counts");
}
