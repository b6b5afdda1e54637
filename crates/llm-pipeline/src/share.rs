//! Which requests may share a call or a finished answer, and what they share of it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use http::HeaderMap;
use llm_core::{BoxFuture, CallBody, Clock, Dialect, Envelope, Error, ErrorKind, Frame, Sharing, Tick};
use llm_dedup::{
    Broadcast, CacheConfig, Claim, DedupStats, Flights, Keep, Ongoing, RequestKey, ResponseCache, Subscriber,
};
use llm_providers::wire::openai::same_request;

use crate::forms::{self, Assembly, Form};
use crate::heard::Heard;
use crate::request::{CacheUse, Reply, Request, Response, Served, Whole};

/// What may be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharingConfig {
    /// Different calls in flight that can be joined at once, and finished answers that are kept; at least 1.
    pub max_entries: usize,
    /// Whether calls whose answer is a draw (temperature other than 0) are shared while they are in flight.
    pub sampled: bool,
    /// How long a finished answer is kept where its caller does not say. Zero keeps none.
    pub window: Duration,
    /// Bytes of finished answers that are kept at most.
    pub max_bytes: usize,
}

impl Default for SharingConfig {
    fn default() -> Self {
        Self { max_entries: 10_000, sampled: true, window: Duration::from_secs(300), max_bytes: 64 << 20 }
    }
}

/// The calls in flight that may be joined, and the finished answers.
#[derive(Debug)]
pub(crate) struct Sharer {
    flights: Flights<Answer>,
    config: SharingConfig,
}

/// What every subscriber of a flight gets.
pub(crate) type Answer = Result<Arc<Shared>, Error>;

/// An answer for several callers.
#[derive(Debug)]
pub(crate) struct Shared {
    dialect: Dialect,
    content: Content,
    served: Served,
}

#[derive(Debug)]
enum Content {
    Whole(Arc<Whole>),
    Stream {
        headers: HeaderMap,
        frames: Broadcast<Frame, Error>,
    },
    /// A stream that has come to its end.
    Frames {
        headers: HeaderMap,
        frames: Arc<[Frame]>,
    },
}

/// A stream can be joined as long as its start is kept: this many bytes of frames. A longer one is not kept either.
const KEPT: usize = 256 << 10;

/// The longest body of a request whose answer is kept.
const LONGEST_QUESTION: usize = 1 << 20;

/// Callers of one flight; the next one's call is a flight of its own.
const MOST_SUBSCRIBERS: u32 = 16_384;

/// What a request claims.
pub(crate) struct Wanted {
    key: RequestKey,
    keep: Option<Keep>,
    form: Form,
}

impl Sharer {
    /// Shares as `config` says; answers that `old` has kept go on where it is the same.
    pub(crate) fn new(config: SharingConfig, clock: Arc<dyn Clock>, old: Option<&Self>) -> Self {
        if let Some(old) = old.filter(|old| old.config == config) {
            return Self { flights: old.flights.clone(), config };
        }
        let kept = CacheConfig {
            max_entries: if config.window.is_zero() { 0 } else { config.max_entries },
            default_ttl: config.window,
            max_prompt_len: LONGEST_QUESTION,
        };
        let cache = ResponseCache::builder(kept).max_bytes(config.max_bytes).clock(clock).build_for(weight);
        let flights = Flights::builder(config.max_entries).subscribers(MOST_SUBSCRIBERS).ongoing(ongoing);
        Self { flights: flights.answers(cache, finished).build(), config }
    }

    /// What the request must equal another in, and whether its answer may be an old one; none when it is not to be
    /// shared.
    pub(crate) fn wanted(&self, request: &Request) -> Option<Wanted> {
        let CallBody::Wire(envelope) = &request.body else { return None };
        let keep = self.keep(envelope, request.cache, request.received);
        let sharable = request.cache != CacheUse::Bypass && (!envelope.sampled || self.config.sampled);
        if !sharable && keep.is_none() {
            return None;
        }
        let form = if envelope.stream { Form::Stream { usage: envelope.wants_usage } } else { Form::Whole };
        let route = route(envelope, &request.headers);
        let (tenant, body) = (request.caller.tenant.clone(), envelope.body.clone());
        let key = RequestKey::canonical(tenant, route, body, envelope.digest.bits(), same_request);
        Some(Wanted { key, keep, form })
    }

