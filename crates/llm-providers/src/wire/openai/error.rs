//! Error bodies: ours, always of one shape; the providers', of every shape.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use llm_core::{Error, ErrorKind, Json};

use crate::wire::json::{Kind, Raw, Writer};
use crate::wire::told::{clean, names_a_key, retry_after};

/// The members of an error object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ErrorBody<'a> {
    /// For people.
    pub message: &'a str,
    /// The member `type`, such as `invalid_request_error`.
    pub kind: &'a str,
    /// The request's field at fault.
    pub param: Option<&'a str>,
    /// For programs.
    pub code: Option<&'a str>,
}

/// Writes an error body; `llmkit` is our own member beside `error`.
#[must_use]
pub fn encode_error(body: &ErrorBody<'_>, llmkit: Option<&Json>) -> Bytes {
    let mut writer = Writer::default();
    writer.object(|writer| {
        write_error(writer, body);
        if let Some(llmkit) = llmkit {
            writer.key("llmkit").json(llmkit);
        }
    });
    writer.into_bytes()
}

/// What OpenAI's format says of `error`: the status and the body.
///
/// A caller's mistake that the provider found keeps the provider's status. A provider's own type and code are for callers
/// only where the fault is theirs or the quota's.
#[must_use]
pub fn describe(error: &Error) -> (u16, ErrorBody<'_>) {
    let (status, mut kind, code) = row(error.kind());
    let status = match (error.kind(), error.upstream_status()) {
        (ErrorKind::InvalidRequest, Some(theirs @ 400..=499)) => theirs,
        (ErrorKind::InvalidRequest, None) if error.code() == Some("method_not_supported") => 405,
        _ => status,
    };
    if error.kind() == ErrorKind::Denied && error.code() == Some("insufficient_quota") {
        kind = "insufficient_quota";
    }
    let theirs = (400..500).contains(&status);
    let body = ErrorBody {
        message: error.message(),
        kind: error.upstream_type().filter(|_| theirs).unwrap_or(kind),
        param: error.param(),
        code: error.code().filter(|_| theirs || error.upstream_status().is_none()).or(code),
    };
    (status, body)
}

/// Status, type and code of a kind, where the provider's own words do not say otherwise.
const fn row(kind: ErrorKind) -> (u16, &'static str, Option<&'static str>) {
    const INVALID: &str = "invalid_request_error";
    match kind {
        ErrorKind::InvalidRequest => (400, INVALID, None),
        ErrorKind::ContextLength => (400, INVALID, Some("context_length_exceeded")),
        ErrorKind::ContentFilter => (400, INVALID, Some("content_policy_violation")),
        ErrorKind::Unauthenticated => (401, INVALID, Some("invalid_api_key")),
        ErrorKind::Forbidden => (403, INVALID, None),
        ErrorKind::NotFound => (404, INVALID, None),
        ErrorKind::Cancelled => (408, INVALID, None),
        ErrorKind::Conflict => (409, INVALID, None),
        ErrorKind::TooLarge => (413, INVALID, Some("request_too_large")),
        ErrorKind::Unprocessable => (422, INVALID, None),
        ErrorKind::Denied => (429, "requests", Some("rate_limit_exceeded")),
        ErrorKind::RateLimited => (429, "rate_limit_error", Some("rate_limit_exceeded")),
        ErrorKind::QuotaExhausted => (429, "insufficient_quota", Some("insufficient_quota")),
        ErrorKind::Shed | ErrorKind::CircuitOpen | ErrorKind::Overloaded => {
            (503, "service_unavailable_error", Some("server_is_overloaded"))
        }
        ErrorKind::UpstreamAuth => (502, "server_error", Some("upstream_auth_error")),
        ErrorKind::Timeout => (504, "server_error", Some("timeout")),
        ErrorKind::Unsupported => (501, "server_error", Some("not_implemented")),
        ErrorKind::Upstream | ErrorKind::BadAnswer | ErrorKind::Connection | ErrorKind::StreamInterrupted => {
            (502, "server_error", Some("upstream_error"))
        }
        _ => (500, "server_error", None),
    }
}

/// Writes the member `error`.
pub(super) fn write_error(writer: &mut Writer, body: &ErrorBody<'_>) {
    writer.key("error").object(|writer| {
        writer.key("message").string(body.message);
        writer.key("type").string(body.kind);
        writer.key("param").optional_string(body.param);
        writer.key("code").optional_string(body.code);
    });
}

