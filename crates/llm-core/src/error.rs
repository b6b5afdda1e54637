//! What goes wrong, whose fault it is, and whether to try again.

use std::fmt;
use std::time::Duration;

use crate::ProviderId;

/// Whose fault an error is. Breakers count `Provider` and `Network`, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FaultClass {
    /// The caller asked for what cannot be given, or left.
    Caller,
    /// A limit, a budget or a rule said no, here or upstream.
    Policy,
    /// The provider failed.
    Provider,
    /// The way to the provider failed.
    Network,
    /// This software failed.
    Internal,
}

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is malformed or asks for something that is not allowed.
    InvalidRequest,
    /// The prompt does not fit the model.
    ContextLength,
    /// The caller's key is missing or unknown.
    Unauthenticated,
    /// The caller may not do this.
    Forbidden,
    /// No such model, route or object.
    NotFound,
    /// The request contradicts another one.
    Conflict,
    /// The request is larger than allowed.
    TooLarge,
    /// The request is well-formed but cannot be processed.
    Unprocessable,
    /// The provider's policy refused the content.
    ContentFilter,
    /// The caller left or took too long to send.
    Cancelled,
    /// A limit of ours refused the request for now.
    Denied,
    /// There is no capacity for the request now: a full queue, or a shutdown.
    Shed,
    /// No circuit that could serve the request is closed.
    CircuitOpen,
    /// The provider asked to slow down.
    RateLimited,
    /// The account at the provider has no credit left.
    QuotaExhausted,
    /// The provider says that it is overloaded.
    Overloaded,
    /// The provider failed with a server error.
    Upstream,
    /// The provider's answer cannot be understood.
    BadAnswer,
    /// The provider refused the key that is configured for it.
    UpstreamAuth,
    /// The provider took too long: to connect, to begin, between tokens, or in all.
    Timeout,
    /// The connection could not be made or broke before an answer.
    Connection,
    /// The answer broke off in the middle.
    StreamInterrupted,
    /// Documented, not built.
    Unsupported,
    /// A defect here.
    Internal,
}

impl ErrorKind {
    /// Whose fault it is.
    #[must_use]
    pub const fn fault(self) -> FaultClass {
        match self {
            Self::InvalidRequest
            | Self::ContextLength
            | Self::Unauthenticated
            | Self::Forbidden
            | Self::NotFound
            | Self::Conflict
            | Self::TooLarge
            | Self::Unprocessable
            | Self::ContentFilter
            | Self::Unsupported
            | Self::Cancelled => FaultClass::Caller,
            Self::Denied | Self::Shed | Self::CircuitOpen | Self::RateLimited | Self::QuotaExhausted => {
                FaultClass::Policy
            }
            Self::Overloaded | Self::Upstream | Self::BadAnswer | Self::UpstreamAuth | Self::Timeout => {
                FaultClass::Provider
            }
            Self::Connection | Self::StreamInterrupted => FaultClass::Network,
            Self::Internal => FaultClass::Internal,
        }
    }

    /// The word for metrics, from a closed set.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RateLimited | Self::QuotaExhausted | Self::Denied => "rate_limit",
            Self::Unauthenticated | Self::Forbidden | Self::UpstreamAuth => "auth",
            Self::InvalidRequest
            | Self::ContextLength
            | Self::TooLarge
            | Self::Conflict
            | Self::Unprocessable
            | Self::Unsupported => "invalid_request",
            Self::NotFound => "not_found",
            Self::Timeout => "timeout",
            Self::Overloaded | Self::Shed | Self::CircuitOpen => "overloaded",
            Self::Upstream | Self::BadAnswer => "server_error",
            Self::Connection => "connection",
            Self::StreamInterrupted => "stream_interrupted",
            Self::ContentFilter => "content_filter",
            Self::Cancelled => "cancelled",
            Self::Internal => "other",
        }
    }
}

/// An error with what its caller needs: what to do next, and what the provider said.
///
/// Messages hold no keys and no addresses of private hosts.
#[derive(Clone)]
pub struct Error(Box<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    kind: ErrorKind,
    message: String,
    upstream_status: Option<u16>,
    upstream_type: Option<String>,
    upstream_request_id: Option<String>,
    code: Option<String>,
    param: Option<String>,
    retry_after: Option<Duration>,
    provider: Option<ProviderId>,
    attempts: u32,
    unsent: bool,
    reasons: Vec<String>,
}

