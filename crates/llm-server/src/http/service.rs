//! One request of a connection: the data plane's few paths are matched here, all others go to axum.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use llm_core::{Clock, Dialect, Error, ErrorKind, RequestId, RequestObserver, Sharing, Tick};
use llm_pipeline::{CacheUse, Caller, Reply, Served};
use tower::ServiceExt;

use super::array;
use super::body::{Body, BoxResponse, Payload, collect};
use super::error::{render, wrong_method};
use super::fields::Fields;
use super::forward::{self, Passage};
use super::inbound::Exchange;
use super::incoming::BoxRequest;
use super::ingress::Ingress;
use super::quota::Quota;
use crate::config::Scope;
use crate::process::Process;
use crate::telemetry::Watch;

/// Answers one request; those that are not the data plane's by `routes`.
#[expect(
    clippy::manual_async_fn,
    reason = "an async fn holds its arguments twice, and this one is made for each request"
)]
pub(crate) fn serve(
    process: Arc<Process>,
    routes: Router,
    exchange: Arc<Exchange>,
    request: BoxRequest,
) -> impl Future<Output = BoxResponse> + Send {
    async move {
        let received = process.clock.now();
        let id = request_id(request.headers());
        let ambiguous = exchange.ambiguous();
        let ingress = Ingress::at(request.uri());
        let dialect = ingress.as_ref().map_or(Dialect::OpenAi, Ingress::dialect);
        let passage = if ingress.is_none() { Passage::at(request.uri().path()) } else { None };
        let route = ingress.as_ref().map(Ingress::route).or(passage.map(|passage| passage.path));
        let mut watch = route.and_then(|route| process.telemetry.watch(&request, route, &id, received));
        let visit = process.app.load().cors.visit(&request);
        let mut response = match (ingress, request.method()) {
            _ if ambiguous => {
                let error =
                    Error::new(ErrorKind::InvalidRequest, "the request gives the length of its body in two ways");
                refuse(&exchange, dialect, &error, &id)
            }
            _ if visit.is_preflight() => respond(StatusCode::NO_CONTENT, HeaderMap::new(), Payload::Done, &exchange),
            _ if let Some(error) = visit.refusal() => refuse(&exchange, dialect, &error, &id),
            (Some(ingress), &Method::POST) => {
                infer(&process, &exchange, &ingress, request, &id, received, watch.as_ref()).await
            }
            (None, method) if let Some(passage) = passage.filter(|passage| passage.takes(method)) => {
                // Apart, as what axum answers.
                Box::pin(forward::pass(&process, &exchange, passage, request, &id, received, watch.as_ref())).await
            }
            (Some(_), method) => refuse(&exchange, dialect, &wrong_method(method), &id),
            (None, method) if passage.is_some() => refuse(&exchange, dialect, &wrong_method(method), &id),
            // Apart: it would make the future of every request as large as axum's.
            (None, _) => Box::pin(routed(routes, exchange.clone(), &id, request)).await,
        };
        let fields = response.body_mut().fields();
        if dialect == Dialect::Anthropic {
            fields.text(&REQUEST_ID, id.as_str());
        }
        fields.text(&X_REQUEST_ID, id.as_str());
        if visit.is_told() {
            // What a page may read is listed by name.
            let fields = response.body_mut().take_fields();
            fields.move_to(response.headers_mut());
            visit.tell(response.headers_mut());
        }
        if let Some(watch) = &mut watch {
            watch.answered(response.status());
        }
        response.body_mut().answers(&id, watch);
        response
    }
}

/// Answers one request of the listener that serves only `routes`.
pub(crate) async fn serve_routes(routes: Router, exchange: Arc<Exchange>, request: BoxRequest) -> BoxResponse {
    let id = request_id(request.headers());
    routed(routes, exchange, &id, request).await
}

