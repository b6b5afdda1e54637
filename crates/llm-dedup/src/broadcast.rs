//! One stream for many: an append-only log of what came, which each listener reads at its own pace.
//!
//! There is no owner and no task: whoever listens drives the source, and it ends with the last who holds it.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use llm_core::BoxStream;
use llm_core::sync::Mutex;

use crate::flights::Ongoing;

type Source<T, E> = BoxStream<Result<T, E>>;

/// A stream that many may listen to. Clones share it. An item is handed out by a clone: let that be cheap.
///
/// Who comes late first gets all that was sent. That is kept up to a bound in bytes; beyond it nobody new may come,
/// and what all have read is forgotten. The source is read no further ahead of the slowest listener than the bound.
pub struct Broadcast<T, E>(Arc<Hold<T, E>>);

/// What those share who have a part in a log. Its source knows the log as a waker, which is no part: with the last part
/// the source ends.
struct Hold<T, E>(Arc<Log<T, E>>);

impl<T, E> Drop for Hold<T, E> {
    fn drop(&mut self) {
        let source = self.0.source.lock().take();
        drop(source);
    }
}

struct Log<T, E> {
    /// Held while the source is polled. None once it has ended.
    source: Mutex<Option<Source<T, E>>>,
    state: Mutex<State<T, E>>,
    most: usize,
    weigh: fn(&T) -> usize,
}

struct State<T, E> {
    /// What came and is still kept, and the number of its first.
    log: VecDeque<T>,
    first: u64,
    /// What is kept weighs so much.
    bytes: usize,
    /// How the source has ended.
    end: Option<Option<E>>,
    /// Whether all has come and is kept; told before the end is.
    complete: bool,
    /// What is to be done before the end is told.
    then: Vec<Box<dyn FnOnce() + Send>>,
    /// Whether all that came is still kept.
    open: bool,
    /// Whether the source waits for the slowest listener.
    stalled: bool,
    places: Vec<Place>,
}

enum Place {
    Free,
    Taken { read: u64, waker: Option<Waker>, expelled: bool },
}

impl<T, E> Clone for Broadcast<T, E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T, E> fmt::Debug for Broadcast<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Broadcast(..)")
    }
}

impl<T: Clone + Send + 'static, E: Clone + Send + 'static> Broadcast<T, E> {
    /// A broadcast of `source` that keeps items up to `most` bytes, as `weigh` tells them.
    #[must_use]
    pub fn new(source: BoxStream<Result<T, E>>, most: usize, weigh: fn(&T) -> usize) -> Self {
        let state = State {
            log: VecDeque::new(),
            first: 0,
            bytes: 0,
            end: None,
            complete: false,
            then: Vec::new(),
            open: true,
            stalled: false,
            places: Vec::new(),
        };
        let log = Log { source: Mutex::new(Some(source)), state: Mutex::new(state), most, weigh };
        Self(Arc::new(Hold(Arc::new(log))))
    }

    /// Whether somebody new would get everything from the start, and more is to come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let state = self.0.0.state.lock();
        state.open && state.end.is_none()
    }

    /// Whether all has come, without an error, and is kept.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.0.state.lock().complete
    }

    /// All that has come, once it [is complete](Self::is_complete).
    #[must_use]
    pub fn items(&self) -> Option<Vec<T>> {
        let state = self.0.0.state.lock();
        state.complete.then(|| state.log.iter().cloned().collect())
    }

    /// What is kept weighs so much.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.0.state.lock().bytes
    }

    /// Listens from the start. None when the start is no longer kept.
    #[must_use]
    pub fn listen(&self) -> Option<Listener<T, E>> {
        let mut state = self.0.0.state.lock();
        if !state.open {
            return None;
        }
        let free = state.places.iter().position(|place| matches!(place, Place::Free));
        let place = free.unwrap_or_else(|| {
            state.places.push(Place::Free);
            state.places.len() - 1
        });
        state.places[place] = Place::Taken { read: 0, waker: None, expelled: false };
        Some(Listener { hold: self.0.clone(), place, over: false })
    }
}

