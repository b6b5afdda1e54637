//! A connection's byte stream, which the connection and the body of its request read in turn.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::StatusCode;
use hyper::body::SizeHint;
use llm_core::sync::Mutex;
use llm_providers::http1::{Framing, Malformed};
use tokio::io::{AsyncRead, AsyncWrite};

use super::super::inbound::{AT_ONCE, poll_append, poll_through};
use super::super::incoming::{Broken, Source};
use super::super::listener::MAX_HEAD_BYTES;
use super::head::Head;

/// What is made room for at once, for a body that is longer than the thread's buffer: it goes where it stays.
const LARGE: usize = 64 << 10;

/// What is said to a caller that asks whether its body is wanted (RFC 9110, section 10.1.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// The byte stream, and how far it has been read.
pub(super) struct Line<T> {
    pub(super) socket: T,
    unread: Unread,
    /// What is to be said before the body comes.
    interim: &'static [u8],
}

/// What was read, and is nobody's yet.
#[derive(Debug)]
struct Unread {
    bytes: BytesMut,
    /// Of the request's body.
    framing: Framing,
}

/// A head, and its body where all of it came with it; or the status that refuses it. None while it has not come whole.
pub(super) type Found = Result<Option<(Head, Option<Bytes>)>, StatusCode>;

impl<T: AsyncRead + AsyncWrite + Unpin> Line<T> {
    /// A byte stream of which `ahead` was read.
    pub(super) const fn new(socket: T, ahead: BytesMut) -> Self {
        Self { socket, unread: Unread { bytes: ahead, framing: Framing::Length(0) }, interim: &[] }
    }

    /// Whether nothing of the next request has come.
    pub(super) fn is_empty(&self) -> bool {
        self.unread.bytes.is_empty()
    }

    /// Looks for a head in what was read before.
    pub(super) fn find(&mut self) -> Found {
        if self.is_empty() {
            return Ok(None);
        }
        let found = self.unread.find_again();
        self.note(found)
    }

