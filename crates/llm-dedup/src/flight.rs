//! One call and those who wait for it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use llm_core::BoxFuture;
use llm_core::sync::Mutex;

/// The call panicked: there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the call that was to answer broke down")]
pub struct Lost;

/// A call in flight. Subscribers register first and look for the outcome then, so no wake-up is lost: whoever
/// completes the call wakes all who had registered, and whoever registers later sees the outcome.
pub(crate) struct Flight<T> {
    /// Held while the call is polled. Empty once it has ended or was cancelled.
    call: Mutex<Option<BoxFuture<'static, T>>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    outcome: Option<Result<T, Lost>>,
    /// A place for each subscriber, with its waker while it waits.
    places: Vec<Place>,
    subscribers: usize,
}

enum Place {
    Free,
    Taken(Option<Waker>),
}

impl Place {
    const fn take_waker(&mut self) -> Option<Waker> {
        match self {
            Self::Taken(waker) => waker.take(),
            Self::Free => None,
        }
    }
}

impl<T: Clone + Send + 'static> Flight<T> {
    pub(crate) fn new(call: BoxFuture<'static, T>) -> Self {
        let state = State { outcome: None, places: Vec::new(), subscribers: 0 };
        Self { call: Mutex::new(Some(call)), state: Mutex::new(state) }
    }

    /// A place among the subscribers; none when the flight has ended with an outcome that is not `open` to others, or
    /// was cancelled.
    pub(crate) fn join(&self, first: bool, open: fn(&T) -> bool) -> Option<usize> {
        let mut state = self.state.lock();
        let over = state.outcome.as_ref().is_some_and(|outcome| !outcome.as_ref().is_ok_and(open));
        if over || (state.subscribers == 0 && !first) {
            return None;
        }
        state.subscribers += 1;
        let free = state.places.iter().position(|place| matches!(place, Place::Free));
        let place = free.unwrap_or_else(|| {
            state.places.push(Place::Free);
            state.places.len() - 1
        });
        state.places[place] = Place::Taken(None);
        Some(place)
    }

    /// Gives `place` back. Whether that was the last subscriber: then the call is cancelled.
    pub(crate) fn leave(&self, place: usize) -> bool {
        let (last, next, outcome) = {
            let mut state = self.state.lock();
            state.places[place] = Place::Free;
            state.subscribers -= 1;
            // The one who leaves may have been the only one whose turn it was: another takes over.
            let next = state.places.iter_mut().find_map(Place::take_waker);
            let last = state.subscribers == 0;
            // An outcome that goes on, such as a stream, may hold a socket that still knows the flight as its waker:
            // each would keep the other.
            let outcome = if last { state.outcome.take() } else { None };
            (last, next, outcome)
        };
        drop(outcome);
        if let Some(waker) = next {
            waker.wake();
        }
        if last {
            let call = self.call.lock().take();
            drop(call);
        }
        last
    }

    /// Waits on behalf of `place`, driving the call if nobody else is at it. The flag says that this poll ended
    /// the flight.
    pub(crate) fn poll(self: &Arc<Self>, place: usize, cx: &mut Context<'_>) -> Poll<(Result<T, Lost>, bool)>
    where
        T: Sync,
    {
        {
            let mut state = self.state.lock();
            if let Some(outcome) = &state.outcome {
                return Poll::Ready((outcome.clone(), false));
            }
            match &mut state.places[place] {
                Place::Taken(Some(waker)) => waker.clone_from(cx.waker()),
                empty => *empty = Place::Taken(Some(cx.waker().clone())),
            }
        }
        let Some(mut call) = self.call.try_lock() else { return Poll::Pending };
        let Some(running) = call.as_mut() else {
            // It ended between the two locks.
            drop(call);
            return match &self.state.lock().outcome {
                Some(outcome) => Poll::Ready((outcome.clone(), false)),
                None => Poll::Pending,
            };
        };
        let waker = Waker::from(self.clone());
        let polled =
            std::panic::catch_unwind(AssertUnwindSafe(|| running.as_mut().poll(&mut Context::from_waker(&waker))));
        let outcome = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(value)) => Ok(value),
            Err(_panic) => Err(Lost),
        };
        // The call's own end comes after the outcome is known: nobody finds neither.
        let ended = call.take();
        self.state.lock().outcome = Some(outcome.clone());
        drop(call);
        drop(ended);
        self.wake_all();
        Poll::Ready((outcome, true))
    }
}

