//! The accept loop: one task a connection, at most so many, and an orderly end.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::server::TlsStream;
use tokio_util::either::Either;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::body::BoxResponse;
use super::drive::{Bounds, Opened};
use super::inbound::{Exchange, poll_append};
use super::incoming::BoxRequest;
use super::tls::{self, Tls};
use super::{http1, http2};

/// Most connections at once on one listener.
pub(crate) const MAX_CONNECTIONS: usize = 16_384;
/// The largest head; a longer one is answered with 431.
pub(super) const MAX_HEAD_BYTES: usize = 64 * 1024;
/// How long a broken accept is left alone, such as when file descriptors are used up.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How connections are taken.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Connections at once; more wait in the system's queue.
    pub(crate) most: usize,
    /// For a head, and for all that comes before the first one.
    pub(crate) header_timeout: Duration,
    pub(crate) tls: Arc<Tls>,
    /// No more connections then; the open ones finish what they are at.
    pub(crate) stop: CancellationToken,
}

/// Accepts connections until it is told to stop. Returns once all are closed.
pub(crate) async fn listen<S, F>(listener: TcpListener, terms: Terms, serve: S)
where
    S: Fn(Arc<Exchange>, BoxRequest) -> F + Clone + Unpin + Send + Sync + 'static,
    F: Future<Output = BoxResponse> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(terms.most));
    let open = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = terms.stop.cancelled() => break,
            accepted = accept(&listener, &room) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (serve, terms, tasks) = (serve.clone(), terms.clone(), open.clone());
                open.spawn(async move {
                    connection(stream, terms, tasks, serve).await;
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

async fn accept(listener: &TcpListener, room: &Arc<Semaphore>) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = room.clone().acquire_owned().await.expect("the semaphore is never closed");
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

async fn connection<S, F>(stream: TcpStream, terms: Terms, tasks: TaskTracker, serve: S)
where
    S: Fn(Arc<Exchange>, BoxRequest) -> F + Unpin,
    F: Future<Output = BoxResponse> + Send + 'static,
{
    let Terms { header_timeout, tls, stop, .. } = terms;
    let mut timer = Box::pin(tokio::time::sleep(header_timeout));
    let opened = tokio::select! {
        biased;
        opened = open(stream, &tls) => opened,
        () = &mut timer => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing came in time")),
        // Nothing has been asked yet.
        () = stop.cancelled() => return,
    };
    let bounds = Bounds { timer, header_timeout, stop };
    match opened {
        Ok((socket, ahead, Protocol::Http1)) => http1::serve(Opened { socket, ahead, bounds }, serve).await,
        Ok((socket, ahead, Protocol::Http2)) => {
            // Larger by far than HTTP/1's, which the task would have to hold as well.
            Box::pin(http2::serve(Opened { socket, ahead, bounds }, tasks, serve)).await;
        }
        Err(error) => tracing::debug!(%error, "no connection came about"),
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// The byte stream of a caller, plain or encrypted.
type Socket = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Encrypts the connection where that is configured, and finds its protocol out: by the handshake, else by its first
/// bytes.
async fn open(stream: TcpStream, tls: &Tls) -> io::Result<(Socket, Bytes, Protocol)> {
    let mut socket = match tls.config() {
        None => Either::Left(stream),
        Some(config) => {
            let stream = Box::pin(tls::accept(stream, config)).await?;
            if stream.get_ref().1.alpn_protocol() == Some(tls::HTTP2) {
                return Ok((Either::Right(stream), Bytes::new(), Protocol::Http2));
            }
            Either::Right(stream)
        }
    };
    let (ahead, protocol) = sniff(&mut socket).await?;
    Ok((socket, ahead, protocol))
}

/// Reads until it is clear whether the caller knows, without having asked, that HTTP/2 is spoken here.
async fn sniff<T: AsyncRead + Unpin>(socket: &mut T) -> io::Result<(Bytes, Protocol)> {
    let mut ahead = BytesMut::new();
    loop {
        let read = std::future::poll_fn(|cx| poll_append(socket, &mut ahead, cx)).await?;
        let compared = ahead.len().min(http2::PREFACE.len());
        if read == 0 || ahead[..compared] != http2::PREFACE[..compared] {
            return Ok((ahead.freeze(), Protocol::Http1));
        }
        if compared == http2::PREFACE.len() {
            return Ok((ahead.freeze(), Protocol::Http2));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::body::{Body, Payload};
    use super::*;

    async fn sniffed(pieces: &[&[u8]]) -> (Bytes, Protocol) {
        let (mut ours, mut theirs) = duplex(1024);
        let send = async {
            for piece in pieces {
                theirs.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            theirs.shutdown().await.unwrap();
        };
        tokio::join!(sniff(&mut ours), send).0.unwrap()
    }

    #[tokio::test]
    async fn the_preface_tells_the_protocols_apart_however_it_is_cut() {
        let preface = http2::PREFACE;
        for cut in 0..preface.len() {
            let (ahead, protocol) = sniffed(&[&preface[..cut], &preface[cut..]]).await;
            assert_eq!((&ahead[..], protocol), (&preface[..], Protocol::Http2), "cut at {cut}");
        }
        let (ahead, protocol) = sniffed(&[&[&preface[..], b"more"].concat()]).await;
        assert_eq!((&ahead[..24], protocol), (&preface[..], Protocol::Http2));
        for other in ["GET / HTTP/1.1\r\n\r\n", "POST / HTTP/1.1\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n", "PRI", "", "\r\n"]
        {
            let (ahead, protocol) = sniffed(&[other.as_bytes()]).await;
            assert_eq!((&ahead[..], protocol), (other.as_bytes(), Protocol::Http1), "{other:?}");
        }
    }

    /// Asks once on a connection that stays open.
    async fn ask(caller: &mut TcpStream) {
        caller.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    }

    /// Reads an answer without a body.
    async fn answer(caller: &mut TcpStream) {
        let mut read = Vec::new();
        while !read.ends_with(b"\r\n\r\n") {
            assert_ne!(caller.read_buf(&mut read).await.unwrap(), 0, "it is answered");
        }
    }

    #[tokio::test]
    async fn a_connection_beyond_the_bound_waits_until_another_has_ended() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let terms = Terms { most: 2, header_timeout: Duration::from_secs(60), tls: Arc::default(), stop: stop.clone() };
        let asked = Arc::new(AtomicUsize::new(0));
        let serve = {
            let asked = asked.clone();
            move |exchange, _| {
                asked.fetch_add(1, Relaxed);
                std::future::ready(Body::ok(Payload::Whole(Bytes::new()), exchange))
            }
        };
        let listening = tokio::spawn(listen(listener, terms, serve));
        let mut callers = Vec::new();
        for _ in 0..3 {
            callers.push(TcpStream::connect(address).await.unwrap());
            ask(callers.last_mut().unwrap()).await;
        }
        let mut third = callers.pop().unwrap();
        for caller in &mut callers {
            answer(caller).await;
            // Whoever is accepted at all is by then.
            for _ in 0..10 {
                ask(caller).await;
                answer(caller).await;
            }
        }
        assert_eq!(asked.load(Relaxed), 22);
        drop(callers.pop());
        answer(&mut third).await;
        assert_eq!(asked.load(Relaxed), 23);
        stop.cancel();
        listening.await.unwrap();
    }
}