/// The error that a provider's answer with `status` (no success) tells. `now_unix` is the time since 1970, against
/// which a date in `retry-after` is read.
///
/// A body that is no error in JSON tells nothing: the status decides. Messages are cut at 8 KiB, and what looks
/// like a key in them is blotted out.
#[must_use]
pub fn decode_error(status: u16, headers: &HeaderMap, body: &[u8], now_unix: Duration) -> Error {
    let told = Raw::parse(body).ok().and_then(Told::read).unwrap_or_default();
    let kind = told.kind(status);
    let mut error = told.into_error(kind, status);
    if let Some(wait) = retry_after(kind, headers, now_unix) {
        error = error.with_retry_after(wait);
    }
    match headers.get("x-request-id").and_then(|id| id.to_str().ok()) {
        Some(id) => error.with_upstream_request_id(id),
        None => error,
    }
}

/// The error that an answer with a status of success tells, if its body is an error.
pub(in crate::wire) fn error_within(body: Raw<'_>) -> Option<Error> {
    let is_error = body.member("error").is_some()
        || body.member("object").and_then(Raw::string).is_some_and(|object| object == "error");
    let told = if is_error { Told::read(body)? } else { return None };
    let status = told.assumed_status();
    let kind = told.kind(status);
    Some(told.into_error(kind, status))
}

/// The error that an object of a stream or an answer says it is: its message, code and param alone.
pub(in crate::wire) fn error_object(raw: Raw<'_>) -> Error {
    let mut told = Told::object(raw).unwrap_or_default();
    told.kind = told.kind.filter(|kind| kind != "error");
    let status = told.assumed_status();
    let kind = told.kind(status);
    told.into_error(kind, status)
}

/// What an error body says.
#[derive(Default)]
struct Told<'a> {
    message: Option<Cow<'a, str>>,
    kind: Option<Cow<'a, str>>,
    param: Option<Cow<'a, str>>,
    code: Option<Cow<'a, str>>,
}

impl<'a> Told<'a> {
    /// `{"error":{…}}`, `{"error":"…"}`, `{"detail":…}`, the error object alone, or an array of one of them.
    fn read(body: Raw<'a>) -> Option<Self> {
        let body = body.items().next().unwrap_or(body);
        if let Some(error) = body.member("error") {
            return match error.kind() {
                Kind::String => Some(Self { message: error.string(), ..Self::default() }),
                _ => Self::object(error),
            };
        }
        if let Some(detail) = body.member("detail") {
            return Some(Self { message: Some(text(detail)), ..Self::default() });
        }
        Self::object(body)
    }

    fn object(error: Raw<'a>) -> Option<Self> {
        let read = |name| error.member(name).filter(|value| value.kind() != Kind::Object).map(text);
        let told = Self { message: read("message"), kind: read("type"), param: read("param"), code: read("code") };
        (error.kind() == Kind::Object).then_some(told)
    }

    fn kind(&self, status: u16) -> ErrorKind {
        let (code, kind) = (self.code.as_deref().unwrap_or_default(), self.kind.as_deref().unwrap_or_default());
        let is = |words: &[&str]| words.iter().any(|word| code == *word || kind == *word);
        match status {
            _ if matches!(status, 402 | 403 | 429) && is(QUOTA) => ErrorKind::QuotaExhausted,
            400 | 403 if names_a_key(code) => ErrorKind::UpstreamAuth,
            400 | 413 | 422 if is(CONTEXT) => ErrorKind::ContextLength,
            400 | 403 if is(CONTENT) => ErrorKind::ContentFilter,
            401 => ErrorKind::UpstreamAuth,
            402 => ErrorKind::QuotaExhausted,
            403 => ErrorKind::Forbidden,
            404 => ErrorKind::NotFound,
            408 => ErrorKind::Timeout,
            409 => ErrorKind::Conflict,
            413 => ErrorKind::TooLarge,
            422 => ErrorKind::Unprocessable,
            429 => ErrorKind::RateLimited,
            400..=499 => ErrorKind::InvalidRequest,
            503 | 529 => ErrorKind::Overloaded,
            500.. if is(OVERLOADED) => ErrorKind::Overloaded,
            500.. => ErrorKind::Upstream,
            _ => ErrorKind::BadAnswer,
        }
    }

    /// The status that fits an error told without one.
    fn assumed_status(&self) -> u16 {
        let (code, kind) = (self.code.as_deref().unwrap_or_default(), self.kind.as_deref().unwrap_or_default());
        let is = |words: &[&str]| words.iter().any(|word| code == *word || kind == *word);
        match code.parse() {
            Ok(status @ 400..=599) => status,
            _ if is(QUOTA) || is(RATE) => 429,
            _ if is(OVERLOADED) => 503,
            _ if names_a_key(code) || is(&["authentication_error"]) => 401,
            _ if is(&["permission_error"]) => 403,
            _ if is(&["not_found_error", "model_not_found"]) => 404,
            _ if is(CONTEXT) || is(CONTENT) || is(&["invalid_request_error", "BadRequestError"]) => 400,
            _ => 500,
        }
    }

