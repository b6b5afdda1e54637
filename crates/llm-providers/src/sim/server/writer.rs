//! Answers on their way into a socket.

use std::io::{self, Write as _};

use bytes::Bytes;
use http::HeaderMap;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::WriteHalf;

use super::head::{self, Framing};
use crate::exchange;
use crate::sim::refusal::Refusal;

/// Writes answers. What is not sent yet waits in a buffer that is used again.
#[derive(Debug)]
pub(super) struct Writer<'a, 'b> {
    socket: &'a mut WriteHalf<'b>,
    out: Vec<u8>,
}

impl<'a, 'b> Writer<'a, 'b> {
    pub(super) fn new(socket: &'a mut WriteHalf<'b>) -> Self {
        Self { socket, out: Vec::new() }
    }

    /// Sends a whole answer in JSON.
    pub(super) async fn json(&mut self, body: &[u8], keep: bool) -> io::Result<()> {
        let headers = exchange::headers("application/json");
        self.head(200, &headers, Framing::Length(body.len()), keep).bytes(body).send().await
    }

    /// Sends an error.
    pub(super) async fn refuse(&mut self, refusal: &Refusal, keep: bool) -> io::Result<()> {
        let framing = Framing::Length(refusal.body.len());
        self.head(refusal.status, &refusal.headers, framing, keep).bytes(&refusal.body).send().await
    }

    /// Adds a head.
    pub(super) fn head(&mut self, status: u16, headers: &HeaderMap, framing: Framing, keep: bool) -> &mut Self {
        head::write(&mut self.out, status, headers, framing, keep);
        self
    }

    /// Adds bytes of a body.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.out.extend_from_slice(bytes);
        self
    }

    /// Adds bytes of a body that may come in chunks; none of them end it.
    pub(super) fn part(&mut self, framing: Framing, bytes: &[u8]) -> &mut Self {
        match framing {
            Framing::Chunked => chunk(&mut self.out, bytes),
            Framing::Length(_) | Framing::ToTheEnd => self.out.extend_from_slice(bytes),
        }
        self
    }

    /// Adds the first half of a part, announced in full.
    pub(super) fn half(&mut self, framing: Framing, bytes: &[u8]) -> &mut Self {
        let start = self.out.len();
        self.part(framing, bytes);
        self.out.truncate(start + (self.out.len() - start) / 2);
        self
    }

    /// Sends what was added.
    pub(super) async fn send(&mut self) -> io::Result<()> {
        self.socket.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Sends bytes that need no head.
    pub(super) async fn send_encoded(&mut self, bytes: &Bytes) -> io::Result<()> {
        self.socket.write_all(bytes).await
    }
}

/// Writes a chunk to the end of `out`; an empty one ends the body.
pub(super) fn chunk(out: &mut Vec<u8>, bytes: &[u8]) {
    // Writing to memory cannot fail.
    let _ = write!(out, "{:x}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(b"\r\n");
}
