//! Answers that are errors, as their bytes and as the error that a caller's transport makes of them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};
#[cfg(feature = "sim-server")]
use llm_core::Dialect;
use llm_core::{Error, ErrorKind};

use super::script::SimScript;
#[cfg(feature = "sim-server")]
use crate::wire::codec;
use crate::wire::openai::{ErrorBody, decode_error, encode_error};

/// The status of an error when its script does not say.
const STATUS: u16 = 500;

/// A page as proxies show it.
pub(crate) const HTML: &str = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n\
                               <center><h1>502 Bad Gateway</h1></center>\r\n</body>\r\n</html>\r\n";

/// An answer that is an error.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    /// Content type and when to come again.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Refusal {
    /// The error that `script` tells.
    pub(crate) fn scripted(script: &SimScript) -> Self {
        let status = script.status.filter(|status| *status != 200).unwrap_or(STATUS);
        let mut refusal = if script.html == Some(true) {
            Self::page(status)
        } else {
            let (kind, code, message) = words(status);
            let code = script.code.as_deref().or(code);
            let kind = if code == Some("insufficient_quota") { "insufficient_quota" } else { kind };
            let param = (code == Some("context_length_exceeded")).then_some("messages");
            Self::json(status, &ErrorBody { message, kind, param, code })
        };
        if let Some(wait) = script.retry_after {
            refusal.headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
            if wait.subsec_nanos() != 0 {
                let millis = wait.as_millis().min(u128::from(u64::MAX)) as u64;
                refusal.headers.insert("retry-after-ms", HeaderValue::from(millis));
            }
        }
        refusal
    }

    /// The answer to a request that cannot be served because of `error`.
    #[cfg(feature = "sim-server")]
    pub(crate) fn of(error: &Error) -> Self {
        let status = match error.kind() {
            ErrorKind::Unauthenticated => 401,
            ErrorKind::NotFound => 404,
            ErrorKind::TooLarge => 413,
            _ => 400,
        };
        let kind = "invalid_request_error";
        Self::json(status, &ErrorBody { message: error.message(), kind, param: error.param(), code: error.code() })
    }

    /// An error in OpenAI's shape.
    pub(crate) fn json(status: u16, body: &ErrorBody<'_>) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
        Self { status, headers, body: encode_error(body, None) }
    }

    /// A page of HTML.
    pub(crate) fn page(status: u16) -> Self {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("text/html"))]);
        Self { status, headers, body: Bytes::from_static(HTML.as_bytes()) }
    }

    /// The same in the words of `dialect`. A page stays one.
    #[cfg(feature = "sim-server")]
    pub(crate) fn told_in(self, dialect: Dialect) -> Self {
        let is_json = self.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
        match codec(dialect).filter(|_| is_json && dialect != Dialect::OpenAi) {
            Some(codec) => Self { body: codec.encode_error(&self.clone().into_error(), None).1, ..self },
            None => self,
        }
    }

    /// What a caller's transport makes of it.
    pub(crate) fn into_error(self) -> Error {
        if self.status == 200 {
            return Error::new(ErrorKind::BadAnswer, "the answer is no JSON");
        }
        // No date is among the headers, so that the time does not matter.
        decode_error(self.status, &self.headers, &self.body, Duration::ZERO)
    }
}

/// The error that a stream tells before it ends.
pub(crate) const IN_BAND: ErrorBody<'_> =
    ErrorBody { message: "the simulated stream failed", kind: "server_error", param: None, code: Some("server_error") };

fn whole_seconds(wait: Duration) -> u64 {
    wait.as_secs() + u64::from(wait.subsec_nanos() != 0)
}

/// The type, the code and the message that go with a status.
const fn words(status: u16) -> (&'static str, Option<&'static str>, &'static str) {
    const INVALID: &str = "invalid_request_error";
    match status {
        401 => (INVALID, Some("invalid_api_key"), "simulated: incorrect API key provided"),
        403 => (INVALID, Some("unsupported_country_region_territory"), "simulated: not allowed"),
        404 => (INVALID, Some("model_not_found"), "simulated: the model does not exist"),
        429 => ("requests", Some("rate_limit_exceeded"), "simulated: rate limit reached"),
        400..=499 => (INVALID, None, "simulated: the request was refused"),
        503 | 529 => ("service_unavailable_error", Some("server_is_overloaded"), "simulated: the server is overloaded"),
        _ => ("server_error", None, "simulated: the server failed"),
    }
}