    fn into_error(self, kind: ErrorKind, status: u16) -> Error {
        let message = match self.message {
            Some(message) if !message.trim().is_empty() => clean(&message),
            _ => format!("upstream returned HTTP {status}"),
        };
        let mut error = Error::new(kind, message).with_upstream(status, self.kind.map(|kind| clean(&kind)));
        if let Some(param) = self.param {
            error = error.with_param(clean(&param));
        }
        match self.code {
            Some(code) => error.with_code(clean(&code)),
            None => error,
        }
    }
}

const QUOTA: &[&str] = &[
    "insufficient_quota",
    "credit_balance_exhausted",
    "billing_hard_limit_reached",
    "billing_not_active",
    "billing_error",
    "quota_exceeded",
];
const RATE: &[&str] = &["rate_limit_exceeded", "rate_limit_error", "requests", "tokens", "slow_down"];
const CONTEXT: &[&str] = &["context_length_exceeded", "exceed_context_size_error"];
const CONTENT: &[&str] = &["content_policy_violation", "content_filter", "invalid_prompt"];
const OVERLOADED: &[&str] =
    &["server_is_overloaded", "overloaded_error", "service_unavailable_error", "unavailable_error"];

/// A string's text, any other value's JSON.
fn text(value: Raw<'_>) -> Cow<'_, str> {
    value.string().unwrap_or(Cow::Borrowed(value.text()))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const NOW: Duration = Duration::from_secs(1_700_000_000);

    fn headers(list: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        list.iter().map(pair).collect()
    }

    fn decode(status: u16, body: &str) -> Error {
        decode_error(status, &HeaderMap::new(), body.as_bytes(), NOW)
    }

    fn wait(list: &[(&'static str, &'static str)]) -> Option<Duration> {
        decode_error(429, &headers(list), b"", NOW).retry_after()
    }

    #[test]
    fn an_error_has_four_keys_and_our_member_beside_it() {
        let mut body = ErrorBody { message: "no \"x\"", kind: "server_error", param: None, code: None };
        let written = encode_error(&body, None);
        assert_eq!(written, r#"{"error":{"message":"no \"x\"","type":"server_error","param":null,"code":null}}"#);
        body.code = Some("upstream_error");
        let beside = Json::parse(r#"{"request_id":"r"}"#).unwrap();
        let written = encode_error(&body, Some(&beside));
        assert!(written.ends_with(br#""code":"upstream_error"},"llmkit":{"request_id":"r"}}"#));
    }

    #[test]
    fn an_error_is_read_in_every_shape() {
        let full = decode(400, r#"{"error":{"message":"m","type":"t","param":"p","code":"c"}}"#);
        assert_eq!(
            (full.message(), full.upstream_type(), full.param(), full.code()),
            ("m", Some("t"), Some("p"), Some("c"))
        );
        for (body, message) in [
            (r#"{"error":"model not loaded"}"#, "model not loaded"),
            (r#"{"detail":"Not Found"}"#, "Not Found"),
            (r#"{"detail":[{"loc":["body"],"msg":"no"}]}"#, r#"[{"loc":["body"],"msg":"no"}]"#),
            (r#"{"object":"error","message":"no","type":"BadRequestError","code":400}"#, "no"),
            (r#"[{"error":{"message":"in a list","code":400}}]"#, "in a list"),
            ("<html>502 Bad Gateway</html>", "upstream returned HTTP 400"),
            ("", "upstream returned HTTP 400"),
            ("[]", "upstream returned HTTP 400"),
            (r#"{"error":null}"#, "upstream returned HTTP 400"),
            (r#"{"error":{"message":""}}"#, "upstream returned HTTP 400"),
        ] {
            assert_eq!(decode(400, body).message(), message, "{body}");
        }
        assert_eq!(decode(400, r#"{"error":{"message":"m","code":503}}"#).code(), Some("503"));
    }

    #[test]
    fn status_code_and_type_decide_the_kind() {
        let of =
            |status, code: &str| decode(status, &format!(r#"{{"error":{{"message":"m","code":"{code}"}}}}"#)).kind();
        for (status, code, kind) in [
            (400, "", ErrorKind::InvalidRequest),
            (400, "context_length_exceeded", ErrorKind::ContextLength),
            (400, "content_policy_violation", ErrorKind::ContentFilter),
            (401, "invalid_api_key", ErrorKind::UpstreamAuth),
            (402, "", ErrorKind::QuotaExhausted),
            (403, "unsupported_country_region_territory", ErrorKind::Forbidden),
            (403, "invalid_api_key", ErrorKind::UpstreamAuth),
            (404, "model_not_found", ErrorKind::NotFound),
            (405, "method_not_supported", ErrorKind::InvalidRequest),
            (408, "", ErrorKind::Timeout),
            (409, "", ErrorKind::Conflict),
            (413, "", ErrorKind::TooLarge),
            (418, "", ErrorKind::InvalidRequest),
            (422, "", ErrorKind::Unprocessable),
            (429, "rate_limit_exceeded", ErrorKind::RateLimited),
            (429, "insufficient_quota", ErrorKind::QuotaExhausted),
            (500, "", ErrorKind::Upstream),
            (500, "server_is_overloaded", ErrorKind::Overloaded),
            (502, "", ErrorKind::Upstream),
            (503, "", ErrorKind::Overloaded),
            (504, "", ErrorKind::Upstream),
            (529, "", ErrorKind::Overloaded),
            (302, "", ErrorKind::BadAnswer),
        ] {
            assert_eq!(of(status, code), kind, "{status} {code}");
            assert_eq!(decode(status, "").upstream_status(), Some(status));
        }
        let by_type = decode(429, r#"{"error":{"message":"m","type":"insufficient_quota","code":null}}"#);
        assert_eq!(by_type.kind(), ErrorKind::QuotaExhausted);
    }

    #[test]
    fn an_error_without_a_status_is_classified_by_what_it_says() {
        let of = |body: &str| error_within(Raw::parse(body.as_bytes()).unwrap()).map(|error| error.kind());
        for (body, kind) in [
            (r#"{"error":{"message":"m","type":"server_error"}}"#, Some(ErrorKind::Upstream)),
            (r#"{"error":{"message":"m","code":503}}"#, Some(ErrorKind::Overloaded)),
            (r#"{"error":{"message":"m","code":"rate_limit_exceeded"}}"#, Some(ErrorKind::RateLimited)),
            (r#"{"error":{"message":"m","type":"insufficient_quota"}}"#, Some(ErrorKind::QuotaExhausted)),
            (r#"{"error":{"message":"m","code":"context_length_exceeded"}}"#, Some(ErrorKind::ContextLength)),
            (r#"{"error":"m"}"#, Some(ErrorKind::Upstream)),
            (r#"{"object":"error","message":"m","code":404}"#, Some(ErrorKind::NotFound)),
            (r#"{"error":null,"choices":[]}"#, None),
        ] {
            assert_eq!(of(body), kind, "{body}");
        }
    }

    #[test]
    fn the_most_exact_header_says_when_to_retry() {
        let millis = |millis| Some(Duration::from_millis(millis));
        assert_eq!(wait(&[("retry-after-ms", "250.5"), ("retry-after", "9")]), Some(Duration::from_micros(250_500)));
        assert_eq!(wait(&[("retry-after", "1.5")]), millis(1_500));
        assert_eq!(wait(&[("retry-after", "Tue, 14 Nov 2023 22:13:30 GMT")]), millis(10_000));
        assert_eq!(wait(&[("retry-after", "Tue, 14 Nov 2023 22:13:10 GMT")]), millis(0));
        assert_eq!(wait(&[("retry-after", "-1"), ("x-ratelimit-reset-requests", "1h2m3.5s")]), millis(3_723_500));
        assert_eq!(wait(&[("retry-after", "soon"), ("x-ratelimit-reset-tokens", "12ms")]), millis(12));
        let used_up = [
            ("x-ratelimit-reset-requests", "1s"),
            ("x-ratelimit-remaining-requests", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("x-ratelimit-remaining-tokens", "7"),
        ];
        assert_eq!(wait(&used_up), millis(1_000));
        assert_eq!(wait(&[("x-ratelimit-reset-tokens", "later")]), None);
        assert_eq!(wait(&[("retry-after-ms", "inf")]), None);
        assert_eq!(wait(&[("retry-after-ms", "NaN")]), None);
    }

    #[test]
    fn a_reset_header_says_nothing_about_other_errors() {
        let list = headers(&[("x-ratelimit-reset-requests", "1s")]);
        assert_eq!(decode_error(500, &list, b"", NOW).retry_after(), None);
    }

    #[test]
    fn messages_hold_no_keys_and_end_at_8_kib() {
        let error = decode(
            401,
            r#"{"error":{"message":"Incorrect API key provided: sk-proj-abc_DEF123*****xyz. Ask (gsk_abcd1234)."}}"#,
        );
        assert_eq!(error.message(), "Incorrect API key provided: sk-***. Ask (gsk_***).");
        assert_eq!(decode(400, r#"{"error":"a task-force, sk-1"}"#).message(), "a task-force, sk-1");
        let long = format!(r#"{{"error":"{}"}}"#, "é".repeat(10_000));
        assert_eq!(decode(400, &long).message().len(), 8 << 10);
    }

    #[test]
    fn the_providers_name_for_the_request_is_kept() {
        let error = decode_error(500, &headers(&[("x-request-id", "req_1")]), b"", NOW);
        assert_eq!(error.upstream_request_id(), Some("req_1"));
    }
}
