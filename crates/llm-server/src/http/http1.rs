//! HTTP/1.1: one request at a time, and an eye on heads that are ambiguous about their body's length.

use std::convert::Infallible;
use std::sync::Arc;

use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::drive::{Opened, drive};
use super::inbound::{Exchange, Guard, Inbound};
use super::listener::MAX_HEAD_BYTES;

/// Serves one connection to its end.
pub(super) async fn serve<T, S, F>(opened: Opened<T>, serve: S)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Arc<Exchange>, Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let exchange = Arc::new(Exchange::default());
    let guard = Requests { exchange: exchange.clone(), head: HeadScan::default() };
    let io = Inbound::new(opened.socket, opened.ahead, guard);
    let service = service_fn({
        let exchange = exchange.clone();
        // On the heap, and only until the answer has begun: hyper keeps the place of a future for as long as the
        // connection lives.
        move |request| Box::pin(serve(exchange.clone(), request)).map(Ok::<_, Infallible>)
    });
    let connection = http1::Builder::new().max_buf_size(MAX_HEAD_BYTES).serve_connection(io, service);
    drive(connection, exchange, opened.bounds).await;
}

/// Watches the heads of one request after the other.
struct Requests {
    exchange: Arc<Exchange>,
    head: HeadScan,
}

impl Guard for Requests {
    fn watches(&self) -> bool {
        self.exchange.awaits_head()
    }

    /// Follows a head to its end; what comes behind it is the body's, or the next head's.
    fn note(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        match self.head.feed(bytes) {
            Some(head) => {
                self.exchange.take_up(head.ambiguous());
                self.head = HeadScan::default();
            }
            None => self.exchange.begin(),
        }
    }
}

/// Reads heads line by line, whatever the pieces they come in.
#[derive(Debug, Default)]
struct HeadScan {
    /// The line so far, as much of it as tells which header it is.
    line: [u8; LINE],
    len: usize,
    lines: u32,
    lengths: u32,
    encodings: u32,
}
/// Longer than both header names with their colon.
const LINE: usize = 24;

impl HeadScan {
    /// Takes the next bytes; gives the scan back at the head's end.
    fn feed(&mut self, bytes: &[u8]) -> Option<&Self> {
        let mut rest = bytes;
        while let Some(end) = memchr::memchr(b'\n', rest) {
            self.keep(&rest[..end]);
            rest = &rest[end + 1..];
            if self.end_line() {
                return Some(self);
            }
        }
        self.keep(rest);
        None
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = piece.len().min(LINE - self.len);
        self.line[self.len..self.len + room].copy_from_slice(&piece[..room]);
        self.len += room;
    }

    /// Whether the line was the empty one behind the headers.
    fn end_line(&mut self) -> bool {
        let line = &self.line[..self.len];
        let empty = matches!(line, [] | [b'\r']);
        let named = |name: &[u8]| line.len() >= name.len() && line[..name.len()].eq_ignore_ascii_case(name);
        self.lengths += u32::from(named(b"content-length:"));
        self.encodings += u32::from(named(b"transfer-encoding:"));
        self.len = 0;
        // Empty lines before the request line are skipped, as RFC 9112 asks.
        self.lines += u32::from(!empty);
        empty && self.lines > 0
    }

    const fn ambiguous(&self) -> bool {
        (self.lengths > 0 && self.encodings > 0) || self.lengths > 1 || self.encodings > 1
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::{Duration, Instant, sleep};
    use tokio_util::sync::CancellationToken;

    use super::super::body::Payload;
    use super::super::drive::{Bounds, IDLE_TIMEOUT};
    use super::*;

    fn scan(pieces: &[&[u8]]) -> Option<bool> {
        let mut scan = HeadScan::default();
        pieces.iter().find_map(|piece| scan.feed(piece).map(HeadScan::ambiguous))
    }

    #[test]
    fn a_head_with_one_length_is_plain_however_it_is_cut() {
        let head = b"POST / HTTP/1.1\r\nhost: x\r\nContent-Length: 5\r\n\r\n";
        for cut in 0..head.len() {
            assert_eq!(scan(&[&head[..cut], &head[cut..]]), Some(false), "cut at {cut}");
        }
        assert_eq!(scan(&[&head[..head.len() - 1]]), None);
    }

    #[test]
    fn two_ways_to_say_the_length_are_ambiguous() {
        for headers in [
            "content-length: 5\r\ntransfer-encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "content-length: 5\r\ncontent-length: 6",
            "content-length: 5\r\ncontent-length: 5",
        ] {
            let head = format!("POST / HTTP/1.1\r\n{headers}\r\n\r\n");
            assert_eq!(scan(&[head.as_bytes()]), Some(true), "{headers}");
        }
    }

    #[test]
    fn bodies_and_other_headers_do_not_count() {
        assert_eq!(
            scan(&[b"\r\nPOST / HTTP/1.1\r\nx-content-length: 5\r\ncontent-length: 9\r\n\r\ncontent-length: 5\r\n"]),
            Some(false)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_for_its_whole_time_however_long_its_last_answer_took() {
        for took in [1, 9, 11, 74, 76, 100, 149, 151, 400].map(Duration::from_secs) {
            let (socket, mut theirs) = duplex(1024);
            let header_timeout = Duration::from_secs(10);
            let bounds =
                Bounds { timer: Box::pin(sleep(header_timeout)), header_timeout, stop: CancellationToken::new() };
            let answer = move |exchange, _| async move {
                sleep(took).await;
                Response::new(Body::new(Payload::Whole(Bytes::from_static(b"done")), exchange))
            };
            let serving = tokio::spawn(serve(Opened { socket, ahead: Bytes::new(), bounds }, answer));
            theirs.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"done") {
                assert!(theirs.read_buf(&mut read).await.unwrap() > 0);
            }
            let idle = Instant::now();
            serving.await.unwrap();
            assert!((IDLE_TIMEOUT..=IDLE_TIMEOUT * 2).contains(&idle.elapsed()), "{took:?}: {:?}", idle.elapsed());
        }
    }
}