    /// Whether a finished answer may answer, and for how long the answer is kept: by default where it is no draw.
    fn keep(&self, envelope: &Envelope, cache: CacheUse, now: Tick) -> Option<Keep> {
        let ttl = match cache {
            CacheUse::Bypass => return None,
            CacheUse::Default { ttl } if !envelope.sampled => ttl,
            CacheUse::Default { .. } => return None,
            CacheUse::On { ttl } => ttl,
        };
        let ttl = ttl.unwrap_or(self.config.window);
        (!self.config.window.is_zero()).then_some(Keep { ttl, now })
    }

    pub(crate) fn stats(&self) -> DedupStats {
        self.flights.stats()
    }

    pub(crate) fn answers(&self) -> Option<&ResponseCache<Answer>> {
        self.flights.answers()
    }

    /// Takes a finished answer, joins the flight, or starts one with `lead`. None when the caller is to go alone.
    pub(crate) fn claim<F>(&self, wanted: Wanted, dialect: Dialect, lead: impl FnOnce() -> F) -> Option<Claimed>
    where
        F: Future<Output = Result<Response, Error>> + Send + 'static,
    {
        let Wanted { key, keep, form } = wanted;
        let start = || -> BoxFuture<'static, _> {
            let call = lead();
            Box::pin(async move { call.await.and_then(|response| shareable(response, dialect)) })
        };
        let (found, sharing) = match self.flights.claim(key, keep, start) {
            Claim::Hit(answer) => (Found::Finished(answer), Sharing::Hit),
            Claim::Lead(subscriber) => (Found::Flying(subscriber), Sharing::Miss),
            Claim::Follow(subscriber) => (Found::Flying(subscriber), Sharing::Joined),
            Claim::Full => return None,
        };
        Some(Claimed { found, sharing, form })
    }
}

/// Everything beside the body that changes the answer.
fn route(envelope: &Envelope, headers: &HeaderMap) -> Bytes {
    let mut route = BytesMut::with_capacity(64);
    let mut put = |part: &[u8]| {
        route.put_u32(part.len() as u32);
        route.put_slice(part);
    };
    put(envelope.operation.as_str().as_bytes());
    put(envelope.dialect.as_str().as_bytes());
    put(envelope.model_name().as_bytes());
    for (name, value) in headers {
        put(name.as_str().as_bytes());
        put(value.as_bytes());
    }
    route.freeze()
}

/// What a request has got.
pub(crate) struct Claimed {
    found: Found,
    sharing: Sharing,
    form: Form,
}

enum Found {
    Finished(Answer),
    Flying(Subscriber<Answer>),
}

impl Claimed {
    /// Waits for the answer, or its stream's beginning. None when the stream's beginning is no longer kept: then the
    /// caller is to go alone.
    pub(crate) async fn response(self) -> Result<Option<Response>, Error> {
        let Self { found, sharing, form } = self;
        let (shared, place) = match found {
            Found::Finished(answer) => (answer?, None),
            Found::Flying(mut subscriber) => {
                let lost = |lost: llm_dedup::Lost| Error::new(ErrorKind::Internal, lost.to_string());
                ((&mut subscriber).await.map_err(lost)??, Some(subscriber))
            }
        };
        let Shared { dialect, content, served } = &*shared;
        let (dialect, served) = (*dialect, served.clone());
        let reply = match content {
            Content::Whole(whole) => forms::of_whole(dialect, whole.clone(), form)?,
            Content::Frames { headers, frames } => forms::of_frames(dialect, headers, frames.clone(), form)?,
            Content::Stream { headers, frames } => {
                let Some(listener) = frames.listen() else { return Ok(None) };
                let mut heard = Heard::new(listener, place);
                if form == Form::Whole {
                    let mut assembly = Assembly::new(dialect)?;
                    while let Some(frame) = heard.next().await {
                        assembly.push(&frame?)?;
                    }
                    assembly.finish(headers)?
                } else {
                    Reply::Frames { headers: headers.clone(), frames: forms::shown(heard, form) }
                }
            }
        };
        let served = match sharing {
            Sharing::Hit => Served { attempts: 0, upstream: Duration::ZERO, ..served },
            _ => served,
        };
        Ok(Some(Response { reply, served: Served { sharing, ..served } }))
    }
}

/// What can still be joined when the answer is there: its stream.
fn ongoing(answer: &Answer) -> Option<&dyn Ongoing> {
    match &answer.as_ref().ok()?.content {
        Content::Stream { frames, .. } => Some(frames),
        Content::Whole(_) | Content::Frames { .. } => None,
    }
}

