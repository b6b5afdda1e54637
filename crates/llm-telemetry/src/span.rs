//! Spans, as they are when they have ended, and where they go.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use llm_core::ErrorKind;

use crate::context::{SpanId, TraceId};

/// A span that has ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// The trace that it is part of.
    pub trace_id: TraceId,
    /// Its own name.
    pub span_id: SpanId,
    /// The span that it is part of.
    pub parent: Option<SpanId>,
    /// Whether `parent` is another process's.
    pub parent_is_remote: bool,
    /// What vendors added to the trace's context.
    pub state: Option<HeaderValue>,
    /// What was done, such as `chat gpt-5`.
    pub name: Cow<'static, str>,
    /// On whose behalf.
    pub kind: SpanKind,
    /// Since the Unix epoch.
    pub start: Duration,
    /// Since the Unix epoch.
    pub end: Duration,
    /// By name, each at most once.
    pub attributes: Vec<(Cow<'static, str>, Value)>,
    /// Whether what was done has failed.
    pub failed: bool,
}

/// On whose behalf something was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// For somebody who asked over the network.
    Server,
    /// By somebody who was asked over the network.
    Client,
    /// Inside.
    Internal,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text.
    Text(Cow<'static, str>),
    /// Several texts.
    Texts(Vec<String>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<Vec<String>> for Value {
    fn from(texts: Vec<String>) -> Self {
        Self::Texts(texts)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Bool(yes)
    }
}

/// Attributes in the making.
#[derive(Clone, Debug, Default)]
pub(crate) struct Attributes(Vec<(Cow<'static, str>, Value)>);

impl Attributes {
    pub(crate) fn with_capacity(count: usize) -> Self {
        Self(Vec::with_capacity(count))
    }

    pub(crate) fn put(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let value = match value.into() {
            Value::Text(text) if text.len() > MOST_TEXT => Value::Text(clipped(&text).to_owned().into()),
            value => value,
        };
        self.0.push((name.into(), value));
    }

    /// As [`put`](Self::put), where the value is known.
    pub(crate) fn know(&mut self, name: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    pub(crate) fn error(&mut self, kind: Option<ErrorKind>) {
        self.know(crate::names::ERROR_TYPE, kind.map(ErrorKind::as_str));
    }

    pub(crate) fn into_inner(self) -> Vec<(Cow<'static, str>, Value)> {
        self.0
    }
}

/// Bytes of a text at most: callers name models as they like.
const MOST_TEXT: usize = 1024;

/// As much of `text` as is told.
pub(crate) fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_TEXT)]
}

/// Where spans go that have ended.
pub trait SpanSink: fmt::Debug + Send + Sync + 'static {
    /// Takes `span`. Must not block: what is too much is dropped.
    fn take(&self, span: Span);

    /// Sends what is still held, and takes nothing more. Waits `patience` at most.
    fn close(&self, patience: Duration);
}

impl<S: SpanSink> SpanSink for Arc<S> {
    fn take(&self, span: Span) {
        (**self).take(span);
    }

    fn close(&self, patience: Duration) {
        (**self).close(patience);
    }
}
