//! Which requests may share a call or a finished answer, and what they share of it.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use futures_core::Stream;
use futures_util::StreamExt;
use http::{HeaderMap, HeaderValue};
use llm_core::{
    BoxFuture, CallBody, Clock, Dialect, Envelope, Error, ErrorKind, Frame, Operation, Sharing, Tick, boxed,
};
use llm_dedup::{
    Broadcast, CacheConfig, Claim, DedupStats, Flights, IdempotencyKeys, Keep, Ongoing, RequestKey, ResponseCache,
    SimilarityStats, Subscriber,
};

use crate::forms::{self, Assembly, Form};
use crate::heard::Heard;
use crate::linger::{Drain, Grace};
use crate::request::{CacheUse, Reply, Request, Response, Served, Whole};
use crate::similar::{Question, Similar};

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
    /// How long a caller's name for a request stands for it, and its answer is kept for who comes back.
    pub idempotency_ttl: Duration,
    /// How long a named request goes on whose caller has left.
    pub resume_grace: Duration,
    /// The bits in which near-duplicates may differ, and how long a question is remembered; none: there are none.
    pub similar: Option<(u32, Duration)>,
}

impl Default for SharingConfig {
    fn default() -> Self {
        Self {
            max_entries: 10_000,
            sampled: true,
            window: Duration::from_secs(300),
            max_bytes: 64 << 20,
            idempotency_ttl: Duration::from_secs(3600),
            resume_grace: Duration::from_secs(30),
            similar: None,
        }
    }
}

/// The calls in flight that may be joined, and the finished answers.
#[derive(Clone, Debug)]
pub(crate) struct Sharer {
    flights: Flights<Answer>,
    names: Arc<IdempotencyKeys>,
    similar: Option<Similar>,
    grace: Grace,
    config: SharingConfig,
}

/// What every subscriber of a flight gets.
pub(crate) type Answer = Result<Arc<Shared>, Error>;

/// An answer for several callers.
#[derive(Debug)]
pub(crate) struct Shared {
    dialect: Dialect,
    content: Content,
    served: Box<Served>,
}

#[derive(Debug)]
enum Content {
    Whole(Arc<Whole>),
    Stream {
        headers: Arc<HeaderMap>,
        frames: Broadcast<Frame, Error>,
    },
    /// A stream that has come to its end.
    Frames {
        headers: Arc<HeaderMap>,
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
    /// Whether its caller has a name for it, by which it can come back.
    named: bool,
    /// What may be nearly the same as another question.
    similar: Option<Question>,
}

impl Sharer {
    /// Shares as `config` says; answers that `old` has kept go on where it is the same.
    pub(crate) fn new(config: SharingConfig, clock: Arc<dyn Clock>, old: Option<&Self>) -> Self {
        if let Some(old) = old.filter(|old| old.config == config) {
            return old.clone();
        }
        let kept = CacheConfig {
            max_entries: config.max_entries,
            default_ttl: config.window,
            max_prompt_len: LONGEST_QUESTION,
        };
        let cache = ResponseCache::builder(kept).max_bytes(config.max_bytes).clock(clock).build_for(weight);
        let flights = Flights::builder(config.max_entries).subscribers(MOST_SUBSCRIBERS).ongoing(ongoing);
        Self {
            flights: flights.answers(cache, finished).build(),
            names: Arc::new(IdempotencyKeys::new(config.max_entries, config.idempotency_ttl)),
            similar: config.similar.map(|(threshold, ttl)| Similar::new(threshold, ttl, config.max_entries)),
            grace: Grace::new(config.resume_grace),
            config,
        }
    }

