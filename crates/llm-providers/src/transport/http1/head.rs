//! Heads: a request's is written, an answer's is read.

use std::fmt::Display;
use std::io::Write as _;
use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::fields::{BadLength, header_map, length, names};
use super::framing::Framing;
use crate::transport::HttpRequest;

/// Headers of an answer at most.
const MOST_HEADERS: usize = 100;

/// The head of `request` to `target`, with the host and what a proxy wants to know; of the body's length, none is in
/// chunks.
pub(crate) fn written(
    request: &HttpRequest,
    target: impl Display,
    own: [Option<(HeaderName, &HeaderValue)>; 2],
    length: Option<u64>,
) -> Vec<u8> {
    let mut head = Vec::with_capacity(512);
    head.extend_from_slice(request.method.as_str().as_bytes());
    // Nothing that is written to a vector fails.
    let _ = write!(head, " {target} HTTP/1.1\r\n");
    let mut put = |name: &HeaderName, value: &[u8]| {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value);
        head.extend_from_slice(b"\r\n");
    };
    for (name, value) in own.iter().flatten() {
        put(name, value.as_bytes());
    }
    // The connection's own are not the sender's to set.
    let is_ours = |name: &HeaderName| {
        [HOST, CONTENT_LENGTH, TRANSFER_ENCODING, CONNECTION].contains(name)
            || own.iter().flatten().any(|(own, _)| own == name)
    };
    let common = request.common.iter().filter(|(name, _)| !request.headers.contains_key(*name));
    for (name, value) in common.chain(&request.headers).filter(|(name, _)| !is_ours(name)) {
        put(name, value.as_bytes());
    }
    match length {
        Some(0) if request.method == http::Method::GET || request.method == http::Method::DELETE => {}
        Some(length) => put(&CONTENT_LENGTH, length.to_string().as_bytes()),
        None => put(&TRANSFER_ENCODING, b"chunked"),
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// An answer's head.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) framing: Framing,
    /// Whether the connection can carry another request afterwards.
    pub(super) keeps: bool,
    /// Its bytes.
    pub(super) len: usize,
}

/// The bytes are no answer's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotHttp;

impl Head {
    /// The head that `bytes` begin with; none while it has not come whole.
    pub(super) fn read(bytes: &[u8]) -> Result<Option<Self>, NotHttp> {
        let mut fields = [MaybeUninit::uninit(); MOST_HEADERS];
        let mut answer = httparse::Response::new(&mut []);
        let read =
            httparse::ParserConfig::default().parse_response_with_uninit_headers(&mut answer, bytes, &mut fields);
        let httparse::Status::Complete(len) = read.map_err(|_| NotHttp)? else { return Ok(None) };
        let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(NotHttp)?;
        // In bytes of their own, and all in one piece: what they were read into is used again.
        let text = Bytes::copy_from_slice(&bytes[..len]);
        let headers = header_map(&text, bytes, answer.headers).ok_or(NotHttp)?;
        let is_old = answer.version == Some(0);
        let (framing, framed_twice) = framing(status, &headers, is_old)?;
        let says = |word: &str| names(&headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case(word));
        let keeps = !framed_twice && if is_old { says("keep-alive") } else { !says("close") };
        Ok(Some(Self { status, headers, framing, keeps, len }))
    }

    /// Whether another head follows it.
    pub(super) fn is_interim(&self) -> bool {
        self.status.is_informational() && self.status != StatusCode::SWITCHING_PROTOCOLS
    }
}

