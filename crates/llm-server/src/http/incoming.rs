//! The body of a request as it comes in, whatever carries it.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::Request;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use llm_providers::http1::Malformed;

/// A request, on the heap from the start: it goes through many hands.
pub(crate) type BoxRequest = Box<Request<IncomingBody>>;

/// A request's body.
pub(crate) struct IncomingBody(Carrier);

enum Carrier {
    /// It came with its head.
    Whole(Bytes),
    Http1(Arc<dyn Source>),
    Http2(Incoming),
}

/// The connection that a body is read from.
pub(super) trait Source: Send + Sync {
    /// Appends what comes next to `out`: something, unless the body is over.
    fn poll_read(&self, out: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<(), Broken>>;

    /// How much is still to come.
    fn left(&self) -> SizeHint;
}

/// Why a body does not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the connection was closed")]
    Closed,
    #[error("its chunks are malformed")]
    Malformed,
    #[error("{0}")]
    Socket(io::Error),
    #[error("{0}")]
    Stream(hyper::Error),
}

impl From<Malformed> for Broken {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

impl fmt::Debug for IncomingBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IncomingBody").finish_non_exhaustive()
    }
}

impl Default for IncomingBody {
    /// One of nothing.
    fn default() -> Self {
        Self::whole(Bytes::new())
    }
}

impl IncomingBody {
    /// One that has come.
    pub(super) const fn whole(bytes: Bytes) -> Self {
        Self(Carrier::Whole(bytes))
    }

    /// One that is read from its connection.
    pub(super) fn from_source(source: Arc<dyn Source>) -> Self {
        Self(Carrier::Http1(source))
    }

    /// One of HTTP/2.
    pub(super) const fn from_stream(stream: Incoming) -> Self {
        Self(Carrier::Http2(stream))
    }

    /// All of it, if it came with its head.
    pub(super) fn take_whole(&mut self) -> Option<Bytes> {
        match &mut self.0 {
            Carrier::Whole(bytes) => Some(std::mem::take(bytes)),
            Carrier::Http1(_) | Carrier::Http2(_) => None,
        }
    }

    /// Appends what comes next to `out`. Whether there was anything: nothing at the end.
    pub(super) fn poll_read(&mut self, out: &mut BytesMut, cx: &mut Context<'_>) -> Poll<Result<bool, Broken>> {
        let before = out.len();
        match &mut self.0 {
            Carrier::Whole(bytes) => out.extend_from_slice(&std::mem::take(bytes)),
            Carrier::Http1(source) => ready!(source.poll_read(out, cx))?,
            Carrier::Http2(stream) => loop {
                match ready!(Pin::new(&mut *stream).poll_frame(cx)) {
                    None => break,
                    Some(Err(error)) => return Poll::Ready(Err(Broken::Stream(error))),
                    Some(Ok(frame)) => {
                        if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                            out.extend_from_slice(data);
                            break;
                        }
                    }
                }
            },
        }
        Poll::Ready(Ok(out.len() > before))
    }
}

impl Body for IncomingBody {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let this = self.get_mut();
        if let Carrier::Http2(stream) = &mut this.0 {
            return Pin::new(stream).poll_frame(cx).map_err(Broken::Stream);
        }
        if let Some(whole) = this.take_whole() {
            return Poll::Ready((!whole.is_empty()).then(|| Ok(Frame::data(whole))));
        }
        let mut piece = BytesMut::new();
        let came = ready!(this.poll_read(&mut piece, cx));
        Poll::Ready(came.map(|came| came.then(|| Frame::data(piece.freeze()))).transpose())
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Carrier::Whole(bytes) => bytes.is_empty(),
            Carrier::Http1(source) => source.left().exact() == Some(0),
            Carrier::Http2(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Carrier::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Carrier::Http1(source) => source.left(),
            Carrier::Http2(stream) => stream.size_hint(),
        }
    }
}
