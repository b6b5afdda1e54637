//! A stream that several callers hear, as one of them hears it.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt;
use llm_core::{Error, ErrorKind, Frame};
use llm_dedup::{Interrupted, Listener, Subscriber};
use tokio::time::Sleep;

use crate::linger::Drain;

/// How long those who have heard all that came wait for one who reads nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// The frames that a caller hears. With it the caller holds its place in the flight: the last to let go cancels the
/// upstream call.
pub(crate) struct Heard<S: Clone + Send + Sync + 'static> {
    listener: Listener<Frame, Error>,
    /// Runs while the stream waits for somebody else.
    patience: Option<Pin<Box<Sleep>>>,
    _place: Option<Subscriber<S>>,
}

impl<S: Clone + Send + Sync + 'static> Heard<S> {
    pub(crate) const fn new(listener: Listener<Frame, Error>, place: Option<Subscriber<S>>) -> Self {
        Self { listener, patience: None, _place: place }
    }
}

impl<S: Clone + Send + Sync + 'static> Stream for Heard<S> {
    type Item = Result<Frame, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            if let Poll::Ready(item) = this.listener.poll_item(cx) {
                this.patience = None;
                return Poll::Ready(item.map(|item| item.map_err(interruption)));
            }
            if !this.listener.is_stalled() {
                this.patience = None;
                return Poll::Pending;
            }
            let patience = this.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(PATIENCE)));
            if patience.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            this.patience = None;
            this.listener.expel_slowest();
        }
    }
}

impl<S: Clone + Send + Sync + 'static> Drain for Heard<S> {
    async fn drain(mut self) {
        while let Some(Ok(_)) = self.next().await {}
    }
}

fn interruption(interrupted: Interrupted<Error>) -> Error {
    match interrupted {
        Interrupted::Failed(error) => error,
        Interrupted::Expelled | Interrupted::Lost => Error::new(ErrorKind::StreamInterrupted, interrupted.to_string()),
    }
}
