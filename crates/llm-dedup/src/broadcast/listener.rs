//! One who reads a log.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use super::log::{Drive, Part, State};
use super::segment::Segment;
use super::{Broadcast, Interrupted};
use crate::waiting::Seat;

/// Reads a [`Broadcast`] at its own pace. Dropping it is leaving.
///
/// What is there is read without a lock. As a stream it gives clones of the items; [`poll_shared`](Self::poll_shared)
/// gives them without.
pub struct Listener<T, E> {
    part: Part<T, E>,
    /// Where it reads.
    segment: Arc<Segment<T>>,
    /// The slot it reads next, and how many are known to be there.
    at: u32,
    there: u32,
    place: usize,
    seat: Seat,
    /// Whether its end has been told.
    over: bool,
}

impl<T, E> fmt::Debug for Listener<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("position", &self.position()).finish_non_exhaustive()
    }
}

/// What a listener finds in the log.
enum Found<E> {
    Item,
    End(Result<(), Interrupted<E>>),
    Nothing,
}

impl<T, E> Listener<T, E> {
    /// One who reads on from the item that `from` tells. None where that is not kept, or beyond what has come.
    pub(super) fn new(part: &Part<T, E>, from: impl FnOnce(&State<T, E>) -> Option<u64>) -> Option<Self> {
        let (from, (place, segment)) = {
            let mut state = part.lock();
            let from = from(&state)?;
            (from, state.enter(from)?)
        };
        let at = (from - segment.start()) as u32;
        Some(Self { part: part.clone(), segment, at, there: 0, place, seat: Seat::default(), over: false })
    }

    /// The number of the item that comes next; the first of a log is 0.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.segment.start() + u64::from(self.at)
    }

    /// What it listens to.
    #[must_use]
    pub fn broadcast(&self) -> Broadcast<T, E> {
        Broadcast::of(self.part.clone())
    }

    /// Whether the source waits for the slowest listener.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.part.lock().stalled
    }

    /// Ends the listeners that are furthest behind, so that the others can go on. Not this one, nor any that is about
    /// as far as this one. They hear at most a few items more, and then of their end.
    pub fn expel_slowest(&self) {
        let mut state = self.part.lock();
        if !state.expel_slowest(self.place) {
            return;
        }
        let gone = state.trim();
        // Those who were expelled are to hear of it.
        self.part.has_room(&mut state);
        let wakers = state.waiting.take();
        drop(state);
        drop(gone);
        wakers.wake();
    }

    /// Goes on to the next segment, behind one that is closed and read. Whether it may.
    fn turn(&mut self) -> bool {
        let mut state = self.part.lock();
        let Some(next) = state.turn(self.place) else { return false };
        let gone = state.trim();
        let relieved = self.part.relieved(&mut state);
        drop(state);
        drop(gone);
        if let Some(wakers) = relieved {
            wakers.wake();
        }
        self.segment = next;
        (self.at, self.there) = (0, 0);
        true
    }

    /// Whether an item is there, or is known to be in this segment.
    #[inline]
    const fn is_there(&self) -> bool {
        self.at < self.there
    }
}

impl<T, E> Listener<T, E>
where
    T: Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// The next item; none at the end, and behind an error.
    #[inline]
    pub fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Interrupted<E>>>>
    where
        T: Clone,
    {
        if !self.is_there()
            && let Some(nothing) = self.look(cx)
        {
            return nothing.map(|end| end.map(Err));
        }
        self.at += 1;
        Poll::Ready(Some(Ok(self.segment.item(self.at - 1).clone())))
    }

    /// As [`poll_item`](Self::poll_item), where the item stays in the log.
    #[inline]
    pub fn poll_shared(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<&T, Interrupted<E>>>> {
        if !self.is_there()
            && let Some(nothing) = self.look(cx)
        {
            return nothing.map(|end| end.map(Err));
        }
        self.at += 1;
        Poll::Ready(Some(Ok(self.segment.item(self.at - 1))))
    }

    /// Has the source read on, into the log and as far as there is room, without reading the log. Ready once the
    /// source has ended: for who wants it whole, or a caller kept who may come back.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Others are to have their turn.
        for _ in 0..64 {
            if self.part.lock().end.is_some() {
                return Poll::Ready(());
            }
            if self.part.drive(&mut self.seat) == Drive::Came {
                continue;
            }
            let replaced = {
                let mut state = self.part.lock();
                if state.end.is_some() {
                    return Poll::Ready(());
                }
                state.waiting.register(&mut self.seat, cx.waker())
            };
            drop(replaced);
            match self.part.drive(&mut self.seat) {
                Drive::Came => {}
                Drive::NotMine => return Poll::Pending,
                Drive::Waits => {
                    self.part.settle();
                    return Poll::Pending;
                }
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Looks for an item where none is known to be. What comes back is why there is none.
    #[inline(never)]
    fn look(&mut self, cx: &mut Context<'_>) -> Option<Poll<Option<Interrupted<E>>>> {
        if self.over {
            return Some(Poll::Ready(None));
        }
        loop {
            let there = self.segment.there();
            self.there = there.items;
            if self.is_there() {
                return None;
            }
            if there.closed {
                if self.turn() {
                    continue;
                }
                self.over = true;
                return Some(Poll::Ready(Some(Interrupted::Expelled)));
            }
            if self.part.drive(&mut self.seat) == Drive::Came {
                continue;
            }
            match self.register(cx) {
                Found::Item => continue,
                Found::End(end) => {
                    self.over = true;
                    return Some(Poll::Ready(end.err()));
                }
                Found::Nothing => {}
            }
            // The source may have become due before the registration, which was then not among the woken.
            match self.part.drive(&mut self.seat) {
                Drive::Came => {}
                Drive::NotMine => return Some(Poll::Pending),
                Drive::Waits => {
                    self.part.settle();
                    return Some(Poll::Pending);
                }
            }
        }
    }

    /// Waits, unless something has come meanwhile.
    fn register(&mut self, cx: &mut Context<'_>) -> Found<E> {
        let mut state = self.part.lock();
        let there = self.segment.there();
        if self.at < there.items || there.closed {
            return Found::Item;
        }
        if state.is_expelled(self.place) {
            return Found::End(Err(Interrupted::Expelled));
        }
        if let Some(end) = &state.end {
            return Found::End(end.clone());
        }
        let replaced = state.waiting.register(&mut self.seat, cx.waker());
        drop(state);
        drop(replaced);
        Found::Nothing
    }
}

impl<T, E> Stream for Listener<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    type Item = Result<T, Interrupted<E>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_item(cx)
    }
}

impl<T, E> Drop for Listener<T, E> {
    fn drop(&mut self) {
        let mut state = self.part.lock();
        state.leave(self.place);
        let own = state.waiting.leave(&mut self.seat);
        let gone = state.trim();
        // Its leaving may have made room.
        let relieved = self.part.relieved(&mut state);
        drop(state);
        drop((own, gone));
        if let Some(wakers) = relieved {
            wakers.wake();
        }
    }
}
