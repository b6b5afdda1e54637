//! A request's end: told once, whenever and however it comes; the caller's deadline is one of the ways.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use llm_core::{
    BoxStream, Clock, Error, ErrorKind, Forwarded, ModelId, Money, Observer, Operation, Price, RequestObserver,
    RequestRecord, Sharing, Tick, Usage,
};
use tokio::time::Sleep;

use crate::attempt::Step;
use crate::handle::Inner;
use crate::request::{Reply, Request, Response, Whole};

/// Runs `future` until `deadline`. It stays where it is: by value it would lie in here twice.
pub(crate) async fn before<T>(
    deadline: Option<Tick>,
    now: Tick,
    future: Pin<&mut (impl Future<Output = Result<T, Error>> + ?Sized)>,
) -> Result<T, Error> {
    match deadline {
        None => future.await,
        Some(deadline) => {
            let timed = Box::pin(tokio::time::timeout(deadline.since(now), future));
            timed.await.unwrap_or_else(|_| Err(passed()))
        }
    }
}

fn passed() -> Error {
    Error::new(ErrorKind::Timeout, "the deadline of x-llmkit-deadline-ms has passed")
}

/// What will be told of a request. Dropped untold, its caller has left.
pub(crate) struct Ending {
    observer: Option<Arc<dyn Observer>>,
    follower: Option<Arc<dyn RequestObserver>>,
    clock: Arc<dyn Clock>,
    received: Tick,
    operation: Operation,
    stream: bool,
    pub(crate) model: Option<ModelId>,
    sharing: Sharing,
    attempts: u32,
    /// Of an answer that another's call gave: what its tokens cost.
    price: Option<Arc<Price>>,
    saved: Option<Money>,
}

impl Ending {
    pub(crate) fn begin(path: &Inner, request: &Request) -> Self {
        Self {
            observer: Some(path.observer.clone()),
            follower: request.follower.clone(),
            clock: path.clock.clone(),
            received: request.received,
            operation: request.body.operation(),
            stream: request.body.stream(),
            model: None,
            sharing: Sharing::Bypass,
            attempts: 0,
            price: None,
            saved: None,
        }
    }

    pub(crate) fn failed(mut self, error: Error) -> Error {
        self.attempts = error.attempts();
        self.tell(Some(error.kind()));
        error
    }

    /// A whole answer is the request's end; a stream is watched to its own, the deadline at the latest.
    pub(crate) fn answered(mut self, response: Response, deadline: Option<Tick>, now: Tick) -> Response {
        let Response { reply, served } = response;
        self.sharing = served.sharing;
        self.attempts = served.attempts;
        self.price = served.price.clone().filter(|_| matches!(served.sharing, Sharing::Joined | Sharing::Hit));
        if let Some(follower) = &self.follower {
            follower.answered(&served.provider, &served.leader);
        }
        let reply = match reply {
            Reply::Frames { headers, frames } => Reply::Frames { headers, frames: self.watch(frames, deadline, now) },
            Reply::Events(events) => Reply::Events(self.watch(events, deadline, now)),
            Reply::Forwarded(forwarded) => {
                let Forwarded { status, headers, length, body } = *forwarded;
                let body = self.watch(body, deadline, now);
                Reply::Forwarded(Box::new(Forwarded { status, headers, length, body }))
            }
            whole => {
                if let Reply::Whole(answer) = &whole
                    && let Whole { usage: Some(usage), .. } = &**answer
                {
                    self.used(usage);
                }
                self.tell(None);
                whole
            }
        };
        Response { reply, served }
    }

    fn watch<T: Step + 'static>(
        self,
        items: BoxStream<Result<T, Error>>,
        deadline: Option<Tick>,
        now: Tick,
    ) -> BoxStream<Result<T, Error>> {
        let sleep = deadline.map(|deadline| Box::pin(tokio::time::sleep(deadline.since(now))));
        Box::pin(Watched { items: Some(items), ending: self, sleep })
    }

    /// Nobody paid for `usage` once more.
    fn used(&mut self, usage: &Usage) {
        self.saved = self.price.as_ref().and_then(|price| price.cost(usage));
    }

    fn tell(&mut self, error: Option<ErrorKind>) {
        let Some(observer) = self.observer.take() else { return };
        let record = RequestRecord {
            operation: self.operation,
            model: self.model.as_ref(),
            stream: self.stream,
            sharing: self.sharing,
            attempts: self.attempts,
            saved: self.saved,
            duration: self.clock.now().since(self.received),
            error,
        };
        observer.request_ended(&record);
        if let Some(follower) = self.follower.take() {
            follower.request_ended(&record);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.tell(Some(ErrorKind::Cancelled));
    }
}

struct Watched<T> {
    items: Option<BoxStream<Result<T, Error>>>,
    ending: Ending,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl<T: Step> Stream for Watched<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(items) = &mut this.items else { return Poll::Ready(None) };
        let mut item = items.as_mut().poll_next(cx);
        if item.is_pending()
            && let Some(sleep) = &mut this.sleep
            && sleep.as_mut().poll(cx).is_ready()
        {
            this.items = None;
            item = Poll::Ready(Some(Err(passed())));
        }
        if let Poll::Ready(Some(Ok(step))) = &item
            && let Some(usage) = step.usage()
        {
            this.ending.used(&usage);
        }
        match &item {
            Poll::Ready(Some(Ok(step))) if step.last() => this.ending.tell(None),
            Poll::Ready(Some(Err(error))) => this.ending.tell(Some(error.kind())),
            Poll::Ready(None) => this.ending.tell(None),
            Poll::Ready(Some(Ok(_))) | Poll::Pending => {}
        }
        item
    }
}
