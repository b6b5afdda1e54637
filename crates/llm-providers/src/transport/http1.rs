//! HTTP/1.1: one request at a time on a connection, which the task that waits for its answer drives.
//!
//! No task of its own means that to drop the answer is to close the socket, that a reader who does not read stops
//! the sender, and that nobody is woken but the reader. What is read goes through a buffer of the thread's: a connection
//! that waits, for its next request or for the next piece of an answer, holds none.

mod fields;
mod framing;
mod head;
mod outbox;
mod sending;

pub use fields::{BadLength, header_map, length, names};
pub use framing::{Chunked, Framing, Malformed};
pub use outbox::{LAST_CHUNK, Outbox};

pub(super) use head::written;

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use futures_core::Stream;
use llm_core::Error;
use tokio::io::{AsyncRead, ReadBuf};

use self::head::{Head, NotHttp};
use self::sending::{Sending, Unsent};
use super::HttpAnswer;
use super::body::Outgoing;
use super::failure::{Failure, interrupted};
use super::pool::Pool;
use super::socket::Socket;

/// The bytes of an answer's head at most.
const LONGEST_HEAD: usize = 128 << 10;

/// What is read at once through the thread's buffer.
const AT_ONCE: usize = 16 << 10;

/// What is read at once of a body that is longer than the thread's buffer: it goes where it stays.
const LARGE: usize = 64 << 10;

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; AT_ONCE].into());
}

/// A connection without a request on it, or with one.
#[derive(Debug)]
pub(super) struct Http1 {
    socket: Socket,
    /// The request, until all of it is written.
    sending: Option<Sending>,
    /// Whether anything was received since the request was begun.
    heard: bool,
    /// Whether another request may follow.
    keeps: bool,
}

impl Http1 {
    /// A connection over `socket`.
    pub(super) fn new(socket: Socket) -> Box<Self> {
        Box::new(Self { socket, sending: None, heard: false, keeps: true })
    }

    /// Whether another request can be sent. Nobody is woken by an idle connection: that it was closed is found here.
    pub(super) fn is_idle(&mut self) -> bool {
        let mut read = [0];
        let cx = &mut Context::from_waker(Waker::noop());
        self.is_free() && Pin::new(&mut self.socket).poll_read(cx, &mut ReadBuf::new(&mut read)).is_pending()
    }

    fn is_free(&self) -> bool {
        self.keeps && self.sending.is_none()
    }

    /// Sends a request: its `head` as [`written`], and its body. When the answer has been read to the end, the
    /// connection goes to `home`.
    pub(super) async fn send(
        mut self: Box<Self>,
        head: Vec<u8>,
        body: Outgoing,
        chunked: bool,
        home: Arc<Pool<Box<Self>>>,
    ) -> Result<HttpAnswer, Failure> {
        self.heard = false;
        self.sending = Some(Sending::new(head, body, chunked));
        let mut ahead = Vec::new();
        let (head, first) = std::future::poll_fn(|cx| self.poll_head(cx, &mut ahead)).await?;
        let Head { status, headers, framing, .. } = head;
        let mut body = Body { first: Some(first), framing, connection: Some(self), home };
        body.give_back();
        Ok(HttpAnswer { status, headers, chunks: Box::pin(body) })
    }

    /// Writes as far as the socket takes it; why it cannot be written on.
    fn write(&mut self, cx: &mut Context<'_>) -> Option<Unsent> {
        let sent = match self.sending.as_mut()?.poll(Pin::new(&mut self.socket), cx) {
            Poll::Pending => return None,
            Poll::Ready(sent) => sent,
        };
        self.sending = None;
        self.keeps &= sent.is_ok();
        sent.err()
    }

