//! Those who wait for units of a bucket, in the order in which they came.
//!
//! Who joins books units that are not there yet: the bucket's lead grows past its size, and until it has come down to
//! the size again nobody else gets any. A place is the word that the bucket had after the booking; it is served when
//! that word is no further ahead than a full bucket holds. When somebody leaves, or units are given back, the lead
//! grows shorter, and everybody behind moves forward by as much: else their turns, and those of who comes then, would
//! fall together.
//!
//! Lines are kept by their bucket's address, as a parking lot is: a limiter for which nobody waits has none.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::pin;
use std::task::{Poll, Waker, ready};
use std::time::Duration;

use llm_core::Tick;
use llm_core::sync::Mutex;
use tokio::time::sleep;

use crate::bucket::{Denied, Spent, at, duration, patience, since};
use crate::live::LiveBucket;
use crate::quota::Quota;

/// Those who wait for one bucket.
#[derive(Default)]
pub(crate) struct Line {
    places: VecDeque<Place>,
    /// Of the next one who comes. Numbers only grow, so that places can be found by them.
    next: u64,
    /// To be woken when the line is let go of.
    woken: Vec<Waker>,
}

struct Place {
    number: u64,
    units: u32,
    /// The bucket's word after these units were booked.
    end: u64,
    /// The quota has changed and no longer holds the units.
    denied: Option<Denied>,
    waker: Option<Waker>,
}

/// How a place stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Turn {
    /// The units are there.
    Served,
    /// They never will be.
    Denied(Denied),
    /// They will be by then, unless somebody leaves before.
    In(Duration),
}

impl Line {
    /// Moves all forward by `span`: units were given back that were taken before theirs.
    pub(crate) fn forward(&mut self, span: u64) {
        self.forward_from(0, span);
    }

    fn forward_from(&mut self, first: usize, span: u64) {
        if span > 0 {
            for place in self.places.range_mut(first..) {
                place.end = place.end.wrapping_sub(span);
                self.woken.extend(place.waker.take());
            }
        }
    }

    /// Lets those go who have been served by `now` under the quota `from`, and denies those who ask for more than the
    /// quota `to` ever holds. The units that were booked, and those that still are.
    pub(crate) fn requote(&mut self, from: Quota, to: Quota, now: Tick) -> [u64; 2] {
        let mut booked = [0, 0];
        self.places.retain_mut(|place| {
            if place.denied.is_some() {
                return true;
            }
            if since(place.end, at(now)) <= from.size() {
                self.woken.extend(place.waker.take());
                return false;
            }
            booked[0] += u64::from(place.units);
            if place.units > to.burst {
                place.denied = Some(Denied::TooLarge { cost: place.units, burst: to.burst });
            } else {
                booked[1] += u64::from(place.units);
            }
            true
        });
        booked
    }

    /// Gives all their places anew, the last of them ending with the bucket's `word`.
    pub(crate) fn rebook(&mut self, word: u64, quota: Quota) {
        let mut end = word;
        for place in self.places.iter_mut().rev() {
            if place.denied.is_none() {
                place.end = end;
                end = end.wrapping_sub(quota.span(place.units));
            }
        }
        self.woken.extend(self.places.iter_mut().filter_map(|place| place.waker.take()));
    }
}

/// Lines by their buckets' addresses. Several, so that those for different buckets seldom meet.
static LINES: [Mutex<BTreeMap<usize, Line>>; 16] = [const { Mutex::new(BTreeMap::new()) }; 16];

/// Who waits for one bucket, at most: beyond it callers are told how long it would take.
const MOST: usize = 1 << 16;

/// Runs `change` on the line for `bucket`; nobody joins it, moves or leaves meanwhile.
pub(crate) fn with<T>(bucket: &LiveBucket, change: impl FnOnce(&mut Line) -> T) -> T {
    let address = std::ptr::from_ref(bucket).addr();
    // A bucket shares its 64 bytes with no other.
    let mut lines = LINES[address / 64 % LINES.len()].lock();
    let mut line = lines.remove(&address).unwrap_or_default();
    let result = change(&mut line);
    let woken = std::mem::take(&mut line.woken);
    if !line.places.is_empty() {
        lines.insert(address, line);
    }
    drop(lines);
    woken.into_iter().for_each(Waker::wake);
    result
}

