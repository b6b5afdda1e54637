//! One attempt on one candidate: begun, watched to the end of its answer, told once.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use futures_util::{StreamExt, stream};
use http::header::CONTENT_TYPE;
use llm_breaker::{CircuitBreaker, Outcome, Permit, Timing};
use llm_core::{
    Answer, AttemptBegun, AttemptObserver, AttemptRecord, BoxFuture, BoxStream, Call, CallBody, Clock, Error,
    ErrorKind, FaultClass, Forwarded, Frame, Operation, Piece, ProviderId, RequestObserver, StreamEvent,
    TargetObserver, Tick, Usage, WireAnswer, WireBody, boxed,
};
use llm_providers::wire::openai::UsageReader;
use llm_router::{Observed, Ticket};

use crate::hold::Hold;
use crate::meter::Meter;
use crate::request::{Reply, Whole};
use crate::upstream::Target;

/// An attempt under way. Dropped before its end, it counts as cancelled by the caller: the breaker forgets it, and
/// what was reserved stays spent. On the heap from the start: it goes through several hands.
pub(crate) struct Attempt {
    permit: Option<Permit>,
    ticket: Option<Ticket>,
    meter: Meter,
    observer: Arc<dyn TargetObserver>,
    follower: Option<Box<dyn AttemptObserver>>,
    clock: Arc<dyn Clock>,
    breaker: CircuitBreaker,
    operation: Operation,
    /// Whether the time that it took is the provider's alone: that of a body which the caller was still sending is not.
    timed: bool,
    started: Tick,
    first_token: Option<Tick>,
    /// Pieces of content.
    contents: u32,
    /// How long the provider was waited for since its first content; a caller that reads slowly is not its fault.
    waited: Duration,
    waiting_since: Option<Tick>,
    usage: Option<Usage>,
    /// Whether an answer that is passed on may tell its usage, and who looks for it.
    told: bool,
    reader: Option<UsageReader>,
    /// The status of an answer that is an error.
    status: Option<u16>,
}

impl Attempt {
    pub(crate) fn begin(
        target: &Target,
        breaker: &CircuitBreaker,
        permit: Permit,
        ticket: Ticket,
        meter: Meter,
        clock: &Arc<dyn Clock>,
        now: Tick,
    ) -> Box<Self> {
        target.observer.attempt_started();
        boxed(|| Self {
            permit: Some(permit),
            ticket: Some(ticket),
            meter,
            observer: target.observer.clone(),
            follower: None,
            clock: clock.clone(),
            breaker: breaker.clone(),
            operation: Operation::Chat,
            timed: true,
            started: now,
            first_token: None,
            contents: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            usage: None,
            told: false,
            reader: None,
            status: None,
        })
    }

    /// With `call`, the attempt is the `number`th of its request, which `follower` follows.
    pub(crate) fn followed(
        mut self: Box<Self>,
        follower: Option<&Arc<dyn RequestObserver>>,
        provider: &ProviderId,
        number: u32,
        call: &mut Call,
    ) -> Box<Self> {
        self.operation = call.body.operation();
        if let CallBody::Forward(forward) = &call.body {
            self.timed = forward.body.rest().is_none();
            // A batch is charged later than it is answered.
            self.told = forward.charged && !forward.stored;
        }
        if let Some(follower) = follower {
            let begun = AttemptBegun { provider, number, call, at: self.started };
            let attempt = follower.clone().attempt_started(&begun);
            attempt.sends(&mut call.headers);
            self.follower = Some(attempt);
        }
        self
    }

