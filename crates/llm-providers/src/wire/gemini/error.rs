//! Error bodies, read and written.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{Error, ErrorKind, Json};

use super::member::{count, member};
use crate::wire::json::{Kind, Raw, Syntax, Writer};
use crate::wire::told::{clean, names_a_key, retry_after};

/// Reads the error that an answer with `status` (no success) tells. A body that is no error in JSON tells nothing: the
/// status decides.
pub(super) fn decode_error(status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
    let told = Raw::parse(body).ok().and_then(Told::read).unwrap_or_default();
    let kind = told.kind(status);
    let by_header = retry_after(kind, headers, now_unix);
    let exact = headers.contains_key("retry-after") || headers.contains_key("retry-after-ms");
    let wait = if exact { by_header.or(told.wait) } else { told.wait.or(by_header) };
    let mut error = told.into_error(kind, status);
    if let Some(wait) = wait {
        error = error.with_retry_after(wait);
    }
    match headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
        Some(id) => error.with_upstream_request_id(id),
        None => error,
    }
}

/// The error that an event or an answer with a status of success tells, if it is one.
pub(super) fn error_within(body: Raw<'_>) -> Option<Error> {
    let first = body.items().next().unwrap_or(body);
    let is_error = first.member("error").is_some()
        || (first.member("code").is_some_and(|code| code.kind() == Kind::Number) && first.member("status").is_some());
    let told = if is_error { Told::read(body)? } else { return None };
    let status = told.assumed_status();
    let (kind, wait) = (told.kind(status), told.wait);
    let error = told.into_error(kind, status);
    Some(match wait {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    })
}

/// The error for an answer that is not JSON.
pub(super) fn not_json(syntax: Syntax, answer: &[u8]) -> Error {
    Error::new(ErrorKind::BadAnswer, format!("the provider's answer is not valid JSON: {}", syntax.describe(answer)))
}

/// The HTTP status and Google's word for it.
const fn row(kind: ErrorKind) -> (u16, &'static str) {
    const INVALID: &str = "INVALID_ARGUMENT";
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::ContextLength | ErrorKind::ContentFilter => (400, INVALID),
        ErrorKind::TooLarge => (413, INVALID),
        ErrorKind::Unprocessable => (422, INVALID),
        ErrorKind::Unauthenticated => (401, "UNAUTHENTICATED"),
        ErrorKind::Forbidden => (403, "PERMISSION_DENIED"),
        ErrorKind::NotFound => (404, "NOT_FOUND"),
        ErrorKind::Conflict => (409, "ABORTED"),
        ErrorKind::Cancelled => (499, "CANCELLED"),
        ErrorKind::Denied | ErrorKind::RateLimited | ErrorKind::QuotaExhausted => (429, "RESOURCE_EXHAUSTED"),
        ErrorKind::Shed | ErrorKind::CircuitOpen | ErrorKind::Overloaded => (503, "UNAVAILABLE"),
        ErrorKind::Timeout => (504, "DEADLINE_EXCEEDED"),
        ErrorKind::Unsupported => (501, "UNIMPLEMENTED"),
        ErrorKind::Upstream
        | ErrorKind::BadAnswer
        | ErrorKind::UpstreamAuth
        | ErrorKind::Connection
        | ErrorKind::StreamInterrupted => (502, "INTERNAL"),
        _ => (500, "INTERNAL"),
    }
}

/// The status and the body for `error`; `llmkit` is our own member beside it.
pub(super) fn encode_error(error: &Error, llmkit: Option<&Json>) -> (u16, Bytes) {
    let mut writer = Writer::default();
    let mut status = 500;
    writer.object(|writer| {
        status = write_error(writer, error);
        if let Some(llmkit) = llmkit {
            writer.key("llmkit").json(llmkit);
        }
    });
    (status, writer.into_bytes())
}

/// Writes the member `error`. The status that fits it.
pub(super) fn write_error(writer: &mut Writer, error: &Error) -> u16 {
    let (status, word) = row(error.kind());
    // A caller's mistake that the provider found keeps the provider's status.
    let status = match (error.kind(), error.upstream_status()) {
        (ErrorKind::InvalidRequest, Some(theirs @ 400..=499)) => theirs,
        (ErrorKind::InvalidRequest, None) if error.code() == Some("method_not_supported") => 405,
        _ => status,
    };
    writer.key("error").object(|writer| {
        writer.key("code").integer(status);
        writer.key("message").string(error.message());
        writer.key("status").string(word);
        if error.param().is_none() && error.retry_after().is_none() {
            return;
        }
        writer.key("details").array(|writer| {
            if let Some(param) = error.param() {
                writer.object(|writer| {
                    writer.key("@type").string("type.googleapis.com/google.rpc.BadRequest");
                    writer.key("fieldViolations").array(|writer| {
                        writer.object(|writer| {
                            writer.key("field").string(param);
                            writer.key("description").string(error.message());
                        });
                    });
                });
            }
            if let Some(wait) = error.retry_after() {
                writer.object(|writer| {
                    writer.key("@type").string("type.googleapis.com/google.rpc.RetryInfo");
                    writer.key("retryDelay").string(&seconds(wait));
                });
            }
        });
    });
    status
}

