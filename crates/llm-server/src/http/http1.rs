//! HTTP/1.1: one request at a time on a connection, which one task reads, answers and watches.
//!
//! The body of a request is read by whoever serves it, from the same [line](line::Line) and as it is wanted. Nobody but
//! the socket wakes the task, and nothing is read ahead of need: a connection that waits holds no buffer.

mod answer;
mod head;
mod line;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use llm_core::sync::Mutex;
use llm_core::{Dialect, Error, ErrorKind, RequestId, boxed};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, Sleep, sleep_until};

use self::answer::Answer;
use self::head::{Head, Terms};
use self::line::Line;
use super::body::BoxResponse;
use super::drive::{self, Driven, Failure, Opened, drive};
use super::inbound::{AT_ONCE, Exchange, poll_through};
use super::incoming::{BoxRequest, IncomingBody};
use super::service;

/// How long what is left of a refused request may pause, and how long it is read on for: its caller is to get to read
/// the answer.
const LINGER: Duration = Duration::from_secs(1);
const LONGEST_LINGER: Duration = Duration::from_secs(30);

/// Serves one connection to its end.
pub(super) fn serve<T, S, F>(opened: Opened<T>, serve: S) -> Driven<impl drive::Connection + Unpin, Exchange>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Arc<Exchange>, BoxRequest) -> F + Unpin,
    F: Future<Output = BoxResponse>,
{
    let exchange = Arc::new(Exchange::default());
    let line = Line::new(opened.socket, BytesMut::from(opened.ahead));
    let line = Arc::new(Mutex::new(line));
    let phase = Phase::Head { fresh: true };
    let connection = Connection { line, exchange: exchange.clone(), serve, phase, ends: false };
    drive(connection, exchange, opened.bounds)
}

struct Connection<T, S, F> {
    line: Arc<Mutex<Line<T>>>,
    exchange: Arc<Exchange>,
    serve: S,
    phase: Phase<F>,
    /// Whether no request is taken any more.
    ends: bool,
}

enum Phase<F> {
    /// A request is awaited; `fresh` until what was read of it has been looked at.
    Head {
        fresh: bool,
    },
    /// On the heap, and only until the answer has begun.
    Serving(Pin<Box<F>>, Terms),
    Answering(Answer),
    /// All is said, and what still comes is nobody's.
    Closing(Option<Linger>),
}

impl<T, S, F> drive::Connection for Connection<T, S, F>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Arc<Exchange>, BoxRequest) -> F + Unpin,
    F: Future<Output = BoxResponse>,
{
    const SAYS_GOODBYE: bool = false;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        let this = self.get_mut();
        loop {
            match &mut this.phase {
                Phase::Head { fresh } => {
                    let fresh = std::mem::take(fresh);
                    match ready!(this.poll_head(fresh, cx))? {
                        Some(next) => this.phase = next,
                        None => return Poll::Ready(Ok(())),
                    }
                }
                Phase::Serving(serving, terms) => match serving.as_mut().poll(cx) {
                    Poll::Ready(response) => {
                        let terms = Terms { keeps: terms.keeps && !this.ends, ..*terms };
                        this.phase = Phase::Answering(Answer::new(response, terms));
                    }
                    Poll::Pending => return this.line.lock().poll_gone(cx).map(Ok),
                },
                Phase::Answering(answer) => match answer.poll(&this.line, cx)? {
                    Poll::Ready(()) if answer.is_broken() => return Poll::Ready(Ok(())),
                    Poll::Ready(()) => {
                        let keeps = answer.keeps();
                        this.phase = this.after(keeps);
                    }
                    Poll::Pending => {
                        if answer.take_taken() {
                            this.exchange.go_on();
                        }
                        // Who takes nothing of its answer is welcome for as long as who asks nothing.
                        if answer.is_stalled() {
                            this.exchange.rest();
                        }
                        return this.line.lock().poll_gone(cx).map(Ok);
                    }
                },
                Phase::Closing(linger) => {
                    let mut line = this.line.lock();
                    if let Some(linger) = linger {
                        return linger.poll(&mut line.socket, cx).map(Ok);
                    }
                    ready!(Pin::new(&mut line.socket).poll_shutdown(cx))?;
                    if line.body_is_over() {
                        return Poll::Ready(Ok(()));
                    }
                    *linger = Some(Linger::new());
                }
            }
        }
    }

    fn finish(self: Pin<&mut Self>) {
        self.get_mut().ends = true;
    }
}

