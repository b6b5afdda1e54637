//! One attempt on one candidate: begun, watched to the end of its answer, told once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::{StreamExt, stream};
use llm_breaker::{Outcome, Permit};
use llm_core::{
    Answer, AttemptRecord, BoxStream, Call, Clock, Error, ErrorKind, FaultClass, Frame, Price, Provider, StreamEvent,
    TargetObserver, Tick, Usage, WireAnswer, WireBody,
};

use crate::request::{Reply, Whole};
use crate::routes::Target;

/// An attempt under way. Dropped before its end, it counts as cancelled by the caller: the breaker forgets it.
pub(crate) struct Attempt {
    permit: Option<Permit>,
    observer: Arc<dyn TargetObserver>,
    clock: Arc<dyn Clock>,
    price: Option<Price>,
    started: Tick,
    first_token: Option<Tick>,
    usage: Option<Usage>,
}

impl Attempt {
    pub(crate) fn begin(target: &Target, permit: Permit, clock: &Arc<dyn Clock>, now: Tick) -> Self {
        target.observer.attempt_started();
        Self {
            permit: Some(permit),
            observer: target.observer.clone(),
            clock: clock.clone(),
            price: target.price,
            started: now,
            first_token: None,
            usage: None,
        }
    }

    /// Makes the call. A stream is handed on once its first content is there: what fails before may be retried.
    pub(crate) async fn run(self, provider: &dyn Provider, call: Call) -> Result<Reply, Error> {
        let answer = match provider.send(call).await {
            Ok(answer) => answer,
            Err(error) => {
                self.failed(&error);
                return Err(error);
            }
        };
        Ok(match answer {
            Answer::Wire(WireAnswer { headers, body: WireBody::Whole { bytes, usage } }) => {
                self.succeeded(usage);
                Reply::Whole(Arc::new(Whole { headers, bytes }))
            }
            Answer::Wire(WireAnswer { headers, body: WireBody::Frames(frames) }) => {
                Reply::Frames { headers, frames: begun(self.watch(frames)).await? }
            }
            Answer::Completion(response) => {
                self.succeeded(response.usage);
                Reply::Completion(response)
            }
            Answer::Events(events) => Reply::Events(begun(self.watch(events)).await?),
            Answer::Embeddings(response) => {
                self.succeeded(response.usage);
                Reply::Embeddings(response)
            }
            Answer::Models(_) => {
                let error = Error::new(ErrorKind::Internal, "a list of models answers no request for a model");
                self.failed(&error);
                return Err(error);
            }
        })
    }

    /// The attempt's answer is whole.
    fn succeeded(mut self, usage: Option<Usage>) {
        self.usage = usage.or(self.usage);
        self.tell(None);
    }

    /// The attempt failed.
    fn failed(mut self, error: &Error) {
        self.tell(Some(error.kind()));
    }

    /// Watches `items` to their end.
    fn watch<T: Step + 'static>(self, items: BoxStream<Result<T, Error>>) -> BoxStream<Result<T, Error>> {
        Box::pin(Watched { items, attempt: Some(self) })
    }

    fn step(&mut self, step: &impl Step) {
        if step.content() && self.first_token.is_none() {
            self.first_token = Some(self.clock.now());
        }
        if let Some(usage) = step.usage() {
            self.usage = Some(usage);
        }
    }

    fn tell(&mut self, error: Option<ErrorKind>) {
        let Some(permit) = self.permit.take() else { return };
        let now = self.clock.now();
        let outcome = match error.map(ErrorKind::fault) {
            None => Outcome::Success,
            Some(FaultClass::Provider | FaultClass::Network) => Outcome::Failure,
            Some(FaultClass::Caller | FaultClass::Policy | FaultClass::Internal) => Outcome::Ignored,
        };
        permit.record(outcome, now);
        self.observer.attempt_ended(&AttemptRecord {
            duration: now.since(self.started),
            first_token: self.first_token.map(|first| first.since(self.started)),
            usage: self.usage,
            cost: self.price.zip(self.usage).map(|(price, usage)| price.cost(&usage)),
            error,
        });
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.tell(Some(ErrorKind::Cancelled));
    }
}

/// Waits for the first content, so that what precedes it can still be thrown away.
async fn begun<T: Step + Send + 'static>(
    mut items: BoxStream<Result<T, Error>>,
) -> Result<BoxStream<Result<T, Error>>, Error> {
    let mut held = Vec::with_capacity(2);
    while let Some(item) = items.next().await {
        let item = item?;
        let enough = item.content() || item.last() || held.len() + 1 >= MAX_HELD;
        held.push(Ok(item));
        if enough {
            break;
        }
    }
    Ok(Box::pin(stream::iter(held).chain(items)))
}

/// Items without content that are held back at most, such as comments that keep a connection alive.
const MAX_HELD: usize = 16;

/// What a stream's item says about the answer in the making.
pub(crate) trait Step {
    fn content(&self) -> bool;
    fn usage(&self) -> Option<Usage>;
    fn last(&self) -> bool;
}

impl Step for Frame {
    fn content(&self) -> bool {
        self.content
    }

    fn usage(&self) -> Option<Usage> {
        self.usage.as_deref().copied()
    }

    fn last(&self) -> bool {
        self.last
    }
}

impl Step for StreamEvent {
    fn content(&self) -> bool {
        matches!(
            self,
            Self::Text { .. }
                | Self::Refusal { .. }
                | Self::Reasoning { .. }
                | Self::ToolCall { .. }
                | Self::ToolArguments { .. }
        )
    }

    fn usage(&self) -> Option<Usage> {
        match self {
            Self::Usage(usage) => Some(*usage),
            _ => None,
        }
    }

    fn last(&self) -> bool {
        false
    }
}

struct Watched<T> {
    items: BoxStream<Result<T, Error>>,
    attempt: Option<Attempt>,
}

impl<T: Step> Stream for Watched<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = std::task::ready!(this.items.as_mut().poll_next(cx));
        match &item {
            Some(Ok(step)) => {
                if let Some(attempt) = &mut this.attempt {
                    attempt.step(step);
                    // A caller may leave at the terminal marker: the answer was whole all the same.
                    if step.last() {
                        this.attempt.take().expect("it was there").succeeded(None);
                    }
                }
            }
            Some(Err(error)) => {
                if let Some(attempt) = this.attempt.take() {
                    attempt.failed(error);
                }
            }
            None => {
                if let Some(attempt) = this.attempt.take() {
                    attempt.succeeded(None);
                }
            }
        }
        Poll::Ready(item)
    }
}
