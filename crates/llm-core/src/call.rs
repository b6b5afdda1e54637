//! One call to a provider and its answer, in bytes or in neutral form.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_core::Stream;
use http::HeaderMap;
use serde::Deserialize;

use crate::{
    CompletionRequest, CompletionResponse, EmbeddingRequest, EmbeddingResponse, Envelope, Error, Forward, Forwarded,
    Model, ModelId, Operation, RequestId, StreamEvent, Usage, boxed,
};

/// A future that a trait object returns.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A stream that owns all it needs; dropping it cancels what feeds it.
pub type BoxStream<T> = Pin<Box<dyn Stream<Item = T> + Send>>;

/// What a stream of wire frames yields. It ends after the dialect's terminal marker; an upstream that stops
/// without one yields an error last.
pub type Frames = BoxStream<Result<Frame, Error>>;

/// One call to one provider.
#[derive(Clone, Debug)]
pub struct Call {
    /// The model, as the provider spells it.
    pub model: ModelId,
    /// What is asked.
    pub body: CallBody,
    /// The request's name, sent along as `x-request-id`.
    pub request_id: Option<RequestId>,
    /// Further headers of the caller's that the provider is to see, where it speaks the caller's dialect.
    pub headers: HeaderMap,
    /// What becomes of fields that the provider's dialect has no equal for.
    pub strictness: Strictness,
    /// Whether thoughts are told to a caller whose dialect has no place for them.
    pub show_thoughts: bool,
    /// Output tokens that the model gives at most, where that is known: the cap of a call that gives none, in dialects
    /// that need one.
    pub max_output: Option<u64>,
}

impl Call {
    /// A call for `model` without further headers.
    #[must_use]
    pub fn new(model: ModelId, body: CallBody) -> Self {
        Self {
            model,
            body,
            request_id: None,
            headers: HeaderMap::new(),
            strictness: Strictness::default(),
            show_thoughts: false,
            max_output: None,
        }
    }
}

/// What to do with a request's field that the provider has no equal for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strictness {
    /// Refuse the request, naming the field. Hints, whose loss changes no answer, are left out and listed all the same.
    #[default]
    Strict,
    /// Leave the field out and list it, unless its loss would change the meaning of the request or lose content.
    Lenient,
}

/// What a call asks, in the caller's bytes or in neutral form. The answer comes in the same form.
#[derive(Clone, Debug)]
pub enum CallBody {
    /// A body of a dialect that the provider speaks.
    Wire(Arc<Envelope>),
    /// A completion.
    Completion(Box<CompletionRequest>),
    /// A completion, answered event by event.
    Stream(Box<CompletionRequest>),
    /// Vectors for texts.
    Embedding(Box<EmbeddingRequest>),
    /// The provider's models.
    Models,
    /// A request that is passed on as it is.
    Forward(Arc<Forward>),
}

impl CallBody {
    /// What the call is for.
    #[must_use]
    pub fn operation(&self) -> Operation {
        match self {
            Self::Wire(envelope) => envelope.operation,
            Self::Completion(_) | Self::Stream(_) => Operation::Chat,
            Self::Embedding(_) => Operation::Embeddings,
            Self::Models => Operation::Models,
            Self::Forward(_) => Operation::Forward,
        }
    }

    /// Whether the answer is a stream.
    #[must_use]
    pub fn stream(&self) -> bool {
        match self {
            Self::Wire(envelope) => envelope.stream,
            Self::Stream(_) => true,
            Self::Completion(_) | Self::Embedding(_) | Self::Models | Self::Forward(_) => false,
        }
    }
}

impl From<Envelope> for CallBody {
    fn from(envelope: Envelope) -> Self {
        Self::Wire(Arc::new(envelope))
    }
}

/// A provider's answer, in the form of the call.
pub enum Answer {
    /// To [`CallBody::Wire`].
    Wire(Box<WireAnswer>),
    /// To [`CallBody::Completion`].
    Completion(Box<CompletionResponse>),
    /// To [`CallBody::Stream`]. It ends after the last event; an upstream that stops early yields an error last.
    Events(BoxStream<Result<StreamEvent, Error>>),
    /// To [`CallBody::Embedding`].
    Embeddings(Box<EmbeddingResponse>),
    /// To [`CallBody::Models`].
    Models(Vec<Model>),
    /// To [`CallBody::Forward`].
    Forwarded(Box<Forwarded>),
}

impl Answer {
    /// The usage of an answer that is whole.
    #[must_use]
    pub fn usage(&self) -> Option<&Usage> {
        match self {
            Self::Wire(answer) => match &answer.body {
                WireBody::Whole { usage, .. } => usage.as_ref(),
                WireBody::Frames(_) => None,
            },
            Self::Completion(response) => response.usage.as_ref(),
            Self::Embeddings(response) => response.usage.as_ref(),
            Self::Events(_) | Self::Models(_) | Self::Forwarded(_) => None,
        }
    }
}

impl From<WireAnswer> for Answer {
    fn from(answer: WireAnswer) -> Self {
        Self::Wire(boxed(|| answer))
    }
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(answer) => answer.fmt(f),
            Self::Completion(response) => response.fmt(f),
            Self::Events(_) => f.write_str("Events(..)"),
            Self::Embeddings(response) => response.fmt(f),
            Self::Models(models) => models.fmt(f),
            Self::Forwarded(forwarded) => forwarded.fmt(f),
        }
    }
}

/// An answer as its provider sent it. Its status was a success: all others are an [`Error`].
#[derive(Debug)]
pub struct WireAnswer {
    /// The provider's headers that its caller may see: content type, rate limits, request id as
    /// `x-upstream-request-id`. Nothing hop-by-hop, no cookies.
    pub headers: HeaderMap,
    /// The body.
    pub body: WireBody,
}

/// The body of a [`WireAnswer`].
pub enum WireBody {
    /// All of it.
    Whole {
        /// As received.
        bytes: Bytes,
        /// What was read from it.
        usage: Option<Usage>,
    },
    /// Frame by frame.
    Frames(Frames),
}

impl fmt::Debug for WireBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole { bytes, usage } => {
                f.debug_struct("Whole").field("bytes", &bytes.len()).field("usage", usage).finish()
            }
            Self::Frames(_) => f.write_str("Frames(..)"),
        }
    }
}

/// One or more whole events of a stream, as received, and what was read from them.
#[derive(Clone, Debug, Default)]
pub struct Frame {
    /// The events' bytes, blank lines included. Empty when nothing of them is for the caller.
    pub bytes: Bytes,
    /// Whether an event carries content: text, reasoning, a tool call, audio.
    pub content: bool,
    /// The usage that an event reported.
    pub usage: Option<Box<Usage>>,
    /// Whether there is one event, and it reports the usage and nothing else: who did not ask for it does without.
    pub usage_only: bool,
    /// Whether the dialect's terminal marker (`[DONE]`) is among the events: what follows is the end.
    pub last: bool,
}
