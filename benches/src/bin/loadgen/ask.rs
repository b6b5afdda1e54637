//! One connection, one request after the other.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::measured::now;

/// What an OpenAI stream ends with.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// A request.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The caller's key.
    pub(crate) key: &'a str,
    /// What the caller calls the request, if anything.
    pub(crate) name: Option<&'a str>,
    pub(crate) body: Bytes,
}

/// What came of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered {
    pub(crate) events: u64,
    /// From when the request was handed to its connection to its answer's end, or to the first bytes of a stream.
    pub(crate) latency: Duration,
}

/// A kept connection to the target.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    target: SocketAddr,
    is_stream: bool,
}

impl Connection {
    /// Connects.
    pub(crate) async fn open(target: SocketAddr, is_stream: bool) -> Result<Self, String> {
        Ok(Self { sender: connect(target).await?, target, is_stream })
    }

    /// Sends the body and reads the answer to its end.
    ///
    /// # Errors
    /// Any answer but a whole 200: a bench of failures measures nothing.
    pub(crate) async fn ask(&mut self, body: Bytes) -> Result<Answered, String> {
        let sent = now();
        let mut answer = self.send(body).await?;
        let mut events = Events::default();
        let mut begun = None;
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.map_err(|error| format!("the answer broke off: {error}"))?;
            if let Some(data) = frame.data_ref() {
                begun = begun.or_else(|| Some(sent.elapsed()));
                events.read(data);
            }
        }
        if self.is_stream && !events.is_done() {
            return Err("a stream ended without its terminal event".to_owned());
        }
        let latency = begun.filter(|_| self.is_stream).unwrap_or_else(|| sent.elapsed());
        Ok(Answered { events: events.count, latency })
    }

    /// Sends the body; the answer's head is there when this returns.
    ///
    /// # Errors
    /// Any answer but a 200.
    pub(crate) async fn send(&mut self, body: Bytes) -> Result<Response<Incoming>, String> {
        let answer = self.request(Asked { key: "bench", name: None, body }).await?;
        if answer.status() == StatusCode::OK {
            return Ok(answer);
        }
        let status = answer.status();
        let body = answer.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(format!("the answer is a {status}: {}", String::from_utf8_lossy(&body)))
    }

    /// Sends a request; its answer's head, whatever it says, is there when this returns.
    pub(crate) async fn request(&mut self, asked: Asked<'_>) -> Result<Response<Incoming>, String> {
        self.sender.ready().await.map_err(|error| format!("the target closed the connection: {error}"))?;
        let mut request = Request::builder()
            .method(Method::POST)
            .uri("/v1/chat/completions")
            .header(header::HOST, self.target.to_string())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", asked.key));
        if let Some(name) = asked.name {
            request = request.header("idempotency-key", name);
        }
        let request = request.body(Full::new(asked.body)).map_err(|error| error.to_string())?;
        self.sender.send_request(request).await.map_err(|error| format!("no answer: {error}"))
    }
}

/// A connection of the plainest kind.
pub(crate) async fn connect(target: SocketAddr) -> Result<SendRequest<Full<Bytes>>, String> {
    let socket = TcpStream::connect(target).await.map_err(|error| format!("{target}: {error}"))?;
    socket.set_nodelay(true).map_err(|error| error.to_string())?;
    let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(|error| error.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Counts events, which end with an empty line, wherever the frames of the body are cut.
#[derive(Debug, Default)]
struct Events {
    count: u64,
    /// The last bytes, as many as the terminal event has.
    tail: Vec<u8>,
}

impl Events {
    fn read(&mut self, data: &[u8]) {
        let mut before = self.tail.last().copied();
        for &byte in data {
            if byte == b'\n' && before == Some(b'\n') {
                self.count += 1;
            }
            before = Some(byte);
        }
        self.tail.extend_from_slice(&data[data.len().saturating_sub(DONE.len())..]);
        let surplus = self.tail.len().saturating_sub(DONE.len());
        self.tail.drain(..surplus);
    }

    fn is_done(&self) -> bool {
        self.tail == DONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted_wherever_the_stream_is_cut() {
        let stream = b"data: {}\n\ndata: {}\n\ndata: [DONE]\n\n";
        for at in 0..stream.len() {
            let mut events = Events::default();
            events.read(&stream[..at]);
            events.read(&stream[at..]);
            assert_eq!((events.count, events.is_done()), (3, true), "cut at {at}");
        }
    }

    #[test]
    fn a_stream_without_its_terminal_event_is_not_done() {
        let mut events = Events::default();
        events.read(b"data: {}\n\n");
        assert!(!events.is_done());
    }
}
