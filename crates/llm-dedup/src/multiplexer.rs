//! Streams of events for many: one call for all who ask the same at one time.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use llm_core::sync::Mutex;
use llm_core::{BoxFuture, BoxStream, CompletionRequest, Error, ErrorKind, Provider, StreamEvent, TenantId};

use crate::broadcast::{Broadcast, Interrupted, Listener, Publisher};
use crate::key::RequestKey;

/// Shares streams of completions: whoever asks what somebody else is being told hears it from its start, at its own
/// pace, and the last to leave ends it. Clones share the streams.
///
/// The upstream is the provider given to [`with_provider`](Self::with_provider); without one, streams are fed by hand
/// with [`publish`](Self::publish) and [`finish`](Self::finish). Requests are the same when all that they say is, their
/// user aside. A subscriber takes less than 300 bytes beside the events, which all share.
///
/// # Example
/// ```
/// use llm_core::{CompletionRequest, Message};
/// use llm_dedup::StreamingMultiplexer;
///
/// # futures_util::future::FutureExt::now_or_never(async {
/// let multiplexer = StreamingMultiplexer::new();
/// let request = CompletionRequest::new("fast", vec![Message::user("Explain quantum computing.")]);
/// let one = multiplexer.subscribe(&request).await?;
/// let two = multiplexer.subscribe(&request).await?;
/// let stats = multiplexer.stats().await;
/// assert_eq!((stats.active_requests, stats.total_subscribers), (1, 2));
/// multiplexer.complete_request(&request).await;
/// # Ok::<(), llm_core::Error>(())
/// # }).unwrap().unwrap();
/// ```
#[derive(Clone)]
pub struct StreamingMultiplexer {
    provider: Option<Arc<dyn Provider>>,
    streams: Arc<Mutex<HashMap<RequestKey, Shared>>>,
}

struct Shared {
    log: Broadcast<StreamEvent, Error>,
    /// Who feeds it, where that is done by hand.
    publisher: Option<Publisher<StreamEvent, Error>>,
    subscribers: usize,
    /// Which of the streams of one request it is.
    number: u64,
}

/// Counts of a [`StreamingMultiplexer`] at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MultiplexerStats {
    /// Streams that can be joined.
    pub active_requests: usize,
    /// Who hears them.
    pub total_subscribers: usize,
}

/// Bytes of events that are kept for who comes late, and that upstream is read ahead of the slowest.
const KEPT: usize = 256 << 10;

/// Different streams at one time. What is asked beyond is told alone.
const MOST: usize = 10_000;

impl Default for StreamingMultiplexer {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for StreamingMultiplexer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamingMultiplexer").field("streams", &self.streams.lock().len()).finish_non_exhaustive()
    }
}

impl StreamingMultiplexer {
    /// A multiplexer that is fed by hand, or by whom it is handed to.
    #[must_use]
    pub fn new() -> Self {
        Self { provider: None, streams: Arc::default() }
    }

    /// A multiplexer whose streams come from `provider`.
    #[must_use]
    pub fn with_provider(provider: Arc<dyn Provider>) -> Self {
        Self { provider: Some(provider), ..Self::new() }
    }

    /// Hears what is answered to `request`: from its start, if it is being answered.
    ///
    /// # Errors
    /// None here; what keeps the stream from beginning is its first item.
    pub async fn subscribe(&self, request: &CompletionRequest) -> Result<Subscription, Error> {
        let provider = self.provider.clone();
        let asked = || {
            let request = request.clone();
            provider.map(|provider| Box::pin(async move { provider.stream(request).await }) as _)
        };
        Ok(self.join(request, asked))
    }

    /// As [`subscribe`](Self::subscribe), from the upstream that `start` gives if nobody asks the same.
    pub fn subscribe_with(&self, request: &CompletionRequest, start: impl FnOnce() -> Opening) -> Subscription {
        self.join(request, || Some(start()))
    }

    fn join(&self, request: &CompletionRequest, start: impl FnOnce() -> Option<Opening>) -> Subscription {
        let key = key_of(request);
        if let Some(joined) = self.joined(&key) {
            return joined;
        }
        // Made before the lock is taken: nobody's code runs under it. Nothing happens until it is polled.
        let (log, publisher) = match start() {
            Some(opening) => (Broadcast::new(Box::pin(Source::Opening(opening)), KEPT, weight), None),
            None => {
                let (log, publisher) = Broadcast::by_hand(KEPT, weight);
                (log, Some(publisher))
            }
        };
        let listener = log.listen().expect("a new log is open");
        let mut streams = self.streams.lock();
        if let Some(listener) = streams.get_mut(&key).and_then(Shared::listen) {
            let number = streams[&key].number;
            return Subscription { listener, place: Some(Place { of: self.clone(), key, number }) };
        }
        let number = streams.get(&key).map_or(0, |known| known.number + 1);
        let room = streams.len() < MOST || streams.contains_key(&key);
        if room {
            streams.insert(key.clone(), Shared { log, publisher, subscribers: 1, number });
        }
        Subscription { listener, place: room.then(|| Place { of: self.clone(), key, number }) }
    }

