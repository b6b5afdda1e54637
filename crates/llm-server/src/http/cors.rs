//! Browsers: which pages may call, and what their browsers are told of it.
//!
//! Keys are sent in headers and never by the browser itself, so credentials in the sense of CORS are not allowed.

use std::collections::HashSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};
use llm_core::{Error, ErrorKind};

/// Whose pages may call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cors {
    /// Nobody's: no header says a word of it.
    Off,
    /// Everybody's.
    Any,
    /// Those of these origins.
    Only(HashSet<String>),
}

/// What is wrong with the name of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an origin is a scheme, a host and perhaps a port, such as `https://app.example.com`, or all are `\"*\"`")]
pub(crate) struct OriginError;

impl Cors {
    /// The pages of `origins`; `"*"` alone is everybody's.
    ///
    /// # Errors
    /// [`OriginError`] with the number of the entry that is none.
    pub(crate) fn of(origins: &[String]) -> Result<Self, (usize, OriginError)> {
        match origins {
            [] => Ok(Self::Off),
            [all] if all == "*" => Ok(Self::Any),
            origins => {
                let origin = |(number, text): (usize, &String)| normal(text).ok_or((number, OriginError));
                origins.iter().enumerate().map(origin).collect::<Result<_, _>>().map(Self::Only)
            }
        }
    }

    /// What a request is to a browser.
    pub(crate) fn visit<B>(&self, request: &Request<B>) -> Visit {
        let origin = request.headers().get(ORIGIN);
        if origin.is_none() && *self == Self::Off {
            return Visit::Plain;
        }
        let allowed = origin.and_then(|origin| match self {
            Self::Off => None,
            Self::Any => Some(HeaderValue::from_static("*")),
            Self::Only(origins) => origin.to_str().ok().filter(|text| origins.contains(*text)).map(|_| origin.clone()),
        });
        let asks = request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        match (self, origin, allowed) {
            (Self::Off, _, _) if asks => Visit::Plain,
            (_, Some(_), None) if asks => Visit::Foreign { told: true },
            (_, Some(_), Some(origin)) if asks => Visit::Preflight { origin, headers: wanted(request.headers()) },
            (_, Some(_), None) if is_foreign(request) => Visit::Foreign { told: *self != Self::Off },
            (Self::Off, _, _) => Visit::Plain,
            (_, _, origin) => Visit::Page { origin },
        }
    }
}

/// What a request is to a browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Visit {
    /// Nothing: browsers are not spoken to.
    Plain,
    /// A call, perhaps of a page; one of `origin` may read the answer.
    Page { origin: Option<HeaderValue> },
    /// The question whether a page of `origin` may call.
    Preflight { origin: HeaderValue, headers: Option<HeaderValue> },
    /// A page that may not call does so or asks to; whether browsers are spoken to at all.
    Foreign { told: bool },
}

impl Visit {
    /// Why the request is not answered.
    pub(crate) fn refusal(&self) -> Option<Error> {
        let Self::Foreign { .. } = self else { return None };
        let message = "pages of this origin may not call: add the origin to server.cors_origins";
        Some(Error::new(ErrorKind::Forbidden, message).with_code("origin_not_allowed"))
    }

    /// Whether the request is a browser's question, to which the headers are the answer.
    pub(crate) const fn is_preflight(&self) -> bool {
        matches!(self, Self::Preflight { .. })
    }

    /// Whether the browser is to know anything.
    pub(crate) const fn is_told(&self) -> bool {
        !matches!(self, Self::Plain | Self::Foreign { told: false })
    }

    /// Says in an answer's `headers` what the browser is to know.
    pub(crate) fn tell(self, headers: &mut HeaderMap) {
        match self {
            Self::Plain | Self::Foreign { told: false } => {}
            Self::Foreign { told: true } => {
                headers.append(VARY, HeaderValue::from_static("origin"));
            }
            Self::Page { origin } => {
                headers.append(VARY, HeaderValue::from_static("origin"));
                if let Some(origin) = origin {
                    if let Some(names) = exposed(headers) {
                        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, names);
                    }
                    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                }
            }
            Self::Preflight { origin, headers: wanted } => {
                let vary = "origin, access-control-request-method, access-control-request-headers";
                headers.append(VARY, HeaderValue::from_static(vary));
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
                headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
                if let Some(wanted) = wanted {
                    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, wanted);
                }
            }
        }
    }
}

