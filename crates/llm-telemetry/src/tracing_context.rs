//! What a caller of the library says of its own trace.

use std::borrow::Cow;

use http::HeaderMap;

use crate::context::{RemoteContext, SpanId, TraceId};
use crate::span::Value;

/// The trace that requests are part of, and what is to be said of them there.
///
/// Requests with a context are traced, whatever the sampling; those of one context are in one trace.
///
/// ```
/// use llm_telemetry::TracingContext;
///
/// let context = TracingContext::new().with_trace_id("request-123").with_span_id("span-456");
/// assert_eq!(context.correlation_id(), Some("request-123"));
/// assert_eq!(context.trace_id().to_string().len(), 32);
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TracingContext {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) remote: Option<RemoteContext>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) correlation_span_id: Option<String>,
    pub(crate) attributes: Vec<(Cow<'static, str>, Value)>,
}

impl Default for TracingContext {
    fn default() -> Self {
        Self::new()
    }
}

impl TracingContext {
    /// A new trace.
    #[must_use]
    pub fn new() -> Self {
        Self {
            trace_id: TraceId::random(),
            span_id: None,
            remote: None,
            correlation_id: None,
            correlation_span_id: None,
            attributes: Vec::new(),
        }
    }

    /// Goes on where `traceparent` and `tracestate` of `headers` say; a new trace where they say nothing valid. A trace
    /// that is not recorded is not recorded here either.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        match RemoteContext::of(headers) {
            None => Self::new(),
            Some(remote) => {
                Self { trace_id: remote.trace_id, span_id: Some(remote.span_id), remote: Some(remote), ..Self::new() }
            }
        }
    }

    /// Names the trace: 32 lower-case hexadecimal digits. Any other name is kept as the attribute
    /// `llmkit.correlation_id`, beside a trace id of our own.
    #[must_use]
    pub fn with_trace_id(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        match TraceId::parse(&id) {
            Some(trace_id) => self.trace_id = trace_id,
            None => self.correlation_id = Some(id),
        }
        self
    }

    /// Names the span that the requests are part of: 16 lower-case hexadecimal digits. Any other name is kept as the
    /// attribute `llmkit.correlation_span_id`.
    #[must_use]
    pub fn with_span_id(mut self, id: impl Into<String>) -> Self {
        let id = id.into();
        match SpanId::parse(&id) {
            Some(span_id) => self.span_id = Some(span_id),
            None => self.correlation_span_id = Some(id),
        }
        self
    }

    /// Says something of the requests, such as `("customer.tier", "gold")`.
    #[must_use]
    pub fn with_attribute(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) -> Self {
        self.attributes.push((name.into(), value.into()));
        self
    }

    /// The trace.
    #[must_use]
    pub const fn trace_id(&self) -> TraceId {
        self.trace_id
    }

    /// The span that the requests are part of.
    #[must_use]
    pub const fn span_id(&self) -> Option<SpanId> {
        self.span_id
    }

    /// The name of the trace where it is no trace id.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_no_id_is_kept_beside_one() {
        let context = TracingContext::new().with_trace_id("request-123").with_span_id("span-456");
        assert_eq!((context.correlation_id(), context.span_id()), (Some("request-123"), None));
        assert_eq!(context.correlation_span_id.as_deref(), Some("span-456"));
        assert!(TraceId::parse(&context.trace_id().to_string()).is_some());
    }

    #[test]
    fn ids_are_taken_as_they_are() {
        let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        let context = TracingContext::new().with_trace_id(trace).with_span_id(span);
        assert_eq!((context.trace_id().to_string(), context.correlation_id()), (trace.to_owned(), None));
        assert_eq!(context.span_id().map(|id| id.to_string()).as_deref(), Some(span));
    }

    #[test]
    fn headers_are_gone_on_from() {
        let mut headers = HeaderMap::new();
        let fresh = TracingContext::from_headers(&headers);
        assert_eq!(fresh.span_id(), None);
        crate::context::hand_on(fresh.trace_id(), SpanId::random(), None, &mut headers);
        let context = TracingContext::from_headers(&headers);
        assert_eq!(context.trace_id(), fresh.trace_id());
        assert!(context.span_id().is_some() && context.remote.is_some_and(|remote| remote.sampled));
    }
}
