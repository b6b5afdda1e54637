//! The path itself, top to bottom.

use std::fmt;
use std::sync::Arc;

use llm_breaker::Permit;
use llm_core::{Call, CallBody, Clock, Error, ErrorKind, Model, Observer, Sharing, Tick};
use llm_dedup::DedupStats;
use llm_router::Plan;

use crate::attempt::Attempt;
use crate::ending::{self, Ending};
use crate::limits::Limits;
use crate::request::{Request, Response, Served};
use crate::retry::{Next, RetryPolicy};
use crate::routes::{Circuit, Route, Routes, Target};
use crate::share::Sharer;

/// The path of every request. Cheap to clone; clones share all state.
#[derive(Clone)]
pub struct Pipeline(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) routes: Routes,
    pub(crate) limits: Limits,
    pub(crate) retry: RetryPolicy,
    pub(crate) sharer: Option<Sharer>,
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pipeline").field("models", &self.0.routes.listed).finish_non_exhaustive()
    }
}

impl Pipeline {
    pub(crate) fn new(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }

    /// Answers `request`. Dropping the future, or the stream in its answer, is leaving: the upstream call is
    /// cancelled when nobody else listens to it.
    ///
    /// # Errors
    /// What kept the request from being answered, with the chain of reasons. What goes wrong after the answer
    /// has begun is the last item of its stream.
    pub async fn handle(&self, request: Request) -> Result<Response, Error> {
        let mut ending = Ending::begin(&self.0.observer, request.body.operation());
        let route = match self.0.routes.resolve(model_of(&request.body)) {
            Ok(route) => route,
            Err(error) => return Err(ending.failed(error)),
        };
        ending.model.clone_from(&route.name);
        let (deadline, received) = (request.deadline, request.received);
        match ending::before(deadline, received, self.claim(request, route)).await {
            Ok(response) => Ok(ending.answered(response, deadline, received)),
            Err(error) => Err(ending.failed(error)),
        }
    }

    /// An identical call in flight answers for this one too; else this one leads, or goes alone.
    async fn claim(&self, request: Request, route: Arc<Route>) -> Result<Response, Error> {
        let Some(sharer) = &self.0.sharer else { return self.clone().infer(request, route).await };
        let Some(key) = sharer.key(&request) else { return self.clone().infer(request, route).await };
        let lead = {
            let (path, request, route) = (self.clone(), request.clone(), route.clone());
            move || path.infer(request, route)
        };
        match sharer.join(key, lead) {
            Some(joined) => joined.response().await,
            None => self.clone().infer(request, route).await,
        }
    }

    /// Candidates in order, while the attempts and the deadline allow.
    async fn infer(self, request: Request, route: Arc<Route>) -> Result<Response, Error> {
        let path = &*self.0;
        let mut now = request.received;
        let mut charge = path.limits.take(&request.tenant, now)?;
        let mut tries = path.retry.start();
        let mut plan = route.router.plan();
        let mut candidate = None;
        let mut last: Option<Error> = None;
        loop {
            let Some((index, permit)) = permitted(&route, candidate.take(), &mut plan, now) else {
                return Err(last.unwrap_or_else(|| closed(&route, now)));
            };
            let target = &route.targets[index];
            tries.begin();
            let attempt = Attempt::begin(target, permit, &path.clock, now);
            let result = attempt.run(&*target.upstream.provider, call(&request, target)).await;
            now = path.clock.now();
            // A call that reached nobody costs nothing.
            let sent = !matches!(&result, Err(error) if error.kind() == ErrorKind::Connection);
            if sent && let Some(charge) = charge.take() {
                charge.keep();
            }
            let error = match result {
                Ok(reply) => {
                    let provider = target.provider().clone();
                    let upstream = now.since(request.received);
                    let served = Served { provider, sharing: Sharing::Bypass, attempts: tries.made(), upstream };
                    return Ok(Response { reply, served });
                }
                Err(error) => error.with_provider(target.provider().clone()).with_attempts(tries.made()),
            };
            let fresh = plan.next(|index| route.targets[index].usable(now));
            let pause = match tries.after(&error, fresh.is_some(), now, request.deadline, fastrand::f64()) {
                Next::Done => return Err(error),
                Next::Same(pause) => {
                    candidate = Some(index);
                    pause
                }
                Next::Other(pause) => {
                    candidate = fresh;
                    pause
                }
            };
            if fresh.is_none() {
                plan.next_round();
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
                now = path.clock.now();
            }
            last = Some(error);
        }
    }

    /// The models that callers may name.
    #[must_use]
    pub fn models(&self) -> Vec<Model> {
        self.0.routes.list()
    }

    /// The model that callers reach by `name`.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] when there is none.
    pub fn model(&self, name: &str) -> Result<Model, Error> {
        self.0.routes.find(name)
    }

    /// The providers' circuits, in the order of the configuration.
    #[must_use]
    pub fn circuits(&self) -> Vec<Circuit> {
        self.0.routes.circuits(self.now())
    }

    /// What sharing has come to; nothing when it is off.
    #[must_use]
    pub fn sharing(&self) -> DedupStats {
        self.0.sharer.as_ref().map(Sharer::stats).unwrap_or_default()
    }

    /// The time on the path's clock.
    #[must_use]
    pub fn now(&self) -> Tick {
        self.0.clock.now()
    }

    pub(crate) fn inner(&self) -> &Inner {
        &self.0
    }
}

fn model_of(body: &CallBody) -> &str {
    match body {
        CallBody::Wire(envelope) => envelope.model_name(),
        CallBody::Completion(request) | CallBody::Stream(request) => request.model.as_str(),
        CallBody::Embedding(request) => request.model.as_str(),
        CallBody::Models => "",
    }
}

fn call(request: &Request, target: &Target) -> Call {
    Call {
        model: target.model.clone(),
        body: request.body.clone(),
        request_id: Some(request.id.clone()),
        headers: request.headers.clone(),
    }
}

/// The first candidate whose circuit admits the call, `first` before the plan's.
fn permitted(route: &Route, first: Option<usize>, plan: &mut Plan, now: Tick) -> Option<(usize, Permit)> {
    let mut candidate = first.or_else(|| plan.next(|index| route.targets[index].usable(now)));
    while let Some(index) = candidate {
        if let Ok(permit) = route.targets[index].upstream.breaker.admit(now) {
            return Some((index, permit));
        }
        candidate = plan.next(|index| route.targets[index].usable(now));
    }
    None
}

/// Every candidate's circuit is open: when the first of them will be probed.
fn closed(route: &Route, now: Tick) -> Error {
    let waits = route.targets.iter().filter_map(|target| {
        let wait = target.upstream.breaker.is_available(now).err()?.retry_after;
        Some((target, wait))
    });
    let error = Error::new(ErrorKind::CircuitOpen, "no provider can take the request: all circuits are open");
    let error = waits.clone().fold(error, |error, (target, wait)| {
        let stats = target.upstream.breaker.stats(now);
        error.because(format!(
            "provider {}: circuit {:?} after {} failures in a row, next probe in {} ms",
            target.provider(),
            stats.state,
            stats.consecutive_failures,
            wait.as_millis()
        ))
    });
    match waits.map(|(_, wait)| wait).min() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
