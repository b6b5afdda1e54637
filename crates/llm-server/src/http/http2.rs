//! HTTP/2: many requests at once on a connection, each in a task of its own.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::FutureExt;
use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::task::TaskTracker;

use super::body::BoxResponse;
use super::drive::{Opened, Vital, drive};
use super::inbound::{Exchange, Guard, Inbound};
use super::incoming::{BoxRequest, IncomingBody};
use super::listener::MAX_HEAD_BYTES;

/// What every connection begins with that has not agreed on HTTP/2 in a handshake (RFC 9113, section 3.4).
pub(super) const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests at once on one connection; a caller is told, and one more is refused.
const MAX_STREAMS: u32 = 256;
/// Unread bytes of one request's body, and of all bodies of a connection.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// Bytes of an answer that wait for their turn on the connection: more would be memory that a slow reader holds.
const SEND_BUFFER: usize = 32 << 10;
/// A caller that has been silent for so long is asked whether it is there, and has as long again to answer.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves one connection to its end. Its requests run as `tasks`.
pub(super) async fn serve<T, S, F>(opened: Opened<T>, tasks: TaskTracker, serve: S)
where
    T: AsyncRead + AsyncWrite + Unpin,
    S: Fn(Arc<Exchange>, BoxRequest) -> F,
    F: Future<Output = BoxResponse> + Send + 'static,
{
    let streams = Arc::new(Streams::default());
    let guard = Frames { streams: streams.clone(), scan: FrameScan::at_preface() };
    let io = Inbound::new(opened.socket, opened.ahead, guard);
    let service = service_fn({
        let streams = streams.clone();
        // On the heap, and only until the answer has begun: its task goes on for as long as the stream.
        move |request: Request<Incoming>| {
            let exchange = Arc::new(Exchange::on(Stream::of(streams.clone())));
            let request = Box::new(request.map(IncomingBody::from_stream));
            Box::pin(serve(exchange, request)).map(|mut response| {
                response.body_mut().take_fields().move_to(response.headers_mut());
                Ok::<_, Infallible>(*response)
            })
        }
    });
    let connection = http2::Builder::new(Tasks(tasks))
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_header_list_size(MAX_HEAD_BYTES as u32)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(io, service);
    drive(Box::pin(connection), streams, opened.bounds).await;
}

/// Runs requests as tasks that the listener waits for.
#[derive(Clone)]
struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// The streams of a connection, and what is known of their heads.
#[derive(Debug, Default)]
pub(super) struct Streams {
    // Relaxed, all three: they publish nothing. The heads' are written and read by the connection's own task.
    open: AtomicUsize,
    finished: AtomicBool,
    in_head: AtomicBool,
}

impl Vital for Streams {
    const ALONE: bool = false;

    fn take_finished(&self) -> bool {
        self.finished.swap(false, Relaxed)
    }