    /// What the request must equal another in, and whether its answer may be an old one; none when it is not to be
    /// shared.
    ///
    /// # Errors
    /// `Conflict` when its caller's name for it is another request's; `InvalidRequest` when it comes back to nothing that
    /// has a name.
    pub(crate) fn wanted(&self, request: &Request) -> Result<Option<Wanted>, Error> {
        let CallBody::Wire(envelope) = &request.body else { return Ok(None) };
        let keep = self.keep(envelope, request.cache, request.received).filter(|_| !envelope.stateful);
        let sharable =
            !envelope.stateful && request.cache != CacheUse::Bypass && (!envelope.sampled || self.config.sampled);
        let named = request.idempotency_key.as_deref();
        if request.last_frame.is_some() && named.is_none() {
            let message = "last-event-id goes with the idempotency-key that the stream was asked for with";
            return Err(Error::new(ErrorKind::InvalidRequest, message).with_param("last-event-id"));
        }
        if !sharable && keep.is_none() && named.is_none() {
            return Ok(None);
        }
        let numbered_from = named.map(|_| request.last_frame.map_or(0, |last| last.saturating_add(1)));
        let form = match envelope.stream {
            true => Form::Stream { usage: envelope.wants_usage, numbered_from },
            false => Form::Whole,
        };
        let route = route(envelope, &request.headers);
        let (tenant, body) = (request.caller.tenant.clone(), envelope.body.clone());
        let key = RequestKey::canonical(tenant.clone(), route.clone(), body, envelope.digest.bits(), envelope.same);
        let Some(name) = named else {
            let asks_alike = keep.is_some() && self.similar.is_some();
            let similar = asks_alike.then(|| Question::of(envelope, tenant, route)).flatten();
            return Ok(Some(Wanted { key, keep, form, named: false, similar }));
        };
        if self.names.register(name, &key, request.received).is_err() {
            let message = "the idempotency-key was given with another request before";
            let error = Error::new(ErrorKind::Conflict, message).with_param("idempotency-key");
            return Err(error.with_code("idempotency_key_reused"));
        }
        let key = RequestKey::new(tenant, "idempotency-key", Bytes::copy_from_slice(name.as_bytes()));
        let keep = Some(Keep { ttl: self.names.ttl(), now: request.received });
        Ok(Some(Wanted { key, keep, form, named: true, similar: None }))
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
    pub(crate) fn claim<F>(
        &self,
        wanted: Wanted,
        dialect: Dialect,
        lead: impl FnOnce() -> F + Send + 'static,
    ) -> Option<Claimed>
    where
        F: Future<Output = Result<Response, Error>> + Send + 'static,
    {
        let Wanted { key, keep, form, named, similar } = wanted;
        let grace = named.then(|| self.grace.clone());
        let claimed = |found, sharing| Some(Claimed { found, sharing, form, grace });
        if let Some(answer) = self.near(&key, keep, similar.as_ref()) {
            return claimed(Found::Finished(answer), Sharing::Hit);
        }
        let learnt = self
            .similar
            .as_ref()
            .zip(similar)
            .zip(keep)
            .map(|((index, question), keep)| (index, question, keep, key.clone()));
        // The call is made where it stays: it is too large to be moved about.
        let start = || -> BoxFuture<'static, _> {
            let led = || async move { lead().await.and_then(|response| shareable(response, dialect)) };
            Box::into_pin(boxed(led))
        };
        let (found, sharing) = match self.flights.claim(&key, keep, start) {
            Claim::Hit(answer) => (Found::Finished(answer), Sharing::Hit),
            Claim::Lead(subscriber) => {
                if let Some((index, question, keep, key)) = learnt {
                    index.learn(question, key, keep.now);
                }
                (Found::Flying(subscriber), Sharing::Miss)
            }
            Claim::Follow(subscriber) => (Found::Flying(subscriber), Sharing::Joined),
            Claim::Full => return None,
        };
        claimed(found, sharing)
    }

    /// A finished answer to a question that is nearly the same.
    fn near(&self, key: &RequestKey, keep: Option<Keep>, question: Option<&Question>) -> Option<Answer> {
        let (now, near) = (keep?.now, self.similar.as_ref()?.find(question?, keep?.now)?);
        if near == *key { None } else { self.flights.answers()?.find(&near, now) }
    }

