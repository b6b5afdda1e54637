//! Metrics, traces and logs of LLM traffic.
//!
//! [`Telemetry`] is told by the request's path, through `llm_core::Observer`, what happens, and renders it for
//! Prometheus. Requests that are traced, or logged one by one, it follows through `llm_core::RequestObserver`: one span
//! for the exchange over HTTP, one for the request, one for each attempt, in OpenTelemetry's conventions for generative
//! AI. [`log`] sets up the process's log lines.
//!
//! # Limitations
//! One registry a [`Telemetry`]; nothing is global but the log subscriber. Spans go to a [`SpanSink`]; the one that sends
//! them to a collector comes with the feature `otlp`. What was asked and answered is in no span and no line.
//!
//! # Example
//! ```
//! use llm_core::Observer;
//! use llm_telemetry::Telemetry;
//!
//! let telemetry = Telemetry::new();
//! telemetry.target(&"openai".into(), &"fast".into()).attempt_started();
//! let (content_type, text) = telemetry.render(None);
//! assert!(content_type.starts_with("text/plain"));
//! assert!(text.contains("llmkit_request_active{provider=\"openai\"} 1"));
//! ```
mod changes;
mod classic;
mod collector;
mod context;
mod facts;
mod families;
mod follow;
mod hub;
mod listener;
pub mod log;
mod names;
mod observability;
#[cfg(feature = "otlp")]
mod otlp;
mod sampling;
mod series;
mod span;
mod telemetry;
mod totals;
mod tracing_context;

pub use changes::CircuitChange;
pub use collector::{OtlpConfig, OtlpError};
pub use context::{RemoteContext, SpanId, TraceId};
pub use facts::BodyReader;
pub use families::{FAMILIES, Family, Kind, Topic};
pub use follow::{Arrival, Watch};
pub use hub::ProviderFacts;
pub use listener::MetricsListener;
pub use observability::{Exporter, ObservabilityConfig, ObservabilityError};
pub use sampling::{Sampling, SamplingError};
pub use series::MOST_LABELS;
pub use span::{Span, SpanKind, SpanSink, Value};
pub use telemetry::{Telemetry, TelemetryBuilder};
pub use totals::{Distribution, ProviderTotals, Totals};
pub use tracing_context::TracingContext;
