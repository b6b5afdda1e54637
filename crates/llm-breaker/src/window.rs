//! Results of the last while, in slots that each fit one word.

use std::time::Duration;

use llm_core::sync::{AtomicU64, Ordering::AcqRel, Ordering::Relaxed};
use llm_core::{Slots, Tick};

const SLOTS: usize = 6;

/// A slot this many slots ahead of a record has been taken over by later ones: the record is late. Further
/// ahead it is the remainder of an earlier round of the 16-bit epoch.
const LATE: u16 = 64;

/// A sliding window in six slots: it covers the running slot and the five before.
pub(crate) struct Window {
    ring: [AtomicU64; SLOTS],
    slots: Slots,
    /// The number of the slot of the last failure, and 1 on top; 0 without one.
    last_bad: AtomicU64,
}

/// What a window holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) bad: u32,
    pub(crate) total: u32,
}

impl Window {
    pub(crate) fn new(span: Duration) -> Self {
        let ring = std::array::from_fn(|_| AtomicU64::new(0));
        Self { ring, slots: Slots::new(span / SLOTS as u32), last_bad: AtomicU64::new(0) }
    }

    /// Counts a result at `now` and says what the window then holds; nothing where no failure is in it.
    #[inline]
    pub(crate) fn count(&self, bad: bool, now: Tick) -> Tally {
        let number = self.slots.number(now);
        if bad {
            self.last_bad.fetch_max(number + 1, Relaxed);
        }
        let word = &self.ring[(number % SLOTS as u64) as usize];
        if Slot(word.load(Relaxed)).runs(number as u16) {
            // A slot publishes the failure's number: who counts after a failure is to see that there was one. A slot
            // that has been taken over since the look counts the result as one of its own.
            word.fetch_add(Slot::one(bad), AcqRel);
        } else {
            begin(word, number as u16, bad);
        }
        if !bad && number.saturating_sub(self.last_bad.load(Relaxed)) >= SLOTS as u64 - 1 {
            return Tally::default();
        }
        self.tally(number)
    }

    #[cold]
    fn tally(&self, number: u64) -> Tally {
        let mut tally = Tally::default();
        for number in number.saturating_sub(SLOTS as u64 - 1)..=number {
            let slot = Slot(self.ring[(number % SLOTS as u64) as usize].load(Relaxed));
            if slot.epoch() == number as u16 {
                tally.bad += slot.bad();
                tally.total += slot.total();
            }
        }
        tally
    }

    /// Empties it. A result counted meanwhile may stay.
    pub(crate) fn clear(&self) {
        for slot in &self.ring {
            // The epoch stays: who has looked and not yet added would else begin an epoch of its own.
            slot.fetch_and(Slot::new(u16::MAX, 0, 0).0, Relaxed);
        }
        self.last_bad.store(0, Relaxed);
    }
}

/// Counts in a slot that does not run yet, or is full.
#[cold]
fn begin(word: &AtomicU64, epoch: u16, bad: bool) {
    let mut seen = word.load(Relaxed);
    while let Some(next) = Slot(seen).counted(epoch, bad) {
        match word.compare_exchange_weak(seen, next.0, AcqRel, Relaxed) {
            Ok(_) => break,
            Err(actual) => seen = actual,
        }
    }
}

/// The word: `epoch:16 | total:24 | bad:24`. To start a slot afresh and to count in it is one exchange.
///
/// The epoch is the low half of the slot's number. A slot that nothing has touched for 3 · 2^16 slots, eleven
/// days at the default window, would pass for a live one.
#[derive(Clone, Copy)]
struct Slot(u64);

/// What fits a count.
const BITS: u32 = (1 << 24) - 1;
/// Results at which a slot is full: as many threads as are left may add one each without looking again.
const MOST: u32 = BITS - (1 << 16);

impl Slot {
    const fn new(epoch: u16, total: u32, bad: u32) -> Self {
        Self((epoch as u64) << 48 | (total as u64) << 24 | bad as u64)
    }

    /// What one result adds.
    const fn one(bad: bool) -> u64 {
        1 << 24 | bad as u64
    }

    /// Whether results of `epoch` only need to be added.
    const fn runs(self, epoch: u16) -> bool {
        self.epoch() == epoch && self.total() < MOST
    }

    const fn epoch(self) -> u16 {
        (self.0 >> 48) as u16
    }

    const fn total(self) -> u32 {
        (self.0 >> 24) as u32 & BITS
    }

    const fn bad(self) -> u32 {
        self.0 as u32 & BITS
    }

    /// With one more result, unless that is late or the slot is full; a full slot keeps its share.
    fn counted(self, epoch: u16, bad: bool) -> Option<Self> {
        if self.epoch() != epoch {
            let late = self.epoch().wrapping_sub(epoch) <= LATE && self.total() > 0;
            return (!late).then_some(Self::new(epoch, 1, u32::from(bad)));
        }
        (self.total() < MOST).then_some(Self::new(epoch, self.total() + 1, self.bad() + u32::from(bad)))
    }
}

#[cfg(all(test, not(llm_loom)))]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(6);

    fn at(secs: u64) -> Tick {
        Tick::ZERO.after(Duration::from_secs(secs))
    }

    #[test]
    fn a_window_forgets_slot_by_slot() {
        let window = Window::new(SPAN);
        for second in 100..106 {
            window.count(second < 102, at(second));
        }
        assert_eq!(window.count(false, at(106)), Tally { bad: 1, total: 6 });
        // Without a failure nobody asks how many calls there were.
        assert_eq!(window.count(false, at(107)), Tally::default());
        assert_eq!(window.tally(107), Tally { bad: 0, total: 6 });
        assert_eq!(window.count(true, at(500)), Tally { bad: 1, total: 1 });
    }

    #[test]
    fn a_late_result_does_not_empty_the_slot_that_followed() {
        let window = Window::new(SPAN);
        window.count(true, at(106));
        window.count(true, at(100));
        assert_eq!(window.tally(106), Tally { bad: 1, total: 1 });
    }

    #[test]
    fn a_slot_of_long_ago_is_taken_over_whatever_its_epoch() {
        for idle in [32_767u64, 32_768, 40_000, 60_000, 65_536, 70_000] {
            let (window, start) = (Window::new(SPAN), 600);
            window.count(true, at(start));
            let later = start + idle * SLOTS as u64;
            assert_eq!(window.count(false, at(later)).bad, 0, "{idle}");
        }
    }

    #[test]
    fn a_full_slot_keeps_its_share() {
        let full = Slot::new(7, MOST, 5);
        assert!(full.counted(7, true).is_none());
        assert_eq!(full.counted(13, true).map(|slot| (slot.total(), slot.bad())), Some((1, 1)));
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use llm_core::sync::Arc;

    use super::*;

    #[test]
    fn two_results_at_the_turn_of_a_slot_both_count_and_the_old_ones_go_once() {
        const SLOT: u64 = 1_000_000_000;
        loom::model(|| {
            let window = Arc::new(Window::new(Duration::from_secs(6)));
            window.count(true, Tick::from_nanos(SLOT));
            let now = Tick::from_nanos(7 * SLOT);
            let other = {
                let window = window.clone();
                loom::thread::spawn(move || window.count(true, now))
            };
            let mine = window.count(false, now);
            let theirs = other.join().unwrap();
            assert_eq!(window.tally(7), Tally { bad: 1, total: 2 });
            assert!(mine.total == 2 || theirs.total == 2, "the second to count sees both");
        });
    }
}
