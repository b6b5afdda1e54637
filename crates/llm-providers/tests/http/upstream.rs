//! An upstream whose every byte a test decides, and the calls that are made to it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use llm_core::{Answer, Call, CallBody, Error, Frame, Provider, WireAnswer, WireBody};
use llm_providers::wire::openai::read_chat;
use llm_providers::{HttpConfig, HttpProvider, ProxyConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Which connection it came on, and as which request of it; from 0.
    pub(crate) at: (usize, usize),
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    pub(crate) fn line(&self) -> &str {
        self.head.lines().next().unwrap()
    }

    /// The values of a header, which is given in lower case.
    pub(crate) fn header(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.filter(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// What is done when a request has come.
#[derive(Clone, Debug)]
pub(crate) enum Then {
    Answer(Vec<u8>),
    /// The bytes, if any, then the connection closes.
    Close(Vec<u8>),
    /// The bytes, if any, then nothing until the other side closes.
    Watch(Vec<u8>),
}

/// An upstream over TCP.
pub(crate) struct Upstream {
    pub(crate) address: String,
    asked: Mutex<mpsc::UnboundedReceiver<Asked>>,
    /// The connections that the other side closed while they were watched.
    left: Mutex<mpsc::UnboundedReceiver<usize>>,
}

impl Upstream {
    pub(crate) async fn new(then: impl Fn(&Asked) -> Then + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell_asked, asked) = mpsc::unbounded_channel();
        let (tell_left, left) = mpsc::unbounded_channel();
        let then = Arc::new(then);
        tokio::spawn(async move {
            for connection in 0.. {
                let (mut socket, _) = listener.accept().await.unwrap();
                let (tell_asked, tell_left, then) = (tell_asked.clone(), tell_left.clone(), then.clone());
                tokio::spawn(async move {
                    for request in 0.. {
                        let Some(asked) = read(&mut socket, (connection, request)).await else { return };
                        tell_asked.send(asked.clone()).unwrap();
                        match then(&asked) {
                            Then::Answer(bytes) => socket.write_all(&bytes).await.unwrap(),
                            Then::Close(bytes) => return socket.write_all(&bytes).await.unwrap(),
                            Then::Watch(bytes) => {
                                socket.write_all(&bytes).await.unwrap();
                                while socket.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                                return tell_left.send(connection).unwrap();
                            }
                        }
                    }
                });
            }
        });
        Arc::new(Self { address, asked: Mutex::new(asked), left: Mutex::new(left) })
    }

    /// An upstream that says the same each time.
    pub(crate) async fn always(then: Then) -> Arc<Self> {
        Self::new(move |_| then.clone()).await
    }

    pub(crate) fn provider(&self) -> HttpProvider {
        provider(&format!("http://{}/v1", self.address))
    }

    /// The next request.
    pub(crate) async fn next(&self) -> Asked {
        within(async { self.asked.lock().await.recv().await.unwrap() }).await
    }

    /// The requests so far that nobody has looked at.
    pub(crate) async fn rest(&self) -> Vec<Asked> {
        let mut asked = self.asked.lock().await;
        std::iter::from_fn(|| asked.try_recv().ok()).collect()
    }

    /// Waits for the other side to close a watched connection.
    pub(crate) async fn left(&self) -> usize {
        within(async { self.left.lock().await.recv().await.unwrap() }).await
    }
}

/// What `wait` comes to; a test that waits for longer has failed.
pub(crate) async fn within<T>(wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), wait).await.expect("it happens")
}

async fn read(socket: &mut tokio::net::TcpStream, at: (usize, usize)) -> Option<Asked> {
    let mut bytes = Vec::new();
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if socket.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(end);
    let mut asked = Asked { at, head: String::from_utf8(bytes).unwrap(), body };
    let length = asked.header("content-length").first().map_or(0, |length| length.parse().unwrap());
    while asked.body.len() < length {
        socket.read_buf(&mut asked.body).await.ok()?;
    }
    Some(asked)
}

pub(crate) fn config(base_url: &str) -> HttpConfig {
    HttpConfig {
        base_url: Some(base_url.into()),
        api_key: Some("sk-test".into()),
        proxy: Some(ProxyConfig::none()),
        ..HttpConfig::default()
    }
}

pub(crate) fn provider(base_url: &str) -> HttpProvider {
    HttpProvider::try_new("up", config(base_url)).unwrap()
}

pub(crate) const WHOLE: &str = concat!(
    r#"{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":"#,
    r#"{"role":"assistant","content":"Four."},"finish_reason":"stop"}],"#,
    r#""usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}"#
);

pub(crate) const FIRST: &str = concat!(
    r#"data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":"#,
    r#"[{"index":0,"delta":{"role":"assistant","content":"Fo"},"finish_reason":null}]}"#,
    "\n\n"
);
pub(crate) const LAST: &str = concat!(
    r#"data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":"#,
    r#"[{"index":0,"delta":{"content":"ur."},"finish_reason":"stop"}]}"#,
    "\n\ndata: [DONE]\n\n"
);

/// An answer with its length.
pub(crate) fn answer(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

pub(crate) fn json(body: impl AsRef<[u8]>) -> Vec<u8> {
    answer("200 OK", "content-type: application/json\r\n", body)
}

pub(crate) fn whole() -> Then {
    Then::Answer(json(WHOLE))
}

/// The head of a stream of chunks, and `pieces` as its chunks, without an end.
pub(crate) fn streaming(pieces: &[&str]) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in pieces {
        bytes.extend_from_slice(format!("{:x}\r\n{piece}\r\n", piece.len()).as_bytes());
    }
    bytes
}

pub(crate) const END: &[u8] = b"0\r\n\r\n";

/// A chat request's body; `more` are further fields, each after a comma.
pub(crate) fn call(more: &str) -> Call {
    let body = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"2+2?"}}]{more}}}"#);
    let envelope = read_chat(Bytes::from(body)).unwrap();
    Call::new("m".into(), CallBody::from(envelope))
}

pub(crate) const STREAM: &str = r#","stream":true"#;

pub(crate) async fn wire(provider: &HttpProvider, call: Call) -> Result<WireAnswer, Error> {
    match within(provider.send(call)).await? {
        Answer::Wire(answer) => Ok(*answer),
        _ => panic!("a body is answered with a body"),
    }
}

/// The body of an answer that is no stream.
pub(crate) async fn body(provider: &HttpProvider) -> Result<Bytes, Error> {
    match wire(provider, call("")).await?.body {
        WireBody::Whole { bytes, .. } => Ok(bytes),
        WireBody::Frames(_) => panic!("no stream was asked for"),
    }
}

pub(crate) async fn frames(provider: &HttpProvider) -> Result<Vec<Result<Frame, Error>>, Error> {
    match wire(provider, call(STREAM)).await?.body {
        WireBody::Frames(frames) => Ok(within(frames.collect()).await),
        WireBody::Whole { .. } => panic!("a stream was asked for"),
    }
}
