//! The output of sessions, for whoever wants to hear it.

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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
/// Bounds: an answer has 1 MiB of text in 65,536 pieces; a piece beyond is refused, and so is what follows it, and who
/// listens is cut off. There are 10,000 sessions, whose answers under way take 32 MiB; beyond either, the one that was
/// fed longest ago makes room.
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
    /// What the answers under way take.
    bytes: usize,
    fed: u64,
    begun: u64,
    completed: u64,
}

struct Session {
    log: Broadcast<StreamChunk, ()>,
    /// None once the answer had a piece too much.
    publisher: Option<Publisher<StreamChunk, ()>>,
    text: String,
    pieces: usize,
    /// When it was fed last, counted in pieces.
    fed_at: u64,
    /// Which answer is under way, counted from 1.
    answer: Option<u64>,
}

/// Bytes of an answer, and its pieces.
const MOST_TEXT: usize = 1 << 20;
const MOST_PIECES: usize = 1 << 16;
/// Bytes of all answers under way.
const MOST_BYTES: usize = 32 << 20;
const MOST_SESSIONS: usize = 10_000;
/// What a piece takes beside its text: its slot, and the counts before the text.
const PIECE: usize = 64;

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
        let (fed, gone) = sessions.add(chunk, None);
        drop(sessions);
        drop(gone);
        fed
    }

    /// Begins an answer of `session` that one asker alone feeds. None while another is under way.
    #[must_use]
    pub fn begin(&self, session: &str) -> Option<SessionFeed> {
        let name = Arc::from(session);
        let mut sessions = self.0.lock();
        let number = sessions.begun + 1;
        let (session, gone) = sessions.of(&name);
        let begun = session.answer.is_none();
        if begun {
            session.answer = Some(number);
            sessions.begun = number;
        }
        drop(sessions);
        drop(gone);
        begun.then(|| SessionFeed { aggregator: self.clone(), session: name, answer: number })
    }

    /// Ends the answer of `session`, and gives all of it.
    pub fn complete(&self, session: &str) -> String {
        let Some(Session { publisher, text, .. }) = self.end(session, None) else { return String::new() };
        if let Some(publisher) = publisher {
            publisher.finish();
        }
        text
    }

    /// Hears the answer of `session` from its start, or the next one if none has begun. Where the answer is cut off,
    /// so is the stream; [`listen`](Self::listen) tells the two apart.
    pub fn subscribe(&self, session: &str) -> impl Stream<Item = StreamChunk> + Send + use<> {
        UntilCutOff(self.listen(session))
    }

    /// As [`subscribe`](Self::subscribe), and hears how it ends.
    pub fn listen(&self, session: &str) -> SessionListener {
        let name = Arc::from(session);
        let mut sessions = self.0.lock();
        let (session, gone) = sessions.of(&name);
        let listener = session.log.listen();
        drop(sessions);
        drop(gone);
        SessionListener { aggregator: self.clone(), session: name, listener }
    }

    /// The counts of the moment.
    #[must_use]
    pub fn stats(&self) -> AggStats {
        let sessions = self.0.lock();
        AggStats {
            active_streams: sessions.open.values().filter(|session| session.answer.is_some()).count(),
            completed_streams: sessions.completed,
            total_tokens: sessions.fed,
        }
    }

    /// Takes `session` out, if `answer` is the one under way.
    fn end(&self, session: &str, answer: Option<u64>) -> Option<Session> {
        let mut sessions = self.0.lock();
        let known = sessions.open.get(session)?;
        if answer.is_some() && known.answer != answer {
            return None;
        }
        let ended = sessions.remove(session)?;
        sessions.completed += u64::from(ended.answer.is_some());
        Some(ended)
    }
}

impl Session {
    fn new(fed_at: u64) -> Self {
        // More than an answer may have: all of it stays, and nobody waits for the slowest.
        let (log, publisher) = Broadcast::by_hand(2 * MOST_TEXT, |chunk: &StreamChunk| chunk.text.len());
        Self { log, publisher: Some(publisher), text: String::new(), pieces: 0, fed_at, answer: None }
    }

    /// What it takes: the text is kept whole and in pieces.
    const fn bytes(&self) -> usize {
        2 * self.text.len() + self.pieces * PIECE
    }

    /// Whether the piece was published.
    fn add(&mut self, chunk: StreamChunk) -> bool {
        let has_room = self.text.len() + chunk.text.len() <= MOST_TEXT && self.pieces < MOST_PIECES;
        let Some(publisher) = self.publisher.as_mut().filter(|_| has_room) else {
            self.publisher = None;
            return false;
        };
        self.text.push_str(&chunk.text);
        self.pieces += 1;
        publisher.publish(chunk).is_ok()
    }
}

