//! How the layers below telemetry tell what happened.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;

use crate::{
    Call, CompletionResponse, ErrorKind, ModelId, Money, Operation, ProviderId, RequestId, StreamEvent, Tick, Usage,
};

/// Told what happens on the request's path, of all requests. Implementations must not block.
pub trait Observer: Send + Sync + 'static {
    /// Told once for each model of a provider that is configured; what comes back is told of its attempts.
    fn target(&self, provider: &ProviderId, model: &ModelId) -> Arc<dyn TargetObserver>;

    /// A request has ended, streams included.
    fn request_ended(&self, record: &RequestRecord<'_>);

    /// The circuit of a provider's model has changed its state.
    fn circuit_changed(&self, provider: &ProviderId, model: &ModelId, transition: &Transition);

    /// A limit has denied a request, or an attempt of one. Both words are from closed sets.
    fn limit_denied(&self, level: &str, resource: &'static str);

    /// A provider has refused a key that is configured for it; `key` is what it is called, not the key.
    fn key_refused(&self, provider: &ProviderId, key: &str);
}

/// Told of the attempts on one model of one provider.
pub trait TargetObserver: Send + Sync + 'static {
    /// An attempt begins. Each is followed by exactly one [`attempt_ended`](Self::attempt_ended).
    fn attempt_started(&self);

    /// An attempt has ended, streams included.
    fn attempt_ended(&self, record: &AttemptRecord);
}

/// Follows one request from its begin to its end. Few are followed: those that are traced, or logged one by one.
pub trait RequestObserver: fmt::Debug + Send + Sync + 'static {
    /// An attempt begins; what comes back follows it to its end.
    fn attempt_started(self: Arc<Self>, attempt: &AttemptBegun<'_>) -> Box<dyn AttemptObserver>;

    /// An answer is there; of a stream, its beginning. `leader` is the request whose call it was.
    fn answered(&self, provider: &ProviderId, leader: &RequestId);

    /// The request has ended, streams included. Told once.
    fn request_ended(&self, record: &RequestRecord<'_>);
}

/// Follows one attempt of a request that is followed.
pub trait AttemptObserver: Send + 'static {
    /// Adds the headers by which the provider can carry on the trace.
    fn sends(&self, headers: &mut HeaderMap);

    /// A piece of the answer has come. Pieces come in order.
    fn hears(&mut self, piece: Piece<'_>);

    /// The attempt has ended, streams included. Told once.
    fn attempt_ended(&mut self, record: &AttemptRecord);
}

/// An attempt that begins.
#[derive(Debug)]
pub struct AttemptBegun<'a> {
    /// The provider that is asked.
    pub provider: &'a ProviderId,
    /// Which attempt of its request it is; the first is 1.
    pub number: u32,
    /// What is asked.
    pub call: &'a Call,
    /// When it begins.
    pub at: Tick,
}

/// A piece of an answer, in the form in which it came.
#[derive(Clone, Copy, Debug)]
pub enum Piece<'a> {
    /// A whole body, or one or more whole events of a stream, in the dialect of the call.
    Bytes(&'a [u8]),
    /// A completion.
    Completion(&'a CompletionResponse),
    /// A step of a completion.
    Event(&'a StreamEvent),
}

/// The settings of a request that traces tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RequestSettings {
    /// 0 to 2.
    pub temperature: Option<f64>,
    /// 0 to 1.
    pub top_p: Option<f64>,
    /// −2 to 2.
    pub frequency_penalty: Option<f64>,
    /// −2 to 2.
    pub presence_penalty: Option<f64>,
    /// For answers that repeat.
    pub seed: Option<i64>,
}

/// What an answer says of itself, as far as traces tell it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AboutAnswer {
    /// The provider's name for it.
    pub id: Option<String>,
    /// The model that the provider says has answered.
    pub model: Option<String>,
    /// Why its choices ended, in the dialect's words, in the order of their ends.
    pub finish_reasons: Vec<String>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
    /// What it was for.
    pub operation: Operation,
    /// From sending to the answer's end.
    pub duration: Duration,
    /// From sending to the first content of a stream.
    pub first_token: Option<Duration>,
    /// Tokens used, when the provider said.
    pub usage: Option<Usage>,
    /// What they cost, when the price is known.
    pub cost: Option<Money>,
    /// What went wrong; [`ErrorKind::Cancelled`] when the caller left.
    pub error: Option<ErrorKind>,
    /// The provider's HTTP status, where it answered with an error.
    pub upstream_status: Option<u16>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct RequestRecord<'a> {
    /// What it was for.
    pub operation: Operation,
    /// The configured name of the model asked for; none when there is no such model.
    pub model: Option<&'a ModelId>,
    /// Whether the answer was asked for as a stream.
    pub stream: bool,
    /// Whether the upstream call was shared.
    pub sharing: Sharing,
    /// Calls made upstream.
    pub attempts: u32,
    /// What another's call would have cost again, where the price is known.
    pub saved: Option<Money>,
    /// From its arrival to its answer's end.
    pub duration: Duration,
    /// What went wrong.
    pub error: Option<ErrorKind>,
}

/// Whose upstream call answered a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sharing {
    /// Its own.
    Miss,
    /// One that another caller had begun.
    Joined,
    /// One that had ended, whose answer was kept.
    Hit,
    /// Its own, because sharing was declined or does not apply.
    Bypass,
}

impl Sharing {
    /// The word in headers and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Miss => "miss",
            Self::Joined => "joined",
            Self::Hit => "hit",
            Self::Bypass => "bypass",
        }
    }
}

/// A circuit's change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The state before: `closed`, `open` or `half-open`.
    pub from: &'static str,
    /// The state since.
    pub to: &'static str,
    /// Why.
    pub reason: String,
}

/// Takes no notice.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn target(&self, _: &ProviderId, _: &ModelId) -> Arc<dyn TargetObserver> {
        Arc::new(Self)
    }

    fn request_ended(&self, _: &RequestRecord<'_>) {}

    fn circuit_changed(&self, _: &ProviderId, _: &ModelId, _: &Transition) {}

    fn limit_denied(&self, _: &str, _: &'static str) {}

    fn key_refused(&self, _: &ProviderId, _: &str) {}
}

impl TargetObserver for NoObserver {
    fn attempt_started(&self) {}

    fn attempt_ended(&self, _: &AttemptRecord) {}
}