/// The data plane: authenticate, read, hand to the pipeline, send on.
#[expect(clippy::manual_async_fn, reason = "as with `serve`")]
fn infer<'a>(
    process: &'a Process,
    exchange: &'a Arc<Exchange>,
    ingress: &'a Ingress,
    mut request: BoxRequest,
    id: &'a RequestId,
    received: Tick,
    watch: Option<&'a Watch>,
) -> impl Future<Output = BoxResponse> + Send + 'a {
    async move {
        let app = process.app.load_full();
        let dialect = ingress.dialect();
        let caller = match app.keys.authenticate_by(request.headers(), ingress.key.as_deref(), Scope::Inference) {
            Ok(credential) => credential.caller.clone(),
            Err(error) => return refuse(exchange, dialect, &error, id),
        };
        if let Some(watch) = watch {
            watch.caller(&caller.tenant);
        }
        let body = match collect(request.body_mut(), app.limits.max_body_bytes, app.limits.body_idle_timeout).await {
            Ok(body) => body,
            Err(error) => return refuse(exchange, dialect, &error, id),
        };
        let headers = request.headers();
        let asked = match asked(caller.clone(), ingress, body, headers, id, received, watch.map(Watch::follower)) {
            Ok(asked) => asked,
            Err(error) => return failure(exchange, dialect, &error, id),
        };
        let user = user_of(&asked).filter(|_| app.pipeline.limits_users()).map(str::to_owned);
        let answered = app.pipeline.handle(asked).await;
        let quota = Quota::new(dialect, process.clock.unix_time(), app.pipeline.headroom(&caller, user.as_deref()));
        let mut response = match answered {
            Ok(response) => {
                let overhead = overhead(&response.served, process.clock.now().since(received));
                if response.served.sharing != Sharing::Joined {
                    process.telemetry.overhead(overhead);
                }
                let reply = process.sessions.tell(&caller.tenant, headers, dialect, response.reply);
                let mut answer = success(exchange, ingress, reply, &quota);
                tell(answer.body_mut().fields(), &response.served, overhead);
                answer
            }
            Err(error) => {
                failed(&error, id, watch);
                failure(exchange, dialect, &error, id)
            }
        };
        quota.show(&mut response);
        response
    }
}

/// Whom the caller names as its user.
fn user_of(request: &llm_pipeline::Request) -> Option<&str> {
    match &request.body {
        llm_core::CallBody::Wire(envelope) => envelope.user_name(),
        _ => None,
    }
}

fn asked(
    caller: Arc<Caller>,
    ingress: &Ingress,
    body: Bytes,
    headers: &HeaderMap,
    id: &RequestId,
    received: Tick,
    follower: Option<Arc<dyn RequestObserver>>,
) -> Result<Arc<llm_pipeline::Request>, Error> {
    Ok(Arc::new(llm_pipeline::Request {
        caller,
        id: id.clone(),
        body: ingress.read(body)?.into(),
        headers: ingress.forwarded(headers),
        cache: cache_use(headers)?,
        idempotency_key: idempotency_key(headers)?,
        last_frame: number(headers, &LAST_EVENT_ID, 0, "number of a frame")?,
        received,
        deadline: deadline(headers, received)?,
        follower,
    }))
}

/// Logs what kept a request from being answered.
pub(super) fn failed(error: &Error, id: &RequestId, watch: Option<&Watch>) {
    let trace_id = watch.and_then(Watch::trace_id).map(tracing::field::display);
    // Without the message: it may be a provider's, and hold what was asked.
    tracing::debug!(
        request_id = %id,
        trace_id,
        provider = error.provider().map(tracing::field::display),
        kind = ?error.kind(),
        upstream_status = error.upstream_status(),
        "request failed"
    );
}

/// What of `elapsed` was ours.
pub(super) const fn overhead(served: &Served, elapsed: Duration) -> Duration {
    match served.sharing {
        // A follower waits for a call that began before it came: none of that wait is ours.
        Sharing::Joined => Duration::ZERO,
        Sharing::Hit => elapsed,
        Sharing::Miss | Sharing::Bypass => elapsed.saturating_sub(served.upstream),
    }
}

fn success(exchange: &Arc<Exchange>, ingress: &Ingress, reply: Reply, quota: &Quota) -> BoxResponse {
    let begun = |payload| respond(StatusCode::OK, HeaderMap::new(), payload, exchange);
    match reply {
        Reply::Whole(whole) => {
            let mut response = begun(Payload::Whole(whole.bytes.clone()));
            let fields = response.body_mut().fields();
            for (name, value) in whole.headers.iter().filter(|(name, _)| !quota.covers(name)) {
                fields.put(name, value);
            }
            response
        }
        Reply::Frames { headers, frames } => {
            let kind = if ingress.array { "application/json" } else { "text/event-stream; charset=utf-8" };
            let frames = if ingress.array { array::of(frames) } else { frames };
            let mut response = begun(Payload::Frames(frames, ingress.dialect()));
            let fields = response.body_mut().fields();
            let own = [header::CONTENT_TYPE, header::CACHE_CONTROL, X_ACCEL_BUFFERING.clone()];
            for (name, value) in headers.iter().filter(|(name, _)| !own.contains(name) && !quota.covers(name)) {
                fields.put(name, value);
            }
            for (name, value) in own.iter().zip([kind, "no-cache", "no"]) {
                fields.text(name, value);
            }
            response
        }
        Reply::Completion(_) | Reply::Events(_) | Reply::Embeddings(_) | Reply::Forwarded(_) => {
            unreachable!("a wire body is answered in wire bytes")
        }
    }
}

