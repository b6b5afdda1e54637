//! The last latencies of a target, and their quantiles.

use std::time::Duration;

use llm_core::sync::{AtomicU32, AtomicU64, Ordering};

/// A ring of the last 128 latencies in microseconds, the longest 71 minutes, and how many of them miss the limit.
#[derive(Debug)]
pub(crate) struct Latencies {
    slots: [AtomicU32; LENGTH],
    cursor: AtomicU32,
    /// `(samples, samples over the limit)`, each the sum of what the swaps of slots have changed. Between a swap
    /// and its sum the word may be one off.
    tally: AtomicU64,
    limit: u32,
}

/// Samples kept. Models explore every order of every slot, so theirs are few.
const LENGTH: usize = if cfg!(llm_loom) { 2 } else { 128 };

/// A slot without a sample.
const EMPTY: u32 = u32::MAX;

impl Latencies {
    /// An empty ring that counts samples over `limit`; without one, none are.
    pub(crate) fn new(limit: Option<Duration>) -> Self {
        Self {
            slots: std::array::from_fn(|_| AtomicU32::new(EMPTY)),
            cursor: AtomicU32::new(0),
            tally: AtomicU64::new(0),
            limit: limit.map_or(EMPTY, micros),
        }
    }

    pub(crate) fn push(&self, latency: Duration) {
        // Relaxed, everywhere: samples are independent, the swap tells each which one it replaced.
        let slot = self.cursor.fetch_add(1, Ordering::Relaxed) as usize % LENGTH;
        self.put(slot, micros(latency));
    }

    pub(crate) fn clear(&self) {
        (0..LENGTH).for_each(|slot| self.put(slot, EMPTY));
    }

    fn put(&self, slot: usize, sample: u32) {
        let old = self.slots[slot].swap(sample, Ordering::Relaxed);
        let weight = |sample: u32| match sample {
            EMPTY => 0,
            _ => 1 << 32 | u64::from(sample > self.limit),
        };
        self.tally.fetch_add(weight(sample).wrapping_sub(weight(old)), Ordering::Relaxed);
    }

    /// Whether the 95th percentile is within the limit; without a sample, it is.
    pub(crate) fn meets_limit(&self) -> bool {
        let tally = self.tally.load(Ordering::Relaxed);
        let (samples, over) = ((tally >> 32) as usize, tally as u32 as usize);
        // The 95th percentile is the ⌈0.95·n⌉th smallest: it is within the limit while no more than the rest are over.
        over <= samples - rank(samples, 95)
    }

    /// The 50th and the 95th percentile, by nearest rank.
    pub(crate) fn quantiles(&self) -> Option<(Duration, Duration)> {
        let mut sorted = [EMPTY; LENGTH];
        for (place, slot) in sorted.iter_mut().zip(&self.slots) {
            *place = slot.load(Ordering::Relaxed);
        }
        sorted.sort_unstable();
        let samples = sorted.partition_point(|sample| *sample != EMPTY);
        let at = |percent| Duration::from_micros(u64::from(sorted[rank(samples, percent) - 1]));
        (samples > 0).then(|| (at(50), at(95)))
    }
}

/// `⌈percent/100 · samples⌉`.
const fn rank(samples: usize, percent: usize) -> usize {
    (samples * percent).div_ceil(100)
}

fn micros(latency: Duration) -> u32 {
    u32::try_from(latency.as_micros()).unwrap_or(EMPTY).min(EMPTY - 1)
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
            let ring = Latencies::new(Some(Duration::from_micros(limit)));
            let mut model: Vec<u64> = Vec::new();
            for push in pushes {
                match push {
                    Some(micros) => {
                        ring.push(Duration::from_micros(micros));
                        model.push(micros);
                    }
                    None => {
                        ring.clear();
                        model.clear();
                    }
                }
            }
            // After a clear the cursor stands anywhere, and the 129th sample still replaces the first.
            let mut last: Vec<u64> = model.iter().rev().take(128).copied().collect();
            last.sort_unstable();
            let at = |percent: usize| {
                let nearest = (percent as f64 / 100.0 * last.len() as f64).ceil() as usize;
                last.get(nearest.wrapping_sub(1)).map(|micros| Duration::from_micros(*micros))
            };
            prop_assert_eq!(ring.quantiles(), at(50).zip(at(95)));
            let within = at(95).is_none_or(|p95| p95 <= Duration::from_micros(limit));
            prop_assert_eq!(ring.meets_limit(), within);
        }
    }
}
