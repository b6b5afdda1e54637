//! The log itself: what came and is kept, who reads where, and who waits.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use llm_core::BoxStream;
use llm_core::sync::{AtomicUsize, Mutex, MutexGuard, Ordering};

use super::Interrupted;
use super::segment::Segment;
use crate::turn::{Begin, Held, Turn};
use crate::waiting::{Seat, Waiting, Wakers};

pub(super) type Source<T, E> = BoxStream<Result<T, E>>;

/// What those share who have a part in a log. Its source knows the log as a waker, which is no part: with the last part
/// the source ends.
pub(super) struct Part<T, E>(Arc<Log<T, E>>);

impl<T, E> Clone for Part<T, E> {
    fn clone(&self) -> Self {
        // Relaxed: whoever clones has a part.
        self.0.parts.fetch_add(1, Ordering::Relaxed);
        Self(self.0.clone())
    }
}

impl<T, E> Drop for Part<T, E> {
    fn drop(&mut self) {
        // AcqRel: what all have done with the source comes before its end.
        if self.0.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            drop(self.0.source.end());
            let then = std::mem::take(&mut self.0.lock().then);
            drop(then);
        }
    }
}

impl<T, E> std::ops::Deref for Part<T, E> {
    type Target = Arc<Log<T, E>>;

    fn deref(&self) -> &Arc<Log<T, E>> {
        &self.0
    }
}

pub(super) struct Log<T, E> {
    /// How many have a part.
    parts: AtomicUsize,
    /// None where somebody feeds the log by hand.
    source: Turn<Source<T, E>>,
    state: Mutex<State<T, E>>,
    /// What is kept weighs at most about so much.
    most: usize,
    weigh: fn(&T) -> usize,
}

pub(super) struct State<T, E> {
    segments: VecDeque<Kept<T>>,
    /// Counts the segments that are gone.
    gone: u64,
    /// What is kept weighs so much.
    pub(super) bytes: usize,
    /// How the source has ended.
    pub(super) end: Option<Result<(), Interrupted<E>>>,
    /// Whether all has come and is kept; told before the end is.
    pub(super) complete: bool,
    /// What is to be done before the end is told.
    pub(super) then: Vec<Box<dyn FnOnce() + Send>>,
    /// Whether all that came is still kept.
    pub(super) open: bool,
    /// Whether the source waits for the slowest listener.
    pub(super) stalled: bool,
    /// So many bytes stay although all have read them.
    pub(super) behind: usize,
    pub(super) waiting: Waiting,
    places: Vec<Place>,
    free: Option<usize>,
    pub(super) listeners: usize,
}

/// A segment that is kept.
struct Kept<T> {
    segment: Arc<Segment<T>>,
    weight: usize,
    /// Listeners that read there.
    readers: usize,
}

/// Where a listener reads.
enum Place {
    /// Nobody's; the next one that is.
    Free(Option<usize>),
    /// In the segment of this number, counted from the log's first.
    Reads(u64),
    Expelled,
}

/// What becomes of an attempt to poll the source.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Drive {
    /// Something is there that was not.
    Came,
    /// It is not due, or somebody else is at it.
    NotMine,
    /// It has nothing, or has to wait for the slowest listener; meanwhile others may have found it busy.
    Waits,
}

impl<T, E> Part<T, E> {
    pub(super) fn new(source: Option<Source<T, E>>, most: usize, weigh: fn(&T) -> usize) -> Self {
        let first = Kept { segment: Segment::new(0), weight: 0, readers: 0 };
        let state = State {
            segments: VecDeque::from([first]),
            gone: 0,
            bytes: 0,
            end: None,
            complete: false,
            then: Vec::new(),
            open: true,
            stalled: false,
            behind: 0,
            waiting: Waiting::default(),
            places: Vec::new(),
            free: None,
            listeners: 0,
        };
        Self(Arc::new(Log {
            parts: AtomicUsize::new(1),
            source: Turn::new(source),
            state: Mutex::new(state),
            most: most.max(1),
            weigh,
        }))
    }
}