/// Says how an answer came about.
pub(super) fn tell(fields: &mut Fields, served: &Served, overhead: Duration) {
    fields.text(&X_LLMKIT_PROVIDER, served.provider.as_str());
    fields.number(&X_LLMKIT_ATTEMPTS, served.attempts.into());
    fields.text(&X_LLMKIT_CACHE, served.sharing.as_str());
    fields.number(&X_LLMKIT_OVERHEAD_US, u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX));
}

/// An error after the request was read.
pub(super) fn failure(exchange: &Arc<Exchange>, dialect: Dialect, error: &Error, id: &RequestId) -> BoxResponse {
    let rendered = render(dialect, error, id);
    respond(rendered.status, rendered.headers, Payload::Whole(rendered.body), exchange)
}

/// An error before the request was read, behind which its connection ends.
pub(super) fn refuse(exchange: &Arc<Exchange>, dialect: Dialect, error: &Error, id: &RequestId) -> BoxResponse {
    let mut response = failure(exchange, dialect, error, id);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The routes that are not the data plane's.
async fn routed(routes: Router, exchange: Arc<Exchange>, id: &RequestId, request: BoxRequest) -> BoxResponse {
    let mut request = (*request).map(axum::body::Body::new);
    request.extensions_mut().insert(id.clone());
    let (parts, body) = match routes.oneshot(request).await {
        Ok(response) => response.into_parts(),
        Err(never) => match never {},
    };
    Box::new(Response::from_parts(parts, Body::new(Payload::Routed(body), exchange)))
}

pub(super) fn respond(
    status: StatusCode,
    headers: HeaderMap,
    payload: Payload,
    exchange: &Arc<Exchange>,
) -> BoxResponse {
    let mut response = Body::ok(payload, exchange.clone());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The caller's name for the request, at most 128 visible ASCII characters; else one of our own.
fn request_id(headers: &HeaderMap) -> RequestId {
    let given = headers.get(&X_REQUEST_ID).and_then(|id| id.to_str().ok());
    match given {
        Some(id) if (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic()) => RequestId::from(id),
        _ => RequestId::from_random(fastrand::u128(..)),
    }
}

/// Whether another's answer may be the caller's, as `x-llmkit-cache` and `x-llmkit-cache-ttl` say.
fn cache_use(headers: &HeaderMap) -> Result<CacheUse, Error> {
    let ttl = number(headers, &X_LLMKIT_CACHE_TTL, 0, "whole number of seconds")?.map(Duration::from_secs);
    match headers.get(&X_LLMKIT_CACHE).map(|value| value.as_bytes().trim_ascii()) {
        None => Ok(CacheUse::Default { ttl }),
        Some(value) if value.eq_ignore_ascii_case(b"on") => Ok(CacheUse::On { ttl }),
        Some(value) if value.eq_ignore_ascii_case(b"bypass") => Ok(CacheUse::Bypass),
        Some(_) => Err(bad_header(&X_LLMKIT_CACHE, "neither `on` nor `bypass`")),
    }
}

/// The caller's name for its request.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<Box<str>>, Error> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else { return Ok(None) };
    let key = value.to_str().ok().map(str::trim).filter(|key| (1..=255).contains(&key.len()));
    key.map(|key| Some(key.into())).ok_or_else(|| bad_header(&IDEMPOTENCY_KEY, "not 1 to 255 visible characters"))
}

pub(super) fn deadline(headers: &HeaderMap, received: Tick) -> Result<Option<Tick>, Error> {
    let millis = number(headers, &X_LLMKIT_DEADLINE_MS, 1, "positive number of milliseconds")?;
    Ok(millis.map(|millis| received.after(Duration::from_millis(millis))))
}

/// The number in a header, at least `least`; it is to be a `what`.
fn number(headers: &HeaderMap, name: &HeaderName, least: u64, what: &str) -> Result<Option<u64>, Error> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok()).filter(|number| *number >= least);
    number.map(Some).ok_or_else(|| bad_header(name, &format!("not a {what}")))
}

fn bad_header(name: &HeaderName, what: &str) -> Error {
    Error::new(ErrorKind::InvalidRequest, format!("{name} is {what}"))
        .with_param(name.as_str())
        .with_code("invalid_value")
}

static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
static LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
static REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
static X_LLMKIT_ATTEMPTS: HeaderName = HeaderName::from_static("x-llmkit-attempts");
static X_LLMKIT_CACHE: HeaderName = HeaderName::from_static("x-llmkit-cache");
static X_LLMKIT_CACHE_TTL: HeaderName = HeaderName::from_static("x-llmkit-cache-ttl");
static X_LLMKIT_DEADLINE_MS: HeaderName = HeaderName::from_static("x-llmkit-deadline-ms");
static X_LLMKIT_OVERHEAD_US: HeaderName = HeaderName::from_static("x-llmkit-overhead-us");
static X_LLMKIT_PROVIDER: HeaderName = HeaderName::from_static("x-llmkit-provider");
pub(super) static X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
