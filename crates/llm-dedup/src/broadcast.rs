//! One stream for many: an append-only log of what came, which each listener reads at its own pace.
//!
//! There is no owner and no task: whoever listens drives the source, and it ends with the last who holds it.

mod listener;
mod log;
mod publisher;
mod segment;

use std::fmt;

use llm_core::BoxStream;

use self::log::Part;
use crate::flights::Ongoing;

pub use self::listener::Listener;
pub use self::publisher::{NoRoom, Publisher};

/// A stream that many may listen to. Clones share it.
///
/// Who comes late first gets all that was sent. That is kept up to a bound in bytes; beyond it nobody new may come from
/// the start, and what all have read is forgotten. The source is read no further ahead of the slowest listener than the
/// bound: give or take an eighth, and one item.
///
/// What came lies in segments that are written once: a listener reads them without a lock, and nothing is copied for
/// it. A log takes about 0.5 KB beside its items and 8 bytes a slot; a listener takes 64 bytes, its place in the log 16
/// and its waker, while it waits, 16.
pub struct Broadcast<T, E>(Part<T, E>);

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

impl<T, E> Broadcast<T, E> {
    /// A broadcast of `source` that keeps items up to `most` bytes, as `weigh` tells them.
    #[must_use]
    pub fn new(source: BoxStream<Result<T, E>>, most: usize, weigh: fn(&T) -> usize) -> Self {
        Self(Part::new(Some(source), most, weigh))
    }

    /// As [`new`](Self::new), of what the publisher is given.
    #[must_use]
    pub fn by_hand(most: usize, weigh: fn(&T) -> usize) -> (Self, Publisher<T, E>) {
        let part = Part::new(None, most, weigh);
        let publisher = Publisher::new(&part);
        (Self(part), publisher)
    }

    fn of(part: Part<T, E>) -> Self {
        Self(part)
    }

    /// Whether somebody new would get everything from the start, and more is to come.
    #[must_use]
    pub fn is_open(&self) -> bool {
        let state = self.0.lock();
        state.open && state.end.is_none()
    }

    /// Whether all has come, without an error, and is kept.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.0.lock().complete
    }

    /// All that has come, once it [is complete](Self::is_complete).
    #[must_use]
    pub fn items(&self) -> Option<Vec<T>>
    where
        T: Clone,
    {
        let state = self.0.lock();
        state.complete.then(|| state.items().cloned().collect())
    }

    /// What is kept weighs so much, the slots of the items included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let state = self.0.lock();
        state.bytes + state.size()
    }

    /// How many listen.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.0.lock().listeners
    }

    /// Listens from the start. None when that is closed to newcomers.
    #[must_use]
    pub fn listen(&self) -> Option<Listener<T, E>> {
        Listener::new(&self.0, |state| state.open.then_some(0))
    }

    /// Listens from item `from` on, as who comes back does; the first is 0. None when that is no longer kept, or more
    /// than the next to come.
    #[must_use]
    pub fn listen_from(&self, from: u64) -> Option<Listener<T, E>> {
        Listener::new(&self.0, |_| Some(from))
    }

    /// Keeps at least so many bytes of what all have read, less than half of the bound: for those who come back for
    /// what they have missed.
    pub fn keep_behind(&self, bytes: usize) {
        let mut state = self.0.lock();
        state.behind = state.behind.max(bytes.min(self.0.most() / 2));
    }
}

impl<T: Send + Sync + 'static, E: Send + Sync + 'static> Ongoing for Broadcast<T, E> {
    fn is_open(&self) -> bool {
        self.is_open()
    }

    fn before_end(&self, then: Box<dyn FnOnce() + Send>) {
        let mut state = self.0.lock();
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

    /// A listener that stands at the start, and that those who wait for it may expel as any other.
    fn hold_start(&self) -> Option<Box<dyn Send>> {
        Some(Box::new(self.listen_from(0)?))
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
    /// The source broke down, or was given up.
    #[error("the stream broke down")]
    Lost,
}

#[cfg(test)]
#[cfg(llm_loom)]
mod loom_tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll, Waker};

    use futures_core::Stream;
    use llm_core::sync::Mutex;
    use loom::sync::atomic::{AtomicU32, Ordering};
    use loom::thread;

    use super::*;
    use crate::model::{Thread, wait};