const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";
/// Seconds for which a browser need not ask again; none keeps an answer for longer.
const MAX_AGE: &str = "7200";

/// The request headers that pages may set: those of the official SDKs and ours.
const ALLOWED: &[&str] = &[
    "accept",
    "accept-language",
    "api-key",
    "authorization",
    "baggage",
    "cache-control",
    "content-language",
    "content-type",
    "idempotency-key",
    "last-event-id",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-api-key",
    "x-request-id",
    "x-requested-with",
    "x-session-id",
];
const ALLOWED_PREFIXES: &[&str] =
    &["anthropic-", "mcp-", "openai-", "x-client-", "x-goog-", "x-llmkit-", "x-stainless-"];

/// The response headers that pages may read, besides those that every page may.
const EXPOSED: &[&str] = &["request-id", "retry-after", "retry-after-ms"];
const EXPOSED_PREFIXES: &[&str] = &["anthropic-", "mcp-", "openai-", "x-"];

/// Of the headers that a page would set, those that it may.
fn wanted(headers: &HeaderMap) -> Option<HeaderValue> {
    let names = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|names| names.to_str().ok());
    let names = names.flat_map(|names| names.split(',')).map(|name| name.trim().to_ascii_lowercase());
    listed(names.filter(|name| is_among(name, ALLOWED, ALLOWED_PREFIXES)))
}

/// Of an answer's headers, those that a page would not see otherwise.
fn exposed(headers: &HeaderMap) -> Option<HeaderValue> {
    listed(headers.keys().map(HeaderName::as_str).filter(|name| is_among(name, EXPOSED, EXPOSED_PREFIXES)))
}

