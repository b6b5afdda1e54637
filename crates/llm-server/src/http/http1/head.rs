//! Heads: a request's is read, an answer's is written.

use std::cell::Cell;
use std::mem::MaybeUninit;
use std::time::UNIX_EPOCH;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE, EXPECT, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, Method, Request, Response, StatusCode, Uri, Version};
use llm_core::{Clock, SystemClock, boxed};
use llm_providers::http1::{BadLength, Framing, header_map, length, names};

use super::super::fields::Fields;
use super::super::incoming::{BoxRequest, IncomingBody};
use super::super::listener::MAX_HEAD_BYTES;

/// Header fields of a request at most.
const MOST_FIELDS: usize = 100;

/// A request's head.
#[derive(Debug)]
pub(super) struct Head {
    /// Its body is still to come.
    pub(super) request: BoxRequest,
    pub(super) framing: Framing,
    /// Whether it gives its body's length in two ways.
    pub(super) ambiguous: bool,
    /// Whether the caller waits to be asked for the body.
    pub(super) asks: bool,
    pub(super) terms: Terms,
    /// Its bytes.
    pub(super) len: usize,
}

/// What a request asks of its answer's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// Whether another request may follow.
    pub(super) keeps: bool,
    /// HTTP/1.0, which knows no chunks.
    pub(super) is_old: bool,
    /// Whether the answer has no body, whatever it says of it.
    pub(super) head_only: bool,
}

impl Terms {
    /// Those of an answer after which the connection ends.
    pub(super) const LAST: Self = Self { keeps: false, is_old: false, head_only: false };
}

impl Head {
    /// The head that `bytes` begin with; none while it has not come whole.
    ///
    /// # Errors
    /// The status that refuses it.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, StatusCode> {
        let mut fields = [MaybeUninit::uninit(); MOST_FIELDS];
        let mut parsed = httparse::Request::new(&mut []);
        let len = match parsed.parse_with_uninit_headers(bytes, &mut fields) {
            Ok(httparse::Status::Complete(len)) if len <= MAX_HEAD_BYTES => len,
            Ok(httparse::Status::Partial) if bytes.len() <= MAX_HEAD_BYTES => return Ok(None),
            Ok(_) | Err(httparse::Error::TooManyHeaders) => return Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Err(_) => return Err(StatusCode::BAD_REQUEST),
        };
        Self::of(bytes, len, &parsed)
    }

    fn of(bytes: &[u8], len: usize, parsed: &httparse::Request<'_, '_>) -> Result<Option<Self>, StatusCode> {
        let bad = StatusCode::BAD_REQUEST;
        // In bytes of their own, and all in one piece: what they were read into is used again.
        let text = Bytes::copy_from_slice(&bytes[..len]);
        let method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes()).map_err(|_| bad)?;
        let path = parsed.path.unwrap_or_default();
        let at = path.as_ptr().addr() - bytes.as_ptr().addr();
        let uri = Uri::from_maybe_shared(text.slice(at..at + path.len())).map_err(|_| bad)?;
        let headers = header_map(&text, bytes, parsed.headers).ok_or(bad)?;
        let is_old = parsed.version == Some(0);
        let ambiguous = is_ambiguous(&headers);
        let framing = if ambiguous { Framing::UntilClose } else { framing(&headers, is_old)? };
        let says = |name, word: &str| names(&headers, &name).any(|token| token.eq_ignore_ascii_case(word));
        let keeps = !ambiguous && if is_old { says(CONNECTION, "keep-alive") } else { !says(CONNECTION, "close") };
        let asks = !is_old && says(EXPECT, "100-continue");
        let terms = Terms { keeps, is_old, head_only: method == Method::HEAD };
        let mut request = boxed(|| Request::new(IncomingBody::default()));
        *request.method_mut() = method;
        *request.uri_mut() = uri;
        *request.version_mut() = if is_old { Version::HTTP_10 } else { Version::HTTP_11 };
        *request.headers_mut() = headers;
        Ok(Some(Self { request, framing, ambiguous, asks, terms, len }))
    }
}

/// Whether it is said twice how long the body is: one that was before us may have taken the other word for it.
fn is_ambiguous(headers: &HeaderMap) -> bool {
    let count = |name: HeaderName| headers.get_all(name).iter().count();
    count(CONTENT_LENGTH) + count(TRANSFER_ENCODING) > 1
}

