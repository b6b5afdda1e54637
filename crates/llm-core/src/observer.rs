//! How the layers below telemetry tell what happened.

use std::sync::Arc;
use std::time::Duration;

use crate::{ErrorKind, ModelId, Money, Operation, ProviderId, Usage};

/// Told what happens on the request's path. Implementations must not block.
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

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct AttemptRecord {
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
}

/// How a request ended.
#[derive(Clone, Debug)]
pub struct RequestRecord<'a> {
    /// What it was for.
    pub operation: Operation,
    /// The configured name of the model asked for; none when there is no such model.
    pub model: Option<&'a ModelId>,
    /// Whether the upstream call was shared.
    pub sharing: Sharing,
    /// Calls made upstream.
    pub attempts: u32,
    /// What another's call would have cost again, where the price is known.
    pub saved: Option<Money>,
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