fn is_among(name: &str, names: &[&str], prefixes: &[&str]) -> bool {
    names.contains(&name) || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

fn listed(names: impl Iterator<Item = impl AsRef<str>>) -> Option<HeaderValue> {
    let mut list = String::new();
    for name in names {
        list.push_str(if list.is_empty() { "" } else { ", " });
        list.push_str(name.as_ref());
    }
    HeaderValue::try_from(list).ok().filter(|list| !list.is_empty())
}

/// Whether a browser says that a page of elsewhere makes the call. It would not let the page read the answer, but what
/// a call does and costs needs no reader.
fn is_foreign<B>(request: &Request<B>) -> bool {
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    let changes_nothing = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    !changes_nothing && matches!(site, Some(b"cross-site" | b"same-site"))
}

/// An origin as browsers write it, without the port that its scheme implies.
fn normal(text: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let (scheme, rest) = text.split_once("://")?;
    let of_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    let of_host = |byte: u8| byte.is_ascii_graphic() && !b"/?#@\\*,".contains(&byte);
    if scheme.is_empty() || !scheme.bytes().all(of_scheme) || rest.is_empty() || !rest.bytes().all(of_host) {
        return None;
    }
    let implied = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "",
    };
    Some(format!("{scheme}://{}", rest.strip_suffix(implied).unwrap_or(rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors::of(&origins.iter().map(|origin| (*origin).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    fn visit(cors: &Cors, method: Method, headers: &[(&'static str, &'static str)]) -> Visit {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        cors.visit(&request.body(()).unwrap())
    }

    fn told(visit: Visit, headers: &[(&'static str, &'static str)]) -> HeaderMap {
        let known = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        let mut headers = headers.iter().map(known).collect();
        visit.tell(&mut headers);
        headers
    }

    const HERE: (&str, &str) = ("origin", "https://app.example.com");
    const ELSEWHERE: (&str, &str) = ("origin", "https://evil.example");
    const ASKS: (&str, &str) = ("access-control-request-method", "POST");

    #[test]
    fn origins_are_named_as_browsers_name_them() {
        for (text, known) in [
            ("https://App.Example.com", "https://app.example.com"),
            ("https://app.example.com:443", "https://app.example.com"),
            ("http://localhost:3000", "http://localhost:3000"),
            ("http://127.0.0.1:80", "http://127.0.0.1"),
            ("http://[::1]:5173", "http://[::1]:5173"),
            ("https://a.example:80", "https://a.example:80"),
            ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ] {
            assert_eq!(normal(text).as_deref(), Some(known), "{text}");
        }
        for text in ["", "app.example.com", "https://", "://x", "https://a/", "https://a/b", "null", "https://*.a", "*"]
        {
            assert_eq!(normal(text), None, "{text}");
        }
        let mixed = ["https://a".to_owned(), "*".to_owned()];
        assert_eq!(Cors::of(&mixed), Err((1, OriginError)));
    }

    #[test]
    fn without_origins_no_header_is_added_and_no_question_answered() {
        let off = cors(&[]);
        for (method, headers) in [
            (Method::POST, &[][..]),
            (Method::POST, &[HERE][..]),
            (Method::OPTIONS, &[HERE, ASKS][..]),
            (Method::GET, &[HERE, ("sec-fetch-site", "cross-site")][..]),
        ] {
            assert_eq!(visit(&off, method, headers), Visit::Plain, "{headers:?}");
        }
    }

    #[test]
    fn an_answer_names_its_origin_and_shows_our_headers() {
        let some = cors(&["https://app.example.com", "http://localhost:3000"]);
        let answer = [("x-request-id", "r"), ("content-type", "a/b"), ("retry-after", "1"), ("x-llmkit-cache", "miss")];
        let headers = told(visit(&some, Method::POST, &[HERE]), &answer);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], HERE.1);
        assert_eq!(headers[VARY], "origin");
        let mut shown: Vec<_> = headers[ACCESS_CONTROL_EXPOSE_HEADERS].to_str().unwrap().split(", ").collect();
        shown.sort_unstable();
        assert_eq!(shown, ["retry-after", "x-llmkit-cache", "x-request-id"]);
        assert_eq!(told(visit(&cors(&["*"]), Method::POST, &[ELSEWHERE]), &[])[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        // Who is no page, and who may not read, is told only that answers differ by origin.
        for headers in [&[][..], &[ELSEWHERE]] {
            let headers = told(visit(&some, Method::POST, headers), &answer);
            assert_eq!(headers.len(), answer.len() + 1);
            assert_eq!(headers[VARY], "origin");
        }
    }

    #[test]
    fn a_question_is_answered_with_the_headers_that_may_be_set() {
        let asked = ("access-control-request-headers", "Authorization,x-stainless-os, x-evil,anthropic-version");
        let visit = visit(&cors(&["https://app.example.com"]), Method::OPTIONS, &[HERE, ASKS, asked]);
        assert!(visit.is_preflight() && visit.refusal().is_none());
        let headers = told(visit, &[]);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_ORIGIN], HERE.1);
        assert_eq!(headers[ACCESS_CONTROL_ALLOW_HEADERS], "authorization, x-stainless-os, anthropic-version");
        assert!(headers[ACCESS_CONTROL_ALLOW_METHODS].to_str().unwrap().contains("POST"));
        assert!(headers[VARY].to_str().unwrap().starts_with("origin"));
        assert!(!headers.contains_key("access-control-allow-credentials"));
    }

    #[test]
    fn a_page_of_elsewhere_is_refused() {
        for (origins, told) in [(&["https://app.example.com"][..], true), (&[], false)] {
            let cors = cors(origins);
            let call = [ELSEWHERE, ("sec-fetch-site", "cross-site")];
            let refused = visit(&cors, Method::POST, &call);
            assert_eq!(refused, Visit::Foreign { told });
            assert_eq!(refused.refusal().map(|error| error.kind()), Some(ErrorKind::Forbidden));
            // The dashboard's own calls, and programs that name an origin, are let through.
            for site in ["same-origin", "none"] {
                let visit = visit(&cors, Method::POST, &[ELSEWHERE, ("sec-fetch-site", site)]);
                assert!(visit.refusal().is_none(), "{site}");
            }
        }
        let asked = visit(&cors(&["https://app.example.com"]), Method::OPTIONS, &[ELSEWHERE, ASKS]);
        assert_eq!(asked, Visit::Foreign { told: true });
        assert!(!self::told(asked, &[]).contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
    }
}
