//! Those who wait for one thing, by their wakers.

use std::task::Waker;

/// Wakers of tasks that wait. All are woken at once; who still waits then registers again.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// Counts how often all were taken: a seat of an earlier round is nobody's.
    round: u64,
    /// The one who waits alone takes no memory.
    first: Option<Waker>,
    more: Vec<Option<Waker>>,
    /// Seats in `more` that were given back.
    vacant: usize,
}

/// A place among those who wait. Its owner alone knows it.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    /// 0 is before every round.
    round: u64,
    at: usize,
}

impl Seat {
    /// Whether its owner has registered, in whatever round.
    pub(crate) const fn is_taken(&self) -> bool {
        self.round != 0
    }
}

impl Waiting {
    pub(crate) const fn new() -> Self {
        Self { round: 1, first: None, more: Vec::new(), vacant: 0 }
    }

    /// Sees to it that `waker` is woken next time. What comes back is to be dropped when no lock is held.
    pub(crate) fn register(&mut self, seat: &mut Seat, waker: &Waker) -> Option<Waker> {
        if seat.round == self.round {
            let known = self.place(seat.at);
            if known.as_ref().is_some_and(|known| known.will_wake(waker)) {
                return None;
            }
            return known.replace(waker.clone());
        }
        seat.round = self.round;
        let waker = Some(waker.clone());
        if self.first.is_none() {
            (self.first, seat.at) = (waker, 0);
        } else if let Some(vacant) = self.vacant() {
            (self.more[vacant], seat.at) = (waker, vacant + 1);
        } else {
            self.more.push(waker);
            seat.at = self.more.len();
        }
        None
    }

    /// Gives the seat back. What comes back is to be dropped when no lock is held.
    pub(crate) fn leave(&mut self, seat: &mut Seat) -> Option<Waker> {
        if std::mem::take(&mut seat.round) != self.round {
            return None;
        }
        self.vacant += usize::from(seat.at > 0);
        self.place(seat.at).take()
    }

    /// All of them. Nothing is allocated for one.
    pub(crate) fn take(&mut self) -> Wakers {
        self.round += 1;
        self.vacant = 0;
        // As many will come back.
        let room = Vec::with_capacity(self.more.len());
        Wakers { first: self.first.take(), more: std::mem::replace(&mut self.more, room) }
    }

    fn place(&mut self, at: usize) -> &mut Option<Waker> {
        if at == 0 { &mut self.first } else { &mut self.more[at - 1] }
    }

    fn vacant(&mut self) -> Option<usize> {
        if self.vacant == 0 {
            return None;
        }
        self.vacant -= 1;
        self.more.iter().position(Option::is_none)
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
            let mut waiting = Waiting::new();
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
                    1 | 2 => {
                        drop(waiting.leave(&mut seats[who]));
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
