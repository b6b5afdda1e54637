//! What calls look like: counts since the start, latencies of the last minute.

use std::sync::OnceLock;
use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release};

use crate::state::Outcome;

/// What a circuit has seen of its calls.
///
/// Counts are since the circuit was made; ignored calls are in neither. Latencies are those of successes with a
/// known latency in the last 50 to 60 s, in milliseconds, zero when there were none. They come from a histogram:
/// within 3.2 % between 8 µs and 146 min.
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

#[derive(Default)]
pub(crate) struct Health {
    successes: AtomicU64,
    failures: AtomicU64,
    /// 12 KiB, for circuits that are told of times.
    latencies: OnceLock<Box<Latencies>>,
}

impl Health {
    #[inline]
    pub(crate) fn record(&self, outcome: Outcome, latency: Option<Duration>, now: Tick) {
        // Relaxed: counts publish nothing.
        match outcome {
            Outcome::Ignored => {}
            Outcome::Failure => {
                self.failures.fetch_add(1, Relaxed);
            }
            Outcome::Success => {
                // What the histogram holds is not counted again until it forgets it.
                let forgotten = match latency {
                    None => 1,
                    Some(latency) => self.latencies.get_or_init(Box::default).record(latency, now),
                };
                if forgotten > 0 {
                    self.successes.fetch_add(forgotten, Relaxed);
                }
            }
        }
    }

    pub(crate) fn metrics(&self, now: Tick) -> HealthMetrics {
        let error_count = self.failures.load(Relaxed);
        let held = self.latencies.get().map_or(0, |latencies| latencies.held());
        let counts = HealthMetrics {
            request_count: self.successes.load(Relaxed) + held + error_count,
            error_count,
            ..HealthMetrics::default()
        };
        let Some(latencies) = self.latencies.get() else { return counts };
        let sums = latencies.sums(now);
        HealthMetrics {
            mean_latency_ms: mean(&sums),
            p50_latency_ms: quantile(&sums, 0.5),
            p95_latency_ms: quantile(&sums, 0.95),
            p99_latency_ms: quantile(&sums, 0.99),
            ..counts
        }
    }
}

/// Nanoseconds: the first bucket begins at 2^13.
const FIRST: u32 = 13;
const OCTAVES: u32 = 30;
const PER_OCTAVE: u32 = 16;
const BUCKETS: usize = (OCTAVES * PER_OCTAVE) as usize;

const SLOTS: usize = 6;
const SLOT: u64 = 10_000_000_000;
/// The number of a slot that is being emptied.
const EMPTYING: u64 = u64::MAX;

/// A ring of log-linear histograms, ten seconds each.
struct Latencies {
    numbers: [AtomicU64; SLOTS],
    counts: Box<[AtomicU32]>,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            numbers: Default::default(),
            counts: std::iter::repeat_with(AtomicU32::default).take(SLOTS * BUCKETS).collect(),
        }
    }
}

impl Latencies {
    /// Takes a latency in. How many calls were forgotten for it, or itself if it could not be taken.
    #[inline]
    fn record(&self, latency: Duration, now: Tick) -> u64 {
        let number = now.as_nanos() / SLOT;
        let at = (number % SLOTS as u64) as usize;
        let forgotten = if self.numbers[at].load(Acquire) == number { Some(0) } else { self.begin(at, number) };
        match forgotten {
            Some(forgotten) => {
                self.slot(at)[bucket(latency)].fetch_add(1, Relaxed);
                forgotten
            }
            None => 1,
        }
    }

    /// Empties the slot at `at` for `number`: how many calls it held. None when it holds later ones, or another
    /// thread empties it: that costs a sample or two each ten seconds.
    #[cold]
    fn begin(&self, at: usize, number: u64) -> Option<u64> {
        let seen = self.numbers[at].load(Relaxed);
        if seen == EMPTYING || seen > number {
            return None;
        }
        self.numbers[at].compare_exchange(seen, EMPTYING, Relaxed, Relaxed).ok()?;
        let held = self.slot(at).iter().map(|count| u64::from(count.swap(0, Relaxed))).sum();
        // Release: who sees the number sees the zeros.
        self.numbers[at].store(number, Release);
        Some(held)
    }

    /// Calls in all slots, however old.
    fn held(&self) -> u64 {
        self.counts.iter().map(|count| u64::from(count.load(Relaxed))).sum()
    }

    fn slot(&self, at: usize) -> &[AtomicU32] {
        &self.counts[at * BUCKETS..(at + 1) * BUCKETS]
    }

    fn sums(&self, now: Tick) -> Vec<u64> {
        let mut sums = vec![0; BUCKETS];
        let number = now.as_nanos() / SLOT;
        for number in number.saturating_sub(SLOTS as u64 - 1)..=number {
            let at = (number % SLOTS as u64) as usize;
            if self.numbers[at].load(Acquire) == number {
                for (sum, count) in sums.iter_mut().zip(self.slot(at)) {
                    *sum += u64::from(count.load(Relaxed));
                }
            }
        }
        sums
    }
}

/// The exponent and the four highest bits of the mantissa.
fn bucket(latency: Duration) -> usize {
    let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).max(1 << FIRST);
    let exponent = nanos.ilog2();
    let within = (nanos >> (exponent - 4)) as u32 - PER_OCTAVE;
    (((exponent - FIRST) * PER_OCTAVE + within) as usize).min(BUCKETS - 1)
}

/// The middle of a bucket in milliseconds: its edges are at most 1/16 apart, so half of that away.
fn middle(bucket: usize) -> f64 {
    let (octave, within) = (bucket as u32 / PER_OCTAVE, bucket as u32 % PER_OCTAVE);
    let sixteenth = (1u64 << (FIRST + octave)) as f64 / f64::from(PER_OCTAVE);
    (f64::from(PER_OCTAVE + within) + 0.5) * sixteenth / 1e6
}

fn mean(sums: &[u64]) -> f64 {
    let count: u64 = sums.iter().sum();
    let total: f64 = sums.iter().enumerate().map(|(at, &count)| middle(at) * count as f64).sum();
    if count == 0 { 0.0 } else { total / count as f64 }
}

/// The latency of the `⌈share · n⌉`th of n calls.
fn quantile(sums: &[u64], share: f64) -> f64 {
    let rank = (share * sums.iter().sum::<u64>() as f64).ceil().max(1.0) as u64;
    let mut below = 0;
    let found = sums.iter().position(|count| {
        below += count;
        below >= rank
    });
    found.map_or(0.0, middle)
}