impl<T> Flight<T> {
    fn wake_all(&self) {
        let wakers: Vec<Waker> = {
            let mut state = self.state.lock();
            state.places.iter_mut().filter_map(Place::take_waker).collect()
        };
        wakers.into_iter().for_each(Waker::wake);
    }
}

/// The call's waker wakes every subscriber: the first to be polled takes the call on.
impl<T: Send + Sync + 'static> Wake for Flight<T> {
    fn wake(self: Arc<Self>) {
        self.wake_all();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.wake_all();
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use std::future::Future;
    use std::pin::Pin;

    use loom::sync::Notify;
    use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use super::*;

    /// Wakes a thread of the model.
    struct Thread(Notify);

    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }

    fn wait(flight: &Arc<Flight<u32>>, place: usize) -> Result<u32, Lost> {
        let thread = Arc::new(Thread(Notify::new()));
        let waker = Waker::from(thread.clone());
        loop {
            match flight.poll(place, &mut Context::from_waker(&waker)) {
                Poll::Ready((outcome, _)) => return outcome,
                Poll::Pending => thread.0.wait(),
            }
        }
    }

    /// Pending until somebody else says so, as a socket is.
    struct Gate {
        open: Arc<AtomicBool>,
        waker: Arc<Mutex<Option<Waker>>>,
        polls: Arc<AtomicUsize>,
    }

    impl Future for Gate {
        type Output = u32;

        fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u32> {
            self.polls.fetch_add(1, Ordering::Relaxed);
            *self.waker.lock() = Some(cx.waker().clone());
            if self.open.load(Ordering::Acquire) { Poll::Ready(7) } else { Poll::Pending }
        }
    }

    #[test]
    fn no_subscriber_misses_the_end() {
        loom::model(|| {
            let (open, waker) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(None)));
            let gate = Gate { open: open.clone(), waker: waker.clone(), polls: Arc::new(AtomicUsize::new(0)) };
            let flight = Arc::new(Flight::new(Box::pin(gate) as BoxFuture<'static, u32>));
            let (one, two) = (flight.join(true, |_| false).unwrap(), flight.join(false, |_| false).unwrap());
            let other = {
                let flight = flight.clone();
                loom::thread::spawn(move || wait(&flight, two))
            };
            open.store(true, Ordering::Release);
            let woken: Option<Waker> = waker.lock().take();
            if let Some(woken) = woken {
                woken.wake();
            }
            assert_eq!(wait(&flight, one), Ok(7));
            assert_eq!(other.join().unwrap(), Ok(7));
            // The gate keeps the flight's waker: without this the model would see a leak.
            *waker.lock() = None;
        });
    }

    #[test]
    fn of_two_who_leave_exactly_one_may_be_the_last_and_nobody_joins_after() {
        loom::model(|| {
            let flight = Arc::new(Flight::new(Box::pin(async { 7u32 }) as BoxFuture<'static, u32>));
            let one = flight.join(true, |_| false).unwrap();
            let late = {
                let flight = flight.clone();
                loom::thread::spawn(move || match flight.join(false, |_| false) {
                    Some(place) => {
                        let outcome = wait(&flight, place);
                        flight.leave(place);
                        Some(outcome)
                    }
                    None => None,
                })
            };
            let cancelled = flight.leave(one);
            match late.join().unwrap() {
                Some(outcome) => assert_eq!(outcome, Ok(7), "who joined is answered"),
                None => assert!(cancelled),
            }
        });
    }
}
