//! The vocabulary of LLM traffic: what is asked, what is answered, what it used, what went wrong, and when.
//!
//! Everything else in the workspace speaks in these words. The neutral request and answer types are for
//! callers and translators; bytes that only pass through stay bytes ([`Envelope`], [`WireAnswer`]).
//!
//! # Limitations
//! No I/O and no runtime: a [`Provider`] is a trait here, its implementations live in `llm-providers`.
//!
//! # Example
//! ```
//! use llm_core::{CompletionRequest, Message};
//!
//! let request = CompletionRequest::new("fast", vec![Message::user("What is 2+2?")]);
//! assert_eq!(request.messages[0].text(), "What is 2+2?");
//! ```
mod call;
mod duration;
mod embedding;
mod envelope;
mod error;
mod ewma;
mod forward;
mod hash;
mod heap;
mod histogram;
mod id;
mod json;
mod message;
mod money;
mod observer;
mod price;
mod provider;
mod request;
mod response;
mod service_tier;
mod slots;
mod time;
mod tool;
mod usage;

#[doc(hidden)]
pub mod sync;

pub use call::{Answer, BoxFuture, BoxStream, Call, CallBody, Frame, Frames, Strictness, WireAnswer, WireBody};
pub use duration::{DurationError, format_duration, parse_duration};
pub use embedding::{Embedding, EmbeddingInput, EmbeddingRequest, EmbeddingResponse, Model};
pub use envelope::{Dialect, Digest, Edit, Envelope, Operation, Span};
pub use error::{Error, ErrorKind, FaultClass};
pub use ewma::{Ewma, Memory};
pub use forward::{Forward, ForwardBody, Forwarded, NamedModel, StoredResponse, Upload};
pub use hash::{HashKey, Pieces, TreeKey, hash64, hash128};
pub use heap::boxed;
pub use histogram::{Distribution, Histogram, SlidingHistogram};
pub use id::{ConversationId, ModelId, ProviderId, RequestId, TenantId, shard_session};
pub use json::Json;
pub use message::{CacheMark, Citation, Content, Message, Part, Reasoning, Role, Signature, Source};
pub use money::{Money, MoneyError};
pub use observer::{
    AboutAnswer, AttemptBegun, AttemptObserver, AttemptRecord, NoObserver, Observer, Piece, RequestObserver,
    RequestRecord, RequestSettings, Sharing, TargetObserver, Transition,
};
pub use price::{LongPrompt, Multiplier, MultiplierError, Price, Rates, Tiers};
pub use provider::Provider;
pub use request::{CompletionRequest, Origin, ResponseFormat, Thinking};
pub use response::{Choice, CompletionResponse, StopReason, StreamEvent};
pub use service_tier::ServiceTier;
pub use slots::Slots;
#[cfg(feature = "tokio")]
pub use time::TokioClock;
pub use time::{Clock, ManualClock, SystemClock, Tick};
pub use tool::{Tool, ToolCall, ToolChoice, ToolKind};
pub use usage::{Usage, estimate_tokens};