    /// Reads on, and looks for a head. None at the connection's end.
    pub(super) fn poll_find(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Found>>> {
        let unread = &mut self.unread;
        let found = ready!(poll_through(&mut self.socket, AT_ONCE, cx, |read| {
            (!read.is_empty()).then(|| unread.find(read))
        }))?;
        Poll::Ready(Ok(found.map(|found| self.note(found))))
    }

    fn note(&mut self, found: Found) -> Found {
        match &found {
            Ok(None) => {}
            // Its caller waits until somebody wants the body.
            Ok(Some((head, None))) if head.asks && self.is_empty() => self.interim = CONTINUE,
            Ok(Some(_)) => self.interim = &[],
            // What follows is nobody's.
            Err(_) => self.unread.framing = Framing::UntilClose,
        }
        found
    }

    /// Whether all of the request's body was read.
    pub(super) const fn body_is_over(&self) -> bool {
        self.unread.framing.is_over()
    }

    /// Takes off what has come of a body that nobody has read. Whether that is the rest of it.
    pub(super) fn skip_body(&mut self) -> bool {
        self.body_is_over() || (self.unread.feed(&mut BytesMut::new()).is_ok() && self.body_is_over())
    }

    /// Appends what comes next of the body to `out`: something, unless it is over.
    fn poll_body(&mut self, out: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        let before = out.len();
        loop {
            self.unread.feed(out)?;
            if out.len() > before || self.body_is_over() {
                return Poll::Ready(Ok(()));
            }
            ready!(self.poll_ask(cx)).map_err(Broken::Socket)?;
            let read = match self.unread.framing {
                Framing::Length(left) if left >= AT_ONCE as u64 || out.capacity() > out.len() => {
                    let most = usize::try_from(left).unwrap_or(usize::MAX);
                    if out.capacity() == out.len() {
                        out.reserve(room_for(most));
                    }
                    let end = out.len().saturating_add(most);
                    let socket = Pin::new(&mut self.socket);
                    let limit = most.saturating_add(1);
                    let read = ready!(tokio_util::io::poll_read_buf(socket, cx, &mut (&mut *out).limit(limit)));
                    if let Some(next) = out.get(end..) {
                        self.unread.bytes.extend_from_slice(next);
                        out.truncate(end);
                    }
                    self.unread.framing = Framing::Length(left - (out.len() - before) as u64);
                    read
                }
                _ => ready!(poll_append(&mut self.socket, &mut self.unread.bytes, cx)),
            };
            if read.map_err(Broken::Socket)? == 0 {
                return Poll::Ready(Err(Broken::Closed));
            }
        }
    }

    /// Has the caller send its body, if it waits for that.
    fn poll_ask(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.interim.is_empty() {
            let written = ready!(Pin::new(&mut self.socket).poll_write(cx, self.interim))?;
            self.interim = &self.interim[written..];
        }
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    /// Ready once the caller has left: looked for behind a request, where the next one may come early.
    pub(super) fn poll_gone(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever reads the body finds out.
        while self.body_is_over() && self.unread.bytes.len() < MAX_HEAD_BYTES {
            let read = ready!(poll_append(&mut self.socket, &mut self.unread.bytes, cx));
            if !read.is_ok_and(|read| read > 0) {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// What is made room for when so many bytes of a body are to come. With one byte more a read does not fill it, so that
/// nobody asks the socket again whether there was more.
fn room_for(length: usize) -> usize {
    length.min(LARGE) + 1
}

impl Unread {
    /// Looks for a head with what was `read` now.
    fn find(&mut self, read: &[u8]) -> Found {
        if self.bytes.is_empty() {
            let Some(head) = Head::read(read)? else {
                self.bytes.extend_from_slice(read);
                return Ok(None);
            };
            let body = self.begin(&head, &read[head.len..]);
            return Ok(Some((head, body)));
        }
        self.bytes.extend_from_slice(read);
        // Only a line's end ends a head: what comes byte by byte is not read again with each.
        if memchr::memchr(b'\n', read).is_none() && self.bytes.len() <= MAX_HEAD_BYTES {
            return Ok(None);
        }
        self.find_again()
    }

    fn find_again(&mut self) -> Found {
        let Some(head) = Head::read(&self.bytes)? else { return Ok(None) };
        let mut rest = std::mem::take(&mut self.bytes);
        rest.advance(head.len);
        let body = self.begin(&head, &rest);
        Ok(Some((head, body)))
    }

    /// Begins a request, behind whose head comes `rest`. Gives the body where that is all of it.
    fn begin(&mut self, head: &Head, rest: &[u8]) -> Option<Bytes> {
        let here = match head.framing {
            Framing::Length(length) => usize::try_from(length).ok().filter(|length| *length <= rest.len()),
            Framing::Chunked(_) | Framing::UntilClose => None,
        };
        self.framing = if here.is_some() { Framing::Length(0) } else { head.framing.clone() };
        let kept = &rest[here.unwrap_or(0)..];
        // A body that has begun goes on in the same place.
        let room = match self.framing {
            Framing::Length(length @ 1..) if !kept.is_empty() => usize::try_from(length).map_or(LARGE, room_for),
            _ => 0,
        };
        self.bytes = BytesMut::with_capacity(room.max(kept.len()));
        self.bytes.extend_from_slice(kept);
        here.map(|length| Bytes::copy_from_slice(&rest[..length]))
    }

    /// Appends what of the body was read to `out`.
    fn feed(&mut self, out: &mut BytesMut) -> Result<(), Malformed> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        if let Framing::Length(left) = &mut self.framing
            && out.capacity() == 0
            && self.bytes.len() as u64 <= *left
        {
            *left -= self.bytes.len() as u64;
            *out = std::mem::take(&mut self.bytes);
            return Ok(());
        }
        let taken = self.framing.feed(&self.bytes, out)?;
        self.bytes.advance(taken);
        if self.bytes.is_empty() {
            self.bytes = BytesMut::new();
        }
        Ok(())
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Source for Mutex<Line<T>> {
    fn poll_read(&self, out: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.lock().poll_body(out, cx)
    }

    fn left(&self) -> SizeHint {
        let line = self.lock();
        match line.unread.framing {
            Framing::Length(left) => SizeHint::with_exact(left),
            _ if line.body_is_over() => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }
}