impl Line {
    /// Books `cost` units, if they will be there within `patience`: the number of the place, none when there is
    /// nothing to wait for.
    pub(crate) fn join(
        &mut self,
        bucket: &LiveBucket,
        cost: u32,
        now: Tick,
        patience: u64,
    ) -> Result<Option<u64>, Denied> {
        let patience = if self.places.len() < MOST { patience } else { 0 };
        let Spent { next: end, wait } = bucket.take_within(cost, now, patience)?;
        if wait == 0 {
            return Ok(None);
        }
        let number = self.next;
        self.next += 1;
        self.places.push_back(Place { number, units: cost, end, denied: None, waker: None });
        Ok(Some(number))
    }

    /// How the place `number` stands at `now`; one that waits is told of changes by `waker`.
    pub(crate) fn turn(&mut self, bucket: &LiveBucket, number: u64, now: Tick, waker: &Waker) -> Turn {
        // Who is not in the line has been served while the limit changed.
        let Some(index) = self.find(number) else { return Turn::Served };
        let place = &mut self.places[index];
        let wait = since(place.end, at(now)).saturating_sub(bucket.quota().size());
        let turn = match place.denied {
            Some(denied) => Turn::Denied(denied),
            None if wait == 0 => Turn::Served,
            None => {
                place.waker = Some(waker.clone());
                return Turn::In(duration(wait));
            }
        };
        self.places.remove(index);
        turn
    }

    /// Gives up the place `number`, if it is still there: what it had booked is nobody's, and all behind it move
    /// forward.
    pub(crate) fn leave(&mut self, bucket: &LiveBucket, number: u64, now: Tick) {
        let Some(place) = self.find(number) else { return };
        let Some(Place { units, end, denied: None, .. }) = self.places.remove(place) else { return };
        let refund = bucket.refund(now, |quota| {
            let span = quota.span(units);
            span.saturating_sub(since(at(now), end.wrapping_sub(span)))
        });
        self.forward_from(place, refund);
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.places.binary_search_by_key(&number, |place| place.number).ok()
    }
}

/// A place in the line for a bucket; dropped, it is given up.
struct Ticket<'a, N: Fn() -> Tick> {
    bucket: &'a LiveBucket,
    number: Option<u64>,
    now: N,
}

impl<N: Fn() -> Tick> Drop for Ticket<'_, N> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let now = (self.now)();
            with(self.bucket, |line| line.leave(self.bucket, number, now));
        }
    }
}

/// Takes `cost` units of `bucket` and waits for them until `deadline`, by the clock that `now` reads.
pub(crate) async fn acquire<N: Fn() -> Tick>(
    bucket: &LiveBucket,
    cost: u32,
    deadline: Tick,
    now: N,
) -> Result<(), Denied> {
    let begun = now();
    let number = with(bucket, |line| line.join(bucket, cost, begun, patience(deadline.since(begun))))?;
    let Some(number) = number else { return Ok(()) };
    let mut ticket = Ticket { bucket, number: Some(number), now };
    let mut alarm = pin!(sleep(Duration::ZERO));
    poll_fn(|cx| {
        loop {
            let now = (ticket.now)();
            let left = match with(bucket, |line| line.turn(bucket, number, now, cx.waker())) {
                Turn::In(left) if now.after(left) > deadline => {
                    return Poll::Ready(Err(Denied::Until { wait: left }));
                }
                Turn::In(left) => left,
                Turn::Served => {
                    ticket.number = None;
                    return Poll::Ready(Ok(()));
                }
                Turn::Denied(denied) => return Poll::Ready(Err(denied)),
            };
            // Set anew each time: whoever is woken has less to wait than it had.
            alarm.set(sleep(left));
            ready!(alarm.as_mut().poll(cx));
        }
    })
    .await
}
