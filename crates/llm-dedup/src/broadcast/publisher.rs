//! One who feeds a log by hand.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::Interrupted;
use super::log::{Log, Part};
use crate::waiting::Seat;

/// Feeds a [`Broadcast`](super::Broadcast). Dropped before [`finish`](Self::finish), it leaves the listeners with
/// [`Interrupted::Lost`].
pub struct Publisher<T, E> {
    /// No part: who feeds the log does not keep it from ending.
    log: Arc<Log<T, E>>,
    seat: Seat,
    over: bool,
}

impl<T, E> fmt::Debug for Publisher<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Publisher(..)")
    }
}

/// There is no room: what is kept weighs what it may, and waits for the slowest listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the listeners have not read yet what was published")]
pub struct NoRoom;

impl<T, E> Publisher<T, E> {
    pub(super) fn new(part: &Part<T, E>) -> Self {
        Self { log: Arc::clone(part), seat: Seat::default(), over: false }
    }

    /// Adds an item.
    ///
    /// # Errors
    /// [`NoRoom`] when that is to wait for the slowest listener.
    pub fn publish(&mut self, item: T) -> Result<(), NoRoom> {
        if !self.log.has_room(&mut self.log.lock()) {
            return Err(NoRoom);
        }
        let weight = self.log.weigh(&item);
        self.log.append(item, weight, &mut self.seat, None);
        Ok(())
    }

    /// Waits for room.
    pub fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.log.lock();
        if self.log.has_room(&mut state) {
            return Poll::Ready(());
        }
        let replaced = state.waiting.register(&mut self.seat, cx.waker());
        drop(state);
        drop(replaced);
        Poll::Pending
    }

    /// Whether nobody holds the broadcast any more, nor listens.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.log.is_abandoned()
    }

    /// All has come.
    pub fn finish(self) {
        self.end(Ok(()));
    }

    /// It has failed.
    pub fn fail(self, error: E) {
        self.end(Err(Interrupted::Failed(error)));
    }

    fn end(mut self, end: Result<(), Interrupted<E>>) {
        self.over = true;
        self.log.end(end);
    }
}

impl<T, E> Drop for Publisher<T, E> {
    fn drop(&mut self) {
        if !self.over {
            self.log.end(Err(Interrupted::Lost));
        }
    }
}