/// How the end of the body is known.
fn framing(headers: &HeaderMap, is_old: bool) -> Result<Framing, StatusCode> {
    if !headers.contains_key(TRANSFER_ENCODING) {
        return match length(headers) {
            Ok(length) => Ok(Framing::Length(length.unwrap_or(0))),
            Err(BadLength) => Err(StatusCode::BAD_REQUEST),
        };
    }
    let mut codings = names(headers, &TRANSFER_ENCODING);
    let (first, second) = (codings.next(), codings.next());
    let chunked = first.is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"));
    match second {
        None if chunked && !is_old => Ok(Framing::chunked()),
        Some(_) => Err(StatusCode::NOT_IMPLEMENTED),
        None => Err(StatusCode::BAD_REQUEST),
    }
}

/// How an answer's end is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sends {
    /// So many bytes are left.
    Length(u64),
    Chunks,
    UntilClose,
    /// It has no body, of whatever length that would be.
    Nothing(Option<u64>),
}

/// Writes the head of an answer, and whether another may follow.
pub(super) fn write<B>(text: &mut Vec<u8>, response: &Response<B>, fields: &Fields, sends: Sends, terms: Terms) {
    let (status, headers) = (response.status(), response.headers());
    text.extend_from_slice(b"HTTP/1.1 ");
    text.extend_from_slice(status.as_str().as_bytes());
    text.push(b' ');
    text.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    text.extend_from_slice(b"\r\n");
    text.extend_from_slice(fields.lines());
    let mut put = |name: &HeaderName, value: &[u8]| {
        text.extend_from_slice(name.as_str().as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.extend_from_slice(b"\r\n");
    };
    // The connection's own are not the handler's to set.
    for (name, value) in headers {
        if ![CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING].contains(name) {
            put(name, value.as_bytes());
        }
    }
    match (terms.keeps, terms.is_old) {
        (true, false) => {}
        (true, true) => put(&CONNECTION, b"keep-alive"),
        (false, _) => put(&CONNECTION, b"close"),
    }
    match sends {
        Sends::Length(length) | Sends::Nothing(Some(length)) => {
            put(&CONTENT_LENGTH, itoa::Buffer::new().format(length).as_bytes());
        }
        Sends::Chunks => put(&TRANSFER_ENCODING, b"chunked"),
        Sends::UntilClose | Sends::Nothing(None) => {}
    }
    if !headers.contains_key(DATE) {
        put(&DATE, &date());
    }
    text.extend_from_slice(b"\r\n");
}

/// The date as headers have it.
fn date() -> [u8; 29] {
    let now = SystemClock.unix_time();
    let (known, mut text) = WRITTEN.get();
    if known != now.as_secs() {
        let written = httpdate::fmt_http_date(UNIX_EPOCH + now);
        if let Ok(written) = written.as_bytes().try_into() {
            text = written;
        }
        WRITTEN.set((now.as_secs(), text));
    }
    text
}

thread_local! {
    /// The date that was written last, and its second.
    static WRITTEN: Cell<(u64, [u8; 29])> = const { Cell::new((0, *b"Thu, 01 Jan 1970 00:00:00 GMT")) };
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Option<Head>, u16> {
        Head::read(text.as_bytes()).map_err(|status| status.as_u16())
    }

    /// The framing of a request with these headers, and whether another may follow; or the status that refuses it.
    fn framed(version: &str, headers: &str) -> Result<(Framing, bool), u16> {
        let head = read(&format!("POST /x HTTP/{version}\r\n{headers}\r\n\r\n"))?.expect("all of it is there");
        Ok((head.framing, head.terms.keeps))
    }

    #[test]
    fn the_end_of_a_body_is_where_the_head_says() {
        for (version, headers, expected) in [
            ("1.1", "host: x", Ok((Framing::Length(0), true))),
            ("1.1", "Content-Length: 5", Ok((Framing::Length(5), true))),
            ("1.1", "content-length: 5, 5", Ok((Framing::Length(5), true))),
            ("1.1", "content-length: 5, 6", Err(400)),
            ("1.1", "content-length: -5", Err(400)),
            ("1.1", "content-length: 5x", Err(400)),
            ("1.1", "content-length: 99999999999999999999", Err(400)),
            ("1.1", "transfer-encoding: Chunked", Ok((Framing::chunked(), true))),
            ("1.1", "transfer-encoding: gzip, chunked", Err(501)),
            ("1.1", "transfer-encoding: gzip", Err(400)),
            ("1.1", "transfer-encoding:", Err(400)),
            ("1.1", "connection: x, Close", Ok((Framing::Length(0), false))),
            ("1.0", "content-length: 5", Ok((Framing::Length(5), false))),
            ("1.0", "connection: Keep-Alive", Ok((Framing::Length(0), true))),
            ("1.0", "transfer-encoding: chunked", Err(400)),
        ] {
            assert_eq!(framed(version, headers), expected, "{version} {headers}");
        }
    }

    #[test]
    fn two_ways_to_say_the_length_are_ambiguous() {
        for (headers, ambiguous) in [
            ("content-length: 5\r\ntransfer-encoding: chunked", true),
            ("Transfer-Encoding: chunked\r\nContent-Length: 5", true),
            ("content-length: 5\r\ncontent-length: 6", true),
            ("content-length: 5\r\ncontent-length: 5", true),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked", true),
            ("x-content-length: 5\r\ncontent-length: 9", false),
        ] {
            let head = read(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n")).unwrap().unwrap();
            assert_eq!(head.ambiguous, ambiguous, "{headers}");
            assert!(!ambiguous || !head.terms.keeps && !head.framing.is_over(), "nothing behind it is trusted");
        }
    }

    #[test]
    fn a_head_is_read_once_all_of_it_is_there() {
        let text = "\r\nHEAD /a/b?c=d HTTP/1.1\r\nhost: x\r\nExpect: 100-Continue\r\nx-empty:\r\na: 1\r\na: 2\r\n\r\n";
        let head = read(&format!("{text}body")).unwrap().unwrap();
        assert_eq!((head.len, head.asks, head.terms.head_only), (text.len(), true, true));
        assert_eq!((head.request.method(), head.request.uri().path()), (&Method::HEAD, "/a/b"));
        assert_eq!(head.request.uri().query(), Some("c=d"));
        assert_eq!(head.request.headers()["x-empty"], "");
        assert_eq!(head.request.headers().get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        for cut in 0..text.len() {
            assert!(read(&text[..cut]).unwrap().is_none(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for (text, status) in [
            ("GET /\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/2.0\r\n\r\n".to_owned(), 400),
            ("GET http://[ HTTP/1.1\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nx y: z\r\n\r\n".to_owned(), 400),
            ("GET / HTTP/1.1\r\nx: y\r\n z\r\n\r\n".to_owned(), 400),
            (format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(MOST_FIELDS + 1)), 431),
            (format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(MAX_HEAD_BYTES)), 431),
            (format!("GET / HTTP/1.1\r\na: {}", "b".repeat(MAX_HEAD_BYTES)), 431),
        ] {
            assert_eq!(read(&text).unwrap_err(), status, "{text:.60}");
        }
    }

    #[test]
    fn a_written_head_says_what_the_connection_does() {
        let written = |sends, keeps, is_old| {
            let mut response =
                http::Response::builder().status(404).header("connection", "x").header("content-length", 9);
            let headers = response.headers_mut().unwrap();
            headers.insert("x-a", HeaderValue::from_static("b"));
            headers.insert(DATE, HeaderValue::from_static("now"));
            let response = response.body(()).unwrap();
            let mut text = Vec::new();
            let mut fields = Fields::default();
            fields.number(&HeaderName::from_static("x-said"), 1);
            write(&mut text, &response, &fields, sends, Terms { keeps, is_old, head_only: false });
            String::from_utf8(text).unwrap()
        };
        let start = "HTTP/1.1 404 Not Found\r\nx-said: 1\r\nx-a: b\r\ndate: now\r\n";
        assert_eq!(written(Sends::Chunks, true, false), format!("{start}transfer-encoding: chunked\r\n\r\n"));
        assert_eq!(written(Sends::UntilClose, false, true), format!("{start}connection: close\r\n\r\n"));
        assert_eq!(written(Sends::Nothing(None), true, true), format!("{start}connection: keep-alive\r\n\r\n"));
        assert_eq!(
            written(Sends::Length(u64::MAX), true, false),
            format!("{start}content-length: {}\r\n\r\n", u64::MAX)
        );
    }

    #[test]
    fn the_date_is_one() {
        let text = String::from_utf8(date().to_vec()).unwrap();
        let told = httpdate::parse_http_date(&text).unwrap().duration_since(UNIX_EPOCH).unwrap();
        assert!(SystemClock.unix_time().abs_diff(told).as_secs() < 60, "{text}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, begin in "(POST /x HTTP/1[.][01]\r\n)?(content-length: [0-9]{1,3}\r\n)?") {
            let bytes = [begin.as_bytes(), &bytes].concat();
            if let Ok(Some(head)) = Head::read(&bytes) {
                prop_assert!(head.len <= bytes.len());
            }
        }
    }
}
