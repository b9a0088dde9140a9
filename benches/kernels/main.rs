//! Every kernel family at the shapes of the four networks, f32 and int8, on one thread: multiply-adds a second with their share of
//! a peak measured before the family, or bytes read and written a second where there are none.
//!
//! Each case is a network of one layer, run by the engine: what is timed is the step as real networks run it, with the kernel that
//! the plan chooses. Its input was written just before by a small convolution, so it lies where it lies in a network.
//! `QUANTLENS_ISA` chooses the instruction set.

#[path = "../common/mod.rs"]
mod common;
mod layer;
#[path = "../common/rate.rs"]
mod rate;
mod shapes;

use std::time::Duration;

use criterion::{BenchmarkGroup, Throughput};
use quantlens::kernels::Peak;
use quantlens::{Isa, Precision};

use layer::Layer;
use rate::Rate;
use shapes::{Case, FAMILIES};

fn main() {
    let isa = Isa::from_env().unwrap_or_else(|e| panic!("{e}"));
    for (family, cases) in FAMILIES {
        for precision in [Precision::F32, Precision::Int8] {
            let peak = Peak::measure(isa).expect("an available instruction set");
            let peak = if precision == Precision::Int8 { peak.int8 } else { peak.f32 };
            let mut criterion = common::criterion().with_measurement(Rate { peak });
            let mut group = criterion.benchmark_group(format!("{family} {precision}"));
            cases
                .iter()
                .filter(|case| case.op.exists(precision))
                .for_each(|case| bench(&mut group, case, precision, isa));
            group.finish();
        }
    }
    common::criterion().final_summary();
}

fn bench(group: &mut BenchmarkGroup<'_, Rate>, case: &Case, precision: Precision, isa: Isa) {
    group.throughput(match case.macs() {
        0 => Throughput::Bytes(case.elements() * if precision == Precision::Int8 { 1 } else { 4 }),
        macs => Throughput::Elements(macs),
    });
    group.bench_function(case.name(), |b| {
        let mut layer = Layer::new(case, precision, isa);
        b.iter_custom(|runs| (0..runs).map(|_| layer.run()).sum::<Duration>());
    });
}
