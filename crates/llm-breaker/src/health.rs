//! What calls look like: counts since the start, latencies of the last minute.

use std::sync::OnceLock;
use std::time::Duration;

use llm_core::sync::{AtomicU64, Ordering::Relaxed};
use llm_core::{Distribution, SlidingHistogram, Tick};

use crate::state::Outcome;

/// What a circuit has seen of its calls.
///
/// Counts are since the circuit was made; ignored calls are in neither. Latencies are those of successes with a
/// known latency in the last 50 to 60 s, in milliseconds, zero when there were none. They come from a histogram:
/// within 3 % between 8 µs and 146 min.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HealthMetrics {
    /// Calls that succeeded or failed.
    pub request_count: u64,
    /// Calls that failed.
    pub error_count: u64,
    /// The mean latency.
    pub mean_latency_ms: f64,
    /// Half of the calls took no longer.
    pub p50_latency_ms: f64,
    /// 95 % of the calls took no longer.
    pub p95_latency_ms: f64,
    /// 99 % of the calls took no longer.
    pub p99_latency_ms: f64,
}

impl HealthMetrics {
    /// The share of calls that failed, 0..=1; zero before the first call.
    #[must_use]
    pub fn error_rate(&self) -> f64 {
        if self.request_count == 0 { 0.0 } else { self.error_count as f64 / self.request_count as f64 }
    }
}

/// What the latencies are of.
const WINDOW: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(crate) struct Health {
    /// Without those whose latency is known.
    successes: AtomicU64,
    failures: AtomicU64,
    /// 12 KB, for circuits that are told of times.
    latencies: OnceLock<Box<SlidingHistogram>>,
}

impl Health {
    #[inline]
    pub(crate) fn record(&self, outcome: Outcome, latency: Option<Duration>, now: Tick) {
        // Relaxed: counts publish nothing.
        match (outcome, latency) {
            (Outcome::Ignored, _) => {}
            (Outcome::Failure, _) => {
                self.failures.fetch_add(1, Relaxed);
            }
            (Outcome::Success, None) => {
                self.successes.fetch_add(1, Relaxed);
            }
            // What the histogram has counted is not counted again.
            (Outcome::Success, Some(latency)) => self.latencies().record(latency, now),
        }
    }

    #[inline]
    fn latencies(&self) -> &SlidingHistogram {
        self.latencies.get_or_init(|| Box::new(SlidingHistogram::new(WINDOW)))
    }

    /// The latencies of the last minute.
    pub(crate) fn recent(&self, now: Tick) -> Distribution {
        self.latencies.get().map(|latencies| latencies.distribution(now)).unwrap_or_default()
    }

    pub(crate) fn metrics(&self, now: Tick) -> HealthMetrics {
        let latencies = self.latencies.get();
        let timed = latencies.map_or(0, |latencies| latencies.recorded());
        let error_count = self.failures.load(Relaxed);
        let counts = HealthMetrics {
            request_count: self.successes.load(Relaxed) + timed + error_count,
            error_count,
            ..HealthMetrics::default()
        };
        let Some(latencies) = latencies else { return counts };
        let spread = latencies.distribution(now);
        let millis = |span: Duration| span.as_secs_f64() * 1e3;
        HealthMetrics {
            mean_latency_ms: millis(spread.mean()),
            p50_latency_ms: millis(spread.quantile(0.5)),
            p95_latency_ms: millis(spread.quantile(0.95)),
            p99_latency_ms: millis(spread.quantile(0.99)),
            ..counts
        }
    }
}