    /// Waits for the call's `answer`. A stream is handed on once its first content is there: what fails before may be
    /// retried. Whoever answers takes over what the request `holds` of its caller's limits.
    pub(crate) async fn run(
        mut self: Box<Self>,
        answer: BoxFuture<'_, Result<Answer, Error>>,
        holds: &mut Hold,
    ) -> Result<Reply, Error> {
        let answer = match answer.await {
            Ok(answer) => answer,
            Err(error) => {
                self.failed(&error);
                return Err(error);
            }
        };
        Ok(match answer {
            Answer::Wire(answer) => match *answer {
                WireAnswer { headers, body: WireBody::Whole { bytes, usage } } => {
                    self.entrust(holds)?;
                    self.hears(Piece::Bytes(&bytes));
                    self.succeeded(usage);
                    Reply::Whole(Arc::new(Whole { headers, bytes, usage }))
                }
                WireAnswer { headers, body: WireBody::Frames(frames) } => {
                    Reply::Frames { headers: Arc::new(headers), frames: begun(self.watch(frames), holds).await? }
                }
            },
            Answer::Completion(mut response) => {
                self.entrust(holds)?;
                response.latency = Some(self.clock.now().since(self.started));
                self.hears(Piece::Completion(&response));
                self.succeeded(response.usage);
                Reply::Completion(response)
            }
            Answer::Events(events) => Reply::Events(begun(self.watch(events), holds).await?),
            Answer::Embeddings(response) => {
                self.entrust(holds)?;
                self.succeeded(response.usage);
                Reply::Embeddings(response)
            }
            Answer::Forwarded(answer) => {
                self.entrust(holds)?;
                // From here on the caller's pace counts no more.
                self.first_token = Some(self.clock.now());
                let Forwarded { status, headers, length, body } = *answer;
                let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
                self.reader = kind.filter(|_| self.told).and_then(UsageReader::of);
                let body = Box::pin(self.watch(body));
                Reply::Forwarded(Box::new(Forwarded { status, headers, length, body }))
            }
            Answer::Models(_) => {
                let error = Error::new(ErrorKind::Internal, "a list of models answers no request for a model");
                self.failed(&error);
                return Err(error);
            }
        })
    }

    /// Takes over what the request `holds`.
    fn entrust(&mut self, holds: &mut Hold) -> Result<(), Error> {
        self.meter.entrust(holds, || self.clock.now())
    }

    fn hears(&mut self, piece: Piece<'_>) {
        if let Some(follower) = &mut self.follower {
            follower.hears(piece);
        }
    }

    /// The attempt's answer is whole.
    fn succeeded(&mut self, usage: Option<Usage>) {
        self.usage = usage.or(self.usage);
        self.tell(None);
    }

    /// The attempt failed.
    fn failed(&mut self, error: &Error) {
        self.meter.failed(error);
        self.status = error.upstream_status();
        if error.kind() == ErrorKind::RateLimited
            && let Some(wait) = error.retry_after()
        {
            self.breaker.hold_until(self.clock.now().after(wait));
        }
        self.tell(Some(error.kind()));
    }

    /// Watches `items` to their end.
    fn watch<T>(self: Box<Self>, items: BoxStream<Result<T, Error>>) -> Watched<T> {
        Watched { items: Some(items), attempt: self }
    }

    /// # Errors
    /// `Denied` when the answer is longer than what is reserved for it and no more can be had.
    fn step(&mut self, step: &impl Step) -> Result<(), Error> {
        self.hears(step.piece());
        let unread = self.reader.as_mut().and_then(|reader| reader.read(step.unread()));
        if let Some(usage) = step.usage().or(unread) {
            self.usage = Some(usage);
        }
        if !step.content() {
            return Ok(());
        }
        self.contents = self.contents.saturating_add(1);
        if self.first_token.is_none() {
            self.first_token = Some(self.clock.now());
        }
        self.meter.said(|| self.clock.now())
    }

    /// The provider is being waited for, or no longer.
    fn waits(&mut self, pending: bool) {
        if self.first_token.is_none() {
            return;
        }
        match (pending, self.waiting_since) {
            (true, None) => self.waiting_since = Some(self.clock.now()),
            (false, Some(since)) => {
                self.waited += self.clock.now().since(since);
                self.waiting_since = None;
            }
            _ => {}
        }
    }

    /// What the provider's part took.
    fn timing(&self, now: Tick) -> Timing {
        let Some(first) = self.first_token else { return Timing::from(now.since(self.started)) };
        let first_token = first.since(self.started);
        let token_gap = self.contents.checked_sub(1).filter(|gaps| *gaps > 0).map(|gaps| self.waited / gaps);
        Timing { latency: first_token + self.waited, first_token: Some(first_token), token_gap }
    }

