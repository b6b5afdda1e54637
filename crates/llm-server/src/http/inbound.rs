//! A caller's connection as hyper reads it, and an eye on the heads that come.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::drive::Vital;
use super::http2::Stream;

/// What the reading side tells the service of one request, and the other way round.
///
/// Over HTTP/1 the requests of a connection share one and both sides run in one task, so the orderings publish
/// nothing. Over HTTP/2 each request has its own, which lives as long as its stream.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    phase: AtomicU8,
    /// Whether a head was finished since the timer looked.
    finished: AtomicBool,
    stream: Option<Stream>,
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
    /// The exchange of one HTTP/2 stream.
    pub(super) const fn on(stream: Stream) -> Self {
        Self { phase: AtomicU8::new(BUSY), finished: AtomicBool::new(false), stream: Some(stream) }
    }

    /// Whether the head of the request under way gave its body's length both ways.
    pub(crate) fn ambiguous(&self) -> bool {
        self.phase.load(Relaxed) == AMBIGUOUS
    }

    /// Whether an answer that comes before its request's body has been read can be told apart from it only by reading
    /// that body: over HTTP/2 both have their own way.
    pub(super) const fn must_be_read(&self) -> bool {
        self.stream.is_none()
    }

    /// The answer is out: the next bytes begin a head.
    pub(crate) fn answered(&self) {
        self.phase.store(AWAITING, Relaxed);
    }

    /// Whether the next bytes are a head's.
    pub(super) fn awaits_head(&self) -> bool {
        matches!(self.phase.load(Relaxed), AWAITING | IN_HEAD)
    }

    /// A head has begun.
    pub(super) fn begin(&self) {
        self.phase.store(IN_HEAD, Relaxed);
    }

    /// A head is complete.
    pub(super) fn take_up(&self, ambiguous: bool) {
        self.phase.store(if ambiguous { AMBIGUOUS } else { BUSY }, Relaxed);
        self.finished.store(true, Relaxed);
    }
}

impl Vital for Exchange {
    /// All that a connection does is done by the task that drives it.
    const ALONE: bool = true;

    fn take_finished(&self) -> bool {
        let finished = self.finished.load(Relaxed);
        if finished {
            self.finished.store(false, Relaxed);
        }
        finished
    }

    fn in_head(&self) -> bool {
        self.phase.load(Relaxed) == IN_HEAD
    }

    fn is_idle(&self) -> bool {
        self.phase.load(Relaxed) == AWAITING
    }
}

/// What looks at the bytes of a connection before hyper gets them.
pub(super) trait Guard: Unpin {
    /// Whether the next bytes must be seen.
    fn watches(&self) -> bool;

    /// Follows what was read.
    fn note(&mut self, bytes: &[u8]);
}

/// The reading and writing half of a caller's connection.
pub(super) struct Inbound<T, G> {
    io: TokioIo<T>,
    /// What was read to find the protocol out.
    ahead: Bytes,
    guard: G,
}

impl<T, G> Inbound<T, G> {
    pub(super) fn new(socket: T, ahead: Bytes, guard: G) -> Self {
        Self { io: TokioIo::new(socket), ahead, guard }
    }
}

impl<T: AsyncRead + Unpin, G: Guard> Inbound<T, G> {
    /// Reads what the guard is to see: hyper's cursor does not show what was read into it, so that goes through a
    /// buffer of the thread's.
    fn poll_watched(&mut self, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let piece = self.ahead.split_to(self.ahead.len().min(buf.remaining()));
            if self.guard.watches() {
                self.guard.note(&piece);
            }
            buf.put_slice(&piece);
            return Poll::Ready(Ok(()));
        }
        READ.with_borrow_mut(|buffer| {
            let want = buffer.len().min(buf.remaining());
            let mut read = ReadBuf::new(&mut buffer[..want]);
            ready!(Pin::new(self.io.inner_mut()).poll_read(cx, &mut read))?;
            self.guard.note(read.filled());
            buf.put_slice(read.filled());
            Poll::Ready(Ok(()))
        })
    }
}

impl<T: AsyncRead + Unpin, G: Guard> Read for Inbound<T, G> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.guard.watches() || !this.ahead.is_empty() {
            return this.poll_watched(cx, buf);
        }
        Pin::new(&mut this.io).poll_read(cx, buf)
    }
}

thread_local! {
    /// As long as hyper's first read buffer, so that a small request still comes in one read.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; 8192].into());
}

/// Reads what comes first on `socket`, before anybody knows its protocol, and appends it to `ahead`. Gives the number
/// of bytes; none at the end.
pub(super) fn poll_first<T: AsyncRead + Unpin>(
    socket: &mut T,
    ahead: &mut Vec<u8>,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    READ.with_borrow_mut(|buffer| {
        let mut read = ReadBuf::new(buffer);
        ready!(Pin::new(socket).poll_read(cx, &mut read))?;
        ahead.extend_from_slice(read.filled());
        Poll::Ready(Ok(read.filled().len()))
    })
}

impl<T: AsyncWrite + Unpin, G: Guard> Write for Inbound<T, G> {
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
