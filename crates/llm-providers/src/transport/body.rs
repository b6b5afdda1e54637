//! The bodies of requests, in segments that are not joined, and bodies that are still coming.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use llm_core::{BoxStream, Error, Upload};

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
    Pieces(Box<Pieces>),
}

/// A body in as many pieces as it came in, of which a part may be still to come.
#[derive(Clone, Debug)]
struct Pieces {
    start: Vec<Bytes>,
    rest: Option<Upload>,
}

impl RequestBody {
    /// A body that begins with `start`, in pieces, and goes on with `rest` as that comes.
    #[must_use]
    pub fn of_pieces(start: Vec<Bytes>, rest: Option<Upload>) -> Self {
        if rest.is_none() && start.iter().map(Bytes::len).sum::<usize>() < SMALL {
            return Bytes::from(start.concat()).into();
        }
        Self(Content::Pieces(Box::new(Pieces { start, rest })))
    }

    /// The body's bytes, in order, as far as they have come.
    #[must_use]
    pub fn segments(&self) -> &[Bytes] {
        match &self.0 {
            Content::Empty => &[],
            Content::One(bytes) => std::slice::from_ref(bytes),
            Content::Several(spliced) => spliced.segments(),
            Content::Pieces(pieces) => &pieces.start,
        }
    }

    /// What is still to come of it.
    #[must_use]
    pub fn rest(&self) -> Option<&Upload> {
        match &self.0 {
            Content::Pieces(pieces) => pieces.rest.as_ref(),
            _ => None,
        }
    }

    /// Whether all of it can be sent.
    pub(super) fn is_intact(&self) -> bool {
        self.rest().is_none_or(|rest| !rest.is_begun())
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

/// A body on its way out. What is left of one that is still coming is given back on drop.
pub(super) struct Outgoing {
    body: RequestBody,
    sent: usize,
    /// Bytes of the segments that are left.
    left: u64,
    rest: Rest,
}

enum Rest {
    /// There is none, or it is not asked for yet.
    Aside,
    Coming(BoxStream<Result<Bytes, Error>>),
    Ended,
}

impl Outgoing {
    pub(super) fn new(body: RequestBody) -> Self {
        let left = body.segments().iter().map(|segment| segment.len() as u64).sum();
        let rest = if body.rest().is_some() { Rest::Aside } else { Rest::Ended };
        Self { body, sent: 0, left, rest }
    }

    /// The next piece of what is still coming.
    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(upload) = self.body.rest() else { return Poll::Ready(None) };
        let upload = upload.clone();
        if matches!(self.rest, Rest::Aside) {
            self.rest = upload.take().map_or(Rest::Ended, Rest::Coming);
        }
        let Rest::Coming(rest) = &mut self.rest else { return Poll::Ready(None) };
        match ready!(rest.as_mut().poll_next(cx)) {
            Some(Ok(piece)) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            Some(Err(error)) => {
                upload.fail(error.clone());
                self.rest = Rest::Ended;
                Poll::Ready(Some(Err(error)))
            }
            None => {
                upload.end();
                self.rest = Rest::Ended;
                Poll::Ready(None)
            }
        }
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if let (Rest::Coming(rest), Some(upload)) = (std::mem::replace(&mut self.rest, Rest::Ended), self.body.rest()) {
            upload.give_back(rest);
        }
    }
}

impl std::fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outgoing").field("body", &self.body).field("sent", &self.sent).finish_non_exhaustive()
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let Some(segment) = self.body.segments().get(self.sent).cloned() else {
            return self.poll_rest(cx);
        };
        self.sent += 1;
        self.left -= segment.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(segment))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0 && matches!(self.rest, Rest::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        let coming = match (&self.rest, self.body.rest()) {
            (Rest::Ended, _) | (_, None) => Some(0),
            // It is asked before anything is sent.
            (Rest::Aside | Rest::Coming(_), Some(upload)) => upload.length(),
        };
        match coming {
            Some(coming) => SizeHint::with_exact(self.left + coming),
            None => SizeHint::new(),
        }
    }
}
