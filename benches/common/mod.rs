//! What all benchmarks share.

use std::time::Duration;

use criterion::Criterion;

/// Criterion with a second or so a benchmark; the command line may say otherwise (`--measurement-time 5`).
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .without_plots()
        .configure_from_args()
}
