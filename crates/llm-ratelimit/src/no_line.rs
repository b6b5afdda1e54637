//! The lines of those who wait where nobody can: waiting takes the feature `tokio`.

use llm_core::Tick;

use crate::live::LiveBucket;
use crate::quota::Quota;

/// Nobody.
pub(crate) struct Line;

/// Runs `change` on the line for `bucket`.
pub(crate) fn with<T>(_: &LiveBucket, change: impl FnOnce(&mut Line) -> T) -> T {
    change(&mut Line)
}

impl Line {
    /// Moves all forward.
    pub(crate) const fn forward(&mut self, _: u64) {}

    /// The units that are booked.
    pub(crate) const fn requote(&mut self, _: Quota, _: Quota, _: Tick) -> [u64; 2] {
        [0; 2]
    }

    /// Gives all their places anew.
    pub(crate) const fn rebook(&mut self, _: u64, _: Quota) {}
}
