//! HTTP/2: connections that many requests share, each driven by a task of its own.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use http::Request;
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use llm_core::Error;
use parking_lot::Mutex;

use super::HttpAnswer;
use super::body::Outgoing;
use super::failure::{Failure, interrupted};
use super::socket::Socket;

/// A path that is gone says nothing: a connection is asked whether it lives, also while it is idle.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// What may be on its way to a reader who does not read.
const STREAM_WINDOW: u32 = 256 << 10;
/// Requests on one connection at most; where the other side allows fewer, those.
const MOST_STREAMS: usize = 100;
/// So many that readers who do not read leave the others their share.
const CONNECTION_WINDOW: u32 = STREAM_WINDOW * MOST_STREAMS as u32;

/// The open connections.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Vec<Arc<Connection>>>);

#[derive(Debug)]
struct Connection {
    requests: SendRequest<Outgoing>,
    // Relaxed for both: a request more or less on a connection does no harm, and they publish nothing else.
    streams: AtomicUsize,
    most: Arc<AtomicUsize>,
}

impl Shared {
    /// A place on a connection that is open and has one.
    pub(super) fn take(&self) -> Option<Http2> {
        let mut open = self.0.lock();
        open.retain(|connection| !connection.requests.is_closed());
        let free = |connection: &&Arc<Connection>| {
            connection.streams.load(Relaxed) < connection.most.load(Relaxed).min(MOST_STREAMS)
        };
        open.iter().find(free).cloned().map(Http2::on)
    }

    /// Opens a connection over `socket` for this request and for others.
    pub(super) async fn open(&self, socket: Socket) -> Result<Http2, Failure> {
        let (requests, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake(TokioIo::new(socket))
            .await
            .map_err(|error| Failure::of(&error))?;
        let most = Arc::new(AtomicUsize::new(MOST_STREAMS));
        let told = most.clone();
        tokio::spawn(async move {
            let mut connection = pin!(connection);
            std::future::poll_fn(|cx| {
                let over = connection.as_mut().poll(cx);
                if over.is_pending() {
                    told.store(connection.current_max_send_streams(), Relaxed);
                }
                // What went wrong, the requests on it are told.
                over.map(drop)
            })
            .await;
        });
        let connection = Arc::new(Connection { requests, streams: AtomicUsize::new(0), most });
        self.0.lock().push(connection.clone());
        Ok(Http2::on(connection))
    }
}

/// A place for one request on a connection.
#[derive(Debug)]
pub(super) struct Http2(Arc<Connection>);

impl Http2 {
    fn on(connection: Arc<Connection>) -> Self {
        connection.streams.fetch_add(1, Relaxed);
        Self(connection)
    }

    /// Sends `request`.
    pub(super) async fn send(self, request: Request<Outgoing>) -> Result<HttpAnswer, Failure> {
        let answer = self.0.requests.clone().send_request(request).await;
        // No byte of this answer came, whatever came for others.
        let (head, incoming) = answer.map_err(|error| Failure::of(&error))?.into_parts();
        let body = Body { incoming, _place: self };
        Ok(HttpAnswer { status: head.status, headers: head.headers, chunks: Box::pin(body) })
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Relaxed);
    }
}

/// A piece of a body that keeps little more than itself alive: what others are sent lies in the same buffer.
fn compact(piece: Bytes) -> Bytes {
    if piece.len() < SMALL { Bytes::copy_from_slice(&piece) } else { piece }
}

/// A piece up to here is copied: that costs less than what it would keep.
const SMALL: usize = 4 << 10;

/// The body of an answer. Dropped before its end, it resets the stream.
struct Body {
    incoming: Incoming,
    _place: Http2,
}

impl Stream for Body {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            match std::task::ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data()
                        && !bytes.is_empty()
                    {
                        return Poll::Ready(Some(Ok(compact(bytes))));
                    }
                }
                Some(Err(_)) => return Poll::Ready(Some(Err(interrupted()))),
                None => return Poll::Ready(None),
            }
        }
    }
}
