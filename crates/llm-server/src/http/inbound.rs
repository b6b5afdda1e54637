//! A caller's connection: what is known of its requests, how it is read, and how hyper reads it.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
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
    /// Open for as long as its exchange.
    _stream: Option<Stream>,
}

/// Nothing of the next head has come, or the caller takes nothing of its answer.
const IDLE: u8 = 0;
/// A head has begun.
const IN_HEAD: u8 = 1;
/// A head is complete; its request is being read or answered.
const BUSY: u8 = 2;
/// As [`BUSY`], and the head gave its body's length in two ways.
const AMBIGUOUS: u8 = 3;

impl Exchange {
    /// The exchange of one HTTP/2 stream.
    pub(super) const fn on(stream: Stream) -> Self {
        Self { phase: AtomicU8::new(BUSY), finished: AtomicBool::new(false), _stream: Some(stream) }
    }

    /// Whether the head of the request under way gave its body's length both ways.
    pub(crate) fn ambiguous(&self) -> bool {
        self.phase.load(Relaxed) == AMBIGUOUS
    }

    /// Nothing goes on before the caller sends or takes something.
    pub(super) fn rest(&self) {
        self.phase.store(IDLE, Relaxed);
    }

    /// The caller has taken something of its answer.
    pub(super) fn go_on(&self) {
        self.take_up(false);
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
        self.phase.load(Relaxed) == IDLE
    }
}

/// What looks at the bytes of a connection before hyper gets them.
pub(super) trait Guard: Unpin {
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

impl<T: AsyncRead + Unpin, G: Guard> Read for Inbound<T, G> {
    /// hyper's cursor does not show what was read into it, so that goes through the thread's buffer.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, mut buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let Self { io, ahead, guard } = self.get_mut();
        if !ahead.is_empty() {
            let piece = ahead.split_to(ahead.len().min(buf.remaining()));
            guard.note(&piece);
            buf.put_slice(&piece);
            return Poll::Ready(Ok(()));
        }
        poll_through(io.inner_mut(), buf.remaining(), cx, |read| {
            guard.note(read);
            buf.put_slice(read);
        })
    }
}

/// Reads on, and appends it to `out`. Gives the number of bytes; none at the end.
pub(super) fn poll_append<T: AsyncRead + Unpin>(
    socket: &mut T,
    out: &mut BytesMut,
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    poll_through(socket, AT_ONCE, cx, |read| {
        out.extend_from_slice(read);
        read.len()
    })
}

/// What is read at once through the thread's buffer: most requests whole.
pub(super) const AT_ONCE: usize = 64 << 10;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; AT_ONCE].into());
}

/// Reads at most so many bytes, and has `take` have them; none at the end. They are in a buffer of the thread's: who
/// waits holds none.
pub(super) fn poll_through<T: AsyncRead + Unpin, R>(
    socket: &mut T,
    most: usize,
    cx: &mut Context<'_>,
    take: impl FnOnce(&[u8]) -> R,
) -> Poll<io::Result<R>> {
    READ.with_borrow_mut(|buffer| {
        let most = most.min(buffer.len());
        let mut read = ReadBuf::new(&mut buffer[..most]);
        ready!(Pin::new(socket).poll_read(cx, &mut read))?;
        Poll::Ready(Ok(take(read.filled())))
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
