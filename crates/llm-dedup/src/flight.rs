//! One call and those who wait for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use llm_core::BoxFuture;
use llm_core::sync::{AtomicU64, Mutex, Ordering};

use crate::flights::Index;
use crate::key::RequestKey;
use crate::turn::{Begin, Turn};
use crate::waiting::{Seat, Waiting};

/// The call panicked: there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call that was to answer broke down")]
pub struct Lost;

/// A call in flight.
///
/// Whoever is polled takes the call on in [turn](Turn). Its waker wakes all who have registered, and who registers later
/// looks again before waiting: no wake-up is lost, and nobody's leaving takes one along.
pub(crate) struct Flight<T: Clone + Send + Sync + 'static> {
    /// How many subscribe, how many of them are [owed](OWED) the start, and [`BEGUN`] and [`OVER`].
    word: AtomicU64,
    /// For how long its answer is to be kept, in nanoseconds; 0 is not at all.
    keep: AtomicU64,
    key: RequestKey,
    call: Turn<BoxFuture<'static, T>>,
    state: Mutex<State<T>>,
    /// Where it is found.
    index: Arc<Index<T>>,
}

struct State<T> {
    outcome: Option<Result<T, Lost>>,
    /// Keeps the start of an outcome that goes on, for those who are owed it.
    start: Option<Box<dyn Send>>,
    waiting: Waiting,
}

/// The outcome is there.
const BEGUN: u64 = 1 << 63;
/// Nobody may join any more.
const OVER: u64 = 1 << 62;
/// One who has not said yet that it needs the start of the outcome no longer; above the subscribers.
const OWED: u64 = 1 << 31;
const ALL_OWED: u64 = OVER - OWED;
const SUBSCRIBERS: u64 = OWED - 1;

/// Most subscribers that a flight can count.
pub(crate) const MOST_SUBSCRIBERS: u32 = SUBSCRIBERS as u32;

/// What became of an attempt to poll the call.
enum Drive<T> {
    Ended(Result<T, Lost>),
    /// It is not due, or somebody else is at it.
    NotMine,
    /// It has not ended; meanwhile others may have found it busy.
    Waits,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    /// A flight with its first subscriber.
    pub(crate) fn new(key: RequestKey, call: BoxFuture<'static, T>, index: Arc<Index<T>>) -> Self {
        Self {
            word: AtomicU64::new(1 + OWED),
            keep: AtomicU64::new(0),
            key,
            call: Turn::new(Some(call)),
            state: Mutex::new(State { outcome: None, start: None, waiting: Waiting::default() }),
            index,
        }
    }

    pub(crate) const fn key(&self) -> &RequestKey {
        &self.key
    }

    /// How many subscribe.
    pub(crate) fn subscribers(&self) -> u64 {
        // Relaxed: a count for people.
        self.word.load(Ordering::Relaxed) & SUBSCRIBERS
    }

