//! Running allocates nothing once the session exists.

mod common;

use common::{image, small_net};
use quantlens_engine::{Numerics, Plan};
use quantlens_kernels::testing::CountingAllocator;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// On one thread: handing work to a pool's threads may allocate in the pool.
#[test]
fn runs_allocate_nothing() {
    for numerics in [None, Some(Numerics::Fbgemm), Some(Numerics::Qnnpack)] {
        let graph = small_net(numerics);
        let plan = Plan::builder(&graph).input_size(33, 40).tap("block").tap("unit").entry("unit").build().unwrap();
        let mut session = plan.session();
        let input = image(1, 33, 40);
        session.profile(true);
        let before = CountingAllocator::allocations();
        session.run(&input).unwrap();
        session.run(&input).unwrap();
        assert_eq!(CountingAllocator::allocations() - before, 0, "{numerics:?}: run");
        let unit = session.tap("unit").unwrap();
        let counted = CountingAllocator::allocations();
        assert!(counted > before, "a tap is a copy, and the counter sees it");
        session.run_from(&[("unit", &unit)], &["logits"]).unwrap();
        assert_eq!(CountingAllocator::allocations() - counted, 0, "{numerics:?}: run_from");
    }
}