    pub(crate) fn similarity(&self) -> Option<SimilarityStats> {
        self.similar.as_ref().map(Similar::stats)
    }
}

/// Everything beside the body that changes the answer. Requests that have no more than a body share theirs.
fn route(envelope: &Envelope, headers: &HeaderMap) -> Bytes {
    const OPERATIONS: usize = Operation::Forward as usize + 1;
    const DIALECTS: usize = Dialect::Bedrock as usize + 1;
    static BARE: [[OnceLock<Bytes>; DIALECTS]; OPERATIONS] =
        [const { [const { OnceLock::new() }; DIALECTS] }; OPERATIONS];
    // A model that the body names is compared with it.
    let model = if envelope.model.start < envelope.model.end { "" } else { envelope.model_name() };
    if !headers.is_empty() || !model.is_empty() {
        return route_of(envelope, model, headers);
    }
    let bare = &BARE[envelope.operation as usize][envelope.dialect as usize];
    bare.get_or_init(|| route_of(envelope, model, headers)).clone()
}

fn route_of(envelope: &Envelope, model: &str, headers: &HeaderMap) -> Bytes {
    let mut route = BytesMut::with_capacity(64);
    let mut put = |part: &[u8]| {
        route.put_u32(part.len() as u32);
        route.put_slice(part);
    };
    put(envelope.operation.as_str().as_bytes());
    put(envelope.dialect.as_str().as_bytes());
    put(model.as_bytes());
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
    /// How long it goes on when its caller leaves.
    grace: Option<Grace>,
}

enum Found {
    Finished(Answer),
    Flying(Subscriber<Answer>),
}

impl Claimed {
    /// Waits for the answer, or its stream's beginning. None when the stream's beginning is no longer kept: then the
    /// caller is to go alone.
    ///
    /// # Errors
    /// The call's own; `Conflict` where a caller comes back to a stream whose beginning is no longer kept.
    pub(crate) async fn response(self) -> Result<Option<Response>, Error> {
        let Self { found, sharing, form, grace } = self;
        let (shared, mut place) = match found {
            Found::Finished(answer) => (answer?, None),
            Found::Flying(mut subscriber) => {
                let lost = |lost: llm_dedup::Lost| Error::new(ErrorKind::Internal, lost.to_string());
                match &grace {
                    None => ((&mut subscriber).await.map_err(lost)??, Some(subscriber)),
                    Some(grace) => {
                        // Apart: few calls have a name.
                        let (answer, subscriber) = Box::pin(grace.of(Waiting(subscriber))).await;
                        (answer.map_err(lost)??, Some(subscriber.0))
                    }
                }
            }
        };
        let Shared { dialect, content, served } = &*shared;
        let (dialect, mut served) = (*dialect, served.clone());
        let reply = match content {
            Content::Whole(whole) => forms::of_whole(dialect, whole.clone(), form)?,
            Content::Frames { headers, frames } => forms::of_frames(dialect, headers, frames.clone(), form)?,
            Content::Stream { headers, frames } => {
                let listener = frames.listen_from(0);
                if let Some(place) = &mut place {
                    place.release_start();
                }
                let Some(listener) = listener else {
                    return if grace.is_none() { Ok(None) } else { Err(too_far()) };
                };
                let heard = Heard::new(listener, place);
                match grace {
                    None => heard_as(heard, dialect, headers, form).await?,
                    Some(grace) => heard_as(grace.of(heard), dialect, headers, form).await?,
                }
            }
        };
        served.sharing = sharing;
        if sharing == Sharing::Hit {
            (served.attempts, served.upstream) = (0, Duration::ZERO);
        }
        Ok(Some(Response { reply, served }))
    }
}

/// A stream that is heard from its start, as `form` wants it.
async fn heard_as(
    mut heard: impl Stream<Item = Result<Frame, Error>> + Send + Unpin + 'static,
    dialect: Dialect,
    headers: &Arc<HeaderMap>,
    form: Form,
) -> Result<Reply, Error> {
    if form != Form::Whole {
        return Ok(Reply::Frames { headers: headers.clone(), frames: forms::shown(heard, form) });
    }
    let mut assembly = Assembly::new(dialect)?;
    while let Some(frame) = heard.next().await {
        assembly.push(&frame?)?;
    }
    assembly.finish(headers)
}

/// Waits for a flight's answer.
struct Waiting(Subscriber<Answer>);

impl Future for Waiting {
    type Output = Result<Answer, llm_dedup::Lost>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.get_mut().0).poll(cx)
    }
}