/// What is kept of an answer that is whole and good.
fn finished(answer: &Answer) -> Option<Answer> {
    let Shared { dialect, content, served } = &**answer.as_ref().ok()?;
    let content = match content {
        Content::Whole(whole) => {
            // Not the buffer that it was read into, which may be much larger.
            let bytes = Bytes::copy_from_slice(&whole.bytes);
            Content::Whole(Arc::new(Whole { headers: whole.headers.clone(), bytes, usage: whole.usage }))
        }
        Content::Stream { headers, frames } => {
            Content::Frames { headers: headers.clone(), frames: frames.items()?.into() }
        }
        Content::Frames { .. } => return Some(answer.clone()),
    };
    Some(Ok(Arc::new(Shared { dialect: *dialect, content, served: served.clone() })))
}

/// The bytes that a kept answer holds on to.
fn weight(answer: &Answer) -> usize {
    let of_headers =
        |headers: &HeaderMap| headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum::<usize>();
    let content = match answer.as_ref().map(|shared| &shared.content) {
        Ok(Content::Whole(whole)) => whole.bytes.len() + of_headers(&whole.headers),
        Ok(Content::Frames { headers, frames }) => {
            let of_frame = |frame: &Frame| frame.bytes.len() + size_of::<Frame>() + 64;
            frames.iter().map(of_frame).sum::<usize>() + of_headers(headers)
        }
        Ok(Content::Stream { .. }) | Err(_) => 0,
    };
    content + size_of::<Shared>()
}

/// The frame in bytes of its own. What is kept would keep the whole buffer that it was read into, which is much larger
/// and could not be read into again.
fn compact(frame: Frame) -> Frame {
    Frame { bytes: Bytes::copy_from_slice(&frame.bytes), ..frame }
}

fn shareable(response: Response, dialect: Dialect) -> Answer {
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
    Ok(Arc::new(Shared { dialect, content, served }))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use llm_core::{Digest, ManualClock, Operation, RequestId, Span};

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
                digest: Digest::new(7),
                same: |one, other| one == other,
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
            cache: CacheUse::default(),
            received: Tick::ZERO,
            deadline: None,
            follower: None,
        }
    }

    fn sharer(sampled: bool) -> Sharer {
        Sharer::new(SharingConfig { sampled, ..SharingConfig::default() }, Arc::new(ManualClock::new()), None)
    }

    fn keeps(request: &Request) -> Option<Duration> {
        sharer(true).wanted(request).unwrap().keep.map(|keep| keep.ttl)
    }

    #[test]
    fn the_unwilling_go_alone() {
        assert!(sharer(true).wanted(&request(false, true)).is_some());
        assert!(sharer(true).wanted(&request(true, true)).is_some());
        assert!(sharer(true).wanted(&Request { cache: CacheUse::Bypass, ..request(false, false) }).is_none());
    }

    #[test]
    fn draws_are_shared_only_where_that_is_wanted() {
        assert!(sharer(false).wanted(&request(false, true)).is_none());
        assert!(sharer(false).wanted(&request(false, false)).is_some());
        let on = CacheUse::On { ttl: None };
        assert!(sharer(false).wanted(&Request { cache: on, ..request(false, true) }).is_some());
    }

    #[test]
    fn what_is_no_draw_is_kept_and_a_draw_where_its_caller_says_so() {
        let (window, minute) = (Duration::from_secs(300), Duration::from_secs(60));
        assert_eq!((keeps(&request(false, false)), keeps(&request(false, true))), (Some(window), None));
        let with = |cache, sampled| keeps(&Request { cache, ..request(true, sampled) });
        assert_eq!(with(CacheUse::Default { ttl: Some(minute) }, false), Some(minute));
        assert_eq!(with(CacheUse::Default { ttl: Some(minute) }, true), None);
        assert_eq!(with(CacheUse::On { ttl: None }, true), Some(window));
        assert_eq!(with(CacheUse::On { ttl: Some(minute) }, true), Some(minute));
    }

    #[test]
    fn headers_that_are_sent_on_keep_calls_apart() {
        let mut other = request(false, true);
        other.headers.insert("openai-beta", HeaderValue::from_static("assistants=v2"));
        let key = |request: &Request| sharer(true).wanted(request).unwrap().key;
        assert_ne!(key(&request(false, true)), key(&other));
        assert_eq!(key(&request(false, true)), key(&request(true, true)));
    }
}
