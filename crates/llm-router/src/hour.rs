//! How many calls succeeded and failed in the last hour.

use llm_core::Tick;
use llm_core::sync::{AtomicU64, Ordering};

/// Twelve buckets of five minutes, a word each: `(epoch: 16 bits, failed: 24 bits, succeeded: 24 bits)`. What is
/// older than 55 to 60 minutes is forgotten. A bucket stops counting at 16.7 million.
#[derive(Debug)]
pub(crate) struct Hour([AtomicU64; BUCKETS as usize]);

/// Calls of the last hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

const BUCKETS: u64 = 12;
const BUCKET_NANOS: u64 = 300_000_000_000;
const MOST: u64 = (1 << 24) - 1;

impl Hour {
    pub(crate) fn new() -> Self {
        // Epoch 0 with nothing in it: correct at any time.
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    pub(crate) fn record(&self, failed: bool, now: Tick) {
        let epoch = epoch(now);
        let bucket = &self.0[(epoch % BUCKETS) as usize];
        // Relaxed, here and below: a bucket is one word and publishes nothing else.
        let mut seen = bucket.load(Ordering::Relaxed);
        loop {
            let counts = read(seen, epoch);
            let next = Counts {
                succeeded: (counts.succeeded + u64::from(!failed)).min(MOST),
                failed: (counts.failed + u64::from(failed)).min(MOST),
            };
            let word = (epoch & 0xffff) << 48 | next.failed << 24 | next.succeeded;
            match bucket.compare_exchange_weak(seen, word, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    pub(crate) fn counts(&self, now: Tick) -> Counts {
        let last = epoch(now);
        self.0.iter().fold(Counts::default(), |sum, bucket| {
            let word = bucket.load(Ordering::Relaxed);
            let age = (last as u16).wrapping_sub((word >> 48) as u16);
            let counts = if u64::from(age) < BUCKETS { unpack(word) } else { Counts::default() };
            Counts { succeeded: sum.succeeded + counts.succeeded, failed: sum.failed + counts.failed }
        })
    }
}

impl Counts {
    /// The share that succeeded, unless nothing was called.
    pub(crate) fn success_rate(self) -> Option<f64> {
        let calls = self.succeeded + self.failed;
        (calls > 0).then(|| self.succeeded as f64 / calls as f64)
    }
}

const fn epoch(now: Tick) -> u64 {
    now.as_nanos() / BUCKET_NANOS
}

/// What `word` counted in `epoch`: nothing, when it is of another.
const fn read(word: u64, epoch: u64) -> Counts {
    if word >> 48 == epoch & 0xffff { unpack(word) } else { Counts { succeeded: 0, failed: 0 } }
}

const fn unpack(word: u64) -> Counts {
    Counts { succeeded: word & MOST, failed: word >> 24 & MOST }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_the_last_twelve_buckets(calls in proptest::collection::vec((0u64..900, any::<bool>()), 1..200)) {
            let hour = Hour::new();
            let mut now = Tick::ZERO.after(Duration::from_secs(3600));
            let mut log = Vec::new();
            for (pause, failed) in calls {
                now = now.after(Duration::from_secs(pause));
                hour.record(failed, now);
                log.push((epoch(now), failed));
                let of = |which: bool| {
                    log.iter().filter(|(at, failed)| *at + 12 > epoch(now) && *failed == which).count() as u64
                };
                prop_assert_eq!(hour.counts(now), Counts { succeeded: of(false), failed: of(true) });
            }
            prop_assert_eq!(hour.counts(now.after(Duration::from_secs(3600))), Counts::default());
        }
    }
}