    fn joined(&self, key: &RequestKey) -> Option<Subscription> {
        let mut streams = self.streams.lock();
        let shared = streams.get_mut(key)?;
        let (listener, number) = (shared.listen()?, shared.number);
        Some(Subscription { listener, place: Some(Place { of: self.clone(), key: key.clone(), number }) })
    }

    /// Tells `event` to all who hear the answer to `request`. Whether somebody does and there is room: what the slowest
    /// has not heard is bounded.
    pub fn publish(&self, request: &CompletionRequest, event: StreamEvent) -> bool {
        let mut streams = self.streams.lock();
        let publisher = streams.get_mut(&key_of(request)).and_then(|shared| shared.publisher.as_mut());
        publisher.is_some_and(|publisher| publisher.publish(event).is_ok())
    }

    /// Ends the stream that was fed by hand for `request`: all that was told was all. Whether there was one.
    pub fn finish(&self, request: &CompletionRequest) -> bool {
        let shared = self.streams.lock().remove(&key_of(request));
        let publisher = shared.and_then(|shared| shared.publisher);
        publisher.map(Publisher::finish).is_some()
    }

    /// Ends joining the stream of `request`: who asks the same from now on is told anew. Who hears it hears it to its
    /// end; one that is fed by hand ends with what was told.
    pub async fn complete_request(&self, request: &CompletionRequest) {
        self.finish(request);
    }

    /// The counts of the moment.
    pub async fn stats(&self) -> MultiplexerStats {
        let streams = self.streams.lock();
        let total_subscribers = streams.values().map(|shared| shared.subscribers).sum();
        MultiplexerStats { active_requests: streams.len(), total_subscribers }
    }
}

/// The upstream's stream, once it has begun.
pub type Opening = BoxFuture<'static, Result<BoxStream<Result<StreamEvent, Error>>, Error>>;

impl Shared {
    fn listen(&mut self) -> Option<Listener<StreamEvent, Error>> {
        let listener = self.log.is_open().then(|| self.log.listen()).flatten()?;
        self.subscribers += 1;
        Some(listener)
    }
}

/// All that a request says but for whom it is, in words that are the same where it is.
fn key_of(request: &CompletionRequest) -> RequestKey {
    let request = CompletionRequest { user: None, safety_identifier: None, ..request.clone() };
    RequestKey::new(TenantId::from("default"), "stream", format!("{request:?}"))
}

/// Bytes of an event, roughly.
fn weight(event: &StreamEvent) -> usize {
    let said = match event {
        StreamEvent::Text { text, .. } | StreamEvent::Refusal { text, .. } | StreamEvent::Reasoning { text, .. } => {
            text.len()
        }
        StreamEvent::ToolArguments { fragment, .. } => fragment.len(),
        _ => 0,
    };
    said + size_of::<StreamEvent>()
}

/// A stream that begins when it is read.
enum Source {
    Opening(Opening),
    Open(BoxStream<Result<StreamEvent, Error>>),
    Over,
}

impl Stream for Source {
    type Item = Result<StreamEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        loop {
            match this {
                Self::Opening(opening) => match ready!(opening.as_mut().poll(cx)) {
                    Ok(events) => *this = Self::Open(events),
                    Err(error) => {
                        *this = Self::Over;
                        return Poll::Ready(Some(Err(error)));
                    }
                },
                Self::Open(events) => return events.as_mut().poll_next(cx),
                Self::Over => return Poll::Ready(None),
            }
        }
    }
}

/// Hears a stream of a [`StreamingMultiplexer`]. Dropping it is leaving.
#[must_use = "a stream moves only while somebody hears it"]
pub struct Subscription {
    listener: Listener<StreamEvent, Error>,
    /// None where it is told alone, or has ended.
    place: Option<Place>,
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Subscription(..)")
    }
}

/// A place among those who hear a stream.
struct Place {
    of: StreamingMultiplexer,
    key: RequestKey,
    number: u64,
}

impl Place {
    /// Takes the stream off the list, where `over` says that nobody is to join it any more.
    fn leave(&self, over: bool) {
        let left = {
            let mut streams = self.of.streams.lock();
            let Some(shared) = streams.get_mut(&self.key).filter(|shared| shared.number == self.number) else { return };
            shared.subscribers = shared.subscribers.saturating_sub(1);
            if over || shared.subscribers == 0 { streams.remove(&self.key) } else { None }
        };
        // Its end may run code of the upstream's: not under the lock.
        drop(left);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave(false);
    }
}

impl Stream for Subscription {
    type Item = Result<StreamEvent, Error>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let item = ready!(this.listener.poll_item(cx));
        if matches!(item, None | Some(Err(_)))
            && let Some(place) = &this.place
        {
            place.leave(true);
        }
        Poll::Ready(item.map(|item| {
            item.map_err(|interrupted| match interrupted {
                Interrupted::Failed(error) => error,
                other => Error::new(ErrorKind::StreamInterrupted, other.to_string()),
            })
        }))
    }
}
