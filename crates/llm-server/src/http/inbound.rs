//! A client's connection as hyper reads it, with the guards that hyper has not: a time for a head to be
//! finished, a time to be idle, and an eye on ambiguous lengths.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A connection that asks nothing is closed after this long, twice this long at the latest.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// What the reading side tells the service of one connection, and the other way round. Both run in one task,
/// so the orderings publish nothing.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    phase: AtomicU8,
}

/// Nothing of the next head has come.
const AWAITING: u8 = 0;
/// A head has begun.
const IN_HEAD: u8 = 1;
/// A head is complete; its request is being read or answered.
const BUSY: u8 = 2;
/// As [`BUSY`], and the head gave its body's length in two ways.
const AMBIGUOUS: u8 = 3;

impl Exchange {
    /// Whether the head of the request under way gave its body's length both ways.
    pub(crate) fn ambiguous(&self) -> bool {
        self.phase.load(Relaxed) == AMBIGUOUS
    }

    /// The answer is out: the next bytes begin a head.
    pub(crate) fn answered(&self) {
        self.phase.store(AWAITING, Relaxed);
    }

    fn phase(&self) -> u8 {
        self.phase.load(Relaxed)
    }
}

/// The reading and writing half of a client's connection.
pub(crate) struct Inbound {
    io: TokioIo<TcpStream>,
    exchange: Arc<Exchange>,
    header_timeout: Duration,
    head: HeadScan,
    head_deadline: Option<Instant>,
    /// Set while heads come, cleared when the timer looks.
    active: bool,
    timer: Pin<Box<Sleep>>,
}

impl Inbound {
    pub(crate) fn new(stream: TcpStream, exchange: Arc<Exchange>, header_timeout: Duration) -> Self {
        Self {
            io: TokioIo::new(stream),
            exchange,
            header_timeout,
            head: HeadScan::default(),
            head_deadline: Some(Instant::now() + header_timeout),
            active: false,
            timer: Box::pin(tokio::time::sleep(header_timeout)),
        }
    }

    /// Follows the bytes of a head to its end; what comes behind it is the body's, or the next head's.
    fn note(&mut self, bytes: &[u8]) {
        if !matches!(self.exchange.phase(), AWAITING | IN_HEAD) || bytes.is_empty() {
            return;
        }
        self.active = true;
        match self.head.feed(bytes) {
            Some(head) => {
                self.head_deadline = None;
                self.exchange.phase.store(if head.ambiguous() { AMBIGUOUS } else { BUSY }, Relaxed);
                self.head = HeadScan::default();
            }
            None => {
                self.exchange.phase.store(IN_HEAD, Relaxed);
                if self.head_deadline.is_none() {
                    let deadline = Instant::now() + self.header_timeout;
                    self.head_deadline = Some(deadline);
                    self.timer.as_mut().reset(deadline);
                }
            }
        }
    }

    /// Ready when the connection has waited too long for a head.
    fn poll_overdue(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let next = match self.head_deadline {
                Some(deadline) if now >= deadline => return Poll::Ready(()),
                Some(deadline) => deadline,
                None if self.exchange.phase() == AWAITING && !self.active => return Poll::Ready(()),
                None => {
                    self.active = false;
                    now + IDLE_TIMEOUT
                }
            };
            self.timer.as_mut().reset(next);
        }
    }
}

impl Read for Inbound {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        // hyper's cursor does not show what was read into it: heads go through a buffer of the thread's.
        if matches!(this.exchange.phase(), AWAITING | IN_HEAD) {
            return HEAD.with_borrow_mut(|buffer| {
                let want = buffer.len().min(buf.remaining());
                let mut read = hyper::rt::ReadBuf::new(&mut buffer[..want]);
                match Pin::new(&mut this.io).poll_read(cx, read.unfilled())? {
                    Poll::Ready(()) => {
                        this.note(read.filled());
                        buf.put_slice(read.filled());
                        Poll::Ready(Ok(()))
                    }
                    Poll::Pending => {
                        ready!(this.poll_overdue(cx));
                        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request in time")))
                    }
                }
            });
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

thread_local! {
    /// As long as hyper's first read buffer, so that a small request still comes in one read.
    static HEAD: RefCell<Box<[u8]>> = RefCell::new(vec![0; 8192].into());
}

impl Write for Inbound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().io).poll_write_vectored(cx, bufs)
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
}
