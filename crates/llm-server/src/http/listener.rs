//! The accept loop: one task a connection, at most so many, and an orderly end.

use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::TaskTracker;

use super::body::Body;
use super::inbound::{Exchange, Inbound};

/// Most connections at once on one listener; more wait in the system's queue.
pub(crate) const MAX_CONNECTIONS: usize = 16_384;
/// The largest head; hyper answers a longer one with 431.
const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long a broken accept is left alone, such as when file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until `stop`; then the open ones finish what they are at. Returns once all are closed.
pub(crate) async fn listen<S, F>(listener: TcpListener, header_timeout: Duration, stop: CancellationToken, serve: S)
where
    S: Fn(Arc<Exchange>, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (serve, stop) = (serve.clone(), stop.clone());
                open.spawn(async move {
                    connection(stream, header_timeout, stop, serve).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    open.close();
    open.wait().await;
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn connection<S, F>(stream: TcpStream, header_timeout: Duration, stop: CancellationToken, serve: S)
where
    S: Fn(Arc<Exchange>, Request<Incoming>) -> F,
    F: Future<Output = Response<Body>>,
{
    let exchange = Arc::new(Exchange::default());
    let io = Inbound::new(stream, exchange.clone(), header_timeout);
    let service = hyper::service::service_fn(move |request| {
        let answer = serve(exchange.clone(), request);
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(MAX_HEAD_BYTES).max_headers(128);
    let connection = pin!(http.serve_connection(io, service));
    let ended = Draining { connection, stop: Some(Box::pin(stop.cancelled_owned())) }.await;
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

/// A connection that is told once to finish.
struct Draining<'a, C> {
    connection: Pin<&'a mut C>,

    stop: Option<Pin<Box<WaitForCancellationFutureOwned>>>,
}

/// hyper's connections, whatever their service.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn finish(self: Pin<&mut Self>);
}

impl<S> Graceful for http1::Connection<Inbound, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Body>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<C: Graceful> Future for Draining<'_, C> {
    type Output = hyper::Result<()>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if let Some(stop) = &mut this.stop
            && stop.as_mut().poll(cx).is_ready()
        {
            this.stop = None;
            this.connection.as_mut().finish();
        }
        this.connection.as_mut().poll(cx)
    }
}
