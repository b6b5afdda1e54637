//! A bucket of which units are given back after they were taken, in any order.
//!
//! Units refill in the order in which they were taken. What has been refilled of those that are given back depends on
//! what was given back before them, so that is kept as a sum, in the word's units. Where a taking's refilling begins
//! is noted together with the sum; what the sum has grown by since has brought it forward by no more.

use llm_core::Tick;
use llm_core::sync::{
    AtomicU64,
    Ordering::{Acquire, Release},
};

use crate::bucket::{Bucket, Denied, at, refundable, since};
use crate::quota::Quota;

/// A bucket, and what was given back to it.
pub(crate) struct Account {
    pub(crate) bucket: Bucket,
    returned: AtomicU64,
}

/// When the units that were taken begin to be refilled, and what had been given back by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Account {
    pub(crate) fn full() -> Self {
        Self::of(Bucket::full())
    }

    pub(crate) fn of(bucket: Bucket) -> Self {
        Self { bucket, returned: AtomicU64::new(0) }
    }

    /// Takes `cost` units at `now`.
    #[inline]
    pub(crate) fn take(&self, quota: Quota, cost: u32, now: Tick) -> Result<Mark, Denied> {
        if quota.unit == 0 {
            return Ok(Mark::default());
        }
        // Acquire, and before the word is looked at: nothing is counted as given back that the word does not show.
        let returned = self.returned.load(Acquire);
        let begins = self.bucket.take(quota, cost, now)?;
        Ok(Mark(begins.wrapping_add(returned)))
    }

    /// Gives back `cost` units at `now` that were taken at `taken` and not marked, less what may have been refilled of
    /// them since. One at a time: the caller sees to it.
    pub(crate) fn undo(&self, quota: Quota, cost: u32, taken: Tick, now: Tick) {
        self.refund(quota, refundable(quota, cost.into(), 0, since(at(now), at(taken))), now);
    }

    /// Gives back at `now` what was not `kept` of the units `taken` at `mark`, less what has been refilled of them.
    /// One at a time: the caller sees to it.
    pub(crate) fn give_back(&self, quota: Quota, taken: u64, kept: u64, mark: Mark, now: Tick) {
        let refilled = since(at(now).wrapping_add(self.returned.load(Acquire)), mark.0);
        self.refund(quota, refundable(quota, taken, kept, refilled), now);
    }

    fn refund(&self, quota: Quota, refund: u64, now: Tick) {
        if refund > 0 {
            self.bucket.refund(quota, refund, now);
            // Release: who sees the sum sees the word that it belongs to.
            self.returned.fetch_add(refund, Release);
        }
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::TokenBucketConfig;

    /// One unit a second.
    fn account(burst: u32) -> (Account, Quota) {
        (Account::full(), Quota::try_new(TokenBucketConfig::new(1.0, burst)).unwrap())
    }

    fn tick(millis: u64) -> Tick {
        Tick::from_nanos(3_600_000_000_000 + millis * 1_000_000)
    }

    #[test]
    fn what_was_refilled_meanwhile_is_not_given_back_again() {
        let (account, quota) = account(1);
        let mark = account.take(quota, 1, tick(0)).unwrap();
        assert!(account.take(quota, 1, tick(2000)).is_ok());
        account.give_back(quota, 1, 0, mark, tick(2000));
        assert!(account.take(quota, 1, tick(2000)).is_err());
    }

    #[test]
    fn units_behind_others_are_given_back_whole() {
        let (account, quota) = account(2);
        account.take(quota, 1, tick(0)).unwrap();
        let behind = account.take(quota, 1, tick(0)).unwrap();
        // Half a second of refilling went to the first unit, none to the second.
        account.give_back(quota, 1, 0, behind, tick(500));
        assert_eq!(account.bucket.full_in(quota, tick(500)), Duration::from_millis(500));
    }

    #[test]
    fn units_behind_others_that_were_given_back_have_been_refilled_the_sooner() {
        let (account, quota) = account(2);
        let first = account.take(quota, 1, tick(0)).unwrap();
        let second = account.take(quota, 1, tick(0)).unwrap();
        account.give_back(quota, 1, 0, first, tick(0));
        assert!(account.take(quota, 1, tick(1000)).is_ok());
        account.give_back(quota, 1, 0, second, tick(1000));
        assert_eq!(account.bucket.available(quota, tick(1000)), 1, "the unit of the third is still missing");
    }

    #[test]
    fn a_unit_given_back_after_a_refill_leaves_the_bucket_full_and_usable() {
        let (account, quota) = account(2);
        let mark = account.take(quota, 1, tick(0)).unwrap();
        account.bucket.refill(at(tick(0)));
        account.give_back(quota, 1, 0, mark, tick(0));
        assert_eq!(account.bucket.available(quota, tick(0)), 2);
        assert!(account.take(quota, 2, tick(0)).is_ok());
        assert!(account.take(quota, 1, tick(0)).is_err());
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;
    use crate::config::TokenBucketConfig;

    const NOW: Tick = Tick::from_nanos(3_600_000_000_000);
    const LATER: Tick = Tick::from_nanos(3_601_000_000_000);

    fn setup(burst: u32) -> (Arc<Account>, Quota) {
        (Arc::new(Account::full()), Quota::try_new(TokenBucketConfig::new(1.0, burst)).unwrap())
    }

    #[test]
    fn a_unit_given_back_while_another_is_taken_is_neither_lost_nor_doubled() {
        loom::model(|| {
            let (account, quota) = setup(2);
            let mark = account.take(quota, 1, NOW).unwrap();
            let giver = {
                let account = account.clone();
                loom::thread::spawn(move || account.give_back(quota, 1, 0, mark, NOW))
            };
            let taken = u32::from(account.take(quota, 1, NOW).is_ok());
            giver.join().unwrap();
            assert_eq!(account.bucket.available(quota, NOW), 2 - taken);
        });
    }

    #[test]
    fn a_unit_taken_while_the_one_before_it_is_given_back_is_worth_no_more_later_than_it_is() {
        loom::model(|| {
            let (account, quota) = setup(2);
            let first = account.take(quota, 1, NOW).unwrap();
            let taker = {
                let account = account.clone();
                loom::thread::spawn(move || account.take(quota, 1, NOW).unwrap())
            };
            account.give_back(quota, 1, 0, first, NOW);
            let second = taker.join().unwrap();
            // By now the second has been refilled, since nothing was before it.
            account.take(quota, 1, LATER).unwrap();
            account.give_back(quota, 1, 0, second, LATER);
            assert_eq!(account.bucket.available(quota, LATER), 1);
        });
    }
}
