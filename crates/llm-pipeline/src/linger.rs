//! What goes on for a while after its caller has left, so that the caller can come back to it.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_core::Stream;
use futures_util::StreamExt;

/// So many go on at once at most; what is left beyond ends at once.
const MOST: usize = 1024;

/// How long what was left goes on.
#[derive(Clone, Debug)]
pub(crate) struct Grace {
    span: Duration,
    /// Going on at the moment. Relaxed: a count.
    lingering: Arc<AtomicUsize>,
}

impl Grace {
    pub(crate) fn new(span: Duration) -> Self {
        Self { span, lingering: Arc::default() }
    }

    /// `inner`, which goes on when it is dropped before its end.
    pub(crate) fn of<S: Drain>(&self, inner: S) -> Lingering<S> {
        Lingering { inner: Some(inner), grace: self.clone() }
    }
}

/// Can be brought to its end without anybody who wants what comes of it.
pub(crate) trait Drain: Send + Unpin + 'static {
    fn drain(self) -> impl Future<Output = ()> + Send;
}

/// A future or a stream that goes on for a while when it is dropped before its end.
pub(crate) struct Lingering<S: Drain> {
    /// None once it has ended.
    inner: Option<S>,
    grace: Grace,
}

impl<S: Drain> Drop for Lingering<S> {
    fn drop(&mut self) {
        let Some(inner) = self.inner.take() else { return };
        // Outside of a runtime there is nobody to go on with it.
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Grace { span, lingering } = self.grace.clone();
        if lingering.fetch_add(1, Relaxed) >= MOST {
            lingering.fetch_sub(1, Relaxed);
            return;
        }
        runtime.spawn(async move {
            // What has not ended by then is left for good.
            let _ = tokio::time::timeout(span, inner.drain()).await;
            lingering.fetch_sub(1, Relaxed);
        });
    }
}

impl<S: Drain + Future> Future for Lingering<S> {
    type Output = (S::Output, S);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let inner = this.inner.as_mut().expect("it is not polled after its end");
        let output = ready!(Pin::new(&mut *inner).poll(cx));
        let inner = this.inner.take().expect("it was there");
        Poll::Ready((output, inner))
    }
}

impl<S: Drain + Stream> Stream for Lingering<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.get_mut();
        let Some(inner) = &mut this.inner else { return Poll::Ready(None) };
        let item = ready!(inner.poll_next_unpin(cx));
        if item.is_none() {
            this.inner = None;
        }
        Poll::Ready(item)
    }
}
