//! Wall time whose throughput is a rate of multiply-adds and its share of the peak.

use std::time::{Duration, Instant};

use criterion::Throughput;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};

/// Wall time. `Throughput::Elements` counts multiply-adds, shown as GMAC/s with the share of `peak`.
pub struct Rate {
    /// Multiply-adds a second, of all threads together.
    pub peak: f64,
}

impl Measurement for Rate {
    type Intermediate = Instant;
    type Value = Duration;

    fn start(&self) -> Instant {
        WallTime.start()
    }

    fn end(&self, start: Instant) -> Duration {
        WallTime.end(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        WallTime.add(a, b)
    }

    fn zero(&self) -> Duration {
        WallTime.zero()
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Rate {
    fn format_throughput(&self, throughput: &Throughput, nanos: f64) -> String {
        match *throughput {
            Throughput::Elements(macs) => {
                let rate = macs as f64 / nanos;
                format!("{rate:.1} GMAC/s {:.0}%", 1e11 * rate / self.peak)
            }
            _ => WallTime.formatter().format_throughput(throughput, nanos),
        }
    }

    fn scale_values(&self, typical: f64, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_values(typical, values)
    }

    fn scale_throughputs(&self, typical: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        match *throughput {
            Throughput::Elements(macs) => {
                values.iter_mut().for_each(|nanos| *nanos = macs as f64 / *nanos);
                "GMAC/s"
            }
            _ => WallTime.formatter().scale_throughputs(typical, throughput, values),
        }
    }

    fn scale_for_machines(&self, values: &mut [f64]) -> &'static str {
        WallTime.formatter().scale_for_machines(values)
    }
}
