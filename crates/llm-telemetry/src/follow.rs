//! A request that is followed: its spans, and its line in the log.

mod attempt;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};
use llm_core::{
    AttemptBegun, AttemptObserver, Clock, ErrorKind, ModelId, Money, Operation, ProviderId, RequestId, RequestObserver,
    RequestRecord, Sharing, SystemClock, TenantId, Tick, Usage,
};
use parking_lot::Mutex;

use self::attempt::FollowedAttempt;
use crate::context::{RemoteContext, SpanId, TraceId};
use crate::hub::Hub;
use crate::log::RequestLine;
use crate::names;
use crate::span::{Attributes, Span, SpanKind, clipped};
use crate::tracing_context::TracingContext;

/// A request that has come in over HTTP.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The route that it matches, such as `/v1/models/{model}`: one of few.
    pub route: &'static str,
    /// Its path.
    pub path: &'a str,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its name.
    pub id: &'a RequestId,
    /// When it came.
    pub received: Tick,
}

/// Follows a request that has come in over HTTP. Dropped, it has ended: what is dropped last of it is the body of its
/// answer.
#[derive(Debug)]
pub struct Watch {
    followed: Arc<Followed>,
    status: Option<StatusCode>,
}

impl Watch {
    /// What the path is to tell of the request.
    #[must_use]
    pub fn follower(&self) -> Arc<dyn RequestObserver> {
        self.followed.clone()
    }

    /// Says who asks.
    pub fn caller(&self, tenant: &TenantId) {
        self.followed.state.lock().tenant = Some(tenant.clone());
    }

    /// Says how it is answered.
    pub const fn answered(&mut self, status: StatusCode) {
        self.status = Some(status);
    }

    /// The trace that the request is part of, if it is part of one.
    #[must_use]
    pub fn trace_id(&self) -> Option<TraceId> {
        self.followed.trace_id()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.followed.left(self.status);
    }
}

/// What is known of a request that is followed.
pub(crate) struct Followed {
    hub: Arc<Hub>,
    id: RequestId,
    /// On the path's clock, and since the Unix epoch.
    received: Tick,
    epoch: Duration,
    trace: Option<Trace>,
    /// A context that is passed on as it came: of a trace that is not recorded.
    passed_on: Option<RemoteContext>,
    http: Option<Http>,
    state: Mutex<State>,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("id", &self.id).field("trace", &self.trace).finish_non_exhaustive()
    }
}

/// The part of a request in a trace that is recorded.
#[derive(Debug)]
struct Trace {
    trace_id: TraceId,
    /// Somebody else's span that the request is part of.
    parent: Option<SpanId>,
    state: Option<http::HeaderValue>,
    /// The span of the exchange over HTTP.
    server: Option<SpanId>,
    /// The span of the request, whatever number of attempts it takes.
    logical: SpanId,
    /// What the logical span is called, where that is not the operation.
    name: Option<&'static str>,
    about: Option<Box<TracingContext>>,
}

/// What is known of the exchange over HTTP.
#[derive(Debug)]
struct Http {
    method: Method,
    route: &'static str,
    path: Box<str>,
}

/// What is learnt of a request on its way.
#[derive(Default)]
struct State {
    tenant: Option<TenantId>,
    provider: Option<ProviderId>,
    leader: Option<RequestId>,
    /// As the provider that was asked last spells it.
    model: Option<ModelId>,
    ended: Option<Ended>,
    first_token: Option<Duration>,
    usage: Option<Usage>,
    cost: Option<Money>,
}

/// How the request ended on the path.
struct Ended {
    operation: Operation,
    model: Option<ModelId>,
    sharing: Sharing,
    attempts: u32,
    stream: bool,
    error: Option<ErrorKind>,
}

impl Followed {
    /// Follows what has come in over HTTP, if anybody wants to know of it.
    pub(crate) fn over_http(hub: &Arc<Hub>, arrival: &Arrival<'_>) -> Option<Watch> {
        let remote = if hub.traces() { RemoteContext::of(arrival.headers) } else { None };
        let (trace, passed_on) = match remote {
            Some(remote) if remote.sampled => (Some(Trace::going_on(remote, SpanId::random())), None),
            Some(remote) => (None, Some(remote)),
            None => (hub.takes(arrival.received).then(|| Trace::new(Some(SpanId::random()))), None),
        };
        if trace.is_none() && passed_on.is_none() && !hub.logs_requests() {
            return None;
        }
        let http = Http { method: arrival.method.clone(), route: arrival.route, path: arrival.path.into() };
        let followed = Self::new(hub, arrival.id, arrival.received, trace, passed_on, Some(http));
        Some(Watch { followed: Arc::new(followed), status: None })
    }

