//! The output of sessions, for whoever wants to hear it.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use futures_core::Stream;
use llm_core::sync::Mutex;

use crate::broadcast::{Broadcast, Listener, Publisher};

/// A piece of a session's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamChunk {
    /// The session.
    pub session: Arc<str>,
    /// The piece.
    pub text: Arc<str>,
}

impl StreamChunk {
    /// A piece of `session`'s output.
    pub fn new(session: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> Self {
        Self { session: session.into(), text: text.into() }
    }
}

/// Counts of a [`StreamAggregator`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AggStats {
    /// Sessions whose answer has begun and not ended.
    pub active_streams: usize,
    /// Answers that have ended.
    pub completed_streams: u64,
    /// Pieces that were fed.
    pub total_tokens: u64,
}

/// Gathers the output of sessions, each by itself: whoever subscribes to a session hears its answer from the start,
/// though it be late. Clones share the sessions.
///
/// Bounds: 10,000 sessions, of which the one that was fed longest ago makes room, and 1 MiB of an answer; what a
/// subscriber is further behind than that is told to nobody else either, and a piece beyond ends the session's answer.
///
/// # Example
/// ```
/// use llm_dedup::{StreamAggregator, StreamChunk};
///
/// let aggregator = StreamAggregator::new();
/// aggregator.feed(StreamChunk::new("s", "Hello, "));
/// let heard = aggregator.subscribe("s");
/// aggregator.feed(StreamChunk::new("s", "world"));
/// assert_eq!(aggregator.complete("s"), "Hello, world");
/// # use futures_util::StreamExt;
/// # let heard: Vec<_> = futures_util::future::FutureExt::now_or_never(heard.map(|chunk| chunk.text).collect()).unwrap();
/// assert_eq!(heard.concat(), "Hello, world");
/// ```
#[derive(Clone, Default)]
pub struct StreamAggregator(Arc<Mutex<Sessions>>);

#[derive(Default)]
struct Sessions {
    open: HashMap<Arc<str>, Session>,
    fed: u64,
    completed: u64,
}

struct Session {
    log: Broadcast<StreamChunk, ()>,
    publisher: Publisher<StreamChunk, ()>,
    text: String,
    /// When it was fed last, counted in pieces.
    fed_at: u64,
    begun: bool,
}

/// Bytes of an answer.
const MOST_TEXT: usize = 1 << 20;
const MOST_SESSIONS: usize = 10_000;

impl Session {
    fn new(fed_at: u64) -> Self {
        let (log, publisher) = Broadcast::by_hand(2 * MOST_TEXT, |chunk: &StreamChunk| chunk.text.len());
        Self { log, publisher, text: String::new(), fed_at, begun: false }
    }
}

impl fmt::Debug for StreamAggregator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamAggregator").field("stats", &self.stats()).finish()
    }
}

impl StreamAggregator {
    /// No session yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a piece to its session's answer and tells it to who has subscribed. Whether there was room.
    pub fn feed(&self, chunk: StreamChunk) -> bool {
        let mut sessions = self.0.lock();
        sessions.fed += 1;
        let fed = sessions.fed;
        let session = sessions.of(&chunk.session);
        (session.fed_at, session.begun) = (fed, true);
        if session.text.len() + chunk.text.len() > MOST_TEXT {
            return false;
        }
        session.text.push_str(&chunk.text);
        session.publisher.publish(chunk).is_ok()
    }

    /// Ends the answer of `session`, and gives all of it.
    pub fn complete(&self, session: &str) -> String {
        let ended = {
            let mut sessions = self.0.lock();
            let ended = sessions.open.remove(session);
            sessions.completed += u64::from(ended.as_ref().is_some_and(|session| session.begun));
            ended
        };
        let Some(Session { publisher, text, .. }) = ended else { return String::new() };
        publisher.finish();
        text
    }

    /// Hears the answer of `session` from its start, or the next one if none has begun.
    pub fn subscribe(&self, session: &str) -> impl Stream<Item = StreamChunk> + Send + use<> {
        let mut sessions = self.0.lock();
        let listener = sessions.of(&Arc::from(session)).log.listen();
        Heard(listener)
    }

    /// The counts of the moment.
    #[must_use]
    pub fn stats(&self) -> AggStats {
        let sessions = self.0.lock();
        AggStats {
            active_streams: sessions.open.values().filter(|session| session.begun).count(),
            completed_streams: sessions.completed,
            total_tokens: sessions.fed,
        }
    }
}

impl Sessions {
    fn of(&mut self, session: &Arc<str>) -> &mut Session {
        if self.open.len() >= MOST_SESSIONS && !self.open.contains_key(session) {
            let oldest = self.open.iter().min_by_key(|(_, session)| session.fed_at).map(|(name, _)| name.clone());
            if let Some(oldest) = oldest {
                self.open.remove(&oldest);
            }
        }
        let fed = self.fed;
        self.open.entry(session.clone()).or_insert_with(|| Session::new(fed))
    }
}

/// What a subscriber hears; nothing where it came when the start was no longer kept.
struct Heard(Option<Listener<StreamChunk, ()>>);

impl Stream for Heard {
    type Item = StreamChunk;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<StreamChunk>> {
        let this = self.get_mut();
        let Some(listener) = &mut this.0 else { return std::task::Poll::Ready(None) };
        listener.poll_item(cx).map(|item| item.and_then(Result::ok))
    }
}