impl<T, E> Log<T, E> {
    pub(super) fn lock(&self) -> MutexGuard<'_, State<T, E>> {
        self.state.lock()
    }

    /// Whether nobody is there to read it.
    pub(super) fn is_abandoned(&self) -> bool {
        // Relaxed: who feeds it may be one item late.
        self.parts.load(Ordering::Relaxed) == 0
    }

    pub(super) const fn most(&self) -> usize {
        self.most
    }

    pub(super) fn weigh(&self, item: &T) -> usize {
        (self.weigh)(item)
    }

    /// A segment is full at this weight: what is kept and read lies in several.
    const fn enough(&self) -> usize {
        self.most / 8
    }

    /// Adds an item on behalf of the owner of `seat`, who looks again without being woken, and ends a turn.
    pub(super) fn append(&self, item: T, weight: usize, seat: &mut Seat, turn: Option<Held<'_, Source<T, E>>>) {
        let mut state = self.lock();
        let own = state.waiting.silence(seat);
        let wakers = state.push(item, weight, self.most, self.enough());
        let gone = state.trim();
        // Before the state is: who registers next finds the source free.
        drop(turn);
        drop(state);
        drop(own);
        drop(gone);
        wakers.wake();
    }

    /// The source has ended. What is to be done before comes before anybody is told.
    pub(super) fn end(&self, end: Result<(), Interrupted<E>>) {
        if end.is_ok() {
            let then = {
                let mut state = self.lock();
                state.complete = state.open;
                std::mem::take(&mut state.then)
            };
            for then in then {
                // A panic there would leave all who wait without an end.
                let _ = std::panic::catch_unwind(AssertUnwindSafe(then));
            }
        }
        let mut state = self.lock();
        state.end = Some(end);
        let then = std::mem::take(&mut state.then);
        let wakers = state.waiting.take();
        drop(state);
        wakers.wake();
        drop(then);
    }

    /// Whether there is room for more: while all is kept there always is, and the bound decides only whether it stays
    /// kept.
    pub(super) fn has_room(&self, state: &mut State<T, E>) -> bool {
        state.stalled = !state.open && state.bytes >= self.most;
        !state.stalled
    }

    /// Those who are to be woken because there is room where there was none.
    pub(super) fn relieved(&self, state: &mut State<T, E>) -> Option<Wakers> {
        (state.stalled && self.has_room(state)).then(|| state.waiting.take())
    }
}

impl<T, E> Log<T, E>
where
    T: Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Polls the source, if it is due and there is room, on behalf of the owner of `seat`.
    pub(super) fn drive(self: &Arc<Self>, seat: &mut Seat) -> Drive {
        let mut turn = match self.source.begin() {
            Begin::Mine(turn) => turn,
            Begin::Idle | Begin::Busy => return Drive::NotMine,
        };
        if !self.has_room(&mut self.lock()) {
            return Drive::Waits;
        }
        let Some(running) = turn.polled() else { return Drive::Waits };
        let waker = Waker::from(self.clone());
        // One item: to ask for another that is not there costs as much as to read one that is.
        let poll = || running.as_mut().poll_next(&mut Context::from_waker(&waker));
        let end = match std::panic::catch_unwind(AssertUnwindSafe(poll)) {
            Ok(Poll::Pending) => return Drive::Waits,
            Ok(Poll::Ready(Some(Ok(item)))) => {
                // There may be more at once.
                self.source.call();
                let weight = self.weigh(&item);
                self.append(item, weight, seat, Some(turn));
                return Drive::Came;
            }
            Ok(Poll::Ready(Some(Err(error)))) => Err(Interrupted::Failed(error)),
            Ok(Poll::Ready(None)) => Ok(()),
            Err(_panic) => Err(Interrupted::Lost),
        };
        let ended = turn.take();
        self.end(end);
        drop(turn);
        drop(ended);
        Drive::Came
    }

    /// Called by one who was at the source and waits from now on: has it become due meanwhile, those who have found
    /// it busy are told.
    pub(super) fn settle(&self) {
        if !self.source.is_due() {
            return;
        }
        let wakers = {
            let mut state = self.lock();
            if state.stalled || state.end.is_some() {
                return;
            }
            state.waiting.take()
        };
        wakers.wake();
    }
}