    /// Follows what a caller of the library asks, if anybody wants to know of it.
    pub(crate) fn in_process(
        hub: &Arc<Hub>,
        context: Option<&TracingContext>,
        name: &'static str,
        id: &RequestId,
        received: Tick,
    ) -> Option<Arc<dyn RequestObserver>> {
        let (mut trace, mut passed_on) = (None, None);
        if hub.traces() {
            match context {
                Some(TracingContext { remote: Some(remote), .. }) if !remote.sampled => {
                    passed_on = Some(remote.clone());
                }
                Some(context) => trace = Some(Trace::within(context)),
                None => trace = hub.takes(received).then(|| Trace::new(None)),
            }
        }
        if trace.is_none() && passed_on.is_none() && !hub.logs_requests() {
            return None;
        }
        let trace = trace.map(|trace| Trace { name: Some(name), ..trace });
        Some(Arc::new(Self::new(hub, id, received, trace, passed_on, None)))
    }

    fn new(
        hub: &Arc<Hub>,
        id: &RequestId,
        received: Tick,
        trace: Option<Trace>,
        passed_on: Option<RemoteContext>,
        http: Option<Http>,
    ) -> Self {
        let epoch = SystemClock::new().unix_time();
        Self { hub: hub.clone(), id: id.clone(), received, epoch, trace, passed_on, http, state: Mutex::default() }
    }

    fn trace_id(&self) -> Option<TraceId> {
        let passed_on = self.passed_on.as_ref().map(|remote| remote.trace_id);
        self.trace.as_ref().map(|trace| trace.trace_id).or(passed_on)
    }

    /// The time of `at` for people.
    fn epoch_at(&self, at: Tick) -> Duration {
        self.epoch + at.since(self.received)
    }

    /// The exchange over HTTP has ended.
    fn left(&self, status: Option<StatusCode>) {
        let duration = SystemClock::new().now().since(self.received);
        if let (Some(trace), Some(http)) = (&self.trace, &self.http) {
            let mut attributes = Attributes::with_capacity(8);
            attributes.put(names::HTTP_METHOD, http.method.as_str().to_owned());
            attributes.put(names::HTTP_ROUTE, http.route);
            attributes.put(names::URL_PATH, String::from(&*http.path));
            attributes.put(names::URL_SCHEME, "http");
            attributes.know(names::HTTP_STATUS, status.map(|status| status.as_u16()));
            attributes.put(names::REQUEST_ID, self.id.to_string());
            let failed = status.is_none_or(|status| status.is_server_error());
            let error =
                status.map_or_else(|| ErrorKind::Cancelled.as_str().to_owned(), |status| status.as_str().to_owned());
            attributes.know(names::ERROR_TYPE, failed.then_some(error));
            self.hub.end(Span {
                trace_id: trace.trace_id,
                span_id: trace.server.unwrap_or(trace.logical),
                parent: trace.parent,
                parent_is_remote: trace.parent.is_some(),
                state: trace.state.clone(),
                name: format!("{} {}", http.method, http.route).into(),
                kind: SpanKind::Server,
                start: self.epoch,
                end: self.epoch + duration,
                attributes: attributes.into_inner(),
                failed,
            });
        }
        self.log(status, duration);
    }

    fn log(&self, status: Option<StatusCode>, duration: Duration) {
        if !self.hub.logs_requests() {
            return;
        }
        let state = self.state.lock();
        let ended = state.ended.as_ref();
        let outcome = match (ended.map(|ended| ended.error), status) {
            (Some(error), _) => error.map_or("ok", ErrorKind::as_str),
            (None, Some(_)) => "refused",
            (None, None) => ErrorKind::Cancelled.as_str(),
        };
        RequestLine {
            request_id: &self.id,
            trace_id: self.trace_id(),
            method: self.http.as_ref().map(|http| http.method.as_str()),
            route: self.http.as_ref().map(|http| http.route),
            status: status.map(|status| status.as_u16()),
            tenant: state.tenant.as_ref(),
            operation: ended.map(|ended| ended.operation.as_str()),
            model: ended.and_then(|ended| ended.model.as_ref()).or(state.model.as_ref()),
            provider: state.provider.as_ref(),
            sharing: ended.map(|ended| ended.sharing.as_str()),
            attempts: ended.map(|ended| ended.attempts),
            stream: ended.is_some_and(|ended| ended.stream),
            outcome,
            duration,
            first_token: state.first_token,
            usage: state.usage.as_ref(),
            cost: state.cost,
        }
        .write();
    }
}