/// How the end of the body is known, and whether the head says so in two ways.
fn framing(status: StatusCode, headers: &HeaderMap, is_old: bool) -> Result<(Framing, bool), NotHttp> {
    if status.is_informational() || status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
        return Ok((Framing::Length(0), false));
    }
    let length = length(headers).map_err(|BadLength| NotHttp)?;
    let Some(coding) = names(headers, &TRANSFER_ENCODING).last() else {
        return Ok((length.map_or(Framing::UntilClose, Framing::Length), false));
    };
    if is_old {
        return Err(NotHttp);
    }
    let framing = if coding.eq_ignore_ascii_case("chunked") { Framing::chunked() } else { Framing::UntilClose };
    Ok((framing, length.is_some()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::Method;
    use proptest::prelude::*;

    use super::*;
    use crate::transport::RequestBody;

    fn read(head: &str) -> Result<Option<Head>, NotHttp> {
        Head::read(head.as_bytes())
    }

    /// The framing of an answer with these headers, and whether its connection is kept.
    fn framed(status: &str, headers: &str) -> Option<(Framing, bool)> {
        let head = read(&format!("{status}\r\n{headers}\r\n\r\n")).ok()?.expect("all of it is there");
        Some((head.framing, head.keeps))
    }

    #[test]
    fn the_end_of_a_body_is_where_the_head_says() {
        let (ok, old) = ("HTTP/1.1 200 OK", "HTTP/1.0 200 OK");
        for (status, headers, expected) in [
            (ok, "content-length: 5", Some((Framing::Length(5), true))),
            (ok, "Content-Length: 5\r\ncontent-length: 5, 5", Some((Framing::Length(5), true))),
            (ok, "content-length: 5\r\ncontent-length: 6", None),
            (ok, "content-length: +5", None),
            (ok, "content-length: ", None),
            (ok, "content-length: 99999999999999999999", None),
            (ok, "transfer-encoding: gzip, Chunked", Some((Framing::chunked(), true))),
            (ok, "transfer-encoding: chunked\r\ncontent-length: 5", Some((Framing::chunked(), false))),
            (ok, "transfer-encoding: gzip", Some((Framing::UntilClose, true))),
            (ok, "x: y", Some((Framing::UntilClose, true))),
            (ok, "connection: x, Close\r\ncontent-length: 0", Some((Framing::Length(0), false))),
            (old, "content-length: 5", Some((Framing::Length(5), false))),
            (old, "content-length: 5\r\nconnection: Keep-Alive", Some((Framing::Length(5), true))),
            (old, "transfer-encoding: chunked", None),
            ("HTTP/1.1 204 No Content", "content-length: 5", Some((Framing::Length(0), true))),
            ("HTTP/1.1 304 ", "transfer-encoding: chunked", Some((Framing::Length(0), true))),
        ] {
            assert_eq!(framed(status, headers), expected, "{status} {headers}");
        }
    }

    #[test]
    fn a_head_is_its_status_and_its_headers_and_no_more() {
        let text = "HTTP/1.1 429 Too Many\r\nretry-after: 3\r\nx-empty:\r\nset-cookie: a\r\nset-cookie: b\r\n\r\n";
        let head = read(&format!("{text}body")).unwrap().unwrap();
        assert_eq!((head.status.as_u16(), head.len, head.is_interim()), (429, text.len(), false));
        assert_eq!(head.headers["retry-after"], "3");
        assert_eq!(head.headers["x-empty"], "");
        assert_eq!(head.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a", "b"]);
        assert!(read("HTTP/1.1 100 Continue\r\n\r\n").unwrap().unwrap().is_interim());
        assert!(!read("HTTP/1.1 101 Switching Protocols\r\n\r\n").unwrap().unwrap().is_interim());
        for cut in 1..text.len() {
            assert!(read(&text[..cut]).unwrap().is_none(), "{cut}");
        }
    }

    #[test]
    fn what_is_no_head_is_refused() {
        for text in
            ["ICY 200 OK\r\n\r\n", "HTTP/2 200\r\n\r\n", "HTTP/1.1 20\r\n\r\n", "HTTP/1.1 200 OK\r\nx y: z\r\n\r\n"]
        {
            assert!(read(text).is_err(), "{text:?}");
        }
        assert!(read(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1))).is_err());
    }

    #[test]
    fn a_written_head_has_each_header_once_and_the_further_ones_win() {
        let map = |headers: &[(&'static str, &'static str)]| -> HeaderMap {
            let header = |(name, value): &(&'static str, &'static str)| {
                (HeaderName::from_static(name), HeaderValue::from_static(value))
            };
            headers.iter().map(header).collect()
        };
        let request = |method| HttpRequest {
            method,
            target: "/v1/x?y=z".parse().unwrap(),
            common: Arc::new(map(&[("accept", "a"), ("user-agent", "u"), ("content-length", "7")])),
            headers: map(&[("accept", "b"), ("connection", "close"), ("host", "other")]),
            body: RequestBody::default(),
        };
        let host = HeaderValue::from_static("here:1");
        let written = |method, length| {
            let request = request(method);
            String::from_utf8(written(&request, &request.target, [Some((HOST, &host)), None], length)).unwrap()
        };
        let head = "/v1/x?y=z HTTP/1.1\r\nhost: here:1\r\nuser-agent: u\r\naccept: b\r\n";
        assert_eq!(written(Method::POST, Some(0)), format!("POST {head}content-length: 0\r\n\r\n"));
        assert_eq!(written(Method::GET, Some(0)), format!("GET {head}\r\n"));
        assert_eq!(written(Method::PUT, None), format!("PUT {head}transfer-encoding: chunked\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, begin in "(HTTP/1.[01] [0-9]{3} )?") {
            let bytes = [begin.as_bytes(), &bytes].concat();
            if let Ok(Some(head)) = Head::read(&bytes) {
                prop_assert!(head.len <= bytes.len());
            }
        }
    }
}