impl<T, S, F> Connection<T, S, F>
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: Fn(Arc<Exchange>, BoxRequest) -> F,
    F: Future<Output = BoxResponse>,
{
    /// Awaits a request, and begins to serve it. None at the connection's end.
    fn poll_head(&mut self, fresh: bool, cx: &mut Context<'_>) -> Poll<io::Result<Option<Phase<F>>>> {
        let mut line = self.line.lock();
        let mut found = if fresh { line.find() } else { Ok(None) };
        loop {
            match found {
                Ok(None) if line.is_empty() => {}
                Ok(None) => self.exchange.begin(),
                Ok(Some((head, body))) => {
                    drop(line);
                    self.exchange.take_up(head.ambiguous);
                    let Head { mut request, terms, .. } = head;
                    let line = || IncomingBody::from_source(self.line.clone());
                    *request.body_mut() = body.map_or_else(line, IncomingBody::whole);
                    let serving = boxed(|| (self.serve)(self.exchange.clone(), request));
                    return Poll::Ready(Ok(Some(Phase::Serving(Box::into_pin(serving), terms))));
                }
                Err(status) => {
                    drop(line);
                    self.exchange.take_up(false);
                    return Poll::Ready(Ok(Some(Phase::Answering(Answer::new(self.refusal(status), Terms::LAST)))));
                }
            }
            found = match line.poll_find(cx)? {
                Poll::Ready(Some(found)) => found,
                Poll::Ready(None) => return Poll::Ready(Ok(None)),
                Poll::Pending if self.ends && line.is_empty() => return Poll::Ready(Ok(None)),
                Poll::Pending => return Poll::Pending,
            };
        }
    }

    /// What comes behind an answer, of which another request may follow or not.
    fn after(&self, keeps: bool) -> Phase<F> {
        self.exchange.rest();
        let body_is_over = self.line.lock().skip_body();
        if keeps && body_is_over { Phase::Head { fresh: true } } else { Phase::Closing(None) }
    }

    /// The answer to what is no request.
    fn refusal(&self, status: StatusCode) -> BoxResponse {
        let message = match status {
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => "the request's head is too long, or has too many fields",
            StatusCode::NOT_IMPLEMENTED => "the request's body is coded in another way than in chunks",
            _ => "the request's head is malformed",
        };
        let error = Error::new(ErrorKind::InvalidRequest, message);
        let id = RequestId::from_random(fastrand::u128(..));
        let mut response = service::failure(&self.exchange, Dialect::OpenAi, &error, &id);
        *response.status_mut() = status;
        response
    }
}

/// Reads on for a while.
struct Linger {
    pause: Pin<Box<Sleep>>,
    end: Instant,
}

impl Linger {
    fn new() -> Self {
        let now = Instant::now();
        Self { pause: Box::pin(sleep_until(now + LINGER)), end: now + LONGEST_LINGER }
    }