    fn tell(&mut self, error: Option<ErrorKind>) {
        let Some(permit) = self.permit.take() else { return };
        let now = self.clock.now();
        let outcome = match error.map(ErrorKind::fault) {
            None => Outcome::Success,
            Some(FaultClass::Provider | FaultClass::Network) => Outcome::Failure,
            Some(FaultClass::Caller | FaultClass::Policy | FaultClass::Internal) => Outcome::Ignored,
        };
        if self.timed {
            permit.record_timed(outcome, self.timing(now), now);
        } else {
            permit.record(outcome, now);
        }
        let cost = self.meter.end(self.usage.as_ref(), now);
        let first_token = self.first_token.filter(|_| self.operation != Operation::Forward);
        let (duration, first_token) = (now.since(self.started), first_token.map(|first| first.since(self.started)));
        if let Some(ticket) = self.ticket.take().filter(|_| outcome != Outcome::Ignored && self.timed) {
            let observed = Observed {
                latency: duration,
                first_token,
                output_tokens: self.usage.as_ref().map(Usage::output_total),
                cost,
                failed: outcome == Outcome::Failure,
            };
            ticket.record(observed, now);
        }
        let (operation, usage, upstream_status) = (self.operation, self.usage, self.status);
        let record = AttemptRecord { operation, duration, first_token, usage, cost, error, upstream_status };
        self.observer.attempt_ended(&record);
        if let Some(mut follower) = self.follower.take() {
            follower.attempt_ended(&record);
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        self.tell(Some(ErrorKind::Cancelled));
    }
}

/// Waits for the first content, so that what precedes it can still be thrown away.
async fn begun<T: Step + Send + 'static>(
    mut items: Watched<T>,
    holds: &mut Hold,
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
    items.entrust(holds)?;
    Ok(Box::pin(stream::iter(held).chain(items)))
}

/// Items without content that are held back at most, such as comments that keep a connection alive.
const MAX_HELD: usize = 16;

/// What a stream's item says about the answer in the making.
pub(crate) trait Step {
    fn piece(&self) -> Piece<'_>;
    fn content(&self) -> bool;
    fn usage(&self) -> Option<Usage>;
    fn last(&self) -> bool;

    /// What nothing has been read of.
    fn unread(&self) -> &[u8] {
        &[]
    }
}

impl Step for Frame {
    fn piece(&self) -> Piece<'_> {
        Piece::Bytes(&self.bytes)
    }

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

/// A piece of an answer of which nothing but its usage is read.
impl Step for Bytes {
    fn piece(&self) -> Piece<'_> {
        Piece::Bytes(&[])
    }

    fn content(&self) -> bool {
        false
    }

    fn usage(&self) -> Option<Usage> {
        None
    }

    fn last(&self) -> bool {
        false
    }

    fn unread(&self) -> &[u8] {
        self
    }
}

impl Step for StreamEvent {
    fn piece(&self) -> Piece<'_> {
        Piece::Event(self)
    }

    fn content(&self) -> bool {
        self.is_content()
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
    /// None once they have been cut off.
    items: Option<BoxStream<Result<T, Error>>>,
    attempt: Box<Attempt>,
}

impl<T> Watched<T> {
    /// Takes over what the request `holds`.
    fn entrust(&mut self, holds: &mut Hold) -> Result<(), Error> {
        let result = self.attempt.entrust(holds);
        if let Err(cut) = &result {
            self.items = None;
            self.attempt.tell(Some(cut.kind()));
        }
        result
    }
}

impl<T: Step> Stream for Watched<T> {
    type Item = Result<T, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(items) = &mut this.items else { return Poll::Ready(None) };
        let polled = items.as_mut().poll_next(cx);
        this.attempt.waits(polled.is_pending());
        let item = std::task::ready!(polled);
        match &item {
            Some(Ok(step)) => match this.attempt.step(step) {
                // A caller may leave at the terminal marker: the answer was whole all the same.
                Ok(()) if step.last() => this.attempt.tell(None),
                Ok(()) => {}
                Err(cut) => {
                    this.items = None;
                    this.attempt.tell(Some(cut.kind()));
                    return Poll::Ready(Some(Err(cut)));
                }
            },
            Some(Err(error)) => this.attempt.failed(error),
            None => this.attempt.tell(None),
        }
        Poll::Ready(item)
    }
}