    /// Whether there is one more subscriber: not when it is over, when the last has left, or when there are `most`.
    pub(crate) fn join(&self, most: u64) -> bool {
        // Relaxed: the exchange below decides.
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let subscribers = seen & SUBSCRIBERS;
            if seen & OVER != 0 || subscribers == 0 || subscribers >= most {
                return false;
            }
            if seen & BEGUN != 0 && !self.is_open() {
                return false;
            }
            // Relaxed: what a subscriber reads is behind a lock.
            match self.word.compare_exchange_weak(seen, seen + 1 + OWED, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(actual) => seen = actual,
            }
        }
    }

    /// Whether a newcomer would still get all of the outcome that is there.
    #[inline(never)]
    fn is_open(&self) -> bool {
        let state = self.state.lock();
        let outcome = state.outcome.as_ref().and_then(|outcome| outcome.as_ref().ok());
        outcome.is_some_and(|value| self.index.is_open(value))
    }

    /// A subscriber needs the start of the outcome no longer.
    pub(crate) fn release_start(&self) {
        // AcqRel: who had it kept until now has read on before it goes.
        if self.word.fetch_sub(OWED, Ordering::AcqRel) & ALL_OWED == OWED {
            self.let_go_of_start();
        }
    }

    fn let_go_of_start(&self) {
        let start = self.state.lock().start.take();
        drop(start);
    }

    /// One subscriber less, whose flagged seat says that it is still owed the start. The last cancels the call.
    #[inline(always)]
    pub(crate) fn leave(&self, seat: Seat) {
        let owed = seat.is_flagged();
        if seat.is_taken() {
            self.give_back(seat);
        }
        // AcqRel: what subscribers did with the call comes before its end.
        let before = self.word.fetch_sub(if owed { 1 + OWED } else { 1 }, Ordering::AcqRel);
        if before & SUBSCRIBERS == 1 {
            self.cancel(before);
        } else if owed && before & ALL_OWED == OWED {
            self.let_go_of_start();
        }
    }

    #[inline(never)]
    fn give_back(&self, mut seat: Seat) {
        let waker = self.state.lock().waiting.leave(&mut seat);
        drop(waker);
    }

    /// The last has left, who found the word so.
    #[inline(never)]
    fn cancel(&self, before: u64) {
        if before & OVER == 0 {
            self.index.remove(self);
        }
        drop(self.call.end());
        // An outcome that goes on, such as a stream, may hold a socket that still knows the flight as its waker: each
        // would keep the other.
        let ended = {
            let mut state = self.state.lock();
            (state.outcome.take(), state.start.take())
        };
        drop(ended);
    }

    /// Ends joining. Whoever is there stays.
    pub(crate) fn close(&self) {
        // Release: who finds it over finds what it has left behind.
        let before = self.word.fetch_or(OVER, Ordering::AcqRel);
        // Exactly one removes it: the last to leave, or who closes it before.
        if before & OVER == 0 && before & SUBSCRIBERS > 0 {
            self.index.remove(self);
        }
    }

    /// Has the answer kept for at least so long, if it is one to keep.
    pub(crate) fn keep_for(&self, ttl: Duration) {
        let nanos = u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX);
        // Relaxed: an answer that is being given may miss it.
        self.keep.fetch_max(nanos, Ordering::Relaxed);
    }

    /// For how long the answer is to be kept.
    pub(crate) fn kept_for(&self) -> Duration {
        Duration::from_nanos(self.keep.load(Ordering::Relaxed))
    }

    /// Waits on behalf of the owner of `seat`, driving the call if nobody else is at it.
    pub(crate) fn poll(self: &Arc<Self>, seat: &mut Seat, cx: &mut Context<'_>) -> Poll<Result<T, Lost>> {
        // Acquire: with the flag comes the outcome.
        if self.word.load(Ordering::Acquire) & BEGUN == 0
            && let Drive::Ended(outcome) = self.drive()
        {
            return Poll::Ready(outcome);
        }
        let replaced = {
            let mut state = self.state.lock();
            if let Some(outcome) = &state.outcome {
                let outcome = outcome.clone();
                let waker = state.waiting.leave(seat);
                drop(state);
                drop(waker);
                return Poll::Ready(outcome);
            }
            state.waiting.register(seat, cx.waker())
        };
        drop(replaced);
        // It may have become due before the registration, which was then not among the woken.
        match self.drive() {
            Drive::Ended(outcome) => return Poll::Ready(outcome),
            Drive::Waits if self.call.is_due() => self.wake_all(),
            Drive::Waits | Drive::NotMine => {}
        }
        Poll::Pending
    }

    /// Polls the call, if it is due.
    fn drive(self: &Arc<Self>) -> Drive<T> {
        let mut call = match self.call.begin() {
            Begin::Mine(call) => call,
            Begin::Idle | Begin::Busy => return Drive::NotMine,
        };
        let Some(running) = call.polled() else { return Drive::Waits };
        let waker = Waker::from(self.clone());
        let polled =
            std::panic::catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut Context::from_waker(&waker))));
        let outcome = match polled {
            Ok(Poll::Pending) => return Drive::Waits,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(_panic) => Err(Lost),
        };
        // The call's own end comes after the outcome is known: nobody finds neither.
        let ended = call.take();
        self.finish(&outcome);
        drop(call);
        drop(ended);
        Drive::Ended(outcome)
    }

    fn wake_all(&self) {
        let wakers = self.state.lock().waiting.take();
        wakers.wake();
    }

    /// Has the outcome kept, told and, unless it can still be joined, taken off the index: in this order, so that
    /// nobody in between finds neither.
    fn finish(self: &Arc<Self>, outcome: &Result<T, Lost>) {
        let open = outcome.as_ref().is_ok_and(|value| self.index.begun(self, value));
        let start = outcome.as_ref().ok().and_then(|value| self.index.hold_start(value));
        let wakers = {
            let mut state = self.state.lock();
            state.outcome = Some(outcome.clone());
            state.start = start;
            state.waiting.take()
        };
        // Release: with the flag comes the outcome. Acquire: as where the last lets go of the start.
        if self.word.fetch_or(BEGUN, Ordering::AcqRel) & ALL_OWED == 0 {
            self.let_go_of_start();
        }
        if !open {
            self.close();
        }
        wakers.wake();
    }

    /// What was begun is whole: has it kept, and then ends joining.
    pub(crate) fn complete(&self) {
        let outcome = self.state.lock().outcome.clone();
        if let Some(Ok(value)) = outcome
            && self.index.keep(self, &value)
        {
            self.close();
        }
    }
}

/// The call's waker wakes every subscriber: the first to be polled takes the call on.
impl<T: Clone + Send + Sync + 'static> Wake for Flight<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.call.call();
        self.wake_all();
    }
}