impl<T: Clone + Send + 'static, E: Clone + Send + 'static> Ongoing for Broadcast<T, E> {
    fn is_open(&self) -> bool {
        self.is_open()
    }

    fn before_end(&self, then: Box<dyn FnOnce() + Send>) {
        let mut state = self.0.0.state.lock();
        if state.end.is_none() {
            state.then.push(then);
            return;
        }
        let complete = state.complete;
        drop(state);
        if complete {
            then();
        }
    }
}

impl<T, E> State<T, E> {
    fn next(&self) -> u64 {
        self.first + self.log.len() as u64
    }

    /// Forgets what all have read, once nobody new may come.
    fn trim(&mut self, weigh: fn(&T) -> usize) {
        if self.open {
            return;
        }
        let slowest = self.places.iter().filter_map(Place::reads).min().unwrap_or_else(|| self.next());
        while self.first < slowest {
            let Some(item) = self.log.pop_front() else { break };
            self.bytes -= weigh(&item);
            self.first += 1;
        }
    }

    /// Those who wait. Nothing is allocated for one.
    fn take_wakers(&mut self) -> Wakers {
        let mut waiting = self.places.iter_mut().filter_map(Place::take_waker);
        Wakers { first: waiting.next(), more: waiting.collect() }
    }
}

impl Place {
    const fn reads(&self) -> Option<u64> {
        match self {
            Self::Taken { read, expelled: false, .. } => Some(*read),
            _ => None,
        }
    }

    const fn take_waker(&mut self) -> Option<Waker> {
        match self {
            Self::Taken { waker, .. } => waker.take(),
            Self::Free => None,
        }
    }
}

struct Wakers {
    first: Option<Waker>,
    more: Vec<Waker>,
}

impl Wakers {
    fn wake(self) {
        self.first.into_iter().chain(self.more).for_each(Waker::wake);
    }
}

/// What a listener finds.
enum Found<T, E> {
    Item(T),
    End(Option<E>),
    Expelled,
    Nothing,
}

impl<T: Clone, E: Clone> Log<T, E> {
    /// What is there for the listener at `place`, and whether taking it has made room for the source.
    fn look(&self, place: usize, cx: &mut Context<'_>) -> (Found<T, E>, bool) {
        let mut state = self.state.lock();
        let (first, next) = (state.first, state.next());
        let Place::Taken { read, waker, expelled } = &mut state.places[place] else { return (Found::Nothing, false) };
        if *expelled {
            return (Found::Expelled, false);
        }
        let at = *read;
        if at < next {
            *read += 1;
            let item = state.log[(at - first) as usize].clone();
            state.trim(self.weigh);
            let room = state.stalled && state.bytes < self.most;
            state.stalled &= !room;
            return (Found::Item(item), room);
        }
        match waker {
            Some(waker) => waker.clone_from(cx.waker()),
            empty => *empty = Some(cx.waker().clone()),
        }
        match &state.end {
            Some(end) => (Found::End(end.clone()), false),
            None => (Found::Nothing, false),
        }
    }

    /// Reads the next of the source, if there is room, on behalf of the listener at `place`, who looks again without
    /// being woken. Whether anything came.
    fn drive(&self, source: &mut Option<Source<T, E>>, waker: &Waker, place: usize) -> bool {
        let room = {
            let mut state = self.state.lock();
            // While all is kept there is always room: the bound decides only whether it stays kept.
            state.stalled = !state.open && state.bytes >= self.most;
            !state.stalled
        };
        let Some(running) = source.as_mut().filter(|_| room) else { return false };
        // One item: to ask for another that is not there costs as much as to read one that is.
        let (item, end) = match running.as_mut().poll_next(&mut Context::from_waker(waker)) {
            Poll::Pending => return false,
            Poll::Ready(Some(Ok(item))) => (Some(item), None),
            Poll::Ready(Some(Err(error))) => (None, Some(Some(error))),
            Poll::Ready(None) => (None, Some(None)),
        };
        let ended = end.is_some().then(|| source.take());
        if matches!(end, Some(None)) {
            let then = {
                let mut state = self.state.lock();
                state.complete = state.open;
                std::mem::take(&mut state.then)
            };
            then.into_iter().for_each(|then| then());
        }
        let wakers = {
            let mut state = self.state.lock();
            if let Some(item) = item {
                state.bytes += (self.weigh)(&item);
                state.log.push_back(item);
            }
            state.end = end;
            state.open &= state.bytes <= self.most;
            state.trim(self.weigh);
            drop(state.places[place].take_waker());
            state.take_wakers()
        };
        wakers.wake();
        drop(ended);
        true
    }
}

