//! What enters the path and what leaves it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{
    BoxStream, CallBody, CompletionResponse, EmbeddingResponse, Error, Forwarded, Frames, Price, ProviderId, RequestId,
    RequestObserver, Sharing, StreamEvent, TenantId, Tick, Usage,
};

/// Who asks: whose limits apply, and with whom calls may be shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The tenant.
    pub tenant: TenantId,
    /// The name of the key.
    pub key: Box<str>,
    /// The team that the key belongs to.
    pub team: Option<Box<str>>,
    /// The organisation that the key belongs to.
    pub org: Option<Box<str>>,
}

impl Caller {
    /// A tenant with one key of its name.
    pub fn new(tenant: impl Into<TenantId>) -> Self {
        let tenant = tenant.into();
        Self { key: tenant.as_str().into(), tenant, team: None, org: None }
    }
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who asks.
    pub caller: Arc<Caller>,
    /// The request's name.
    pub id: RequestId,
    /// What is asked.
    pub body: CallBody,
    /// Headers that the provider is to see.
    pub headers: HeaderMap,
    /// Whether another's answer may be its own.
    pub cache: CacheUse,
    /// The caller's name for what it asks, by which it comes back to it.
    pub idempotency_key: Option<Box<str>>,
    /// The number of the last frame that the caller got of a stream to which it comes back.
    pub last_frame: Option<u64>,
    /// When the request arrived.
    pub received: Tick,
    /// When its caller stops waiting.
    pub deadline: Option<Tick>,
    /// Who follows it, such as a trace.
    pub follower: Option<Arc<dyn RequestObserver>>,
}

/// Whether another's answer may be a request's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheUse {
    /// As configured: an identical call in flight, and a finished answer that is no draw.
    Default {
        /// How long its answer is kept; none: as configured.
        ttl: Option<Duration>,
    },
    /// A finished answer too, though it be a draw.
    On {
        /// How long its answer is kept; none: as configured.
        ttl: Option<Duration>,
    },
    /// None: the call is its own.
    Bypass,
}

impl Default for CacheUse {
    fn default() -> Self {
        Self::Default { ttl: None }
    }
}

/// An answer and how it came about.
#[derive(Debug)]
pub struct Response {
    /// The answer.
    pub reply: Reply,
    /// How it came about. On the heap, as what else is large in here: an answer goes through many hands.
    pub served: Box<Served>,
}

/// How an answer came about.
#[derive(Clone, Debug)]
pub struct Served {
    /// Who answered.
    pub provider: ProviderId,
    /// Whose upstream call it was.
    pub sharing: Sharing,
    /// The request whose call it was.
    pub leader: RequestId,
    /// Calls made upstream for it.
    pub attempts: u32,
    /// From the first call's begin to the answer's head, pauses between attempts included.
    pub upstream: Duration,
    /// What its tokens cost; none where unknown.
    pub price: Option<Arc<Price>>,
}

/// An answer in the form of the request.
pub enum Reply {
    /// Bytes, all of them. Shared among the callers of one flight.
    Whole(Arc<Whole>),
    /// Bytes, frame by frame.
    Frames {
        /// The provider's headers for the caller.
        headers: Arc<HeaderMap>,
        /// The frames.
        frames: Frames,
    },
    /// A completion.
    Completion(Box<CompletionResponse>),
    /// A completion, event by event.
    Events(BoxStream<Result<StreamEvent, Error>>),
    /// Vectors.
    Embeddings(Box<EmbeddingResponse>),
    /// An answer that is passed on as it is.
    Forwarded(Box<Forwarded>),
}

/// The bytes of a whole answer.
#[derive(Debug)]
pub struct Whole {
    /// The provider's headers for the caller.
    pub headers: HeaderMap,
    /// The body, as received.
    pub bytes: Bytes,
    /// What was read from it.
    pub usage: Option<Usage>,
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(whole) => whole.fmt(f),
            Self::Frames { headers, .. } => f.debug_struct("Frames").field("headers", headers).finish_non_exhaustive(),
            Self::Completion(response) => response.fmt(f),
            Self::Events(_) => f.write_str("Events(..)"),
            Self::Embeddings(response) => response.fmt(f),
            Self::Forwarded(forwarded) => forwarded.fmt(f),
        }
    }
}
