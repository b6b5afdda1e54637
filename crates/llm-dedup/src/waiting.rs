//! Those who wait for one thing, by their wakers.

use std::task::Waker;

/// Wakers of tasks that wait. All are woken at once; who still waits then registers again.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// The one who waits alone takes no memory.
    first: Option<Waker>,
    more: Vec<Option<Waker>>,
    /// Wakers in `more`.
    asleep: usize,
    /// Seats there are.
    seats: usize,
    /// The places of those that were given back.
    vacant: Vec<u32>,
}

/// A place among those who wait, and a flag of its owner's, who alone knows it. Smaller than a word on purpose: who holds
/// it beside a pointer is handed over in two registers, or read as it was written.
#[derive(Debug, Default)]
pub(crate) struct Seat(u32);

impl Seat {
    const FLAG: u32 = 1 << 31;

    /// No place yet, and the flag up.
    pub(crate) const fn flagged() -> Self {
        Self(Self::FLAG)
    }

    pub(crate) const fn is_flagged(&self) -> bool {
        self.0 & Self::FLAG != 0
    }

    /// Whether its owner has registered.
    pub(crate) const fn is_taken(&self) -> bool {
        self.0 & !Self::FLAG != 0
    }

    pub(crate) const fn lower_flag(&mut self) {
        self.0 &= !Self::FLAG;
    }

    fn place(&self) -> Option<usize> {
        (self.0 & !Self::FLAG).checked_sub(1).map(|place| place as usize)
    }

    const fn set(&mut self, place: Option<u32>) {
        let place = match place {
            Some(place) => place + 1,
            None => 0,
        };
        self.0 = self.0 & Self::FLAG | place;
    }
}

impl Waiting {
    /// Sees to it that `waker` is woken next time. What comes back is to be dropped when no lock is held.
    pub(crate) fn register(&mut self, seat: &mut Seat, waker: &Waker) -> Option<Waker> {
        let place = seat.place().unwrap_or_else(|| {
            let place = self.vacant();
            seat.set(Some(place));
            place as usize
        });
        let known = self.place(place);
        if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            return None;
        }
        let replaced = known.replace(waker.clone());
        self.asleep += usize::from(place > 0 && replaced.is_none());
        replaced
    }

    /// Gives the seat back. What comes back is to be dropped when no lock is held.
    pub(crate) fn leave(&mut self, seat: &mut Seat) -> Option<Waker> {
        let waker = self.silence(seat);
        if let Some(place) = seat.place() {
            seat.set(None);
            if place + 1 == self.seats {
                self.seats = place;
                self.more.pop();
            } else {
                self.vacant.push(place as u32);
            }
        }
        waker
    }

    /// Has its owner not woken next time. What comes back is to be dropped when no lock is held.
    pub(crate) fn silence(&mut self, seat: &Seat) -> Option<Waker> {
        let place = seat.place()?;
        let waker = self.place(place).take();
        self.asleep -= usize::from(place > 0 && waker.is_some());
        waker
    }

    /// All of them, who keep their seats. Nothing is allocated for one.
    pub(crate) fn take(&mut self) -> Wakers {
        let more = if std::mem::take(&mut self.asleep) == 0 {
            Vec::new()
        } else {
            let seats = self.more.iter().map(|_| None).collect();
            std::mem::replace(&mut self.more, seats)
        };
        Wakers { first: self.first.take(), more }
    }

    fn place(&mut self, place: usize) -> &mut Option<Waker> {
        if place == 0 { &mut self.first } else { &mut self.more[place - 1] }
    }

    fn vacant(&mut self) -> u32 {
        self.vacant.pop().unwrap_or_else(|| {
            if self.seats > 0 {
                self.more.push(None);
            }
            self.seats += 1;
            self.seats as u32 - 1
        })
    }
}

/// Wakers that were taken, to be woken when no lock is held.
#[derive(Debug)]
#[must_use]
pub(crate) struct Wakers {
    first: Option<Waker>,
    more: Vec<Option<Waker>>,
}

impl Wakers {
    pub(crate) fn wake(self) {
        self.first.into_iter().chain(self.more.into_iter().flatten()).for_each(Waker::wake);
    }
}

#[cfg(test)]
#[cfg(not(llm_loom))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::task::Wake;

    use proptest::prelude::*;

    use super::*;

    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, SeqCst);
        }
    }

    proptest! {
        /// Whoever has registered since the last time is woken once, and nobody else.
        #[test]
        fn all_who_wait_are_woken_once(steps in proptest::collection::vec((0usize..8, 0u8..8), 1..200)) {
            let mut waiting = Waiting::default();
            let counts: Vec<_> = (0..8).map(|_| Arc::new(Count(AtomicUsize::new(0)))).collect();
            let mut seats: Vec<Seat> = (0..8).map(|_| Seat::default()).collect();
            let mut expected = [(0usize, false); 8];
            for (who, what) in steps {
                match what {
                    0 => {
                        waiting.take().wake();
                        for (times, waits) in &mut expected {
                            *times += usize::from(std::mem::take(waits));
                        }
                    }
                    1 => {
                        drop(waiting.leave(&mut seats[who]));
                        expected[who].1 = false;
                    }
                    2 => {
                        drop(waiting.silence(&seats[who]));
                        expected[who].1 = false;
                    }
                    _ => {
                        drop(waiting.register(&mut seats[who], &Waker::from(counts[who].clone())));
                        expected[who].1 = true;
                    }
                }
                for (count, (times, _)) in counts.iter().zip(expected) {
                    prop_assert_eq!(count.0.load(SeqCst), times);
                }
                prop_assert!(waiting.more.len() < 8, "seats are taken again");
            }
        }
    }
}
