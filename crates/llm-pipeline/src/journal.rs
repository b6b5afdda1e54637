//! What was decided for the latest requests, for those who ask why.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use llm_core::sync::Mutex;
use llm_core::{Error, ErrorKind, ModelId, ProviderId, RequestId, Sharing, Tick, boxed};
use llm_router::{Candidate, Demand, Reason, Strategy};
use serde::Serialize;

use crate::routes::Route;
use crate::upstream::Target;

/// So many requests are remembered.
const REMEMBERED: usize = 1024;

/// The latest requests' stories, the newest over the oldest, and what all of them have come to.
pub(crate) struct Journal {
    pages: Mutex<Pages>,
    fallbacks: AtomicU64,
}

struct Pages {
    #[expect(clippy::vec_box, reason = "a story stays where it was begun")]
    stories: Vec<Box<Story>>,
    next: usize,
}

impl Journal {
    pub(crate) const fn new() -> Self {
        Self { pages: Mutex::new(Pages { stories: Vec::new(), next: 0 }), fallbacks: AtomicU64::new(0) }
    }

    /// Attempts of all requests on another target than the one before.
    pub(crate) fn fallbacks(&self) -> u64 {
        // Relaxed: a count for people.
        self.fallbacks.load(Relaxed)
    }

    pub(crate) fn keep(&self, story: Box<Story>) {
        if let fallbacks @ 1.. = story.fallbacks() {
            // Relaxed: a count for people.
            self.fallbacks.fetch_add(fallbacks, Relaxed);
        }
        let mut pages = self.pages.lock();
        let next = pages.next;
        pages.next = (next + 1) % REMEMBERED;
        let forgotten = match pages.stories.get_mut(next) {
            Some(page) => Some(std::mem::replace(page, story)),
            None => {
                pages.stories.push(story);
                None
            }
        };
        drop(pages);
        drop(forgotten);
    }

    /// The latest story of a request called `id`.
    pub(crate) fn explain(&self, id: &str) -> Option<Explanation> {
        let pages = self.pages.lock();
        let (newer, older) = pages.stories.split_at(pages.next.min(pages.stories.len()));
        let story = newer.iter().rev().chain(older.iter().rev()).find(|story| *story.id.as_str() == *id)?;
        Some(story.explained())
    }
}

/// What is decided for one request while it is decided, on the heap from the start. It holds names alone: a configuration may go before it.
pub(crate) struct Story {
    id: RequestId,
    model: Option<ModelId>,
    strategy: Strategy,
    sharing: Sharing,
    /// The request whose call answered, where that is another.
    followed: Option<RequestId>,
    /// All targets as the router saw them, where there is a choice.
    candidates: Vec<Candidate>,
    /// Targets that could not be asked, as far as the circuits told beforehand; one bit each.
    open: u64,
    /// Targets whose limits denied; one bit each.
    limited: u64,
    tries: Vec<Try>,
    error: Option<(ErrorKind, Box<str>)>,
}

struct Try {
    index: usize,
    provider: ProviderId,
    model: ModelId,
    reason: Option<Reason>,
    failed: Option<ErrorKind>,
}

impl Story {
    pub(crate) fn begin(id: &RequestId, route: &Route, sharing: Sharing) -> Box<Self> {
        boxed(|| Self {
            id: id.clone(),
            model: route.name.clone(),
            strategy: route.router.config().strategy,
            sharing,
            followed: None,
            candidates: Vec::new(),
            open: 0,
            limited: 0,
            tries: Vec::new(),
            error: None,
        })
    }

    /// The story of a request that another's call answered.
    pub(crate) fn followed(mut self: Box<Self>, leader: RequestId) -> Box<Self> {
        self.followed = Some(leader);
        self
    }

    /// The router is asked, at `now`.
    pub(crate) fn asks(&mut self, route: &Route, demand: &Demand, now: Tick) {
        if route.targets.len() == 1 {
            return;
        }
        self.candidates = route.router.explain(demand, now);
        let targets = route.targets.iter().enumerate();
        let open = targets.filter(|(_, target)| !target.usable(now));
        self.open = open.fold(0, |open, (index, _)| open | 1 << index);
    }