/// A duration as Protobuf spells it, in whole milliseconds.
fn seconds(wait: Duration) -> String {
    match wait.subsec_millis() {
        0 => format!("{}s", wait.as_secs()),
        millis => format!("{}.{millis:03}s", wait.as_secs()),
    }
}

/// What an error body says.
#[derive(Default)]
struct Told<'a> {
    message: Option<Cow<'a, str>>,
    code: Option<u64>,
    status: Cow<'a, str>,
    /// Why, in the provider's words: `API_KEY_INVALID` and such.
    reason: Cow<'a, str>,
    /// Whether a day's quota is used up, which no wait of seconds helps.
    for_today: bool,
    wait: Option<Duration>,
}

impl<'a> Told<'a> {
    /// `{"error":{…}}`, the error object alone, or an array of one of them.
    fn read(body: Raw<'a>) -> Option<Self> {
        let body = body.items().next().unwrap_or(body);
        let error = body.member("error").unwrap_or(body);
        if error.kind() == Kind::String {
            return Some(Self { message: error.string(), ..Self::default() });
        }
        if error.kind() != Kind::Object {
            return None;
        }
        let text = |name| error.member(name).and_then(Raw::string);
        let mut told = Self {
            message: text("message"),
            code: error.member("code").and_then(count),
            status: text("status").unwrap_or_default(),
            ..Self::default()
        };
        for detail in error.member("details").into_iter().flat_map(Raw::items) {
            let kind = detail.member("@type").and_then(Raw::string).unwrap_or_default();
            match kind.rsplit('.').next().unwrap_or_default() {
                "ErrorInfo" => told.reason = detail.member("reason").and_then(Raw::string).unwrap_or_default(),
                "RetryInfo" => {
                    told.wait = member(detail, "retryDelay").and_then(Raw::string).and_then(|wait| duration(&wait));
                }
                "QuotaFailure" => {
                    let quotas = member(detail, "violations").into_iter().flat_map(Raw::items);
                    told.for_today |= quotas
                        .filter_map(|quota| member(quota, "quotaId").and_then(Raw::string))
                        .any(|id| id.contains("PerDay"));
                }
                _ => {}
            }
        }
        Some(told)
    }

    fn kind(&self, status: u16) -> ErrorKind {
        match status {
            400 | 403 if names_a_key(&self.reason) => ErrorKind::UpstreamAuth,
            400 | 413 if self.is_too_long() => ErrorKind::ContextLength,
            401 => ErrorKind::UpstreamAuth,
            402 => ErrorKind::QuotaExhausted,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            408 | 504 => ErrorKind::Timeout,
            409 => ErrorKind::Conflict,
            413 => ErrorKind::TooLarge,
            422 => ErrorKind::Unprocessable,
            429 if self.for_today => ErrorKind::QuotaExhausted,
            429 => ErrorKind::RateLimited,
            // The provider gave the call up.
            499 => ErrorKind::Upstream,
            400..=499 => ErrorKind::InvalidRequest,
            503 | 529 => ErrorKind::Overloaded,
            500.. => ErrorKind::Upstream,
            _ => ErrorKind::BadAnswer,
        }
    }

    /// There is no code for it.
    fn is_too_long(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        message.contains("token count") && message.contains("exceeds the maximum number of tokens")
    }

    /// The status that fits an error told without one.
    fn assumed_status(&self) -> u16 {
        match self.code.and_then(|code| u16::try_from(code).ok()) {
            Some(status @ 400..=599) => status,
            _ => match self.status.as_ref() {
                "INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE" => 400,
                "UNAUTHENTICATED" => 401,
                "PERMISSION_DENIED" => 403,
                "NOT_FOUND" => 404,
                "RESOURCE_EXHAUSTED" => 429,
                "CANCELLED" => 499,
                "UNAVAILABLE" => 503,
                "DEADLINE_EXCEEDED" => 504,
                _ => 500,
            },
        }
    }

    fn into_error(self, kind: ErrorKind, status: u16) -> Error {
        let message = match self.message {
            Some(message) if !message.trim().is_empty() => clean(&message),
            _ => format!("upstream returned HTTP {status}"),
        };
        // Its word for the status is no type of another dialect's, and would be told as one.
        Error::new(kind, message).with_upstream(status, None)
    }
}

/// A duration as Protobuf spells it: `27s`, `1.5s`.
fn duration(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.strip_suffix('s')?.parse().ok()?).ok()
}
