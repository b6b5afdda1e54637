//! How many calls succeeded and failed in the last hour.

use std::time::Duration;

use llm_core::Tick;

/// Twelve buckets of five minutes. What is older than 55 to 60 minutes is forgotten.
#[derive(Clone, Debug)]
pub(crate) struct Hour {
    /// By epoch, modulo their number.
    buckets: [Counts; BUCKETS],
    /// The epoch of the latest bucket.
    epoch: u64,
    /// Its place.
    place: usize,
    /// When it ends: a comparison is cheaper than the division that an epoch takes.
    ends: Tick,
}

/// Calls of the last hour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) succeeded: u64,
    pub(crate) failed: u64,
}

const BUCKETS: usize = 12;
const BUCKET: Duration = Duration::from_secs(300);

impl Hour {
    pub(crate) const fn new() -> Self {
        Self { buckets: [Counts { succeeded: 0, failed: 0 }; BUCKETS], epoch: 0, place: 0, ends: Tick::ZERO }
    }

    pub(crate) fn record(&mut self, failed: bool, now: Tick) {
        // A clock read before another thread's counts in that thread's bucket.
        if now >= self.ends {
            self.turn_to(epoch(now));
        }
        if let Some(counts) = self.buckets.get_mut(self.place) {
            counts.succeeded += u64::from(!failed);
            counts.failed += u64::from(failed);
        }
    }

    /// Calls of the last hour as of the latest one.
    pub(crate) fn latest(&self) -> Counts {
        self.buckets.iter().fold(Counts::default(), |sum, counts| Counts {
            succeeded: sum.succeeded + counts.succeeded,
            failed: sum.failed + counts.failed,
        })
    }

    /// Calls of the hour before `now`.
    pub(crate) fn counts(&self, now: Tick) -> Counts {
        let mut then = self.clone();
        if now >= then.ends {
            then.turn_to(epoch(now));
        }
        then.latest()
    }

    #[cold]
    fn turn_to(&mut self, epoch: u64) {
        for passed in (self.epoch + 1..=epoch).take(BUCKETS) {
            self.buckets[place(passed)] = Counts::default();
        }
        (self.epoch, self.place) = (epoch, place(epoch));
        self.ends = Tick::from_nanos((epoch + 1).saturating_mul(BUCKET.as_nanos() as u64));
    }
}

impl Counts {
    /// Both together.
    pub(crate) const fn calls(self) -> u64 {
        self.succeeded + self.failed
    }

    /// The share that succeeded, unless nothing was called.
    pub(crate) fn success_rate(self) -> Option<f64> {
        (self.calls() > 0).then(|| self.succeeded as f64 / self.calls() as f64)
    }

    /// The share that failed, `(failed + 1) / (calls + 20)`: a few lucky calls are no proof.
    pub(crate) fn faults(self) -> f32 {
        // Signed, because that is one instruction.
        (self.failed + 1) as i64 as f32 / (self.calls() + 20) as i64 as f32
    }
}

const fn epoch(now: Tick) -> u64 {
    now.as_nanos() / BUCKET.as_nanos() as u64
}

const fn place(epoch: u64) -> usize {
    (epoch % BUCKETS as u64) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_counts_the_last_twelve_buckets(calls in proptest::collection::vec((0u64..5000, any::<bool>()), 1..200)) {
            let mut hour = Hour::new();
            let mut now = Tick::ZERO.after(Duration::from_secs(3600));
            let mut log = Vec::new();
            for (pause, failed) in calls {
                now = now.after(Duration::from_secs(pause));
                hour.record(failed, now);
                log.push((epoch(now), failed));
                let of = |which: bool, last: u64| {
                    log.iter().filter(|(at, failed)| *at + 12 > last && *failed == which).count() as u64
                };
                let counts = |last: u64| Counts { succeeded: of(false, last), failed: of(true, last) };
                prop_assert_eq!(hour.latest(), counts(epoch(now)));
                let later = now.after(Duration::from_secs(1234));
                prop_assert_eq!(hour.counts(later), counts(epoch(later)));
            }
            prop_assert_eq!(hour.counts(now.after(Duration::from_secs(3600))), Counts::default());
        }
    }

    #[test]
    fn a_clock_read_late_counts_all_the_same() {
        let mut hour = Hour::new();
        let now = Tick::ZERO.after(BUCKET * 20);
        hour.record(false, now);
        hour.record(true, now.before(BUCKET * 3));
        assert_eq!(hour.counts(now), Counts { succeeded: 1, failed: 1 });
    }
}
