//! A request on its way out: its head and its body, in as few writes as the socket allows.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use tokio::io::AsyncWrite;

use super::outbox::{LAST_CHUNK, Outbox};
use crate::transport::body::Outgoing;

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
    out: Outbox,
    body: Outgoing,
    /// Whether each piece of the body is framed as a chunk.
    chunked: bool,
    /// Whether all of the body is among the pieces.
    whole: bool,
}

impl Sending {
    /// `head`, then `body`.
    pub(super) fn new(head: Vec<u8>, body: Outgoing, chunked: bool) -> Self {
        let mut out = Outbox::with_capacity(2);
        out.push(head.into());
        Self { out, body, chunked, whole: false }
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
            if self.out.is_empty() {
                return if self.whole { socket.poll_flush(cx).map_err(Unsent::Socket) } else { Poll::Pending };
            }
            ready!(self.out.poll_write(socket.as_mut(), cx)).map_err(Unsent::Socket)?;
        }
    }

    /// Takes of the body what is there, and no more than is written at once.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), Unsent> {
        while !self.whole && self.out.has_room() {
            match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(Some(Ok(frame))) => {
                    if let Ok(data) = frame.into_data() {
                        if self.chunked { self.out.push_chunk(data) } else { self.out.push(data) }
                    }
                }
                // Whoever sends it has been told why.
                Poll::Ready(Some(Err(_))) => return Err(Unsent::Body),
                Poll::Ready(None) => {
                    self.whole = true;
                    if self.chunked {
                        self.out.push(Bytes::from_static(LAST_CHUNK));
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
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
