//! A request on its way out: its head and its body, in as few writes as the socket allows.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http_body::Body as _;
use tokio::io::AsyncWrite;

use crate::transport::body::Outgoing;

/// Pieces that are handed to the socket at once.
const PIECES: usize = 16;

/// Why a request was not sent whole.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The other side takes no more. It may answer all the same.
    Socket(io::Error),
    /// The body broke off: no answer is to be waited for.
    Body,
}

/// What is still to be written.
#[derive(Debug)]
pub(super) struct Sending {
    pieces: VecDeque<Bytes>,
    body: Outgoing,
    /// Whether each piece of the body is framed as a chunk.
    chunked: bool,
    /// Whether all of the body is among the pieces.
    whole: bool,
}

impl Sending {
    /// `head`, then `body`.
    pub(super) fn new(head: Vec<u8>, body: Outgoing, chunked: bool) -> Self {
        let mut pieces = VecDeque::with_capacity(2);
        pieces.push_back(head.into());
        Self { pieces, body, chunked, whole: false }
    }

    /// Writes until all is written, the socket takes no more or the body has no more yet.
    ///
    /// # Errors
    /// The request cannot be sent whole.
    pub(super) fn poll(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Unsent>> {
        loop {
            self.fill(cx)?;
            if self.pieces.is_empty() {
                return if self.whole { socket.poll_flush(cx).map_err(Unsent::Socket) } else { Poll::Pending };
            }
            let mut slices = [IoSlice::new(&[]); PIECES];
            let count = self.pieces.len().min(PIECES);
            for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
                *slice = IoSlice::new(piece);
            }
            let written = ready!(socket.as_mut().poll_write_vectored(cx, &slices[..count])).map_err(Unsent::Socket)?;
            if written == 0 {
                return Poll::Ready(Err(Unsent::Socket(io::ErrorKind::WriteZero.into())));
            }
            self.advance(written);
        }
    }

    /// Takes of the body what is there, and no more than is written at once.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Unsent> {
        while !self.whole && self.pieces.len() < PIECES {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        self.push(data);
                    }
                }
                // Whoever sends it has been told why.
                Poll::Ready(Some(Err(_))) => return Err(Unsent::Body),
                Poll::Ready(None) => {
                    self.whole = true;
                    if self.chunked {
                        self.pieces.push_back(Bytes::from_static(b"0\r\n\r\n"));
                    }
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, data: Bytes) {
        // A chunk without bytes would be the last.
        if data.is_empty() {
            return;
        }
        if self.chunked {
            self.pieces.push_back(format!("{:x}\r\n", data.len()).into());
            self.pieces.push_back(data);
            self.pieces.push_back(Bytes::from_static(b"\r\n"));
        } else {
            self.pieces.push_back(data);
        }
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

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use proptest::prelude::*;

    use super::*;
    use crate::transport::RequestBody;

    /// Takes so many bytes a write, and none every other time.
    struct Narrow {
        taken: Vec<u8>,
        widths: Vec<usize>,
        rests: bool,
    }

    impl AsyncWrite for Narrow {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            self.rests = !self.rests;
            if self.rests {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let width = self.widths.pop().unwrap_or(1).min(bytes.len());
            self.taken.extend_from_slice(&bytes[..width]);
            Poll::Ready(Ok(width))
        }

        fn poll_write_vectored(
            self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            slices: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let joined: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).collect();
            self.poll_write(cx, &joined)
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    proptest! {
        #[test]
        fn all_is_written_in_order_however_little_is_taken(
            body in proptest::collection::vec(any::<u8>(), 0..200),
            widths in proptest::collection::vec(1_usize..100, 0..20),
            chunked: bool,
        ) {
            let outgoing = Outgoing::new(RequestBody::from(Bytes::from(body.clone())));
            let mut sending = Sending::new(b"head ".to_vec(), outgoing, chunked);
            let mut socket = Narrow { taken: Vec::new(), widths, rests: false };
            let cx = &mut Context::from_waker(Waker::noop());
            let mut left = 1000;
            while sending.poll(Pin::new(&mut socket), cx).is_pending() {
                left -= 1;
                prop_assert!(left > 0);
            }
            let framed = match (chunked, body.len()) {
                (false, _) => body,
                (true, 0) => b"0\r\n\r\n".to_vec(),
                (true, len) => [format!("{len:x}\r\n").as_bytes(), &body, b"\r\n0\r\n\r\n"].concat(),
            };
            prop_assert_eq!(socket.taken, [&b"head "[..], &framed].concat());
        }
    }
}
