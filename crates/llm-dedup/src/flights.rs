//! All calls in flight, by what they ask.

use std::fmt;
use std::hash::BuildHasherDefault;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};

use dashmap::{DashMap, Entry};
use llm_core::BoxFuture;

use crate::flight::{Flight, Lost};
use crate::key::{AsIs, RequestKey};

/// The calls in flight, at most so many. Clones share them.
pub struct Flights<T>(Arc<Index<T>>);

struct Index<T> {
    /// Only finds flights; what holds about one is in the flight.
    map: DashMap<RequestKey, Arc<Flight<T>>, BuildHasherDefault<AsIs>>,
    max: usize,
    /// Whether an outcome can still be joined.
    open: fn(&T) -> bool,
    active: AtomicUsize,
    led: AtomicU64,
    joined: AtomicU64,
}

/// What becomes of a call.
#[derive(Debug)]
pub enum Claim<T: Clone + Send + Sync + 'static> {
    /// Nobody asks the same: this caller's call flies.
    Lead(Subscriber<T>),
    /// Somebody asks the same.
    Follow(Subscriber<T>),
    /// There are as many flights as there may be: the caller is to go alone.
    Full,
}

/// Counts of [`Flights`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DedupStats {
    /// Flights under way.
    pub active_requests: usize,
    /// Calls that flew, since the start.
    pub led: u64,
    /// Calls that followed another, since the start.
    pub joined: u64,
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flights").field("max", &self.0.max).finish_non_exhaustive()
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// No flights yet, and at most `max` at once.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self::with_open(max, |_| false)
    }

    /// As [`new`](Self::new), where an outcome that is `open`, such as a stream that has begun, can still be joined
    /// while somebody holds it.
    #[must_use]
    pub fn with_open(max: usize, open: fn(&T) -> bool) -> Self {
        Self(Arc::new(Index {
            open,
            map: DashMap::default(),
            max,
            active: AtomicUsize::new(0),
            led: AtomicU64::new(0),
            joined: AtomicU64::new(0),
        }))
    }

    /// Joins the flight of `key`, or starts one with the call that `start` makes. Nothing happens until the
    /// subscriber is polled.
    pub fn claim(&self, key: RequestKey, start: impl FnOnce() -> BoxFuture<'static, T>) -> Claim<T> {
        if let Some(follower) = self.0.map.get(&key).and_then(|flight| self.follow(&key, flight.value())) {
            return Claim::Follow(follower);
        }
        // Relaxed: the bound may be passed by as many callers as race here, and it publishes nothing.
        if self.0.active.load(Relaxed) >= self.0.max {
            return Claim::Full;
        }
        // Made before the entry is locked: nobody's code runs under a lock.
        let flight = Arc::new(Flight::new(start()));
        let place = flight.join(true, self.0.open).expect("a new flight can be joined");
        let lead = Subscriber { flight: flight.clone(), place, key: key.clone(), flights: self.clone() };
        let raced = match self.0.map.entry(key) {
            Entry::Vacant(entry) => {
                entry.insert(flight);
                self.0.active.fetch_add(1, Relaxed);
                None
            }
            Entry::Occupied(mut entry) => {
                let follower = self.follow(&lead.key, entry.get());
                if follower.is_none() {
                    // It has ended and is about to be removed by who ended it, who will find it replaced.
                    entry.insert(flight);
                }
                follower
            }
        };
        match raced {
            Some(follower) => Claim::Follow(follower),
            None => {
                self.0.led.fetch_add(1, Relaxed);
                Claim::Lead(lead)
            }
        }
    }

    fn follow(&self, key: &RequestKey, flight: &Arc<Flight<T>>) -> Option<Subscriber<T>> {
        let place = flight.join(false, self.0.open)?;
        self.0.joined.fetch_add(1, Relaxed);
        Some(Subscriber { flight: flight.clone(), place, key: key.clone(), flights: self.clone() })
    }

    /// Takes `flight` off the index, if it is still the one of `key` there.
    fn remove(&self, key: &RequestKey, flight: &Arc<Flight<T>>) {
        if self.0.map.remove_if(key, |_, known| Arc::ptr_eq(known, flight)).is_some() {
            self.0.active.fetch_sub(1, Relaxed);
        }
    }

    /// The counts of the moment.
    #[must_use]
    pub fn stats(&self) -> DedupStats {
        DedupStats {
            active_requests: self.0.active.load(Relaxed),
            led: self.0.led.load(Relaxed),
            joined: self.0.joined.load(Relaxed),
        }
    }
}

/// Waits for a flight's answer. Dropping it is leaving; the last to leave cancels the call.
#[must_use = "a flight moves only while somebody waits for it"]
pub struct Subscriber<T: Clone + Send + Sync + 'static> {
    flight: Arc<Flight<T>>,
    place: usize,
    key: RequestKey,
    flights: Flights<T>,
}

impl<T: Clone + Send + Sync + 'static> Future for Subscriber<T> {
    type Output = Result<T, Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let (outcome, ended) = std::task::ready!(this.flight.poll(this.place, cx));
        let open = outcome.as_ref().is_ok_and(this.flights.0.open);
        if ended && !open {
            this.flights.remove(&this.key, &this.flight);
        }
        Poll::Ready(outcome)
    }
}

impl<T: Clone + Send + Sync + 'static> Drop for Subscriber<T> {
    fn drop(&mut self) {
        if self.flight.leave(self.place) {
            self.flights.remove(&self.key, &self.flight);
        }
    }
}

impl<T: Clone + Send + Sync + 'static> fmt::Debug for Subscriber<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber").field("place", &self.place).finish_non_exhaustive()
    }
}