impl Drain for Waiting {
    async fn drain(mut self) {
        if let Ok(Ok(shared)) = (&mut self.0).await
            && let Content::Stream { frames, .. } = &shared.content
            && let Some(listener) = frames.listen_from(0)
        {
            self.0.release_start();
            Heard::new(listener, Some(self.0)).drain().await;
        }
    }
}

fn too_far() -> Error {
    let message = "the stream cannot be resumed: its beginning is no longer kept";
    Error::new(ErrorKind::Conflict, message).with_param("idempotency-key").with_code("stream_not_resumable")
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

fn shareable(response: Response, dialect: Dialect) -> Answer {
    let Response { reply, served } = response;
    let content = match reply {
        Reply::Whole(whole) => Content::Whole(whole),
        Reply::Frames { headers, frames } => {
            let frames = Broadcast::new(frames, KEPT, |frame| frame.bytes.len());
            Content::Stream { headers: Arc::new(own(&headers)), frames }
        }
        other => {
            let message = format!("an answer in neutral form cannot be shared: {other:?}");
            return Err(Error::new(ErrorKind::Internal, message));
        }
    };
    Ok(Arc::new(Shared { dialect, content, served }))
}

/// The headers in bytes of their own: they would keep the buffer that they were read into for as long as the stream lasts.
fn own(headers: &HeaderMap) -> HeaderMap {
    let own = |value: &HeaderValue| {
        let mut own = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        own.set_sensitive(value.is_sensitive());
        Some(own)
    };
    headers.iter().filter_map(|(name, value)| Some((name.clone(), own(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use llm_core::{Digest, ManualClock, Operation, RequestId, Span};

    use super::*;
    use crate::request::Caller;

    fn request(stream: bool, sampled: bool) -> Request {
        let body = Bytes::from_static(b"{\"model\":\"m\"}");
        Request {
            caller: Arc::new(Caller::new("t")),
            id: RequestId::from("r"),
            body: CallBody::from(Envelope {
                dialect: Dialect::OpenAi,
                operation: Operation::Chat,
                body,
                digest: Digest::new(7),
                same: |one, other| one == other,
                model: Span { start: 9, end: 12 },
                escaped_model: None,
                stream,
                sampled,
                stateful: false,
                wants_usage: false,
                user: None,
                max_output: None,
                choices: 1,
                ask_usage: None,
            }),
            headers: HeaderMap::new(),
            cache: CacheUse::default(),
            idempotency_key: None,
            last_frame: None,
            received: Tick::ZERO,
            deadline: None,
            follower: None,
        }
    }

    fn sharer(sampled: bool) -> Sharer {
        Sharer::new(SharingConfig { sampled, ..SharingConfig::default() }, Arc::new(ManualClock::new()), None)
    }

    fn keeps(request: &Request) -> Option<Duration> {
        sharer(true).wanted(request).unwrap().unwrap().keep.map(|keep| keep.ttl)
    }

    #[test]
    fn the_unwilling_go_alone() {
        assert!(sharer(true).wanted(&request(false, true)).unwrap().is_some());
        assert!(sharer(true).wanted(&request(true, true)).unwrap().is_some());
        assert!(sharer(true).wanted(&Request { cache: CacheUse::Bypass, ..request(false, false) }).unwrap().is_none());
    }

    #[test]
    fn draws_are_shared_only_where_that_is_wanted() {
        assert!(sharer(false).wanted(&request(false, true)).unwrap().is_none());
        assert!(sharer(false).wanted(&request(false, false)).unwrap().is_some());
        let on = CacheUse::On { ttl: None };
        assert!(sharer(false).wanted(&Request { cache: on, ..request(false, true) }).unwrap().is_some());
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
        let key = |request: &Request| sharer(true).wanted(request).unwrap().unwrap().key;
        assert_ne!(key(&request(false, true)), key(&other));
        assert_eq!(key(&request(false, true)), key(&request(true, true)));
    }
}