impl Sessions {
    /// The session of that name. What had to make room for it is to be dropped when no lock is held.
    fn of(&mut self, name: &Arc<str>) -> (&mut Session, Option<Session>) {
        let mut gone = None;
        if self.open.len() >= MOST_SESSIONS && !self.open.contains_key(name) {
            gone = self.make_room(|_| true);
        }
        let fed = self.fed;
        (self.open.entry(name.clone()).or_insert_with(|| Session::new(fed)), gone)
    }

    /// Adds a piece, to the answer of that number where one is given. Whether there was room, and what had to make it.
    fn add(&mut self, chunk: StreamChunk, answer: Option<u64>) -> (bool, Vec<Session>) {
        let name = chunk.session.clone();
        if answer.is_some() && self.open.get(&name).is_none_or(|session| session.answer != answer) {
            return (false, Vec::new());
        }
        self.fed += 1;
        let (fed, next) = (self.fed, self.begun + 1);
        let (session, gone) = self.of(&name);
        let begins = session.answer.is_none();
        session.answer.get_or_insert(next);
        session.fed_at = fed;
        let before = session.bytes();
        let added = session.add(chunk);
        let grown = session.bytes() - before;
        self.begun += u64::from(begins);
        self.bytes += grown;
        let mut gone = Vec::from_iter(gone);
        while self.bytes > MOST_BYTES
            && let Some(oldest) = self.make_room(|session| session.pieces > 0)
        {
            gone.push(oldest);
        }
        (added, gone)
    }

    /// Takes out the session that was fed longest ago among those that `frees`.
    fn make_room(&mut self, frees: fn(&Session) -> bool) -> Option<Session> {
        let freeing = self.open.iter().filter(|(_, session)| frees(session));
        let (oldest, _) = freeing.min_by_key(|(_, session)| session.fed_at)?;
        let oldest = oldest.clone();
        self.remove(&oldest)
    }

    fn remove(&mut self, name: &str) -> Option<Session> {
        let session = self.open.remove(name)?;
        self.bytes -= session.bytes();
        Some(session)
    }
}

/// Feeds one answer of a session. Dropped before [`finish`](Self::finish), it cuts off those who listen.
#[derive(Debug)]
pub struct SessionFeed {
    aggregator: StreamAggregator,
    session: Arc<str>,
    answer: u64,
}

impl SessionFeed {
    /// Adds a piece. Whether there was room, and the session had not made room for others.
    pub fn feed(&self, text: &str) -> bool {
        let chunk = StreamChunk { session: self.session.clone(), text: text.into() };
        let mut sessions = self.aggregator.0.lock();
        let (fed, gone) = sessions.add(chunk, Some(self.answer));
        drop(sessions);
        drop(gone);
        fed
    }

    /// The answer is whole.
    pub fn finish(self) {
        if let Some(Session { publisher: Some(publisher), .. }) = self.aggregator.end(&self.session, Some(self.answer))
        {
            publisher.finish();
        }
    }
}

impl Drop for SessionFeed {
    fn drop(&mut self) {
        // With its publisher go those who listen; after `finish` it is another's answer, or none.
        drop(self.aggregator.end(&self.session, Some(self.answer)));
    }
}

/// An answer was not told to its end: its asker left, it failed, was longer than is kept, or made room for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session's answer broke off")]
pub struct CutOff;

/// Hears one answer of a session. Dropping it is leaving.
pub struct SessionListener {
    aggregator: StreamAggregator,
    session: Arc<str>,
    /// None once the answer has ended.
    listener: Option<Listener<StreamChunk, ()>>,
}

impl fmt::Debug for SessionListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionListener").field("session", &self.session).finish_non_exhaustive()
    }
}

impl Stream for SessionListener {
    type Item = Result<StreamChunk, CutOff>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        let Some(listener) = &mut this.listener else { return Poll::Ready(None) };
        let item = std::task::ready!(listener.poll_item(cx));
        if !matches!(item, Some(Ok(_))) {
            this.listener = None;
        }
        Poll::Ready(item.map(|item| item.map_err(|_| CutOff)))
    }
}

impl Drop for SessionListener {
    fn drop(&mut self) {
        if self.listener.take().is_none() {
            return;
        }
        // A session that nobody feeds and nobody hears is none.
        let mut sessions = self.aggregator.0.lock();
        let idle = |session: &Session| session.answer.is_none() && session.log.listeners() == 0;
        let gone = sessions.open.get(&self.session).is_some_and(idle).then(|| sessions.remove(&self.session));
        drop(sessions);
        drop(gone);
    }
}

/// The pieces until the answer ends, in whatever way.
struct UntilCutOff(SessionListener);

impl Stream for UntilCutOff {
    type Item = StreamChunk;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(cx).map(|item| item.and_then(Result::ok))
    }
}
