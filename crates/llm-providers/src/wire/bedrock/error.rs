//! Errors, in answers of their own and in streams: an exception's name, and what it says.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{Error, ErrorKind, Json};

use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::told::{clean, retry_after};

/// Reads the error that an answer with `status` (no success) tells. Its name stands in a header, or in the body.
pub(super) fn decode_error(status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
    let raw = Raw::parse(body).ok().filter(|raw| raw.kind() == Kind::Object);
    let by_header = headers.get("x-amzn-errortype").and_then(|name| name.to_str().ok());
    let in_body = raw.and_then(|raw| raw.member("__type")).and_then(Raw::string);
    let name = by_header.map(Cow::Borrowed).or(in_body).unwrap_or_default();
    let error = told(&name, raw, Some(status));
    let error = match retry_after(error.kind(), headers, now_unix) {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    };
    match headers.get("x-amzn-requestid").and_then(|id| id.to_str().ok()) {
        Some(id) => error.with_upstream_request_id(id),
        None => error,
    }
}

/// The error that the exception `name` tells, of an answer with `status` or within a stream.
pub(super) fn told(name: &str, raw: Option<Raw<'_>>, status: Option<u16>) -> Error {
    // `ThrottlingException:http://…`, `com.amazon…#ThrottlingException`
    let name = name.rsplit('#').next().unwrap_or_default().split(':').next().unwrap_or_default();
    let text = |member| raw.and_then(|raw| raw.member(member)).and_then(Raw::string);
    let message = text("message").or_else(|| text("Message"));
    let kind = kind(name, message.as_deref().unwrap_or_default(), status);
    let status = status.unwrap_or_else(|| row(kind).0);
    let message = match message {
        Some(message) => clean(&message),
        None if name.is_empty() => format!("upstream returned HTTP {status}"),
        None => format!("the provider says {}", clean(name)),
    };
    Error::new(kind, message).with_upstream(status, None)
}

fn kind(name: &str, message: &str, status: Option<u16>) -> ErrorKind {
    let mut upper = name.to_owned();
    // Within a stream the names begin with small letters.
    if let Some(first) = upper.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    match upper.as_str() {
        "ValidationException" if is_too_long(message) => ErrorKind::ContextLength,
        "ValidationException" => ErrorKind::InvalidRequest,
        "UnrecognizedClientException"
        | "InvalidSignatureException"
        | "IncompleteSignatureException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "MissingAuthenticationTokenException"
        | "MissingAuthenticationToken"
        | "ExpiredTokenException"
        | "ExpiredToken" => ErrorKind::UpstreamAuth,
        "AccessDeniedException" => ErrorKind::Forbidden,
        "ResourceNotFoundException" => ErrorKind::NotFound,
        "ConflictException" => ErrorKind::Conflict,
        "ThrottlingException" => ErrorKind::RateLimited,
        "ServiceQuotaExceededException" => ErrorKind::QuotaExhausted,
        "ModelNotReadyException" | "ServiceUnavailableException" => ErrorKind::Overloaded,
        "ModelTimeoutException" => ErrorKind::Timeout,
        "InternalServerException" | "InternalFailure" | "ModelErrorException" | "ModelStreamErrorException" => {
            ErrorKind::Upstream
        }
        _ => match status {
            Some(401) => ErrorKind::UpstreamAuth,
            Some(403) => ErrorKind::Forbidden,
            Some(404) => ErrorKind::NotFound,
            Some(408 | 504) => ErrorKind::Timeout,
            Some(409) => ErrorKind::Conflict,
            Some(413) => ErrorKind::TooLarge,
            Some(429) => ErrorKind::RateLimited,
            Some(503) => ErrorKind::Overloaded,
            // A model's own failure.
            Some(424) => ErrorKind::Upstream,
            Some(400..=499) => ErrorKind::InvalidRequest,
            _ => ErrorKind::Upstream,
        },
    }
}

/// The models' words for a prompt that does not fit.
fn is_too_long(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["too long", "too many input tokens", "maximum context length", "context window", "too large for model"]
        .iter()
        .any(|words| message.contains(words))
}

/// The status and the name of a kind.
pub(super) const fn row(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::Unauthenticated | ErrorKind::UpstreamAuth => (403, "UnrecognizedClientException"),
        ErrorKind::Forbidden => (403, "AccessDeniedException"),
        ErrorKind::NotFound => (404, "ResourceNotFoundException"),
        ErrorKind::Timeout => (408, "ModelTimeoutException"),
        ErrorKind::Denied | ErrorKind::RateLimited => (429, "ThrottlingException"),
        ErrorKind::QuotaExhausted => (400, "ServiceQuotaExceededException"),
        ErrorKind::Shed | ErrorKind::CircuitOpen | ErrorKind::Overloaded => (503, "ServiceUnavailableException"),
        ErrorKind::InvalidRequest
        | ErrorKind::ContextLength
        | ErrorKind::ContentFilter
        | ErrorKind::TooLarge
        | ErrorKind::Unprocessable
        | ErrorKind::Conflict
        | ErrorKind::Cancelled
        | ErrorKind::Unsupported => (400, "ValidationException"),
        _ => (500, "InternalServerException"),
    }
}

/// The status and the body for `error`; `llmkit` is our own member beside it.
pub(super) fn encode_error(error: &Error, llmkit: Option<&Json>) -> (u16, Bytes) {
    let (status, name) = row(error.kind());
    let mut writer = Writer::default();
    writer.object(|writer| {
        writer.key("__type").string(name);
        writer.key("message").string(error.message());
        if let Some(llmkit) = llmkit {
            writer.key("llmkit").json(llmkit);
        }
    });
    (status, writer.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides_and_else_the_status() {
        let of = |status, name: &'static str, body: &str| {
            let mut headers = HeaderMap::new();
            if !name.is_empty() {
                headers.insert("x-amzn-errortype", http::HeaderValue::from_static(name));
            }
            headers.insert("x-amzn-requestid", http::HeaderValue::from_static("r-1"));
            decode_error(status, &headers, body.as_bytes(), Duration::ZERO)
        };
        let long = r#"{"message":"Input is too long for requested model."}"#;
        for (status, name, body, kind) in [
            (400, "ValidationException:http://internal.amazon.com/x", "{}", ErrorKind::InvalidRequest),
            (400, "ValidationException", long, ErrorKind::ContextLength),
            (403, "", r#"{"__type":"com.amazon.coral.service#ExpiredTokenException"}"#, ErrorKind::UpstreamAuth),
            (403, "AccessDeniedException", r#"{"Message":"no"}"#, ErrorKind::Forbidden),
            (429, "ThrottlingException", "", ErrorKind::RateLimited),
            (429, "ModelNotReadyException", "", ErrorKind::Overloaded),
            (424, "", "<html>", ErrorKind::Upstream),
            (401, "", "", ErrorKind::UpstreamAuth),
        ] {
            let error = of(status, name, body);
            assert_eq!((error.kind(), error.upstream_status()), (kind, Some(status)), "{name} {body}");
            assert_eq!(error.upstream_request_id(), Some("r-1"));
        }
        assert_eq!(of(403, "AccessDeniedException", r#"{"Message":"no"}"#).message(), "no");
        assert_eq!(of(502, "", "<html>").message(), "upstream returned HTTP 502");
    }
}
