//! Which requests may share a call, and what they share of it.

use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderMap;
use llm_core::{BoxFuture, CallBody, Dialect, Error, ErrorKind, Frame, Sharing};
use llm_dedup::{Broadcast, Claim, DedupStats, Flights, Ongoing, RequestKey, Subscriber};

use crate::heard::Heard;
use crate::request::{Reply, Request, Response, Served, Whole};

/// The calls in flight that may be joined.
#[derive(Debug)]
pub(crate) struct Sharer {
    flights: Flights<Result<Shared, Error>>,
    sampled: bool,
}

/// What every subscriber of a flight gets.
#[derive(Clone, Debug)]
pub(crate) struct Shared {
    content: Content,
    served: Served,
}

#[derive(Clone, Debug)]
enum Content {
    Whole(Arc<Whole>),
    Stream { headers: HeaderMap, frames: Broadcast<Frame, Error> },
}

/// A stream can be joined as long as its start is kept: this many bytes of frames.
const KEPT: usize = 256 << 10;

impl Sharer {
    /// Shares at most `max` calls at once; those whose answer is a draw only if `sampled`.
    pub(crate) fn new(max: usize, sampled: bool) -> Self {
        Self { flights: Flights::builder(max).ongoing(ongoing).build(), sampled }
    }

    /// What the request must equal another in; none when it is not to be shared.
    pub(crate) fn key(&self, request: &Request) -> Option<RequestKey> {
        let CallBody::Wire(envelope) = &request.body else { return None };
        if !request.share || (envelope.sampled && !self.sampled) {
            return None;
        }
        let mut route = BytesMut::with_capacity(64);
        route.put_slice(envelope.operation.as_str().as_bytes());
        route.put_slice(match envelope.dialect {
            Dialect::OpenAi => b"\nopenai",
        });
        for (name, value) in &request.headers {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                route.put_u32(part.len() as u32);
                route.put_slice(part);
            }
        }
        Some(RequestKey::new(request.caller.tenant.clone(), route.freeze(), envelope.body.clone()))
    }

    pub(crate) fn stats(&self) -> DedupStats {
        self.flights.stats()
    }

    /// Joins the flight of `key`, or starts one with `lead`. None when there are too many flights.
    pub(crate) fn join<F>(&self, key: RequestKey, lead: impl FnOnce() -> F) -> Option<Joined>
    where
        F: Future<Output = Result<Response, Error>> + Send + 'static,
    {
        let start = || -> BoxFuture<'static, _> {
            let call = lead();
            Box::pin(async move { call.await.and_then(shareable) })
        };
        match self.flights.claim(key, None, start) {
            Claim::Lead(subscriber) => Some(Joined { subscriber, sharing: Sharing::Miss }),
            Claim::Follow(subscriber) => Some(Joined { subscriber, sharing: Sharing::Joined }),
            // Nothing is kept.
            Claim::Hit(_) | Claim::Full => None,
        }
    }
}

/// A place in a flight.
pub(crate) struct Joined {
    subscriber: Subscriber<Result<Shared, Error>>,
    sharing: Sharing,
}

impl Joined {
    /// Waits for the flight's answer, or its stream's beginning. None when the stream's beginning is no longer kept:
    /// then the caller is to go alone.
    pub(crate) async fn response(mut self) -> Result<Option<Response>, Error> {
        let shared =
            (&mut self.subscriber).await.map_err(|lost| Error::new(ErrorKind::Internal, lost.to_string()))??;
        let reply = match shared.content {
            Content::Whole(whole) => Reply::Whole(whole),
            Content::Stream { headers, frames } => {
                let Some(listener) = frames.listen() else { return Ok(None) };
                Reply::Frames { headers, frames: Box::pin(Heard::new(listener, self.subscriber)) }
            }
        };
        Ok(Some(Response { reply, served: Served { sharing: self.sharing, ..shared.served } }))
    }
}

/// What can still be joined when the answer is there: its stream.
fn ongoing(answer: &Result<Shared, Error>) -> Option<&dyn Ongoing> {
    match answer {
        Ok(Shared { content: Content::Stream { frames, .. }, .. }) => Some(frames),
        _ => None,
    }
}

/// The frame in bytes of its own. What is kept would keep the whole buffer that it was read into, which is much larger
/// and could not be read into again.
fn compact(frame: Frame) -> Frame {
    Frame { bytes: Bytes::copy_from_slice(&frame.bytes), ..frame }
}

fn shareable(response: Response) -> Result<Shared, Error> {
    let Response { reply, served } = response;
    let content = match reply {
        Reply::Whole(whole) => Content::Whole(whole),
        Reply::Frames { headers, frames } => {
            let frames = Box::pin(frames.map(|frame| frame.map(compact)));
            Content::Stream { headers, frames: Broadcast::new(frames, KEPT, |frame| frame.bytes.len()) }
        }
        other => {
            let message = format!("an answer in neutral form cannot be shared: {other:?}");
            return Err(Error::new(ErrorKind::Internal, message));
        }
    };
    Ok(Shared { content, served })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use llm_core::{Envelope, Operation, RequestId, Span, Tick};

    use super::*;
    use crate::request::Caller;

    fn request(stream: bool, sampled: bool) -> Request {
        let body = Bytes::from_static(b"{\"model\":\"m\"}");
        Request {
            caller: Arc::new(Caller::new("t")),
            id: RequestId::from("r"),
            body: CallBody::Wire(Envelope {
                dialect: Dialect::OpenAi,
                operation: Operation::Chat,
                body,
                model: Span { start: 9, end: 12 },
                escaped_model: None,
                stream,
                sampled,
                wants_usage: false,
                user: None,
                max_output: None,
                choices: 1,
                ask_usage: None,
            }),
            headers: HeaderMap::new(),
            share: true,
            received: Tick::ZERO,
            deadline: None,
        }
    }

    #[test]
    fn the_unwilling_go_alone() {
        let sharer = Sharer::new(10, true);
        assert!(sharer.key(&request(false, true)).is_some());
        assert!(sharer.key(&request(true, true)).is_some());
        assert!(sharer.key(&Request { share: false, ..request(false, true) }).is_none());
    }

    #[test]
    fn draws_are_shared_only_where_that_is_wanted() {
        let sharer = Sharer::new(10, false);
        assert!(sharer.key(&request(false, true)).is_none());
        assert!(sharer.key(&request(false, false)).is_some());
    }

    #[test]
    fn headers_that_are_sent_on_keep_calls_apart() {
        let sharer = Sharer::new(10, true);
        let mut other = request(false, true);
        other.headers.insert("openai-beta", HeaderValue::from_static("assistants=v2"));
        assert_ne!(sharer.key(&request(false, true)), sharer.key(&other));
    }
}
