//! Heads of HTTP/1.1 messages: read from requests, written for answers.

use std::io::Write as _;
use std::ops::Range;

use http::{HeaderMap, StatusCode};

use crate::sim::script::HEADER;

/// The longest head of a request.
const LONGEST: usize = 64 << 10;

/// The most headers of a request.
const MOST_HEADERS: usize = 128;

/// What is needed of a request's head. Ranges are of the bytes that it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// The head's length, the empty line included.
    pub(crate) length: usize,
    pub(crate) method: Method,
    pub(crate) path: Range<usize>,
    pub(crate) script: Option<Range<usize>>,
    pub(crate) authorization: Option<Range<usize>>,
    /// The value of `x-api-key` or `x-goog-api-key`.
    pub(crate) api_key: Option<Range<usize>>,
    pub(crate) body: Framing,
    pub(crate) expects_continue: bool,
    /// Whether the connection may serve another request.
    pub(crate) keep: bool,
    /// Whether an answer may come in chunks.
    pub(crate) chunks: bool,
}

/// A request's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Post,
    Delete,
    Other,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(usize),
    Chunked,
    /// By the end of the connection; only of an answer.
    ToTheEnd,
}

/// Why a request cannot be read: the status to answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) u16);

impl Head {
    /// Reads the head at the beginning of `buf`; none while it is not all there.
    ///
    /// # Errors
    /// [`Malformed`], when it is none.
    pub(crate) fn read(buf: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
        let mut request = httparse::Request::new(&mut headers);
        let length = match request.parse(buf) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if buf.len() < LONGEST => return Ok(None),
            Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => return Err(Malformed(431)),
            Err(_) => return Err(Malformed(400)),
        };
        let range = |part: &[u8]| {
            let start = part.as_ptr() as usize - buf.as_ptr() as usize;
            start..start + part.len()
        };
        let newest = request.version == Some(1);
        let mut head = Self {
            length,
            method: match request.method {
                Some("GET") => Method::Get,
                Some("POST") => Method::Post,
                Some("DELETE") => Method::Delete,
                _ => Method::Other,
            },
            path: range(request.path.unwrap_or_default().as_bytes()),
            script: None,
            authorization: None,
            api_key: None,
            body: Framing::Length(0),
            expects_continue: false,
            keep: newest,
            chunks: newest,
        };
        let mut length_seen = None;
        for header in request.headers.iter() {
            let is = |name: &str| header.name.eq_ignore_ascii_case(name);
            let says = |word: &[u8]| header.value.trim_ascii().eq_ignore_ascii_case(word);
            if is("content-length") {
                let length = std::str::from_utf8(header.value).ok().and_then(|text| text.trim().parse().ok());
                let length: usize = length.ok_or(Malformed(400))?;
                if length_seen.replace(length).is_some_and(|seen| seen != length) {
                    return Err(Malformed(400));
                }
            } else if is("transfer-encoding") {
                if !says(b"chunked") {
                    return Err(Malformed(501));
                }
                head.body = Framing::Chunked;
            } else if is("connection") {
                head.keep = if says(b"close") { false } else { head.keep || says(b"keep-alive") };
            } else if is("expect") {
                head.expects_continue = says(b"100-continue");
            } else if is("authorization") {
                head.authorization = Some(range(header.value));
            } else if is("x-api-key") || is("x-goog-api-key") {
                head.api_key = Some(range(header.value));
            } else if is(HEADER) {
                head.script = Some(range(header.value));
            }
        }
        match (length_seen, head.body) {
            (Some(_), Framing::Chunked) => return Err(Malformed(400)),
            (Some(length), _) => head.body = Framing::Length(length),
            (None, _) => {}
        }
        Ok(Some(head))
    }
}

/// Writes the head of an answer to the end of `out`.
pub(crate) fn write(out: &mut Vec<u8>, status: u16, headers: &HeaderMap, framing: Framing, keep: bool) {
    let reason = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Unknown");
    // Writing to memory cannot fail.
    let _ = write!(out, "HTTP/1.1 {status} {reason}\r\n");
    for (name, value) in headers {
        let _ = write!(out, "{name}: ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let _ = match framing {
        Framing::Length(length) => write!(out, "content-length: {length}\r\n"),
        Framing::Chunked => write!(out, "transfer-encoding: chunked\r\n"),
        Framing::ToTheEnd => Ok(()),
    };
    if !keep || framing == Framing::ToTheEnd {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(head: &str) -> Result<Option<Head>, Malformed> {
        Head::read(head.as_bytes())
    }

    #[test]
    fn what_is_needed_is_found() {
        let text = "POST /v1/x HTTP/1.1\r\nHost: a\r\nX-LLMkit-Sim: tokens=1\r\nAuthorization: Bearer k\r\n\
                    Content-Length: 3\r\nExpect: 100-Continue\r\n\r\nabc";
        let head = read(text).unwrap().unwrap();
        assert_eq!((head.method, &text[head.path], &text[head.script.unwrap()]), (Method::Post, "/v1/x", "tokens=1"));
        assert_eq!(&text[head.authorization.unwrap()], "Bearer k");
        assert_eq!((head.body, head.length), (Framing::Length(3), text.len() - 3));
        assert!(head.keep && head.expects_continue && head.chunks);
        for end in 0..text.len() - 3 {
            assert_eq!(read(&text[..end]), Ok(None), "{end}");
        }
    }

    #[test]
    fn ambiguous_and_endless_heads_are_refused() {
        let with =
            |headers: &str| read(&format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n")).map(|head| head.unwrap().body);
        assert_eq!(with("Content-Length: 1\r\nContent-Length: 2"), Err(Malformed(400)));
        assert_eq!(with("Content-Length: 1\r\nTransfer-Encoding: chunked"), Err(Malformed(400)));
        assert_eq!(with("Content-Length: -1"), Err(Malformed(400)));
        assert_eq!(with("Transfer-Encoding: gzip"), Err(Malformed(501)));
        assert_eq!(with("Transfer-Encoding: Chunked"), Ok(Framing::Chunked));
        assert_eq!(read("nonsense\r\n\r\n"), Err(Malformed(400)));
        assert_eq!(read(&format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(LONGEST))), Err(Malformed(431)));
    }

    #[test]
    fn the_connection_is_kept_as_the_version_and_the_client_say() {
        let keep = |line: &str| read(&format!("GET / {line}\r\n\r\n")).unwrap().unwrap().keep;
        assert!(keep("HTTP/1.1"));
        assert!(!keep("HTTP/1.1\r\nConnection: close"));
        assert!(!keep("HTTP/1.0"));
        assert!(keep("HTTP/1.0\r\nConnection: keep-alive"));
    }
}
