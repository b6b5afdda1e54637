//! One connection: its requests, one after the other, and whether its client is still there.

use std::io;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::ReadHalf;

use super::answer::{Answerer, Then};
use super::body::{Chunks, LARGEST};
use super::head::{Framing, Head, Malformed};
use super::request::{LastTarget, Request};
use super::shared::Shared;

/// Room for a request in the read buffer.
const ROOM: usize = 8 << 10;

/// The most bytes of later requests that are read while one is being answered.
const AHEAD: usize = 64 << 10;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buf: BytesMut,
    shared: Arc<Shared>,
    /// What the last request asked for: a client mostly asks for the same.
    last: Option<LastTarget>,
}

impl Connection {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared>) -> Self {
        // An option that cannot be set is no reason not to serve.
        let _ = stream.set_nodelay(true);
        Self { stream, buf: BytesMut::new(), shared, last: None }
    }

    /// Serves until either side closes.
    pub(super) async fn run(mut self) {
        // The client is gone; there is nobody to tell.
        let _ = self.serve().await;
    }

    async fn serve(&mut self) -> io::Result<()> {
        loop {
            let request = match self.request().await? {
                Received::Request(request) => request,
                Received::Malformed(Malformed(status)) => {
                    let (_, mut write) = self.stream.split();
                    Answerer::new(&self.shared, &mut write).malformed(status).await?;
                    return write.shutdown().await;
                }
                Received::End => return Ok(()),
            };
            let (mut read, mut write) = self.stream.split();
            let then = tokio::select! {
                biased;
                then = Answerer::new(&self.shared, &mut write).answer(&request, &mut self.last) => then?,
                () = gone(&mut read, &mut self.buf) => return Ok(()),
            };
            match then {
                Then::Next => {}
                Then::Close => return write.shutdown().await,
                Then::HalfClose => {
                    write.shutdown().await?;
                    gone(&mut read, &mut self.buf).await;
                    return Ok(());
                }
            }
        }
    }

    async fn request(&mut self) -> io::Result<Received> {
        let head = loop {
            match Head::read(&self.buf) {
                Ok(Some(head)) => break head,
                Ok(None) => {}
                Err(malformed) => return Ok(Received::Malformed(malformed)),
            }
            if !self.receive(ROOM).await? {
                return Ok(Received::End);
            }
        };
        let raw = self.buf.split_to(head.length).freeze();
        if head.expects_continue && self.buf.is_empty() {
            self.stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let body = match head.body {
            Framing::Length(length) if length > LARGEST => return Ok(Received::Malformed(Malformed(413))),
            Framing::Length(length) => {
                while self.buf.len() < length {
                    if !self.receive(length - self.buf.len()).await? {
                        return Ok(Received::End);
                    }
                }
                self.buf.split_to(length).freeze()
            }
            Framing::Chunked | Framing::ToTheEnd => {
                let mut chunks = Chunks::default();
                loop {
                    match chunks.take(&mut self.buf) {
                        Ok(true) => break chunks.body.freeze(),
                        Ok(false) => {}
                        Err(malformed) => return Ok(Received::Malformed(malformed)),
                    }
                    if !self.receive(ROOM).await? {
                        return Ok(Received::End);
                    }
                }
            }
        };
        Ok(Received::Request(Request { head, raw, body }))
    }

    /// Receives more; false when the client has closed.
    async fn receive(&mut self, room: usize) -> io::Result<bool> {
        self.buf.reserve(room);
        Ok(self.stream.read_buf(&mut self.buf).await? > 0)
    }
}

enum Received {
    Request(Request),
    Malformed(Malformed),
    End,
}

/// Waits until the client closes. What it sends meanwhile is kept for later.
async fn gone(read: &mut ReadHalf<'_>, buf: &mut BytesMut) {
    while buf.len() < AHEAD {
        if !matches!(read.read_buf(buf).await, Ok(1..)) {
            return;
        }
    }
    std::future::pending().await
}
