//! A bucket whose quota may change while others take from it, and for which callers may wait in line.

use llm_core::Tick;
use llm_core::sync::{AtomicU64, Ordering, spin_loop};

use crate::bucket::{Bucket, Denied, Rivals, Spent, at, refundable, since, spend};
use crate::line;
use crate::quota::Quota;

/// A bucket and its quota.
///
/// What makes the bucket's lead shorter, or changes the quota, does so in the hands of the line: those who wait have
/// booked units, and are there the sooner for it.
pub(crate) struct LiveBucket {
    bucket: Bucket,
    /// A packed [`Quota`]; 0 while it is being changed.
    quota: AtomicU64,
}

impl LiveBucket {
    pub(crate) fn full(quota: Quota) -> Self {
        Self::of(Bucket::full(), quota)
    }

    fn of(bucket: Bucket, quota: Quota) -> Self {
        Self { bucket, quota: AtomicU64::new(quota.packed()) }
    }

    /// A bucket that lacks as many units as this one does at `now`, under another quota.
    pub(crate) fn converted(&self, to: Quota, now: Tick) -> Self {
        Self::of(self.bucket.converted(self.quota(), to, now), to)
    }

    pub(crate) fn quota(&self) -> Quota {
        loop {
            // Acquire: with the quota comes the bucket that was made to fit it.
            match self.quota.load(Ordering::Acquire) {
                0 => spin_loop(),
                packed => return Quota::unpacked(packed),
            }
        }
    }

    /// Takes `cost` units at `now`.
    #[inline]
    pub(crate) fn take(&self, cost: u32, now: Tick) -> Result<(), Denied> {
        self.take_within(cost, now, 0).map(drop)
    }

    /// As [`take`](Self::take), and books those that will be there within `patience`.
    #[inline]
    pub(crate) fn take_within(&self, cost: u32, now: Tick, patience: u64) -> Result<Spent, Denied> {
        let (mut seen, mut rivals) = (self.bucket.look(), Rivals::default());
        loop {
            // After looking: a bucket that has been requoted in between does not go with the old quota.
            let quota = self.quota();
            if quota.unit == 0 {
                return Ok(Spent { next: seen, wait: 0 });
            }
            let spent = spend(seen, quota, cost, now, patience)?;
            match self.bucket.swap(seen, spent.next) {
                Ok(()) => return Ok(spent),
                Err(actual) => seen = rivals.yield_to(actual),
            }
        }
    }

    /// Gives back at `now` the `cost` units taken at `taken`. What may have been refilled since is not given twice: the
    /// refund is `max(0, cost · T − (now − taken))`.
    pub(crate) fn give_back(&self, cost: u32, taken: Tick, now: Tick) {
        let passed = since(at(now), at(taken));
        line::with(self, |line| {
            let refund = self.refund(now, |quota| refundable(quota, cost.into(), 0, passed));
            line.forward(refund);
        });
    }

    /// Makes the lead shorter by what `span` says: by how much.
    pub(crate) fn refund(&self, now: Tick, span: impl Fn(Quota) -> u64) -> u64 {
        let mut seen = self.bucket.look();
        loop {
            // After looking, as in taking.
            let quota = self.quota();
            let span = span(quota);
            if span == 0 {
                return 0;
            }
            let lead = crate::bucket::lead(seen, at(now), quota.size());
            match self.bucket.swap(seen, at(now).wrapping_add(lead.saturating_sub(span))) {
                Ok(()) => return span,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Changes the quota for all who take. The bucket lacks as many units as before.
    pub(crate) fn requote(&self, to: Quota, now: Tick) {
        line::with(self, |line| {
            let from = loop {
                let from = self.quota();
                if from == to {
                    return;
                }
                // 0 keeps others out until bucket and quota fit again.
                let mine = self.quota.compare_exchange(from.packed(), 0, Ordering::Acquire, Ordering::Relaxed).is_ok();
                if mine {
                    break from;
                }
            };
            let booked = line.requote(from, to, now);
            self.bucket.requote(from, to, booked, now);
            line.rebook(self.bucket.look(), to);
            self.quota.store(to.packed(), Ordering::Release);
        });
    }

    /// Fills the bucket; those who wait have their units first.
    pub(crate) fn refill(&self, now: Tick) {
        line::with(self, |line| {
            let quota = self.quota();
            let [booked, _] = line.requote(quota, quota, now);
            let word = at(now).wrapping_add(booked.saturating_mul(quota.unit));
            self.bucket.refill(word);
            line.rebook(word, quota);
        });
    }

    /// Units that could be taken at `now`.
    pub(crate) fn available(&self, now: Tick) -> u32 {
        self.bucket.available(self.quota(), now)
    }

    /// From `now` until the bucket is full.
    pub(crate) fn full_in(&self, now: Tick) -> std::time::Duration {
        self.bucket.full_in(self.quota(), now)
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;
    use crate::config::TokenBucketConfig;

    const NOW: Tick = Tick::from_nanos(1_000_000_000);

    fn quota(rate: u32, burst: u32) -> Quota {
        Quota::try_new(TokenBucketConfig::new(rate, burst)).unwrap()
    }

    #[test]
    fn what_is_taken_while_the_limit_changes_is_missing_afterwards() {
        loom::model(|| {
            let bucket = Arc::new(LiveBucket::full(quota(1, 4)));
            let other = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.take(2, NOW).is_ok())
            };
            bucket.requote(quota(2, 8), NOW);
            assert!(other.join().unwrap());
            // Of the new bucket, two units are gone; the word was moved by a hair to be seen.
            assert!((5..=6).contains(&bucket.available(NOW)), "{}", bucket.available(NOW));
        });
    }

    #[test]
    fn what_is_given_back_while_the_limit_changes_is_worth_as_many_units() {
        loom::model(|| {
            let bucket = Arc::new(LiveBucket::full(quota(1, 4)));
            bucket.take(3, NOW).unwrap();
            let other = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.give_back(1, NOW, NOW))
            };
            // Units take a hundredth of the time.
            bucket.requote(quota(100, 4), NOW);
            other.join().unwrap();
            assert!((1..=2).contains(&bucket.available(NOW)), "{}", bucket.available(NOW));
        });
    }

    #[test]
    fn a_unit_given_back_while_another_is_taken_is_neither_lost_nor_doubled() {
        loom::model(|| {
            let bucket = Arc::new(LiveBucket::full(quota(1, 2)));
            bucket.take(1, NOW).unwrap();
            let giver = {
                let bucket = bucket.clone();
                loom::thread::spawn(move || bucket.give_back(1, NOW, NOW))
            };
            let taken = u32::from(bucket.take(1, NOW).is_ok());
            giver.join().unwrap();
            assert_eq!(bucket.available(NOW), 2 - taken);
        });
    }
}