    pub(crate) const fn limited(&mut self, index: usize) {
        self.limited |= 1 << index;
    }

    pub(crate) const fn open(&mut self, index: usize) {
        self.open |= 1 << index;
    }

    pub(crate) fn tries(&mut self, index: usize, target: &Target, reason: Option<Reason>) {
        let (provider, model) = (target.provider().clone(), target.model.clone());
        self.tries.push(Try { index, provider, model, reason, failed: None });
    }

    /// The latest attempt failed.
    pub(crate) fn failed(&mut self, error: &Error) {
        if let Some(latest) = self.tries.last_mut() {
            latest.failed = Some(error.kind());
        }
    }

    /// Nothing answers the request.
    pub(crate) fn ended(&mut self, error: &Error) {
        self.error = Some((error.kind(), error.to_string().into()));
    }

    fn fallbacks(&self) -> u64 {
        self.tries.windows(2).filter(|tries| tries[0].index != tries[1].index).count() as u64
    }

    fn explained(&self) -> Explanation {
        let attempt = |attempt: &Try| AttemptMade {
            provider: attempt.provider.clone(),
            model: attempt.model.clone(),
            reason: attempt.reason,
            outcome: attempt.failed.map_or("answered", ErrorKind::as_str),
        };
        let candidate = |candidate: &Candidate| {
            let is = |mask: u64| mask >> candidate.index & 1 == 1;
            let asked = self.tries.iter().any(|attempt| attempt.index == candidate.index);
            let state = match () {
                () if asked => CandidateState::Asked,
                () if is(self.limited) => CandidateState::Limited,
                () if is(self.open) => CandidateState::CircuitOpen,
                () => CandidateState::Behind,
            };
            CandidateSeen { state, seen: candidate.clone() }
        };
        Explanation {
            request_id: self.id.clone(),
            model: self.model.clone(),
            strategy: self.strategy,
            sharing: self.sharing.as_str(),
            followed: self.followed.clone(),
            attempts: self.tries.iter().map(attempt).collect(),
            candidates: self.candidates.iter().map(candidate).collect(),
            error: self.error.as_ref().map(|(kind, message)| Failure { kind: kind.as_str(), message: message.clone() }),
        }
    }
}

/// What was decided for one request, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Explanation {
    /// The request.
    pub request_id: RequestId,
    /// The configured model that it asked for; none where it named a provider's.
    pub model: Option<ModelId>,
    /// Who is asked first.
    pub strategy: Strategy,
    /// Whether its call was its own: `miss`, `joined`, `bypass`.
    pub sharing: &'static str,
    /// The request whose call answered it, where that is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub followed: Option<RequestId>,
    /// The attempts, in order.
    pub attempts: Vec<AttemptMade>,
    /// All targets as they stood when the router was asked, the best first; none where there was no choice.
    pub candidates: Vec<CandidateSeen>,
    /// Why nothing answered it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Failure>,
}

/// One attempt.
#[derive(Clone, Debug, Serialize)]
pub struct AttemptMade {
    /// The provider that was asked.
    pub provider: ProviderId,
    /// Its model.
    pub model: ModelId,
    /// Why it was asked; none where it was asked again, or nobody else was left.
    pub reason: Option<Reason>,
    /// `answered`, or what went wrong.
    pub outcome: &'static str,
}

/// One target as it stood when the router was asked.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateSeen {
    /// What became of it.
    pub state: CandidateState,
    /// What the router knew of it; its name is `provider/model`.
    #[serde(flatten)]
    pub seen: Candidate,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CandidateState {
    /// It was asked.
    Asked,
    /// Its limits denied.
    Limited,
    /// Its circuit refused.
    CircuitOpen,
    /// It stood behind the one that answered.
    Behind,
}

/// What kept a request from being answered.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The kind of error.
    pub kind: &'static str,
    /// The error.
    pub message: Box<str>,
}
