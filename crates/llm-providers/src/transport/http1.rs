//! HTTP/1.1: one request at a time on a connection, which the task that waits for its answer drives.
//!
//! No task of its own means that to drop the answer is to close the socket, that a reader who does not read stops
//! the sender, and that nobody is woken but the reader.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use http::Request;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use llm_core::Error;

use super::HttpAnswer;
use super::body::Outgoing;
use super::failure::{Failure, interrupted};
use super::pool::Pool;
use super::socket::{Heard, Listening, Socket};

/// The bytes of an answer's head, and of what is read ahead of the reader, at most.
const BUFFER: usize = 128 << 10;

/// A connection without a request on it, or with one.
pub(super) struct Http1 {
    requests: SendRequest<Outgoing>,
    connection: Connection<TokioIo<Listening>, Outgoing>,
    heard: Heard,
    closed: bool,
}

impl Http1 {
    /// A connection over `socket`.
    pub(super) async fn open(socket: Socket) -> Result<Box<Self>, Failure> {
        let heard = Heard::default();
        let io = TokioIo::new(Listening::new(socket, heard.clone()));
        let (requests, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(io)
            .await
            .map_err(|error| Failure::of(&error, &heard))?;
        Ok(Box::new(Self { requests, connection, heard, closed: false }))
    }

    /// Whether another request can be sent.
    pub(super) fn is_idle(&mut self) -> bool {
        // Nobody is to be woken by an idle connection: that it was closed is found here.
        self.drive(&mut Context::from_waker(Waker::noop())).is_pending() && self.requests.is_ready()
    }

    /// Sends `request`. When its answer has been read to the end, the connection goes to `home`.
    pub(super) async fn send(
        mut self: Box<Self>,
        request: Request<Outgoing>,
        home: Arc<Pool<Box<Self>>>,
    ) -> Result<HttpAnswer, Failure> {
        self.heard.forget();
        let mut answer = pin!(self.requests.send_request(request));
        let answer = std::future::poll_fn(|cx| {
            let driven = self.drive(cx);
            match answer.as_mut().poll(&mut deaf()) {
                Poll::Pending if driven.is_ready() => Poll::Ready(Err(Failure::closed(&self.heard))),
                answer => answer.map_err(|error| Failure::of(&error, &self.heard)),
            }
        });
        let (head, incoming) = answer.await?.into_parts();
        let mut body = Body { incoming, connection: Some(self), home };
        if body.incoming.is_end_stream() {
            body.give_back();
        }
        Ok(HttpAnswer { status: head.status, headers: head.headers, chunks: Box::pin(body) })
    }

    fn drive(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.closed {
            // What went wrong, the answer or its body tells.
            self.closed = Pin::new(&mut self.connection).poll(cx).is_ready();
        }
        if self.closed { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// What the connection hands over is looked at right after the connection was driven, so nothing needs to be
/// woken by it.
fn deaf() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// The body of an answer.
struct Body {
    incoming: Incoming,
    connection: Option<Box<Http1>>,
    home: Arc<Pool<Box<Http1>>>,
}

impl Body {
    fn give_back(&mut self) {
        if let Some(mut connection) = self.connection.take()
            && connection.is_idle()
        {
            self.home.put(connection);
        }
    }

    fn poll_incoming(&mut self) -> Poll<Option<Result<Bytes, Error>>> {
        loop {
            let frame = match Pin::new(&mut self.incoming).poll_frame(&mut deaf()) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(frame))) => frame,
                Poll::Ready(Some(Err(_))) => {
                    self.connection = None;
                    return Poll::Ready(Some(Err(interrupted())));
                }
                Poll::Ready(None) => {
                    self.give_back();
                    return Poll::Ready(None);
                }
            };
            // Trailers say nothing that anybody asks for.
            if let Ok(bytes) = frame.into_data()
                && !bytes.is_empty()
            {
                if self.incoming.is_end_stream() {
                    self.give_back();
                }
                return Poll::Ready(Some(Ok(bytes)));
            }
        }
    }
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Before the connection is driven, it must be told that more is wanted.
        if let Poll::Ready(item) = self.poll_incoming() {
            return Poll::Ready(item);
        }
        let driven = match &mut self.connection {
            Some(connection) => connection.drive(cx),
            None => Poll::Ready(()),
        };
        match self.poll_incoming() {
            Poll::Pending if driven.is_ready() => {
                self.connection = None;
                Poll::Ready(Some(Err(interrupted())))
            }
            item => item,
        }
    }
}
