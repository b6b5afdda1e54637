//! The bodies that go out, and how the bodies that come in are collected.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use llm_core::{BoxStream, Dialect, Error, ErrorKind, Frames, RequestId};

use super::error::error_frame;
use super::inbound::Exchange;
use crate::telemetry::Watch;

/// What goes out.
pub(crate) enum Payload {
    /// All of it.
    Whole(Bytes),
    /// Frame by frame; what breaks the stream is told in the caller's dialect.
    Frames(Frames, Dialect),
    /// What a provider answers to what was passed on to it.
    Passed {
        body: BoxStream<Result<Bytes, Error>>,
        /// Bytes that are to come, where that is known.
        left: Option<u64>,
        /// Whether it is a stream of events, which can be told of its breaking off.
        events: bool,
    },
    /// What axum's routes answer.
    Routed(axum::body::Body),
    /// Nothing more.
    Done,
}

/// An answer's body. Its end, or its drop, frees the connection for the next head.
pub(crate) struct Body {
    payload: Payload,
    exchange: Arc<Exchange>,
    /// The request that it answers, where a stream may break off.
    request: Option<RequestId>,
    /// Dropped behind the payload: with it the request has ended.
    watch: Option<Watch>,
}

impl Body {
    pub(crate) const fn new(payload: Payload, exchange: Arc<Exchange>) -> Self {
        Self { payload, exchange, request: None, watch: None }
    }

    /// Says which request it answers, and who is told of its end.
    pub(crate) fn answers(&mut self, request: &RequestId, watch: Option<Watch>) {
        self.request = matches!(self.payload, Payload::Frames(..) | Payload::Passed { .. }).then(|| request.clone());
        self.watch = watch;
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.exchange.answered();
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = self.get_mut();
        loop {
            let data = match &mut this.payload {
                Payload::Done => return Poll::Ready(None),
                Payload::Whole(bytes) => {
                    let bytes = std::mem::take(bytes);
                    this.payload = Payload::Done;
                    bytes
                }
                Payload::Frames(frames, dialect) => match ready!(frames.poll_next_unpin(cx)) {
                    Some(Ok(frame)) => frame.bytes,
                    Some(Err(error)) => {
                        broke_off(this.request.as_ref(), this.watch.as_ref(), &error);
                        let frame = error_frame(*dialect, &error);
                        this.payload = Payload::Done;
                        frame
                    }
                    None => {
                        this.payload = Payload::Done;
                        continue;
                    }
                },
                Payload::Passed { body, left, events } => match ready!(body.poll_next_unpin(cx)) {
                    Some(Ok(piece)) => {
                        *left = left.map(|left| left.saturating_sub(piece.len() as u64));
                        piece
                    }
                    Some(Err(error)) => {
                        broke_off(this.request.as_ref(), this.watch.as_ref(), &error);
                        let events = *events;
                        this.payload = Payload::Done;
                        if !events {
                            // Whoever reads it must not take it for whole: the connection breaks off, too.
                            return Poll::Ready(Some(Err(error)));
                        }
                        error_frame(Dialect::OpenAi, &error)
                    }
                    None => {
                        this.payload = Payload::Done;
                        continue;
                    }
                },
                Payload::Routed(body) => match ready!(Pin::new(body).poll_frame(cx)) {
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => data,
                        Err(_) => continue,
                    },
                    Some(Err(_)) | None => {
                        this.payload = Payload::Done;
                        continue;
                    }
                },
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.payload {
            Payload::Done => true,
            Payload::Whole(bytes) => bytes.is_empty(),
            Payload::Frames(..) => false,
            Payload::Passed { left, .. } => *left == Some(0),
            Payload::Routed(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.payload {
            Payload::Done => SizeHint::with_exact(0),
            Payload::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Payload::Frames(..) | Payload::Passed { left: None, .. } => SizeHint::default(),
            Payload::Passed { left: Some(left), .. } => SizeHint::with_exact(*left),
            Payload::Routed(body) => body.size_hint(),
        }
    }
}

/// Logs that a stream has broken off.
fn broke_off(request: Option<&RequestId>, watch: Option<&Watch>, error: &Error) {
    let trace_id = watch.and_then(Watch::trace_id);
    // Without the message: it may be a provider's, and hold what was asked.
    tracing::warn!(
        request_id = request.map(tracing::field::display),
        trace_id = trace_id.map(tracing::field::display),
        kind = ?error.kind(),
        upstream_status = error.upstream_status(),
        "stream broke off"
    );
}

/// Reads a request's body: at most `max` bytes, each piece within `idle`. A large body that came in one piece is not
/// copied.
pub(crate) async fn collect(
    mut body: Incoming,
    exchange: &Exchange,
    max: usize,
    idle: Duration,
) -> Result<Bytes, Error> {
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(refused(body, exchange, max, idle).await);
    }
    let mut first = Bytes::new();
    let mut rest: Option<BytesMut> = None;
    while let Some(data) = next(&mut body, idle).await? {
        let so_far = rest.as_ref().map_or(first.len(), BytesMut::len);
        if so_far + data.len() > max {
            return Err(refused(body, exchange, max, idle).await);
        }
        match &mut rest {
            Some(rest) => rest.extend_from_slice(&data),
            None if first.is_empty() => first = data,
            None => {
                // What a length header promises is believed up to a point: memory follows what has come.
                let expected = usize::try_from(announced).unwrap_or(max).min(BELIEVED);
                let mut joined = BytesMut::with_capacity(expected.max(first.len() + data.len()));
                joined.extend_from_slice(&first);
                joined.extend_from_slice(&data);
                rest = Some(joined);
            }
        }
    }
    Ok(rest.map_or_else(|| compact(first), BytesMut::freeze))
}

/// A small body in bytes of its own: it is kept for as long as its call, and would keep all of the buffer that it was
/// read into together with its head.
fn compact(body: Bytes) -> Bytes {
    if body.len() <= SMALL { Bytes::copy_from_slice(&body) } else { body }
}

/// A body up to half of hyper's read buffer, for which copying costs less than what it would keep.
const SMALL: usize = 4 << 10;

/// The largest buffer that is made on the word of a length header.
const BELIEVED: usize = 1 << 20;

/// The next piece of a request's body, within `idle`.
pub(super) async fn next(body: &mut Incoming, idle: Duration) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx));
        let Ok(frame) = tokio::time::timeout(idle, frame).await else {
            return Err(
                Error::new(ErrorKind::Cancelled, "the request's body stopped coming").with_code("request_timeout")
            );
        };
        match frame {
            None => return Ok(None),
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                Err(_trailers) => {}
            },
            Some(Err(error)) => {
                return Err(Error::new(ErrorKind::InvalidRequest, format!("the request's body is broken: {error}")));
            }
        }
    }
}

/// The error for a body of more than `max` bytes, once what comes of it has been read for a while.
pub(super) async fn refused(body: Incoming, exchange: &Exchange, max: usize, idle: Duration) -> Error {
    if exchange.must_be_read() {
        discard(body, max, idle).await;
    }
    Error::new(ErrorKind::TooLarge, format!("the request is larger than {max} bytes")).because("server.max_body_bytes")
}

/// Reads on for a while, so that a caller that is still sending gets to read its answer.
pub(super) async fn discard(mut body: Incoming, max: usize, idle: Duration) {
    let mut left = max.saturating_mul(2);
    while let Ok(Some(data)) = next(&mut body, idle.min(LINGER)).await {
        left = left.saturating_sub(data.len());
        if left == 0 {
            return;
        }
    }
}

/// How long a refused body may pause before its connection is closed.
pub(super) const LINGER: Duration = Duration::from_secs(1);
