//! Errors as callers see them: one table from kinds to statuses, types and codes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use llm_core::{Dialect, Error, ErrorKind, Json, RequestId};
use llm_providers::wire::openai::{self, ErrorBody};
use llm_providers::wire::{AnswerOptions, codec};
use serde::Serialize;

/// An error in its caller's format.
pub(crate) struct Rendered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How a kind looks in OpenAI's format, where the provider's own words do not say otherwise.
const fn row(kind: ErrorKind) -> (StatusCode, &'static str, Option<&'static str>) {
    const INVALID: &str = "invalid_request_error";
    match kind {
        ErrorKind::InvalidRequest => (StatusCode::BAD_REQUEST, INVALID, None),
        ErrorKind::ContextLength => (StatusCode::BAD_REQUEST, INVALID, Some("context_length_exceeded")),
        ErrorKind::ContentFilter => (StatusCode::BAD_REQUEST, INVALID, Some("content_policy_violation")),
        ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, INVALID, Some("invalid_api_key")),
        ErrorKind::Forbidden => (StatusCode::FORBIDDEN, INVALID, None),
        ErrorKind::NotFound => (StatusCode::NOT_FOUND, INVALID, None),
        ErrorKind::Cancelled => (StatusCode::REQUEST_TIMEOUT, INVALID, None),
        ErrorKind::Conflict => (StatusCode::CONFLICT, INVALID, None),
        ErrorKind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, INVALID, Some("request_too_large")),
        ErrorKind::Unprocessable => (StatusCode::UNPROCESSABLE_ENTITY, INVALID, None),
        ErrorKind::Denied => (StatusCode::TOO_MANY_REQUESTS, "requests", Some("rate_limit_exceeded")),
        ErrorKind::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::QuotaExhausted => (StatusCode::TOO_MANY_REQUESTS, "insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Shed | ErrorKind::CircuitOpen | ErrorKind::Overloaded => {
            (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable_error", Some("server_is_overloaded"))
        }
        ErrorKind::UpstreamAuth => (StatusCode::BAD_GATEWAY, "server_error", Some("upstream_auth_error")),
        ErrorKind::Timeout => (StatusCode::GATEWAY_TIMEOUT, "server_error", Some("timeout")),
        ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, "server_error", Some("not_implemented")),
        ErrorKind::Upstream | ErrorKind::BadAnswer | ErrorKind::Connection | ErrorKind::StreamInterrupted => {
            (StatusCode::BAD_GATEWAY, "server_error", Some("upstream_error"))
        }
        _ => (StatusCode::INTERNAL_SERVER_ERROR, "server_error", None),
    }
}

const CONCURRENCY: &str = "concurrency_limit_exceeded";
const QUOTA: &str = "insufficient_quota";
const METHOD_NOT_SUPPORTED: &str = "method_not_supported";

/// The error of a known path that is asked in another way than it answers.
pub(crate) fn wrong_method(method: &Method) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("{method} is not supported on this route"))
        .with_code(METHOD_NOT_SUPPORTED)
}

/// The status of `error`: a caller's mistake that the provider found keeps the provider's status.
fn status(error: &Error) -> StatusCode {
    let (status, ..) = row(error.kind());
    match (error.kind(), error.upstream_status()) {
        (ErrorKind::InvalidRequest, Some(code @ 400..=499)) => StatusCode::from_u16(code).unwrap_or(status),
        (ErrorKind::InvalidRequest, None) if error.code() == Some(METHOD_NOT_SUPPORTED) => {
            StatusCode::METHOD_NOT_ALLOWED
        }
        _ => status,
    }
}

/// Whether a limit denies the request however long it waits. A place among those under way is free some time.
fn never_passes(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied && error.retry_after().is_none() && error.code() != Some(CONCURRENCY)
}

fn body(error: &Error) -> ErrorBody<'_> {
    let (_, mut kind, code) = row(error.kind());
    if error.kind() == ErrorKind::Denied && error.code() == Some(QUOTA) {
        kind = QUOTA;
    }
    // A provider's own type and code are for callers only where the fault is theirs or the quota's.
    let theirs = status(error).is_client_error();
    ErrorBody {
        message: error.message(),
        kind: error.upstream_type().filter(|_| theirs).unwrap_or(kind),
        param: error.param(),
        code: error.code().filter(|_| theirs || error.upstream_status().is_none()).or(code),
    }
}

/// What stands beside the error of a denied or shed request.
#[derive(Serialize)]
struct Explanation<'a> {
    request_id: &'a str,
    reasons: &'a [String],
}

/// Renders `error` for a caller of `dialect`.
pub(crate) fn render(dialect: Dialect, error: &Error, request: &RequestId) -> Rendered {
    let explained = !error.reasons().is_empty()
        || matches!(error.kind(), ErrorKind::Denied | ErrorKind::Shed | ErrorKind::CircuitOpen);
    let explanation = explained.then(|| Explanation { request_id: request.as_str(), reasons: error.reasons() });
    let explanation = explanation.and_then(|text| Json::parse(serde_json::to_string(&text).ok()?).ok());
    let body = match codec(dialect) {
        Some(codec) if dialect != Dialect::OpenAi => codec.encode_error(error, explanation.as_ref()).1,
        _ => openai::encode_error(&body(error), explanation.as_ref()),
    };
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(wait) = error.retry_after() {
        retry_after(&mut headers, wait);
    } else if (error.retryable() && error.attempts() > 1) || never_passes(error) {
        // The retries are used up, and a client that tries again multiplies them; or no wait helps.
        headers.insert(HeaderName::from_static("x-should-retry"), HeaderValue::from_static("false"));
    }
    if error.attempts() > 0 {
        headers.insert(HeaderName::from_static("x-llmkit-attempts"), HeaderValue::from(error.attempts()));
    }
    let named = [
        ("x-llmkit-provider", error.provider().map(llm_core::ProviderId::as_str)),
        ("x-upstream-request-id", error.upstream_request_id()),
    ];
    for (name, value) in named {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(value).ok()) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    Rendered { status: status(error), headers, body }
}

/// Whole seconds rounded up, at least one, beside the exact milliseconds.
fn retry_after(headers: &mut HeaderMap, wait: Duration) {
    let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
    headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis));
}

/// The frame that ends a stream of `dialect` which broke off.
pub(crate) fn error_frame(dialect: Dialect, error: &Error) -> Bytes {
    let (_, kind, code) = row(error.kind());
    match codec(dialect) {
        Some(codec) if dialect != Dialect::OpenAi => {
            let mut frame = BytesMut::new();
            codec.stream_encoder(&AnswerOptions::default()).fail(error, &mut frame);
            frame.freeze()
        }
        _ => openai::error_frame(&ErrorBody { message: error.message(), kind, param: None, code }),
    }
}