impl Trace {
    fn new(server: Option<SpanId>) -> Self {
        Self {
            trace_id: TraceId::random(),
            parent: None,
            state: None,
            server,
            logical: SpanId::random(),
            name: None,
            about: None,
        }
    }

    fn going_on(remote: RemoteContext, server: SpanId) -> Self {
        let RemoteContext { trace_id, span_id, state, .. } = remote;
        Self { trace_id, parent: Some(span_id), state, ..Self::new(Some(server)) }
    }

    fn within(context: &TracingContext) -> Self {
        let state = context.remote.as_ref().and_then(|remote| remote.state.clone());
        let (trace_id, parent) = (context.trace_id, context.span_id);
        Self { trace_id, parent, state, about: Some(Box::new(context.clone())), ..Self::new(None) }
    }
}

impl RequestObserver for Followed {
    fn attempt_started(self: Arc<Self>, attempt: &AttemptBegun<'_>) -> Box<dyn AttemptObserver> {
        let AttemptBegun { provider, call, .. } = *attempt;
        {
            let mut state = self.state.lock();
            (state.provider, state.model) = (Some(provider.clone()), Some(call.model.clone()));
        }
        Box::new(FollowedAttempt::begin(self, attempt))
    }

    fn answered(&self, provider: &ProviderId, leader: &RequestId) {
        let mut state = self.state.lock();
        state.provider = Some(provider.clone());
        state.leader = (*leader != self.id).then(|| leader.clone());
    }

    fn request_ended(&self, record: &RequestRecord<'_>) {
        let RequestRecord { operation, model, stream, sharing, attempts, duration, error, .. } = *record;
        let span = {
            let mut state = self.state.lock();
            let span = self.trace.as_ref().map(|trace| self.logical(trace, &state, record));
            state.ended = Some(Ended { operation, model: model.cloned(), sharing, attempts, stream, error });
            span
        };
        if let Some(span) = span {
            self.hub.end(span);
        }
        if self.http.is_none() {
            self.log(None, duration);
        }
    }
}

impl Followed {
    fn logical(&self, trace: &Trace, state: &State, record: &RequestRecord<'_>) -> Span {
        let mut attributes = Attributes::with_capacity(12);
        let operation = record.operation.as_str();
        attributes.put(names::OPERATION_NAME, operation);
        let model = record.model.or(state.model.as_ref()).map(|model| model.as_str().to_owned());
        let name = match (trace.name, &model) {
            (Some(name), _) => name.into(),
            (None, Some(model)) => format!("{operation} {}", clipped(model)).into(),
            (None, None) => operation.into(),
        };
        attributes.know(names::REQUEST_MODEL, model);
        attributes.know(names::REQUEST_STREAM, record.stream.then_some(true));
        if let Some(provider) = &state.provider {
            attributes.put(names::PROVIDER_NAME, self.hub.provider(provider).system.to_string());
            attributes.put(names::PROVIDER, provider.to_string());
        }
        attributes.put(names::REQUEST_ID, self.id.to_string());
        attributes.put(names::SHARING, record.sharing.as_str());
        attributes.know(names::LEADER, state.leader.as_ref().map(RequestId::to_string));
        attributes.put(names::ATTEMPTS, record.attempts);
        attributes.error(record.error);
        if let Some(about) = &trace.about {
            attributes.know(names::CORRELATION_ID, about.correlation_id.clone());
            attributes.know(names::CORRELATION_SPAN_ID, about.correlation_span_id.clone());
            for (name, value) in &about.attributes {
                attributes.put(name.clone(), value.clone());
            }
        }
        Span {
            trace_id: trace.trace_id,
            span_id: trace.logical,
            parent: trace.server.or(trace.parent),
            parent_is_remote: trace.server.is_none() && trace.parent.is_some(),
            state: trace.state.clone(),
            name,
            kind: SpanKind::Internal,
            start: self.epoch,
            end: self.epoch + record.duration,
            attributes: attributes.into_inner(),
            failed: record.error.is_some(),
        }
    }
}