impl Error {
    /// An error of `kind`. The message is lower case, without a full stop.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            kind,
            message: message.into(),
            upstream_status: None,
            upstream_type: None,
            upstream_request_id: None,
            code: None,
            param: None,
            retry_after: None,
            provider: None,
            attempts: 0,
            unsent: false,
            reasons: Vec::new(),
        }))
    }

    /// Names the request's field at fault, such as `messages[1].content`.
    #[must_use]
    pub fn with_param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Gives the machine-readable code, in OpenAI's vocabulary.
    #[must_use]
    pub fn with_code(mut self, code: impl Into<String>) -> Self {
        self.0.code = Some(code.into());
        self
    }

    /// Says after how long another try may succeed.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// Adds the provider's status and, where it gave one, its error type.
    #[must_use]
    pub fn with_upstream(mut self, status: u16, kind: Option<String>) -> Self {
        self.0.upstream_status = Some(status);
        self.0.upstream_type = kind;
        self
    }

    /// Adds the provider's name for the request.
    #[must_use]
    pub fn with_upstream_request_id(mut self, id: impl Into<String>) -> Self {
        self.0.upstream_request_id = Some(id.into());
        self
    }

    /// Says which provider failed.
    #[must_use]
    pub fn with_provider(mut self, provider: ProviderId) -> Self {
        self.0.provider = Some(provider);
        self
    }

    /// Says how many calls were made upstream before giving up.
    #[must_use]
    pub fn with_attempts(mut self, attempts: u32) -> Self {
        self.0.attempts = attempts;
        self
    }

    /// Adds a link to the chain of reasons: which rule, how much was left, when it changes.
    #[must_use]
    pub fn because(mut self, reason: impl Into<String>) -> Self {
        self.0.reasons.push(reason.into());
        self
    }

    /// Says that not a byte of the request was sent: nobody can have worked for it.
    #[must_use]
    pub fn unsent(mut self) -> Self {
        self.0.unsent = true;
        self
    }

    /// Whether it is certain that the provider saw nothing of the request.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        self.0.unsent
    }

    /// What went wrong.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whose fault it is.
    #[must_use]
    pub const fn fault(&self) -> FaultClass {
        self.0.kind.fault()
    }

    /// Whether the same call may succeed when made again, or made elsewhere.
    ///
    /// Connection failures, 408, 429 (not an exhausted quota), 500, 502, 503, 504 and 529.
    #[must_use]
    pub fn retryable(&self) -> bool {
        match self.0.kind {
            ErrorKind::Connection | ErrorKind::StreamInterrupted | ErrorKind::Timeout | ErrorKind::RateLimited => true,
            ErrorKind::Overloaded | ErrorKind::Upstream => {
                self.0.upstream_status.is_none_or(|status| matches!(status, 408 | 429 | 500 | 502 | 503 | 504 | 529))
            }
            _ => false,
        }
    }

    /// The message, for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The machine-readable code.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.0.code.as_deref()
    }

    /// The request's field at fault.
    #[must_use]
    pub fn param(&self) -> Option<&str> {
        self.0.param.as_deref()
    }

    /// The provider's HTTP status.
    #[must_use]
    pub fn upstream_status(&self) -> Option<u16> {
        self.0.upstream_status
    }

    /// The provider's own error type.
    #[must_use]
    pub fn upstream_type(&self) -> Option<&str> {
        self.0.upstream_type.as_deref()
    }

    /// The provider's name for the request.
    #[must_use]
    pub fn upstream_request_id(&self) -> Option<&str> {
        self.0.upstream_request_id.as_deref()
    }

    /// After how long another try may succeed.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// The provider that failed.
    #[must_use]
    pub fn provider(&self) -> Option<&ProviderId> {
        self.0.provider.as_ref()
    }

    /// Calls made upstream before giving up.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// The chain of reasons, first cause first.
    #[must_use]
    pub fn reasons(&self) -> &[String] {
        &self.0.reasons
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(provider) = &self.0.provider {
            write!(f, "{provider}: ")?;
        }
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_error_is_retried_by_its_status() {
        let of = |status| Error::new(ErrorKind::Upstream, "failed").with_upstream(status, None).retryable();
        assert!([500, 502, 503, 504, 529, 408].into_iter().all(of));
        assert!(![501, 505, 511, 599].into_iter().any(of));
    }

    #[test]
    fn an_exhausted_quota_is_not_retried() {
        assert!(!Error::new(ErrorKind::QuotaExhausted, "no credit").with_upstream(429, None).retryable());
        assert!(Error::new(ErrorKind::RateLimited, "slow down").with_upstream(429, None).retryable());
    }

    #[test]
    fn callers_and_policies_are_nobody_elses_fault() {
        assert_eq!(ErrorKind::Cancelled.fault(), FaultClass::Caller);
        assert_eq!(ErrorKind::RateLimited.fault(), FaultClass::Policy);
        assert_eq!(ErrorKind::Timeout.fault(), FaultClass::Provider);
        assert_eq!(ErrorKind::Connection.fault(), FaultClass::Network);
    }
}