    fn in_head(&self) -> bool {
        self.in_head.load(Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.open.load(Relaxed) == 0
    }
}

/// One of a connection's open streams.
#[derive(Debug)]
pub(super) struct Stream(Arc<Streams>);

impl Stream {
    fn of(streams: Arc<Streams>) -> Self {
        streams.open.fetch_add(1, Relaxed);
        Self(streams)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

/// Watches the frames for heads. The answers to pings are no sign of life: a connection without requests is idle.
struct Frames {
    streams: Arc<Streams>,
    scan: FrameScan,
}

impl Guard for Frames {
    fn note(&mut self, bytes: &[u8]) {
        let finished = self.scan.feed(bytes);
        if finished {
            self.streams.finished.store(true, Relaxed);
        }
        self.streams.in_head.store(self.scan.in_head(), Relaxed);
    }
}

/// Reads frames by their heads, whatever the pieces they come in.
#[derive(Debug)]
struct FrameScan {
    /// The frame's own head, as much of it as has come.
    head: [u8; FRAME_HEAD],
    have: usize,
    /// Bytes of the frame's payload that are still to come.
    payload: usize,
    /// In a request's head, which may be several frames.
    in_head: bool,
    /// The frame under way is the last one of the head.
    ends_head: bool,
}

const FRAME_HEAD: usize = 9;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

impl FrameScan {
    /// A scan from the beginning. The preface is like a head.
    const fn at_preface() -> Self {
        Self { head: [0; FRAME_HEAD], have: 0, payload: PREFACE.len(), in_head: true, ends_head: true }
    }

    /// Whether a head has begun and is not finished. Of a frame whose own head is cut nobody knows yet what it is.
    const fn in_head(&self) -> bool {
        self.in_head || self.have > 0
    }

    /// Takes the next bytes. Whether a head was finished in them.
    fn feed(&mut self, mut bytes: &[u8]) -> bool {
        let mut finished = false;
        while !bytes.is_empty() {
            if self.payload > 0 {
                let skipped = bytes.len().min(self.payload);
                self.payload -= skipped;
                bytes = &bytes[skipped..];
            } else {
                let taken = bytes.len().min(FRAME_HEAD - self.have);
                self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
                self.have += taken;
                bytes = &bytes[taken..];
                if self.have < FRAME_HEAD {
                    break;
                }
                self.begin_frame();
            }
            if self.payload == 0 && self.ends_head {
                finished = true;
                (self.in_head, self.ends_head) = (false, false);
            }
        }
        finished
    }

    fn begin_frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.head;
        self.have = 0;
        self.payload = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        self.in_head |= kind == HEADERS;
        self.ends_head = matches!(kind, HEADERS | CONTINUATION) && flags & END_HEADERS != 0;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use hyper::client::conn::http2 as client;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::{Instant, sleep};
    use tokio_util::sync::CancellationToken;

    use super::super::body::{Body, Payload};
    use super::super::drive::{Bounds, IDLE_TIMEOUT};
    use super::*;

    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let stream = u8::from(matches!(kind, 0 | HEADERS | CONTINUATION));
        let mut frame = vec![0, (payload >> 8) as u8, payload as u8, kind, flags, 0, 0, 0, stream];
        frame.resize(FRAME_HEAD + payload, b'x');
        frame
    }

    /// What the scan says of `bytes`: whether a head was finished, and whether one goes on.
    fn feed(scan: &mut FrameScan, bytes: &[u8]) -> (bool, bool) {
        (scan.feed(bytes), scan.in_head())
    }

    #[test]
    fn a_head_begins_and_ends_however_it_is_cut() {
        let whole = [frame(4, 0, 6), frame(HEADERS, 1, 30), frame(CONTINUATION, 4, 300)].concat();
        for cut in 0..whole.len() {
            let mut scan = FrameScan::at_preface();
            assert_eq!(feed(&mut scan, &PREFACE[..20]), (false, true));
            assert_eq!(feed(&mut scan, &PREFACE[20..]), (true, false));
            let between = cut == 0 || (FRAME_HEAD..=FRAME_HEAD + 6).contains(&cut);
            assert_eq!(feed(&mut scan, &whole[..cut]), (false, !between), "cut at {cut}");
            assert_eq!(feed(&mut scan, &whole[cut..]), (true, false), "cut at {cut}");
        }
    }

    #[test]
    fn data_and_pings_are_no_heads() {
        let mut scan = FrameScan::at_preface();
        scan.feed(PREFACE);
        assert_eq!(feed(&mut scan, &frame(HEADERS, 5, 0)), (true, false));
        let data = frame(0, 1, 16_000);
        for piece in [&data[..100], &data[100..], &frame(6, 1, 8)] {
            assert_eq!(feed(&mut scan, piece), (false, false));
        }
    }

    #[test]
    fn one_head_ends_where_the_next_begins() {
        let mut scan = FrameScan::at_preface();
        scan.feed(PREFACE);
        let heads = [frame(HEADERS, 4, 10), frame(HEADERS, 4, 10)].concat();
        assert_eq!(feed(&mut scan, &heads[..30]), (true, true));
        assert_eq!(feed(&mut scan, &heads[30..]), (true, false));
    }

    const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

    /// The other end of a connection on which every answer takes `answer`, and the tasks that serve it.
    fn served(answer: Duration) -> (DuplexStream, TaskTracker) {
        let (socket, theirs) = duplex(64 << 10);
        let (tasks, stop, timer) = (TaskTracker::new(), CancellationToken::new(), Box::pin(sleep(HEADER_TIMEOUT)));
        let opened =
            Opened { socket, ahead: Bytes::new(), bounds: Bounds { timer, header_timeout: HEADER_TIMEOUT, stop } };
        tasks.spawn(serve(opened, tasks.clone(), move |exchange, _| async move {
            sleep(answer).await;
            Body::ok(Payload::Whole(Bytes::from_static(b"done")), exchange)
        }));
        tasks.close();
        (theirs, tasks)
    }

    /// Reads until the other end has closed the connection.
    async fn closed(mut stream: DuplexStream) {
        drop(stream.read_to_end(&mut Vec::new()).await);
    }

    /// A whole head that asks for `/`, and nothing behind it.
    fn request() -> Vec<u8> {
        let mut head = frame(HEADERS, 5, 3);
        head[FRAME_HEAD..].copy_from_slice(&[0x82, 0x84, 0x86]);
        head
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_requests_is_told_goodbye() {
        for requests in [0, 3] {
            let (theirs, tasks) = served(Duration::from_secs(60));
            let builder = client::Builder::new(TokioExecutor::new());
            let (mut asks, connection) = builder.handshake(TokioIo::new(theirs)).await.unwrap();
            let connection = tokio::spawn(connection);
            for _ in 0..requests {
                // A long answer is no idleness.
                let request = Request::get("http://test/").body(http_body_util::Empty::<Bytes>::new()).unwrap();
                assert!(asks.send_request(request).await.unwrap().status().is_success());
            }
            let idle = Instant::now();
            connection.await.unwrap().expect("an orderly end");
            assert!(
                (IDLE_TIMEOUT..IDLE_TIMEOUT * 2 + HEADER_TIMEOUT).contains(&idle.elapsed()),
                "{:?}",
                idle.elapsed()
            );
            tasks.wait().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_is_not_finished_in_time_ends_the_connection() {
        let pause = Duration::from_secs(7);
        let begun = [&request()[..], &frame(HEADERS, 0, 20)].concat();
        let cases: [(&[u8], u32); 4] = [(b"", 0), (&PREFACE[..20], 0), (&begun, 2), (&request()[..5], 2)];
        for (sent, pauses) in cases {
            let start = Instant::now();
            let (mut theirs, tasks) = served(Duration::ZERO);
            if pauses > 0 {
                theirs.write_all(&[&PREFACE[..], &frame(4, 0, 0)].concat()).await.unwrap();
            }
            // The time of a head begins with it.
            sleep(pause * pauses).await;
            theirs.write_all(sent).await.unwrap();
            closed(theirs).await;
            tasks.wait().await;
            let expected = pause * pauses + HEADER_TIMEOUT;
            assert!((expected..expected + Duration::from_secs(1)).contains(&start.elapsed()), "{:?}", start.elapsed());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_caller_that_is_gone_is_noticed_and_its_requests_dropped() {
        let start = Instant::now();
        let (mut theirs, tasks) = served(Duration::from_secs(3600));
        theirs.write_all(&[&PREFACE[..], &frame(4, 0, 0), &request()].concat()).await.unwrap();
        closed(theirs).await;
        tasks.wait().await;
        let expected = PING_INTERVAL + PING_TIMEOUT;
        assert!((expected..expected + Duration::from_secs(1)).contains(&start.elapsed()), "{:?}", start.elapsed());
    }
}