    /// Ready once nothing comes any more, or for too long.
    fn poll(&mut self, socket: &mut (impl AsyncRead + Unpin), cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(read) = poll_through(socket, AT_ONCE, cx, <[u8]>::len) {
            if !read.is_ok_and(|read| read > 0) {
                return Poll::Ready(());
            }
            self.pause.as_mut().reset(self.end.min(Instant::now() + LINGER));
        }
        self.pause.as_mut().poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use futures_util::{StreamExt, stream};
    use http_body_util::BodyExt;
    use llm_core::Frame;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::sleep;
    use tokio_util::sync::CancellationToken;

    use super::super::body::{Body, Payload, collect};
    use super::super::drive::{Bounds, IDLE_TIMEOUT};
    use super::*;

    /// A connection whose requests `answer` answers, and its caller's end, through which so many bytes fit.
    fn connect<F>(
        width: usize,
        stop: CancellationToken,
        answer: impl Fn(Arc<Exchange>, BoxRequest) -> F + Unpin,
    ) -> (DuplexStream, impl Future<Output = ()>)
    where
        F: Future<Output = BoxResponse>,
    {
        let (socket, theirs) = duplex(width);
        let header_timeout = Duration::from_secs(10);
        let bounds = Bounds { timer: Box::pin(sleep(header_timeout)), header_timeout, stop };
        (theirs, serve(Opened { socket, ahead: Bytes::new(), bounds }, answer))
    }

    fn whole(exchange: Arc<Exchange>, bytes: impl Into<Bytes>) -> BoxResponse {
        Body::ok(Payload::Whole(bytes.into()), exchange)
    }

    fn frame(bytes: &'static [u8]) -> Frame {
        Frame { bytes: Bytes::from_static(bytes), ..Frame::default() }
    }

    /// Answers with what was asked: the method, the path and the body.
    async fn echo(exchange: Arc<Exchange>, request: BoxRequest) -> BoxResponse {
        let start = format!("{} {} ", request.method(), request.uri());
        match request.into_body().collect().await {
            Ok(body) => whole(exchange, [start.as_bytes(), &body.to_bytes()].concat()),
            Err(broken) => whole(exchange, broken.to_string()),
        }
    }

    /// All that a connection says to these `pieces`, each written when nothing else is to be done.
    async fn told<F>(width: usize, pieces: &[&[u8]], answer: impl Fn(Arc<Exchange>, BoxRequest) -> F + Unpin) -> String
    where
        F: Future<Output = BoxResponse>,
    {
        let stop = CancellationToken::new();
        let (theirs, serving) = connect(width, stop.clone(), answer);
        let (mut reading, mut writing) = tokio::io::split(theirs);
        let send = async {
            for piece in pieces {
                // A connection that was ended takes no more.
                if writing.write_all(piece).await.is_err() {
                    break;
                }
                // Until all has been done that is to be done.
                sleep(Duration::from_millis(1)).await;
            }
            stop.cancel();
        };
        let mut told = Vec::new();
        let ((), (), read) = tokio::join!(serving, send, reading.read_to_end(&mut told));
        read.unwrap();
        let told = String::from_utf8(told).unwrap();
        let dated = |line: &&str| !line.starts_with("date: ");
        told.split_inclusive("\r\n").filter(dated).collect()
    }

    fn ok(headers: &str, body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\n{headers}content-length: {}\r\n\r\n{body}", body.len())
    }

    #[tokio::test(start_paused = true)]
    async fn requests_are_answered_in_turn_wherever_they_are_cut() {
        let asked: &[u8] = b"POST /a HTTP/1.1\r\ncontent-length: 3\r\n\r\none\r\nGET /b HTTP/1.1\r\n\r\n\
            POST /c HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\ntw\r\n1\r\no\r\n0\r\n\r\n\
            POST /d HTTP/1.1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let answers =
            [ok("", "POST /a one"), ok("", "GET /b "), ok("", "POST /c two"), ok("connection: close\r\n", "POST /d ")];
        for cut in 0..asked.len() {
            let pieces = [&asked[..cut], &asked[cut..]];
            assert_eq!(told(4096, &pieces, echo).await, answers.concat(), "cut at {cut}");
        }
        let bytes: Vec<&[u8]> = asked.chunks(1).collect();
        assert_eq!(told(7, &bytes, echo).await, answers.concat());
    }

    #[tokio::test(start_paused = true)]
    async fn what_follows_a_long_body_is_the_next_request() {
        let counted = |exchange, mut request: BoxRequest| async move {
            let method = request.method().clone();
            let body = collect(request.body_mut(), 1 << 20, Duration::from_secs(1)).await.unwrap();
            assert!(body.iter().all(|byte| *byte == b'x'));
            whole(exchange, format!("{method} {}", body.len()))
        };
        let next = "GET / HTTP/1.1\r\n\r\n";
        for length in [16_000, 16_384, 16_385, 32_768, 65_536, 65_537, 200_000] {
            let head = format!("POST / HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
            let asked = [head.clone(), "x".repeat(length), next.repeat(2)].concat();
            let answers = [ok("", &format!("POST {length}")), ok("", "GET 0"), ok("", "GET 0")].concat();
            for width in [1 << 20, 20_000, 4096] {
                // At once; the body behind its head; the body's last byte with what follows.
                for cut in [0, head.len(), head.len() + length - 1] {
                    let (first, rest) = asked.as_bytes().split_at(cut);
                    assert_eq!(told(width, &[first, rest], counted).await, answers, "{length}, {width}, cut at {cut}");
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_request_is_answered_and_ends_the_connection() {
        let long = format!("GET / HTTP/1.1\r\na: {}", "b".repeat(100_000));
        for (asked, start) in [
            ("GET / HTTP/1.1\r\nx y: z\r\n\r\nGET / HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
            ("POST / HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "HTTP/1.1 501 "),
            (&long, "HTTP/1.1 431 "),
        ] {
            let told = told(1024, &[asked.as_bytes()], echo).await;
            assert!(told.starts_with(start) && told.contains("connection: close\r\n"), "{asked:.60}: {told}");
            assert!(told.ends_with('}') && told.matches("HTTP/1.1").count() == 1, "{told}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_is_not_wanted_is_read_on_for_a_while_and_the_answer_is_read() {
        let refuse = |exchange, _| async { whole(exchange, "no") };
        let head: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 100000\r\n\r\n";
        let body = vec![b'x'; 100_000];
        let kept = ok("", "no");
        assert_eq!(told(64, &[head, &body], refuse).await, kept, "all of it was sent, against the answer's coming");
        // Where it came with its head it is in nobody's way.
        let next: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nxxGET / HTTP/1.1\r\n\r\n";
        assert_eq!(told(4096, &[next], refuse).await, kept.repeat(2));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_to_be_asked_for_a_body_is_asked_when_it_is_wanted() {
        let head: &[u8] = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
        let told_late = told(4096, &[head, b"ab"], echo).await;
        assert_eq!(told_late, format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("", "POST / ab")));
        let refused = told(4096, &[head], |exchange, _| async { whole(exchange, "no") }).await;
        assert_eq!(refused, ok("", "no"));
        let at_once = [head, b"ab"].concat();
        assert_eq!(told(4096, &[&at_once], echo).await, ok("", "POST / ab"));
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_of_unknown_length_is_told_as_its_caller_understands() {
        let frames = |exchange, request: BoxRequest| async move {
            let frames = stream::iter(["a", "", "bc"]).map(|text| Ok(frame(text.as_bytes())));
            let payload = Payload::Frames(frames.boxed(), Dialect::OpenAi);
            drop(request);
            Body::ok(payload, exchange)
        };
        let ask = async |text: &str| told(4096, &[text.as_bytes()], frames).await;
        assert_eq!(
            ask("GET / HTTP/1.1\r\n\r\n").await,
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n"
        );
        assert_eq!(ask("GET / HTTP/1.0\r\n\r\n").await, "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nabc");
        assert_eq!(ask("HEAD / HTTP/1.1\r\n\r\n").await, "HTTP/1.1 200 OK\r\n\r\n");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_breaks_off_is_not_taken_for_whole() {
        let breaks = |left| {
            move |exchange, _| async move {
                let pieces = [Ok(Bytes::from_static(b"ab")), Err(Error::new(ErrorKind::StreamInterrupted, "gone"))];
                let body = stream::iter(pieces).boxed();
                Body::ok(Payload::Passed { body, left, events: false }, exchange)
            }
        };
        let asked: [&[u8]; 1] = [b"GET / HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n"];
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n";
        assert_eq!(told(4096, &asked, breaks(None)).await, chunked);
        assert_eq!(told(4096, &asked, breaks(Some(3))).await, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nab");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_while_it_is_served_or_answered_ends_it() {
        for begun in [false, true] {
            let held = Arc::new(());
            let holder = held.clone();
            let (mut theirs, serving) = connect(4096, CancellationToken::new(), move |exchange, _| {
                let held = holder.clone();
                async move {
                    if !begun {
                        std::future::pending::<Infallible>().await;
                    }
                    let never = stream::pending().inspect(move |_: &Result<Frame, Error>| drop(held.clone()));
                    Body::ok(Payload::Frames(never.boxed(), Dialect::OpenAi), exchange)
                }
            });
            let leave = async {
                theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
                sleep(Duration::from_secs(1)).await;
                drop(theirs);
            };
            tokio::join!(serving, leave);
            assert_eq!(Arc::strong_count(&held), 1, "begun: {begun}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_does_not_read_stops_the_answer_and_holds_little() {
        let given = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = given.clone();
        let (mut theirs, serving) = connect(64, CancellationToken::new(), move |exchange, _| {
            let counted = counted.clone();
            async move {
                let frames = stream::repeat_with(move || {
                    counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    Ok(frame(&[b'x'; 1000]))
                });
                Body::ok(Payload::Frames(frames.boxed(), Dialect::OpenAi), exchange)
            }
        });
        let wait = async {
            theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            sleep(Duration::from_secs(60)).await;
            drop(theirs);
        };
        tokio::join!(serving, wait);
        assert!(given.load(std::sync::atomic::Ordering::Relaxed) <= 20, "{given:?}");
    }

    /// How long a connection lives whose caller takes `piece` bytes of a long answer each `pause`, at most an hour.
    async fn lives_with(piece: usize, pause: Duration) -> Duration {
        let stop = CancellationToken::new();
        let (mut theirs, serving) = connect(64, stop, |exchange, _| async { whole(exchange, vec![b'x'; 1 << 20]) });
        let begun = Instant::now();
        let read = async {
            theirs.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
            let mut taken = vec![0; piece];
            while begun.elapsed() < Duration::from_secs(3600) {
                sleep(pause).await;
                if piece > 0 && theirs.read(&mut taken).await.is_err() {
                    break;
                }
            }
        };
        tokio::select! {
            () = serving => {}
            () = read => {}
        }
        begun.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_takes_nothing_of_its_answer_is_cut_off_and_whoever_takes_little_is_not() {
        let lived = lives_with(0, Duration::from_secs(10)).await;
        assert!((IDLE_TIMEOUT..=IDLE_TIMEOUT * 2).contains(&lived), "{lived:?}");
        let lived = lives_with(1, Duration::from_secs(60)).await;
        assert!(lived >= Duration::from_secs(3600), "{lived:?}");
    }

    proptest! {
        /// However a body comes in and an answer's pieces lie, what goes out is the same.
        #[test]
        fn bodies_come_in_and_go_out_whole(
            body in proptest::collection::vec(any::<u8>(), 0..40_000),
            cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6),
            width in 1_usize..40_000,
            chunked: bool,
            joined: bool,
        ) {
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.sort_unstable();
            let ends = cuts.iter().copied().chain([body.len()]);
            let pieces: Vec<&[u8]> = [0].into_iter().chain(cuts.iter().copied()).zip(ends).map(|(a, b)| &body[a..b]).collect();
            let mut asked = match chunked {
                true => b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n".to_vec(),
                false => format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes(),
            };
            for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
                match chunked {
                    true => asked.extend([format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()),
                    false => asked.extend_from_slice(piece),
                }
            }
            if chunked {
                asked.extend_from_slice(LAST);
            }
            // In the pieces in which it came, or in one.
            let mirror = |exchange, request: BoxRequest| async move {
                if joined {
                    return whole(exchange, request.into_body().collect().await.unwrap().to_bytes());
                }
                let body = request.into_body().into_data_stream();
                let body = body.map(|piece| piece.map_err(|broken| Error::new(ErrorKind::Internal, broken.to_string())));
                Body::ok(Payload::Passed { body: body.boxed(), left: None, events: false }, exchange)
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
            let answer = runtime.block_on(async {
                let stop = CancellationToken::new();
                let (theirs, serving) = connect(width, stop.clone(), mirror);
                let (mut reading, mut writing) = tokio::io::split(theirs);
                let send = async {
                    writing.write_all(&asked).await.unwrap();
                    sleep(Duration::from_millis(1)).await;
                    stop.cancel();
                };
                let mut answer = Vec::new();
                let ((), (), read) = tokio::join!(serving, send, reading.read_to_end(&mut answer));
                read.unwrap();
                answer
            });
            let at = answer.windows(4).position(|at| at == b"\r\n\r\n").unwrap() + 4;
            let said = if joined { answer[at..].to_vec() } else { unchunked(&answer[at..]) };
            prop_assert!(said == body, "{} bytes for {}", said.len(), body.len());
        }
    }

    /// What is in the chunks, all of which are there.
    fn unchunked(mut chunks: &[u8]) -> Vec<u8> {
        let mut data = Vec::new();
        while chunks != LAST {
            let line = chunks.iter().position(|byte| *byte == b'\r').unwrap();
            let size = usize::from_str_radix(std::str::from_utf8(&chunks[..line]).unwrap(), 16).unwrap();
            data.extend_from_slice(&chunks[line + 2..line + 2 + size]);
            chunks = chunks[line + 2 + size..].strip_prefix(b"\r\n").unwrap();
        }
        data
    }

    const LAST: &[u8] = b"0\r\n\r\n";

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_for_its_whole_time_however_long_its_last_answer_took() {
        for took in [1, 9, 11, 74, 76, 100, 149, 151, 400].map(Duration::from_secs) {
            let (socket, mut theirs) = duplex(1024);
            let header_timeout = Duration::from_secs(10);
            let bounds =
                Bounds { timer: Box::pin(sleep(header_timeout)), header_timeout, stop: CancellationToken::new() };
            let answer = move |exchange, _| async move {
                sleep(took).await;
                Body::ok(Payload::Whole(Bytes::from_static(b"done")), exchange)
            };
            let serving = tokio::spawn(serve(Opened { socket, ahead: Bytes::new(), bounds }, answer));
            theirs.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
            let mut read = Vec::new();
            while !read.ends_with(b"done") {
                assert!(theirs.read_buf(&mut read).await.unwrap() > 0);
            }
            let idle = Instant::now();
            serving.await.unwrap();
            assert!((IDLE_TIMEOUT..=IDLE_TIMEOUT * 2).contains(&idle.elapsed()), "{took:?}: {:?}", idle.elapsed());
        }
    }
}