    /// All that a listener hears.
    fn hear(mut listener: Listener<u32, ()>) -> Vec<u32> {
        let mut heard = Vec::new();
        while let Some(item) = wait(|cx| listener.poll_item(cx)) {
            heard.push(item.unwrap());
        }
        heard
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

    impl Drop for Gate {
        fn drop(&mut self) {
            // It holds the log: without this the model would see a leak.
            *self.waker.lock() = None;
        }
    }

    /// A log of items that weigh two, and what lets some out.
    fn gate(all: u32, most: usize) -> (Broadcast<u32, ()>, impl Fn(u32)) {
        let (out, waker) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(None::<Waker>)));
        let source = Gate { out: out.clone(), waker: waker.clone(), given: 0, all };
        let let_out = move |items| {
            out.fetch_add(items, Ordering::AcqRel);
            let woken = waker.lock().take();
            if let Some(woken) = woken {
                woken.wake();
            }
        };
        (Broadcast::new(Box::pin(source), most, |_| 2), let_out)
    }

    #[test]
    fn two_listeners_hear_everything_that_comes_meanwhile() {
        loom::model(|| {
            let (broadcast, let_out) = gate(1, 100);
            let (one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
            let other = thread::spawn(move || hear(two));
            let_out(1);
            assert_eq!(hear(one), [1]);
            assert_eq!(other.join().unwrap(), [1]);
        });
    }

    #[test]
    fn one_hears_what_two_threads_let_out() {
        loom::model(|| {
            let (broadcast, let_out) = gate(2, 100);
            let one = broadcast.listen().unwrap();
            let other = thread::spawn(move || hear(one));
            let_out(1);
            let_out(1);
            assert_eq!(other.join().unwrap(), [1, 2]);
        });
    }

    #[test]
    fn who_leaves_takes_nobodys_turn_along() {
        loom::model(|| {
            let (broadcast, let_out) = gate(1, 100);
            let (mut one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
            let other = thread::spawn(move || hear(two));
            let (waker, _) = Thread::new();
            let _ = one.poll_item(&mut Context::from_waker(&waker));
            let_out(1);
            drop(one);
            assert_eq!(other.join().unwrap(), [1]);
        });
    }

    /// One of two threads drives, the other has found it busy and must not be forgotten: the first does not come back,
    /// nor does it leave, until the other has heard everything.
    fn busy(broadcast: &Broadcast<u32, ()>, meanwhile: impl FnOnce() + 'static) {
        let (mut one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
        let other = thread::spawn(move || hear(two));
        let (waker, _) = Thread::new();
        let _ = one.poll_item(&mut Context::from_waker(&waker));
        meanwhile();
        assert_eq!(other.join().unwrap(), [1]);
        drop(one);
    }

    #[test]
    fn who_found_the_source_busy_hears_what_comes_then() {
        loom::model(|| {
            let (broadcast, let_out) = gate(1, 100);
            busy(&broadcast, move || let_out(1));
        });
    }

    #[test]
    fn who_found_the_source_busy_with_the_last_item_hears_the_end() {
        loom::model(|| {
            let (broadcast, let_out) = gate(1, 100);
            let_out(1);
            busy(&broadcast, || ());
        });
    }

    /// Asks to be polled again twice before it gives its one item.
    struct Restless(u32);

    impl Stream for Restless {
        type Item = Result<u32, ()>;

        fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0 += 1;
            match self.0 {
                1 | 2 => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                3 => Poll::Ready(Some(Ok(1))),
                _ => Poll::Ready(None),
            }
        }
    }

    #[test]
    fn who_found_the_source_busy_while_it_became_due_again_is_told() {
        loom::model(|| busy(&Broadcast::new(Box::pin(Restless(0)), 100, |_| 1), || ()));
    }

    /// The second item has to wait until both have read the first.
    #[test]
    fn a_source_that_stalled_goes_on() {
        loom::model(|| {
            let (broadcast, let_out) = gate(2, 1);
            let_out(2);
            let (mut one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
            assert!(wait(|cx| one.poll_item(cx)) == Some(Ok(1)));
            let other = thread::spawn(move || hear(two));
            assert!(wait(|cx| one.poll_item(cx)) == Some(Ok(2)));
            drop(one);
            assert_eq!(other.join().unwrap(), [1, 2]);
        });
    }

    #[test]
    fn who_leaves_makes_room() {
        loom::model(|| {
            let (broadcast, let_out) = gate(2, 1);
            let_out(2);
            let (one, two) = (broadcast.listen().unwrap(), broadcast.listen().unwrap());
            let other = thread::spawn(move || hear(two));
            drop(one);
            assert_eq!(other.join().unwrap(), [1, 2]);
        });
    }

    #[test]
    fn who_comes_while_it_begins_hears_it_from_the_start() {
        loom::model(|| {
            let (broadcast, let_out) = gate(2, 100);
            let_out(2);
            let one = broadcast.listen().unwrap();
            let other = {
                let broadcast = broadcast.clone();
                thread::spawn(move || broadcast.listen().map(hear))
            };
            assert_eq!(hear(one), [1, 2]);
            assert_eq!(other.join().unwrap(), Some(vec![1, 2]));
        });
    }

    #[test]
    fn what_is_fed_by_hand_is_heard_and_waits_for_room() {
        loom::model(|| {
            let (broadcast, mut publisher) = Broadcast::<u32, ()>::by_hand(1, |_| 1);
            let listener = broadcast.listen().unwrap();
            let other = thread::spawn(move || hear(listener));
            for item in 1..=3 {
                wait(|cx| publisher.poll_room(cx));
                publisher.publish(item).unwrap();
            }
            publisher.finish();
            assert_eq!(other.join().unwrap(), [1, 2, 3]);
        });
    }
}