/// The source's waker wakes all who wait: the first to be polled reads on.
impl<T: Send + Sync + 'static, E: Send + Sync + 'static> Wake for Log<T, E> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let wakers = self.state.lock().take_wakers();
        wakers.wake();
    }
}

/// Reads a [`Broadcast`] from its start, at its own pace. Dropping it is leaving.
pub struct Listener<T, E> {
    hold: Arc<Hold<T, E>>,
    place: usize,
    /// Whether its end has been told.
    over: bool,
}

impl<T, E> fmt::Debug for Listener<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener").field("place", &self.place).finish_non_exhaustive()
    }
}

impl<T, E> Listener<T, E> {
    fn log(&self) -> &Arc<Log<T, E>> {
        &self.hold.0
    }
}

impl<T, E> Listener<T, E>
where
    T: Clone + Send + Sync + 'static,
    E: Clone + Send + Sync + 'static,
{
    /// The next item; none at the end, and behind an error.
    pub fn poll_item(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<T, Interrupted<E>>>> {
        if self.over {
            return Poll::Ready(None);
        }
        loop {
            let (found, room) = self.log().look(self.place, cx);
            let found = match found {
                Found::Item(item) => Poll::Ready(Some(Ok(item))),
                Found::End(None) => Poll::Ready(None),
                Found::End(Some(error)) => Poll::Ready(Some(Err(Interrupted::Failed(error)))),
                Found::Expelled => Poll::Ready(Some(Err(Interrupted::Expelled))),
                Found::Nothing => Poll::Pending,
            };
            self.over = matches!(found, Poll::Ready(None | Some(Err(_))));
            if found.is_ready() && !room {
                return found;
            }
            let waker = Waker::from(self.log().clone());
            let source = self.log().source.try_lock();
            let came = source.is_some_and(|mut source| self.log().drive(&mut source, &waker, self.place));
            if found.is_ready() {
                // Who has taken an item need not come back soon: others are to look after the source.
                waker.wake();
                return found;
            }
            if !came {
                return Poll::Pending;
            }
        }
    }

    /// Whether the source waits for the slowest listener.
    #[must_use]
    pub fn is_stalled(&self) -> bool {
        self.log().state.lock().stalled
    }

    /// Ends the listeners that are furthest behind, so that the others can go on. Not this one.
    pub fn expel_slowest(&self) {
        let mut state = self.log().state.lock();
        let others = |(at, place): (usize, &Place)| (at != self.place).then(|| place.reads()).flatten();
        let Some(slowest) = state.places.iter().enumerate().filter_map(others).min() else { return };
        let own = state.places[self.place].reads();
        if own.is_none_or(|own| slowest >= own) {
            return;
        }
        let mut wakers = Vec::new();
        for place in &mut state.places {
            if let Place::Taken { read, expelled, .. } = place
                && *read == slowest
            {
                *expelled = true;
                wakers.extend(place.take_waker());
            }
        }
        state.trim(self.log().weigh);
        let others = state.take_wakers();
        drop(state);
        wakers.into_iter().for_each(Waker::wake);
        others.wake();
    }
}

/// Why a listener hears no more although the source had not ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted<E> {
    /// The source failed.
    #[error("{0}")]
    Failed(E),
    /// It read so slowly that others had to wait.
    #[error("it was read too slowly while others waited for the same")]
    Expelled,
}