/// The source's waker wakes all who wait: the first to be polled reads on.
impl<T: Send + Sync + 'static, E: Send + Sync + 'static> Wake for Log<T, E> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.source.call();
        let wakers = self.lock().waiting.take();
        wakers.wake();
    }
}

impl<T, E> State<T, E> {
    fn push(&mut self, item: T, weight: usize, most: usize, enough: usize) -> Wakers {
        let tail = self.segments.back_mut().expect("there is always a last segment");
        tail.weight += weight;
        self.bytes += weight;
        self.open &= self.bytes <= most;
        if tail.segment.push(item, tail.weight >= enough) {
            // At once, so that who has read all can let go of what it has read.
            let next = tail.segment.start() + u64::from(tail.segment.there().items);
            self.segments.push_back(Kept { segment: Segment::new(next), weight: 0, readers: 0 });
        }
        self.waiting.take()
    }

    /// Lets go of what all have read, once nobody new may come. What comes back is to be dropped when no lock is held.
    pub(super) fn trim(&mut self) -> Vec<Arc<Segment<T>>> {
        let mut gone = Vec::new();
        while !self.open
            && self.segments.len() > 1
            && let Some(front) = self.segments.front()
            && front.readers == 0
            && self.bytes - front.weight >= self.behind
        {
            self.bytes -= front.weight;
            self.gone += 1;
            gone.extend(self.segments.pop_front().map(|kept| kept.segment));
        }
        gone
    }

    /// The bytes that the log takes without what its items refer to.
    pub(super) fn size(&self) -> usize {
        self.segments.iter().map(|kept| kept.segment.size()).sum()
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &T> {
        self.segments.iter().flat_map(|kept| kept.segment.items())
    }

    /// A place for one who reads from item `from` on, and the segment. None where that is not kept, or beyond what
    /// has come.
    pub(super) fn enter(&mut self, from: u64) -> Option<(usize, Arc<Segment<T>>)> {
        let behind = self.segments.partition_point(|kept| kept.segment.start() <= from);
        let index = behind.checked_sub(1)?;
        let kept = &mut self.segments[index];
        if from > kept.segment.start() + u64::from(kept.segment.there().items) {
            return None;
        }
        kept.readers += 1;
        let reads = Place::Reads(self.gone + index as u64);
        let place = match self.free {
            Some(free) => {
                let Place::Free(next) = std::mem::replace(&mut self.places[free], reads) else {
                    unreachable!("a free place is nobody's")
                };
                self.free = next;
                free
            }
            None => {
                self.places.push(reads);
                self.places.len() - 1
            }
        };
        self.listeners += 1;
        Some((place, self.segments[index].segment.clone()))
    }

    pub(super) fn leave(&mut self, place: usize) {
        if let Place::Reads(at) = self.places[place] {
            self.kept(at).readers -= 1;
        }
        self.places[place] = Place::Free(self.free);
        self.free = Some(place);
        self.listeners -= 1;
    }

    /// The segment behind the one that is read at `place`; none for who was expelled.
    pub(super) fn turn(&mut self, place: usize) -> Option<Arc<Segment<T>>> {
        let Place::Reads(at) = self.places[place] else { return None };
        self.kept(at).readers -= 1;
        self.places[place] = Place::Reads(at + 1);
        let next = self.kept(at + 1);
        next.readers += 1;
        Some(next.segment.clone())
    }

    pub(super) fn is_expelled(&self, place: usize) -> bool {
        matches!(self.places[place], Place::Expelled)
    }

    /// Expels those who read in the oldest segment that anybody reads in, unless the one at `place` does.
    pub(super) fn expel_slowest(&mut self, place: usize) -> bool {
        let Some(oldest) = self.segments.iter().position(|kept| kept.readers > 0) else { return false };
        let oldest = self.gone + oldest as u64;
        if matches!(self.places[place], Place::Reads(at) if at <= oldest) {
            return false;
        }
        for place in &mut self.places {
            if matches!(place, Place::Reads(at) if *at == oldest) {
                *place = Place::Expelled;
            }
        }
        self.kept(oldest).readers = 0;
        true
    }

    fn kept(&mut self, at: u64) -> &mut Kept<T> {
        &mut self.segments[(at - self.gone) as usize]
    }
}
