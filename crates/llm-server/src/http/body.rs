//! The bodies that go out, and how the bodies that come in are collected.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http::Response;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use llm_core::{BoxStream, Dialect, Error, ErrorKind, Frames, RequestId, boxed};

use super::error::error_frame;
use super::fields::Fields;
use super::inbound::Exchange;
use super::incoming::{Broken, IncomingBody};
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

/// An answer, on the heap from the start: it goes through many hands.
pub(crate) type BoxResponse = Box<Response<Body>>;

/// An answer's body, and what its head says of how it came about.
pub(crate) struct Body {
    payload: Payload,
    fields: Fields,
    /// Goes on for as long as its answer.
    _exchange: Arc<Exchange>,
    /// The request that it answers, where a stream may break off.
    request: Option<RequestId>,
    /// Dropped behind the payload: with it the request has ended.
    watch: Option<Watch>,
}

impl Body {
    pub(crate) const fn new(payload: Payload, exchange: Arc<Exchange>) -> Self {
        Self { payload, fields: Fields::new(), _exchange: exchange, request: None, watch: None }
    }

    /// An answer of it: 200 OK.
    pub(crate) fn ok(payload: Payload, exchange: Arc<Exchange>) -> BoxResponse {
        boxed(|| Response::new(Self::new(payload, exchange)))
    }

    /// What the head says beside its headers.
    pub(super) const fn fields(&mut self) -> &mut Fields {
        &mut self.fields
    }

    /// Takes what the head says beside its headers.
    pub(super) fn take_fields(&mut self) -> Fields {
        std::mem::take(&mut self.fields)
    }

    /// Says which request it answers, and who is told of its end.
    pub(crate) fn answers(&mut self, request: &RequestId, watch: Option<Watch>) {
        self.request = matches!(self.payload, Payload::Frames(..) | Payload::Passed { .. }).then(|| request.clone());
        self.watch = watch;
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

/// Reads a request's body: at most `max` bytes, each piece within `idle`.
pub(crate) async fn collect(body: &mut IncomingBody, max: usize, idle: Duration) -> Result<Bytes, Error> {
    let announced = body.size_hint().lower();
    if announced > max as u64 {
        return Err(too_large(max));
    }
    if let Some(whole) = body.take_whole() {
        return Ok(whole);
    }
    let mut read = BytesMut::new();
    while within(idle, std::future::poll_fn(|cx| body.poll_read(&mut read, cx))).await? {
        if read.len() > max {
            return Err(too_large(max));
        }
        // What a length header promises is believed up to a point: memory follows what has come.
        read.reserve(usize::try_from(body.size_hint().lower()).unwrap_or(max).min(BELIEVED));
    }
    Ok(read.freeze())
}

/// The largest buffer that is made on the word of a length header.
const BELIEVED: usize = 1 << 20;

/// The next piece of a request's body, within `idle`.
pub(super) async fn next(body: &mut IncomingBody, idle: Duration) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = within(idle, std::future::poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx).map(Option::transpose)));
        let Some(frame) = frame.await? else { return Ok(None) };
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
}

/// What comes of a body within `idle`.
async fn within<R>(idle: Duration, piece: impl Future<Output = Result<R, Broken>>) -> Result<R, Error> {
    match tokio::time::timeout(idle, piece).await {
        Ok(Ok(piece)) => Ok(piece),
        Ok(Err(broken)) => {
            Err(Error::new(ErrorKind::InvalidRequest, format!("the request's body is broken: {broken}")))
        }
        Err(_) => {
            Err(Error::new(ErrorKind::Cancelled, "the request's body stopped coming").with_code("request_timeout"))
        }
    }
}

/// The error for a body of more than `max` bytes.
pub(super) fn too_large(max: usize) -> Error {
    Error::new(ErrorKind::TooLarge, format!("the request is larger than {max} bytes")).because("server.max_body_bytes")
}
