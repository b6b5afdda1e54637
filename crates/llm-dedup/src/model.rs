//! What the models have in common: threads that wait as tasks do.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;

/// Wakes a thread of the model.
pub(crate) struct Thread(Notify);

impl Thread {
    /// A waker, and the thread that it wakes.
    pub(crate) fn new() -> (Waker, Arc<Self>) {
        let thread = Arc::new(Self(Notify::new()));
        (Waker::from(thread.clone()), thread)
    }
}

impl Wake for Thread {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Polls until there is something, as a runtime does: only when it was woken.
pub(crate) fn wait<U>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<U>) -> U {
    let (waker, thread) = Thread::new();
    loop {
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => thread.0.wait(),
        }
    }
}