    /// The answer's head, and what of its body came with it. `ahead` is what was read of heads that are not whole.
    fn poll_head(&mut self, cx: &mut Context<'_>, ahead: &mut Vec<u8>) -> Poll<Result<(Head, Piece), Failure>> {
        let refused = match self.write(cx) {
            Some(Unsent::Body) => return Poll::Ready(Err(Failure::broken_off())),
            Some(Unsent::Socket(error)) => Some(error),
            None => None,
        };
        loop {
            let read = READ.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                match ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read)) {
                    Err(error) => Poll::Ready(Err(Failure::of_io(refused.as_ref().unwrap_or(&error), self.heard))),
                    Ok(()) if read.filled().is_empty() => Poll::Ready(Err(Failure::closed(self.heard))),
                    Ok(()) => {
                        self.heard = true;
                        Poll::Ready(self.read_head(ahead, read.filled()).map_err(|NotHttp| Failure::not_http()))
                    }
                }
            });
            match read {
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Ok(Some(whole))) => return Poll::Ready(Ok(whole)),
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                // A request that cannot be written on is answered, or the connection is over: both are heard.
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// Looks for the answer's head in what is `ahead` and what was `read`.
    fn read_head(&mut self, ahead: &mut Vec<u8>, read: &[u8]) -> Result<Option<(Head, Piece)>, NotHttp> {
        let joined = !ahead.is_empty();
        if joined {
            ahead.extend_from_slice(read);
        }
        let bytes = if joined { &ahead[..] } else { read };
        let mut from = 0;
        while let Some(mut head) = Head::read(&bytes[from..])? {
            from += head.len;
            if head.is_interim() {
                continue;
            }
            let piece = Piece::of(&mut head.framing, &bytes[from..]);
            self.keeps &= head.keeps && !piece.excess;
            // Whoever refuses a request need not read it, and then it is of no use to write on.
            if head.status.is_client_error() || head.status.is_server_error() {
                self.keeps &= self.sending.is_none();
                self.sending = None;
            }
            return Ok(Some((head, piece)));
        }
        if bytes.len() > LONGEST_HEAD {
            return Err(NotHttp);
        }
        if joined {
            ahead.drain(..from);
        } else {
            ahead.extend_from_slice(&read[from..]);
        }
        Ok(None)
    }

    /// The next piece of a body; at the connection's end none.
    fn poll_piece(&mut self, framing: &mut Framing, cx: &mut Context<'_>) -> Poll<io::Result<Option<Piece>>> {
        // An answer may end well although not all of its request was wanted.
        self.write(cx);
        let socket = Pin::new(&mut self.socket);
        if let Framing::Length(left @ LARGE_LENGTH..) = *framing {
            let mut data = BytesMut::with_capacity(usize::try_from(left).unwrap_or(LARGE).min(LARGE));
            let taken = ready!(tokio_util::io::poll_read_buf(socket, cx, &mut data))?;
            *framing = Framing::Length(left - taken as u64);
            let piece = Piece { data: data.freeze(), excess: false, malformed: false };
            return Poll::Ready(Ok((taken > 0).then_some(piece)));
        }
        READ.with_borrow_mut(|buffer| {
            let mut read = ReadBuf::new(buffer);
            ready!(socket.poll_read(cx, &mut read))?;
            let read = read.filled();
            Poll::Ready(Ok((!read.is_empty()).then(|| Piece::of(framing, read))))
        })
    }
}

/// From so many bytes that are left of a body on they are not read through the thread's buffer.
const LARGE_LENGTH: u64 = AT_ONCE as u64;

/// What of a body came at once.
#[derive(Debug)]
struct Piece {
    data: Bytes,
    /// Whether more came than is the body's.
    excess: bool,
    /// Whether what followed is nobody's.
    malformed: bool,
}

impl Piece {
    fn of(framing: &mut Framing, bytes: &[u8]) -> Self {
        let mut data = BytesMut::with_capacity(bytes.len());
        let taken = framing.feed(bytes, &mut data);
        Self { data: data.freeze(), excess: taken.is_ok_and(|taken| taken < bytes.len()), malformed: taken.is_err() }
    }
}

/// The body of an answer.
struct Body {
    /// What came with the head.
    first: Option<Piece>,
    framing: Framing,
    /// None once nothing more is to come.
    connection: Option<Box<Http1>>,
    home: Arc<Pool<Box<Http1>>>,
}

impl Body {
    /// Gives the connection back, if all of the body has come.
    fn give_back(&mut self) {
        if self.framing.is_over()
            && let Some(connection) = self.connection.take()
            && connection.is_free()
        {
            self.home.put(connection);
        }
    }

    /// What is to be told of a piece; nothing where it has no data.
    fn told(&mut self, piece: Piece) -> Option<Result<Bytes, Error>> {
        if piece.malformed {
            self.connection = None;
            // Told first is what came before.
            if !piece.data.is_empty() {
                self.first = Some(Piece { data: Bytes::new(), ..piece });
            }
        }
        if let Some(connection) = &mut self.connection {
            connection.keeps &= !piece.excess;
            self.give_back();
        }
        match piece.data.is_empty() {
            true if piece.malformed => Some(Err(interrupted())),
            true => None,
            false => Some(Ok(piece.data)),
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            let piece = match (this.first.take(), &mut this.connection) {
                (Some(first), _) => first,
                (None, None) => return Poll::Ready(None),
                (None, Some(connection)) => match ready!(connection.poll_piece(&mut this.framing, cx)) {
                    Ok(Some(piece)) => piece,
                    Ok(None) if this.framing == Framing::UntilClose => {
                        this.connection = None;
                        return Poll::Ready(None);
                    }
                    Ok(None) | Err(_) => {
                        this.connection = None;
                        return Poll::Ready(Some(Err(interrupted())));
                    }
                },
            };
            if let Some(told) = this.told(piece) {
                return Poll::Ready(Some(told));
            }
        }
    }
}
