//! Errors as callers see them: in their dialect, with what to do next in the headers.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use llm_core::{Dialect, Error, ErrorKind, Json, RequestId};
use llm_providers::wire::{AnswerOptions, Codec, codec};
use serde::Serialize;

/// An error in its caller's format.
pub(crate) struct Rendered {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

const CONCURRENCY: &str = "concurrency_limit_exceeded";

/// The error of a known path that is asked in another way than it answers.
pub(crate) fn wrong_method(method: &Method) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("{method} is not supported on this route"))
        .with_code("method_not_supported")
}

/// Whether a limit denies the request however long it waits. A place among those under way is free some time.
fn never_passes(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied && error.retry_after().is_none() && error.code() != Some(CONCURRENCY)
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
    let (status, body) = spoken(dialect).encode_error(error, explanation.as_ref());
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
    Rendered { status: StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), headers, body }
}

/// Whole seconds rounded up, at least one, beside the exact milliseconds.
fn retry_after(headers: &mut HeaderMap, wait: Duration) {
    let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1);
    headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1000)));
    headers.insert(HeaderName::from_static("retry-after-ms"), HeaderValue::from(millis));
}

/// The frame that ends a stream of `dialect` which broke off.
pub(crate) fn error_frame(dialect: Dialect, error: &Error) -> Bytes {
    let mut frame = BytesMut::new();
    spoken(dialect).stream_encoder(&AnswerOptions::default()).fail(error, &mut frame);
    frame.freeze()
}

/// The codec of a caller's dialect.
fn spoken(dialect: Dialect) -> &'static dyn Codec {
    codec(dialect).or_else(|| codec(Dialect::OpenAi)).expect("OpenAI's dialect has a codec")
}
