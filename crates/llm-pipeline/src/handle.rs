//! The path itself, top to bottom.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use llm_breaker::{CircuitBreaker, Permit, Refused};
use llm_core::{
    Answer, BoxFuture, Call, CallBody, Clock, Envelope, Error, ErrorKind, Model, Observer, Sharing, TenantId, Tick,
    boxed,
};
use llm_dedup::{CacheStats, DedupStats, ResponseCache, SimilarityStats};
use llm_ratelimit::{Admission, Cost, Headroom, LimitStats, Tightest};
use llm_router::{Plan, Reason, Strategy};

use crate::attempt::Attempt;
use crate::builder::PrefixOf;
use crate::circuits::Circuit;
use crate::demand::Demand;
use crate::ending::{self, Ending};
use crate::hold::Hold;
use crate::journal::{Explanation, Journal, Story};
use crate::limits::{Limits, Why};
use crate::meter::Meter;
use crate::pins::Pins;
use crate::request::{Caller, Request, Response, Served};
use crate::retry::{Next, RetryPolicy};
use crate::routes::{ModelBalance, ModelTally, Route, Routes};
use crate::share::{Claimed, Sharer};
use crate::upstream::Target;

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
    pub(crate) prefix: Option<PrefixOf>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) pins: Arc<Pins>,
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
    pub fn handle(&self, request: impl Into<Arc<Request>>) -> impl Future<Output = Result<Response, Error>> + Send {
        let request = request.into();
        async move {
            let mut ending = Ending::begin(&self.0, &request);
            let route = self.0.routes.of(&request.body);
            let route = match route.and_then(|route| self.0.pins.narrow(&self.0.routes, &request, route)) {
                Ok(route) => route,
                Err(error) => return Err(ending.failed(error)),
            };
            ending.model.clone_from(&route.name);
            let (deadline, received) = (request.deadline, request.received);
            let claimed = pin!(self.claim(&request, &route));
            match ending::before(deadline, received, claimed).await {
                Ok(response) => Ok(ending.answered(response, deadline, received)),
                Err(error) => Err(ending.failed(error)),
            }
        }
    }

    /// A finished answer or an identical call in flight answers for this one too; else this one leads, or goes alone.
    async fn claim(&self, request: &Arc<Request>, route: &Arc<Route>) -> Result<Response, Error> {
        if let Some(claimed) = self.claimed(request, route)?
            && let Some(response) = claimed.response().await?
        {
            if matches!(response.served.sharing, Sharing::Joined | Sharing::Hit) {
                let story = Story::begin(&request.id, route, response.served.sharing);
                self.0.journal.keep(story.followed(response.served.leader.clone()));
            }
            return Ok(response);
        }
        // On the heap like a shared one: a future of its size is not moved about for each request that needs none.
        Box::into_pin(boxed(|| self.infer(request, route, Sharing::Bypass))).await
    }

    /// What others share with the request, if it is to be shared.
    fn claimed(&self, request: &Arc<Request>, route: &Arc<Route>) -> Result<Option<Claimed>, Error> {
        let (Some(sharer), CallBody::Wire(envelope)) = (&self.0.sharer, &request.body) else { return Ok(None) };
        let Some(wanted) = sharer.wanted(request)? else { return Ok(None) };
        let (path, request, route) = (self.clone(), asked_for_all(request), route.clone());
        Ok(sharer.claim(wanted, envelope.dialect, move || path.lead(request, route)))
    }

    /// The call that others may join, which may outlive its request.
    #[expect(clippy::manual_async_fn, reason = "an async fn holds its arguments twice")]
    fn lead(self, request: Arc<Request>, route: Arc<Route>) -> impl Future<Output = Result<Response, Error>> + Send {
        async move { self.infer(&request, &route, Sharing::Miss).await }
    }

    /// Takes what its caller's limits ask of the request, and makes the attempts.
    async fn infer(&self, request: &Request, route: &Route, sharing: Sharing) -> Result<Response, Error> {
        let mut story = Story::begin(&request.id, route, sharing);
        let result = self.admitted(request, route, &mut story).await.map_err(|error| route.told(error));
        if let Err(error) = &result {
            story.ended(error);
        }
        self.0.journal.keep(story);
        result
    }

    async fn admitted(&self, request: &Request, route: &Route, story: &mut Story) -> Result<Response, Error> {
        let limits = &self.0.limits;
        let demand = limits.metered.then(|| Demand::of(&request.body));
        let (cost, why) = demand.map_or_else(Default::default, |demand| dearest(&demand, route));
        let admitted = limits.admit(request, cost, why, request.received);
        let mut hold = admitted.inspect_err(|_| route.tally.deny())?;
        let result = self.attempts(request, route, demand.as_ref(), &mut hold, story).await;
        if result.is_err() {
            hold.close(self.0.clock.now());
        }
        result
    }

    /// Candidates in order, while the attempts and the deadline allow.
    async fn attempts(
        &self,
        request: &Request,
        route: &Route,
        demand: Option<&Demand>,
        hold: &mut Hold,
        story: &mut Story,
    ) -> Result<Response, Error> {
        let path = &*self.0;
        let mut now = request.received;
        let mut tries = path.retry.start();
        let wanted = self.wanted(request, route);
        story.asks(route, &wanted, now);
        let mut plan = route.router.plan_for(&wanted, now);
        let mut candidate = None;
        let mut last: Option<Error> = None;
        loop {
            let placed = match self.place(route, candidate.take(), &mut plan, demand, story, now) {
                Ok(placed) => placed,
                Err(none) => return Err(last.unwrap_or(none)),
            };
            let (index, key) = (placed.index, placed.key);
            let target = &route.targets[index];
            if let Err(short) = hold.begin(now) {
                let error = Error::new(ErrorKind::Denied, format!("nothing is left for another attempt: {short}"));
                return Err(last.unwrap_or(error));
            }
            tries.begin();
            story.tries(index, target, placed.reason);
            let (attempt, answer) = self.begin(request, route, placed, tries.made(), now);
            let result = attempt.run(answer, hold).await;
            now = path.clock.now();
            let error = match result {
                Ok(reply) => {
                    let reply = path.pins.noted(request, target, key, reply, now);
                    let provider = target.provider().clone();
                    let upstream = now.since(request.received);
                    let (leader, attempts) = (request.id.clone(), tries.made());
                    let (sharing, price) = (Sharing::Bypass, target.price.clone());
                    let served = Served { provider, sharing, leader, attempts, upstream, price };
                    return Ok(Response { reply, served: Box::new(served) });
                }
                Err(error) => error.with_provider(target.provider().clone()).with_attempts(tries.made()),
            };
            hold.failed(&error);
            story.failed(&error);
            if error.kind() == ErrorKind::UpstreamAuth && target.upstream.keys[key].refuse() {
                path.observer.key_refused(target.provider(), &target.upstream.keys[key].name);
            }
            if let CallBody::Forward(forward) = &request.body
                && !forward.may_repeat(&error)
            {
                return Err(error);
            }
            // What is wrong with one key need not be with another, and the target is the one that was chosen.
            if target.has_other_keys()
                && is_of_the_key(&error)
                && target.usable(now)
                && tries.may_go_on(now, request.deadline)
            {
                candidate = Some(index);
                last = Some(error);
                continue;
            }
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

    /// The `number`th attempt, on the candidate that was placed, and what will be its answer.
    fn begin<'a>(
        &self,
        request: &Request,
        route: &'a Route,
        placed: Placed,
        number: u32,
        now: Tick,
    ) -> (Box<Attempt>, BoxFuture<'a, Result<Answer, Error>>) {
        let Placed { index, key, permit, admission, output, .. } = placed;
        let target = &route.targets[index];
        let ticket = route.router.begin(index, now);
        let meter = Meter::new(admission, target.price.clone(), output);
        let attempt = Attempt::begin(target, target.breaker(key), permit, ticket, meter, &self.0.clock, now);
        let mut call = call(request, route, target);
        let attempt = attempt.followed(request.follower.as_ref(), target.provider(), number, &mut call);
        (attempt, target.upstream.keys[key].provider.send(call))
    }

    /// What the router chooses by. Weights and order need nothing.
    fn wanted(&self, request: &Request, route: &Route) -> llm_router::Demand {
        let strategy = route.router.config().strategy;
        if matches!(strategy, Strategy::Weighted | Strategy::Fallback) {
            return llm_router::Demand::default();
        }
        let wanted = match &request.body {
            CallBody::Completion(request) | CallBody::Stream(request) => llm_router::Demand::of(request),
            CallBody::Wire(envelope) => {
                let prefix = self.0.prefix.filter(|_| strategy == Strategy::Prefix);
                Demand::of(&request.body).wanted(prefix.map_or(0, |prefix| prefix(envelope)))
            }
            CallBody::Embedding(_) | CallBody::Models | CallBody::Forward(_) => Demand::of(&request.body).wanted(0),
        };
        let within = request.deadline.map(|deadline| deadline.since(request.received));
        llm_router::Demand { within, ..wanted }
    }

    /// The first candidate that limits and circuit let pass, `first` before the plan's.
    ///
    /// # Errors
    /// What the limits of the targets said, where they denied; else that all circuits are open.
    fn place(
        &self,
        route: &Route,
        first: Option<usize>,
        plan: &mut Plan<'_>,
        demand: Option<&Demand>,
        story: &mut Story,
        now: Tick,
    ) -> Result<Placed, Error> {
        let mut denied: Option<Error> = None;
        let mut candidate = first.or_else(|| plan.next(|index| route.targets[index].usable(now)));
        while let Some(index) = candidate {
            match self.placed(route, index, demand, now, CircuitBreaker::admit) {
                Ok(Some(placed)) => return Ok(Placed { reason: plan.reason(), ..placed }),
                Ok(None) => story.open(index),
                Err(error) => {
                    story.limited(index);
                    let sooner = |seen: &Error| match (seen.retry_after(), error.retry_after()) {
                        (Some(seen), Some(wait)) => wait < seen,
                        (None, wait) => wait.is_some(),
                        (Some(_), None) => false,
                    };
                    if denied.as_ref().is_none_or(sooner) {
                        denied = Some(error);
                    }
                }
            }
            candidate = plan.next(|index| route.targets[index].usable(now));
        }
        if denied.is_none()
            && let Some(placed) = self.place_slow(route, demand, now)
        {
            return Ok(placed);
        }
        if denied.is_some() {
            route.tally.deny();
        }
        Err(denied.unwrap_or_else(|| closed(route, now)))
    }

    /// A candidate whose circuit opened for slowness alone, where there is nobody else.
    fn place_slow(&self, route: &Route, demand: Option<&Demand>, now: Tick) -> Option<Placed> {
        (0..route.targets.len())
            .find_map(|index| self.placed(route, index, demand, now, CircuitBreaker::admit_anyway).ok().flatten())
    }

    /// The candidate `index`, with what its limits and its circuit give; none where the circuit refuses.
    fn placed(
        &self,
        route: &Route,
        index: usize,
        demand: Option<&Demand>,
        now: Tick,
        admit: fn(&CircuitBreaker, Tick) -> Result<Permit, Refused>,
    ) -> Result<Option<Placed>, Error> {
        let target = &route.targets[index];
        let (cost, output) = match demand.map(|demand| demand.cost(&target.terms)) {
            Some((cost, output)) => (cost, Some(output)),
            None => (Cost::default(), None),
        };
        let why = Why(output.and_then(Result::err));
        let mut denied = None;
        let found = target.by_key(now, |key| {
            let admission = match self.0.limits.admit_target(|| route.names(index, key), cost, why, now) {
                Ok(admission) => admission,
                Err(error) => {
                    denied.get_or_insert(error);
                    return None;
                }
            };
            // Refused: the admission is dropped, and with it given back.
            admit(target.breaker(key), now).ok().map(|permit| (key, admission, permit))
        });
        let Some((key, admission, permit)) = found else { return denied.map_or(Ok(None), Err) };
        route.tally.allow();
        // Without a bound there is no hard limit on money: nothing is counted against it.
        let output = output.map(|output| output.unwrap_or(u64::MAX));
        Ok(Some(Placed { index, key, permit, admission, output, reason: None }))
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

    /// What the tightest of the caller's own limits have left; nothing where it has none.
    #[must_use]
    pub fn headroom(&self, caller: &Caller, user: Option<&str>) -> Headroom {
        let limits = &self.0.limits;
        if limits.limits_callers() { limits.headroom(caller, user, self.now()) } else { Headroom::default() }
    }

    /// Whether users have limits of their own.
    #[must_use]
    pub fn limits_users(&self) -> bool {
        self.0.limits.limits_users()
    }

    /// What is left of every limit that is kept at the moment.
    #[must_use]
    pub fn limits(&self) -> Vec<LimitStats> {
        self.0.limits.stats(self.now())
    }

    /// The `most` limits that have the least share left.
    #[must_use]
    pub fn tightest_limits(&self, most: usize) -> Tightest {
        self.0.limits.tightest(most, self.now())
    }

    /// How often limits let calls of each configured model pass, and how often not.
    #[must_use]
    pub fn tallies(&self) -> Vec<ModelTally> {
        self.0.routes.tallies()
    }

    /// What is known of the targets of each configured model.
    #[must_use]
    pub fn balance(&self) -> Vec<ModelBalance> {
        self.0.routes.balance(self.now())
    }

    /// What was decided for the latest request called `id`, and why; none where it is unknown or no longer known. The
    /// latest 1,024 requests are.
    #[must_use]
    pub fn explain(&self, id: &str) -> Option<Explanation> {
        self.0.journal.explain(id)
    }

    /// Closes the circuits of `provider`, or all of them; how many there were.
    pub fn reset_circuits(&self, provider: Option<&str>) -> usize {
        let upstreams = self.0.routes.upstreams.iter();
        let chosen = upstreams.filter(|upstream| provider.is_none_or(|name| upstream.id == *name));
        chosen.flat_map(|upstream| upstream.keys.iter()).map(|key| key.circuits.reset()).sum()
    }

    /// Whether identical requests share a call.
    #[must_use]
    pub fn shares(&self) -> bool {
        self.0.sharer.is_some()
    }

    /// What sharing has come to; nothing when it is off.
    #[must_use]
    pub fn sharing(&self) -> DedupStats {
        self.0.sharer.as_ref().map(Sharer::stats).unwrap_or_default()
    }

    /// The finished answers that are kept; none when nothing is kept.
    #[must_use]
    pub fn answers(&self) -> Option<CacheStats> {
        self.0.sharer.as_ref().and_then(Sharer::answers).map(ResponseCache::stats)
    }

    /// What became of questions that were compared with others; none where they are not.
    #[must_use]
    pub fn similarity(&self) -> Option<SimilarityStats> {
        self.0.sharer.as_ref().and_then(Sharer::similarity)
    }

    /// Forgets the finished answers of `tenant`, or of all; how many there were.
    pub fn forget_answers(&self, tenant: Option<&TenantId>) -> usize {
        let Some(answers) = self.0.sharer.as_ref().and_then(Sharer::answers) else { return 0 };
        tenant.map_or_else(|| answers.clear(), |tenant| answers.clear_tenant(tenant))
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

fn call(request: &Request, route: &Route, target: &Target) -> Call {
    Call {
        model: target.model.clone(),
        body: request.body.clone(),
        request_id: Some(request.id.clone()),
        headers: request.headers.clone(),
        strictness: route.strictness(),
        show_thoughts: route.shows_thoughts(),
        max_output: target.terms.max_output,
    }
}

/// A candidate that may be asked.
struct Placed {
    index: usize,
    /// Which of the provider's keys.
    key: usize,
    permit: Permit,
    admission: Option<Box<Admission>>,
    /// How many output tokens its money is reserved for; none when it does not matter what it costs.
    output: Option<u64>,
    reason: Option<Reason>,
}

/// What the request may come to at the dearest of its candidates. Where one of them has no bound, nor has it.
fn dearest(demand: &Demand, route: &Route) -> (Cost, Why) {
    let mut dearest = Cost::exact(0, 0);
    let mut why = Why::default();
    for target in &route.targets {
        let (cost, output) = demand.cost(&target.terms);
        dearest.tokens = dearest.tokens.max(cost.tokens);
        dearest.money = dearest.money.max(cost.money);
        dearest.bound = dearest.bound.zip(cost.bound).map(|(one, other)| one.max(other));
        why.0 = why.0.or(output.err());
    }
    (dearest, why)
}

/// The request with all that anybody who joins it may want: a stream's usage.
fn asked_for_all(request: &Arc<Request>) -> Arc<Request> {
    match &request.body {
        CallBody::Wire(envelope) if envelope.stream && !envelope.wants_usage => {
            let envelope = Envelope { wants_usage: true, ..Envelope::clone(envelope) };
            Arc::new(Request { body: CallBody::from(envelope), ..Request::clone(request) })
        }
        _ => request.clone(),
    }
}

/// Whether another key of the same provider may fare better.
fn is_of_the_key(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::UpstreamAuth | ErrorKind::RateLimited | ErrorKind::QuotaExhausted)
}

/// Every candidate's circuit is open or held: when the first of them will be probed or free.
fn closed(route: &Route, now: Tick) -> Error {
    if route.targets.iter().all(Target::is_shut) {
        let error = Error::new(ErrorKind::UpstreamAuth, "the provider has refused every key that is configured for it");
        return error.with_code("upstream_auth_error");
    }
    let circuits = route.targets.iter().flat_map(|target| target.breakers().map(move |circuit| (target, circuit)));
    let waits = circuits.filter_map(|(target, (key, circuit))| {
        let wait = circuit.is_available(now).err()?.retry_after;
        Some((target, key, circuit.stats(now), wait))
    });
    let waits: Vec<_> = waits.collect();
    // Where all of them have asked to slow down, the caller is asked the same.
    let held = !waits.is_empty() && waits.iter().all(|(_, _, stats, _)| stats.held_for.is_some());
    let error = if held {
        Error::new(ErrorKind::RateLimited, "every provider of the model has asked to slow down")
    } else {
        Error::new(ErrorKind::CircuitOpen, "no provider can take the request: all circuits are open")
    };
    let error = waits.iter().fold(error, |error, (target, key, stats, wait)| {
        let (provider, model, millis) = (target.provider(), &target.model, wait.as_millis());
        let place = match target.upstream.keys.len() {
            1 => format!("provider {provider}, model {model}"),
            _ => format!("provider {provider}, key {}, model {model}", key.name),
        };
        error.because(match stats.held_for {
            Some(_) => format!("{place}: asked to slow down, free in {millis} ms"),
            None => format!(
                "{place}: circuit {:?} after {} failures in a row, next probe in {millis} ms",
                stats.state, stats.consecutive_failures
            ),
        })
    });
    match waits.iter().map(|(_, _, _, wait)| *wait).min() {
        Some(wait) => error.with_retry_after(wait),
        None => error,
    }
}
