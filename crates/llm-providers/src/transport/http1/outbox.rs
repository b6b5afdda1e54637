//! Bytes on their way out, in pieces that are not joined.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;

/// What ends a body in chunks.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Pieces that are handed to the socket at once.
const PIECES: usize = 16;

/// Pieces that are still to be written.
#[derive(Debug, Default)]
pub struct Outbox {
    pieces: VecDeque<Bytes>,
}

impl Outbox {
    /// Without pieces, and with room for so many.
    #[must_use]
    pub fn with_capacity(pieces: usize) -> Self {
        Self { pieces: VecDeque::with_capacity(pieces) }
    }

    /// Whether all is written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The bytes that are still to be written.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pieces.iter().map(Bytes::len).sum()
    }

    /// Whether what is pushed next is still written together with what is there.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.pieces.len() < PIECES
    }

    /// Adds a piece.
    pub fn push(&mut self, piece: Bytes) {
        if !piece.is_empty() {
            self.pieces.push_back(piece);
        }
    }

    /// Adds a piece of a body in chunks. None is made of no bytes, which would be the last.
    pub fn push_chunk(&mut self, data: Bytes) {
        if !data.is_empty() {
            self.pieces.push_back(format!("{:x}\r\n", data.len()).into());
            self.pieces.push_back(data);
            self.pieces.push_back(Bytes::from_static(b"\r\n"));
        }
    }

    /// Writes what there is, in as few writes as the socket allows.
    ///
    /// # Errors
    /// The socket's own.
    pub fn poll_write(&mut self, mut socket: Pin<&mut impl AsyncWrite>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.pieces.is_empty() {
            // The system takes one piece at less than it takes a list of one.
            let written = if let ([piece], []) = self.pieces.as_slices() {
                ready!(socket.as_mut().poll_write(cx, piece))?
            } else {
                let mut slices = [IoSlice::new(&[]); PIECES];
                let count = self.pieces.len().min(PIECES);
                for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                    *slice = IoSlice::new(piece);
                }
                ready!(socket.as_mut().poll_write_vectored(cx, &slices[..count]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(piece) = self.pieces.front_mut() {
            let taken = written.min(piece.len());
            piece.advance(taken);
            written -= taken;
            if !piece.is_empty() {
                return;
            }
            self.pieces.pop_front();
        }
    }
}
