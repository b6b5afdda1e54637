//! The last latencies of a target, and their quantiles.

use std::time::Duration;

use llm_core::sync::{AtomicU32, Ordering};

/// A ring of the last 128 latencies in microseconds, the longest 71 minutes. One writes at a time, which its
/// [`Window`] sees to; anyone reads.
#[derive(Debug)]
pub(crate) struct Latencies([AtomicU32; LENGTH]);

/// What the writer of a ring keeps of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    next: u32,
    samples: u32,
    /// Samples over the limit.
    over: u32,
    limit: u32,
}

/// The quantiles that people look at, by nearest rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Quantiles {
    pub(crate) p50: Duration,
    pub(crate) p95: Duration,
    pub(crate) p99: Duration,
}

/// Samples kept. Models explore every order of every slot, so theirs are few.
const LENGTH: usize = if cfg!(llm_loom) { 2 } else { 128 };

/// A slot without a sample.
const EMPTY: u32 = u32::MAX;

impl Window {
    /// The window of an empty ring that counts samples over `limit`; without one, none are.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self { next: 0, samples: 0, over: 0, limit: limit.map_or(EMPTY, micros) }
    }

    /// Takes a latency of so many nanoseconds in.
    pub(crate) fn push(&mut self, ring: &Latencies, nanos: u64) {
        let place = self.next as usize % LENGTH;
        self.next = self.next.wrapping_add(1);
        self.put(ring, place, sample(nanos / 1000));
    }

    pub(crate) fn clear(&mut self, ring: &Latencies) {
        (0..LENGTH).for_each(|place| self.put(ring, place, EMPTY));
    }

    fn put(&mut self, ring: &Latencies, place: usize, sample: u32) {
        // Relaxed, here and below: samples are independent, and only the window's owner writes.
        let slot = &ring.0[place];
        let old = slot.load(Ordering::Relaxed);
        slot.store(sample, Ordering::Relaxed);
        if old == EMPTY || sample == EMPTY {
            self.samples = self.samples + u32::from(sample != EMPTY) - u32::from(old != EMPTY);
        }
        if self.limit != EMPTY {
            self.over = self.over + u32::from(self.is_over(sample)) - u32::from(self.is_over(old));
        }
    }

    const fn is_over(&self, sample: u32) -> bool {
        sample != EMPTY && sample > self.limit
    }

    /// Whether the 95th percentile is within the limit; without a sample, it is.
    pub(crate) const fn meets_limit(&self) -> bool {
        self.over == 0 || meets(self.samples, self.over)
    }
}

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| AtomicU32::new(EMPTY)))
    }

    pub(crate) fn copy(&self) -> Self {
        Self(std::array::from_fn(|place| AtomicU32::new(self.0[place].load(Ordering::Relaxed))))
    }

    /// Whether the 95th percentile is within `limit`; without a sample, it is.
    pub(crate) fn meet(&self, limit: Duration) -> bool {
        let limit = micros(limit);
        let (mut samples, mut over) = (0, 0);
        for slot in &self.0 {
            let sample = slot.load(Ordering::Relaxed);
            samples += u32::from(sample != EMPTY);
            over += u32::from(sample != EMPTY && sample > limit);
        }
        meets(samples, over)
    }

    /// The quantiles; none without a sample.
    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let mut sorted = [EMPTY; LENGTH];
        for (place, slot) in sorted.iter_mut().zip(&self.0) {
            *place = slot.load(Ordering::Relaxed);
        }
        sorted.sort_unstable();
        let samples = sorted.partition_point(|sample| *sample != EMPTY) as u32;
        let at = |percent| Duration::from_micros(u64::from(sorted[rank(samples, percent) as usize - 1]));
        (samples > 0).then(|| Quantiles { p50: at(50), p95: at(95), p99: at(99) })
    }
}

/// The 95th percentile is the ⌈0.95·n⌉th smallest: it is within the limit while no more than the rest are over.
const fn meets(samples: u32, over: u32) -> bool {
    over <= samples - rank(samples, 95)
}

/// `⌈percent/100 · samples⌉`.
const fn rank(samples: u32, percent: u32) -> u32 {
    (samples * percent).div_ceil(100)
}

fn micros(limit: Duration) -> u32 {
    sample(u64::try_from(limit.as_micros()).unwrap_or(u64::MAX))
}

fn sample(micros: u64) -> u32 {
    micros.min(u64::from(EMPTY) - 1) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_agrees_with_a_sorted_list(
            pushes in proptest::collection::vec(proptest::option::weighted(0.99, 0u64..2_000), 0..400), limit in 0u64..2_000,
        ) {
            let (ring, limit) = (Latencies::new(), Duration::from_micros(limit));
            let mut window = Window::new(Some(limit));
            let mut model: Vec<u64> = Vec::new();
            for push in pushes {
                match push {
                    Some(micros) => {
                        window.push(&ring, micros * 1000);
                        model.push(micros);
                    }
                    None => {
                        window.clear(&ring);
                        model.clear();
                    }
                }
            }
            // After a clear the window stands anywhere, and the 129th sample still replaces the first.
            let mut last: Vec<u64> = model.iter().rev().take(128).copied().collect();
            last.sort_unstable();
            let at = |percent: usize| {
                let nearest = (percent as f64 / 100.0 * last.len() as f64).ceil() as usize;
                last.get(nearest.wrapping_sub(1)).map(|micros| Duration::from_micros(*micros))
            };
            let expected = at(50).map(|p50| Quantiles { p50, p95: at(95).unwrap(), p99: at(99).unwrap() });
            prop_assert_eq!(ring.quantiles(), expected);
            let within = at(95).is_none_or(|p95| p95 <= limit);
            prop_assert_eq!((window.meets_limit(), ring.meet(limit)), (within, within));
            prop_assert!(Window::new(None).meets_limit());
        }
    }
}
