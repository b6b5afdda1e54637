//! What drives a connection to its end: the process may ask for it, and so may a time without requests.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::rt::{Read, Write};
use hyper::server::conn::http2;
use hyper::service::HttpService;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use super::body::Body;

/// A connection that asks nothing, or over HTTP/1 takes nothing of its answer, is closed after this long, twice this long
/// at the latest.
pub(super) const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// A connection whose protocol is known.
#[derive(Debug)]
pub(super) struct Opened<T> {
    pub(super) socket: T,
    /// What was read to find the protocol out.
    pub(super) ahead: Bytes,
    pub(super) bounds: Bounds,
}

/// How long a connection may take, and until when it is welcome.
#[derive(Debug)]
pub(super) struct Bounds {
    /// Runs since the connection was accepted, for as long as a head may take.
    pub(super) timer: Pin<Box<Sleep>>,
    pub(super) header_timeout: Duration,
    pub(super) stop: CancellationToken,
}

/// What is known of a connection's requests. It is written by the task that drives the connection, but for streams of
/// HTTP/2 that end.
pub(super) trait Vital {
    /// Whether no other task ends a request: then the timer need not look while one is under way.
    const ALONE: bool;

    /// Whether a head was finished since this was asked last.
    fn take_finished(&self) -> bool;

    /// Whether a head has begun and is not finished.
    fn in_head(&self) -> bool;

    /// Whether no request is under way.
    fn is_idle(&self) -> bool;
}

/// A connection, whatever it speaks.
pub(super) trait Connection {
    /// Whether the other side can be told before the connection is closed.
    const SAYS_GOODBYE: bool;

    /// Serves its requests; ready at its end.
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>>;

    /// Ends with the requests that are under way.
    fn finish(self: Pin<&mut Self>);
}

/// Why a connection broke.
pub(super) type Failure = Box<dyn StdError + Send + Sync>;

impl<I, S, E> Connection for Pin<Box<http2::Connection<I, S, E>>>
where
    I: Read + Write + Unpin,
    S: HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Failure>,
    E: Http2ServerConnExec<S::Future, Body>,
{
    const SAYS_GOODBYE: bool = true;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.get_mut().as_mut().poll(cx).map_err(Into::into)
    }

    fn finish(self: Pin<&mut Self>) {
        self.get_mut().as_mut().graceful_shutdown();
    }
}

/// Drives `connection` to its end.
pub(super) fn drive<C: Connection + Unpin, V: Vital>(connection: C, vital: Arc<V>, bounds: Bounds) -> Driven<C, V> {
    let Bounds { timer, header_timeout, stop } = bounds;
    let watch = Watch { head_deadline: Some(timer.deadline()), timer, header_timeout, active: false };
    let stop = Some(Box::pin(stop.cancelled_owned()));
    Driven { connection, vital, watch, stop, told: false }
}

/// A connection that is driven to its end.
pub(super) struct Driven<C, V> {
    connection: C,
    vital: Arc<V>,
    watch: Watch,
    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
    /// Whether the other side was told that the connection is idle.
    told: bool,
}

impl<C: Connection + Unpin, V: Vital> Future for Driven<C, V> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if let Some(stop) = &mut this.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            this.stop = None;
            Pin::new(&mut this.connection).finish();
        }
        loop {
            if let Poll::Ready(ended) = Pin::new(&mut this.connection).poll(cx) {
                if let Err(error) = ended {
                    tracing::debug!(%error, "connection ended");
                }
                return Poll::Ready(());
            }
            let overdue = ready!(this.watch.poll(&*this.vital, cx));
            if overdue == Overdue::Head || !C::SAYS_GOODBYE || this.told {
                tracing::debug!(?overdue, "connection cut off");
                return Poll::Ready(());
            }
            this.told = true;
            this.watch.allow_goodbye();
            Pin::new(&mut this.connection).finish();
        }
    }
}

/// What a connection has waited for too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overdue {
    /// The end of a head, or the first head of all.
    Head,
    /// A request.
    Idle,
}

/// The timer of a connection.
struct Watch {
    timer: Pin<Box<Sleep>>,
    header_timeout: Duration,
    head_deadline: Option<Instant>,
    /// Whether there was a request since the timer ran out.
    active: bool,
}

impl Watch {
    fn poll<V: Vital>(&mut self, vital: &V, cx: &mut Context<'_>) -> Poll<Overdue> {
        if vital.take_finished() {
            self.head_deadline = None;
            self.active = true;
        }
        let (in_head, idle) = (vital.in_head(), vital.is_idle());
        if V::ALONE && !in_head && !idle {
            return Poll::Pending;
        }
        if in_head && self.head_deadline.is_none() {
            self.await_head(Instant::now());
        }
        loop {
            ready!(self.timer.as_mut().poll(cx));
            let now = Instant::now();
            let next = match self.head_deadline {
                Some(deadline) if now >= deadline => return Poll::Ready(Overdue::Head),
                Some(deadline) => deadline,
                None if idle && !self.active => return Poll::Ready(Overdue::Idle),
                None => {
                    self.active = !idle;
                    now + IDLE_TIMEOUT
                }
            };
            self.timer.as_mut().reset(next);
        }
    }

    fn await_head(&mut self, now: Instant) {
        let deadline = now + self.header_timeout;
        self.head_deadline = Some(deadline);
        self.timer.as_mut().reset(deadline);
    }

    /// To say goodbye may take as long as a head.
    fn allow_goodbye(&mut self) {
        self.await_head(Instant::now());
    }
}
