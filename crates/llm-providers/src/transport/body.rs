//! The bodies of requests, in segments that are not joined.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::wire::openai::Spliced;

/// A body shorter than this is joined: one copy costs less than handing several segments to the socket.
const SMALL: usize = 4 << 10;

/// The body of a request. Clones share the bytes.
#[derive(Clone, Debug, Default)]
pub struct RequestBody(Content);

#[derive(Clone, Debug, Default)]
enum Content {
    #[default]
    Empty,
    One(Bytes),
    Several(Box<Spliced>),
}

impl RequestBody {
    /// The body's bytes, in order.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        match &self.0 {
            Content::Empty => &[],
            Content::One(bytes) => std::slice::from_ref(bytes),
            Content::Several(spliced) => spliced.segments(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        matches!(self.0, Content::Empty)
    }
}

impl From<Bytes> for RequestBody {
    fn from(bytes: Bytes) -> Self {
        Self(if bytes.is_empty() { Content::Empty } else { Content::One(bytes) })
    }
}

impl From<Spliced> for RequestBody {
    fn from(spliced: Spliced) -> Self {
        if spliced.segments().len() < 2 || spliced.len() < SMALL {
            spliced.into_bytes().into()
        } else {
            Self(Content::Several(Box::new(spliced)))
        }
    }
}

/// A body on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    body: RequestBody,
    sent: usize,
    left: u64,
}

impl Outgoing {
    pub(super) fn new(body: RequestBody) -> Self {
        let left = body.segments().iter().map(|segment| segment.len() as u64).sum();
        Self { body, sent: 0, left }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(segment) = self.body.segments().get(self.sent).cloned() else {
            return Poll::Ready(None);
        };
        self.sent += 1;
        self.left -= segment.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
