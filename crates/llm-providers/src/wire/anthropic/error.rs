//! Error bodies, read and written.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{Error, ErrorKind, Json};

use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::told::{clean, names_a_key, retry_after};

/// Reads the error that an answer with `status` (no success) tells. A body that is no error in JSON tells nothing: the
/// status decides.
pub(super) fn decode_error(status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
    let told = Raw::parse(body).ok().and_then(Told::read).unwrap_or_default();
    let kind = told.kind(status);
    let mut error = told.into_error(kind, status);
    if let Some(wait) = retry_after(kind, headers, now_unix) {
        error = error.with_retry_after(wait);
    }
    let id = ["request-id", "x-request-id"].into_iter().find_map(|name| headers.get(name)?.to_str().ok());
    match id {
        Some(id) => error.with_upstream_request_id(id),
        None => error,
    }
}

/// The error that an event or an answer with a status of success tells, if it is one.
pub(super) fn error_within(body: Raw<'_>) -> Option<Error> {
    let is_error = body.member("type").is_some_and(|kind| kind.text() == "\"error\"") || body.member("error").is_some();
    let told = if is_error { Told::read(body)? } else { return None };
    let status = told.assumed_status();
    let kind = told.kind(status);
    Some(told.into_error(kind, status))
}

/// The status and the type of a kind.
pub(super) const fn row(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::InvalidRequest | ErrorKind::ContextLength | ErrorKind::ContentFilter => {
            (400, "invalid_request_error")
        }
        ErrorKind::Unprocessable => (422, "invalid_request_error"),
        ErrorKind::Unauthenticated => (401, "authentication_error"),
        ErrorKind::QuotaExhausted => (402, "billing_error"),
        ErrorKind::Forbidden => (403, "permission_error"),
        ErrorKind::NotFound => (404, "not_found_error"),
        ErrorKind::Cancelled => (408, "invalid_request_error"),
        ErrorKind::Conflict => (409, "conflict_error"),
        ErrorKind::TooLarge => (413, "request_too_large"),
        ErrorKind::Denied | ErrorKind::RateLimited => (429, "rate_limit_error"),
        ErrorKind::Shed | ErrorKind::CircuitOpen | ErrorKind::Overloaded => (529, "overloaded_error"),
        ErrorKind::Timeout => (504, "timeout_error"),
        ErrorKind::Unsupported => (501, "api_error"),
        ErrorKind::Upstream
        | ErrorKind::BadAnswer
        | ErrorKind::UpstreamAuth
        | ErrorKind::Connection
        | ErrorKind::StreamInterrupted => (502, "api_error"),
        _ => (500, "api_error"),
    }
}

/// The status and the body for `error`; `llmkit` is our own member beside it.
pub(super) fn encode_error(error: &Error, llmkit: Option<&Json>) -> (u16, Bytes) {
    let (status, _) = row(error.kind());
    // A caller's mistake that the provider found keeps the provider's status.
    let status = match (error.kind(), error.upstream_status()) {
        (ErrorKind::InvalidRequest, Some(theirs @ 400..=499)) => theirs,
        (ErrorKind::InvalidRequest, None) if error.code() == Some("method_not_supported") => 405,
        _ => status,
    };
    let mut writer = Writer::default();
    write_error(&mut writer, error, llmkit);
    (status, writer.into_bytes())
}

pub(super) fn write_error(writer: &mut Writer, error: &Error, llmkit: Option<&Json>) {
    let (_, kind) = row(error.kind());
    let message = match error.kind() {
        // Clients know this error by its words.
        ErrorKind::ContextLength if !is_too_long(error.message()) => {
            Cow::Owned(format!("{TOO_LONG}: {}", error.message()))
        }
        _ => Cow::Borrowed(error.message()),
    };
    writer.object(|writer| {
        writer.key("type").string("error");
        writer.key("error").object(|writer| {
            writer.key("type").string(kind);
            writer.key("message").string(&message);
        });
        if let Some(llmkit) = llmkit {
            writer.key("llmkit").json(llmkit);
        }
    });
}

/// How the provider's message about a prompt that is too long begins; there is no code for it.
const TOO_LONG: &str = "prompt is too long";

fn is_too_long(message: &str) -> bool {
    message.get(..TOO_LONG.len()).is_some_and(|start| start.eq_ignore_ascii_case(TOO_LONG))
}

/// What an error body says.
#[derive(Default)]
struct Told<'a> {
    message: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
}

impl<'a> Told<'a> {
    fn read(body: Raw<'a>) -> Option<Self> {
        let error = body.member("error").unwrap_or(body);
        match error.kind() {
            Kind::String => Some(Self { message: error.string(), ..Self::default() }),
            Kind::Object => Some(Self {
                message: error.member("message").and_then(Raw::string),
                kind: error.member("type").and_then(Raw::string),
                code: error.member("details").and_then(|details| details.member("error_code")).and_then(Raw::string),
            }),
            _ => None,
        }
    }

    fn kind(&self, status: u16) -> ErrorKind {
        let (kind, code) = (self.kind.as_deref().unwrap_or_default(), self.code.as_deref().unwrap_or_default());
        match (status, kind) {
            (400..=499, "billing_error") | (402, _) => ErrorKind::QuotaExhausted,
            (400 | 413, _) if self.message.as_deref().is_some_and(is_too_long) => ErrorKind::ContextLength,
            (401, _) | (400..=499, "authentication_error") => ErrorKind::UpstreamAuth,
            (400 | 403, _) if names_a_key(code) => ErrorKind::UpstreamAuth,
            (403, _) => ErrorKind::Forbidden,
            (404, _) => ErrorKind::NotFound,
            (408, _) => ErrorKind::Timeout,
            (409, _) => ErrorKind::Conflict,
            (413, _) => ErrorKind::TooLarge,
            (422, _) => ErrorKind::Unprocessable,
            (429, _) => ErrorKind::RateLimited,
            (400..=499, _) => ErrorKind::InvalidRequest,
            (503 | 529, _) | (500.., "overloaded_error") => ErrorKind::Overloaded,
            (504, _) | (500.., "timeout_error") => ErrorKind::Timeout,
            (500.., _) => ErrorKind::Upstream,
            _ => ErrorKind::BadAnswer,
        }
    }

    /// The status that fits an error told without one.
    fn assumed_status(&self) -> u16 {
        match self.kind.as_deref().unwrap_or_default() {
            "invalid_request_error" => 400,
            "authentication_error" => 401,
            "billing_error" => 402,
            "permission_error" => 403,
            "not_found_error" => 404,
            "conflict_error" => 409,
            "request_too_large" => 413,
            "rate_limit_error" => 429,
            "timeout_error" => 504,
            "overloaded_error" => 529,
            _ => 500,
        }
    }

    fn into_error(self, kind: ErrorKind, status: u16) -> Error {
        let message = match self.message {
            Some(message) if !message.trim().is_empty() => clean(&message),
            _ => format!("upstream returned HTTP {status}"),
        };
        let error = Error::new(kind, message).with_upstream(status, self.kind.map(|kind| clean(&kind)));
        match self.code {
            Some(code) => error.with_code(clean(&code)),
            None => error,
        }
    }
}
