//! Time cut into slots of equal length, for rings of what happened in the last of them.

use std::time::Duration;

use crate::sync::{AtomicU64, Ordering::Relaxed};
use crate::time::Tick;

/// Slots of equal length, numbered from the clock's origin on.
///
/// The number of the slot that runs is remembered and only compared with the time: what is looked up by it need not
/// wait for the clock, and nothing is divided until the next slot begins.
#[derive(Debug)]
pub struct Slots {
    /// Nanoseconds, at least 2.
    length: u64,
    running: AtomicU64,
}

impl Slots {
    /// Slots of `length`, 2 ns at least and 584 years at most.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        let length = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX).max(2);
        Self { length, running: AtomicU64::new(0) }
    }

    /// The number of the slot that `now` is in.
    #[must_use]
    #[inline]
    pub fn number(&self, now: Tick) -> u64 {
        // Relaxed: it publishes nothing, and whether it is right is seen from the time.
        let running = self.running.load(Relaxed);
        let (now_nanos, begun) = (now.as_nanos(), running.wrapping_mul(self.length));
        if now_nanos >= begun && now_nanos - begun < self.length { running } else { self.turn(now) }
    }

    #[cold]
    #[inline(never)]
    fn turn(&self, now: Tick) -> u64 {
        let number = now.as_nanos() / self.length;
        self.running.fetch_max(number, Relaxed);
        number
    }
}

#[cfg(all(test, not(llm_loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn slots_have_a_length_whatever_is_asked_for() {
        assert_eq!(Slots::new(Duration::ZERO).number(Tick::from_nanos(7)), 3);
        assert_eq!(Slots::new(Duration::MAX).number(Tick::from_nanos(u64::MAX - 1)), 0);
        assert_eq!(Slots::new(Duration::MAX).number(Tick::MAX), 1);
    }

    proptest! {
        #[test]
        fn a_number_is_the_quotient(length in prop_oneof![2..1_000_000_000_000u64, 2..u64::MAX], now: u64, at: u64) {
            let slots = Slots::new(Duration::from_nanos(length));
            let turn = (at / length).saturating_mul(length);
            for now in [now, turn, turn.saturating_sub(1), turn.saturating_add(1)] {
                prop_assert_eq!(slots.number(Tick::from_nanos(now)), now / length);
            }
        }
    }
}