impl<T, E> Drop for Listener<T, E> {
    fn drop(&mut self) {
        let mut state = self.log().state.lock();
        state.places[self.place] = Place::Free;
        state.trim(self.log().weigh);
        // Its leaving may have made room, and it may have been the one whose turn it was.
        let wakers = state.take_wakers();
        drop(state);
        wakers.wake();
    }
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use std::pin::Pin;

    use futures_core::Stream;
    use loom::sync::Notify;
    use loom::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Wakes a thread of the model.
    struct Thread(Notify);

    impl Wake for Thread {
        fn wake(self: Arc<Self>) {
            self.0.notify();
        }
    }

    /// All that a listener hears.
    fn hear(mut listener: Listener<u32, ()>) -> Vec<u32> {
        let thread = Arc::new(Thread(Notify::new()));
        let waker = Waker::from(thread.clone());
        let mut heard = Vec::new();
        loop {
            match listener.poll_item(&mut Context::from_waker(&waker)) {
                Poll::Ready(Some(item)) => heard.push(item.unwrap()),
                Poll::Ready(None) => return heard,
                Poll::Pending => thread.0.wait(),
            }
        }
    }

    /// Items that another thread lets out, as a socket does.
    struct Gate {
        out: Arc<AtomicU32>,
        waker: Arc<Mutex<Option<Waker>>>,
        given: u32,
        all: u32,
    }

    impl Stream for Gate {
        type Item = Result<u32, ()>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            if self.given == self.all {
                return Poll::Ready(None);
            }
            *self.waker.lock() = Some(cx.waker().clone());
            if self.given == self.out.load(Ordering::Acquire) {
                return Poll::Pending;
            }
            self.given += 1;
            Poll::Ready(Some(Ok(self.given)))
        }
    }

    fn gate(all: u32) -> (Broadcast<u32, ()>, impl Fn(), Arc<Mutex<Option<Waker>>>) {
        let (out, waker) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None::<Waker>)));
        let source = Gate { out: out.clone(), waker: waker.clone(), given: 0, all };
        let kept = waker.clone();
        let let_out = move || {
            out.fetch_add(1, Ordering::AcqRel);
            let woken = waker.lock().take();
            if let Some(woken) = woken {
                woken.wake();
            }
        };
        // A bound of one item, so that the source stalls, too.
        (Broadcast::new(Box::pin(source), 1, |_| 1), let_out, kept)
    }

    #[test]
    fn two_listeners_hear_everything_that_comes_meanwhile() {
        loom::model(|| {
            let (broadcast, let_out, kept) = gate(1);
            let (one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
            let other = loom::thread::spawn(move || hear(two));
            let_out();
            assert_eq!(hear(one), [1]);
            assert_eq!(other.join().unwrap(), [1]);
            *kept.lock() = None;
        });
    }

    #[test]
    fn who_leaves_takes_nobodys_turn_along() {
        loom::model(|| {
            let (broadcast, let_out, kept) = gate(1);
            let (one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
            let other = loom::thread::spawn(move || hear(two));
            let thread = Arc::new(Thread(Notify::new()));
            let mut one = one;
            let _ = one.poll_item(&mut Context::from_waker(&Waker::from(thread)));
            let_out();
            drop(one);
            assert_eq!(other.join().unwrap(), [1]);
            *kept.lock() = None;
        });
    }

    /// Items are there at once; the second has to wait until both have read the first.
    #[test]
    fn a_source_that_stalled_goes_on() {
        loom::model(|| {
            let (broadcast, let_out, kept) = gate(3);
            (0..3).for_each(|_| let_out());
            let (one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
            let other = loom::thread::spawn(move || hear(two));
            assert_eq!(hear(one), [1, 2, 3]);
            assert_eq!(other.join().unwrap(), [1, 2, 3]);
            *kept.lock() = None;
        });
    }
}
